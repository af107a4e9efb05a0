//! Cipher suites (RFC 6655, RFC 5487, RFC 8442, RFC 8446 appendix B.4) as they are named and numbered on the wire.

use super::version::ProtocolVersion;

/// A cipher suite that this crate speaks.
///
/// In DTLS 1.2, the suites that use a pre-shared key alone give no forward secrecy: whoever learns the key can read what was
/// recorded before. The ECDHE_PSK suites give it, with the feature `x25519`, for 130 bytes more in a handshake and two
/// multiplications on the curve at each side. In DTLS 1.3, a suite says how records are sealed and no more; forward secrecy is up to
/// the [key exchange mode](crate::PskKeyExchangeMode).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum CipherSuite {
    /// `TLS_AES_128_CCM_8_SHA256` (0x1305) of DTLS 1.3, with the shortest records.
    #[cfg(feature = "dtls13")]
    Aes128Ccm8Sha256,
    /// `TLS_AES_128_CCM_SHA256` (0x1304) of DTLS 1.3.
    #[cfg(feature = "dtls13")]
    Aes128CcmSha256,
    /// `TLS_AES_128_GCM_SHA256` (0x1301) of DTLS 1.3.
    #[cfg(all(feature = "dtls13", feature = "aes-gcm"))]
    Aes128GcmSha256,
    /// `TLS_PSK_WITH_AES_128_CCM_8` (0xC0A8): mandatory for CoAP (RFC 7252 §9.1.3.1), with the shortest records.
    #[cfg(feature = "dtls12")]
    Aes128Ccm8,
    /// `TLS_PSK_WITH_AES_128_CCM` (0xC0A4, RFC 6655).
    #[cfg(feature = "dtls12")]
    Aes128Ccm,
    /// `TLS_PSK_WITH_AES_128_GCM_SHA256` (0x00A8, RFC 5487).
    #[cfg(all(feature = "dtls12", feature = "aes-gcm"))]
    Aes128Gcm,
    /// `TLS_ECDHE_PSK_WITH_AES_128_CCM_8_SHA256` (0xD003, RFC 8442), with forward secrecy.
    #[cfg(all(feature = "dtls12", feature = "x25519"))]
    EcdhePskAes128Ccm8,
    /// `TLS_ECDHE_PSK_WITH_AES_128_CCM_SHA256` (0xD005, RFC 8442), with forward secrecy.
    #[cfg(all(feature = "dtls12", feature = "x25519"))]
    EcdhePskAes128Ccm,
    /// `TLS_ECDHE_PSK_WITH_AES_128_GCM_SHA256` (0xD001, RFC 8442), with forward secrecy.
    #[cfg(all(feature = "dtls12", feature = "x25519", feature = "aes-gcm"))]
    EcdhePskAes128Gcm,
}

/// The AEAD algorithm of a cipher suite (RFC 5116), under which its records are sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum AeadAlgorithm {
    /// `AEAD_AES_128_CCM_8` (RFC 6655 §6.1): a tag of 8 bytes.
    Aes128Ccm8,
    /// `AEAD_AES_128_CCM` (RFC 5116 §5.3): a tag of 16 bytes.
    Aes128Ccm,
    /// `AEAD_AES_128_GCM` (RFC 5116 §5.1): a tag of 16 bytes.
    #[cfg(feature = "aes-gcm")]
    Aes128Gcm,
}

impl AeadAlgorithm {
    /// Bytes that the authentication tag adds to a record.
    pub const fn tag_len(self) -> usize {
        match self {
            Self::Aes128Ccm8 => 8,
            Self::Aes128Ccm => 16,
            #[cfg(feature = "aes-gcm")]
            Self::Aes128Gcm => 16,
        }
    }
}

/// Not a suite but a signal (RFC 5746 §3.3): the client knows `renegotiation_info`.
pub const EMPTY_RENEGOTIATION_INFO_SCSV: u16 = 0x00FF;

/// What a suite is made of.
struct Description {
    number: u16,
    name: &'static str,
    version: ProtocolVersion,
    aead: AeadAlgorithm,
    has_forward_secrecy: bool,
}

impl CipherSuite {
    /// Every suite of this build: those of DTLS 1.3 first, then those with forward secrecy, and of each kind the shortest records
    /// first.
    pub const ALL: &'static [Self] = &[
        #[cfg(feature = "dtls13")]
        Self::Aes128Ccm8Sha256,
        #[cfg(feature = "dtls13")]
        Self::Aes128CcmSha256,
        #[cfg(all(feature = "dtls13", feature = "aes-gcm"))]
        Self::Aes128GcmSha256,
        #[cfg(all(feature = "dtls12", feature = "x25519"))]
        Self::EcdhePskAes128Ccm8,
        #[cfg(all(feature = "dtls12", feature = "x25519"))]
        Self::EcdhePskAes128Ccm,
        #[cfg(all(feature = "dtls12", feature = "x25519", feature = "aes-gcm"))]
        Self::EcdhePskAes128Gcm,
        #[cfg(feature = "dtls12")]
        Self::Aes128Ccm8,
        #[cfg(feature = "dtls12")]
        Self::Aes128Ccm,
        #[cfg(all(feature = "dtls12", feature = "aes-gcm"))]
        Self::Aes128Gcm,
    ];

    const fn description(self) -> Description {
        use AeadAlgorithm::{Aes128Ccm, Aes128Ccm8};
        #[cfg(feature = "dtls12")]
        use ProtocolVersion::Dtls12;
        #[cfg(feature = "dtls13")]
        use ProtocolVersion::Dtls13;
        let (number, name, version, aead, has_forward_secrecy) = match self {
            #[cfg(feature = "dtls13")]
            Self::Aes128Ccm8Sha256 => (0x1305, "TLS_AES_128_CCM_8_SHA256", Dtls13, Aes128Ccm8, false),
            #[cfg(feature = "dtls13")]
            Self::Aes128CcmSha256 => (0x1304, "TLS_AES_128_CCM_SHA256", Dtls13, Aes128Ccm, false),
            #[cfg(all(feature = "dtls13", feature = "aes-gcm"))]
            Self::Aes128GcmSha256 => {
                (0x1301, "TLS_AES_128_GCM_SHA256", Dtls13, AeadAlgorithm::Aes128Gcm, false)
            }
            #[cfg(feature = "dtls12")]
            Self::Aes128Ccm8 => (0xC0A8, "TLS_PSK_WITH_AES_128_CCM_8", Dtls12, Aes128Ccm8, false),
            #[cfg(feature = "dtls12")]
            Self::Aes128Ccm => (0xC0A4, "TLS_PSK_WITH_AES_128_CCM", Dtls12, Aes128Ccm, false),
            #[cfg(all(feature = "dtls12", feature = "aes-gcm"))]
            Self::Aes128Gcm => {
                (0x00A8, "TLS_PSK_WITH_AES_128_GCM_SHA256", Dtls12, AeadAlgorithm::Aes128Gcm, false)
            }
            #[cfg(all(feature = "dtls12", feature = "x25519"))]
            Self::EcdhePskAes128Ccm8 => {
                (0xD003, "TLS_ECDHE_PSK_WITH_AES_128_CCM_8_SHA256", Dtls12, Aes128Ccm8, true)
            }
            #[cfg(all(feature = "dtls12", feature = "x25519"))]
            Self::EcdhePskAes128Ccm => {
                (0xD005, "TLS_ECDHE_PSK_WITH_AES_128_CCM_SHA256", Dtls12, Aes128Ccm, true)
            }
            #[cfg(all(feature = "dtls12", feature = "x25519", feature = "aes-gcm"))]
            Self::EcdhePskAes128Gcm => {
                (0xD001, "TLS_ECDHE_PSK_WITH_AES_128_GCM_SHA256", Dtls12, AeadAlgorithm::Aes128Gcm, true)
            }
        };
        Description { number, name, version, aead, has_forward_secrecy }
    }

    /// The number on the wire.
    pub const fn number(self) -> u16 {
        self.description().number
    }

    /// The suite with this number, if this build has it.
    ///
    /// ```
    /// use dtls_psk::CipherSuite;
    ///
    /// assert_eq!(CipherSuite::from_number(0xC0A8), Some(CipherSuite::Aes128Ccm8));
    /// assert_eq!(CipherSuite::from_number(0x002F), None);
    /// ```
    pub fn from_number(number: u16) -> Option<Self> {
        Self::ALL.iter().copied().find(|suite| suite.number() == number)
    }

    /// The name in the IANA registry.
    pub const fn name(self) -> &'static str {
        self.description().name
    }

    /// The version of DTLS that it is a suite of: no other knows it.
    pub const fn version(self) -> ProtocolVersion {
        self.description().version
    }

    /// The algorithm that seals the records.
    pub const fn aead(self) -> AeadAlgorithm {
        self.description().aead
    }

    /// Whether the suite has both sides add ephemeral keys to the pre-shared one, so that what was recorded stays secret when that
    /// gets known. In DTLS 1.3, no suite says so: see [`PskKeyExchangeMode`](crate::PskKeyExchangeMode).
    pub const fn has_forward_secrecy(self) -> bool {
        self.description().has_forward_secrecy
    }

    /// Bytes that the authentication tag adds to a record.
    pub const fn tag_len(self) -> usize {
        self.aead().tag_len()
    }
}

impl core::fmt::Display for CipherSuite {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(self.name())
    }
}
