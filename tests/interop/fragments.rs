//! Handshake messages in fragments: small MTUs at both ends, and an identity, here also the server's hint, that does not fit.

use std::net::SocketAddr;

use dtls_psk::{Config, Psk};

use crate::{
    bundled::{BOUNCY_CASTLE, MBEDTLS, WOLFSSL},
    driver::{Agreed, Client, Report, Server},
    gnutls,
    libcoap::{self, BUILDS},
    matrix::{Cell, tries},
    openssl::{self, agreed},
    peers::{KEY, Peer},
    relay::{FAIR, Relay},
    suite::{SUITES, Suite},
};

/// What our side sends is put together by the peer, and the other way round.
const OURS: &str = "our fragments";
const THEIRS: &str = "their fragments";

/// The longest identity that all of these peers take.
const LONG: &str = match core::str::from_utf8(&[b'i'; 127]) {
    Ok(identity) => identity,
    Err(_) => "",
};

fn psk() -> Psk<'static> {
    Psk::new(LONG.as_bytes(), KEY.as_bytes()).unwrap()
}

fn agreed_on_long(suite: Suite) -> Agreed {
    Agreed { identity: LONG.into(), ..agreed(suite) }
}

/// The MTU that our ClientHello just fits.
fn least_mtu(suite: Suite) -> usize {
    let suites = [suite.ours];
    let fits = |mtu: &usize| Config::default().with_suites(&suites).with_mtu(*mtu).validate().is_ok();
    (Config::MIN_MTU..).find(fits).unwrap()
}

/// Who must have sent fragments.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fragments {
    Both,
    OursAlone,
}

/// Fails unless fragments went over the wire, and none of our datagrams was longer than the MTU.
#[track_caller]
fn must_have_been_seen(fragments: Fragments, relay: &Relay, we_are_client: bool, suite: Suite) {
    let passed = relay.record().passed;
    let seen =
        |from_client| passed.iter().any(|one| one.from_client == from_client && !one.fragments().is_empty());
    assert!(seen(we_are_client), "we sent no fragment: {passed:?}");
    // One who never fragments is not listed as one who does.
    assert_eq!(seen(!we_are_client), fragments == Fragments::Both, "the peer's fragments: {passed:?}");
    let longest =
        passed.iter().filter(|one| one.from_client == we_are_client).map(|one| one.bytes.len()).max();
    assert_eq!(longest, Some(least_mtu(suite)), "{passed:?}");
}

/// Our ClientKeyExchange needs fragments, their ServerHello or ServerKeyExchange as well.
#[track_caller]
fn with_their_server(peer: &str, fragments: Fragments, suite: Suite, address: SocketAddr) {
    let ours = tries(peer, "client", suite, OURS);
    let theirs = (fragments == Fragments::Both).then(|| tries(peer, "client", suite, THEIRS));
    let relay = Relay::new(address, FAIR);
    let (suites, psk) = ([suite.ours], psk());
    let config = Config::default().with_suites(&suites).with_mtu(least_mtu(suite));
    let client = Client::connect(relay.address, &config, &psk).unwrap();
    assert_eq!(client.agreed(), agreed_on_long(suite));
    must_have_been_seen(fragments, &relay, true, suite);
    [Some(ours), theirs].into_iter().flatten().for_each(Cell::works);
}

/// Our ServerKeyExchange needs fragments, their ClientKeyExchange as well. Their ClientHello must not: nobody can put that
/// together before the cookie is checked.
#[track_caller]
fn with_their_client(peer: &str, fragments: Fragments, suite: Suite, start: impl FnOnce(SocketAddr) -> Peer) {
    let ours = tries(peer, "server", suite, OURS);
    let theirs = (fragments == Fragments::Both).then(|| tries(peer, "server", suite, THEIRS));
    let server = Server::with_config(psk(), move || {
        let suites: &'static [_] = Box::leak(Box::new([suite.ours]));
        Config::default().with_suites(suites).with_mtu(least_mtu(suite)).with_identity_hint(LONG.as_bytes())
    });
    let relay = Relay::new(server.address, FAIR);
    let _client = start(relay.address);
    assert_eq!(server.next(), Report::Established(agreed_on_long(suite)));
    must_have_been_seen(fragments, &relay, false, suite);
    [Some(ours), theirs].into_iter().flatten().for_each(Cell::works);
}

/// `s_server` fills its 228 bytes and cuts its ServerKeyExchange; `s_client`, which takes no smaller MTU, needs no fragments.
#[test]
fn with_openssl() {
    for suite in SUITES {
        let hinting = ["-mtu", "256", "-psk_hint", LONG];
        let (_server, address) = openssl::s_server_with(suite, LONG, KEY, &hinting);
        with_their_server("openssl", Fragments::Both, suite, address);
        with_their_client("openssl", Fragments::OursAlone, suite, |server| {
            Peer::spawn(openssl::s_client(server, suite, LONG, KEY).args(["-mtu", "256"]))
        });
    }
}

#[test]
fn with_gnutls() {
    for suite in SUITES {
        let server = gnutls::serv_with(suite, LONG, KEY, &["--mtu", "100", "--pskhint", LONG]);
        with_their_server("gnutls", Fragments::Both, suite, server.address);
        with_their_client("gnutls", Fragments::Both, suite, |server| {
            // Its ClientHello just fits.
            Peer::spawn(gnutls::cli(server, suite, LONG, KEY).args(["--noticket", "--mtu", "152"]))
        });
    }
}

/// Its server sends no hint, so it is the ServerHello that comes in two parts.
#[test]
fn with_mbedtls() {
    for suite in SUITES {
        let (_server, address) = MBEDTLS.server_with_key(suite, (LONG, KEY), &["--mtu", "100"]);
        with_their_server("mbedtls", Fragments::Both, suite, address);
        with_their_client("mbedtls", Fragments::Both, suite, |server| {
            MBEDTLS.client_with_key(server, suite, (LONG, KEY), &["--mtu", "115"])
        });
    }
}

/// wolfSSL cuts certificates and what goes with them alone. Where another message does not fit, it gives up
/// (`DTLS_SIZE_ERROR`); it reads the fragments of others.
#[test]
fn with_wolfssl() {
    for suite in WOLFSSL.suites.iter().copied() {
        let (_server, address) = WOLFSSL.server_with_key(suite, (LONG, KEY), &[]);
        with_their_server("wolfssl", Fragments::OursAlone, suite, address);
        with_their_client("wolfssl", Fragments::OursAlone, suite, |server| {
            WOLFSSL.client_with_key(server, suite, (LONG, KEY), &[])
        });
    }
}

#[test]
fn with_bouncy_castle() {
    for suite in BOUNCY_CASTLE.suites.iter().copied() {
        let (_server, address) = BOUNCY_CASTLE.server_with_key(suite, (LONG, KEY), &["--mtu", "70"]);
        with_their_server("bouncycastle", Fragments::Both, suite, address);
        with_their_client("bouncycastle", Fragments::Both, suite, |server| {
            // Its ClientHello just fits.
            BOUNCY_CASTLE.client_with_key(server, suite, (LONG, KEY), &["--mtu", "140"])
        });
    }
}

/// Its programs have no MTU to set. Of its own messages, the client's key exchange is the longest, and fits.
#[test]
fn with_libcoap() {
    for build in BUILDS {
        for suite in SUITES {
            let server = libcoap::server(build, &[]);
            with_their_server(build.name(), Fragments::OursAlone, suite, server.address);
            with_their_client(build.name(), Fragments::OursAlone, suite, |server| {
                libcoap::client(build, server, "/", (LONG, KEY), &[])
            });
        }
    }
}
