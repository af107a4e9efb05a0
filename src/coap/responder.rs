//! The server's side of CoAP without I/O: the message layer (RFC 7252 §4), requests (§5), observations (RFC 7641), blocks
//! (RFC 7959), and who may do what. Datagrams in, datagrams out.

use coap_message::MinimalWritableMessage;
use coap_numbers::{code, option};
use rand_core::TryRng;

use super::answer::Response;
use super::block::Block;
use super::changes::Observable;
use super::counters::{Counters, count};
use super::deduplication::{Deduplication, Kind, MessageKey, Seen};
use super::message::{self, Header, Type};
use super::message_ids::MessageIds;
use super::observers::{Known, Observers};
use super::options::is_safe;
use super::policy::Policy;
use super::reception::{Reception, Reply};
use super::source::{ServerKey, Source};
use super::upload::Upload;
use super::writer::Writer;
use super::{Code, ForPeer, Malformed, Message, ObserveParameters, TransmissionParameters};
use crate::PeerLookup;

/// The server without its socket. `'s` is how long what it was lent lives.
pub(super) struct Responder<'s, const EXCHANGES: usize, const REPLIES: usize, const OBSERVERS: usize> {
    pub(super) parameters: TransmissionParameters,
    pub(super) known_options: &'static [u16],
    pub(super) policy: Option<&'s dyn Policy>,
    pub(super) changes: Option<&'s dyn Observable>,
    pub(super) uploads: &'s mut [Upload<'s>],
    pub(super) counters: Counters,
    pub(super) seen: Deduplication<EXCHANGES, REPLIES>,
    pub(super) observers: Observers<OBSERVERS>,
    pub(super) key: ServerKey,
    pub(super) message_ids: MessageIds,
}

impl<'s, const EXCHANGES: usize, const REPLIES: usize, const OBSERVERS: usize>
    Responder<'s, EXCHANGES, REPLIES, OBSERVERS>
{
    /// Sizes that cannot work are found when a program is compiled.
    pub(super) const fn check_sizes(size: usize) {
        // Handlers of `coap-handler-implementations` (0.6) panic where they have less than 41 bytes to write to.
        assert!(size >= 128, "SIZE: a handler needs room to write to");
        assert!(size <= 65_535, "SIZE: no datagram is longer");
        assert!(EXCHANGES >= 1, "EXCHANGES: duplicates cannot be recognised without memory");
    }

    pub(super) fn new() -> Self {
        Self {
            parameters: TransmissionParameters::RFC_7252,
            known_options: &[],
            policy: None,
            changes: None,
            uploads: &mut [],
            counters: Counters::default(),
            seen: Deduplication::new(),
            observers: Observers::new(),
            key: ServerKey::default(),
            message_ids: MessageIds::default(),
        }
    }

    pub(super) fn set_observe_parameters(&mut self, parameters: ObserveParameters) {
        self.observers.parameters = parameters;
    }

    /// Draws what has to be random, once. Nothing is received or sent before that.
    pub(super) fn seed<R: TryRng>(&mut self, rng: &mut R) -> Result<(), R::Error> {
        if !self.message_ids.is_drawn() {
            rng.try_fill_bytes(&mut self.key.0)?;
            self.message_ids.peek(rng)?;
        }
        Ok(())
    }

    /// Takes the datagram that is in `incoming`, of `len` bytes, and leaves the reply in `outgoing`, if there is one. `len` is
    /// more than the buffer has when the datagram was cut off.
    pub(super) fn receive<P: ForPeer>(
        &mut self,
        (incoming, len): (&[u8], usize),
        outgoing: &mut [u8],
        reception: &Reception<'_>,
        lookup: &impl PeerLookup,
        handlers: &mut P,
    ) -> Option<Reply> {
        let reply = self.reply((incoming, len), outgoing, reception, lookup, handlers)?;
        // A response never leaves the session that asked for it (§9.1.2), not even for its successor at this address; and the
        // handler may have ended it.
        if is_gone(lookup, &reception.source) {
            count(&mut self.counters.orphaned);
            crate::log::debug!("CoAP: the session that asked is gone, its reply is dropped");
            return None;
        }
        Some(reply)
    }

    fn reply<P: ForPeer>(
        &mut self,
        (incoming, len): (&[u8], usize),
        outgoing: &mut [u8],
        reception: &Reception<'_>,
        lookup: &impl PeerLookup,
        handlers: &mut P,
    ) -> Option<Reply> {
        let Some(datagram) = incoming.get(..len) else {
            return self.receive_truncated(incoming, outgoing);
        };
        let message = match Message::parse(datagram) {
            Ok(message) => message,
            Err(malformed) => return self.reject(malformed, outgoing),
        };
        let header = message.header();
        match header.kind {
            Type::Acknowledgement | Type::Reset => {
                // "Recipients of Acknowledgement and Reset messages MUST NOT respond with either" (§4.2).
                self.on_answer(header, reception);
                None
            }
            _ if header.code.is_request() => {
                self.receive_request(&message, outgoing, reception, lookup, handlers)
            }
            // What is left are pings, responses that nobody waits for, and codes of reserved classes (§4.2, §4.3).
            _ => self.reject(format_error(header), outgoing),
        }
    }

    /// An ACK or a RST for what this server has sent.
    fn on_answer(&mut self, header: &Header, Reception { source, now, .. }: &Reception<'_>) {
        let known = match header.kind {
            _ if header.code != Code::EMPTY => Known::Nobody,
            Type::Reset => self.observers.on_reset(source, header.message_id),
            _ => self.observers.on_acknowledgement(source, header.message_id, *now),
        };
        if known == Known::Nobody {
            count(&mut self.counters.ignored);
        }
    }

    fn receive_request<P: ForPeer>(
        &mut self,
        request: &Message<'_>,
        outgoing: &mut [u8],
        reception: &Reception<'_>,
        lookup: &impl PeerLookup,
        handlers: &mut P,
    ) -> Option<Reply> {
        let header = *request.header();
        let Reception { source, now, .. } = *reception;
        let key = MessageKey { source: self.key.tag(source), is_ours: false, message_id: header.message_id };
        match self.seen.get(key, is_safe(header.code), now) {
            Seen::New => {}
            Seen::Answered(reply) => {
                // "The recipient SHOULD acknowledge each duplicate copy of a Confirmable message using the same
                // Acknowledgement"; "SHOULD silently ignore any duplicated Non-confirmable message" (§4.5).
                count(&mut self.counters.duplicates);
                crate::log::debug!("CoAP: message {} came again", header.message_id);
                outgoing.get_mut(..reply.len())?.copy_from_slice(reply);
                return Reply::new(reply.len());
            }
            Seen::Forgotten => {
                count(&mut self.counters.duplicates);
                crate::log::debug!(
                    "CoAP: message {} came again, and what it was answered is forgotten",
                    header.message_id
                );
                return None;
            }
        }
        let confirmable = header.kind == Type::Confirmable;
        let response = self.response_header(&header);
        let mut writer = Writer::new(outgoing, &response)?;
        let answer = self.answer(request, key, &mut writer, reception, lookup, handlers);
        let len = match answer.response {
            Response::Dropped => return None,
            // Nothing but the acknowledgement, for now.
            Response::Postponed if confirmable => {
                let empty = message::empty(Type::Acknowledgement, header.message_id);
                outgoing.get_mut(..empty.len())?.copy_from_slice(&empty);
                empty.len()
            }
            Response::Postponed => 0,
            // "Unrecognized options of class 'critical' that occur in a Non-confirmable message MUST cause the message to
            // be rejected" (§5.4.1), silently. The other refusals are responses to either type.
            Response::Written if !confirmable && writer.code() == code::BAD_OPTION => 0,
            Response::Written => writer.finish(),
        };
        let reply = outgoing.get(..len)?;
        let (stored, lifetime) = match confirmable {
            true => (reply, self.parameters.exchange_lifetime()),
            false => (&[][..], self.parameters.non_lifetime()),
        };
        // A copy is sent within MAX_TRANSMIT_SPAN, and arrives within MAX_LATENCY (§4.8.2), which is NON_LIFETIME.
        let young_until = now + self.parameters.non_lifetime();
        let kind = if answer.done { Kind::Once { young_until } } else { Kind::Repeatable };
        // Before it is sent: whoever drops the server's future while it sends loses a datagram, as networks do, and the
        // client that asks again gets this reply.
        self.seen.insert(key, kind, stored, now + lifetime, now);
        Reply::new(len).map(|reply| Reply { proves_address: answer.proves_address, ..reply })
    }

    /// How many requests are answered later.
    pub(super) fn observers(&self) -> usize {
        self.observers.len()
    }

    /// A datagram that is longer than the buffer: "A server can thus fully interpret a request and return a 4.13 (Request
    /// Entity Too Large)" (§4.6).
    fn receive_truncated(&mut self, incoming: &[u8], outgoing: &mut [u8]) -> Option<Reply> {
        let header = match Header::parse(incoming) {
            Ok((header, _)) => header,
            Err(malformed) => return self.reject(malformed, outgoing),
        };
        if !header.code.is_request() || !matches!(header.kind, Type::Confirmable | Type::NonConfirmable) {
            return self.reject(format_error(&header), outgoing);
        }
        count(&mut self.counters.refused);
        let mut writer = Writer::new(outgoing, &self.response_header(&header))?;
        writer.set_code(code::REQUEST_ENTITY_TOO_LARGE);
        // "a 4.13 response to a request that does not employ Block1 is a hint for the client to try sending Block1, and a 4.13
        // response with a smaller SZX in its Block1 Option [...] is a hint to try that smaller SZX" (RFC 7959 §2.9.3). Half of
        // the buffer is for what is in front of the payload.
        let block = Block::first(incoming.len() / 2);
        let _ = writer.insert_uint(option::BLOCK1, block.value());
        // "The response SHOULD include a Size1 Option to indicate the maximum size of request entity the server is able and
        // willing to handle" (§5.9.2.9): in one message, or in blocks.
        let longest = self.uploads.iter().map(Upload::capacity).fold(incoming.len(), usize::max);
        let _ = writer.insert_uint(option::SIZE1, u32::try_from(longest).unwrap_or(u32::MAX));
        Reply::new(writer.finish())
    }

    /// Rejects a message (§4.2, §4.3): a Confirmable one with a RST, any other by ignoring it. RFC 7252 allows a RST for a
    /// Non-confirmable one too, but nobody needs it.
    fn reject(&mut self, malformed: Malformed, outgoing: &mut [u8]) -> Option<Reply> {
        let Malformed::FormatError { kind: Type::Confirmable, message_id } = malformed else {
            count(&mut self.counters.ignored);
            return None;
        };
        count(&mut self.counters.resets);
        crate::log::debug!("CoAP: message {} is answered with a RST", message_id);
        let reset = message::empty(Type::Reset, message_id);
        outgoing.get_mut(..reset.len())?.copy_from_slice(&reset);
        Reply::new(reset.len())
    }

    /// The header of a response, yet without its code.
    pub(super) fn response_header(&mut self, request: &Header) -> Header {
        let (kind, message_id) = match request.kind {
            // A piggybacked response echoes the Message ID (§4.2).
            Type::Confirmable => (Type::Acknowledgement, request.message_id),
            // One to a Non-confirmable request has its own (§5.2.3).
            _ => (Type::NonConfirmable, self.message_ids.take()),
        };
        Header { kind, code: Code::EMPTY, message_id, token: request.token }
    }
}

/// Whether the session is over that this one spoke in.
pub(super) fn is_gone(lookup: &impl PeerLookup, source: &Source) -> bool {
    match source {
        Source::Session { session, epoch } => {
            lookup.session(*session).is_none_or(|peer| peer.epoch != *epoch)
        }
        Source::Addresses(_) => false,
    }
}

fn format_error(header: &Header) -> Malformed {
    Malformed::FormatError { kind: header.kind, message_id: header.message_id }
}
