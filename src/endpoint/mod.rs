//! Many associations on one socket, sans-I/O: demultiplexing, stateless cookies, slots.

mod admission;
mod hello;
mod incoming;
mod index;
mod moving;
mod pool;
mod sessions;

pub use incoming::EndpointIncoming;

use core::hash::BuildHasher;
use core::ops::Range;

use rand_core::TryCryptoRng;
use siphasher::sip::SipHasher13;

use self::pool::{Entry, Pool};
use self::sessions::{Member, Sessions};
use crate::config::Config;
use crate::connection::{ImageSeal, Role, Session};
#[cfg(feature = "embedded-nal")]
use crate::crypto;
use crate::error::{ConfigField, Error};
use crate::handshake::{Context, CookieJar, Credentials, Handshake, HelloReply, fill_random};
use crate::log::info;
use crate::path::Path;
use crate::peer::{Peer, SessionId};
#[cfg(feature = "embedded-nal")]
use crate::psk::Psk;
use crate::psk::PskStore;
use crate::stats::Stats;
use crate::time::Instant;
use crate::wire::return_routability_check::Kind;
use crate::wire::version::ProtocolVersion;

/// No session is due.
const NONE_DUE: u16 = u16::MAX;

/// The memory of an [`Endpoint`]: room for `H` handshakes in progress, 1 to 256, and `S` established sessions, 1 to
/// 65,534.
///
/// A handshake takes a round trip or two, so few slots serve many clients; and every datagram may look at all of them.
///
/// It is const-constructible, so it can live in a `static` cell instead of on the stack.
///
/// ```
/// use dtls_psk::Storage;
///
/// // Two handshakes at once are plenty for a device; a session is much smaller than a handshake, and more so where the caps
/// // for connection IDs and identities are lowered.
/// static STORAGE: std::sync::Mutex<Storage<2, 16>> = std::sync::Mutex::new(Storage::new());
/// # assert!(size_of::<Storage<2, 16>>() < 26 * 1024);
/// ```
pub struct Storage<const H: usize, const S: usize> {
    handshakes: Pool<Handshake, H>,
    sessions: Sessions<S>,
}

impl<const H: usize, const S: usize> Storage<H, S> {
    /// Empty storage.
    pub const fn new() -> Self {
        const { assert!(H <= 256, "Storage<H, S>: H, the handshakes at once, is 256 at most") }
        Self { handshakes: Pool::new(), sessions: Sessions::new() }
    }
}

impl<const H: usize, const S: usize> Default for Storage<H, S> {
    fn default() -> Self {
        Self::new()
    }
}

/// A server's end of many associations on one socket, without any I/O.
///
/// # When to call what
///
/// 1. [`receive`](Self::receive) for every datagram, with the [`Path`] that it came by.
/// 2. [`poll_transmit`](Self::poll_transmit) until it returns `None`: after every datagram, every timeout, every
///    [`close`](Self::close) and [`revoke`](Self::revoke).
/// 3. [`poll_timeout`](Self::poll_timeout) says until when to wait for the next datagram. When the time has come,
///    [`handle_timeout`](Self::handle_timeout).
///
/// # What is kept for whom
///
/// Nothing is kept for a client before it has repeated a cookie, and so has shown that it receives at its address
/// (RFC 6347 §4.2.1). From there on it has one of `H` handshake slots, and one of `S` session slots once it has proven
/// its key. The two are separate pools, so handshakes never push a session out.
///
/// * A full handshake pool gives a newcomer the oldest slot of an address that has several, if the newcomer has none; or
///   of another network prefix (IPv4 /24, IPv6 /48) that holds more than half of the pool; else that of a handshake that
///   has waited for a quarter of the retransmission timeout. An address that has a slot only takes its own, and while a
///   prefix holds half of the pool, its newcomers take from it alone. A newcomer that gets no slot is not told; its
///   retransmission tries again.
/// * A full session pool gives up the session that carried data the longest ago. One identity may hold
///   [`Config::with_sessions_per_identity`] of them, half of the pool unless you say otherwise; beyond that its own
///   longest idle one goes.
/// * With [connection IDs](Config::with_connection_id), a session is found by its own, wherever its records come from. What
///   the application calls it by stays the path that it began with, until the peer has shown that it receives at its new
///   address, and [`Event::Moved`](crate::Event::Moved) says so.
/// * A client that comes again from the same address, because it lost its state, gets a handshake beside its old
///   session. The session is replaced only once the client has proven its key (RFC 6347 §4.2.8).
///
/// # Example
///
/// ```
/// use dtls_psk::{Config, Endpoint, Event, Instant, Path, Psk, Storage};
/// # use getrandom::SysRng;
///
/// let config = Config::default();
/// let keys = [Psk::new(b"client1", b"hardfault_secure_key")?];
/// let mut storage = Storage::<2, 16>::new();
/// let mut rng = SysRng;
/// let mut endpoint = Endpoint::new(&config, &keys, &mut storage, &mut rng)?;
///
/// let mut datagram = [0; 1500];
/// // let (len, remote) = socket.recv_from(&mut datagram);
/// # let (len, remote) = (0, "127.0.0.1:40000".parse().unwrap());
/// let path = Path { local: "127.0.0.1:5684".parse().unwrap(), remote };
/// let now = Instant::from_millis(0);
/// let mut incoming = endpoint.receive(&mut datagram[..len], path, &mut rng, now);
/// while let Some(event) = incoming.next() {
///     match event {
///         Event::Established => println!("{:?}", incoming.peer()),
///         Event::Data(bytes) => println!("{} bytes", bytes.len()),
///         Event::Closed => println!("closed"),
///         Event::Failed(error) | Event::Refused(error) => println!("{error}"),
///         other => println!("{other:?}"),
///     }
/// }
/// while let Some((len, path)) = endpoint.poll_transmit(&mut datagram)? {
///     // socket.send_to(&datagram[..len], path.remote);
/// }
/// # Ok::<(), dtls_psk::Error>(())
/// ```
pub struct Endpoint<'a, const H: usize, const S: usize> {
    config: &'a Config<'a>,
    store: &'a dyn PskStore,
    storage: &'a mut Storage<H, S>,
    cookies: CookieJar,
    hash_keys: HashKeys,
    next_session: SessionId,
    /// An answer to a client that nothing is kept for. The next one takes its place, as that client will ask again.
    reply: Option<(HelloReply, Path)>,
    /// Whether some handshake may have something to send.
    handshakes_due: bool,
    /// The first slot whose session may have something to send.
    sessions_due_from: u16,
    /// No session has to be looked at before.
    look_at: Option<Instant>,
    /// Whether the log has warned of a key for both versions.
    has_warned: bool,
    stats: Stats,
}

/// What makes it impossible to aim at one bucket of a hash table.
struct HashKeys([u8; 16]);

impl BuildHasher for HashKeys {
    type Hasher = SipHasher13;

    fn build_hasher(&self) -> SipHasher13 {
        SipHasher13::new_with_key(&self.0)
    }
}

impl<'a, const H: usize, const S: usize> Endpoint<'a, H, S> {
    /// An endpoint without any peer. What `storage` held before is wiped.
    ///
    /// # Errors
    /// [`Error::InvalidConfig`]; [`Error::RandomFailed`].
    pub fn new<R: TryCryptoRng + ?Sized>(
        config: &'a Config<'a>,
        store: &'a dyn PskStore,
        storage: &'a mut Storage<H, S>,
        rng: &mut R,
    ) -> Result<Self, Error> {
        // A HelloRetryRequest is longer than what any client needs.
        let is_of_1_3 = config.offers_version(ProtocolVersion::Dtls13);
        config.validate_for_endpoint(if is_of_1_3 { HelloReply::MAX_LEN } else { 0 })?;
        // More connection IDs than peers may have, so that a free one is found soon.
        if let Some(len @ 1..) = config.connection_id_len()
            && 1_u64.checked_shl(8 * len as u32).is_some_and(|ids| ids < 2 * (H + S) as u64)
        {
            return Err(Error::InvalidConfig(ConfigField::ConnectionId));
        }
        storage.handshakes.clear();
        storage.sessions.clear();
        let mut hash_keys = HashKeys([0; 16]);
        fill_random(rng, &mut hash_keys.0)?;
        let cookies = CookieJar::new(config.handshake_timeout(), rng)?;
        let next_session = SessionId::draw(rng)?;
        let stats = Stats::default();
        Ok(Self {
            config,
            store,
            storage,
            cookies,
            hash_keys,
            next_session,
            reply: None,
            handshakes_due: false,
            sessions_due_from: NONE_DUE,
            look_at: None,
            has_warned: false,
            stats,
        })
    }

    const fn context(&self) -> Context<'a> {
        Context { config: self.config, credentials: Credentials::Server(self.store) }
    }

    /// Takes a datagram that came by `path`. Go through the [`EndpointIncoming`] until it returns `None`: records that
    /// were not looked at are lost. `rng` gives a new handshake its random bytes.
    pub fn receive<'e, 'd, 'r, R: TryCryptoRng + ?Sized>(
        &'e mut self,
        datagram: &'d mut [u8],
        path: Path,
        rng: &'r mut R,
        now: Instant,
    ) -> EndpointIncoming<'e, 'a, 'd, 'r, R, H, S> {
        EndpointIncoming::new(self, datagram, path, rng, now)
    }

    /// Writes the next datagram to send into `buf`, and returns its length and where it goes; `None` when there is none
    /// for now.
    ///
    /// # Errors
    /// [`Error::BufferTooSmall`] when the datagram does not fit; [`Config::mtu`] bytes always do. Nothing is lost by it.
    pub fn poll_transmit(&mut self, buf: &mut [u8]) -> Result<Option<(usize, Path)>, Error> {
        if let Some((reply, path)) = &self.reply {
            let (len, path) = (reply.write(buf)?, *path);
            self.reply = None;
            return Ok(Some((len, path)));
        }
        match self.transmit_handshake(buf)? {
            None => self.transmit_session(buf),
            datagram => Ok(datagram),
        }
    }

    fn transmit_handshake(&mut self, buf: &mut [u8]) -> Result<Option<(usize, Path)>, Error> {
        if !self.handshakes_due {
            return Ok(None);
        }
        let context = self.context();
        let handshakes = &mut self.storage.handshakes;
        for at in handshakes.slots() {
            let Some(entry) = handshakes.get_mut(at) else {
                continue;
            };
            let written = entry.value.poll_transmit(&context, buf)?;
            let path = entry.path;
            if entry.value.is_over() {
                handshakes.remove(at);
            }
            if let Some(len) = written {
                return Ok(Some((len, path)));
            }
        }
        self.handshakes_due = false;
        Ok(None)
    }

    fn transmit_session(&mut self, buf: &mut [u8]) -> Result<Option<(usize, Path)>, Error> {
        let sessions = &mut self.storage.sessions;
        for at in self.sessions_due_from..sessions.slots().end {
            let Some(entry) = sessions.get_mut(at) else {
                continue;
            };
            self.sessions_due_from = at;
            let written = transmit_member(entry, self.config, &self.cookies, buf);
            if let Err(error @ Error::BufferTooSmall { .. }) = written {
                return Err(error);
            }
            let path = entry.destination();
            if entry.value.session.is_over() {
                sessions.remove(at);
            }
            // Where the provider fails, one peer is not told. The others are.
            if let Ok(Some(len)) = written {
                return Ok(Some((len, path)));
            }
        }
        self.sessions_due_from = NONE_DUE;
        Ok(None)
    }

    /// When to call [`handle_timeout`](Self::handle_timeout) at the latest, even while datagrams keep coming; `None` while
    /// there is nothing to wait for.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let handshakes = self.storage.handshakes.iter().filter_map(|(_, entry)| entry.value.poll_timeout());
        handshakes.chain(self.look_at).min()
    }

    /// Does what is due at `now`: sends flights again, and gives handshakes up. Each one given up is returned with the
    /// reason; call until it returns `None`. Calling it early does no harm.
    pub fn handle_timeout(&mut self, now: Instant) -> Option<(Path, Error)> {
        self.handshakes_due = true;
        if self.look_at.is_some_and(|at| at <= now) {
            self.look_at_sessions(now);
        }
        let context = self.context();
        let handshakes = &mut self.storage.handshakes;
        for at in handshakes.slots() {
            let Some(entry) = handshakes.get_mut(at) else {
                continue;
            };
            let path = entry.path;
            if let Err(error) = entry.value.handle_timeout(&context, now, &mut self.stats) {
                handshakes.remove(at);
                Stats::count(&mut self.stats.handshakes_failed);
                info!("the handshake with {} failed: {}", path.remote, error);
                return Some((path, error));
            }
        }
        None
    }

    /// Challenges peers on the move again, and gives up on addresses that do not answer; and has sessions repeat what their peers have
    /// not acknowledged.
    fn look_at_sessions(&mut self, now: Instant) {
        self.look_at = None;
        self.sessions_due_from = 0;
        for entry in self.storage.sessions.iter_mut() {
            if let Some(moving) = &mut entry.value.moving
                && !moving.handle_timeout(now)
            {
                info!("the peer of {} does not answer at {}", entry.path.remote, moving.to.remote);
                Stats::count(&mut self.stats.moves_failed);
                entry.value.moving = None;
            }
            // Only a client's session ends here.
            let _ = entry.value.session.handle_timeout(self.config, now, &mut self.stats);
            self.look_at = self.look_at.into_iter().chain(entry.poll_timeout()).min();
        }
    }

    /// Seals a copy of `payload` for the peer at `path` into `buf` as one datagram. Returns its length, that of the payload
    /// and its [`overhead`](Self::overhead), and the way it has to go: `path`, unless the peer is moving from there.
    ///
    /// # Errors
    /// [`Error::NotConnected`] when there is no session by this path; [`Error::BufferTooSmall`];
    /// [`Error::PayloadTooLong`]; [`Error::AddressNotProven`]; [`Error::SealLimitReached`]; [`Error::CryptoFailed`].
    pub fn send(&mut self, path: &Path, payload: &[u8], buf: &mut [u8]) -> Result<(usize, Path), Error> {
        let at = self.storage.sessions.find(&self.hash_keys, path).ok_or(Error::NotConnected)?;
        self.send_from(at, payload, buf)
    }

    /// Seals a copy of `payload` in this session as [`send`](Self::send) does, wherever its peer is: also where another one is
    /// at its last address.
    ///
    /// # Errors
    /// Those of [`send`](Self::send): [`Error::NotConnected`] when the session is gone.
    pub fn send_in(
        &mut self,
        session: SessionId,
        payload: &[u8],
        buf: &mut [u8],
    ) -> Result<(usize, Path), Error> {
        let at = self.find_session(session).ok_or(Error::NotConnected)?;
        self.send_from(at, payload, buf)
    }

    fn send_from(&mut self, at: u16, payload: &[u8], buf: &mut [u8]) -> Result<(usize, Path), Error> {
        let crypto = self.config.crypto();
        self.transmit(at, payload.len(), |session| session.send(crypto, payload, buf))
    }

    /// Seals the payload that lies at `payload` in `buf` for the peer at `path`, without copying it. Returns where in `buf`
    /// the datagram is, and the way it has to go. There must be as many bytes in front of the payload and behind it as
    /// [`overhead`](Self::overhead) says.
    ///
    /// # Errors
    /// Those of [`send`](Self::send).
    pub fn seal_in_place(
        &mut self,
        path: &Path,
        buf: &mut [u8],
        payload: Range<usize>,
    ) -> Result<(Range<usize>, Path), Error> {
        let crypto = self.config.crypto();
        let at = self.storage.sessions.find(&self.hash_keys, path).ok_or(Error::NotConnected)?;
        self.transmit(at, payload.len(), |session| session.seal_in_place(crypto, buf, payload))
    }

    /// Has the session in this slot seal `len` bytes, if so many may go where its peer is.
    fn transmit<T>(
        &mut self,
        at: u16,
        len: usize,
        seal: impl FnOnce(&mut Session) -> Result<T, Error>,
    ) -> Result<(T, Path), Error> {
        let entry = self.storage.sessions.get_mut(at).ok_or(Error::NotConnected)?;
        let destination = entry.destination();
        let Member { session, moving } = &mut entry.value;
        let len = session.sealed_len(len);
        if moving.as_ref().is_some_and(|moving| !moving.allows(len)) {
            return Err(Error::AddressNotProven);
        }
        let sealed = seal(session)?;
        if let Some(moving) = moving {
            moving.on_sent(len);
        }
        if session.is_due() {
            self.sessions_due_from = self.sessions_due_from.min(at);
            self.look_at = Some(Instant::ZERO);
        }
        Ok((sealed, destination))
    }

    /// How many bytes a record for the peer at `path` has in front of its payload, and how many behind it, as
    /// [`Connection::overhead`](crate::Connection::overhead) says it.
    pub fn overhead(&self, path: &Path) -> Option<(usize, usize)> {
        self.open_session(path).map(Session::overhead)
    }

    /// Fills `out` with keying material for another protocol (RFC 5705), as
    /// [`Connection::export_keying_material`](crate::Connection::export_keying_material) does.
    ///
    /// # Errors
    /// As there.
    #[cfg(feature = "exporter")]
    pub fn export_keying_material(
        &self,
        path: &Path,
        label: &[u8],
        context: Option<&[u8]>,
        out: &mut [u8],
    ) -> Result<(), Error> {
        self.open_session(path).ok_or(Error::NotConnected)?.export(label, context, out)
    }

    /// Has the session at `path` go on under new keys, as [`Connection::update_keys`](crate::Connection::update_keys) does.
    ///
    /// # Errors
    /// As there.
    #[cfg(feature = "dtls13")]
    pub fn update_keys(&mut self, path: &Path, request_update: bool) -> Result<(), Error> {
        self.with_session(path, |session| session.update_keys(request_update))
    }

    /// Asks the peer at `path` for another connection ID to send with, as
    /// [`Connection::request_connection_id`](crate::Connection::request_connection_id) does.
    ///
    /// # Errors
    /// As there.
    #[cfg(all(feature = "dtls13", feature = "connection-id"))]
    pub fn request_connection_id(&mut self, path: &Path) -> Result<(), Error> {
        self.with_session(path, Session::request_connection_id)
    }

    /// Sends with the connection ID that the peer at `path` has given for later, as
    /// [`Connection::use_spare_connection_id`](crate::Connection::use_spare_connection_id) does.
    ///
    /// # Errors
    /// As there.
    #[cfg(all(feature = "dtls13", feature = "connection-id"))]
    pub fn use_spare_connection_id(&mut self, path: &Path) -> Result<(), Error> {
        self.with_session(path, Session::use_spare_connection_id)
    }

    /// Has the peer at `path` send with another connection ID from here on, as
    /// [`Connection::renew_connection_id`](crate::Connection::renew_connection_id) does.
    ///
    /// # Errors
    /// As there.
    #[cfg(all(feature = "dtls13", feature = "connection-id"))]
    pub fn renew_connection_id(&mut self, path: &Path) -> Result<(), Error> {
        let id = self.open_session(path).ok_or(Error::NotConnected)?.next_connection_id();
        let id = self.free_connection_id(id);
        self.with_session(path, |session| session.renew_connection_id(id))?;
        if let Some(at) = self.storage.sessions.find(&self.hash_keys, path) {
            self.storage.sessions.index_ids(&self.hash_keys, at);
        }
        Ok(())
    }

    /// Has the session at `path` do something that it may have to tell its peer of.
    #[cfg(feature = "dtls13")]
    fn with_session(
        &mut self,
        path: &Path,
        ask: impl FnOnce(&mut Session) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let at = self.storage.sessions.find(&self.hash_keys, path).ok_or(Error::NotConnected)?;
        let entry = self.storage.sessions.get_mut(at).ok_or(Error::NotConnected)?;
        ask(&mut entry.value.session)?;
        self.sessions_due_from = self.sessions_due_from.min(at);
        self.look_at = Some(Instant::ZERO);
        Ok(())
    }

    /// The application has seen that the peer at `path` receives at the address that its newest record came from: what it
    /// answered could not be known without having got it (CoAP's Echo option, RFC 9175). As if the peer had answered a
    /// return routability check, its session goes by that address from here on, which is returned; `None` when the peer
    /// has not moved.
    ///
    /// For peers that do not know RFC 9853. Without one or the other, no more than three times as many bytes go to the new
    /// address as came from there.
    pub fn prove_address(&mut self, path: &Path) -> Option<Path> {
        let at = self.storage.sessions.find(&self.hash_keys, path)?;
        self.move_session(at).map(|(_, to)| to)
    }

    /// The same as [`prove_address`](Self::prove_address), of the peer of a session.
    pub fn prove_address_of(&mut self, session: SessionId) -> Option<Path> {
        let at = self.find_session(session)?;
        self.move_session(at).map(|(_, to)| to)
    }

    /// The way to the address that the newest record of a session came from, if nothing has shown yet that its peer receives
    /// there.
    pub fn unproven_path(&self, session: SessionId) -> Option<Path> {
        let entry = self.storage.sessions.get(self.find_session(session)?)?;
        entry.value.moving.as_ref().map(|moving| moving.to)
    }

    /// The longest payload in bytes that the peer of a session takes in a datagram of at most `datagram` bytes, and of
    /// [`Config::mtu`]; `None` when the session is gone.
    pub fn max_payload(&self, session: SessionId, datagram: usize) -> Option<usize> {
        let session = &self.storage.sessions.get(self.find_session(session)?)?.value.session;
        Some(session.max_payload(datagram.min(self.config.mtu())))
    }

    /// Closes the session at `path`, if there is one: the next [`poll_transmit`](Self::poll_transmit) says close_notify.
    pub fn close(&mut self, path: &Path) {
        if let Some(at) = self.storage.sessions.find(&self.hash_keys, path)
            && let Some(entry) = self.storage.sessions.get_mut(at)
        {
            entry.value.session.close();
            self.sessions_due_from = self.sessions_due_from.min(at);
        }
    }

    /// Closes every session and gives up every handshake, for when the endpoint is to stop.
    pub fn close_all(&mut self) {
        self.storage.handshakes.clear();
        self.reply = None;
        self.storage.sessions.iter_mut().for_each(|entry| entry.value.session.close());
        self.sessions_due_from = 0;
    }

    /// Closes every session of `identity`, ends the handshakes that use its key, and has the
    /// [cache](Config::with_resumption) forget what could be resumed, for when that was taken back. Take it out of the key
    /// store first.
    pub fn revoke(&mut self, identity: &[u8]) {
        if let Some(cache) = self.config.resumption() {
            cache.forget_identity(identity);
        }
        for entry in self.storage.handshakes.iter_mut() {
            if entry.value.identity() == Some(identity) {
                entry.value.fail(Error::AuthenticationFailed);
                self.handshakes_due = true;
            }
        }
        for entry in self.storage.sessions.iter_mut() {
            if entry.value.session.peer().identity == identity {
                entry.value.session.close();
                self.sessions_due_from = 0;
            }
        }
    }

    /// Saves the session at `path` into `image`, as [`Connection::suspend`](crate::Connection::suspend) does, and forgets it;
    /// the peer is not told. Returns the image's length: [`MAX_IMAGE_LEN`](crate::MAX_IMAGE_LEN) bytes always do.
    ///
    /// # Errors
    /// [`Error::NotConnected`]; [`Error::BufferTooSmall`]; [`Error::IdentityRevoked`]; [`Error::CryptoFailed`]. The session
    /// goes on then.
    pub fn suspend(&mut self, path: &Path, seal: &ImageSeal<'_>, image: &mut [u8]) -> Result<usize, Error> {
        let at = self.storage.sessions.find(&self.hash_keys, path).ok_or(Error::NotConnected)?;
        let session = self.open_session(path).ok_or(Error::NotConnected)?;
        let len = save(self.config, self.store, session, seal, image)?;
        self.storage.sessions.remove(at);
        Ok(len)
    }

    /// Saves the session at `path` into `image` and goes on with it, as
    /// [`Connection::checkpoint`](crate::Connection::checkpoint) does.
    ///
    /// # Errors
    /// As there, and [`Error::IdentityRevoked`].
    pub fn checkpoint(
        &mut self,
        path: &Path,
        records: u32,
        seal: &ImageSeal<'_>,
        image: &mut [u8],
    ) -> Result<usize, Error> {
        let at = self.storage.sessions.find(&self.hash_keys, path).ok_or(Error::NotConnected)?;
        let (config, store) = (self.config, self.store);
        let entry = self.storage.sessions.get_mut(at).ok_or(Error::NotConnected)?;
        let saved =
            entry.value.session.checkpoint(records, |session| save(config, store, session, seal, image));
        // What waited for it goes out.
        self.sessions_due_from = self.sessions_due_from.min(at);
        saved
    }

    /// Goes on with a session that [`suspend`](Self::suspend) or [`checkpoint`](Self::checkpoint) has saved, whose peer is
    /// at `path`. The key store is asked whether its identity still has the same key. See
    /// [`Connection::restore`](crate::Connection::restore) for what the counter is for.
    ///
    /// # Errors
    /// [`Error::InvalidImage`]; [`Error::IdentityRevoked`]; [`Error::ConnectionIdTaken`]; [`Error::InvalidConfig`] where
    /// connection IDs have another length than they had.
    pub fn restore(
        &mut self,
        path: Path,
        seal: &ImageSeal<'_>,
        image: &[u8],
        now: Instant,
    ) -> Result<(), Error> {
        let lend = |session: &Session, lend: &mut dyn FnMut(&[u8])| {
            self.store.with_host_key(session.host(), session.peer().identity, lend);
        };
        let session = seal.open(self.config, Role::Server, image, lend)?;
        let id = session.connection_id();
        if !id.is_empty() {
            if self.config.connection_id_len() != Some(id.len()) {
                return Err(Error::InvalidConfig(ConfigField::ConnectionId));
            }
            if self.is_taken(id) {
                return Err(Error::ConnectionIdTaken);
            }
        }
        info!("restored: {}, at {}", session.peer(), path.remote);
        self.add_session(path, session, now);
        Ok(())
    }

    /// The peer of the open session by `path`.
    pub fn peer(&self, path: &Path) -> Option<Peer<'_>> {
        self.open_session(path).map(Session::peer)
    }

    /// The peer of an open session, wherever it is now.
    pub fn peer_in(&self, session: SessionId) -> Option<Peer<'_>> {
        let entry = self.storage.sessions.get(self.find_session(session)?)?;
        Some(entry.value.session.peer())
    }

    /// The slot of an open session. Whoever asks is about to do more than look at a few numbers, so there is no index for it.
    fn find_session(&self, session: SessionId) -> Option<u16> {
        let is_it = |open: &Session| open.is_open() && open.peer().session == session;
        self.storage.sessions.iter().find(|(_, entry)| is_it(&entry.value.session)).map(|(at, _)| at)
    }

    fn open_session(&self, path: &Path) -> Option<&Session> {
        let entry = self.storage.sessions.at(&self.hash_keys, path)?;
        Some(&entry.value.session).filter(|session| session.is_open())
    }

    /// Every open session, in no order. One that is without a path, because another peer is there now, comes with its last.
    pub fn sessions(&self) -> impl Iterator<Item = (Path, Peer<'_>)> {
        let open = self.storage.sessions.iter().filter(|(_, entry)| entry.value.session.is_open());
        open.map(|(_, entry)| (entry.path, entry.value.session.peer()))
    }

    /// Whether clients are let in with this very identity and key.
    #[cfg(feature = "embedded-nal")]
    pub(crate) fn holds(&self, psk: &Psk<'_>) -> bool {
        let mut is_same = false;
        self.store.with_key(psk.identity(), &mut |key| is_same = crypto::equal(key, psk.key()));
        is_same
    }

    /// How many handshakes are in progress.
    pub fn handshakes(&self) -> usize {
        self.storage.handshakes.iter().count()
    }

    /// What was dropped, repeated and refused so far, over all peers.
    pub const fn stats(&self) -> Stats {
        self.stats
    }
}

/// Writes the image of a session whose identity is in the key store.
fn save(
    config: &Config<'_>,
    store: &dyn PskStore,
    session: &Session,
    seal: &ImageSeal<'_>,
    image: &mut [u8],
) -> Result<usize, Error> {
    let mut outcome = Err(Error::IdentityRevoked);
    store.with_host_key(session.host(), session.peer().identity, &mut |key| {
        outcome = seal.seal(config, Role::Server, session, key, image);
    });
    outcome
}

/// Writes one datagram of those that a session sends by itself, or that ask its peer for a sign of life.
fn transmit_member(
    entry: &mut Entry<Member>,
    config: &Config<'_>,
    cookies: &CookieJar,
    buf: &mut [u8],
) -> Result<Option<usize>, Error> {
    let Member { session, moving } = &mut entry.value;
    let written = match moving {
        Some(moving) if moving.is_due() => {
            let cookie = cookies.path_challenge(session.peer().session, session.sealed(), &moving.to);
            let len = session.seal_check(config.crypto(), Kind::Challenge, cookie, buf)?;
            moving.on_challenge(cookie);
            Some(len)
        }
        _ => session.poll_transmit(config.crypto(), buf)?,
    };
    if let (Some(len), Some(moving)) = (written, moving) {
        moving.on_sent(len);
    }
    Ok(written)
}

impl<const H: usize, const S: usize> Drop for Endpoint<'_, H, S> {
    /// Wipes the keys in the storage.
    fn drop(&mut self) {
        self.storage.handshakes.clear();
        self.storage.sessions.clear();
    }
}
