//! `ProtocolVersion` (RFC 6347 §4.1): the ones' complement of what the TLS version would be.

/// A version of DTLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum ProtocolVersion {
    /// DTLS 1.2, RFC 6347.
    Dtls12,
    /// DTLS 1.3, RFC 9147.
    Dtls13,
}

impl ProtocolVersion {
    /// Every version of this build, the newest first.
    pub const ALL: &'static [Self] = &[
        #[cfg(feature = "dtls13")]
        Self::Dtls13,
        #[cfg(feature = "dtls12")]
        Self::Dtls12,
    ];

    /// The bytes on the wire.
    pub const fn to_bytes(self) -> [u8; 2] {
        match self {
            Self::Dtls12 => DTLS12,
            Self::Dtls13 => DTLS13,
        }
    }
}

/// The bytes of DTLS 1.0, which first flights carry so that old middleboxes and servers read them (RFC 6347 §4.2.1).
pub const DTLS10: [u8; 2] = [0xFE, 0xFF];
/// The bytes of DTLS 1.2.
pub const DTLS12: [u8; 2] = [0xFE, 0xFD];
/// The bytes of DTLS 1.3.
pub const DTLS13: [u8; 2] = [0xFE, 0xFC];

impl core::fmt::Display for ProtocolVersion {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Dtls12 => "DTLS 1.2",
            Self::Dtls13 => "DTLS 1.3",
        })
    }
}
