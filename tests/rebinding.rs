//! Clients behind a NAT that forgets them, at any time, and gives their addresses to others.

mod support;

use std::collections::HashSet;
use std::time::Duration;

use dtls_psk::{Config, Error, Path};
use rand::RngExt;
use rand::rngs::ChaCha8Rng;

use support::craft::{EXT_CONNECTION_ID, vec8};
use support::nat::Nat;
use support::net::{Conditions, Direction, Packet};
use support::raw::RawClient;
use support::world::{Client, Note, Small, leak, path, path_from, psk};
use support::{IDENTITY, KEY, seeded};

const ONE_BYTE: Config<'static> = support::DTLS12.with_connection_id(1);
const CLIENTS: usize = 5;

fn identity(client: usize) -> [u8; 3] {
    [b'n', b'o', client as u8]
}

/// Where the NAT puts its clients: fewer places than it takes to keep them apart for long.
fn addresses(count: usize) -> Vec<Path> {
    (0..count).map(|n| path_from([203, 0, 113, 5], 1_000 + n as u16)).collect()
}

/// Longer than what may go to an address that is not proven, for a single question.
fn answer_to(question: &[u8]) -> Vec<u8> {
    [question, &[0x22; 250]].concat()
}

/// Clients that ask, and a server that answers each where it finds it.
struct Town {
    world: Small,
    config: Config<'static>,
    questions: HashSet<Vec<u8>>,
    next: u32,
    /// How far the server's log has been read.
    read: usize,
    answers: HashSet<Vec<u8>>,
    moves: usize,
    unproven: usize,
}

impl Town {
    fn new(seed: u64, config: Config<'static>) -> Self {
        let mut world = Small::with_config(seed, config);
        for n in 0..CLIENTS {
            let key = psk(&identity(n), KEY);
            world.keys.add(key);
            world.client_with(config, key, path(n));
        }
        let (questions, answers) = (HashSet::new(), HashSet::new());
        Self { world, config, questions, next: 0, read: 0, answers, moves: 0, unproven: 0 }
    }

    /// The same, once everybody has a session, and behind a NAT and a bad network from there on.
    fn in_motion(seed: u64, config: Config<'static>, loss: f64) -> Self {
        let mut town = Self::new(seed, config);
        let world = &mut town.world;
        let all = |world: &Small| world.clients.iter().all(Client::is_established);
        assert!(world.run_until(Duration::from_secs(60), all));
        world.settle();
        world.net.nat = Some(Nat::new(seed, addresses(CLIENTS + 2), 5_000..=60_000));
        world.net.conditions =
            Conditions { loss, duplicate: 0.2, reorder: 0.2, delay: 5..=300, ..Conditions::PERFECT };
        town
    }

    /// A client asks, if it has a session.
    fn ask(&mut self, client: usize) -> Vec<u8> {
        self.next += 1;
        let question = [&[client as u8][..], &self.next.to_be_bytes(), &[0x11; 40]].concat();
        let world = &mut self.world;
        if world.clients[client].is_established() {
            let bytes = world.clients[client].seal(&question);
            let path = world.clients[client].path;
            world.net.send(world.now, Packet { direction: Direction::ToServer, path, bytes });
            self.questions.insert(question.clone());
        }
        question
    }

    /// Lets time pass, while the server answers.
    fn run_for(&mut self, time: Duration) {
        let end = self.world.now + time;
        while self.world.now < end {
            let (left, read) = (end.saturating_since(self.world.now), self.read);
            self.world.run_until(left, |world| world.log.len() > read);
            for at in self.read..self.world.log.len() {
                let (path, note) = self.world.log[at].clone();
                match note {
                    Note::Data(question) => self.answer(path, &question),
                    Note::Moved { .. } => self.moves += 1,
                    Note::Established | Note::Refused(_) => {}
                    other => panic!("{other:?}"),
                }
            }
            self.read = self.world.log.len();
        }
    }

    fn answer(&mut self, path: Path, question: &[u8]) {
        assert!(self.questions.remove(question), "asked once, and not yet answered");
        let world = &mut self.world;
        let peer = world.server.peer(&path).expect("whoever is heard of can be answered");
        assert_eq!(peer.identity, identity(question[0].into()), "nobody is taken for somebody else");
        let (mut buf, answer) = ([0; 512], answer_to(question));
        match world.server.send(&path, &answer, &mut buf) {
            Ok((len, path)) => {
                let bytes = buf[..len].to_vec();
                world.net.send(world.now, Packet { direction: Direction::ToClient, path, bytes });
                self.answers.insert(answer);
            }
            Err(Error::AddressNotProven) => self.unproven += 1,
            Err(error) => panic!("{error}"),
        }
    }

    /// Whether the client has this answer. None comes twice, or to somebody else.
    fn is_answered(&self, client: usize, question: &[u8]) -> bool {
        let log = &self.world.clients[client].log;
        let count = log.iter().filter(|note| **note == Note::Data(answer_to(question))).count();
        assert!(count <= 1, "answered twice");
        for note in log {
            if let Note::Data(answer) = note {
                assert!(self.answers.contains(answer) && usize::from(answer[0]) == client);
            }
        }
        count == 1
    }

    /// The client has given up its association, and begins anew.
    fn reconnect(&mut self, client: usize) {
        let world = &mut self.world;
        let inside = world.clients[client].path;
        let key = psk(&identity(client), KEY);
        world.clients[client] = Client::new(leak(self.config), key, inside, &mut world.rng, world.now);
    }

    /// The NAT and the network leave everybody alone.
    fn settle(&mut self) {
        self.world.net.conditions = Conditions::PERFECT;
        self.world.net.nat.as_mut().unwrap().settle(self.world.now);
    }

    /// In the end, each client is where the NAT has put it.
    fn everybody_is_found(&mut self) {
        for client in 0..CLIENTS {
            let (inside, now) = (self.world.clients[client].path, self.world.now);
            let outside = self.world.net.outside(inside, now);
            let found = self.world.server.peer(&outside).map(|peer| peer.identity);
            assert_eq!(found, Some(&identity(client)[..]), "client {client}");
        }
    }
}

/// With connection IDs, every session outlives every move: there is one handshake for each client, ever.
#[cfg(feature = "connection-id")]
#[test]
fn sessions_with_connection_ids_move() {
    support::versions().for_each(|(version, config)| sessions_move(version, config.with_connection_id(1)));
}

#[cfg(feature = "connection-id")]
fn sessions_move(version: &str, config: Config<'static>) {
    let (mut moves, mut rebound, mut unproven, mut asked, mut answered) = (0, 0, 0, 0, 0);
    for seed in 0..30 {
        let mut town = Town::in_motion(seed, config, 0.2);
        let mut rng = seeded(seed);
        for _ in 0..100 {
            let client = rng.random_range(0..CLIENTS);
            let question = town.ask(client);
            town.run_for(Duration::from_millis(rng.random_range(100..3_000)));
            asked += 1;
            answered += usize::from(town.is_answered(client, &question));
        }
        town.settle();
        // Twice, for those whose address was still another's the first time.
        for _ in 0..2 {
            (0..CLIENTS).for_each(|client| drop(town.ask(client)));
            town.run_for(Duration::from_secs(10));
        }
        for client in 0..CLIENTS {
            let question = town.ask(client);
            town.run_for(Duration::from_secs(1));
            assert!(town.is_answered(client, &question), "seed {seed}, client {client}");
        }
        town.everybody_is_found();
        let established = town.world.log.iter().filter(|(_, note)| *note == Note::Established);
        assert_eq!(established.count(), CLIENTS);
        assert_eq!((town.world.server.sessions().count(), town.world.server.handshakes()), (CLIENTS, 0));
        moves += town.moves;
        unproven += town.unproven;
        rebound += town.world.net.nat.as_ref().unwrap().rebound;
    }
    println!(
        "{version}: {rebound} addresses, {moves} moves, {answered} of {asked} answered, {unproven} not proven yet"
    );
    assert!(moves > 500 && answered * 3 > asked);
}

/// Peers that know no return routability checks: the application sends each answer with a token, and when that comes back
/// while answers go to where the token went, the peer has shown that it receives there (RFC 9175 §2.4). A thief who is
/// faster with the peer's own records gets tokens, and has nobody to send them back for him.
#[cfg(feature = "connection-id")]
#[test]
fn the_application_finds_peers_that_move() {
    let thief = path_from([198, 51, 100, 66], 6_666);
    let (mut moves, mut rebound, mut thefts) = (0, 0, 0);
    for seed in 0..100 {
        let mut world = Small::with_config(seed, ONE_BYTE);
        let mut rng = seeded(seed);
        let mut raw = RawClient::new(IDENTITY, KEY, seed);
        raw.side.own_id = Some(b"me".to_vec());
        raw.hello.extensions.as_mut().unwrap().push((EXT_CONNECTION_ID, vec8(b"me")));
        world.raw_handshake(path(0), &mut raw);
        let session = world.session_of(&path(0)).unwrap();
        let mut nat = Nat::new(seed, addresses(3), 3_000..=20_000);
        let mut issued: Vec<(u8, Path)> = Vec::new();
        let mut token = 0;
        for n in 1..=100_u8 {
            let at_rest = n > 97;
            if at_rest {
                nat.settle(world.now);
            }
            world.now = world.now + Duration::from_millis(rng.random_range(100..2_000));
            let from = nat.outside(path(0), world.now);
            let question = raw.side.data(&[n, token]);
            if !at_rest && rng.random_bool(0.2) {
                continue;
            }
            let stolen = !at_rest && rng.random_bool(0.1);
            for by in stolen.then_some(thief).into_iter().chain([from]) {
                let told = world.log.len();
                assert!(world.hit(by, &question).is_empty(), "nobody is asked who cannot answer");
                let [(at, Note::Data(data))] = &world.log[told..] else {
                    assert!(stolen && by == from, "the thief's copy was first");
                    continue;
                };
                assert_eq!(*data, [n, token]);
                let (mut buf, at) = ([0; 64], *at);
                let (len, to) = world.server.send(&at, &[n], &mut buf).unwrap();
                assert_eq!(to, by, "answers go to where the newest record came from");
                if issued.contains(&(token, to)) {
                    moves += usize::from(world.server.prove_address(&at).is_some());
                }
                issued.push((n, to));
                if to == from && (at_rest || rng.random_bool(0.8)) {
                    token = raw.side.open(&[buf[..len].to_vec()])[0].1[0];
                }
            }
            thefts += usize::from(stolen);
            assert_eq!(world.session_of(&thief), None);
            assert_eq!(world.server.sessions().next().map(|(_, peer)| peer.session), Some(session));
        }
        let now = world.now;
        world.assert_raw_data_flows(nat.outside(path(0), now), &mut raw);
        rebound += nat.rebound;
    }
    println!("{rebound} addresses, {moves} moves, {thefts} thefts");
    assert!(moves > rebound / 2 && thefts > 500);
}

/// Without them, a client that the server cannot find has to begin anew, and gets through where it is now.
#[test]
fn clients_without_connection_ids_begin_anew() {
    support::versions().for_each(|(version, config)| clients_begin_anew(version, config));
}

fn clients_begin_anew(version: &str, config: Config<'static>) {
    let (mut again, mut rebound) = (0, 0);
    for seed in 0..30 {
        let config = config.with_handshake_timeout(Duration::from_secs(10));
        let mut town = Town::in_motion(seed, config, 0.1);
        let mut rng = seeded(seed);
        let mut unanswered = [0; CLIENTS];
        for _ in 0..200 {
            let client = rng.random_range(0..CLIENTS);
            again += usize::from(ask_or_reconnect(&mut town, client, &mut unanswered[client], &mut rng));
        }
        town.settle();
        for (client, unanswered) in unanswered.iter_mut().enumerate() {
            for _ in 0..10 {
                again += usize::from(ask_or_reconnect(&mut town, client, unanswered, &mut rng));
            }
            let question = town.ask(client);
            town.run_for(Duration::from_secs(1));
            assert!(town.is_answered(client, &question), "seed {seed}, client {client}");
        }
        town.everybody_is_found();
        assert_eq!(town.moves, 0);
        town.run_for(Duration::from_secs(60));
        assert_eq!(town.world.server.handshakes(), 0);
        rebound += town.world.net.nat.as_ref().unwrap().rebound;
    }
    println!("{version}: {rebound} addresses, {again} new handshakes");
    assert!(again > 100);
}

/// Asks, and begins anew after the third time without an answer, or when there was no handshake: whether it did.
fn ask_or_reconnect(town: &mut Town, client: usize, unanswered: &mut u8, rng: &mut ChaCha8Rng) -> bool {
    let question = town.ask(client);
    town.run_for(Duration::from_millis(rng.random_range(600..3_000)));
    let is_established = town.world.clients[client].is_established();
    let failed = town.world.clients[client].log.iter().any(|note| matches!(note, Note::Failed(_)));
    *unanswered =
        if town.is_answered(client, &question) { 0 } else { *unanswered + u8::from(is_established) };
    let gives_up = failed || *unanswered == 3;
    if gives_up {
        *unanswered = 0;
        town.reconnect(client);
    }
    gives_up
}

/// The address changes at any moment of a handshake. At worst the client has to try again. With connection IDs it need not
/// even then, unless something is lost as well: its Finished is under way from where the server's flight has reached it, and
/// from there on the session is found by its ID.
#[test]
fn in_the_middle_of_a_handshake() {
    println!("                       loss  first try  moved by then  tries at most");
    for (version, config) in support::versions() {
        for (name, config, loss) in [
            ("no connection ID", config, 0.0),
            ("no connection ID", config, 0.2),
            ("connection IDs", config.with_connection_id(1), 0.0),
            ("connection IDs", config.with_connection_id(1), 0.2),
        ] {
            let config = config.with_handshake_timeout(Duration::from_secs(20));
            let (mut first_tries, mut moved, mut most) = (0, 0, 0);
            for seed in 0..300 {
                let (tries, moves) = move_once(seed, config, loss);
                first_tries += usize::from(tries == 1);
                moved += usize::from(tries == 1 && moves > 0);
                most = most.max(tries);
            }
            println!("{version:3}  {name:16}  {:>3.0}%  {first_tries:9}  {moved:13}  {most}", 100.0 * loss);
            let has_ids = cfg!(feature = "connection-id") && name == "connection IDs";
            assert_eq!(moved > 0, has_ids);
            // A cookie of DTLS 1.3 that comes from elsewhere ends the handshake (RFC 9147 §5.1), where one of 1.2 is replaced.
            let least = if version == "1.2" { 300 } else { 250 };
            assert!(loss > 0.0 || first_tries >= least || !has_ids, "{first_tries}");
            assert!(most <= if loss > 0.0 { 5 } else { 2 });
        }
    }
}

/// A client whose address changes once, early on: how often it had to connect, and how often its session moved.
fn move_once(seed: u64, config: Config<'static>, loss: f64) -> (usize, usize) {
    let mut town = Town::new(seed, config);
    town.world.clients.truncate(1);
    town.world.net.conditions = Conditions { loss, delay: 50..=300, ..Conditions::PERFECT };
    let keeps = seeded(seed).random_range(1..2_500);
    town.world.net.nat = Some(Nat::new(seed, addresses(2), keeps..=keeps));
    town.run_for(Duration::from_millis(keeps));
    town.world.net.nat.as_mut().unwrap().settle(town.world.now);
    let mut tries = 1;
    for _ in 0..50 {
        town.run_for(Duration::from_secs(5));
        let failed = town.world.clients[0].log.iter().any(|note| matches!(note, Note::Failed(_)));
        // Three questions are enough to know that the server cannot find the session.
        let mut is_answered = false;
        for _ in 0..3 {
            let question = town.ask(0);
            town.run_for(Duration::from_secs(1));
            is_answered |= town.is_answered(0, &question);
        }
        if is_answered {
            // Three challenges may have been lost by now. Then its next record is what has it asked again.
            town.world.net.conditions = Conditions::PERFECT;
            for _ in 0..2 {
                town.ask(0);
                town.run_for(Duration::from_secs(10));
            }
            let after = town.world.net.outside(path(0), town.world.now);
            assert_eq!(town.world.server.peer(&after).map(|peer| peer.identity), Some(&identity(0)[..]));
            return (tries, town.moves);
        }
        if failed || town.world.clients[0].is_established() {
            tries += 1;
            town.reconnect(0);
        }
    }
    panic!("seed {seed}: never found again");
}
