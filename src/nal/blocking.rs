//! The `nb` shell: a stack of secure sockets over any `embedded-nal` stack.

use core::net::SocketAddr;

use embedded_nal::{UdpClientStack, UdpFullStack};
use rand_core::TryCryptoRng;

use super::Error;
use super::buffered::{BufferedConnection, BufferedEndpoint, deliver};
use crate::config::Config;
use crate::connection::{Connection, Event, ImageSeal};
use crate::endpoint::Endpoint;
use crate::log::info;
use crate::path::{Path, UNKNOWN};
use crate::peer::{Peer, PeerLookup, SessionId, SessionStack};
use crate::psk::Psk;
use crate::stats::Stats;
use crate::time::{Clock, Instant};

/// How many records one call looks at before it says `WouldBlock`, so that a flood cannot hold it.
const RECORDS_PER_CALL: usize = 16;

/// A stack whose UDP sockets speak DTLS: [`UdpClientStack`] with a key, and [`UdpFullStack`] with an [`Endpoint`] too.
///
/// Nothing blocks. `connect` only starts the handshake; it goes on in each call of `send` and `receive`, which say
/// `WouldBlock` until it is done, and return [`Error::Dtls`] when it failed. Retransmissions happen in those calls as
/// well, so call `receive` often.
///
/// A record that was sealed counts as sent: where the stack underneath would block, it goes out with the next call.
///
/// `N` is the size of each socket's two datagram buffers in bytes: 1280, or what [`with_buffers`](Self::with_buffers) is
/// told. It should be [`Config::mtu`] at least, and never below [`Config::MIN_MTU`].
///
/// ```no_run
/// use dtls_psk::nal::SecureStack;
/// use dtls_psk::{Config, Psk, StdClock};
/// use embedded_nal::UdpClientStack as _;
/// # use getrandom::SysRng;
///
/// # fn example() -> Result<(), Box<dyn core::error::Error>> {
/// let config = Config::coap();
/// let psk = Psk::new(b"client1", b"hardfault_secure_key")?;
/// let mut net = SecureStack::new(std_embedded_nal::Stack, &config, &psk, StdClock::new(), SysRng);
///
/// let mut socket = net.socket()?;
/// net.connect(&mut socket, "127.0.0.1:5684".parse()?)?;
/// nb::block!(net.send(&mut socket, b"hello"))?;
/// let mut buffer = [0; 64];
/// let (len, _) = nb::block!(net.receive(&mut socket, &mut buffer))?;
/// println!("{:?}", &buffer[..len]);
/// net.close(socket)?;
/// # Ok(())
/// # }
/// ```
pub struct SecureStack<'a, U, C, R, const H: usize = 1, const S: usize = 1, const N: usize = 1280> {
    stack: U,
    config: &'a Config<'a>,
    psk: &'a Psk<'a>,
    /// The one endpoint there is, while no socket is bound.
    endpoint: Option<Endpoint<'a, H, S>>,
    /// Whether the endpoint lets clients in with the key that this side is a client with.
    has_one_key: bool,
    clock: C,
    rng: R,
}

impl<'a, U, C, R> SecureStack<'a, U, C, R> {
    /// A stack for clients that hold `psk`.
    pub const fn new(stack: U, config: &'a Config<'a>, psk: &'a Psk<'a>, clock: C, rng: R) -> Self {
        Self { stack, config, psk, endpoint: None, has_one_key: false, clock, rng }
    }
}

impl<'a, U, C, R, const H: usize, const S: usize, const N: usize> SecureStack<'a, U, C, R, H, S, N> {
    /// Lets one socket at a time be bound, and be a server with this endpoint. Where that knows the identity and key of the stack's own
    /// clients, no socket connects any more ([`OneKeyForBothRoles`](crate::Error::OneKeyForBothRoles)).
    pub fn with_server<const H2: usize, const S2: usize>(
        self,
        endpoint: Endpoint<'a, H2, S2>,
    ) -> SecureStack<'a, U, C, R, H2, S2, N> {
        let Self { stack, config, psk, clock, rng, .. } = self;
        let has_one_key = endpoint.holds(psk);
        SecureStack { stack, config, psk, endpoint: Some(endpoint), has_one_key, clock, rng }
    }

    /// Gives each socket buffers of `N2` bytes: `SecureStack::new(…).with_buffers::<256>()`.
    pub fn with_buffers<const N2: usize>(self) -> SecureStack<'a, U, C, R, H, S, N2> {
        let Self { stack, config, psk, endpoint, has_one_key, clock, rng } = self;
        SecureStack { stack, config, psk, endpoint, has_one_key, clock, rng }
    }
}

/// A socket of a [`SecureStack`].
pub struct SecureSocket<'a, U: UdpClientStack, const H: usize = 1, const S: usize = 1, const N: usize = 1280>
{
    socket: U::UdpSocket,
    role: Role<'a, U, H, S, N>,
}

#[expect(clippy::large_enum_variant, reason = "there is no heap to put the larger one on")]
enum Role<'a, U: UdpClientStack, const H: usize, const S: usize, const N: usize> {
    Idle,
    Client {
        association: BufferedConnection<'a, N>,
        remote: SocketAddr,
    },
    Server {
        association: BufferedEndpoint<'a, H, S, N>,
        /// The stack's own `send_to`, which not every [`UdpClientStack`] has.
        send_to: SendTo<U>,
    },
}

type SendTo<U> = fn(
    &mut U,
    &mut <U as UdpClientStack>::UdpSocket,
    SocketAddr,
    &[u8],
) -> nb::Result<(), <U as UdpClientStack>::Error>;

impl<'a, U: UdpClientStack, const H: usize, const S: usize, const N: usize> SecureSocket<'a, U, H, S, N> {
    /// The server that a connected socket has a session with.
    pub fn server(&self) -> Option<Peer<'_>> {
        match &self.role {
            Role::Client { association, .. } => association.connection().peer(),
            Role::Idle | Role::Server { .. } => None,
        }
    }

    /// The endpoint of a bound socket, to look at its sessions.
    pub const fn endpoint(&self) -> Option<&Endpoint<'a, H, S>> {
        match &self.role {
            Role::Server { association, .. } => Some(association.endpoint()),
            Role::Idle | Role::Client { .. } => None,
        }
    }

    /// The endpoint of a bound socket, to close sessions or revoke identities. The next `receive` tells the peers.
    pub const fn endpoint_mut(&mut self) -> Option<&mut Endpoint<'a, H, S>> {
        match &mut self.role {
            Role::Server { association, .. } => Some(association.endpoint_mut()),
            Role::Idle | Role::Client { .. } => None,
        }
    }

    /// Saves the session of a connected socket, as [`Connection::suspend`] does; the socket is left unconnected, to be
    /// closed, or to be [restored](SecureStack::restore).
    ///
    /// # Errors
    /// Those of [`Connection::suspend`]. The session goes on then.
    pub fn suspend(&mut self, seal: &ImageSeal<'_>, image: &mut [u8]) -> Result<usize, crate::Error> {
        match core::mem::replace(&mut self.role, Role::Idle) {
            Role::Client { association, remote } => {
                association.suspend(seal, image).map_err(|(association, error)| {
                    self.role = Role::Client { association, remote };
                    error
                })
            }
            other => {
                self.role = other;
                Err(crate::Error::NotConnected)
            }
        }
    }

    /// Saves the session of a connected socket and goes on with it, as [`Connection::checkpoint`] does.
    ///
    /// # Errors
    /// Those of [`Connection::checkpoint`].
    pub fn checkpoint(
        &mut self,
        records: u32,
        seal: &ImageSeal<'_>,
        image: &mut [u8],
    ) -> Result<usize, crate::Error> {
        match &mut self.role {
            Role::Client { association, .. } => association.checkpoint(records, seal, image),
            Role::Idle | Role::Server { .. } => Err(crate::Error::NotConnected),
        }
    }

    /// What was dropped, repeated and refused so far.
    pub fn stats(&self) -> Stats {
        match &self.role {
            Role::Idle => Stats::default(),
            Role::Client { association, .. } => association.connection().stats(),
            Role::Server { association, .. } => association.endpoint().stats(),
        }
    }

    /// What the next record of the datagram at hand brought, and whose it is.
    fn next_event<R: TryCryptoRng>(&mut self, rng: &mut R, now: Instant) -> Option<(Event<'_>, SocketAddr)> {
        match &mut self.role {
            Role::Idle => None,
            Role::Client { association, remote } => Some((association.next_event(now)?, *remote)),
            Role::Server { association, .. } => {
                let (event, path) = association.next_event(rng, now)?;
                Some((event, path.remote))
            }
        }
    }

    fn handle_timeout(&mut self, now: Instant) {
        match &mut self.role {
            Role::Idle => {}
            Role::Client { association, .. } => association.handle_timeout(now),
            Role::Server { association, .. } => association.handle_timeout(now),
        }
    }
}

impl<U: UdpClientStack, const H: usize, const S: usize, const N: usize> PeerLookup
    for SecureSocket<'_, U, H, S, N>
{
    /// The peer of a bound socket's session with `remote`. `local` is ignored, as `embedded-nal` does not tell it.
    fn peer(&self, _local: SocketAddr, remote: SocketAddr) -> Option<Peer<'_>> {
        self.endpoint()?.peer(&Path { local: UNKNOWN, remote })
    }

    fn session(&self, session: SessionId) -> Option<Peer<'_>> {
        self.endpoint()?.peer_in(session)
    }

    fn max_payload(&self, session: SessionId) -> Option<usize> {
        self.endpoint()?.max_payload(session, N)
    }

    fn unproven_address(&self, session: SessionId) -> Option<SocketAddr> {
        self.endpoint()?.unproven_path(session).map(|path| path.remote)
    }

    fn prove_address(&mut self, session: SessionId) {
        if let Some(endpoint) = self.endpoint_mut() {
            endpoint.prove_address_of(session);
        }
    }
}

impl<'a, U, C, R, const H: usize, const S: usize, const N: usize> SecureStack<'a, U, C, R, H, S, N>
where
    U: UdpClientStack,
    C: Clock,
    R: TryCryptoRng,
{
    /// Connects the socket to `remote` and goes on with a saved session, as [`Connection::restore`] does. A socket that was
    /// connected or bound before starts anew, without a word to its peers.
    ///
    /// # Errors
    /// Those of [`Connection::restore`], and the stack's.
    pub fn restore(
        &mut self,
        socket: &mut SecureSocket<'a, U, H, S, N>,
        remote: SocketAddr,
        seal: &ImageSeal<'_>,
        image: &[u8],
    ) -> Result<(), Error<U::Error>> {
        let connection = Connection::restore(self.config, self.psk, seal, image)?;
        self.connect_with(socket, remote, connection)
    }

    fn connect_with(
        &mut self,
        socket: &mut SecureSocket<'a, U, H, S, N>,
        remote: SocketAddr,
        connection: Connection<'a>,
    ) -> Result<(), Error<U::Error>> {
        self.stack.connect(&mut socket.socket, remote).map_err(Error::Socket)?;
        let client = Role::Client { association: BufferedConnection::new(connection), remote };
        if let Role::Server { association, .. } = core::mem::replace(&mut socket.role, client) {
            self.endpoint = Some(association.into_endpoint());
        }
        or_later(self.flush(socket))
    }

    /// Does and sends what is due, then takes the next datagram.
    fn poll(&mut self, socket: &mut SecureSocket<'a, U, H, S, N>) -> nb::Result<(), Error<U::Error>> {
        socket.handle_timeout(self.clock.now());
        // What cannot be sent now must not keep anything from being received.
        or_later(self.flush(socket))?;
        match &mut socket.role {
            Role::Idle => return Err(failed(crate::Error::NotConnected)),
            Role::Client { association, .. } => {
                association.check().map_err(failed)?;
                let received = self.stack.receive(&mut socket.socket, association.buffer());
                let (len, _) = received.map_err(|error| error.map(Error::Socket))?;
                association.received(len);
            }
            Role::Server { association, .. } => {
                let received = self.stack.receive(&mut socket.socket, association.buffer());
                let (len, remote) = received.map_err(|error| error.map(Error::Socket))?;
                association.received(len, Path { local: UNKNOWN, remote });
            }
        }
        Ok(())
    }

    /// Sends every datagram that is due. One that the stack refuses is lost, like any other datagram: a client is told,
    /// and of a server's peers none hears of another.
    fn flush(&mut self, socket: &mut SecureSocket<'a, U, H, S, N>) -> nb::Result<(), Error<U::Error>> {
        match &mut socket.role {
            Role::Idle => {}
            Role::Client { association, .. } => {
                while let Some(datagram) = association.poll_transmit().map_err(failed)? {
                    let sent = self.stack.send(&mut socket.socket, datagram);
                    if !matches!(sent, Err(nb::Error::WouldBlock)) {
                        association.sent();
                    }
                    sent.map_err(|error| error.map(Error::Socket))?;
                }
            }
            Role::Server { association, send_to } => {
                while let Some((datagram, Path { remote, .. })) =
                    association.poll_transmit().map_err(failed)?
                {
                    match send_to(&mut self.stack, &mut socket.socket, remote, datagram) {
                        Ok(()) => {}
                        Err(nb::Error::WouldBlock) => return Err(nb::Error::WouldBlock),
                        Err(nb::Error::Other(_)) => info!("a datagram to {} could not be sent", remote),
                    }
                    association.sent();
                }
            }
        }
        Ok(())
    }

    /// Brings a client's handshake forward. Data that follows it in the same datagram stays there.
    fn handshake(&mut self, socket: &mut SecureSocket<'a, U, H, S, N>) -> nb::Result<(), Error<U::Error>> {
        for _ in 0..RECORDS_PER_CALL {
            match &socket.role {
                Role::Client { association, .. } if association.is_established() => return Ok(()),
                Role::Client { .. } => {}
                Role::Idle | Role::Server { .. } => return Err(failed(crate::Error::NotConnected)),
            }
            if socket.next_event(&mut self.rng, self.clock.now()).is_none() {
                self.poll(socket)?;
            }
        }
        Err(nb::Error::WouldBlock)
    }
}

impl<'a, U, C, R, const H: usize, const S: usize, const N: usize> UdpClientStack
    for SecureStack<'a, U, C, R, H, S, N>
where
    U: UdpClientStack,
    C: Clock,
    R: TryCryptoRng,
{
    type UdpSocket = SecureSocket<'a, U, H, S, N>;
    type Error = Error<U::Error>;

    fn socket(&mut self) -> Result<Self::UdpSocket, Self::Error> {
        Ok(SecureSocket { socket: self.stack.socket().map_err(Error::Socket)?, role: Role::Idle })
    }

    /// Starts a handshake with `remote`. A socket that was connected or bound before starts anew, without a word to its
    /// peers.
    fn connect(&mut self, socket: &mut Self::UdpSocket, remote: SocketAddr) -> Result<(), Self::Error> {
        if self.has_one_key {
            return Err(crate::Error::OneKeyForBothRoles.into());
        }
        let connection = Connection::client(self.config, self.psk, &mut self.rng, self.clock.now())?;
        self.connect_with(socket, remote, connection)
    }

    /// Sends to the server that the socket is connected to.
    fn send(&mut self, socket: &mut Self::UdpSocket, buffer: &[u8]) -> nb::Result<(), Self::Error> {
        self.handshake(socket)?;
        self.flush(socket)?;
        if let Role::Client { association, .. } = &mut socket.role {
            association.seal(buffer).map_err(failed)?;
        }
        Ok(or_later(self.flush(socket))?)
    }

    fn receive(
        &mut self,
        socket: &mut Self::UdpSocket,
        buffer: &mut [u8],
    ) -> nb::Result<(usize, SocketAddr), Self::Error> {
        for _ in 0..RECORDS_PER_CALL {
            match socket.next_event(&mut self.rng, self.clock.now()) {
                Some((Event::Data(message), remote)) => return Ok((deliver(message, buffer), remote)),
                Some(_) => {}
                None => self.poll(socket)?,
            }
        }
        Err(nb::Error::WouldBlock)
    }

    /// Says close_notify to whoever is at the other end, as far as the stack takes it now, and closes the socket.
    fn close(&mut self, mut socket: Self::UdpSocket) -> Result<(), Self::Error> {
        match &mut socket.role {
            Role::Idle => {}
            Role::Client { association, .. } => association.close(),
            Role::Server { association, .. } => association.endpoint_mut().close_all(),
        }
        // Whether or not it could be said, the socket is closed.
        let said = or_later(self.flush(&mut socket));
        if let Role::Server { association, .. } = socket.role {
            self.endpoint = Some(association.into_endpoint());
        }
        self.stack.close(socket.socket).map_err(Error::Socket)?;
        said
    }
}

impl<'a, U, C, R, const H: usize, const S: usize, const N: usize> UdpFullStack
    for SecureStack<'a, U, C, R, H, S, N>
where
    U: UdpFullStack,
    C: Clock,
    R: TryCryptoRng,
{
    /// Makes the socket a server. [`Error::Dtls`] with [`NoStorage`](crate::Error::NoStorage) without
    /// [`with_server`](SecureStack::with_server), or while this or another socket is bound.
    fn bind(&mut self, socket: &mut Self::UdpSocket, local_port: u16) -> Result<(), Self::Error> {
        if self.endpoint.is_none() {
            return Err(crate::Error::NoStorage.into());
        }
        self.stack.bind(&mut socket.socket, local_port).map_err(Error::Socket)?;
        let endpoint = self.endpoint.take().ok_or(crate::Error::NoStorage)?;
        socket.role = Role::Server { association: BufferedEndpoint::new(endpoint), send_to: U::send_to };
        Ok(())
    }

    /// Sends to a peer that has a session with this bound socket.
    fn send_to(
        &mut self,
        socket: &mut Self::UdpSocket,
        remote: SocketAddr,
        buffer: &[u8],
    ) -> nb::Result<(), Self::Error> {
        self.seal_and_send(socket, |association| association.seal(Path { local: UNKNOWN, remote }, buffer))
    }
}

impl<'a, U, C, R, const H: usize, const S: usize, const N: usize> SecureStack<'a, U, C, R, H, S, N>
where
    U: UdpClientStack,
    C: Clock,
    R: TryCryptoRng,
{
    /// Has a bound socket send what `seal` makes. An error is that of this datagram.
    fn seal_and_send(
        &mut self,
        socket: &mut SecureSocket<'a, U, H, S, N>,
        seal: impl for<'b> FnOnce(&'b mut BufferedEndpoint<'a, H, S, N>) -> Result<(&'b [u8], Path), crate::Error>,
    ) -> nb::Result<(), Error<U::Error>> {
        self.flush(socket)?;
        let Role::Server { association, send_to } = &mut socket.role else {
            return Err(failed(crate::Error::NotConnected));
        };
        let (datagram, by) = seal(association).map_err(failed)?;
        let sent = send_to(&mut self.stack, &mut socket.socket, by.remote, datagram);
        if !matches!(sent, Err(nb::Error::WouldBlock)) {
            association.sent();
        }
        Ok(or_later(sent.map_err(|error| error.map(Error::Socket)))?)
    }
}

impl<'a, U, C, R, const H: usize, const S: usize, const N: usize> SessionStack
    for SecureStack<'a, U, C, R, H, S, N>
where
    U: UdpFullStack,
    C: Clock,
    R: TryCryptoRng,
{
    fn send_in(
        &mut self,
        socket: &mut Self::UdpSocket,
        session: SessionId,
        data: &[u8],
    ) -> nb::Result<(), Self::Error> {
        self.seal_and_send(socket, |association| association.seal_in(session, data))
    }
}

const fn failed<E>(error: crate::Error) -> nb::Error<Error<E>> {
    nb::Error::Other(Error::Dtls(error))
}

/// What could not be sent now waits in the socket, and goes out with the next call.
fn or_later<E>(sent: nb::Result<(), E>) -> Result<(), E> {
    match sent {
        Ok(()) | Err(nb::Error::WouldBlock) => Ok(()),
        Err(nb::Error::Other(error)) => Err(error),
    }
}
