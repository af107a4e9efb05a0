//! Which requests have been seen, and what was answered (RFC 7252 §4.5).

use super::share::admits;
use crate::Instant;

/// How many entries of one source are kept apart, with their replies, before the oldest are put together.
const APART: usize = 8;

/// How far apart two Message IDs may be that are put together.
const MAX_GAP: u16 = 256;

/// How many Message IDs one entry stands for at most: half of all there are, so that the next ones are never among them.
const MAX_SPAN: u16 = 0x7fff;

/// One message of one source, or to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct MessageKey {
    /// A keyed hash of the source: nobody can make two that are the same.
    pub(super) source: u64,
    /// Whether it is a separate response, with a Message ID of this server's.
    pub(super) is_ours: bool,
    pub(super) message_id: u16,
}

/// How much depends on a request not being forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// It can be carried out again: a safe method (§5.1), or nothing was done at all. "For example, as an optimization, a
    /// server may be able to satisfy idempotent requests again" (§4.5).
    Repeatable,
    /// It was carried out, once.
    Once {
        /// Until then, copies of it may come.
        young_until: Instant,
    },
}

#[derive(Clone, Copy)]
struct Entry {
    key: MessageKey,
    /// How many Message IDs in front of that one it stands for as well.
    span: u16,
    kind: Kind,
    /// EXCHANGE_LIFETIME or NON_LIFETIME after it came.
    expires: Instant,
    /// How many bytes of reply are stored for it; `None` where it has been forgotten what they were.
    reply: Option<u16>,
}

impl Entry {
    fn reply_len(&self) -> usize {
        self.reply.unwrap_or(0).into()
    }

    fn is_young(&self, now: Instant) -> bool {
        matches!(self.kind, Kind::Once { young_until } if young_until > now)
    }

    /// Whether it stands for this message. Only one that is carried out once may be meant where an entry stands for several.
    fn is_for(&self, key: MessageKey, is_safe: bool) -> bool {
        let behind = self.key.message_id.wrapping_sub(key.message_id);
        let is_of_its_kind = self.key.source == key.source && self.key.is_ours == key.is_ours;
        is_of_its_kind && behind <= self.span && (behind == 0 || !is_safe)
    }
}

/// What is known of a message that has just come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seen<'a> {
    /// Nothing.
    New,
    /// It was answered so; with nothing, where this is empty.
    Answered(&'a [u8]),
    /// It was carried out, and what was answered is forgotten.
    Forgotten,
}

/// Up to `EXCHANGES` messages, and `REPLIES` bytes of replies to them.
///
/// A request that was carried out and that may come again is never forgotten: where there is no other place, a new one has to
/// wait ([`has_room`](Self::has_room)), and its sender will ask again. All others go as soon as their place is needed, the
/// oldest first. A reply that is forgotten costs its client a time-out, and nothing is done twice.
///
/// "Implementation Note: Several implementation strategies can be employed [...]. In one strategy, each CoAP endpoint keeps a
/// Message ID variable, which is changed each time" (§4.4): with clients that count, the oldest requests are one entry, from
/// the first Message ID to the last. So a client may ask as often as it likes. What is between those and came to nothing
/// counts as done as well; it was lost, and would come again after dozens of newer ones.
pub(super) struct Deduplication<const EXCHANGES: usize, const REPLIES: usize> {
    /// From the oldest to the newest.
    entries: [Option<Entry>; EXCHANGES],
    len: usize,
    /// Their replies in the same order, without gaps.
    replies: [u8; REPLIES],
    used: usize,
}

impl<const EXCHANGES: usize, const REPLIES: usize> Deduplication<EXCHANGES, REPLIES> {
    pub(super) const fn new() -> Self {
        Self { entries: [None; EXCHANGES], len: 0, replies: [0; REPLIES], used: 0 }
    }

    fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter().flatten()
    }

    pub(super) fn get(&self, key: MessageKey, is_safe: bool, now: Instant) -> Seen<'_> {
        let mut start = 0_usize;
        for entry in self.entries() {
            let end = start.saturating_add(entry.reply_len());
            if entry.is_for(key, is_safe) && entry.expires > now {
                return match entry.reply {
                    Some(_) => Seen::Answered(self.replies.get(start..end).unwrap_or_default()),
                    None => Seen::Forgotten,
                };
            }
            start = end;
        }
        Seen::New
    }

    /// Whether one more request of this source can be carried out, and remembered.
    pub(super) fn has_room(&mut self, source: u64, now: Instant) -> bool {
        self.admits(source, now) || (self.put_together(source, now) && self.admits(source, now))
    }

    fn admits(&self, source: u64, now: Instant) -> bool {
        let young = self.entries().filter(|entry| entry.is_young(now));
        let (mut taken, mut held) = (0, 0);
        for entry in young {
            taken += 1;
            held += usize::from(entry.key.source == source);
        }
        admits(EXCHANGES, EXCHANGES.saturating_sub(taken), held)
    }

    /// Makes one entry of the two oldest of a source that counts its messages, if it has more than enough of them. What is left
    /// of the older one is that it was carried out.
    fn put_together(&mut self, source: u64, now: Instant) -> bool {
        let is_its = |entry: &Entry| entry.key.source == source && !entry.key.is_ours && entry.is_young(now);
        let mut its = self.entries().enumerate().filter(|(_, entry)| is_its(entry));
        let (Some((older_at, &older)), Some((newer_at, &newer))) = (its.next(), its.next()) else {
            return false;
        };
        let rest = its.count();
        let gap = newer.key.message_id.wrapping_sub(newer.span).wrapping_sub(older.key.message_id);
        if rest + 2 < APART || gap == 0 || gap > MAX_GAP {
            return false;
        }
        let span = newer.key.message_id.wrapping_sub(older.key.message_id).saturating_add(older.span);
        self.forget_reply(newer_at);
        if let Some(Some(newer)) = self.entries.get_mut(newer_at) {
            newer.span = span.min(MAX_SPAN);
        }
        self.forget(older_at);
        true
    }

    /// Remembers a message and the reply to it.
    pub(super) fn insert(
        &mut self,
        key: MessageKey,
        kind: Kind,
        reply: &[u8],
        expires: Instant,
        now: Instant,
    ) {
        while let Some(expired) = self.first(|entry| entry.expires <= now) {
            self.forget(expired);
        }
        let is_repeatable = kind == Kind::Repeatable;
        if self.len >= EXCHANGES {
            let victim = self
                .first(|entry| entry.kind == Kind::Repeatable)
                .or_else(|| self.first(|entry| !is_repeatable && !entry.is_young(now)));
            let Some(victim) = victim else { return };
            self.forget(victim);
        }
        // One source leaves the others a quarter.
        let most = REPLIES - REPLIES / 4;
        while REPLIES.saturating_sub(self.used) < reply.len() {
            let held = self.entries().filter(|entry| entry.key.source == key.source).map(Entry::reply_len);
            let has_its_share = held.fold(reply.len(), usize::saturating_add) > most;
            if reply.len() > most {
                break;
            } else if let Some(victim) = self.first(|entry| entry.kind == Kind::Repeatable) {
                self.forget(victim);
            } else if let Some(victim) = self.first(|entry| {
                !is_repeatable && entry.reply_len() > 0 && (!has_its_share || entry.key.source == key.source)
            }) {
                self.forget_reply(victim);
            } else {
                break;
            }
        }
        let end = self.used.saturating_add(reply.len());
        let stored = match self.replies.get_mut(self.used..end) {
            Some(free) => {
                free.copy_from_slice(reply);
                self.used = end;
                u16::try_from(reply.len()).ok()
            }
            None if is_repeatable => return,
            None => None,
        };
        if let Some(entry) = self.entries.get_mut(self.len) {
            *entry = Some(Entry { key, span: 0, kind, expires, reply: stored });
            self.len += 1;
        }
    }

    /// The oldest entry of that kind.
    fn first(&self, kind: impl Fn(&Entry) -> bool) -> Option<usize> {
        self.entries().position(kind)
    }

    fn forget(&mut self, index: usize) {
        self.forget_reply(index);
        let entries = self.entries.get_mut(index..).unwrap_or_default();
        if let Some(first) = entries.first_mut() {
            *first = None;
            // The entries after it move up.
            entries.rotate_left(1);
        }
        self.len = self.len.saturating_sub(1);
    }

    fn forget_reply(&mut self, index: usize) {
        let start = self.entries().take(index).map(Entry::reply_len).fold(0, usize::saturating_add);
        let Some(Some(entry)) = self.entries.get_mut(index) else { return };
        let end = start.saturating_add(entry.reply_len());
        entry.reply = None;
        if let Some(replies) = self.replies.get_mut(..self.used)
            && end <= replies.len()
        {
            replies.copy_within(end.., start);
        }
        self.used = self.used.saturating_sub(end - start);
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;

    const NOW: Instant = Instant::from_millis(1_000);
    const LATER: Instant = Instant::from_millis(2_000);
    const MUCH_LATER: Instant = Instant::from_millis(3_000);
    const ONCE: Kind = Kind::Once { young_until: LATER };

    fn key(source: u64, message_id: u16) -> MessageKey {
        MessageKey { source, is_ours: false, message_id }
    }

    #[test]
    fn what_can_be_repeated_makes_room() {
        let mut seen = Deduplication::<2, 64>::new();
        seen.insert(key(1, 1), ONCE, b"one", MUCH_LATER, NOW);
        seen.insert(key(1, 2), Kind::Repeatable, b"second", MUCH_LATER, NOW);
        assert_eq!(seen.get(key(1, 1), false, NOW), Seen::Answered(b"one"));
        assert_eq!(seen.get(key(1, 2), false, NOW), Seen::Answered(b"second"));
        seen.insert(key(2, 1), Kind::Repeatable, b"", MUCH_LATER, NOW);
        assert_eq!(seen.get(key(1, 2), false, NOW), Seen::New);
        assert_eq!(seen.get(key(2, 1), false, NOW), Seen::Answered(b""));
        assert_eq!(seen.get(key(1, 1), false, NOW), Seen::Answered(b"one"));
    }

    /// A full table drops new requests rather than forget young ones.
    #[test]
    fn the_young_are_never_forgotten() {
        let mut seen = Deduplication::<4, 64>::new();
        let mut done = std::vec::Vec::new();
        for message in 0..10 {
            for source in 1..5 {
                if seen.has_room(source, NOW) {
                    seen.insert(key(source, message), ONCE, b"x", MUCH_LATER, NOW);
                    done.push(key(source, message));
                }
                seen.insert(key(source, 100 + message), Kind::Repeatable, b"safe", MUCH_LATER, NOW);
            }
        }
        assert_eq!(done.len(), 4);
        for key in done {
            assert_eq!(seen.get(key, false, NOW), Seen::Answered(b"x"));
        }
        // Until no copy of them is on its way any more.
        assert!(seen.has_room(1, LATER));
        seen.insert(key(9, 9), ONCE, b"new", MUCH_LATER, LATER);
        assert_eq!(seen.get(key(9, 9), false, LATER), Seen::Answered(b"new"));
    }

    #[test]
    fn replies_are_forgotten_but_not_what_was_done() {
        let mut seen = Deduplication::<4, 8>::new();
        seen.insert(key(1, 1), ONCE, b"abc", MUCH_LATER, NOW);
        seen.insert(key(1, 2), ONCE, b"def", MUCH_LATER, NOW);
        // What can be repeated takes nothing from others.
        seen.insert(key(1, 3), Kind::Repeatable, b"ghi", MUCH_LATER, NOW);
        assert_eq!(seen.get(key(1, 3), false, NOW), Seen::New);
        seen.insert(key(1, 4), ONCE, b"jkl", MUCH_LATER, NOW);
        assert_eq!(seen.get(key(1, 1), false, NOW), Seen::Forgotten);
        assert_eq!(seen.get(key(1, 2), false, NOW), Seen::Answered(b"def"));
        assert_eq!(seen.get(key(1, 4), false, NOW), Seen::Answered(b"jkl"));
        seen.insert(key(1, 5), ONCE, b"123456789", MUCH_LATER, NOW);
        assert_eq!(seen.get(key(1, 5), false, NOW), Seen::Forgotten);
    }

    /// One source leaves the others a quarter, whatever it has done.
    #[test]
    fn nobody_makes_all_replies_forgotten() {
        let mut seen = Deduplication::<16, 16>::new();
        seen.insert(key(1, 1), ONCE, b"abcd", MUCH_LATER, NOW);
        for message in 0..10 {
            let reply = [b'x'; 20];
            seen.insert(key(2, message), ONCE, &reply[..2 * message as usize], MUCH_LATER, NOW);
        }
        assert_eq!(seen.get(key(1, 1), false, NOW), Seen::Answered(b"abcd"));
        assert_eq!(seen.get(key(2, 6), false, NOW), Seen::Answered(b"xxxxxxxxxxxx"));
        // It is who has the most that makes room.
        seen.insert(key(3, 1), ONCE, b"ef", MUCH_LATER, NOW);
        seen.insert(key(3, 2), ONCE, b"gh", MUCH_LATER, NOW);
        assert_eq!(seen.get(key(3, 1), false, NOW), Seen::Answered(b"ef"));
        assert!((0..10).all(|message| seen.get(key(2, message), false, NOW) != Seen::New));
    }

    #[test]
    fn an_expired_message_is_new_again() {
        let mut seen = Deduplication::<2, 8>::new();
        seen.insert(key(1, 1), ONCE, b"abc", LATER, NOW);
        assert_eq!(seen.get(key(1, 1), false, LATER), Seen::New);
        seen.insert(key(1, 1), ONCE, b"def", MUCH_LATER, LATER);
        assert_eq!(seen.get(key(1, 1), false, LATER), Seen::Answered(b"def"));
    }

    #[test]
    fn what_has_expired_goes_first() {
        let mut seen = Deduplication::<3, 9>::new();
        seen.insert(key(1, 1), ONCE, b"abc", MUCH_LATER, NOW);
        seen.insert(key(1, 2), ONCE, b"def", LATER, NOW);
        seen.insert(key(1, 3), Kind::Repeatable, b"ghi", MUCH_LATER, NOW);
        seen.insert(key(1, 4), ONCE, b"jkl", MUCH_LATER, LATER);
        let replies = [1, 2, 3, 4].map(|message| seen.get(key(1, message), false, LATER));
        let answered = |reply| Seen::Answered(reply);
        assert_eq!(replies, [answered(b"abc"), Seen::New, answered(b"ghi"), answered(b"jkl")]);
    }

    /// A client that counts its messages may ask as often as it likes, and nothing of it is done twice.
    #[test]
    fn the_oldest_of_a_client_that_counts_are_put_together() {
        let mut seen = Deduplication::<16, 64>::new();
        let first = u16::MAX - 700;
        for number in 0..40_000_u16 {
            let message = first.wrapping_add(number);
            // Every third one is a GET.
            if number % 3 == 0 {
                continue;
            }
            assert_eq!(seen.get(key(1, message), false, NOW), Seen::New, "{number}");
            assert!(seen.has_room(1, NOW), "{number}");
            seen.insert(key(1, message), ONCE, b"x", MUCH_LATER, NOW);
            if number > 100 {
                let before = first.wrapping_add(number - number % 90 + 1);
                assert_ne!(seen.get(key(1, before), false, NOW), Seen::New, "{number}");
            }
        }
        let last = first.wrapping_add(39_998);
        assert_eq!(seen.get(key(1, last), false, NOW), Seen::Answered(b"x"));
        for back in [100, 1_000, 20_000, 32_000] {
            assert_eq!(seen.get(key(1, last.wrapping_sub(back)), false, NOW), Seen::Forgotten, "{back}");
            // A GET is carried out again.
            assert_eq!(seen.get(key(1, last.wrapping_sub(back)), true, NOW), Seen::New);
            assert_eq!(seen.get(key(2, last.wrapping_sub(back)), false, NOW), Seen::New);
        }
        // Half of the Message IDs are free for the next ones.
        assert_eq!(seen.get(key(1, last.wrapping_add(1)), false, NOW), Seen::New);
        assert_eq!(seen.get(key(1, last.wrapping_add(0x7f00)), false, NOW), Seen::New);
        // The others still have their quarter.
        for message in 0..4 {
            assert!(seen.has_room(2, NOW));
            seen.insert(key(2, message), ONCE, b"y", MUCH_LATER, NOW);
        }
        assert!(!seen.has_room(2, NOW));
        // And all of it is forgotten in the end.
        assert!(seen.has_room(2, LATER));
        assert_eq!(seen.get(key(1, last), false, MUCH_LATER), Seen::New);
    }

    /// Who does not count has to wait.
    #[test]
    fn messages_at_random_are_not_put_together() {
        let mut seen = Deduplication::<16, 64>::new();
        for number in 0..16_u16 {
            let message = number.wrapping_mul(25_717);
            assert_eq!(seen.has_room(1, NOW), number < 12, "{number}");
            if number < 12 {
                seen.insert(key(1, message), ONCE, b"x", MUCH_LATER, NOW);
            }
        }
        for number in 0..12_u16 {
            let message = number.wrapping_mul(25_717);
            assert_eq!(seen.get(key(1, message), false, NOW), Seen::Answered(b"x"));
            assert_eq!(seen.get(key(1, message + 1), false, NOW), Seen::New);
        }
    }
}
