//! An independent peer of DTLS 1.3 with pre-shared keys, straight from RFC 9147 and RFC 8446: `psk_ke`, with
//! `TLS_AES_128_CCM_8_SHA256`. It says what a test tells it to say.

use aes::cipher::BlockCipherEncrypt;
use ccm::consts::{U8, U12};
use ccm::{AeadInOut, KeyInit};
use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256};

use super::craft::{self, ClientHello, ServerHello, message, record, vec8, vec16};
use super::parse;

pub const SUITE: u16 = 0x1305;

pub const ENCRYPTED_EXTENSIONS: u8 = 8;
pub const REQUEST_CONNECTION_ID: u8 = 9;
pub const NEW_CONNECTION_ID: u8 = 10;
pub const KEY_UPDATE: u8 = 24;
pub const EXT_PRE_SHARED_KEY: u16 = 41;
pub const EXT_EARLY_DATA: u16 = 42;
pub const EXT_SUPPORTED_VERSIONS: u16 = 43;
pub const EXT_COOKIE: u16 = 44;
pub const EXT_PSK_MODES: u16 = 45;
pub const EXT_KEY_SHARE: u16 = 51;

/// The random of a HelloRetryRequest: the hash of its name (RFC 8446 §4.1.3).
pub fn retry_random() -> [u8; 32] {
    Sha256::digest(b"HelloRetryRequest").into()
}

fn hmac(key: &[u8], data: &[u8]) -> Vec<u8> {
    let mut mac = <Hmac<Sha256> as KeyInit>::new_from_slice(key).unwrap();
    mac.update(data);
    mac.finalize().into_bytes().to_vec()
}

fn hash(bytes: &[u8]) -> Vec<u8> {
    Sha256::digest(bytes).to_vec()
}

/// One block of HKDF is all that is ever needed here.
pub fn expand_label(secret: &[u8], label: &str, context: &[u8], len: usize) -> Vec<u8> {
    let label = format!("dtls13{label}");
    let info = [&(len as u16).to_be_bytes()[..], &vec8(label.as_bytes()), &vec8(context), &[1]].concat();
    hmac(secret, &info)[..len].to_vec()
}

fn derive(secret: &[u8], label: &str, transcript: &[u8]) -> Vec<u8> {
    expand_label(secret, label, &hash(transcript), 32)
}

fn verify_data(base_key: &[u8], transcript: &[u8]) -> Vec<u8> {
    hmac(&expand_label(base_key, "finished", &[], 32), &hash(transcript))
}

/// A message as the transcript takes it (RFC 9147 §5.2).
pub fn tls_message(msg_type: u8, body: &[u8]) -> Vec<u8> {
    [&[msg_type], &(body.len() as u32).to_be_bytes()[1..], body].concat()
}

/// One direction under one key.
#[derive(Clone, Debug)]
pub struct Direction {
    secret: Vec<u8>,
    key: [u8; 16],
    iv: [u8; 12],
    /// What the numbers are encrypted with.
    sn_key: [u8; 16],
    pub epoch: u64,
    pub next: u64,
    pub connection_id: Vec<u8>,
}

impl Direction {
    fn new(secret: Vec<u8>, epoch: u64, connection_id: &[u8]) -> Self {
        let key = expand_label(&secret, "key", &[], 16).try_into().unwrap();
        let iv = expand_label(&secret, "iv", &[], 12).try_into().unwrap();
        let sn_key = expand_label(&secret, "sn", &[], 16).try_into().unwrap();
        Self { secret, key, iv, sn_key, epoch, next: 0, connection_id: connection_id.to_vec() }
    }

    /// What nobody else should find in memory: the secret of this epoch, and its key.
    pub fn secrets(&self) -> [&[u8]; 2] {
        [&self.secret, &self.key]
    }

    /// The keys of someone who knows none.
    pub fn stranger(epoch: u64) -> Self {
        Self::new(vec![0x5A; 32], epoch, &[])
    }

    /// The next record, under a key that is wrong in one bit.
    pub fn forge(&mut self, content_type: u8, content: &[u8]) -> Vec<u8> {
        self.key[0] ^= 1;
        let record = self.seal(content_type, content);
        self.key[0] ^= 1;
        record
    }

    /// The next epoch (RFC 8446 §7.2).
    pub fn update(&mut self) {
        *self = Self::new(
            expand_label(&self.secret, "traffic upd", &[], 32),
            self.epoch + 1,
            &self.connection_id,
        );
    }

    fn cipher(&self) -> ccm::Ccm<aes::Aes128, U8, U12> {
        KeyInit::new_from_slice(&self.key).unwrap()
    }

    fn nonce(&self, number: u64) -> [u8; 12] {
        let mut nonce = self.iv;
        nonce[4..].iter_mut().zip(number.to_be_bytes()).for_each(|(out, byte)| *out ^= byte);
        nonce
    }

    fn mask(&self, ciphertext: &[u8]) -> [u8; 16] {
        let mut block: [u8; 16] = ciphertext[..16].try_into().unwrap();
        aes::Aes128::new(&self.sn_key.into()).encrypt_block((&mut block).into());
        block
    }

    /// The next record, with 16 bits of its number and its length.
    pub fn seal(&mut self, content_type: u8, content: &[u8]) -> Vec<u8> {
        self.next += 1;
        self.seal_as(self.next - 1, &[content, &[content_type]].concat())
    }

    /// A record with a number and an inner plaintext of the caller's choice, padded if it is too short.
    pub fn seal_as(&self, number: u64, inner: &[u8]) -> Vec<u8> {
        let mut data = inner.to_vec();
        data.resize(data.len().max(8), 0);
        let c = if self.connection_id.is_empty() { 0 } else { 0x10 };
        let mut header = vec![0x20 | c | 0x0C | (self.epoch & 3) as u8];
        header.extend(&self.connection_id);
        header.extend(&number.to_be_bytes()[6..]);
        header.extend((data.len() as u16 + 8).to_be_bytes());
        let nonce = self.nonce(number);
        let cipher = self.cipher();
        let tag =
            cipher.encrypt_inout_detached((&nonce).into(), &header, data.as_mut_slice().into()).unwrap();
        data.extend(tag);
        let mask = self.mask(&data);
        let at = 1 + self.connection_id.len();
        header[at] ^= mask[0];
        header[at + 1] ^= mask[1];
        [header, data].concat()
    }

    /// Opens the first record of a datagram: what it carries, its number, and the rest.
    pub fn open<'d>(&self, datagram: &'d [u8]) -> Option<(u8, Vec<u8>, u64, &'d [u8])> {
        let first = *datagram.first()?;
        let has_id = first & 0x10 != 0;
        let id_len = if has_id { self.connection_id.len() } else { 0 };
        if first & 0xE0 != 0x20
            || u64::from(first & 3) != self.epoch & 3
            || has_id == self.connection_id.is_empty()
        {
            return None;
        }
        let number_len = if first & 8 == 0 { 1 } else { 2 };
        let at = 1 + id_len;
        let mut header = datagram[..at + number_len].to_vec();
        if header[1..at] != self.connection_id[..id_len] {
            return None;
        }
        let mut body = &datagram[at + number_len..];
        let mut rest = &[][..];
        if first & 4 != 0 {
            let len = usize::from(u16::from_be_bytes([body[0], body[1]]));
            header.extend(&body[..2]);
            (body, rest) = body[2..].split_at(len);
        }
        let mask = self.mask(body);
        header[at..at + number_len].iter_mut().zip(mask).for_each(|(out, byte)| *out ^= byte);
        let low = header[at..at + number_len].iter().fold(0, |number, byte| number << 8 | u64::from(*byte));
        // The rest of the number is found by trying: there are not many in a test.
        let mut numbers = (low..1 << 12).step_by(1 << (8 * number_len));
        let (number, mut data) =
            numbers.find_map(|number| Some((number, self.open_as(number, &header, body)?)))?;
        let end = data.iter().rposition(|byte| *byte != 0).expect("a type inside");
        let content_type = data[end];
        data.truncate(end);
        Some((content_type, data, number, rest))
    }

    fn open_as(&self, number: u64, header: &[u8], body: &[u8]) -> Option<Vec<u8>> {
        let (data, tag) = body.split_at(body.len() - 8);
        let mut data = data.to_vec();
        let (nonce, tag) = (self.nonce(number), <[u8; 8]>::try_from(tag).unwrap());
        let cipher = self.cipher();
        let opened =
            cipher.decrypt_inout_detached((&nonce).into(), header, data.as_mut_slice().into(), (&tag).into());
        opened.ok().map(|()| data)
    }

    /// All records of these datagrams that are of this direction.
    pub fn open_all(&self, datagrams: &[Vec<u8>]) -> Vec<(u8, Vec<u8>, u64)> {
        let mut all = Vec::new();
        for datagram in datagrams {
            let mut rest = skip_plaintext(datagram);
            while let Some((content_type, data, number, behind)) = self.open(rest) {
                all.push((content_type, data, number));
                rest = behind;
            }
        }
        all
    }
}

/// What is behind the plaintext records of a datagram.
fn skip_plaintext(mut datagram: &[u8]) -> &[u8] {
    while let [20..=26, ..] = datagram {
        let len = usize::from(u16::from_be_bytes([datagram[11], datagram[12]]));
        datagram = &datagram[13 + len..];
    }
    datagram
}

/// The messages that these records hold, in order: their types and bodies. Each is there as a whole, in parts that may come twice.
fn reassemble(records: impl Iterator<Item = Vec<u8>>) -> Vec<(u8, Vec<u8>)> {
    let mut messages = std::collections::BTreeMap::new();
    for part in records.flat_map(|record| parse::messages(&record)) {
        let (_, body) = messages.entry(part.message_seq).or_insert((part.msg_type, vec![None; part.length]));
        for (place, byte) in body[part.offset..].iter_mut().zip(part.body) {
            assert!(place.is_none_or(|before| before == byte));
            *place = Some(byte);
        }
    }
    let whole = |body: Vec<Option<u8>>| body.into_iter().map(|byte| byte.expect("all of it")).collect();
    messages.into_values().map(|(msg_type, body)| (msg_type, whole(body))).collect()
}

/// An ACK of these records.
pub fn ack(numbers: &[(u64, u64)]) -> Vec<u8> {
    let list =
        numbers.iter().flat_map(|(epoch, number)| [epoch.to_be_bytes(), number.to_be_bytes()].concat());
    vec16(&list.collect::<Vec<u8>>())
}

/// A client's extensions but for the keys, for `psk_ke` in DTLS 1.3 alone.
fn usual_extensions() -> Vec<(u16, Vec<u8>)> {
    vec![(EXT_SUPPORTED_VERSIONS, vec![2, 0xFE, 0xFC]), (EXT_PSK_MODES, vec![1, 0])]
}

/// The secrets of both sides, from the ServerHello on.
#[derive(Clone, Debug)]
struct Schedule {
    handshake: Vec<u8>,
    client: Vec<u8>,
    server: Vec<u8>,
}

impl Schedule {
    fn new(psk: &[u8], transcript: &[u8]) -> Self {
        let early = hmac(&[0; 32], psk);
        let handshake = hmac(&derive(&early, "derived", &[]), &[0; 32]);
        let [client, server] =
            ["c hs traffic", "s hs traffic"].map(|label| derive(&handshake, label, transcript));
        Self { handshake, client, server }
    }

    /// The client's and the server's first secret of a session.
    fn session(&self, transcript: &[u8]) -> [Vec<u8>; 2] {
        let main = hmac(&derive(&self.handshake, "derived", &[]), &[0; 32]);
        ["c ap traffic", "s ap traffic"].map(|label| derive(&main, label, transcript))
    }
}

/// Both directions of a session.
#[derive(Clone)]
pub struct Side {
    pub write: Direction,
    pub read: Direction,
}

impl Side {
    pub fn data(&mut self, payload: &[u8]) -> Vec<u8> {
        self.write.seal(craft::APPLICATION_DATA, payload)
    }
}

/// A client.
#[derive(Clone)]
pub struct RawClient13 {
    psk: Vec<u8>,
    pub identity: Vec<u8>,
    /// Everything but `pre_shared_key`.
    pub hello: ClientHello,
    /// What goes into `pre_shared_key` for each key: its identity, and the key that makes the binder.
    pub offered: Vec<(Vec<u8>, Vec<u8>)>,
    /// Behind `pre_shared_key`.
    pub behind: Vec<(u16, Vec<u8>)>,
    /// The number of the next message.
    pub message_seq: u16,
    pub next_record: u64,
    transcript: Vec<u8>,
    schedule: Option<Schedule>,
    /// Of epoch 2.
    pub handshake: Option<Side>,
    pub session: Option<Side>,
    finished: Vec<u8>,
    pub server_hello: Option<(u16, Vec<u8>)>,
    pub encrypted_extensions: Vec<u8>,
}

impl RawClient13 {
    pub fn new(identity: &[u8], psk: &[u8], seed: u8) -> Self {
        let mut hello = ClientHello::new([seed.max(1); 32]);
        hello.suites = vec![SUITE];
        hello.extensions = Some(usual_extensions());
        Self {
            psk: psk.to_vec(),
            identity: identity.to_vec(),
            hello,
            offered: vec![(identity.to_vec(), psk.to_vec())],
            behind: Vec::new(),
            message_seq: 0,
            next_record: 0,
            transcript: Vec::new(),
            schedule: None,
            handshake: None,
            session: None,
            finished: Vec::new(),
            server_hello: None,
            encrypted_extensions: Vec::new(),
        }
    }

    pub fn extensions(&mut self) -> &mut Vec<(u16, Vec<u8>)> {
        self.hello.extensions.as_mut().unwrap()
    }

    /// The next hello's body, with the binders that belong to it; it goes into the transcript.
    pub fn hello_body(&mut self) -> Vec<u8> {
        let mut hello = self.hello.clone();
        if !self.offered.is_empty() {
            let identities: Vec<u8> = self
                .offered
                .iter()
                .flat_map(|(identity, _)| [&vec16(identity)[..], &[0; 4]].concat())
                .collect();
            let binders: Vec<u8> = self.offered.iter().flat_map(|_| vec8(&[0; 32])).collect();
            let data = [vec16(&identities), vec16(&binders)].concat();
            hello.extensions.as_mut().unwrap().push((EXT_PRE_SHARED_KEY, data));
        }
        hello.extensions.as_mut().unwrap().extend(self.behind.clone());
        let mut body = hello.body();
        if !self.offered.is_empty() && self.behind.is_empty() {
            let len = 2 + 33 * self.offered.len();
            let whole = tls_message(craft::CLIENT_HELLO, &body);
            let start = [&self.transcript[..], &whole[..whole.len() - len]].concat();
            let at = body.len() - len + 2;
            for (number, (_, key)) in self.offered.iter().enumerate() {
                let binder = verify_data(&derive(&hmac(&[0; 32], key), "ext binder", &[]), &start);
                body[at + 33 * number + 1..][..32].copy_from_slice(&binder);
            }
        }
        self.transcript.extend(tls_message(craft::CLIENT_HELLO, &body));
        body
    }

    /// The datagram with the next hello.
    pub fn hello(&mut self) -> Vec<u8> {
        let body = self.hello_body();
        self.plaintext(craft::CLIENT_HELLO, &body)
    }

    /// A plaintext message.
    pub fn plaintext(&mut self, msg_type: u8, body: &[u8]) -> Vec<u8> {
        let datagram =
            record(craft::HANDSHAKE, 0, self.next_record, &message(msg_type, self.message_seq, body));
        self.next_record += 1;
        self.message_seq += 1;
        datagram
    }

    /// Takes a HelloRetryRequest, and repeats its cookie from here on.
    #[track_caller]
    pub fn follow(&mut self, replies: &[Vec<u8>]) {
        let [reply] = replies else { panic!("one HelloRetryRequest: {replies:?}") };
        let body = &reply[25..];
        assert_eq!(
            (reply[13], &body[2..34]),
            (craft::SERVER_HELLO, &retry_random()[..]),
            "a HelloRetryRequest"
        );
        let cookie = craft::extension(&body[38..], EXT_COOKIE).expect("a cookie");
        self.transcript = tls_message(254, &hash(&self.transcript));
        self.transcript.extend(tls_message(craft::SERVER_HELLO, body));
        self.extensions().retain(|(number, _)| *number != EXT_COOKIE);
        self.extensions().push((EXT_COOKIE, cookie));
    }

    /// Takes the server's flight, and makes the Finished.
    #[track_caller]
    pub fn take_flight(&mut self, flight: &[Vec<u8>]) {
        let first = &flight[0];
        let len = usize::from(u16::from_be_bytes([first[11], first[12]]));
        let body = &first[25..13 + len];
        assert_eq!(first[13], craft::SERVER_HELLO, "a ServerHello");
        assert_eq!(body[34], 0, "no session id is ever repeated");
        let ids = craft::extension(&body[38..], craft::EXT_CONNECTION_ID).map(|data| data[1..].to_vec());
        let theirs = ids.unwrap_or_default();
        self.server_hello = Some((u16::from_be_bytes([body[35], body[36]]), body[38..].to_vec()));
        self.transcript.extend(tls_message(craft::SERVER_HELLO, body));
        let schedule = Schedule::new(&self.psk, &self.transcript);
        let own =
            self.hello.extensions.iter().flatten().find(|(number, _)| *number == craft::EXT_CONNECTION_ID);
        let own = own.filter(|_| !theirs.is_empty()).map(|(_, data)| data[1..].to_vec()).unwrap_or_default();
        let read = Direction::new(schedule.server.clone(), 2, &own);
        let messages = reassemble(read.open_all(flight).into_iter().map(|(_, data, _)| data));
        assert_eq!(
            messages.iter().map(|(msg_type, _)| *msg_type).collect::<Vec<_>>(),
            [ENCRYPTED_EXTENSIONS, craft::FINISHED]
        );
        for (msg_type, body) in messages {
            if msg_type == craft::FINISHED {
                assert_eq!(body, verify_data(&schedule.server, &self.transcript), "the server's Finished");
            } else {
                self.encrypted_extensions = body.clone();
            }
            self.transcript.extend(tls_message(msg_type, &body));
        }
        self.finished = verify_data(&schedule.client, &self.transcript);
        let [client, server] = schedule.session(&self.transcript);
        self.session =
            Some(Side { write: Direction::new(client, 3, &theirs), read: Direction::new(server, 3, &own) });
        self.handshake = Some(Side { write: Direction::new(schedule.client.clone(), 2, &theirs), read });
        self.schedule = Some(schedule);
    }

    /// The message with the Finished.
    pub fn finished(&self) -> Vec<u8> {
        message(craft::FINISHED, self.message_seq, &self.finished)
    }

    /// The datagram with the Finished.
    pub fn finish(&mut self) -> Vec<u8> {
        let finished = self.finished();
        self.handshake.as_mut().unwrap().write.seal(craft::HANDSHAKE, &finished)
    }

    pub fn side(&mut self) -> &mut Side {
        self.session.as_mut().unwrap()
    }
}

/// A server.
#[derive(Clone)]
pub struct RawServer13 {
    psk: Vec<u8>,
    pub hello: ServerHello,
    pub encrypted_extensions: Vec<u8>,
    transcript: Vec<u8>,
    pub message_seq: u16,
    pub next_record: u64,
    schedule: Option<Schedule>,
    pub handshake: Option<Side>,
    pub session: Option<Side>,
    /// The hello that came last.
    pub client_hello: Vec<u8>,
}

impl RawServer13 {
    pub fn new(psk: &[u8]) -> Self {
        let mut hello = ServerHello::new([0x5E; 32]);
        hello.suite = SUITE;
        hello.extensions =
            Some(vec![(EXT_SUPPORTED_VERSIONS, vec![0xFE, 0xFC]), (EXT_PRE_SHARED_KEY, vec![0, 0])]);
        Self {
            psk: psk.to_vec(),
            hello,
            encrypted_extensions: vec![0, 0],
            transcript: Vec::new(),
            message_seq: 0,
            next_record: 0,
            schedule: None,
            handshake: None,
            session: None,
            client_hello: Vec::new(),
        }
    }

    /// Takes the client's hello: one datagram, whose binder has to be right.
    #[track_caller]
    pub fn take_hello(&mut self, sent: &[Vec<u8>]) {
        let [datagram] = sent else { panic!("one hello: {sent:?}") };
        let whole = tls_message(craft::CLIENT_HELLO, &datagram[25..]);
        let start = [&self.transcript[..], &whole[..whole.len() - 35]].concat();
        let binder = verify_data(&derive(&hmac(&[0; 32], &self.psk), "ext binder", &[]), &start);
        assert!(whole.ends_with(&binder), "the client's binder");
        self.hear_hello(sent);
    }

    /// The same, whatever the binder.
    pub fn hear_hello(&mut self, sent: &[Vec<u8>]) {
        self.client_hello = sent[0][25..].to_vec();
        self.transcript.extend(tls_message(craft::CLIENT_HELLO, &self.client_hello));
    }

    fn plaintext(&mut self, body: &[u8]) -> Vec<u8> {
        let datagram = record(
            craft::HANDSHAKE,
            0,
            self.next_record,
            &message(craft::SERVER_HELLO, self.message_seq, body),
        );
        self.next_record += 1;
        self.message_seq += 1;
        datagram
    }

    /// A HelloRetryRequest.
    pub fn retry(&mut self, extensions: Vec<(u16, Vec<u8>)>) -> Vec<u8> {
        let mut hello = self.hello.clone();
        hello.random = retry_random();
        hello.extensions = Some(extensions);
        let body = hello.body();
        self.transcript = tls_message(254, &hash(&self.transcript));
        self.transcript.extend(tls_message(craft::SERVER_HELLO, &body));
        self.plaintext(&body)
    }

    /// A HelloRetryRequest for a cookie.
    pub fn ask_for(&mut self, cookie: &[u8]) -> Vec<u8> {
        self.retry(vec![(EXT_SUPPORTED_VERSIONS, vec![0xFE, 0xFC]), (EXT_COOKIE, vec16(cookie))])
    }

    /// The record with the ServerHello, after which there are keys.
    pub fn server_hello(&mut self) -> Vec<u8> {
        let body = self.hello.body();
        self.transcript.extend(tls_message(craft::SERVER_HELLO, &body));
        let datagram = self.plaintext(&body);
        let schedule = Schedule::new(&self.psk, &self.transcript);
        let side = |write: &[u8], read: &[u8], epoch| Side {
            write: Direction::new(write.to_vec(), epoch, &[]),
            read: Direction::new(read.to_vec(), epoch, &[]),
        };
        self.handshake = Some(side(&schedule.server, &schedule.client, 2));
        self.schedule = Some(schedule);
        datagram
    }

    /// EncryptedExtensions and Finished, each a message.
    pub fn encrypted_messages(&mut self) -> [Vec<u8>; 2] {
        let schedule = self.schedule.clone().unwrap();
        let extensions = message(ENCRYPTED_EXTENSIONS, self.message_seq, &self.encrypted_extensions);
        self.transcript.extend(tls_message(ENCRYPTED_EXTENSIONS, &self.encrypted_extensions));
        let finished = verify_data(&schedule.server, &self.transcript);
        let message = message(craft::FINISHED, self.message_seq + 1, &finished);
        self.message_seq += 2;
        self.transcript.extend(tls_message(craft::FINISHED, &finished));
        let [client, server] = schedule.session(&self.transcript);
        self.session =
            Some(Side { write: Direction::new(server, 3, &[]), read: Direction::new(client, 3, &[]) });
        [extensions, message]
    }

    /// ServerHello, EncryptedExtensions and Finished in one datagram.
    pub fn flight(&mut self) -> Vec<u8> {
        let hello = self.server_hello();
        let messages = self.encrypted_messages().concat();
        [hello, self.handshake.as_mut().unwrap().write.seal(craft::HANDSHAKE, &messages)].concat()
    }

    /// Takes the client's Finished, and returns the numbers of the records that it came in.
    #[track_caller]
    pub fn take_finished(&mut self, sent: &[Vec<u8>]) -> Vec<(u64, u64)> {
        let expected = verify_data(&self.schedule.as_ref().unwrap().client, &self.transcript);
        let opened = self.handshake.as_ref().unwrap().read.open_all(sent);
        let finished = opened.iter().filter(|(content_type, ..)| *content_type == craft::HANDSHAKE);
        let numbers: Vec<_> = finished
            .map(|(_, data, number)| {
                assert_eq!((data[0], &data[12..]), (craft::FINISHED, &expected[..]), "the client's Finished");
                (2, *number)
            })
            .collect();
        assert!(!numbers.is_empty(), "a Finished: {opened:?}");
        numbers
    }

    pub fn side(&mut self) -> &mut Side {
        self.session.as_mut().unwrap()
    }
}
