//! The server, and the client that plays the symbols against it.

use std::collections::HashMap;

use dtls_psk::{CipherSuite, Config, Endpoint, Path, ProtocolVersion, Psk, Storage};
use rand::rngs::ChaCha8Rng;

use super::Symbol;
use super::model::{DATA, Model};
use crate::course::{Course, Pace, config};
use crate::outcome::{self, FATAL, Seen, WARNING};
use crate::support::craft::*;
use crate::support::raw13::*;
use crate::support::world::{Note, leak, path, psk};
use crate::support::{IDENTITY, KEY, seeded};
use crate::walk::{Ending, Rest, State, Subject};

/// Longer than any sequence, and the steps of the honest client behind it.
const MAX_STARTS: u8 = 20;
/// Of the server's randomness, the same for each sequence. So its cookies are the same, and its keys are only a few.
const SEED: u64 = 1;

/// What a client that begins anew says, and the client as it is then.
struct Start {
    hello: Vec<u8>,
    with_cookie: Vec<u8>,
    with_wrong_cookie: Vec<u8>,
    with_wrong_binder: Vec<u8>,
    without_key: Vec<u8>,
    client: RawClient13,
}

type Known = HashMap<[u8; 64], RawClient13>;

/// A server with one slot for a handshake and one for a session, so that one that leaks is missed at once.
pub struct Server {
    pace: Pace,
    config: &'static Config<'static>,
    key: Psk<'static>,
    storage: Storage<1, 1>,
    /// One for each time that the client begins anew.
    starts: Vec<Start>,
    with_other_suites: Vec<u8>,
    /// Clients that have computed their keys, by both randoms.
    clients: Known,
}

impl Server {
    pub fn new(pace: Pace) -> Self {
        let config = config(&[ProtocolVersion::Dtls13]).with_suites(&[CipherSuite::Aes128Ccm8Sha256]);
        let mut server = Self {
            pace,
            config: leak(config),
            key: psk(IDENTITY, KEY),
            storage: Storage::new(),
            starts: Vec::new(),
            with_other_suites: Vec::new(),
            clients: HashMap::new(),
        };
        server.learn_cookies();
        server
    }

    /// Has the server give each hello its cookie.
    fn learn_cookies(&mut self) {
        let mut game = Game::new(self);
        let start = |game: &mut Game<'_>, seed: u8| {
            let mut client = RawClient13::new(IDENTITY, KEY, seed);
            let hello = client.hello();
            client.follow(&game.receive(&hello).1);
            let spoilt = |spoil: &dyn Fn(&mut RawClient13)| {
                let mut client = client.clone();
                spoil(&mut client);
                client.hello()
            };
            let with_wrong_cookie =
                spoilt(&|client| *client.extensions().last_mut().unwrap().1.last_mut().unwrap() ^= 1);
            let with_wrong_binder = spoilt(&|client| client.offered[0].1 = b"another key".to_vec());
            let without_key = spoilt(&|client| client.offered.clear());
            let with_cookie = client.hello();
            Start { hello, with_cookie, with_wrong_cookie, with_wrong_binder, without_key, client }
        };
        let starts = (1..=MAX_STARTS).map(|seed| start(&mut game, seed)).collect();
        let mut other = start(&mut game, MAX_STARTS + 1).client;
        drop(game);
        // TLS_CHACHA20_POLY1305_SHA256.
        other.hello.suites = vec![0x1303];
        other.message_seq = 1;
        (self.starts, self.with_other_suites) = (starts, other.hello());
    }
}

impl Subject for Server {
    type Symbol = Symbol;

    fn play(&mut self, next: &mut dyn FnMut(Symbol) -> Option<Symbol>, rest: Rest) -> Ending {
        let mut game = Game::new(self);
        while let Some(symbol) = next(game.model.honest()) {
            game.step(symbol);
        }
        let state = match (&game.model.session, &game.model.handshake) {
            (Some(_), _) => Some(State::Session),
            (None, Some(_)) => Some(State::Handshake),
            (None, None) => None,
        };
        let ending = game.course.ending(state);
        game.rest(rest);
        ending
    }
}

/// One sequence.
struct Game<'s> {
    course: Course<Symbol>,
    starts: &'s [Start],
    with_other_suites: &'s [u8],
    known_clients: &'s mut Known,
    server: Endpoint<'s, 1, 1>,
    rng: ChaCha8Rng,
    path: Path,
    /// The client, once for each handshake that it has begun.
    clients: Vec<RawClient13>,
    /// Which of them has the session.
    of_session: usize,
    /// The records that the server's flight was in the last time.
    flight: Vec<(u64, u64)>,
    /// For who has no keys yet: of the handshake, and of a session.
    strangers: [Direction; 2],
    /// The record that was delivered last.
    delivered: Vec<u8>,
    /// The last KeyUpdate.
    update: Vec<u8>,
    model: Model,
}

impl<'s> Game<'s> {
    fn new(server: &'s mut Server) -> Self {
        let mut rng = seeded(SEED);
        let strangers = [2, 3].map(Direction::stranger);
        Self {
            course: Course::new(server.pace),
            starts: &server.starts,
            with_other_suites: &server.with_other_suites,
            known_clients: &mut server.clients,
            server: Endpoint::new(server.config, &server.key, &mut server.storage, &mut rng).unwrap(),
            rng,
            path: path(0),
            clients: Vec::new(),
            of_session: 0,
            flight: Vec::new(),
            delivered: strangers[1].clone().seal(APPLICATION_DATA, DATA),
            update: strangers[1].clone().seal(HANDSHAKE, DATA),
            strangers,
            model: Model::new(server.pace == Pace::Slow),
        }
    }

    fn receive(&mut self, datagram: &[u8]) -> (Option<Note>, Vec<Vec<u8>>) {
        let mut datagram = datagram.to_vec();
        let mut incoming = self.server.receive(&mut datagram, self.path, &mut self.rng, self.course.now);
        let told = incoming.next().map(Note::from);
        assert!(incoming.next().is_none(), "one record, two events");
        (told, self.answers())
    }

    fn answers(&mut self) -> Vec<Vec<u8>> {
        let mut buf = [0; 512];
        let server = &mut self.server;
        std::iter::from_fn(|| server.poll_transmit(&mut buf).unwrap().map(|(len, _)| buf[..len].to_vec()))
            .collect()
    }

    /// Plays one symbol, and checks everything that can be seen.
    #[track_caller]
    fn step(&mut self, symbol: Symbol) {
        self.course.next(symbol);
        let (told, answers) = if symbol == Symbol::Timeout {
            self.time_out()
        } else {
            let datagram = self.datagram(symbol);
            let received = self.receive(&datagram);
            if let (Some(Note::Data(_)), _) = &received {
                self.delivered = datagram;
            }
            received
        };
        let before = self.model.clone();
        let expected = self.model.step(symbol);
        if self.model.handshake.is_some() && (before.handshake.is_none() || self.model.starts > before.starts)
        {
            self.begin(&answers);
        }
        if told == Some(Note::Established) {
            self.of_session = self.clients.len() - 1;
        }
        let updates =
            [before.session, self.model.session].map(|session| session.map(|session| session.updates));
        if symbol == Symbol::KeyUpdate && updates[0] != updates[1] {
            self.session_keys().update();
        }
        self.note_flight(&answers);
        let seen = Seen { told, answered: outcome::parts13(&answers, |record| self.open(record)) };
        self.course.check(seen, &expected);
        assert!(answers.len() <= 1, "{} datagrams", answers.len());
        assert_eq!(self.server.peer(&self.path).is_some(), self.model.session.is_some(), "a session");
        let count = usize::from(self.model.session.is_some());
        assert_eq!(self.server.sessions().count(), count);
        let handshakes = usize::from(self.model.handshake.is_some());
        assert_eq!(self.server.handshakes(), handshakes, "slots that are held");
        assert_eq!(self.server.poll_timeout().is_some(), handshakes == 1, "a timer runs");
    }

    fn time_out(&mut self) -> (Option<Note>, Vec<Vec<u8>>) {
        let Some(at) = self.server.poll_timeout() else { return (None, self.answers()) };
        self.course.now = self.course.now.max(at);
        let over = self.server.handle_timeout(self.course.now);
        assert!(self.server.handle_timeout(self.course.now).is_none());
        (over.map(|(_, error)| Note::Refused(error)), self.answers())
    }

    /// The client takes the server's flight and computes its keys.
    fn begin(&mut self, flight: &[Vec<u8>]) {
        let start = &self.starts[self.model.starts];
        let mut randoms = [0; 64];
        randoms[..32].copy_from_slice(&start.client.hello.random);
        randoms[32..].copy_from_slice(&flight[0][27..59]);
        let client = self.known_clients.entry(randoms).or_insert_with(|| {
            let mut client = start.client.clone();
            client.take_flight(flight);
            client
        });
        self.clients.push(client.clone());
    }

    /// The numbers of the records, if this is the server's flight.
    fn note_flight(&mut self, answers: &[Vec<u8>]) {
        let [datagram] = answers else { return };
        let Some(client) = self.clients.last() else { return };
        if datagram[..2] == [HANDSHAKE, 0xFE]
            && datagram[13] == SERVER_HELLO
            && datagram[27..59] != retry_random()
        {
            let number = datagram[5..11].iter().fold(0, |number, byte| number << 8 | u64::from(*byte));
            let sealed = client.handshake.as_ref().unwrap().read.open_all(answers);
            self.flight =
                std::iter::once((0, number)).chain(sealed.iter().map(|(.., number)| (2, *number))).collect();
        }
    }

    /// What a symbol is now.
    fn datagram(&mut self, symbol: Symbol) -> Vec<u8> {
        let starts = self.model.starts;
        let start = &self.starts[starts];
        let finished =
            self.clients.last().map_or_else(|| message(FINISHED, 2, &[7; 32]), RawClient13::finished);
        let update = |body: &[u8], seq| message(KEY_UPDATE, seq, body);
        // Behind the Finished, and behind the KeyUpdates before it.
        let due = 3 + self.model.session.map_or(0, |session| session.updates) as u16;
        match symbol {
            Symbol::Hello => start.hello.clone(),
            Symbol::HelloWithCookie => start.with_cookie.clone(),
            Symbol::HelloWithWrongCookie => start.with_wrong_cookie.clone(),
            Symbol::HelloWithWrongBinder => start.with_wrong_binder.clone(),
            Symbol::HelloWithoutKey => start.without_key.clone(),
            Symbol::HelloWithOtherSuites => self.with_other_suites.to_vec(),
            Symbol::HelloAfterReboot => self.starts[starts + 1].with_cookie.clone(),
            Symbol::SealedHello => {
                let hello = message(CLIENT_HELLO, 2, &start.client.hello.body());
                self.newest().seal(HANDSHAKE, &hello)
            }
            Symbol::EncryptedExtensions => {
                self.newest().seal(HANDSHAKE, &message(ENCRYPTED_EXTENSIONS, 2, &[0, 0]))
            }
            Symbol::Finished => self.newest().seal(HANDSHAKE, &finished),
            Symbol::WrongFinished => {
                let mut wrong = finished;
                *wrong.last_mut().unwrap() ^= 1;
                self.newest().seal(HANDSHAKE, &wrong)
            }
            Symbol::ForgedFinished => self.newest().forge(HANDSHAKE, &finished),
            Symbol::PlainFinished => record(HANDSHAKE, 0, 92, &finished),
            Symbol::AckOfFlight => {
                let body = ack(&self.flight);
                self.newest().seal(ACK, &body)
            }
            Symbol::AckOfNothing => self.newest().seal(ACK, &ack(&[])),
            Symbol::PlainAck => record(ACK, 0, 93, &ack(&self.flight)),
            Symbol::SessionAck => self.session_keys().seal(ACK, &ack(&[(3, 0)])),
            Symbol::KeyUpdate if self.model.may_update() => {
                self.update = self.session_keys().seal(HANDSHAKE, &update(&[0], due));
                self.update.clone()
            }
            Symbol::KeyUpdate => self.update.clone(),
            Symbol::WrongKeyUpdate => self.session_keys().seal(HANDSHAKE, &update(&[2], due)),
            Symbol::EarlyKeyUpdate => self.newest().seal(HANDSHAKE, &update(&[0], 2)),
            Symbol::NewSessionTicket => {
                let ticket = [&[0, 0, 0, 60][..], &[0; 4], &vec8(&[0]), &vec16(b"ticket"), &[0, 0]].concat();
                self.session_keys().seal(HANDSHAKE, &message(NEW_SESSION_TICKET, due, &ticket))
            }
            Symbol::RequestConnectionId => {
                self.session_keys().seal(HANDSHAKE, &message(REQUEST_CONNECTION_ID, due, &[1]))
            }
            Symbol::Data => self.session_keys().seal(APPLICATION_DATA, DATA),
            Symbol::EarlyData => self.newest().seal(APPLICATION_DATA, DATA),
            Symbol::ReplayedData => self.delivered.clone(),
            Symbol::ForgedData => self.session_keys().forge(APPLICATION_DATA, DATA),
            Symbol::PlainData => record(APPLICATION_DATA, 0, 94, DATA),
            Symbol::UserCanceled => self.session_keys().seal(ALERT, &[WARNING, USER_CANCELED]),
            Symbol::FatalAlert => self.session_keys().seal(ALERT, &[FATAL, HANDSHAKE_FAILURE]),
            Symbol::MildFatalAlert => self.session_keys().seal(ALERT, &[WARNING, HANDSHAKE_FAILURE]),
            Symbol::EarlyFatalAlert => self.newest().seal(ALERT, &[FATAL, HANDSHAKE_FAILURE]),
            Symbol::ForgedFatalAlert => self.session_keys().forge(ALERT, &[FATAL, HANDSHAKE_FAILURE]),
            Symbol::PlainFatalAlert => record(ALERT, 0, 95, &[FATAL, HANDSHAKE_FAILURE]),
            Symbol::CloseNotify => self.session_keys().seal(ALERT, &[WARNING, CLOSE_NOTIFY]),
            Symbol::PlainCloseNotify => record(ALERT, 0, 96, &[WARNING, CLOSE_NOTIFY]),
            Symbol::Timeout => unreachable!("no datagram"),
        }
    }

    /// The keys of the client's newest handshake, in the epoch of handshakes.
    fn newest(&mut self) -> &mut Direction {
        match self.clients.last_mut() {
            Some(client) => &mut client.handshake.as_mut().unwrap().write,
            None => &mut self.strangers[0],
        }
    }

    /// The keys of the session, or else what those of the newest handshake would be.
    fn session_keys(&mut self) -> &mut Direction {
        let client = match self.model.session {
            Some(_) => self.clients.get_mut(self.of_session),
            None => self.clients.last_mut(),
        };
        client.map_or(&mut self.strangers[1], |client| &mut client.side().write)
    }

    /// Opens the first record of an answer with the newest keys, or with those of the session that there is or was.
    fn open(&self, record: &[u8]) -> Option<(u64, u8, Vec<u8>, usize)> {
        let clients = [self.clients.last(), self.clients.get(self.of_session)];
        let sides = clients.into_iter().flatten().flat_map(|client| [&client.handshake, &client.session]);
        sides.flatten().find_map(|side| {
            let (content_type, body, _, rest) = side.read.open(record)?;
            Some((side.read.epoch, content_type, body, rest.len()))
        })
    }

    /// A session carries data; and so on.
    fn rest(&mut self, rest: Rest) {
        if self.model.session.is_none() {
            match rest {
                Rest::Data => return,
                Rest::HonestPeer => {
                    while self.model.session.is_none() {
                        self.step(self.model.honest());
                    }
                }
                Rest::Silence => return self.fall_silent(),
            }
        }
        self.step(Symbol::Data);
        let mut buf = [0; 64];
        let (len, _) = self.server.send(&self.path, b"yes", &mut buf).unwrap();
        let read = &self.clients[self.of_session].session.as_ref().unwrap().read;
        let (content_type, data, ..) = read.open(&buf[..len]).expect("the server's data");
        assert_eq!((content_type, &data[..]), (APPLICATION_DATA, &b"yes"[..]));
    }

    /// By the deadline, the slot is free again.
    fn fall_silent(&mut self) {
        self.course.pass_deadline();
        let over = self.server.handle_timeout(self.course.now).map(|(_, error)| error);
        assert_eq!(over, self.model.silence());
        assert_eq!((self.server.handshakes(), self.server.poll_timeout()), (0, None));
        assert!(self.answers().is_empty());
    }
}
