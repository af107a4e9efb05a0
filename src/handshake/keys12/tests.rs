//! Whole connections that others had with each other, opened and sealed again with what was derived here.

use std::string::{String, ToString};
use std::sync::Mutex;
use std::vec::Vec;

use super::{MasterSecret, PremasterSecret};
use crate::config::Config;
use crate::connection_id::{OwnConnectionId, PeerConnectionId};
use crate::crypto::aead::AeadKey;
use crate::handshake::agreed::{Agreed, Side};
use crate::handshake::transcript::Transcript;
use crate::handshake::{Context, Credentials};
use crate::keylog::KeyLog;
use crate::psk::Psk;
use crate::record::{Opened, ReadState, WriteState};
use crate::test_vectors::{hex, lines};
use crate::wire::Reader;
use crate::wire::alert::{Alert, AlertDescription};
use crate::wire::client_hello::ClientHello;
use crate::wire::client_key_exchange::ClientKeyExchange;
use crate::wire::finished::Finished;
use crate::wire::handshake::{Fragment, HandshakeType};
use crate::wire::record::{ContentType, Header, RecordHeader, Split, split_first};
use crate::wire::server_hello::ServerHello;
use crate::wire::version::ProtocolVersion;
use crate::{CipherSuite, RECORD_PREFIX, RECORD_SUFFIX, RustCrypto};

#[test]
fn openssl_ccm_8() {
    check(include_str!("../../../tests/vectors/openssl_ccm_8.txt"));
}

#[test]
fn openssl_ccm() {
    check(include_str!("../../../tests/vectors/openssl_ccm.txt"));
}

#[test]
#[cfg(feature = "aes-gcm")]
fn openssl_gcm() {
    check(include_str!("../../../tests/vectors/openssl_gcm.txt"));
}

#[test]
fn gnutls_ccm_8_without_extended_master_secret() {
    check(include_str!("../../../tests/vectors/gnutls_ccm_8_without_ems.txt"));
}

/// RFC 4279 §2: zeros, as many as the key has bytes, and the key, each behind its length.
#[test]
fn premaster_of_a_key_alone() {
    assert_eq!(PremasterSecret::psk(b"key").as_bytes(), b"\0\x03\0\0\0\0\x03key");
    let longest = [0xAA; crate::MAX_KEY_LEN];
    let len = (longest.len() as u16).to_be_bytes();
    let expected = [&len[..], &[0; crate::MAX_KEY_LEN], &len, &longest].concat();
    assert_eq!(PremasterSecret::psk(&longest).as_bytes(), expected);
}

/// RFC 5489 §2, with what RFC 7748 §6.1 agrees on: that, and the key, each behind its length.
#[test]
#[cfg(feature = "x25519")]
fn premaster_of_ephemeral_keys() {
    use crate::crypto::key_share::tests::{alice_and_bob, key};
    let shared = key("4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742");
    for psk in [&b"k"[..], &[0x5A; 31], &[0x5A; 32], &[0x5A; 33], &[0xAA; crate::MAX_KEY_LEN]] {
        let [mut alice, mut bob] = alice_and_bob();
        let expected = [&[0, 32][..], &shared, &(psk.len() as u16).to_be_bytes(), psk].concat();
        let (alices, bobs) = (*alice.public(), *bob.public());
        for (own, peer) in [(&mut alice, bobs), (&mut bob, alices)] {
            let premaster = PremasterSecret::ecdhe_psk(&own.agree(&peer).unwrap(), psk);
            assert_eq!(premaster.as_bytes(), expected);
        }
    }
}

/// Takes the one line that it is given.
#[derive(Default)]
struct OneLine(Mutex<Option<(Vec<u8>, Vec<u8>)>>);

impl KeyLog for OneLine {
    fn log(&self, label: &str, client_random: &[u8; 32], secret: &[u8]) {
        assert_eq!(label, "CLIENT_RANDOM");
        let before = self.0.lock().unwrap().replace((client_random.to_vec(), secret.to_vec()));
        assert!(before.is_none());
    }
}

struct Record {
    side: Side,
    header: RecordHeader<'static>,
    body: Vec<u8>,
}

/// What the file says of itself, and the records of all its datagrams.
struct Recording {
    suite: CipherSuite,
    extended_master_secret: bool,
    psk: Vec<u8>,
    client_random: Vec<u8>,
    master_secret: Vec<u8>,
    client_says: Vec<u8>,
    server_says: Vec<u8>,
    records: Vec<Record>,
}

impl Recording {
    fn read(file: &str) -> Self {
        let fact = |name: &str| -> String {
            lines(file).find(|words| words[0] == name).expect("every fact is there")[1].to_string()
        };
        let suite = match fact("suite").as_str() {
            "CCM_8" => CipherSuite::Aes128Ccm8,
            "CCM" => CipherSuite::Aes128Ccm,
            #[cfg(feature = "aes-gcm")]
            "GCM" => CipherSuite::Aes128Gcm,
            suite => panic!("{suite}"),
        };
        let mut records = Vec::new();
        for words in lines(file) {
            let side = match words[0] {
                "client" => Side::Client,
                "server" => Side::Server,
                _ => continue,
            };
            let mut datagram = hex(words[1]);
            let mut rest = datagram.as_mut_slice();
            while !rest.is_empty() {
                let Some((Split::Record(Header::Full(header), body), behind)) = split_first(rest, 0) else {
                    panic!("{words:?}")
                };
                // Nobody in these recordings has a connection ID.
                let header = RecordHeader { connection_id: &[], ..header };
                records.push(Record { side, header, body: body.to_vec() });
                rest = behind;
            }
        }
        Self {
            suite,
            extended_master_secret: fact("extended_master_secret") == "yes",
            psk: hex(&fact("psk")),
            client_random: hex(&fact("client_random")),
            master_secret: hex(&fact("master_secret")),
            client_says: hex(&fact("client_says")),
            server_says: hex(&fact("server_says")),
            records,
        }
    }
}

fn check(file: &str) {
    let recording = Recording::read(file);
    let (keys, finished_seq) = derive(&recording);

    for side in [Side::Client, Side::Server] {
        let (key, verify_data, says) = match side {
            Side::Client => (&keys.client_write, keys.client_verify_data, &recording.client_says),
            Side::Server => (&keys.server_write, keys.server_verify_data, &recording.server_says),
        };
        let suite = recording.suite;
        let mut read = ReadState::new(suite, 1, OwnConnectionId::EMPTY, 1 << 14);
        *read.key_mut() = key.clone();
        let mut write = WriteState::new(suite, 1, PeerConnectionId::EMPTY, 1 << 14);
        *write.key_mut() = key.clone();
        let (mut finished, mut data) = (0, Vec::new());
        for record in recording.records.iter().filter(|it| it.side == side && it.header.epoch == 1) {
            let mut body = record.body.clone();
            let Ok(Opened { body: plain, .. }) =
                read.open(&RustCrypto, &Header::Full(record.header), &mut body)
            else {
                panic!("the keys are right")
            };
            match record.header.content_type {
                ContentType::Handshake => {
                    let message = Fragment::parse(&mut Reader::new(plain)).unwrap();
                    assert_eq!(message.msg_type, HandshakeType::Finished.number());
                    assert_eq!(
                        Finished::parse(message.body).unwrap().verify_data,
                        verify_data,
                        "{}",
                        side as u8
                    );
                    if side == Side::Client {
                        assert_eq!(message.message_seq, finished_seq);
                    }
                    finished += 1;
                }
                ContentType::ApplicationData => data.extend_from_slice(plain),
                ContentType::Alert => {
                    assert_eq!(Alert::parse(plain), Ok(Alert::warning(AlertDescription::CLOSE_NOTIFY)));
                }
                other => panic!("{other:?} under the new keys"),
            }

            // Sealed again it gives the same bytes, where the peer makes its nonces as this crate does.
            let payload = RECORD_PREFIX..RECORD_PREFIX + plain.len();
            let mut buf = std::vec![0; payload.end + RECORD_SUFFIX];
            buf[payload.clone()].copy_from_slice(plain);
            let sealed =
                write.seal_in_place(&RustCrypto, record.header.content_type, &mut buf, payload).unwrap();
            let sealed = &mut buf[sealed];
            let Some((Split::Record(Header::Full(header), body), [])) = split_first(sealed, 0) else {
                panic!("one record")
            };
            assert_eq!(header, record.header);
            if record.body.starts_with(&header.epoch_and_sequence().to_be_bytes()) {
                assert_eq!(body, record.body);
            } else {
                assert_eq!(recording.suite.name(), "TLS_PSK_WITH_AES_128_GCM_SHA256");
            }
        }
        assert_eq!(finished, 1, "{}", side as u8);
        assert_eq!(data, *says, "{}", side as u8);
    }
}

/// Keys and proofs of one handshake.
struct Keys {
    client_write: AeadKey,
    server_write: AeadKey,
    client_verify_data: [u8; 12],
    server_verify_data: [u8; 12],
}

/// Walks through the handshake in the clear, and derives what it leads to. Returns the number of the client's Finished
/// as well.
fn derive(recording: &Recording) -> (Keys, u16) {
    let mut transcript = Transcript::new(ProtocolVersion::Dtls12);
    let mut client_random = [0; 32];
    let mut agreed = None;
    let key_log = OneLine::default();
    let config = Config::new().with_keylog(&key_log);
    let psk = Psk::new(b"client1", &recording.psk).unwrap();
    let context = Context { config: &config, credentials: Credentials::Client(&psk) };

    let in_the_clear =
        |record: &&Record| record.header.epoch == 0 && record.header.content_type == ContentType::Handshake;
    for record in recording.records.iter().filter(in_the_clear) {
        let message = Fragment::parse(&mut Reader::new(&record.body)).unwrap();
        assert!(message.is_whole());
        let msg_type = HandshakeType::from_number(message.msg_type).unwrap();
        match msg_type {
            HandshakeType::HelloVerifyRequest => {
                transcript = Transcript::new(ProtocolVersion::Dtls12);
                continue;
            }
            HandshakeType::ClientHello => client_random = ClientHello::parse(message.body).unwrap().random,
            HandshakeType::ServerHello => {
                let hello = ServerHello::parse(message.body).unwrap();
                assert_eq!(hello.cipher_suite, recording.suite.number());
                assert_eq!(hello.extensions.extended_master_secret, recording.extended_master_secret);
                agreed = Some(Agreed {
                    client_random,
                    server_random: hello.random,
                    suite: recording.suite,
                    forward_secrecy: false,
                    extended_master_secret: hello.extensions.extended_master_secret,
                    own_connection_id: OwnConnectionId::EMPTY,
                    return_routability_check: false,
                    send_limit: 1 << 14,
                    max_fragment_length: None,
                    receive_limit: 1 << 14,
                    session_id: crate::resumption::TlsSessionId::EMPTY,
                });
            }
            HandshakeType::ClientKeyExchange => {
                assert_eq!(
                    ClientKeyExchange::parse(message.body, false).unwrap().psk_identity,
                    psk.identity()
                );
            }
            _ => {}
        }
        transcript.add(msg_type, message.message_seq, message.body);
        if msg_type == HandshakeType::ClientKeyExchange {
            let finished_seq = message.message_seq + 1;
            let premaster = PremasterSecret::psk(psk.key());
            let mut master = MasterSecret::empty();
            master.derive(&context, &agreed.unwrap(), &premaster, &transcript);
            let [mut client_write, mut server_write] = [const { AeadKey::empty() }; 2];
            master.key_block(&agreed.unwrap(), &mut client_write, &mut server_write);
            let client_verify_data = master.verify_data(Side::Client, &transcript);
            transcript.add(HandshakeType::Finished, finished_seq, &client_verify_data);
            let server_verify_data = master.verify_data(Side::Server, &transcript);
            let keys = Keys { client_write, server_write, client_verify_data, server_verify_data };
            let (logged_random, master_secret) = key_log.0.lock().unwrap().take().unwrap();
            assert_eq!(logged_random, recording.client_random);
            assert_eq!(master_secret, recording.master_secret);
            return (keys, finished_seq);
        }
    }
    panic!("there is a ClientKeyExchange");
}
