//! Transmission parameters and the times derived from them (RFC 7252 §4.8).

use core::time::Duration;

/// How patiently messages are sent again, and how long they are remembered (§4.8).
///
/// Both ends of an exchange should use the same values. [`RFC_7252`](Self::RFC_7252), the default, suits the Internet;
/// `ack_timeout` below one second needs the guidance of §4.8.1.
///
/// ```
/// use core::time::Duration;
/// use dtls_psk::coap::TransmissionParameters;
///
/// let rfc = TransmissionParameters::RFC_7252;
/// assert_eq!(rfc.max_transmit_span(), Duration::from_secs(45));
/// assert_eq!(rfc.max_transmit_wait(), Duration::from_secs(93));
/// assert_eq!(rfc.exchange_lifetime(), Duration::from_secs(247));
/// assert_eq!(rfc.non_lifetime(), Duration::from_secs(145));
///
/// // A satellite link on which an answer takes ten seconds.
/// let mut slow = rfc;
/// slow.ack_timeout = Duration::from_secs(15);
/// assert_eq!(slow.max_transmit_wait(), Duration::from_millis(697_500));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub struct TransmissionParameters {
    /// ACK_TIMEOUT: how long to wait at least for an acknowledgement before the first retransmission. 2 seconds.
    pub ack_timeout: Duration,
    /// ACK_RANDOM_FACTOR in percent: the first wait is random between `ack_timeout` and this share of it. 150.
    ///
    /// It "MUST NOT be decreased below 1.0" (§4.8.1), so less than 100 counts as 100.
    pub ack_random_factor_percent: u16,
    /// MAX_RETRANSMIT: how often a message is sent again, each time after twice the wait. 4.
    pub max_retransmit: u8,
    /// MAX_LATENCY: how long a datagram may take to arrive. 100 seconds.
    pub max_latency: Duration,
}

impl TransmissionParameters {
    /// The defaults of §4.8.
    pub const RFC_7252: Self = Self {
        ack_timeout: Duration::from_secs(2),
        ack_random_factor_percent: 150,
        max_retransmit: 4,
        max_latency: Duration::from_secs(100),
    };

    /// `ACK_TIMEOUT * ACK_RANDOM_FACTOR`: the longest first wait.
    const fn max_ack_timeout_millis(&self) -> u64 {
        let percent = match self.ack_random_factor_percent {
            ..100 => 100,
            percent => percent,
        };
        millis(self.ack_timeout).saturating_mul(percent as u64) / 100
    }

    /// `max_ack_timeout * (2 ** doublings - 1)`.
    const fn back_off(&self, doublings: u8) -> Duration {
        let factor = match 1u64.checked_shl(doublings as u32) {
            Some(power) => power - 1,
            None => u64::MAX,
        };
        Duration::from_millis(self.max_ack_timeout_millis().saturating_mul(factor))
    }

    /// MAX_TRANSMIT_SPAN: from the first transmission of a Confirmable message to its last, at most (§4.8.2). 45 seconds.
    pub const fn max_transmit_span(&self) -> Duration {
        self.back_off(self.max_retransmit)
    }

    /// MAX_TRANSMIT_WAIT: from the first transmission of a Confirmable message to giving up on it, at most (§4.8.2).
    /// 93 seconds.
    pub const fn max_transmit_wait(&self) -> Duration {
        self.back_off(self.max_retransmit.saturating_add(1))
    }

    /// EXCHANGE_LIFETIME: how long a Confirmable message is remembered (§4.8.2). 247 seconds.
    pub const fn exchange_lifetime(&self) -> Duration {
        // PROCESSING_DELAY is set equal to ACK_TIMEOUT.
        self.max_transmit_span()
            .saturating_add(self.max_latency)
            .saturating_add(self.max_latency)
            .saturating_add(self.ack_timeout)
    }

    /// NON_LIFETIME: how long a Non-confirmable message is remembered (§4.8.2). 145 seconds.
    pub const fn non_lifetime(&self) -> Duration {
        self.max_transmit_span().saturating_add(self.max_latency)
    }

    /// The initial timeout of a Confirmable message (§4.2), uniformly spread by `random`.
    pub(super) const fn initial_timeout(&self, random: u32) -> Duration {
        let least = millis(self.ack_timeout);
        let spread = self.max_ack_timeout_millis().saturating_sub(least);
        // The high half of the product: 0 to `spread`, both included.
        let jitter = (spread.saturating_add(1) as u128 * random as u128) >> 32;
        Duration::from_millis(least.saturating_add(jitter as u64))
    }
}

impl Default for TransmissionParameters {
    fn default() -> Self {
        Self::RFC_7252
    }
}

const fn millis(duration: Duration) -> u64 {
    duration.as_secs().saturating_mul(1_000).saturating_add(duration.subsec_millis() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_initial_timeout_spans_the_whole_range() {
        let rfc = TransmissionParameters::RFC_7252;
        assert_eq!(rfc.initial_timeout(0), Duration::from_secs(2));
        assert_eq!(rfc.initial_timeout(u32::MAX), Duration::from_secs(3));
        assert_eq!(rfc.initial_timeout(1 << 31), Duration::from_millis(2_500));
    }

    /// RFC 7252 section 4.8.1: ACK_RANDOM_FACTOR is at least 1.
    #[test]
    fn the_random_factor_is_at_least_one() {
        let rfc = TransmissionParameters::RFC_7252;
        let one = TransmissionParameters { ack_random_factor_percent: 100, ..rfc };
        for ack_random_factor_percent in [0, 1, 99] {
            let less = TransmissionParameters { ack_random_factor_percent, ..rfc };
            assert_eq!(less.initial_timeout(u32::MAX), Duration::from_secs(2));
            assert_eq!(less.max_transmit_span(), one.max_transmit_span());
            assert_eq!(less.max_transmit_wait(), one.max_transmit_wait());
            assert_eq!(less.exchange_lifetime(), one.exchange_lifetime());
        }
    }

    #[test]
    fn extreme_parameters_saturate() {
        let extreme = TransmissionParameters {
            ack_timeout: Duration::MAX,
            ack_random_factor_percent: u16::MAX,
            max_retransmit: u8::MAX,
            max_latency: Duration::MAX,
        };
        assert!(extreme.exchange_lifetime() >= extreme.max_transmit_span());
        assert!(extreme.max_transmit_wait() > Duration::ZERO);
        assert!(extreme.initial_timeout(u32::MAX) > Duration::ZERO);
        let hurried = TransmissionParameters { ack_random_factor_percent: 0, ..extreme };
        assert!(hurried.initial_timeout(7) > Duration::ZERO);
    }
}
