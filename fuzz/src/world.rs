//! A server and its clients, a network between them that does what a script says, and what must be true whatever it
//! says.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use dtls_psk::{
    AeadAlgorithm, AeadError, CipherSuite, Config, Connection, CryptoProvider, Endpoint, Event, Instant,
    MemoryCache, Path, ProtocolVersion, Psk, PskKeyExchangeMode, RustCrypto, Storage,
};

use crate::script::{Edit, Reader, Setup, Step};

/// Which side the script works against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Victim {
    Client,
    Server,
}

/// What came of a script, before the good peer at its end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// The suites of the sessions that the server established.
    pub server_established: Vec<CipherSuite>,
    /// The suites of the sessions that clients established.
    pub client_established: Vec<CipherSuite>,
    /// Payloads that the server took from its clients.
    pub to_server: usize,
    /// Payloads that clients took from the server.
    pub to_client: usize,
    /// Handshakes and sessions that failed, on either side.
    pub failed: usize,
}

/// The clients of a script; one more comes at its end.
const CLIENTS: usize = 4;
/// The server's pools. There is room for a session of each client, and not for a handshake of each.
const H: usize = 2;
const S: usize = 16;
/// A script goes on for so long at most.
const MAX_STEPS: usize = 48;
/// A few round trips and their repetitions; more in one go is a storm.
const MAX_DATAGRAMS: usize = 200;

/// What a client may come with: the right key, a wrong key, an unknown identity, and another right key.
pub const CREDENTIALS: [(&[u8], &[u8]); 4] = [
    (b"client1", b"hardfault_secure_key"),
    (b"client1", b"another key"),
    (b"nobody", b"hardfault_secure_key"),
    (b"\0", &[0x5A; 64]),
];

/// How the random of a HelloRetryRequest begins (RFC 8446 §4.1.3).
const HELLO_RETRY_REQUEST: [u8; 8] = [0xCF, 0x21, 0xAD, 0x74, 0xE5, 0x9A, 0x61, 0x11];

/// Long enough that it has to be cut where the datagrams are small.
const HINT: &[u8] = &[b'h'; 120];

/// Numbers that are as good as random ones, and the same each time.
struct SplitMix(u64);

impl rand_core::TryRng for SplitMix {
    type Error = core::convert::Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Self::Error> {
        self.try_next_u64().map(|number| number as u32)
    }

    fn try_next_u64(&mut self) -> Result<u64, Self::Error> {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ z >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        Ok(z ^ z >> 31)
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Self::Error> {
        for chunk in out.chunks_mut(8) {
            chunk.copy_from_slice(&self.try_next_u64()?.to_le_bytes()[..chunk.len()]);
        }
        Ok(())
    }
}

impl rand_core::TryCryptoRng for SplitMix {}

/// No cipher at all, so that a script can write records under keys that it does not have.
struct Transparent;

impl CryptoProvider for Transparent {
    fn seal(
        &self,
        _: AeadAlgorithm,
        _: &[u8; 16],
        _: &[u8; 12],
        _: &[u8],
        _: &mut [u8],
        tag: &mut [u8],
    ) -> Result<(), AeadError> {
        tag.fill(0);
        Ok(())
    }

    fn open(
        &self,
        _: AeadAlgorithm,
        _: &[u8; 16],
        _: &[u8; 12],
        _: &[u8],
        _: &mut [u8],
        _: &[u8],
    ) -> Result<(), AeadError> {
        Ok(())
    }

    fn encrypt_block(&self, _: &[u8; 16], block: &mut [u8; 16]) -> Result<(), AeadError> {
        block.fill(0);
        Ok(())
    }
}

/// A client, and what the world knows of it.
struct Client<'a> {
    connection: Connection<'a>,
    /// Each start of a client is another generation, so that no payload is ever sent twice.
    generation: u32,
    /// The script has named it: nobody else takes part.
    awake: bool,
    /// It has a session, and is yet to learn whether the server has it as well (RFC 9147 §5.8.1).
    settling: bool,
    /// Both sides have been in agreement, and neither has closed.
    live: bool,
}

struct World<'a> {
    victim: Victim,
    setup: Setup,
    config: &'a Config<'a>,
    psks: &'a [Psk<'a>],
    rng: SplitMix,
    now: Instant,
    server: Endpoint<'a, H, S>,
    clients: Vec<Client<'a>>,
    generations: u32,
    /// The last datagrams of either side.
    seen: VecDeque<Vec<u8>>,
    /// Payloads that are on their way, or lost: whether the server is to get it, by whose path, and what it says.
    sent: BTreeSet<(bool, usize, Vec<u8>)>,
    payloads: u32,
    /// How many bytes came by each path, less the HelloVerifyRequests that went back.
    credit: [usize; CLIENTS + 1],
    outcome: Outcome,
}

const PLAIN_SUITES: [[CipherSuite; 2]; 3] = [
    [CipherSuite::Aes128Ccm8Sha256, CipherSuite::Aes128Ccm8],
    [CipherSuite::Aes128CcmSha256, CipherSuite::Aes128Ccm],
    [CipherSuite::Aes128GcmSha256, CipherSuite::Aes128Gcm],
];

const VERSIONS: [&[ProtocolVersion]; 3] = [
    &[ProtocolVersion::Dtls12],
    &[ProtocolVersion::Dtls13],
    &[ProtocolVersion::Dtls13, ProtocolVersion::Dtls12],
];

/// Plays a script, checks what must always be true, and lets a good client come by at the end.
pub fn run(victim: Victim, script: &[u8]) -> Outcome {
    let mut reader = Reader(script);
    let Some(setup) = reader.setup() else { return Outcome::default() };
    let versions = setup.versions.map(|version| VERSIONS[usize::from(version) % VERSIONS.len()]);
    let mut config = Config::new().with_versions(versions[0]);
    if let Some(at) = usize::from(setup.suites).checked_sub(1) {
        config = config.with_suites(&PLAIN_SUITES[at]);
    }
    if setup.psk_ke {
        config = config.with_key_exchange_modes(&[PskKeyExchangeMode::PskKe]);
    }
    if setup.connection_ids {
        config = config.with_connection_id(1);
    }
    let caches = [const { MemoryCache::<4>::new() }; 2];
    if setup.resumption {
        config = config.with_resumption(&caches[0]);
    }
    if setup.small_mtu {
        let fits = |mtu: &usize| {
            let config = config.with_mtu(*mtu);
            let mut keys =
                CREDENTIALS.iter().map(|(identity, key)| Psk::new(identity, key).expect("within the bounds"));
            keys.all(|psk| {
                Connection::client(&config, &psk, &mut SplitMix(0), Instant::from_millis(0)).is_ok()
            })
        };
        // No less than a HelloRetryRequest, for the server.
        config = config.with_mtu((132..1_500).find(fits).expect("every hello fits somewhere"));
    }
    if setup.transparent {
        config = config.with_crypto(&Transparent);
    } else {
        config = config.with_crypto(&RustCrypto);
    }
    let client_config = config;
    config = config.with_versions(versions[1]).with_cookie_exchange(!setup.without_cookies);
    if setup.resumption {
        config = config.with_resumption(&caches[1]);
    }
    config = config.with_required_extended_master_secret(setup.require_ems);
    if setup.hint {
        config = config.with_identity_hint(HINT);
    }
    let psks = CREDENTIALS.map(|(identity, key)| Psk::new(identity, key).expect("within the bounds"));
    let known = [psks[0], psks[3]];
    let mut storage = Box::new(Storage::<H, S>::new());
    let mut rng = SplitMix(1);
    let server = Endpoint::new(&config, &known, &mut storage, &mut rng).expect("the configuration is valid");

    let mut world = World {
        victim,
        setup,
        config: &client_config,
        psks: &psks,
        rng,
        now: Instant::from_millis(1_000_000),
        server,
        clients: Vec::new(),
        generations: 0,
        seen: VecDeque::new(),
        sent: BTreeSet::new(),
        payloads: 0,
        credit: [0; CLIENTS + 1],
        outcome: Outcome::default(),
    };
    for _ in 0..CLIENTS {
        let client = world.new_client(0);
        world.clients.push(client);
    }
    for _ in 0..MAX_STEPS {
        let Some(step) = reader.step() else { break };
        world.step(step);
        world.check();
    }
    let outcome = world.outcome.clone();
    world.epilogue(versions[0].iter().any(|version| versions[1].contains(version)));
    outcome
}

/// Every client has a network prefix of its own.
fn path(client: usize) -> Path {
    let remote = ([10, 0, client as u8, 1], 40_000);
    Path { local: ([10, 1, 0, 1], 5684).into(), remote: remote.into() }
}

/// Whose path it is.
fn number(of: &Path) -> usize {
    (0..=CLIENTS).find(|client| path(*client) == *of).expect("only those who spoke have a session")
}

impl<'a> World<'a> {
    fn new_client(&mut self, credentials: usize) -> Client<'a> {
        let psk = &self.psks[credentials];
        let connection = Connection::client(self.config, psk, &mut self.rng, self.now);
        self.generations += 1;
        Client {
            connection: connection.expect("the configuration is valid"),
            generation: self.generations,
            awake: false,
            settling: false,
            live: false,
        }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Raw { client, datagram } => {
                let client = self.wake(client);
                self.reach_victim(client, datagram)
            }
            Step::FromClient { client, edits } => {
                let client = self.wake(client);
                if let Some(datagram) = self.poll_client(client) {
                    let edits = if self.victim == Victim::Server { &edits[..] } else { &[] };
                    self.reach_server(client, edited(datagram, edits));
                }
            }
            Step::FromServer { edits } => {
                if let Some((client, datagram)) = self.poll_server() {
                    let edits = if self.victim == Victim::Client { &edits[..] } else { &[] };
                    self.reach_client(client, edited(datagram, edits));
                }
            }
            Step::Again { which, client, edits } => {
                if let Some(datagram) = self.seen.get(usize::from(which) % self.seen.len().max(1)) {
                    let datagram = edited(datagram.clone(), &edits);
                    let client = self.wake(client);
                    self.reach_victim(client, datagram);
                }
            }
            Step::Settle => self.settle(),
            Step::Advance { by } => self.advance(self.now + Duration::from_millis(16) * u32::from(by)),
            Step::Send { client, from_server, len } => {
                let client = self.wake(client);
                self.send(client, from_server, len)
            }
            Step::Close { client, by_server } => {
                let client = self.wake(client);
                if by_server {
                    self.server.close(&path(client));
                } else {
                    self.clients[client].connection.close();
                }
                (self.clients[client].live, self.clients[client].settling) = (false, false);
            }
            Step::Revoke => {
                let identity = self.psks[0].identity();
                self.server.revoke(identity);
                for client in &mut self.clients {
                    if client.connection.peer().is_some_and(|peer| peer.identity == identity) {
                        (client.live, client.settling) = (false, false);
                    }
                }
            }
            Step::UpdateKeys { client, by_server, request } => {
                let client = self.wake(client);
                let _ = match by_server {
                    true => self.server.update_keys(&path(client), request),
                    false => self.clients[client].connection.update_keys(request),
                };
            }
            Step::ConnectionId { client, by_server, what } => {
                let at = self.wake(client);
                let (path, connection) = (path(at), &mut self.clients[at].connection);
                let _ = match (by_server, what % 3) {
                    (true, 0) => self.server.request_connection_id(&path),
                    (true, 1) => self.server.use_spare_connection_id(&path),
                    (true, _) => self.server.renew_connection_id(&path),
                    (false, 0) => connection.request_connection_id(),
                    (false, 1) => connection.use_spare_connection_id(),
                    (false, _) => connection.renew_connection_id(),
                };
            }
            Step::Restart { client, credentials } => {
                let client = usize::from(client) % CLIENTS;
                self.clients[client] = self.new_client(usize::from(credentials) % CREDENTIALS.len());
                self.clients[client].awake = true;
            }
        }
    }

    fn wake(&mut self, client: u8) -> usize {
        let at = usize::from(client) % CLIENTS;
        self.clients[at].awake = true;
        at
    }

    fn reach_victim(&mut self, client: usize, datagram: Vec<u8>) {
        match self.victim {
            Victim::Server => self.reach_server(client, datagram),
            Victim::Client => self.reach_client(client, datagram),
        }
    }

    fn reach_server(&mut self, client: usize, mut datagram: Vec<u8>) {
        let path = path(client);
        self.credit[client] += datagram.len();
        let mut incoming = self.server.receive(&mut datagram, path, &mut self.rng, self.now);
        while let Some(event) = incoming.next() {
            match event {
                Event::Established => {
                    let peer = incoming.peer().expect("who is established has a name");
                    self.outcome.server_established.push(peer.suite);
                }
                Event::Data(payload) => {
                    // With a connection ID, it may have come by another path than its session's.
                    let of = number(&incoming.path());
                    let expected = self.sent.remove(&(true, of, payload.to_vec()));
                    assert!(expected || self.setup.transparent, "forged, replayed or of another client");
                    self.outcome.to_server += 1;
                }
                Event::Closed => {}
                Event::Failed(_) | Event::Refused(_) => self.outcome.failed += 1,
                // The script has played a peer on the move. Who is where now is not followed here.
                Event::Moved { from, to } => {
                    for at in [from, to] {
                        if let Some(client) = self.clients.get_mut(number(&at)) {
                            (client.live, client.settling) = (false, false);
                        }
                    }
                }
                _ => {}
            }
        }
    }

    fn reach_client(&mut self, at: usize, mut datagram: Vec<u8>) {
        let client = &mut self.clients[at];
        let mut established = false;
        for event in client.connection.receive(&mut datagram, self.now) {
            match event {
                Event::Established => established = true,
                Event::Data(payload) => {
                    let expected = self.sent.remove(&(false, at, payload.to_vec()));
                    assert!(expected || self.setup.transparent, "forged, replayed or of another session");
                    self.outcome.to_client += 1;
                }
                Event::Closed => {}
                Event::Failed(_) | Event::Refused(_) => self.outcome.failed += 1,
                _ => {}
            }
        }
        // A close in the same datagram may have ended it again.
        if let Some(peer) = client.connection.peer().filter(|_| established) {
            self.outcome.client_established.push(peer.suite);
            client.settling = true;
        }
        // In DTLS 1.3, a client may be the only one that has a session until its Finished is acknowledged.
        if client.settling && client.connection.poll_timeout().is_none() {
            client.settling = false;
            client.live = client.connection.peer().is_some() && self.server.peer(&path(at)).is_some();
        }
    }

    fn poll_client(&mut self, at: usize) -> Option<Vec<u8>> {
        if !self.clients[at].awake {
            return None;
        }
        let mut buf = [0; 1500];
        let len = self.clients[at].connection.poll_transmit(&mut buf).expect("an MTU always does")?;
        self.saw(&buf[..len]);
        Some(buf[..len].to_vec())
    }

    fn poll_server(&mut self) -> Option<(usize, Vec<u8>)> {
        let mut buf = [0; 1500];
        let (len, to) = self.server.poll_transmit(&mut buf).expect("an MTU always does")?;
        assert!(len <= self.config.mtu());
        self.saw(&buf[..len]);
        let client = (0..self.clients.len()).find(|client| path(*client) == to);
        let client = client.expect("only those who spoke are answered");
        let is_retry = buf[0] == 22 && buf[13] == 2 && buf[27..35] == HELLO_RETRY_REQUEST;
        if buf[0] == 22 && buf[13] == 3 || is_retry {
            let left = self.credit[client].checked_sub(len);
            self.credit[client] = left.expect("no more goes to a stranger than came from it");
        }
        Some((client, buf[..len].to_vec()))
    }

    fn saw(&mut self, datagram: &[u8]) {
        assert!(!datagram.is_empty());
        if self.seen.len() == 64 {
            self.seen.pop_front();
        }
        self.seen.push_back(datagram.to_vec());
    }

    /// Moves every datagram to where it belongs, until there are none.
    fn settle(&mut self) {
        let mut left = MAX_DATAGRAMS;
        let mut rested = false;
        while !rested {
            rested = true;
            self.drain_server(&mut left);
            for at in 0..self.clients.len() {
                while let Some(datagram) = self.poll_client(at) {
                    rested = false;
                    self.reach_server(at, datagram);
                    // The server keeps one answer to strangers, so it has to leave before the next client speaks.
                    self.drain_server(&mut left);
                }
            }
        }
    }

    fn drain_server(&mut self, left: &mut usize) {
        while let Some((client, datagram)) = self.poll_server() {
            self.reach_client(client, datagram);
            *left = left.checked_sub(1).expect("the peers never come to rest");
        }
    }

    fn advance(&mut self, now: Instant) {
        self.now = now;
        let mut given_up = 0;
        while self.server.handle_timeout(now).is_some() {
            self.outcome.failed += 1;
            given_up += 1;
            assert!(given_up <= H, "a handshake is given up once");
        }
        for client in self.clients.iter_mut().filter(|client| client.awake) {
            self.outcome.failed += usize::from(client.connection.handle_timeout(now).is_err());
        }
    }

    fn timeouts(&self) -> impl Iterator<Item = Instant> {
        let awake = self.clients.iter().filter(|client| client.awake);
        let clients = awake.filter_map(|client| client.connection.poll_timeout());
        self.server.poll_timeout().into_iter().chain(clients)
    }

    fn send(&mut self, at: usize, from_server: bool, len: u8) {
        self.payloads += 1;
        let mut payload = self.payloads.to_be_bytes().to_vec();
        payload.extend(self.clients[at].generation.to_be_bytes());
        payload.resize(payload.len() + usize::from(len), 0xAA);
        let mut buf = [0; 1500];
        let sealed = if from_server {
            self.server.send(&path(at), &payload, &mut buf).map(|(len, _)| len)
        } else {
            self.clients[at].connection.send(&payload, &mut buf)
        };
        let Ok(len) = sealed else { return };
        self.saw(&buf[..len]);
        self.sent.insert((!from_server, at, payload));
        if from_server {
            self.reach_client(at, buf[..len].to_vec());
        } else {
            self.reach_server(at, buf[..len].to_vec());
        }
    }

    /// What is true after every step.
    fn check(&self) {
        assert!(self.server.handshakes() <= H);
        assert!(self.server.sessions().count() <= S);
        for client in self.clients.iter().enumerate().filter(|(_, client)| client.live) {
            self.check_live(client);
        }
    }

    /// Nothing that lacks a session's keys may end it.
    fn check_live(&self, (at, client): (usize, &Client<'_>)) {
        if !self.setup.transparent {
            assert!(client.connection.peer().is_some(), "client {at} lost its session");
            assert!(self.server.peer(&path(at)).is_some(), "the server lost its session with {at}");
        }
    }

    /// The network gets well again. Everybody comes to an end, and a good client gets through.
    fn epilogue(&mut self, they_meet: bool) {
        let mut rounds = 0;
        loop {
            self.settle();
            self.check();
            let Some(next) = self.timeouts().min() else { break };
            self.advance(next.max(self.now));
            assert!(self.timeouts().all(|at| at > self.now), "a timeout that was handled is over");
            rounds += 1;
            assert!(rounds < 100, "a handshake never ends");
        }
        assert_eq!(self.server.handshakes(), 0, "a slot has leaked");
        if !they_meet {
            assert!(self.outcome.client_established.is_empty() || self.setup.transparent);
            return;
        }

        let mut whole: Vec<usize> = (0..CLIENTS).filter(|at| self.clients[*at].live).collect();
        if self.setup.transparent {
            whole.clear();
        }
        whole.push(CLIENTS);
        let newcomer = Client { awake: true, ..self.new_client(0) };
        self.clients.push(newcomer);
        self.settle();
        // Without a cookie, a long flight comes in parts: each hello is worth three times its length.
        for _ in 0..3 {
            if let Some(next) = self.timeouts().min() {
                self.advance(next.max(self.now));
                self.settle();
            }
        }
        assert!(self.clients[CLIENTS].connection.peer().is_some(), "a good client is kept out");
        for at in whole {
            for from_server in [false, true] {
                let before = (self.outcome.to_server, self.outcome.to_client);
                self.send(at, from_server, 3);
                let after = (self.outcome.to_server, self.outcome.to_client);
                assert_ne!(before, after, "a session of {at} carries nothing");
            }
        }
    }
}

fn edited(mut datagram: Vec<u8>, edits: &[Edit]) -> Vec<u8> {
    edits.iter().for_each(|edit| edit.apply(&mut datagram));
    datagram
}
