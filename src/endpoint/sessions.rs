//! The established sessions, found by path or by connection ID.

use core::hash::{BuildHasher, Hasher};

use super::index::Index;
use super::moving::Moving;
use super::pool::{Entry, Pool};
use crate::connection::Session;
use crate::path::Path;
use crate::time::Instant;

/// Every session of an endpoint.
///
/// At most one session is found by a path. Records without a connection ID are told apart by nothing else, and the
/// application knows its peers by their paths. A session with a connection ID may be without a path: when another peer
/// has shown that it is at its address now. Its own records find it all the same, and give it a path again.
pub(super) struct Sessions<const S: usize> {
    pool: Pool<Member, S>,
    by_id: Index<S>,
    /// By the connection ID that a peer may go on with.
    #[cfg(feature = "dtls13")]
    by_spare_id: Index<S>,
}

/// A session, and where its peer may have gone.
pub(super) struct Member {
    pub(super) session: Session,
    pub(super) moving: Option<Moving>,
}

impl Entry<Member> {
    /// Where records for the peer go.
    pub(super) fn destination(&self) -> Path {
        self.value.moving.as_ref().map_or(self.path, |moving| moving.to)
    }

    /// When to look at it again.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let moving = self.value.moving.as_ref().and_then(|moving| moving.poll_timeout());
        self.value.session.poll_timeout().into_iter().chain(moving).min()
    }

    /// Whether the session or the check of its peer's address has something to send.
    pub(super) fn is_due(&self) -> bool {
        self.value.session.is_due() || self.value.moving.as_ref().is_some_and(|moving| moving.is_due())
    }
}

impl<const S: usize> Sessions<S> {
    pub(super) const fn new() -> Self {
        Self {
            pool: Pool::new(),
            by_id: Index::new(),
            #[cfg(feature = "dtls13")]
            by_spare_id: Index::new(),
        }
    }

    pub(super) fn clear(&mut self) {
        self.pool.clear();
        self.by_id = Index::new();
        #[cfg(feature = "dtls13")]
        {
            self.by_spare_id = Index::new();
        }
    }

    pub(super) fn find(&self, keys: &impl BuildHasher, path: &Path) -> Option<u16> {
        self.pool.find(keys.hash_one(path), path)
    }

    /// The session that asked for records with this connection ID.
    pub(super) fn find_by_id(&self, keys: &impl BuildHasher, id: &[u8]) -> Option<u16> {
        let is_it = |at| self.get(at).is_some_and(|entry| entry.value.session.connection_id() == id);
        let found = self.by_id.find(hash_id(keys, id), is_it);
        #[cfg(feature = "dtls13")]
        let found = found.or_else(|| {
            let is_it =
                |at| self.get(at).is_some_and(|entry| entry.value.session.spare_connection_id() == id);
            self.by_spare_id.find(hash_id(keys, id), is_it)
        });
        found
    }

    /// The connection IDs of a session have changed, perhaps.
    pub(super) fn index_ids(&mut self, keys: &impl BuildHasher, at: u16) {
        let Some(entry) = self.pool.get(at) else { return };
        let session = &entry.value.session;
        reindex(&mut self.by_id, keys, at, session.connection_id());
        #[cfg(feature = "dtls13")]
        reindex(&mut self.by_spare_id, keys, at, session.spare_connection_id());
    }

    pub(super) fn get(&self, at: u16) -> Option<&Entry<Member>> {
        self.pool.get(at)
    }

    pub(super) fn get_mut(&mut self, at: u16) -> Option<&mut Entry<Member>> {
        self.pool.get_mut(at)
    }

    /// The session at `path`, for a call that names its peer so.
    pub(super) fn at(&self, keys: &impl BuildHasher, path: &Path) -> Option<&Entry<Member>> {
        self.get(self.find(keys, path)?)
    }

    /// Adds a session and returns its slot; `None` in a full pool. Nobody else is at `path`.
    pub(super) fn insert(
        &mut self,
        keys: &impl BuildHasher,
        path: Path,
        now: Instant,
        session: Session,
    ) -> Option<u16> {
        let at = self.pool.insert(keys.hash_one(path), path, now, Member { session, moving: None })?;
        self.index_ids(keys, at);
        Some(at)
    }

    pub(super) fn remove(&mut self, at: u16) {
        self.by_id.remove(at);
        #[cfg(feature = "dtls13")]
        self.by_spare_id.remove(at);
        self.pool.remove(at);
    }

    /// A peer of this identity has shown that it is at `path`. Another session there gives way: it goes, unless it is
    /// another peer's that can be found by its connection ID.
    pub(super) fn clear_path(&mut self, keys: &impl BuildHasher, path: &Path, identity: &[u8]) {
        let Some(at) = self.find(keys, path) else { return };
        let stays = self.get(at).is_some_and(|entry| {
            let session = &entry.value.session;
            session.peer().identity != identity && !session.connection_id().is_empty()
        });
        if stays { self.pool.detach(at) } else { self.remove(at) }
    }

    /// `path`, where nobody else is, finds this session from here on.
    pub(super) fn attach(&mut self, keys: &impl BuildHasher, at: u16, path: Path) {
        self.pool.attach(at, keys.hash_one(path), path);
    }

    pub(super) fn is_attached(&self, at: u16) -> bool {
        self.pool.is_attached(at)
    }

    pub(super) fn is_full(&self) -> bool {
        self.pool.is_full()
    }

    pub(super) const fn slots(&self) -> core::ops::Range<u16> {
        self.pool.slots()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (u16, &Entry<Member>)> {
        self.pool.iter()
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Entry<Member>> {
        self.pool.iter_mut()
    }
}

/// Has a session found by this connection ID; by none, where it is empty.
fn reindex<const S: usize>(index: &mut Index<S>, keys: &impl BuildHasher, at: u16, id: &[u8]) {
    index.remove(at);
    if !id.is_empty() {
        index.insert(hash_id(keys, id), at);
    }
}

fn hash_id(keys: &impl BuildHasher, id: &[u8]) -> u64 {
    let mut hasher = keys.build_hasher();
    hasher.write(id);
    hasher.finish()
}
