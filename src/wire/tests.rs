//! Messages that others wrote: those of RFC 8448, which are of TLS 1.3. DTLS 1.3 has other versions in them, and the old
//! cookie in a ClientHello (RFC 9147 §5.3).

use std::vec::Vec;

use sha2::{Digest, Sha256};

use super::client_hello::ClientHello;
use super::extension::{Extensions, X25519};
use super::handshake::{HandshakeType, tls_header};
use super::key_share::{self, KeyShareEntry};
use super::new_session_ticket::NewSessionTicket13;
use super::pre_shared_key::{OfferedPsks, selected_identity};
use super::server_hello::{HELLO_RETRY_REQUEST_RANDOM, ServerHello};
use super::supported_versions;
use super::{InvalidMessage, Reader};
use crate::test_vectors::{hex, lines};

const MESSAGES: &str = include_str!("../../tests/vectors/tls13_messages.txt");

const TLS13: [u8; 2] = [3, 4];

/// The body of a message, whose header is checked.
fn body(name: &str, msg_type: HandshakeType) -> Vec<u8> {
    let message = lines(MESSAGES).find_map(|words| (words[0] == name).then(|| hex(words[1]))).unwrap();
    let (header, body) = message.split_at(4);
    assert_eq!(header, tls_header(msg_type.number(), body.len()));
    body.to_vec()
}

/// Where a ClientHello of DTLS has its cookie, when the session id is empty.
const COOKIE_AT: usize = 2 + super::RANDOM_LEN + 1;

fn client_hello(name: &str) -> Vec<u8> {
    let mut body = body(name, HandshakeType::ClientHello);
    body.insert(COOKIE_AT, 0);
    body
}

#[test]
fn client_hellos() {
    let body = client_hello("client_hello");
    let hello = ClientHello::parse(&body).unwrap();
    assert!(hello.cipher_suites.contains(0x1301));
    let extensions = hello.extensions;
    assert_eq!(extensions.server_name, Some(b"server".as_slice()));
    assert_eq!(extensions.record_size_limit, Some(0x4001));
    assert_eq!(extensions.psk_key_exchange_modes, Some([1].as_slice()));
    assert_eq!(extensions.pre_shared_key, None);
    assert_eq!(supported_versions::contains(extensions.supported_versions.unwrap(), TLS13), Ok(true));
    let shares = extensions.key_share.unwrap();
    assert_eq!(key_share::find(shares, X25519).unwrap().unwrap()[..4], [0x99, 0x38, 0x1D, 0xE5]);
    assert_eq!(key_share::find(shares, 23), Ok(None));

    let body = client_hello("retried_client_hello");
    let extensions = ClientHello::parse(&body).unwrap().extensions;
    assert_eq!(extensions.cookie.unwrap().len(), 114);
    let shares = extensions.key_share.unwrap();
    assert_eq!(key_share::find(shares, 23).unwrap().unwrap().len(), 65);
    assert_eq!(key_share::find(shares, X25519), Ok(None));
}

/// The binders prove what is in front of them (RFC 8446 §4.2.11.2).
#[test]
fn offered_psks() {
    let hello = client_hello("resumed_client_hello");
    let extensions = ClientHello::parse(&hello).unwrap().extensions;
    assert!(!extensions.pre_shared_key_is_not_last);
    let psks = OfferedPsks::parse(extensions.pre_shared_key.unwrap()).unwrap();
    let (key, binder) = psks.iter().next().unwrap();
    assert_eq!(psks.iter().count(), 1);
    assert_eq!((key.identity.len(), key.obfuscated_ticket_age), (178, 0xFAD6_AACB));
    assert_eq!(binder, hex("3add4fb2d8fdf822a0ca3cf7678ef5e88dae990141c5924d57bb6fa31b9e5f9d"));

    let body = body("resumed_client_hello", HandshakeType::ClientHello);
    let truncated = &body[..body.len() - psks.binders_len()];
    let hash = Sha256::new()
        .chain_update(tls_header(HandshakeType::ClientHello.number(), body.len()))
        .chain_update(truncated)
        .finalize();
    assert_eq!(hash[..], hex("63224b2e4573f2d3454ca84b9d009a04f6be9e05711a8396473aefa01e924a14"));
}

#[test]
fn server_hellos() {
    for (name, selected) in [("server_hello", None), ("resumed_server_hello", Some(0))] {
        let body = body(name, HandshakeType::ServerHello);
        let hello = ServerHello::parse(&body).unwrap();
        // It is not of DTLS.
        assert_eq!(hello.version(), Err(InvalidMessage::IllegalValue));
        let extensions = hello.extensions;
        assert!(!extensions.unknown);
        assert_eq!(supported_versions::selected(extensions.supported_versions.unwrap()), Ok(TLS13));
        assert_eq!(extensions.pre_shared_key.map(selected_identity).transpose(), Ok(selected));
        let share = KeyShareEntry::parse(extensions.key_share.unwrap()).unwrap();
        assert_eq!((share.group, share.key_exchange.len()), (X25519, 32));
    }
}

#[test]
fn hello_retry_request() {
    assert_eq!(Sha256::digest(b"HelloRetryRequest")[..], HELLO_RETRY_REQUEST_RANDOM);
    let body = body("hello_retry_request", HandshakeType::ServerHello);
    let request = ServerHello::parse(&body).unwrap();
    assert_eq!(request.random, HELLO_RETRY_REQUEST_RANDOM);
    let key_share = Some([0, 23].as_slice());
    let Extensions { cookie, supported_versions, .. } = request.extensions;
    assert_eq!(
        request.extensions,
        Extensions { cookie, supported_versions, key_share, ..Extensions::default() }
    );
    let repeated = client_hello("retried_client_hello");
    assert_eq!(cookie, ClientHello::parse(&repeated).unwrap().extensions.cookie);
}

#[test]
fn encrypted_extensions() {
    // The second one has `early_data`, which this crate never offers.
    for (name, unknown) in [("encrypted_extensions", false), ("resumed_encrypted_extensions", true)] {
        let body = body(name, HandshakeType::EncryptedExtensions);
        let mut r = Reader::new(&body);
        let extensions = Extensions::parse_list(&mut r).unwrap();
        assert!(r.is_empty());
        assert_eq!(extensions.server_name, Some([].as_slice()));
        assert_eq!(extensions.record_size_limit, Some(0x4001));
        assert_eq!(extensions.unknown, unknown || cfg!(not(feature = "x25519")));
    }
}

#[test]
fn new_session_ticket() {
    let body = body("new_session_ticket", HandshakeType::NewSessionTicket);
    let ticket = NewSessionTicket13::parse(&body).unwrap();
    assert_eq!((ticket.ticket_lifetime, ticket.ticket_age_add), (30, 0xFAD6_AAC5));
    assert_eq!(ticket.ticket_nonce, [0, 0]);
    // The client comes back with it, 6 milliseconds later.
    let hello = client_hello("resumed_client_hello");
    let offered = ClientHello::parse(&hello).unwrap().extensions.pre_shared_key.unwrap();
    let (key, _) = OfferedPsks::parse(offered).unwrap().iter().next().unwrap();
    assert_eq!(key.identity, ticket.ticket);
    assert_eq!(key.obfuscated_ticket_age, ticket.ticket_age_add.wrapping_add(6));
}

/// No message may be read that is cut short, or that has something behind it.
#[test]
fn nothing_less_and_nothing_more() {
    for name in ["client_hello", "resumed_client_hello", "retried_client_hello"] {
        check(&client_hello(name), |body| ClientHello::parse(body).map(|_| ()));
    }
    for name in ["server_hello", "resumed_server_hello", "hello_retry_request"] {
        check(&body(name, HandshakeType::ServerHello), |body| ServerHello::parse(body).map(|_| ()));
    }
    check(&body("new_session_ticket", HandshakeType::NewSessionTicket), |body| {
        NewSessionTicket13::parse(body).map(|_| ())
    });
    for name in ["encrypted_extensions", "resumed_encrypted_extensions"] {
        check(&body(name, HandshakeType::EncryptedExtensions), |body| {
            let mut r = Reader::new(body);
            Extensions::parse_list(&mut r)?;
            r.finish()
        });
    }
}

fn check(body: &[u8], parse: impl Fn(&[u8]) -> Result<(), InvalidMessage>) {
    assert_eq!(parse(body), Ok(()));
    let trailing = [body, &[0]].concat();
    assert_eq!(parse(&trailing), Err(InvalidMessage::TrailingData));
    let without_extensions = (0..body.len()).filter(|len| parse(&body[..*len]).is_ok());
    // Extensions may be left out of a hello altogether.
    assert!(without_extensions.count() <= 1);
}
