//! Extensions of DTLS 1.3 that change what may be sent: record sizes (RFC 8449, RFC 6066 §4) and server names (RFC 6066 §3).
#![cfg(feature = "dtls13")]

mod support;

use dtls_psk::{Config, Error, MaxFragmentLength};

use support::craft::*;
use support::raw13::RawClient13;
use support::scene13::{ClientScene13, ClientState13, DTLS13, ServerScene13, ServerState13, raw13_handshake};
use support::world::{Note, Small, path, psk};
use support::{IDENTITY, KEY};

fn block(extensions: &[(u16, &[u8])]) -> Vec<u8> {
    let list =
        extensions.iter().flat_map(|(number, data)| [&number.to_be_bytes()[..], &vec16(data)].concat());
    vec16(&list.collect::<Vec<u8>>())
}

/// The longest payload that the server sends this client, and whether it takes one of `len` bytes and none that is longer.
#[track_caller]
fn longest(world: &mut Small, raw: &mut RawClient13, len: usize) -> usize {
    let mut buf = vec![0; 20_000];
    let Err(Error::PayloadTooLong { max }) = world.server.send(&path(0), &[0; 16_385], &mut buf) else {
        panic!("there is a limit to everything")
    };
    let (sealed, _) = world.server.send(&path(0), &vec![0; max], &mut buf).unwrap();
    let (_, data, ..) = raw.side().read.open(&buf[..sealed]).unwrap();
    assert_eq!(data.len(), max);
    for (len, is_taken) in [(len, true), (len + 1, false)] {
        let told = world.log.len();
        let datagram = raw.side().data(&vec![1; len]);
        world.hit(path(0), &datagram);
        assert_eq!(world.log.len() > told, is_taken, "{len}");
    }
    max
}

/// In DTLS 1.3, the limit counts the content type, too (RFC 8449 §4).
#[test]
fn a_server_keeps_to_its_clients_limit() {
    for (limit, effective) in [(64, 63), (512, 511), (16_384, 16_383), (16_385, 16_384), (65_535, 16_384)] {
        let mut world = Small::with_config(1, DTLS13.with_record_size_limit(200));
        let mut raw = RawClient13::new(IDENTITY, KEY, 1);
        raw.extensions().push((EXT_RECORD_SIZE_LIMIT, u16::to_be_bytes(limit).to_vec()));
        raw13_handshake(&mut world, &mut raw, 0);
        assert_eq!(raw.encrypted_extensions, block(&[(EXT_RECORD_SIZE_LIMIT, &[0, 200])]), "its own");
        assert_eq!(longest(&mut world, &mut raw, 199), effective);
    }
    for (length, number, len) in
        [(MaxFragmentLength::Bytes512, 1, 512), (MaxFragmentLength::Bytes4096, 4, 4_096)]
    {
        let mut world = Small::with_config(1, DTLS13);
        let mut raw = RawClient13::new(IDENTITY, KEY, 1);
        raw.extensions().push((EXT_MAX_FRAGMENT_LENGTH, vec![number]));
        raw13_handshake(&mut world, &mut raw, 0);
        assert_eq!(raw.encrypted_extensions, block(&[(EXT_MAX_FRAGMENT_LENGTH, &[number])]), "{length:?}");
        assert_eq!(longest(&mut world, &mut raw, len), len);
    }
}

/// Both at once: the newer one counts (RFC 8449 §5). Limits that are none are refused.
#[test]
fn limits_that_cannot_be() {
    let mut world = Small::with_config(1, DTLS13);
    let mut raw = RawClient13::new(IDENTITY, KEY, 1);
    raw.extensions().push((EXT_MAX_FRAGMENT_LENGTH, vec![1]));
    raw.extensions().push((EXT_RECORD_SIZE_LIMIT, vec![0, 100]));
    raw13_handshake(&mut world, &mut raw, 0);
    let mut buf = [0; 200];
    let refused = world.server.send(&path(0), &[0; 100], &mut buf);
    assert_eq!(refused, Err(Error::PayloadTooLong { max: 99 }));
    let answer = extension(&raw.encrypted_extensions, EXT_MAX_FRAGMENT_LENGTH);
    assert_eq!(answer, None, "{:?}", raw.encrypted_extensions);
    for (number, data) in [
        (EXT_RECORD_SIZE_LIMIT, vec![0, 63]),
        (EXT_RECORD_SIZE_LIMIT, vec![0, 0]),
        (EXT_RECORD_SIZE_LIMIT, vec![1]),
        (EXT_MAX_FRAGMENT_LENGTH, vec![0]),
        (EXT_MAX_FRAGMENT_LENGTH, vec![5]),
        (EXT_MAX_FRAGMENT_LENGTH, vec![]),
    ] {
        let mut scene = ServerScene13::new(ServerState13::Nothing, 1);
        let mut raw = RawClient13::new(IDENTITY, KEY, 9);
        raw.extensions().push((number, data.clone()));
        let hello = raw.hello();
        let answers = scene.attack(&hello);
        // It cannot be read, or has a value that it must not have.
        let alerts: Vec<_> = answers.iter().map(|answer| support::parse::plain_alert(answer)).collect();
        assert!(matches!(alerts[..], [] | [Some((2, 47 | 50))]), "{number} {data:?}: {alerts:?}");
        scene.ends_well();
    }
}

/// A client keeps to what the server asks for, and has it keep to what it has asked for.
#[test]
fn a_client_keeps_to_its_servers_limit() {
    let config = DTLS13.with_record_size_limit(128);
    for (limit, effective) in [(64_u16, 63), (1_000, 999)] {
        let mut scene = ClientScene13::with_config(ClientState13::AwaitsServerHello, 2, config);
        scene.server.encrypted_extensions = block(&[(EXT_RECORD_SIZE_LIMIT, &limit.to_be_bytes())]);
        let flight = scene.server.flight();
        scene.attack(&flight);
        let mut buf = vec![0; 20_000];
        let refused = scene.client.connection.send(&[0; 16_385], &mut buf);
        assert_eq!(refused, Err(Error::PayloadTooLong { max: effective }));
        for (len, is_taken) in [(127, true), (128, false)] {
            let told = scene.client.log.len();
            let datagram = scene.server.side().data(&vec![3; len]);
            scene.attack(&datagram);
            assert_eq!(scene.client.log.len() > told, is_taken, "{len}");
        }
    }
    for limit in [0_u16, 63] {
        let mut scene = ClientScene13::with_config(ClientState13::AwaitsServerHello, 2, config);
        scene.server.encrypted_extensions = block(&[(EXT_RECORD_SIZE_LIMIT, &limit.to_be_bytes())]);
        let flight = scene.server.flight();
        scene.attack(&flight);
        assert!(matches!(
            scene.client.log[..],
            [Note::Failed(Error::InvalidMessage(_) | Error::PeerMisbehaved(_))]
        ));
    }
}

/// What both sides of the crate agree on, in every combination.
#[test]
fn our_client_and_our_server() {
    let names = ["", "lamp.example"];
    for (name, limits) in names.into_iter().flat_map(|name| {
        [(None, None), (Some(100), None), (None, Some(300)), (Some(64), Some(16_384))]
            .map(|limits| (name, limits))
    }) {
        let [of_client, of_server] = <[Option<u16>; 2]>::from(limits)
            .map(|limit| limit.map_or(DTLS13, |limit| DTLS13.with_record_size_limit(limit)));
        let of_client: Config<'static> =
            if name.is_empty() { of_client } else { of_client.with_server_name(name) };
        let mut world = Small::with_config(3, of_server);
        let client = world.client_with(of_client, psk(IDENTITY, KEY), path(0));
        world.run_for(std::time::Duration::from_secs(1));
        assert!(world.clients[client].is_established(), "{name} {limits:?} {:?}", world.clients[client].log);
        world.assert_agreement(client);
        world.assert_data_flows(client);
        let mut buf = vec![0; 20_000];
        let Err(Error::PayloadTooLong { max }) = world.server.send(&path(0), &[0; 16_385], &mut buf) else {
            panic!()
        };
        assert_eq!(max, limits.0.map_or(16_384, |limit| usize::from(limit) - 1));
    }
}
