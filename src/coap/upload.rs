//! Request bodies that come in blocks (RFC 7959 §2.5), one after the other, from several peers at once.

use core::time::Duration;

use super::block::Block;
use super::share::admits;
use super::source::Source;
use crate::Instant;

/// Room for one body that arrives in blocks, lent to a [server](super::Server::with_uploads) for as long as it lives.
///
/// A handler sees the whole body at once, when its last block has come. As many uploads can go on at the same time as there are
/// of these; a transfer that its client has left gives its room up after EXCHANGE_LIFETIME, or before, when that client begins
/// another one.
pub struct Upload<'b> {
    buffer: &'b mut [u8],
    transfer: Option<Transfer>,
}

impl<'b> Upload<'b> {
    /// Room for a body of up to `buffer.len()` bytes.
    pub const fn new(buffer: &'b mut [u8]) -> Self {
        Self { buffer, transfer: None }
    }

    /// How long a body may be, in bytes.
    pub const fn capacity(&self) -> usize {
        self.buffer.len()
    }
}

/// A body on its way.
struct Transfer {
    source: Source,
    /// Of what blocks of one body have in common.
    key: u64,
    /// The Message ID of the message that began it.
    began: u16,
    /// How many bytes are there.
    len: usize,
    touched: Instant,
}

/// A block of a request.
#[derive(Clone, Copy)]
pub(super) struct Part<'a> {
    pub(super) source: Source,
    /// A hash of what the blocks of one body have in common: the method and the options that are part of the cache key,
    /// Request-Tag among them (RFC 9175 §3.3).
    pub(super) key: u64,
    /// A copy of the message that began a body does not begin it again, however late it comes.
    pub(super) message_id: u16,
    pub(super) block: Block,
    pub(super) payload: &'a [u8],
    /// How long the body will be, where the client says it (Size1).
    pub(super) size: Option<usize>,
}

/// What becomes of a block.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Assembled<'u> {
    /// 2.31: more is to come.
    Continue,
    /// This is the whole body.
    Complete(&'u [u8]),
    /// 4.08: blocks in front of this one are not here.
    Incomplete,
    /// 4.00: only the last block may be of another length than it says.
    BadLength,
    /// 4.13: bodies may have this length at most.
    TooLarge(usize),
    /// 5.03: there is room for bodies, but others have it now.
    Busy,
}

/// Takes a block. Blocks come in order, as RFC 7959 §2.5 lets a server ask; one that is here already does not matter.
pub(super) fn assemble<'u>(
    uploads: &'u mut [Upload<'_>],
    part: &Part<'u>,
    lifetime: Duration,
    now: Instant,
) -> Assembled<'u> {
    let Part { source, key, message_id, block, payload, size } = *part;
    if block.more && payload.len() != block.len() || payload.len() > block.len() {
        return Assembled::BadLength;
    }
    // A body of one block needs no room.
    if block.number == 0 && !block.more {
        forget(uploads, source, key);
        return Assembled::Complete(payload);
    }
    for upload in uploads.iter_mut() {
        upload.transfer.take_if(|transfer| transfer.touched + lifetime <= now);
    }
    let is_it =
        |upload: &Upload<'_>| upload.transfer.as_ref().is_some_and(|it| it.source == source && it.key == key);
    let is_copy = uploads
        .iter()
        .filter(|upload| is_it(upload))
        .filter_map(|upload| upload.transfer.as_ref())
        .any(|it| it.began == message_id);
    if block.number == 0 && !is_copy {
        let Some(longest) = uploads.iter().map(|upload| upload.buffer.len()).max() else {
            return Assembled::TooLarge(0);
        };
        let needed = size.unwrap_or(0).max(payload.len());
        if needed > longest {
            return Assembled::TooLarge(longest);
        }
        forget(uploads, source, key);
        let Some(upload) = place(uploads, source, needed) else {
            return Assembled::Busy;
        };
        upload.transfer = Some(Transfer { source, key, began: message_id, len: 0, touched: now });
    }
    let Some(upload) = uploads.iter_mut().find(|upload| is_it(upload)) else {
        return Assembled::Incomplete;
    };
    let Some(transfer) = &mut upload.transfer else {
        return Assembled::Incomplete;
    };
    transfer.touched = now;
    let (from, to) = (block.offset(), block.offset().saturating_add(payload.len()));
    if from > transfer.len {
        return Assembled::Incomplete;
    }
    if to > transfer.len {
        let longest = upload.buffer.len();
        let Some(place) = upload.buffer.get_mut(from..to) else {
            upload.transfer = None;
            return Assembled::TooLarge(longest);
        };
        place.copy_from_slice(payload);
        transfer.len = to;
    }
    if block.more {
        return Assembled::Continue;
    }
    if to != transfer.len {
        // It was longer before.
        return Assembled::Incomplete;
    }
    upload.transfer = None;
    Assembled::Complete(upload.buffer.get(..to).unwrap_or_default())
}

/// Ends what this client has begun with this key.
fn forget(uploads: &mut [Upload<'_>], source: Source, key: u64) {
    for upload in uploads {
        upload.transfer.take_if(|transfer| transfer.source == source && transfer.key == key);
    }
}

/// The smallest room that does. A client that has its share of them gives up what it has touched the longest ago.
fn place<'u, 'b>(uploads: &'u mut [Upload<'b>], source: Source, needed: usize) -> Option<&'u mut Upload<'b>> {
    let capacity = uploads.len();
    let free = uploads.iter().filter(|upload| upload.transfer.is_none()).count();
    let of_source = |upload: &Upload<'_>| upload.transfer.as_ref().is_some_and(|it| it.source == source);
    let held = uploads.iter().filter(|upload| of_source(upload)).count();
    let fits = uploads.iter_mut().filter(|upload| upload.buffer.len() >= needed);
    if admits(capacity, free, held) {
        return fits.filter(|upload| upload.transfer.is_none()).min_by_key(|upload| upload.buffer.len());
    }
    fits.filter(|upload| of_source(upload))
        .min_by_key(|upload| upload.transfer.as_ref().map(|transfer| transfer.touched))
}

#[cfg(test)]
mod tests {
    use core::sync::atomic::{AtomicU16, Ordering};

    use super::*;
    use crate::SessionId;

    const LIFETIME: Duration = Duration::from_secs(247);

    fn source(session: u64) -> Source {
        Source::Session { session: SessionId(session), epoch: 1 }
    }

    fn part(session: u64, number: u32, more: bool, payload: &[u8]) -> Part<'_> {
        let block = Block { number, more, szx: 0 };
        // Each part is a new message.
        static MESSAGES: AtomicU16 = AtomicU16::new(0);
        let message_id = MESSAGES.fetch_add(1, Ordering::Relaxed);
        Part { source: source(session), key: 1, message_id, block, payload, size: None }
    }

    fn at(seconds: u64) -> Instant {
        Instant::from_millis(1_000 * seconds)
    }

    #[test]
    fn bodies_of_several_peers_come_interleaved() {
        let (mut one, mut two) = ([0; 40], [0; 40]);
        let mut uploads = [Upload::new(&mut one), Upload::new(&mut two)];
        for number in 0..2 {
            for session in [1, 2] {
                let payload = [session as u8; 16];
                let part = part(session, number, true, &payload);
                // A block that comes again changes nothing.
                for _ in 0..2 {
                    assert_eq!(assemble(&mut uploads, &part, LIFETIME, at(0)), Assembled::Continue);
                }
            }
        }
        for session in [1, 2] {
            let payload = [session as u8; 8];
            let complete = [session as u8; 40];
            let part = part(session, 2, false, &payload);
            assert_eq!(assemble(&mut uploads, &part, LIFETIME, at(0)), Assembled::Complete(&complete));
        }
    }

    #[test]
    fn what_is_out_of_order_is_incomplete() {
        let mut room = [0; 64];
        let mut uploads = [Upload::new(&mut room)];
        let mut take = |part: Part<'_>, now| match assemble(&mut uploads, &part, LIFETIME, now) {
            Assembled::Complete(_) => None,
            Assembled::Continue => Some(Ok(())),
            _ => Some(Err(())),
        };
        assert_eq!(take(part(1, 1, true, &[1; 16]), at(0)), Some(Err(())));
        assert_eq!(take(part(1, 0, true, &[1; 16]), at(0)), Some(Ok(())));
        assert_eq!(take(part(1, 2, true, &[1; 16]), at(0)), Some(Err(())));
        assert_eq!(take(Part { key: 2, ..part(1, 1, true, &[1; 16]) }, at(0)), Some(Err(())));
        assert_eq!(take(part(2, 1, true, &[1; 16]), at(0)), Some(Err(())));
        // Of another length than it says.
        assert_eq!(take(part(1, 1, true, &[1; 15]), at(0)), Some(Err(())));
        assert_eq!(take(part(1, 1, true, &[1; 17]), at(0)), Some(Err(())));
        assert_eq!(take(part(1, 1, false, &[1; 17]), at(0)), Some(Err(())));
        assert_eq!(take(part(1, 1, true, &[1; 16]), at(0)), Some(Ok(())));
        // The end of it is in front of what is here.
        assert_eq!(take(part(1, 0, false, &[1; 3]), at(0)), None);
        assert_eq!(take(part(1, 1, false, &[1; 3]), at(0)), Some(Err(())));
        // Nothing is kept for longer than EXCHANGE_LIFETIME.
        assert_eq!(take(part(1, 0, true, &[1; 16]), at(0)), Some(Ok(())));
        assert_eq!(take(part(1, 1, true, &[1; 16]), at(247)), Some(Err(())));
    }

    #[test]
    fn what_is_too_large() {
        let mut room = [0; 40];
        let mut uploads = [Upload::new(&mut room)];
        let first = part(1, 0, true, &[1; 16]);
        let announced = Part { size: Some(41), ..first };
        assert_eq!(assemble(&mut uploads, &announced, LIFETIME, at(0)), Assembled::TooLarge(40));
        assert_eq!(assemble(&mut uploads, &first, LIFETIME, at(0)), Assembled::Continue);
        let second = part(1, 1, true, &[1; 16]);
        assert_eq!(assemble(&mut uploads, &second, LIFETIME, at(0)), Assembled::Continue);
        let third = part(1, 2, true, &[1; 16]);
        assert_eq!(assemble(&mut uploads, &third, LIFETIME, at(0)), Assembled::TooLarge(40));
        assert_eq!(assemble(&mut uploads, &third, LIFETIME, at(0)), Assembled::Incomplete);
        assert_eq!(assemble(&mut [], &first, LIFETIME, at(0)), Assembled::TooLarge(0));
        let only = part(1, 0, false, &[1; 16]);
        assert_eq!(assemble(&mut [], &only, LIFETIME, at(0)), Assembled::Complete(&[1; 16]));
    }

    #[test]
    fn nobody_takes_all_the_room() {
        let mut rooms = [[0; 32]; 4];
        let mut uploads = rooms.each_mut().map(|room| Upload::new(room));
        for key in 0..10 {
            let greedy = Part { key, ..part(1, 0, true, &[1; 16]) };
            assert_eq!(assemble(&mut uploads, &greedy, LIFETIME, at(key)), Assembled::Continue);
        }
        let other = part(2, 0, true, &[2; 16]);
        assert_eq!(assemble(&mut uploads, &other, LIFETIME, at(11)), Assembled::Continue);
        let third = part(3, 0, true, &[2; 16]);
        assert_eq!(assemble(&mut uploads, &third, LIFETIME, at(11)), Assembled::Busy);
        // The last three of the greedy one are still there.
        for key in 7..10 {
            let greedy = Part { key, ..part(1, 1, false, &[1; 1]) };
            assert!(matches!(assemble(&mut uploads, &greedy, LIFETIME, at(12)), Assembled::Complete(_)));
        }
        assert_eq!(assemble(&mut uploads, &third, LIFETIME, at(12)), Assembled::Continue);
    }
}
