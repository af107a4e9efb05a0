//! Scenes to attack: a victim in each state that a handshake has, and others who must not notice.

use std::time::Duration;

use super::parse;
use super::raw::RawClient;
use super::world::{AgainstRaw, Note, Small, path};
use super::{IDENTITY, KEY};

/// How far the victim got at the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerState {
    /// The server never heard of the victim.
    Nothing,
    /// The victim has its cookie, and the server has kept nothing.
    CookieSent,
    AwaitsClientKeyExchange,
    AwaitsChangeCipherSpec,
    AwaitsFinished,
    Established,
    /// A session, and a handshake of the same path that awaits its Finished: the victim has rebooted.
    Rebooted,
}

pub const SERVER_STATES: [ServerState; 7] = [
    ServerState::Nothing,
    ServerState::CookieSent,
    ServerState::AwaitsClientKeyExchange,
    ServerState::AwaitsChangeCipherSpec,
    ServerState::AwaitsFinished,
    ServerState::Established,
    ServerState::Rebooted,
];

/// A server, a victim whose address the attacker uses, and a bystander with a session.
pub struct ServerScene {
    pub world: Small,
    pub state: ServerState,
    pub victim: RawClient,
    /// The victim's session from before it rebooted.
    pub old: Option<RawClient>,
    bystander: RawClient,
}

impl ServerScene {
    pub fn new(state: ServerState, seed: u64) -> Self {
        use ServerState::*;
        let mut world = Small::new(seed);
        let mut bystander = RawClient::new(IDENTITY, KEY, seed << 8 | 1);
        world.raw_handshake(path(1), &mut bystander);
        let mut victim = RawClient::new(IDENTITY, KEY, seed << 8 | 2);
        let mut old = None;
        match state {
            Nothing => {}
            CookieSent => {
                let hello = victim.hello();
                let replies = world.hit(path(0), &hello);
                victim.follow(&replies);
            }
            AwaitsClientKeyExchange => world.raw_hello(path(0), &mut victim),
            AwaitsChangeCipherSpec | AwaitsFinished | Rebooted => {
                if state == Rebooted {
                    let mut before = RawClient::new(IDENTITY, KEY, seed << 8 | 3);
                    world.raw_handshake(path(0), &mut before);
                    old = Some(before);
                }
                world.raw_hello(path(0), &mut victim);
                let mut datagram = victim.key_exchange_record();
                if state != AwaitsChangeCipherSpec {
                    datagram.extend(victim.change_cipher_spec_record());
                }
                assert!(world.hit(path(0), &datagram).is_empty());
            }
            Established => world.raw_handshake(path(0), &mut victim),
        }
        Self { world, state, victim, old, bystander }
    }

    pub fn each(seed: u64) -> impl Iterator<Item = Self> {
        SERVER_STATES.into_iter().map(move |state| Self::new(state, seed))
    }

    /// A datagram from the victim's address: the server's answers.
    pub fn attack(&mut self, datagram: &[u8]) -> Vec<Vec<u8>> {
        self.world.hit(path(0), datagram)
    }

    /// A datagram that has to be ignored.
    #[track_caller]
    pub fn ignores(&mut self, datagram: &[u8]) {
        let (handshakes, told) = (self.world.server.handshakes(), self.world.log.len());
        let answers = self.attack(datagram);
        assert_eq!(answers, Vec::<Vec<u8>>::new(), "{:?} answers", self.state);
        assert_eq!(self.world.server.handshakes(), handshakes, "{:?}", self.state);
        assert_eq!(self.world.log[told..], [], "{:?}", self.state);
    }

    /// How many slots the victim should hold.
    pub fn slots(&self) -> usize {
        use ServerState::*;
        usize::from(!matches!(self.state, Nothing | CookieSent | Established))
    }

    /// Whatever was done to it, the victim gets to its end and nobody else has noticed anything.
    #[track_caller]
    pub fn ends_well(mut self) {
        use ServerState::*;
        assert_eq!(self.world.server.handshakes(), self.slots(), "{:?}", self.state);
        self.others_are_unharmed();
        let (world, victim) = (&mut self.world, &mut self.victim);
        match self.state {
            Nothing => world.raw_handshake(path(0), victim),
            CookieSent => {
                let hello = victim.hello();
                let flight = world.hit(path(0), &hello);
                victim.take_server_flight(&flight);
                victim.exchange_keys();
            }
            _ => {}
        }
        if !matches!(self.state, Nothing | Established) {
            let flight = victim.key_flight();
            let last = world.hit(path(0), &flight);
            victim.take_last_flight(&last);
        }
        world.assert_raw_data_flows(path(0), victim);
        let count = |note: &Note| world.log_of(path(0)).iter().filter(|other| *other == note).count();
        assert_eq!(count(&Note::Established), 1 + usize::from(self.old.is_some()), "{:?}", self.state);
        self.leaves_nothing_behind();
    }

    /// The victim's handshake may be lost, but it alone.
    #[track_caller]
    pub fn others_are_unharmed(&mut self) {
        let world = &mut self.world;
        world.assert_raw_data_flows(path(1), &mut self.bystander);
        if let Some(old) = &mut self.old {
            world.assert_raw_data_flows(path(0), old);
        }
        if self.state == ServerState::Established {
            world.assert_raw_data_flows(path(0), &mut self.victim);
        }
    }

    /// Others are unharmed, a newcomer gets through, and in the end no slot is held.
    #[track_caller]
    pub fn leaves_nothing_behind(&mut self) {
        self.world.assert_raw_data_flows(path(1), &mut self.bystander);
        self.world.assert_newcomer_gets_through();
        self.world.run_for(Duration::from_secs(61));
        assert_eq!(self.world.server.handshakes(), 0, "{:?}: a slot is held", self.state);
        self.world.assert_raw_data_flows(path(1), &mut self.bystander);
    }
}

/// How far a client got with its server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientState {
    AwaitsServerHello,
    /// The same, with a cookie.
    AwaitsServerHelloWithCookie,
    AwaitsServerHelloDone,
    AwaitsFinished,
    Established,
}

pub const CLIENT_STATES: [ClientState; 5] = [
    ClientState::AwaitsServerHello,
    ClientState::AwaitsServerHelloWithCookie,
    ClientState::AwaitsServerHelloDone,
    ClientState::AwaitsFinished,
    ClientState::Established,
];

/// A client and its honest server, whose address the attacker uses.
pub struct ClientScene {
    pub against: AgainstRaw,
    pub state: ClientState,
    /// What the server has yet to send of its first flight.
    rest: Vec<Vec<u8>>,
}

impl ClientScene {
    pub fn new(state: ClientState, seed: u64) -> Self {
        use ClientState::*;
        let mut against = AgainstRaw::new(seed);
        let mut rest = Vec::new();
        match state {
            AwaitsServerHello => against.hello(),
            AwaitsServerHelloWithCookie => {
                against.hello();
                let request = against.server.hello_verify_request(super::craft::DTLS10, b"cookie");
                let hello = against.hit(&request);
                against.server.take_hello(&hello);
            }
            AwaitsServerHelloDone => {
                against.hello();
                rest = against.server.flight_messages(Some(b"hint"));
                let hello = against.server.side.plain(super::craft::HANDSHAKE, &rest.remove(0));
                against.hit(&hello);
            }
            AwaitsFinished => against.key_exchange(),
            Established => against.establish(),
        }
        Self { against, state, rest }
    }

    pub fn each(seed: u64) -> impl Iterator<Item = Self> {
        CLIENT_STATES.into_iter().map(move |state| Self::new(state, seed))
    }

    pub fn attack(&mut self, datagram: &[u8]) -> Vec<Vec<u8>> {
        self.against.hit(datagram)
    }

    /// A datagram that has to be ignored.
    #[track_caller]
    pub fn ignores(&mut self, datagram: &[u8]) {
        let told = self.against.client.log.len();
        let answers = self.attack(datagram);
        assert_eq!(answers, Vec::<Vec<u8>>::new(), "{:?} answers", self.state);
        assert_eq!(self.against.client.log[told..], [], "{:?}", self.state);
    }

    /// Whatever was done to it, the client gets to its end.
    #[track_caller]
    pub fn ends_well(mut self) {
        use ClientState::*;
        let against = &mut self.against;
        if matches!(self.state, AwaitsServerHello | AwaitsServerHelloWithCookie) {
            self.rest = against.server.flight_messages(None);
        }
        if !matches!(self.state, AwaitsFinished | Established) {
            let flight: Vec<u8> = self
                .rest
                .iter()
                .flat_map(|message| against.server.side.plain(super::craft::HANDSHAKE, message))
                .collect();
            let answer = against.hit(&flight);
            against.server.take_key_flight(&answer);
        }
        if self.state != Established {
            let last = against.server.last_flight();
            assert!(against.hit(&last).is_empty(), "{:?}", self.state);
        }
        assert!(against.client.is_established(), "{:?}: {:?}", self.state, against.client.log);
        against.assert_data_flows();
        let failed = against.client.log.iter().any(|note| matches!(note, Note::Failed(_) | Note::Closed));
        assert!(!failed, "{:?}: {:?}", self.state, against.client.log);
    }

    /// The attack ended the client's handshake: it said so once, told the server, and is silent now.
    #[track_caller]
    pub fn has_failed_with(&mut self, answers: &[Vec<u8>], alert: u8) {
        let failed = self.against.client.log.iter().filter(|note| matches!(note, Note::Failed(_))).count();
        assert_eq!(failed, 1, "{:?}: {:?}", self.state, self.against.client.log);
        assert_eq!(answers.len(), 1);
        if self.state == ClientState::AwaitsFinished {
            assert_eq!(parse::records(&answers[0])[0].epoch, 1, "under the keys that the client writes with");
        } else {
            assert_eq!(parse::plain_alert(&answers[0]), Some((2, alert)), "{:?}", self.state);
        }
        assert_eq!(self.against.client.connection.poll_timeout(), None);
    }
}
