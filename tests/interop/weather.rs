//! Handshakes through a network that loses, doubles and swaps datagrams, with every peer in both roles.

use std::time::Duration;

use dtls_psk::{CipherSuite, Config};

use crate::{
    aiocoap,
    driver::{Client, Report, Server},
    libcoap::{self, BUILDS, Build},
    matrix::tries,
    openssl::agreed,
    ours,
    peers::GOOD,
    plain::{BOUNCY, GNUTLS, MBED, OPENSSL, Plain, TINY, WOLF},
    relay::{FAIR, Relay, Weather, bad, must_have_been_bad},
    suite::SUITES,
};

const FEATURE: &str = "loss, doubles, delays";

/// Our client comes to a session with a peer's server.
fn our_client_reaches(peer: &Plain) {
    let records = (1..).zip(peer.suites).map(|(seed, suite)| {
        let cell = tries(peer.name, "client", *suite, FEATURE);
        let server = (peer.server)(*suite, &[]);
        let relay = Relay::new(server.address, bad(seed));
        let (suites, psk) = ([suite.ours], peer.psk());
        let config = Config::default()
            .with_suites(&suites)
            .with_retransmission(Duration::from_millis(300), Duration::from_secs(2));
        let connected = Client::connect(relay.address, &config, &psk).map(|client| client.agreed());
        assert_eq!(connected, Ok(agreed(*suite)), "{}: {}", peer.name, server.peer.shown());
        cell.works();
        relay.record()
    });
    must_have_been_bad(&records.collect::<Vec<_>>());
}

/// A peer's client comes to a session with our server.
fn reaches_our_server(peer: &Plain) {
    let records = (11..).zip(peer.suites).map(|(seed, suite)| {
        let cell = tries(peer.name, "server", *suite, FEATURE);
        let server = Server::start(CipherSuite::ALL, peer.psk());
        let relay = Relay::new(server.address, bad(seed));
        let client = (peer.client)(relay.address, *suite, &[]);
        assert_eq!(server.next(), Report::Established(agreed(*suite)), "{}: {}", peer.name, client.shown());
        client.wait_for(peer.established);
        cell.works();
        relay.record()
    });
    must_have_been_bad(&records.collect::<Vec<_>>());
}

/// libcoap's clients GET from our server. Each request comes anew from the same relay: to our server, the second is a client
/// that lost its state.
fn libcoap_reaches_our_server(build: Build) {
    let records = (20..).zip(SUITES).map(|(seed, suite)| {
        let cell = tries(build.name(), "server", suite, FEATURE);
        let server = ours::server(&["--suite", suite.name]);
        let relay = Relay::new(server.address, bad(seed));
        let put = ["-m", "put", "-e", "1", "-B", "50"];
        libcoap::ask(build, relay.address, "/led", GOOD, &put).0.must_say("c:2.04");
        let (get, payload) = libcoap::ask(build, relay.address, "/led", GOOD, &["-B", "50"]);
        assert_eq!(payload.as_deref(), Some(&b"1"[..]), "seed {seed}: {get}");
        cell.works();
        relay.record()
    });
    must_have_been_bad(&records.collect::<Vec<_>>());
}

/// A relay for each request, since libcoap's server takes no client anew at an address that has a session.
fn our_client_reaches_libcoap(build: Build) {
    let records = (30..).zip(SUITES).flat_map(|(seed, suite)| {
        let cell = tries(build.name(), "client", suite, FEATURE);
        let server = libcoap::server(build, &[]);
        let relays = [seed, 100 + seed].map(|seed| Relay::new(server.address, bad(seed)));
        let put = ["--suite", suite.name, "-m", "put", "-e", "hello", "-B", "50"];
        let put = ours::client(relays[0].address, "/example_data", &put);
        assert!(put.status.success(), "seed {seed}: {put}");
        let get = ours::client(relays[1].address, "/example_data", &["--suite", suite.name, "-B", "50"]);
        assert_eq!(get.stdout.trim_ascii(), b"hello", "seed {seed}: {get}");
        cell.works();
        relays.map(|relay| relay.record())
    });
    must_have_been_bad(&records.collect::<Vec<_>>());
}

#[test]
fn with_libcoap() {
    for build in BUILDS {
        our_client_reaches_libcoap(build);
        libcoap_reaches_our_server(build);
    }
}

/// tinydtls's server never repeats its last flight: `dtls_handle_message` takes it out of the queue as soon as it has sent it,
/// and what the client repeats then finds no handshake. It answers a hello that comes twice with another random
/// (`handle_0_verified_client_hello`). So nothing of its own may be lost, and no hello may be doubled.
#[test]
fn with_tinydtls() {
    reaches_our_server(&TINY);

    let weather = |seed| Weather { duplicate: 0, ..bad(seed) };
    for (seed, suite) in (1..).zip(TINY.suites) {
        let server = (TINY.server)(*suite, &[]);
        let relay = Relay::lopsided(server.address, weather(seed), FAIR);
        let (suites, psk) = ([suite.ours], TINY.psk());
        let config = Config::default().with_suites(&suites);
        let connected = Client::connect(relay.address, &config, &psk).map(|client| client.agreed());
        assert_eq!(connected, Ok(agreed(*suite)), "{}", server.peer.shown());
        assert!(relay.record().dropped >= 1, "nothing was lost");
    }
}

/// Its client; its server is tinydtls's.
#[test]
fn with_aiocoap() {
    let records = (40..).zip(aiocoap::SUITES).map(|(seed, suite)| {
        let cell = tries(aiocoap::NAME, "server", suite, FEATURE);
        let server = ours::server_with(aiocoap::GOOD.1, &["--suite", suite.name]);
        let relay = Relay::new(server.address, bad(seed));
        let put = aiocoap::ask(relay.address, "/led", aiocoap::GOOD, &["-m", "PUT", "--payload", "1"]);
        assert!(put.status.success(), "{put}");
        cell.works();
        relay.record()
    });
    must_have_been_bad(&records.collect::<Vec<_>>());
}

macro_rules! with {
    ($($name:ident $peer:ident),*) => {$(
        #[test]
        fn $name() {
            our_client_reaches(&$peer);
            reaches_our_server(&$peer);
        }
    )*};
}

with!(with_openssl OPENSSL, with_gnutls GNUTLS, with_mbedtls MBED, with_wolfssl WOLF, with_bouncy_castle BOUNCY);
