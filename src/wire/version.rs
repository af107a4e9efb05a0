//! `ProtocolVersion` (RFC 6347 §4.1): the ones' complement of what the TLS version would be.

/// A version of DTLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum ProtocolVersion {
    /// DTLS 1.2, RFC 6347.
    Dtls12,
}

/// The bytes of DTLS 1.0, which first flights carry so that old middleboxes and servers read them (RFC 6347 §4.2.1).
pub const DTLS10: [u8; 2] = [0xFE, 0xFF];
/// The bytes of DTLS 1.2.
pub const DTLS12: [u8; 2] = [0xFE, 0xFD];

impl core::fmt::Display for ProtocolVersion {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Dtls12 => f.write_str("DTLS 1.2"),
        }
    }
}
