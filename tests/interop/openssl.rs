//! OpenSSL's `s_server` and `s_client`, which send and print plain lines.

use std::{net::SocketAddr, process::Command, time::Duration};

use dtls_psk::{AlertDescription, CipherSuite, Config, Error, MaxFragmentLength, MemoryCache, Psk};

use crate::{
    driver::{Agreed, Client, Report, Server},
    matrix::tries,
    peers::{Ended, IDENTITY, KEY, Peer, Scratch, free_ports, hex, program},
    relay::{FAIR, Relay},
    suite::{CCM_8, GCM, SUITES, Suite},
};

/// Our identity and key.
pub fn psk() -> Psk<'static> {
    Psk::new(IDENTITY.as_bytes(), KEY.as_bytes()).unwrap()
}

/// A client's patience with a server that falls silent.
pub fn impatient() -> Config<'static> {
    Config::default().with_handshake_timeout(Duration::from_secs(4))
}

/// `s_client` with one suite.
pub fn s_client(server: SocketAddr, suite: Suite, identity: &str, key: &str) -> Command {
    let mut command = program("openssl");
    command.args(["s_client", "-dtls1_2", "-connect", &server.to_string()]);
    command.args(["-psk_identity", identity, "-psk", &hex(key)]);
    command.args(["-cipher", suite.openssl]);
    command
}

/// Starts `s_server` with one suite, an identity that it expects, and the key that it uses for every identity.
fn s_server(suite: Suite, identity: &str, key: &str) -> (Peer, SocketAddr) {
    s_server_with(suite, identity, key, &[])
}

/// The same with further arguments.
pub fn s_server_with(suite: Suite, identity: &str, key: &str, arguments: &[&str]) -> (Peer, SocketAddr) {
    s_server_but(suite, identity, key, |command| command.args(arguments))
}

/// The same with its command changed.
pub fn s_server_but(
    suite: Suite,
    identity: &str,
    key: &str,
    change: impl FnOnce(&mut Command) -> &mut Command,
) -> (Peer, SocketAddr) {
    let address = SocketAddr::from(([127, 0, 0, 1], free_ports(1)));
    let mut command = program("openssl");
    command.args(["s_server", "-dtls1_2", "-accept", &address.to_string()]);
    command.args(["-nocert", "-psk_identity", identity, "-psk", &hex(key)]);
    command.args(["-cipher", suite.openssl]);
    let peer = Peer::spawn(change(&mut command));
    peer.wait_for("ACCEPT");
    (peer, address)
}

/// What `s_server` prints about its session, in plain text.
fn session(server: &Peer) -> Ended {
    let end = server.wait_for("-----END SSL SESSION PARAMETERS-----");
    let said = server.shown();
    let from = said.find("-----BEGIN SSL SESSION PARAMETERS-----").unwrap();
    let to = said.find(&end).unwrap() + end.len();
    let session = Scratch::with("session.pem", &said[from..to]);
    let mut command = program("openssl");
    command.args(["sess_id", "-noout", "-text", "-in", session.path()]);
    Peer::spawn(&mut command).wait()
}

/// What both sides must have agreed on.
pub fn agreed(suite: Suite) -> Agreed {
    Agreed { version: suite.ours.version(), suite: suite.ours, identity: IDENTITY.into(), resumed: false }
}

#[test]
fn our_client_speaks_with_s_server() {
    for suite in SUITES {
        let cell = tries("openssl", "client", suite, "handshake and data");
        let (mut server, address) = s_server(suite, IDENTITY, KEY);
        // All suites are offered: the server has one of them.
        let (config, psk) = (Config::default(), psk());
        let mut client = Client::connect(address, &config, &psk).unwrap();
        assert_eq!(client.agreed(), agreed(suite));
        server.wait_for(&format!("CIPHER is {}\n", suite.openssl));
        session(&server)
            .must_say("Protocol  : DTLSv1.2\n")
            .must_say(&format!("Cipher    : {}\n", suite.openssl))
            .must_say("Extended master secret: yes");

        client.send(b"ping\n");
        server.wait_for("ping");
        server.write(b"pong\n");
        assert_eq!(client.next(), Report::Data(b"pong\n".into()));
        client.send(b"ping again\n");
        server.wait_for("ping again");
        client.close();
        // Said on close_notify.
        server.wait_for("DONE");
        cell.works();
    }
}

/// RFC 5705, as OpenSSL computes it.
#[test]
fn our_client_exports_what_s_server_exports() {
    let label = "EXPORTER-of-a-test";
    let arguments = ["-keymatexport", label, "-keymatexportlen", "32"];
    let (server, address) = s_server_with(CCM_8, IDENTITY, KEY, &arguments);
    let (config, psk) = (Config::default(), psk());
    let client = Client::connect(address, &config, &psk).unwrap();
    let material: String = client.export(label).iter().map(|byte| format!("{byte:02X}")).collect();
    server.wait_for(&format!("Keying material: {material}"));
}

/// Groups and point formats are for a suite that this side does not have: the other one is agreed on, and goes without.
#[test]
fn s_client_has_other_suites_with_ephemeral_keys() {
    let server = Server::start(CipherSuite::ALL, psk());
    let suite =
        Suite { openssl: "ECDHE-PSK-CHACHA20-POLY1305:ECDHE-PSK-AES128-CBC-SHA256:PSK-AES128-CCM8", ..CCM_8 };
    let mut client = Peer::spawn(s_client(server.address, suite, IDENTITY, KEY).arg("-msg"));
    assert_eq!(server.next(), Report::Established(agreed(CCM_8)));
    client.wait_for("Cipher is PSK-AES128-CCM8");
    client.write(b"ping\n");
    assert_eq!(server.next(), Report::Data(b"ping\n".into()));
    client.wait_for("PING");
}

#[test]
fn s_client_speaks_with_our_server() {
    for suite in SUITES {
        let cell = tries("openssl", "server", suite, "handshake and data");
        let server = Server::start(CipherSuite::ALL, psk());
        let mut client = Peer::spawn(s_client(server.address, suite, IDENTITY, KEY).arg("-brief"));
        assert_eq!(server.next(), Report::Established(agreed(suite)));
        client.wait_for("Protocol version: DTLSv1.2");
        client.wait_for(&format!("Ciphersuite: {}\n", suite.openssl));

        client.write(b"ping\n");
        assert_eq!(server.next(), Report::Data(b"ping\n".into()));
        client.wait_for("PING");
        client.write(b"Q\n");
        assert_eq!(server.next(), Report::Closed);
        cell.works();
    }
}

#[test]
fn our_server_refuses_s_client_with_a_wrong_key_or_identity() {
    for suite in SUITES {
        let cell = tries("openssl", "server", suite, "wrong key, unknown identity");
        for (identity, key) in [(IDENTITY, "wrong"), ("stranger", KEY)] {
            let server = Server::start(CipherSuite::ALL, psk());
            let client = Peer::spawn(s_client(server.address, suite, identity, key).arg("-brief"));
            // Its second flight, a second after the first, is answered.
            assert_eq!(server.next(), Report::Failed(Error::AuthenticationFailed));
            client.wait().must_say("alert decrypt error").must_not_say("ESTABLISHED");
        }
        cell.works();
    }
}

/// `s_server` has one key for every identity.
#[test]
fn our_client_gives_up_on_s_server_with_a_wrong_key() {
    for suite in SUITES {
        let cell = tries("openssl", "client", suite, "wrong key, unknown identity");
        let (server, address) = s_server(suite, IDENTITY, "wrong");
        let (config, psk) = (impatient(), psk());
        let error = Client::connect(address, &config, &psk).err();
        assert_eq!(error, Some(Error::NoAnswerToKeyExchange));
        assert!(!server.has_said("CIPHER is"), "{}", server.shown());
        cell.works();
    }
}

#[test]
fn our_client_and_s_server_without_a_common_suite() {
    let (server, address) = s_server(GCM, IDENTITY, KEY);
    let (config, psk) = (Config::coap(), psk());
    let error = Client::connect(address, &config, &psk).err();
    assert_eq!(error, Some(Error::AlertReceived(AlertDescription::HANDSHAKE_FAILURE)));
    server.wait_for("no shared cipher");
}

#[test]
fn s_client_and_our_server_without_a_common_suite() {
    let server = Server::start(&[dtls_psk::CipherSuite::Aes128Ccm8], psk());
    let client = Peer::spawn(s_client(server.address, GCM, IDENTITY, KEY).arg("-brief"));
    assert_eq!(server.next(), Report::Failed(Error::NoCommonSuite));
    client.wait().must_say("alert handshake failure").must_not_say("ESTABLISHED");
}

/// What both sides must have agreed on with the secret of an earlier session.
pub fn resumed(suite: Suite) -> Agreed {
    Agreed { resumed: true, ..agreed(suite) }
}

/// Our client resumes: by the ticket that `s_server` gives it, and by id where it gives none.
#[test]
fn our_client_resumes_with_s_server() {
    for (by, arguments) in [("ticket", &[][..]), ("id", &["-no_ticket"])] {
        for suite in SUITES {
            let cell = tries("openssl", "client", suite, &format!("resumption by {by}"));
            let (server, address) = s_server_with(suite, IDENTITY, KEY, arguments);
            let cache = MemoryCache::<1>::new();
            let suites = [suite.ours];
            let config = Config::default().with_suites(&suites).with_resumption(&cache);
            let psk = psk();
            for (round, expected) in [agreed(suite), resumed(suite), resumed(suite)].into_iter().enumerate() {
                let relay = Relay::new(address, FAIR);
                let mut client = Client::connect(relay.address, &config, &psk).unwrap();
                assert_eq!(client.agreed(), expected, "by {by}");
                if expected.resumed {
                    relay.record().must_show_resumption_by(by);
                }
                client.send(b"ping\n");
                server.wait_for_count("ping", round + 1);
                client.close();
                server.wait_for_count("DONE", round + 1);
            }
            assert_eq!(server.count("Reused session-id"), 2, "by {by}:\n{}", server.shown());
            cell.works();
        }
    }
}

/// `max_fragment_length` belongs to the session. OpenSSL says it again all the same when it resumes one.
#[test]
fn resumed_sessions_have_short_records_with_s_server() {
    for suite in SUITES {
        let cell = tries("openssl", "client", suite, "max_fragment_length");
        let (server, address) = s_server(suite, IDENTITY, KEY);
        let cache = MemoryCache::<1>::new();
        let (suites, psk) = ([suite.ours], psk());
        let config = Config::default()
            .with_suites(&suites)
            .with_max_fragment_length(MaxFragmentLength::Bytes512)
            .with_resumption(&cache);
        for (round, expected) in [agreed(suite), resumed(suite)].into_iter().enumerate() {
            let mut client = Client::connect(address, &config, &psk).unwrap();
            assert_eq!((client.agreed(), client.max_payload()), (expected, 512));
            client.close();
            server.wait_for_count("DONE", round + 1);
        }
        cell.works();
    }
}

/// It does not miss it where our server does not say it again.
#[test]
fn resumed_sessions_have_short_records_with_s_client() {
    for suite in SUITES {
        let cell = tries("openssl", "server", suite, "max_fragment_length");
        let server = Server::with_config(psk(), || {
            let cache: &'static MemoryCache<4> = Box::leak(Box::default());
            Config::default().with_resumption(cache)
        });
        let session = Scratch::new("session");
        for (argument, expected) in [("-sess_out", agreed(suite)), ("-sess_in", resumed(suite))] {
            let mut command = s_client(server.address, suite, IDENTITY, KEY);
            let mut client = Peer::spawn(command.args(["-maxfraglen", "512", argument, session.path()]));
            assert_eq!(server.next(), Report::Established(expected));
            client.wait_for("SSL-Session:");
            client.write(b"ping\n");
            assert_eq!(server.next(), Report::Data(b"ping\n".into()));
            client.wait_for("PING");
            client.write(b"Q\n");
            assert_eq!(server.next(), Report::Closed);
            client.wait();
        }
        cell.works();
    }
}

/// `s_client` resumes the session that it has saved, by the id that our server gave it.
#[test]
fn s_client_resumes_with_our_server() {
    for suite in SUITES {
        let cell = tries("openssl", "server", suite, "resumption by id");
        let server = Server::with_config(psk(), || {
            let cache: &'static MemoryCache<4> = Box::leak(Box::default());
            Config::default().with_resumption(cache)
        });
        let session = Scratch::new("session");
        for (argument, expected, says) in [
            ("-sess_out", agreed(suite), "New, TLSv1.2"),
            ("-sess_in", resumed(suite), "Reused, TLSv1.2"),
            ("-sess_in", resumed(suite), "Reused, TLSv1.2"),
        ] {
            let mut command = s_client(server.address, suite, IDENTITY, KEY);
            let mut client = Peer::spawn(command.args([argument, session.path()]));
            assert_eq!(server.next(), Report::Established(expected));
            client.wait_for(says);
            client.write(b"ping\n");
            assert_eq!(server.next(), Report::Data(b"ping\n".into()));
            client.wait_for("PING");
            client.write(b"Q\n");
            assert_eq!(server.next(), Report::Closed);
            client.wait();
        }
        cell.works();
    }
}
