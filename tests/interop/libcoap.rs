//! libcoap, in its OpenSSL and its GnuTLS build. Its programs cannot be told a suite, so our side is.

use std::{net::SocketAddr, process::Command};

use dtls_psk::{Config, MemoryCache};

use crate::{
    driver::Client,
    matrix::tries,
    openssl::{agreed, psk, resumed},
    ours,
    peers::{Ended, GOOD, IDENTITY, KEY, Peer, Scratch, free_ports, program},
    relay::{FAIR, Relay},
    suite::{SUITES, Suite},
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

    /// In the table.
    pub fn name(self) -> &'static str {
        match self {
            Self::OpenSsl => "libcoap (OpenSSL)",
            Self::GnuTls => "libcoap (GnuTLS)",
        }
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
pub fn ask(
    build: Build,
    server: SocketAddr,
    path: &str,
    key: (&str, &str),
    arguments: &[&str],
) -> (Ended, Option<Vec<u8>>) {
    let payload = Scratch::new("payload");
    let ended = client(build, server, path, key, &[&["-o", payload.path()], arguments].concat()).wait();
    (ended, payload.read())
}

/// Starts a client.
pub fn client(build: Build, server: SocketAddr, path: &str, key: (&str, &str), arguments: &[&str]) -> Peer {
    let mut command = build.program("client");
    command.args(["-u", key.0, "-k", key.1]);
    // Given up after so many seconds.
    command.args(["-B", "20"]).args(arguments);
    Peer::spawn(command.arg(format!("coaps://{server}{path}")))
}

#[test]
fn its_clients_speak_with_our_server() {
    for build in BUILDS {
        for suite in SUITES {
            let cell = tries(build.name(), "server", suite, "handshake and data");
            let server = ours::server(&["--suite", suite.name]);
            let (put, _) = ask(build, server.address, "/led", GOOD, &["-m", "put", "-e", "1"]);
            put.must_say("c:2.04");
            let (get, payload) = ask(build, server.address, "/led", GOOD, &[]);
            get.must_say("c:2.05");
            assert_eq!(payload.as_deref(), Some(&b"1"[..]), "{build:?} {suite:?}: {get}");
            for line in build.agreed(suite) {
                put.must_say(&line);
                get.must_say(&line);
            }
            server.peer.wait_for_count(&ours::agreed(suite), 2);
            cell.works();
        }
    }
}

#[test]
fn our_client_speaks_with_its_servers() {
    for build in BUILDS {
        for suite in SUITES {
            let cell = tries(build.name(), "client", suite, "handshake and data");
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
            cell.works();
        }
    }
}

/// What our server sends to a client that it refuses, retransmissions left out: content types and lengths.
fn refusal(build: Build, suite: Suite, key: (&str, &str)) -> Vec<(u8, usize)> {
    let server = ours::server(&["--suite", suite.name]);
    let relay = Relay::new(server.address, FAIR);
    let (ended, payload) = ask(build, relay.address, "/led", key, &["-B", "8"]);
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
    let (ended, payload) = ask(build, server.address, "/led", GOOD, &[]);
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
        for suite in SUITES {
            let cell = tries(build.name(), "server", suite, "wrong key, unknown identity");
            let wrong_key = refusal(build, suite, (IDENTITY, "another_key_as_long!"));
            let unknown_identity = refusal(build, suite, ("client2", KEY));
            assert_eq!(wrong_key, unknown_identity, "{build:?} {suite:?}");
            cell.works();
        }
    }
}

/// One identity is known; any other has the server's default key, which is not ours.
#[test]
fn our_client_gives_up_on_its_servers_with_a_wrong_key_or_identity() {
    let known = Scratch::with("identities", format!("CoAP,known,{KEY}\n"));
    for build in BUILDS {
        for suite in SUITES {
            let cell = tries(build.name(), "client", suite, "wrong key, unknown identity");
            let server = server(build, &["-k", "for_everybody_else", "-i", known.path()]);
            for key in [("known", "wrong"), ("unknown", KEY)] {
                let patience = ["-B", "8", "--suite", suite.name];
                let get = ours::client_with(key, server.address, "/time", &patience);
                assert!(!get.status.success(), "{build:?}: {get}");
                assert!(get.stdout.is_empty(), "{build:?}: {get}");
                get.must_not_say("established");
                get.must_say(build.refusal());
                assert!(!server.peer.has_said("session connected"), "{}", server.peer.shown());
            }
            let get = ours::client_with(("known", KEY), server.address, "/time", &["--suite", suite.name]);
            assert!(get.status.success(), "{build:?}: {get}");
            cell.works();
        }
    }
}

/// By ticket, which nothing but OpenSSL's own configuration could turn off. With GnuTLS, its server resumes nothing.
#[test]
fn our_client_resumes_with_its_server() {
    for suite in SUITES {
        let build = Build::OpenSsl;
        let cell = tries(build.name(), "client", suite, "resumption by ticket");
        let server = server(build, &[]);
        let cache = MemoryCache::<1>::new();
        let (suites, psk) = ([suite.ours], psk());
        let config = Config::default().with_suites(&suites).with_resumption(&cache);
        for expected in [agreed(suite), resumed(suite), resumed(suite)] {
            let relay = Relay::new(server.address, FAIR);
            let client = Client::connect(relay.address, &config, &psk).unwrap();
            assert_eq!(client.agreed(), expected, "{}", server.peer.shown());
            if expected.resumed {
                relay.record().must_show_resumption_by("ticket");
            }
            client.close();
        }
        cell.works();
    }
}
