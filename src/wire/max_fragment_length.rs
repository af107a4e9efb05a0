//! `MaxFragmentLength` (RFC 6066 §4).

use super::{InvalidMessage, Reader};

/// The longest plaintext of a record, in both directions, as a client may ask for it.
///
/// `record_size_limit` (RFC 8449) is newer and says it for each direction, in bytes; servers of small devices often know
/// this one only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[repr(u8)]
pub enum MaxFragmentLength {
    /// 512 bytes.
    Bytes512 = 1,
    /// 1,024 bytes.
    Bytes1024 = 2,
    /// 2,048 bytes.
    Bytes2048 = 3,
    /// 4,096 bytes.
    Bytes4096 = 4,
}

impl MaxFragmentLength {
    /// The number on the wire.
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// The length in bytes.
    ///
    /// ```
    /// assert_eq!(dtls_psk::MaxFragmentLength::Bytes512.len(), 512);
    /// ```
    #[allow(clippy::len_without_is_empty, reason = "it is a limit, not a container")]
    pub const fn len(self) -> u16 {
        256 << (self as u16)
    }

    /// The length with this number on the wire.
    pub const fn from_number(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::Bytes512),
            2 => Some(Self::Bytes1024),
            3 => Some(Self::Bytes2048),
            4 => Some(Self::Bytes4096),
            _ => None,
        }
    }

    /// Reads the extension's data. Another number is an `illegal_parameter` (RFC 6066 §4).
    pub(super) fn parse(data: &[u8]) -> Result<Self, InvalidMessage> {
        let mut r = Reader::new(data);
        let number = r.u8()?;
        r.finish()?;
        Self::from_number(number).ok_or(InvalidMessage::IllegalValue)
    }
}
