//! Neighbours of the known attacks, where records have connection IDs (RFC 9146).
#![cfg(feature = "connection-id")]

mod support;

use std::time::Duration;

use dtls_psk::{Config, Path};

use support::craft::*;
use support::raw::RawClient;
use support::world::{AgainstRaw, Note, Small, World, path, path_from};
use support::{IDENTITY, KEY, parse};

const ONE_BYTE: Config<'static> = support::DTLS12.with_connection_id(1);
const MAX_SEQ: u64 = (1 << 48) - 1;

fn elsewhere() -> Path {
    path_from([203, 0, 113, 9], 1_234)
}

/// A record with a connection ID that nobody has sealed.
fn forged(id: &[u8], epoch: u16, sequence_number: u64, body: &[u8]) -> Vec<u8> {
    let mut record = record(TLS12_CID, epoch, sequence_number, body);
    record.splice(11..11, id.iter().copied());
    record
}

/// The one-byte ID that the server gave this client.
fn id_of(raw: &RawClient) -> Vec<u8> {
    raw.side.peer_id.clone().unwrap()
}

/// Fails unless the server passes over this datagram, whoever seems to have sent it.
#[track_caller]
fn is_ignored(world: &mut Small, datagram: &[u8]) {
    let (told, held) = (world.log.len(), world.server.handshakes());
    for from in [path(0), path(1), elsewhere()] {
        assert_eq!(world.hit(from, datagram), Vec::<Vec<u8>>::new());
        assert_eq!(world.log[told..], []);
        assert_eq!(world.server.handshakes(), held);
    }
}

/// Rows 3, 5, 15, 16 and 20: every epoch, length and number with the right connection ID, and every other ID. The session
/// stays where it is, and its replay window too.
#[test]
fn forged_records_for_a_session() {
    let mut world = Small::with_config(1, ONE_BYTE);
    let mut raw = RawClient::new(IDENTITY, KEY, 1).with_connection_id(b"me");
    world.raw_handshake(path(0), &mut raw);
    let id = id_of(&raw);
    for epoch in [0, 1, 2, 3, 0x7FFF, 0xFFFF] {
        for len in (0..=40).chain([100, 16_384, 17_000]) {
            is_ignored(&mut world, &forged(&id, epoch, 100 + len as u64, &vec![0xE5; len]));
        }
        for seq in [0, 1, 63, 64, 65, MAX_SEQ] {
            is_ignored(&mut world, &forged(&id, epoch, seq, &[0x77; 40]));
            // What would be data, if it were not in the clear.
            is_ignored(&mut world, &forged(&id, epoch, seq, b"in the clear\x17"));
        }
    }
    for other in 0..=255_u8 {
        is_ignored(&mut world, &forged(&[other], 1, 9, &[0x77; 40]));
    }
    // A header that ends within the ID, or behind it.
    let whole = forged(&id, 1, 9, &[]);
    (0..whole.len()).for_each(|len| is_ignored(&mut world, &whole[..len]));
    assert_eq!(world.seal_by(&path(0)), path(0));
    assert_eq!(world.server.poll_timeout(), None, "nobody is asked where he is");
    world.assert_raw_data_flows(path(0), &mut raw);
    world.assert_newcomer_gets_through();
}

/// Row 20: sealed by the peer, but with no type inside, or with one that has no place there (RFC 9146 §4). It is of no
/// use, and harms nothing.
#[test]
fn sealed_records_without_a_place() {
    let mut world = Small::with_config(2, ONE_BYTE);
    let mut raw = RawClient::new(IDENTITY, KEY, 2).with_connection_id(b"me");
    world.raw_handshake(path(0), &mut raw);
    let mut against = AgainstRaw::with_config(2, ONE_BYTE);
    against.server = against.server.with_connection_id(b"server");
    against.establish();
    let (told, client_told) = (world.log.len(), against.client.log.len());
    for content_type in (0..=255).filter(|content_type| !(ALERT..=APPLICATION_DATA).contains(content_type)) {
        if content_type == RETURN_ROUTABILITY_CHECK {
            continue;
        }
        for (payload, padding) in [(&b""[..], 0), (b"", 40), (b"payload", 0), (b"payload", 9)] {
            // A type of zero is no type: what lies before it is, if anything does.
            let payload = if content_type == 0 { &[] } else { payload };
            raw.side.write.as_mut().unwrap().padding = padding;
            let datagram = raw.side.seal(content_type, payload);
            assert!(world.hit(path(0), &datagram).is_empty());
            against.server.side.write.as_mut().unwrap().padding = padding;
            let datagram = against.server.side.seal(content_type, payload);
            assert!(against.hit(&datagram).is_empty());
        }
    }
    assert_eq!(world.log[told..], []);
    assert_eq!(against.client.log[client_told..], []);
    world.assert_raw_data_flows(path(0), &mut raw);
    against.assert_data_flows();
    world.assert_newcomer_gets_through();
}

/// Rows 2, 10 and 11: records for a handshake's connection ID before its Finished, in each state, from anywhere.
#[test]
fn records_for_a_handshake() {
    for steps in 0..3 {
        let mut world = Small::with_config(3, ONE_BYTE);
        let mut raw = RawClient::new(IDENTITY, KEY, 3).with_connection_id(b"me");
        world.raw_hello(path(0), &mut raw);
        let mut begun = raw.key_exchange_record();
        begun.extend(raw.change_cipher_spec_record());
        let cut = [0, begun.len() - 14, begun.len()][steps];
        if cut > 0 {
            world.hit(path(0), &begun[..cut]);
        }
        let id = id_of(&raw);
        for epoch in [0, 1, 2, 0xFFFF] {
            for len in [0, 15, 16, 17, 40, 1_000] {
                // From the client's own address a forgery may be a Finished that does not open, and one is forgiven.
                let told = world.log.len();
                let datagram = forged(&id, epoch, 50 + len as u64, &vec![0xE5; len]);
                for from in [path(0), elsewhere()] {
                    assert!(world.hit(from, &datagram).is_empty());
                }
                assert_eq!(world.log[told..], []);
            }
        }
        let early = raw.side.data(b"early");
        for from in [path(0), elsewhere()] {
            assert!(world.hit(from, &early).is_empty());
        }
        assert_eq!((world.server.handshakes(), world.server.sessions().count()), (1, 0));
        let flight = raw.key_flight();
        let last = world.hit(path(0), &flight);
        raw.take_last_flight(&last);
        world.assert_raw_data_flows(path(0), &mut raw);
        world.run_for(Duration::from_secs(61));
        assert_eq!(world.server.handshakes(), 0);
    }
}

/// Row 26: failed handshakes give their connection IDs back, of which there are fewer than handshakes here.
#[test]
fn failed_handshakes_leak_no_ids() {
    let mut world = World::<2, 4>::with_config(4, ONE_BYTE);
    let mut ids = std::collections::HashSet::new();
    for n in 0..2_000_u64 {
        let from = path_from([198, 51, 100, n as u8], 2_000 + n as u16);
        let mut raw = RawClient::new(IDENTITY, b"wrong", n).with_connection_id(b"me");
        world.raw_hello(from, &mut raw);
        assert_eq!(id_of(&raw).len(), 1);
        ids.insert(id_of(&raw));
        for _ in 0..2 {
            let flight = raw.key_flight();
            let answers = world.hit(from, &flight);
            assert!(answers.iter().all(|answer| parse::plain_alert(answer) == Some((2, 51))));
        }
        assert_eq!(world.server.handshakes(), 0);
    }
    assert!(ids.len() > 250, "{} IDs were drawn", ids.len());
    let mut raw = RawClient::new(IDENTITY, KEY, 1).with_connection_id(b"me");
    world.raw_handshake(path(0), &mut raw);
    world.assert_raw_data_flows(path(0), &mut raw);
}

/// Row 32: each side's records, sent back to it, are nobody's, even where both chose the same connection ID.
#[test]
fn reflected_records() {
    let mut world = Small::with_config(5, ONE_BYTE);
    let mut raw = RawClient::new(IDENTITY, KEY, 5).with_connection_id(b"?");
    world.raw_hello(path(0), &mut raw);
    // Now that it knows the server's.
    let id = id_of(&raw);
    let mut raw = RawClient::new(IDENTITY, KEY, 5).with_connection_id(&id);
    world.raw_handshake(path(1), &mut raw);
    let own = world.seal(&path(1), b"the server's own");
    is_ignored(&mut world, &own);
    world.assert_raw_data_flows(path(1), &mut raw);
    assert_ne!(world.log.last(), Some(&(path(1), Note::Data(b"the server's own".to_vec()))));
}
