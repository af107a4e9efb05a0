//! Peers without the extended master secret (RFC 7627).

use dtls_psk::{CipherSuite, Config, Error, PeerMisbehaved};

use crate::{
    driver::{Client, Report, Server},
    gnutls,
    matrix::tries,
    openssl::{agreed, s_client, s_server_but},
    peers::{IDENTITY, KEY, Peer, Scratch},
    plain::{BOUNCY, GNUTLS, MBED, OPENSSL, Plain, Running, WOLF},
    suite::Suite,
};

const FEATURE: &str = "no extended master secret";
const REFUSED: Error = Error::PeerMisbehaved(PeerMisbehaved::NoExtendedMasterSecret);

/// A session comes about, and where our side insists on the extension, none.
fn their_server_goes_without(peer: &Plain, suite: Suite, start: impl Fn() -> Running) {
    let cell = tries(peer.name, "client", suite, FEATURE);
    let (suites, psk) = ([suite.ours], peer.psk());
    let config = Config::default().with_suites(&suites);
    let server = start();
    let client = Client::connect(server.address, &config, &psk).unwrap();
    assert_eq!(client.agreed(), agreed(suite), "{}", peer.name);

    let (config, server) = (config.with_required_extended_master_secret(true), start());
    let error = Client::connect(server.address, &config, &psk).err();
    assert_eq!(error, Some(REFUSED), "{}", peer.name);
    cell.works();
}

/// The same the other way round.
fn their_client_goes_without(peer: &Plain, suite: Suite, start: impl Fn(&Server) -> Peer) {
    let cell = tries(peer.name, "server", suite, FEATURE);
    for (required, expected) in [(false, Report::Established(agreed(suite))), (true, Report::Failed(REFUSED))]
    {
        let server = Server::with_config(peer.psk(), move || {
            let config = Config::default().with_suites(CipherSuite::ALL);
            config.with_required_extended_master_secret(required)
        });
        let _client = start(&server);
        assert_eq!(server.next(), expected, "{}", peer.name);
    }
    cell.works();
}

/// Its programs have no option for it, its configuration file has.
#[test]
fn with_openssl() {
    let configuration = Scratch::with(
        "openssl.cnf",
        "openssl_conf = init\n[init]\nssl_conf = ssl\n[ssl]\nsystem_default = all\n[all]\nOptions = -ExtendedMasterSecret\n",
    );
    for suite in OPENSSL.suites {
        their_server_goes_without(&OPENSSL, *suite, || {
            s_server_but(*suite, IDENTITY, KEY, |command| command.env("OPENSSL_CONF", configuration.path()))
                .into()
        });
        their_client_goes_without(&OPENSSL, *suite, |server| {
            Peer::spawn(
                s_client(server.address, *suite, IDENTITY, KEY).env("OPENSSL_CONF", configuration.path()),
            )
        });
    }
}

#[test]
fn with_gnutls() {
    for suite in GNUTLS.suites {
        // The last priority counts.
        let without = format!("{}:%NO_SESSION_HASH", gnutls::priority(*suite));
        their_server_goes_without(&GNUTLS, *suite, || (GNUTLS.server)(*suite, &[&without]));
        their_client_goes_without(&GNUTLS, *suite, |server| {
            (GNUTLS.client)(server.address, *suite, &[&without])
        });
    }
}

#[test]
fn with_mbedtls_wolfssl_and_bouncy_castle() {
    for peer in [MBED, WOLF, BOUNCY] {
        for suite in peer.suites {
            let without = ["--no-ems", "1"];
            their_server_goes_without(&peer, *suite, || (peer.server)(*suite, &without));
            their_client_goes_without(&peer, *suite, |server| {
                (peer.client)(server.address, *suite, &without)
            });
        }
    }
}
