//! Many associations on one socket, sans-I/O: demultiplexing, stateless cookies, slots.

mod admission;
mod hello;
mod pool;

pub use pool::Path;

use core::hash::{Hash, Hasher};
use core::ops::Range;

use rand_core::TryCryptoRng;
use siphasher::sip::SipHasher13;

use self::pool::Pool;
use crate::config::Config;
use crate::connection::{Event, Session, next_record};
use crate::error::Error;
use crate::handshake::{Context, CookieJar, Credentials, Established, Handshake, HelloReply, fill_random};
use crate::log::info;
use crate::peer::{Peer, SessionId};
use crate::psk::PskStore;
use crate::stats::Stats;
use crate::time::Instant;
use crate::wire::handshake::HandshakeType;
use crate::wire::record::{ContentType, RecordHeader};

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
/// // Two handshakes at once are plenty for a device; a session is much smaller than a handshake.
/// static STORAGE: std::sync::Mutex<Storage<2, 16>> = std::sync::Mutex::new(Storage::new());
/// # assert!(size_of::<Storage<2, 16>>() < 12 * 1024);
/// ```
pub struct Storage<const H: usize, const S: usize> {
    handshakes: Pool<Handshake, H>,
    sessions: Pool<Session, S>,
}

impl<const H: usize, const S: usize> Storage<H, S> {
    /// Empty storage.
    pub const fn new() -> Self {
        const { assert!(H <= 256, "Storage<H, S>: H, the handshakes at once, is 256 at most") }
        Self { handshakes: Pool::new(), sessions: Pool::new() }
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
///   of another network prefix (IPv4 /24, IPv6 /64) that holds more than half of the pool; else that of a handshake that
///   has waited for a quarter of the retransmission timeout. An address that has a slot only takes its own, and while a
///   prefix holds half of the pool, its newcomers take from it alone. A newcomer that gets no slot is not told; its
///   retransmission tries again.
/// * A full session pool gives up the session that carried data the longest ago. One identity may hold
///   [`Config::with_sessions_per_identity`] of them, half of the pool unless you say otherwise; beyond that its own
///   longest idle one goes.
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
    hash_key: [u8; 16],
    next_session: SessionId,
    /// An answer to a client that nothing is kept for. The next one takes its place, as that client will ask again.
    reply: Option<(HelloReply, Path)>,
    /// Whether some handshake may have something to send.
    handshakes_due: bool,
    /// The first slot whose session may have something to send.
    sessions_due_from: u16,
    stats: Stats,
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
        config.validate()?;
        storage.handshakes.clear();
        storage.sessions.clear();
        let mut hash_key = [0; 16];
        fill_random(rng, &mut hash_key)?;
        let cookies = CookieJar::new(rng)?;
        let next_session = SessionId::draw(rng)?;
        let stats = Stats::default();
        Ok(Self {
            config,
            store,
            storage,
            cookies,
            hash_key,
            next_session,
            reply: None,
            handshakes_due: false,
            sessions_due_from: NONE_DUE,
            stats,
        })
    }

    const fn context(&self) -> Context<'a> {
        Context { config: self.config, credentials: Credentials::Server(self.store) }
    }

    fn hash(&self, path: &Path) -> u64 {
        let mut hasher = SipHasher13::new_with_key(&self.hash_key);
        path.hash(&mut hasher);
        hasher.finish()
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
        EndpointIncoming { endpoint: self, rest: datagram, path, rng, now }
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
            let written = entry.value.poll_transmit(self.config.crypto(), buf);
            if let Err(error @ Error::BufferTooSmall { .. }) = written {
                return Err(error);
            }
            let path = entry.path;
            if entry.value.is_over() {
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

    /// When to call [`handle_timeout`](Self::handle_timeout) at the latest; `None` while there is nothing to wait for.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.storage.handshakes.iter().filter_map(|(_, entry)| entry.value.poll_timeout()).min()
    }

    /// Does what is due at `now`: sends flights again, and gives handshakes up. Each one given up is returned with the
    /// reason; call until it returns `None`. Calling it early does no harm.
    pub fn handle_timeout(&mut self, now: Instant) -> Option<(Path, Error)> {
        self.handshakes_due = true;
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

    /// Seals a copy of `payload` for the peer at `path` into `buf` as one datagram, and returns its length: that of the
    /// payload and [`RECORD_PREFIX`](crate::RECORD_PREFIX), plus the suite's tag.
    ///
    /// # Errors
    /// [`Error::NotConnected`] when there is no session by this path; [`Error::BufferTooSmall`];
    /// [`Error::PayloadTooLong`] above 16,384 bytes; [`Error::SequenceNumbersExhausted`]; [`Error::CryptoFailed`].
    pub fn send(&mut self, path: &Path, payload: &[u8], buf: &mut [u8]) -> Result<usize, Error> {
        let crypto = self.config.crypto();
        self.session(path)?.send(crypto, payload, buf)
    }

    /// Seals the payload that lies at `payload` in `buf` for the peer at `path`, without copying it, and returns where
    /// in `buf` the datagram is. There must be [`RECORD_PREFIX`](crate::RECORD_PREFIX) bytes in front of the payload and
    /// [`RECORD_SUFFIX`](crate::RECORD_SUFFIX) behind it.
    ///
    /// # Errors
    /// Those of [`send`](Self::send).
    pub fn seal_in_place(
        &mut self,
        path: &Path,
        buf: &mut [u8],
        payload: Range<usize>,
    ) -> Result<Range<usize>, Error> {
        let crypto = self.config.crypto();
        self.session(path)?.seal_in_place(crypto, buf, payload)
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

    /// Closes the session at `path`, if there is one: the next [`poll_transmit`](Self::poll_transmit) says close_notify.
    pub fn close(&mut self, path: &Path) {
        if let Some(at) = self.storage.sessions.find(self.hash(path), path)
            && let Some(entry) = self.storage.sessions.get_mut(at)
        {
            entry.value.close();
            self.sessions_due_from = self.sessions_due_from.min(at);
        }
    }

    /// Closes every session and gives up every handshake, for when the endpoint is to stop.
    pub fn close_all(&mut self) {
        self.storage.handshakes.clear();
        self.reply = None;
        self.storage.sessions.iter_mut().for_each(|entry| entry.value.close());
        self.sessions_due_from = 0;
    }

    /// Closes every session of `identity`, and ends the handshakes that use its key, for when that was taken back. Take
    /// it out of the key store first.
    pub fn revoke(&mut self, identity: &[u8]) {
        for entry in self.storage.handshakes.iter_mut() {
            if entry.value.identity() == Some(identity) {
                entry.value.fail(Error::AuthenticationFailed);
                self.handshakes_due = true;
            }
        }
        for entry in self.storage.sessions.iter_mut() {
            if entry.value.peer().identity == identity {
                entry.value.close();
                self.sessions_due_from = 0;
            }
        }
    }

    /// The peer of the open session by `path`.
    pub fn peer(&self, path: &Path) -> Option<Peer<'_>> {
        self.open_session(path).map(Session::peer)
    }

    fn open_session(&self, path: &Path) -> Option<&Session> {
        let at = self.storage.sessions.find(self.hash(path), path)?;
        self.storage.sessions.get(at).map(|entry| &entry.value).filter(|session| session.is_open())
    }

    /// Every open session, in no order.
    pub fn sessions(&self) -> impl Iterator<Item = (Path, Peer<'_>)> {
        let open = self.storage.sessions.iter().filter(|(_, entry)| entry.value.is_open());
        open.map(|(_, entry)| (entry.path, entry.value.peer()))
    }

    /// How many handshakes are in progress.
    pub fn handshakes(&self) -> usize {
        self.storage.handshakes.iter().count()
    }

    /// What was dropped, repeated and refused so far, over all peers.
    pub const fn stats(&self) -> Stats {
        self.stats
    }

    fn session(&mut self, path: &Path) -> Result<&mut Session, Error> {
        let at = self.storage.sessions.find(self.hash(path), path).ok_or(Error::NotConnected)?;
        self.storage.sessions.get_mut(at).map(|entry| &mut entry.value).ok_or(Error::NotConnected)
    }

    /// A record goes to the handshake or to the session that it can only be meant for.
    fn receive_record<'d, R: TryCryptoRng + ?Sized>(
        &mut self,
        header: &RecordHeader,
        body: &'d mut [u8],
        path: Path,
        rng: &mut R,
        now: Instant,
    ) -> Option<Event<'d>> {
        if header.epoch == 0
            && header.content_type == ContentType::Handshake
            && body.first() == Some(&HandshakeType::ClientHello.number())
        {
            return self.on_client_hello(header, body, path, rng, now).err().map(Event::Refused);
        }
        let hash = self.hash(&path);
        let session = self.storage.sessions.find(hash, &path);
        let handshake = self.storage.handshakes.find(hash, &path).filter(|at| {
            let entry = self.storage.handshakes.get(*at);
            let awaits_finished = entry.is_some_and(|entry| entry.value.awaits_finished());
            // Beside a session, only a handshake record can be meant for the handshake that awaits its Finished.
            let may_be_finished = session.is_none() || header.content_type == ContentType::Handshake;
            header.epoch == 0 || awaits_finished && may_be_finished
        });
        match (handshake, session) {
            (Some(at), _) => self.receive_in_handshake(header, body, path, at, now),
            (None, Some(at)) => self.receive_in_session(header, body, at, now),
            (None, None) => {
                Stats::count(&mut self.stats.dropped);
                None
            }
        }
    }

    fn receive_in_handshake<'d>(
        &mut self,
        header: &RecordHeader,
        body: &mut [u8],
        path: Path,
        at: u16,
        now: Instant,
    ) -> Option<Event<'d>> {
        let context = self.context();
        let entry = self.storage.handshakes.get_mut(at)?;
        self.handshakes_due = true;
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

    fn receive_in_session<'d>(
        &mut self,
        header: &RecordHeader,
        body: &'d mut [u8],
        at: u16,
        now: Instant,
    ) -> Option<Event<'d>> {
        let entry = self.storage.sessions.get_mut(at)?;
        let event = entry.value.receive(self.config.crypto(), header, body, &mut self.stats);
        if entry.value.is_due() {
            self.sessions_due_from = self.sessions_due_from.min(at);
        }
        match &event {
            Some(Event::Data(_)) => entry.touched = now,
            Some(Event::Failed(_)) => {
                self.storage.sessions.remove(at);
            }
            _ => {}
        }
        event
    }

    /// Makes a session of a handshake that succeeded, in the place of the one that the same path had.
    fn establish(&mut self, path: Path, established: Established, now: Instant) {
        let hash = self.hash(&path);
        let sessions = &mut self.storage.sessions;
        if let Some(at) = sessions.find(hash, &path) {
            sessions.remove(at);
        }
        let per_identity = self.config.sessions_per_identity().unwrap_or(S / 2).max(1);
        let identity = established.identity.as_bytes();
        if let Some(at) = admission::session_to_evict(sessions, identity, per_identity) {
            sessions.remove(at);
            Stats::count(&mut self.stats.sessions_evicted);
        }
        let session = Session::new(self.next_session.take(), established);
        info!("established: {}, from {}", session.peer(), path.remote);
        // One slot is free now, as a full pool evicts.
        if let Some(at) = sessions.insert(hash, path, now, session) {
            // The last flight goes out.
            self.sessions_due_from = self.sessions_due_from.min(at);
        }
    }
}

impl<const H: usize, const S: usize> Drop for Endpoint<'_, H, S> {
    /// Wipes the keys in the storage.
    fn drop(&mut self) {
        self.storage.handshakes.clear();
        self.storage.sessions.clear();
    }
}

/// The records of one datagram, on their way through an [`Endpoint`]: an iterator over what they brought.
#[must_use = "records that are not looked at are lost"]
pub struct EndpointIncoming<'e, 'a, 'd, 'r, R: ?Sized, const H: usize, const S: usize> {
    endpoint: &'e mut Endpoint<'a, H, S>,
    rest: &'d mut [u8],
    path: Path,
    rng: &'r mut R,
    now: Instant,
}

impl<R: ?Sized, const H: usize, const S: usize> EndpointIncoming<'_, '_, '_, '_, R, H, S> {
    /// How many bytes of the datagram, counted from its end, have not been looked at.
    pub const fn remaining(&self) -> usize {
        self.rest.len()
    }

    /// The peer that the datagram came from, as soon as there is a session with it.
    pub fn peer(&self) -> Option<Peer<'_>> {
        self.endpoint.peer(&self.path)
    }
}

impl<'d, R: TryCryptoRng + ?Sized, const H: usize, const S: usize> Iterator
    for EndpointIncoming<'_, '_, 'd, '_, R, H, S>
{
    type Item = Event<'d>;

    fn next(&mut self) -> Option<Event<'d>> {
        while let Some((header, body)) = next_record(&mut self.rest, &mut self.endpoint.stats) {
            let event = self.endpoint.receive_record(&header, body, self.path, self.rng, self.now);
            if event.is_some() {
                return event;
            }
        }
        None
    }
}
