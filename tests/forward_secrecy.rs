//! The ECDHE_PSK suites (RFC 8442, RFC 5489) against independent peers, and keys that are none.
#![cfg(feature = "x25519")]

mod support;

use std::time::Duration;

use dtls_psk::{AlertDescription, CipherSuite, Config, Error, InvalidMessage, PeerMisbehaved};

use support::craft::*;
use support::raw::{RawClient, client_extensions, reassemble};
use support::world::{AgainstRaw, Note, Small, path, psk};
use support::{IDENTITY, KEY, parse, peer};

const X25519: [u8; 4] = [0, 2, 0, 29];

fn ecdhe() -> impl Iterator<Item = &'static CipherSuite> {
    CipherSuite::ALL.iter().filter(|suite| suite.has_forward_secrecy())
}

const CCM_8_ONLY: Config<'static> = support::DTLS12.with_suites(&[CipherSuite::EcdhePskAes128Ccm8]);

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
            let config = hint.map_or(support::DTLS12, |hint| support::DTLS12.with_identity_hint(hint));
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
    assert_eq!(
        Config::coap().suites().iter().filter(|suite| suite.has_forward_secrecy()).count(),
        0,
        "the constrained profile does without"
    );
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
        world.run_for(Duration::from_millis(250));
        let again = world.hit(path(0), &hello);
        assert_eq!(reassemble(&flight), reassemble(&again));
        raw.take_server_flight(&again);
        points.push(raw.server_point.clone().unwrap());
        // And once the secret key has been used.
        raw.exchange_keys();
        let keys = raw.key_exchange_record();
        world.hit(path(0), &keys);
        world.run_for(Duration::from_secs(1));
        let late: Vec<_> = world.net.trace.iter().map(|(_, packet)| packet.bytes.clone()).collect();
        assert_eq!(reassemble(&flight), reassemble(&late));

        let mut against = AgainstRaw::with_config(10 + seed, CCM_8_ONLY);
        against.server.hello.suite = ECDHE_CCM_8;
        against.hello();
        let flight = against.server.flight(None);
        let answer = against.hit(&flight);
        let again = against.pass(Duration::from_secs(1));
        assert_eq!(reassemble(&answer), reassemble(&[again[0].1.clone()]));
        against.pass(Duration::from_millis(250));
        let done = against.server.side.plain(HANDSHAKE, &message(SERVER_HELLO_DONE, 2, &[]));
        assert_eq!(reassemble(&answer), reassemble(&against.hit(&done)), "the server repeats its flight");
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
    let mut against =
        AgainstRaw::with_config(4, Config::coap().with_versions(&[dtls_psk::ProtocolVersion::Dtls12]));
    let hello = against.client.transmit();
    let hello = against.server.take_hello(&hello);
    assert_eq!(extension(&client_extensions(&hello.body), EXT_SUPPORTED_GROUPS), None);
}

/// Points with which anybody could compute the secret, whatever the other key is: of order 4, 2, 1 and 8, and such as are not
/// reduced.
fn weak_points() -> [[u8; 32]; 7] {
    let ends_of_field = |low: u8| {
        let mut point = [0xFF; 32];
        (point[0], point[31]) = (low, 0x7F);
        point
    };
    let mut one = [0; 32];
    one[0] = 1;
    let order_8 = [
        0xE0, 0xEB, 0x7A, 0x7C, 0x3B, 0x41, 0xB8, 0xAE, 0x16, 0x56, 0xE3, 0xFA, 0xF1, 0x9F, 0xC4, 0x6A, 0xDA,
        0x09, 0x8D, 0xEB, 0x9C, 0x32, 0xB1, 0xFD, 0x86, 0x62, 0x05, 0x16, 0x5F, 0x49, 0xB8, 0x00,
    ];
    let mut unreduced = order_8;
    unreduced[31] |= 0x80;
    [[0; 32], one, order_8, unreduced, ends_of_field(0xEC), ends_of_field(0xED), ends_of_field(0xEE)]
}

/// A ServerKeyExchange's body without a hint.
fn params(curve: &[u8], point: &[u8]) -> Vec<u8> {
    [vec16(b""), curve.to_vec(), vec8(point)].concat()
}

const NAMED_X25519: [u8; 3] = [3, 0, 29];

/// A client that has sent its hello, and what an independent server answers: these ServerKeyExchanges between the others.
fn answered(suite: u16, config: Config<'static>, key_exchanges: &[Vec<u8>]) -> (AgainstRaw, Vec<Vec<u8>>) {
    let mut against = AgainstRaw::with_config(5, config);
    against.server.hello.suite = suite;
    against.hello();
    let hello = against.server.hello.body();
    let mut messages = vec![(SERVER_HELLO, hello.as_slice())];
    messages.extend(key_exchanges.iter().map(|body| (SERVER_KEY_EXCHANGE, body.as_slice())));
    messages.push((SERVER_HELLO_DONE, &[]));
    let numbered = (0_u16..).zip(messages);
    let flight = numbered
        .flat_map(|(n, (msg_type, body))| record(HANDSHAKE, 0, n.into(), &message(msg_type, n, body)));
    let answer = against.hit(&flight.collect::<Vec<_>>());
    (against, answer)
}

/// Ephemeral keys that a client must not take.
#[test]
fn keys_that_a_client_refuses() {
    let (_, good) = peer::ephemeral(5);
    let key = |point: &[u8]| params(&NAMED_X25519, point);
    let wrong_group = Error::from(PeerMisbehaved::WrongGroup);
    let unexpected = Error::from(PeerMisbehaved::UnexpectedMessage);
    let [truncated, trailing, length, value] = [
        InvalidMessage::Truncated,
        InvalidMessage::TrailingData,
        InvalidMessage::IllegalLength,
        InvalidMessage::IllegalValue,
    ]
    .map(Error::from);
    let mut refused = vec![
        // P-256, with its own points and with ours; X448; our number with its bytes swapped.
        (vec![params(&[3, 0, 23], &[4; 65])], wrong_group, 47),
        (vec![params(&[3, 0, 23], &good)], wrong_group, 47),
        (vec![params(&[3, 0, 30], &[5; 56])], wrong_group, 47),
        (vec![params(&[3, 29, 0], &good)], wrong_group, 47),
        // Explicit curves, and what is none.
        (vec![params(&[1, 0, 29], &good)], value, 47),
        (vec![params(&[2, 0, 29], &good)], value, 47),
        (vec![params(&[0, 0, 29], &good)], value, 47),
        (vec![key(&good[..31])], length, 50),
        (vec![key(&[&good[..], &[0]].concat())], length, 50),
        (vec![key(&[&[4], &good[..], &good].concat())], length, 50),
        (vec![key(&[9; 255])], length, 50),
        (vec![key(&[])], length, 50),
        (vec![[key(&good), vec![0]].concat()], trailing, 50),
        (vec![vec16(b"a hint alone")], truncated, 50),
        (vec![vec16(b"")], truncated, 50),
        // The key without the hint in front of it: its first bytes are the hint's length.
        (vec![key(&good)[2..].to_vec()], truncated, 50),
        (vec![], unexpected, 10),
        (vec![key(&good), key(&good)], unexpected, 10),
    ];
    refused.extend((0..key(&good).len()).map(|len| (vec![key(&good)[..len].to_vec()], truncated, 50)));
    refused.extend(weak_points().map(|point| (vec![key(&point)], PeerMisbehaved::WeakKeyShare.into(), 47)));
    for (key_exchanges, error, alert) in refused {
        let (against, answer) = answered(ECDHE_CCM_8, CCM_8_ONLY, &key_exchanges);
        assert_eq!(against.client.log, [Note::Failed(error)], "{key_exchanges:?}");
        assert_eq!(answer.len(), 1, "nothing but the alert");
        assert_eq!(parse::plain_alert(&answer[0]), Some((2, alert)), "{key_exchanges:?}");
    }
    // A suite without them has no place for one.
    let (against, answer) = answered(CCM_8, support::DTLS12, &[key(&good)]);
    assert_eq!(against.client.log, [Note::Failed(trailing)]);
    assert_eq!(parse::plain_alert(&answer[0]), Some((2, 50)));
}

/// And a server, which tells those who do not know the key no more than those who do.
#[test]
fn keys_that_a_server_refuses() {
    let (_, good) = peer::ephemeral(6);
    for identity in [IDENTITY, b"stranger", &[b'x'; 200]] {
        let identity = vec16(identity);
        let key = |point: &[u8]| [identity.clone(), vec8(point)].concat();
        let [truncated, trailing, length] =
            [InvalidMessage::Truncated, InvalidMessage::TrailingData, InvalidMessage::IllegalLength]
                .map(Error::from);
        let mut refused = vec![
            (vec![], truncated, AlertDescription::DECODE_ERROR),
            (identity.clone(), truncated, AlertDescription::DECODE_ERROR),
            (vec8(&good), truncated, AlertDescription::DECODE_ERROR),
            (key(&good)[..identity.len() + 32].to_vec(), truncated, AlertDescription::DECODE_ERROR),
            (key(&[]), length, AlertDescription::DECODE_ERROR),
            (key(&good[..31]), length, AlertDescription::DECODE_ERROR),
            (key(&[&good[..], &[0]].concat()), length, AlertDescription::DECODE_ERROR),
            (key(&[4; 65]), length, AlertDescription::DECODE_ERROR),
            ([key(&good), vec![0]].concat(), trailing, AlertDescription::DECODE_ERROR),
        ];
        refused.extend(weak_points().map(|point| {
            (key(&point), PeerMisbehaved::WeakKeyShare.into(), AlertDescription::ILLEGAL_PARAMETER)
        }));
        for (body, error, alert) in refused {
            let mut world = Small::with_config(6, CCM_8_ONLY);
            let mut raw = raw_client(ECDHE_CCM_8, &[]);
            world.raw_hello(path(0), &mut raw);
            let datagram = record(HANDSHAKE, 0, 9, &message(CLIENT_KEY_EXCHANGE, 2, &body));
            let answer = world.hit(path(0), &datagram);
            assert_eq!(answer.len(), 1);
            assert_eq!(parse::plain_alert(&answer[0]), Some((2, alert.0)), "{body:?}");
            assert_eq!(world.log.last(), Some(&(path(0), Note::Refused(error))), "{body:?}");
            assert_eq!(world.server.handshakes(), 0);
        }
    }
    // A suite without them has no place for one.
    let mut world = Small::new(6);
    let mut raw = raw_client(CCM_8, &[]);
    world.raw_hello(path(0), &mut raw);
    let body = [vec16(IDENTITY), vec8(&good)].concat();
    world.hit(path(0), &record(HANDSHAKE, 0, 9, &message(CLIENT_KEY_EXCHANGE, 2, &body)));
    assert_eq!(world.log.last(), Some(&(path(0), Note::Refused(InvalidMessage::TrailingData.into()))));
}

/// What a server may say about groups and formats: what the client has said first.
#[test]
fn answers_to_extensions() {
    let formats = (EXT_EC_POINT_FORMATS, vec![1, 0]);
    let groups = (EXT_SUPPORTED_GROUPS, vec![0, 4, 0, 29, 0, 23]);
    for (config, suite, fits) in [
        (CCM_8_ONLY, ECDHE_CCM_8, true),
        (Config::coap().with_versions(&[dtls_psk::ProtocolVersion::Dtls12]), CCM_8, false),
    ] {
        for extension in [&formats, &groups] {
            let mut against = AgainstRaw::with_config(9, config);
            against.server.hello.suite = suite;
            against.server.hello.extensions.get_or_insert_default().push(extension.clone());
            against.hello();
            let flight = against.server.flight(None);
            let answer = against.hit(&flight);
            if fits {
                against.server.take_key_flight(&answer);
                let last = against.server.last_flight();
                against.hit(&last);
                against.assert_data_flows();
            } else {
                assert_eq!(against.client.log, [Note::Failed(PeerMisbehaved::UnofferedExtension.into())]);
            }
        }
    }
    for (formats, alert) in
        [(vec![1, 1], 47), (vec![0], 47), (vec![], 50), (vec![1, 0, 0], 50), (vec![2, 0], 50)]
    {
        let mut against = AgainstRaw::with_config(9, CCM_8_ONLY);
        against.server.hello.suite = ECDHE_CCM_8;
        against.server.hello.extensions.get_or_insert_default().push((EXT_EC_POINT_FORMATS, formats));
        against.hello();
        let flight = against.server.flight(None);
        let answer = against.hit(&flight);
        assert_eq!(parse::plain_alert(&answer[0]), Some((2, alert)));
    }
}

/// Neither groups nor keys have a part in a session that is resumed (RFC 8422 §4).
#[test]
#[cfg(feature = "resumption")]
fn resumed_without_ephemeral_keys() {
    let cache = Box::leak(Box::new(dtls_psk::MemoryCache::<4>::new()));
    let mut world = Small::with_config(11, CCM_8_ONLY.with_resumption(cache));
    let extensions = [(EXT_SUPPORTED_GROUPS, X25519.to_vec()), (EXT_EC_POINT_FORMATS, vec![1, 0])];
    let mut first = raw_client(ECDHE_CCM_8, &extensions);
    let hello = first.hello();
    first.follow(&world.hit(path(0), &hello));
    let hello = first.hello();
    let flight = world.hit(path(0), &hello);
    let id = RawClient::session_id_of(&flight);
    first.take_server_flight(&flight);
    assert!(first.server_extension_types().contains(&EXT_EC_POINT_FORMATS));
    first.exchange_keys();
    let keys = first.key_flight();
    first.take_last_flight(&world.hit(path(0), &keys));

    let mut again = raw_client(ECDHE_CCM_8, &extensions);
    again.hello.session_id = id;
    again.hello.random[0] ^= 1;
    let hello = again.hello();
    again.follow(&world.hit(path(1), &hello));
    let hello = again.hello();
    let flight = world.hit(path(1), &hello);
    assert_eq!(again.take_resumption(&flight, &first.side.master), None);
    assert!(!again.server_extension_types().contains(&EXT_EC_POINT_FORMATS));
    let last = again.short_flight();
    world.hit(path(1), &last);
    world.assert_raw_data_flows(path(1), &mut again);
    assert_eq!(world.server.peer(&path(1)).unwrap().suite, CipherSuite::EcdhePskAes128Ccm8);
}

/// Without the extended master secret, and in pieces: the longest identity and hint at the least MTU.
#[test]
fn odd_handshakes() {
    let mut world = Small::with_config(12, CCM_8_ONLY);
    let mut raw = raw_client(ECDHE_CCM_8, &[]);
    raw.hello.extensions = None;
    world.raw_handshake(path(0), &mut raw);
    assert!(!raw.side.extended_master_secret);
    world.assert_raw_data_flows(path(0), &mut raw);

    let (identity, hint) = ([b'i'; 128], Box::leak(Box::new([b'h'; 128])));
    let short = CCM_8_ONLY.with_mtu(Config::MIN_MTU + 14);
    let mut world = Small::with_config(13, short.with_identity_hint(hint));
    world.keys.add(psk(&identity, KEY));
    let client = world.client_with(short, psk(&identity, KEY), path(0));
    world.run_for(Duration::from_secs(1));
    assert!(world.net.trace.iter().all(|(_, packet)| packet.bytes.len() <= short.mtu()));
    assert!(world.clients[client].is_established());
    world.assert_data_flows(client);
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

/// Secret keys are wiped as soon as nobody needs them: once they have been used, where the suite or the session does without,
/// and where the handshake fails. What lies there is read through the kernel, so that it is what another process would see.
#[test]
#[cfg(target_os = "linux")]
fn secrets_are_wiped_where_they_lie() {
    use dtls_psk::{Connection, Endpoint, Instant, Storage};
    use rand::Rng;
    use std::os::unix::fs::FileExt;

    let memory = std::fs::File::open("/proc/self/mem").unwrap();
    let lies_in = |at: *const u8, len: usize, secret: [u8; 32]| {
        let mut bytes = vec![0; len];
        memory.read_exact_at(&mut bytes, at.expose_provenance() as u64).unwrap();
        bytes.windows(32).any(|window| *window == secret)
    };
    // The key is what is drawn at this place, as the public one shows where it is sent.
    let nth_draw = |seed, n| {
        let mut rng = support::seeded(seed);
        let mut draw = [0; 32];
        (0..=n).for_each(|_| rng.fill_bytes(&mut draw));
        draw
    };
    let public = |secret| x25519_dalek::x25519(secret, x25519_dalek::X25519_BASEPOINT_BYTES);
    let (_, good) = peer::ephemeral(88);

    let all = support::DTLS12;
    let keys = psk(IDENTITY, KEY);
    type Step<'a> = &'a dyn Fn(&mut Connection<'_>, &mut support::raw::RawServer);
    let hit = |client: &mut Connection<'_>, bytes: &[u8]| {
        client.receive(&mut bytes.to_vec(), Instant::ZERO).for_each(drop);
        let mut buf = [0; 1_500];
        client.poll_transmit(&mut buf).unwrap().map(|len| buf[..len].to_vec()).unwrap_or_default()
    };
    let ends: [Step<'_>; 5] = [
        &|client, server| {
            let flight = server.flight(None);
            let answer = hit(client, &flight);
            let answer = [answer];
            server.take_key_flight(&answer);
            let sent = &reassemble(&answer)[0].body;
            assert_eq!(sent[sent.len() - 32..], public(nth_draw(21, 1)), "the draw is the key");
        },
        &|client, server| {
            server.hello.suite = CCM_8;
            let messages = server.flight_messages(None);
            let hello = server.side.plain(HANDSHAKE, &messages[0]);
            hit(client, &hello);
        },
        &|client, server| {
            let messages = server.flight_messages(None);
            let hello = server.side.plain(HANDSHAKE, &messages[0]);
            hit(client, &hello);
            hit(
                client,
                &record(HANDSHAKE, 0, 1, &message(SERVER_KEY_EXCHANGE, 1, &params(&[3, 0, 23], &good))),
            );
        },
        &|client, _| client.close(),
        &|client, _| assert!(client.handle_timeout(Instant::from_millis(60_000)).is_err()),
    ];
    for (n, end) in ends.into_iter().enumerate() {
        let mut client =
            Box::new(Connection::client(&all, &keys, &mut support::seeded(21), Instant::ZERO).unwrap());
        let at = std::ptr::from_ref(&*client).cast::<u8>();
        let secret_lies_there = || lies_in(at, size_of::<Connection<'_>>(), nth_draw(21, 1));
        let mut server = support::raw::RawServer::new(KEY);
        server.hello.suite = ECDHE_CCM_8;
        let mut buf = [0; 1_500];
        let len = client.poll_transmit(&mut buf).unwrap().unwrap();
        server.take_hello(&[buf[..len].to_vec()]);
        assert!(secret_lies_there(), "end {n}: while it may be needed");
        end(&mut client, &mut server);
        assert!(!secret_lies_there(), "end {n}");
        std::hint::black_box(client);
    }

    for suite in [ECDHE_CCM_8, CCM_8] {
        let mut storage = Box::new(Storage::<2, 2>::new());
        let (at, len) = (std::ptr::from_ref(&*storage).cast::<u8>(), size_of_val(&*storage));
        let secret_lies_there = || lies_in(at, len, nth_draw(23, 0));
        let mut endpoint = Endpoint::new(&all, &keys, &mut storage, &mut support::seeded(22)).unwrap();
        let mut take = |bytes: &[u8]| {
            let (mut bytes, mut buf) = (bytes.to_vec(), [0; 1_500]);
            endpoint.receive(&mut bytes, path(0), &mut support::seeded(23), Instant::ZERO).for_each(drop);
            std::iter::from_fn(|| {
                endpoint.poll_transmit(&mut buf).unwrap().map(|(len, _)| buf[..len].to_vec())
            })
            .collect::<Vec<_>>()
        };
        let mut raw = raw_client(suite, &[]);
        let hello = raw.hello();
        raw.follow(&take(&hello));
        let hello = raw.hello();
        raw.take_server_flight(&take(&hello));
        assert_eq!(secret_lies_there(), suite == ECDHE_CCM_8, "only where it is needed");
        if let Some(point) = &raw.server_point {
            assert_eq!(**point, public(nth_draw(23, 0)), "the draw is the key");
        }
        raw.exchange_keys();
        let keys = raw.key_exchange_record();
        take(&keys);
        assert!(!secret_lies_there(), "used");
        drop(endpoint);
        std::hint::black_box(storage);
    }
}
