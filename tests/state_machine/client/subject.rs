//! The client, and the server that plays the symbols against it.

use std::collections::HashMap;

use dtls_psk::{Config, Connection, ProtocolVersion, Psk};

use super::Symbol;
use super::model::{self, DATA, Model};
use crate::course::{Course, Pace, START, config};
use crate::keys::{forged, stranger};
use crate::outcome::{self, FATAL, Seen, WARNING};
#[cfg(feature = "resumption")]
use crate::shelf::{Kept, Shelf};
use crate::support::craft::*;
use crate::support::parse;
use crate::support::peer::Direction;
use crate::support::raw::RawServer;
use crate::support::world::{Note, leak, psk};
use crate::support::{IDENTITY, KEY, seeded};
use crate::walk::{Ending, Rest, State, Subject};

/// Of the client's randomness, the same for each sequence. So its keys are only a few.
const SEED: u64 = 2;

/// Clients, one for each sequence.
pub struct Client {
    pace: Pace,
    /// The server's connection ID; empty for none.
    id: &'static [u8],
    config: &'static Config<'static>,
    psk: &'static Psk<'static>,
    /// Servers that have computed their keys, by the transcript that these come from.
    servers: HashMap<Vec<u8>, RawServer>,
    #[cfg(feature = "resumption")]
    kept: Option<Kept>,
}

const SESSION_ID: &[u8] = b"session";

impl Client {
    pub fn new(pace: Pace) -> Self {
        Self::with_config(pace, config(&[ProtocolVersion::Dtls12]), b"")
    }

    /// A client whose records have connection IDs, and so have the server's.
    #[cfg(feature = "connection-id")]
    pub fn with_connection_ids(pace: Pace) -> Self {
        Self::with_config(pace, config(&[ProtocolVersion::Dtls12]).with_connection_id(4), b"id")
    }

    fn with_config(pace: Pace, config: Config<'static>, id: &'static [u8]) -> Self {
        Self {
            pace,
            id,
            config: leak(config),
            psk: leak(psk(IDENTITY, KEY)),
            servers: HashMap::new(),
            #[cfg(feature = "resumption")]
            kept: None,
        }
    }

    /// A client that has kept a session.
    #[cfg(feature = "resumption")]
    pub fn that_resumes(pace: Pace) -> Self {
        use crate::support::world::AgainstRaw;

        let shelf = leak(Shelf::default());
        let config = config(&[ProtocolVersion::Dtls12]).with_resumption(shelf);
        let mut before = AgainstRaw::with_config(0, config);
        before.server.hello.session_id = SESSION_ID.to_vec();
        before.establish();
        let mut client = Self::with_config(pace, config, b"");
        client.kept = Some(Kept { shelf, master: before.server.side.master });
        client
    }
}

impl Subject for Client {
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
struct Game<'c> {
    course: Course<Symbol>,
    id: &'static [u8],
    known_servers: &'c mut HashMap<Vec<u8>, RawServer>,
    #[cfg(feature = "resumption")]
    kept: Option<&'c Kept>,
    client: Connection<'static>,
    server: RawServer,
    /// The number of the ServerHelloDone that the client has.
    done: Option<u16>,
    stranger: Direction,
    /// The record that was delivered last.
    delivered: Vec<u8>,
    model: Model,
}

impl<'c> Game<'c> {
    fn new(subject: &'c mut Client) -> Self {
        #[cfg(feature = "resumption")]
        let (kept, is_kept) = (subject.kept.as_ref(), subject.kept.is_some());
        #[cfg(not(feature = "resumption"))]
        let is_kept = false;
        let client = Connection::client(subject.config, subject.psk, &mut seeded(SEED), START).unwrap();
        let mut server = RawServer::new(KEY);
        server.side.server_random = server.hello.random;
        server.side.extended_master_secret = true;
        if !subject.id.is_empty() {
            server.side.own_id = Some(subject.id.to_vec());
            server.hello.extensions.as_mut().unwrap().push((EXT_CONNECTION_ID, vec8(subject.id)));
        }
        let mut game = Self {
            course: Course::new(subject.pace),
            id: subject.id,
            known_servers: &mut subject.servers,
            #[cfg(feature = "resumption")]
            kept,
            client,
            server,
            done: None,
            stranger: stranger(),
            delivered: stranger().seal(APPLICATION_DATA, DATA),
            model: Model::new(is_kept, subject.pace == Pace::Slow),
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
        let message = self.message(symbol);
        let (told, answers) = match (&message, symbol) {
            (_, Symbol::Timeout) => self.time_out(),
            (Some(message), _) => self.receive(&record(HANDSHAKE, 0, 90, message)),
            (None, _) => {
                let datagram = self.record(symbol);
                let received = self.receive(&datagram);
                if let (Some(Note::Data(_)), _) = &received {
                    self.delivered = datagram;
                }
                received
            }
        };
        let expected = self.model.step(symbol);
        if let Some(message) = message.filter(|_| self.model.was_taken) {
            self.on_taken(symbol, &message, &answers);
        }
        #[cfg(feature = "resumption")]
        if expected.answered == model::LAST_FLIGHT && told == Some(Note::Established) {
            self.server.take_short_flight(&answers);
        }
        let seen = self.seen(told, &answers);
        self.course.check(seen, &expected);
        assert!(answers.len() <= 1, "{} datagrams", answers.len());
        let resumed = self.client.peer().map(|peer| peer.resumed);
        assert_eq!(resumed, self.model.session(), "whether there is a session, and a resumed one");
        assert_eq!(self.client.poll_timeout().is_some(), self.model.is_handshake(), "a timer runs");
        #[cfg(feature = "resumption")]
        if let Some(Kept { shelf, .. }) = self.kept {
            assert_eq!(shelf.is_kept(), self.model.is_kept, "whether the session can be resumed");
        }
    }

    fn time_out(&mut self) -> (Option<Note>, Vec<Vec<u8>>) {
        let Some(at) = self.client.poll_timeout() else { return (None, self.answers()) };
        self.course.now = self.course.now.max(at);
        let over = self.client.handle_timeout(self.course.now).err();
        (over.map(Note::Failed), self.answers())
    }

    /// The client has gone on with this message: so does the server.
    fn on_taken(&mut self, symbol: Symbol, message: &[u8], answers: &[Vec<u8>]) {
        #[cfg(feature = "resumption")]
        if symbol == Symbol::ServerHelloThatResumes
            && let Some(Kept { master, .. }) = self.kept
        {
            let message_seq = self.server.side.message_seq;
            self.server.hello.session_id = SESSION_ID.to_vec();
            let flight = self.server.resumption(master, None);
            assert_eq!(parse::records(&flight)[0].body, message);
            assert_eq!(self.server.side.message_seq, message_seq + 2);
            return;
        }
        self.server.side.message_seq += 1;
        self.server.side.transcript.extend(message);
        match symbol {
            Symbol::HelloVerifyRequest => drop(self.server.take_hello(answers)),
            Symbol::ServerHelloDone => {
                self.done = Some(self.server.side.message_seq - 1);
                let server = &self.server;
                let known = self.known_servers.entry(server.side.transcript.clone()).or_insert_with(|| {
                    let mut server = server.clone();
                    server.take_key_flight(answers);
                    server
                });
                self.server = known.clone();
            }
            _ => {}
        }
    }

    /// The handshake message in the clear that a symbol is now, if it is one.
    fn message(&self, symbol: Symbol) -> Option<Vec<u8>> {
        let due = self.server.side.message_seq;
        let hello = &self.server.hello;
        let message = match symbol {
            Symbol::HelloVerifyRequest => {
                message(HELLO_VERIFY_REQUEST, due, &hello_verify_request(DTLS10, b"cookie"))
            }
            Symbol::ServerHello => message(SERVER_HELLO, due, &hello.body()),
            Symbol::ServerHelloWithOtherSuite => {
                message(SERVER_HELLO, due, &ServerHello { suite: CCM, ..hello.clone() }.body())
            }
            Symbol::ServerHelloThatResumes => {
                let session_id = SESSION_ID.to_vec();
                message(SERVER_HELLO, due, &ServerHello { session_id, ..hello.clone() }.body())
            }
            Symbol::ServerKeyExchange => message(SERVER_KEY_EXCHANGE, due, &vec16(b"hint")),
            Symbol::ServerHelloDone => message(SERVER_HELLO_DONE, due, &[]),
            Symbol::ServerHelloDoneAgain => message(SERVER_HELLO_DONE, self.done.unwrap_or(due + 1), &[]),
            Symbol::ClientKeyExchange => message(CLIENT_KEY_EXCHANGE, due, &vec16(IDENTITY)),
            Symbol::HelloRequest => message(HELLO_REQUEST, due, &[]),
            Symbol::PlainFinished => self.finished(),
            _ => return None,
        };
        Some(message)
    }

    fn finished(&self) -> Vec<u8> {
        match self.server.finished_message() {
            [] => message(FINISHED, self.server.side.message_seq, &[7; 12]),
            finished => finished.to_vec(),
        }
    }

    /// The record that any other symbol is now.
    fn record(&mut self, symbol: Symbol) -> Vec<u8> {
        let (mut finished, hello) = (self.finished(), self.server.hello.body());
        let due = self.server.side.message_seq;
        let write = self.server.side.write.as_mut().unwrap_or(&mut self.stranger);
        match symbol {
            Symbol::SealedServerHello => write.seal(HANDSHAKE, &message(SERVER_HELLO, due, &hello)),
            Symbol::ChangeCipherSpec => record(CHANGE_CIPHER_SPEC, 0, 91, &[1]),
            Symbol::SealedChangeCipherSpec => write.seal(CHANGE_CIPHER_SPEC, &[1]),
            Symbol::Finished => write.seal(HANDSHAKE, &finished),
            Symbol::WrongFinished => {
                *finished.last_mut().unwrap() ^= 1;
                write.seal(HANDSHAKE, &finished)
            }
            Symbol::ForgedFinished => forged(write, HANDSHAKE, &finished),
            Symbol::SealedHelloRequest => write.seal(HANDSHAKE, &message(HELLO_REQUEST, 0, &[])),
            Symbol::Data => write.seal(APPLICATION_DATA, DATA),
            Symbol::ReplayedData => self.delivered.clone(),
            Symbol::ForgedData => forged(write, APPLICATION_DATA, DATA),
            Symbol::PlainData => record(APPLICATION_DATA, 0, 93, DATA),
            Symbol::Warning => write.seal(ALERT, &[WARNING, USER_CANCELED]),
            Symbol::FatalAlert => write.seal(ALERT, &[FATAL, HANDSHAKE_FAILURE]),
            Symbol::ForgedFatalAlert => forged(write, ALERT, &[FATAL, HANDSHAKE_FAILURE]),
            Symbol::PlainFatalAlert => record(ALERT, 0, 94, &[FATAL, HANDSHAKE_FAILURE]),
            Symbol::CloseNotify => write.seal(ALERT, &[WARNING, CLOSE_NOTIFY]),
            Symbol::PlainCloseNotify => record(ALERT, 0, 95, &[WARNING, CLOSE_NOTIFY]),
            other => unreachable!("{other:?} is no such record"),
        }
    }

    fn seen(&self, told: Option<Note>, answers: &[Vec<u8>]) -> Seen {
        let open = |record: &parse::Record| self.server.side.read.as_ref().unwrap().open(record);
        Seen { told, answered: outcome::parts(answers, self.id.len(), open) }
    }

    /// A session carries data; and so on.
    fn rest(&mut self, rest: Rest) {
        if self.model.is_handshake() {
            match rest {
                Rest::Data => return,
                Rest::HonestPeer => {
                    while self.model.is_handshake() {
                        self.step(self.model.honest());
                    }
                }
                Rest::Silence => return self.fall_silent(),
            }
        }
        let sent = self.client.send(b"yes", &mut [0; 64]);
        assert_eq!(sent.is_ok(), self.model.session().is_some());
        self.step(Symbol::Data);
        if self.model.session().is_some() {
            let mut buf = [0; 64];
            let len = self.client.send(b"yes", &mut buf).unwrap();
            assert_eq!(self.server.side.open(&[buf[..len].to_vec()]), [(APPLICATION_DATA, b"yes".to_vec())]);
        }
    }

    /// By the deadline, the client gives up.
    fn fall_silent(&mut self) {
        self.course.pass_deadline();
        assert_eq!(self.client.handle_timeout(self.course.now).err(), self.model.silence());
        assert_eq!(self.client.poll_timeout(), None);
        assert!(self.answers().is_empty());
    }
}
