//! What a server has to do, from the RFCs.

use dtls_psk::{AlertDescription, Error, PeerMisbehaved};

use super::Symbol;
use crate::outcome::*;
use crate::support::craft::*;
use crate::support::world::Note;

pub const HELLO_FLIGHT: &[Part] = &[Part::Message(SERVER_HELLO), Part::Message(SERVER_HELLO_DONE)];
/// RFC 5246 §7.3, figure 2.
pub const RESUMING_FLIGHT: &[Part] =
    &[Part::Message(SERVER_HELLO), Part::ChangeCipherSpec, Part::Sealed(FINISHED)];
pub const LAST_FLIGHT: &[Part] = &[Part::ChangeCipherSpec, Part::Sealed(FINISHED)];

/// What the session of [`Symbol::Data`] carries.
pub const DATA: &[u8] = b"on";

/// A handshake by what it awaits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Awaits {
    ClientKeyExchange,
    ChangeCipherSpec,
    Finished,
}

/// How the attempts to prove a key went. One that fails may be forged: a server does not believe it before the client has
/// repeated its flight and has failed again (RFC 7925 §6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Proof {
    Awaited,
    Failed,
    Repeated,
}

#[derive(Clone, Copy, Debug)]
pub struct Handshake {
    pub awaits: Awaits,
    pub resumes: bool,
    /// Whether there is a key for the client's identity.
    is_known: bool,
    proof: Proof,
    /// A plaintext alert, which may be anyone's: it counts once the client is silent.
    alert: Option<u8>,
}

#[derive(Clone, Copy, Debug)]
pub struct Session {
    pub resumed: bool,
    /// Whether no other handshake has begun since: the client's newest keys are those of the session.
    is_newest: bool,
}

#[derive(Clone, Debug)]
pub struct Model {
    pub handshake: Option<Handshake>,
    pub session: Option<Session>,
    /// How often the client has started anew.
    pub starts: usize,
    /// Whether it wants to resume a session this time.
    pub resumes: bool,
    /// Whether the server still has the session that could be resumed.
    pub is_kept: bool,
    /// Whether records under keys have connection IDs (RFC 9146).
    has_ids: bool,
    /// Whether enough time has passed to answer a flight that comes again (RFC 6347 §4.2.4).
    answers_again: bool,
}

/// Under which keys a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Keys {
    /// Those of the client's newest handshake.
    Newest,
    /// Those of the session, or else the newest.
    OfSession,
    /// The newest, but for one bit.
    AlmostNewest,
    /// Those of the session or else the newest, but for one bit.
    AlmostOfSession,
}

/// What a record under keys carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Content {
    Hello,
    ClientKeyExchange,
    Finished {
        is_right: bool,
    },
    Data,
    /// An alert that ends the association.
    End(u8),
    /// Nothing that has a place under keys, or changes anything there.
    Nothing,
}

impl Model {
    pub const fn new(is_kept: bool, has_ids: bool, answers_again: bool) -> Self {
        Self { handshake: None, session: None, starts: 0, resumes: false, is_kept, has_ids, answers_again }
    }

    /// What an honest client would send next.
    pub fn honest(&self) -> Symbol {
        match (&self.handshake, &self.session) {
            (Some(Handshake { is_known: false, .. }), _) => Symbol::HelloAfterReboot,
            (Some(Handshake { awaits: Awaits::ClientKeyExchange, .. }), _) => Symbol::ClientKeyExchange,
            (Some(Handshake { awaits: Awaits::ChangeCipherSpec, .. }), _) => Symbol::ChangeCipherSpec,
            (Some(Handshake { awaits: Awaits::Finished, .. }), _) => Symbol::Finished,
            (None, Some(_)) => Symbol::Data,
            (None, None) if self.is_kept => Symbol::HelloToResume,
            (None, None) => Symbol::HelloWithCookie,
        }
    }

    /// The message number that the server awaits: the hello with the cookie was number 1.
    pub fn due(&self) -> u16 {
        if self.has_key_exchange() { 3 } else { 2 }
    }

    pub fn has_key_exchange(&self) -> bool {
        self.handshake.is_some_and(|handshake| {
            !handshake.resumes && !matches!(handshake.awaits, Awaits::ClientKeyExchange)
        })
    }

    /// What has become of the handshake by its deadline.
    pub fn silence(&self) -> Option<Error> {
        self.handshake.map(|handshake| match handshake {
            Handshake { alert: Some(alert), .. } => received(alert),
            Handshake { proof: Proof::Failed | Proof::Repeated, .. } => Error::AuthenticationFailed,
            _ => Error::HandshakeTimeout,
        })
    }

    pub fn step(&mut self, symbol: Symbol) -> Expected {
        match symbol {
            // Nothing is kept for whoever has not shown that it receives at its address (RFC 6347 §4.2.1).
            Symbol::Hello => answer(&[Part::Message(HELLO_VERIFY_REQUEST)]),
            Symbol::HelloWithCookie => self.hello(),
            // As if there were none (§4.2.1), but for the hello of a handshake in progress: its cookie may have run out.
            Symbol::HelloWithWrongCookie if self.is_of_this_start() => self.hello_again(),
            Symbol::HelloWithWrongCookie => answer(&[Part::Message(HELLO_VERIFY_REQUEST)]),
            Symbol::HelloWithOtherSuites => {
                tell(Note::Refused(Error::NoCommonSuite), &[Part::Alert(FATAL, HANDSHAKE_FAILURE)])
            }
            Symbol::HelloAfterReboot | Symbol::HelloToResume => {
                self.starts += 1;
                self.resumes = symbol == Symbol::HelloToResume;
                self.handshake = None;
                self.session.iter_mut().for_each(|session| session.is_newest = false);
                self.hello()
            }
            Symbol::SealedHello => self.sealed(Keys::OfSession, Content::Hello),
            Symbol::ClientKeyExchange | Symbol::ClientKeyExchangeOfUnknown => {
                if let Some(handshake) = &mut self.handshake
                    && handshake.awaits == Awaits::ClientKeyExchange
                {
                    // An unknown identity looks like a known one with the wrong key (RFC 4279 §2).
                    handshake.is_known = symbol == Symbol::ClientKeyExchange;
                    handshake.awaits = Awaits::ChangeCipherSpec;
                    handshake.alert = None;
                }
                SILENCE
            }
            Symbol::ClientKeyExchangeAgain => {
                let has_key_exchange = self.has_key_exchange();
                if let Some(handshake) = &mut self.handshake
                    && has_key_exchange
                    && handshake.proof == Proof::Failed
                {
                    handshake.proof = Proof::Repeated;
                }
                SILENCE
            }
            Symbol::SealedClientKeyExchange => self.sealed(Keys::Newest, Content::ClientKeyExchange),
            Symbol::ChangeCipherSpec => {
                // Early ones are dropped (RFC 5246 §7.1: not before the keys that it changes to).
                if let Some(handshake) = &mut self.handshake
                    && handshake.awaits == Awaits::ChangeCipherSpec
                {
                    handshake.awaits = Awaits::Finished;
                }
                SILENCE
            }
            Symbol::Finished => self.sealed(Keys::Newest, Content::Finished { is_right: true }),
            Symbol::WrongFinished => self.sealed(Keys::Newest, Content::Finished { is_right: false }),
            Symbol::ForgedFinished => self.sealed(Keys::AlmostNewest, Content::Finished { is_right: true }),
            // RFC 5246 §7.4.9: under the new keys, always.
            Symbol::PlainFinished => SILENCE,
            Symbol::ServerHelloDone => match self.handshake {
                // RFC 5246 §7.4: a fatal error.
                Some(Handshake { awaits: Awaits::ClientKeyExchange, .. }) => {
                    self.refuse(PeerMisbehaved::UnexpectedMessage.into(), UNEXPECTED_MESSAGE)
                }
                _ => SILENCE,
            },
            Symbol::Data => self.sealed(Keys::OfSession, Content::Data),
            Symbol::ForgedData => self.sealed(Keys::AlmostOfSession, Content::Data),
            Symbol::FatalAlert => self.sealed(Keys::OfSession, Content::End(HANDSHAKE_FAILURE)),
            Symbol::ForgedFatalAlert => self.sealed(Keys::AlmostOfSession, Content::End(HANDSHAKE_FAILURE)),
            Symbol::CloseNotify => self.sealed(Keys::OfSession, Content::End(CLOSE_NOTIFY)),
            // A ChangeCipherSpec belongs to epoch 0, and a warning changes nothing.
            Symbol::SealedChangeCipherSpec | Symbol::Warning => {
                self.sealed(Keys::OfSession, Content::Nothing)
            }
            Symbol::PlainFatalAlert => self.plain_alert(HANDSHAKE_FAILURE),
            Symbol::PlainCloseNotify => self.plain_alert(CLOSE_NOTIFY),
            Symbol::Timeout => self.timeout(),
            // What is replayed, or in the clear where it must not be, is dropped without a word (RFC 6347 §4.1.2.7). It is
            // servers that send a HelloRequest.
            Symbol::ReplayedData | Symbol::PlainData | Symbol::HelloRequest => SILENCE,
        }
    }

    /// Whether the handshake began with the hello that the client would repeat. Each start replaces the handshake of the
    /// last one.
    const fn is_of_this_start(&self) -> bool {
        self.handshake.is_some()
    }

    fn hello(&mut self) -> Expected {
        if self.is_of_this_start() {
            return self.hello_again();
        }
        match &self.session {
            // The hello that the session began with comes late.
            Some(session) if session.is_newest => SILENCE,
            // RFC 6347 §4.2.8: a new handshake beside the session, which goes on until the client has proven its key.
            _ => {
                self.session.iter_mut().for_each(|session| session.is_newest = false);
                let resumes = self.resumes && self.is_kept;
                let awaits = if resumes { Awaits::ChangeCipherSpec } else { Awaits::ClientKeyExchange };
                self.handshake =
                    Some(Handshake { awaits, resumes, is_known: true, proof: Proof::Awaited, alert: None });
                answer(if resumes { RESUMING_FLIGHT } else { HELLO_FLIGHT })
            }
        }
    }

    /// The client misses the answer to its hello (RFC 6347 §4.2.4), unless it has shown that it does not.
    fn hello_again(&self) -> Expected {
        match self.handshake {
            Some(_) if !self.answers_again => SILENCE,
            Some(Handshake { resumes: true, .. }) => answer(RESUMING_FLIGHT),
            Some(Handshake { awaits: Awaits::ClientKeyExchange, .. }) => answer(HELLO_FLIGHT),
            _ => SILENCE,
        }
    }

    /// A record under keys, of epoch 1.
    fn sealed(&mut self, keys: Keys, content: Content) -> Expected {
        let is_forged = matches!(keys, Keys::AlmostNewest | Keys::AlmostOfSession);
        let is_newest = matches!(keys, Keys::Newest | Keys::AlmostNewest);
        let is_of_session = self.session.is_some_and(|session| session.is_newest || !is_newest);
        // With a connection ID, what a record carries cannot be seen from outside (RFC 9146 §4).
        let could_be_finished = self.has_ids
            || matches!(content, Content::Hello | Content::ClientKeyExchange | Content::Finished { .. });
        let is_for = |handshake: &Handshake| match self.session {
            _ if handshake.awaits == Awaits::ClientKeyExchange => false,
            // The ID tells whose it is (RFC 9146 §3).
            _ if self.has_ids => !is_of_session,
            // Else the type has to tell.
            Some(_) => could_be_finished,
            None => true,
        };
        match (self.handshake.filter(is_for), self.session) {
            // RFC 5246 §7.1: not before the ChangeCipherSpec.
            (Some(Handshake { awaits: Awaits::ChangeCipherSpec, .. }), _) => SILENCE,
            (Some(handshake), session) => {
                let has_its_keys = handshake.is_known && (is_newest || session.is_none());
                match has_its_keys && !is_forged {
                    true => self.opened_in_handshake(handshake, content),
                    false if could_be_finished => self.unopened(),
                    false => SILENCE,
                }
            }
            (None, Some(session)) if is_of_session && !is_forged => self.opened_in_session(session, content),
            // RFC 6347 §4.1.2.7: dropped without a word.
            (None, _) => SILENCE,
        }
    }

    fn opened_in_handshake(&mut self, handshake: Handshake, content: Content) -> Expected {
        match content {
            Content::Finished { is_right: true } => {
                self.handshake = None;
                self.session = Some(Session { resumed: handshake.resumes, is_newest: true });
                tell(Note::Established, if handshake.resumes { &[] } else { LAST_FLIGHT })
            }
            // RFC 5246 §7.2.2: decrypt_error.
            Content::Finished { is_right: false } => {
                self.refuse(PeerMisbehaved::WrongVerifyData.into(), DECRYPT_ERROR)
            }
            Content::End(description) => {
                self.handshake = None;
                tell(Note::Refused(received(description)), &[])
            }
            // Keys are exchanged in the clear, and there is no data before the client has proven its key.
            Content::Hello | Content::ClientKeyExchange | Content::Data | Content::Nothing => SILENCE,
        }
    }

    fn opened_in_session(&mut self, session: Session, content: Content) -> Expected {
        match content {
            Content::Data => tell(Note::Data(DATA.to_vec()), &[]),
            // Never renegotiated (RFC 7925 §17), and that is said (RFC 5246 §7.2.2).
            Content::Hello => answer(&[Part::SealedAlert(WARNING, NO_RENEGOTIATION)]),
            // Whoever speaks last says it again (RFC 6347 §4.2.4). The keys prove enough by now.
            Content::Finished { .. } if !session.resumed => answer(LAST_FLIGHT),
            Content::End(CLOSE_NOTIFY) => {
                self.session = None;
                // RFC 5246 §7.2.1: answered with another one.
                tell(Note::Closed, &[Part::SealedAlert(WARNING, CLOSE_NOTIFY)])
            }
            Content::End(description) => {
                self.session = None;
                // §7.2.2: not resumed any more.
                self.is_kept &= !session.resumed;
                tell(Note::Failed(received(description)), &[])
            }
            Content::Finished { .. } | Content::ClientKeyExchange | Content::Nothing => SILENCE,
        }
    }

    /// A handshake awaits its Finished, and something that could be it does not open.
    fn unopened(&mut self) -> Expected {
        let Some(handshake) = &mut self.handshake else { return SILENCE };
        match (handshake.awaits, handshake.proof) {
            (Awaits::Finished, Proof::Awaited) => handshake.proof = Proof::Failed,
            (Awaits::Finished, Proof::Repeated) => {
                return self.refuse(Error::AuthenticationFailed, DECRYPT_ERROR);
            }
            _ => {}
        }
        SILENCE
    }

    /// The handshake fails, and the client is told so.
    fn refuse(&mut self, error: Error, alert: u8) -> Expected {
        // Once the server has sent its ChangeCipherSpec, under the new keys.
        let is_sealed = self.handshake.take().is_some_and(|handshake| handshake.resumes);
        let answered: &[Part] = match (alert, is_sealed) {
            (DECRYPT_ERROR, true) => &[Part::SealedAlert(FATAL, DECRYPT_ERROR)],
            (DECRYPT_ERROR, false) => &[Part::Alert(FATAL, DECRYPT_ERROR)],
            _ => &[Part::Alert(FATAL, UNEXPECTED_MESSAGE)],
        };
        tell(Note::Refused(error), answered)
    }

    const fn plain_alert(&mut self, description: u8) -> Expected {
        if let Some(handshake) = &mut self.handshake {
            handshake.alert = Some(description);
        }
        SILENCE
    }

    /// The flight is sent again (RFC 6347 §4.2.4), unless someone has said that there is nobody.
    fn timeout(&mut self) -> Expected {
        match self.handshake {
            Some(Handshake { alert: Some(alert), .. }) => {
                self.handshake = None;
                tell(Note::Refused(received(alert)), &[])
            }
            Some(Handshake { resumes: true, .. }) => answer(RESUMING_FLIGHT),
            Some(_) => answer(HELLO_FLIGHT),
            None => SILENCE,
        }
    }
}

const fn received(alert: u8) -> Error {
    Error::AlertReceived(AlertDescription(alert))
}
