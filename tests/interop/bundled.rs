//! The peers that `tests/peers` makes programs of: Mbed TLS, tinydtls and wolfSSL. All speak to the tests in the same way.

use std::{net::SocketAddr, path::PathBuf, process::Command, time::Duration};

use dtls_psk::{CipherSuite, Config, Error, MaxFragmentLength, MemoryCache, Psk};

use crate::{
    driver::{Client, Report, Server},
    matrix::works,
    openssl::{agreed, impatient, resumed},
    peers::{IDENTITY, KEY, Peer, hex},
    relay::{Relay, Weather},
    suite::{CCM_8, SUITES, Suite},
};

/// Keys of up to 16 bytes are all that tinydtls takes.
const SHORT_KEY: &str = "sixteen bytes ok";

pub struct Library {
    name: &'static str,
    key: &'static str,
    suites: &'static [Suite],
}

pub const MBEDTLS: Library = Library { name: "mbedtls", key: KEY, suites: &SUITES };
pub const WOLFSSL: Library = Library { name: "wolfssl", key: KEY, suites: &SUITES };
const TINYDTLS: Library = Library { name: "tinydtls", key: SHORT_KEY, suites: &[CCM_8] };
const ALL: [Library; 3] = [MBEDTLS, WOLFSSL, TINYDTLS];

impl Library {
    fn psk(&self) -> Psk<'static> {
        Psk::new(IDENTITY.as_bytes(), self.key.as_bytes()).unwrap()
    }

    fn program(&self) -> Command {
        // target/PROFILE/deps/interop-HASH
        let test = std::env::current_exe().unwrap();
        let target = test.ancestors().nth(3).unwrap();
        let program: PathBuf = target.join("peers").join(format!("peer-{}", self.name));
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

    fn server(&self, suite: Suite, arguments: &[&str]) -> (Peer, SocketAddr) {
        self.server_with_key(suite, (IDENTITY, self.key), arguments)
    }

    fn client(&self, server: SocketAddr, suite: Suite, arguments: &[&str]) -> Peer {
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
fn talk(client: &mut Client<'_>) {
    for line in [&b"ping"[..], b"ping again"] {
        client.send(line);
        assert_eq!(client.next(), Report::Data(line.to_ascii_uppercase()));
    }
}

#[test]
fn our_client_speaks_with_their_servers() {
    for library in ALL {
        for suite in library.suites {
            let (server, address) = library.server(*suite, &[]);
            let (suites, psk) = ([suite.ours], library.psk());
            let config = Config::default().with_suites(&suites);
            let mut client = Client::connect(address, &config, &psk).unwrap();
            assert_eq!(client.agreed(), agreed(*suite), "{}", library.name);
            talk(&mut client);
            client.close();
            server.wait_for("closed");
            works(library.name, "client", *suite, "handshake and data");
        }
    }
}

#[test]
fn their_clients_speak_with_our_server() {
    for library in ALL {
        for suite in library.suites {
            let server = Server::start(CipherSuite::ALL, library.psk());
            let mut client = library.client(server.address, *suite, &[]);
            assert_eq!(server.next(), Report::Established(agreed(*suite)), "{}", library.name);
            client.write(b"ping\n");
            assert_eq!(server.next(), Report::Data(b"ping".into()));
            client.wait_for("data PING");
            client.write(b"!close\n");
            assert_eq!(server.next(), Report::Closed);
            works(library.name, "server", *suite, "handshake and data");
        }
    }
}

#[test]
fn our_server_refuses_wrong_keys_and_identities() {
    for library in ALL {
        for (identity, key) in [(IDENTITY, "wrong"), ("stranger", library.key)] {
            let server = Server::start(CipherSuite::ALL, library.psk());
            let client = library.client_with_key(server.address, CCM_8, (identity, key), &[]);
            assert_eq!(server.next(), Report::Failed(Error::AuthenticationFailed), "{}", library.name);
            assert!(!client.has_said("established"));
            works(library.name, "server", CCM_8, "wrong key, unknown identity");
        }
    }
}

#[test]
fn our_client_gives_up_on_wrong_keys() {
    for library in ALL {
        let (server, address) = library.server_with_key(CCM_8, (IDENTITY, "wrong"), &[]);
        let (config, psk) = (impatient(), library.psk());
        assert!(Client::connect(address, &config, &psk).is_err(), "{}", library.name);
        assert!(!server.has_said("established"), "{}", server.shown());
        works(library.name, "client", CCM_8, "wrong key, unknown identity");
    }
}

/// Connection IDs (RFC 9146) in both directions, of several lengths, empty ones included.
#[test]
fn connection_ids_with_their_servers() {
    for library in [MBEDTLS, WOLFSSL] {
        for (own, theirs) in [(1, "aa"), (8, "0102030405060708090a0b0c0d0e0f10"), (0, "77"), (2, "")] {
            // What wolfSSL takes for empty is none at all.
            if theirs.is_empty() && library.name == "wolfssl" {
                continue;
            }
            let (server, address) = library.server(CCM_8, &["--cid", theirs]);
            let psk = library.psk();
            let config = Config::coap().with_connection_id(own);
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
            works(library.name, "client", CCM_8, "connection IDs, address change");
        }
    }
}

/// A client that changes its port in the middle of its session is found again. It does not know return routability checks,
/// so it goes by its old address, and gets three times what it sends.
#[test]
fn connection_ids_with_their_clients() {
    for library in [MBEDTLS, WOLFSSL] {
        for own in ["05", "0102030405060708090a0b0c"] {
            let server = Server::with_config(library.psk(), || Config::coap().with_connection_id(1));
            let mut client = library.client(server.address, CCM_8, &["--cid", own]);
            assert_eq!(server.next(), Report::Established(agreed(CCM_8)), "{}", library.name);
            client.wait_for("established");
            for (line, answer) in
                [(&b"one\n"[..], "data ONE"), (b"!rebind\ntwo\n", "data TWO"), (b"three\n", "data THREE")]
            {
                client.write(line);
                let last = line.split(|byte| *byte == b'\n').rev().nth(1).unwrap();
                assert_eq!(server.next(), Report::Data(last.into()), "{}", library.name);
                client.wait_for(answer);
            }
            works(library.name, "server", CCM_8, "connection IDs, address change");
        }
    }
}

/// Resumption by id, and with Mbed TLS by ticket.
#[test]
fn resumption_with_their_servers() {
    for (library, arguments) in
        [(MBEDTLS, ["--tickets", "0"]), (MBEDTLS, ["--tickets", "1"]), (WOLFSSL, ["--tickets", "0"])]
    {
        let (_server, address) = library.server(CCM_8, &arguments);
        let (cache, psk) = (MemoryCache::<1>::new(), library.psk());
        let config = Config::coap().with_resumption(&cache);
        for expected in [agreed(CCM_8), resumed(CCM_8), resumed(CCM_8)] {
            let mut client = Client::connect(address, &config, &psk).unwrap();
            assert_eq!(client.agreed(), expected, "{} {arguments:?}", library.name);
            talk(&mut client);
            client.close();
        }
        let by = if arguments[1] == "1" { "resumption by ticket" } else { "resumption by id" };
        works(library.name, "client", CCM_8, by);
    }
}

#[test]
fn resumption_with_their_clients() {
    for library in [MBEDTLS, WOLFSSL] {
        let server = Server::with_config(library.psk(), || {
            let cache: &'static MemoryCache<4> = Box::leak(Box::default());
            Config::coap().with_resumption(cache)
        });
        let mut client = library.client(server.address, CCM_8, &[]);
        assert_eq!(server.next(), Report::Established(agreed(CCM_8)));
        client.write(b"!again\n");
        assert_eq!(server.next(), Report::Closed);
        assert_eq!(server.next(), Report::Established(resumed(CCM_8)), "{}", library.name);
        client.write(b"ping\n");
        assert_eq!(server.next(), Report::Data(b"ping".into()));
        client.wait_for("data PING");
        works(library.name, "server", CCM_8, "resumption by id");
    }
}

/// `max_fragment_length` (RFC 6066 §4), asked for by either side.
#[test]
fn short_records() {
    for library in [MBEDTLS, WOLFSSL] {
        let (_server, address) = library.server(CCM_8, &[]);
        let psk = library.psk();
        let config = Config::coap().with_max_fragment_length(MaxFragmentLength::Bytes512);
        let mut client = Client::connect(address, &config, &psk).unwrap();
        assert_eq!(client.max_payload(), 512, "{}", library.name);
        client.send(&[b'x'; 512]);
        assert_eq!(client.next(), Report::Data(vec![b'X'; 512]));

        let server = Server::start(CipherSuite::ALL, library.psk());
        let mut client = library.client(server.address, CCM_8, &["--max-fragment", "1024"]);
        assert_eq!(server.next(), Report::Established(agreed(CCM_8)));
        client.write(b"ping\n");
        assert_eq!(server.next(), Report::Data(b"ping".into()));
        client.wait_for("data PING");
        works(library.name, "client", CCM_8, "max_fragment_length");
        works(library.name, "server", CCM_8, "max_fragment_length");
    }
}

/// The one peer that has one of these suites with X25519.
#[test]
#[cfg(feature = "x25519")]
fn forward_secrecy_with_wolfssl() {
    use crate::suite::ECDHE_GCM;
    let (_server, address) = WOLFSSL.server(ECDHE_GCM, &[]);
    let (config, psk) = (Config::default(), WOLFSSL.psk());
    let mut client = Client::connect(address, &config, &psk).unwrap();
    assert_eq!(client.agreed(), agreed(ECDHE_GCM));
    talk(&mut client);

    let server = Server::start(CipherSuite::ALL, psk);
    let mut client = WOLFSSL.client(server.address, ECDHE_GCM, &[]);
    assert_eq!(server.next(), Report::Established(agreed(ECDHE_GCM)));
    client.write(b"ping\n");
    assert_eq!(server.next(), Report::Data(b"ping".into()));
    client.wait_for("data PING");
    works("wolfssl", "client", ECDHE_GCM, "handshake and data");
    works("wolfssl", "server", ECDHE_GCM, "handshake and data");
}

/// A network that loses every fifth datagram, and doubles and swaps others.
#[test]
fn through_a_lossy_relay() {
    let weather = |seed| Weather { drop: 20, duplicate: 10, reorder: 10, seed };
    let quick = Duration::from_millis(300);
    for (seed, library) in (1..).zip([MBEDTLS, WOLFSSL]) {
        let (_server, address) = library.server(CCM_8, &[]);
        let relay = Relay::new(address, weather(seed));
        let psk = library.psk();
        let config = Config::coap().with_retransmission(quick, Duration::from_secs(2));
        let client = Client::connect(relay.address, &config, &psk);
        assert!(client.is_ok(), "{}", library.name);

        let server = Server::start(CipherSuite::ALL, library.psk());
        let relay = Relay::new(server.address, weather(seed + 10));
        let _client = library.client(relay.address, CCM_8, &[]);
        assert_eq!(server.next(), Report::Established(agreed(CCM_8)), "{}", library.name);
        works(library.name, "client", CCM_8, "20 % loss");
        works(library.name, "server", CCM_8, "20 % loss");
    }
}
