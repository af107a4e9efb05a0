//! What a client of DTLS 1.3 has to do, from the RFCs.

use dtls_psk::{AlertDescription, Error, PeerMisbehaved};

use super::Symbol;
use crate::outcome::*;
use crate::support::craft::*;
use crate::support::world::Note;

const HELLO: &[Part] = &[Part::Message(CLIENT_HELLO)];
const LAST_FLIGHT: &[Part] = &[Part::Sealed(FINISHED)];

/// What the session of [`Symbol::Data`] carries.
pub const DATA: &[u8] = b"on";

/// After so many KeyUpdates, there is none any more: with the fourth, an epoch would look like that of the handshake.
pub const MAX_UPDATES: u16 = 2;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    AwaitsServerHello {
        /// Whether the client has followed a HelloRetryRequest.
        retried: bool,
    },
    AwaitsEncryptedExtensions,
    AwaitsFinished,
    Session {
        /// Whether the server has the client's Finished.
        acknowledged: bool,
        updates: u16,
        /// How many handshake messages the client has taken.
        messages: u16,
    },
    Over,
}

#[derive(Clone, Debug)]
pub struct Model {
    pub state: State,
    /// A plaintext alert, which may be anyone's: it counts once the server is silent.
    alert: Option<u8>,
    /// Something has arrived, or has shown that something has not: if the rest of the flight does not follow, the server is told
    /// (RFC 9147 §7.1).
    owes_ack: bool,
    /// Whether the last message was one that came in its turn.
    pub was_taken: bool,
}

impl Model {
    pub const fn new() -> Self {
        Self {
            state: State::AwaitsServerHello { retried: false },
            alert: None,
            owes_ack: false,
            was_taken: false,
        }
    }

    /// What an honest server would send next.
    pub const fn honest(&self) -> Symbol {
        match self.state {
            State::AwaitsServerHello { .. } => Symbol::ServerHello,
            State::AwaitsEncryptedExtensions => Symbol::EncryptedExtensions,
            State::AwaitsFinished => Symbol::Finished,
            State::Session { acknowledged: false, .. } => Symbol::Ack,
            State::Session { .. } | State::Over => Symbol::Data,
        }
    }

    pub const fn is_handshake(&self) -> bool {
        !matches!(self.state, State::Session { .. } | State::Over)
    }

    pub const fn is_session(&self) -> bool {
        matches!(self.state, State::Session { .. })
    }

    /// Whether something is sent until it is answered.
    pub const fn is_waiting(&self) -> bool {
        self.is_handshake() || matches!(self.state, State::Session { acknowledged: false, .. })
    }

    /// Whether a KeyUpdate is a new one.
    pub const fn may_update(&self) -> bool {
        !matches!(self.state, State::Session { updates: MAX_UPDATES, .. })
    }

    /// What has become of the handshake by its deadline.
    pub fn silence(&self) -> Option<Error> {
        match (self.state, self.alert) {
            (State::Session { acknowledged: false, .. }, _) => Some(Error::HandshakeTimeout),
            (State::Session { .. } | State::Over, _) => None,
            (_, Some(alert)) => Some(received(alert)),
            (State::AwaitsServerHello { retried: false }, _) => Some(Error::NoAnswer),
            _ => Some(Error::HandshakeTimeout),
        }
    }

    pub fn step(&mut self, symbol: Symbol) -> Expected {
        self.was_taken = false;
        match (symbol, &mut self.state) {
            (_, State::Over) => SILENCE,
            // RFC 8446 §4.1.4: one, and one that changes something.
            (Symbol::HelloRetryRequest, State::AwaitsServerHello { retried: false }) => {
                self.take(State::AwaitsServerHello { retried: true }, HELLO)
            }
            (Symbol::EmptyHelloRetryRequest, State::AwaitsServerHello { retried: false }) => {
                self.fail(PeerMisbehaved::IllegalParameter, ILLEGAL_PARAMETER)
            }
            (
                Symbol::HelloRetryRequest | Symbol::EmptyHelloRetryRequest | Symbol::HelloVerifyRequest,
                State::AwaitsServerHello { .. },
            ) => self.fail(PeerMisbehaved::UnexpectedMessage, UNEXPECTED_MESSAGE),
            (Symbol::ServerHello, State::AwaitsServerHello { .. }) => {
                self.take(State::AwaitsEncryptedExtensions, &[])
            }
            // RFC 8446 §4.1.3 and §4.2.11, RFC 9147 §5.
            (Symbol::ServerHelloWithOtherSuite, State::AwaitsServerHello { .. }) => {
                self.fail(PeerMisbehaved::SelectedUnofferedSuite, ILLEGAL_PARAMETER)
            }
            (Symbol::ServerHelloWithOtherKey, State::AwaitsServerHello { .. }) => {
                self.fail(PeerMisbehaved::SelectedUnofferedIdentity, ILLEGAL_PARAMETER)
            }
            (Symbol::ServerHelloWithSessionId, State::AwaitsServerHello { .. }) => {
                self.fail(PeerMisbehaved::SessionIdEcho, ILLEGAL_PARAMETER)
            }
            (Symbol::OldServerHello, State::AwaitsServerHello { .. }) => {
                self.fail(PeerMisbehaved::UnsupportedVersion, PROTOCOL_VERSION)
            }
            // RFC 8446 §4: out of order, as there are no keys yet.
            (Symbol::PlainEncryptedExtensions, State::AwaitsServerHello { .. }) => {
                self.fail(PeerMisbehaved::UnexpectedMessage, UNEXPECTED_MESSAGE)
            }
            // What is sealed shows that the ServerHello is lost (RFC 9147 §7.1), whoever has sealed it.
            (symbol, State::AwaitsServerHello { .. }) if is_sealed(symbol) => {
                self.owes_ack = true;
                SILENCE
            }
            (Symbol::EncryptedExtensions, State::AwaitsEncryptedExtensions) => {
                self.take(State::AwaitsFinished, &[])
            }
            (Symbol::WrongEncryptedExtensions, State::AwaitsEncryptedExtensions) => {
                self.fail(PeerMisbehaved::UnofferedExtension, UNSUPPORTED_EXTENSION)
            }
            // It comes again, so its ACK may be missing.
            (Symbol::EncryptedExtensions | Symbol::WrongEncryptedExtensions, State::AwaitsFinished) => {
                self.owes_ack = true;
                SILENCE
            }
            // RFC 9147 §7.1: what is before it is missing for sure, and the server is told at once.
            (Symbol::Finished | Symbol::WrongFinished, State::AwaitsEncryptedExtensions) => {
                self.owes_ack = false;
                answer(&[Part::HandshakeAck])
            }
            (Symbol::Finished, State::AwaitsFinished) => {
                self.state = State::Session { acknowledged: false, updates: 0, messages: 0 };
                tell(Note::Established, LAST_FLIGHT)
            }
            (Symbol::WrongFinished, State::AwaitsFinished) => {
                self.fail(PeerMisbehaved::WrongVerifyData, DECRYPT_ERROR)
            }
            // RFC 8446 §4: out of order.
            (Symbol::EarlyKeyUpdate, State::AwaitsEncryptedExtensions | State::AwaitsFinished) => {
                self.fail(PeerMisbehaved::UnexpectedMessage, UNEXPECTED_MESSAGE)
            }
            (Symbol::EarlyFatalAlert, State::AwaitsEncryptedExtensions | State::AwaitsFinished) => {
                self.end(Note::Failed(received(HANDSHAKE_FAILURE)), &[])
            }
            (Symbol::Ack, State::Session { acknowledged, .. }) => {
                *acknowledged = true;
                SILENCE
            }
            (Symbol::KeyUpdate, State::Session { updates, messages, .. }) if *updates < MAX_UPDATES => {
                (*updates, *messages) = (*updates + 1, *messages + 1);
                answer(&[Part::Ack])
            }
            // There is nowhere to keep it, which is no news to the server.
            (Symbol::NewSessionTicket, State::Session { messages, .. }) => {
                *messages += 1;
                answer(&[Part::Ack])
            }
            // RFC 9147 §9.
            (Symbol::RequestConnectionId, State::Session { .. }) => {
                self.fail(PeerMisbehaved::UnexpectedMessage, UNEXPECTED_MESSAGE)
            }
            (Symbol::Data, State::Session { .. }) => tell(Note::Data(DATA.to_vec()), &[]),
            (Symbol::FatalAlert | Symbol::MildFatalAlert, State::Session { .. }) => {
                self.end(Note::Failed(received(HANDSHAKE_FAILURE)), &[])
            }
            (Symbol::CloseNotify, State::Session { .. }) => {
                self.state = State::Over;
                // RFC 8446 §6.1: this side closes as well.
                tell(Note::Closed, &[Part::SealedAlert(WARNING, CLOSE_NOTIFY)])
            }
            (Symbol::PlainFatalAlert, _) => self.plain_alert(HANDSHAKE_FAILURE),
            (Symbol::PlainCloseNotify, _) => self.plain_alert(CLOSE_NOTIFY),
            (Symbol::Timeout, _) => self.timeout(),
            // Whatever there is nothing for; and what is replayed, forged, in the clear, or under other keys than its own (§4.5.2).
            _ => SILENCE,
        }
    }

    /// A message that comes in its turn. The alert before it was not from the server.
    const fn take(&mut self, state: State, answered: &'static [Part]) -> Expected {
        // Where it is answered, that says all.
        self.owes_ack =
            answered.is_empty() || (self.owes_ack && matches!(state, State::AwaitsServerHello { .. }));
        (self.state, self.alert, self.was_taken) = (state, None, true);
        answer(answered)
    }

    /// It fails, and the server is told so, under the keys that the client writes with.
    fn fail(&mut self, error: PeerMisbehaved, alert: u8) -> Expected {
        let parts = |plain, early, sealed| match self.state {
            State::AwaitsServerHello { .. } => plain,
            State::Session { .. } => sealed,
            _ => early,
        };
        let answered: &[Part] = match alert {
            ILLEGAL_PARAMETER => &[Part::Alert(FATAL, ILLEGAL_PARAMETER)],
            PROTOCOL_VERSION => &[Part::Alert(FATAL, PROTOCOL_VERSION)],
            UNSUPPORTED_EXTENSION => &[Part::HandshakeAlert(FATAL, UNSUPPORTED_EXTENSION)],
            DECRYPT_ERROR => &[Part::HandshakeAlert(FATAL, DECRYPT_ERROR)],
            _ => parts(
                &[Part::Alert(FATAL, UNEXPECTED_MESSAGE)][..],
                &[Part::HandshakeAlert(FATAL, UNEXPECTED_MESSAGE)][..],
                &[Part::SealedAlert(FATAL, UNEXPECTED_MESSAGE)][..],
            ),
        };
        self.end(Note::Failed(error.into()), answered)
    }

    fn end(&mut self, note: Note, answered: &'static [Part]) -> Expected {
        self.state = State::Over;
        tell(note, answered)
    }

    const fn plain_alert(&mut self, description: u8) -> Expected {
        if self.is_handshake() {
            self.alert = Some(description);
        }
        SILENCE
    }

    /// What waits for an answer is sent again (§5.8.1), and so is what the server may want to know.
    fn timeout(&mut self) -> Expected {
        let owes_ack = std::mem::replace(&mut self.owes_ack, false);
        match (self.state, self.alert, owes_ack) {
            (State::Session { acknowledged: false, .. }, ..) => answer(LAST_FLIGHT),
            (State::Session { .. } | State::Over, ..) => SILENCE,
            (_, Some(alert), _) => self.end(Note::Failed(received(alert)), &[]),
            (State::AwaitsServerHello { .. }, _, true) => {
                answer(&[Part::Message(CLIENT_HELLO), Part::PlainAck])
            }
            (State::AwaitsServerHello { .. }, ..) => answer(HELLO),
            (_, _, true) => answer(&[Part::HandshakeAck]),
            _ => SILENCE,
        }
    }
}

/// Whether a record of DTLS 1.3 is under keys, right ones or not.
const fn is_sealed(symbol: Symbol) -> bool {
    matches!(
        symbol,
        Symbol::EncryptedExtensions
            | Symbol::WrongEncryptedExtensions
            | Symbol::Finished
            | Symbol::WrongFinished
            | Symbol::ForgedFinished
            | Symbol::Ack
            | Symbol::AckOfNothing
            | Symbol::EarlyAck
            | Symbol::KeyUpdate
            | Symbol::WrongKeyUpdate
            | Symbol::EarlyKeyUpdate
            | Symbol::NewSessionTicket
            | Symbol::RequestConnectionId
            | Symbol::Data
            | Symbol::EarlyData
            | Symbol::ReplayedData
            | Symbol::ForgedData
            | Symbol::UserCanceled
            | Symbol::FatalAlert
            | Symbol::MildFatalAlert
            | Symbol::EarlyFatalAlert
            | Symbol::ForgedFatalAlert
            | Symbol::CloseNotify
    )
}

const fn received(alert: u8) -> Error {
    Error::AlertReceived(AlertDescription(alert))
}
