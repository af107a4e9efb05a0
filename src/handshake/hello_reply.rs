//! Answers to a ClientHello that nothing is kept for: a HelloVerifyRequest (RFC 6347 §4.2.1), or an alert.

use super::cookie::COOKIE_LEN;
use super::flight;
use crate::error::Error;
use crate::log::debug;
use crate::record::PlainWriter;
use crate::wire::Writer;
use crate::wire::alert::{Alert, AlertDescription};
use crate::wire::handshake::{Fragment, HandshakeType};
use crate::wire::hello_verify_request::HelloVerifyRequest;
use crate::wire::record::{ContentType, RecordHeader};

/// Longest reply in bytes. A ClientHello is never shorter, so a reply never amplifies.
const MAX_LEN: usize = crate::wire::record::HEADER_LEN + crate::wire::handshake::HEADER_LEN + BODY_LEN;

const BODY_LEN: usize = 2 + 1 + COOKIE_LEN;

#[derive(Clone, Copy)]
pub(crate) struct HelloReply {
    /// The record number of the hello, which the reply takes over.
    plain: PlainWriter,
    kind: Kind,
}

#[derive(Clone, Copy)]
enum Kind {
    HelloVerifyRequest { message_seq: u16, cookie: [u8; COOKIE_LEN] },
    Alert(AlertDescription),
}

impl HelloReply {
    pub(crate) fn hello_verify_request(
        header: &RecordHeader<'_>,
        hello: &Fragment<'_>,
        cookie: [u8; COOKIE_LEN],
    ) -> Self {
        let kind = Kind::HelloVerifyRequest { message_seq: hello.message_seq, cookie };
        Self { plain: PlainWriter::starting_at(header.sequence_number), kind }
    }

    pub(crate) fn alert(header: &RecordHeader<'_>, error: Error) -> Self {
        Self { plain: PlainWriter::starting_at(header.sequence_number), kind: Kind::Alert(error.alert()) }
    }

    /// Writes the reply as one datagram.
    pub(crate) fn write(&self, buf: &mut [u8]) -> Result<usize, Error> {
        let mut plain = self.plain;
        let len = match &self.kind {
            Kind::HelloVerifyRequest { message_seq, cookie } => {
                debug!("-> HelloVerifyRequest (message {})", message_seq);
                let mut body = [0; BODY_LEN];
                let mut w = Writer::new(&mut body);
                let written = HelloVerifyRequest { cookie }.emit(&mut w);
                let msg_type = HandshakeType::HelloVerifyRequest;
                written.ok().and_then(|()| {
                    flight::write_plain(&mut plain, msg_type, *message_seq, w.written(), 0, buf)
                        .filter(|(_, part)| *part == BODY_LEN)
                        .map(|(len, _)| len)
                })
            }
            Kind::Alert(description) => {
                debug!("-> Alert {:?}", description);
                plain.write(ContentType::Alert, [&Alert::fatal(*description).to_bytes(), &[]], buf)
            }
        };
        len.ok_or(Error::BufferTooSmall { needed: MAX_LEN })
    }
}
