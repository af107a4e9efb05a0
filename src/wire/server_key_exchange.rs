//! `ServerKeyExchange` of the plain PSK suites (RFC 4279 §2): a hint which identity to use.

use super::{BufferFull, InvalidMessage, Reader, Writer};

/// The server's PSK identity hint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServerKeyExchange<'a> {
    /// The hint; what it says is between the two applications.
    pub psk_identity_hint: &'a [u8],
}

impl<'a> ServerKeyExchange<'a> {
    /// Reads the body.
    pub fn parse(body: &'a [u8]) -> Result<Self, InvalidMessage> {
        let mut r = Reader::new(body);
        let psk_identity_hint = r.vec16()?;
        r.finish()?;
        Ok(Self { psk_identity_hint })
    }

    /// Writes the body.
    pub fn emit(&self, w: &mut Writer<'_>) -> Result<(), BufferFull> {
        w.vec16(self.psk_identity_hint)
    }
}
