//! CoAP messages as bytes: the examples of RFC 7252, appendix A, and what is no message.
#![cfg(feature = "coap")]

use coap_message::{MessageOption, ReadableMessage};
use coap_numbers::{code, option};
use dtls_psk::coap::{Malformed, Message, Token, Type};

fn options(message: &Message<'_>) -> Vec<(u16, Vec<u8>)> {
    message.options().map(|option| (option.number(), option.value().to_vec())).collect()
}

/// RFC 7252, appendix A, figure 16: "Confirmable Request; Piggybacked Response".
#[test]
fn figure_16() {
    let request = Message::parse(b"\x40\x01\x7d\x34\xbbtemperature").unwrap();
    assert_eq!(request.kind(), Type::Confirmable);
    assert_eq!(request.code(), code::GET);
    assert_eq!(request.message_id(), 0x7d34);
    assert_eq!(request.token(), &Token::EMPTY);
    assert_eq!(options(&request), [(option::URI_PATH, b"temperature".to_vec())]);
    assert_eq!(request.payload(), b"");

    let response = Message::parse(b"\x60\x45\x7d\x34\xff22.3 C").unwrap();
    assert_eq!(response.kind(), Type::Acknowledgement);
    assert_eq!(response.code(), code::CONTENT);
    assert_eq!(response.message_id(), 0x7d34);
    assert_eq!(options(&response), []);
    assert_eq!(response.payload(), b"22.3 C");
}

/// RFC 7252, appendix A, figure 17: the same with the token 0x20.
#[test]
fn figure_17() {
    let request = Message::parse(b"\x41\x01\x7d\x35\x20\xbbtemperature").unwrap();
    assert_eq!(request.token().as_bytes(), [0x20]);
    assert_eq!(request.message_id(), 0x7d35);
    assert_eq!(options(&request), [(option::URI_PATH, b"temperature".to_vec())]);

    let response = Message::parse(b"\x61\x45\x7d\x35\x20\xff22.3 C").unwrap();
    assert_eq!(response.token().as_bytes(), [0x20]);
    assert_eq!(response.payload(), b"22.3 C");
}

/// The formats of options in RFC 7252 §3.1: deltas and lengths of one, two and three bytes.
#[test]
fn option_deltas_and_lengths() {
    let mut datagram = b"\x40\x01\x00\x01\xd1\x00a\xe0\x00\x01\x0d\x00".to_vec();
    datagram.extend([b'x'; 13]);
    datagram.extend(b"\x0e\x00\x05");
    datagram.extend([b'y'; 274]);
    let message = Message::parse(&datagram).unwrap();
    assert_eq!(
        options(&message),
        [(13, b"a".to_vec()), (283, vec![]), (283, vec![b'x'; 13]), (283, vec![b'y'; 274])]
    );
}

#[test]
fn tokens_of_all_lengths() {
    for len in 0..=8_u8 {
        let mut datagram = vec![0x40 | len, 0x01, 0, 1];
        let token: Vec<u8> = (1..=len).collect();
        datagram.extend(&token);
        assert_eq!(Message::parse(&datagram).unwrap().token().as_bytes(), token);
        assert_eq!(Token::new(&token).unwrap().as_bytes(), token);
    }
    assert_eq!(Token::new(&[0; 9]), None);
}

#[test]
fn what_is_no_message() {
    for (datagram, what) in [
        (&b""[..], "nothing"),
        (b"\x40\x01\x00", "shorter than a header"),
        (b"\x00\x01\x00\x01", "version 0"),
        (b"\x80\x01\x00\x01", "version 2"),
        (b"\xc0\x01\x00\x01", "version 3"),
    ] {
        assert_eq!(Message::parse(datagram), Err(Malformed::Unintelligible), "{what}");
    }
    for (datagram, what) in [
        (&b"\x49\x01\x00\x01123456789"[..], "a token of 9 bytes"),
        (b"\x4f\x01\x00\x01123456789abcdef", "a token of 15 bytes"),
        (b"\x44\x01\x00\x01abc", "less token than was promised"),
        (b"\x41\x00\x00\x01a", "an Empty message with a token"),
        (b"\x40\x00\x00\x01\xffa", "an Empty message with a payload"),
        (b"\x40\x00\x00\x01\xb0", "an Empty message with an option"),
        (b"\x40\x01\x00\x01\xff", "a payload marker without a payload"),
        (b"\x40\x01\x00\x01\xb1a\xff", "a payload marker without a payload, after an option"),
        (b"\x40\x01\x00\x01\xf0", "the reserved delta 15"),
        (b"\x40\x01\x00\x01\x0f", "the reserved length 15"),
        (b"\x40\x01\x00\x01\xd0", "no byte for a delta of two"),
        (b"\x40\x01\x00\x01\xe0\x00", "one byte for a delta of three"),
        (b"\x40\x01\x00\x01\x0d", "no byte for a length of two"),
        (b"\x40\x01\x00\x01\xb5abcd", "less value than was promised"),
        (b"\x40\x01\x00\x01\xe0\xff\xff", "a number past 65535"),
        (b"\x40\x01\x00\x01\xe0\xfe\xf2\x10", "a sum of numbers past 65535"),
    ] {
        let expected = Malformed::FormatError { kind: Type::Confirmable, message_id: 1 };
        assert_eq!(Message::parse(datagram), Err(expected), "{what}");
    }
}
