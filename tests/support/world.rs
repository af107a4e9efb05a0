//! One server, any number of clients, and the network between them, in virtual time.

use std::cell::RefCell;
use std::net::IpAddr;
use std::time::Duration;

use dtls_psk::{
    Config, Connection, Endpoint, Error, Event, Instant, KeyUsage, Path, Psk, PskStore, SessionId, Storage,
};
use rand::rngs::ChaCha8Rng;

use super::net::{Direction, Network, Packet};
use super::raw::{RawClient, RawServer};
use super::{DTLS12, IDENTITY, KEY, seeded};

/// An [`Event`] that can be kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Note {
    Established,
    Data(Vec<u8>),
    Closed,
    Failed(Error),
    Refused(Error),
    Moved { from: Path, to: Path },
    NearLimit(KeyUsage),
    LimitReached(KeyUsage),
}

impl From<Event<'_>> for Note {
    fn from(event: Event<'_>) -> Self {
        match event {
            Event::Established => Self::Established,
            Event::Data(bytes) => Self::Data(bytes.to_vec()),
            Event::Closed => Self::Closed,
            Event::Failed(error) => Self::Failed(error),
            Event::Refused(error) => Self::Refused(error),
            Event::Moved { from, to } => Self::Moved { from, to },
            Event::NearLimit(usage) => Self::NearLimit(usage),
            Event::LimitReached(usage) => Self::LimitReached(usage),
            other => panic!("an event that no test knows: {other:?}"),
        }
    }
}

/// A key store that keys can be taken back from.
#[derive(Default)]
pub struct Keys(RefCell<Vec<Psk<'static>>>);

impl Keys {
    pub fn new(keys: &[Psk<'static>]) -> Self {
        Self(RefCell::new(keys.to_vec()))
    }

    pub fn add(&self, psk: Psk<'static>) {
        self.0.borrow_mut().push(psk);
    }

    pub fn take_out(&self, identity: &[u8]) {
        self.0.borrow_mut().retain(|psk| psk.identity() != identity);
    }
}

impl PskStore for Keys {
    fn with_key(&self, identity: &[u8], lend: &mut dyn FnMut(&[u8])) {
        if let Some(psk) = self.0.borrow().iter().find(|psk| psk.identity() == identity) {
            lend(psk.key());
        }
    }
}

/// Lends a value for as long as the test runs.
pub fn leak<T>(value: T) -> &'static T {
    Box::leak(Box::new(value))
}

pub fn psk(identity: &[u8], key: &[u8]) -> Psk<'static> {
    Psk::new(leak(identity.to_vec()), leak(key.to_vec())).unwrap()
}

/// Where the server's datagrams arrive and where client number `n` sits: each in a network of its own.
pub fn path(n: usize) -> Path {
    let [high, low] = u16::try_from(n).unwrap().to_be_bytes();
    path_from([10, high, low, 7], 40_000)
}

pub fn path_from(ip: impl Into<IpAddr>, port: u16) -> Path {
    Path { local: ([192, 0, 2, 1], 5684).into(), remote: (ip, port).into() }
}

pub struct Client {
    pub connection: Connection<'static>,
    pub path: Path,
    pub log: Vec<Note>,
}

impl Client {
    pub fn new(
        config: &'static Config<'static>,
        psk: Psk<'static>,
        path: Path,
        rng: &mut ChaCha8Rng,
        now: Instant,
    ) -> Self {
        let connection = Connection::client(config, leak(psk), rng, now).unwrap();
        Self { connection, path, log: Vec::new() }
    }

    pub fn is_established(&self) -> bool {
        self.connection.peer().is_some()
    }

    /// Everything that is to be sent now, and need not wait until the session is saved.
    pub fn transmit(&mut self) -> Vec<Vec<u8>> {
        let mut buf = [0; 2048];
        let mut next = || match self.connection.poll_transmit(&mut buf) {
            Err(Error::CheckpointNeeded) => None,
            written => written.unwrap().map(|len| buf[..len].to_vec()),
        };
        std::iter::from_fn(&mut next).collect()
    }

    /// Takes a datagram and returns what is to be sent then.
    pub fn hit(&mut self, bytes: &[u8], now: Instant) -> Vec<Vec<u8>> {
        let mut datagram = bytes.to_vec();
        self.log.extend(self.connection.receive(&mut datagram, now).map(Note::from));
        self.transmit()
    }

    pub fn seal(&mut self, payload: &[u8]) -> Vec<u8> {
        let mut buf = [0; 2048];
        let len = self.connection.send(payload, &mut buf).unwrap();
        buf[..len].to_vec()
    }
}

pub struct World<const H: usize, const S: usize> {
    pub now: Instant,
    pub server: Endpoint<'static, H, S>,
    pub keys: &'static Keys,
    /// What clients have that nothing is said of.
    pub usual: Config<'static>,
    pub clients: Vec<Client>,
    pub net: Network,
    /// What the server was told, and by which path.
    pub log: Vec<(Path, Note)>,
    pub rng: ChaCha8Rng,
}

/// A world that is big enough for a handful of peers.
pub type Small = World<4, 8>;

impl<const H: usize, const S: usize> World<H, S> {
    /// A server with `config` that knows [`IDENTITY`].
    pub fn with_config(seed: u64, config: Config<'static>) -> Self {
        let keys = leak(Keys::new(&[psk(IDENTITY, KEY)]));
        Self::of_parts(seed, config, keys, keys)
    }

    /// A server with a key store of the test's own.
    pub fn with_store(seed: u64, store: &'static dyn PskStore) -> Self {
        Self::of_parts(seed, Config::new(), leak(Keys::default()), store)
    }

    fn of_parts(
        seed: u64,
        config: Config<'static>,
        keys: &'static Keys,
        store: &'static dyn PskStore,
    ) -> Self {
        let storage = Box::leak(Box::new(Storage::new()));
        let mut rng = seeded(seed);
        let server = Endpoint::new(leak(config), store, storage, &mut rng).unwrap();
        // Not at zero, so that nothing works by accident of being at the start of time.
        let now = Instant::from_millis(1_000_000);
        let (clients, net, log) = (Vec::new(), Network::new(seed), Vec::new());
        Self { now, server, keys, usual: DTLS12, clients, net, log, rng }
    }

    pub fn new(seed: u64) -> Self {
        Self::with_config(seed, DTLS12)
    }

    /// The same server, whose usual clients are configured like that.
    pub fn with_usual(self, usual: Config<'static>) -> Self {
        Self { usual, ..self }
    }

    /// Starts a client, and returns its number.
    pub fn client_with(&mut self, config: Config<'static>, psk: Psk<'static>, path: Path) -> usize {
        self.clients.push(Client::new(leak(config), psk, path, &mut self.rng, self.now));
        self.clients.len() - 1
    }

    pub fn client(&mut self) -> usize {
        let path = path(self.clients.len());
        self.client_with(self.usual, psk(IDENTITY, KEY), path)
    }

    /// A client whose handshake is done.
    pub fn established(&mut self) -> usize {
        let client = self.client();
        assert!(self.run_until(Duration::from_secs(30), |world| world.clients[client].is_established()));
        self.run_for(Duration::from_millis(100));
        client
    }

    /// Puts everything that the ends have to send on the wire.
    fn flush(&mut self) {
        let mut buf = [0; 2048];
        while let Some((len, path)) = self.server.poll_transmit(&mut buf).unwrap() {
            let bytes = buf[..len].to_vec();
            self.net.send(self.now, Packet { direction: Direction::ToClient, path, bytes });
        }
        for client in &mut self.clients {
            for bytes in client.transmit() {
                self.net.send(self.now, Packet { direction: Direction::ToServer, path: client.path, bytes });
            }
        }
    }

    fn next_timeout(&self) -> Option<Instant> {
        let clients = self.clients.iter().filter_map(|client| client.connection.poll_timeout());
        clients.chain(self.server.poll_timeout()).min()
    }

    /// Lets time pass until `done` or until `limit` is over, and says which.
    pub fn run_until(&mut self, limit: Duration, done: impl Fn(&Self) -> bool) -> bool {
        let end = self.now + limit;
        loop {
            self.flush();
            if done(self) {
                return true;
            }
            let next = self.net.next_arrival().into_iter().chain(self.next_timeout()).min();
            match next.filter(|next| *next <= end) {
                Some(next) => self.now = next.max(self.now),
                None => {
                    self.now = end;
                    return false;
                }
            }
            while let Some(packet) = self.net.arrived(self.now) {
                self.deliver(packet);
                self.flush();
                if done(self) {
                    return true;
                }
            }
            self.fire_timeouts();
        }
    }

    pub fn run_for(&mut self, time: Duration) {
        self.run_until(time, |_| false);
    }

    /// Delivers what is under way, however late, without letting a timer fire first.
    pub fn settle(&mut self) {
        self.flush();
        while let Some(next) = self.net.next_arrival() {
            self.now = next.max(self.now);
            while let Some(packet) = self.net.arrived(self.now) {
                self.deliver(packet);
                self.flush();
            }
        }
    }

    fn fire_timeouts(&mut self) {
        if self.server.poll_timeout().is_some_and(|at| at <= self.now) {
            while let Some((path, error)) = self.server.handle_timeout(self.now) {
                self.log.push((path, Note::Refused(error)));
            }
        }
        for client in &mut self.clients {
            if client.connection.poll_timeout().is_some_and(|at| at <= self.now)
                && let Err(error) = client.connection.handle_timeout(self.now)
            {
                client.log.push(Note::Failed(error));
            }
        }
    }

    fn deliver(&mut self, packet: Packet) {
        match packet.direction {
            Direction::ToServer => self.receive(packet.path, &packet.bytes),
            Direction::ToClient => {
                for client in self.clients.iter_mut().filter(|client| client.path == packet.path) {
                    let mut bytes = packet.bytes.clone();
                    client.log.extend(client.connection.receive(&mut bytes, self.now).map(Note::from));
                }
            }
        }
    }

    fn receive(&mut self, path: Path, bytes: &[u8]) {
        let mut bytes = bytes.to_vec();
        let mut incoming = self.server.receive(&mut bytes, path, &mut self.rng, self.now);
        while let Some(event) = incoming.next() {
            self.log.push((incoming.path(), Note::from(event)));
        }
    }

    /// Hands the server a datagram at once, past the network, and returns its answers to that path. Answers to others go
    /// through the network.
    pub fn hit(&mut self, path: Path, bytes: &[u8]) -> Vec<Vec<u8>> {
        self.receive(path, bytes);
        self.answers(path)
    }

    /// What the server has to say to `path` now.
    pub fn answers(&mut self, path: Path) -> Vec<Vec<u8>> {
        let mut answers = Vec::new();
        let mut buf = [0; 2048];
        while let Some((len, to)) = self.server.poll_transmit(&mut buf).unwrap() {
            let bytes = buf[..len].to_vec();
            if to == path {
                answers.push(bytes);
            } else {
                self.net.send(self.now, Packet { direction: Direction::ToClient, path: to, bytes });
            }
        }
        answers
    }

    /// What the server was told about `path`.
    pub fn log_of(&self, path: Path) -> Vec<Note> {
        self.log.iter().filter(|(at, _)| *at == path).map(|(_, note)| note.clone()).collect()
    }

    /// Seals the server's data for a peer.
    pub fn seal(&mut self, path: &Path, payload: &[u8]) -> Vec<u8> {
        let mut buf = [0; 2048];
        let (len, _) = self.server.send(path, payload, &mut buf).unwrap();
        buf[..len].to_vec()
    }

    /// Which way the server's data for a peer goes.
    pub fn seal_by(&mut self, path: &Path) -> Path {
        self.server.send(path, b"!", &mut [0; 512]).unwrap().1
    }

    pub fn session_of(&self, path: &Path) -> Option<SessionId> {
        self.server.peer(path).map(|peer| peer.session)
    }

    /// Fails unless a client and the server agree on all that they have agreed on.
    #[track_caller]
    pub fn assert_agreement(&self, client: usize) {
        let Client { connection, path, .. } = &self.clients[client];
        let [ours, theirs] = [connection.peer(), self.server.peer(path)].map(Option::unwrap);
        assert_eq!(ours.identity, theirs.identity);
        assert_eq!((ours.suite, ours.version, ours.epoch), (theirs.suite, theirs.version, theirs.epoch));
        assert_eq!(ours.resumed, theirs.resumed);
        #[cfg(feature = "exporter")]
        {
            let mut keys = [[0; 32]; 2];
            connection.export_keying_material(b"a label", None, &mut keys[0]).unwrap();
            self.server.export_keying_material(path, b"a label", None, &mut keys[1]).unwrap();
            assert_eq!(keys[0], keys[1]);
        }
    }

    /// Fails unless data flows both ways between a client and the server.
    #[track_caller]
    pub fn assert_data_flows(&mut self, client: usize) {
        let path = self.clients[client].path;
        let ping: [u8; 16] = self.net.random();
        let bytes = self.clients[client].seal(&ping);
        self.receive(path, &bytes);
        assert_eq!(self.log.last(), Some(&(path, Note::Data(ping.to_vec()))), "data to the server");
        let pong: [u8; 16] = self.net.random();
        let bytes = self.seal(&path, &pong);
        let now = self.now;
        self.clients[client].hit(&bytes, now);
        assert_eq!(self.clients[client].log.last(), Some(&Note::Data(pong.to_vec())), "data to the client");
    }

    /// Fails unless a client that was never here before gets through, and soon.
    #[track_caller]
    pub fn assert_newcomer_gets_through(&mut self) {
        let newcomer = self.clients.len();
        let path = path(50_000 + newcomer);
        self.client_with(self.usual, psk(IDENTITY, KEY), path);
        let soon = Duration::from_secs(5);
        assert!(
            self.run_until(soon, |world| world.clients[newcomer].is_established()),
            "a newcomer is kept out"
        );
        // In DTLS 1.3, its Finished is under way still.
        self.settle();
        self.assert_data_flows(newcomer);
    }

    /// An independent client's handshake up to the state after the server's first flight.
    #[track_caller]
    pub fn raw_hello(&mut self, path: Path, client: &mut RawClient) {
        let hello = client.hello();
        let replies = self.hit(path, &hello);
        client.follow(&replies);
        let hello = client.hello();
        let flight = self.hit(path, &hello);
        client.take_server_flight(&flight);
        client.exchange_keys();
    }

    /// An independent client's handshake.
    #[track_caller]
    pub fn raw_handshake(&mut self, path: Path, client: &mut RawClient) {
        self.raw_hello(path, client);
        let flight = client.key_flight();
        let last = self.hit(path, &flight);
        client.take_last_flight(&last);
    }

    /// Fails unless data flows both ways between an independent client and the server.
    #[track_caller]
    pub fn assert_raw_data_flows(&mut self, path: Path, client: &mut RawClient) {
        let ping = client.side.data(b"still here?");
        self.hit(path, &ping);
        assert_eq!(self.log.last(), Some(&(path, Note::Data(b"still here?".to_vec()))));
        let pong = self.seal(&path, b"yes");
        assert_eq!(client.side.open(&[pong]), [(super::craft::APPLICATION_DATA, b"yes".to_vec())]);
    }
}

/// A client of the crate that talks to an independent server, without a network.
pub struct AgainstRaw {
    pub client: Client,
    pub server: RawServer,
    pub now: Instant,
}

impl AgainstRaw {
    pub fn new(seed: u64) -> Self {
        Self::with_config(seed, DTLS12)
    }

    pub fn with_config(seed: u64, config: Config<'static>) -> Self {
        let now = Instant::from_millis(1_000_000);
        let client = Client::new(leak(config), psk(IDENTITY, KEY), path(0), &mut seeded(seed), now);
        Self { client, server: RawServer::new(KEY), now }
    }

    pub fn hit(&mut self, bytes: &[u8]) -> Vec<Vec<u8>> {
        self.client.hit(bytes, self.now)
    }

    /// The client's first hello is in the server's hands.
    pub fn hello(&mut self) {
        let hello = self.client.transmit();
        self.server.take_hello(&hello);
    }

    /// The server has the client's key exchange.
    pub fn key_exchange(&mut self) {
        self.hello();
        let flight = self.server.flight(None);
        let answer = self.hit(&flight);
        self.server.take_key_flight(&answer);
    }

    pub fn establish(&mut self) {
        self.key_exchange();
        let last = self.server.last_flight();
        self.hit(&last);
        assert!(self.client.is_established());
    }

    #[track_caller]
    pub fn assert_data_flows(&mut self) {
        let ping = self.client.seal(b"still there?");
        assert_eq!(
            self.server.side.open(&[ping]),
            [(super::craft::APPLICATION_DATA, b"still there?".to_vec())]
        );
        let pong = self.server.side.data(b"yes");
        self.hit(&pong);
        assert_eq!(self.client.log.last(), Some(&Note::Data(b"yes".to_vec())));
    }

    /// Lets `time` pass, as the client's owner would: what it sent, and when.
    pub fn pass(&mut self, time: Duration) -> Vec<(Instant, Vec<u8>)> {
        let (mut sent, end) = (Vec::new(), self.now + time);
        while let Some(at) = self.client.connection.poll_timeout().filter(|at| *at <= end) {
            self.now = at;
            if let Err(error) = self.client.connection.handle_timeout(at) {
                self.client.log.push(Note::Failed(error));
            }
            sent.extend(self.client.transmit().into_iter().map(|bytes| (at, bytes)));
        }
        self.now = end;
        sent
    }
}
