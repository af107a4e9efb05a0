//! GnuTLS's `gnutls-serv` and `gnutls-cli`: the server sends everything back, the client sends and prints plain lines.

use std::{net::SocketAddr, process::Command};

use dtls_psk::{CipherSuite, Config, Error, MaxFragmentLength, MemoryCache, Psk};

use crate::{
    driver::{Client, Report, Server},
    matrix::tries,
    openssl::{agreed, impatient, psk, resumed},
    peers::{IDENTITY, KEY, Peer, Scratch, free_ports, hex, program},
    plain::Running,
    suite::{CCM_8, GCM, SUITES, Suite},
};

/// One version and one suite.
pub fn priority(suite: Suite) -> String {
    format!(
        "--priority=NONE:+VERS-DTLS1.2:+PSK:+{}:+AEAD:+COMP-NULL:+SIGN-ALL:+GROUP-ALL",
        suite.gnutls_cipher
    )
}

/// Starts a server that knows one identity.
fn serv(suite: Suite, identity: &str, key: &str) -> Running {
    serv_with(suite, identity, key, &[])
}

/// The same with further arguments.
pub fn serv_with(suite: Suite, identity: &str, key: &str, arguments: &[&str]) -> Running {
    let port = free_ports(1);
    let keys = Scratch::with("keys", format!("{identity}:{}\n", hex(key)));
    let mut command = program("gnutls-serv");
    command.args(["--udp", "--echo", "--port", &port.to_string()]);
    command.args(["--pskpasswd", keys.path(), &priority(suite)]);
    // Its debug output names what was agreed.
    command.args(["--debug", "4"]).args(arguments);
    let peer = Peer::spawn(&mut command);
    peer.wait_for("listening on IPv4");
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    Running { peer, address, _keys: Some(keys) }
}

pub fn cli(server: SocketAddr, suite: Suite, identity: &str, key: &str) -> Command {
    let mut command = program("gnutls-cli");
    command.args(["--udp", "--port", &server.port().to_string()]);
    command.args(["--pskusername", identity, "--pskkey", &hex(key)]);
    command.args([&priority(suite), "127.0.0.1"]);
    command
}

#[test]
fn our_client_speaks_with_gnutls_serv() {
    for suite in SUITES {
        let cell = tries("gnutls", "client", suite, "handshake and data");
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
        cell.works();
    }
}

#[test]
fn gnutls_cli_speaks_with_our_server() {
    for suite in SUITES {
        let cell = tries("gnutls", "server", suite, "handshake and data");
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
        cell.works();
    }
}

/// Groups are for a suite that this side does not have: the other one is agreed on.
#[test]
fn gnutls_cli_has_other_suites_with_ephemeral_keys() {
    let server = Server::start(CipherSuite::ALL, psk());
    let mut command = cli(server.address, CCM_8, IDENTITY, KEY);
    // The last priority counts.
    command.arg("--priority=NONE:+VERS-DTLS1.2:+ECDHE-PSK:+PSK:+CHACHA20-POLY1305:+AES-128-CCM-8:+AEAD:+COMP-NULL:+SIGN-ALL:+GROUP-ALL");
    let mut client = Peer::spawn(&mut command);
    assert_eq!(server.next(), Report::Established(agreed(CCM_8)));
    client.wait_for("Description: (DTLS1.2-X.509)-(PSK)-(AES-128-CCM-8)\n");
    client.write(b"ping\n");
    assert_eq!(server.next(), Report::Data(b"ping\n".into()));
    client.wait_for("PING");
}

#[test]
fn our_server_refuses_gnutls_cli_with_a_wrong_key_or_identity() {
    for suite in SUITES {
        let cell = tries("gnutls", "server", suite, "wrong key, unknown identity");
        for (identity, key) in [(IDENTITY, "wrong"), ("stranger", KEY)] {
            let server = Server::start(CipherSuite::ALL, psk());
            let client = Peer::spawn(&mut cli(server.address, suite, identity, key));
            assert_eq!(server.next(), Report::Failed(Error::AuthenticationFailed));
            client.wait().must_say("[51]: Decrypt error").must_not_say("Handshake was completed");
        }
        cell.works();
    }
}

#[test]
fn our_client_gives_up_on_gnutls_serv_with_a_wrong_key_or_identity() {
    for suite in SUITES {
        let cell = tries("gnutls", "client", suite, "wrong key, unknown identity");
        for (identity, key) in [(IDENTITY, "wrong"), ("stranger", KEY)] {
            let server = serv(suite, IDENTITY, KEY);
            let (config, psk) = (impatient(), Psk::new(identity.as_bytes(), key.as_bytes()).unwrap());
            let error = Client::connect(server.address, &config, &psk).err();
            assert_eq!(error, Some(Error::NoAnswerToKeyExchange));
        }
        cell.works();
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

/// `gnutls-serv` keeps sessions by id where it gives no tickets. Those are 406 bytes long, which our client does not keep, so
/// its handshakes are full ones.
#[test]
fn our_client_resumes_with_gnutls_serv() {
    for (by, arguments) in [("ticket", &[][..]), ("id", &["--noticket"])] {
        let again = if by == "id" { resumed } else { agreed };
        for suite in SUITES {
            let cell = (by == "id").then(|| tries("gnutls", "client", suite, "resumption by id"));
            let server = serv_with(suite, IDENTITY, KEY, arguments);
            let cache = MemoryCache::<1>::new();
            let suites = [suite.ours];
            let config = Config::default().with_suites(&suites).with_resumption(&cache);
            let psk = psk();
            for expected in [agreed(suite), again(suite), again(suite)] {
                let mut client = Client::connect(server.address, &config, &psk).unwrap();
                assert_eq!(client.agreed(), expected, "by {by}");
                client.send(b"ping\n");
                assert_eq!(client.next(), Report::Data(b"ping\n".into()));
                client.close();
            }
            if let Some(cell) = cell {
                cell.works();
            }
        }
    }
}

/// `gnutls-cli --resume` connects, says goodbye and comes again.
#[test]
fn gnutls_cli_resumes_with_our_server() {
    for suite in SUITES {
        let cell = tries("gnutls", "server", suite, "resumption by id");
        let server = Server::with_config(psk(), || {
            let cache: &'static MemoryCache<4> = Box::leak(Box::default());
            Config::default().with_resumption(cache)
        });
        let mut client = Peer::spawn(cli(server.address, suite, IDENTITY, KEY).arg("--resume"));
        assert_eq!(server.next(), Report::Established(agreed(suite)));
        assert_eq!(server.next(), Report::Closed);
        assert_eq!(server.next(), Report::Established(resumed(suite)));
        client.wait_for("*** This is a resumed session");
        client.write(b"ping\n");
        assert_eq!(server.next(), Report::Data(b"ping\n".into()));
        client.wait_for("PING");
        cell.works();
    }
}

/// What goes to `gnutls-serv` in one record comes back in such as our side takes.
#[track_caller]
fn must_echo(client: &mut Client<'_>, length: usize) {
    client.send(&vec![b'x'; length]);
    let mut echoed = Vec::new();
    while echoed.len() < length {
        let Report::Data(piece) = client.next() else { panic!("data") };
        assert!(piece.len() <= 512);
        echoed.extend(piece);
    }
    assert_eq!(echoed, vec![b'x'; length]);
}

/// `record_size_limit` in both directions (RFC 8449), as GnuTLS counts it.
#[test]
fn record_sizes_with_gnutls_serv() {
    for suite in SUITES {
        let cell = tries("gnutls", "client", suite, "record_size_limit");
        let server = serv_with(suite, IDENTITY, KEY, &["--recordsize", "600"]);
        let (suites, psk) = ([suite.ours], psk());
        let config = Config::default().with_suites(&suites).with_record_size_limit(512);
        let mut client = Client::connect(server.address, &config, &psk).unwrap();
        assert_eq!(client.max_payload(), 600);
        must_echo(&mut client, 600);
        cell.works();
    }
}

/// `gnutls-cli` asks for `max_fragment_length` too, which is as if it had not (RFC 8449 §5).
#[test]
fn record_sizes_with_gnutls_cli() {
    for suite in SUITES {
        let cell = tries("gnutls", "server", suite, "record_size_limit");
        let server = Server::with_config(psk(), || Config::default().with_record_size_limit(512));
        let mut command = cli(server.address, suite, IDENTITY, KEY);
        let mut client = Peer::spawn(command.args(["--recordsize", "1024"]));
        assert_eq!(server.next(), Report::Established(agreed(suite)));
        // It cuts nothing that it sends: what is longer than our side takes stays with it.
        client.write(&[[b'y'; 512].as_slice(), b"\n"].concat());
        client.wait_for("The transmitted packet is too large");
        drop(client);

        let mut client = Peer::spawn(command.args(["--recordsize", "1024"]));
        assert_eq!(server.next(), Report::Established(agreed(suite)));
        client.write(&[[b'x'; 511].as_slice(), b"\n"].concat());
        let Report::Data(line) = server.next() else { panic!("data") };
        assert_eq!(line.len(), 512);
        client.wait_for("XXX");
        cell.works();
    }
}

/// `gnutls-serv` does what a client asks for.
#[test]
fn short_records_with_gnutls_serv() {
    for suite in SUITES {
        let cell = tries("gnutls", "client", suite, "max_fragment_length");
        let server = serv(suite, IDENTITY, KEY);
        let (suites, psk) = ([suite.ours], psk());
        let config =
            Config::default().with_suites(&suites).with_max_fragment_length(MaxFragmentLength::Bytes512);
        let mut client = Client::connect(server.address, &config, &psk).unwrap();
        assert_eq!(client.max_payload(), 512);
        must_echo(&mut client, 512);
        cell.works();
    }
}
