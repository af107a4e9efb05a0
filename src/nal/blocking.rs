//! The `nb` shell: a stack of secure sockets over any `embedded-nal` stack.

use core::net::{IpAddr, Ipv6Addr, SocketAddr};

use embedded_nal::{UdpClientStack, UdpFullStack};
use rand_core::TryCryptoRng;

use super::Error;
use super::datagram::{Datagram, deliver};
use crate::config::Config;
use crate::connection::{Connection, Event};
use crate::endpoint::{Endpoint, Path, Storage};
use crate::log::info;
use crate::peer::{Peer, PeerLookup};
use crate::psk::{Psk, PskStore};
use crate::time::{Clock, Instant};

/// A stack whose UDP sockets speak DTLS: [`UdpClientStack`] with a key, and [`UdpFullStack`] with a key store too.
///
/// Nothing blocks. `connect` only starts the handshake; it goes on in each call of `send` and `receive`, which say
/// `WouldBlock` until it is done, and return [`Error::Dtls`] when it failed. Retransmissions happen in those calls as
/// well, so call `receive` often.
///
/// A record that was sealed counts as sent: where the stack underneath would block, it goes out with the next call.
///
/// `N` is the size of each socket's two datagram buffers in bytes; it should be [`Config::mtu`] at least.
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
/// let mut net: SecureStack<_, _, _> =
///     SecureStack::new(std_embedded_nal::Stack, &config, &psk, StdClock::new(), SysRng);
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
    server: Option<ServerParts<'a, H, S>>,
    clock: C,
    rng: R,
}

/// What the one bound socket is made of.
struct ServerParts<'a, const H: usize, const S: usize> {
    store: &'a dyn PskStore,
    storage: &'a mut Storage<H, S>,
}

/// A socket of a [`SecureStack`].
pub struct SecureSocket<'a, U: UdpClientStack, const H: usize = 1, const S: usize = 1, const N: usize = 1280>
{
    socket: U::UdpSocket,
    role: Role<'a, U, H, S>,
    received: Datagram<N>,
    received_by: Path,
    outgoing: Datagram<N>,
    outgoing_by: Path,
}

#[expect(clippy::large_enum_variant, reason = "there is no heap to put the larger one on")]
enum Role<'a, U: UdpClientStack, const H: usize, const S: usize> {
    Idle,
    Client {
        connection: Connection<'a>,
        remote: SocketAddr,
        /// Why nothing more will come.
        over: Option<crate::Error>,
    },
    Server {
        endpoint: Endpoint<'a, H, S>,
        store: &'a dyn PskStore,
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

/// `embedded-nal` does not tell which local address a datagram came to.
const UNKNOWN: SocketAddr = SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), 0);

/// How many datagrams one call looks at before it says `WouldBlock`, so that a flood cannot hold it.
const DATAGRAMS_PER_CALL: usize = 16;

impl<'a, U, C, R, const N: usize> SecureStack<'a, U, C, R, 1, 1, N> {
    /// A stack for clients that hold `psk`.
    pub const fn new(stack: U, config: &'a Config<'a>, psk: &'a Psk<'a>, clock: C, rng: R) -> Self {
        Self { stack, config, psk, server: None, clock, rng }
    }

    /// Lets one socket at a time be bound as a server, with the keys of `store` and the memory of `storage`.
    pub fn with_server<const H: usize, const S: usize>(
        self,
        store: &'a dyn PskStore,
        storage: &'a mut Storage<H, S>,
    ) -> SecureStack<'a, U, C, R, H, S, N> {
        let Self { stack, config, psk, clock, rng, .. } = self;
        SecureStack { stack, config, psk, server: Some(ServerParts { store, storage }), clock, rng }
    }
}

impl<U: UdpClientStack, const H: usize, const S: usize, const N: usize> SecureSocket<'_, U, H, S, N> {
    /// The server that a connected socket has a session with.
    pub fn server(&self) -> Option<Peer<'_>> {
        match &self.role {
            Role::Client { connection, .. } => connection.peer(),
            Role::Idle | Role::Server { .. } => None,
        }
    }

    /// The next event of the datagram at hand, and whose it is.
    fn next_event<R: TryCryptoRng>(&mut self, rng: &mut R, now: Instant) -> Option<(Event<'_>, SocketAddr)> {
        let Self { role, received, received_by, .. } = self;
        if received.is_empty() {
            return None;
        }
        let event = match role {
            Role::Idle => None,
            Role::Client { connection, over, .. } => {
                let event = received.read(|datagram| {
                    let mut incoming = connection.receive(datagram, now);
                    let event = incoming.next();
                    (event, incoming.remaining())
                });
                match &event {
                    Some(Event::Failed(error)) => *over = Some(*error),
                    Some(Event::Closed) => *over = Some(crate::Error::Closed),
                    Some(Event::Established | Event::Data(_)) | None => {}
                }
                event
            }
            Role::Server { endpoint, .. } => received.read(|datagram| {
                let mut incoming = endpoint.receive(datagram, *received_by, rng, now);
                let event = incoming.next();
                (event, incoming.remaining())
            }),
        };
        Some((event?, received_by.remote))
    }
}

impl<U: UdpClientStack, const H: usize, const S: usize, const N: usize> PeerLookup
    for SecureSocket<'_, U, H, S, N>
{
    /// The peer of a bound socket's session with `remote`. `local` is ignored, as `embedded-nal` does not know it.
    fn peer(&self, _local: SocketAddr, remote: SocketAddr) -> Option<Peer<'_>> {
        match &self.role {
            Role::Server { endpoint, .. } => endpoint.peer(&Path { local: UNKNOWN, remote }),
            Role::Idle | Role::Client { .. } => None,
        }
    }
}

impl<'a, U, C, R, const H: usize, const S: usize, const N: usize> SecureStack<'a, U, C, R, H, S, N>
where
    U: UdpClientStack,
    C: Clock,
    R: TryCryptoRng,
{
    /// Sends every datagram that is due.
    fn flush(&mut self, socket: &mut SecureSocket<'a, U, H, S, N>) -> nb::Result<(), Error<U::Error>> {
        loop {
            if !socket.outgoing.is_empty() {
                self.transmit(socket)?;
            }
            let due = match &mut socket.role {
                Role::Idle => None,
                Role::Client { connection, remote, .. } => connection
                    .poll_transmit(&mut socket.outgoing.bytes)
                    .map_err(failed)?
                    .map(|len| (len, Path { local: UNKNOWN, remote: *remote })),
                Role::Server { endpoint, .. } => {
                    endpoint.poll_transmit(&mut socket.outgoing.bytes).map_err(failed)?
                }
            };
            let Some((len, path)) = due else { return Ok(()) };
            socket.outgoing.fill(len);
            socket.outgoing_by = path;
        }
    }

    /// Sends the datagram that waits. One that the stack refuses is lost, like any other datagram.
    fn transmit(&mut self, socket: &mut SecureSocket<'a, U, H, S, N>) -> nb::Result<(), Error<U::Error>> {
        let datagram = socket.outgoing.waiting();
        let (sent, is_client) = match &socket.role {
            Role::Server { send_to, .. } => {
                (send_to(&mut self.stack, &mut socket.socket, socket.outgoing_by.remote, datagram), false)
            }
            Role::Idle | Role::Client { .. } => (self.stack.send(&mut socket.socket, datagram), true),
        };
        match sent {
            Err(nb::Error::WouldBlock) => return Err(nb::Error::WouldBlock),
            Err(nb::Error::Other(error)) if is_client => {
                socket.outgoing.clear();
                return Err(nb::Error::Other(Error::Socket(error)));
            }
            Err(nb::Error::Other(_)) => {
                info!("a datagram to {} could not be sent", socket.outgoing_by.remote)
            }
            Ok(()) => {}
        }
        socket.outgoing.clear();
        Ok(())
    }

    /// Does what is due, then takes the next datagram.
    fn poll(&mut self, socket: &mut SecureSocket<'a, U, H, S, N>) -> nb::Result<(), Error<U::Error>> {
        let now = self.clock.now();
        match &mut socket.role {
            Role::Idle => return Err(failed(crate::Error::NotConnected)),
            Role::Client { connection, over, .. } => {
                if over.is_none() && connection.poll_timeout().is_some_and(|at| at <= now) {
                    *over = connection.handle_timeout(now).err();
                }
            }
            Role::Server { endpoint, .. } => {
                // The endpoint has logged who gave up.
                while endpoint.handle_timeout(now).is_some() {}
            }
        }
        match self.flush(socket) {
            // What cannot be sent now must not keep anything from being received.
            Ok(()) | Err(nb::Error::WouldBlock) => {}
            Err(error) => return Err(error),
        }
        if let Role::Client { over: Some(error), .. } = socket.role {
            return Err(failed(error));
        }
        let (len, remote) = self
            .stack
            .receive(&mut socket.socket, &mut socket.received.bytes)
            .map_err(|error| error.map(Error::Socket))?;
        socket.received.fill(len);
        socket.received_by = Path { local: UNKNOWN, remote };
        Ok(())
    }

    /// Brings a client's handshake forward. Data that follows it in the same datagram stays there.
    fn handshake(&mut self, socket: &mut SecureSocket<'a, U, H, S, N>) -> nb::Result<(), Error<U::Error>> {
        for _ in 0..DATAGRAMS_PER_CALL {
            match &socket.role {
                Role::Client { connection, .. } if connection.peer().is_some() => return Ok(()),
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
        Ok(SecureSocket {
            socket: self.stack.socket().map_err(Error::Socket)?,
            role: Role::Idle,
            received: Datagram::new(),
            received_by: Path { local: UNKNOWN, remote: UNKNOWN },
            outgoing: Datagram::new(),
            outgoing_by: Path { local: UNKNOWN, remote: UNKNOWN },
        })
    }

    /// Starts a handshake with `remote`. A socket that was connected before starts anew.
    fn connect(&mut self, socket: &mut Self::UdpSocket, remote: SocketAddr) -> Result<(), Self::Error> {
        self.stack.connect(&mut socket.socket, remote).map_err(Error::Socket)?;
        let connection = Connection::client(self.config, self.psk, &mut self.rng, self.clock.now())?;
        socket.role = Role::Client { connection, remote, over: None };
        socket.received.clear();
        socket.outgoing.clear();
        match self.flush(socket) {
            Ok(()) | Err(nb::Error::WouldBlock) => Ok(()),
            Err(nb::Error::Other(error)) => Err(error),
        }
    }

    fn send(&mut self, socket: &mut Self::UdpSocket, buffer: &[u8]) -> nb::Result<(), Self::Error> {
        self.handshake(socket)?;
        self.flush(socket)?;
        let Role::Client { connection, remote, over } = &mut socket.role else {
            return Err(failed(crate::Error::NotConnected));
        };
        if let Some(error) = *over {
            return Err(failed(error));
        }
        let len = connection.send(buffer, &mut socket.outgoing.bytes).map_err(failed)?;
        socket.outgoing.fill(len);
        socket.outgoing_by = Path { local: UNKNOWN, remote: *remote };
        sealed(self.transmit(socket))
    }

    fn receive(
        &mut self,
        socket: &mut Self::UdpSocket,
        buffer: &mut [u8],
    ) -> nb::Result<(usize, SocketAddr), Self::Error> {
        for _ in 0..DATAGRAMS_PER_CALL {
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
            Role::Client { connection, .. } => connection.close(),
            Role::Server { endpoint, .. } => endpoint.close_all(),
        }
        // Whether or not it could be said, the socket is closed.
        let said = self.flush(&mut socket);
        if let Role::Server { endpoint, store, .. } = socket.role {
            self.server = Some(ServerParts { store, storage: endpoint.into_storage() });
        }
        self.stack.close(socket.socket).map_err(Error::Socket)?;
        match said {
            Err(nb::Error::Other(error)) => Err(error),
            Ok(()) | Err(nb::Error::WouldBlock) => Ok(()),
        }
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
    /// [`with_server`](SecureStack::with_server), or while another socket is bound.
    fn bind(&mut self, socket: &mut Self::UdpSocket, local_port: u16) -> Result<(), Self::Error> {
        self.config.validate()?;
        if self.server.is_none() {
            return Err(crate::Error::NoStorage.into());
        }
        self.stack.bind(&mut socket.socket, local_port).map_err(Error::Socket)?;
        let ServerParts { store, storage } = self.server.take().ok_or(crate::Error::NoStorage)?;
        let endpoint = Endpoint::new(self.config, store, storage, &mut self.rng)?;
        socket.role = Role::Server { endpoint, store, send_to: U::send_to };
        Ok(())
    }

    /// Sends to a peer that has a session with this bound socket.
    fn send_to(
        &mut self,
        socket: &mut Self::UdpSocket,
        remote: SocketAddr,
        buffer: &[u8],
    ) -> nb::Result<(), Self::Error> {
        self.flush(socket)?;
        let Role::Server { endpoint, .. } = &mut socket.role else {
            return Err(failed(crate::Error::NotConnected));
        };
        let path = Path { local: UNKNOWN, remote };
        let len = endpoint.send(&path, buffer, &mut socket.outgoing.bytes).map_err(failed)?;
        socket.outgoing.fill(len);
        socket.outgoing_by = path;
        sealed(self.transmit(socket))
    }
}

const fn failed<E>(error: crate::Error) -> nb::Error<Error<E>> {
    nb::Error::Other(Error::Dtls(error))
}

/// What was sealed must not be sealed again: where the stack would block, the record waits for the next call.
fn sealed<E>(sent: nb::Result<(), E>) -> nb::Result<(), E> {
    match sent {
        Err(nb::Error::WouldBlock) => Ok(()),
        sent => sent,
    }
}
