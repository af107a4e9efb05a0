//! Cipher suites (RFC 6655, RFC 5487, RFC 8442) as they are named and numbered on the wire.

/// A cipher suite that this crate speaks.
///
/// Those that use a pre-shared key alone give no forward secrecy: whoever learns the key can read what was recorded before.
/// The ECDHE_PSK suites give it, with the feature `x25519`, for 130 bytes more in a handshake and two multiplications on the
/// curve at each side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum CipherSuite {
    /// `TLS_PSK_WITH_AES_128_CCM_8` (0xC0A8): mandatory for CoAP (RFC 7252 §9.1.3.1), with the shortest records.
    Aes128Ccm8,
    /// `TLS_PSK_WITH_AES_128_CCM` (0xC0A4, RFC 6655).
    Aes128Ccm,
    /// `TLS_PSK_WITH_AES_128_GCM_SHA256` (0x00A8, RFC 5487).
    #[cfg(feature = "aes-gcm")]
    Aes128Gcm,
    /// `TLS_ECDHE_PSK_WITH_AES_128_CCM_8_SHA256` (0xD003, RFC 8442), with forward secrecy.
    #[cfg(feature = "x25519")]
    EcdhePskAes128Ccm8,
    /// `TLS_ECDHE_PSK_WITH_AES_128_CCM_SHA256` (0xD005, RFC 8442), with forward secrecy.
    #[cfg(feature = "x25519")]
    EcdhePskAes128Ccm,
    /// `TLS_ECDHE_PSK_WITH_AES_128_GCM_SHA256` (0xD001, RFC 8442), with forward secrecy.
    #[cfg(all(feature = "x25519", feature = "aes-gcm"))]
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

impl CipherSuite {
    /// Every suite of this build: those with forward secrecy first, and of each kind the shortest records first.
    pub const ALL: &'static [Self] = &[
        #[cfg(feature = "x25519")]
        Self::EcdhePskAes128Ccm8,
        #[cfg(feature = "x25519")]
        Self::EcdhePskAes128Ccm,
        #[cfg(all(feature = "x25519", feature = "aes-gcm"))]
        Self::EcdhePskAes128Gcm,
        Self::Aes128Ccm8,
        Self::Aes128Ccm,
        #[cfg(feature = "aes-gcm")]
        Self::Aes128Gcm,
    ];

    /// The number on the wire.
    pub const fn number(self) -> u16 {
        match self {
            Self::Aes128Ccm8 => 0xC0A8,
            Self::Aes128Ccm => 0xC0A4,
            #[cfg(feature = "aes-gcm")]
            Self::Aes128Gcm => 0x00A8,
            #[cfg(feature = "x25519")]
            Self::EcdhePskAes128Ccm8 => 0xD003,
            #[cfg(feature = "x25519")]
            Self::EcdhePskAes128Ccm => 0xD005,
            #[cfg(all(feature = "x25519", feature = "aes-gcm"))]
            Self::EcdhePskAes128Gcm => 0xD001,
        }
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
        match self {
            Self::Aes128Ccm8 => "TLS_PSK_WITH_AES_128_CCM_8",
            Self::Aes128Ccm => "TLS_PSK_WITH_AES_128_CCM",
            #[cfg(feature = "aes-gcm")]
            Self::Aes128Gcm => "TLS_PSK_WITH_AES_128_GCM_SHA256",
            #[cfg(feature = "x25519")]
            Self::EcdhePskAes128Ccm8 => "TLS_ECDHE_PSK_WITH_AES_128_CCM_8_SHA256",
            #[cfg(feature = "x25519")]
            Self::EcdhePskAes128Ccm => "TLS_ECDHE_PSK_WITH_AES_128_CCM_SHA256",
            #[cfg(all(feature = "x25519", feature = "aes-gcm"))]
            Self::EcdhePskAes128Gcm => "TLS_ECDHE_PSK_WITH_AES_128_GCM_SHA256",
        }
    }

    /// The algorithm that seals the records.
    pub const fn aead(self) -> AeadAlgorithm {
        match self {
            Self::Aes128Ccm8 => AeadAlgorithm::Aes128Ccm8,
            Self::Aes128Ccm => AeadAlgorithm::Aes128Ccm,
            #[cfg(feature = "aes-gcm")]
            Self::Aes128Gcm => AeadAlgorithm::Aes128Gcm,
            #[cfg(feature = "x25519")]
            Self::EcdhePskAes128Ccm8 => AeadAlgorithm::Aes128Ccm8,
            #[cfg(feature = "x25519")]
            Self::EcdhePskAes128Ccm => AeadAlgorithm::Aes128Ccm,
            #[cfg(all(feature = "x25519", feature = "aes-gcm"))]
            Self::EcdhePskAes128Gcm => AeadAlgorithm::Aes128Gcm,
        }
    }

    /// Whether both sides add ephemeral keys to the pre-shared one, so that what was recorded stays secret when that gets
    /// known.
    pub const fn has_forward_secrecy(self) -> bool {
        match self {
            #[cfg(feature = "x25519")]
            Self::EcdhePskAes128Ccm8 | Self::EcdhePskAes128Ccm => true,
            #[cfg(all(feature = "x25519", feature = "aes-gcm"))]
            Self::EcdhePskAes128Gcm => true,
            _ => false,
        }
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
