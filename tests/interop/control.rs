//! The harness against itself: real peers among themselves, so that a failure elsewhere is known to be ours.

use crate::{
    libcoap::{self, Build},
    openssl,
    peers::{IDENTITY, KEY, Peer, Scratch},
    relay::{FAIR, Relay},
    suite::SUITES,
    tshark,
};

/// `s_client` asks libcoap's server for `/time` through a relay, and tshark reads all of it.
#[test]
fn the_judge_reads_a_session_of_other_peers() {
    for suite in SUITES {
        let server = libcoap::server(Build::OpenSsl, &[]);
        let relay = Relay::new(server.address, FAIR);
        let key_log = Scratch::new("keys.log");
        let mut client = Peer::spawn(openssl::s_client(relay.address, suite, IDENTITY, KEY).args([
            "-quiet",
            "-keylogfile",
            key_log.path(),
        ]));
        server.peer.wait_for("session connected");
        client.write(b"\x40\x01\x12\x34\xb4time");
        server.peer.wait_for(&format!("Using cipher: {}\n", suite.openssl));
        let answered = relay.wait_until(|record| {
            record.passed.iter().any(|datagram| !datagram.from_client && datagram.is_data())
        });
        let seen = tshark::judge(&answered.passed, &key_log);
        assert!(seen.iter().any(|seen| seen.suite == Some(suite.number)));
        assert!(seen.iter().any(|seen| seen.coap_path == "time"), "{seen:#?}");
        assert!(seen.iter().any(|seen| seen.coap_code == "69"), "{seen:#?}");
    }
}
