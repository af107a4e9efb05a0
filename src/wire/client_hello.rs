//! `ClientHello` (RFC 5246 §7.4.1.2, with the cookie of RFC 6347 §4.2.1).

use super::extension::Extensions;
use super::suite::EMPTY_RENEGOTIATION_INFO_SCSV;
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
        w.bytes(&self.client_version)?;
        w.bytes(&self.random)?;
        w.vec8(self.session_id)?;
        w.vec8(self.cookie)?;
        w.vec16(self.cipher_suites.0)?;
        w.vec8(self.compression_methods)?;
        self.extensions.emit(w)
    }

    /// Whether the client knows secure renegotiation, said in either of the two ways of RFC 5746 §3.4.
    pub fn knows_renegotiation_info(&self) -> bool {
        self.extensions.renegotiation_info || self.cipher_suites.contains(EMPTY_RENEGOTIATION_INFO_SCSV)
    }
}
