//! The library over plain sockets of the standard library, for peers that speak no CoAP.

use std::{
    collections::VecDeque,
    io::ErrorKind,
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{self, Receiver, Sender},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use dtls_psk::{
    CipherSuite, Clock, Config, Connection, Endpoint, Error, Event, Instant, Path, ProtocolVersion, Psk,
    PskStore, StdClock, Storage,
};
use getrandom::SysRng;

use crate::peers::PATIENCE;

/// What an association went through, with bytes of its own.
#[derive(Debug, PartialEq, Eq)]
pub enum Report {
    Established(Agreed),
    Data(Vec<u8>),
    Closed,
    Failed(Error),
}

/// What both sides agreed on.
#[derive(Debug, PartialEq, Eq)]
pub struct Agreed {
    pub version: ProtocolVersion,
    pub suite: CipherSuite,
    pub identity: Vec<u8>,
    pub resumed: bool,
}

impl From<dtls_psk::Peer<'_>> for Agreed {
    fn from(peer: dtls_psk::Peer<'_>) -> Self {
        Self {
            version: peer.version,
            suite: peer.suite,
            identity: peer.identity.to_vec(),
            resumed: peer.resumed,
        }
    }
}

/// A client with a session.
pub struct Client<'a> {
    connection: Connection<'a>,
    socket: UdpSocket,
    clock: StdClock,
    reports: VecDeque<Report>,
}

impl<'a> Client<'a> {
    /// Shakes hands.
    pub fn connect(server: SocketAddr, config: &'a Config<'a>, psk: &'a Psk<'a>) -> Result<Self, Error> {
        let clock = StdClock::new();
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        socket.connect(server).unwrap();
        let connection = Connection::client(config, psk, &mut SysRng, clock.now())?;
        let mut client = Self { connection, socket, clock, reports: VecDeque::new() };
        match client.next() {
            Report::Established(_) => Ok(client),
            Report::Failed(error) => Err(error),
            other => panic!("before the handshake was done: {other:?}"),
        }
    }

    /// What both sides agreed on.
    pub fn agreed(&self) -> Agreed {
        self.connection.peer().expect("a session").into()
    }

    /// Keying material of 32 bytes (RFC 5705).
    pub fn export(&self, label: &str) -> [u8; 32] {
        let mut material = [0; 32];
        self.connection.export_keying_material(label.as_bytes(), None, &mut material).unwrap();
        material
    }

    /// Bytes in front of a payload and behind it.
    pub fn overhead(&self) -> (usize, usize) {
        self.connection.overhead().expect("a session")
    }

    /// Goes on under new keys, and has the server do so if `request_update` says it.
    pub fn update_keys(&mut self, request_update: bool) {
        self.connection.update_keys(request_update).unwrap();
        self.wait(Duration::from_millis(300));
    }

    /// Does what there is to do for some time.
    pub fn wait(&mut self, time: Duration) {
        let deadline = self.clock.now() + time;
        let mut datagram = [0; 2048];
        loop {
            self.flush();
            let now = self.clock.now();
            if now >= deadline {
                return;
            }
            let until = self.connection.poll_timeout().unwrap_or(deadline).min(deadline);
            if let Some((length, _)) = receive(&self.socket, &mut datagram, until, now) {
                self.take(&mut datagram[..length]);
            }
            self.connection.handle_timeout(self.clock.now()).unwrap();
        }
    }

    /// Goes on from another port, as after a NAT has forgotten the old one.
    pub fn rebind(&mut self) {
        let server = self.socket.peer_addr().unwrap();
        self.socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        self.socket.connect(server).unwrap();
    }

    /// The longest payload that the server takes.
    pub fn max_payload(&mut self) -> usize {
        match self.connection.send(&[0; 16_385], &mut [0; 17_000]) {
            Err(Error::PayloadTooLong { max }) => max,
            other => panic!("no record is that long: {other:?}"),
        }
    }

    pub fn send(&mut self, payload: &[u8]) {
        // The last flight of a resumed handshake goes first.
        self.flush();
        let mut datagram = [0; 2048];
        let length = self.connection.send(payload, &mut datagram).unwrap();
        self.socket.send(&datagram[..length]).unwrap();
    }

    /// Waits for what happens next.
    #[track_caller]
    pub fn next(&mut self) -> Report {
        let deadline = self.clock.now() + PATIENCE;
        let mut datagram = [0; 2048];
        loop {
            if let Some(report) = self.reports.pop_front() {
                return report;
            }
            self.flush();
            let now = self.clock.now();
            assert!(now < deadline, "nothing happened in {PATIENCE:?}");
            let until = self.connection.poll_timeout().unwrap_or(deadline);
            if let Some((length, _)) = receive(&self.socket, &mut datagram, until.min(deadline), now) {
                self.take(&mut datagram[..length]);
            }
            // Not only where nothing came: a peer that never stops would hold the timers up.
            if let Err(error) = self.connection.handle_timeout(self.clock.now()) {
                return Report::Failed(error);
            }
        }
    }

    /// Sends all that is due.
    fn flush(&mut self) {
        let mut datagram = [0; 2048];
        while let Some(length) = self.connection.poll_transmit(&mut datagram).unwrap() {
            // A server that is gone refuses datagrams; the handshake finds that out by itself.
            let _ = self.socket.send(&datagram[..length]);
        }
    }

    /// Takes all that a datagram brings.
    fn take(&mut self, datagram: &mut [u8]) {
        let mut established = false;
        for event in self.connection.receive(datagram, self.clock.now()) {
            self.reports.push_back(match event {
                Event::Established => {
                    established = true;
                    continue;
                }
                Event::Data(data) => Report::Data(data.to_vec()),
                Event::Closed => Report::Closed,
                Event::Failed(error) | Event::Refused(error) => Report::Failed(error),
                other => panic!("{other:?}"),
            });
        }
        if established {
            self.reports.push_front(Report::Established(self.agreed()));
        }
    }

    /// Says goodbye.
    pub fn close(mut self) {
        self.connection.close();
        self.flush();
    }
}

/// Waits for a datagram until a time; `None` when none came.
fn receive(
    socket: &UdpSocket,
    datagram: &mut [u8],
    until: Instant,
    now: Instant,
) -> Option<(usize, SocketAddr)> {
    let patience = until.saturating_since(now).max(Duration::from_millis(1));
    socket.set_read_timeout(Some(patience)).unwrap();
    match socket.recv_from(datagram) {
        Ok(received) => Some(received),
        Err(error) if [ErrorKind::WouldBlock, ErrorKind::TimedOut].contains(&error.kind()) => None,
        // A peer that was there and is gone: as if nothing came, but not at once.
        Err(_) => {
            thread::sleep(Duration::from_millis(10));
            None
        }
    }
}

/// A server that sends everything back in capitals, on a thread of its own.
pub struct Server {
    pub address: SocketAddr,
    reports: Receiver<Report>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Starts a server for one identity and its key.
    pub fn start(suites: &'static [CipherSuite], psk: Psk<'static>) -> Self {
        Self::with_config(psk, move || Config::default().with_suites(suites))
    }

    /// The same with a store of any kind, and a configuration that the server's own thread makes.
    pub fn with_config(
        store: impl PskStore + Send + 'static,
        config: impl FnOnce() -> Config<'static> + Send + 'static,
    ) -> Self {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = socket.local_addr().unwrap();
        let (sender, reports) = mpsc::channel();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            serve(&socket, &config(), &store, &sender, &stopped);
        });
        Self { address, reports, stop, thread: Some(thread) }
    }

    /// Waits for what happens next.
    #[track_caller]
    pub fn next(&self) -> Report {
        self.reports.recv_timeout(PATIENCE).unwrap_or_else(|error| panic!("nothing happened: {error}"))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn serve(
    socket: &UdpSocket,
    config: &Config<'_>,
    store: &impl PskStore,
    reports: &Sender<Report>,
    stop: &AtomicBool,
) {
    let clock = StdClock::new();
    let mut storage = Storage::<2, 2>::new();
    let mut endpoint = Endpoint::new(config, store, &mut storage, &mut SysRng).unwrap();
    let local = socket.local_addr().unwrap();
    let report = |report| {
        // Nobody listens once the test is over.
        let _ = reports.send(report);
    };
    let mut rng = SysRng;
    let mut datagram = [0; 2048];
    while !stop.load(Ordering::Relaxed) {
        while let Some((length, path)) = endpoint.poll_transmit(&mut datagram).unwrap() {
            let _ = socket.send_to(&datagram[..length], path.remote);
        }
        let now = clock.now();
        // Often enough to notice when it is told to stop.
        let soon = now + Duration::from_millis(50);
        let until = endpoint.poll_timeout().map_or(soon, |until| until.min(soon));
        let received = receive(socket, &mut datagram, until, now);
        while let Some((_, error)) = endpoint.handle_timeout(clock.now()) {
            report(Report::Failed(error));
        }
        let Some((length, remote)) = received else { continue };
        let path = Path { local, remote };
        let mut data = Vec::new();
        let now = clock.now();
        let mut incoming = endpoint.receive(&mut datagram[..length], path, &mut rng, now);
        let mut known_by = path;
        while let Some(event) = incoming.next() {
            known_by = incoming.path();
            report(match event {
                Event::Established => Report::Established(incoming.peer().expect("a session").into()),
                Event::Data(bytes) => {
                    data.extend_from_slice(bytes);
                    Report::Data(bytes.to_vec())
                }
                Event::Closed => Report::Closed,
                Event::Failed(error) | Event::Refused(error) => Report::Failed(error),
                other => panic!("{other:?}"),
            });
        }
        if !data.is_empty() {
            data.make_ascii_uppercase();
            let (length, by) = endpoint.send(&known_by, &data, &mut datagram).unwrap();
            socket.send_to(&datagram[..length], by.remote).unwrap();
        }
    }
}
