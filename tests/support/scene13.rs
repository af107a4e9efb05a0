//! Scenes of DTLS 1.3 to attack: a victim in each state that a handshake has, and others who must not notice.

use std::time::Duration;

use dtls_psk::{Config, Instant, ProtocolVersion};

use super::craft::{self, ACK};
use super::raw13::{self, RawClient13, RawServer13};
use super::world::{Client, Note, Small, leak, path, psk};
use super::{IDENTITY, KEY, parse, seeded};

/// Of one version, so that no attack ends in the other.
pub const DTLS13: Config<'static> = Config::new().with_versions(&[ProtocolVersion::Dtls13]);

/// An independent client's handshake up to the state after the server's flight.
#[track_caller]
pub fn raw13_hello(world: &mut Small, client: &mut RawClient13, at: usize) {
    let hello = client.hello();
    let replies = world.hit(path(at), &hello);
    client.follow(&replies);
    let hello = client.hello();
    let flight = world.hit(path(at), &hello);
    client.take_flight(&flight);
}

/// An independent client's handshake.
#[track_caller]
pub fn raw13_handshake(world: &mut Small, client: &mut RawClient13, at: usize) {
    raw13_hello(world, client, at);
    raw13_finish(world, client, at);
}

/// The client's Finished, and the server's ACK.
#[track_caller]
pub fn raw13_finish(world: &mut Small, client: &mut RawClient13, at: usize) {
    let number = client.handshake.as_ref().unwrap().write.next;
    let finished = client.finish();
    let answers = world.hit(path(at), &finished);
    let opened = client.side().read.open_all(&answers);
    assert!(
        matches!(&opened[..], [(ACK, body, _)] if *body == raw13::ack(&[(2, number)])),
        "an ACK of {number}: {opened:?}, {answers:?}, {:?}",
        world.log_of(path(at))
    );
}

/// Fails unless data flows both ways between an independent client and the server.
#[track_caller]
pub fn assert_raw13_data_flows(world: &mut Small, client: &mut RawClient13, at: usize) {
    let ping = client.side().data(b"still here?");
    world.hit(path(at), &ping);
    assert_eq!(world.log.last(), Some(&(path(at), Note::Data(b"still here?".to_vec()))));
    let pong = world.seal(&path(at), b"yes");
    let (content_type, data, _, rest) = client.side().read.open(&pong).expect("the server's data");
    assert_eq!((content_type, &data[..], rest), (craft::APPLICATION_DATA, &b"yes"[..], &[][..]));
}

/// How far the victim got at the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerState13 {
    /// The server never heard of the victim.
    Nothing,
    /// The victim has its cookie, and the server has kept nothing.
    CookieSent,
    AwaitsFinished,
    Established,
    /// A session, and a handshake of the same path that awaits its Finished: the victim has rebooted.
    Rebooted,
}

/// A server, a victim whose address the attacker uses, and a bystander with a session.
pub struct ServerScene13 {
    pub world: Small,
    pub state: ServerState13,
    pub victim: RawClient13,
    /// The victim's session from before it rebooted.
    pub old: Option<RawClient13>,
    bystander: RawClient13,
}

impl ServerScene13 {
    pub fn new(state: ServerState13, seed: u64) -> Self {
        Self::with_config(state, seed, DTLS13)
    }

    pub fn with_config(state: ServerState13, seed: u64, config: Config<'static>) -> Self {
        use ServerState13::*;
        let mut world = Small::with_config(seed, config);
        let mut bystander = RawClient13::new(IDENTITY, KEY, 1);
        raw13_handshake(&mut world, &mut bystander, 1);
        let mut victim = RawClient13::new(IDENTITY, KEY, 2);
        let mut old = None;
        match state {
            Nothing => {}
            CookieSent => {
                let hello = victim.hello();
                let replies = world.hit(path(0), &hello);
                victim.follow(&replies);
            }
            AwaitsFinished => raw13_hello(&mut world, &mut victim, 0),
            Established => raw13_handshake(&mut world, &mut victim, 0),
            Rebooted => {
                let mut before = RawClient13::new(IDENTITY, KEY, 3);
                raw13_handshake(&mut world, &mut before, 0);
                old = Some(before);
                raw13_hello(&mut world, &mut victim, 0);
            }
        }
        Self { world, state, victim, old, bystander }
    }

    pub fn each(seed: u64) -> impl Iterator<Item = Self> {
        use ServerState13::*;
        [Nothing, CookieSent, AwaitsFinished, Established, Rebooted]
            .into_iter()
            .map(move |state| Self::new(state, seed))
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
        assert_eq!(answers, Vec::<Vec<u8>>::new(), "{:?} answers {datagram:?}", self.state);
        assert_eq!(self.world.server.handshakes(), handshakes, "{:?}", self.state);
        assert_eq!(self.world.log[told..], [], "{:?}", self.state);
    }

    /// A hello that is refused with this alert, and nothing kept for it.
    #[track_caller]
    pub fn refuses(&mut self, hello: &[u8], alert: u8) {
        let handshakes = self.world.server.handshakes();
        let answers = self.attack(hello);
        let alerts: Vec<_> = answers.iter().map(|answer| parse::plain_alert(answer)).collect();
        assert_eq!(alerts, [Some((2, alert))], "{:?}", self.world.log_of(path(0)));
        assert_eq!(self.world.server.handshakes(), handshakes);
    }

    /// A hello that has to be ignored: these handshake messages in a plaintext record.
    #[track_caller]
    pub fn ignores_hello(&mut self, messages: &[u8]) {
        self.ignores(&craft::record(craft::HANDSHAKE, 0, 50, messages));
    }

    /// A hello that cannot be read in all of its parts: at most it is refused with this alert.
    #[track_caller]
    pub fn ignores_or_refuses(&mut self, hello: &[u8], alert: u8) {
        let (handshakes, told) = (self.world.server.handshakes(), self.world.log.len());
        let answers = self.attack(hello);
        let is_alert = |answer: &Vec<u8>| parse::plain_alert(answer) == Some((2, alert));
        assert!(answers.len() <= 1 && answers.iter().all(is_alert), "{answers:?}");
        assert_eq!((self.world.server.handshakes(), self.world.log.len()), (handshakes, told));
    }

    /// Whether the server says no more to the victim's session than which records are there.
    pub fn acknowledges_at_most(&mut self, answers: &[Vec<u8>]) -> bool {
        let opened = self.victim.side().read.open_all(answers);
        opened.len() == answers.len() && opened.iter().all(|(content_type, ..)| *content_type == ACK)
    }

    /// The victim's handshake is over, and it was told so: under the keys of the session, which a server writes with once its own
    /// Finished is out (RFC 8446 §2). Nobody else is harmed.
    #[track_caller]
    pub fn has_ended_with(mut self, answers: &[Vec<u8>], alert: u8) {
        let opened = self.victim.side().read.open_all(answers);
        let seen: Vec<_> = opened.iter().map(|(content_type, data, _)| (*content_type, &data[..])).collect();
        assert_eq!(seen, [(craft::ALERT, &[2, alert][..])], "{answers:?}");
        assert_eq!(self.world.server.handshakes(), 0);
        self.others_are_unharmed();
        self.leaves_nothing_behind();
    }

    /// How many slots the victim should hold.
    pub fn slots(&self) -> usize {
        usize::from(matches!(self.state, ServerState13::AwaitsFinished | ServerState13::Rebooted))
    }

    /// Whatever was done to it, the victim gets to its end and nobody else has noticed anything.
    #[track_caller]
    pub fn ends_well(mut self) {
        use ServerState13::*;
        assert_eq!(self.world.server.handshakes(), self.slots(), "{:?}", self.state);
        self.others_are_unharmed();
        let (world, victim) = (&mut self.world, &mut self.victim);
        match self.state {
            Nothing => raw13_hello(world, victim, 0),
            CookieSent => {
                let hello = victim.hello();
                let flight = world.hit(path(0), &hello);
                victim.take_flight(&flight);
            }
            _ => {}
        }
        if self.state != Established {
            raw13_finish(world, victim, 0);
        }
        assert_raw13_data_flows(world, victim, 0);
        let count = |note: &Note| world.log_of(path(0)).iter().filter(|other| *other == note).count();
        assert_eq!(count(&Note::Established), 1 + usize::from(self.old.is_some()), "{:?}", self.state);
        self.leaves_nothing_behind();
    }

    /// The victim's handshake may be lost, but it alone.
    #[track_caller]
    pub fn others_are_unharmed(&mut self) {
        let world = &mut self.world;
        assert_raw13_data_flows(world, &mut self.bystander, 1);
        if let Some(old) = &mut self.old {
            assert_raw13_data_flows(world, old, 0);
        }
        if self.state == ServerState13::Established {
            assert_raw13_data_flows(world, &mut self.victim, 0);
        }
    }

    /// Others are unharmed, a newcomer gets through, and in the end no slot is held.
    #[track_caller]
    pub fn leaves_nothing_behind(&mut self) {
        assert_raw13_data_flows(&mut self.world, &mut self.bystander, 1);
        let newcomer = self.world.clients.len();
        self.world.client_with(DTLS13, psk(IDENTITY, KEY), path(50_000 + newcomer));
        let through =
            self.world.run_until(Duration::from_secs(5), |world| world.clients[newcomer].is_established());
        assert!(through, "a newcomer is kept out");
        // Its Finished is under way still.
        self.world.settle();
        self.world.assert_data_flows(newcomer);
        self.world.run_for(Duration::from_secs(61));
        assert_eq!(self.world.server.handshakes(), 0, "{:?}: a slot is held", self.state);
        assert_raw13_data_flows(&mut self.world, &mut self.bystander, 1);
    }
}

/// How far a client got with its server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ClientState13 {
    AwaitsServerHello,
    /// The same, with a cookie.
    AwaitsServerHelloWithCookie,
    AwaitsEncryptedExtensions,
    AwaitsFinished,
    /// The client's Finished is on its way.
    AwaitsAck,
    Established,
}

/// A client and its honest server, whose address the attacker uses.
pub struct ClientScene13 {
    pub client: Client,
    pub server: RawServer13,
    pub now: Instant,
    pub state: ClientState13,
    /// What the server has yet to send under the keys of the handshake.
    pub rest: Vec<Vec<u8>>,
    /// What the client sent last.
    pub sent: Vec<Vec<u8>>,
}

impl ClientScene13 {
    pub fn new(state: ClientState13, seed: u64) -> Self {
        Self::with_config(state, seed, DTLS13)
    }

    pub fn with_config(state: ClientState13, seed: u64, config: Config<'static>) -> Self {
        use ClientState13::*;
        let now = Instant::from_millis(1_000_000);
        let client = Client::new(leak(config), psk(IDENTITY, KEY), path(0), &mut seeded(seed), now);
        let server = RawServer13::new(KEY);
        let mut scene =
            Self { client, server, now, state: AwaitsServerHello, rest: Vec::new(), sent: Vec::new() };
        scene.sent = scene.client.transmit();
        scene.server.take_hello(&scene.sent);
        scene.go_on(state);
        scene
    }

    pub fn each(seed: u64) -> impl Iterator<Item = Self> {
        use ClientState13::*;
        [
            AwaitsServerHello,
            AwaitsServerHelloWithCookie,
            AwaitsEncryptedExtensions,
            AwaitsFinished,
            AwaitsAck,
            Established,
        ]
        .into_iter()
        .map(move |state| Self::new(state, seed))
    }

    /// The honest server goes on until the client is in this state.
    fn go_on(&mut self, state: ClientState13) {
        use ClientState13::*;
        if state == AwaitsServerHelloWithCookie {
            let request = self.server.ask_for(b"a cookie");
            self.sent = self.attack(&request);
            self.server.take_hello(&self.sent);
            self.state = AwaitsServerHelloWithCookie;
        }
        while self.state < state {
            self.state = match self.state {
                AwaitsServerHello | AwaitsServerHelloWithCookie => {
                    let hello = self.server.server_hello();
                    assert!(self.attack(&hello).is_empty());
                    self.rest = self.server.encrypted_messages().to_vec();
                    AwaitsEncryptedExtensions
                }
                AwaitsEncryptedExtensions => {
                    let message = self.rest.remove(0);
                    let record = self.seal(&message);
                    assert!(self.attack(&record).is_empty());
                    AwaitsFinished
                }
                AwaitsFinished => {
                    let message = self.rest.remove(0);
                    let record = self.seal(&message);
                    self.sent = self.attack(&record);
                    AwaitsAck
                }
                AwaitsAck => {
                    let numbers = self.server.take_finished(&self.sent);
                    let ack = self.server.side().write.seal(ACK, &raw13::ack(&numbers));
                    assert!(self.attack(&ack).is_empty());
                    Established
                }
                Established => break,
            };
        }
    }

    /// A handshake message under the keys of the handshake.
    pub fn seal(&mut self, message: &[u8]) -> Vec<u8> {
        self.server.handshake.as_mut().unwrap().write.seal(craft::HANDSHAKE, message)
    }

    pub fn attack(&mut self, datagram: &[u8]) -> Vec<Vec<u8>> {
        self.client.hit(datagram, self.now)
    }

    /// A datagram that has to be ignored.
    #[track_caller]
    pub fn ignores(&mut self, datagram: &[u8]) {
        let told = self.client.log.len();
        let answers = self.attack(datagram);
        assert_eq!(answers, Vec::<Vec<u8>>::new(), "{:?} answers {datagram:?}", self.state);
        assert_eq!(self.client.log[told..], [], "{:?} {datagram:?}", self.state);
    }

    /// Whatever was done to it, the client gets to its end.
    #[track_caller]
    pub fn ends_well(mut self) {
        self.go_on(ClientState13::Established);
        assert!(self.client.is_established(), "{:?}", self.client.log);
        self.assert_data_flows();
        let is_failure = |note: &Note| matches!(note, Note::Failed(_) | Note::Closed);
        assert!(!self.client.log.iter().any(is_failure), "{:?}", self.client.log);
    }

    #[track_caller]
    pub fn assert_data_flows(&mut self) {
        let ping = self.client.seal(b"still there?");
        let (content_type, data, ..) = self.server.side().read.open(&ping).expect("the client's data");
        assert_eq!((content_type, &data[..]), (craft::APPLICATION_DATA, &b"still there?"[..]));
        let pong = self.server.side().data(b"yes");
        self.attack(&pong);
        assert_eq!(self.client.log.last(), Some(&Note::Data(b"yes".to_vec())));
    }

    /// The attack ended the client's handshake or session: it said so once, told the server, and is silent now.
    #[track_caller]
    pub fn has_failed_with(&mut self, answers: &[Vec<u8>], alert: u8) {
        let failed = self.client.log.iter().filter(|note| matches!(note, Note::Failed(_))).count();
        assert_eq!(failed, 1, "{:?}: {:?}", self.state, self.client.log);
        let expected = [(craft::ALERT, vec![2, alert])];
        let seen: Vec<_> = if self.state >= ClientState13::AwaitsAck {
            self.server.side().read.open_all(answers)
        } else if let Some(handshake) = &self.server.handshake {
            handshake.read.open_all(answers)
        } else {
            vec![]
        }
        .into_iter()
        .map(|(content_type, data, _)| (content_type, data))
        .collect();
        if seen != expected {
            let plain: Vec<_> = answers.iter().map(|answer| parse::plain_alert(answer)).collect();
            assert_eq!(plain, [Some((2, alert))], "{:?}: {seen:?} {:?}", self.state, self.client.log);
            assert!(self.state < ClientState13::AwaitsEncryptedExtensions, "in the clear: {:?}", self.state);
        }
        assert_eq!(self.client.connection.poll_timeout(), None);
    }
}
