//! `ImportedIdentity` (RFC 9258 §5.1): what a client calls a key by that was imported.

use super::version::DTLS13;
use super::{BufferFull, InvalidMessage, Reader, Writer};
use crate::psk::{MAX_CONTEXT_LEN, MAX_IDENTITY_LEN};

/// `HKDF_SHA256`, the one key derivation function of the suites of this crate.
const HKDF_SHA256: u16 = 1;

/// Length in bytes of the longest.
pub const MAX_LEN: usize = 2 + MAX_IDENTITY_LEN + 2 + MAX_CONTEXT_LEN + 2 + 2;

/// A key that was imported for DTLS 1.3 and SHA-256.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImportedIdentity<'a> {
    /// The identity of the key that it was made of; at least one byte.
    pub external_identity: &'a [u8],
    /// Where that comes from, and for whom.
    pub context: &'a [u8],
}

impl<'a> ImportedIdentity<'a> {
    /// Reads an identity. One of another protocol or key derivation function is an [`InvalidMessage::IllegalValue`], and not of use.
    pub fn parse(identity: &'a [u8]) -> Result<Self, InvalidMessage> {
        let mut r = Reader::new(identity);
        let external_identity = r.vec16()?;
        let context = r.vec16()?;
        let target: ([u8; 2], u16) = (r.array()?, r.u16()?);
        r.finish()?;
        if external_identity.is_empty() {
            return Err(InvalidMessage::IllegalLength);
        }
        if target != (DTLS13, HKDF_SHA256) {
            return Err(InvalidMessage::IllegalValue);
        }
        Ok(Self { external_identity, context })
    }

    /// Writes the identity.
    pub fn emit(&self, w: &mut Writer<'_>) -> Result<(), BufferFull> {
        w.vec16(self.external_identity)?;
        w.vec16(self.context)?;
        w.bytes(&DTLS13)?;
        w.u16(HKDF_SHA256)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn written_and_read() {
        let identity = ImportedIdentity { external_identity: b"client1", context: b"lamp" };
        let mut buf = [0; 64];
        let mut w = Writer::new(&mut buf);
        identity.emit(&mut w).unwrap();
        let bytes = &*w.written();
        assert_eq!(bytes, b"\0\x07client1\0\x04lamp\xFE\xFC\0\x01");
        assert_eq!(ImportedIdentity::parse(bytes), Ok(identity));
        for len in 0..bytes.len() {
            assert_eq!(ImportedIdentity::parse(&bytes[..len]), Err(InvalidMessage::Truncated));
        }
        // TLS 1.3, SHA-384, no identity.
        for other in [&b"\0\x01x\0\0\x03\x04\0\x01"[..], b"\0\x01x\0\0\xFE\xFC\0\x02"] {
            assert_eq!(ImportedIdentity::parse(other), Err(InvalidMessage::IllegalValue));
        }
        assert_eq!(ImportedIdentity::parse(b"\0\0\0\0\xFE\xFC\0\x01"), Err(InvalidMessage::IllegalLength));
    }
}
