//! Neighbours of the known attacks, where sessions are resumed.
#![cfg(feature = "resumption")]

mod support;

use std::time::Duration;

use dtls_psk::{Config, Error};

use support::craft::*;
use support::raw::RawClient;
use support::resumed::*;
use support::world::{Note, Small, path, path_from};
use support::{IDENTITY, KEY};

/// Rows 10 and 20: a Finished before its ChangeCipherSpec, in the clear and under the keys, and data before the Finished.
#[test]
fn finished_before_change_cipher_spec() {
    let (mut world, first, id) = remembered(1);
    let mut raw = asking_for(&id, 2);
    let flight = ask(&mut world, &mut raw, 1);
    raw.take_resumption(&flight, &first.side.master);
    let told = world.log.len();
    let early = raw.side.data(b"early");
    let sealed = raw.finished_record();
    let plain = raw.finished_message().to_vec();
    let plain = raw.side.plain(HANDSHAKE, &plain);
    for datagram in [&early, &sealed, &plain] {
        assert!(world.hit(path(1), datagram).is_empty());
    }
    let change = raw.change_cipher_spec_record();
    let early = [change, raw.side.data(b"early")].concat();
    assert!(world.hit(path(1), &early).is_empty());
    assert_eq!(world.log[told..], []);
    assert_eq!(world.server.handshakes(), 1);
    let last = raw.short_flight();
    world.hit(path(1), &last);
    world.assert_raw_data_flows(path(1), &mut raw);

    // The same to a client, from its server.
    let id = [7; 32];
    let config = with(cache());
    let kept = kept_by_client(config, &id);
    let master = kept.server.side.master.clone();
    let mut against = support::world::AgainstRaw::with_config(3, config);
    against.server.hello.session_id = id.to_vec();
    against.hello();
    let whole = against.server.resumption(&master, None);
    let last_len = 14 + 13 + 8 + 24 + 8;
    let (hello, last) = whole.split_at(whole.len() - last_len);
    against.hit(hello);
    let early = against.server.side.data(b"early");
    for datagram in [&last[14..], &early] {
        assert!(against.hit(datagram).is_empty());
    }
    assert!(!against.client.is_established());
    let answer = against.hit(last);
    against.server.take_short_flight(&answer);
    against.assert_data_flows();
}

/// Row 30: the cache is memory too. Nothing is put there before the proof, nor pushed out of it.
#[test]
fn nothing_is_kept_before_the_proof() {
    let cache = cache();
    let mut world = Small::with_config(4, with(cache));
    for n in 0..1_000_u64 {
        let from = path_from([198, 51, 100, n as u8], 1_000 + n as u16);
        let mut raw = RawClient::new(IDENTITY, if n % 2 == 0 { KEY } else { b"wrong" }, n);
        world.raw_hello(from, &mut raw);
        if n % 2 == 1 {
            for _ in 0..2 {
                let flight = raw.key_flight();
                world.hit(from, &flight);
            }
        } else {
            let begun = [raw.key_exchange_record(), raw.change_cipher_spec_record()].concat();
            world.hit(from, &begun);
        }
        assert_eq!(count(cache, world.now), 0);
        // Its slot is free again by then.
        if n % 4 == 0 {
            world.run_for(Duration::from_secs(301));
        }
    }
    world.run_for(Duration::from_secs(301));
    assert_eq!((count(cache, world.now), world.server.handshakes()), (0, 0));
    let mut raw = RawClient::new(IDENTITY, KEY, 1);
    world.raw_handshake(path(0), &mut raw);
    assert_eq!(count(cache, world.now), 1);
}

/// Rows 26 and 29: resumptions that fail or get stuck, by someone who has seen the id, hold nothing in the end, and the
/// session can still be resumed by its peer.
#[test]
fn failed_resumptions_leak_nothing() {
    let (mut world, first, id) = remembered(5);
    for n in 0..300_u64 {
        let from = path_from([198, 51, 100, n as u8], 1_000 + n as u16);
        let mut raw = asking_for(&id, 100 + n);
        let hello = raw.hello();
        let replies = world.hit(from, &hello);
        raw.follow(&replies);
        let hello = raw.hello();
        world.hit(from, &hello);
        let told = world.log.len();
        match n % 3 {
            0 => drop(world.hit(from, &raw.side.plain(ALERT, &[2, 80]))),
            1 => {
                let change = raw.side.plain(CHANGE_CIPHER_SPEC, &[1]);
                for seq in 0..5 {
                    world.hit(from, &[&change[..], &record(HANDSHAKE, 1, seq, &[0x33; 40])].concat());
                }
            }
            _ => {}
        }
        if n % 50 == 0 {
            world.run_for(Duration::from_secs(301));
            assert_eq!(world.server.handshakes(), 0, "after {n}");
            let refused =
                |note: &Note| matches!(note, Note::Refused(error) if *error != Error::NoCommonSuite);
            assert!(world.log[told..].iter().all(|(_, note)| refused(note)));
        }
    }
    world.run_for(Duration::from_secs(301));
    assert_eq!(world.server.handshakes(), 0);
    assert_eq!(world.server.stats().sessions_evicted, 0);
    let mut raw = asking_for(&id, 999);
    let flight = ask(&mut world, &mut raw, 1);
    raw.take_resumption(&flight, &first.side.master);
    let last = raw.short_flight();
    world.hit(path(1), &last);
    world.assert_raw_data_flows(path(1), &mut raw);
}

/// Rows 12, 13, 24 and 27: fragments of tickets that never become whole, to a client that awaits one.
#[test]
fn fragments_of_tickets() {
    let config: Config<'static> = with(cache());
    let mut against = support::world::AgainstRaw::with_config(6, config);
    against.hello();
    against.server.hello.extensions.as_mut().unwrap().push((EXT_SESSION_TICKET, Vec::new()));
    let flight = against.server.flight(None);
    let answer = against.hit(&flight);
    let ticket = against.server.take_key_flight_with_ticket(&answer, b"a ticket");
    let told = against.client.log.len();
    for seq in [2, 3, 4, 0xFFFF] {
        for length in [6, 20, 383, 384, 385, 0xFFFF, 0xFF_FFFF] {
            for offset in [0, 1, length - 2] {
                let part = fragment(NEW_SESSION_TICKET, length, seq, offset, &[7]);
                assert!(against.hit(&record(HANDSHAKE, 0, 90, &part)).is_empty());
            }
            let empty = fragment(NEW_SESSION_TICKET, length, seq, 1, &[]).repeat(2_000);
            assert!(against.hit(&record(HANDSHAKE, 0, 91, &empty)).is_empty());
        }
    }
    assert_eq!(against.client.log[told..], []);
    against.hit(&ticket);
    let last = against.server.last_flight();
    against.hit(&last);
    against.assert_data_flows();
}
