//! The client, and the server that plays the symbols against it.

use std::time::Duration;

use dtls_psk::{CipherSuite, Config, Connection, ProtocolVersion, Psk, PskKeyExchangeMode};

use super::Symbol;
use super::model::{self, DATA, Model};
use crate::course::{Course, Pace, START, config};
use crate::outcome::{self, FATAL, Seen, WARNING};
use crate::support::craft::*;
use crate::support::raw13::*;
use crate::support::world::{Note, leak, psk};
use crate::support::{IDENTITY, KEY, seeded};
use crate::walk::{Ending, Rest, State, Subject};

/// Of the client's randomness, the same for each sequence.
const SEED: u64 = 2;

/// Longer than any of the client's timers.
const LONG: Duration = Duration::from_secs(2);

/// Clients, one for each sequence.
pub struct Client {
    pace: Pace,
    config: &'static Config<'static>,
    psk: &'static Psk<'static>,
}

impl Client {
    pub fn new(pace: Pace) -> Self {
        let config = config(&[ProtocolVersion::Dtls13])
            .with_suites(&[CipherSuite::Aes128Ccm8Sha256])
            .with_key_exchange_modes(&[PskKeyExchangeMode::PskKe]);
        Self { pace, config: leak(config), psk: leak(psk(IDENTITY, KEY)) }
    }
}

impl Subject for Client {
    type Symbol = Symbol;

    fn play(&mut self, next: &mut dyn FnMut(Symbol) -> Option<Symbol>, rest: Rest) -> Ending {
        let mut game = Game::new(self);
        while let Some(symbol) = next(game.model.honest()) {
            game.step(symbol);
        }
        let state = match game.model.state {
            model::State::Session { .. } => Some(State::Session),
            model::State::Over => None,
            _ => Some(State::Handshake),
        };
        let ending = game.course.ending(state);
        game.rest(rest);
        ending
    }
}

/// One sequence.
struct Game {
    course: Course<Symbol>,
    client: Connection<'static>,
    server: RawServer13,
    /// The EncryptedExtensions and the Finished of the server, once it has keys.
    messages: [Vec<u8>; 2],
    /// The records with the client's Finished.
    finished: Vec<(u64, u64)>,
    /// For who has no keys yet: of the handshake, and of a session.
    strangers: [Direction; 2],
    /// The record that was delivered last.
    delivered: Vec<u8>,
    /// The last KeyUpdate.
    update: Vec<u8>,
    model: Model,
}

impl Game {
    fn new(subject: &Client) -> Self {
        let client = Connection::client(subject.config, subject.psk, &mut seeded(SEED), START).unwrap();
        let strangers = [2, 3].map(Direction::stranger);
        let mut game = Self {
            course: Course::new(subject.pace),
            client,
            server: RawServer13::new(KEY),
            messages: [message(ENCRYPTED_EXTENSIONS, 1, &[0, 0]), message(FINISHED, 2, &[7; 32])],
            finished: vec![(2, 0)],
            delivered: strangers[1].clone().seal(APPLICATION_DATA, DATA),
            update: strangers[1].clone().seal(HANDSHAKE, DATA),
            strangers,
            model: Model::new(),
        };
        let hello = game.answers();
        game.server.take_hello(&hello);
        game
    }

    fn receive(&mut self, datagram: &[u8]) -> (Option<Note>, Vec<Vec<u8>>) {
        let mut datagram = datagram.to_vec();
        let mut incoming = self.client.receive(&mut datagram, self.course.now);
        let told = incoming.next().map(Note::from);
        assert!(incoming.next().is_none(), "one record, two events");
        (told, self.answers())
    }

    fn answers(&mut self) -> Vec<Vec<u8>> {
        let mut buf = [0; 512];
        let client = &mut self.client;
        std::iter::from_fn(|| client.poll_transmit(&mut buf).unwrap().map(|len| buf[..len].to_vec()))
            .collect()
    }

    /// Plays one symbol, and checks everything that can be seen.
    #[track_caller]
    fn step(&mut self, symbol: Symbol) {
        self.course.next(symbol);
        let mut server = self.server.clone();
        let (told, answers) = match (hello(&mut server, symbol), symbol) {
            (_, Symbol::Timeout) => self.time_out(),
            (Some(datagram), _) => self.receive(&datagram),
            (None, _) => {
                let datagram = self.datagram(symbol);
                let received = self.receive(&datagram);
                if let (Some(Note::Data(_)), _) = &received {
                    self.delivered = datagram;
                }
                received
            }
        };
        let could_update = self.model.may_update();
        let expected = self.model.step(symbol);
        if self.model.was_taken {
            self.on_taken(symbol, server, &answers);
        }
        if expected.answered == [outcome::Part::Ack] && symbol == Symbol::KeyUpdate && could_update {
            self.server.side().write.update();
        }
        if self.model.is_session() && expected.answered == [outcome::Part::Sealed(FINISHED)] {
            self.finished = self.server.take_finished(&answers);
        }
        let seen = Seen { told, answered: outcome::parts13(&answers, |record| self.open(record)) };
        self.course.check(seen, &expected);
        assert_eq!(self.client.peer().is_some(), self.model.is_session(), "whether there is a session");
        assert_eq!(self.client.poll_timeout().is_some(), self.model.is_waiting(), "a timer runs");
    }

    /// Every timer fires that runs.
    fn time_out(&mut self) -> (Option<Note>, Vec<Vec<u8>>) {
        if self.client.poll_timeout().is_none() {
            return (None, self.answers());
        }
        self.course.now = self.course.now + LONG;
        let over = self.client.handle_timeout(self.course.now).err();
        (over.map(Note::Failed), self.answers())
    }

    /// The client has gone on with this message: so does the server that has sent it.
    fn on_taken(&mut self, symbol: Symbol, server: RawServer13, answers: &[Vec<u8>]) {
        match symbol {
            Symbol::HelloRetryRequest => {
                self.server = server;
                self.server.take_hello(answers);
            }
            Symbol::ServerHello => {
                self.server = server;
                self.messages = self.server.encrypted_messages();
            }
            _ => {}
        }
    }

    /// What any symbol is now that is no hello.
    fn datagram(&mut self, symbol: Symbol) -> Vec<u8> {
        let [extensions, finished] = self.messages.clone();
        let plain = |message: &[u8]| record(HANDSHAKE, 0, 92, message);
        let [first, second] =
            [&extensions, &finished].map(|message| u16::from_be_bytes([message[4], message[5]]));
        let due = match self.model.state {
            model::State::Session { messages, .. } => second + 1 + messages,
            model::State::AwaitsFinished => second,
            _ => first,
        };
        let update = |body: &[u8]| message(KEY_UPDATE, due, body);
        match symbol {
            Symbol::EncryptedExtensions => self.newest().seal(HANDSHAKE, &extensions),
            Symbol::WrongEncryptedExtensions => {
                let wrong = message(ENCRYPTED_EXTENSIONS, first, &[0, 4, 0xFF, 0xEE, 0, 0]);
                self.newest().seal(HANDSHAKE, &wrong)
            }
            Symbol::PlainEncryptedExtensions => match self.server.handshake {
                Some(_) => plain(&extensions),
                None => plain(&message(ENCRYPTED_EXTENSIONS, self.server.message_seq, &[0, 0])),
            },
            Symbol::Finished => self.newest().seal(HANDSHAKE, &finished),
            Symbol::WrongFinished => {
                let mut wrong = finished;
                *wrong.last_mut().unwrap() ^= 1;
                self.newest().seal(HANDSHAKE, &wrong)
            }
            Symbol::ForgedFinished => self.newest().forge(HANDSHAKE, &finished),
            Symbol::PlainFinished => plain(&finished),
            Symbol::Ack => {
                let body = ack(&self.finished);
                self.session_keys().seal(ACK, &body)
            }
            Symbol::AckOfNothing => self.session_keys().seal(ACK, &ack(&[(2, 77)])),
            Symbol::EarlyAck => self.newest().seal(ACK, &ack(&[])),
            Symbol::PlainAck => record(ACK, 0, 93, &ack(&self.finished)),
            Symbol::KeyUpdate if self.model.may_update() => {
                self.update = self.session_keys().seal(HANDSHAKE, &update(&[0]));
                self.update.clone()
            }
            Symbol::KeyUpdate => self.update.clone(),
            Symbol::WrongKeyUpdate => self.session_keys().seal(HANDSHAKE, &update(&[2])),
            Symbol::EarlyKeyUpdate => self.newest().seal(HANDSHAKE, &update(&[0])),
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
            other => unreachable!("{other:?} is no such record"),
        }
    }

    /// The server's keys of the handshake.
    fn newest(&mut self) -> &mut Direction {
        self.server.handshake.as_mut().map_or(&mut self.strangers[0], |side| &mut side.write)
    }

    /// The server's keys of the session, which it has as soon as those of the handshake.
    fn session_keys(&mut self) -> &mut Direction {
        self.server.session.as_mut().map_or(&mut self.strangers[1], |side| &mut side.write)
    }

    /// Opens the first record of an answer.
    fn open(&self, record: &[u8]) -> Option<(u64, u8, Vec<u8>, usize)> {
        [&self.server.handshake, &self.server.session].into_iter().flatten().find_map(|side| {
            let (content_type, body, _, rest) = side.read.open(record)?;
            Some((side.read.epoch, content_type, body, rest.len()))
        })
    }

    /// A session carries data; and so on.
    fn rest(&mut self, rest: Rest) {
        if self.model.is_handshake() {
            match rest {
                Rest::Data => return,
                Rest::HonestPeer => {
                    while self.model.is_waiting() {
                        self.step(self.model.honest());
                    }
                }
                Rest::Silence => return self.fall_silent(),
            }
        }
        let mut buf = [0; 64];
        let sent = self.client.send(b"yes", &mut buf);
        assert_eq!(sent.is_ok(), self.model.is_session());
        if let Ok(len) = sent {
            let read = &self.server.session.as_ref().unwrap().read;
            let (content_type, data, ..) = read.open(&buf[..len]).expect("the client's data");
            assert_eq!((content_type, &data[..]), (APPLICATION_DATA, &b"yes"[..]));
        }
        self.step(Symbol::Data);
        if rest == Rest::Silence && self.model.is_session() {
            self.fall_silent();
        }
    }

    /// By the deadline, the client gives up.
    fn fall_silent(&mut self) {
        self.course.pass_deadline();
        let silence = self.model.silence();
        assert_eq!(self.client.handle_timeout(self.course.now).err(), silence);
        assert_eq!(self.client.poll_timeout(), None);
        // A session that the server never acknowledged is closed.
        let seen = outcome::parts13(&self.answers(), |record| self.open(record));
        assert!(seen.is_empty() || self.model.is_session() && silence.is_some(), "{seen:?}");
    }
}

/// The hello that a symbol is, with what the server is once the client has taken it.
fn hello(server: &mut RawServer13, symbol: Symbol) -> Option<Vec<u8>> {
    let plain = |msg_type, seq, body: &[u8]| record(HANDSHAKE, 0, 90, &message(msg_type, seq, body));
    let due = server.message_seq;
    let datagram = match symbol {
        Symbol::HelloRetryRequest => server.ask_for(b"a cookie"),
        Symbol::EmptyHelloRetryRequest => server.retry(vec![(EXT_SUPPORTED_VERSIONS, vec![0xFE, 0xFC])]),
        Symbol::HelloVerifyRequest => {
            plain(HELLO_VERIFY_REQUEST, due, &hello_verify_request(DTLS10, b"cookie"))
        }
        Symbol::OldServerHello => {
            plain(SERVER_HELLO, due, &ServerHello { suite: CCM_8, ..ServerHello::new([0x5E; 32]) }.body())
        }
        Symbol::ServerHello => server.server_hello(),
        Symbol::ServerHelloWithOtherSuite => {
            plain(SERVER_HELLO, due, &ServerHello { suite: 0x1301, ..server.hello.clone() }.body())
        }
        Symbol::ServerHelloWithOtherKey => {
            let mut other = server.hello.clone();
            other.extensions.as_mut().unwrap().last_mut().unwrap().1 = vec![0, 1];
            plain(SERVER_HELLO, due, &other.body())
        }
        Symbol::ServerHelloWithSessionId => {
            let session_id = b"session".to_vec();
            plain(SERVER_HELLO, due, &ServerHello { session_id, ..server.hello.clone() }.body())
        }
        _ => return None,
    };
    Some(datagram)
}
