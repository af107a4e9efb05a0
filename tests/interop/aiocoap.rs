//! aiocoap over DTLSSocket, a tinydtls that knows certificates as well: `aiocoap-client`, and a server of a few lines
//! (`tests/peers/aiocoap`). The suite that it prefers of those with keys is CCM_8.

use std::{net::SocketAddr, process::Command};

use crate::{
    bundled::SHORT_KEY,
    matrix::{self, tries},
    ours,
    peers::{Ended, IDENTITY, Peer, Scratch, free_ports},
    suite::{CCM, CCM_8, Suite},
};

pub const NAME: &str = "aiocoap";
pub const GOOD: (&str, &str) = (IDENTITY, SHORT_KEY);

/// tinydtls looks at a client's groups even where the suite needs none, and hangs up on one that has X25519 alone
/// (`verify_ext_eliptic_curves`). So our side offers no suite with ephemeral keys.
pub const SUITES: [Suite; 2] = [CCM_8, CCM];

/// A program of the virtual environment that xtask makes.
fn program(name: &str) -> Command {
    let program = matrix::folder().join("aiocoap/bin").join(name);
    assert!(program.is_file(), "{} is not there: `cargo xtask interop` installs it", program.display());
    Command::new(program)
}

/// Starts a server with one key.
pub fn server(key: (&str, &str)) -> (Peer, SocketAddr) {
    let port = free_ports(1);
    let mut command = program("python");
    command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/peers/aiocoap/server.py"));
    let peer = Peer::spawn(command.args([&port.to_string(), key.0, key.1]));
    peer.wait_for("ready");
    (peer, SocketAddr::from(([127, 0, 0, 1], port)))
}

/// Runs a client to its end.
#[track_caller]
pub fn ask(server: SocketAddr, path: &str, key: (&str, &str), arguments: &[&str]) -> Ended {
    let keys = format!(
        r#"{{"coaps://*": {{"dtls": {{"client-identity": {{"ascii": "{}"}}, "psk": {{"ascii": "{}"}}}}}}}}"#,
        key.0, key.1
    );
    let keys = Scratch::with("keys.json", keys);
    let mut command = program("aiocoap-client");
    command.args(["--credentials", keys.path()]).args(arguments);
    Peer::spawn(command.arg(format!("coaps://{server}{path}"))).wait()
}

/// Starts a client that prints each representation of an observed resource in a line.
pub fn observe(server: SocketAddr, path: &str, key: (&str, &str)) -> Peer {
    let mut command = program("python");
    command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/peers/aiocoap/observe.py"));
    Peer::spawn(command.args([&format!("coaps://{server}{path}"), key.0, key.1]))
}

#[test]
fn its_client_speaks_with_our_server() {
    for suite in SUITES {
        let cell = tries(NAME, "server", suite, "handshake and data");
        let server = ours::server_with(SHORT_KEY, &["--suite", suite.name]);
        let put = ask(server.address, "/led", GOOD, &["-m", "PUT", "--payload", "1"]);
        assert!(put.status.success(), "{put}");
        let get = ask(server.address, "/led", GOOD, &[]);
        assert_eq!(get.stdout.trim_ascii(), b"1", "{get}");
        server.peer.wait_for_count(&ours::agreed(suite), 2);
        cell.works();
    }
}

#[test]
fn our_client_speaks_with_its_server() {
    for suite in SUITES {
        let cell = tries(NAME, "client", suite, "handshake and data");
        let (_server, address) = server(GOOD);
        let put = ["--suite", suite.name, "-m", "put", "-e", "hello"];
        let put = ours::client_with(GOOD, address, "/value", &put);
        assert!(put.status.success(), "{put}");
        let get = ours::client_with(GOOD, address, "/value", &["--suite", suite.name]);
        assert_eq!(get.stdout.trim_ascii(), b"hello", "{get}");
        put.must_say(&ours::agreed(suite));
        get.must_say(&ours::agreed(suite));
        cell.works();
    }
}

#[test]
fn our_server_refuses_wrong_keys_and_identities() {
    for suite in SUITES {
        let cell = tries(NAME, "server", suite, "wrong key, unknown identity");
        for key in [(IDENTITY, "wrong"), ("stranger", SHORT_KEY)] {
            let server = ours::server_with(SHORT_KEY, &["--suite", suite.name]);
            let get = ask(server.address, "/led", key, &[]);
            assert!(!get.status.success(), "{get}");
            server.peer.wait_for("-> Alert decrypt_error (51)");
            assert!(!server.peer.has_said("established"), "{}", server.peer.shown());
        }
        cell.works();
    }
}

#[test]
fn our_client_gives_up_on_wrong_keys_and_identities() {
    for suite in SUITES {
        let cell = tries(NAME, "client", suite, "wrong key, unknown identity");
        for (identity, key) in [(IDENTITY, "wrong"), ("stranger", SHORT_KEY)] {
            let (_server, address) = server(GOOD);
            let patience = ["-B", "8", "--suite", suite.name];
            let get = ours::client_with((identity, key), address, "/value", &patience);
            assert!(!get.status.success(), "{get}");
            get.must_not_say("established");
        }
        cell.works();
    }
}
