//! What the fuzz targets found in both versions.

mod support;

use std::time::Duration;

use dtls_psk::Config;
use support::world::{Small, path, psk};
use support::{IDENTITY, KEY};

/// Without cookies, a flight may be longer than what may go to a client that has not answered yet. It goes on where it had to stop
/// when the client says hello again.
#[test]
#[cfg(feature = "dtls12")]
fn a_flight_that_is_too_long_for_a_stranger() {
    const HINT: &[u8] = &[b'h'; 128];
    let client = support::DTLS12.with_suites(&[dtls_psk::CipherSuite::Aes128Ccm8]);
    for mtu in [Config::MIN_MTU, 150, 1232] {
        let config = client.with_identity_hint(HINT).with_cookie_exchange(false).with_mtu(mtu);
        let mut world = Small::with_config(1, config);
        let client = world.client_with(client, psk(IDENTITY, KEY), path(0));
        world.run_for(Duration::from_secs(5));
        assert!(world.clients[client].is_established(), "MTU {mtu}");
        world.assert_data_flows(client);
    }
}

/// DTLS 1.2 has one key for a handshake, the first of several. It resumes no session of another, which would go by the wrong identity.
#[test]
#[cfg(all(feature = "dtls12", feature = "resumption"))]
fn a_session_of_another_key_is_not_resumed() {
    use dtls_psk::MemoryCache;
    use support::world::leak;
    let (ours, theirs) = (leak(MemoryCache::<1>::new()), leak(MemoryCache::<4>::new()));
    let mut world = Small::with_config(1, support::DTLS12.with_resumption(theirs));
    world.keys.add(psk(b"of next year", b"another key"));
    let old = leak(psk(IDENTITY, KEY));
    let new = psk(b"of next year", b"another key").or(old);
    for (number, psk) in [*old, new, new].into_iter().enumerate() {
        let client = world.client_with(support::DTLS12.with_resumption(ours), psk, path(number));
        world.run_for(Duration::from_secs(5));
        world.assert_agreement(client);
        let peer = world.clients[client].connection.peer().unwrap();
        assert_eq!((peer.identity, peer.resumed), (psk.identity(), number == 2));
    }
}
