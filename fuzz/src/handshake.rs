//! Handshake messages: each parser on any bytes, what it read written again, and fragments put together.

use core::fmt::Debug;

use dtls_psk::wire::alert::Alert;
use dtls_psk::wire::client_hello::ClientHello;
use dtls_psk::wire::client_key_exchange::ClientKeyExchange;
use dtls_psk::wire::extension::Extensions;
use dtls_psk::wire::finished::Finished;
use dtls_psk::wire::handshake::Fragment;
use dtls_psk::wire::hello_verify_request::HelloVerifyRequest;
use dtls_psk::wire::new_session_ticket::NewSessionTicket;
use dtls_psk::wire::return_routability_check::ReturnRoutabilityCheck;
use dtls_psk::wire::server_hello::ServerHello;
use dtls_psk::wire::server_key_exchange::ServerKeyExchange;
use dtls_psk::wire::{BufferFull, Reader, Writer};
use dtls_psk::{MAX_FRAGMENTED_MESSAGE, Reassembly};

pub fn run(data: &[u8]) {
    bodies(data);
    fragments(data);
}

/// Every parser on the same bytes. What it takes for a message must come out again.
fn bodies(data: &[u8]) {
    if let Ok(hello) = ClientHello::parse(data) {
        let hello = ClientHello { extensions: known(hello.extensions), ..hello };
        let bytes = emit(data, |w| hello.emit(w));
        assert_eq!(ClientHello::parse(&bytes), Ok(hello));
    }
    if let Ok(hello) = ServerHello::parse(data) {
        let hello = ServerHello { extensions: known(hello.extensions), ..hello };
        let bytes = emit(data, |w| hello.emit(w));
        assert_eq!(ServerHello::parse(&bytes), Ok(hello));
    }
    if let Ok(request) = HelloVerifyRequest::parse(data) {
        let bytes = emit(data, |w| request.emit(w));
        // The version is the only field that may differ.
        assert_eq!(bytes[2..], data[2..]);
    }
    for with_key in [false, true] {
        same(data, ServerKeyExchange::parse(data, with_key), |it, w| it.emit(w));
        same(data, ClientKeyExchange::parse(data, with_key), |it, w| it.emit(w));
    }
    if let Ok(NewSessionTicket { lifetime_hint, ticket }) = NewSessionTicket::parse(data) {
        assert!(data.starts_with(&lifetime_hint.to_be_bytes()));
        assert!(data.ends_with(ticket) && data.len() == 6 + ticket.len());
    }
    if let Ok(Some(check)) = ReturnRoutabilityCheck::parse(data) {
        assert_eq!(check.to_bytes(), data);
    }
    same(data, Alert::parse(data), |it, w| w.bytes(&it.to_bytes()));
    same(data, Finished::parse(data).map(|it| it.verify_data), |it, w| w.bytes(&it));
}

/// Extensions that are not known are read over, and those of a renegotiation refused; neither is ever written.
fn known(extensions: Extensions) -> Extensions {
    Extensions { unknown: false, renegotiated_connection: false, ..extensions }
}

fn emit(data: &[u8], emit: impl FnOnce(&mut Writer<'_>) -> Result<(), BufferFull>) -> Vec<u8> {
    // Never longer than what it came from, but for the length of an empty block of extensions.
    let mut buf = vec![0; data.len() + 2];
    let mut w = Writer::new(&mut buf);
    emit(&mut w).expect("what was read fits");
    w.written().to_vec()
}

/// A message without any freedom in how it is written.
fn same<T, E: Debug>(
    data: &[u8],
    parsed: Result<T, E>,
    write: impl FnOnce(T, &mut Writer<'_>) -> Result<(), BufferFull>,
) {
    if let Ok(parsed) = parsed {
        assert_eq!(emit(data, |w| write(parsed, w)), data);
    }
}

/// All fragments go into one reassembly, beside the plainest model of it.
fn fragments(data: &[u8]) {
    let mut reassembly = Reassembly::new();
    let mut key = None;
    let mut model: Vec<Option<u8>> = Vec::new();

    let mut r = Reader::new(data);
    let mut at = 0;
    while let Ok(fragment) = Fragment::parse(&mut r) {
        let header = fragment.header();
        let end = at + header.len() + fragment.body.len();
        assert_eq!(header, data[at..at + header.len()]);
        assert_eq!(fragment.body, &data[at + header.len()..end]);
        at = end;

        let length = fragment.length as usize;
        let expected = if length > MAX_FRAGMENTED_MESSAGE {
            None
        } else {
            let this = Some((fragment.msg_type, fragment.length, fragment.message_seq));
            if key != this {
                key = this;
                model = vec![None; length];
            }
            for (place, byte) in model.iter_mut().skip(fragment.fragment_offset as usize).zip(fragment.body) {
                *place = Some(*byte);
            }
            model.iter().copied().collect::<Option<Vec<u8>>>()
        };
        assert_eq!(reassembly.add(&fragment), expected.as_deref());
        if expected.is_some() {
            key = None;
        }
    }
}
