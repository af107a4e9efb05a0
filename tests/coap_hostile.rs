//! A hostile client with a session: whatever it sends, the server goes on, and serves the next one.
#![cfg(feature = "coap")]

use proptest::prelude::*;

#[path = "support/coap_hostile.rs"]
mod hostile;
#[path = "support/coap_peer.rs"]
mod peer;
#[path = "support/coap.rs"]
mod support;

use hostile::{Random, attack};

/// Messages that nearly make sense, changes, answers and pauses in any order.
#[test]
fn messages_that_nearly_make_sense() {
    let (mut requests, mut notifications, mut refused, mut overloaded, mut denied) = (0, 0, 0, 0, 0);
    for seed in 0..3_000 {
        let script = Random::new(seed).script(300);
        let counters = attack(&script);
        requests += counters.requests;
        notifications += counters.notifications;
        refused += counters.refused;
        overloaded += counters.overloaded;
        denied += counters.denied;
    }
    let all = [requests, notifications, refused, overloaded, denied];
    assert!(all.iter().all(|count| *count > 300), "{all:?}");
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 500,
        failure_persistence: None,
        rng_seed: proptest::test_runner::RngSeed::Fixed(7252),
        ..ProptestConfig::default()
    })]

    /// Any bytes at all.
    #[test]
    fn any_script(script in proptest::collection::vec(any::<u8>(), 0..600)) {
        attack(&script);
    }
}
