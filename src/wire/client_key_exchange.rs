//! `ClientKeyExchange` of the plain PSK suites (RFC 4279 §2): the identity, in the clear.

use super::{BufferFull, InvalidMessage, Reader, Writer};

/// The client's PSK identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientKeyExchange<'a> {
    /// The identity; any bytes.
    pub psk_identity: &'a [u8],
}

impl<'a> ClientKeyExchange<'a> {
    /// Reads the body.
    pub fn parse(body: &'a [u8]) -> Result<Self, InvalidMessage> {
        let mut r = Reader::new(body);
        let psk_identity = r.vec16()?;
        r.finish()?;
        Ok(Self { psk_identity })
    }

    /// Writes the body.
    pub fn emit(&self, w: &mut Writer<'_>) -> Result<(), BufferFull> {
        w.vec16(self.psk_identity)
    }
}
