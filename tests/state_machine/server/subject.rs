//! The server, and the client that plays the symbols against it.

use std::collections::HashMap;

use dtls_psk::{Config, Endpoint, Path, ProtocolVersion, Psk, Storage};
use rand::rngs::ChaCha8Rng;

use super::Symbol;
use super::model::{DATA, LAST_FLIGHT, Model};
use crate::course::{Course, Pace, config};
use crate::keys::{forged, stranger};
use crate::outcome::{self, FATAL, Seen, WARNING};
#[cfg(feature = "resumption")]
use crate::shelf::{Kept, Shelf};
use crate::support::craft::*;
use crate::support::peer::Direction;
use crate::support::raw::RawClient;
use crate::support::world::{Note, leak, path, psk};
use crate::support::{IDENTITY, KEY, parse, seeded};
use crate::walk::{Ending, Rest, State, Subject};

/// Longer than any sequence, and the steps of the honest client behind it.
const MAX_STARTS: u64 = 20;
/// Of the server's randomness, the same for each sequence. So its cookies are the same, and its keys are only a few.
const SEED: u64 = 1;

/// What a client that begins anew says, and the client as it is then.
struct Start {
    hello: Vec<u8>,
    with_cookie: Vec<u8>,
    with_wrong_cookie: Vec<u8>,
    client: RawClient,
}

type Known = HashMap<([u8; 64], bool), RawClient>;

/// A server with one slot for a handshake and one for a session, so that one that leaks is missed at once.
pub struct Server {
    pace: Pace,
    /// The client's connection ID; empty for none.
    id: &'static [u8],
    config: &'static Config<'static>,
    key: Psk<'static>,
    storage: Storage<1, 1>,
    /// One for each time that the client begins anew; with the wish to resume a session, and without.
    starts: [Vec<Start>; 2],
    with_other_suites: Vec<u8>,
    /// Clients that have computed their keys, by both randoms and whether a session is resumed.
    clients: Known,
    #[cfg(feature = "resumption")]
    kept: Option<Kept>,
}

impl Server {
    pub fn new(pace: Pace) -> Self {
        Self::with_config(pace, config(&[ProtocolVersion::Dtls12]), b"")
    }

    /// A server whose records have connection IDs, and so have the client's.
    #[cfg(feature = "connection-id")]
    pub fn with_connection_ids(pace: Pace) -> Self {
        Self::with_config(pace, config(&[ProtocolVersion::Dtls12]).with_connection_id(4), b"id")
    }

    fn with_config(pace: Pace, config: Config<'static>, id: &'static [u8]) -> Self {
        let mut server = Self {
            pace,
            id,
            config: leak(config),
            key: psk(IDENTITY, KEY),
            storage: Storage::new(),
            starts: [Vec::new(), Vec::new()],
            with_other_suites: Vec::new(),
            clients: HashMap::new(),
            #[cfg(feature = "resumption")]
            kept: None,
        };
        server.learn_cookies(&[]);
        server
    }

    /// A server that has kept a session.
    #[cfg(feature = "resumption")]
    pub fn that_resumes(pace: Pace) -> Self {
        let shelf = leak(Shelf::default());
        let mut server =
            Self::with_config(pace, config(&[ProtocolVersion::Dtls12]).with_resumption(shelf), b"");
        let mut game = Game::new(&mut server);
        // Not one that a sequence comes to: with the same randomness, it would be the same session.
        let start = game.starts[0].last().unwrap();
        let flight = game.hit(&start.with_cookie);
        let mut client = start.client.clone();
        let id = RawClient::session_id_of(&flight);
        client.take_server_flight(&flight);
        client.exchange_keys();
        let last = game.hit(&client.key_flight());
        client.take_last_flight(&last);
        drop(game);
        server.kept = Some(Kept { shelf, master: client.side.master });
        server.learn_cookies(&id);
        server
    }

    /// Has the server give each hello its cookie.
    fn learn_cookies(&mut self, session_id: &[u8]) {
        let start = |game: &mut Game<'_>, seed: u64, session_id: &[u8], suite: u16| {
            let mut client = RawClient::new(IDENTITY, KEY, seed);
            if !game.id.is_empty() {
                client = client.with_connection_id(game.id);
            }
            client.hello.session_id = session_id.to_vec();
            client.hello.suites = vec![suite, SCSV];
            let hello = client.hello();
            client.follow(&game.hit(&hello));
            let mut wrong = client.clone();
            wrong.hello.cookie[0] ^= 1;
            let (with_cookie, with_wrong_cookie) = (client.hello(), wrong.hello());
            Start { hello, with_cookie, with_wrong_cookie, client }
        };
        let mut game = Game::new(self);
        let starts = [(&[][..], 0), (session_id, MAX_STARTS)].map(|(session_id, first)| {
            (first..first + MAX_STARTS).map(|seed| start(&mut game, seed, session_id, CCM_8)).collect()
        });
        // TLS_PSK_WITH_AES_256_CCM_8.
        let other = start(&mut game, 2 * MAX_STARTS, &[], 0xC0A9);
        drop(game);
        (self.starts, self.with_other_suites) = (starts, other.with_cookie);
    }
}

impl Subject for Server {
    type Symbol = Symbol;

    fn play(&mut self, next: &mut dyn FnMut(Symbol) -> Option<Symbol>, rest: Rest) -> Ending {
        #[cfg(feature = "resumption")]
        if let Some(Kept { shelf, .. }) = &self.kept {
            shelf.put_back();
        }
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
    id: &'static [u8],
    starts: &'s [Vec<Start>; 2],
    with_other_suites: &'s [u8],
    known_clients: &'s mut Known,
    #[cfg(feature = "resumption")]
    kept: Option<&'s Kept>,
    server: Endpoint<'s, 1, 1>,
    rng: ChaCha8Rng,
    path: Path,
    /// The client, once for each handshake that it has begun.
    clients: Vec<RawClient>,
    /// Which of them has the session.
    of_session: usize,
    stranger: Direction,
    /// The record that was delivered last.
    delivered: Vec<u8>,
    model: Model,
}

impl<'s> Game<'s> {
    fn new(server: &'s mut Server) -> Self {
        #[cfg(feature = "resumption")]
        let (kept, is_kept) = (server.kept.as_ref(), server.kept.is_some());
        #[cfg(not(feature = "resumption"))]
        let is_kept = false;
        let mut rng = seeded(SEED);
        Self {
            course: Course::new(server.pace),
            id: server.id,
            starts: &server.starts,
            with_other_suites: &server.with_other_suites,
            known_clients: &mut server.clients,
            #[cfg(feature = "resumption")]
            kept,
            server: Endpoint::new(server.config, &server.key, &mut server.storage, &mut rng).unwrap(),
            rng,
            path: path(0),
            clients: Vec::new(),
            of_session: 0,
            stranger: stranger(),
            delivered: stranger().seal(APPLICATION_DATA, DATA),
            model: Model::new(is_kept, !server.id.is_empty(), server.pace == Pace::Slow),
        }
    }

    /// Hands the server a datagram, and returns its answers.
    fn hit(&mut self, datagram: &[u8]) -> Vec<Vec<u8>> {
        let (notes, answers) = self.receive(datagram);
        assert!(notes.is_none_or(|note| note == Note::Established));
        answers
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
        let has_begun = self.model.handshake.is_some();
        let expected = self.model.step(symbol);
        if !has_begun && self.model.handshake.is_some() || starts_anew(symbol) {
            self.begin(&answers);
        }
        if told == Some(Note::Established) {
            self.of_session = self.clients.len() - 1;
            if expected.answered == LAST_FLIGHT {
                self.clients[self.of_session].take_last_flight(&answers);
            }
        }
        let seen = self.seen(told, &answers);
        self.course.check(seen, &expected);
        assert!(answers.len() <= 1, "{} datagrams", answers.len());
        let peer = self.server.peer(&self.path);
        let resumed = self.model.session.as_ref().map(|session| session.resumed);
        assert_eq!(peer.map(|peer| peer.resumed), resumed, "whether there is a session, and a resumed one");
        assert_eq!(self.server.sessions().count(), usize::from(resumed.is_some()));
        let handshakes = usize::from(self.model.handshake.is_some());
        assert_eq!(self.server.handshakes(), handshakes, "slots that are held");
        assert_eq!(self.server.poll_timeout().is_some(), handshakes == 1, "a timer runs");
        #[cfg(feature = "resumption")]
        if let Some(Kept { shelf, .. }) = self.kept {
            assert_eq!(shelf.is_kept(), self.model.is_kept, "whether the session can be resumed");
        }
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
        let start = &self.starts[usize::from(self.model.resumes)][self.model.starts];
        let server_random = flight[0][27..59].try_into().unwrap();
        let randoms = [start.client.side.client_random, server_random];
        let randoms: [u8; 64] = randoms.as_flattened().try_into().unwrap();
        let resumes = self.model.handshake.is_some_and(|handshake| handshake.resumes);
        let client = self.known_clients.entry((randoms, resumes)).or_insert_with(|| {
            let mut client = start.client.clone();
            #[cfg(feature = "resumption")]
            if resumes {
                client.take_resumption(flight, &self.kept.unwrap().master);
                return client;
            }
            client.take_server_flight(flight);
            client.exchange_keys();
            client
        });
        self.clients.push(client.clone());
    }

    /// What a symbol is now.
    fn datagram(&mut self, symbol: Symbol) -> Vec<u8> {
        let due = self.model.due();
        let starts = self.model.starts;
        let start = &self.starts[usize::from(self.model.resumes)][starts];
        let anew = |resumes: usize| self.starts[resumes][starts + 1].with_cookie.clone();
        let plain_message =
            |msg_type, seq, body: &[u8]| record(HANDSHAKE, 0, 90, &message(msg_type, seq, body));
        let key_exchange = |seq, identity: &[u8]| plain_message(CLIENT_KEY_EXCHANGE, seq, &vec16(identity));
        let finished = self
            .clients
            .last()
            .map_or_else(|| message(FINISHED, due, &[7; 12]), |client| client.finished_message().to_vec());
        match symbol {
            Symbol::Hello => start.hello.clone(),
            Symbol::HelloWithCookie => start.with_cookie.clone(),
            Symbol::HelloWithWrongCookie => start.with_wrong_cookie.clone(),
            Symbol::HelloWithOtherSuites => self.with_other_suites.to_vec(),
            Symbol::HelloAfterReboot => anew(0),
            Symbol::HelloToResume => anew(1),
            Symbol::SealedHello => {
                let hello = message(CLIENT_HELLO, 0, &start.client.hello.body());
                self.of_session().seal(HANDSHAKE, &hello)
            }
            Symbol::ClientKeyExchange => key_exchange(due, IDENTITY),
            Symbol::ClientKeyExchangeOfUnknown => key_exchange(due, b"nobody"),
            Symbol::ClientKeyExchangeAgain if self.model.has_key_exchange() => key_exchange(2, IDENTITY),
            Symbol::ClientKeyExchangeAgain => key_exchange(due + 1, IDENTITY),
            Symbol::SealedClientKeyExchange => {
                let message = message(CLIENT_KEY_EXCHANGE, due, &vec16(IDENTITY));
                self.newest().seal(HANDSHAKE, &message)
            }
            Symbol::ChangeCipherSpec => record(CHANGE_CIPHER_SPEC, 0, 91, &[1]),
            Symbol::SealedChangeCipherSpec => self.of_session().seal(CHANGE_CIPHER_SPEC, &[1]),
            Symbol::Finished => self.newest().seal(HANDSHAKE, &finished),
            Symbol::WrongFinished => {
                let mut wrong = finished;
                *wrong.last_mut().unwrap() ^= 1;
                self.newest().seal(HANDSHAKE, &wrong)
            }
            Symbol::ForgedFinished => forged(self.newest(), HANDSHAKE, &finished),
            Symbol::PlainFinished => record(HANDSHAKE, 0, 92, &finished),
            Symbol::ServerHelloDone => plain_message(SERVER_HELLO_DONE, due, &[]),
            Symbol::HelloRequest => plain_message(HELLO_REQUEST, due, &[]),
            Symbol::Data => self.of_session().seal(APPLICATION_DATA, DATA),
            Symbol::ReplayedData => self.delivered.clone(),
            Symbol::ForgedData => forged(self.of_session(), APPLICATION_DATA, DATA),
            Symbol::PlainData => record(APPLICATION_DATA, 0, 93, DATA),
            Symbol::Warning => self.of_session().seal(ALERT, &[WARNING, USER_CANCELED]),
            Symbol::FatalAlert => self.of_session().seal(ALERT, &[FATAL, HANDSHAKE_FAILURE]),
            Symbol::ForgedFatalAlert => forged(self.of_session(), ALERT, &[FATAL, HANDSHAKE_FAILURE]),
            Symbol::PlainFatalAlert => record(ALERT, 0, 94, &[FATAL, HANDSHAKE_FAILURE]),
            Symbol::CloseNotify => self.of_session().seal(ALERT, &[WARNING, CLOSE_NOTIFY]),
            Symbol::PlainCloseNotify => record(ALERT, 0, 95, &[WARNING, CLOSE_NOTIFY]),
            Symbol::Timeout => unreachable!("no datagram"),
        }
    }

    /// The keys of the client's newest handshake.
    fn newest(&mut self) -> &mut Direction {
        match self.clients.last_mut() {
            Some(client) => client.side.write.as_mut().unwrap(),
            None => &mut self.stranger,
        }
    }

    /// The keys of the session, or else the newest.
    fn of_session(&mut self) -> &mut Direction {
        match self.model.session {
            Some(_) => self.clients[self.of_session].side.write.as_mut().unwrap(),
            None => self.newest(),
        }
    }

    fn seen(&self, told: Option<Note>, answers: &[Vec<u8>]) -> Seen {
        // The client's newest keys, and those of the session that there is or was.
        let clients = [self.clients.last(), self.clients.get(self.of_session)];
        let open = |record: &parse::Record| {
            let mut keys = clients.iter().flatten().map(|client| client.side.read.as_ref().unwrap());
            keys.find_map(|read| read.open(record))
        };
        Seen { told, answered: outcome::parts(answers, self.id.len(), open) }
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
        let read = &self.clients[self.of_session].side;
        assert_eq!(read.open(&[buf[..len].to_vec()]), [(APPLICATION_DATA, b"yes".to_vec())]);
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

/// Whether the client begins anew.
const fn starts_anew(symbol: Symbol) -> bool {
    matches!(symbol, Symbol::HelloAfterReboot | Symbol::HelloToResume)
}
