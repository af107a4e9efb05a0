//! Replays the kept corpus without a fuzzer, and checks that it reaches what it is there for.
//!
//! `cargo test`, in `fuzz/`: any toolchain will do.

use std::collections::BTreeMap;
use std::path::Path;

use dtls_psk::CipherSuite;
use dtls_psk_fuzz::world::{Outcome, Victim};
use dtls_psk_fuzz::{seeds, world};

/// The files of one target, by name.
fn corpus(target: &str) -> BTreeMap<String, Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
    let files = std::fs::read_dir(folder).unwrap().map(|file| {
        let file = file.unwrap();
        (file.file_name().into_string().unwrap(), std::fs::read(file.path()).unwrap())
    });
    files.collect()
}

#[test]
fn holds_every_seed() {
    for (target, name, bytes) in seeds::all() {
        assert_eq!(corpus(target).get(&name), Some(&bytes), "{target}/{name}: `cargo run --example seeds`");
    }
}

#[test]
#[cfg(fuzzing)]
fn record() {
    corpus("record").values().for_each(|bytes| dtls_psk_fuzz::record::run(bytes));
}

#[test]
#[cfg(fuzzing)]
fn handshake() {
    corpus("handshake").values().for_each(|bytes| dtls_psk_fuzz::handshake::run(bytes));
}

#[test]
fn server() {
    replay("server", Victim::Server);
}

#[test]
fn client() {
    replay("client", Victim::Client);
}

#[test]
fn coap() {
    let counters = corpus("coap").into_values().map(|bytes| dtls_psk_fuzz::coap::hostile::attack(&bytes));
    let (mut requests, mut notifications, mut refused) = (0, 0, 0);
    for counters in counters {
        requests += counters.requests;
        notifications += counters.notifications;
        refused += counters.refused;
    }
    assert!(requests > 200 && notifications >= 20 && refused > 20, "{requests} {notifications} {refused}");
}

/// Every file keeps what the world must always keep. Together they bring every suite to established sessions with data
/// both ways, under the real ciphers, and each that is called good does so by itself.
fn replay(target: &str, victim: Victim) {
    let mut established: Vec<CipherSuite> = Vec::new();
    let (mut all_resumed, mut all_failed, mut all_insiders) = (0, 0, 0);
    for (name, bytes) in corpus(target) {
        println!("{target}/{name}");
        let Outcome {
            server_established,
            client_established,
            resumed,
            to_server,
            to_client,
            failed,
            insiders,
        } = world::run(victim, &bytes);
        if name.starts_with("good") {
            assert!(!server_established.is_empty() && !client_established.is_empty(), "{name}");
            assert!(to_server > 0 && to_client > 0, "{name}");
            established.extend(server_established.iter().filter(|suite| client_established.contains(suite)));
        }
        assert!(resumed > 0 || !name.contains("resumed"), "{name}");
        assert!(insiders > 0 || !name.starts_with("insider13"), "{name}");
        all_resumed += resumed;
        all_failed += failed;
        all_insiders += insiders;
    }
    // Where every suite may be, the first of its version is chosen; the plain ones are chosen by some scripts.
    let is_first = |suite: &CipherSuite| {
        let of_version = |other: &&CipherSuite| other.version() == suite.version();
        CipherSuite::ALL.iter().find(of_version) == Some(suite)
    };
    let chosen = |suite: &&CipherSuite| is_first(suite) || !suite.has_forward_secrecy();
    for suite in CipherSuite::ALL.iter().filter(chosen) {
        assert!(established.contains(suite), "{suite}");
    }
    assert!(all_resumed > 0 && all_insiders > 0, "nobody goes on");
    assert!(all_failed > 0, "not everybody fails to fail");
}
