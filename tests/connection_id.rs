//! Connection IDs (RFC 9146): records, sizes, and what a peer that changes its address may and may not do (RFC 9853).
#![cfg(feature = "connection-id")]

mod support;

use std::time::Duration;

use dtls_psk::{Config, ConfigField, Endpoint, Error, MAX_CONNECTION_ID_LEN, Path, Storage};

use support::craft::*;
use support::net::{Direction, Packet};
use support::raw::RawClient;
use support::world::{AgainstRaw, Note, Small, World, leak, path, path_from, psk};
use support::{IDENTITY, KEY, parse, seeded};

const ONE_BYTE: Config<'static> =
    Config::coap().with_versions(&[dtls_psk::ProtocolVersion::Dtls12]).with_connection_id(1);
const CHALLENGE: u8 = 0;
const RESPONSE: u8 = 1;

/// Where the client is after it has moved.
fn elsewhere() -> Path {
    path_from([203, 0, 113, 9], 1_234)
}

/// A server with connection IDs and a client that knows them, established.
fn established(seed: u64) -> (Small, usize) {
    let mut world = Small::with_config(seed, ONE_BYTE);
    let client = world.client_with(ONE_BYTE, psk(IDENTITY, KEY), path(0));
    assert!(world.run_until(Duration::from_secs(30), |world| world.clients[client].is_established()));
    world.run_for(Duration::from_millis(100));
    (world, client)
}

/// The same with an independent client, whose connection ID is `id`.
fn raw_established(seed: u64, id: &[u8]) -> (Small, RawClient) {
    let mut world = Small::with_config(seed, ONE_BYTE);
    let mut raw = RawClient::new(IDENTITY, KEY, seed).with_connection_id(id);
    world.raw_handshake(path(0), &mut raw);
    (world, raw)
}

/// The one challenge in `datagrams`.
#[track_caller]
fn challenge(raw: &RawClient, datagrams: &[Vec<u8>]) -> Vec<u8> {
    let opened = raw.side.open(datagrams);
    let [(RETURN_ROUTABILITY_CHECK, message)] = opened.as_slice() else { panic!("{opened:?}") };
    assert_eq!((message[0], message.len()), (CHALLENGE, 9));
    message[1..].to_vec()
}

fn respond(raw: &mut RawClient, cookie: &[u8]) -> Vec<u8> {
    raw.side.seal(RETURN_ROUTABILITY_CHECK, &[&[RESPONSE], cookie].concat())
}

/// 10 bytes more in each hello, one of them the ID itself; 2 more in each protected record.
#[test]
fn bytes_of_each_flight() {
    let (mut world, client) = established(1);
    let sent: Vec<_> =
        world.net.trace.iter().map(|(_, packet)| (packet.direction, packet.bytes.len())).collect();
    use Direction::{ToClient, ToServer};
    let expected = [
        (ToServer, 85),
        (ToClient, 44),
        (ToServer, 85 + 16),
        (ToClient, 109),
        (ToServer, 97),
        (ToClient, 69),
    ];
    assert_eq!(sent, expected);
    assert_eq!(world.server.stats(), Default::default(), "nothing was dropped or repeated");
    assert_eq!(world.clients[client].seal(b"12345678").len(), 8 + 31);
    assert_eq!(world.clients[client].connection.overhead(), Some((22, 9)));
    assert_eq!(world.server.overhead(&path(0)), Some((22, 9)));
    world.assert_data_flows(client);
}

/// Without the wish for them, nobody hears of connection IDs.
#[test]
fn not_offered_and_not_answered_unless_configured() {
    // A client offers, a server does not know them; and the other way round.
    for [server_config, client_config] in [
        [Config::coap().with_versions(&[dtls_psk::ProtocolVersion::Dtls12]), ONE_BYTE],
        [ONE_BYTE, Config::coap().with_versions(&[dtls_psk::ProtocolVersion::Dtls12])],
    ] {
        let mut world = Small::with_config(2, server_config);
        let client = world.client_with(client_config, psk(IDENTITY, KEY), path(0));
        world.run_for(Duration::from_secs(1));
        assert_eq!(world.clients[client].connection.overhead(), Some((21, 8)));
        world.assert_data_flows(client);
    }
    let mut world = Small::with_config(2, ONE_BYTE);
    let mut raw = RawClient::new(IDENTITY, KEY, 2);
    world.raw_handshake(path(0), &mut raw);
    assert!(!raw.server_extension_types().contains(&EXT_CONNECTION_ID));
    // An answer to the check alone makes no sense (RFC 9853 §3).
    let mut raw = RawClient::new(IDENTITY, KEY, 3);
    raw.hello.extensions.as_mut().unwrap().push((EXT_RRC, Vec::new()));
    world.raw_handshake(path(1), &mut raw);
    assert!(!raw.server_extension_types().contains(&EXT_RRC));
}

/// Every length that this crate asks for against lengths that others may ask for, both roles, against an independent
/// peer.
#[test]
fn every_length_both_roles() {
    for own_len in 0..=MAX_CONNECTION_ID_LEN {
        for peer_len in [0, 1, 2, 20, 254, 255] {
            let id: Vec<u8> = (0..peer_len).map(|at| (at * 37 + own_len) as u8).collect();
            let config = support::DTLS12.with_connection_id(own_len as u8);
            let mut world = Small::with_config(3, config);
            let mut raw = RawClient::new(IDENTITY, KEY, 3).with_connection_id(&id);
            world.raw_handshake(path(0), &mut raw);
            assert_eq!(raw.side.peer_id.as_ref().map(Vec::len), Some(own_len));
            assert_eq!(raw.side.write.as_ref().unwrap().connection_id.len(), own_len);
            assert_eq!(raw.side.read.as_ref().unwrap().connection_id, id);
            world.assert_raw_data_flows(path(0), &mut raw);
            raw.side.write.as_mut().unwrap().padding = 100;
            world.assert_raw_data_flows(path(0), &mut raw);

            let mut against = AgainstRaw::with_config(3, config);
            against.server = against.server.with_connection_id(&id);
            against.establish();
            assert_eq!(against.server.side.peer_id.as_ref().map(Vec::len), Some(own_len));
            against.assert_data_flows();
            against.server.side.write.as_mut().unwrap().padding = 255;
            against.assert_data_flows();
        }
    }
}

/// The payload of a padded record is what lies before the type, and only that.
#[test]
fn padding_all_over() {
    let (mut world, mut raw) = raw_established(4, b"me");
    for payload in [&b""[..], b"\0", b"ends with zeros\0\0\0"] {
        for padding in [0, 1, 15, 16, 17, 1_000] {
            raw.side.write.as_mut().unwrap().padding = padding;
            let datagram = raw.side.data(payload);
            world.hit(path(0), &datagram);
            assert_eq!(world.log.pop(), Some((path(0), Note::Data(payload.to_vec()))));
        }
    }
}

/// Where a connection ID is expected, a record without it is invalid, and so is one with another (RFC 9146 §3).
#[test]
fn records_with_the_wrong_id() {
    let (mut world, mut raw) = raw_established(5, b"me");
    let right = raw.side.write.clone().unwrap();
    let mut wrong = Vec::new();
    for id in [vec![], vec![right.connection_id[0] ^ 1]] {
        let mut write = right.clone();
        write.connection_id = id;
        wrong.push(write.seal(APPLICATION_DATA, b"wrong"));
    }
    // The ID is authenticated: that of another session on an otherwise good record.
    let mut other = RawClient::new(b"d", KEY, 6).with_connection_id(b"other");
    world.keys.add(psk(b"d", KEY));
    world.raw_handshake(path(1), &mut other);
    let mut crossed = raw.side.write.clone().unwrap().seal(APPLICATION_DATA, b"crossed");
    crossed[11] = other.side.write.as_ref().unwrap().connection_id[0];
    wrong.push(crossed);
    let before = world.log.len();
    for datagram in &wrong {
        for path in [path(0), path(1), elsewhere()] {
            assert!(world.hit(path, datagram).is_empty());
        }
    }
    assert_eq!(world.log[before..], []);
    world.assert_raw_data_flows(path(0), &mut raw);
    world.assert_raw_data_flows(path(1), &mut other);

    // A session without one does not take a record with one.
    let mut world = Small::new(5);
    let mut raw = RawClient::new(IDENTITY, KEY, 5);
    world.raw_handshake(path(0), &mut raw);
    let mut write = raw.side.write.clone().unwrap();
    write.connection_id = b"x".to_vec();
    assert!(world.hit(path(0), &write.seal(APPLICATION_DATA, b"wrong")).is_empty());
    world.assert_raw_data_flows(path(0), &mut raw);
}

/// A client refuses what it did not offer, and what it cannot be held to.
#[test]
fn answers_that_a_client_refuses() {
    for (config, extension) in [
        (support::DTLS12, (EXT_CONNECTION_ID, vec8(b"id"))),
        (support::DTLS12, (EXT_RRC, vec![])),
        (ONE_BYTE, (EXT_CONNECTION_ID, vec![])),
        (ONE_BYTE, (EXT_CONNECTION_ID, b"\x05shrt".to_vec())),
        (ONE_BYTE, (EXT_CONNECTION_ID, b"\x01to long".to_vec())),
        (ONE_BYTE, (EXT_RRC, vec![0])),
    ] {
        let mut against = AgainstRaw::with_config(6, config);
        against.server.hello.extensions.as_mut().unwrap().push(extension.clone());
        against.hello();
        let flight = against.server.flight(None);
        let answer = against.hit(&flight);
        assert!(matches!(against.client.log.as_slice(), [Note::Failed(_)]), "{extension:?}");
        assert!(parse::plain_alert(&answer[0]).is_some());
    }
}

/// A client whose address changes: the server asks it at the new one, and the session goes by that once it has answered.
#[test]
fn a_client_that_moves() {
    let (mut world, client) = established(7);
    let session = world.session_of(&path(0));
    // A NAT forgot it: the next datagram comes from elsewhere.
    world.clients[client].path = elsewhere();
    let bytes = world.clients[client].seal(b"hello from elsewhere");
    let now = world.now;
    world.net.send(now, Packet { direction: Direction::ToServer, path: elsewhere(), bytes });
    world.run_for(Duration::from_secs(1));
    let expected = [
        (path(0), Note::Data(b"hello from elsewhere".to_vec())),
        (elsewhere(), Note::Moved { from: path(0), to: elsewhere() }),
    ];
    assert_eq!(world.log[world.log.len() - 2..], expected);
    assert_eq!(world.session_of(&elsewhere()), session);
    assert_eq!(world.server.peer(&path(0)), None);
    world.assert_data_flows(client);
    world.run_for(Duration::from_secs(10));
    assert_eq!(world.server.poll_timeout(), None, "nothing is left to be done");
    // And back again.
    world.clients[client].path = path(0);
    let bytes = world.clients[client].seal(b"home");
    let now = world.now;
    world.net.send(now, Packet { direction: Direction::ToServer, path: path(0), bytes });
    world.run_for(Duration::from_secs(1));
    assert_eq!(world.session_of(&path(0)), session);
    world.assert_data_flows(client);
}

/// Until the new address is proven, no more than three times as many bytes go there as came from there.
#[test]
fn an_unproven_address_gets_little() {
    let (mut world, mut raw) = raw_established(8, b"me");
    let datagram = raw.side.data(&[1; 40]);
    let came = datagram.len();
    let answers = world.hit(elsewhere(), &datagram);
    assert_eq!(world.log.last(), Some(&(path(0), Note::Data(vec![1; 40]))), "by the name it is known by");
    let cookie = challenge(&raw, &answers);
    let mut went: usize = answers.iter().map(Vec::len).sum();
    let mut buf = [0; 512];
    let error = loop {
        match world.server.send(&path(0), &[2; 30], &mut buf) {
            Ok((len, by)) => {
                assert_eq!(by, elsewhere());
                went += len;
            }
            Err(error) => break error,
        }
    };
    assert_eq!(error, Error::AddressNotProven);
    assert!(went <= 3 * came && went > 2 * came, "{went} for {came}");
    let nothing_used = world.server.send(&path(0), &[2; 30], &mut buf);
    assert_eq!(nothing_used, Err(Error::AddressNotProven));
    // Once it is proven, it gets whatever there is.
    let response = respond(&mut raw, &cookie);
    world.hit(elsewhere(), &response);
    assert_eq!(world.log.last(), Some(&(elsewhere(), Note::Moved { from: path(0), to: elsewhere() })));
    for _ in 0..20 {
        assert_eq!(world.server.send(&elsewhere(), &[2; 200], &mut buf).map(|(_, by)| by), Ok(elsewhere()));
    }
}

/// Neither an old record nor a forged one nor a copied one takes a session away.
#[test]
fn who_cannot_move_a_session() {
    let (mut world, mut raw) = raw_established(9, b"me");
    let older = raw.side.data(b"older");
    let newer = raw.side.data(b"newer");
    world.hit(path(0), &newer);
    // Reordered, from where the peer was before, say: good data, but no news of where it is.
    assert!(world.hit(elsewhere(), &older).is_empty());
    assert_eq!(world.log.last(), Some(&(path(0), Note::Data(b"older".to_vec()))));
    // Replayed, and forged.
    let told = world.log.len();
    assert!(world.hit(elsewhere(), &older).is_empty());
    assert!(world.hit(elsewhere(), &newer).is_empty());
    let mut forged = raw.side.data(b"forged");
    *forged.last_mut().unwrap() ^= 1;
    assert!(world.hit(elsewhere(), &forged).is_empty());
    assert_eq!(world.log.len(), told);
    world.assert_raw_data_flows(path(0), &mut raw);
    assert_eq!(world.server.poll_timeout(), None);

    // Someone copies a record of the peer and is faster than it. He is asked, cannot read the question, and as soon as
    // the peer goes on, the question is no more.
    let copied = raw.side.data(b"copied");
    let answers = world.hit(elsewhere(), &copied);
    challenge(&raw, &answers);
    assert!(world.hit(path(0), &copied).is_empty(), "the peer's own copy comes second");
    world.assert_raw_data_flows(path(0), &mut raw);
    assert_eq!(world.seal_by(&path(0)), path(0));
    world.run_for(Duration::from_secs(300));
    assert_eq!(world.session_of(&elsewhere()), None);
    world.assert_raw_data_flows(path(0), &mut raw);
}

/// Challenges are repeated with new cookies, and then given up: the peer is not there.
#[test]
fn an_address_that_does_not_answer() {
    let (mut world, mut raw) = raw_established(10, b"me");
    let datagram = raw.side.data(&[1; 100]);
    let mut cookies = vec![challenge(&raw, &world.hit(elsewhere(), &datagram))];
    let start = world.now;
    let mut at = Vec::new();
    while let Some(timeout) = world.server.poll_timeout() {
        world.now = timeout;
        assert_eq!(world.server.handle_timeout(timeout), None);
        let answers = world.answers(elsewhere());
        if !answers.is_empty() {
            at.push(timeout.saturating_since(start).as_secs());
            cookies.push(challenge(&raw, &answers));
        }
    }
    assert_eq!(at, [9, 27], "the constrained profile's timeout, doubled");
    assert_eq!(world.now.saturating_since(start).as_secs(), 63);
    assert_eq!(world.server.stats().moves_failed, 1);
    cookies.sort_unstable();
    cookies.dedup();
    assert_eq!(cookies.len(), 3, "each has a cookie of its own");
    // A late answer is to nobody's question any more.
    for cookie in &cookies {
        let response = respond(&mut raw, cookie);
        world.hit(path(0), &response);
    }
    assert_eq!(world.session_of(&elsewhere()), None);
    world.assert_raw_data_flows(path(0), &mut raw);
}

/// Only the last cookie counts, and only from the address that it was sent to.
#[test]
fn answers_that_prove_nothing() {
    let (mut world, mut raw) = raw_established(11, b"me");
    let datagram = raw.side.data(&[1; 100]);
    let cookie = challenge(&raw, &world.hit(elsewhere(), &datagram));
    let third = path_from([203, 0, 113, 10], 1);
    let wrong: Vec<u8> = cookie.iter().map(|byte| byte ^ 1).collect();
    let told = world.log.len();
    for message in [
        [&[RESPONSE][..], &wrong].concat(),
        [&[RESPONSE][..], &cookie[..7]].concat(),
        [&[RESPONSE][..], &cookie, b"x"].concat(),
        [&[2][..], &cookie].concat(),
        [&[77][..], &cookie].concat(),
        vec![],
        vec![RESPONSE],
    ] {
        let datagram = raw.side.seal(RETURN_ROUTABILITY_CHECK, &message);
        assert!(world.hit(elsewhere(), &datagram).is_empty());
    }
    assert_eq!(world.log.len(), told);
    // The right one from a third address begins a check of that instead (RFC 9853 §5).
    let response = respond(&mut raw, &cookie);
    let again = challenge(&raw, &world.hit(third, &response));
    assert_ne!(again, cookie);
    assert_eq!(world.session_of(&elsewhere()).or(world.session_of(&third)), None);
    let response = respond(&mut raw, &again);
    world.hit(third, &response);
    assert_eq!(world.log.last(), Some(&(third, Note::Moved { from: path(0), to: third })));
    world.assert_raw_data_flows(third, &mut raw);
}

/// Somebody on the path takes records to an address of his own, the question with them, and has the peer answer from where
/// it is: that the peer receives there is no news of his.
#[test]
fn an_answer_from_elsewhere() {
    let (mut world, mut raw) = raw_established(21, b"me");
    let taken = raw.side.data(b"taken");
    let cookie = challenge(&raw, &world.hit(elsewhere(), &taken));
    let response = respond(&mut raw, &cookie);
    // A newer one keeps the server's eye on him.
    let taken = raw.side.data(b"taken too");
    world.hit(elsewhere(), &taken);
    let told = world.log.len();
    world.hit(path(0), &response);
    assert_eq!(world.log[told..], []);
    assert_eq!(world.session_of(&elsewhere()), None);
    world.assert_raw_data_flows(path(0), &mut raw);
    assert_eq!(world.seal_by(&path(0)), path(0));
}

/// A peer that does not know the check is limited until the application has proven its address.
#[test]
fn the_application_proves_an_address() {
    let mut world = Small::with_config(12, ONE_BYTE);
    let mut raw = RawClient::new(IDENTITY, KEY, 12);
    raw.side.own_id = Some(b"me".to_vec());
    raw.hello.extensions.as_mut().unwrap().push((EXT_CONNECTION_ID, vec8(b"me")));
    world.raw_handshake(path(0), &mut raw);
    assert_eq!(world.server.prove_address(&path(0)), None, "it has not moved");
    let datagram = raw.side.data(b"a request");
    assert!(world.hit(elsewhere(), &datagram).is_empty(), "no challenge");
    assert_eq!(world.server.poll_timeout(), None);
    assert_eq!(world.seal_by(&path(0)), elsewhere());
    let mut buf = [0; 256];
    assert_eq!(world.server.send(&path(0), &[0; 100], &mut buf), Err(Error::AddressNotProven));
    assert_eq!(world.server.prove_address(&path(0)), Some(elsewhere()));
    assert_eq!(world.server.prove_address(&elsewhere()), None);
    assert_eq!(world.server.send(&path(0), &[0; 100], &mut buf), Err(Error::NotConnected));
    world.assert_raw_data_flows(elsewhere(), &mut raw);
    // Nor does this side answer a check that was not agreed on.
    let datagram = raw.side.seal(RETURN_ROUTABILITY_CHECK, &[0; 9]);
    assert!(world.hit(elsewhere(), &datagram).is_empty());
}

/// This side answers challenges, each once, in both roles.
#[test]
fn challenges_are_answered() {
    let (mut world, mut raw) = raw_established(13, b"me");
    let datagram = raw.side.seal(RETURN_ROUTABILITY_CHECK, &[&[CHALLENGE][..], b"12345678"].concat());
    let answers = world.hit(path(0), &datagram);
    assert_eq!(raw.side.open(&answers), [(RETURN_ROUTABILITY_CHECK, b"\x0112345678".to_vec())]);
    assert!(world.hit(path(0), &datagram).is_empty(), "replayed");

    let mut against = AgainstRaw::with_config(13, support::DTLS12.with_connection_id(0));
    against.server = against.server.with_connection_id(b"server");
    against.establish();
    let datagram =
        against.server.side.seal(RETURN_ROUTABILITY_CHECK, &[&[CHALLENGE][..], b"abcdefgh"].concat());
    let answers = against.hit(&datagram);
    assert_eq!(against.server.side.open(&answers), [(RETURN_ROUTABILITY_CHECK, b"\x01abcdefgh".to_vec())]);
    let datagram = against.server.side.seal(RETURN_ROUTABILITY_CHECK, b"\x09unknown!");
    assert!(against.hit(&datagram).is_empty());
    against.assert_data_flows();
}

/// A NAT gives the address of a sleeping peer to another one. Both have their sessions, and the first comes back.
#[test]
fn an_address_that_is_given_to_another_peer() {
    let (mut world, mut first) = raw_established(14, b"1st");
    world.keys.add(psk(b"second", KEY));
    let mut second = RawClient::new(b"second", KEY, 15).with_connection_id(b"2nd");
    world.raw_handshake(path(0), &mut second);
    world.assert_raw_data_flows(path(0), &mut second);
    assert_eq!(world.server.sessions().count(), 2);
    // The first one comes from where the second is: it is asked there, and what it said is not taken for the second's.
    let datagram = first.side.data(b"which one am I?");
    let told = world.log.len();
    let answers = world.hit(path(0), &datagram);
    challenge(&first, &answers);
    assert_eq!(world.log.len(), told);
    world.assert_raw_data_flows(path(0), &mut second);
    // From an address of its own, it is found by that at once.
    let datagram = first.side.data(b"it's me");
    let cookie = challenge(&first, &world.hit(elsewhere(), &datagram));
    assert_eq!(world.log.last(), Some(&(elsewhere(), Note::Data(b"it's me".to_vec()))));
    let response = respond(&mut first, &cookie);
    world.hit(elsewhere(), &response);
    world.assert_raw_data_flows(elsewhere(), &mut first);
    world.assert_raw_data_flows(path(0), &mut second);
}

/// A session that is found by its address alone is not pushed away by a peer that only seems to come from there.
#[test]
fn a_spoofed_move_harms_nobody() {
    let mut world = Small::with_config(16, ONE_BYTE);
    let mut victim = RawClient::new(IDENTITY, KEY, 16);
    world.raw_handshake(path(0), &mut victim);
    world.keys.add(psk(b"mallory", KEY));
    let mut mallory = RawClient::new(b"mallory", KEY, 17).with_connection_id(b"m");
    world.raw_handshake(path(1), &mut mallory);
    for _ in 0..50 {
        let datagram = mallory.side.data(b"sent with the victim's address");
        world.hit(path(0), &datagram);
        assert_eq!(world.log.last().map(|(path, _)| *path), Some(path(1)));
        world.assert_raw_data_flows(path(0), &mut victim);
    }
    world.run_for(Duration::from_secs(300));
    world.assert_raw_data_flows(path(0), &mut victim);
    world.assert_raw_data_flows(path(1), &mut mallory);
}

/// A client that lost its state comes again from its old address, with the same identity: the old session is replaced, but
/// not before the new Finished.
#[test]
fn a_rebooted_peer() {
    let (mut world, mut before) = raw_established(18, b"old");
    let mut after = RawClient::new(IDENTITY, KEY, 19).with_connection_id(b"new");
    world.raw_hello(path(0), &mut after);
    world.assert_raw_data_flows(path(0), &mut before);
    let flight = after.key_flight();
    let last = world.hit(path(0), &flight);
    after.take_last_flight(&last);
    world.assert_raw_data_flows(path(0), &mut after);
    assert_eq!(world.server.sessions().count(), 1);
    let told = world.log.len();
    let late = before.side.data(b"late");
    assert!(world.hit(path(0), &late).is_empty());
    assert_eq!(world.log.len(), told);
}

/// No two peers get the same, however short they are.
#[test]
fn ids_are_unique() {
    let config = ONE_BYTE.with_sessions_per_identity(60);
    let mut world = World::<4, 60>::with_config(20, config);
    let mut ids = Vec::new();
    for at in 0..60 {
        let mut raw = RawClient::new(IDENTITY, KEY, 100 + at as u64).with_connection_id(&[at as u8]);
        world.raw_handshake(path(at), &mut raw);
        ids.push(raw.side.peer_id.clone().unwrap());
    }
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 60);
}

#[test]
fn configurations_that_cannot_be() {
    let refused = Err(Error::InvalidConfig(ConfigField::ConnectionId));
    assert_eq!(support::DTLS12.with_connection_id(MAX_CONNECTION_ID_LEN as u8 + 1).validate(), refused);
    assert_eq!(support::DTLS12.with_connection_id(MAX_CONNECTION_ID_LEN as u8).validate(), Ok(()));
    // Too short to tell all sessions apart.
    let mut storage = Box::new(Storage::<4, 200>::new());
    let key = psk(IDENTITY, KEY);
    let outcome = Endpoint::new(&ONE_BYTE, leak(key), &mut storage, &mut seeded(1)).map(drop);
    assert_eq!(outcome, refused);
    let two = ONE_BYTE.with_connection_id(2);
    assert!(Endpoint::new(&two, leak(key), &mut storage, &mut seeded(1)).is_ok());
    // The hello has to fit with them.
    let tight = Config::coap().with_versions(&[dtls_psk::ProtocolVersion::Dtls12]).with_mtu(Config::MIN_MTU);
    assert_eq!(tight.validate(), Ok(()));
    assert_eq!(tight.with_connection_id(1).validate(), Err(Error::InvalidConfig(ConfigField::Mtu)));
}

/// A client on the move through a network that loses, doubles and swaps: it is always found again.
#[test]
fn moving_through_a_bad_network() {
    let mut moved = 0;
    for seed in 0..40 {
        let (mut world, client) = established(1_000 + seed);
        world.net.conditions.loss = 0.3;
        world.net.conditions.duplicate = 0.2;
        world.net.conditions.reorder = 0.2;
        for hop in 0..10_u8 {
            let to = path_from([203, 0, 113, hop], 1_000 + u16::from(hop));
            world.clients[client].path = to;
            // It goes on sending, as a client does that gets no answer.
            for n in 0..10 {
                let bytes = world.clients[client].seal(&[hop, n]);
                let now = world.now;
                world.net.send(now, Packet { direction: Direction::ToServer, path: to, bytes });
                world.run_for(Duration::from_secs(20));
            }
            moved += usize::from(world.session_of(&to).is_some());
        }
        assert_eq!(world.server.sessions().count(), 1);
        let data: Vec<_> = world
            .log
            .iter()
            .filter_map(|(_, note)| if let Note::Data(data) = note { Some(data) } else { None })
            .collect();
        let mut once = data.clone();
        once.sort_unstable();
        once.dedup();
        assert_eq!(once.len(), data.len(), "delivered twice");
    }
    assert!(moved > 380, "{moved} of 400 moves were seen");
}
