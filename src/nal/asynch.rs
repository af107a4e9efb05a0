//! Async shells: a [`Client`] is a [`ConnectedUdp`], a [`Server`] an [`UnconnectedUdp`].
//!
//! Both drive handshakes and retransmissions while they wait for a datagram, so some future of them has to be polled for
//! anything to happen. Any future may be dropped at any await: what was received stays in the shell's own buffer, what
//! was to be sent too, and the next call goes on from there. That holds if the socket underneath keeps its own promise
//! that a dropped `receive_into` loses nothing.
//!
//! `N` is the size of the shell's two datagram buffers in bytes. It should be [`Config::mtu`] at least; a longer datagram
//! is lost.

use core::net::SocketAddr;

use embassy_futures::select::{Either, select};
use embedded_nal_async::{ConnectedUdp, UnconnectedUdp};
use rand_core::TryCryptoRng;

use super::Error;
use super::datagram::{Datagram, deliver};
use crate::config::Config;
use crate::connection::{Connection, Event};
use crate::endpoint::{Endpoint, Path};
use crate::log::info;
use crate::peer::{Peer, PeerLookup};
use crate::psk::Psk;
use crate::stats::Stats;
use crate::time::Timer;

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
/// let mut client = Client::<_, _>::connect(socket, &config, &psk, StdClock::new(), &mut SysRng).await?;
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
    connection: Connection<'a>,
    /// Why nothing more will come.
    over: Option<crate::Error>,
    received: Datagram<N>,
    outgoing: Datagram<N>,
}

impl<'a, U: ConnectedUdp, T: Timer, const N: usize> Client<'a, U, T, N> {
    /// A client whose handshake begins with the first call that waits.
    ///
    /// # Errors
    /// Those of [`Connection::client`].
    pub fn new<R: TryCryptoRng + ?Sized>(
        socket: U,
        config: &'a Config<'a>,
        psk: &'a Psk<'a>,
        timer: T,
        rng: &mut R,
    ) -> Result<Self, Error<U::Error>> {
        let connection = Connection::client(config, psk, rng, timer.now())?;
        Ok(Self {
            socket,
            timer,
            connection,
            over: None,
            received: Datagram::new(),
            outgoing: Datagram::new(),
        })
    }

    /// A client whose handshake is done.
    ///
    /// # Errors
    /// Those of [`Connection::client`]; whatever ended the handshake; the socket's.
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

    /// Waits for the handshake to be done. Sending and receiving do so by themselves.
    ///
    /// # Errors
    /// Whatever ended the handshake; the socket's, after which another call goes on.
    pub async fn handshake(&mut self) -> Result<(), Error<U::Error>> {
        while self.connection.peer().is_none() {
            match self.next_event() {
                Some(_) => {}
                None => self.wait().await?,
            }
        }
        // The server is waiting for nothing of this side's, but what it is owed should not wait for the next call.
        self.flush().await
    }

    /// Says close_notify and gives the socket back. Dropping a client says nothing.
    ///
    /// # Errors
    /// The socket's.
    pub async fn close(mut self) -> Result<U, Error<U::Error>> {
        self.connection.close();
        self.flush().await?;
        Ok(self.socket)
    }

    /// The server, once the handshake is done and until the session is over.
    pub fn peer(&self) -> Option<Peer<'_>> {
        self.connection.peer()
    }

    /// What was dropped, repeated and refused so far.
    pub const fn stats(&self) -> Stats {
        self.connection.stats()
    }

    /// The next event of the datagram at hand. No await lies between a record's opening and this return.
    fn next_event(&mut self) -> Option<Event<'_>> {
        let Self { connection, received, timer, over, .. } = self;
        if received.is_empty() {
            return None;
        }
        let event = received.read(|datagram| {
            let mut incoming = connection.receive(datagram, timer.now());
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

    /// Sends what is due, then waits for a datagram or a timeout. Fails once the association is over.
    async fn wait(&mut self) -> Result<(), Error<U::Error>> {
        self.flush().await?;
        if let Some(error) = self.over {
            return Err(error.into());
        }
        let receive = self.socket.receive_into(&mut self.received.bytes);
        let len = match self.connection.poll_timeout() {
            None => receive.await,
            Some(at) => match select(receive, self.timer.sleep_until(at)).await {
                Either::First(received) => received,
                Either::Second(()) => {
                    let outcome = self.connection.handle_timeout(self.timer.now());
                    self.over = outcome.err();
                    return Ok(());
                }
            },
        };
        self.received.fill(len.map_err(Error::Socket)?);
        Ok(())
    }

    /// Sends every datagram that is due. One that the socket refuses is lost, like any other datagram.
    async fn flush(&mut self) -> Result<(), Error<U::Error>> {
        loop {
            if self.outgoing.is_empty() {
                match self.connection.poll_transmit(&mut self.outgoing.bytes)? {
                    Some(len) => self.outgoing.fill(len),
                    None => return Ok(()),
                }
            }
            let sent = self.socket.send(self.outgoing.waiting()).await;
            self.outgoing.clear();
            sent.map_err(Error::Socket)?;
        }
    }
}

impl<U: ConnectedUdp, T: Timer, const N: usize> ConnectedUdp for Client<'_, U, T, N> {
    type Error = Error<U::Error>;

    /// Seals and sends `data` as one record. When the future is dropped before its end, the record may still go out
    /// with the next call.
    async fn send(&mut self, data: &[u8]) -> Result<(), Self::Error> {
        self.handshake().await?;
        let len = self.connection.send(data, &mut self.outgoing.bytes)?;
        self.outgoing.fill(len);
        self.flush().await
    }

    async fn receive_into(&mut self, buffer: &mut [u8]) -> Result<usize, Self::Error> {
        loop {
            match self.next_event() {
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
/// let mut server = Server::<_, _, _, 2, 16>::new(socket, endpoint, StdClock::new(), SysRng);
/// let mut buffer = [0; 64];
/// loop {
///     let (len, local, remote) = server.receive_into(&mut buffer).await?;
///     server.send(local, remote, &buffer[..len]).await?;
/// }
/// # }
/// ```
pub struct Server<'a, U, T, R, const H: usize, const S: usize, const N: usize = 1280> {
    socket: U,
    timer: T,
    rng: R,
    endpoint: Endpoint<'a, H, S>,
    received: Datagram<N>,
    received_by: Option<Path>,
    outgoing: Datagram<N>,
    outgoing_by: Option<Path>,
}

impl<'a, U, T, R, const H: usize, const S: usize, const N: usize> Server<'a, U, T, R, H, S, N>
where
    U: UnconnectedUdp,
    T: Timer,
    R: TryCryptoRng,
{
    /// A server without any peer.
    pub const fn new(socket: U, endpoint: Endpoint<'a, H, S>, timer: T, rng: R) -> Self {
        Self {
            socket,
            timer,
            rng,
            endpoint,
            received: Datagram::new(),
            received_by: None,
            outgoing: Datagram::new(),
            outgoing_by: None,
        }
    }

    /// The endpoint, to look at its sessions and counters.
    pub const fn endpoint(&self) -> &Endpoint<'a, H, S> {
        &self.endpoint
    }

    /// The endpoint, to close sessions or revoke identities. The next call that waits tells the peers.
    pub const fn endpoint_mut(&mut self) -> &mut Endpoint<'a, H, S> {
        &mut self.endpoint
    }

    /// Says close_notify to every peer and gives the socket back. Dropping a server says nothing.
    ///
    /// # Errors
    /// [`Error::Dtls`] with [`BufferTooSmall`](crate::Error::BufferTooSmall) when `N` is too small for an alert.
    pub async fn close(mut self) -> Result<U, Error<U::Error>> {
        self.endpoint.close_all();
        self.flush().await?;
        Ok(self.socket)
    }

    /// The next event of the datagram at hand, and where it came from. No await lies between a record's opening and
    /// this return.
    fn next_event(&mut self) -> Option<(Event<'_>, Path)> {
        let Self { endpoint, received, received_by, timer, rng, .. } = self;
        let path = (*received_by)?;
        let event = received.read(|datagram| {
            let mut incoming = endpoint.receive(datagram, path, rng, timer.now());
            let event = incoming.next();
            (event, incoming.remaining())
        });
        if event.is_none() {
            *received_by = None;
        }
        Some((event?, path))
    }

    /// Sends what is due, then waits for a datagram or a timeout.
    async fn wait(&mut self) -> Result<(), Error<U::Error>> {
        self.flush().await?;
        let receive = self.socket.receive_into(&mut self.received.bytes);
        let received = match self.endpoint.poll_timeout() {
            None => receive.await,
            Some(at) => match select(receive, self.timer.sleep_until(at)).await {
                Either::First(received) => received,
                Either::Second(()) => {
                    // The endpoint has logged who gave up.
                    while self.endpoint.handle_timeout(self.timer.now()).is_some() {}
                    return Ok(());
                }
            },
        };
        let (len, local, remote) = received.map_err(Error::Socket)?;
        self.received.fill(len);
        self.received_by = Some(Path { local, remote });
        Ok(())
    }

    /// Sends every datagram that is due. One that cannot be sent is lost, like any other datagram: its peer's timers
    /// deal with that, and the other peers never hear of it.
    async fn flush(&mut self) -> Result<(), Error<U::Error>> {
        loop {
            if let Some(Path { local, remote }) = self.outgoing_by {
                let sent = self.socket.send(local, remote, self.outgoing.waiting()).await;
                self.outgoing_by = None;
                if sent.is_err() {
                    info!("a datagram to {} could not be sent", remote);
                }
            }
            match self.endpoint.poll_transmit(&mut self.outgoing.bytes)? {
                Some((len, path)) => {
                    self.outgoing.fill(len);
                    self.outgoing_by = Some(path);
                }
                None => return Ok(()),
            }
        }
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
    /// addresses. When the future is dropped before its end, the record may still go out with the next call.
    async fn send(&mut self, local: SocketAddr, remote: SocketAddr, data: &[u8]) -> Result<(), Self::Error> {
        self.flush().await?;
        let path = Path { local, remote };
        let len = self.endpoint.send(&path, data, &mut self.outgoing.bytes)?;
        self.outgoing.fill(len);
        self.outgoing_by = Some(path);
        let sent = self.socket.send(local, remote, self.outgoing.waiting()).await;
        self.outgoing_by = None;
        sent.map_err(Error::Socket)
    }

    async fn receive_into(
        &mut self,
        buffer: &mut [u8],
    ) -> Result<(usize, SocketAddr, SocketAddr), Self::Error> {
        loop {
            match self.next_event() {
                Some((Event::Data(message), path)) => {
                    return Ok((deliver(message, buffer), path.local, path.remote));
                }
                Some((_, _)) => {}
                None => self.wait().await?,
            }
        }
    }
}

impl<U, T, R, const H: usize, const S: usize, const N: usize> PeerLookup for Server<'_, U, T, R, H, S, N> {
    fn peer(&self, local: SocketAddr, remote: SocketAddr) -> Option<Peer<'_>> {
        self.endpoint.peer(&Path { local, remote })
    }
}
