//! Which options of a message are understood (RFC 7252 §5.4, §5.10).

use coap_message::MessageOption as _;
use coap_numbers::option;

use super::Message;
use super::block::Block;

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

/// Judges the critical options of a request. `known` are those that the handlers understand beyond RFC 7252.
///
/// Handlers that are written with care refuse what they do not understand themselves. Not all are; and Block2 must not
/// reach those of `coap-handler-implementations` (0.6) with a number past the end of what they have, where they panic.
pub(super) fn judge_request(request: &Message<'_>, known: &[u16]) -> Result<(), Refusal> {
    let mut previous = None;
    for option in request.option_iter() {
        let number = option.number();
        // "each supernumerary option occurrence [...] MUST be treated like an unrecognized option" (§5.4.5).
        let repeated = previous.replace(number) == Some(number);
        match number {
            option::PROXY_URI | option::PROXY_SCHEME => return Err(Refusal::Proxying),
            // "The value 7 for SZX is reserved, i.e., MUST NOT be sent and MUST lead to a 4.00 Bad Request response
            // code upon reception in a request" (RFC 7959 §2.2). Only the first block can be asked for as yet.
            option::BLOCK2 => match option.uint(3) {
                Some(block) if !repeated && block & 0x07 == 0x07 => return Err(Refusal::BadRequest(number)),
                Some(block) if !repeated && block >> 4 == 0 => {}
                _ => return Err(Refusal::BadOption(number)),
            },
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
    Ok(())
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
