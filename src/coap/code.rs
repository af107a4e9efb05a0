//! Codes: which request or which response a message carries (RFC 7252 §3, §5.2, §12.1).

use core::fmt;

/// The code of a message: a method, a response code, or 0.00 for an Empty message.
///
/// It is written as `class.detail`, and compares with the constants of [`coap_numbers::code`].
///
/// ```
/// use dtls_psk::coap::Code;
///
/// let code = Code::new(coap_numbers::code::NOT_FOUND);
/// assert_eq!(code.to_string(), "4.04");
/// assert_eq!((code.class(), code.detail()), (4, 4));
/// assert!(code.is_client_error() && !code.is_success());
/// assert_eq!(code, coap_numbers::code::NOT_FOUND);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Code(u8);

impl Code {
    /// 0.00, the code of an Empty message (§4.1).
    pub const EMPTY: Self = Self(0);

    /// The code with this byte on the wire.
    pub const fn new(byte: u8) -> Self {
        Self(byte)
    }

    /// The byte on the wire.
    pub const fn byte(self) -> u8 {
        self.0
    }

    /// The number before the dot, 0 to 7.
    pub const fn class(self) -> u8 {
        self.0 >> 5
    }

    /// The number after the dot, 0 to 31.
    pub const fn detail(self) -> u8 {
        self.0 & 0x1f
    }

    /// Whether this is a method: 0.01 to 0.31.
    pub const fn is_request(self) -> bool {
        self.class() == 0 && self.0 != 0
    }

    /// Whether this is a response code: 2.00 to 5.31 (§12.1).
    pub const fn is_response(self) -> bool {
        matches!(self.class(), 2..=5)
    }

    /// Whether the request was understood and accepted: 2.xx.
    pub const fn is_success(self) -> bool {
        self.class() == 2
    }

    /// Whether the request could not be fulfilled as it was: 4.xx. Ones that are not known count as 4.00 (§5.2).
    pub const fn is_client_error(self) -> bool {
        self.class() == 4
    }

    /// Whether the server failed to fulfil the request: 5.xx. Ones that are not known count as 5.00 (§5.2).
    pub const fn is_server_error(self) -> bool {
        self.class() == 5
    }
}

impl From<u8> for Code {
    fn from(byte: u8) -> Self {
        Self(byte)
    }
}

impl From<Code> for u8 {
    fn from(code: Code) -> Self {
        code.0
    }
}

impl PartialEq<u8> for Code {
    fn eq(&self, byte: &u8) -> bool {
        self.0 == *byte
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:02}", self.class(), self.detail())
    }
}

impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(feature = "defmt")]
impl defmt::Format for Code {
    fn format(&self, f: defmt::Formatter<'_>) {
        defmt::write!(f, "{}.{:02}", self.class(), self.detail());
    }
}
