//! What a client has to do, from the RFCs.

use dtls_psk::{AlertDescription, Error, PeerMisbehaved};

use super::Symbol;
use crate::outcome::*;
use crate::support::craft::*;
use crate::support::world::Note;

pub const HELLO: &[Part] = &[Part::Message(CLIENT_HELLO)];
pub const KEY_FLIGHT: &[Part] =
    &[Part::Message(CLIENT_KEY_EXCHANGE), Part::ChangeCipherSpec, Part::Sealed(FINISHED)];
/// RFC 5246 §7.3, figure 2.
pub const LAST_FLIGHT: &[Part] = &[Part::ChangeCipherSpec, Part::Sealed(FINISHED)];

/// What the session of [`Symbol::Data`] carries.
pub const DATA: &[u8] = b"on";

/// A server that has to be asked more often than that does not want to serve.
const MAX_HELLO_VERIFY_REQUESTS: u8 = 4;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    AwaitsServerHello {
        /// How many HelloVerifyRequests the client has followed.
        followed: u8,
    },
    AwaitsServerHelloDone {
        has_hint: bool,
    },
    AwaitsChangeCipherSpec {
        resumes: bool,
    },
    AwaitsFinished {
        resumes: bool,
    },
    Session {
        resumed: bool,
    },
    Over,
}

#[derive(Clone, Debug)]
pub struct Model {
    pub state: State,
    /// A plaintext alert, which may be anyone's: it counts once the server is silent.
    alert: Option<u8>,
    /// Whether the client still has the session that it could resume.
    pub is_kept: bool,
    /// Whether it has offered that.
    offers: bool,
    /// Whether the last message was one that came in its turn.
    pub was_taken: bool,
    /// Whether enough time has passed to answer a flight that comes again (RFC 6347 §4.2.4).
    answers_again: bool,
}

impl Model {
    pub const fn new(is_kept: bool, answers_again: bool) -> Self {
        Self {
            state: State::AwaitsServerHello { followed: 0 },
            alert: None,
            is_kept,
            offers: is_kept,
            was_taken: false,
            answers_again,
        }
    }

    /// What an honest server would send next.
    pub const fn honest(&self) -> Symbol {
        match self.state {
            State::AwaitsServerHello { .. } if self.offers => Symbol::ServerHelloThatResumes,
            State::AwaitsServerHello { .. } => Symbol::ServerHello,
            State::AwaitsServerHelloDone { .. } => Symbol::ServerHelloDone,
            State::AwaitsChangeCipherSpec { .. } => Symbol::ChangeCipherSpec,
            State::AwaitsFinished { .. } => Symbol::Finished,
            State::Session { .. } | State::Over => Symbol::Data,
        }
    }

    pub const fn is_handshake(&self) -> bool {
        !matches!(self.state, State::Session { .. } | State::Over)
    }

    /// Whether the session, if there is one, was resumed.
    pub const fn session(&self) -> Option<bool> {
        match self.state {
            State::Session { resumed } => Some(resumed),
            _ => None,
        }
    }

    /// What has become of the handshake by its deadline.
    pub fn silence(&self) -> Option<Error> {
        match (self.state, self.alert) {
            (State::Session { .. } | State::Over, _) => None,
            (_, Some(alert)) => Some(received(alert)),
            (State::AwaitsServerHello { followed: 0 }, _) => Some(Error::NoAnswer),
            (State::AwaitsChangeCipherSpec { .. } | State::AwaitsFinished { .. }, _) => {
                Some(Error::NoAnswerToKeyExchange)
            }
            _ => Some(Error::HandshakeTimeout),
        }
    }

    pub fn step(&mut self, symbol: Symbol) -> Expected {
        self.was_taken = false;
        match (symbol, self.state) {
            // RFC 6347 §4.2.1.
            (Symbol::HelloVerifyRequest, State::AwaitsServerHello { followed })
                if followed < MAX_HELLO_VERIFY_REQUESTS =>
            {
                self.take(State::AwaitsServerHello { followed: followed + 1 }, HELLO)
            }
            // A session id that was not offered is that of a new session (RFC 5246 §7.4.1.3).
            (Symbol::ServerHello | Symbol::ServerHelloThatResumes, State::AwaitsServerHello { .. })
                if symbol == Symbol::ServerHello || !self.offers =>
            {
                // A server that does not resume the session now will not do so later.
                self.is_kept = false;
                self.take(State::AwaitsServerHelloDone { has_hint: false }, &[])
            }
            // RFC 5246 §7.4.1.3: one of those that were offered.
            (Symbol::ServerHelloWithOtherSuite, State::AwaitsServerHello { .. }) => {
                self.fail(PeerMisbehaved::SelectedUnofferedSuite, ILLEGAL_PARAMETER)
            }
            // RFC 5246 §7.3: the ChangeCipherSpec is next.
            (Symbol::ServerHelloThatResumes, State::AwaitsServerHello { .. }) => {
                self.take(State::AwaitsChangeCipherSpec { resumes: true }, &[])
            }
            // RFC 4279 §2: may be there or not.
            (Symbol::ServerKeyExchange, State::AwaitsServerHelloDone { has_hint: false }) => {
                self.take(State::AwaitsServerHelloDone { has_hint: true }, &[])
            }
            (Symbol::ServerHelloDone, State::AwaitsServerHelloDone { .. }) => {
                self.take(State::AwaitsChangeCipherSpec { resumes: false }, KEY_FLIGHT)
            }
            // RFC 5246 §7.4: messages out of order are a fatal error...
            (
                Symbol::HelloVerifyRequest
                | Symbol::ServerHello
                | Symbol::ServerHelloWithOtherSuite
                | Symbol::ServerHelloThatResumes
                | Symbol::ServerKeyExchange
                | Symbol::ServerHelloDone
                | Symbol::ClientKeyExchange,
                State::AwaitsServerHello { .. } | State::AwaitsServerHelloDone { .. },
            ) => self.fail(PeerMisbehaved::UnexpectedMessage, UNEXPECTED_MESSAGE),
            // ...but what comes in the clear while there are keys may be anyone's (RFC 6347 §4.1.2.7), and so may all else
            // that does.
            (
                Symbol::HelloVerifyRequest
                | Symbol::ServerHello
                | Symbol::ServerHelloWithOtherSuite
                | Symbol::ServerHelloThatResumes
                | Symbol::ServerKeyExchange
                | Symbol::ServerHelloDone
                | Symbol::ClientKeyExchange
                | Symbol::PlainFinished
                | Symbol::PlainData,
                _,
            ) => SILENCE,
            // The server misses the client's flight (§4.2.4).
            (
                Symbol::ServerHelloDoneAgain,
                State::AwaitsChangeCipherSpec { resumes: false } | State::AwaitsFinished { resumes: false },
            ) if self.answers_again => answer(KEY_FLIGHT),
            (Symbol::ServerHelloDoneAgain, _) => SILENCE,
            (Symbol::ChangeCipherSpec, State::AwaitsChangeCipherSpec { resumes }) => {
                self.state = State::AwaitsFinished { resumes };
                SILENCE
            }
            // RFC 5246 §7.1: not before the keys that it changes to, and once is enough.
            (Symbol::ChangeCipherSpec, _) => SILENCE,
            (Symbol::Finished, State::AwaitsFinished { resumes }) => {
                self.state = State::Session { resumed: resumes };
                tell(Note::Established, if resumes { LAST_FLIGHT } else { &[] })
            }
            // RFC 5246 §7.2.2: decrypt_error.
            (Symbol::WrongFinished, State::AwaitsFinished { .. }) => {
                self.fail(PeerMisbehaved::WrongVerifyData, DECRYPT_ERROR)
            }
            // Whoever speaks last says it again (RFC 6347 §4.2.4). The keys prove enough by now.
            (Symbol::Finished | Symbol::WrongFinished, State::Session { resumed: true }) => {
                answer(LAST_FLIGHT)
            }
            // Early, or not missed by a server that has finished.
            (Symbol::Finished | Symbol::WrongFinished, _) => SILENCE,
            (Symbol::Data, State::Session { .. }) => tell(Note::Data(DATA.to_vec()), &[]),
            // Never before the server has proven its key.
            (Symbol::Data, _) => SILENCE,
            // Never renegotiated (RFC 7925 §17), and that is said (RFC 5246 §7.4.1.1).
            (Symbol::SealedHelloRequest, State::Session { .. }) => {
                answer(&[Part::SealedAlert(WARNING, NO_RENEGOTIATION)])
            }
            // RFC 5246 §7.4.1.1: ignored during a handshake.
            (Symbol::SealedHelloRequest | Symbol::HelloRequest, _) => SILENCE,
            (Symbol::FatalAlert, _) => self.authentic_alert(HANDSHAKE_FAILURE),
            (Symbol::CloseNotify, _) => self.authentic_alert(CLOSE_NOTIFY),
            (Symbol::PlainFatalAlert, _) => self.plain_alert(HANDSHAKE_FAILURE),
            (Symbol::PlainCloseNotify, _) => self.plain_alert(CLOSE_NOTIFY),
            (Symbol::Timeout, _) => self.timeout(),
            // What is replayed or forged, or under keys and should not be, is dropped without a word (RFC 6347 §4.1.2.7). A warning
            // changes nothing.
            (
                Symbol::SealedServerHello
                | Symbol::SealedChangeCipherSpec
                | Symbol::ForgedFinished
                | Symbol::ReplayedData
                | Symbol::ForgedData
                | Symbol::Warning
                | Symbol::ForgedFatalAlert,
                _,
            ) => SILENCE,
        }
    }

    /// A message that comes in its turn. The alert before it was not from the server.
    const fn take(&mut self, state: State, answered: &'static [Part]) -> Expected {
        (self.state, self.alert, self.was_taken) = (state, None, true);
        answer(answered)
    }

    /// The handshake fails, and the server is told so: under the new keys once the client has sent its ChangeCipherSpec.
    fn fail(&mut self, error: PeerMisbehaved, alert: u8) -> Expected {
        let answered: &[Part] = match (self.state, alert) {
            (State::AwaitsFinished { resumes: false }, _) => &[Part::SealedAlert(FATAL, DECRYPT_ERROR)],
            (_, DECRYPT_ERROR) => &[Part::Alert(FATAL, DECRYPT_ERROR)],
            (_, ILLEGAL_PARAMETER) => &[Part::Alert(FATAL, ILLEGAL_PARAMETER)],
            _ => &[Part::Alert(FATAL, UNEXPECTED_MESSAGE)],
        };
        self.end(error.into(), answered)
    }

    /// What failed is not resumed again (RFC 5246 §7.2.2).
    fn end(&mut self, error: Error, answered: &'static [Part]) -> Expected {
        if self.offers {
            self.is_kept = false;
        }
        self.state = State::Over;
        tell(Note::Failed(error), answered)
    }

    /// An alert that ends the association, under the right keys.
    fn authentic_alert(&mut self, description: u8) -> Expected {
        match self.state {
            State::Session { .. } if description == CLOSE_NOTIFY => {
                self.state = State::Over;
                // RFC 5246 §7.2.1: answered with another one.
                tell(Note::Closed, &[Part::SealedAlert(WARNING, CLOSE_NOTIFY)])
            }
            State::Session { .. } | State::AwaitsFinished { .. } => self.end(received(description), &[]),
            _ => SILENCE,
        }
    }

    const fn plain_alert(&mut self, description: u8) -> Expected {
        if self.is_handshake() {
            self.alert = Some(description);
        }
        SILENCE
    }

    /// The flight is sent again (RFC 6347 §4.2.4), unless someone has said that there is nobody.
    fn timeout(&mut self) -> Expected {
        match (self.state, self.alert) {
            (State::Session { .. } | State::Over, _) => SILENCE,
            (_, Some(alert)) => self.end(received(alert), &[]),
            (State::AwaitsServerHello { .. } | State::AwaitsServerHelloDone { .. }, _) => answer(HELLO),
            // The hello was answered, and the server repeats the rest.
            (
                State::AwaitsChangeCipherSpec { resumes: true } | State::AwaitsFinished { resumes: true },
                _,
            ) => SILENCE,
            _ => answer(KEY_FLIGHT),
        }
    }
}

const fn received(alert: u8) -> Error {
    Error::AlertReceived(AlertDescription(alert))
}
