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
/// Both are queues. When either is full, the oldest message is forgotten, whosever it was: a new request never waits.
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
        while self.entries().next().is_some_and(|oldest| oldest.expires <= now) {
            self.forget_oldest();
        }
        while self.len >= EXCHANGES || REPLIES.saturating_sub(self.used) < reply.len() {
            self.forget_oldest();
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

    fn forget_oldest(&mut self) {
        let Some(oldest) = self.entries.first_mut().and_then(Option::take) else {
            // Nothing is left, so nothing is counted: the loops in `insert` end whatever happened.
            self.len = 0;
            self.used = 0;
            return;
        };
        self.entries.rotate_left(1);
        self.len = self.len.saturating_sub(1);
        if let Some(replies) = self.replies.get_mut(..self.used)
            && oldest.reply <= replies.len()
        {
            replies.copy_within(oldest.reply.., 0);
        }
        self.used = self.used.saturating_sub(oldest.reply);
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
    fn sessions_and_epochs_are_apart() {
        let mut seen = Deduplication::<2, 8>::new();
        seen.insert(source(1), 1, b"abc", LATER, NOW);
        assert_eq!(seen.get(&source(2), 1, NOW), None);
        let epoch = Source::Session { session: SessionId(1), epoch: 2 };
        assert_eq!(seen.get(&epoch, 1, NOW), None);
    }
}
