//! `ClientHello` (RFC 5246 §7.4.1.2, with the cookie of RFC 6347 §4.2.1).

use super::extension::Extensions;
#[cfg(feature = "dtls12")]
use super::suite::EMPTY_RENEGOTIATION_INFO_SCSV;
use super::version::ProtocolVersion;
use super::{BufferFull, InvalidMessage, RANDOM_LEN, Reader, Writer};

/// A client's opening.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientHello<'a> {
    /// The newest version that the client speaks.
    pub client_version: [u8; 2],
    /// The client's random bytes.
    pub random: [u8; RANDOM_LEN],
    /// The session that the client would resume; empty for none.
    pub session_id: &'a [u8],
    /// What the server's HelloVerifyRequest asked to repeat; empty in a first hello.
    pub cookie: &'a [u8],
    /// What the client offers, the best first.
    pub cipher_suites: CipherSuites<'a>,
    /// Numbers of compression methods; 0 is none.
    pub compression_methods: &'a [u8],
    /// The extensions that this crate knows.
    pub extensions: Extensions<'a>,
}

/// The cipher suites of a ClientHello: two bytes each, on the wire as here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CipherSuites<'a>(pub &'a [u8]);

impl CipherSuites<'_> {
    /// Whether the suite with this number is offered.
    pub fn contains(&self, number: u16) -> bool {
        self.0.chunks_exact(2).any(|suite| suite == number.to_be_bytes())
    }
}

impl<'a> ClientHello<'a> {
    /// Reads the body of a ClientHello.
    pub fn parse(body: &'a [u8]) -> Result<Self, InvalidMessage> {
        let mut r = Reader::new(body);
        let client_version = r.array()?;
        let random = r.array()?;
        let session_id = r.vec8()?;
        let cookie = r.vec8()?;
        let cipher_suites = r.vec16()?;
        let compression_methods = r.vec8()?;
        let extensions = Extensions::parse(&mut r)?;
        r.finish()?;
        let lengths_fit = session_id.len() <= 32
            && !cipher_suites.is_empty()
            && cipher_suites.len().is_multiple_of(2)
            && !compression_methods.is_empty()
            // Only a server says nothing but that it has made use of the name (RFC 6066 §3).
            && extensions.server_name != Some(&[]);
        if !lengths_fit {
            return Err(InvalidMessage::IllegalLength);
        }
        let cipher_suites = CipherSuites(cipher_suites);
        Ok(Self {
            client_version,
            random,
            session_id,
            cookie,
            cipher_suites,
            compression_methods,
            extensions,
        })
    }

    /// Writes the body.
    pub fn emit(&self, w: &mut Writer<'_>) -> Result<(), BufferFull> {
        self.emit_fields(w)?;
        self.extensions.emit(w)
    }

    /// Writes the body, with what `last` writes at the end of the extensions.
    #[cfg(feature = "dtls13")]
    pub fn emit_with(
        &self,
        w: &mut Writer<'_>,
        last: impl FnOnce(&mut Writer<'_>) -> Result<(), BufferFull>,
    ) -> Result<(), BufferFull> {
        self.emit_fields(w)?;
        self.extensions.emit_list(w, last)
    }

    fn emit_fields(&self, w: &mut Writer<'_>) -> Result<(), BufferFull> {
        w.bytes(&self.client_version)?;
        w.bytes(&self.random)?;
        w.vec8(self.session_id)?;
        w.vec8(self.cookie)?;
        w.vec16(self.cipher_suites.0)?;
        w.vec8(self.compression_methods)
    }

    /// Whether the client speaks this version. Those of DTLS count downwards: without `supported_versions`, a client speaks all from
    /// 1.0 to the one that it names (RFC 5246 appendix E.1); and DTLS 1.3 is never named there (RFC 9147 §5.3).
    pub fn offers_version(&self, version: ProtocolVersion) -> Result<bool, InvalidMessage> {
        #[cfg(feature = "dtls13")]
        if let Some(versions) = self.extensions.supported_versions {
            return super::supported_versions::contains(versions, version.to_bytes());
        }
        let [[major, minor], [their_major, their_minor]] = [version.to_bytes(), self.client_version];
        Ok(version == ProtocolVersion::Dtls12 && their_major == major && their_minor <= minor)
    }

    /// Whether the client knows secure renegotiation, said in either of the two ways of RFC 5746 §3.4.
    #[cfg(feature = "dtls12")]
    pub fn knows_renegotiation_info(&self) -> bool {
        self.extensions.renegotiation_info || self.cipher_suites.contains(EMPTY_RENEGOTIATION_INFO_SCSV)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::version::{DTLS10, DTLS12, DTLS13};

    fn hello(client_version: [u8; 2]) -> ClientHello<'static> {
        ClientHello {
            client_version,
            random: [1; RANDOM_LEN],
            session_id: &[],
            cookie: &[],
            cipher_suites: CipherSuites(&[0xC0, 0xA8, 0x13, 0x05]),
            compression_methods: &[0],
            extensions: Extensions::default(),
        }
    }

    /// Without the extension, the old field is a bound, and DTLS 1.3 is never named in it.
    #[test]
    fn versions_without_the_extension() {
        for (client_version, with_dtls12) in [
            (DTLS12, true),
            (DTLS13, true),
            ([0xFE, 0x00], true),
            (DTLS10, false),
            ([0xFE, 0xFE], false),
            ([3, 3], false),
            ([1, 0], false),
        ] {
            let hello = hello(client_version);
            assert_eq!(hello.offers_version(ProtocolVersion::Dtls12), Ok(with_dtls12), "{client_version:?}");
            assert_eq!(hello.offers_version(ProtocolVersion::Dtls13), Ok(false), "{client_version:?}");
        }
    }

    /// With it, the old field means nothing (RFC 8446 §4.2.1).
    #[test]
    #[cfg(feature = "dtls13")]
    fn versions_of_the_extension() {
        for (list, with_dtls12, with_dtls13) in [
            (&[2, 0xFE, 0xFC][..], false, true),
            (&[2, 0xFE, 0xFD], true, false),
            (&[4, 0xFE, 0xFC, 0xFE, 0xFD], true, true),
            // GREASE, and a version of TLS.
            (&[4, 0x1A, 0x1A, 3, 4], false, false),
        ] {
            for client_version in [DTLS12, DTLS10, [3, 3]] {
                let mut hello = hello(client_version);
                hello.extensions.supported_versions = Some(list);
                assert_eq!(hello.offers_version(ProtocolVersion::Dtls12), Ok(with_dtls12), "{list:?}");
                assert_eq!(hello.offers_version(ProtocolVersion::Dtls13), Ok(with_dtls13), "{list:?}");
            }
        }
        let mut hello = hello(DTLS12);
        for list in [&[][..], &[0], &[1, 0xFE], &[3, 0xFE, 0xFC, 0xFE], &[2, 0xFE, 0xFC, 0]] {
            hello.extensions.supported_versions = Some(list);
            assert!(hello.offers_version(ProtocolVersion::Dtls13).is_err(), "{list:?}");
        }
    }

    #[test]
    #[cfg(feature = "dtls13")]
    fn written_with_something_behind() {
        let mut hello = hello(DTLS12);
        hello.extensions.supported_versions = Some(&[2, 0xFE, 0xFC]);
        let mut buf = [0; 128];
        let mut w = Writer::new(&mut buf);
        hello.emit_with(&mut w, |w| w.bytes(&[0, 41, 0, 3, 1, 2, 3])).unwrap();
        let read = ClientHello::parse(w.written()).unwrap();
        hello.extensions.pre_shared_key = Some(&[1, 2, 3]);
        assert_eq!(read, hello);
    }
}
