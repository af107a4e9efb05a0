//! Whom a message comes from and goes to.

use core::hash::{BuildHasher, Hash};

use siphasher::sip::SipHasher24;

use crate::path::Path;
use crate::{Peer, SessionId};

/// The other end of an exchange, as far as telling messages apart goes.
///
/// "A message is the same when it is sent within the same DTLS session and same epoch and has the same Message ID"
/// (RFC 7252 §9.1.1): in a session, addresses do not count, and a peer whose address changed (RFC 9146) stays the same.
/// Without one, the endpoints are their addresses (§1.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Source {
    Session { session: SessionId, epoch: u16 },
    Addresses(Path),
}

impl Source {
    pub(super) fn new(peer: Option<Peer<'_>>, path: Path) -> Self {
        match peer {
            Some(Peer { session, epoch, .. }) => Self::Session { session, epoch },
            None => Self::Addresses(path),
        }
    }

    /// The session, where there is one.
    pub(super) const fn session(&self) -> Option<SessionId> {
        match self {
            Self::Session { session, .. } => Some(*session),
            Self::Addresses(_) => None,
        }
    }
}

/// The key of the hashes and of the Echo options of one server, which nobody else knows.
#[derive(Clone, Copy, Default)]
pub(super) struct ServerKey(pub(super) [u8; 16]);

impl ServerKey {
    /// What cannot be computed without the key.
    pub(super) fn tag(&self, of: impl Hash) -> u64 {
        self.hash_one(of)
    }
}

impl BuildHasher for ServerKey {
    type Hasher = SipHasher24;

    fn build_hasher(&self) -> SipHasher24 {
        SipHasher24::new_with_key(&self.0)
    }
}
