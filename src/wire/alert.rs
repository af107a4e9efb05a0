//! Alerts (RFC 5246 §7.2).

use super::version::ProtocolVersion;
use super::{InvalidMessage, Reader};

/// Length in bytes of an alert.
pub const LEN: usize = 2;

/// How grave an alert is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum AlertLevel {
    /// The association may go on.
    Warning,
    /// The association is over.
    Fatal,
}

/// An alert as it travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Alert {
    /// How grave it is.
    pub level: AlertLevel,
    /// What it is about.
    pub description: AlertDescription,
}

impl Alert {
    /// An alert that ends the association.
    pub const fn fatal(description: AlertDescription) -> Self {
        Self { level: AlertLevel::Fatal, description }
    }

    /// An alert that leaves the association as it is.
    pub const fn warning(description: AlertDescription) -> Self {
        Self { level: AlertLevel::Warning, description }
    }

    /// Whether nothing comes after it: the end of the sender's data, or a fatal alert. In DTLS 1.2 the level says which are; in DTLS 1.3
    /// all are but one, whatever the level (RFC 8446 §6).
    pub fn ends_association(self, version: ProtocolVersion) -> bool {
        self.description == AlertDescription::CLOSE_NOTIFY
            || match version {
                ProtocolVersion::Dtls12 => self.level == AlertLevel::Fatal,
                ProtocolVersion::Dtls13 => self.description != AlertDescription::USER_CANCELED,
            }
    }

    /// Reads an alert, which must fill its record.
    pub fn parse(body: &[u8]) -> Result<Self, InvalidMessage> {
        let mut r = Reader::new(body);
        let level = match r.u8()? {
            1 => AlertLevel::Warning,
            2 => AlertLevel::Fatal,
            _ => return Err(InvalidMessage::IllegalValue),
        };
        let description = AlertDescription(r.u8()?);
        r.finish()?;
        Ok(Self { level, description })
    }

    /// The alert's two bytes.
    pub const fn to_bytes(self) -> [u8; LEN] {
        let level = match self.level {
            AlertLevel::Warning => 1,
            AlertLevel::Fatal => 2,
        };
        [level, self.description.0]
    }
}

/// What an alert is about: the number from the IANA registry, which knows more than this crate ever sends.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct AlertDescription(pub u8);

impl AlertDescription {
    /// The sender will send nothing more (RFC 5246 §7.2.1).
    pub const CLOSE_NOTIFY: Self = Self(0);
    /// A message that does not belong here.
    pub const UNEXPECTED_MESSAGE: Self = Self(10);
    /// No parameters that both sides accept: for a PSK client, mostly no common cipher suite.
    pub const HANDSHAKE_FAILURE: Self = Self(40);
    /// A field that contradicts others or is out of range.
    pub const ILLEGAL_PARAMETER: Self = Self(47);
    /// A message that cannot be read.
    pub const DECODE_ERROR: Self = Self(50);
    /// A handshake that fails its cryptographic check: the wrong key, or an unknown identity (RFC 4279 §2, RFC 7925 §6).
    pub const DECRYPT_ERROR: Self = Self(51);
    /// A protocol version that is recognized but not supported.
    pub const PROTOCOL_VERSION: Self = Self(70);
    /// A failure that has nothing to do with the peer.
    pub const INTERNAL_ERROR: Self = Self(80);
    /// The sender gives the handshake up, and says close_notify next.
    pub const USER_CANCELED: Self = Self(90);
    /// The sender will not renegotiate.
    pub const NO_RENEGOTIATION: Self = Self(100);
    /// A message without an extension that it must have (RFC 8446 §6.2).
    pub const MISSING_EXTENSION: Self = Self(109);
    /// A ServerHello with an extension that was not offered.
    pub const UNSUPPORTED_EXTENSION: Self = Self(110);
    /// The server does not go by the name that the client calls it (RFC 6066 §9).
    pub const UNRECOGNIZED_NAME: Self = Self(112);
    /// The server does not know the PSK identity, and says so (RFC 4279 §2).
    pub const UNKNOWN_PSK_IDENTITY: Self = Self(115);

    /// The name in the IANA registry; `unknown` for numbers that it does not hold or that this crate has no use for.
    pub const fn name(self) -> &'static str {
        match self.0 {
            0 => "close_notify",
            10 => "unexpected_message",
            20 => "bad_record_mac",
            22 => "record_overflow",
            40 => "handshake_failure",
            42 => "bad_certificate",
            43 => "unsupported_certificate",
            47 => "illegal_parameter",
            48 => "unknown_ca",
            49 => "access_denied",
            50 => "decode_error",
            51 => "decrypt_error",
            52 => "too_many_cids_requested",
            70 => "protocol_version",
            71 => "insufficient_security",
            80 => "internal_error",
            86 => "inappropriate_fallback",
            90 => "user_canceled",
            100 => "no_renegotiation",
            109 => "missing_extension",
            110 => "unsupported_extension",
            112 => "unrecognized_name",
            115 => "unknown_psk_identity",
            120 => "no_application_protocol",
            _ => "unknown",
        }
    }
}

impl core::fmt::Display for AlertDescription {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{} ({})", self.name(), self.0)
    }
}

impl core::fmt::Debug for AlertDescription {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        core::fmt::Display::fmt(self, f)
    }
}

#[cfg(feature = "defmt")]
impl defmt::Format for AlertDescription {
    fn format(&self, f: defmt::Formatter<'_>) {
        defmt::write!(f, "{=str} ({=u8})", self.name(), self.0);
    }
}
