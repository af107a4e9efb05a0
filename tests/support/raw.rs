//! An independent client and server of DTLS 1.2 with pre-shared keys. They have no timers and no opinions: each step
//! hands out bytes, which a test may send, change, repeat or leave out.

use std::collections::BTreeMap;

use super::craft::{self, *};
use super::parse::{self, Message};
use super::peer::{self, Direction};

/// What both roles keep.
#[derive(Clone)]
pub struct Side {
    pub key: Vec<u8>,
    /// Number of the next handshake message.
    pub message_seq: u16,
    /// Number of the next plaintext record.
    pub plain_seq: u64,
    pub transcript: Vec<u8>,
    pub client_random: [u8; 32],
    pub server_random: [u8; 32],
    pub suite: u16,
    pub extended_master_secret: bool,
    pub master: Vec<u8>,
    pub read: Option<Direction>,
    pub write: Option<Direction>,
    /// What ECDH gave.
    pub shared: Option<Vec<u8>>,
    /// The connection ID that this side asks for, if it wants to hear of any.
    pub own_id: Option<Vec<u8>>,
    /// The one that the peer asked for.
    pub peer_id: Option<Vec<u8>>,
}

impl Side {
    fn new(key: &[u8]) -> Self {
        Self {
            key: key.to_vec(),
            message_seq: 0,
            plain_seq: 0,
            transcript: Vec::new(),
            client_random: [0; 32],
            server_random: [0; 32],
            suite: CCM_8,
            extended_master_secret: false,
            master: Vec::new(),
            read: None,
            write: None,
            shared: None,
            own_id: None,
            peer_id: None,
        }
    }

    /// A plaintext record with the next number.
    pub fn plain(&mut self, content_type: u8, body: &[u8]) -> Vec<u8> {
        self.plain_seq += 1;
        record(content_type, 0, self.plain_seq - 1, body)
    }

    /// A handshake message with the next number, in the transcript.
    pub fn message(&mut self, msg_type: u8, body: &[u8]) -> Vec<u8> {
        let message = craft::message(msg_type, self.message_seq, body);
        self.message_seq += 1;
        self.transcript.extend(&message);
        message
    }

    fn received(&mut self, message: &Message) {
        self.transcript.extend(craft::message(message.msg_type, message.message_seq, &message.body));
    }

    /// The connection IDs that were agreed on go into the records.
    fn use_keys(&mut self, [mut read, mut write]: [Direction; 2]) {
        if let (Some(own), Some(peer)) = (&self.own_id, &self.peer_id) {
            (read.connection_id, write.connection_id) = (own.clone(), peer.clone());
        }
        (self.read, self.write) = (Some(read), Some(write));
    }

    fn derive(&mut self) -> [Direction; 2] {
        let hash = peer::sha256(&self.transcript);
        let session_hash = self.extended_master_secret.then_some(hash.as_slice());
        let randoms = [&self.client_random, &self.server_random];
        self.master = peer::master_secret(&self.key, self.shared.as_deref(), randoms, session_hash);
        peer::key_block(&self.master, self.suite, &self.client_random, &self.server_random)
    }

    /// The keys of a session with the master secret of an earlier one.
    fn resume(&mut self, master: &[u8]) -> [Direction; 2] {
        self.master = master.to_vec();
        peer::key_block(&self.master, self.suite, &self.client_random, &self.server_random)
    }

    fn verify_data(&self, label: &[u8]) -> Vec<u8> {
        peer::prf(&self.master, label, &peer::sha256(&self.transcript), 12)
    }

    /// A protected record with the next number.
    pub fn seal(&mut self, content_type: u8, plaintext: &[u8]) -> Vec<u8> {
        self.write.as_mut().expect("keys").seal(content_type, plaintext)
    }

    /// Application data.
    pub fn data(&mut self, plaintext: &[u8]) -> Vec<u8> {
        self.seal(APPLICATION_DATA, plaintext)
    }

    /// Content type and plaintext of every protected record in `datagrams`, all of which must open.
    pub fn open(&self, datagrams: &[Vec<u8>]) -> Vec<(u8, Vec<u8>)> {
        let read = self.read.as_ref().expect("keys");
        let id_len = read.connection_id.len();
        let records = datagrams.iter().flat_map(|datagram| parse::records_with_id(datagram, id_len));
        records
            .filter(|record| record.epoch != 0)
            .map(|record| read.open(&record).expect("an authentic record"))
            .collect()
    }

    /// Takes a Finished and checks what it proves.
    fn take_finished(&mut self, datagrams: &[Vec<u8>], label: &[u8]) {
        let id_len = self.read.as_ref().expect("keys").connection_id.len();
        let all = datagrams.iter().flat_map(|datagram| parse::records_with_id(datagram, id_len));
        let types: Vec<_> = all.map(|record| (record.epoch, record.content_type)).collect();
        let outer = if id_len == 0 { HANDSHAKE } else { TLS12_CID };
        assert_eq!(types[types.len() - 2..], [(0, CHANGE_CIPHER_SPEC), (1, outer)]);
        let opened = self.open(datagrams);
        assert_eq!(opened[0].0, HANDSHAKE);
        let messages = parse::messages(&opened[0].1);
        assert_eq!(messages.len(), 1);
        assert_eq!(messages[0].msg_type, FINISHED);
        assert_eq!(messages[0].body, self.verify_data(label), "the peer's proof");
        self.received(&messages[0]);
    }
}

/// Puts plaintext messages together, in the order of their numbers.
pub fn reassemble(datagrams: &[Vec<u8>]) -> Vec<Message> {
    let mut parts: BTreeMap<u16, (Message, Vec<bool>)> = BTreeMap::new();
    for part in datagrams.iter().flat_map(|datagram| parse::plain_messages(datagram)) {
        let empty = || {
            let whole = Message { body: vec![0; part.length], offset: 0, ..part.clone() };
            (whole, vec![false; part.length])
        };
        let (whole, arrived) = parts.entry(part.message_seq).or_insert_with(empty);
        assert_eq!((whole.msg_type, whole.length), (part.msg_type, part.length));
        whole.body[part.offset..part.offset + part.body.len()].copy_from_slice(&part.body);
        arrived[part.offset..part.offset + part.body.len()].fill(true);
    }
    parts.retain(|_, (_, arrived)| arrived.iter().all(|arrived| *arrived));
    parts.into_values().map(|(message, _)| message).collect()
}

#[derive(Clone)]
pub struct RawClient {
    pub side: Side,
    pub identity: Vec<u8>,
    pub hello: ClientHello,
    /// The hint that the server sent.
    pub hint: Option<Vec<u8>>,
    pub server_extensions: Vec<u8>,
    /// The server's ephemeral key.
    pub server_point: Option<Vec<u8>>,
    key_exchange: Vec<u8>,
    finished: Vec<u8>,
}

impl RawClient {
    pub fn new(identity: &[u8], key: &[u8], seed: u64) -> Self {
        let mut random = [0x55; 32];
        random[..8].copy_from_slice(&seed.to_be_bytes());
        Self {
            side: Side::new(key),
            identity: identity.to_vec(),
            hello: ClientHello::new(random),
            hint: None,
            server_extensions: Vec::new(),
            server_point: None,
            key_exchange: Vec::new(),
            finished: Vec::new(),
        }
    }

    /// Asks for records with this connection ID, and offers to answer return routability checks.
    pub fn with_connection_id(mut self, id: &[u8]) -> Self {
        self.side.own_id = Some(id.to_vec());
        let list = self.hello.extensions.get_or_insert_default();
        list.extend([(EXT_CONNECTION_ID, craft::vec8(id)), (EXT_RRC, Vec::new())]);
        self
    }

    /// The ClientHello, with the cookie if there is one yet.
    pub fn hello(&mut self) -> Vec<u8> {
        self.side.transcript.clear();
        self.side.client_random = self.hello.random;
        let message = self.side.message(CLIENT_HELLO, &self.hello.body());
        self.side.plain(HANDSHAKE, &message)
    }

    /// Takes the cookie of a HelloVerifyRequest.
    pub fn follow(&mut self, replies: &[Vec<u8>]) {
        assert_eq!(replies.len(), 1, "one HelloVerifyRequest");
        self.hello.cookie = parse::cookie(&replies[0]).expect("a HelloVerifyRequest");
    }

    /// Takes ServerHello to ServerHelloDone.
    pub fn take_server_flight(&mut self, datagrams: &[Vec<u8>]) {
        for message in reassemble(datagrams) {
            match message.msg_type {
                SERVER_HELLO => {
                    assert_eq!(message.body[..2], DTLS12);
                    self.side.server_random = message.body[2..34].try_into().unwrap();
                    let rest = &message.body[35 + usize::from(message.body[34])..];
                    self.side.suite = u16::from_be_bytes([rest[0], rest[1]]);
                    assert_eq!(rest[2], 0, "no compression");
                    self.server_extensions = rest[3..].to_vec();
                    self.side.extended_master_secret = self.server_extension_types().contains(&EXT_EMS);
                    self.side.peer_id = craft::extension(&self.server_extensions, EXT_CONNECTION_ID)
                        .map(|id| id[1..].to_vec());
                }
                SERVER_KEY_EXCHANGE => {
                    let (length, rest) = message.body.split_first_chunk::<2>().unwrap();
                    let (hint, params) = rest.split_at(u16::from_be_bytes(*length).into());
                    self.hint = Some(hint.to_vec());
                    if peer::is_ecdhe(self.side.suite) {
                        // named_curve, x25519, 32 bytes.
                        assert_eq!(params[..4], [3, 0, 29, 32]);
                        self.server_point = Some(params[4..].to_vec());
                    }
                    assert_eq!(params.is_empty(), self.server_point.is_none());
                }
                SERVER_HELLO_DONE => assert!(message.body.is_empty()),
                other => panic!("message {other} in the server's flight"),
            }
            self.side.received(&message);
            if message.msg_type == SERVER_HELLO_DONE {
                return;
            }
        }
        panic!("no ServerHelloDone in the server's flight");
    }

    /// The numbers of the extensions that the server accepted.
    pub fn server_extension_types(&self) -> Vec<u16> {
        let mut rest = self.server_extensions.get(2..).unwrap_or_default();
        let mut types = Vec::new();
        while let [a, b, c, d, behind @ ..] = rest {
            types.push(u16::from_be_bytes([*a, *b]));
            rest = &behind[usize::from(u16::from_be_bytes([*c, *d]))..];
        }
        types
    }

    /// Takes the flight of a server that resumes the session with this master secret: ServerHello, perhaps a ticket, its
    /// proof; and encodes the own Finished. Returns the ticket.
    pub fn take_resumption(&mut self, datagrams: &[Vec<u8>], master: &[u8]) -> Option<Vec<u8>> {
        let messages = reassemble(datagrams);
        let body = &messages[0].body;
        assert_eq!((messages[0].msg_type, &body[..2]), (SERVER_HELLO, &DTLS12[..]));
        self.side.server_random = body[2..34].try_into().unwrap();
        assert_eq!(body[34..35 + self.hello.session_id.len()], vec8(&self.hello.session_id), "resumed");
        let rest = &body[35 + self.hello.session_id.len()..];
        self.side.suite = u16::from_be_bytes([rest[0], rest[1]]);
        self.server_extensions = rest[3..].to_vec();
        assert!(self.server_extension_types().contains(&EXT_EMS));
        self.side.peer_id =
            craft::extension(&self.server_extensions, EXT_CONNECTION_ID).map(|id| id[1..].to_vec());
        messages.iter().for_each(|message| self.side.received(message));
        let [client, server] = self.side.resume(master);
        self.side.use_keys([server, client]);
        self.side.take_finished(datagrams, b"server finished");
        let verify_data = self.side.verify_data(b"client finished");
        self.finished = self.side.message(FINISHED, &verify_data);
        messages.get(1).map(|message| {
            assert_eq!(message.msg_type, NEW_SESSION_TICKET);
            message.body[6..].to_vec()
        })
    }

    /// ChangeCipherSpec and Finished, the last flight of an abbreviated handshake.
    pub fn short_flight(&mut self) -> Vec<u8> {
        [self.change_cipher_spec_record(), self.finished_record()].concat()
    }

    /// The id that the server gave the session.
    pub fn session_id_of(datagrams: &[Vec<u8>]) -> Vec<u8> {
        let hello =
            reassemble(datagrams).into_iter().find(|message| message.msg_type == SERVER_HELLO).unwrap();
        hello.body[35..][..usize::from(hello.body[34])].to_vec()
    }

    /// Derives the keys and encodes ClientKeyExchange and Finished.
    pub fn exchange_keys(&mut self) {
        let mut body = vec16(&self.identity);
        if peer::is_ecdhe(self.side.suite) {
            let (secret, public) = peer::ephemeral(77);
            body.extend(vec8(&public));
            let point = self.server_point.as_ref().expect("the server's ephemeral key");
            self.side.shared = Some(peer::diffie_hellman(secret, point));
        }
        self.key_exchange = self.side.message(CLIENT_KEY_EXCHANGE, &body);
        let [client, server] = self.side.derive();
        self.side.use_keys([server, client]);
        let verify_data = self.side.verify_data(b"client finished");
        self.finished = self.side.message(FINISHED, &verify_data);
    }

    pub fn key_exchange_record(&mut self) -> Vec<u8> {
        self.side.plain(HANDSHAKE, &self.key_exchange.clone())
    }

    /// The message inside of [`Self::key_exchange_record`].
    pub fn key_exchange_message(&self) -> &[u8] {
        &self.key_exchange
    }

    pub fn change_cipher_spec_record(&mut self) -> Vec<u8> {
        self.side.plain(CHANGE_CIPHER_SPEC, &[1])
    }

    pub fn finished_record(&mut self) -> Vec<u8> {
        self.side.seal(HANDSHAKE, &self.finished.clone())
    }

    /// The message inside of [`Self::finished_record`].
    pub fn finished_message(&self) -> &[u8] {
        &self.finished
    }

    /// ClientKeyExchange, ChangeCipherSpec and Finished in one datagram, under fresh record numbers every time.
    pub fn key_flight(&mut self) -> Vec<u8> {
        [self.key_exchange_record(), self.change_cipher_spec_record(), self.finished_record()].concat()
    }

    pub fn take_last_flight(&mut self, datagrams: &[Vec<u8>]) {
        self.side.take_finished(datagrams, b"server finished");
    }
}

#[derive(Clone)]
pub struct RawServer {
    pub side: Side,
    pub hello: ServerHello,
    /// The identity that the client sent.
    pub identity: Vec<u8>,
    finished: Vec<u8>,
}

impl RawServer {
    pub fn new(key: &[u8]) -> Self {
        Self {
            side: Side::new(key),
            hello: ServerHello::new([0xAA; 32]),
            identity: Vec::new(),
            finished: Vec::new(),
        }
    }

    /// Asks for records with this connection ID, and accepts return routability checks.
    pub fn with_connection_id(mut self, id: &[u8]) -> Self {
        self.side.own_id = Some(id.to_vec());
        let list = self.hello.extensions.get_or_insert_default();
        list.extend([(EXT_CONNECTION_ID, craft::vec8(id)), (EXT_RRC, Vec::new())]);
        self
    }

    /// Takes a ClientHello, and checks that it is well formed.
    pub fn take_hello(&mut self, datagrams: &[Vec<u8>]) -> Message {
        let messages = reassemble(datagrams);
        assert_eq!(messages.len(), 1);
        let hello = messages[0].clone();
        assert_eq!(hello.msg_type, CLIENT_HELLO);
        self.side.client_random = hello.body[2..34].try_into().unwrap();
        self.side.peer_id =
            craft::extension(&client_extensions(&hello.body), EXT_CONNECTION_ID).map(|id| id[1..].to_vec());
        self.side.transcript.clear();
        self.side.received(&hello);
        hello
    }

    pub fn hello_verify_request(&mut self, version: [u8; 2], cookie: &[u8]) -> Vec<u8> {
        let body = craft::hello_verify_request(version, cookie);
        let message = self.side.message(HELLO_VERIFY_REQUEST, &body);
        self.side.plain(HANDSHAKE, &message)
    }

    /// ServerHello, ServerKeyExchange if there is a hint, and ServerHelloDone, one message each.
    pub fn flight_messages(&mut self, hint: Option<&[u8]>) -> Vec<Vec<u8>> {
        let hello = self.hello.clone();
        self.side.server_random = hello.random;
        self.side.suite = hello.suite;
        self.side.extended_master_secret =
            hello.extensions.iter().flatten().any(|(number, _)| *number == EXT_EMS);
        let mut messages = vec![self.side.message(SERVER_HELLO, &hello.body())];
        if peer::is_ecdhe(hello.suite) {
            let (_, public) = peer::ephemeral(88);
            let body = [vec16(hint.unwrap_or_default()), vec![3, 0, 29], vec8(&public)].concat();
            messages.push(self.side.message(SERVER_KEY_EXCHANGE, &body));
        } else if let Some(hint) = hint {
            messages.push(self.side.message(SERVER_KEY_EXCHANGE, &vec16(hint)));
        }
        messages.push(self.side.message(SERVER_HELLO_DONE, &[]));
        messages
    }

    /// The same, one record each, in one datagram.
    pub fn flight(&mut self, hint: Option<&[u8]>) -> Vec<u8> {
        let messages = self.flight_messages(hint);
        messages.iter().flat_map(|message| self.side.plain(HANDSHAKE, message)).collect()
    }

    /// Takes ClientKeyExchange, ChangeCipherSpec and Finished, and checks the client's proof.
    pub fn take_key_flight(&mut self, datagrams: &[Vec<u8>]) {
        self.take_client_keys(datagrams);
        let verify_data = self.side.verify_data(b"server finished");
        self.finished = self.side.message(FINISHED, &verify_data);
    }

    fn take_client_keys(&mut self, datagrams: &[Vec<u8>]) {
        let messages = reassemble(datagrams);
        assert_eq!(messages.len(), 1);
        assert_eq!(messages[0].msg_type, CLIENT_KEY_EXCHANGE);
        let (length, rest) = messages[0].body.split_first_chunk::<2>().unwrap();
        let (identity, point) = rest.split_at(u16::from_be_bytes(*length).into());
        self.identity = identity.to_vec();
        if peer::is_ecdhe(self.side.suite) {
            assert_eq!((point[0], point.len()), (32, 33));
            self.side.shared = Some(peer::diffie_hellman(peer::ephemeral(88).0, &point[1..]));
        } else {
            assert!(point.is_empty());
        }
        self.side.received(&messages[0]);
        let [client, server] = self.side.derive();
        self.side.use_keys([client, server]);
        self.side.take_finished(datagrams, b"client finished");
    }

    /// Resumes the session with this master secret: ServerHello, a ticket if there is one, ChangeCipherSpec, Finished.
    pub fn resumption(&mut self, master: &[u8], ticket: Option<&[u8]>) -> Vec<u8> {
        let hello = self.hello.clone();
        self.side.server_random = hello.random;
        self.side.suite = hello.suite;
        let mut messages = vec![self.side.message(SERVER_HELLO, &hello.body())];
        messages.extend(ticket.map(|ticket| self.new_session_ticket(ticket)));
        let mut datagram: Vec<u8> =
            messages.iter().flat_map(|message| self.side.plain(HANDSHAKE, message)).collect();
        let [client, server] = self.side.resume(master);
        self.side.use_keys([client, server]);
        let verify_data = self.side.verify_data(b"server finished");
        self.finished = self.side.message(FINISHED, &verify_data);
        datagram.extend(self.last_flight());
        datagram
    }

    /// A NewSessionTicket, the next message.
    pub fn new_session_ticket(&mut self, ticket: &[u8]) -> Vec<u8> {
        self.side.message(NEW_SESSION_TICKET, &[&[0, 0, 0, 60][..], &vec16(ticket)].concat())
    }

    /// Takes the last flight of an abbreviated handshake, and checks the client's proof.
    pub fn take_short_flight(&mut self, datagrams: &[Vec<u8>]) {
        self.side.take_finished(datagrams, b"client finished");
    }

    /// The same as [`Self::take_key_flight`], with a ticket to come before the Finished: that is returned.
    pub fn take_key_flight_with_ticket(&mut self, datagrams: &[Vec<u8>], ticket: &[u8]) -> Vec<u8> {
        self.take_client_keys(datagrams);
        let message = self.new_session_ticket(ticket);
        let verify_data = self.side.verify_data(b"server finished");
        self.finished = self.side.message(FINISHED, &verify_data);
        self.side.plain(HANDSHAKE, &message)
    }

    /// The message inside of [`Self::finished_record`].
    pub fn finished_message(&self) -> &[u8] {
        &self.finished
    }

    pub fn finished_record(&mut self) -> Vec<u8> {
        self.side.seal(HANDSHAKE, &self.finished.clone())
    }

    /// ChangeCipherSpec and Finished.
    pub fn last_flight(&mut self) -> Vec<u8> {
        [self.side.plain(CHANGE_CIPHER_SPEC, &[1]), self.finished_record()].concat()
    }
}

/// The block of extensions that ends a ClientHello.
pub fn client_extensions(body: &[u8]) -> Vec<u8> {
    let mut rest = &body[34..];
    // Session id, cookie, suites and compression methods.
    for length_bytes in [1, 1, 2, 1] {
        let (length, behind) = rest.split_at(length_bytes);
        let length = length.iter().fold(0, |length, byte| length << 8 | usize::from(*byte));
        rest = &behind[length..];
    }
    rest.to_vec()
}
