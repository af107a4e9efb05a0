//! Sessions that can be resumed (RFC 5246 §7.3, RFC 5077, RFC 8446 §4.6.1), and where they are kept.

use core::time::Duration;

use rand_core::TryCryptoRng;
use zeroize::Zeroizing;

use crate::CipherSuite;
use crate::bytes::ByteString;
use crate::crypto::exporter::MASTER_SECRET_LEN;
use crate::crypto::hmac::HmacKey;
use crate::env::cap;
use crate::error::Error;
use crate::psk::{Identity, MAX_IDENTITY_LEN};
use crate::time::Instant;
use crate::wire::max_fragment_length::MaxFragmentLength;
#[cfg(feature = "dtls13")]
use crate::wire::version::ProtocolVersion;
use crate::wire::{InvalidMessage, Reader, Writer};

/// Longest session id in bytes (RFC 5246 §7.4.1.2).
pub const MAX_SESSION_ID_LEN: usize = if cfg!(feature = "resumption") { 32 } else { 0 };

/// Longest ticket in bytes that a client keeps; it resumes by session id, or not at all, where a server's are longer.
/// Lowered with `DTLS_PSK_MAX_TICKET` in the environment of the build.
pub const MAX_TICKET_LEN: usize =
    if cfg!(feature = "resumption") { cap(option_env!("DTLS_PSK_MAX_TICKET"), 255) } else { 0 };

/// Length in bytes of a tag.
pub(crate) const TAG_LEN: usize = if cfg!(feature = "resumption") { 8 } else { 0 };

/// Longest length in bytes of a [`ResumableSession`] as [`to_bytes`](ResumableSession::to_bytes) writes it.
pub const MAX_RESUMABLE_LEN: usize = 1
    + 2
    + MASTER_SECRET_LEN
    + 1
    + 3
    + 4
    + (4 + 8)
    + (1 + MAX_SESSION_ID_LEN)
    + (1 + MAX_TICKET_LEN)
    + (1 + MAX_IDENTITY_LEN)
    + (1 + TAG_LEN);

/// How long a session can be resumed after its handshake, for a [`MemoryCache`]: the day that RFC 5246 appendix F.1.4 sets
/// as the limit.
pub const SESSION_LIFETIME: Duration = Duration::from_secs(24 * 60 * 60);

pub(crate) type TlsSessionId = ByteString<MAX_SESSION_ID_LEN>;
pub(crate) type Ticket = ByteString<MAX_TICKET_LEN>;

/// A new name for a session.
pub(crate) fn draw_session_id<R: TryCryptoRng + ?Sized>(rng: &mut R) -> Result<TlsSessionId, Error> {
    let mut bytes = [0; MAX_SESSION_ID_LEN];
    rng.try_fill_bytes(&mut bytes).map_err(|_| Error::RandomFailed)?;
    Ok(TlsSessionId::new(&bytes).unwrap_or(TlsSessionId::EMPTY))
}

/// Names a session among those that can be resumed, and tells whether its identity still has the key that it had. Empty for
/// one that cannot be resumed.
pub(crate) type ResumptionTag = ByteString<TAG_LEN>;

/// What a handshake left that the next one can be cut short with.
///
/// It holds the master secret of DTLS 1.2, or the pre-shared key that goes with a ticket of DTLS 1.3: whoever has it can read and
/// forge what later sessions say that are resumed from it; but for those of DTLS 1.3 with forward secrecy, which cannot be read. Keep
/// it as secret as the key. `Debug` shows none of it, and it is wiped when dropped.
///
/// Of DTLS 1.2, only sessions with the extended master secret can be resumed (RFC 7627 §5.3).
#[derive(Clone)]
pub struct ResumableSession {
    /// Of DTLS 1.3, a server's ticket.
    pub(crate) session_id: TlsSessionId,
    /// A client's; empty without one.
    pub(crate) ticket: Ticket,
    /// For how many seconds the ticket is good; 0 where the server did not say.
    pub(crate) ticket_lifetime: u32,
    /// What a client adds to the ticket's age, so that nobody can tell it (RFC 8446 §4.2.11.1). Of DTLS 1.3.
    pub(crate) ticket_age_add: u32,
    /// When the ticket came.
    pub(crate) received: Instant,
    pub(crate) master: Zeroizing<[u8; MASTER_SECRET_LEN]>,
    pub(crate) suite: CipherSuite,
    pub(crate) max_fragment_length: Option<MaxFragmentLength>,
    pub(crate) identity: Identity,
    pub(crate) host: Option<u16>,
    pub(crate) tag: ResumptionTag,
}

/// Goes up whenever a written session changes its form.
const VERSION: u8 = 2;

impl ResumableSession {
    /// The tag of a session with this master secret, for an identity with this key.
    pub(crate) fn tag_of(master: &[u8; MASTER_SECRET_LEN], psk: &[u8]) -> ResumptionTag {
        let mac = HmacKey::new(master).mac([b"dtls-psk resumption".as_slice(), psk]);
        mac.get(..TAG_LEN).and_then(ResumptionTag::new).unwrap_or(ResumptionTag::EMPTY)
    }

    /// The tag of a session that can be resumed with this ticket of DTLS 1.3, for an identity with this key: as long as the handshake
    /// lasts, there is no secret yet to take the place of the master secret.
    #[cfg(feature = "dtls13")]
    pub(crate) fn tag_of_ticket(ticket: &[u8], psk: &[u8]) -> ResumptionTag {
        let mac = HmacKey::new(psk).mac([b"dtls-psk ticket".as_slice(), ticket]);
        mac.get(..TAG_LEN).and_then(ResumptionTag::new).unwrap_or(ResumptionTag::EMPTY)
    }

    /// Whether the identity has the same key now as when the session began.
    pub(crate) fn is_under(&self, psk: &[u8]) -> bool {
        let tag = match self.suite.version() {
            #[cfg(feature = "dtls13")]
            ProtocolVersion::Dtls13 if self.ticket.is_empty() => {
                Self::tag_of_ticket(self.session_id.as_bytes(), psk)
            }
            #[cfg(feature = "dtls13")]
            ProtocolVersion::Dtls13 => Self::tag_of_ticket(self.ticket.as_bytes(), psk),
            _ => Self::tag_of(&self.master, psk),
        };
        crate::crypto::equal(tag.as_bytes(), self.tag.as_bytes())
    }

    /// One with this pre-shared key of DTLS 1.3, and no ticket yet.
    #[cfg(feature = "dtls13")]
    pub(crate) fn of_psk(
        psk: &crate::crypto::key_schedule::Secret,
        suite: CipherSuite,
        identity: Identity,
        host: Option<u16>,
        tag: ResumptionTag,
    ) -> Self {
        let mut master = Zeroizing::new([0; MASTER_SECRET_LEN]);
        master.iter_mut().zip(psk.iter()).for_each(|(out, byte)| *out = *byte);
        Self {
            session_id: TlsSessionId::EMPTY,
            ticket: Ticket::EMPTY,
            ticket_lifetime: 0,
            ticket_age_add: 0,
            received: Instant::ZERO,
            master,
            suite,
            max_fragment_length: None,
            identity,
            host,
            tag,
        }
    }

    /// The pre-shared key of DTLS 1.3.
    #[cfg(feature = "dtls13")]
    pub(crate) fn psk(&self) -> &[u8] {
        self.master.get(..crate::crypto::key_schedule::SECRET_LEN).unwrap_or_default()
    }

    /// The id that a server finds the session by; may be empty for a client that has a ticket.
    pub fn session_id(&self) -> &[u8] {
        self.session_id.as_bytes()
    }

    /// The identity that has proven its key.
    pub fn identity(&self) -> &[u8] {
        self.identity.as_bytes()
    }

    /// Names the session among others; the same after it was resumed.
    pub fn tag(&self) -> &[u8] {
        self.tag.as_bytes()
    }

    /// For how long the server means to take the ticket, counted from when it came (RFC 5077 §3.3); `None` where it did not
    /// say, or the session has none.
    pub fn ticket_lifetime(&self) -> Option<Duration> {
        let seconds = Some(self.ticket_lifetime).filter(|seconds| *seconds > 0 && !self.ticket.is_empty());
        seconds.map(|seconds| Duration::from_secs(seconds.into()))
    }

    /// Writes the session into `buf` and returns the length: [`MAX_RESUMABLE_LEN`] bytes always do. For caches that outlive a
    /// reboot. How old the session is, is not among it: the cache keeps that beside it. When its ticket came is, so that a server of
    /// DTLS 1.3 can be told its age: where the clock begins anew, a strict one does not take the ticket.
    ///
    /// # Errors
    /// [`Error::BufferTooSmall`].
    pub fn to_bytes(&self, buf: &mut [u8]) -> Result<usize, Error> {
        let mut w = Writer::new(buf);
        let mut emit = || {
            w.u8(VERSION)?;
            w.u16(self.suite.number())?;
            w.bytes(self.master.as_ref())?;
            w.u8(self.max_fragment_length.map_or(0, MaxFragmentLength::number))?;
            w.u8(self.host.is_some().into())?;
            w.u16(self.host.unwrap_or(0))?;
            w.bytes(&self.ticket_lifetime.to_be_bytes())?;
            w.bytes(&self.ticket_age_add.to_be_bytes())?;
            w.u64(self.received.as_millis())?;
            w.vec8(self.session_id.as_bytes())?;
            w.vec8(self.ticket.as_bytes())?;
            w.vec8(self.identity.as_bytes())?;
            w.vec8(self.tag.as_bytes())
        };
        emit().map_err(|_| Error::BufferTooSmall { needed: MAX_RESUMABLE_LEN })?;
        Ok(w.len())
    }

    /// Reads what [`to_bytes`](Self::to_bytes) has written.
    ///
    /// # Errors
    /// [`Error::InvalidMessage`] for anything else, and for what another version has written.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Error> {
        let mut r = Reader::new(bytes);
        if r.u8()? != VERSION {
            return Err(InvalidMessage::IllegalValue.into());
        }
        let suite = CipherSuite::from_number(r.u16()?).ok_or(InvalidMessage::IllegalValue)?;
        let master = Zeroizing::new(r.array()?);
        let max_fragment_length = match r.u8()? {
            0 => None,
            number => Some(MaxFragmentLength::from_number(number).ok_or(InvalidMessage::IllegalValue)?),
        };
        let has_host = r.u8()? != 0;
        let host = Some(r.u16()?).filter(|_| has_host);
        let ticket_lifetime = u32::from_be_bytes(r.array()?);
        let ticket_age_add = u32::from_be_bytes(r.array()?);
        let received = Instant::from_millis(r.u64()?);
        let session_id = TlsSessionId::new(r.vec8()?).ok_or(InvalidMessage::IllegalLength)?;
        let ticket = Ticket::new(r.vec8()?).ok_or(InvalidMessage::IllegalLength)?;
        let identity = Identity::new(r.vec8()?).ok_or(InvalidMessage::IllegalLength)?;
        let tag = ResumptionTag::new(r.vec8()?).ok_or(InvalidMessage::IllegalLength)?;
        r.finish()?;
        Ok(Self {
            session_id,
            ticket,
            ticket_lifetime,
            ticket_age_add,
            received,
            master,
            suite,
            max_fragment_length,
            identity,
            host,
            tag,
        })
    }
}

impl core::fmt::Debug for ResumableSession {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("ResumableSession").field("suite", &self.suite).finish_non_exhaustive()
    }
}

/// Where sessions are kept that can be resumed.
///
/// [`MemoryCache`] is one of fixed size. Write another one for flash, or behind a lock that several endpoints share. A cache
/// may forget whatever it likes: the next handshake is a full one then.
///
/// A client's cache belongs to one server: what it keeps last is what the next handshake offers. A client of several servers
/// has a configuration and a cache for each.
pub trait SessionCache {
    /// Keeps a session whose handshake is done, in the place of one with the same [tag](ResumableSession::tag): that is the
    /// same session with a new ticket, and no younger for it.
    fn put(&self, session: &ResumableSession, now: Instant);

    /// Lends the session with this id, if there is one, and if it is not too old. For servers.
    fn get(&self, session_id: &[u8], now: Instant, lend: &mut dyn FnMut(&ResumableSession));

    /// Lends the session that was kept last, if there is one, and if it is not too old. For clients.
    fn last(&self, now: Instant, lend: &mut dyn FnMut(&ResumableSession));

    /// Forgets the session with this [tag](ResumableSession::tag): it failed (RFC 5246 §7.2.2), or its identity has another
    /// key now.
    fn forget(&self, tag: &[u8]);

    /// Forgets all sessions of an identity, which [`Endpoint::revoke`](crate::Endpoint::revoke) has taken back.
    ///
    /// Does nothing unless you say otherwise. They are not resumed either way while the key store does not know the identity
    /// or has another key for it; but they are when it comes back with the same one.
    fn forget_identity(&self, identity: &[u8]) {
        let _ = identity;
    }
}

/// A cache of the last `N` sessions, in RAM: about 500 bytes for each, most of them for the longest ticket and identity. `N`
/// is 1 for a client.
///
/// ```
/// use dtls_psk::{Config, MemoryCache};
///
/// let cache = MemoryCache::<1>::new();
/// let config = Config::coap().with_resumption(&cache);
/// ```
#[cfg(feature = "resumption")]
pub struct MemoryCache<const N: usize> {
    entries: core::cell::RefCell<[Option<Entry>; N]>,
    lifetime: Duration,
}

#[cfg(feature = "resumption")]
struct Entry {
    session: ResumableSession,
    /// When its handshake was done.
    since: Instant,
    /// When it was put here: later, where it has got another ticket.
    put: Instant,
}

#[cfg(feature = "resumption")]
impl Entry {
    fn is_good(&self, lifetime: Duration, now: Instant) -> bool {
        let ticket_lifetime = self.session.ticket_lifetime().unwrap_or(Duration::MAX);
        now.saturating_since(self.since) < lifetime && now.saturating_since(self.put) < ticket_lifetime
    }
}

#[cfg(feature = "resumption")]
impl<const N: usize> MemoryCache<N> {
    /// An empty cache, which forgets sessions after [`SESSION_LIFETIME`].
    pub const fn new() -> Self {
        Self::with_lifetime(SESSION_LIFETIME)
    }

    /// An empty cache, which forgets sessions after `lifetime`: more than a day is against the advice of RFC 5246.
    pub const fn with_lifetime(lifetime: Duration) -> Self {
        Self { entries: core::cell::RefCell::new([const { None }; N]), lifetime }
    }

    fn forget_if(&self, is_it: impl Fn(&ResumableSession) -> bool) {
        let Ok(mut entries) = self.entries.try_borrow_mut() else { return };
        for place in entries.iter_mut() {
            place.take_if(|entry| is_it(&entry.session));
        }
    }

    /// Lends the newest session that `is_it` and is not too old.
    fn lend(
        &self,
        now: Instant,
        is_it: impl Fn(&ResumableSession) -> bool,
        lend: &mut dyn FnMut(&ResumableSession),
    ) {
        // Whoever is lent a session may not come back for another one meanwhile.
        let Ok(entries) = self.entries.try_borrow() else { return };
        let good = entries
            .iter()
            .flatten()
            .filter(|entry| is_it(&entry.session) && entry.is_good(self.lifetime, now));
        if let Some(entry) = good.max_by_key(|entry| entry.put) {
            lend(&entry.session);
        }
    }
}

#[cfg(feature = "resumption")]
impl<const N: usize> Default for MemoryCache<N> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(feature = "resumption")]
impl<const N: usize> SessionCache for MemoryCache<N> {
    fn put(&self, session: &ResumableSession, now: Instant) {
        let Ok(mut entries) = self.entries.try_borrow_mut() else { return };
        let is_it = |entry: &mut Entry| entry.session.tag() == session.tag();
        let before = entries.iter_mut().find_map(|place| place.take_if(is_it));
        // The place that is free now, another one, or that of the oldest.
        let place = entries.iter_mut().min_by_key(|place| place.as_ref().map(|entry| entry.put));
        if let Some(place) = place {
            let since = before.map_or(now, |entry| entry.since);
            *place = Some(Entry { session: session.clone(), since, put: now });
        }
    }

    fn get(&self, session_id: &[u8], now: Instant, lend: &mut dyn FnMut(&ResumableSession)) {
        self.lend(now, |session| session.session_id() == session_id, lend);
    }

    fn last(&self, now: Instant, lend: &mut dyn FnMut(&ResumableSession)) {
        self.lend(now, |_| true, lend);
    }

    fn forget(&self, tag: &[u8]) {
        self.forget_if(|session| session.tag() == tag);
    }

    fn forget_identity(&self, identity: &[u8]) {
        self.forget_if(|session| session.identity() == identity);
    }
}
