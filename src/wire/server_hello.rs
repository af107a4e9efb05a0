//! `ServerHello` (RFC 5246 §7.4.1.3, RFC 8446 §4.1.3).

use super::extension::Extensions;
use super::version::{self, ProtocolVersion};
use super::{BufferFull, InvalidMessage, RANDOM_LEN, Reader, Writer};

/// What the random of a server ends with that knows DTLS 1.3 and speaks DTLS 1.2 (RFC 8446 §4.1.3).
#[cfg(feature = "dtls12")]
pub const DOWNGRADE_DTLS12: [u8; 8] = *b"DOWNGRD\x01";

/// The random of a ServerHello that is a HelloRetryRequest (RFC 8446 §4.1.3).
#[cfg(feature = "dtls13")]
pub const HELLO_RETRY_REQUEST_RANDOM: [u8; RANDOM_LEN] = [
    0xCF, 0x21, 0xAD, 0x74, 0xE5, 0x9A, 0x61, 0x11, 0xBE, 0x1D, 0x8C, 0x02, 0x1E, 0x65, 0xB8, 0x91, 0xC2,
    0xA2, 0x11, 0x16, 0x7A, 0xBB, 0x8C, 0x5E, 0x07, 0x9E, 0x09, 0xE2, 0xC8, 0xA8, 0x33, 0x9C,
];

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

    /// The version that the server speaks, if it is one of those of this crate.
    pub fn version(&self) -> Result<Option<ProtocolVersion>, InvalidMessage> {
        #[cfg(feature = "dtls13")]
        if let Some(selected) = self.extensions.supported_versions {
            let is_dtls13 = super::supported_versions::selected(selected)? == version::DTLS13;
            // It is never named in the old field (RFC 9147 §5.4), and an older one never in the new (RFC 8446 §4.2.1).
            let fits = is_dtls13 && self.server_version == version::DTLS12;
            return if fits { Ok(Some(ProtocolVersion::Dtls13)) } else { Err(InvalidMessage::IllegalValue) };
        }
        Ok(Some(ProtocolVersion::Dtls12).filter(|_| self.server_version == version::DTLS12))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions() {
        let mut hello = ServerHello {
            server_version: version::DTLS12,
            random: [2; RANDOM_LEN],
            session_id: &[],
            cipher_suite: 0x1305,
            compression_method: 0,
            extensions: Extensions::default(),
        };
        assert_eq!(hello.version(), Ok(Some(ProtocolVersion::Dtls12)));
        for other in [version::DTLS10, version::DTLS13, [3, 3]] {
            hello.server_version = other;
            assert_eq!(hello.version(), Ok(None), "{other:?}");
        }
        #[cfg(feature = "dtls13")]
        {
            // Both fields have to say what they say in DTLS 1.3 (RFC 9147 §5.4).
            hello.extensions.supported_versions = Some(&version::DTLS13);
            assert_eq!(hello.version(), Err(InvalidMessage::IllegalValue));
            hello.server_version = version::DTLS12;
            assert_eq!(hello.version(), Ok(Some(ProtocolVersion::Dtls13)));
            // The extension is not there to say DTLS 1.2 (RFC 8446 §4.2.1), or TLS 1.3.
            for other in [&version::DTLS12, &version::DTLS10, &[3, 4]] {
                hello.extensions.supported_versions = Some(other);
                assert_eq!(hello.version(), Err(InvalidMessage::IllegalValue), "{other:?}");
            }
            for odd in [&[][..], &[0xFE], &[2, 0xFE, 0xFC]] {
                hello.extensions.supported_versions = Some(odd);
                assert!(hello.version().is_err(), "{odd:?}");
            }
        }
    }
}
