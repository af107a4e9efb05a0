//! Whole connections that wolfSSL had with itself, read with what is derived here, and with the secrets that it logged.

use std::collections::BTreeMap;
use std::string::{String, ToString};
use std::vec::Vec;

use crate::CipherSuite;
use crate::connection_id::OwnConnectionId;
use crate::crypto::key_schedule::{self, PskKind, Secret, derive_secret, no_secret};
use crate::crypto::provider::RustCrypto;
use crate::handshake::offered_psks;
use crate::handshake::transcript::Transcript;
use crate::record::{Dropped, ReadState};
use crate::test_vectors::{hex, lines};
use crate::wire::Reader;
use crate::wire::ack::Ack;
use crate::wire::client_hello::ClientHello;
use crate::wire::finished::{Finished, VERIFY_DATA13_LEN};
use crate::wire::handshake::{Fragment, HandshakeType};
use crate::wire::key_update::KeyUpdate;
use crate::wire::new_session_ticket::NewSessionTicket13;
use crate::wire::pre_shared_key::OfferedPsks;
use crate::wire::record::{ContentType, Header, RecordNumber, Split, split_first};
use crate::wire::server_hello::{HELLO_RETRY_REQUEST_RANDOM, ServerHello};
use crate::wire::version::ProtocolVersion;

#[test]
fn psk_ke() {
    check(include_str!("../../../tests/vectors/wolfssl_dtls13_psk_ke.txt"), b"", b"");
}

#[test]
fn psk_ke_after_a_hello_retry_request() {
    check(include_str!("../../../tests/vectors/wolfssl_dtls13_psk_ke_retry.txt"), b"", b"");
}

#[test]
#[cfg(all(feature = "aes-gcm", feature = "connection-id"))]
fn psk_dhe_ke_with_connection_ids() {
    let file = include_str!("../../../tests/vectors/wolfssl_dtls13_psk_dhe_ke_gcm.txt");
    check(file, &hex("c1c2c3"), &hex("5e5e5e5e5e"));
}

#[test]
#[cfg(feature = "connection-id")]
fn psk_dhe_ke_with_a_ticket() {
    let file = include_str!("../../../tests/vectors/wolfssl_dtls13_psk_dhe_ke_ccm_ticket.txt");
    check(file, &hex("c1c2c3"), &hex("5e5e5e5e5e"));
}

/// What one side reads of the other.
struct Reading {
    handshake: ReadState,
    session: ReadState,
    /// Data in capitals, of each epoch.
    data: BTreeMap<u64, Vec<String>>,
    acknowledged: Vec<RecordNumber>,
    tickets: u32,
}

impl Reading {
    fn new(suite: CipherSuite, id: &[u8], handshake: &Secret, session: &Secret) -> Self {
        let state = |epoch, secret: &Secret| {
            let mut read = ReadState::new(suite, epoch, OwnConnectionId::new(id).unwrap(), 1 << 14);
            read.secret_mut().copy_from_slice(secret.as_ref());
            read.derive_key();
            read
        };
        let (handshake, session) = (state(2, handshake), state(3, session));
        Self { handshake, session, data: BTreeMap::new(), acknowledged: Vec::new(), tickets: 0 }
    }
}

fn check(file: &str, client_id: &[u8], server_id: &[u8]) {
    let fact = |name: &str| -> String {
        lines(file).find(|words| words[0] == name).expect("every fact is there")[1].to_string()
    };
    let logged = |label: &str| Secret::new(hex(&fact(label)).try_into().unwrap());
    let suite = match &*fact("suite") {
        "CCM_8" => CipherSuite::Aes128Ccm8Sha256,
        "CCM" => CipherSuite::Aes128CcmSha256,
        #[cfg(feature = "aes-gcm")]
        "GCM" => CipherSuite::Aes128GcmSha256,
        other => panic!("{other}"),
    };
    let [client_handshake, server_handshake, client_session, server_session] = [
        "CLIENT_HANDSHAKE_TRAFFIC_SECRET",
        "SERVER_HANDSHAKE_TRAFFIC_SECRET",
        "CLIENT_TRAFFIC_SECRET_0",
        "SERVER_TRAFFIC_SECRET_0",
    ]
    .map(logged);
    let mut early = no_secret();
    key_schedule::early_secret(&hex(&fact("psk")), &mut early);
    let mut main = no_secret();
    let mut transcript = Transcript::new(ProtocolVersion::Dtls13);
    let mut from_server = Reading::new(suite, client_id, &server_handshake, &server_session);
    let mut from_client = Reading::new(suite, server_id, &client_handshake, &client_session);
    let (mut hello_seen, mut finished) = (0, 0);

    for words in lines(file).filter(|words| ["client", "server"].contains(&words[0])) {
        let is_client = words[0] == "client";
        let (reading, id_len) =
            if is_client { (&mut from_client, server_id.len()) } else { (&mut from_server, client_id.len()) };
        let mut datagram = hex(words[1]);
        let Some((Split::Record(header, body), [])) = split_first(&mut datagram, id_len) else {
            panic!("wolfSSL sends one record in each datagram")
        };
        if let Some(plaintext) = header.plaintext() {
            assert_eq!(plaintext.content_type, ContentType::Handshake);
            let message = Fragment::parse(&mut Reader::new(body)).unwrap();
            assert!(message.is_whole());
            let msg_type = HandshakeType::from_number(message.msg_type).unwrap();
            if is_client {
                check_binder(&message, &early, &transcript);
                assert_eq!(ClientHello::parse(message.body).unwrap().random[..], hex(&fact("client_random")));
                transcript.add(msg_type, message.message_seq, message.body);
                hello_seen += 1;
                continue;
            }
            let hello = ServerHello::parse(message.body).unwrap();
            if hello.random == HELLO_RETRY_REQUEST_RANDOM {
                transcript = Transcript::after_hello(&transcript.hash());
                transcript.add(msg_type, message.message_seq, message.body);
                continue;
            }
            transcript.add(msg_type, message.message_seq, message.body);
            // The ephemeral secrets were not logged.
            if fact("mode") == "psk_ke" {
                let mut handshake = no_secret();
                key_schedule::handshake_secret(&early, &[], &mut handshake);
                assert_derives(&handshake, b"c hs traffic", &transcript, &client_handshake);
                assert_derives(&handshake, b"s hs traffic", &transcript, &server_handshake);
                key_schedule::master_secret(&handshake, &mut main);
            }
            continue;
        }
        let Header::Unified(unified) = &header else { panic!("{header:?}") };
        let read = if unified.epoch_bits == 2 { &mut reading.handshake } else { &mut reading.session };
        // Whoever changes a bit changes all of it, and nothing else.
        let mut forged = body.to_vec();
        let at = forged.len() / 2;
        forged[at] ^= 1;
        assert!(matches!(
            read.open(&RustCrypto, &header, &mut forged),
            Err(Dropped::Forged | Dropped::Replayed)
        ));
        let Ok(opened) = read.open(&RustCrypto, &header, body) else { panic!("the keys are right") };
        let number = opened.number;
        match opened.content_type {
            ContentType::Handshake => {
                let message = Fragment::parse(&mut Reader::new(opened.body)).unwrap();
                assert!(message.is_whole());
                match HandshakeType::from_number(message.msg_type).unwrap() {
                    HandshakeType::EncryptedExtensions => {
                        transcript.add(HandshakeType::EncryptedExtensions, message.message_seq, message.body);
                    }
                    HandshakeType::Finished => {
                        let expected = key_schedule::verify_data(read.secret(), &transcript.hash());
                        let parsed = Finished::<VERIFY_DATA13_LEN>::parse(message.body).unwrap();
                        assert_eq!(parsed.verify_data, expected);
                        transcript.add(HandshakeType::Finished, message.message_seq, message.body);
                        finished += 1;
                        if !is_client && fact("mode") == "psk_ke" {
                            assert_derives(&main, b"c ap traffic", &transcript, &client_session);
                            assert_derives(&main, b"s ap traffic", &transcript, &server_session);
                            assert_derives(&main, b"exp master", &transcript, &logged("EXPORTER_SECRET"));
                        }
                    }
                    HandshakeType::KeyUpdate => {
                        KeyUpdate::parse(message.body).unwrap();
                        assert!(read.expect_update());
                    }
                    HandshakeType::NewSessionTicket => {
                        let ticket = NewSessionTicket13::parse(message.body).unwrap();
                        assert!(!ticket.ticket.is_empty() && ticket.ticket_lifetime > 0);
                        reading.tickets += 1;
                    }
                    other => panic!("{other:?}"),
                }
            }
            ContentType::ApplicationData => {
                let data = String::from_utf8(opened.body.to_vec()).unwrap();
                reading.data.entry(number.epoch).or_default().push(data);
            }
            ContentType::Ack => reading.acknowledged.extend(Ack::parse(opened.body).unwrap().iter()),
            ContentType::Alert => {}
            other => panic!("{other:?}"),
        }
    }

    assert_eq!(finished, 2);
    assert_eq!(hello_seen, if file.contains("HelloRetryRequest with") { 2 } else { 1 });
    assert_eq!(from_server.tickets, u32::from(file.contains("ticket")));
    // The client's Finished, both KeyUpdates.
    assert!(from_server.acknowledged.contains(&RecordNumber { epoch: 2, sequence_number: 0 }));
    assert!(from_client.acknowledged.iter().any(|number| number.epoch == 3));
    for reading in [&from_client, &from_server] {
        assert!(reading.data.len() >= 2, "data under two epochs: {:?}", reading.data);
    }
    assert!(from_server.data.values().flatten().any(|data| data == "HELLO"));
    #[cfg(feature = "exporter")]
    {
        let words = lines(file).find(|words| words[0] == "exported").unwrap();
        let mut exported = [0; 32];
        let master = logged("EXPORTER_SECRET");
        key_schedule::export(&master, words[1].as_bytes(), &[], &mut exported).unwrap();
        assert_eq!(exported[..], hex(words[2]));
    }
}

fn assert_derives(secret: &Secret, label: &[u8], transcript: &Transcript, expected: &Secret) {
    let mut derived = no_secret();
    derive_secret(secret, label, &transcript.hash(), &mut derived);
    assert_eq!(derived, *expected, "{}", label.escape_ascii());
}

/// The binder of the one key that is offered, over the hello up to the binders.
fn check_binder(message: &Fragment<'_>, early: &Secret, before: &Transcript) {
    let hello = ClientHello::parse(message.body).unwrap();
    let psks = OfferedPsks::parse(hello.extensions.pre_shared_key.unwrap()).unwrap();
    let (identity, binder) = psks.iter().next().unwrap();
    assert_eq!(identity.identity, b"client1");
    let mut transcript = before.clone();
    let start = &message.body[..message.body.len() - psks.binders_len()];
    transcript.add_start(HandshakeType::ClientHello, message.body.len(), start);
    assert_eq!(offered_psks::binder(early, PskKind::External, &transcript.hash())[..], *binder);
}
