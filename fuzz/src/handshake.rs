//! Handshake messages: each parser on any bytes, what it read written again, and fragments put together.

use core::fmt::Debug;

use dtls_psk::wire::ack::Ack;
use dtls_psk::wire::alert::Alert;
use dtls_psk::wire::client_hello::ClientHello;
use dtls_psk::wire::client_key_exchange::ClientKeyExchange;
use dtls_psk::wire::extension::{Extensions, X25519, emit_pre_shared_key};
use dtls_psk::wire::finished::{Finished, VERIFY_DATA_LEN, VERIFY_DATA13_LEN};
use dtls_psk::wire::handshake::Fragment;
use dtls_psk::wire::hello_verify_request::HelloVerifyRequest;
use dtls_psk::wire::imported_identity::ImportedIdentity;
use dtls_psk::wire::key_share::{self, KeyShareEntry};
use dtls_psk::wire::key_update::KeyUpdate;
use dtls_psk::wire::new_connection_id::{NewConnectionId, RequestConnectionId};
use dtls_psk::wire::new_session_ticket::{NewSessionTicket, NewSessionTicket13};
use dtls_psk::wire::pre_shared_key::{self, BINDER_LEN, OfferedPsks};
use dtls_psk::wire::return_routability_check::ReturnRoutabilityCheck;
use dtls_psk::wire::server_hello::ServerHello;
use dtls_psk::wire::server_key_exchange::ServerKeyExchange;
use dtls_psk::wire::supported_versions;
use dtls_psk::wire::{BufferFull, InvalidMessage, Reader, Writer};
use dtls_psk::{MAX_FRAGMENTED_MESSAGE, ProtocolVersion, Reassembly};

pub fn run(data: &[u8]) {
    bodies(data);
    bodies13(data);
    extensions13(data);
    fragments(data);
}

/// Every parser on the same bytes. What it takes for a message must come out again.
fn bodies(data: &[u8]) {
    if let Ok(hello) = ClientHello::parse(data) {
        let hello = ClientHello { extensions: known(hello.extensions), ..hello };
        let bytes = emit(data, |w| hello.emit(w));
        assert_eq!(ClientHello::parse(&bytes), Ok(hello));
        if let Some(psk) = hello.extensions.pre_shared_key {
            // Last, by either way to write it.
            let extensions = Extensions { pre_shared_key: None, ..hello.extensions };
            let hello = ClientHello { extensions, ..hello };
            let last = |w: &mut Writer<'_>| emit_pre_shared_key(w, |w| w.bytes(psk));
            assert_eq!(emit(data, |w| hello.emit_with(w, last)), bytes);
        }
        for version in ProtocolVersion::ALL {
            let _ = hello.offers_version(*version);
        }
    }
    if let Ok(hello) = ServerHello::parse(data) {
        let hello = ServerHello { extensions: known(hello.extensions), ..hello };
        let bytes = emit(data, |w| hello.emit(w));
        assert_eq!(ServerHello::parse(&bytes), Ok(hello));
        if hello.version() == Ok(Some(ProtocolVersion::Dtls13)) {
            assert_eq!(hello.extensions.supported_versions, Some([0xFE, 0xFC].as_slice()));
        }
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
    same(data, Finished::<VERIFY_DATA_LEN>::parse(data), |it, w| w.bytes(&it.verify_data));
}

/// The same with what is DTLS 1.3's alone.
fn bodies13(data: &[u8]) {
    same(data, Finished::<VERIFY_DATA13_LEN>::parse(data), |it, w| w.bytes(&it.verify_data));
    if let Ok(extensions) = encrypted_extensions(data) {
        let extensions = known(extensions);
        let bytes = emit(data, |w| extensions.emit_list(w, |_| Ok(())));
        assert_eq!(encrypted_extensions(&bytes), Ok(extensions));
        assert!(extensions.are_offered_by(&extensions));
    }
    if let Ok(ticket) = NewSessionTicket13::parse(data) {
        let bytes = emit(data, |w| ticket.emit(w));
        assert_eq!(NewSessionTicket13::parse(&bytes), Ok(ticket));
        // Its extensions are the only thing that may be lost.
        assert!(data.starts_with(&bytes[..bytes.len() - 2]));
    }
    same(data, KeyUpdate::parse(data), |it, w| w.bytes(&it.to_bytes()));
    same(data, NewConnectionId::parse(data), |it, w| NewConnectionId::emit(w, it.iter(), it.usage));
    same(data, RequestConnectionId::parse(data), |it, w| w.u8(it.num_cids));
    same(data, ImportedIdentity::parse(data), |it, w| it.emit(w));
    if let Ok(ack) = Ack::parse(data) {
        let numbers: Vec<_> = ack.iter().collect();
        assert_eq!(Ack::len(numbers.len()), data.len());
        assert_eq!(emit(data, |w| Ack::emit(&numbers, w)), data);
    }
}

fn encrypted_extensions(data: &[u8]) -> Result<Extensions<'_>, InvalidMessage> {
    let mut r = Reader::new(data);
    let extensions = Extensions::parse_list(&mut r)?;
    r.finish()?;
    Ok(extensions)
}

/// What is inside of extensions, for which no other parser looks.
fn extensions13(data: &[u8]) {
    if let Ok(psks) = OfferedPsks::parse(data) {
        offered_psks(&psks, data);
    }
    same(data, pre_shared_key::selected_identity(data), |it, w| w.u16(it));
    same(data, supported_versions::selected(data), |it, w| w.bytes(&it));
    if supported_versions::contains(data, [0; 2]).is_ok() {
        assert!(data.len() >= 3);
        for version in data[1..].chunks(2) {
            let version = version.try_into().expect("two bytes each");
            assert_eq!(supported_versions::contains(data, version), Ok(true));
        }
    }
    if let Ok(Some(key)) = key_share::find(data, X25519) {
        assert!(!key.is_empty() && data.windows(key.len()).any(|bytes| bytes == key));
    }
    let entry = KeyShareEntry::parse(data);
    same(data, entry, |it, w| it.emit(w));
    if let Ok(entry) = entry {
        let list = emit(data, |w| entry.emit_alone(w));
        assert_eq!(key_share::find(&list, entry.group), Ok(Some(entry.key_exchange)));
        assert_eq!(key_share::find(&list, !entry.group), Ok(None));
    }
}

/// As many binders as keys, and all bytes where they belong.
fn offered_psks(psks: &OfferedPsks<'_>, data: &[u8]) {
    let (keys, binders): (Vec<_>, Vec<_>) = psks.iter().unzip();
    assert!(!keys.is_empty());
    let identities =
        |w: &mut Writer<'_>| keys.iter().try_for_each(|key| pre_shared_key::emit_identity(w, *key));
    let again = emit(data, |w| {
        w.nested16(identities)?;
        w.nested16(|w| binders.iter().try_for_each(|binder| w.vec8(binder)))
    });
    assert_eq!(again, data);
    let binders_at = data.len() - psks.binders_len();
    let mut r = Reader::new(&data[..binders_at]);
    assert!(r.vec16().is_ok() && r.is_empty(), "the identities end where the binders begin");
    let binders: Result<Vec<[u8; BINDER_LEN]>, _> =
        binders.iter().map(|binder| (*binder).try_into()).collect();
    if let Ok(binders) = binders {
        let mut extension = vec![0; data.len() + 4];
        let mut w = Writer::new(&mut extension);
        pre_shared_key::emit(&mut w, identities, &binders).expect("there is room");
        assert_eq!(w.written()[4..], *data);
    }
}

/// Extensions that are not known are read over, and those of a renegotiation refused; neither is ever written. A pre-shared key
/// is written where it belongs.
fn known(extensions: Extensions) -> Extensions {
    Extensions {
        unknown: false,
        renegotiated_connection: false,
        pre_shared_key_is_not_last: false,
        ..extensions
    }
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
