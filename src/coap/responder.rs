//! The server's side of the message layer and of requests (RFC 7252 §4, §5), without I/O: a datagram in, a datagram out.

use coap_handler::Handler;
use coap_message::MinimalWritableMessage;
use coap_message::error::RenderableOnMinimal;
use coap_numbers::{code, option};

use super::deduplication::{Deduplication, Source};
use super::message::{self, Header, Type};
use super::options::{Refusal, judge_request};
use super::writer::Writer;
use super::{Code, ForPeer, Malformed, Message, TransmissionParameters};
use crate::{Instant, Peer};

/// What a [`Server`](super::Server) has seen since it was made. The counters stop at their end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub struct Counters {
    /// Requests that a handler was asked about.
    pub requests: u32,
    /// Messages that came again (§4.5).
    pub duplicates: u32,
    /// Confirmable messages that were rejected with a RST: pings, format errors, responses that nobody waits for.
    pub resets: u32,
    /// Requests that were refused before a handler saw them: critical options that are not understood, too long.
    pub refused: u32,
    /// Datagrams that were silently ignored.
    pub ignored: u32,
    /// Replies that were not sent, because the session that had asked was gone by then.
    pub orphaned: u32,
    /// Replies that the socket failed to send.
    pub send_errors: u32,
}

/// What a responder needs to know about a datagram beside its bytes.
pub(super) struct Reception<'a> {
    pub(super) source: Source,
    pub(super) peer: Option<Peer<'a>>,
    pub(super) now: Instant,
}

pub(super) struct Responder<const EXCHANGES: usize, const REPLIES: usize> {
    pub(super) parameters: TransmissionParameters,
    pub(super) known_options: &'static [u16],
    pub(super) counters: Counters,
    seen: Deduplication<EXCHANGES, REPLIES>,
}

impl<const EXCHANGES: usize, const REPLIES: usize> Responder<EXCHANGES, REPLIES> {
    pub(super) const fn new() -> Self {
        Self {
            parameters: TransmissionParameters::RFC_7252,
            known_options: &[],
            counters: Counters {
                requests: 0,
                duplicates: 0,
                resets: 0,
                refused: 0,
                ignored: 0,
                orphaned: 0,
                send_errors: 0,
            },
            seen: Deduplication::new(),
        }
    }

    /// Takes the datagram in the first `len` bytes of `buffer` and leaves the reply there; returns its length if there is
    /// one. `len` is more than the buffer has when the datagram was cut off. `message_id` gives the next Message ID.
    pub(super) fn receive<P: ForPeer>(
        &mut self,
        buffer: &mut [u8],
        len: usize,
        reception: Reception<'_>,
        message_id: impl FnOnce() -> u16,
        handlers: &mut P,
    ) -> Option<usize> {
        let Some(datagram) = buffer.get(..len) else {
            return self.receive_truncated(buffer, message_id);
        };
        let request = match Message::parse(datagram) {
            Ok(message) => message,
            Err(malformed) => return self.reject(malformed, buffer),
        };
        let header = *request.header();
        // What is left are pings, responses that nobody waits for, and codes of reserved classes (§4.2, §4.3). An ACK or
        // a RST is never answered: "recipients of Acknowledgement and Reset messages MUST NOT respond with either" (§4.2).
        if !header.code.is_request() || matches!(header.kind, Type::Acknowledgement | Type::Reset) {
            return self
                .reject(Malformed::FormatError { kind: header.kind, message_id: header.message_id }, buffer);
        }
        let confirmable = header.kind == Type::Confirmable;

        if let Some(reply) = self.seen.get(&reception.source, header.message_id, reception.now) {
            // "The recipient SHOULD acknowledge each duplicate copy of a Confirmable message using the same
            // Acknowledgement"; "SHOULD silently ignore any duplicated Non-confirmable message" (§4.5).
            count(&mut self.counters.duplicates);
            crate::log::debug!("CoAP: message {} came again", header.message_id);
            let len = reply.len();
            if len == 0 {
                return None;
            }
            buffer.get_mut(..len)?.copy_from_slice(reply);
            return Some(len);
        }

        if let Err(refusal) = judge_request(&request, self.known_options) {
            // Nothing was done, so there is nothing to remember either: a duplicate is refused again.
            count(&mut self.counters.refused);
            crate::log::debug!("CoAP: request {} has options that are not understood", header.message_id);
            // "Unrecognized options of class 'critical' that occur in a Non-confirmable message MUST cause the message to
            // be rejected" (§5.4.1), silently. The other refusals are responses to either type.
            if !confirmable && matches!(refusal, Refusal::BadOption(_)) {
                return None;
            }
            return refuse(buffer, &response_header(&header, message_id), refusal);
        }

        count(&mut self.counters.requests);
        let mut handler = handlers.for_peer(reception.peer);
        // A server is not asked by another port than its own, so it has understood that critical option, and no handler of
        // `coap-handler-implementations` (0.6) would. Uri-Host stays: a handler may serve more than one, and dispatchers
        // skip it.
        let extracted = handler.extract_request_data(&request.without(option::URI_PORT));
        // From here on, the request is no more: the response is written over it.
        let mut writer = Writer::new(buffer, &response_header(&header, message_id))?;
        let built = match extracted {
            Ok(data) => match handler.build_response(&mut writer, data) {
                Ok(()) => true,
                Err(error) => render(&mut writer, error),
            },
            Err(error) => render(&mut writer, error),
        };
        drop(handler);
        if !built || !writer.code().is_response() {
            // The response did not fit, or it was none.
            crate::log::warning!("CoAP: the handler has no response that fits, which is 5.00");
            writer.reset();
            writer.set_code(code::INTERNAL_SERVER_ERROR);
        }
        let bad_option = writer.code() == code::BAD_OPTION;
        let len = writer.finish();
        let reply = buffer.get(..len)?;

        let parameters = &self.parameters;
        let (stored, lifetime) = if confirmable {
            (reply, parameters.exchange_lifetime())
        } else {
            (&[][..], parameters.non_lifetime())
        };
        // Before it is sent: whoever drops the server's future while it sends loses a datagram, as networks do, and the
        // client that asks again gets this reply.
        self.seen.insert(
            reception.source,
            header.message_id,
            stored,
            reception.now + lifetime,
            reception.now,
        );

        // A handler that refuses a critical option speaks of §5.4.1 as well.
        if !confirmable && bad_option { None } else { Some(len) }
    }

    /// A datagram that is longer than the buffer: "A server can thus fully interpret a request and return a 4.13 (Request
    /// Entity Too Large)" (§4.6).
    fn receive_truncated(&mut self, buffer: &mut [u8], message_id: impl FnOnce() -> u16) -> Option<usize> {
        match Header::parse(buffer) {
            Ok((header, _))
                if header.code.is_request()
                    && matches!(header.kind, Type::Confirmable | Type::NonConfirmable) =>
            {
                count(&mut self.counters.refused);
                let size = u32::try_from(buffer.len()).unwrap_or(u32::MAX);
                let mut writer = Writer::new(buffer, &response_header(&header, message_id))?;
                writer.set_code(code::REQUEST_ENTITY_TOO_LARGE);
                // "The response SHOULD include a Size1 Option to indicate the maximum size of request entity the server is
                // able and willing to handle" (§5.9.2.9): what the whole message can have. Where it does not fit, the code
                // says enough.
                let _ = writer.add_option_uint(option::SIZE1, size);
                Some(writer.finish())
            }
            Ok((Header { kind, message_id, .. }, _)) => {
                self.reject(Malformed::FormatError { kind, message_id }, buffer)
            }
            Err(malformed) => self.reject(malformed, buffer),
        }
    }

    /// Rejects a message (§4.2, §4.3): a Confirmable one with a RST, any other by ignoring it. RFC 7252 allows a RST for a
    /// Non-confirmable one too, but nobody needs it.
    fn reject(&mut self, malformed: Malformed, buffer: &mut [u8]) -> Option<usize> {
        let Malformed::FormatError { kind: Type::Confirmable, message_id } = malformed else {
            count(&mut self.counters.ignored);
            return None;
        };
        count(&mut self.counters.resets);
        crate::log::debug!("CoAP: message {} is answered with a RST", message_id);
        let reset = message::empty(Type::Reset, message_id);
        buffer.get_mut(..reset.len())?.copy_from_slice(&reset);
        Some(reset.len())
    }
}

/// The header of a response, yet without its code.
fn response_header(request: &Header, message_id: impl FnOnce() -> u16) -> Header {
    let (kind, message_id) = match request.kind {
        // A piggybacked response echoes the Message ID (§4.2).
        Type::Confirmable => (Type::Acknowledgement, request.message_id),
        // One to a Non-confirmable request has its own (§5.2.3).
        _ => (Type::NonConfirmable, message_id()),
    };
    Header { kind, code: Code::EMPTY, message_id, token: request.token }
}

/// Answers a request that no handler gets to see, with a diagnostic payload (§5.4.1, §5.5.2).
fn refuse(buffer: &mut [u8], response: &Header, refusal: Refusal) -> Option<usize> {
    let mut writer = Writer::new(buffer, response)?;
    let (code, number) = match refusal {
        Refusal::BadRequest(number) => (code::BAD_REQUEST, Some(number)),
        Refusal::Proxying => (code::PROXYING_NOT_SUPPORTED, None),
        Refusal::BadOption(number) => (code::BAD_OPTION, Some(number)),
    };
    writer.set_code(code);
    if let Some(number) = number {
        let mut digits = [0; 5];
        writer.diagnostic(["not understood: option ", decimal(number, &mut digits)]);
    }
    Some(writer.finish())
}

/// `number` in decimal, without the weight of `core::fmt`.
fn decimal(mut number: u16, digits: &mut [u8; 5]) -> &str {
    let mut start = digits.len();
    for (at, digit) in digits.iter_mut().enumerate().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
        start = at;
        if number == 0 {
            break;
        }
    }
    digits.get(start..).and_then(|digits| core::str::from_utf8(digits).ok()).unwrap_or_default()
}

/// Renders a handler's error. An error in that is rendered as well; one more, and there is nothing to render.
fn render(writer: &mut Writer<'_>, error: impl RenderableOnMinimal) -> bool {
    writer.reset();
    let Err(second) = error.render(writer) else {
        return true;
    };
    writer.reset();
    second.render(writer).is_ok()
}

/// Counts up, and stops at the end.
pub(super) fn count(counter: &mut u32) {
    *counter = counter.saturating_add(1);
}
