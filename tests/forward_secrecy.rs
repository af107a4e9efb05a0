//! The ECDHE_PSK suites (RFC 8442, RFC 5489) against independent peers, and keys that are none.
#![cfg(feature = "x25519")]

mod support;

use std::time::Duration;

use dtls_psk::{AlertDescription, CipherSuite, Config, Error, PeerMisbehaved};

use support::craft::*;
use support::raw::{RawClient, client_extensions, reassemble};
use support::world::{AgainstRaw, Note, Small, path, psk};
use support::{IDENTITY, KEY, parse, peer};

const X25519: [u8; 4] = [0, 2, 0, 29];

fn ecdhe() -> impl Iterator<Item = &'static CipherSuite> {
    CipherSuite::ALL.iter().filter(|suite| suite.has_forward_secrecy())
}

const CCM_8_ONLY: Config<'static> = Config::new().with_suites(&[CipherSuite::EcdhePskAes128Ccm8]);

fn raw_client(suite: u16, extensions: &[(u16, Vec<u8>)]) -> RawClient {
    let mut raw = RawClient::new(IDENTITY, KEY, 1);
    raw.hello.suites = vec![suite, SCSV];
    raw.hello.extensions.as_mut().unwrap().extend_from_slice(extensions);
    raw
}

/// Both roles and every suite, with and without a hint.
#[test]
fn every_suite_with_an_independent_peer() {
    assert_eq!(ecdhe().count(), if cfg!(feature = "aes-gcm") { 3 } else { 2 });
    for suite in ecdhe() {
        for hint in [None, Some(&b"a hint"[..])] {
            let config = hint.map_or(Config::new(), |hint| Config::new().with_identity_hint(hint));
            let mut world = Small::with_config(1, config);
            let groups = (EXT_SUPPORTED_GROUPS, [&[0, 4, 0, 23][..], &[0, 29]].concat());
            let mut raw = raw_client(suite.number(), &[groups, (EXT_EC_POINT_FORMATS, vec![1, 0])]);
            world.raw_handshake(path(0), &mut raw);
            assert_eq!(raw.hint.as_deref(), Some(hint.unwrap_or_default()));
            assert!(raw.server_extension_types().contains(&EXT_EC_POINT_FORMATS));
            world.assert_raw_data_flows(path(0), &mut raw);
            assert_eq!(world.server.peer(&path(0)).unwrap().suite, *suite);

            let mut against = AgainstRaw::new(1);
            against.server.hello.suite = suite.number();
            against.hello();
            let flight = against.server.flight(hint);
            let answer = against.hit(&flight);
            against.server.take_key_flight(&answer);
            let last = against.server.last_flight();
            against.hit(&last);
            against.assert_data_flows();
            assert_eq!(against.client.connection.peer().unwrap().suite, *suite);
        }
    }
    // Ours with ours, which prefer it.
    let mut world = Small::new(2);
    let client = world.established();
    assert_eq!(world.clients[client].connection.peer().unwrap().suite, CipherSuite::EcdhePskAes128Ccm8);
}

/// Groups and formats: 14 bytes in the first hello, 6 in the answer; the keys: 38 and 33, and a header of a record for one.
#[test]
fn bytes_of_each_flight() {
    let mut world = Small::with_config(3, CCM_8_ONLY);
    let client = world.client_with(CCM_8_ONLY, psk(IDENTITY, KEY), path(0));
    world.run_for(Duration::from_secs(1));
    assert!(world.clients[client].is_established());
    let sent: Vec<_> = world.net.trace.iter().map(|(_, packet)| packet.bytes.len()).collect();
    assert_eq!(sent, [89, 44, 105, 99 + 6 + 25 + 38, 95 + 33, 67]);
    assert_eq!(Config::coap().suites(), [CipherSuite::Aes128Ccm8], "the constrained profile does without");
}

/// Fresh keys each time, and the same ones in each copy of a flight.
#[test]
fn keys_are_fresh_and_repeatable() {
    let mut points = Vec::new();
    for seed in 0..4 {
        let mut world = Small::with_config(10 + seed, CCM_8_ONLY);
        let mut raw = raw_client(ECDHE_CCM_8, &[]);
        let hello = raw.hello();
        let replies = world.hit(path(0), &hello);
        raw.follow(&replies);
        let hello = raw.hello();
        let flight = world.hit(path(0), &hello);
        let again = world.hit(path(0), &hello);
        assert_eq!(reassemble(&flight), reassemble(&again));
        raw.take_server_flight(&again);
        points.push(raw.server_point.clone().unwrap());

        let mut against = AgainstRaw::with_config(10 + seed, CCM_8_ONLY);
        against.server.hello.suite = ECDHE_CCM_8;
        against.hello();
        let flight = against.server.flight(None);
        let answer = against.hit(&flight);
        let again = against.pass(Duration::from_secs(1));
        assert_eq!(reassemble(&answer), reassemble(&[again[0].1.clone()]));
        points.push(reassemble(&answer)[0].body[4..].to_vec());
    }
    points.sort_unstable();
    points.dedup();
    assert_eq!(points.len(), 8);
}

/// Whom the server can speak such a suite with (RFC 8422 §4).
#[test]
fn groups_and_formats() {
    let fits = |extensions: &[(u16, Vec<u8>)]| {
        let mut world = Small::with_config(4, CCM_8_ONLY);
        let mut raw = raw_client(ECDHE_CCM_8, extensions);
        let hello = raw.hello();
        let replies = world.hit(path(0), &hello);
        if replies.is_empty() {
            return "dropped";
        }
        raw.follow(&replies);
        let hello = raw.hello();
        let answer = world.hit(path(0), &hello);
        match parse::plain_alert(&answer[0]) {
            Some((2, 40)) => "no common suite",
            Some(_) => "another alert",
            None => "answered",
        }
    };
    let groups = |list: &[u8]| vec![(EXT_SUPPORTED_GROUPS, vec16(list))];
    let formats = |list: &[u8]| vec![(EXT_EC_POINT_FORMATS, vec8(list))];
    assert_eq!(fits(&[]), "answered", "no groups named: the choice is the server's");
    assert_eq!(fits(&groups(&X25519[2..])), "answered");
    assert_eq!(fits(&groups(&[0, 23, 0, 24])), "no common suite");
    assert_eq!(fits(&groups(&[29, 0])), "no common suite");
    assert_eq!(fits(&groups(&[])), "dropped");
    assert_eq!(fits(&groups(&[0, 29, 0])), "dropped");
    assert_eq!(fits(&formats(&[1, 0])), "answered");
    assert_eq!(fits(&formats(&[1])), "dropped");
    assert_eq!(fits(&formats(&[])), "dropped");
    // With another suite beside it, the client gets that.
    let mut world = Small::new(4);
    let mut raw = raw_client(ECDHE_CCM_8, &groups(&[0, 23]));
    raw.hello.suites.push(CCM_8);
    world.raw_handshake(path(0), &mut raw);
    assert_eq!(raw.side.suite, CCM_8);
    assert!(!raw.server_extension_types().contains(&EXT_EC_POINT_FORMATS));
    // What our client names, and that it does so only when it has to.
    let mut against = AgainstRaw::with_config(4, CCM_8_ONLY);
    let hello = against.client.transmit();
    let hello = against.server.take_hello(&hello);
    let block = client_extensions(&hello.body);
    assert_eq!(extension(&block, EXT_SUPPORTED_GROUPS), Some(X25519.to_vec()));
    assert_eq!(extension(&block, EXT_EC_POINT_FORMATS), Some(vec![1, 0]));
    let mut against = AgainstRaw::with_config(4, Config::coap());
    let hello = against.client.transmit();
    let hello = against.server.take_hello(&hello);
    assert_eq!(extension(&client_extensions(&hello.body), EXT_SUPPORTED_GROUPS), None);
}

/// Ephemeral keys that a client must not take.
#[test]
fn keys_that_a_client_refuses() {
    let (_, good) = peer::ephemeral(5);
    let key = |curve: &[u8], point: &[u8]| [vec16(b""), curve.to_vec(), vec8(point)].concat();
    let mut one = [0; 32];
    one[0] = 1;
    for (body, alert) in [
        (Some(key(&[3, 0, 23], &good)), 47),
        (Some(key(&[1, 0, 29], &good)), 47),
        (Some(key(&[3, 0, 29], &good[..31])), 50),
        (Some(key(&[3, 0, 29], &[&good[..], &[0]].concat())), 50),
        (Some(key(&[3, 0, 29], &[])), 50),
        (Some([key(&[3, 0, 29], &good), vec![0]].concat()), 50),
        (Some(vec16(b"a hint alone")), 50),
        (Some(key(&[3, 0, 29], &[0; 32])), 47),
        (Some(key(&[3, 0, 29], &one)), 47),
        (None, 10),
    ] {
        let mut against = AgainstRaw::with_config(5, CCM_8_ONLY);
        against.server.hello.suite = ECDHE_CCM_8;
        against.hello();
        let hello = against.server.hello.body();
        let mut flight = record(HANDSHAKE, 0, 0, &message(SERVER_HELLO, 0, &hello));
        let mut seq = 1;
        if let Some(body) = &body {
            flight.extend(record(HANDSHAKE, 0, 1, &message(SERVER_KEY_EXCHANGE, 1, body)));
            seq = 2;
        }
        flight.extend(record(HANDSHAKE, 0, 2, &message(SERVER_HELLO_DONE, seq, &[])));
        let answer = against.hit(&flight);
        assert_eq!(parse::plain_alert(&answer[0]), Some((2, alert)), "{body:?}");
        assert!(matches!(against.client.log.as_slice(), [Note::Failed(_)]));
    }
}

/// And a server.
#[test]
fn keys_that_a_server_refuses() {
    let identity = vec16(IDENTITY);
    let (_, good) = peer::ephemeral(6);
    for (body, error) in [
        (identity.clone(), None),
        ([identity.clone(), vec8(&good[..31])].concat(), None),
        ([identity.clone(), vec8(&good), vec![0]].concat(), None),
        ([identity.clone(), vec8(&[0; 32])].concat(), Some(Error::from(PeerMisbehaved::WeakKeyShare))),
        (vec![], None),
    ] {
        let mut world = Small::with_config(6, CCM_8_ONLY);
        let mut raw = raw_client(ECDHE_CCM_8, &[]);
        world.raw_hello(path(0), &mut raw);
        let datagram = record(HANDSHAKE, 0, 9, &message(CLIENT_KEY_EXCHANGE, 2, &body));
        let answer = world.hit(path(0), &datagram);
        let (_, description) = parse::plain_alert(&answer[0]).unwrap();
        match error {
            Some(expected) => {
                assert_eq!(description, AlertDescription::ILLEGAL_PARAMETER.0);
                assert_eq!(world.log.last(), Some(&(path(0), Note::Refused(expected))));
            }
            None => assert_eq!(description, AlertDescription::DECODE_ERROR.0),
        }
        assert_eq!(world.server.handshakes(), 0);
    }
}

/// A wrong key and an unknown identity look the same, as with the plain suites.
#[test]
fn wrong_keys_and_identities() {
    for (identity, key) in [(IDENTITY, &b"wrong"[..]), (b"stranger", KEY)] {
        let mut world = Small::with_config(7, CCM_8_ONLY);
        let client = world.client_with(CCM_8_ONLY, psk(identity, key), path(0));
        world.run_for(Duration::from_secs(100));
        let refused = Error::AlertReceived(AlertDescription::DECRYPT_ERROR);
        assert_eq!(world.clients[client].log, [Note::Failed(refused)]);
        assert_eq!(world.log_of(path(0)), [Note::Refused(Error::AuthenticationFailed)]);
    }
}

/// Keys of every length go into the premaster secret beside what was agreed on.
#[test]
fn keys_of_every_length() {
    for len in [1, 15, 31, 32, 33, 63, 64] {
        let key = vec![0x5A; len];
        let mut world = Small::with_config(8, CCM_8_ONLY);
        world.keys.add(psk(b"k", &key));
        let mut raw = RawClient::new(b"k", &key, 8);
        raw.hello.suites = vec![ECDHE_CCM_8];
        world.raw_handshake(path(0), &mut raw);
        world.assert_raw_data_flows(path(0), &mut raw);
    }
}
