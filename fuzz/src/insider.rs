//! Peers of DTLS 1.3 that know a key, keep the transcript right, and say whatever a script tells them to.

use dtls_psk::CipherSuite;

use crate::script::{Insider, Modes, Setup, Versions};
use crate::support::craft::{
    self, EXT_CONNECTION_ID, EXT_MAX_FRAGMENT_LENGTH, EXT_RECORD_SIZE_LIMIT, HANDSHAKE, SERVER_HELLO,
};
use crate::support::raw13::{EXT_KEY_SHARE, RawClient13, RawServer13, Side, retry_random};
use crate::world::{INSIDER, Victim, World, path};

/// The key of these peers.
const CREDENTIALS: usize = 3;

/// What records hold, and of which type they are.
type Records = [(u8, Vec<u8>)];

impl World<'_> {
    pub fn meet(&mut self, insider: &Insider) {
        // The insider has a cipher of its own.
        let speaks = self.config.suites().contains(&CipherSuite::Aes128Ccm8Sha256) && !self.setup.transparent;
        match self.victim {
            _ if !speaks => {}
            Victim::Server => self.meet_client(insider),
            Victim::Client => self.meet_server(insider),
        }
    }

    fn meet_client(&mut self, insider: &Insider) {
        let psk = self.psks[CREDENTIALS];
        let mut client = RawClient13::new(psk.identity(), psk.key(), 1 + self.outcome.insiders as u8);
        // It has no ephemeral key, and reads no message in parts.
        let unknown = [EXT_MAX_FRAGMENT_LENGTH, EXT_RECORD_SIZE_LIMIT, EXT_KEY_SHARE];
        let known = insider.extensions.iter().filter(|(number, _)| !unknown.contains(number));
        replace(client.extensions(), known);
        let hello = client.hello();
        let mut flight = self.ask(hello);
        if server_hello(&flight).is_some_and(is_retry) {
            client.follow(&flight);
            let hello = client.hello();
            flight = self.ask(hello);
        }
        if self.setup.small_mtu || server_hello(&flight).is_none_or(is_retry) {
            return;
        }
        client.take_flight(&flight);
        self.tell_server(client.handshake.as_mut().expect("there are keys"), &insider.early);
        if !insider.unfinished {
            let finished = client.finish();
            self.ask(finished);
            self.outcome.insiders += usize::from(self.server.peer(&path(INSIDER)).is_some());
        }
        self.tell_server(client.side(), &insider.late);
    }

    /// What the server answers.
    fn ask(&mut self, datagram: Vec<u8>) -> Vec<Vec<u8>> {
        self.reach_server(INSIDER, datagram);
        self.for_insider()
    }

    fn tell_server(&mut self, side: &mut Side, records: &Records) {
        for (content_type, body) in records {
            self.ask(side.write.seal(*content_type, body));
        }
    }

    fn meet_server(&mut self, insider: &Insider) {
        let Setup { versions, modes, resumption, .. } = self.setup;
        // One key, the only one that is offered, as it is.
        if versions == Versions::Dtls12 || modes == Modes::PskDheKe || resumption {
            return;
        }
        let at = self.start_astray(insider.client, CREDENTIALS);
        let mut server = RawServer13::new(self.psks[CREDENTIALS].key());
        let hello = self.poll_client(at).expect("a client speaks first");
        server.take_hello(&[hello]);
        for retry in 0..insider.retries {
            let request = server.ask_for(b"a cookie");
            self.reach_client(at, request);
            let hello = self.poll_client(at).filter(|hello| hello[0] == HANDSHAKE);
            // One at most (RFC 8446 §4.1.4).
            assert_eq!(hello.is_some(), retry == 0, "HelloRetryRequest {retry}");
            let Some(hello) = hello else { return };
            server.take_hello(&[hello]);
        }
        let extensions = server.hello.extensions.as_mut().expect("there are some");
        replace(extensions, insider.extensions.iter());
        if !insider.encrypted_extensions.is_empty() {
            server.encrypted_extensions.clone_from(&insider.encrypted_extensions);
        }
        let id = client_id(&server.client_hello);
        let has_id = insider.extensions.iter().any(|(number, _)| *number == EXT_CONNECTION_ID);
        let id = id.filter(|_| has_id).unwrap_or_default();

        let datagram = server.server_hello();
        self.reach_client(at, datagram);
        let [extensions, finished] = server.encrypted_messages();
        let sides = [server.handshake.as_mut(), server.session.as_mut()];
        let [Some(handshake), Some(session)] = sides else { return };
        handshake.write.connection_id.clone_from(&id);
        session.write.connection_id = id;
        self.tell_client(at, handshake, &[(HANDSHAKE, extensions)]);
        self.tell_client(at, handshake, &insider.early);
        if !insider.unfinished {
            self.tell_client(at, handshake, &[(HANDSHAKE, finished)]);
        }
        self.outcome.insiders += usize::from(self.client(at).connection.peer().is_some());
        self.tell_client(at, session, &insider.late);
    }

    fn tell_client(&mut self, at: usize, side: &mut Side, records: &Records) {
        for (content_type, body) in records {
            let record = side.write.seal(*content_type, body);
            self.reach_client(at, record);
            self.drain_client(at);
        }
    }
}

/// Puts extensions in the place of those with the same numbers.
fn replace<'e>(extensions: &mut Vec<(u16, Vec<u8>)>, by: impl Iterator<Item = &'e (u16, Vec<u8>)>) {
    for (number, data) in by {
        extensions.retain(|(earlier, _)| earlier != number);
        extensions.push((*number, data.clone()));
    }
}

/// The body of the ServerHello that a flight begins with.
fn server_hello(flight: &[Vec<u8>]) -> Option<&[u8]> {
    let first = flight.first()?;
    let is_hello = first.first() == Some(&HANDSHAKE) && first.get(13) == Some(&SERVER_HELLO);
    first.get(25..).filter(|body| is_hello && body.len() > 38)
}

fn is_retry(server_hello: &[u8]) -> bool {
    server_hello[2..34] == retry_random()
}

/// The connection ID that a client asks for.
fn client_id(hello: &[u8]) -> Option<Vec<u8>> {
    // Behind version and random: session id, cookie, suites, compression methods.
    let mut rest = &hello[34..];
    for prefix in [1, 1, 2, 1] {
        let len = rest[..prefix].iter().fold(0, |len, byte| len << 8 | usize::from(*byte));
        rest = &rest[prefix + len..];
    }
    craft::extension(rest, EXT_CONNECTION_ID).map(|id| id[1..].to_vec())
}
