//! What must be true, whatever a script says.

use dtls_psk::{Peer, SessionId};

use crate::script::IdAction;
use crate::world::{Client, H, NEWCOMER, PATHS, Payload, S, World, path};

/// How often something may be repeated at the end: everybody who has a timer lets it run out a few times.
const MAX_ROUNDS: usize = (PATHS + H + S) * 8;

/// What both sides of a session know, and nobody else.
type Export = [u8; 16];

/// What a client and the server call their sessions.
pub type Pair = [SessionId; 2];

impl World<'_> {
    /// What arrived has been sent, to whom it has come, and comes once.
    pub fn take(&mut self, of: usize, payload: Payload) {
        let sent_by = self.sent.remove(&payload);
        if self.setup.transparent || self.is_astray(of) {
            return;
        }
        match sent_by {
            Some(at) => assert!(at == of || self.has_moved, "of another client"),
            None => assert!(self.forgotten.remove(&payload), "forged or replayed"),
        }
        self.arrived.insert(payload);
    }

    /// A side has forgotten what has reached it.
    pub fn forget(&mut self, by_server: bool) {
        self.forgotten.extend(self.arrived.iter().filter(|(to_server, _)| *to_server == by_server).cloned());
    }

    /// What is true after every step.
    pub fn check(&mut self) {
        assert!(self.server.handshakes() <= H);
        assert!(self.server.sessions().count() <= S);
        for at in 0..self.clients.len() {
            if self.clients[at].is_none() {
                continue;
            }
            let sessions = self.session(at, false).zip(self.session(at, true)).map(Pair::from);
            let agree = sessions.is_some_and(|sessions| self.agree(at, sessions));
            let client = self.clients[at].as_mut().expect("it has come");
            // Nothing that lacks a session's keys may end it.
            assert!(
                agree || !client.live || self.setup.transparent,
                "client {at} lost its session: {sessions:?}"
            );
            // A client of DTLS 1.3 may fail until its Finished is acknowledged.
            client.live |= agree && !client.astray && client.connection.poll_timeout().is_none();
        }
    }

    /// What a side calls its session with the other.
    pub fn session(&self, at: usize, of_server: bool) -> Option<SessionId> {
        let client = self.clients[at].as_ref()?;
        let peer = if of_server { self.server.peer(&path(at)) } else { client.connection.peer() };
        peer.map(|peer| peer.session)
    }

    /// Whether both sides have the same session.
    fn agree(&mut self, at: usize, sessions: Pair) -> bool {
        let client = self.clients[at].as_ref().expect("it has come");
        if let Some((_, agree)) = client.compared.filter(|(compared, _)| *compared == sessions) {
            return agree;
        }
        let exports = [false, true].map(|of_server| self.export(at, client, of_server));
        let agree = exports[0].is_some() && exports[0] == exports[1];
        let peers = [client.connection.peer(), self.server.peer(&path(at))];
        let [ours, theirs] = peers.map(|peer| peer.map(|peer| Peer { session: sessions[0], ..peer }));
        assert!(ours == theirs || !agree, "{ours:?} {theirs:?}");
        self.client(at).compared = Some((sessions, agree));
        agree
    }

    fn export(&self, at: usize, client: &Client<'_>, of_server: bool) -> Option<Export> {
        let (label, mut out) = (b"EXPERIMENTAL fuzz", Export::default());
        let exported = if of_server {
            self.server.export_keying_material(&path(at), label, None, &mut out)
        } else {
            client.connection.export_keying_material(label, None, &mut out)
        };
        exported.ok().map(|()| out)
    }

    /// The network gets well again. Everybody comes to an end, and a good client gets through.
    pub fn epilogue(&mut self) {
        let mut rounds = 0;
        loop {
            self.settle();
            self.check();
            let Some(next) = self.timeouts().min() else { break };
            self.advance(next.max(self.now));
            assert!(self.timeouts().all(|at| at > self.now), "a timeout that was handled is over");
            rounds += 1;
            assert!(rounds < MAX_ROUNDS, "a handshake never ends");
        }
        assert_eq!(self.server.handshakes(), 0, "a slot has leaked");

        self.start(NEWCOMER, 0);
        self.settle();
        self.check();
        // Without a cookie, a flight may be so long that the client has to say hello once more.
        for _ in 0..if self.setup.no_cookies { 2 } else { 0 } {
            if let Some(next) = self.timeouts().min() {
                self.advance(next);
                self.settle();
                self.check();
            }
        }
        assert!(self.client(NEWCOMER).live, "a good client is kept out");
        for at in 0..self.clients.len() {
            if self.clients[at].as_ref().is_some_and(|client| client.live) {
                self.talk(at);
                self.change(at);
            }
        }
    }

    fn talk(&mut self, at: usize) {
        // A side that saves its session does so before each answer.
        for _ in 0..2 {
            self.save_again(at);
            self.settle();
        }
        self.save_again(at);
        self.send(at, false, 3);
        self.send(at, true, 3);
        self.settle();
        self.check();
    }

    /// A session of DTLS 1.3 can still change its keys and its connection IDs, but for one that has to be saved first.
    fn change(&mut self, at: usize) {
        for by_server in [false, true] {
            if !self.can_send(at, false) || !self.can_send(at, true) || self.setup.transparent {
                return;
            }
            if self.update_keys(at, by_server, true).is_ok() {
                self.talk(at);
            }
            if self.change_id(at, by_server, IdAction::Request).is_ok() {
                self.talk(at);
                let used = self.change_id(at, by_server, IdAction::UseSpare);
                assert_eq!(used, Ok(()), "{at} gets no connection ID (its server: {by_server})");
                self.talk(at);
            }
        }
    }
}
