//! One association, sans-I/O: a client's, from its first hello to its last record.

mod image;
#[cfg(feature = "dtls13")]
mod post_handshake;
mod session;

pub(crate) use image::Role;
pub use image::{ImageSeal, MAX_IMAGE_LEN};
pub(crate) use session::{Received, Session};

use core::ops::Range;

use rand_core::TryCryptoRng;

use crate::config::Config;
use crate::crypto::key_share::KeyShare;
use crate::error::Error;
#[cfg(feature = "dtls13")]
use crate::handshake::reassembly::Reassembly;
use crate::handshake::{ClientRandom, Context, Credentials, Handshake};
use crate::log::info;
use crate::path::Path;
use crate::peer::{Peer, SessionId};
use crate::psk::Psk;
use crate::stats::Stats;
use crate::time::Instant;
use crate::wire::record::{Header, Split, split_first};

/// What a datagram brought, or what became of the association.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event<'d> {
    /// The handshake is done: both sides have proven that they hold the key.
    Established,
    /// The peer's bytes, decrypted in place in the datagram that was handed in.
    Data(&'d mut [u8]),
    /// The peer closed the session (close_notify). Nothing more will come.
    Closed,
    /// The association ended, and why. Nothing more will come.
    Failed(Error),
    /// A client could not get in, and why. An [`Endpoint`](crate::Endpoint) says so; a session that the same address may
    /// have goes on.
    Refused(Error),
    /// The peer has another address now, has shown that it receives there, and its session goes by it: an
    /// [`Endpoint`](crate::Endpoint) finds the session by `to` from here on.
    Moved {
        /// The way to the peer until now.
        from: Path,
        /// The way to the peer from now on.
        to: Path,
    },
    /// Half of what a key may be used for has been used. Connect again some day soon, for a new key.
    NearLimit(KeyUsage),
    /// The key has refused as many forged records as it should (RFC 9147 §4.5.3). The session goes on, unless
    /// [`Config::with_close_at_forgery_limit`] says otherwise: connect again, for a new key.
    LimitReached(KeyUsage),
}

/// What wears a key out (RFC 9147 §4.5.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum KeyUsage {
    /// Records sealed with it. At the [limit](crate::AeadAlgorithm::seal_limit), sending fails with
    /// [`Error::SealLimitReached`].
    Seals,
    /// Forged records refused with it.
    Forgeries,
}

/// A client's association with one server, without any I/O: the caller moves the datagrams and tells the time.
///
/// # When to call what
///
/// 1. [`poll_transmit`](Self::poll_transmit) until it returns `None`: after the start, after every datagram received,
///    after every timeout, after [`close`](Self::close).
/// 2. [`poll_timeout`](Self::poll_timeout) says until when to wait for the next datagram. When the time has come,
///    [`handle_timeout`](Self::handle_timeout).
/// 3. [`receive`](Self::receive) for every datagram of the server.
///
/// Servers, and whoever has many peers on one socket, use an [`Endpoint`](crate::Endpoint). The shells in
/// [`nal`](crate::nal) do all this over a socket.
///
/// # Example
///
/// ```
/// use dtls_psk::{Config, Connection, Event, Instant, Psk};
/// # use getrandom::SysRng;
///
/// let config = Config::default();
/// let psk = Psk::new(b"client1", b"hardfault_secure_key")?;
/// let now = Instant::from_millis(0);
/// let mut connection = Connection::client(&config, &psk, &mut SysRng, now)?;
///
/// let mut datagram = [0; 1500];
/// while let Some(len) = connection.poll_transmit(&mut datagram)? {
///     // socket.send(&datagram[..len]);
///     # assert!(len > 0);
/// }
/// assert_eq!(connection.poll_timeout(), Some(Instant::from_millis(1_000)));
///
/// // let len = socket.recv(&mut datagram);
/// for event in connection.receive(&mut datagram[..0], now) {
///     match event {
///         Event::Established => println!("established"),
///         Event::Data(bytes) => println!("{} bytes", bytes.len()),
///         Event::Closed => println!("closed"),
///         Event::Failed(error) | Event::Refused(error) => println!("{error}"),
///         other => println!("{other:?}"),
///     }
/// }
/// # Ok::<(), dtls_psk::Error>(())
/// ```
pub struct Connection<'a> {
    config: &'a Config<'a>,
    psk: &'a Psk<'a>,
    /// The name that the session will have.
    session: SessionId,
    state: State,
    stats: Stats,
}

/// The key of a session, among those that the client has.
fn key_of<'a>(psk: &Psk<'a>, session: &Session) -> Option<Psk<'a>> {
    psk.of_identity(session.version(), session.identity().as_bytes())
}

/// Writes the image of a session whose identity the client still has.
fn save(
    config: &Config<'_>,
    psk: &Psk<'_>,
    session: &Session,
    seal: &ImageSeal<'_>,
    image: &mut [u8],
) -> Result<usize, Error> {
    let psk = key_of(psk, session).ok_or(Error::IdentityRevoked)?;
    seal.seal(config, Role::Client, session, psk.key(), image)
}

/// A client has one association, so its two lifetimes may share one place.
#[expect(clippy::large_enum_variant, reason = "there is no heap to put the larger one on")]
enum State {
    Handshake(Handshake),
    Session(Session, Fragments),
}

/// Where tickets are put together, in DTLS 1.3.
#[cfg(feature = "dtls13")]
type Fragments = Reassembly;
#[cfg(not(feature = "dtls13"))]
type Fragments = ();

#[cfg(feature = "dtls13")]
const NO_FRAGMENTS: Fragments = Reassembly::new();
#[cfg(not(feature = "dtls13"))]
const NO_FRAGMENTS: Fragments = ();

impl<'a> Connection<'a> {
    /// Starts a handshake with the server that will get the datagrams.
    ///
    /// # Errors
    /// [`Error::InvalidConfig`], also where no version is left that both the configuration and the key may be used for, or the hello does
    /// not fit into the MTU with all keys; [`Error::TooManyKeys`]; [`Error::RandomFailed`].
    pub fn client<R: TryCryptoRng + ?Sized>(
        config: &'a Config<'a>,
        psk: &'a Psk<'a>,
        rng: &mut R,
        now: Instant,
    ) -> Result<Self, Error> {
        config.validate()?;
        if !psk.is_short() {
            return Err(Error::TooManyKeys);
        }
        let random = ClientRandom::draw(config, rng)?;
        let key_share = KeyShare::draw(config.wants_forward_secrecy(), rng)?;
        let session = SessionId::draw(rng)?;
        let context = Context { config, credentials: Credentials::Client(psk) };
        let state = State::Handshake(Handshake::client(&context, psk, random, key_share, now)?);
        Ok(Self { config, psk, session, state, stats: Stats::default() })
    }

    const fn context(&self) -> Context<'a> {
        Context { config: self.config, credentials: Credentials::Client(self.psk) }
    }

    /// Writes the next datagram to send into `buf` and returns its length; `None` when there is none for now.
    ///
    /// # Errors
    /// [`Error::BufferTooSmall`] when the datagram does not fit: [`Config::mtu`] bytes always do, but for a server that
    /// sends extraordinary cookies. Nothing is lost by it, nor by [`Error::CheckpointNeeded`], where a [saved](Self::checkpoint) session
    /// has something to say. [`Error::CryptoFailed`] when the provider fails.
    pub fn poll_transmit(&mut self, buf: &mut [u8]) -> Result<Option<usize>, Error> {
        let context = self.context();
        match &mut self.state {
            State::Handshake(handshake) => handshake.poll_transmit(&context, buf),
            State::Session(session, ..) => session.poll_transmit(self.config.crypto(), buf),
        }
    }

    /// When to call [`handle_timeout`](Self::handle_timeout) at the latest, even while datagrams keep coming; `None` while
    /// there is nothing to wait for.
    pub fn poll_timeout(&self) -> Option<Instant> {
        match &self.state {
            State::Handshake(handshake) => handshake.poll_timeout(),
            State::Session(session, ..) => session.poll_timeout(),
        }
    }

    /// Does what is due at `now`: sends a flight again, or gives the handshake up. Calling it early does no harm.
    ///
    /// # Errors
    /// Why the handshake is over, as [`Event::Failed`] says it of those that end by a datagram.
    pub fn handle_timeout(&mut self, now: Instant) -> Result<(), Error> {
        let context = self.context();
        match &mut self.state {
            State::Handshake(handshake) => {
                let outcome = handshake.handle_timeout(&context, now, &mut self.stats);
                outcome.inspect_err(|_| Stats::count(&mut self.stats.handshakes_failed))
            }
            State::Session(session, ..) => session.handle_timeout(self.config, now, &mut self.stats),
        }
    }

    /// Takes a datagram from the server. Go through the [`Incoming`] until it returns `None`: records that were not
    /// looked at are lost.
    pub fn receive<'c, 'd>(&'c mut self, datagram: &'d mut [u8], now: Instant) -> Incoming<'c, 'a, 'd> {
        Incoming { connection: self, rest: datagram, now }
    }

    /// Seals a copy of `payload` into `buf` as one datagram, and returns its length: that of the payload and
    /// its [`overhead`](Self::overhead).
    ///
    /// # Errors
    /// [`Error::NotConnected`] before the handshake is done and after the end; [`Error::BufferTooSmall`];
    /// [`Error::PayloadTooLong`]; [`Error::SealLimitReached`]; [`Error::CryptoFailed`].
    pub fn send(&mut self, payload: &[u8], buf: &mut [u8]) -> Result<usize, Error> {
        let crypto = self.config.crypto();
        self.session()?.send(crypto, payload, buf)
    }

    /// Seals the payload that lies at `payload` in `buf`, without copying it, and returns where in `buf` the datagram
    /// is. There must be as many bytes in front of it and behind it as [`overhead`](Self::overhead) says.
    ///
    /// # Errors
    /// Those of [`send`](Self::send).
    pub fn seal_in_place(&mut self, buf: &mut [u8], payload: Range<usize>) -> Result<Range<usize>, Error> {
        let crypto = self.config.crypto();
        self.session()?.seal_in_place(crypto, buf, payload)
    }

    /// Fills `out` with keying material for another protocol (RFC 5705), the same on both sides: for this `label`, and for
    /// this `context`, of 65,535 bytes at most, if there is one. An empty context is not the same as none.
    ///
    /// # Errors
    /// [`Error::NotConnected`]; [`Error::ReservedLabel`] for a label that DTLS itself uses;
    /// [`PeerMisbehaved::NoExtendedMasterSecret`](crate::PeerMisbehaved::NoExtendedMasterSecret) with a peer that does
    /// not know RFC 7627, as what is exported would not be bound to this session.
    #[cfg(feature = "exporter")]
    pub fn export_keying_material(
        &self,
        label: &[u8],
        context: Option<&[u8]>,
        out: &mut [u8],
    ) -> Result<(), Error> {
        match &self.state {
            State::Session(session, ..) => session.export(label, context, out),
            State::Handshake(_) => Err(Error::NotConnected),
        }
    }

    /// How many bytes a record has in front of its payload, and how many behind it:
    /// [`RECORD_PREFIX`](crate::RECORD_PREFIX) and the suite's tag; more with a connection ID. `None` while there is no
    /// session.
    pub fn overhead(&self) -> Option<(usize, usize)> {
        match &self.state {
            State::Session(session, ..) => Some(session.overhead()),
            State::Handshake(_) => None,
        }
    }

    /// The longest payload of one record that fits into a datagram of so many bytes; `None` while there is no session.
    #[cfg(feature = "embedded-nal-async")]
    pub(crate) fn max_payload(&self, datagram: usize) -> Option<usize> {
        match &self.state {
            State::Session(session, ..) => Some(session.max_payload(datagram)),
            State::Handshake(_) => None,
        }
    }

    /// Goes on under new keys soon, once the server has heard of it (KeyUpdate, RFC 9147 §8), and has the server do the same if
    /// `request_update` says so. A session of DTLS 1.3 does it by itself when half of what a key may be used for has been used.
    ///
    /// # Errors
    /// [`Error::NotConnected`]; [`Error::UpdateImpossible`] in DTLS 1.2.
    #[cfg(feature = "dtls13")]
    pub fn update_keys(&mut self, request_update: bool) -> Result<(), Error> {
        self.session()?.update_keys(request_update)
    }

    /// Asks the server for another connection ID to send with, for when this side's address is to change (RFC 9147 §9). Once it has
    /// come, [`use_spare_connection_id`](Self::use_spare_connection_id) goes on with it.
    ///
    /// # Errors
    /// [`Error::NotConnected`]; [`Error::NoConnectionId`] where the server has not asked for one, and in DTLS 1.2.
    #[cfg(all(feature = "dtls13", feature = "connection-id"))]
    pub fn request_connection_id(&mut self) -> Result<(), Error> {
        self.session()?.request_connection_id()
    }

    /// Sends with the connection ID that the server has given for later, so that nobody who watches both networks can tell that it is
    /// the same session (RFC 9146 §8): call it when this side's address changes.
    ///
    /// # Errors
    /// [`Error::ConnectionIdPending`] where there is none; those of [`request_connection_id`](Self::request_connection_id).
    #[cfg(all(feature = "dtls13", feature = "connection-id"))]
    pub fn use_spare_connection_id(&mut self) -> Result<(), Error> {
        self.session()?.use_spare_connection_id()
    }

    /// Has the server send with another connection ID from here on.
    ///
    /// # Errors
    /// [`Error::ConnectionIdPending`] where it does not use the last one yet; [`Error::NotConnected`]; [`Error::NoConnectionId`] where
    /// this side has not asked for one, and in DTLS 1.2.
    #[cfg(all(feature = "dtls13", feature = "connection-id"))]
    pub fn renew_connection_id(&mut self) -> Result<(), Error> {
        let session = self.session()?;
        session.renew_connection_id(session.next_connection_id())
    }

    /// Closes the session: the next [`poll_transmit`](Self::poll_transmit) says close_notify. A handshake is given up
    /// without a word.
    pub fn close(&mut self) {
        match &mut self.state {
            State::Handshake(handshake) => handshake.abandon(),
            State::Session(session, ..) => session.close(),
        }
    }

    /// Saves the session into `image`, for a deep sleep or a reboot, and returns the image's length:
    /// [`MAX_IMAGE_LEN`] bytes always do. The session is over here, so that no record number is ever used twice; the server
    /// is not told. [`restore`](Self::restore) goes on with it.
    ///
    /// Where the power may fail without a warning, see [`checkpoint`](Self::checkpoint).
    ///
    /// ```
    /// # use dtls_psk::{Config, Connection, Endpoint, Error, Instant, Path, Psk, Storage};
    /// use dtls_psk::{ImageSeal, MAX_IMAGE_LEN};
    /// # use getrandom::SysRng;
    ///
    /// # let (config, now) = (Config::default(), Instant::ZERO);
    /// # let psk = Psk::new(b"client1", b"hardfault_secure_key")?;
    /// # let mut storage = Storage::<1, 1>::new();
    /// # let mut server = Endpoint::new(&config, &psk, &mut storage, &mut SysRng)?;
    /// # let mut connection = Connection::client(&config, &psk, &mut SysRng, now)?;
    /// # let any = "127.0.0.1:5684".parse().unwrap();
    /// # let path = Path { local: any, remote: any };
    /// # let mut datagram = [0; 1500];
    /// # while server.peer(&path).is_none() {
    /// #     while let Some(len) = connection.poll_transmit(&mut datagram)? {
    /// #         server.receive(&mut datagram[..len], path, &mut SysRng, now).for_each(drop);
    /// #     }
    /// #     while let Some((len, _)) = server.poll_transmit(&mut datagram)? {
    /// #         connection.receive(&mut datagram[..len], now).for_each(drop);
    /// #     }
    /// # }
    /// # let device_key = [7; 16];
    /// # let mut monotonic_counter = 41;
    /// monotonic_counter += 1;
    /// let seal = ImageSeal { key: &device_key, counter: monotonic_counter };
    /// let mut image = [0; MAX_IMAGE_LEN];
    /// let len = connection.suspend(&seal, &mut image).map_err(|(_, error)| error)?;
    /// // The image goes to flash, the device to sleep. When it wakes:
    /// let mut connection = Connection::restore(&config, &psk, &seal, &image[..len])?;
    /// monotonic_counter += 1; // before anything is sent, so that the image cannot come back
    /// # let len = connection.send(b"good morning", &mut datagram)?;
    /// # assert_eq!(server.receive(&mut datagram[..len], path, &mut SysRng, now).count(), 1);
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Errors
    /// The connection, unchanged, with [`Error::NotConnected`] where there is no established session;
    /// [`Error::BufferTooSmall`]; [`Error::CryptoFailed`].
    #[expect(clippy::result_large_err, reason = "there is no heap to put the connection on")]
    pub fn suspend(self, seal: &ImageSeal<'_>, image: &mut [u8]) -> Result<usize, (Self, Error)> {
        self.save(seal, image).map_err(|error| (self, error))
    }

    /// Saves the session into `image` and goes on with it, for devices whose power may fail at any time. The session may
    /// send `records` more until the next checkpoint is due ([`Error::CheckpointNeeded`]); whoever
    /// [restores](Self::restore) the image goes on behind them.
    ///
    /// In DTLS 1.3, the next checkpoint is due as well when either side has sent a handshake message, such as for new keys, connection
    /// IDs or a ticket, or has changed one of these; and after 8,192 records whatever `records` says: only the end of a record's number
    /// travels, so that too many cannot be left out.
    ///
    /// What has arrived since a checkpoint is forgotten with it: after a restoration, the peer's records of that time could
    /// be replayed once. Where that does harm, tell old messages from new ones by what is in them (CoAP's Echo option, RFC
    /// 9175), or use [`suspend`](Self::suspend) alone.
    ///
    /// # Errors
    /// [`Error::NotConnected`]; [`Error::BufferTooSmall`]; [`Error::SealLimitReached`] where the key cannot seal so many
    /// more; [`Error::CryptoFailed`]. The session goes on as it was.
    pub fn checkpoint(
        &mut self,
        records: u32,
        seal: &ImageSeal<'_>,
        image: &mut [u8],
    ) -> Result<usize, Error> {
        let (config, psk) = (self.config, self.psk);
        self.session()?.checkpoint(records, |session| save(config, psk, session, seal, image))
    }

    fn save(&self, seal: &ImageSeal<'_>, image: &mut [u8]) -> Result<usize, Error> {
        match &self.state {
            State::Session(session, ..) if session.is_open() => {
                save(self.config, self.psk, session, seal, image)
            }
            _ => Err(Error::NotConnected),
        }
    }

    /// Goes on with a session that [`suspend`](Self::suspend) or [`checkpoint`](Self::checkpoint) has saved. `seal` has the
    /// very counter that the image was made with. Raise the counter before anything is sent: an image that is restored
    /// twice would use record numbers twice, which breaks the encryption.
    ///
    /// The identity in the image must be that of `psk`, or of one of those [behind it](Psk::or), with the same key.
    ///
    /// # Errors
    /// [`Error::InvalidImage`]; [`Error::IdentityRevoked`]; [`Error::InvalidConfig`].
    pub fn restore(
        config: &'a Config<'a>,
        psk: &'a Psk<'a>,
        seal: &ImageSeal<'_>,
        image: &[u8],
    ) -> Result<Self, Error> {
        config.validate()?;
        let session = seal.open(config, Role::Client, image, |session, lend| {
            key_of(psk, session).iter().for_each(|psk| lend(psk.key()));
        })?;
        info!("restored: {}", session.peer());
        Ok(Self {
            config,
            psk,
            session: session.peer().session,
            state: State::Session(session, NO_FRAGMENTS),
            stats: Stats::default(),
        })
    }

    /// The server, once the handshake is done and until the session is over.
    pub fn peer(&self) -> Option<Peer<'_>> {
        match &self.state {
            State::Session(session, ..) if session.is_open() => Some(session.peer()),
            _ => None,
        }
    }

    /// What was dropped, repeated and refused so far.
    pub const fn stats(&self) -> Stats {
        self.stats
    }

    fn session(&mut self) -> Result<&mut Session, Error> {
        match &mut self.state {
            State::Session(session, ..) => Ok(session),
            State::Handshake(_) => Err(Error::NotConnected),
        }
    }

    /// Length in bytes of the connection IDs of the records that arrive.
    fn connection_id_len(&self) -> usize {
        match &self.state {
            State::Session(session, ..) => session.connection_id().len(),
            State::Handshake(_) => self.config.connection_id_len().unwrap_or(0),
        }
    }

    fn receive_record<'d>(
        &mut self,
        header: &Header<'_>,
        body: &'d mut [u8],
        now: Instant,
    ) -> Option<Event<'d>> {
        let context = self.context();
        match &mut self.state {
            #[cfg_attr(not(feature = "dtls13"), expect(unused_variables, reason = "there are none"))]
            State::Session(session, fragments) => {
                let received = session.receive(
                    &context,
                    header,
                    body,
                    #[cfg(feature = "dtls13")]
                    Some(fragments),
                    now,
                    &mut self.stats,
                );
                let event = received.event;
                #[cfg(feature = "dtls13")]
                if session.is_asked_for_connection_id() {
                    session.grant_connection_id(session.next_connection_id());
                }
                event
            }
            State::Handshake(handshake) => {
                match handshake.receive(&context, header, body, now, &mut self.stats) {
                    Ok(None) => None,
                    Ok(Some(established)) => {
                        let session = Session::new(self.session, established, self.config, now);
                        info!("established: {}", session.peer());
                        self.state = State::Session(session, NO_FRAGMENTS);
                        Some(Event::Established)
                    }
                    Err(error) => {
                        Stats::count(&mut self.stats.handshakes_failed);
                        Some(Event::Failed(error))
                    }
                }
            }
        }
    }
}

/// The records of one datagram, on their way through a [`Connection`]: an iterator over what they brought.
#[must_use = "records that are not looked at are lost"]
pub struct Incoming<'c, 'a, 'd> {
    connection: &'c mut Connection<'a>,
    rest: &'d mut [u8],
    now: Instant,
}

impl Incoming<'_, '_, '_> {
    /// How many bytes of the datagram, counted from its end, have not been looked at.
    pub const fn remaining(&self) -> usize {
        self.rest.len()
    }
}

impl<'d> Iterator for Incoming<'_, '_, 'd> {
    type Item = Event<'d>;

    fn next(&mut self) -> Option<Event<'d>> {
        loop {
            let id_len = self.connection.connection_id_len();
            let Some((header, body)) = next_record(&mut self.rest, id_len, &mut self.connection.stats) else {
                break;
            };
            if let Some(event) = self.connection.receive_record(&header, body, self.now) {
                return Some(event);
            }
        }
        self.connection.session().ok()?.poll_notice()
    }
}

/// Takes the next readable record off a datagram. What is no record is counted and passed over: where one cannot be
/// told from the next, the rest of the datagram.
pub(crate) fn next_record<'d>(
    rest: &mut &'d mut [u8],
    connection_id_len: usize,
    stats: &mut Stats,
) -> Option<(Header<'d>, &'d mut [u8])> {
    while !rest.is_empty() {
        match split_first(core::mem::take(rest), connection_id_len) {
            Some((Split::Record(header, body), behind)) => {
                *rest = behind;
                return Some((header, body));
            }
            Some((Split::Unknown, behind)) => *rest = behind,
            None => {}
        }
        Stats::count(&mut stats.dropped);
    }
    None
}
