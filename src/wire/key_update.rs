//! `KeyUpdate` (RFC 8446 §4.6.3, RFC 9147 §8).

use super::InvalidMessage;

/// The sender goes on under the next keys, once this has been acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct KeyUpdate {
    /// Whether the receiver is asked to do the same.
    pub request_update: bool,
}

impl KeyUpdate {
    /// Reads the body.
    pub fn parse(body: &[u8]) -> Result<Self, InvalidMessage> {
        match body {
            [0] => Ok(Self { request_update: false }),
            [1] => Ok(Self { request_update: true }),
            [_] => Err(InvalidMessage::IllegalValue),
            [] => Err(InvalidMessage::Truncated),
            _ => Err(InvalidMessage::TrailingData),
        }
    }

    /// The body.
    pub const fn to_bytes(self) -> [u8; 1] {
        [self.request_update as u8]
    }

    #[cfg(test)]
    const BOTH: [Self; 2] = [Self { request_update: false }, Self { request_update: true }];
}

#[cfg(test)]
#[test]
fn written_and_read() {
    for update in KeyUpdate::BOTH {
        assert_eq!(KeyUpdate::parse(&update.to_bytes()), Ok(update));
    }
    assert_eq!(KeyUpdate::parse(&[2]), Err(InvalidMessage::IllegalValue));
    assert_eq!(KeyUpdate::parse(&[]), Err(InvalidMessage::Truncated));
    assert_eq!(KeyUpdate::parse(&[0, 0]), Err(InvalidMessage::TrailingData));
}
