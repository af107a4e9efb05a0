//! Established sessions: data, closing, and peers that come again.

mod support;

use std::time::Duration;

use dtls_psk::{AeadAlgorithm, AlertDescription, CipherSuite, Config, Error, ProtocolVersion, RECORD_PREFIX};

use support::craft::*;
use support::parse;
use support::raw::RawClient;
use support::world::{AgainstRaw, Note, Small, path, psk};
use support::{IDENTITY, KEY};

/// Length in bytes of the datagram with a payload of so many.
fn sealed_len(suite: &CipherSuite, len: usize) -> usize {
    match suite.version() {
        ProtocolVersion::Dtls12 => RECORD_PREFIX + len + suite.tag_len(),
        // Bits, 8 of the number, the content type inside; at least 16 bytes to encrypt the number with (RFC 9147 §4.2.3).
        _ => 2 + (len + 1 + suite.tag_len()).max(16),
    }
}

#[test]
fn data_of_every_length_both_ways() {
    for suite in CipherSuite::ALL {
        let config = Config::new().with_suites(std::slice::from_ref(suite));
        let mut world = Small::with_config(1, config).with_usual(config);
        let client = world.established();
        let mut buf = vec![0; 20_000];
        for len in (0..70).chain([1_000, 16_383, 16_384]) {
            let payload: Vec<u8> = (0..len).map(|at| at as u8).collect();
            let sent = world.clients[client].connection.send(&payload, &mut buf).unwrap();
            // Every 64th number has 16 bits.
            let long = usize::from(suite.version() == ProtocolVersion::Dtls13);
            assert!(
                (sealed_len(suite, len)..=sealed_len(suite, len) + long).contains(&sent),
                "{sent} for {len}"
            );
            world.hit(path(0), &buf[..sent]);
            assert_eq!(world.log.pop(), Some((path(0), Note::Data(payload.clone()))));

            // Sealed in place, somewhere in the buffer.
            let at = RECORD_PREFIX + len % 7;
            buf[at..at + len].copy_from_slice(&payload);
            let (record, _) = world.server.seal_in_place(&path(0), &mut buf, at..at + len).unwrap();
            assert!(record.len().abs_diff(sent) <= long);
            let now = world.now;
            world.clients[client].hit(&buf[record], now);
            assert_eq!(world.clients[client].log.pop(), Some(Note::Data(payload)));
        }
        let too_long = vec![0; 16_385];
        assert_eq!(
            world.clients[client].connection.send(&too_long, &mut buf),
            Err(Error::PayloadTooLong { max: 16_384 })
        );
        assert_eq!(
            world.server.send(&path(0), &too_long, &mut buf),
            Err(Error::PayloadTooLong { max: 16_384 })
        );
        assert_eq!(world.server.send(&path(9), b"x", &mut buf), Err(Error::NotConnected));
        world.assert_data_flows(client);
    }
}

/// A range without room around it is an error, takes no number and changes no byte.
#[test]
fn sealing_in_place_needs_room() {
    let mut world = Small::new(2);
    let client = world.established();
    let connection = &mut world.clients[client].connection;
    let mut buf = [7; 40];
    for range in [0..4, 20..24, 21..33, 0..40, 40..40, 30..50, 50..60] {
        let outcome = connection.seal_in_place(&mut buf, range.clone());
        assert!(matches!(outcome, Err(Error::BufferTooSmall { .. })), "{range:?}: {outcome:?}");
        assert_eq!(buf, [7; 40]);
    }
    #[expect(clippy::reversed_empty_ranges, reason = "a caller's mistake")]
    let reversed = connection.seal_in_place(&mut buf, 30..21);
    assert!(!matches!(reversed, Ok(range) if range.start > range.end));
    world.assert_data_flows(client);
}

#[test]
fn several_records_in_one_datagram() {
    let mut world = Small::new(3);
    let client = world.established();
    let mut records: Vec<Vec<u8>> = (0..5_u8).map(|n| world.clients[client].seal(&[n; 3])).collect();
    // Among them one that is damaged, one that came before, one of an unknown type, and a tail that is none.
    records.insert(1, record(APPLICATION_DATA, 1, 999, &[0; 30]));
    records.insert(3, records[0].clone());
    records.insert(4, record(99, 1, 7, b"what?"));
    let datagram = [records.concat(), vec![APPLICATION_DATA, 0xFE]].concat();
    let before = world.log.len();
    world.hit(path(0), &datagram);
    let notes: Vec<Note> = world.log[before..].iter().map(|(_, note)| note.clone()).collect();
    assert_eq!(notes, (0..5_u8).map(|n| Note::Data(vec![n; 3])).collect::<Vec<_>>());
    let stats = world.server.stats();
    assert_eq!((stats.forged, stats.replayed, stats.dropped), (1, 1, 2));

    // The second record comes with the next call.
    let mut datagram = [world.seal(&path(0), b"one"), world.seal(&path(0), b"two")].concat();
    let now = world.now;
    let mut incoming = world.clients[client].connection.receive(&mut datagram, now);
    assert_eq!(incoming.remaining(), 2 * (29 + 3));
    assert_eq!(incoming.next().map(Note::from), Some(Note::Data(b"one".to_vec())));
    assert_eq!(incoming.remaining(), 29 + 3);
    assert_eq!(incoming.next().map(Note::from), Some(Note::Data(b"two".to_vec())));
    assert!(incoming.next().is_none());
}

#[test]
fn the_client_closes() {
    support::versions().for_each(|(_, config)| the_client_closes_in(config));
}

fn the_client_closes_in(config: Config<'static>) {
    let mut world = Small::with_config(4, config).with_usual(config);
    let client = world.established();
    world.clients[client].connection.close();
    assert_eq!(world.clients[client].connection.send(b"x", &mut [0; 99]), Err(Error::NotConnected));
    world.run_for(Duration::from_secs(1));
    assert_eq!(world.log_of(path(0)), [Note::Established, Note::Closed]);
    assert_eq!(world.server.peer(&path(0)), None);
    assert_eq!(world.server.sessions().count(), 0);
    assert_eq!(world.server.send(&path(0), b"x", &mut [0; 99]), Err(Error::NotConnected));
    assert_eq!(world.net.trace.len(), 6 + 2, "one close_notify each way");
    assert_eq!(world.clients[client].log, [Note::Established], "its own closing is no news");
    world.assert_newcomer_gets_through();
}

#[test]
fn the_server_closes() {
    support::versions().for_each(|(_, config)| the_server_closes_in(config));
}

fn the_server_closes_in(config: Config<'static>) {
    let mut world = Small::with_config(5, config).with_usual(config);
    let client = world.established();
    let other = world.established();
    world.server.close(&path(0));
    world.run_for(Duration::from_secs(1));
    assert_eq!(world.clients[client].log, [Note::Established, Note::Closed]);
    assert_eq!(world.clients[client].connection.peer(), None);
    assert_eq!(world.clients[client].connection.send(b"x", &mut [0; 99]), Err(Error::NotConnected));
    assert_eq!(world.server.sessions().count(), 1);
    world.assert_data_flows(other);
    // Closing what is not there, or twice, is nothing.
    world.server.close(&path(0));
    world.clients[client].connection.close();
    let sent = world.net.trace.len();
    world.run_for(Duration::from_secs(1));
    assert_eq!(world.net.trace.len(), sent);

    world.server.close_all();
    world.run_for(Duration::from_secs(1));
    assert_eq!(world.clients[other].log.last(), Some(&Note::Closed));
    assert_eq!(world.server.sessions().count(), 0);
}

/// Data behind a close_notify, or a fatal alert, is not delivered.
#[test]
fn nothing_comes_after_the_end() {
    for (alert, note) in [
        ([1, 0], Note::Closed),
        ([2, 0], Note::Closed),
        ([2, 80], Note::Failed(Error::AlertReceived(AlertDescription::INTERNAL_ERROR))),
    ] {
        let mut world = Small::new(6);
        let mut raw = RawClient::new(IDENTITY, KEY, 6);
        world.raw_handshake(path(0), &mut raw);
        let end = raw.side.seal(ALERT, &alert);
        let datagram = [end, raw.side.data(b"late")].concat();
        world.hit(path(0), &datagram);
        assert_eq!(world.log_of(path(0)), [Note::Established, note.clone()]);
        let late = raw.side.data(b"later");
        assert!(world.hit(path(0), &late).is_empty());
        assert_eq!(world.log_of(path(0)).len(), 2);
        assert_eq!(world.server.sessions().count(), 0);
        world.assert_newcomer_gets_through();

        let mut against = AgainstRaw::new(6);
        against.establish();
        let end = against.server.side.seal(ALERT, &alert);
        let datagram = [end, against.server.side.data(b"late")].concat();
        let answer = against.hit(&datagram);
        assert_eq!(against.client.log, [Note::Established, note.clone()]);
        // close_notify is answered with one of our own (RFC 5246 §7.2.1); a fatal alert with nothing.
        let expected = if note == Note::Closed { vec![(ALERT, vec![1, 0])] } else { vec![] };
        assert_eq!(against.server.side.open(&answer), expected);
        assert_eq!(against.client.connection.peer(), None);
    }
}

/// Warnings, and alerts that are none, change nothing under live keys.
#[test]
fn other_alerts_change_nothing() {
    for alert in [&[1, 90][..], &[1, 100], &[1, 255], &[], &[2], &[0, 0], &[3, 0], &[2, 40, 0], &[1, 0, 0]] {
        let mut world = Small::new(7);
        let mut raw = RawClient::new(IDENTITY, KEY, 7);
        world.raw_handshake(path(0), &mut raw);
        let datagram = raw.side.seal(ALERT, alert);
        assert!(world.hit(path(0), &datagram).is_empty());
        world.assert_raw_data_flows(path(0), &mut raw);
        let mut against = AgainstRaw::new(7);
        against.establish();
        let datagram = against.server.side.seal(ALERT, alert);
        assert!(against.hit(&datagram).is_empty());
        against.assert_data_flows();
    }
}

/// A fatal alert under the keys of the handshake is believed at once, and not answered (RFC 5246 §7.2.2).
#[test]
fn an_authenticated_alert_ends_a_handshake_at_once() {
    let mut against = AgainstRaw::new(8);
    against.key_exchange();
    let datagram =
        [against.server.side.plain(CHANGE_CIPHER_SPEC, &[1]), against.server.side.seal(ALERT, &[2, 71])]
            .concat();
    let answer = against.hit(&datagram);
    assert_eq!(against.client.log, [Note::Failed(Error::AlertReceived(AlertDescription(71)))]);
    assert_eq!(answer, Vec::<Vec<u8>>::new(), "alerts are not answered with alerts");
    assert_eq!(against.client.connection.poll_timeout(), None);
}

/// There is no renegotiation: who asks for one under live keys is told so, and the session goes on.
#[test]
fn no_renegotiation() {
    let mut world = Small::new(9);
    let mut raw = RawClient::new(IDENTITY, KEY, 9);
    world.raw_handshake(path(0), &mut raw);
    for seq in [0, 3, 4] {
        let hello = message(CLIENT_HELLO, seq, &ClientHello::new([9; 32]).body());
        let datagram = raw.side.seal(HANDSHAKE, &hello);
        let answer = world.hit(path(0), &datagram);
        assert_eq!(raw.side.open(&answer), [(ALERT, vec![1, 100])]);
        world.assert_raw_data_flows(path(0), &mut raw);
    }
    assert_eq!(world.server.handshakes(), 0);

    let mut against = AgainstRaw::new(9);
    against.establish();
    let request = message(HELLO_REQUEST, 0, &[]);
    let datagram = against.server.side.seal(HANDSHAKE, &request);
    let answer = against.hit(&datagram);
    assert_eq!(against.server.side.open(&answer), [(ALERT, vec![1, 100])]);
    against.assert_data_flows();
    // Two at once are answered once, and a replay not at all.
    let twice = [
        against.server.side.seal(HANDSHAKE, &request),
        against.server.side.seal(HANDSHAKE, &request),
        datagram,
    ]
    .concat();
    let answer = against.hit(&twice);
    assert_eq!(against.server.side.open(&answer), [(ALERT, vec![1, 100])]);
    // In the clear it is nothing.
    let plain = against.server.side.plain(HANDSHAKE, &request);
    assert!(against.hit(&plain).is_empty());
    against.assert_data_flows();
}

/// A client that lost its state comes again from the same address: its old session lives until it has proven its key.
#[test]
fn a_rebooted_client() {
    let mut world = Small::new(10);
    let mut old = RawClient::new(IDENTITY, KEY, 1);
    world.raw_handshake(path(0), &mut old);
    let session = world.session_of(&path(0));

    let mut new = RawClient::new(IDENTITY, KEY, 2);
    let hello = new.hello();
    let replies = world.hit(path(0), &hello);
    world.assert_raw_data_flows(path(0), &mut old);
    new.follow(&replies);
    let hello = new.hello();
    let flight = world.hit(path(0), &hello);
    assert_eq!(world.server.handshakes(), 1);
    world.assert_raw_data_flows(path(0), &mut old);
    new.take_server_flight(&flight);
    new.exchange_keys();
    let datagram = [new.key_exchange_record(), new.change_cipher_spec_record()].concat();
    world.hit(path(0), &datagram);
    world.assert_raw_data_flows(path(0), &mut old);
    assert_eq!(world.session_of(&path(0)), session);
    let finished = new.finished_record();
    let last = world.hit(path(0), &finished);
    new.take_last_flight(&last);
    assert_ne!(world.session_of(&path(0)), session, "a session of its own");
    world.assert_raw_data_flows(path(0), &mut new);
    assert_eq!((world.server.sessions().count(), world.server.handshakes()), (1, 0));
    // The old keys are gone.
    let late = old.side.data(b"late");
    let before = world.log.len();
    assert!(world.hit(path(0), &late).is_empty());
    assert_eq!(world.log.len(), before);
}

/// Whoever comes to the address of a session and cannot prove its key leaves the session unharmed.
#[test]
fn a_failed_handshake_beside_a_session() {
    for (identity, key) in [(IDENTITY, b"wrong".as_slice()), (b"unknown", KEY)] {
        let mut world = Small::new(11);
        let mut old = RawClient::new(IDENTITY, KEY, 1);
        world.raw_handshake(path(0), &mut old);
        let session = world.session_of(&path(0));
        let mut wrong = RawClient::new(identity, key, 2);
        world.raw_hello(path(0), &mut wrong);
        for attempt in 0..2 {
            let flight = wrong.key_flight();
            let answer = world.hit(path(0), &flight);
            assert_eq!(answer.len(), attempt);
            world.assert_raw_data_flows(path(0), &mut old);
        }
        assert_eq!(world.server.handshakes(), 0);
        assert_eq!(world.session_of(&path(0)), session);
        // Given up half-way, too.
        let mut silent = RawClient::new(IDENTITY, KEY, 3);
        world.raw_hello(path(0), &mut silent);
        world.run_for(Duration::from_secs(61));
        assert_eq!(world.server.handshakes(), 0);
        world.assert_raw_data_flows(path(0), &mut old);
        assert_eq!(world.session_of(&path(0)), session);
    }
}

/// The session's records find their way while a handshake beside it waits for its Finished.
#[test]
fn a_session_beside_a_handshake_still_closes_and_repeats() {
    let mut world = Small::new(12);
    let mut old = RawClient::new(IDENTITY, KEY, 1);
    world.raw_handshake(path(0), &mut old);
    let mut new = RawClient::new(IDENTITY, KEY, 2);
    world.raw_hello(path(0), &mut new);
    let datagram = [new.key_exchange_record(), new.change_cipher_spec_record()].concat();
    world.hit(path(0), &datagram);
    let close = old.side.seal(ALERT, &[1, 0]);
    let answer = world.hit(path(0), &close);
    assert_eq!(old.side.open(&answer), [(ALERT, vec![1, 0])]);
    assert_eq!(world.log_of(path(0)), [Note::Established, Note::Closed]);
    let finished = new.finished_record();
    let last = world.hit(path(0), &finished);
    new.take_last_flight(&last);
    world.assert_raw_data_flows(path(0), &mut new);
}

/// A copy of the hello that began the session comes late: no slot, no answer.
#[test]
fn a_late_copy_of_the_sessions_own_hello() {
    let mut world = Small::new(13);
    let mut raw = RawClient::new(IDENTITY, KEY, 1);
    let first = raw.hello();
    let replies = world.hit(path(0), &first);
    raw.follow(&replies);
    let second = raw.hello();
    let flight = world.hit(path(0), &second);
    raw.take_server_flight(&flight);
    raw.exchange_keys();
    let key_flight = raw.key_flight();
    let last = world.hit(path(0), &key_flight);
    raw.take_last_flight(&last);
    for _ in 0..3 {
        assert!(world.hit(path(0), &second).is_empty());
        assert_eq!(world.server.handshakes(), 0);
        // The one without a cookie is answered like any other, and keeps nothing.
        assert_eq!(world.hit(path(0), &first).len(), 1);
        assert_eq!(world.server.handshakes(), 0);
        assert!(world.hit(path(0), &key_flight).is_empty());
        world.assert_raw_data_flows(path(0), &mut raw);
    }
    // From another address the cookie is worth nothing.
    assert!(parse::cookie(&world.hit(path(1), &second)[0]).is_some());
    assert_eq!(world.server.handshakes(), 0);
}

/// The replay window (RFC 6347 §4.1.2.6): 64 wide, each number once, and only what was opened moves it.
#[test]
fn the_replay_window() {
    let mut world = Small::new(14);
    let mut raw = RawClient::new(IDENTITY, KEY, 14);
    world.raw_handshake(path(0), &mut raw);
    let write = raw.side.write.clone().unwrap();
    let mut arrives = |number: u64| {
        let before = world.log.len();
        world.hit(path(0), &write.seal_as(APPLICATION_DATA, number, b"x"));
        world.log.len() > before
    };
    assert!(arrives(100));
    assert!(!arrives(100));
    assert!(!arrives(36), "behind the window");
    assert!(arrives(37), "its last");
    assert!(!arrives(37));
    assert!((38..100).rev().all(&mut arrives));
    assert!((30..=100).all(|number| !arrives(number)));
    assert!(arrives(1_000));
    assert!(arrives((1 << 48) - 1));
    assert!(!arrives((1 << 48) - 1));
    assert!(!arrives(1_001));
    assert!(arrives((1 << 48) - 64));
}

/// A closed and reopened association: nothing of the first leaks into the second.
#[test]
fn connecting_again_after_closing() {
    let mut world = Small::new(15);
    for round in 0..20 {
        let client = world.client_with(support::DTLS12, psk(IDENTITY, KEY), path(0));
        world.run_for(Duration::from_secs(1));
        assert!(world.clients[client].is_established(), "round {round}");
        world.assert_data_flows(client);
        world.clients[client].connection.close();
        world.run_for(Duration::from_secs(1));
        assert_eq!((world.server.sessions().count(), world.server.handshakes()), (0, 0));
        world.clients.clear();
    }
}

/// The RustCrypto ciphers until somebody pulls the plug.
struct Unplugged(std::sync::atomic::AtomicBool);

impl dtls_psk::CryptoProvider for Unplugged {
    fn seal(
        &self,
        algorithm: AeadAlgorithm,
        key: &[u8; 16],
        nonce: &[u8; 12],
        aad: &[u8],
        data: &mut [u8],
        tag: &mut [u8],
    ) -> Result<(), dtls_psk::AeadError> {
        if self.0.load(std::sync::atomic::Ordering::Relaxed) {
            return Err(dtls_psk::AeadError);
        }
        dtls_psk::RustCrypto.seal(algorithm, key, nonce, aad, data, tag)
    }

    fn open(
        &self,
        algorithm: AeadAlgorithm,
        key: &[u8; 16],
        nonce: &[u8; 12],
        aad: &[u8],
        data: &mut [u8],
        tag: &[u8],
    ) -> Result<(), dtls_psk::AeadError> {
        dtls_psk::RustCrypto.open(algorithm, key, nonce, aad, data, tag)
    }
}

/// A peripheral that fails costs what it was asked for, and neither a slot nor a number that is used twice.
#[test]
fn a_failing_crypto_provider() {
    let plug: &'static Unplugged = support::world::leak(Unplugged(false.into()));
    let unplugged = |yes: bool| plug.0.store(yes, std::sync::atomic::Ordering::Relaxed);
    let mut world = support::world::World::<1, 1>::with_config(16, support::DTLS12.with_crypto(plug));
    let mut raw = RawClient::new(IDENTITY, KEY, 16);
    world.raw_handshake(path(0), &mut raw);
    unplugged(true);
    assert_eq!(world.server.send(&path(0), b"x", &mut [0; 99]), Err(Error::CryptoFailed));
    unplugged(false);
    let sent = world.seal(&path(0), b"y");
    assert_eq!(parse::records(&sent)[0].sequence_number, 2);
    assert_eq!(raw.side.open(&[sent]), [(APPLICATION_DATA, b"y".to_vec())]);

    // Its goodbye cannot be sealed: the session is over without it.
    unplugged(true);
    world.server.close(&path(0));
    assert!(world.answers(path(0)).is_empty());
    unplugged(false);
    let before = world.server.stats().sessions_evicted;
    let mut next = RawClient::new(IDENTITY, KEY, 17);
    world.raw_handshake(path(1), &mut next);
    assert_eq!(world.server.stats().sessions_evicted, before, "its slot was free");
    world.assert_raw_data_flows(path(1), &mut next);

    // A server that cannot seal its Finished cannot finish, until it can.
    let mut third = RawClient::new(IDENTITY, KEY, 18);
    world.raw_hello(path(2), &mut third);
    unplugged(true);
    let flight = third.key_flight();
    assert!(world.hit(path(2), &flight).is_empty());
    unplugged(false);
    let flight = third.key_flight();
    let last = world.hit(path(2), &flight);
    third.take_last_flight(&last);
    world.assert_raw_data_flows(path(2), &mut third);
}
