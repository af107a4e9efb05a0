//! From a request that is new to its answer: what it may do, its body, what the handler says, and what the server adds.

use core::hash::{BuildHasher, Hash, Hasher};

use coap_message::{MessageOption as _, MinimalWritableMessage};
use coap_numbers::{code, option};

use super::block::Block;
use super::changes::Observable;
use super::counters::count;
use super::deduplication::MessageKey;
use super::echo::{Audience, ECHO_LEN};
use super::message::Type;
use super::notifications::OBSERVE_LEN;
use super::observers::{Answers, Asked, Observers};
use super::options::{Observe, Refusal, is_no_cache_key, is_safe, judge_request};
use super::policy::{Access, RequestPath};
use super::reception::Reception;
use super::render::{Rendered, Wanted, render};
use super::responder::{Responder, is_gone};
use super::source::ServerKey;
use super::upload::{Assembled, Part, assemble};
use super::writer::Writer;
use super::{ForPeer, Message};
use crate::{Instant, PeerLookup};

/// What handlers do not see of a request, beside the blocks that the server deals with: a server is not asked by another port
/// than its own, so it has understood that critical option, and no handler of `coap-handler-implementations` (0.6) would.
/// Uri-Host stays: a handler may serve more than one, and dispatchers skip it.
const HIDDEN: &[u16] = &[option::URI_PORT, option::BLOCK1, option::BLOCK2];
/// The same, for handlers that take a body in blocks.
const HIDDEN_BUT_BLOCK1: &[u16] = &[option::URI_PORT, option::BLOCK2];

/// How many bytes a Block1 option adds to a message.
const BLOCK1_LEN: usize = 5;

impl<const EXCHANGES: usize, const REPLIES: usize, const OBSERVERS: usize>
    Responder<'_, EXCHANGES, REPLIES, OBSERVERS>
{
    /// Answers a request that is new.
    pub(super) fn answer<P: ForPeer>(
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
                let (message_id, payload) = (header.message_id, request.payload_bytes());
                let part = Part { source, key, message_id, block, payload, size };
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
        let answer_later = |observers: &mut Observers<OBSERVERS>, answers| {
            let Some(resource) = resource(self.changes, &RequestPath::of(&request)) else {
                return Err(code::INTERNAL_SERVER_ERROR);
            };
            // With the whole body, if it came in blocks.
            let is_added = Asked::new(&request).is_some_and(|asked| {
                observers.add(source, asked, answers, resource, |source| is_gone(lookup, source), now)
            });
            if is_added { Ok(()) } else { Err(code::SERVICE_UNAVAILABLE) }
        };
        if rendered == Rendered::Postponed {
            let confirmable = header.kind == Type::Confirmable;
            let until = now + self.parameters.exchange_lifetime();
            let answers = if register { Answers::Always } else { Answers::Once { confirmable, until } };
            let Err(code) = answer_later(&mut self.observers, answers) else {
                return Answer { response: Response::Postponed, ..answer };
            };
            // Nobody says when there will be a response, or there is no room to wait for it.
            crate::log::warning!("CoAP: request {} cannot be answered later", header.message_id);
            writer.reset();
            writer.set_code(code);
            return answer;
        }
        if register
            && writer.code().is_success()
            && answer_later(&mut self.observers, Answers::Always).is_ok()
        {
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
    pub(super) fn hidden(&self) -> &'static [u16] {
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
}

/// What was made of a request.
#[derive(Clone, Copy)]
pub(super) struct Answer {
    pub(super) response: Response,
    /// Whether something was done that must not be done twice.
    pub(super) done: bool,
    pub(super) proves_address: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Response {
    /// It stands in the writer.
    Written,
    /// It comes later.
    Postponed,
    /// The request has to come again.
    Dropped,
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
