//! The server's side of CoAP without I/O: the message layer (RFC 7252 §4), requests (§5), observations (RFC 7641), blocks
//! (RFC 7959), and who may do what. Datagrams in, datagrams out.

use core::hash::{BuildHasher, Hash, Hasher};
use core::net::SocketAddr;

use coap_message::{MessageOption as _, MinimalWritableMessage};
use coap_numbers::{code, option};
use rand_core::TryRng;

use super::block::Block;
use super::changes::Observable;
use super::deduplication::{Deduplication, Kind, MessageKey, Seen};
use super::echo::{Audience, ECHO_LEN};
use super::message::{self, Header, Type};
use super::message_ids::MessageIds;
use super::observers::{Answers, Asked, Known, Observers};
use super::options::{Observe, Refusal, is_no_cache_key, is_safe, judge_request};
use super::policy::{Access, Policy, RequestPath};
use super::render::{Rendered, Wanted, render};
use super::source::{ServerKey, Source};
use super::upload::{Assembled, Part, Upload, assemble};
use super::writer::Writer;
use super::{Code, ForPeer, Malformed, Message, ObserveParameters, TransmissionParameters};
use crate::path::Path;
use crate::{Instant, Peer, PeerLookup};

/// What handlers do not see of a request, beside the blocks that the server deals with: a server is not asked by another port
/// than its own, so it has understood that critical option, and no handler of `coap-handler-implementations` (0.6) would.
/// Uri-Host stays: a handler may serve more than one, and dispatchers skip it.
const HIDDEN: &[u16] = &[option::URI_PORT, option::BLOCK1, option::BLOCK2];
/// The same, for handlers that take a body in blocks.
const HIDDEN_BUT_BLOCK1: &[u16] = &[option::URI_PORT, option::BLOCK2];

/// How many bytes an Observe option adds to a message.
const OBSERVE_LEN: usize = 4;
/// And how many a Block1 option.
const BLOCK1_LEN: usize = 5;

/// What a [`Server`](super::Server) has seen since it was made. The counters stop at their end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub struct Counters {
    /// Requests that a handler was asked about, each block of a response among them.
    pub requests: u32,
    /// Messages that came again (§4.5).
    pub duplicates: u32,
    /// Confirmable messages that were rejected with a RST: pings, format errors, responses that nobody waits for.
    pub resets: u32,
    /// Requests that were refused before a handler saw them: critical options that are not understood, too long, no fresh Echo.
    pub refused: u32,
    /// Requests that the policy has denied.
    pub denied: u32,
    /// Requests that were dropped, to be sent again, because too many others may still come twice: is
    /// [`EXCHANGES`](super::Server#sizes) large enough?
    pub overloaded: u32,
    /// Datagrams that were silently ignored.
    pub ignored: u32,
    /// Notifications and separate responses that were sent, retransmissions among them.
    pub notifications: u32,
    /// Observers that were given up because they acknowledge nothing, or because their session is over.
    pub lost_observers: u32,
    /// Replies that were not sent, because the session that had asked was gone by then.
    pub orphaned: u32,
    /// Replies that the socket failed to send.
    pub send_errors: u32,
}

/// What a responder needs to know about a datagram beside its bytes.
#[derive(Clone, Copy)]
pub(super) struct Reception<'a> {
    pub(super) source: Source,
    pub(super) peer: Option<Peer<'a>>,
    pub(super) link: Link,
    pub(super) now: Instant,
}

impl<'a> Reception<'a> {
    /// Of a datagram that has just come by `path`.
    pub(super) fn new(lookup: &'a impl PeerLookup, path: Path, now: Instant) -> Self {
        let peer = lookup.peer(path.local, path.remote);
        let source = Source::new(peer, path);
        Self { source, peer, link: Link::to(lookup, &source), now }
    }

    /// Whom an Echo option is for.
    pub(super) fn audience(&self) -> Audience {
        Audience { source: self.source, address: self.link.unproven }
    }
}

/// What is known of the way to a peer.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Link {
    /// The longest message that goes there, where somebody knows.
    pub(super) max_message: Option<usize>,
    /// Where the peer has yet to show that it receives.
    pub(super) unproven: Option<SocketAddr>,
}

impl Link {
    pub(super) fn to(lookup: &impl PeerLookup, source: &Source) -> Self {
        source.session().map_or_else(Self::default, |session| Self {
            max_message: lookup.max_payload(session),
            unproven: lookup.unproven_address(session),
        })
    }

    /// How long a message may be that this writer writes.
    fn limit(&self, writer: &Writer<'_>) -> usize {
        self.max_message.unwrap_or(usize::MAX).min(writer.capacity())
    }
}

/// A datagram to send in return.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reply {
    pub(super) len: usize,
    /// The peer has shown that it receives where it is.
    pub(super) proves_address: bool,
}

/// The server without its socket. `'s` is how long what it was lent lives.
pub(super) struct Responder<'s, const EXCHANGES: usize, const REPLIES: usize, const OBSERVERS: usize> {
    pub(super) parameters: TransmissionParameters,
    pub(super) known_options: &'static [u16],
    pub(super) policy: Option<&'s dyn Policy>,
    pub(super) changes: Option<&'s dyn Observable>,
    pub(super) uploads: &'s mut [Upload<'s>],
    pub(super) counters: Counters,
    seen: Deduplication<EXCHANGES, REPLIES>,
    observers: Observers<OBSERVERS>,
    key: ServerKey,
    message_ids: MessageIds,
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
        let key =
            MessageKey { message: self.key.tag((source, header.message_id)), source: self.key.tag(source) };
        match self.seen.get(key, now) {
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

    /// Answers a request that is new.
    fn answer<P: ForPeer>(
        &mut self,
        request: &Message<'_>,
        message_key: MessageKey,
        writer: &mut Writer<'_>,
        reception: &Reception<'_>,
        lookup: &impl PeerLookup,
        handlers: &mut P,
    ) -> Answer {
        let Reception { source, peer, link, now } = *reception;
        let header = request.header();
        let audience = reception.audience();
        let echo = request.option_iter().find(|option| option.number() == option::ECHO);
        let echo_age = echo.and_then(|echo| self.key.echo_age(&audience, echo.bytes(), now));
        // Whoever repeats what was said to nobody else, and only there, receives there (RFC 9175 §2.4).
        let proves_address = link.unproven.is_some() && echo_age.is_some();
        let not_done = Answer { response: Response::Written, done: false, proves_address };

        let instructions = match judge_request(request, self.known_options) {
            Ok(instructions) => instructions,
            Err(refusal) => {
                count(&mut self.counters.refused);
                crate::log::debug!("CoAP: request {} has options that are not understood", header.message_id);
                refuse(writer, refusal);
                return not_done;
            }
        };
        let access =
            self.policy.map(|policy| policy.access(peer.as_ref(), header.code, RequestPath::of(request)));
        match access {
            None | Some(Access::Granted) => {}
            Some(Access::Fresh(within)) if echo_age.is_some_and(|age| age <= within) => {}
            Some(Access::Fresh(_)) => {
                count(&mut self.counters.refused);
                self.demand_echo(&audience, now, writer);
                return not_done;
            }
            Some(Access::Denied) => {
                count(&mut self.counters.denied);
                crate::log::debug!("CoAP: request {} is not allowed", header.message_id);
                writer.set_code(code::FORBIDDEN);
                return not_done;
            }
        }
        let is_safe = is_safe(header.code);
        if !is_safe && instructions.block2.is_some_and(|block| block.number > 0) {
            // What was done is not done again to say the rest of it, and no response to it began with a first block.
            count(&mut self.counters.refused);
            refuse(writer, Refusal::BadRequest(option::BLOCK2));
            return not_done;
        }
        let is_last = instructions.block1.is_none_or(|block| !block.more);
        // Before anything is done: what could not be remembered would be done twice.
        if !is_safe && is_last && !self.seen.has_room(message_key.source, now) {
            count(&mut self.counters.overloaded);
            crate::log::debug!(
                "CoAP: request {} has to wait, as too many others may come again",
                header.message_id
            );
            return Answer { response: Response::Dropped, ..not_done };
        }

        let request = request.without(self.hidden());
        let request = match instructions.block1 {
            None => request,
            Some(block) => {
                let size = instructions.size1.map(|size| usize::try_from(size).unwrap_or(usize::MAX));
                let key = body_key(&self.key, &request);
                let (message, payload) = (message_key.message, request.payload_bytes());
                let part = Part { source, key, message, block, payload, size };
                match assemble(self.uploads, &part, self.parameters.exchange_lifetime(), now) {
                    Assembled::Complete(body) => request.with_payload(body),
                    incomplete => {
                        say_why(writer, &incomplete, block);
                        return not_done;
                    }
                }
            }
        };

        count(&mut self.counters.requests);
        // With the whole body, if it came in blocks.
        let asked = Asked::new(&request);
        // An observation is always of a whole resource (RFC 7959 §2.6).
        let is_whole = instructions.block2.is_none_or(|block| block.number == 0);
        let register = is_safe && is_whole && instructions.observe == Some(Observe::Register);
        let added = if register { OBSERVE_LEN } else { 0 }
            + if instructions.block1.is_some() { BLOCK1_LEN } else { 0 }
            + if link.unproven.is_some() { ECHO_LEN + 3 } else { 0 };
        let limit = link.limit(writer).saturating_sub(added);
        let wanted = Wanted { peer, block2: instructions.block2, limit };
        let rendered = render(handlers, &request, &wanted, writer);
        let answer = Answer { done: !is_safe, ..not_done };
        let is_gone = |source: &Source| is_gone(lookup, source);
        let resource = resource(self.changes, &RequestPath::of(&request));
        let answer_later = |observers: &mut Observers<OBSERVERS>, answers| {
            let Some((resource, asked)) = resource.zip(asked) else { return false };
            observers.add(source, asked, answers, resource, is_gone, now)
        };
        if rendered == Rendered::Postponed {
            let confirmable = header.kind == Type::Confirmable;
            let until = now + self.parameters.exchange_lifetime();
            let answers = if register { Answers::Always } else { Answers::Once { confirmable, until } };
            if answer_later(&mut self.observers, answers) {
                return Answer { response: Response::Postponed, ..answer };
            }
            writer.reset();
            writer.set_code(if resource.is_none() {
                crate::log::warning!("CoAP: the handler has no response, nor who says when it will: 5.00");
                code::INTERNAL_SERVER_ERROR
            } else {
                crate::log::debug!("CoAP: there is no room to answer request {} later", header.message_id);
                code::SERVICE_UNAVAILABLE
            });
            return answer;
        }
        if register && writer.code().is_success() && answer_later(&mut self.observers, Answers::Always) {
            let _ = writer.insert_uint(option::OBSERVE, self.observers.next_sequence());
        } else if register || instructions.observe == Some(Observe::Deregister) {
            // A response without an Observe option tells the client that it is not on the list (RFC 7641 §4.1), whether or
            // not it was before.
            self.observers.cancel(&source, header.token);
        }
        if let Some(block) = instructions.block1 {
            let _ = writer.insert_uint(option::BLOCK1, Block { more: false, ..block }.value());
        }
        if link.unproven.is_some() && !proves_address {
            // The next request can show then that the peer receives where it is. Where there is no room, it has to wait.
            let _ = writer.insert(option::ECHO, &self.key.echo(&audience, now));
        }
        answer
    }

    /// What the handlers do not see.
    fn hidden(&self) -> &'static [u16] {
        if self.known_options.contains(&option::BLOCK1) { HIDDEN_BUT_BLOCK1 } else { HIDDEN }
    }

    /// Asks for the request again, with an Echo option (RFC 9175 §2.3).
    fn demand_echo(&self, audience: &Audience, now: Instant, writer: &mut Writer<'_>) {
        writer.restart(0);
        writer.set_code(code::UNAUTHORIZED);
        let _ = writer.add_option(option::ECHO, &self.key.echo(audience, now));
    }

    /// The reply to the request in `incoming` may not go to where its peer is, as that one has not shown yet that it receives
    /// there. Asks for that first, in fewer bytes (RFC 9175 §2.4), if the request can be carried out again.
    pub(super) fn demand_reachability(
        &mut self,
        incoming: &[u8],
        outgoing: &mut [u8],
        audience: &Audience,
        now: Instant,
    ) -> Option<usize> {
        let request = Message::parse(incoming).ok()?;
        let header = *request.header();
        if !is_safe(header.code) || audience.address.is_none() {
            return None;
        }
        let response = self.response_header(&header);
        let mut writer = Writer::new(outgoing, &response)?;
        self.demand_echo(audience, now, &mut writer);
        Some(writer.finish())
    }

    /// Writes the next message that is not a reply, and tells whom it goes to: a notification, or a separate response.
    pub(super) fn poll_transmit<P: ForPeer, R: TryRng>(
        &mut self,
        outgoing: &mut [u8],
        lookup: &impl PeerLookup,
        handlers: &mut P,
        rng: &mut R,
        now: Instant,
    ) -> Option<(usize, Source)> {
        if let Some(changes) = self.changes {
            self.observers.changed(changes.take());
        }
        // Each one that is looked at is sent to, is no more, or has to wait.
        for _ in 0..=OBSERVERS {
            let Ok(send) = self.observers.poll(&self.parameters, now)? else {
                count(&mut self.counters.lost_observers);
                crate::log::debug!("CoAP: an observer acknowledges nothing and is given up");
                continue;
            };
            let Some(observer) = self.observers.get(send.at) else { continue };
            let (source, asked, answers) = (observer.source, observer.asked, observer.answers());
            if is_gone(lookup, &source) {
                self.observers.remove(send.at);
                count(&mut self.counters.lost_observers);
                continue;
            }
            let is_once = matches!(answers, Answers::Once { .. });
            if is_once && observer.is_outstanding() {
                let message_id = observer.message_id;
                match self.seen.get(self.response_key(&source, message_id), now) {
                    Seen::Answered(response) => {
                        let len = response.len();
                        outgoing.get_mut(..len)?.copy_from_slice(response);
                        self.observers.sent(send, message_id, &self.parameters, 0, now);
                        count(&mut self.counters.notifications);
                        return Some((len, source));
                    }
                    _ if !is_safe(asked.code()) => {
                        crate::log::debug!("CoAP: response {} is forgotten, and not made again", message_id);
                        self.observers.remove(send.at);
                        count(&mut self.counters.lost_observers);
                        continue;
                    }
                    _ => {}
                }
            }
            let message_id = self.message_ids.take();
            let kind = if send.confirmable { Type::Confirmable } else { Type::NonConfirmable };
            let request = asked.message().without(self.hidden());
            let token = request.header().token;
            let mut writer = Writer::new(outgoing, &Header { kind, code: Code::EMPTY, message_id, token })?;
            let peer = source.session().and_then(|session| lookup.session(session));
            let method = request.header().code;
            let access =
                self.policy.map(|policy| policy.access(peer.as_ref(), method, RequestPath::of(&request)));
            let rendered = if access == Some(Access::Denied) {
                count(&mut self.counters.denied);
                writer.set_code(code::FORBIDDEN);
                Rendered::Response
            } else {
                let limit = Link::to(lookup, &source).limit(&writer).saturating_sub(OBSERVE_LEN);
                render(handlers, &request, &Wanted { peer, block2: asked.block2(), limit }, &mut writer)
            };
            if rendered == Rendered::Postponed {
                self.observers.postponed(send.at, now);
                continue;
            }
            if answers == Answers::Always {
                if writer.code().is_success() {
                    let _ = writer.insert_uint(option::OBSERVE, self.observers.next_sequence());
                } else {
                    // "the server SHOULD notify the client [...] and subsequently MUST remove the associated entry from the
                    // list of observers" (RFC 7641 §4.2).
                    self.observers.last(send, now + self.parameters.exchange_lifetime());
                }
            }
            // Without randomness, a retransmission comes a little sooner.
            let random = rng.try_next_u32().unwrap_or_default();
            self.observers.sent(send, message_id, &self.parameters, random, now);
            count(&mut self.counters.notifications);
            let len = writer.finish();
            if is_once && send.confirmable {
                // For when it is lost: what was done for it is not done again.
                let key = self.response_key(&source, message_id);
                let until = now + self.parameters.max_transmit_wait();
                let kind = if is_safe(method) { Kind::Repeatable } else { Kind::Once { young_until: until } };
                self.seen.insert(key, kind, outgoing.get(..len).unwrap_or_default(), until, now);
            }
            return Some((len, source));
        }
        None
    }

    /// What a separate response is remembered by.
    fn response_key(&self, source: &Source, message_id: u16) -> MessageKey {
        MessageKey {
            message: self.key.tag((source, message_id, "separate response")),
            source: self.key.tag(source),
        }
    }

    /// When to call [`poll_transmit`](Self::poll_transmit) at the latest, if no resource changes before.
    pub(super) fn poll_timeout(&self, now: Instant) -> Option<Instant> {
        self.observers.poll_timeout(now)
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
    fn response_header(&mut self, request: &Header) -> Header {
        let (kind, message_id) = match request.kind {
            // A piggybacked response echoes the Message ID (§4.2).
            Type::Confirmable => (Type::Acknowledgement, request.message_id),
            // One to a Non-confirmable request has its own (§5.2.3).
            _ => (Type::NonConfirmable, self.message_ids.take()),
        };
        Header { kind, code: Code::EMPTY, message_id, token: request.token }
    }
}

/// What was made of a request.
#[derive(Clone, Copy)]
struct Answer {
    response: Response,
    /// Whether something was done that must not be done twice.
    done: bool,
    proves_address: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Response {
    /// It stands in the writer.
    Written,
    /// It comes later.
    Postponed,
    /// The request has to come again.
    Dropped,
}

impl Reply {
    /// `None` without any byte.
    fn new(len: usize) -> Option<Self> {
        (len > 0).then_some(Self { len, proves_address: false })
    }
}

/// Whether the session is over that this one spoke in.
fn is_gone(lookup: &impl PeerLookup, source: &Source) -> bool {
    match source {
        Source::Session { session, epoch } => {
            lookup.session(*session).is_none_or(|peer| peer.epoch != *epoch)
        }
        Source::Addresses(_) => false,
    }
}

/// The number of the resource at a path, if it can change.
fn resource(changes: Option<&dyn Observable>, path: &RequestPath<'_>) -> Option<usize> {
    changes?.paths().iter().position(|known| path.is(known))
}

/// What the blocks of one body have in common: the method, and the options that are part of the cache key (RFC 7959 §2.5,
/// RFC 9175 §3.3).
fn body_key(key: &ServerKey, request: &Message<'_>) -> u64 {
    let mut hasher = key.build_hasher();
    request.header().code.hash(&mut hasher);
    for option in request.option_iter().filter(|option| !is_no_cache_key(option.number())) {
        (option.number(), option.value()).hash(&mut hasher);
    }
    hasher.finish()
}

/// Answers a block that is not the last one of a body that is whole.
fn say_why(writer: &mut Writer<'_>, assembled: &Assembled<'_>, block: Block) {
    let (code, diagnostic) = match assembled {
        Assembled::Complete(_) | Assembled::Continue => (code::CONTINUE, ""),
        Assembled::Incomplete => (code::REQUEST_ENTITY_INCOMPLETE, "send all blocks, from the first one on"),
        Assembled::BadLength => (code::BAD_REQUEST, "the block is not as long as it says"),
        Assembled::TooLarge(_) => (code::REQUEST_ENTITY_TOO_LARGE, ""),
        Assembled::Busy => (code::SERVICE_UNAVAILABLE, "others are uploading"),
    };
    writer.set_code(code);
    match assembled {
        Assembled::Continue => {
            let _ = writer.insert_uint(option::BLOCK1, block.value());
        }
        Assembled::TooLarge(longest) => {
            let _ = writer.insert_uint(option::SIZE1, u32::try_from(*longest).unwrap_or(u32::MAX));
        }
        _ => writer.diagnostic([diagnostic, ""]),
    }
}

/// Answers a request that no handler gets to see, with a diagnostic payload (§5.4.1, §5.5.2).
fn refuse(writer: &mut Writer<'_>, refusal: Refusal) {
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
}

fn format_error(header: &Header) -> Malformed {
    Malformed::FormatError { kind: header.kind, message_id: header.message_id }
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

/// Counts up, and stops at the end.
pub(super) fn count(counter: &mut u32) {
    *counter = counter.saturating_add(1);
}
