//! What a server of DTLS 1.3 has to do, from the RFCs.

use dtls_psk::{AlertDescription, Error, PeerMisbehaved};

use super::Symbol;
use crate::outcome::*;
use crate::support::craft::*;
use crate::support::raw13::ENCRYPTED_EXTENSIONS;
use crate::support::world::Note;

/// RFC 9147 §5.7, figure 6.
const FLIGHT: &[Part] =
    &[Part::Message(SERVER_HELLO), Part::Sealed(ENCRYPTED_EXTENSIONS), Part::Sealed(FINISHED)];

/// What the session of [`Symbol::Data`] carries.
pub const DATA: &[u8] = b"on";

/// After so many KeyUpdates, there is none any more: with the fourth, an epoch would look like that of the handshake.
pub const MAX_UPDATES: u64 = 2;

/// A handshake that awaits its Finished.
#[derive(Clone, Copy, Debug, Default)]
pub struct Handshake {
    /// The client has all of the flight.
    acknowledged: bool,
    /// A plaintext alert, which may be anyone's: it counts once the client is silent.
    alert: Option<u8>,
}

#[derive(Clone, Copy, Debug)]
pub struct Session {
    /// Which of the client's beginnings it is from.
    start: usize,
    /// Whether no other handshake has begun since: the client's newest keys are those of the session.
    is_newest: bool,
    pub updates: u64,
}

#[derive(Clone, Debug)]
pub struct Model {
    pub handshake: Option<Handshake>,
    pub session: Option<Session>,
    /// How often the client has started anew.
    pub starts: usize,
    /// Whether enough time has passed to answer a flight that comes again (RFC 9147 §5.8.1).
    answers_again: bool,
}

impl Model {
    pub const fn new(answers_again: bool) -> Self {
        Self { handshake: None, session: None, starts: 0, answers_again }
    }

    /// What an honest client would send next.
    pub const fn honest(&self) -> Symbol {
        match (&self.handshake, &self.session) {
            (Some(_), _) => Symbol::Finished,
            (None, Some(_)) => Symbol::Data,
            (None, None) => Symbol::HelloWithCookie,
        }
    }

    /// What has become of the handshake by its deadline.
    pub fn silence(&self) -> Option<Error> {
        self.handshake.map(|handshake| handshake.alert.map_or(Error::HandshakeTimeout, received))
    }

    /// Whether a KeyUpdate is a new one.
    pub fn may_update(&self) -> bool {
        self.session.is_none_or(|session| session.updates < MAX_UPDATES)
    }

    pub fn step(&mut self, symbol: Symbol) -> Expected {
        match symbol {
            // It has no cookie, and nothing is kept for it (RFC 9147 §5.1).
            Symbol::Hello => answer(&[Part::HelloRetryRequest]),
            // What comes again in this handshake is answered with the flight (§5.8.1); nobody looks into it.
            Symbol::HelloWithCookie
            | Symbol::HelloWithWrongCookie
            | Symbol::HelloWithWrongBinder
            | Symbol::HelloWithoutKey
                if self.handshake.is_some() =>
            {
                self.repeat()
            }
            // §5.1, RFC 8446 §4.2.2.
            Symbol::HelloWithWrongCookie => answer(&[Part::Alert(FATAL, ILLEGAL_PARAMETER)]),
            // Without certificates there is no other way (RFC 8446 §4.1.1).
            Symbol::HelloWithoutKey | Symbol::HelloWithOtherSuites => {
                answer(&[Part::Alert(FATAL, HANDSHAKE_FAILURE)])
            }
            // The one that the session began with, late.
            Symbol::HelloWithCookie | Symbol::HelloWithWrongBinder
                if self.session.is_some_and(|session| session.start == self.starts) =>
            {
                SILENCE
            }
            // RFC 8446 §4.2.11: decrypt_error.
            Symbol::HelloWithWrongBinder => {
                tell(Note::Refused(Error::AuthenticationFailed), &[Part::Alert(FATAL, DECRYPT_ERROR)])
            }
            Symbol::HelloWithCookie => self.begin(),
            Symbol::HelloAfterReboot => {
                self.starts += 1;
                self.begin()
            }
            Symbol::Finished => match (self.handshake.take(), &self.session) {
                (Some(_), _) => {
                    self.session = Some(Session { start: self.starts, is_newest: true, updates: 0 });
                    // RFC 9147 §7.1: it ends the last flight.
                    tell(Note::Established, &[Part::Ack])
                }
                // Its ACK was lost (§5.8.1).
                (None, Some(Session { is_newest: true, .. })) => answer(&[Part::Ack]),
                (None, _) => SILENCE,
            },
            Symbol::WrongFinished => match (self.handshake, &self.session) {
                (Some(_), _) => self.fail(PeerMisbehaved::WrongVerifyData, DECRYPT_ERROR),
                // The keys prove enough by now.
                (None, Some(Session { is_newest: true, .. })) => answer(&[Part::Ack]),
                (None, _) => SILENCE,
            },
            // RFC 8446 §4: out of order.
            Symbol::EncryptedExtensions | Symbol::EarlyKeyUpdate if self.handshake.is_some() => {
                self.fail(PeerMisbehaved::UnexpectedMessage, UNEXPECTED_MESSAGE)
            }
            Symbol::AckOfFlight => {
                if let Some(handshake) = &mut self.handshake {
                    handshake.acknowledged = true;
                }
                SILENCE
            }
            // RFC 9147 §7.2: the peer has noticed that something is missing.
            Symbol::AckOfNothing | Symbol::PlainAck if self.handshake.is_some() => self.repeat(),
            Symbol::KeyUpdate => match &mut self.session {
                Some(session) if session.updates < MAX_UPDATES => {
                    session.updates += 1;
                    answer(&[Part::Ack])
                }
                _ => SILENCE,
            },
            // RFC 9147 §9.
            Symbol::RequestConnectionId if self.session.is_some() => {
                self.session = None;
                let error = PeerMisbehaved::UnexpectedMessage.into();
                tell(Note::Failed(error), &[Part::SealedAlert(FATAL, UNEXPECTED_MESSAGE)])
            }
            Symbol::Data if self.session.is_some() => tell(Note::Data(DATA.to_vec()), &[]),
            Symbol::FatalAlert | Symbol::MildFatalAlert if self.session.is_some() => {
                self.session = None;
                tell(Note::Failed(received(HANDSHAKE_FAILURE)), &[])
            }
            Symbol::CloseNotify if self.session.is_some() => {
                self.session = None;
                // RFC 8446 §6.1: this side closes as well.
                tell(Note::Closed, &[Part::SealedAlert(WARNING, CLOSE_NOTIFY)])
            }
            Symbol::EarlyFatalAlert if self.handshake.is_some() => {
                self.handshake = None;
                tell(Note::Refused(received(HANDSHAKE_FAILURE)), &[])
            }
            Symbol::PlainFatalAlert => self.plain_alert(HANDSHAKE_FAILURE),
            Symbol::PlainCloseNotify => self.plain_alert(CLOSE_NOTIFY),
            Symbol::Timeout => match self.handshake {
                Some(Handshake { alert: Some(alert), .. }) => {
                    self.handshake = None;
                    tell(Note::Refused(received(alert)), &[])
                }
                Some(Handshake { acknowledged: false, .. }) => answer(FLIGHT),
                _ => SILENCE,
            },
            // Where there is nothing that they could be for; and what is replayed, forged, in the clear, under other keys than its own, or
            // not the client's to send (§4.5.2).
            Symbol::SealedHello
            | Symbol::EncryptedExtensions
            | Symbol::ForgedFinished
            | Symbol::PlainFinished
            | Symbol::AckOfNothing
            | Symbol::PlainAck
            | Symbol::SessionAck
            | Symbol::WrongKeyUpdate
            | Symbol::EarlyKeyUpdate
            | Symbol::NewSessionTicket
            | Symbol::RequestConnectionId
            | Symbol::Data
            | Symbol::EarlyData
            | Symbol::ReplayedData
            | Symbol::ForgedData
            | Symbol::PlainData
            | Symbol::UserCanceled
            | Symbol::FatalAlert
            | Symbol::MildFatalAlert
            | Symbol::EarlyFatalAlert
            | Symbol::ForgedFatalAlert
            | Symbol::CloseNotify => SILENCE,
        }
    }

    fn begin(&mut self) -> Expected {
        self.handshake = Some(Handshake::default());
        if let Some(session) = &mut self.session {
            session.is_newest = false;
        }
        answer(FLIGHT)
    }

    /// What the client has of the flight is not sent again.
    fn repeat(&self) -> Expected {
        let has_all = self.handshake.is_some_and(|handshake| handshake.acknowledged);
        if self.answers_again && !has_all { answer(FLIGHT) } else { SILENCE }
    }

    /// The handshake fails, and the client is told so under the keys that the server writes with by now (RFC 8446 §2).
    fn fail(&mut self, error: PeerMisbehaved, alert: u8) -> Expected {
        self.handshake = None;
        let answered: &[Part] = match alert {
            DECRYPT_ERROR => &[Part::SealedAlert(FATAL, DECRYPT_ERROR)],
            _ => &[Part::SealedAlert(FATAL, UNEXPECTED_MESSAGE)],
        };
        tell(Note::Refused(error.into()), answered)
    }

    const fn plain_alert(&mut self, description: u8) -> Expected {
        if let Some(handshake) = &mut self.handshake {
            handshake.alert = Some(description);
        }
        SILENCE
    }
}

const fn received(alert: u8) -> Error {
    Error::AlertReceived(AlertDescription(alert))
}
