//! Handshakes of DTLS 1.3 that succeed as they should, and handshakes that fail as they should.
#![cfg(feature = "dtls13")]

mod support;

use std::time::Duration;

use dtls_psk::{CipherSuite, Config, ProtocolVersion, PskKeyExchangeMode};

use support::net::Direction;
use support::world::{Small, path, psk};
use support::{IDENTITY, KEY};

const MINUTE: Duration = Duration::from_secs(60);

/// The least there is.
const PSK_KE: Config<'static> = Config::new()
    .with_versions(&[ProtocolVersion::Dtls13])
    .with_key_exchange_modes(&[PskKeyExchangeMode::PskKe])
    .with_suites(&[CipherSuite::Aes128Ccm8Sha256]);

fn lengths(config: Config<'static>) -> Vec<(Direction, usize)> {
    let mut world = Small::with_config(1, config);
    let client = world.client_with(config, psk(IDENTITY, KEY), path(0));
    world.run_for(MINUTE);
    assert!(world.clients[client].is_established(), "{:?} {:?}", world.clients[client].log, world.log);
    assert_eq!(world.server.stats(), Default::default(), "nothing was dropped or repeated");
    assert_eq!(world.clients[client].connection.stats(), Default::default());
    let sent = world.net.trace.iter().map(|(_, packet)| (packet.direction, packet.bytes.len())).collect();
    world.assert_agreement(client);
    world.assert_data_flows(client);
    sent
}

/// The least that a handshake costs on the air, byte by byte.
#[test]
fn bytes_of_each_flight() {
    use Direction::{ToClient, ToServer};
    // The HelloRetryRequest, and the cookie in the hello that repeats it, come on top of the rest.
    let expected = [
        (ToServer, 130),
        (ToClient, 126),
        (ToServer, 130 + 55),
        (ToClient, 146),
        (ToServer, 55),
        (ToClient, 29),
    ];
    assert_eq!(lengths(PSK_KE), expected);
    assert_eq!(130 + 146 + 55 + 29, 360);
}

#[test]
fn bytes_with_connection_ids() {
    let lengths: Vec<usize> = lengths(PSK_KE.with_connection_id(1)).into_iter().map(|(_, len)| len).collect();
    // The return routability check is offered with it, and answered.
    assert_eq!(lengths, [136 + 4, 126, 136 + 4 + 55, 153 + 4, 56, 30]);
}

#[test]
#[cfg(feature = "x25519")]
fn bytes_with_forward_secrecy() {
    let config = PSK_KE.with_key_exchange_modes(&[PskKeyExchangeMode::PskDheKe]);
    let lengths: Vec<usize> = lengths(config).into_iter().map(|(_, len)| len).collect();
    assert_eq!(lengths, [180, 126, 180 + 55, 186, 55, 29]);
}

#[test]
fn both_versions_and_every_suite() {
    lengths(Config::new());
    lengths(Config::coap());
    for suite in CipherSuite::ALL {
        let suites: &'static [CipherSuite] = Box::leak(Box::new([*suite]));
        lengths(Config::new().with_suites(suites));
    }
}

/// The groups that a hello has for DTLS 1.2 go with key shares in DTLS 1.3, even where there are none (RFC 8446 §9.2).
#[test]
#[cfg(all(feature = "dtls12", feature = "x25519"))]
fn ephemeral_keys_in_dtls12_alone() {
    let config = Config::new().with_key_exchange_modes(&[PskKeyExchangeMode::PskKe]);
    lengths(config);
    let mut world = Small::with_config(1, config.with_versions(&[ProtocolVersion::Dtls12]));
    let client = world.client_with(config, psk(IDENTITY, KEY), path(0));
    world.run_for(MINUTE);
    assert!(world.server.peer(&path(0)).unwrap().suite.has_forward_secrecy());
    world.assert_data_flows(client);
}

/// A session of DTLS 1.2 that a hello for both versions has no room for is not offered, and nothing fails.
#[test]
#[cfg(all(feature = "dtls12", feature = "resumption"))]
fn no_room_for_a_session_id() {
    use dtls_psk::{Connection, MemoryCache};
    use support::world::leak;
    let cache = || leak(MemoryCache::<1>::new());
    let keys = psk(&[b'i'; 100], KEY);
    let tight = Config::new().with_resumption(cache());
    let now = dtls_psk::Instant::ZERO;
    let fits =
        |mtu: &usize| Connection::client(&tight.with_mtu(*mtu), &keys, &mut support::seeded(1), now).is_ok();
    let least = (100..1_000).find(fits).unwrap();
    for (mtu, resumed) in [(least, false), (1_000, true)] {
        let tight = tight.with_resumption(cache());
        let server = Config::new().with_versions(&[ProtocolVersion::Dtls12]).with_resumption(cache());
        let mut world = Small::with_config(1, server);
        world.keys.add(keys);
        for round in 0..2 {
            let client = world.client_with(tight.with_mtu(mtu), keys, path(round));
            world.run_for(MINUTE);
            world.assert_data_flows(client);
            let peer = world.clients[client].connection.peer().unwrap();
            assert_eq!(peer.resumed, resumed && round == 1, "{mtu}");
        }
    }
}

/// A ticket shortens nothing but the search for the key: the client offers both, and the server takes the ticket.
#[test]
#[cfg(feature = "resumption")]
fn tickets() {
    use dtls_psk::MemoryCache;
    use support::world::leak;
    let (ours, theirs) = (leak(MemoryCache::<1>::new()), leak(MemoryCache::<4>::new()));
    // No cache is shared between threads.
    let mut world = Small::with_config(1, PSK_KE.with_resumption(theirs));
    for round in 0..4 {
        let config = PSK_KE.with_resumption(ours);
        let client = world.client_with(config, psk(IDENTITY, KEY), path(round));
        world.run_for(MINUTE);
        assert!(world.clients[client].is_established(), "{:?} {:?}", world.clients[client].log, world.log);
        world.assert_agreement(client);
        let peer = world.clients[client].connection.peer().unwrap();
        assert_eq!((peer.resumed, peer.identity), (round > 0, IDENTITY));
        world.assert_data_flows(client);
    }
    assert_eq!(world.server.stats(), Default::default());
    // Whoever was taken out of the key store does not come back by a ticket.
    world.keys.take_out(IDENTITY);
    let client = world.client_with(PSK_KE.with_resumption(ours), psk(IDENTITY, KEY), path(9));
    world.run_for(MINUTE);
    assert!(!world.clients[client].is_established());
}

/// The server takes the first key that it knows, and both sides know which.
#[test]
fn several_identities_and_imported_keys() {
    use dtls_psk::PskUse;
    use support::world::leak;
    let old = leak(psk(IDENTITY, KEY));
    let new = psk(b"of next year", b"a key that the server does not have").or(old);
    let mut world = Small::with_config(1, PSK_KE);
    let client = world.client_with(PSK_KE, new, path(0));
    world.run_for(MINUTE);
    world.assert_agreement(client);
    assert_eq!(world.server.peer(&path(0)).unwrap().identity, IDENTITY);
    world.assert_data_flows(client);

    let store = leak([
        psk(b"direct", KEY),
        psk(b"imported", KEY).with_use(PskUse::imported(b"lamp")),
        psk(b"old", KEY).with_use(PskUse::DTLS12),
    ]);
    let mut world = Small::with_store(1, store);
    for (number, (client, version)) in [
        (psk(b"imported", KEY).with_use(PskUse::imported(b"lamp")), Some(ProtocolVersion::Dtls13)),
        (psk(b"direct", KEY), Some(ProtocolVersion::Dtls13)),
        (psk(b"old", KEY).with_use(PskUse::DTLS12), Some(ProtocolVersion::Dtls12)),
        // Neither one for the other, nor with another context, nor for another version.
        (psk(b"imported", KEY), None),
        (psk(b"imported", KEY).with_use(PskUse::imported(b"lamb")), None),
        (psk(b"imported", KEY).with_use(PskUse::DTLS12), None),
        (psk(b"direct", KEY).with_use(PskUse::imported(b"lamp")), None),
        (psk(b"old", KEY).with_use(PskUse::DTLS13), None),
    ]
    .into_iter()
    .enumerate()
    {
        let client = world.client_with(Config::new(), client, path(number));
        world.run_for(MINUTE);
        let peer = world.clients[client].connection.peer();
        assert_eq!(peer.map(|peer| peer.version), version, "{number}");
        if version.is_some() {
            world.assert_agreement(client);
            world.assert_data_flows(client);
        }
    }
}

/// Both sides change their keys, and either asks the other to: data flows under every epoch, however often.
#[test]
fn key_updates() {
    let mut world = Small::with_config(1, PSK_KE);
    let client = world.client_with(PSK_KE, psk(IDENTITY, KEY), path(0));
    world.run_for(MINUTE);
    for round in 0..20 {
        match round % 4 {
            0 => world.clients[client].connection.update_keys(false).unwrap(),
            1 => world.clients[client].connection.update_keys(true).unwrap(),
            2 => world.server.update_keys(&path(0), false).unwrap(),
            _ => world.server.update_keys(&path(0), true).unwrap(),
        }
        world.run_for(MINUTE);
        world.assert_data_flows(client);
        world.assert_agreement(client);
    }
    assert_eq!(world.server.stats(), Default::default());
    assert_eq!(world.clients[client].connection.stats(), Default::default());
    // At once, so that they cross.
    world.clients[client].connection.update_keys(true).unwrap();
    world.server.update_keys(&path(0), true).unwrap();
    world.run_for(MINUTE);
    world.assert_data_flows(client);
}

/// Either side goes on with another connection ID, as it likes or as it is asked to.
#[test]
#[cfg(feature = "connection-id")]
fn connection_id_updates() {
    use dtls_psk::Error;
    let config = PSK_KE.with_connection_id(3);
    let mut world = Small::with_config(1, config);
    let client = world.client_with(config, psk(IDENTITY, KEY), path(0));
    world.run_for(MINUTE);
    let mut ids = std::collections::BTreeSet::new();
    let mut seen = |world: &mut Small| {
        let [to_server, to_client] = [world.clients[client].seal(b"a"), world.seal(&path(0), b"b")];
        let news = [to_server, to_client].map(|record| ids.insert(record[1..4].to_vec()));
        world.assert_data_flows(client);
        news
    };
    assert_eq!(seen(&mut world), [true, true]);
    for _ in 0..5 {
        let connection = &mut world.clients[client].connection;
        assert_eq!(connection.use_spare_connection_id(), Err(Error::ConnectionIdPending));
        connection.request_connection_id().unwrap();
        world.server.request_connection_id(&path(0)).unwrap();
        world.run_for(MINUTE);
        assert_eq!(seen(&mut world), [false, false], "not before it is asked to");
        world.clients[client].connection.use_spare_connection_id().unwrap();
        world.server.use_spare_connection_id(&path(0)).unwrap();
        assert_eq!(seen(&mut world), [true, true]);
        world.clients[client].connection.renew_connection_id().unwrap();
        world.server.renew_connection_id(&path(0)).unwrap();
        world.run_for(MINUTE);
        assert_eq!(seen(&mut world), [true, true]);
    }
    assert_eq!(world.server.stats(), Default::default());
}

/// 360 bytes: what is left without the cookie. A client that does not answer gets no more than three times what it sent.
#[test]
fn without_cookies() {
    let mut world = Small::with_config(1, PSK_KE.with_cookie_exchange(false));
    let client = world.client_with(PSK_KE, psk(IDENTITY, KEY), path(0));
    world.run_for(MINUTE);
    assert!(world.clients[client].is_established());
    let lengths: Vec<usize> = world.net.trace.iter().map(|(_, packet)| packet.bytes.len()).collect();
    assert_eq!(lengths, [130, 146, 55, 29]);
    assert_eq!(lengths.iter().sum::<usize>(), 360);

    let mut silent = support::world::Client::new(
        support::world::leak(PSK_KE),
        psk(IDENTITY, KEY),
        path(1),
        &mut support::seeded(1),
        world.now,
    );
    let hello = silent.transmit().concat();
    world.hit(path(1), &hello);
    world.net.trace.clear();
    world.run_for(MINUTE);
    let sent: usize = world.net.trace.iter().map(|(_, packet)| packet.bytes.len()).sum();
    assert!(sent <= 3 * 130, "{sent}");
}

/// After a change of keys, a session that is checkpointed sends nothing before the next checkpoint; and from there it goes on, as it does
/// from a suspension in the middle of one.
#[test]
fn saved_sessions_go_on() {
    use dtls_psk::{Connection, Error, ImageSeal, MAX_IMAGE_LEN};
    let seal = |counter| ImageSeal { key: &[7; 16], counter };
    let mut image = [0; MAX_IMAGE_LEN];
    let config = PSK_KE.with_connection_id(if cfg!(feature = "connection-id") { 1 } else { 0 });
    let config = if cfg!(feature = "connection-id") { config } else { PSK_KE };
    for by_server in [false, true] {
        let mut world = Small::with_config(1, config);
        let client = world.client_with(config, psk(IDENTITY, KEY), path(0));
        world.run_for(MINUTE);
        world.clients[client].connection.checkpoint(1_000, &seal(1), &mut image).unwrap();
        world.assert_data_flows(client);
        match by_server {
            false => world.clients[client].connection.update_keys(false).unwrap(),
            true => world.server.update_keys(&path(0), false).unwrap(),
        }
        world.run_for(MINUTE);
        let pong = world.seal(&path(0), b"under the new keys");
        let now = world.now;
        world.clients[client].hit(&pong, now);
        let connection = &mut world.clients[client].connection;
        assert_eq!(connection.send(b"ping", &mut [0; 64]), Err(Error::CheckpointNeeded));
        let len = connection.checkpoint(1_000, &seal(2), &mut image).unwrap();
        world.assert_data_flows(client);
        let config = support::world::leak(config);
        let key = support::world::leak(psk(IDENTITY, KEY));
        world.clients[client].connection = Connection::restore(config, key, &seal(2), &image[..len]).unwrap();
        world.assert_data_flows(client);

        // With a KeyUpdate on its way.
        let connection = &mut world.clients[client].connection;
        connection.update_keys(true).unwrap();
        let lost = connection.poll_transmit(&mut [0; 256]).unwrap();
        assert!(lost.is_some());
        let idle = Connection::client(config, key, &mut support::seeded(9), world.now).unwrap();
        let suspended = std::mem::replace(connection, idle);
        let len = suspended.suspend(&seal(3), &mut image).map_err(|(_, error)| error).unwrap();
        world.clients[client].connection = Connection::restore(config, key, &seal(3), &image[..len]).unwrap();
        world.run_for(MINUTE);
        world.assert_data_flows(client);
        let epochs =
            [world.clients[client].seal(b"epoch 5?")[0] & 3, world.seal(&path(0), b"epoch 5?")[0] & 3];
        assert_eq!(epochs, if by_server { [0, 1] } else { [1, 0] });

        // And a server's.
        let len = world.server.suspend(&path(0), &seal(4), &mut image).unwrap();
        world.server.restore(path(0), &seal(4), &image[..len], world.now).unwrap();
        world.assert_data_flows(client);
        world.server.update_keys(&path(0), true).unwrap();
        world.run_for(MINUTE);
        world.assert_data_flows(client);
    }
}
