//! When a Confirmable message is sent again (RFC 7252 §4.2).

use core::time::Duration;

use super::TransmissionParameters;
use crate::Instant;

/// A Confirmable message that nobody has acknowledged yet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Retransmission {
    started: Instant,
    at: Instant,
    timeout: Duration,
    count: u8,
}

/// What is to be done next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// Wait until then.
    Wait(Instant),
    /// Send the message again.
    Transmit,
    /// Nobody acknowledges it.
    GiveUp,
}

impl Retransmission {
    /// Of a message that is sent for the first time now. `random` spreads the first timeout.
    pub(super) fn new(parameters: &TransmissionParameters, random: u32, now: Instant) -> Self {
        let timeout = parameters.initial_timeout(random);
        Self { started: now, at: now + timeout, timeout, count: 0 }
    }

    /// When the message was sent, if it was sent once.
    pub(super) fn sent_once_at(&self) -> Option<Instant> {
        (self.count == 0).then_some(self.started)
    }

    /// When to [`poll`](Self::poll) again.
    pub(super) const fn at(&self) -> Instant {
        self.at
    }

    /// What is to be done at `now`. It counts the transmission that it asks for.
    pub(super) fn poll(&mut self, parameters: &TransmissionParameters, now: Instant) -> Due {
        if now < self.at {
            return Due::Wait(self.at);
        }
        if self.count >= parameters.max_retransmit {
            return Due::GiveUp;
        }
        // Whoever is late may catch up on the next retransmission, but "the minimum spacing before another
        // retransmission is ACK_TIMEOUT" (§4.2).
        self.count += 1;
        self.timeout = self.timeout.saturating_mul(2);
        self.at = (self.at + self.timeout).max(now + parameters.ack_timeout);
        // "the entire sequence of (re-)transmissions MUST stay in the envelope of MAX_TRANSMIT_SPAN [...], even if that
        // means a sender may miss an opportunity to transmit" (§4.2).
        if now <= self.started + parameters.max_transmit_span() { Due::Transmit } else { Due::Wait(self.at) }
    }
}
