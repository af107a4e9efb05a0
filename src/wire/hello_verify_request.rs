//! `HelloVerifyRequest` (RFC 6347 §4.2.1).

use super::{BufferFull, InvalidMessage, Reader, Writer, version};

/// The server's request to repeat the ClientHello with a cookie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HelloVerifyRequest<'a> {
    /// Up to 255 bytes that mean nothing to the client.
    pub cookie: &'a [u8],
}

impl<'a> HelloVerifyRequest<'a> {
    /// Reads the body. The version says nothing about the one that will be agreed, but must be one of DTLS.
    pub fn parse(body: &'a [u8]) -> Result<Self, InvalidMessage> {
        let mut r = Reader::new(body);
        let server_version = r.array()?;
        let cookie = r.vec8()?;
        r.finish()?;
        if server_version != version::DTLS10 && server_version != version::DTLS12 {
            return Err(InvalidMessage::IllegalValue);
        }
        Ok(Self { cookie })
    }

    /// Writes the body, with DTLS 1.0's version as RFC 6347 §4.2.1 asks.
    pub fn emit(&self, w: &mut Writer<'_>) -> Result<(), BufferFull> {
        w.bytes(&version::DTLS10)?;
        w.vec8(self.cookie)
    }
}
