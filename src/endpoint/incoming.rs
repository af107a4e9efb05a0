//! Where each record of a datagram belongs.

use rand_core::TryCryptoRng;

use super::moving::Moving;
use super::{Endpoint, admission};
use crate::connection::{Event, Received, Session, next_record};
use crate::handshake::Established;
#[cfg(feature = "dtls13")]
use crate::handshake::HANDSHAKE_EPOCH;
use crate::log::{info, warning};
use crate::path::Path;
use crate::peer::Peer;
use crate::psk::PskUse;
use crate::stats::Stats;
use crate::time::Instant;
use crate::wire::handshake::HandshakeType;
use crate::wire::record::{ContentType, Header, RecordHeader};
use crate::wire::version::ProtocolVersion;

/// The records of one datagram, on their way through an [`Endpoint`]: an iterator over what they brought.
#[must_use = "records that are not looked at are lost"]
pub struct EndpointIncoming<'e, 'a, 'd, 'r, R: ?Sized, const H: usize, const S: usize> {
    endpoint: &'e mut Endpoint<'a, H, S>,
    rest: &'d mut [u8],
    /// By which the datagram came.
    came_by: Path,
    /// By which the session is found that the last event is about.
    path: Path,
    /// The session that the last record was for.
    session: Option<u16>,
    rng: &'r mut R,
    now: Instant,
}

impl<'e, 'a, 'd, 'r, R: ?Sized, const H: usize, const S: usize> EndpointIncoming<'e, 'a, 'd, 'r, R, H, S> {
    pub(super) const fn new(
        endpoint: &'e mut Endpoint<'a, H, S>,
        datagram: &'d mut [u8],
        path: Path,
        rng: &'r mut R,
        now: Instant,
    ) -> Self {
        Self { endpoint, rest: datagram, came_by: path, path, session: None, rng, now }
    }

    /// How many bytes of the datagram, counted from its end, have not been looked at.
    pub const fn remaining(&self) -> usize {
        self.rest.len()
    }

    /// By which the session is found that the last event is about. That is where the datagram came from, but for a
    /// session with a connection ID whose peer is moving: there it is where the peer was, until it has shown that it
    /// receives at its new address.
    pub const fn path(&self) -> Path {
        self.path
    }

    /// The peer that the last event is about, as soon as there is a session with it.
    pub fn peer(&self) -> Option<Peer<'_>> {
        self.endpoint.peer(&self.path)
    }
}

impl<'d, R: TryCryptoRng + ?Sized, const H: usize, const S: usize> Iterator
    for EndpointIncoming<'_, '_, 'd, '_, R, H, S>
{
    type Item = Event<'d>;

    fn next(&mut self) -> Option<Event<'d>> {
        let Self { endpoint, rest, came_by, path, session, rng, now } = self;
        let id_len = endpoint.config.connection_id_len().unwrap_or(0);
        while let Some((header, body)) = next_record(rest, id_len, &mut endpoint.stats) {
            *path = *came_by;
            *session = None;
            let event = match endpoint.recipient(&header, body, came_by) {
                Recipient::Hello(header) => {
                    let outcome = endpoint.on_client_hello(header, body, *came_by, rng, *now);
                    outcome.err().map(Event::Refused)
                }
                Recipient::Handshake(at) => endpoint.receive_in_handshake(&header, body, *came_by, at, *now),
                Recipient::Session(at) => {
                    *session = Some(at);
                    endpoint.receive_in_session(&header, body, path, at, *now)
                }
                #[cfg(feature = "dtls13")]
                Recipient::Either { handshake, session: at } => {
                    let mut copy = [0; MAX_FINISHED_BODY];
                    let copy = copy.get_mut(..body.len()).unwrap_or_default();
                    copy.copy_from_slice(body);
                    let event = endpoint.receive_in_handshake(&header, copy, *came_by, handshake, *now);
                    event.or_else(|| {
                        *session = Some(at);
                        endpoint.receive_in_session(&header, body, path, at, *now)
                    })
                }
                Recipient::Nobody => {
                    Stats::count(&mut endpoint.stats.dropped);
                    None
                }
            };
            if event.is_some() {
                return event;
            }
        }
        session.and_then(|at| endpoint.storage.sessions.get_mut(at)?.value.session.poll_notice())
    }
}

/// Whom a record is for: the one that it can only be meant for.
enum Recipient<'h> {
    Hello(&'h RecordHeader<'h>),
    Handshake(u16),
    Session(u16),
    /// A handshake and a session of DTLS 1.3 under epochs of which a record does not tell which one it is of (RFC 9147 §4).
    #[cfg(feature = "dtls13")]
    Either {
        handshake: u16,
        session: u16,
    },
    Nobody,
}

/// The longest body in bytes of a record that may be a client's Finished, where it may be a session's as well: message, type and tag are
/// half of it.
#[cfg(feature = "dtls13")]
const MAX_FINISHED_BODY: usize = 128;

impl<const H: usize, const S: usize> Endpoint<'_, H, S> {
    fn recipient<'h>(&self, header: &'h Header<'h>, body: &[u8], path: &Path) -> Recipient<'h> {
        if let Some(plaintext) = header.plaintext()
            && plaintext.content_type == ContentType::Handshake
            && body.first() == Some(&HandshakeType::ClientHello.number())
        {
            return Recipient::Hello(plaintext);
        }
        // By connection ID first, then by address (RFC 9146 §3).
        let sessions = &self.storage.sessions;
        let session = match header.connection_id() {
            [] => sessions.find(&self.hash_keys, path),
            id => sessions.find_by_id(&self.hash_keys, id),
        };
        let hash = core::hash::BuildHasher::hash_one(&self.hash_keys, path);
        let handshake = self.storage.handshakes.find(hash, path).filter(|at| {
            let entry = self.storage.handshakes.get(*at);
            let awaits_finished = entry.is_some_and(|entry| entry.value.awaits_finished());
            #[cfg(feature = "dtls13")]
            let has_id = |id: &[u8]| entry.is_some_and(|entry| entry.value.connection_id() == id);
            // Beside a session, only a handshake record can be meant for the handshake that awaits its Finished: in DTLS 1.3, one under
            // its own epoch.
            let may_be_finished = match header {
                Header::Full(header) => header.content_type == ContentType::Handshake,
                #[cfg(feature = "dtls13")]
                Header::Unified(header) => {
                    u64::from(header.epoch_bits) == HANDSHAKE_EPOCH && has_id(header.connection_id)
                }
            };
            header.plaintext().is_some() || awaits_finished && (session.is_none() || may_be_finished)
        });
        match (handshake, session) {
            #[cfg(feature = "dtls13")]
            (Some(handshake), Some(session)) if self.may_be_of_session(session, header) => {
                if body.len() > MAX_FINISHED_BODY {
                    return Recipient::Session(session);
                }
                Recipient::Either { handshake, session }
            }
            (Some(at), _) => Recipient::Handshake(at),
            (None, Some(at)) => Recipient::Session(at),
            (None, None) => Recipient::Nobody,
        }
    }

    /// Whether a record of DTLS 1.3 may be under the keys of this session.
    #[cfg(feature = "dtls13")]
    fn may_be_of_session(&self, at: u16, header: &Header<'_>) -> bool {
        let entry = self.storage.sessions.get(at);
        matches!(header, Header::Unified(_))
            && entry.is_some_and(|entry| entry.value.session.may_read(header))
    }

    fn receive_in_handshake<'d>(
        &mut self,
        header: &Header<'_>,
        body: &mut [u8],
        path: Path,
        at: u16,
        now: Instant,
    ) -> Option<Event<'d>> {
        let context = self.context();
        let entry = self.storage.handshakes.get_mut(at)?;
        self.handshakes_due = true;
        if entry.value.is_limited() {
            entry.value.allow(header.len() + body.len());
        }
        match entry.value.receive(&context, header, body, now, &mut self.stats) {
            Ok(None) => None,
            Ok(Some(established)) => {
                self.storage.handshakes.remove(at);
                self.establish(path, established, now);
                Some(Event::Established)
            }
            Err(error) => {
                Stats::count(&mut self.stats.handshakes_failed);
                info!("the handshake with {} failed: {}", path.remote, error);
                Some(Event::Refused(error))
            }
        }
    }

    /// Takes a record that came by `path`, and leaves there by which path the session is found.
    fn receive_in_session<'d>(
        &mut self,
        header: &Header<'_>,
        body: &'d mut [u8],
        path: &mut Path,
        at: u16,
        now: Instant,
    ) -> Option<Event<'d>> {
        let came_by = *path;
        let len = header.len() + body.len();
        let context = self.context();
        let entry = self.storage.sessions.get_mut(at)?;
        let received = entry.value.session.receive(
            &context,
            header,
            body,
            #[cfg(feature = "dtls13")]
            None,
            now,
            &mut self.stats,
        );
        let Received { event, is_newest, path_response } = received;
        #[cfg(feature = "dtls13")]
        self.on_connection_ids(at);
        if is_newest {
            self.follow_peer(at, came_by, len, now);
        }
        let entry = self.storage.sessions.get_mut(at)?;
        if entry.is_due() {
            self.sessions_due_from = self.sessions_due_from.min(at);
        }
        self.look_at = self.look_at.into_iter().chain(entry.poll_timeout()).min();
        *path = entry.path;
        match &event {
            Some(Event::Data(_)) => entry.touched = now,
            Some(Event::Failed(_)) if entry.value.session.is_over() => self.storage.sessions.remove(at),
            _ => {}
        }
        let is_proven = |cookie| {
            let moving = self.storage.sessions.get(at)?.value.moving.as_ref()?;
            Some(moving.is_proven_by(&came_by, cookie))
        };
        if path_response.and_then(is_proven) == Some(true) {
            let (from, to) = self.move_session(at)?;
            *path = to;
            return Some(Event::Moved { from, to });
        }
        // What cannot be named cannot be answered: its peer will send it again, once its address is proven.
        if event.is_some()
            && !self.storage.sessions.is_attached(at)
            && self.storage.sessions.get(at).is_some()
        {
            Stats::count(&mut self.stats.dropped);
            return None;
        }
        event
    }

    /// The peer may go on with another connection ID now, or ask for one.
    #[cfg(feature = "dtls13")]
    fn on_connection_ids(&mut self, at: u16) {
        let Some(entry) = self.storage.sessions.get(at) else { return };
        let session = &entry.value.session;
        if session.is_asked_for_connection_id() {
            let id = self.free_connection_id(session.next_connection_id());
            if let Some(entry) = self.storage.sessions.get_mut(at) {
                entry.value.session.grant_connection_id(id);
            }
        }
        self.storage.sessions.index_ids(&self.hash_keys, at);
    }

    /// The newest record of a session came by `path` (RFC 9146 §6). It may have been copied by someone who sends from
    /// there: so the peer is asked, and the session stays where it was until there is an answer.
    fn follow_peer(&mut self, at: u16, path: Path, len: usize, now: Instant) {
        let timeout = self.config.initial_timeout();
        let is_free = self.storage.sessions.find(&self.hash_keys, &path).is_none();
        let is_attached = self.storage.sessions.is_attached(at);
        let Some(entry) = self.storage.sessions.get_mut(at) else { return };
        if is_attached && entry.path == path {
            entry.value.moving = None;
            return;
        }
        if entry.value.moving.as_ref().is_none_or(|moving| moving.to != path) {
            info!("the peer of {} comes from {} now", entry.path.remote, path.remote);
            let answers = entry.value.session.checks_return_routability();
            let moving = Moving::new(path, answers, timeout, now);
            self.look_at = self.look_at.into_iter().chain(moving.poll_timeout()).min();
            entry.value.moving = Some(moving);
        }
        if let Some(moving) = &mut entry.value.moving {
            moving.on_received(len);
        }
        // A session without a path takes the first that nobody else is found by.
        if !is_attached && is_free {
            self.storage.sessions.attach(&self.hash_keys, at, path);
        }
    }

    /// The peer has shown that it receives at its new address: from where the session has moved, and to where.
    pub(super) fn move_session(&mut self, at: u16) -> Option<(Path, Path)> {
        let sessions = &mut self.storage.sessions;
        let entry = sessions.get_mut(at)?;
        let identity = entry.value.session.identity();
        let (from, to) = (entry.path, entry.value.moving.take()?.to);
        info!("the peer of {} is at {} now", from.remote, to.remote);
        // The path may be this session's own already, if it was without one.
        if sessions.find(&self.hash_keys, &to) != Some(at) {
            sessions.clear_path(&self.hash_keys, &to, identity.as_bytes());
            sessions.attach(&self.hash_keys, at, to);
        }
        Some((from, to))
    }

    /// Makes a session of a handshake that succeeded.
    fn establish(&mut self, path: Path, established: Established, now: Instant) {
        let session = Session::new(self.next_session.take(), established, self.config, now);
        info!("established: {}, from {}", session.peer(), path.remote);
        self.warn_of_key(session.peer().identity);
        self.add_session(path, session, now);
    }

    /// Warns once of a key that both versions use as it is.
    fn warn_of_key(&mut self, identity: &[u8]) {
        let has_both = [ProtocolVersion::Dtls12, ProtocolVersion::Dtls13];
        let has_both = has_both.into_iter().all(|version| self.config.offers_version(version));
        if has_both && !self.has_warned && self.store.usage(identity) == PskUse::ANY {
            self.has_warned = true;
            warning!("one key for DTLS 1.2 and 1.3: see `PskUse` for what is better (RFC 9258)");
        }
    }

    /// Adds a session, in the place of the one that the same path had, and of another one where there is no room.
    pub(super) fn add_session(&mut self, path: Path, session: Session, now: Instant) {
        let sessions = &mut self.storage.sessions;
        let identity = session.peer().identity;
        sessions.clear_path(&self.hash_keys, &path, identity);
        let per_identity = self.config.sessions_per_identity().unwrap_or(S / 2).max(1);
        if let Some(at) = admission::session_to_evict(sessions, identity, per_identity) {
            sessions.remove(at);
            Stats::count(&mut self.stats.sessions_evicted);
        }
        // One slot is free now, as a full pool evicts.
        if let Some(at) = sessions.insert(&self.hash_keys, path, now, session) {
            // The last flight goes out, and what follows it, until it is acknowledged.
            self.sessions_due_from = self.sessions_due_from.min(at);
            let timeout = self.storage.sessions.get(at).and_then(|entry| entry.poll_timeout());
            self.look_at = self.look_at.into_iter().chain(timeout).min();
        }
    }
}
