//! What the fuzz targets found in DTLS 1.3.
#![cfg(feature = "dtls13")]

mod support;

use std::time::Duration;

use dtls_psk::{Config, ProtocolVersion, PskKeyExchangeMode};
use support::world::{Note, Small, path, psk};
use support::{IDENTITY, KEY};

const MINUTE: Duration = Duration::from_secs(60);

const PSK_KE: Config<'static> = Config::new()
    .with_versions(&[ProtocolVersion::Dtls13])
    .with_key_exchange_modes(&[PskKeyExchangeMode::PskKe]);

/// Every fourth epoch of a session looks like that of a handshake. An old hello is no reason to take the session's records for a
/// Finished, and a client that has rebooted still gets through.
#[test]
fn a_handshake_beside_a_session_of_a_like_epoch() {
    let config = PSK_KE.with_cookie_exchange(false);
    let mut world = Small::with_config(1, config);
    world.client_with(config, psk(IDENTITY, KEY), path(0));
    world.run_for(MINUTE);
    let old_hello = world.net.trace[0].1.bytes.clone();
    let client = world.client_with(config, psk(IDENTITY, KEY), path(0));
    world.run_for(MINUTE);
    world.assert_agreement(client);
    for _ in 0..3 {
        world.clients[client].connection.update_keys(false).unwrap();
        world.run_for(MINUTE);
    }
    assert_eq!(world.clients[client].seal(b"epoch 6")[0] & 3, 2);
    world.hit(path(0), &old_hello);
    assert_eq!(world.server.handshakes(), 1);
    world.assert_data_flows(client);
    let long = [7; 500];
    let record = world.clients[client].seal(&long);
    world.hit(path(0), &record);
    assert_eq!(world.log_of(path(0)).last(), Some(&Note::Data(long.to_vec())), "too long for a Finished");

    let client = world.client_with(config, psk(IDENTITY, KEY), path(0));
    world.run_for(Duration::from_secs(5));
    world.assert_agreement(client);
    world.assert_data_flows(client);
}

/// The groups of DTLS 1.2 are no offer of an ephemeral key in DTLS 1.3, and a hello with them is well-formed all the same (RFC 8446
/// §9.2).
#[test]
#[cfg(all(feature = "dtls12", feature = "x25519"))]
fn groups_of_dtls12_beside_psk_ke() {
    let config = Config::new().with_key_exchange_modes(&[PskKeyExchangeMode::PskKe]);
    let mut world = Small::with_config(1, config);
    let client = world.client_with(config, psk(IDENTITY, KEY), path(0));
    world.run_for(MINUTE);
    world.assert_agreement(client);
    assert_eq!(world.server.peer(&path(0)).unwrap().version, ProtocolVersion::Dtls13);
    world.assert_data_flows(client);
}

/// A flight that takes more than one sealed record takes more than one datagram, as none of them says its length.
#[test]
fn shortest_records() {
    let config = PSK_KE.with_record_size_limit(64);
    let mut world = Small::with_config(1, config);
    let client = world.client_with(config, psk(IDENTITY, KEY), path(0));
    world.run_for(MINUTE);
    world.assert_agreement(client);
    world.assert_data_flows(client);
    assert_eq!(world.server.stats(), Default::default());
}

/// A message behind the handshake takes a number. Whoever went on from before that would use the number for another message, which the
/// peer takes for a copy of the first: so a session that is saved is saved again.
#[test]
#[cfg(feature = "connection-id")]
fn checkpoints_and_connection_ids() {
    use dtls_psk::{Connection, Error, ImageSeal, MAX_IMAGE_LEN};
    let config = PSK_KE.with_connection_id(1);
    let mut world = Small::with_config(1, config);
    let client = world.client_with(config, psk(IDENTITY, KEY), path(0));
    world.run_for(MINUTE);
    let (config, key) = (support::world::leak(config), support::world::leak(psk(IDENTITY, KEY)));
    let mut image = [0; MAX_IMAGE_LEN];
    let mut counter = 0;
    for ask in [
        Connection::request_connection_id,
        Connection::use_spare_connection_id,
        Connection::renew_connection_id,
    ] {
        let mut saved = |connection: &mut Connection<'static>| {
            counter += 1;
            let seal = ImageSeal { key: &[7; 16], counter };
            let len = connection.checkpoint(100, &seal, &mut image).unwrap();
            Connection::restore(config, key, &seal, &image[..len]).unwrap()
        };
        saved(&mut world.clients[client].connection);
        ask(&mut world.clients[client].connection).unwrap();
        world.run_for(MINUTE);
        let connection = &mut world.clients[client].connection;
        assert_eq!(connection.send(b"too late", &mut [0; 64]), Err(Error::CheckpointNeeded));
        *connection = saved(connection);
        world.assert_data_flows(client);
        // Neither has the peer lost count.
        world.clients[client].connection.update_keys(true).unwrap();
        for _ in 0..3 {
            world.run_for(MINUTE);
            let connection = &mut world.clients[client].connection;
            *connection = saved(connection);
        }
        world.assert_data_flows(client);
    }
}

/// A session is saved under the key that it is under, which may not be the first that was offered.
#[test]
fn saved_sessions_under_another_key() {
    use dtls_psk::{Connection, Error, ImageSeal, MAX_IMAGE_LEN};
    let (old, config) = (support::world::leak(psk(IDENTITY, KEY)), support::world::leak(PSK_KE));
    let new = support::world::leak(psk(b"of next year", b"a key that the server does not have").or(old));
    let seal = ImageSeal { key: &[7; 16], counter: 1 };
    let mut image = [0; MAX_IMAGE_LEN];
    let mut world = Small::with_config(1, *config);
    let client = world.client_with(*config, *new, path(0));
    world.run_for(MINUTE);
    let connection = &mut world.clients[client].connection;
    let len = connection.checkpoint(100, &seal, &mut image).unwrap();
    let other = psk(IDENTITY, b"another key");
    for stranger in [&other, &psk(b"of next year", KEY)] {
        assert_eq!(
            Connection::restore(config, stranger, &seal, &image[..len]).err(),
            Some(Error::IdentityRevoked)
        );
    }
    *connection = Connection::restore(config, new, &seal, &image[..len]).unwrap();
    world.assert_agreement(client);
    world.assert_data_flows(client);
}

/// Whoever sleeps with a connection ID to ask for, or to give, does so when it wakes up.
#[test]
#[cfg(feature = "connection-id")]
fn asleep_with_connection_ids_to_tell_of() {
    use dtls_psk::{Connection, ImageSeal, MAX_IMAGE_LEN};
    let config = support::world::leak(PSK_KE.with_connection_id(1));
    let key = support::world::leak(psk(IDENTITY, KEY));
    let mut image = [0; MAX_IMAGE_LEN];
    let mut world = Small::with_config(1, *config);
    let client = world.client_with(*config, *key, path(0));
    world.run_for(MINUTE);
    for (counter, renews) in [(1, false), (2, true)] {
        let seal = ImageSeal { key: &[7; 16], counter };
        let before = world.seal(&path(0), b"under the old one");
        let connection = &mut world.clients[client].connection;
        if renews {
            connection.renew_connection_id().unwrap();
        } else {
            connection.request_connection_id().unwrap();
            world.server.request_connection_id(&path(0)).unwrap();
        }
        let idle = Connection::client(config, key, &mut support::seeded(9), world.now).unwrap();
        let awake = std::mem::replace(connection, idle);
        let len = awake.suspend(&seal, &mut image).map_err(|(_, error)| error).unwrap();
        *connection = Connection::restore(config, key, &seal, &image[..len]).unwrap();
        // The client's request has arrived, and the answer is not on its way yet.
        for datagram in world.clients[client].transmit() {
            world
                .server
                .receive(&mut datagram.clone(), path(0), &mut support::seeded(1), world.now)
                .for_each(drop);
        }
        let len = world.server.suspend(&path(0), &seal, &mut image).unwrap();
        world.server.restore(path(0), &seal, &image[..len], world.now).unwrap();
        world.run_for(MINUTE);
        if renews {
            assert_ne!(world.seal(&path(0), b"under the new one")[1], before[1]);
        } else {
            world.server.use_spare_connection_id(&path(0)).unwrap();
            world.clients[client].connection.use_spare_connection_id().unwrap();
        }
        world.assert_data_flows(client);
    }
}

/// A request for a connection ID crosses a new one that has not gone out yet: that is the answer, and not lost.
#[test]
#[cfg(feature = "connection-id")]
fn requested_and_renewed_connection_ids_cross() {
    let config = PSK_KE.with_connection_id(1);
    let mut world = Small::with_config(1, config);
    let client = world.client_with(config, psk(IDENTITY, KEY), path(0));
    world.run_for(MINUTE);
    let before = world.seal(&path(0), b"under the old one");
    world.server.request_connection_id(&path(0)).unwrap();
    world.clients[client].connection.renew_connection_id().unwrap();
    let now = world.now;
    for request in world.answers(path(0)) {
        for answer in world.clients[client].hit(&request, now) {
            world.hit(path(0), &answer);
        }
    }
    world.run_for(MINUTE);
    assert_ne!(world.seal(&path(0), b"under the new one")[1], before[1]);
    world.assert_data_flows(client);
    world.server.request_connection_id(&path(0)).unwrap();
    world.run_for(MINUTE);
    world.server.use_spare_connection_id(&path(0)).unwrap();
    world.assert_data_flows(client);
}

/// However short connection IDs are, the next one is another. A client's was once the same by chance: the server could not be seen to
/// go on with it, and got no other any more.
#[test]
#[cfg(feature = "connection-id")]
fn chance_repeats_no_connection_id() {
    let config = PSK_KE.with_connection_id(1);
    let mut world = Small::with_config(1, config);
    let client = world.client_with(config, psk(IDENTITY, KEY), path(0));
    world.run_for(MINUTE);
    for round in 0..500 {
        let before = world.seal(&path(0), b"under the old one")[1];
        if round % 2 == 0 {
            assert_eq!(world.clients[client].connection.renew_connection_id(), Ok(()), "round {round}");
            world.run_for(MINUTE);
        } else {
            world.server.request_connection_id(&path(0)).unwrap();
            world.run_for(MINUTE);
            assert_eq!(world.server.use_spare_connection_id(&path(0)), Ok(()), "round {round}");
        }
        assert_ne!(world.seal(&path(0), b"under the new one")[1], before, "round {round}");
        world.assert_data_flows(client);
    }
}
