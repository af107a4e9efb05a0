//! The name that a client calls its server by (`server_name`, RFC 6066 §3).

use dtls_psk::{CipherSuite, Config, Error, HostLookup, Psk, PskStore};

use crate::{
    driver::{Client, Report, Server},
    libcoap::{self, BUILDS},
    matrix::tries,
    openssl::{agreed, impatient, psk},
    peers::{GOOD, KEY, Scratch},
    plain::{BOUNCY, GNUTLS, MBED, OPENSSL, Plain, WOLF},
    suite::{SUITES, Suite},
};

const FEATURE: &str = "server name";
const NAME: &str = "server.test";

/// A key for whoever calls this server by this name, and for nobody else.
struct Named(&'static str, Psk<'static>);

impl PskStore for Named {
    fn with_key(&self, _identity: &[u8], _lend: &mut dyn FnMut(&[u8])) {}

    fn host(&self, server_name: &[u8]) -> HostLookup {
        if server_name == self.0.as_bytes() { HostLookup::Found(1) } else { HostLookup::Unrecognized }
    }

    fn with_host_key(&self, host: Option<u16>, identity: &[u8], lend: &mut dyn FnMut(&[u8])) {
        if host == Some(1) {
            self.1.with_key(identity, lend);
        }
    }
}

/// Our server finds the key by the name that their client says.
fn their_client_says_it(peer: &Plain, suite: Suite, option: &str) {
    let cell = tries(peer.name, "server", suite, FEATURE);
    let server =
        Server::with_config(Named(NAME, peer.psk()), || Config::default().with_suites(CipherSuite::ALL));
    let _client = (peer.client)(server.address, suite, &[option, NAME]);
    assert_eq!(server.next(), Report::Established(agreed(suite)), "{}", peer.name);

    let server =
        Server::with_config(Named(NAME, peer.psk()), || Config::default().with_suites(CipherSuite::ALL));
    let _client = (peer.client)(server.address, suite, &[option, "another.test"]);
    assert_eq!(server.next(), Report::Failed(Error::UnrecognizedName), "{}", peer.name);
    cell.works();
}

/// Their server, started with these arguments, says that our client has called it by its name.
fn our_client_says_it(peer: &Plain, suite: Suite, arguments: &[&str], hears: &str) {
    let cell = tries(peer.name, "client", suite, FEATURE);
    let server = (peer.server)(suite, arguments);
    let (suites, psk) = ([suite.ours], peer.psk());
    let config = Config::default().with_suites(&suites).with_server_name(NAME);
    let client = Client::connect(server.address, &config, &psk).unwrap();
    assert_eq!(client.agreed(), agreed(suite), "{}", peer.name);
    server.peer.wait_for(hears);
    cell.works();
}

#[test]
fn with_openssl() {
    for suite in OPENSSL.suites {
        our_client_says_it(&OPENSSL, *suite, &["-tlsextdebug"], NAME);
        their_client_says_it(&OPENSSL, *suite, "-servername");
    }
}

#[test]
fn with_gnutls() {
    for suite in GNUTLS.suites {
        let arguments = ["--sni-hostname", NAME, "--sni-hostname-fatal"];
        our_client_says_it(&GNUTLS, *suite, &arguments, "Selected cipher suite");
        their_client_says_it(&GNUTLS, *suite, "--sni-hostname");
    }
}

#[test]
fn gnutls_serv_refuses_another_name() {
    let server =
        (GNUTLS.server)(GNUTLS.suites[0], &["--sni-hostname", "another.test", "--sni-hostname-fatal"]);
    let (config, psk) = (impatient().with_server_name(NAME), GNUTLS.psk());
    assert!(Client::connect(server.address, &config, &psk).is_err());
    server.peer.wait_for("The SNI host name not recognised");
}

#[test]
fn with_mbedtls() {
    for suite in MBED.suites {
        our_client_says_it(&MBED, *suite, &[], &format!("name={NAME}"));
        their_client_says_it(&MBED, *suite, "--server-name");
    }
}

#[test]
fn with_wolfssl() {
    for suite in WOLF.suites {
        our_client_says_it(&WOLF, *suite, &["--server-name", NAME], &format!("name={NAME}"));
        their_client_says_it(&WOLF, *suite, "--server-name");
    }
}

#[test]
fn with_bouncy_castle() {
    for suite in BOUNCY.suites {
        our_client_says_it(&BOUNCY, *suite, &[], &format!("name={NAME}"));
        their_client_says_it(&BOUNCY, *suite, "--server-name");
    }
}

/// Its client's name for the server is the host of the URI, be it an address. Its server has other keys for each name.
#[test]
fn with_libcoap() {
    let names = Scratch::with("names", format!("{NAME},hint,{KEY}\n"));
    for build in BUILDS {
        for suite in SUITES {
            let cell = tries(build.name(), "client", suite, FEATURE);
            let server = libcoap::server(build, &["-k", "for_other_names", "-s", names.path()]);
            let (suites, psk) = ([suite.ours], psk());
            let config = Config::default().with_suites(&suites).with_server_name(NAME);
            let client = Client::connect(server.address, &config, &psk).unwrap();
            assert_eq!(client.agreed(), agreed(suite), "{build:?}");
            cell.works();

            let cell = tries(build.name(), "server", suite, FEATURE);
            let server = Server::with_config(Named("127.0.0.1", psk), move || {
                let suites: &'static [_] = Box::leak(Box::new([suite.ours]));
                Config::default().with_suites(suites)
            });
            let client = libcoap::client(build, server.address, "/", GOOD, &[]);
            assert_eq!(server.next(), Report::Established(agreed(suite)), "{build:?}: {}", client.shown());
            cell.works();
        }
    }
}
