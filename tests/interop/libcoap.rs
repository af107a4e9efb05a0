//! libcoap, in its OpenSSL and its GnuTLS build. Its programs cannot be told a suite, so our side is.

use std::{net::SocketAddr, process::Command};

use crate::{
    matrix::works,
    ours,
    peers::{Ended, GOOD, IDENTITY, KEY, Peer, Scratch, free_ports, program},
    relay::{FAIR, Record, Relay, Weather},
    suite::{CCM_8, SUITES, Suite},
};

/// Which TLS library libcoap was built with.
#[derive(Clone, Copy, Debug)]
pub enum Build {
    OpenSsl,
    GnuTls,
}

pub const BUILDS: [Build; 2] = [Build::OpenSsl, Build::GnuTls];

impl Build {
    fn program(self, role: &str) -> Command {
        let mut command = program(&match self {
            Self::OpenSsl => format!("coap-{role}-openssl"),
            Self::GnuTls => format!("coap-{role}-gnutls"),
        });
        // The most verbose: it names the suite and, with GnuTLS, the version.
        command.args(["-v", "9"]);
        command
    }

    /// What our client makes of a server that cannot open its last flight: OpenSSL's falls silent, GnuTLS's says
    /// goodbye.
    fn refusal(self) -> &'static str {
        match self {
            Self::OpenSsl => "no answer after the key exchange",
            Self::GnuTls => "alert close_notify (0): are identity and key the same on both sides?",
        }
    }

    /// The lines that a verbose libcoap prints about what was agreed.
    pub fn agreed(self, suite: Suite) -> Vec<String> {
        match self {
            Self::OpenSsl => vec![format!("Using cipher: {}\n", suite.openssl)],
            Self::GnuTls => {
                vec![format!("Selected cipher suite: {}\n", suite.gnutls), "version: 254.253".into()]
            }
        }
    }
}

/// A running `coap-server`.
pub struct Server {
    pub peer: Peer,
    /// Where it speaks DTLS.
    pub address: SocketAddr,
}

/// Starts a server that holds the key for every identity, unless arguments say otherwise.
pub fn server(build: Build, arguments: &[&str]) -> Server {
    // The port after the plain one speaks DTLS.
    let port = free_ports(2);
    let address = SocketAddr::from(([127, 0, 0, 1], port + 1));
    let mut command = build.program("server");
    command.args(["-A", "127.0.0.1", "-p", &port.to_string()]);
    command.args(["-k", KEY]).args(arguments);
    let peer = Peer::spawn(&mut command);
    peer.wait_for(&format!("created DTLS endpoint {address}"));
    Server { peer, address }
}

/// Runs a client to its end and returns what it said and the payload that it got.
#[track_caller]
fn client(
    build: Build,
    server: SocketAddr,
    path: &str,
    key: (&str, &str),
    arguments: &[&str],
) -> (Ended, Option<Vec<u8>>) {
    let payload = Scratch::new("payload");
    let mut command = build.program("client");
    command.args(["-u", key.0, "-k", key.1, "-o", payload.path()]);
    // Given up after so many seconds.
    command.args(["-B", "20"]).args(arguments);
    let ended = Peer::spawn(command.arg(format!("coaps://{server}{path}"))).wait();
    (ended, payload.read())
}

#[test]
fn its_clients_speak_with_our_server() {
    for build in BUILDS {
        for suite in SUITES {
            let server = ours::server(&["--suite", suite.name]);
            let (put, _) = client(build, server.address, "/led", GOOD, &["-m", "put", "-e", "1"]);
            put.must_say("c:2.04");
            let (get, payload) = client(build, server.address, "/led", GOOD, &[]);
            get.must_say("c:2.05");
            assert_eq!(payload.as_deref(), Some(&b"1"[..]), "{build:?} {suite:?}: {get}");
            for line in build.agreed(suite) {
                put.must_say(&line);
                get.must_say(&line);
            }
            server.wait_for_session(suite);
            assert_eq!(server.peer.count(&ours::agreed(suite)), 2, "{}", server.peer.shown());
            works(&format!("libcoap ({build:?})"), "server", suite, "CoAP");
        }
    }
}

#[test]
fn our_client_speaks_with_its_servers() {
    for build in BUILDS {
        for suite in SUITES {
            // With and without an identity hint, and so a ServerKeyExchange.
            for hint in ["", "CoAP"] {
                let server = server(build, &["-h", hint]);
                let suited = ["--suite", suite.name];
                let put = ["--suite", suite.name, "-m", "put", "-e", "hello"];
                let put = ours::client(server.address, "/example_data", &put);
                assert!(put.status.success(), "{build:?} {suite:?}: {put}");
                let get = ours::client(server.address, "/example_data", &suited);
                assert!(get.status.success(), "{build:?} {suite:?}: {get}");
                assert_eq!(get.stdout.trim_ascii(), b"hello", "{get}");
                put.must_say(&ours::agreed(suite));
                get.must_say(&ours::agreed(suite));
                for line in build.agreed(suite) {
                    server.peer.wait_for(&line);
                }
                server.peer.wait_for(&format!("got psk_identity: '{IDENTITY}'"));
            }
            works(&format!("libcoap ({build:?})"), "client", suite, "CoAP");
        }
    }
}

/// What our server sends to a client that it refuses, retransmissions left out: content types and lengths.
fn refusal(build: Build, key: (&str, &str)) -> Vec<(u8, usize)> {
    let server = ours::server(&["--suite", CCM_8.name]);
    let relay = Relay::new(server.address, FAIR);
    let (ended, payload) = client(build, relay.address, "/led", key, &["-B", "8"]);
    assert_eq!(payload, None, "{build:?} {key:?}: {ended}");
    ended.must_not_say("session connected");
    // The alert decrypt_error, in the words of either TLS library.
    let alert = match build {
        Build::OpenSsl => "SSL3 alert read:fatal:decrypt error",
        Build::GnuTls => "Alert '51': Decrypt error",
    };
    ended.must_say(alert);
    assert!(!server.peer.has_said("established"), "{}", server.peer.shown());

    // It goes on serving whoever holds the key.
    let (ended, payload) = client(build, server.address, "/led", GOOD, &[]);
    assert!(payload.is_some(), "{build:?}: {ended}");

    let mut sent: Vec<_> = relay
        .record()
        .passed
        .into_iter()
        .filter(|datagram| !datagram.from_client)
        .map(|datagram| (datagram.bytes[0], datagram.bytes.len()))
        .collect();
    sent.dedup();
    sent
}

/// From outside, both look the same.
#[test]
fn our_server_refuses_wrong_keys_and_unknown_identities_alike() {
    for build in BUILDS {
        let wrong_key = refusal(build, (IDENTITY, "another_key_as_long!"));
        let unknown_identity = refusal(build, ("client2", KEY));
        assert_eq!(wrong_key, unknown_identity, "{build:?}");
    }
}

#[test]
fn our_client_gives_up_on_its_servers_with_a_wrong_key() {
    for build in BUILDS {
        let server = server(build, &[]);
        let get = ours::client_with((IDENTITY, "wrong"), server.address, "/time", &["-B", "8"]);
        assert!(!get.status.success(), "{build:?}: {get}");
        assert!(get.stdout.is_empty(), "{build:?}: {get}");
        get.must_not_say("established");
        get.must_say(build.refusal());
        assert!(!server.peer.has_said("session connected"), "{}", server.peer.shown());
    }
}

#[test]
fn our_client_gives_up_on_its_servers_with_an_unknown_identity() {
    // One identity is known; any other has the server's default key, which is not ours.
    let known = Scratch::with("identities", format!("CoAP,known,{KEY}\n"));
    for build in BUILDS {
        let server = server(build, &["-k", "for_everybody_else", "-i", known.path()]);
        let get = ours::client_with(("known", KEY), server.address, "/time", &[]);
        assert!(get.status.success(), "{build:?}: {get}");
        let get = ours::client_with(("unknown", KEY), server.address, "/time", &["-B", "8"]);
        assert!(!get.status.success(), "{build:?}: {get}");
        get.must_say(build.refusal());
    }
}

/// A network that loses, doubles and swaps datagrams, the same ones every time.
fn bad_weather(seed: u64) -> Weather {
    Weather { drop: 20, duplicate: 10, reorder: 10, seed }
}

/// Fails unless the weather was as bad as it was meant to be.
fn must_have_been_bad(records: &[Record]) {
    let total = |count: fn(&Record) -> usize| records.iter().map(count).sum::<usize>();
    assert!(total(|record| record.dropped) >= 5, "hardly anything was lost");
    assert!(total(|record| record.duplicated) >= 2, "hardly anything came twice");
    assert!(total(|record| record.reordered) >= 2, "hardly anything came late");
}

#[test]
fn its_client_reaches_our_server_in_bad_weather() {
    let records = [1, 2, 3, 4, 5].map(|seed| {
        let server = ours::server(&["--suite", CCM_8.name]);
        // One relay for both runs: to our server, the second is a client that lost its state and starts anew.
        let relay = Relay::new(server.address, bad_weather(seed));
        let put = ["-m", "put", "-e", "1", "-B", "50"];
        client(Build::OpenSsl, relay.address, "/led", GOOD, &put).0.must_say("c:2.04");
        let (get, payload) = client(Build::OpenSsl, relay.address, "/led", GOOD, &["-B", "50"]);
        assert_eq!(payload.as_deref(), Some(&b"1"[..]), "seed {seed}: {get}");
        relay.record()
    });
    must_have_been_bad(&records);
}

#[test]
fn our_client_reaches_its_server_in_bad_weather() {
    let records = [1, 2, 3, 4, 5].map(|seed| {
        let server = server(Build::OpenSsl, &[]);
        // A relay for each run, since libcoap's server takes no client anew at an address that has a session.
        let relays = [seed, 100 + seed].map(|seed| Relay::new(server.address, bad_weather(seed)));
        let put = ["-m", "put", "-e", "hello", "-B", "50"];
        let put = ours::client(relays[0].address, "/example_data", &put);
        assert!(put.status.success(), "seed {seed}: {put}");
        let get = ours::client(relays[1].address, "/example_data", &["-B", "50"]);
        assert_eq!(get.stdout.trim_ascii(), b"hello", "seed {seed}: {get}");
        relays.map(|relay| relay.record())
    });
    must_have_been_bad(records.as_flattened());
}
