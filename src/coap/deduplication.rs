//! Which messages have been seen, and what was answered (RFC 7252 §4.5).

use core::net::SocketAddr;

use crate::{Instant, Peer, SessionId};

/// Whom a message came from, as far as telling messages apart goes.
///
/// "A message is the same when it is sent within the same DTLS session and same epoch and has the same Message ID"
/// (§9.1.1): in a session, addresses do not count, and a peer whose address changed (RFC 9146) stays the same. Without
/// one, the endpoints are their addresses (§1.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    Session { session: SessionId, epoch: u16 },
    Addresses { local: SocketAddr, remote: SocketAddr },
}

impl Source {
    pub(super) fn new(peer: Option<Peer<'_>>, local: SocketAddr, remote: SocketAddr) -> Self {
        match peer {
            Some(Peer { session, epoch, .. }) => Self::Session { session, epoch },
            None => Self::Addresses { local, remote },
        }
    }
}

#[derive(Clone, Copy)]
struct Entry {
    source: Source,
    message_id: u16,
    /// How many bytes of reply are stored for it.
    reply: usize,
    /// EXCHANGE_LIFETIME or NON_LIFETIME after it came.
    expires: Instant,
}

/// The last `EXCHANGES` messages, and `REPLIES` bytes of replies to them.
///
/// A new request never waits: when either is full, messages are forgotten. First go those that have expired, then the
/// oldest of a source that would hold more than half of what is short, entries or bytes, and else the oldest of all. So a
/// peer that asks much forgets its own messages and leaves the others their half, unless one reply alone needs more.
/// A message that comes again after it was forgotten counts as new.
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

    /// The reply to this message if it has been seen; an empty one where none was sent.
    pub(super) fn get(&self, source: &Source, message_id: u16, now: Instant) -> Option<&[u8]> {
        let mut start = 0_usize;
        for entry in self.entries() {
            let end = start.saturating_add(entry.reply);
            if entry.message_id == message_id && entry.expires > now && entry.source == *source {
                return self.replies.get(start..end);
            }
            start = end;
        }
        None
    }

    /// Remembers a message and the reply to it, which is at most `REPLIES` bytes long.
    pub(super) fn insert(
        &mut self,
        source: Source,
        message_id: u16,
        reply: &[u8],
        expires: Instant,
        now: Instant,
    ) {
        if EXCHANGES == 0 || reply.len() > REPLIES {
            return;
        }
        while let Some(expired) = self.first(|entry| entry.expires <= now) {
            self.forget(expired);
        }
        while self.len >= EXCHANGES {
            self.forget_one(&source, 1, EXCHANGES, |_| 1);
        }
        while REPLIES.saturating_sub(self.used) < reply.len() {
            self.forget_one(&source, reply.len(), REPLIES, |entry| entry.reply);
        }
        let end = self.used.saturating_add(reply.len());
        let stored = self.replies.get_mut(self.used..).and_then(|free| free.get_mut(..reply.len()));
        let (Some(entry), Some(stored)) = (self.entries.get_mut(self.len), stored) else {
            return;
        };
        *entry = Some(Entry { source, message_id, reply: reply.len(), expires });
        stored.copy_from_slice(reply);
        self.len += 1;
        self.used = end;
    }

    /// Makes room for `wanted` by `newcomer` in a memory of `capacity`, of which each entry has the `share`.
    fn forget_one(
        &mut self,
        newcomer: &Source,
        wanted: usize,
        capacity: usize,
        share: impl Fn(&Entry) -> usize,
    ) {
        let greedy = |source: &Source| {
            let held = self.entries().filter(|entry| entry.source == *source).map(&share);
            let held = held.fold(0, usize::saturating_add);
            held.saturating_add(if source == newcomer { wanted } else { 0 }) > capacity / 2
        };
        let helps = |entry: &Entry| share(entry) > 0;
        let victim = self.first(|entry| helps(entry) && greedy(&entry.source)).or_else(|| self.first(helps));
        // If nothing helps, nothing is left.
        self.forget(victim.unwrap_or(EXCHANGES));
    }

    /// The oldest entry of that kind.
    fn first(&self, kind: impl Fn(&Entry) -> bool) -> Option<usize> {
        self.entries().position(kind)
    }

    fn forget(&mut self, index: usize) {
        let start = self.entries().take(index).map(|entry| entry.reply).fold(0, usize::saturating_add);
        let entries = self.entries.get_mut(index..).unwrap_or_default();
        let Some(entry) = entries.first_mut().and_then(Option::take) else {
            // There is no such entry, so nothing is counted: the loops in `insert` end whatever happened.
            self.entries = [None; EXCHANGES];
            self.len = 0;
            self.used = 0;
            return;
        };
        // The entries after it move up, and so do their replies.
        entries.rotate_left(1);
        self.len = self.len.saturating_sub(1);
        let end = start.saturating_add(entry.reply);
        if let Some(replies) = self.replies.get_mut(..self.used)
            && end <= replies.len()
        {
            replies.copy_within(end.., start);
        }
        self.used = self.used.saturating_sub(entry.reply);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Instant = Instant::from_millis(1_000);
    const LATER: Instant = Instant::from_millis(2_000);

    fn source(session: u64) -> Source {
        Source::Session { session: SessionId(session), epoch: 1 }
    }

    #[test]
    fn the_oldest_goes_when_the_entries_are_full() {
        let mut seen = Deduplication::<2, 64>::new();
        seen.insert(source(1), 1, b"one", LATER, NOW);
        seen.insert(source(1), 2, b"second", LATER, NOW);
        assert_eq!(seen.get(&source(1), 1, NOW), Some(&b"one"[..]));
        seen.insert(source(2), 1, b"", LATER, NOW);
        assert_eq!(seen.get(&source(1), 1, NOW), None);
        assert_eq!(seen.get(&source(1), 2, NOW), Some(&b"second"[..]));
        assert_eq!(seen.get(&source(2), 1, NOW), Some(&b""[..]));
    }

    #[test]
    fn the_oldest_go_when_the_replies_are_full() {
        let mut seen = Deduplication::<4, 8>::new();
        seen.insert(source(1), 1, b"abc", LATER, NOW);
        seen.insert(source(1), 2, b"def", LATER, NOW);
        seen.insert(source(1), 3, b"ghi", LATER, NOW);
        assert_eq!(seen.get(&source(1), 1, NOW), None);
        assert_eq!(seen.get(&source(1), 2, NOW), Some(&b"def"[..]));
        assert_eq!(seen.get(&source(1), 3, NOW), Some(&b"ghi"[..]));
        seen.insert(source(1), 4, b"12345678", LATER, NOW);
        assert_eq!(seen.get(&source(1), 3, NOW), None);
        assert_eq!(seen.get(&source(1), 4, NOW), Some(&b"12345678"[..]));
        seen.insert(source(1), 5, b"123456789", LATER, NOW);
        assert_eq!(seen.get(&source(1), 5, NOW), None);
    }

    #[test]
    fn an_expired_message_is_new_again() {
        let mut seen = Deduplication::<2, 8>::new();
        seen.insert(source(1), 1, b"abc", LATER, NOW);
        assert_eq!(seen.get(&source(1), 1, LATER), None);
        seen.insert(source(1), 1, b"def", Instant::from_millis(3_000), LATER);
        assert_eq!(seen.get(&source(1), 1, LATER), Some(&b"def"[..]));
    }

    #[test]
    fn what_has_expired_goes_first() {
        let mut seen = Deduplication::<3, 9>::new();
        seen.insert(source(1), 1, b"abc", Instant::from_millis(3_000), NOW);
        seen.insert(source(1), 2, b"def", LATER, NOW);
        seen.insert(source(1), 3, b"ghi", Instant::from_millis(3_000), NOW);
        seen.insert(source(1), 4, b"jkl", Instant::from_millis(3_000), LATER);
        let replies = [1, 2, 3, 4].map(|message_id| seen.get(&source(1), message_id, LATER));
        assert_eq!(replies, [Some(&b"abc"[..]), None, Some(b"ghi"), Some(b"jkl")]);
    }

    #[test]
    fn whoever_fills_the_entries_forgets_its_own() {
        let mut seen = Deduplication::<4, 64>::new();
        seen.insert(source(1), 1, b"one", LATER, NOW);
        seen.insert(source(2), 1, b"two", LATER, NOW);
        for message_id in 1..100 {
            seen.insert(source(3), message_id, b"many", LATER, NOW);
        }
        assert_eq!(seen.get(&source(1), 1, NOW), Some(&b"one"[..]));
        assert_eq!(seen.get(&source(2), 1, NOW), Some(&b"two"[..]));
        for (message_id, reply) in [(97, None), (98, Some(&b"many"[..])), (99, Some(b"many"))] {
            assert_eq!(seen.get(&source(3), message_id, NOW), reply);
        }
        // Where nobody has more than half, it is the oldest.
        seen.insert(source(4), 1, b"four", LATER, NOW);
        assert_eq!(seen.get(&source(1), 1, NOW), None);
        assert_eq!(seen.get(&source(2), 1, NOW), Some(&b"two"[..]));
    }

    #[test]
    fn whoever_fills_the_replies_forgets_its_own() {
        let mut seen = Deduplication::<8, 8>::new();
        seen.insert(source(1), 1, b"", LATER, NOW);
        seen.insert(source(1), 2, b"1234", LATER, NOW);
        for message_id in 1..100 {
            seen.insert(source(2), message_id, b"ab", LATER, NOW);
        }
        assert_eq!(seen.get(&source(1), 1, NOW), Some(&b""[..]));
        assert_eq!(seen.get(&source(1), 2, NOW), Some(&b"1234"[..]));
        assert_eq!(seen.get(&source(2), 97, NOW), None);
        assert_eq!(seen.get(&source(2), 98, NOW), Some(&b"ab"[..]));
        // Half is not enough for this one.
        seen.insert(source(2), 100, b"12345678", LATER, NOW);
        assert_eq!(seen.get(&source(1), 2, NOW), None);
        assert_eq!(seen.get(&source(2), 100, NOW), Some(&b"12345678"[..]));
        // What does not help to make room stays.
        assert_eq!(seen.get(&source(1), 1, NOW), Some(&b""[..]));
    }

    #[test]
    fn sessions_and_epochs_are_apart() {
        let mut seen = Deduplication::<2, 8>::new();
        seen.insert(source(1), 1, b"abc", LATER, NOW);
        assert_eq!(seen.get(&source(2), 1, NOW), None);
        let epoch = Source::Session { session: SessionId(1), epoch: 2 };
        assert_eq!(seen.get(&epoch, 1, NOW), None);
    }
}
