//! How often a key may be used (RFC 9147 §4.5.3): events before, errors after, and no way to end a session by force.

mod support;

use dtls_psk::{CipherSuite, Config, Error, KeyUsage};

use support::craft::*;
use support::raw::RawClient;
use support::world::{AgainstRaw, Note, Small, path};
use support::{IDENTITY, KEY};

const TEN: Config<'static> = Config::coap().with_ccm_8_forgery_limit(10);

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
    for suite in CipherSuite::ALL.iter().filter(|suite| suite.tag_len() == 16) {
        let (mut world, mut raw) = established(TEN.with_suites(std::slice::from_ref(suite)));
        for n in 0..100 {
            world.hit(path(0), &forged(n));
        }
        assert_eq!(world.log, []);
        world.assert_raw_data_flows(path(0), &mut raw);
    }
}

#[test]
fn limits_of_sealing() {
    for suite in CipherSuite::ALL {
        let limit = suite.aead().seal_limit();
        assert!((1 << 23..=1 << 25).contains(&limit), "{suite}");
    }
}
