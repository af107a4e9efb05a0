//! Answers to a ClientHello that nothing is kept for: a HelloVerifyRequest (RFC 6347 §4.2.1), a HelloRetryRequest (RFC 9147 §5.1), or
//! an alert.

#[cfg(feature = "dtls13")]
use core::net::SocketAddr;

#[cfg(feature = "dtls12")]
use super::cookie::COOKIE_LEN;
#[cfg(feature = "dtls13")]
use super::cookie::{CookieJar, Retry};
use super::flight;
#[cfg(feature = "dtls13")]
use super::server13::{self, Choice};
#[cfg(feature = "dtls13")]
use super::transcript::Transcript;
#[cfg(feature = "dtls13")]
use crate::CipherSuite;
use crate::error::Error;
use crate::log::debug;
use crate::record::PlainWriter;
#[cfg(feature = "dtls13")]
use crate::time::Instant;
use crate::wire::Writer;
use crate::wire::alert::{Alert, AlertDescription};
use crate::wire::handshake::{Fragment, HandshakeType};
#[cfg(feature = "dtls12")]
use crate::wire::hello_verify_request::HelloVerifyRequest;
use crate::wire::record::{ContentType, RecordHeader};
#[cfg(feature = "dtls13")]
use crate::wire::version::ProtocolVersion;

const HEADERS_LEN: usize = crate::wire::record::HEADER_LEN + crate::wire::handshake::HEADER_LEN;

#[cfg(not(feature = "dtls13"))]
const BODY_LEN: usize = 2 + 1 + COOKIE_LEN;
#[cfg(feature = "dtls13")]
const BODY_LEN: usize = super::server13::MAX_HELLO_RETRY_REQUEST;

pub(crate) struct HelloReply {
    /// The record number of the hello, which the reply takes over.
    plain: PlainWriter,
    kind: Kind,
}

enum Kind {
    #[cfg(feature = "dtls12")]
    HelloVerifyRequest {
        message_seq: u16,
        cookie: [u8; COOKIE_LEN],
    },
    #[cfg(feature = "dtls13")]
    HelloRetryRequest {
        message_seq: u16,
        suite: CipherSuite,
        retry: Retry,
    },
    Alert(AlertDescription),
}

impl HelloReply {
    /// Longest reply in bytes. A ClientHello is never shorter, so a reply never amplifies.
    pub(crate) const MAX_LEN: usize = HEADERS_LEN + BODY_LEN;

    #[cfg(feature = "dtls12")]
    pub(crate) fn hello_verify_request(
        header: &RecordHeader<'_>,
        hello: &Fragment<'_>,
        cookie: [u8; COOKIE_LEN],
    ) -> Self {
        let kind = Kind::HelloVerifyRequest { message_seq: hello.message_seq, cookie };
        Self { plain: PlainWriter::starting_at(header.sequence_number), kind }
    }

    /// Asks the client at `remote` to say hello once more, with a cookie.
    #[cfg(feature = "dtls13")]
    pub(crate) fn hello_retry_request(
        header: &RecordHeader<'_>,
        hello: &Fragment<'_>,
        choice: &Choice<'_>,
        cookies: &CookieJar,
        remote: SocketAddr,
        now: Instant,
    ) -> Self {
        let mut transcript = Transcript::new(ProtocolVersion::Dtls13);
        transcript.add(HandshakeType::ClientHello, hello.message_seq, hello.body);
        let retry = cookies.retry(remote, choice.suite, choice.lacks_key_share(), transcript.hash(), now);
        let kind = Kind::HelloRetryRequest { message_seq: hello.message_seq, suite: choice.suite, retry };
        Self { plain: PlainWriter::starting_at(header.sequence_number), kind }
    }

    pub(crate) fn alert(header: &RecordHeader<'_>, error: Error) -> Self {
        Self { plain: PlainWriter::starting_at(header.sequence_number), kind: Kind::Alert(error.alert()) }
    }

    /// Writes the reply as one datagram.
    pub(crate) fn write(&self, buf: &mut [u8]) -> Result<usize, Error> {
        let mut plain = self.plain;
        let mut body = [0; BODY_LEN];
        let mut w = Writer::new(&mut body);
        let (msg_type, message_seq, written) = match &self.kind {
            #[cfg(feature = "dtls12")]
            Kind::HelloVerifyRequest { message_seq, cookie } => {
                (HandshakeType::HelloVerifyRequest, *message_seq, HelloVerifyRequest { cookie }.emit(&mut w))
            }
            #[cfg(feature = "dtls13")]
            Kind::HelloRetryRequest { message_seq, suite, retry } => {
                let Retry { with_group, cookie, .. } = retry;
                let written = server13::emit_hello_retry_request(*suite, *with_group, cookie, &mut w);
                (HandshakeType::ServerHello, *message_seq, written)
            }
            Kind::Alert(description) => {
                debug!("-> Alert {:?}", description);
                let len = plain.write(ContentType::Alert, [&Alert::fatal(*description).to_bytes(), &[]], buf);
                return len.ok_or(Error::BufferTooSmall { needed: Self::MAX_LEN });
            }
        };
        debug!("-> {:?} with a cookie (message {})", msg_type, message_seq);
        let body = w.written();
        let written = written.ok().and_then(|()| {
            flight::write_plain(&mut plain, msg_type, message_seq, body, 0, buf)
                .filter(|(_, part)| *part == body.len())
                .map(|(len, _)| len)
        });
        written.ok_or(Error::BufferTooSmall { needed: Self::MAX_LEN })
    }
}
