//! A server and its clients, a network between them that does what a script says, and what must be true whatever it
//! says.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use dtls_psk::{
    CipherSuite, Config, Connection, Endpoint, Error, Event, Instant, MemoryCache, Path, Psk, Storage,
};

use crate::checks::Pair;
use crate::cipher::{Alteration, Cipher};
use crate::configs::{self, Credentials};
use crate::random::SplitMix;
use crate::saved::Saved;
use crate::script::{Edit, IdAction, Reader, Setup, Step};

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
    /// How many of these were resumed.
    pub resumed: usize,
    /// Payloads that the server took from its clients.
    pub to_server: usize,
    /// Payloads that clients took from the server.
    pub to_client: usize,
    /// Handshakes and sessions that failed, on either side.
    pub failed: usize,
    /// What an insider got through.
    pub insiders: usize,
}

/// The clients of a script; one more comes at its end.
const CLIENTS: usize = 4;
pub const NEWCOMER: usize = CLIENTS;
/// The path of a peer that is none of ours.
pub const INSIDER: usize = CLIENTS + 1;
pub const PATHS: usize = CLIENTS + 2;
/// The server's pools. There is room for a session of each client, and not for a handshake of each.
pub const H: usize = 2;
pub const S: usize = 16;
/// A script goes on for so long at most.
const MAX_STEPS: usize = 48;
/// A few round trips and their repetitions; more in one go is a storm.
const MAX_DATAGRAMS: usize = 200;
/// A client, and what the world knows of it.
pub struct Client<'a> {
    pub connection: Connection<'a>,
    pub psk: &'a Psk<'a>,
    /// Each start of a client is another generation, so that no payload is ever sent twice.
    generation: u32,
    /// Both sides have been in agreement, and neither has closed.
    pub live: bool,
    /// One of the sides says what it should not, or has forgotten what it knew: what the other one makes of it is its own business.
    pub astray: bool,
    /// Whether these two sessions are one, which it costs to find out.
    pub compared: Option<(Pair, bool)>,
    pub saved: [Saved; 2],
}

/// A payload that is on its way, or lost: whether the server is to get it, and what it says.
pub type Payload = (bool, Vec<u8>);

pub struct World<'a> {
    pub victim: Victim,
    pub setup: Setup,
    pub config: &'a Config<'a>,
    server_config: &'a Config<'a>,
    ciphers: &'a [Cipher; 2],
    pub psks: &'a [Psk<'a>],
    pub rng: SplitMix,
    pub now: Instant,
    pub server: Endpoint<'a, H, S>,
    /// Those that the script has named: nobody else takes part.
    pub clients: [Option<Client<'a>>; NEWCOMER + 1],
    generations: u32,
    /// The last datagrams of either side.
    seen: VecDeque<Vec<u8>>,
    /// What came for the peer that is none of ours.
    pub inbox: Vec<Vec<u8>>,
    /// By whose path each went.
    pub sent: BTreeMap<Payload, usize>,
    /// Those that arrived.
    pub arrived: BTreeSet<Payload>,
    /// Those of them that a side has forgotten.
    pub forgotten: BTreeSet<Payload>,
    /// Some peer has moved, so that sessions are no longer by the paths of those that they are with.
    pub has_moved: bool,
    payloads: u32,
    /// How many bytes may go to each path whose owner is not known yet.
    credit: [usize; PATHS],
    pub outcome: Outcome,
}

/// Plays a script, checks what must always be true, and lets a good client come by at the end.
pub fn run(victim: Victim, script: &[u8]) -> Outcome {
    let mut reader = Reader(script);
    let Some(setup) = reader.setup() else { return Outcome::default() };
    let caches = [const { MemoryCache::<4>::new() }; 2];
    let ciphers = [(); 2].map(|()| Cipher::new(setup.transparent));
    let credentials = Credentials::default();
    let (psks, known) = (credentials.of_clients(), credentials.of_server());
    let [config, server_config] = configs::make(&setup, &caches, &ciphers, &psks);
    let mut storage = Box::new(Storage::<H, S>::new());
    let mut rng = SplitMix(1);
    let server = Endpoint::new(&server_config, &known, &mut storage, &mut rng);

    let mut world = World {
        victim,
        setup,
        config: &config,
        server_config: &server_config,
        ciphers: &ciphers,
        psks: &psks,
        rng,
        now: Instant::from_millis(1_000_000),
        server: server.expect("the configuration is valid"),
        clients: [const { None }; NEWCOMER + 1],
        generations: 0,
        seen: VecDeque::new(),
        inbox: Vec::new(),
        sent: BTreeMap::new(),
        arrived: BTreeSet::new(),
        forgotten: BTreeSet::new(),
        has_moved: false,
        payloads: 0,
        credit: [0; PATHS],
        outcome: Outcome::default(),
    };
    for _ in 0..MAX_STEPS {
        let Some(step) = reader.step() else { break };
        world.step(step);
        world.check();
    }
    let outcome = world.outcome.clone();
    world.epilogue();
    outcome
}

/// Every client has a network prefix of its own.
pub fn path(client: usize) -> Path {
    let remote = ([10, 0, client as u8, 1], 40_000);
    Path { local: ([10, 1, 0, 1], 5684).into(), remote: remote.into() }
}

/// Whose path it is.
fn number(of: &Path) -> usize {
    (0..PATHS).find(|client| path(*client) == *of).expect("only those who spoke are known")
}

impl<'a> World<'a> {
    pub fn start(&mut self, at: usize, credentials: usize) {
        let psk = &self.psks[credentials];
        let connection = Connection::client(self.config, psk, &mut self.rng, self.now);
        self.generations += 1;
        self.clients[at] = Some(Client {
            connection: connection.expect("the configuration is valid"),
            psk,
            generation: self.generations,
            live: false,
            astray: false,
            compared: None,
            saved: [const { Saved::NOTHING }; 2],
        });
    }

    /// The client by this number starts anew, with a server that is none of ours.
    pub fn start_astray(&mut self, client: u8, credentials: usize) -> usize {
        let at = usize::from(client) % CLIENTS;
        self.start(at, credentials);
        self.go_astray(at);
        at
    }

    /// The client by this number, which comes if it has not before.
    fn wake(&mut self, client: u8) -> usize {
        let at = usize::from(client) % CLIENTS;
        if self.clients[at].is_none() {
            self.start(at, 0);
        }
        at
    }

    pub fn client(&mut self, at: usize) -> &mut Client<'a> {
        self.clients[at].as_mut().expect("it has come")
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
                if let Some(datagram) = self.seen(which) {
                    let client = self.wake(client);
                    self.reach_victim(client, edited(datagram, &edits));
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
                    self.client(client).connection.close();
                }
                self.client(client).live = false;
            }
            Step::Revoke => {
                let identity = self.psks[0].identity();
                self.server.revoke(identity);
                for client in self.clients.iter_mut().flatten() {
                    if client.connection.peer().is_some_and(|peer| peer.identity == identity) {
                        client.live = false;
                    }
                }
            }
            Step::Restart { client, credentials } => {
                let credentials = usize::from(credentials) % self.psks.len();
                self.start(usize::from(client) % CLIENTS, credentials);
            }
            Step::Altered { client, edits } => {
                let client = self.wake(client);
                self.alter(client, edits)
            }
            Step::Inside { client, content_type, body } => {
                let client = self.wake(client);
                self.say(client, content_type, &body)
            }
            Step::Lose { client, from_server } => {
                let client = self.wake(client);
                if from_server {
                    self.poll_server().is_some()
                } else {
                    self.poll_client(client).is_some()
                };
            }
            Step::Pick { which, client, records } => {
                if let Some(datagram) = self.seen(which) {
                    let client = self.wake(client);
                    self.reach_victim(client, picked(&datagram, records));
                }
            }
            Step::UpdateKeys { client, by_server, request_update } => {
                let at = self.wake(client);
                // Refused where there is no session of DTLS 1.3.
                let _ = self.update_keys(at, by_server, request_update);
            }
            Step::ConnectionId { client, by_server, action } => {
                let at = self.wake(client);
                // Refused where there are none, or none to spare.
                let _ = self.change_id(at, by_server, action);
            }
            Step::Sleep { client, by_server } => {
                let client = self.wake(client);
                self.sleep(client, by_server)
            }
            Step::Checkpoint { client, by_server } => {
                let client = self.wake(client);
                self.checkpoint(client, by_server)
            }
            Step::Crash { client, by_server } => {
                let client = self.wake(client);
                self.crash(client, by_server)
            }
            Step::Insider(insider) => self.meet(&insider),
        }
    }

    fn seen(&self, which: u8) -> Option<Vec<u8>> {
        self.seen.get(usize::from(which) % self.seen.len().max(1)).cloned()
    }

    pub fn update_keys(&mut self, at: usize, by_server: bool, request_update: bool) -> Result<(), Error> {
        if by_server {
            self.server.update_keys(&path(at), request_update)
        } else {
            self.client(at).connection.update_keys(request_update)
        }
    }

    pub fn change_id(&mut self, at: usize, by_server: bool, action: IdAction) -> Result<(), Error> {
        let (server, path) = (&mut self.server, path(at));
        let client = &mut self.clients[at].as_mut().expect("it has come").connection;
        match (action, by_server) {
            (IdAction::Request, true) => server.request_connection_id(&path),
            (IdAction::UseSpare, true) => server.use_spare_connection_id(&path),
            (IdAction::Renew, true) => server.renew_connection_id(&path),
            (IdAction::Request, false) => client.request_connection_id(),
            (IdAction::UseSpare, false) => client.use_spare_connection_id(),
            (IdAction::Renew, false) => client.renew_connection_id(),
        }
    }

    /// Whoever talks to the victim has its next datagram altered before it is sealed.
    fn alter(&mut self, client: usize, edits: Vec<Edit>) {
        let alteration = Alteration::Edits(edits);
        match self.victim {
            Victim::Server => {
                let cipher = &self.ciphers[0];
                if let Some(datagram) = cipher.altering(alteration, || self.poll_client(client)) {
                    self.go_astray(client);
                    self.reach_server(client, datagram);
                }
            }
            Victim::Client => {
                let cipher = &self.ciphers[1];
                if let Some((client, datagram)) = cipher.altering(alteration, || self.poll_server()) {
                    self.go_astray(client);
                    self.reach_client(client, datagram);
                }
            }
        }
    }

    /// Whoever talks to the victim seals a record of this type.
    fn say(&mut self, at: usize, content_type: u8, body: &[u8]) {
        let alteration = Alteration::ContentType(content_type);
        let mut buf = [0; 1500];
        let (cipher, from_server) = match self.victim {
            Victim::Server => (&self.ciphers[0], false),
            Victim::Client => (&self.ciphers[1], true),
        };
        let sealed = cipher.altering(alteration, || self.seal(at, from_server, body, &mut buf));
        let Some(len) = sealed else { return };
        // That of DTLS 1.2 without a connection ID is in the clear.
        if buf[0] == 23 {
            buf[0] = content_type;
        }
        self.go_astray(at);
        self.saw(&buf[..len]);
        self.reach_victim(at, buf[..len].to_vec());
    }

    pub fn go_astray(&mut self, at: usize) {
        if let Some(Some(client)) = self.clients.get_mut(at) {
            (client.live, client.astray) = (false, true);
        }
    }

    pub fn is_astray(&self, at: usize) -> bool {
        at == INSIDER || self.clients[at].as_ref().is_some_and(|client| client.astray)
    }

    fn reach_victim(&mut self, client: usize, datagram: Vec<u8>) {
        match self.victim {
            Victim::Server => self.reach_server(client, datagram),
            Victim::Client => self.reach_client(client, datagram),
        }
    }

    pub fn reach_server(&mut self, client: usize, mut datagram: Vec<u8>) {
        let path = path(client);
        self.credit[client] += datagram.len();
        let mut data = Vec::new();
        let mut incoming = self.server.receive(&mut datagram, path, &mut self.rng, self.now);
        while let Some(event) = incoming.next() {
            match event {
                Event::Established => {
                    let peer = incoming.peer().expect("who is established has a name");
                    self.outcome.server_established.push(peer.suite);
                }
                // With a connection ID, it may have come by another path than its session's.
                Event::Data(payload) => data.push((number(&incoming.path()), payload.to_vec())),
                Event::Failed(_) | Event::Refused(_) => self.outcome.failed += 1,
                // The script has played a peer on the move. Who is where now is not followed here.
                Event::Moved { from, to } => {
                    self.has_moved = true;
                    for at in [from, to] {
                        if let Some(Some(client)) = self.clients.get_mut(number(&at)) {
                            client.live = false;
                        }
                    }
                }
                _ => {}
            }
        }
        for (of, payload) in data {
            self.outcome.to_server += 1;
            self.take(of, (true, payload));
        }
    }

    pub fn reach_client(&mut self, at: usize, mut datagram: Vec<u8>) {
        let Some(client) = self.clients.get_mut(at) else {
            self.inbox.push(datagram);
            return;
        };
        let Some(client) = client else { return };
        let mut data = Vec::new();
        let mut established = false;
        for event in client.connection.receive(&mut datagram, self.now) {
            match event {
                Event::Established => established = true,
                Event::Data(payload) => data.push(payload.to_vec()),
                Event::Failed(_) | Event::Refused(_) => self.outcome.failed += 1,
                _ => {}
            }
        }
        // A close in the same datagram may have ended it again.
        if established && let Some(peer) = client.connection.peer() {
            self.outcome.client_established.push(peer.suite);
            self.outcome.resumed += usize::from(peer.resumed);
        }
        for payload in data {
            self.outcome.to_client += 1;
            self.take(at, (false, payload));
        }
    }

    pub fn poll_client(&mut self, at: usize) -> Option<Vec<u8>> {
        let client = self.clients[at].as_mut()?;
        let mut buf = [0; 1500];
        let len = match client.connection.poll_transmit(&mut buf) {
            // It has to wait for that.
            Err(Error::CheckpointNeeded) => None,
            written => written.expect("an MTU always does"),
        }?;
        self.saw(&buf[..len]);
        Some(buf[..len].to_vec())
    }

    fn poll_server(&mut self) -> Option<(usize, Vec<u8>)> {
        let mut buf = [0; 1500];
        let (len, to) = self.server.poll_transmit(&mut buf).expect("an MTU always does")?;
        self.saw(&buf[..len]);
        let client = number(&to);
        let is_for_a_stranger = is_for_a_stranger(&buf[..len]);
        assert!(is_for_a_stranger || len <= self.server_config.mtu());
        if is_for_a_stranger {
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
    pub fn settle(&mut self) {
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

    /// What a client has to say to nobody.
    pub fn drain_client(&mut self, at: usize) {
        for _ in 0..MAX_DATAGRAMS {
            if self.poll_client(at).is_none() {
                return;
            }
        }
        panic!("client {at} never comes to rest");
    }

    /// What the server has to say to the peer that is none of ours; everybody else gets theirs.
    pub fn for_insider(&mut self) -> Vec<Vec<u8>> {
        self.inbox.clear();
        self.drain_server(&mut { MAX_DATAGRAMS });
        std::mem::take(&mut self.inbox)
    }

    pub fn advance(&mut self, now: Instant) {
        self.now = now;
        let mut given_up = 0;
        while self.server.handle_timeout(now).is_some() {
            self.outcome.failed += 1;
            given_up += 1;
            assert!(given_up <= H, "a handshake is given up once");
        }
        for client in self.clients.iter_mut().flatten() {
            self.outcome.failed += usize::from(client.connection.handle_timeout(now).is_err());
        }
    }

    pub fn timeouts(&self) -> impl Iterator<Item = Instant> {
        let clients = self.clients.iter().flatten().filter_map(|client| client.connection.poll_timeout());
        self.server.poll_timeout().into_iter().chain(clients)
    }

    /// Seals a record; `None` where a side has no session.
    fn seal(&mut self, at: usize, from_server: bool, payload: &[u8], buf: &mut [u8]) -> Option<usize> {
        if from_server {
            self.server.send(&path(at), payload, buf).ok().map(|(len, _)| len)
        } else {
            self.client(at).connection.send(payload, buf).ok()
        }
    }

    /// Whether the session carries data, which it does if it may send any.
    pub fn can_send(&mut self, at: usize, from_server: bool) -> bool {
        self.seal(at, from_server, b"lost", &mut [0; 1500]).is_some()
    }

    pub fn send(&mut self, at: usize, from_server: bool, len: u8) {
        self.payloads += 1;
        let mut payload = self.payloads.to_be_bytes().to_vec();
        payload.extend(self.client(at).generation.to_be_bytes());
        payload.resize(payload.len() + usize::from(len), 0xAA);
        let mut buf = [0; 1500];
        let Some(len) = self.seal(at, from_server, &payload, &mut buf) else { return };
        self.saw(&buf[..len]);
        self.sent.insert((!from_server, payload.clone()), at);
        let is_live = self.client(at).live && !self.setup.transparent;
        if from_server {
            self.reach_client(at, buf[..len].to_vec());
        } else {
            self.reach_server(at, buf[..len].to_vec());
        }
        let is_there = !self.sent.contains_key(&(!from_server, payload));
        assert!(is_there || !is_live, "a session of {at} carries nothing (to its server: {})", !from_server);
    }
}

/// A HelloVerifyRequest or a HelloRetryRequest, which is a ServerHello with a random of its own (RFC 8446 §4.1.3).
fn is_for_a_stranger(datagram: &[u8]) -> bool {
    const RETRY: [u8; 4] = [0xCF, 0x21, 0xAD, 0x74];
    match datagram {
        [22, ..] if datagram[13] == 3 => true,
        [22, ..] if datagram[13] == 2 => datagram.get(27..31) == Some(&RETRY),
        _ => false,
    }
}

fn edited(mut datagram: Vec<u8>, edits: &[Edit]) -> Vec<u8> {
    edits.iter().for_each(|edit| edit.apply(&mut datagram));
    datagram
}

/// Those records of a datagram whose bits are set, the first one's the lowest; turned round if the highest bit is set.
fn picked(mut datagram: &[u8], which: u8) -> Vec<u8> {
    let mut records = Vec::new();
    for bit in 0..7 {
        let (record, rest) = datagram.split_at(record_len(datagram));
        if which & 1 << bit != 0 {
            records.push(record);
        }
        datagram = rest;
    }
    if which & 1 << 7 != 0 {
        records.reverse();
    }
    records.concat()
}

/// Length in bytes of the first record, which may be all there is. One with a connection ID is always alone here.
fn record_len(datagram: &[u8]) -> usize {
    let length = |at: usize| {
        let bytes = datagram.get(at..at + 2).map(|bytes| u16::from_be_bytes([bytes[0], bytes[1]]));
        bytes.map(|len| at + 2 + usize::from(len))
    };
    let len = match datagram.first() {
        Some(first) if first & 0xF4 == 0x24 => length(if first & 8 == 0 { 2 } else { 3 }),
        Some(20..=24 | 26..=27) => length(11),
        _ => None,
    };
    len.unwrap_or(usize::MAX).min(datagram.len())
}
