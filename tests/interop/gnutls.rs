//! GnuTLS's `gnutls-serv` and `gnutls-cli`: the server sends everything back, the client sends and prints plain lines.

use std::{net::SocketAddr, process::Command};

use dtls_psk::{CipherSuite, Config, Error, Psk};

use crate::{
    driver::{Client, Report, Server},
    openssl::{agreed, impatient, psk},
    peers::{IDENTITY, KEY, Peer, Scratch, free_ports, hex, program},
    suite::{CCM_8, GCM, SUITES, Suite},
};

/// One version and one suite.
fn priority(suite: Suite) -> String {
    format!(
        "--priority=NONE:+VERS-DTLS1.2:+PSK:+{}:+AEAD:+COMP-NULL:+SIGN-ALL:+GROUP-ALL",
        suite.gnutls_cipher
    )
}

/// A running `gnutls-serv`.
struct Serv {
    peer: Peer,
    address: SocketAddr,
    _keys: Scratch,
}

/// Starts a server that knows one identity.
fn serv(suite: Suite, identity: &str, key: &str) -> Serv {
    let port = free_ports(1);
    let keys = Scratch::with("keys", format!("{identity}:{}\n", hex(key)));
    let mut command = program("gnutls-serv");
    command.args(["--udp", "--echo", "--port", &port.to_string()]);
    command.args(["--pskpasswd", keys.path(), &priority(suite)]);
    // Its debug output names what was agreed.
    command.args(["--debug", "4"]);
    let peer = Peer::spawn(&mut command);
    peer.wait_for("listening on IPv4");
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    Serv { peer, address, _keys: keys }
}

fn cli(server: SocketAddr, suite: Suite, identity: &str, key: &str) -> Command {
    let mut command = program("gnutls-cli");
    command.args(["--udp", "--port", &server.port().to_string()]);
    command.args(["--pskusername", identity, "--pskkey", &hex(key)]);
    command.args([&priority(suite), "127.0.0.1"]);
    command
}

#[test]
fn our_client_speaks_with_gnutls_serv() {
    for suite in SUITES {
        let server = serv(suite, IDENTITY, KEY);
        let (config, psk) = (Config::default(), psk());
        let mut client = Client::connect(server.address, &config, &psk).unwrap();
        assert_eq!(client.agreed(), agreed(suite));
        server.peer.wait_for(&format!("Selected cipher suite: {}\n", suite.gnutls));
        server.peer.wait_for("Selected version DTLS1.2");
        for line in [&b"ping\n"[..], b"ping again\n"] {
            client.send(line);
            assert_eq!(client.next(), Report::Data(line.into()));
        }
        client.close();
    }
}

#[test]
fn gnutls_cli_speaks_with_our_server() {
    for suite in SUITES {
        let server = Server::start(CipherSuite::ALL, psk());
        let mut client = Peer::spawn(&mut cli(server.address, suite, IDENTITY, KEY));
        assert_eq!(server.next(), Report::Established(agreed(suite)));
        let cipher = suite.gnutls_cipher;
        client.wait_for(&format!("Description: (DTLS1.2-X.509)-(PSK)-({cipher})\n"));
        client.wait_for(&format!("PSK authentication. Connected as '{IDENTITY}'"));

        client.write(b"ping\n");
        assert_eq!(server.next(), Report::Data(b"ping\n".into()));
        client.wait_for("PING");
        client.close_input();
        assert_eq!(server.next(), Report::Closed);
    }
}

#[test]
fn our_server_refuses_gnutls_cli_with_a_wrong_key_or_identity() {
    for (identity, key) in [(IDENTITY, "wrong"), ("stranger", KEY)] {
        let server = Server::start(CipherSuite::ALL, psk());
        let client = Peer::spawn(&mut cli(server.address, CCM_8, identity, key));
        assert_eq!(server.next(), Report::Failed(Error::AuthenticationFailed));
        client.wait().must_say("[51]: Decrypt error").must_not_say("Handshake was completed");
    }
}

#[test]
fn our_client_gives_up_on_gnutls_serv_with_a_wrong_key_or_identity() {
    for (identity, key) in [(IDENTITY, "wrong"), ("stranger", KEY)] {
        let server = serv(CCM_8, IDENTITY, KEY);
        let (config, psk) = (impatient(), Psk::new(identity.as_bytes(), key.as_bytes()).unwrap());
        let error = Client::connect(server.address, &config, &psk).err();
        assert_eq!(error, Some(Error::NoAnswerToKeyExchange));
    }
}

/// `gnutls-serv` asks for its cookie back and then says nothing to a client whose suites it does not like.
#[test]
fn our_client_and_gnutls_serv_without_a_common_suite() {
    let server = serv(GCM, IDENTITY, KEY);
    let (config, psk) = (impatient().with_suites(&[CipherSuite::Aes128Ccm8]), psk());
    let error = Client::connect(server.address, &config, &psk).err();
    assert_eq!(error, Some(Error::HandshakeTimeout));
    server.peer.wait_for("No supported cipher suites have been found");
}

#[test]
fn gnutls_cli_and_our_server_without_a_common_suite() {
    let server = Server::start(&[CipherSuite::Aes128Ccm8], psk());
    let client = Peer::spawn(&mut cli(server.address, GCM, IDENTITY, KEY));
    assert_eq!(server.next(), Report::Failed(Error::NoCommonSuite));
    client.wait().must_say("[40]: Handshake failed").must_not_say("Handshake was completed");
}
