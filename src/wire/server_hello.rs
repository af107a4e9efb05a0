//! `ServerHello` (RFC 5246 §7.4.1.3).

use super::extension::Extensions;
use super::{BufferFull, InvalidMessage, RANDOM_LEN, Reader, Writer};

/// A server's choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServerHello<'a> {
    /// The version that the server chose.
    pub server_version: [u8; 2],
    /// The server's random bytes.
    pub random: [u8; RANDOM_LEN],
    /// The name under which the session could be resumed; empty for none.
    pub session_id: &'a [u8],
    /// The number of the suite that the server chose.
    pub cipher_suite: u16,
    /// The number of the compression method; 0 is none.
    pub compression_method: u8,
    /// The extensions that the server accepted.
    pub extensions: Extensions<'a>,
}

impl<'a> ServerHello<'a> {
    /// Reads the body of a ServerHello.
    pub fn parse(body: &'a [u8]) -> Result<Self, InvalidMessage> {
        let mut r = Reader::new(body);
        let server_version = r.array()?;
        let random = r.array()?;
        let session_id = r.vec8()?;
        let cipher_suite = r.u16()?;
        let compression_method = r.u8()?;
        let extensions = Extensions::parse(&mut r)?;
        r.finish()?;
        if session_id.len() > 32 {
            return Err(InvalidMessage::IllegalLength);
        }
        Ok(Self { server_version, random, session_id, cipher_suite, compression_method, extensions })
    }

    /// Writes the body.
    pub fn emit(&self, w: &mut Writer<'_>) -> Result<(), BufferFull> {
        w.bytes(&self.server_version)?;
        w.bytes(&self.random)?;
        w.vec8(self.session_id)?;
        w.u16(self.cipher_suite)?;
        w.u8(self.compression_method)?;
        self.extensions.emit(w)
    }
}
