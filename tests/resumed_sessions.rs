//! What resumed sessions are like: what they cost, what they have from the session before, and what is their own.
#![cfg(feature = "resumption")]

mod support;

use std::time::Duration;

use dtls_psk::{Config, Error, MaxFragmentLength};

use support::craft::*;
use support::net::Direction;
#[cfg(feature = "x25519")]
use support::parse;
use support::raw::RawClient;
use support::resumed::*;
use support::world::{AgainstRaw, Small, path, psk};
use support::{IDENTITY, KEY};

/// One round trip less: 32 bytes for the id in both hellos, and none for the rest of two flights.
#[test]
fn bytes_of_each_flight() {
    let (servers, clients) = (cache(), cache());
    let mut world = Small::with_config(1, with(servers));
    let full = world.client_with(with(clients), psk(IDENTITY, KEY), path(0));
    world.run_for(Duration::from_secs(1));
    let first: Vec<_> = world.net.trace.drain(..).map(|(_, packet)| packet.bytes.len()).collect();
    assert_eq!(first, [79, 44, 95, 131, 95, 67], "4 bytes ask for a ticket, 32 name the session");
    let again = world.client_with(with(clients), psk(IDENTITY, KEY), path(1));
    world.run_for(Duration::from_secs(1));
    let sent: Vec<_> =
        world.net.trace.iter().map(|(_, packet)| (packet.direction, packet.bytes.len())).collect();
    use Direction::{ToClient, ToServer};
    let expected = [(ToServer, 111), (ToClient, 44), (ToServer, 127), (ToClient, 106 + 67), (ToServer, 67)];
    assert_eq!(sent, expected);
    for (client, resumed) in [(full, false), (again, true)] {
        assert_eq!(world.clients[client].connection.peer().unwrap().resumed, resumed);
        let path = path(client);
        let peer = world.server.peer(&path).unwrap();
        assert_eq!((peer.resumed, peer.identity), (resumed, IDENTITY));
        world.assert_data_flows(client);
    }
    assert_eq!(world.server.stats(), Default::default(), "nothing was dropped or repeated");
}

/// The length of records belongs to the session: it is not said again, and another one means a full handshake (RFC 6066
/// §1.1). A `record_size_limit` is agreed on anew (RFC 8449 §4).
#[test]
fn record_sizes() {
    let longest = |world: &mut Small, at: usize| {
        let refused = world.server.send(&path(at), &[0; 16_385], &mut [0; 17_000]);
        let Err(Error::PayloadTooLong { max }) = refused else { panic!("{refused:?}") };
        max
    };
    let length = |number| (EXT_MAX_FRAGMENT_LENGTH, vec![number]);
    let limit = (EXT_RECORD_SIZE_LIMIT, vec![0, 200]);
    let asking = |world: &mut Small, id: &[u8], at: usize, extension: Option<(u16, Vec<u8>)>| {
        let mut raw = asking_for(id, 400 + at as u64);
        raw.hello.extensions.as_mut().unwrap().extend(extension);
        let flight = ask(world, &mut raw, at);
        (raw, flight)
    };
    let mut world = Small::with_config(40, with(cache()));
    let (mut first, flight) = asking(&mut world, &[], 0, Some(length(2)));
    let id = RawClient::session_id_of(&flight);
    first.take_server_flight(&flight);
    assert!(first.server_extension_types().contains(&EXT_MAX_FRAGMENT_LENGTH));
    first.exchange_keys();
    let flight = first.key_flight();
    let last = world.hit(path(0), &flight);
    first.take_last_flight(&last);
    assert_eq!(longest(&mut world, 0), 1_024);
    for (at, other) in [Some(length(1)), None, Some(limit.clone())].into_iter().enumerate() {
        let (_, flight) = asking(&mut world, &id, 1 + at, other);
        assert!(is_full(&flight, &id));
    }
    let (mut raw, flight) = asking(&mut world, &id, 9, Some(length(2)));
    raw.take_resumption(&flight, &first.side.master);
    assert!(!raw.server_extension_types().contains(&EXT_MAX_FRAGMENT_LENGTH));
    let last = raw.short_flight();
    world.hit(path(9), &last);
    assert_eq!(longest(&mut world, 9), 1_024);

    let (mut world, first, id) = remembered(41);
    let (mut raw, flight) = asking(&mut world, &id, 1, Some(limit));
    raw.take_resumption(&flight, &first.side.master);
    assert!(raw.server_extension_types().contains(&EXT_RECORD_SIZE_LIMIT));
    let last = raw.short_flight();
    world.hit(path(1), &last);
    assert_eq!(longest(&mut world, 1), 200);

    // And the client's side of it: what it has with the server, what it asks for next, whether it resumes, with what.
    let asks = |length| {
        Config::coap().with_versions(&[dtls_psk::ProtocolVersion::Dtls12]).with_max_fragment_length(length)
    };
    let (short, longer) = (MaxFragmentLength::Bytes512, MaxFragmentLength::Bytes1024);
    for (agreed, config, resumes, repeated, expected) in [
        (Some(longer), asks(longer), true, None, 1_024),
        (Some(longer), asks(longer), true, Some(length(2)), 1_024),
        (None, asks(longer), true, None, 16_384),
        (Some(longer), asks(short), false, None, 16_384),
        (
            Some(longer),
            Config::coap().with_versions(&[dtls_psk::ProtocolVersion::Dtls12]),
            false,
            None,
            16_384,
        ),
        (
            None,
            Config::coap().with_versions(&[dtls_psk::ProtocolVersion::Dtls12]).with_record_size_limit(300),
            true,
            Some((EXT_RECORD_SIZE_LIMIT, vec![0, 200])),
            200,
        ),
    ] {
        let cache = cache();
        let mut against = AgainstRaw::with_config(42, asks(longer).with_resumption(cache));
        against.server.hello.session_id = b"id".to_vec();
        let said = agreed.map(|agreed| length(agreed.number()));
        against.server.hello.extensions.as_mut().unwrap().extend(said);
        against.establish();
        let mut again = AgainstRaw::with_config(43, config.with_resumption(cache));
        let hello = again.client.transmit();
        let hello = again.server.take_hello(&hello);
        assert_eq!(hello.body[34], if resumes { 2 } else { 0 });
        again.server.hello.extensions.as_mut().unwrap().extend(repeated);
        if resumes {
            again.server.hello.session_id = b"id".to_vec();
            let flight = again.server.resumption(&against.server.side.master.clone(), None);
            let last = again.hit(&flight);
            again.server.take_short_flight(&last);
        } else {
            let flight = again.server.flight(None);
            let answer = again.hit(&flight);
            again.server.take_key_flight(&answer);
            let last = again.server.last_flight();
            again.hit(&last);
        }
        let refused = again.client.connection.send(&[0; 16_385], &mut [0; 17_000]);
        assert_eq!(refused, Err(Error::PayloadTooLong { max: expected }));
    }
}

/// A resumed session is a new one: its name, its connection IDs (RFC 9146 §3), and what is exported (RFC 5705).
#[test]
#[cfg(all(feature = "connection-id", feature = "exporter"))]
fn a_resumed_session_is_a_new_one() {
    let (servers, clients) = (cache(), cache());
    let mut world = Small::with_config(33, with(servers).with_connection_id(4));
    let mut seen = Vec::new();
    for (at, ids) in [(0, Some(3)), (1, Some(3)), (2, None), (3, Some(0))] {
        let mut config = with(clients);
        if let Some(len) = ids {
            config = config.with_connection_id(len);
        }
        let client = world.client_with(config, psk(IDENTITY, KEY), path(at));
        world.run_for(Duration::from_secs(1));
        assert_eq!(world.clients[client].connection.peer().unwrap().resumed, at > 0);
        let (mut ours, mut theirs) = ([0; 32], [0; 32]);
        world.clients[client].connection.export_keying_material(b"EXPORTER-a", None, &mut ours).unwrap();
        world.server.export_keying_material(&path(at), b"EXPORTER-a", None, &mut theirs).unwrap();
        assert_eq!(ours, theirs);
        let record = world.clients[client].seal(b"!");
        let id = (record[0] == TLS12_CID).then(|| record[11..15].to_vec());
        assert_eq!(id.is_some(), ids.is_some());
        let named = world.seal(&path(at), b"!");
        assert_eq!(named[0] == TLS12_CID, ids == Some(3));
        seen.push((ours.to_vec(), id, world.session_of(&path(at))));
        world.assert_data_flows(client);
    }
    for (at, (material, id, session)) in seen.iter().enumerate() {
        for (other_material, other_id, other_session) in &seen[..at] {
            assert!(material != other_material && session != other_session);
            assert!(id.is_none() || id != other_id);
        }
    }
}

/// With ephemeral keys the first time: no ServerKeyExchange and no point are sent when that session is resumed.
#[test]
#[cfg(feature = "x25519")]
fn forward_secrecy() {
    let clients = cache();
    let suites = &[dtls_psk::CipherSuite::EcdhePskAes128Ccm8];
    let mut world = Small::with_config(34, with(cache()).with_suites(suites));
    for at in 0..2 {
        let client = world.client_with(with(clients).with_suites(suites), psk(IDENTITY, KEY), path(at));
        world.run_for(Duration::from_secs(1));
        let peer = world.clients[client].connection.peer().unwrap();
        assert_eq!((peer.resumed, peer.suite), (at > 0, suites[0]));
        world.assert_data_flows(client);
    }
    let to_client = world.net.trace.iter().map(|(_, packet)| packet).filter(|it| it.path == path(1));
    let bytes: Vec<_> =
        to_client.filter(|it| it.direction == Direction::ToClient).map(|it| it.bytes.clone()).collect();
    assert!(!parse::message_types(&bytes).contains(&SERVER_KEY_EXCHANGE));
}
