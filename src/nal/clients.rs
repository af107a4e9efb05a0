//! The async shell of a client of several servers.

use core::net::SocketAddr;

use embedded_nal_async::UnconnectedUdp;
use rand_core::TryCryptoRng;

use super::Error;
use super::buffered::{BufferedConnections, deliver};
use crate::config::Config;
use crate::connection::{Connection, Event};
use crate::log::info;
use crate::path::{Path, any_local};
use crate::peer::{Peer, PeerLookup, SessionId};
use crate::psk::Psk;
use crate::time::{Timer, before};

/// A secure client of up to `S` servers over one unconnected socket: each has a [`Connection`] of its own, and the two datagram
/// buffers are shared.
///
/// [`connect`](Self::connect) names the servers. It is an [`UnconnectedUdp`] that sends to them alone, and receives what they send.
/// A handshake that fails, a server that cannot be reached, a session that ends are not the socket's errors: whoever sends there
/// learns of them. As with the other shells, handshakes and retransmissions happen while something waits, and any future may be
/// dropped at any await.
///
/// Sending to a server whose handshake is not done waits for it. Application data that other servers send in that time is lost,
/// as any datagram may be: [`handshake`](Self::handshake) is for those who want to have that behind them.
///
/// `N` is the size of each of the two datagram buffers in bytes: 1280, or what [`with_buffers`](Self::with_buffers) is told. It
/// should be [`Config::mtu`] at least, and never below [`Config::MIN_MTU`].
///
/// ```no_run
/// use dtls_psk::nal::asynch::Clients;
/// use dtls_psk::{Config, Psk, StdClock, coap};
/// use embedded_nal_async::UdpStack as _;
/// # use getrandom::SysRng;
///
/// # async fn example() -> Result<(), Box<dyn core::error::Error>> {
/// let config = Config::coap();
/// let psk = Psk::new(b"client1", b"hardfault_secure_key")?;
/// let socket = std_embedded_nal_async::Stack::default().bind_multiple("0.0.0.0:0".parse()?).await?;
///
/// let mut servers = Clients::<_, _, _, 2>::new(socket, &config, StdClock::new(), SysRng);
/// let (kitchen, cellar) = ("192.0.2.1:5684".parse()?, "192.0.2.2:5684".parse()?);
/// servers.connect(kitchen, &psk)?;
/// servers.connect(cellar, &psk)?;
///
/// let requests = coap::Requests::new(&mut servers, StdClock::new(), SysRng);
/// let (mut one, mut other) = ([0; 1152], [0; 1152]);
/// let (one, other) = embassy_futures::join::join(
///     requests.get(kitchen, "/temperature", &mut one),
///     requests.get(cellar, "/temperature", &mut other),
/// )
/// .await;
/// println!("{:?} {:?}", one?.payload(), other?.payload());
/// # Ok(())
/// # }
/// ```
pub struct Clients<'a, U, T, R, const S: usize, const N: usize = 1280> {
    socket: U,
    config: &'a Config<'a>,
    timer: T,
    rng: R,
    associations: BufferedConnections<'a, S, N>,
}

impl<'a, U, T, R, const S: usize> Clients<'a, U, T, R, S> {
    /// A client of no server yet.
    pub const fn new(socket: U, config: &'a Config<'a>, timer: T, rng: R) -> Self {
        Self::with_buffers(socket, config, timer, rng)
    }

    /// The same as [`new`](Self::new) with buffers of `N` bytes.
    pub const fn with_buffers<const N: usize>(
        socket: U,
        config: &'a Config<'a>,
        timer: T,
        rng: R,
    ) -> Clients<'a, U, T, R, S, N> {
        Clients { socket, config, timer, rng, associations: BufferedConnections::new() }
    }
}

impl<'a, U, T: Timer, R: TryCryptoRng, const S: usize, const N: usize> Clients<'a, U, T, R, S, N> {
    /// Adds a server: its handshake begins with the next call that waits, and the time for it counts from now. It takes the place
    /// of an association with the same server, which is forgotten without a word.
    ///
    /// Datagrams go out from the unspecified address of the server's family, with port 0, which a socket that is bound to one
    /// address or to all of them takes.
    ///
    /// # Errors
    /// Those of [`Connection::client`]; [`NoStorage`](crate::Error::NoStorage) with `S` servers none of which is over.
    pub fn connect(&mut self, remote: SocketAddr, psk: &'a Psk<'a>) -> Result<(), crate::Error> {
        self.connect_from(any_local(remote), remote, psk)
    }

    /// The same as [`connect`](Self::connect), from one of the socket's local addresses.
    ///
    /// # Errors
    /// Those of [`connect`](Self::connect).
    pub fn connect_from(
        &mut self,
        local: SocketAddr,
        remote: SocketAddr,
        psk: &'a Psk<'a>,
    ) -> Result<(), crate::Error> {
        let connection = Connection::client(self.config, psk, &mut self.rng, self.timer.now())?;
        let path = Path { local, remote };
        self.associations.insert(path, connection).ok_or(crate::Error::NoStorage)
    }
}

impl<'a, U, T, R, const S: usize, const N: usize> Clients<'a, U, T, R, S, N> {
    /// The connection to a server, to look at its state and counters; `None` where there is none.
    pub fn connection(&self, remote: SocketAddr) -> Option<&Connection<'a>> {
        self.associations.connection(remote)
    }

    /// Gives the socket back.
    pub fn into_socket(self) -> U {
        self.socket
    }
}

impl<U: UnconnectedUdp, T: Timer, R, const S: usize, const N: usize> Clients<'_, U, T, R, S, N> {
    /// Waits for the handshake with a server to be done. Sending does so by itself.
    ///
    /// # Errors
    /// Whatever ended the association; [`NotConnected`](crate::Error::NotConnected) for a server that there is no connection to; the
    /// socket's.
    pub async fn handshake(&mut self, remote: SocketAddr) -> Result<(), Error<U::Error>> {
        loop {
            self.associations.check(remote)?;
            if self.associations.connection(remote).is_some_and(|connection| connection.peer().is_some()) {
                return Ok(());
            }
            if self.associations.next_event(self.timer.now()).is_none() {
                self.wait(Some(remote)).await?;
            }
        }
    }

    /// Says close_notify to a server, after which nothing more is sent to it or received from it.
    pub async fn close(&mut self, remote: SocketAddr) {
        self.associations.close(remote);
        self.flush().await;
    }

    /// Says close_notify to every server. Dropping a client says nothing.
    pub async fn close_all(&mut self) {
        self.associations.close_all();
        self.flush().await;
    }

    /// Does and sends what is due, then waits for a datagram or a timeout. Fails once the association with `whom` is over.
    async fn wait(&mut self, whom: Option<SocketAddr>) -> Result<(), Error<U::Error>> {
        // Before anything is received, or else a flood of datagrams would hold the timers up.
        self.associations.handle_timeout(self.timer.now());
        self.flush().await;
        if let Some(remote) = whom {
            self.associations.check(remote)?;
        }
        let timeout = self.associations.poll_timeout();
        let receive = self.socket.receive_into(self.associations.buffer());
        if let Some(received) = before(receive, timeout, &self.timer).await {
            let (len, local, remote) = received.map_err(Error::Socket)?;
            self.associations.received(len, Path { local, remote });
        }
        Ok(())
    }

    /// Sends every datagram that is due. One that cannot be sent is lost, like any other datagram: the timers deal with that, and
    /// the other servers never hear of it.
    async fn flush(&mut self) {
        while let Some((datagram, Path { local, remote })) = self.associations.poll_transmit() {
            let sent = self.socket.send(local, remote, datagram).await;
            self.associations.sent();
            if sent.is_err() {
                info!("a datagram to {} could not be sent", remote);
            }
        }
    }
}

impl<U, T, R, const S: usize, const N: usize> UnconnectedUdp for Clients<'_, U, T, R, S, N>
where
    U: UnconnectedUdp,
    T: Timer,
{
    type Error = Error<U::Error>;

    /// Seals and sends `data` as one record to the server at `remote`, once its handshake is done. `local` is ignored: a connection
    /// has its own. When the future is dropped before its end, the record may still go out with the next call.
    ///
    /// An error here concerns this server and this datagram alone: [`NotConnected`](crate::Error::NotConnected) where there is no
    /// connection to it, or what ended that.
    async fn send(&mut self, _local: SocketAddr, remote: SocketAddr, data: &[u8]) -> Result<(), Self::Error> {
        self.handshake(remote).await?;
        self.flush().await;
        let (datagram, by) = self.associations.seal(remote, data)?;
        let sent = self.socket.send(by.local, by.remote, datagram).await;
        self.associations.sent();
        sent.map_err(Error::Socket)
    }

    async fn receive_into(
        &mut self,
        buffer: &mut [u8],
    ) -> Result<(usize, SocketAddr, SocketAddr), Self::Error> {
        loop {
            // No await lies between a record's opening and its return.
            match self.associations.next_event(self.timer.now()) {
                Some((Event::Data(message), Path { local, remote })) => {
                    return Ok((deliver(message, buffer), local, remote));
                }
                Some((Event::Failed(error), Path { remote, .. })) => {
                    info!("the connection to {} is over: {}", remote, error);
                }
                Some(_) => {}
                None => self.wait(None).await?,
            }
        }
    }
}

impl<U, T, R, const S: usize, const N: usize> PeerLookup for Clients<'_, U, T, R, S, N> {
    /// The server at `remote`, whatever `local` is.
    fn peer(&self, _local: SocketAddr, remote: SocketAddr) -> Option<Peer<'_>> {
        self.associations.connection(remote)?.peer()
    }

    fn session(&self, session: SessionId) -> Option<Peer<'_>> {
        self.associations.connections().filter_map(Connection::peer).find(|peer| peer.session == session)
    }

    fn max_payload(&self, session: SessionId) -> Option<usize> {
        let mut connections = self.associations.connections();
        let connection = connections.find(|it| it.peer().is_some_and(|peer| peer.session == session))?;
        connection.max_payload(N.min(self.config.mtu()))
    }
}
