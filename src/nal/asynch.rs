//! Async shells: a [`Client`] is a [`ConnectedUdp`], [`Clients`] of several servers and a [`Server`] are each an
//! [`UnconnectedUdp`].
//!
//! All drive handshakes and retransmissions while they wait for a datagram, so some future of them has to be polled for
//! anything to happen. Any future may be dropped at any await: what was received stays in the shell's own buffer, what
//! was to be sent too, and the next call goes on from there. That holds if the socket underneath keeps its own promise
//! that a dropped `receive_into` loses nothing. An error of its `receive_into` is taken to mean that the socket is of no
//! more use, and ends the call; so a datagram that is too long has to be reported by its length, as the trait says, and
//! not as an error.
//!
//! `N` is the size of each of the shell's two datagram buffers in bytes: 1280, or what `with_buffers` is told. It should
//! be [`Config::mtu`] at least, and never below [`Config::MIN_MTU`]. Of a longer datagram the records that fit are read,
//! the rest is dropped and counted.

use core::net::SocketAddr;

use embedded_nal_async::{ConnectedUdp, UnconnectedUdp};
use rand_core::TryCryptoRng;

use super::Error;
use super::buffered::{BufferedConnection, BufferedEndpoint, deliver};
pub use super::clients::Clients;
use crate::config::Config;
use crate::connection::{Connection, Event, ImageSeal};
use crate::endpoint::Endpoint;
use crate::log::info;
use crate::path::Path;
use crate::peer::{Peer, PeerLookup, SessionId, SessionUdp};
use crate::psk::Psk;
use crate::stats::Stats;
use crate::time::{Timer, before};

/// A secure client socket over a connected one.
///
/// ```no_run
/// use dtls_psk::nal::asynch::Client;
/// use dtls_psk::{Config, Psk, StdClock};
/// use embedded_nal_async::{ConnectedUdp as _, UdpStack as _};
/// # use getrandom::SysRng;
///
/// # async fn example() -> Result<(), Box<dyn core::error::Error>> {
/// let config = Config::coap();
/// let psk = Psk::new(b"client1", b"hardfault_secure_key")?;
/// let stack = std_embedded_nal_async::Stack::default();
/// let (_, socket) = stack.connect("[::1]:5684".parse()?).await?;
///
/// let mut client = Client::connect(socket, &config, &psk, StdClock::new(), &mut SysRng).await?;
/// client.send(b"hello").await?;
/// let mut buffer = [0; 64];
/// let len = client.receive_into(&mut buffer).await?;
/// println!("{:?}", &buffer[..len]);
/// client.close().await?;
/// # Ok(())
/// # }
/// ```
pub struct Client<'a, U, T, const N: usize = 1280> {
    socket: U,
    timer: T,
    association: BufferedConnection<'a, N>,
}

impl<'a, U: ConnectedUdp, T: Timer> Client<'a, U, T> {
    /// A client whose handshake is done.
    ///
    /// # Errors
    /// Those of [`Connection::client`] and of [`handshake`](Self::handshake). The socket is gone then; with
    /// [`new`](Self::new) and [`handshake`](Self::handshake) it is not.
    pub async fn connect<R: TryCryptoRng + ?Sized>(
        socket: U,
        config: &'a Config<'a>,
        psk: &'a Psk<'a>,
        timer: T,
        rng: &mut R,
    ) -> Result<Self, Error<U::Error>> {
        let mut client = Self::new(socket, config, psk, timer, rng)?;
        client.handshake().await?;
        Ok(client)
    }

    /// A client whose handshake begins with the first call that waits. The time for it counts from now.
    ///
    /// # Errors
    /// Those of [`Connection::client`].
    pub fn new<R: TryCryptoRng + ?Sized>(
        socket: U,
        config: &'a Config<'a>,
        psk: &'a Psk<'a>,
        timer: T,
        rng: &mut R,
    ) -> Result<Self, crate::Error> {
        Self::with_buffers(socket, config, psk, timer, rng)
    }

    /// The same as [`new`](Self::new) with buffers of `N` bytes: `Client::with_buffers::<256>(…)`.
    ///
    /// # Errors
    /// Those of [`Connection::client`].
    pub fn with_buffers<const N: usize>(
        socket: U,
        config: &'a Config<'a>,
        psk: &'a Psk<'a>,
        timer: T,
        rng: &mut (impl TryCryptoRng + ?Sized),
    ) -> Result<Client<'a, U, T, N>, crate::Error> {
        let connection = Connection::client(config, psk, rng, timer.now())?;
        Ok(Client { socket, timer, association: BufferedConnection::new(connection) })
    }
}

impl<'a, U, T, const N: usize> Client<'a, U, T, N> {
    /// A client that goes on with a saved session, as [`Connection::restore`] does. `socket` is connected to the server,
    /// from whatever address.
    ///
    /// # Errors
    /// Those of [`Connection::restore`].
    pub fn restore(
        socket: U,
        config: &'a Config<'a>,
        psk: &'a Psk<'a>,
        timer: T,
        seal: &ImageSeal<'_>,
        image: &[u8],
    ) -> Result<Self, crate::Error> {
        let connection = Connection::restore(config, psk, seal, image)?;
        Ok(Self { socket, timer, association: BufferedConnection::new(connection) })
    }

    /// Saves the session, as [`Connection::suspend`] does, and gives the socket back with the image's length. What was
    /// received and not yet asked for is lost.
    ///
    /// # Errors
    /// Those of [`Connection::suspend`], with the client as it was.
    #[expect(clippy::result_large_err, reason = "there is no heap to put the client on")]
    pub fn suspend(self, seal: &ImageSeal<'_>, image: &mut [u8]) -> Result<(U, usize), (Self, crate::Error)> {
        let Self { socket, timer, association } = self;
        match association.suspend(seal, image) {
            Ok(len) => Ok((socket, len)),
            Err((association, error)) => Err((Self { socket, timer, association }, error)),
        }
    }

    /// Saves the session and goes on with it, as [`Connection::checkpoint`] does.
    ///
    /// # Errors
    /// Those of [`Connection::checkpoint`].
    pub fn checkpoint(
        &mut self,
        records: u32,
        seal: &ImageSeal<'_>,
        image: &mut [u8],
    ) -> Result<usize, crate::Error> {
        self.association.checkpoint(records, seal, image)
    }
}

impl<U: ConnectedUdp, T: Timer, const N: usize> Client<'_, U, T, N> {
    /// Waits for the handshake to be done. Sending and receiving do so by themselves.
    ///
    /// # Errors
    /// Whatever ended the association; the socket's, after which another call goes on.
    pub async fn handshake(&mut self) -> Result<(), Error<U::Error>> {
        while !self.association.is_established() {
            match self.association.next_event(self.timer.now()) {
                Some(_) => {}
                None => self.wait().await?,
            }
        }
        Ok(())
    }

    /// Says close_notify, after which nothing more is sent or received. Dropping a client says nothing.
    ///
    /// # Errors
    /// The socket's.
    pub async fn close(&mut self) -> Result<(), Error<U::Error>> {
        self.association.close();
        self.flush().await
    }

    /// Gives the socket back.
    pub fn into_socket(self) -> U {
        self.socket
    }

    /// The server, once the handshake is done and until the session is over.
    pub fn peer(&self) -> Option<Peer<'_>> {
        self.association.connection().peer()
    }

    /// What was dropped, repeated and refused so far.
    pub const fn stats(&self) -> Stats {
        self.association.connection().stats()
    }

    /// Does and sends what is due, then waits for a datagram or a timeout. Fails once the association is over.
    async fn wait(&mut self) -> Result<(), Error<U::Error>> {
        // Before anything is received, or else a flood of datagrams would hold the timers up.
        self.association.handle_timeout(self.timer.now());
        self.flush().await?;
        self.association.check()?;
        let timeout = self.association.poll_timeout();
        let receive = self.socket.receive_into(self.association.buffer());
        if let Some(len) = before(receive, timeout, &self.timer).await {
            self.association.received(len.map_err(Error::Socket)?);
        }
        Ok(())
    }

    /// Sends every datagram that is due. One that the socket refuses is lost, like any other datagram.
    async fn flush(&mut self) -> Result<(), Error<U::Error>> {
        while let Some(datagram) = self.association.poll_transmit()? {
            let sent = self.socket.send(datagram).await;
            self.association.sent();
            sent.map_err(Error::Socket)?;
        }
        Ok(())
    }
}

impl<U: ConnectedUdp, T: Timer, const N: usize> ConnectedUdp for Client<'_, U, T, N> {
    type Error = Error<U::Error>;

    /// Seals and sends `data` as one record. When the future is dropped before its end, the record may still go out
    /// with the next call.
    async fn send(&mut self, data: &[u8]) -> Result<(), Self::Error> {
        self.handshake().await?;
        self.flush().await?;
        self.association.seal(data)?;
        self.flush().await
    }

    async fn receive_into(&mut self, buffer: &mut [u8]) -> Result<usize, Self::Error> {
        loop {
            // No await lies between a record's opening and its return.
            match self.association.next_event(self.timer.now()) {
                Some(Event::Data(message)) => return Ok(deliver(message, buffer)),
                Some(_) => {}
                None => self.wait().await?,
            }
        }
    }
}

/// A secure server socket over an unconnected one: an [`Endpoint`] with its datagrams moved.
///
/// `receive_into` returns what authenticated peers sent. A handshake that fails, a peer that cannot be reached, a session
/// that ends are not the socket's errors: they are logged and counted, and the others go on.
///
/// ```no_run
/// use dtls_psk::nal::asynch::Server;
/// use dtls_psk::{Config, Endpoint, Psk, StdClock, Storage};
/// use embedded_nal_async::{UdpStack as _, UnconnectedUdp as _};
/// # use getrandom::SysRng;
///
/// # async fn example() -> Result<(), Box<dyn core::error::Error>> {
/// let config = Config::coap();
/// let keys = [Psk::new(b"client1", b"hardfault_secure_key")?];
/// let mut storage = Storage::<2, 16>::new();
/// let endpoint = Endpoint::new(&config, &keys, &mut storage, &mut SysRng)?;
/// let stack = std_embedded_nal_async::Stack::default();
/// let socket = stack.bind_multiple("[::]:5684".parse()?).await?;
///
/// let mut server = Server::new(socket, endpoint, StdClock::new(), SysRng);
/// let mut buffer = [0; 64];
/// loop {
///     let (len, local, remote) = server.receive_into(&mut buffer).await?;
///     let message = &buffer[..len.min(64)];
///     if let Err(error) = server.send(local, remote, message).await {
///         println!("no answer to {remote}: {error}");
///     }
/// }
/// # }
/// ```
pub struct Server<'a, U, T, R, const H: usize, const S: usize, const N: usize = 1280> {
    socket: U,
    timer: T,
    rng: R,
    association: BufferedEndpoint<'a, H, S, N>,
}

impl<'a, U, T, R, const H: usize, const S: usize> Server<'a, U, T, R, H, S> {
    /// A server without any peer.
    pub const fn new(socket: U, endpoint: Endpoint<'a, H, S>, timer: T, rng: R) -> Self {
        Self::with_buffers(socket, endpoint, timer, rng)
    }

    /// The same as [`new`](Self::new) with buffers of `N` bytes: `Server::with_buffers::<256>(…)`.
    pub const fn with_buffers<const N: usize>(
        socket: U,
        endpoint: Endpoint<'a, H, S>,
        timer: T,
        rng: R,
    ) -> Server<'a, U, T, R, H, S, N> {
        Server { socket, timer, rng, association: BufferedEndpoint::new(endpoint) }
    }
}

impl<'a, U, T, R, const H: usize, const S: usize, const N: usize> Server<'a, U, T, R, H, S, N> {
    /// The endpoint, to look at its sessions and counters.
    pub const fn endpoint(&self) -> &Endpoint<'a, H, S> {
        self.association.endpoint()
    }

    /// The endpoint, to close sessions or revoke identities. The next call that waits tells the peers.
    pub const fn endpoint_mut(&mut self) -> &mut Endpoint<'a, H, S> {
        self.association.endpoint_mut()
    }

    /// Gives the socket and the endpoint back.
    pub fn into_parts(self) -> (U, Endpoint<'a, H, S>) {
        (self.socket, self.association.into_endpoint())
    }
}

impl<U, T, R, const H: usize, const S: usize, const N: usize> Server<'_, U, T, R, H, S, N>
where
    U: UnconnectedUdp,
    T: Timer,
    R: TryCryptoRng,
{
    /// Says close_notify to every peer. Dropping a server says nothing.
    ///
    /// # Errors
    /// [`Error::Dtls`] when the crypto provider fails.
    pub async fn close(&mut self) -> Result<(), Error<U::Error>> {
        self.association.endpoint_mut().close_all();
        self.flush().await
    }

    /// The way to a peer, for a caller who may have left the local address open: one who begins to speak has no other.
    fn path(&self, local: SocketAddr, remote: SocketAddr) -> Path {
        let path = Path { local, remote };
        let (any_ip, any_port) = (local.ip().is_unspecified(), local.port() == 0);
        // Some sockets do not tell the local address. Then the session goes by what is left open.
        if !(any_ip || any_port) || self.endpoint().peer(&path).is_some() {
            return path;
        }
        let is_it = |known: &Path| {
            *known == Path { local: known.local, remote }
                && (any_ip || known.local.ip() == local.ip())
                && (any_port || known.local.port() == local.port())
        };
        self.endpoint().sessions().map(|(known, _)| known).find(is_it).unwrap_or(path)
    }

    /// Does and sends what is due, then waits for a datagram or a timeout.
    async fn wait(&mut self) -> Result<(), Error<U::Error>> {
        // Before anything is received, or else a flood of datagrams would hold the timers up.
        self.association.handle_timeout(self.timer.now());
        self.flush().await?;
        let timeout = self.association.poll_timeout();
        let receive = self.socket.receive_into(self.association.buffer());
        if let Some(received) = before(receive, timeout, &self.timer).await {
            let (len, local, remote) = received.map_err(Error::Socket)?;
            self.association.received(len, Path { local, remote });
        }
        Ok(())
    }

    /// Sends every datagram that is due. One that cannot be sent is lost, like any other datagram: its peer's timers
    /// deal with that, and the other peers never hear of it.
    async fn flush(&mut self) -> Result<(), Error<U::Error>> {
        while let Some((datagram, Path { local, remote })) = self.association.poll_transmit()? {
            let sent = self.socket.send(local, remote, datagram).await;
            self.association.sent();
            if sent.is_err() {
                info!("a datagram to {} could not be sent", remote);
            }
        }
        Ok(())
    }
}

impl<U, T, R, const H: usize, const S: usize, const N: usize> UnconnectedUdp for Server<'_, U, T, R, H, S, N>
where
    U: UnconnectedUdp,
    T: Timer,
    R: TryCryptoRng,
{
    type Error = Error<U::Error>;

    /// Seals and sends `data` as one record to the peer at `remote`, which must have a session by this very pair of
    /// addresses; of the local one, address and port may be left unspecified, as the trait has it. With connection IDs, the
    /// datagram goes to where the peer's newest record came from. When the future is dropped before its end, the record may
    /// still go out with the next call.
    ///
    /// An error here concerns this peer and this datagram alone.
    async fn send(&mut self, local: SocketAddr, remote: SocketAddr, data: &[u8]) -> Result<(), Self::Error> {
        self.flush().await?;
        let path = self.path(local, remote);
        let (datagram, by) = self.association.seal(path, data)?;
        let sent = self.socket.send(by.local, by.remote, datagram).await;
        self.association.sent();
        sent.map_err(Error::Socket)
    }

    async fn receive_into(
        &mut self,
        buffer: &mut [u8],
    ) -> Result<(usize, SocketAddr, SocketAddr), Self::Error> {
        loop {
            // No await lies between a record's opening and its return.
            match self.association.next_event(&mut self.rng, self.timer.now()) {
                Some((Event::Data(message), Path { local, remote })) => {
                    return Ok((deliver(message, buffer), local, remote));
                }
                Some(_) => {}
                None => self.wait().await?,
            }
        }
    }
}

impl<U, T, R, const H: usize, const S: usize, const N: usize> PeerLookup for Server<'_, U, T, R, H, S, N> {
    fn peer(&self, local: SocketAddr, remote: SocketAddr) -> Option<Peer<'_>> {
        self.endpoint().peer(&Path { local, remote })
    }

    fn session(&self, session: SessionId) -> Option<Peer<'_>> {
        self.endpoint().peer_in(session)
    }

    fn max_payload(&self, session: SessionId) -> Option<usize> {
        self.endpoint().max_payload(session, N)
    }

    fn unproven_address(&self, session: SessionId) -> Option<SocketAddr> {
        self.endpoint().unproven_path(session).map(|path| path.remote)
    }

    fn prove_address(&mut self, session: SessionId) {
        self.endpoint_mut().prove_address_of(session);
    }
}

impl<U, T, R, const H: usize, const S: usize, const N: usize> SessionUdp for Server<'_, U, T, R, H, S, N>
where
    U: UnconnectedUdp,
    T: Timer,
    R: TryCryptoRng,
{
    async fn send_in(&mut self, session: SessionId, data: &[u8]) -> Result<(), Self::Error> {
        self.flush().await?;
        let (datagram, by) = self.association.seal_in(session, data)?;
        let sent = self.socket.send(by.local, by.remote, datagram).await;
        self.association.sent();
        sent.map_err(Error::Socket)
    }
}
