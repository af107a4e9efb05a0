//! How often a key may be used (RFC 9147 §4.5.3): events before, errors after, and no way to end a session by force.

mod support;

use dtls_psk::{CipherSuite, Config, Connection, Error, ImageSeal, KeyUsage, MAX_IMAGE_LEN};

use support::craft::*;
use support::raw::RawClient;
use support::world::{AgainstRaw, Note, Small, leak, path, psk};
use support::{IDENTITY, KEY};

const TEN: Config<'static> =
    Config::coap().with_versions(&[dtls_psk::ProtocolVersion::Dtls12]).with_ccm_8_forgery_limit(10);

/// A record for the session that nobody has sealed, each time another one.
fn forged(n: u64) -> Vec<u8> {
    record(APPLICATION_DATA, 1, 1_000 + n, &[n as u8; 30])
}

fn established(config: Config<'static>) -> (Small, RawClient) {
    let mut world = Small::with_config(1, config);
    let mut raw = RawClient::new(IDENTITY, KEY, 1);
    raw.hello.suites = config.suites().iter().map(|suite| suite.number()).chain([SCSV]).collect();
    world.raw_handshake(path(0), &mut raw);
    world.log.clear();
    (world, raw)
}

/// A flood of forged records is told of, twice, and ends nothing.
#[test]
fn forgeries_are_told_of() {
    let (mut world, mut raw) = established(TEN);
    for n in 1..=1_000 {
        world.hit(path(0), &forged(n));
        let expected = match n {
            5 => Some(Note::NearLimit(KeyUsage::Forgeries)),
            10 => Some(Note::LimitReached(KeyUsage::Forgeries)),
            _ => None,
        };
        assert_eq!(world.log.pop().map(|(_, note)| note), expected, "{n}");
    }
    assert_eq!(world.server.stats().forged, 1_000);
    world.assert_raw_data_flows(path(0), &mut raw);
}

/// What is no guess at the key does not count: replays, other epochs, records that are too short to be looked at.
#[test]
fn what_is_no_forgery() {
    let (mut world, mut raw) = established(TEN);
    let datagram = raw.side.data(b"once");
    world.hit(path(0), &datagram);
    world.log.clear();
    // Not even at the very number where it would be told of.
    for n in 100..105 {
        world.hit(path(0), &forged(n));
    }
    assert_eq!(world.log.pop(), Some((path(0), Note::NearLimit(KeyUsage::Forgeries))));
    for n in 0..100 {
        world.hit(path(0), &datagram);
        world.hit(path(0), &record(APPLICATION_DATA, 2, n, &[0; 30]));
        world.hit(path(0), &record(APPLICATION_DATA, 1, 5_000 + n, &[0; 15]));
        world.hit(path(1), &forged(n));
    }
    assert_eq!(world.log, []);
}

/// Where the configuration says so, the session ends at its limit, and says goodbye.
#[test]
fn a_session_that_ends_at_its_limit() {
    let (mut world, raw) = established(TEN.with_close_at_forgery_limit(true));
    for n in 1..10 {
        assert!(world.hit(path(0), &forged(n)).is_empty());
    }
    let answers = world.hit(path(0), &forged(10));
    assert_eq!(raw.side.open(&answers), [(ALERT, vec![1, 0])]);
    assert_eq!(world.log.pop(), Some((path(0), Note::Failed(Error::ForgeryLimitReached))));
    assert_eq!(world.server.sessions().count(), 0);

    let mut against = AgainstRaw::with_config(1, TEN.with_close_at_forgery_limit(true));
    against.establish();
    for n in 1..=10 {
        against.hit(&forged(n));
    }
    assert_eq!(against.client.log.last(), Some(&Note::Failed(Error::ForgeryLimitReached)));
    assert_eq!(against.client.connection.send(b"x", &mut [0; 99]), Err(Error::NotConnected));
}

/// CCM and GCM have limits of their own, far above what CCM_8 is configured for.
#[test]
fn other_algorithms_have_their_own() {
    for suite in support::suites12().filter(|suite| suite.tag_len() == 16) {
        let (mut world, mut raw) = established(TEN.with_suites(std::slice::from_ref(suite)));
        for n in 0..100 {
            world.hit(path(0), &forged(n));
        }
        assert_eq!(world.log, []);
        world.assert_raw_data_flows(path(0), &mut raw);
    }
}

/// A client whose key has sealed `records` records: a restored checkpoint goes on behind what it kept.
fn worn_out(world: &mut Small, client: usize, records: u64) {
    let seal = ImageSeal { key: &[1; 16], counter: records };
    let mut image = [0; MAX_IMAGE_LEN];
    let connection = &mut world.clients[client].connection;
    let sealed = 1;
    let len = connection.checkpoint((records - sealed) as u32, &seal, &mut image).unwrap();
    let (config, psk) =
        (leak(Config::coap().with_versions(&[dtls_psk::ProtocolVersion::Dtls12])), leak(psk(IDENTITY, KEY)));
    *connection = Connection::restore(config, psk, &seal, &image[..len]).unwrap();
}

/// Half of what a key may seal is told of once; at the limit sending ends, but for the goodbye, and receiving goes on.
#[test]
fn sealed_records_are_told_of() {
    for suite in support::suites12() {
        let limit = suite.aead().seal_limit();
        assert!((1 << 23..=1 << 25).contains(&limit), "{suite}");
    }
    let limit = CipherSuite::Aes128Ccm8.aead().seal_limit();
    let mut world = Small::with_config(2, Config::coap().with_versions(&[dtls_psk::ProtocolVersion::Dtls12]));
    let client = world.established();
    worn_out(&mut world, client, limit / 2 - 1);
    for told in [0, 1, 0] {
        let before = world.clients[client].log.len();
        let datagram = world.seal(&path(0), b"hello");
        let now = world.now;
        world.clients[client].hit(&datagram, now);
        let near = Note::NearLimit(KeyUsage::Seals);
        let news = world.clients[client].log[before..].iter().filter(|note| **note == near);
        assert_eq!(news.count(), told);
        world.clients[client].seal(b"one more");
    }

    let mut world = Small::with_config(3, Config::coap().with_versions(&[dtls_psk::ProtocolVersion::Dtls12]));
    let client = world.established();
    worn_out(&mut world, client, limit - 257 - 1);
    let datagram = world.clients[client].seal(b"the last but one");
    world.hit(path(0), &datagram);
    assert_eq!(world.log.pop(), Some((path(0), Note::Data(b"the last but one".to_vec()))));
    world.clients[client].seal(b"the last");
    let refused = world.clients[client].connection.send(b"x", &mut [0; 99]);
    assert_eq!(refused, Err(Error::SealLimitReached));
    let datagram = world.seal(&path(0), b"can you hear me?");
    let now = world.now;
    world.clients[client].hit(&datagram, now);
    assert!(world.clients[client].log.contains(&Note::Data(b"can you hear me?".to_vec())));
    world.clients[client].connection.close();
    let goodbye = world.clients[client].transmit();
    world.hit(path(0), &goodbye[0]);
    assert_eq!(world.log.last(), Some(&(path(0), Note::Closed)));
}
