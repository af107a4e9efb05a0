//! Sessions saved over a deep sleep or a reboot: what comes back, what must not, and that no record number is used twice.

mod support;

use std::time::Duration;

use dtls_psk::{Config, Connection, Error, ImageSeal, MAX_IMAGE_LEN, Psk};

use support::craft::*;
use support::net::{Direction, Packet};
use support::parse;
use support::raw::RawClient;
use support::world::{AgainstRaw, Note, Small, World, leak, path, psk};
use support::{IDENTITY, KEY};

const DEVICE_KEY: [u8; 16] = *b"a device's own!!";
const OTHER_KEY: [u8; 16] = *b"another device's";

const fn seal(counter: u64) -> ImageSeal<'static> {
    ImageSeal { key: &DEVICE_KEY, counter }
}

fn key() -> &'static Psk<'static> {
    leak(psk(IDENTITY, KEY))
}

/// Takes the client's connection out of the world, which has another one in its place that nobody uses.
fn take_connection(world: &mut Small, client: usize) -> Connection<'static> {
    let idle = Connection::client(leak(world.usual), key(), &mut world.rng, world.now).unwrap();
    std::mem::replace(&mut world.clients[client].connection, idle)
}

/// The record number of a datagram.
fn number(datagram: &[u8]) -> u64 {
    parse::records_with_id(datagram, 1)[0].sequence_number
}

#[test]
fn a_client_sleeps_and_goes_on() {
    let mut world = Small::new(1);
    let client = world.established();
    let before = world.clients[client].seal(b"before");
    let name = world.clients[client].connection.peer().unwrap().session;
    let connection = take_connection(&mut world, client);
    let mut exported = [[0; 32]; 2];
    connection.export_keying_material(b"EXPORTER-test", None, &mut exported[0]).unwrap();
    let mut image = [0; MAX_IMAGE_LEN];
    let len = connection.suspend(&seal(5), &mut image).map_err(|(_, error)| error).unwrap();
    assert!(!image[..len].windows(IDENTITY.len() + 4).any(|window| window.ends_with(KEY)));

    let restored = Connection::restore(leak(support::DTLS12), key(), &seal(5), &image[..len]).unwrap();
    let peer = restored.peer().unwrap();
    assert_eq!((peer.session, peer.identity, peer.epoch), (name, IDENTITY, 1));
    restored.export_keying_material(b"EXPORTER-test", None, &mut exported[1]).unwrap();
    assert_eq!(exported[0], exported[1]);
    world.clients[client].connection = restored;
    let after = world.clients[client].seal(b"after");
    assert_eq!(number(&after), number(&before) + 1);
    world.hit(path(0), &before);
    world.hit(path(0), &after);
    world.assert_data_flows(client);
}

/// The server's side, and what came before the sleep does not come again after it.
#[test]
fn a_server_reboots() {
    let mut world = Small::new(2);
    let mut raw = RawClient::new(IDENTITY, KEY, 2);
    world.raw_handshake(path(0), &mut raw);
    let name = world.session_of(&path(0));
    let sent = number(&world.seal(&path(0), b"the last of the old life"));
    let old = raw.side.data(b"once");
    world.hit(path(0), &old);
    let skipped = raw.side.data(b"overtaken");
    let mut image = [0; MAX_IMAGE_LEN];
    let len = world.server.suspend(&path(0), &seal(9), &mut image).unwrap();
    assert_eq!(world.server.sessions().count(), 0);
    assert_eq!(world.server.send(&path(0), b"x", &mut [0; 99]), Err(Error::NotConnected));

    // Another endpoint, after the reboot. The peer may be somewhere else, as far as the caller knows.
    let mut world = Small::new(3);
    world.server.restore(path(7), &seal(9), &image[..len], world.now).unwrap();
    assert_eq!(world.session_of(&path(7)), name);
    assert!(world.hit(path(7), &old).is_empty());
    assert_eq!((world.log.len(), world.server.stats().replayed), (0, 1));
    world.hit(path(7), &skipped);
    assert_eq!(world.log.pop(), Some((path(7), Note::Data(b"overtaken".to_vec()))));
    assert_eq!(number(&world.seal(&path(7), b"new")), sent + 1);
    world.assert_raw_data_flows(path(7), &mut raw);
    // The last flight can be repeated still.
    let finished = raw.finished_record();
    let again = world.hit(path(7), &finished);
    let opened = raw.side.open(&again);
    assert_eq!(opened, [(HANDSHAKE, parse_finished(&opened))]);
    world.server.close(&path(7));
    assert_eq!(raw.side.open(&world.answers(path(7))), [(ALERT, vec![1, 0])]);
}

fn parse_finished(opened: &[(u8, Vec<u8>)]) -> Vec<u8> {
    assert_eq!(opened[0].1[0], FINISHED);
    opened[0].1.clone()
}

/// Connection IDs, limits and the return routability check are part of it.
#[test]
#[cfg(feature = "connection-id")]
fn a_sleeper_with_a_connection_id_wakes_up_elsewhere() {
    let config = Config::coap().with_versions(&[dtls_psk::ProtocolVersion::Dtls12]).with_connection_id(1);
    let mut world = Small::with_config(4, config);
    let mut raw = RawClient::new(IDENTITY, KEY, 4).with_connection_id(b"a long one");
    world.raw_handshake(path(0), &mut raw);
    let mut image = [0; MAX_IMAGE_LEN];
    let len = world.server.suspend(&path(0), &seal(1), &mut image).unwrap();
    world.server.restore(path(0), &seal(1), &image[..len], world.now).unwrap();
    world.assert_raw_data_flows(path(0), &mut raw);
    let moved = raw.side.data(b"from elsewhere");
    let challenge = world.hit(path(9), &moved);
    assert_eq!(raw.side.open(&challenge)[0].0, RETURN_ROUTABILITY_CHECK);

    // Its connection ID must be free, and as long as the others.
    assert_eq!(
        world.server.restore(path(3), &seal(1), &image[..len], world.now),
        Err(Error::ConnectionIdTaken)
    );
    let mut other = Small::with_config(
        5,
        Config::coap().with_versions(&[dtls_psk::ProtocolVersion::Dtls12]).with_connection_id(2),
    );
    let refused = other.server.restore(path(3), &seal(1), &image[..len], other.now);
    assert!(matches!(refused, Err(Error::InvalidConfig(_))), "{refused:?}");
    assert_eq!(other.server.sessions().count(), 0);

    let mut against = AgainstRaw::with_config(4, config);
    against.server = against.server.with_connection_id(&[7; 255]);
    against.establish();
    let idle = Connection::client(leak(config), key(), &mut world.rng, world.now).unwrap();
    let connection = std::mem::replace(&mut against.client.connection, idle);
    let len = connection.suspend(&seal(2), &mut image).map_err(|(_, error)| error).unwrap();
    against.client.connection = Connection::restore(leak(config), key(), &seal(2), &image[..len]).unwrap();
    against.assert_data_flows();
}

/// Whatever is wrong with an image, nothing comes of it.
#[test]
fn images_that_are_refused() {
    support::versions().for_each(|(_, config)| images_refused_of(config));
}

fn images_refused_of(config: Config<'static>) {
    let mut world = Small::with_config(6, config).with_usual(config);
    let client = world.established();
    let mut image = [0; MAX_IMAGE_LEN];
    let len = take_connection(&mut world, client)
        .suspend(&seal(5), &mut image)
        .map_err(|(_, error)| error)
        .unwrap();
    let image = &image[..len];
    let config = leak(config);
    let restore =
        |psk, seal: &ImageSeal<'_>, image: &[u8]| Connection::restore(config, psk, seal, image).err();
    for counter in [0, 4, 6, u64::MAX] {
        assert_eq!(restore(key(), &seal(counter), image), Some(Error::InvalidImage), "{counter}");
    }
    let other = ImageSeal { key: &OTHER_KEY, ..seal(5) };
    assert_eq!(restore(key(), &other, image), Some(Error::InvalidImage));
    for len in 0..image.len() {
        assert_eq!(restore(key(), &seal(5), &image[..len]), Some(Error::InvalidImage), "{len} bytes");
    }
    for bit in 0..8 * image.len() {
        let mut damaged = image.to_vec();
        damaged[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(restore(key(), &seal(5), &damaged), Some(Error::InvalidImage), "bit {bit}");
    }
    let longer = [image, &[0]].concat();
    assert_eq!(restore(key(), &seal(5), &longer), Some(Error::InvalidImage));
    assert_eq!(restore(key(), &seal(5), &[1; 5_000]), Some(Error::InvalidImage));
    // Another identity, or the same one with another key since.
    for (identity, key) in [(&b"other"[..], KEY), (IDENTITY, b"another")] {
        assert_eq!(restore(leak(psk(identity, key)), &seal(5), image), Some(Error::IdentityRevoked));
    }
    // A client's image is no server's.
    assert_eq!(world.server.restore(path(5), &seal(5), image, world.now), Err(Error::InvalidImage));
    // And the good one is good after all that.
    assert_eq!(restore(key(), &seal(5), image), None);
    let restored = Connection::restore(config, key(), &seal(5), image).unwrap();
    world.clients[client].connection = restored;
    world.assert_data_flows(client);
}

/// A checkpoint that a handshake message has outdated is none, and a side that sleeps then goes on behind all that it has sealed.
#[test]
#[cfg(feature = "dtls13")]
fn asleep_after_an_outdated_checkpoint() {
    let config = support::scene13::DTLS13;
    for server_sleeps in [false, true] {
        let mut world = Small::with_config(14, config).with_usual(config);
        let client = world.established();
        let mut image = [0; MAX_IMAGE_LEN];
        for _ in 0..5 {
            world.assert_data_flows(client);
        }
        if server_sleeps {
            world.server.checkpoint(&path(0), 10, &seal(1), &mut image).unwrap();
            world.clients[client].connection.update_keys(false).unwrap();
        } else {
            world.clients[client].connection.checkpoint(10, &seal(1), &mut image).unwrap();
            world.server.update_keys(&path(0), false).unwrap();
        }
        // Its ACK is what outdates the checkpoint.
        world.run_for(Duration::from_secs(5));
        if server_sleeps {
            assert_eq!(world.server.send(&path(0), b"x", &mut [0; 99]), Err(Error::CheckpointNeeded));
            let len = world.server.suspend(&path(0), &seal(2), &mut image).unwrap();
            world.server.restore(path(0), &seal(2), &image[..len], world.now).unwrap();
        } else {
            let refused = world.clients[client].connection.send(b"x", &mut [0; 99]);
            assert_eq!(refused, Err(Error::CheckpointNeeded));
            let connection = take_connection(&mut world, client);
            let len = connection.suspend(&seal(2), &mut image).map_err(|(_, error)| error).unwrap();
            let restored = Connection::restore(leak(config), key(), &seal(2), &image[..len]).unwrap();
            world.clients[client].connection = restored;
        }
        world.assert_data_flows(client);
    }
}

/// A session of DTLS 1.3 that is saved whenever it may be: with its Finished on the way, or a KeyUpdate, or a ticket to come.
#[test]
#[cfg(feature = "dtls13")]
fn saved_at_any_moment() {
    let config = support::scene13::DTLS13;
    for steps in 0..40 {
        for server_sleeps in [false, true] {
            let mut world = Small::with_config(12, config).with_usual(config);
            world.net.conditions.delay = 40..=40;
            let client = world.client();
            let updates = |world: &mut Small, step| {
                if step == 30 {
                    let _ = world.clients[client].connection.update_keys(true);
                }
            };
            for step in 0..steps {
                updates(&mut world, step);
                world.run_for(Duration::from_millis(10));
            }
            let mut image = [0; MAX_IMAGE_LEN];
            if server_sleeps {
                let Ok(len) = world.server.suspend(&path(0), &seal(1), &mut image) else { continue };
                world.server.restore(path(0), &seal(1), &image[..len], world.now).unwrap();
            } else {
                let Ok(len) = take_connection(&mut world, client).suspend(&seal(1), &mut image) else {
                    continue;
                };
                let restored = Connection::restore(leak(config), key(), &seal(1), &image[..len]).unwrap();
                world.clients[client].connection = restored;
            }
            world.run_for(Duration::from_secs(40));
            world.assert_data_flows(client);
            assert_eq!(world.clients[client].connection.poll_timeout(), None, "after {steps} steps");
            world.assert_agreement(client);
        }
    }
}

/// A server asks its key store before it saves and before it restores.
#[test]
fn revoked_identities_do_not_come_back() {
    let mut world = Small::new(7);
    let mut raw = RawClient::new(IDENTITY, KEY, 7);
    world.raw_handshake(path(0), &mut raw);
    let mut image = [0; MAX_IMAGE_LEN];
    let len = world.server.checkpoint(&path(0), 10, &seal(1), &mut image).unwrap();
    world.keys.take_out(IDENTITY);
    let restored = world.server.restore(path(1), &seal(1), &image[..len], world.now);
    assert_eq!(restored, Err(Error::IdentityRevoked));
    assert_eq!(world.server.suspend(&path(0), &seal(2), &mut image), Err(Error::IdentityRevoked));
    world.keys.add(psk(IDENTITY, b"a new key"));
    let restored = world.server.restore(path(1), &seal(1), &image[..len], world.now);
    assert!(restored.is_err());
    world.assert_raw_data_flows(path(0), &mut raw);
}

/// What cannot be done loses nothing.
#[test]
fn calls_that_fail_lose_nothing() {
    let mut world = Small::new(8);
    let client = world.client();
    let connection = take_connection(&mut world, client);
    let mut image = [0; MAX_IMAGE_LEN];
    let Err((connection, Error::NotConnected)) = connection.suspend(&seal(1), &mut image) else {
        panic!("there is no session yet")
    };
    world.clients[client].connection = connection;
    world.run_for(Duration::from_secs(1));
    world.assert_data_flows(client);
    let refused = world.clients[client].connection.checkpoint(u32::MAX, &seal(1), &mut image);
    assert_eq!(refused, Err(Error::SealLimitReached));

    let len = world.clients[client].connection.checkpoint(100, &seal(1), &mut image).unwrap();
    for short in 0..len {
        let refused = world.clients[client].connection.checkpoint(1, &seal(2), &mut image[..short]);
        assert_eq!(refused, Err(Error::BufferTooSmall { needed: MAX_IMAGE_LEN }), "{short} of {len} bytes");
        let refused = world.server.suspend(&path(0), &seal(2), &mut image[..short.min(100)]);
        assert_eq!(refused, Err(Error::BufferTooSmall { needed: MAX_IMAGE_LEN }));
        let connection = take_connection(&mut world, client);
        let Err((connection, _)) = connection.suspend(&seal(2), &mut image[..short]) else {
            panic!("{short}")
        };
        world.clients[client].connection = connection;
    }
    // The reserve is the one that was asked for first.
    for _ in 0..90 {
        world.clients[client].seal(b"still there");
    }
    world.assert_data_flows(client);
    assert_eq!(world.server.checkpoint(&path(9), 1, &seal(2), &mut image), Err(Error::NotConnected));
}

/// A checkpoint keeps numbers for the session, and whoever restores it goes on behind them.
#[test]
fn checkpoints() {
    let mut world = Small::new(9);
    let client = world.established();
    let mut image = [0; MAX_IMAGE_LEN];
    let first = number(&world.clients[client].seal(b"0"));
    let len = world.clients[client].connection.checkpoint(3, &seal(1), &mut image).unwrap();
    let image_1 = image[..len].to_vec();
    for at in 1..=3 {
        let datagram = world.clients[client].seal(b"within the reserve");
        assert_eq!(number(&datagram), first + at);
        world.hit(path(0), &datagram);
    }
    let mut buf = [0; 99];
    assert_eq!(world.clients[client].connection.send(b"x", &mut buf), Err(Error::CheckpointNeeded));
    // Receiving goes on, and so does sending after the next checkpoint.
    let datagram = world.seal(&path(0), b"to the client");
    let now = world.now;
    world.clients[client].hit(&datagram, now);
    assert_eq!(world.clients[client].log.last(), Some(&Note::Data(b"to the client".to_vec())));
    let len = world.clients[client].connection.checkpoint(3, &seal(2), &mut image).unwrap();
    assert_eq!(number(&world.clients[client].seal(b"again")), first + 4);

    // The power fails. The newest image goes on behind all that may have been sent.
    let newest = Connection::restore(leak(support::DTLS12), key(), &seal(2), &image[..len]).unwrap();
    assert_eq!(
        Connection::restore(leak(support::DTLS12), key(), &seal(2), &image_1).err(),
        Some(Error::InvalidImage)
    );
    world.clients[client].connection = newest;
    assert_eq!(number(&world.clients[client].seal(b"after the brown-out")), first + 7);
    world.assert_data_flows(client);
    // What is documented: what had arrived after the checkpoint may be replayed.
    let now = world.now;
    let mut raw_again = datagram.clone();
    assert_eq!(
        world.clients[client].connection.receive(&mut raw_again, now).count(),
        0,
        "it came before the checkpoint"
    );
}

/// The longest identity, connection ID and everything else make the longest image, and no byte more.
#[test]
#[cfg(all(feature = "connection-id", feature = "exporter", feature = "resumption"))]
fn the_longest_image() {
    let identity = vec![b'i'; 128];
    let cache = leak(dtls_psk::MemoryCache::<1>::new());
    let config = support::DTLS12.with_connection_id(8).with_resumption(cache);
    let mut world = World::<2, 2>::with_config(10, config);
    world.keys.add(psk(&identity, KEY));
    let mut raw = RawClient::new(&identity, KEY, 10).with_connection_id(&[9; 255]);
    world.raw_handshake(path(0), &mut raw);
    let mut image = [0; MAX_IMAGE_LEN];
    let len = world.server.suspend(&path(0), &seal(1), &mut image).unwrap();
    // One of DTLS 1.3 has other things to remember, and there is room for those of both.
    let both = if cfg!(feature = "dtls13") { 250 } else { 0 };
    assert!((MAX_IMAGE_LEN - both..=MAX_IMAGE_LEN).contains(&len), "{len} of {MAX_IMAGE_LEN}");
    world.server.restore(path(0), &seal(1), &image[..len], world.now).unwrap();
    world.assert_raw_data_flows(path(0), &mut raw);
    println!("{MAX_IMAGE_LEN} bytes at most");
}

/// The same in DTLS 1.3, with all that can be under way or to come.
#[test]
#[cfg(all(feature = "dtls13", feature = "connection-id", feature = "exporter", feature = "resumption"))]
fn the_longest_image_of_dtls13() {
    let identity: &'static [u8] = &[b'i'; 128];
    let cache = || leak(dtls_psk::MemoryCache::<1>::new());
    let config = support::scene13::DTLS13.with_connection_id(8);
    // A server that keeps no tickets: the client waits for one for ever.
    let mut world = Small::with_config(13, config);
    let keys = psk(identity, KEY);
    world.keys.add(keys);
    let client = world.client_with(config.with_resumption(cache()), keys, path(0));
    world.usual = config;
    let established = |world: &Small| world.clients[client].is_established();
    assert!(world.run_until(Duration::from_secs(5), established));
    // Its Finished is under way.
    let mut longest = 0;
    for _ in 0..2 {
        let mut image = [0; MAX_IMAGE_LEN];
        let connection = take_connection(&mut world, client);
        let len = connection.suspend(&seal(1), &mut image).map_err(|(_, error)| error).unwrap();
        let restored = Connection::restore(leak(config), leak(keys), &seal(1), &image[..len]).unwrap();
        world.clients[client].connection = restored;
        longest = longest.max(len);
        world.run_for(Duration::from_secs(5));
        // A spare connection ID of the server's, the next time.
        world.clients[client].connection.request_connection_id().unwrap();
        world.run_for(Duration::from_secs(5));
    }
    world.assert_data_flows(client);
    println!("{longest} of {MAX_IMAGE_LEN} bytes");
    assert!((500..=MAX_IMAGE_LEN).contains(&longest));
}

/// A restored session takes the place of another where there is none left, as a new one does.
#[test]
fn restoring_into_a_full_pool() {
    let mut world = World::<2, 2>::with_config(11, support::DTLS12.with_sessions_per_identity(2));
    let mut raws: Vec<_> = (0..3).map(|at| RawClient::new(IDENTITY, KEY, 20 + at)).collect();
    let mut image = [0; MAX_IMAGE_LEN];
    world.raw_handshake(path(0), &mut raws[0]);
    let len = world.server.suspend(&path(0), &seal(1), &mut image).unwrap();
    for at in [1, 2] {
        world.raw_handshake(path(at), &mut raws[at]);
        world.now = world.now + Duration::from_secs(1);
    }
    world.server.restore(path(0), &seal(1), &image[..len], world.now).unwrap();
    assert_eq!(world.server.stats().sessions_evicted, 1);
    world.assert_raw_data_flows(path(0), &mut raws[0]);
    world.assert_raw_data_flows(path(2), &mut raws[2]);
    assert_eq!(world.session_of(&path(1)), None);
    // And through the network, as any session.
    let bytes = raws[0].side.data(b"hello");
    let now = world.now;
    world.net.send(now, Packet { direction: Direction::ToServer, path: path(0), bytes });
    world.run_for(Duration::from_secs(1));
    assert_eq!(world.log.last(), Some(&(path(0), Note::Data(b"hello".to_vec()))));
}
