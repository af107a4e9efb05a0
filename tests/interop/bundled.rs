//! The peers that `tests/peers` makes programs of: Mbed TLS, tinydtls, wolfSSL and Bouncy Castle. All speak to the tests in
//! the same way.

use std::{net::SocketAddr, path::PathBuf, process::Command};

use dtls_psk::{CipherSuite, Config, Error, MaxFragmentLength, MemoryCache, Psk, PskKeyExchangeMode};

use crate::{
    driver::{Client, Report, Server},
    matrix::{self, tries},
    openssl::{agreed, impatient, resumed},
    peers::{IDENTITY, KEY, Peer, hex},
    relay::{FAIR, Relay},
    suite::{self, CCM, CCM_8, SUITES, SUITES13, Suite, WITH_ECDHE_GCM},
};

/// Keys of up to 16 bytes are all that tinydtls takes.
pub const SHORT_KEY: &str = "sixteen bytes ok";

pub struct Library {
    pub name: &'static str,
    pub key: &'static str,
    pub suites: &'static [Suite],
}

pub const MBEDTLS: Library = Library { name: "mbedtls", key: KEY, suites: &SUITES };
/// Of the ECDHE_PSK suites, it has the one with GCM.
pub const WOLFSSL: Library = Library { name: "wolfssl", key: KEY, suites: WITH_ECDHE_GCM };
pub const TINYDTLS: Library = Library { name: "tinydtls", key: SHORT_KEY, suites: &[CCM_8, CCM] };
/// The one peer that has all of the ECDHE_PSK suites.
pub const BOUNCY_CASTLE: Library = Library { name: "bouncycastle", key: KEY, suites: suite::ALL };
/// The same as a peer of DTLS 1.3.
pub const WOLFSSL13: Library = Library { name: "wolfssl13", key: KEY, suites: &SUITES13 };
/// One that repeats the client's session id, as servers of DTLS 1.3 must not.
pub const WOLFSSL13_ECHO: Library = Library { name: "wolfssl13-echo", ..WOLFSSL13 };
const ALL: [Library; 4] = [MBEDTLS, WOLFSSL, TINYDTLS, BOUNCY_CASTLE];

impl Library {
    pub fn psk(&self) -> Psk<'static> {
        Psk::new(IDENTITY.as_bytes(), self.key.as_bytes()).unwrap()
    }

    fn program(&self) -> Command {
        let program: PathBuf = matrix::folder().join(format!("peer-{}", self.name));
        assert!(program.is_file(), "{} is not there: `cargo xtask interop` builds it", program.display());
        Command::new(program)
    }

    fn with_key(&self, mode: &[&str], suite: Suite, key: (&str, &str), arguments: &[&str]) -> Peer {
        let mut command = self.program();
        command.args(mode).args(["--suite", suite.short, "--identity", key.0, "--key", &hex(key.1)]);
        Peer::spawn(command.args(arguments))
    }

    pub fn server_with_key(&self, suite: Suite, key: (&str, &str), arguments: &[&str]) -> (Peer, SocketAddr) {
        let peer = self.with_key(&["server"], suite, key, arguments);
        let line = peer.wait_for("ready ");
        let port: u16 = line.trim_start_matches("ready ").trim().parse().expect("its port");
        (peer, SocketAddr::from(([127, 0, 0, 1], port)))
    }

    pub fn server(&self, suite: Suite, arguments: &[&str]) -> (Peer, SocketAddr) {
        self.server_with_key(suite, (IDENTITY, self.key), arguments)
    }

    pub fn client(&self, server: SocketAddr, suite: Suite, arguments: &[&str]) -> Peer {
        self.client_with_key(server, suite, (IDENTITY, self.key), arguments)
    }

    pub fn client_with_key(
        &self,
        server: SocketAddr,
        suite: Suite,
        key: (&str, &str),
        arguments: &[&str],
    ) -> Peer {
        self.with_key(&["client", &server.port().to_string()], suite, key, arguments)
    }
}

/// Data both ways between our client and a peer's server.
pub fn talk(client: &mut Client<'_>) {
    for line in [&b"ping"[..], b"ping again"] {
        client.send(line);
        assert_eq!(client.next(), Report::Data(line.to_ascii_uppercase()));
    }
}

/// Data both ways between a peer's client and our server.
pub fn be_talked_to(client: &mut Peer, server: &Server) {
    client.write(b"ping\n");
    assert_eq!(server.next(), Report::Data(b"ping".into()));
    client.wait_for("data PING");
}

/// Each library with each of its suites.
pub fn each(libraries: &[Library], test: impl Fn(&Library, Suite)) {
    libraries.iter().for_each(|library| library.suites.iter().for_each(|suite| test(library, *suite)));
}

#[test]
fn our_client_speaks_with_their_servers() {
    each(&ALL, |library, suite| {
        let cell = tries(library.name, "client", suite, "handshake and data");
        let (server, address) = library.server(suite, &[]);
        let (suites, psk) = ([suite.ours], library.psk());
        let config = Config::default().with_suites(&suites);
        let mut client = Client::connect(address, &config, &psk).unwrap();
        assert_eq!(client.agreed(), agreed(suite), "{}", library.name);
        talk(&mut client);
        client.close();
        server.wait_for("closed");
        cell.works();
    });
}

/// The pre-shared key alone.
const ALONE: [PskKeyExchangeMode; 1] = [PskKeyExchangeMode::PskKe];

/// A client that offers both versions, to a server that has never heard of DTLS 1.3.
#[test]
fn our_client_offers_both_versions_to_their_servers() {
    each(&ALL, |library, suite| {
        let cell = tries(library.name, "client", suite, "offering DTLS 1.3 too");
        let (server, address) = library.server(suite, &[]);
        let suites = [SUITES13[0].ours, suite.ours];
        // tinydtls refuses whoever offers another group than its own, even where none is used.
        let modes = if library.name == TINYDTLS.name { &ALONE[..] } else { PskKeyExchangeMode::ALL };
        let config = Config::default().with_suites(&suites).with_key_exchange_modes(modes);
        let psk = library.psk();
        let mut client = Client::connect(address, &config, &psk).unwrap();
        assert_eq!(client.agreed(), agreed(suite), "{}", library.name);
        talk(&mut client);
        client.close();
        server.wait_for("closed");
        cell.works();
    });
}

#[test]
fn their_clients_speak_with_our_server() {
    each(&ALL, |library, suite| {
        let cell = tries(library.name, "server", suite, "handshake and data");
        let server = Server::start(CipherSuite::ALL, library.psk());
        let mut client = library.client(server.address, suite, &[]);
        assert_eq!(server.next(), Report::Established(agreed(suite)), "{}", library.name);
        be_talked_to(&mut client, &server);
        client.write(b"!close\n");
        assert_eq!(server.next(), Report::Closed);
        cell.works();
    });
}

#[test]
fn our_server_refuses_wrong_keys_and_identities() {
    each(&ALL, |library, suite| {
        let cell = tries(library.name, "server", suite, "wrong key, unknown identity");
        for (identity, key) in [(IDENTITY, "wrong"), ("stranger", library.key)] {
            let server = Server::start(CipherSuite::ALL, library.psk());
            let client = library.client_with_key(server.address, suite, (identity, key), &[]);
            assert_eq!(server.next(), Report::Failed(Error::AuthenticationFailed), "{}", library.name);
            assert!(!client.has_said("established"));
        }
        cell.works();
    });
}

#[test]
fn our_client_gives_up_on_wrong_keys_and_identities() {
    each(&ALL, |library, suite| {
        let cell = tries(library.name, "client", suite, "wrong key, unknown identity");
        for (identity, key) in [(IDENTITY, "wrong"), ("stranger", library.key)] {
            let (server, address) = library.server_with_key(suite, (identity, key), &[]);
            let (suites, psk) = ([suite.ours], library.psk());
            let config = impatient().with_suites(&suites);
            assert!(Client::connect(address, &config, &psk).is_err(), "{}", library.name);
            assert!(!server.has_said("established"), "{}", server.shown());
        }
        cell.works();
    });
}

/// Connection IDs (RFC 9146) in both directions, of several lengths, empty ones included.
#[test]
fn connection_ids_with_their_servers() {
    each(&[MBEDTLS, WOLFSSL], |library, suite| {
        let cell = tries(library.name, "client", suite, "connection IDs, new address");
        for (own, theirs) in [(1, "aa"), (8, "0102030405060708090a0b0c0d0e0f10"), (0, "77"), (2, "")] {
            // What wolfSSL takes for empty is none at all.
            if theirs.is_empty() && library.name == "wolfssl" {
                continue;
            }
            let (server, address) = library.server(suite, &["--cid", theirs]);
            let (suites, psk) = ([suite.ours], library.psk());
            let config = Config::default().with_suites(&suites).with_connection_id(own);
            let mut client = Client::connect(address, &config, &psk).unwrap();
            let (prefix, _) = client.overhead();
            assert_eq!(prefix, 21 + theirs.len() / 2, "{}", library.name);
            let said = server.wait_for("established");
            let id = said.split("cid=").nth(1).unwrap().split(' ').next().unwrap();
            assert_eq!(id.len(), 2 * usize::from(own), "{said}");
            talk(&mut client);
            // The server answers to where the newest record came from.
            client.rebind();
            talk(&mut client);
            client.close();
        }
        cell.works();
    });
}

/// A client that changes its port in the middle of its session is found again. It does not know return routability checks,
/// so it goes by its old address, and gets three times what it sends.
#[test]
fn connection_ids_with_their_clients() {
    each(&[MBEDTLS, WOLFSSL], |library, suite| {
        let cell = tries(library.name, "server", suite, "connection IDs, new address");
        for own in ["05", "0102030405060708090a0b0c"] {
            let server = Server::with_config(library.psk(), || Config::default().with_connection_id(1));
            let mut client = library.client(server.address, suite, &["--cid", own]);
            assert_eq!(server.next(), Report::Established(agreed(suite)), "{}", library.name);
            client.wait_for("established");
            for (line, answer) in
                [(&b"one\n"[..], "data ONE"), (b"!rebind\ntwo\n", "data TWO"), (b"three\n", "data THREE")]
            {
                client.write(line);
                let last = line.split(|byte| *byte == b'\n').rev().nth(1).unwrap();
                assert_eq!(server.next(), Report::Data(last.into()), "{}", library.name);
                client.wait_for(answer);
            }
        }
        cell.works();
    });
}

#[test]
fn resumption_with_their_servers() {
    for (by, tickets) in [("id", "0"), ("ticket", "1")] {
        each(&[MBEDTLS, WOLFSSL], |library, suite| {
            let cell = tries(library.name, "client", suite, &format!("resumption by {by}"));
            let (_server, address) = library.server(suite, &["--tickets", tickets]);
            let (cache, psk) = (MemoryCache::<1>::new(), library.psk());
            let suites = [suite.ours];
            let config = Config::default().with_suites(&suites).with_resumption(&cache);
            for expected in [agreed(suite), resumed(suite), resumed(suite)] {
                let relay = Relay::new(address, FAIR);
                let mut client = Client::connect(relay.address, &config, &psk).unwrap();
                assert_eq!(client.agreed(), expected, "{} by {by}", library.name);
                talk(&mut client);
                client.close();
                if expected.resumed {
                    relay.record().must_show_resumption_by(by);
                }
            }
            cell.works();
        });
    }
}

#[test]
fn resumption_with_their_clients() {
    each(&[MBEDTLS, WOLFSSL, BOUNCY_CASTLE], |library, suite| {
        let cell = tries(library.name, "server", suite, "resumption by id");
        let server = Server::with_config(library.psk(), || {
            let cache: &'static MemoryCache<4> = Box::leak(Box::default());
            Config::default().with_resumption(cache)
        });
        let mut client = library.client(server.address, suite, &[]);
        assert_eq!(server.next(), Report::Established(agreed(suite)));
        client.write(b"!again\n");
        assert_eq!(server.next(), Report::Closed);
        assert_eq!(server.next(), Report::Established(resumed(suite)), "{}", library.name);
        be_talked_to(&mut client, &server);
        cell.works();
    });
}

/// `max_fragment_length` (RFC 6066 §4), asked for by our client.
#[test]
fn short_records_with_their_servers() {
    each(&[MBEDTLS, WOLFSSL, BOUNCY_CASTLE], |library, suite| {
        let cell = tries(library.name, "client", suite, "max_fragment_length");
        let (_server, address) = library.server(suite, &[]);
        let (suites, psk) = ([suite.ours], library.psk());
        let config =
            Config::default().with_suites(&suites).with_max_fragment_length(MaxFragmentLength::Bytes512);
        let mut client = Client::connect(address, &config, &psk).unwrap();
        assert_eq!(client.max_payload(), 512, "{}", library.name);
        // Bouncy Castle reads datagrams into a buffer of the longest plaintext and a header, so a full record loses its end
        // (`DTLSRecordLayer.receive`).
        let len = if library.name == BOUNCY_CASTLE.name { 480 } else { 512 };
        client.send(&vec![b'x'; len]);
        assert_eq!(client.next(), Report::Data(vec![b'X'; len]));
        cell.works();
    });
}

/// The same, asked for by their clients.
#[test]
fn short_records_with_their_clients() {
    each(&[MBEDTLS, WOLFSSL, BOUNCY_CASTLE], |library, suite| {
        let cell = tries(library.name, "server", suite, "max_fragment_length");
        let server = Server::start(CipherSuite::ALL, library.psk());
        let mut client = library.client(server.address, suite, &["--max-fragment", "1024"]);
        assert_eq!(server.next(), Report::Established(agreed(suite)));
        be_talked_to(&mut client, &server);
        cell.works();
    });
}
