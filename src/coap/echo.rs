//! The Echo option's values: a time, and that it was this server that said it (RFC 9175 §2, appendix A).

use core::net::SocketAddr;
use core::time::Duration;

use subtle::ConstantTimeEq;

use super::source::{ServerKey, Source};
use crate::Instant;

/// The length of a value in bytes: a time, and a tag over it.
pub(super) const ECHO_LEN: usize = 16;

/// What a value is good for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Audience {
    /// Whom it was said to: "the security association is part of the endpoint" (§2.3).
    pub(super) source: Source,
    /// Where that one had yet to show that it receives. "The Echo option SHOULD be a Message Authentication Code (MAC) of the
    /// claimed address" (§2.3).
    pub(super) address: Option<SocketAddr>,
}

impl ServerKey {
    /// The value that is said to `audience` at `now`.
    pub(super) fn echo(&self, audience: &Audience, now: Instant) -> [u8; ECHO_LEN] {
        let mut value = [0; ECHO_LEN];
        let (time, tag) = value.split_at_mut(ECHO_LEN / 2);
        time.copy_from_slice(&now.as_millis().to_be_bytes());
        let address = audience.address.map(|address| (address.ip(), address.port()));
        tag.copy_from_slice(&self.tag((audience.source, address, now.as_millis())).to_be_bytes());
        value
    }

    /// How old a value is that this audience has sent back; `None` where it was not said to them.
    pub(super) fn echo_age(&self, audience: &Audience, value: &[u8], now: Instant) -> Option<Duration> {
        let time = Instant::from_millis(u64::from_be_bytes(*value.first_chunk()?));
        let is_ours = bool::from(self.echo(audience, time).ct_eq(value));
        (is_ours && time <= now).then(|| now.saturating_since(time))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SessionId;

    #[test]
    fn a_value_is_good_for_those_whom_it_was_said_to() {
        let key = ServerKey([7; 16]);
        let source = |session| Source::Session { session: SessionId(session), epoch: 1 };
        let address = |port| Some(SocketAddr::from(([192, 0, 2, 1], port)));
        let audience = Audience { source: source(1), address: address(1) };
        let (said, now) = (Instant::from_millis(5_000), Instant::from_millis(6_500));
        let value = key.echo(&audience, said);
        assert_eq!(key.echo_age(&audience, &value, now), Some(Duration::from_millis(1_500)));
        for other in [
            Audience { source: source(2), ..audience },
            Audience { address: address(2), ..audience },
            Audience { address: None, ..audience },
        ] {
            assert_eq!(key.echo_age(&other, &value, now), None);
        }
        assert_eq!(ServerKey([8; 16]).echo_age(&audience, &value, now), None);
        for at in 0..ECHO_LEN {
            let mut forged = value;
            forged[at] ^= 1;
            assert_eq!(key.echo_age(&audience, &forged, now), None);
        }
        for len in 0..ECHO_LEN {
            assert_eq!(key.echo_age(&audience, &value[..len], now), None);
        }
        assert_eq!(key.echo_age(&audience, &[&value[..], b"\0"].concat(), now), None);
        // Clocks do not run backwards.
        assert_eq!(key.echo_age(&audience, &value, Instant::ZERO), None);
    }
}
