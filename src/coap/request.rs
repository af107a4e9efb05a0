//! What a client asks for.

use coap_message::MinimalWritableMessage;
use coap_numbers::{code, option};

use super::Code;
use super::block::Block;
use super::uri::{PathError, write_host, write_path};
use super::writer::Writer;

/// A request that is yet to be made: a method, a path, and what else there is to say.
///
/// A payload may be longer than a message: it goes to the server in blocks then (RFC 7959).
///
/// ```
/// use dtls_psk::coap::Request;
///
/// let readings = Request::post("/log?unit=K", b"21.5").content_format(0).non_confirmable();
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    pub(super) method: u8,
    host: Option<&'a str>,
    path: &'a str,
    pub(super) payload: &'a [u8],
    content_format: Option<u16>,
    accept: Option<u16>,
    pub(super) confirmable: bool,
    /// SZX of the longest blocks that are wanted.
    pub(super) szx: Option<u8>,
}

impl<'a> Request<'a> {
    /// A request with any method, such as [`coap_numbers::code::FETCH`]: a code of class 0, but not 0.00. A client
    /// refuses what is none with [`Error::Method`](super::Error::Method).
    pub fn new(method: u8, path: &'a str, payload: &'a [u8]) -> Self {
        Self {
            method,
            host: None,
            path,
            payload,
            content_format: None,
            accept: None,
            confirmable: true,
            szx: None,
        }
    }

    /// GET: what is there (RFC 7252 §5.8.1).
    pub fn get(path: &'a str) -> Self {
        Self::new(code::GET, path, &[])
    }

    /// POST: have the payload processed (§5.8.2).
    pub fn post(path: &'a str, payload: &'a [u8]) -> Self {
        Self::new(code::POST, path, payload)
    }

    /// PUT: make the payload what is there (§5.8.3).
    pub fn put(path: &'a str, payload: &'a [u8]) -> Self {
        Self::new(code::PUT, path, payload)
    }

    /// DELETE: have nothing there (§5.8.4).
    pub fn delete(path: &'a str) -> Self {
        Self::new(code::DELETE, path, &[])
    }

    /// Says which host is asked (Uri-Host, §5.10.1), for servers that have several at one address.
    ///
    /// It is the host as it is in a URI, percent-encoding and all. Where that is an IP address, it is left out: a server
    /// knows its address (§6.4).
    #[must_use]
    pub fn host(self, host: &'a str) -> Self {
        Self { host: Some(host), ..self }
    }

    /// Says what the payload is (§5.10.3), with the numbers of the Content-Formats registry.
    #[must_use]
    pub fn content_format(self, content_format: u16) -> Self {
        Self { content_format: Some(content_format), ..self }
    }

    /// Says what the reply should be (§5.10.4), with the numbers of the Content-Formats registry.
    #[must_use]
    pub fn accept(self, content_format: u16) -> Self {
        Self { accept: Some(content_format), ..self }
    }

    /// Sends each message of the request once and not again (§4.3).
    #[must_use]
    pub fn non_confirmable(self) -> Self {
        Self { confirmable: false, ..self }
    }

    /// Says how long the blocks of the payload and of the reply may be, in bytes (RFC 7959 §2.2): 16 to 1024, or the next
    /// smaller power of two; less than 16 counts as 16. The server may want smaller ones.
    ///
    /// Without it, they are as long as messages and buffers allow.
    #[must_use]
    pub fn block_size(self, bytes: usize) -> Self {
        Self { szx: Some(Block::first(bytes).szx), ..self }
    }

    /// Whether the request asks for something and changes nothing: GET (RFC 7252 §5.1) and FETCH (RFC 8132 §2). Such a
    /// request may be made again.
    pub(super) fn is_safe(&self) -> bool {
        matches!(self.method, code::GET | code::FETCH)
    }

    pub(super) fn code(&self) -> Option<Code> {
        Some(Code::new(self.method)).filter(|code| code.is_request())
    }

    /// Writes the options that are the same in all messages of the request, and Observe (RFC 7641 §2) among them.
    pub(super) fn write_options(
        &self,
        writer: &mut Writer<'_>,
        observe: Option<u8>,
    ) -> Result<(), PathError> {
        // Options are written in the order of their numbers: 3, 6, 11, 12, 15, 17.
        if let Some(host) = self.host {
            write_host(writer, host)?;
        }
        if let Some(observe) = observe {
            writer.add_option_uint(option::OBSERVE, observe).map_err(|_| PathError::TooLong)?;
        }
        let (path, query) = match self.path.find('?') {
            Some(at) => self.path.split_at_checked(at).ok_or(PathError::Invalid)?,
            None => (self.path, ""),
        };
        write_path(writer, path)?;
        if let Some(content_format) = self.content_format {
            writer.add_option_uint(option::CONTENT_FORMAT, content_format).map_err(|_| PathError::TooLong)?;
        }
        write_path(writer, query)?;
        if let Some(accept) = self.accept {
            writer.add_option_uint(option::ACCEPT, accept).map_err(|_| PathError::TooLong)?;
        }
        Ok(())
    }
}
