//! Which options of a message are understood (RFC 7252 §5.4, §5.10).

use coap_message::MessageOption as _;
use coap_numbers::{code, option};

use super::block::{BadBlock, Block};
use super::{Code, Message, MessageOption};

/// Why no handler sees a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// 4.02: this critical option is not understood.
    BadOption(u16),
    /// 4.00: this option has a value that its RFC wants answered so.
    BadRequest(u16),
    /// 5.05: the request is for someone else (§5.10.2).
    Proxying,
}

/// What the options of a request say to the server itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Instructions {
    /// The payload is this block of the request's body.
    pub(super) block1: Option<Block>,
    /// This block of the response's body is wanted.
    pub(super) block2: Option<Block>,
    /// How long the request's body is (Size1), where it comes in blocks.
    pub(super) size1: Option<u32>,
    pub(super) observe: Option<Observe>,
}

/// The Observe option of a request (RFC 7641 §2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Observe {
    Register,
    Deregister,
}

/// Judges the critical options of a request, and reads those that are for the server. `known` are those that the handlers
/// understand beyond RFC 7252.
pub(super) fn judge_request(request: &Message<'_>, known: &[u16]) -> Result<Instructions, Refusal> {
    let mut instructions = Instructions::default();
    let mut previous = None;
    for option in request.option_iter() {
        let number = option.number();
        // "each supernumerary option occurrence [...] MUST be treated like an unrecognized option" (§5.4.5).
        let repeated = previous.replace(number) == Some(number);
        match number {
            option::PROXY_URI | option::PROXY_SCHEME => return Err(Refusal::Proxying),
            option::BLOCK2 => instructions.block2 = Some(block(&option, repeated)?),
            option::BLOCK1 if !known.contains(&number) => {
                instructions.block1 = Some(block(&option, repeated)?);
            }
            // Whoever cannot make sense of elective options goes on without.
            option::SIZE1 => instructions.size1 = option.uint(4),
            option::OBSERVE if !repeated => {
                instructions.observe = match option.uint(3) {
                    Some(0) => Some(Observe::Register),
                    Some(1) => Some(Observe::Deregister),
                    _ => None,
                };
            }
            _ if !is_critical(number) || known.contains(&number) => {}
            _ => match definition(number) {
                // "If the length of an option value in a request is outside the defined range, that option MUST be
                // treated like an unrecognized option" (§5.4.3).
                Some((lengths, repeatable))
                    if lengths.contains(&option.value().len()) && (repeatable || !repeated) => {}
                _ => return Err(Refusal::BadOption(number)),
            },
        }
    }
    Ok(instructions)
}

fn block(option: &MessageOption<'_>, repeated: bool) -> Result<Block, Refusal> {
    match Block::parse(option) {
        Ok(block) if !repeated => Ok(block),
        Err(BadBlock::Reserved) if !repeated => Err(Refusal::BadRequest(option.number())),
        _ => Err(Refusal::BadOption(option.number())),
    }
}

/// Whether a method is safe, so that it can be carried out again (§5.1).
pub(super) fn is_safe(method: Code) -> bool {
    method == code::GET || method == code::FETCH
}

/// "NoCacheKey" (§5.4.6): two requests that differ in such options alone are for the same.
pub(super) const fn is_no_cache_key(number: u16) -> bool {
    number & 0x1e == 0x1c
}

/// How long the critical request options of RFC 7252 are, and which may be repeated (§5.10 table 4).
fn definition(number: u16) -> Option<(core::ops::RangeInclusive<usize>, bool)> {
    Some(match number {
        option::IF_MATCH => (0..=8, true),
        option::URI_HOST => (1..=255, false),
        option::IF_NONE_MATCH => (0..=0, false),
        option::URI_PORT => (0..=2, false),
        option::URI_PATH | option::URI_QUERY => (0..=255, true),
        option::ACCEPT => (0..=2, false),
        _ => return None,
    })
}

/// The value of a response's Block option with this number, where it has one that is well-formed.
pub(super) fn block_option(response: &Message<'_>, number: u16) -> Option<Block> {
    let option = response.option_iter().find(|option| option.number() == number)?;
    Block::parse(&option).ok()
}

/// "odd numbers indicate a critical option" (§5.4.6).
pub(super) fn is_critical(number: u16) -> bool {
    number & 1 == 1
}
