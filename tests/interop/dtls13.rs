//! DTLS 1.3 with wolfSSL, the one peer to be had that speaks it with external pre-shared keys.

use std::time::Duration;

use dtls_psk::{Config, Error, MemoryCache, PeerMisbehaved, ProtocolVersion, PskKeyExchangeMode};

use crate::{
    bundled::{WOLFSSL13, WOLFSSL13_ECHO, be_talked_to, talk},
    driver::{Client, Report, Server},
    libcoap::{self, BUILDS},
    matrix::tries,
    openssl::{agreed, impatient, resumed},
    ours,
    peers::{IDENTITY, KEY, Peer},
    plain::{GNUTLS, OPENSSL},
    relay::{Relay, bad, must_have_been_bad},
    suite::{SUITES, SUITES13, Suite},
};

/// Both key exchange modes, as wolfSSL's program calls them.
const MODES: &[(&str, PskKeyExchangeMode)] = &[
    ("psk_ke", PskKeyExchangeMode::PskKe),
    #[cfg(feature = "x25519")]
    ("psk_dhe_ke", PskKeyExchangeMode::PskDheKe),
];

const ONLY13: Config<'static> = Config::new().with_versions(&[ProtocolVersion::Dtls13]);

fn config(mode: PskKeyExchangeMode) -> Config<'static> {
    ONLY13.with_key_exchange_modes(Box::leak(Box::new([mode])))
}

/// Our client with wolfSSL's server, for each suite.
fn as_client(
    feature: &str,
    arguments: &[&str],
    config: Config<'static>,
    test: impl Fn(Client<'_>, Peer, Suite),
) {
    for suite in SUITES13 {
        let cell = tries("wolfssl13", "client", suite, feature);
        let arguments = [&["--dtls", "1.3"], arguments].concat();
        let (server, address) = WOLFSSL13.server(suite, &arguments);
        let suites = [suite.ours];
        let (config, psk) = (config.with_suites(&suites), WOLFSSL13.psk());
        let mut client = Client::connect(address, &config, &psk).unwrap();
        assert_eq!(client.agreed(), agreed(suite));
        // The Finished goes out.
        client.wait(Duration::from_millis(20));
        test(client, server, suite);
        cell.works();
    }
}

/// wolfSSL's client with our server, for each suite.
fn as_server(
    feature: &str,
    arguments: &[&str],
    config: fn() -> Config<'static>,
    test: impl Fn(Peer, &Server, Suite),
) {
    for suite in SUITES13 {
        let cell = tries("wolfssl13", "server", suite, feature);
        let arguments = [&["--dtls", "1.3"], arguments].concat();
        let server = Server::with_config(WOLFSSL13.psk(), config);
        let client = WOLFSSL13.client(server.address, suite, &arguments);
        assert_eq!(server.next(), Report::Established(agreed(suite)), "{}", client.shown());
        test(client, &server, suite);
        cell.works();
    }
}

#[test]
fn our_client_speaks_with_their_server() {
    for (name, mode) in MODES.iter().copied() {
        // With a HelloRetryRequest for the cookie, and without.
        for no_cookie in ["0", "1"] {
            as_client(
                name,
                &["--ke", name, "--no-cookie", no_cookie],
                config(mode),
                |mut client, server, _| {
                    server.wait_for(&format!("ke={name}"));
                    talk(&mut client);
                    client.close();
                    server.wait_for("closed");
                },
            );
        }
    }
}

#[test]
fn their_client_speaks_with_our_server() {
    for (name, _) in MODES.iter().copied() {
        as_server(
            name,
            &["--ke", name],
            || ONLY13,
            |mut client, server, _| {
                client.wait_for(&format!("ke={name}"));
                be_talked_to(&mut client, server);
                client.write(b"!close\n");
                assert_eq!(server.next(), Report::Closed);
            },
        );
    }
}

/// Whoever offers both versions gets the newer one.
#[test]
fn both_versions_at_both_ends() {
    as_client("offering DTLS 1.2 too", &["--dtls", "any"], Config::new(), |mut client, _, _| {
        talk(&mut client)
    });
    for suite in SUITES13 {
        let cell = tries("wolfssl13", "client", suite, "offering DTLS 1.2 too");
        let (_server, address) = WOLFSSL13.server(suite, &["--dtls", "any"]);
        let old = SUITES.iter().find(|old| old.short == suite.short).unwrap().ours;
        let suites = [old, suite.ours];
        let (config, psk) = (Config::default().with_suites(&suites), WOLFSSL13.psk());
        let mut client = Client::connect(address, &config, &psk).unwrap();
        assert_eq!(client.agreed(), agreed(suite));
        talk(&mut client);
        cell.works();
    }
    as_server("offering DTLS 1.2 too", &["--dtls", "any"], Config::new, |mut client, server, _| {
        be_talked_to(&mut client, server);
    });
}

/// Servers that have never heard of DTLS 1.3 pass over what they do not know. Those of `tests/peers` are asked in `bundled.rs`.
#[test]
fn both_versions_to_servers_of_dtls12() {
    const FEATURE: &str = "offering DTLS 1.3 too";
    for peer in [OPENSSL, GNUTLS] {
        for suite in peer.suites.iter().copied() {
            let cell = tries(peer.name, "client", suite, FEATURE);
            let server = (peer.server)(suite, &[]);
            let suites = [SUITES13[0].ours, SUITES13[2].ours, suite.ours];
            let (config, psk) = (Config::default().with_suites(&suites), peer.psk());
            let connected = Client::connect(server.address, &config, &psk).map(|client| client.agreed());
            assert_eq!(connected, Ok(agreed(suite)), "{}: {}", peer.name, server.peer.shown());
            cell.works();
        }
    }
    for build in BUILDS {
        let server = libcoap::server(build, &[]);
        for suite in SUITES {
            let cell = tries(build.name(), "client", suite, FEATURE);
            let suites = ["--suite", SUITES13[0].name, "--suite", suite.name];
            let get = ours::client(server.address, "/.well-known/core", &suites);
            assert!(get.status.success(), "{get}");
            get.must_say(&ours::agreed(suite));
            cell.works();
        }
    }
}

/// A client whose server was one of DTLS 1.2 the last time, and is one of DTLS 1.3 now.
#[test]
fn a_client_with_a_session_of_dtls12_reaches_dtls13() {
    let suite = SUITES13[0];
    let (cache, psk) = (MemoryCache::<1>::new(), WOLFSSL13.psk());
    let config = Config::default().with_resumption(&cache);
    for (version, expected) in [("1.2", SUITES[0]), ("any", suite)] {
        let (_server, address) = WOLFSSL13.server(suite, &["--dtls", version]);
        let mut client = Client::connect(address, &config, &psk).unwrap();
        assert_eq!(client.agreed(), agreed(expected));
        talk(&mut client);
        client.close();
    }
    // And one that repeats the session's id, as servers of TLS 1.3 do, is refused.
    let (_server, address) = WOLFSSL13.server(suite, &["--dtls", "1.2"]);
    Client::connect(address, &config, &psk).unwrap().close();
    let (_server, address) = WOLFSSL13_ECHO.server(suite, &["--dtls", "1.3"]);
    let outcome = Client::connect(address, &config, &psk);
    assert_eq!(outcome.err(), Some(PeerMisbehaved::SessionIdEcho.into()));
}

#[test]
fn wrong_keys_and_identities() {
    for suite in SUITES13 {
        let cell = tries("wolfssl13", "server", suite, "wrong key, unknown identity");
        for (identity, key) in [(IDENTITY, "wrong"), ("stranger", KEY)] {
            let server = Server::with_config(WOLFSSL13.psk(), || ONLY13);
            let client =
                WOLFSSL13.client_with_key(server.address, suite, (identity, key), &["--dtls", "1.3"]);
            assert_eq!(server.next(), Report::Failed(Error::AuthenticationFailed));
            assert!(!client.has_said("established"));
        }
        cell.works();
        let cell = tries("wolfssl13", "client", suite, "wrong key, unknown identity");
        for (identity, key) in [(IDENTITY, "wrong"), ("stranger", KEY)] {
            let (server, address) = WOLFSSL13.server_with_key(suite, (identity, key), &["--dtls", "1.3"]);
            let suites = [suite.ours];
            let (config, psk) = (impatient().with_suites(&suites), WOLFSSL13.psk());
            assert!(Client::connect(address, &config, &psk).is_err());
            assert!(!server.has_said("established"), "{}", server.shown());
        }
        cell.works();
    }
}

/// Keys are changed by either side, alone and at the other's request.
#[test]
fn key_updates() {
    as_client("KeyUpdate", &[], ONLY13, |mut client, mut server, _| {
        for round in 0..8 {
            match round % 4 {
                0 => client.update_keys(false),
                1 => client.update_keys(true),
                2 => server.write(b"!update\n"),
                _ => server.write(b"!request-update\n"),
            }
            client.wait(Duration::from_millis(200));
            talk(&mut client);
        }
        assert!(!server.has_said("error"), "{}", server.shown());
    });
    as_server(
        "KeyUpdate",
        &[],
        || ONLY13,
        |mut client, server, _| {
            for round in 0..6 {
                client.write(if round % 2 == 0 { b"!update\n" } else { b"!request-update\n" });
                be_talked_to(&mut client, server);
            }
            assert!(!client.has_said("error"), "{}", client.shown());
        },
    );
}

/// Connection IDs in both directions, and a peer whose port changes.
#[test]
fn connection_ids() {
    for (own, theirs) in [(1, "aa"), (8, "0102030405060708090a0b0c0d0e0f10"), (0, "77")] {
        let config = ONLY13.with_connection_id(own);
        as_client("connection IDs, new address", &["--cid", theirs], config, |mut client, server, _| {
            let said = server.wait_for("established");
            let id = said.split("cid=").nth(1).unwrap().split(' ').next().unwrap();
            assert_eq!(id.len(), 2 * usize::from(own), "{said}");
            talk(&mut client);
            client.rebind();
            talk(&mut client);
            client.update_keys(true);
            talk(&mut client);
        });
    }
    let config = || ONLY13.with_connection_id(1);
    as_server("connection IDs, new address", &["--cid", "0102030405"], config, |mut client, server, _| {
        client.wait_for("established");
        for (line, answer) in
            [(&b"one\n"[..], "data ONE"), (b"!rebind\ntwo\n", "data TWO"), (b"three\n", "data THREE")]
        {
            client.write(line);
            let last = line.split(|byte| *byte == b'\n').rev().nth(1).unwrap();
            assert_eq!(server.next(), Report::Data(last.into()));
            client.wait_for(answer);
        }
    });
}

/// Each side resumes with the other's ticket.
#[test]
fn tickets() {
    for (name, mode) in MODES.iter().copied() {
        for suite in SUITES13 {
            let cell = tries("wolfssl13", "client", suite, "resumption by ticket");
            // With psk_ke, tickets come in parts.
            let mtu = if name == "psk_ke" { "180" } else { "1200" };
            let arguments = ["--dtls", "1.3", "--tickets", "1", "--ke", name, "--mtu", mtu];
            let (_server, address) = WOLFSSL13.server(suite, &arguments);
            let (cache, psk, suites) = (MemoryCache::<1>::new(), WOLFSSL13.psk(), [suite.ours]);
            let config = config(mode).with_suites(&suites).with_resumption(&cache);
            for expected in [agreed(suite), resumed(suite), resumed(suite)] {
                let mut client = Client::connect(address, &config, &psk).unwrap();
                assert_eq!(client.agreed(), expected, "{name}");
                talk(&mut client);
                client.close();
            }
            cell.works();
            let cell = tries("wolfssl13", "server", suite, "resumption by ticket");
            let server = Server::with_config(WOLFSSL13.psk(), || {
                let cache: &'static MemoryCache<4> = Box::leak(Box::default());
                ONLY13.with_resumption(cache)
            });
            let mut client =
                WOLFSSL13.client(server.address, suite, &["--dtls", "1.3", "--tickets", "1", "--ke", name]);
            assert_eq!(server.next(), Report::Established(agreed(suite)));
            be_talked_to(&mut client, &server);
            for _ in 0..2 {
                client.write(b"!again\n");
                assert_eq!(server.next(), Report::Closed);
                assert_eq!(server.next(), Report::Established(resumed(suite)), "{}", client.shown());
                be_talked_to(&mut client, &server);
            }
            cell.works();
        }
    }
}

/// Datagrams so short that our server has to cut its Finished, and theirs the ServerHello. A ClientHello never is, and all else fits.
#[test]
#[cfg(feature = "x25519")]
fn fragments() {
    use crate::relay::FAIR;
    // The least that a server of DTLS 1.3 takes.
    let short = || ONLY13.with_key_exchange_modes(&[PskKeyExchangeMode::PskKe]).with_mtu(132);
    for suite in SUITES13 {
        let cell = tries("wolfssl13", "server", suite, "our fragments");
        let server = Server::with_config(WOLFSSL13.psk(), short);
        let relay = Relay::new(server.address, FAIR);
        let mut client = WOLFSSL13.client(relay.address, suite, &["--dtls", "1.3"]);
        assert_eq!(server.next(), Report::Established(agreed(suite)), "{}", client.shown());
        be_talked_to(&mut client, &server);
        // A datagram of the server's begins with a part of what is sealed in the handshake, where all fits into the one before else.
        let passed = relay.record().passed;
        assert!(passed.iter().any(|one| !one.from_client && one.bytes[0] & 0xE3 == 0x22), "{passed:?}");
        cell.works();

        let cell = tries("wolfssl13", "client", suite, "their fragments");
        // A HelloRetryRequest that it cuts, it sends with the type of one of the drafts (6), which does not exist any more.
        let arguments = ["--dtls", "1.3", "--mtu", "110", "--ke", "psk_dhe_ke", "--no-cookie", "1"];
        let (_server, address) = WOLFSSL13.server(suite, &arguments);
        let relay = Relay::new(address, FAIR);
        let suites = [suite.ours];
        let (config, psk) = (ONLY13.with_suites(&suites), WOLFSSL13.psk());
        let mut client = Client::connect(relay.address, &config, &psk).unwrap();
        talk(&mut client);
        must_have_seen_fragments(&relay);
        cell.works();
    }
}

/// Fails unless the server has sent a message in parts.
#[cfg(feature = "x25519")]
#[track_caller]
fn must_have_seen_fragments(relay: &Relay) {
    let passed = relay.record().passed;
    assert!(passed.iter().any(|one| !one.from_client && !one.fragments().is_empty()), "{passed:?}");
}

/// Datagrams get lost, come twice or late.
#[test]
fn bad_weather() {
    const FEATURE: &str = "loss, doubles, delays";
    let mut records = Vec::new();
    for seed in 0..4 {
        for suite in SUITES13 {
            let cell = tries("wolfssl13", "client", suite, FEATURE);
            let (server, address) = WOLFSSL13.server(suite, &["--dtls", "1.3"]);
            let relay = Relay::new(address, bad(200 + seed));
            let (suites, psk) = ([suite.ours], WOLFSSL13.psk());
            let config = ONLY13
                .with_suites(&suites)
                .with_retransmission(Duration::from_millis(300), Duration::from_secs(2));
            let connected = Client::connect(relay.address, &config, &psk).map(|client| client.agreed());
            assert_eq!(connected, Ok(agreed(suite)), "{}", server.shown());
            cell.works();
            records.push(relay.record());

            let cell = tries("wolfssl13", "server", suite, FEATURE);
            let server = Server::with_config(WOLFSSL13.psk(), || ONLY13);
            let relay = Relay::new(server.address, bad(300 + seed));
            let client = WOLFSSL13.client(relay.address, suite, &["--dtls", "1.3"]);
            assert_eq!(server.next(), Report::Established(agreed(suite)), "{}", client.shown());
            client.wait_for("established");
            cell.works();
            records.push(relay.record());
        }
    }
    must_have_been_bad(&records);
}
