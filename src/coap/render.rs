//! From a request to a response of one message: asks the handler, and makes a block of what it says where that is too long
//! (RFC 7959 §2.4).

use coap_handler::Handler;
use coap_message::MinimalWritableMessage;
use coap_message::error::RenderableOnMinimal;
use coap_numbers::{code, option};

use super::block::Block;
use super::options::is_safe;
use super::writer::Writer;
use super::{ForPeer, Message, option_format};
use crate::Peer;

/// How many bytes the options of a block may add to a response that a handler has written: ETag, Block2 and Size2.
const BLOCK_OPTIONS: usize = 9 + 5 + 6;

/// The shortest block (RFC 7959 §2.2).
const SHORTEST_BLOCK: usize = 16;

/// How many bytes longer the Block2 option of a later block may be than that of the first.
const LATER_BLOCK: usize = 2;

/// How many blocks of a handler that makes its own are looked at before one is given up.
const MAX_PROBES: usize = 4_096;

/// What a handler made of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rendered {
    /// A response stands in the writer.
    Response,
    /// It has none yet.
    Postponed,
}

/// What there is to know about a request beside its bytes.
#[derive(Clone, Copy)]
pub(super) struct Wanted<'a> {
    pub(super) peer: Option<Peer<'a>>,
    /// Which block of the response, if it says so.
    pub(super) block2: Option<Block>,
    /// How long the response may be, without what the server adds to it.
    pub(super) limit: usize,
}

/// Has the handler write a response to `request`, of which it sees no Block2, and makes it short enough.
pub(super) fn render<P: ForPeer>(
    handlers: &mut P,
    request: &Message<'_>,
    wanted: &Wanted<'_>,
    writer: &mut Writer<'_>,
) -> Rendered {
    let is_safe = is_safe(request.header().code);
    let block2 = wanted.block2.filter(|_| is_safe);
    writer.restart(block2.map_or(0, |block| block.offset()));
    if !ask(handlers, wanted.peer, request, writer) {
        fail(writer);
    } else if writer.code().byte() == 0 {
        return Rendered::Postponed;
    } else if !writer.code().is_response() {
        crate::log::warning!("CoAP: what the handler says is no response, which is 5.00");
        fail(writer);
    } else if writer.code().is_success() {
        if is_safe && writer.option(option::BLOCK2).is_some() {
            own_blocks(handlers, request, wanted, writer);
        } else {
            cut(block2, wanted.limit, is_safe, writer);
        }
    }
    if writer.len() > wanted.limit || writer.is_part() || !writer.code().is_response() {
        crate::log::warning!("CoAP: the handler has no response that fits, which is 5.00");
        fail(writer);
    }
    Rendered::Response
}

/// Asks the handler once. `false` where nothing came of it.
fn ask<P: ForPeer>(
    handlers: &mut P,
    peer: Option<Peer<'_>>,
    request: &Message<'_>,
    writer: &mut Writer<'_>,
) -> bool {
    let mut handler = handlers.for_peer(peer);
    match handler.extract_request_data(request) {
        Ok(data) => match handler.build_response(writer, data) {
            Ok(()) => true,
            Err(error) => render_error(writer, error),
        },
        Err(error) => render_error(writer, error),
    }
}

/// Renders a handler's error. An error in that is rendered as well; one more, and there is nothing to render.
fn render_error(writer: &mut Writer<'_>, error: impl RenderableOnMinimal) -> bool {
    writer.reset();
    let Err(second) = error.render(writer) else {
        return true;
    };
    writer.reset();
    second.render(writer).is_ok()
}

fn fail(writer: &mut Writer<'_>) {
    writer.reset();
    writer.set_code(code::INTERNAL_SERVER_ERROR);
}

fn past_the_end(writer: &mut Writer<'_>) {
    writer.reset();
    writer.set_code(code::BAD_REQUEST);
    writer.diagnostic(["there is no such block", ""]);
}

/// Makes a block of a response that is too long for one message, or that was asked for in blocks. What a request has done is
/// not done again for a second block, so those of unsafe methods have to fit.
fn cut(block2: Option<Block>, limit: usize, is_safe: bool, writer: &mut Writer<'_>) {
    let is_whole = !writer.is_part() && writer.len() <= limit;
    if !is_safe || (is_whole && block2.is_none()) {
        return;
    }
    let room = limit.saturating_sub(writer.front() + 1 + BLOCK_OPTIONS);
    if room < SHORTEST_BLOCK {
        return fail(writer);
    }
    let block = block2.unwrap_or(Block::first(room)).at_most(room);
    let Some(cut) = writer.cut(block) else {
        return past_the_end(writer);
    };
    let is_first = cut.block.number == 0;
    let several = cut.block.more || !is_first;
    let added = (|| {
        // "The server SHOULD include an ETag Option in each response" (RFC 7959 §2.4), so that blocks of two representations
        // are not put together.
        if several && writer.option(option::ETAG).is_none() {
            writer.insert(option::ETAG, &cut.digest.to_be_bytes())?;
        }
        writer.insert_uint(option::BLOCK2, cut.block.value())?;
        if several && is_first {
            writer.insert_uint(option::SIZE2, u32::try_from(cut.total).unwrap_or(u32::MAX))?;
        }
        Ok::<_, super::writer::WriteError>(())
    })();
    if added.is_err() {
        fail(writer);
    }
}

/// The handler makes blocks itself, and has made the first one.
///
/// Those of `coap-handler-implementations` (0.6) panic when they are asked for a block past the end. That there is a block is
/// known only when the one in front of it says so; so they are asked for one after the other, up to that which is wanted. What
/// was there for the last request may be gone by now, so this begins anew each time.
fn own_blocks<P: ForPeer>(
    handlers: &mut P,
    request: &Message<'_>,
    wanted: &Wanted<'_>,
    writer: &mut Writer<'_>,
) {
    let room = wanted.limit.saturating_sub(writer.front() + 1 + LATER_BLOCK);
    let target = wanted.block2.unwrap_or(Block::first(room)).at_most(room);
    let mut asked = Block::first(usize::MAX);
    for _ in 0..MAX_PROBES {
        let Some(made) = writer.option(option::BLOCK2).and_then(Block::from_value) else {
            // It does not any more.
            return fail(writer);
        };
        let is_wanted = made.offset() == target.offset();
        let is_whole = wanted.block2.is_none() && !made.more;
        let is_short = is_whole || made.len() <= target.len();
        if is_wanted && is_short && writer.len() <= wanted.limit {
            return;
        }
        let end = made.offset().saturating_add(writer.payload().len());
        let next = if target.offset() < end || (is_wanted && asked != target) {
            target
        } else if !made.more || made.offset() != asked.offset() {
            return past_the_end(writer);
        } else {
            match Block::at(made.offset() + made.len(), false, made.szx) {
                Some(next) => next,
                None => return past_the_end(writer),
            }
        };
        if next == asked {
            // It was asked for this one, and has made another.
            return fail(writer);
        }
        asked = next;
        let mut value = [0; 4];
        let request = request.with_option(option::BLOCK2, option_format::uint(asked.value(), &mut value));
        writer.restart(0);
        if !ask(handlers, wanted.peer, &request, writer) {
            return fail(writer);
        }
        if !writer.code().is_success() {
            return;
        }
    }
    past_the_end(writer);
}
