//! OpenSSL's `s_server` and `s_client`.

use std::{net::SocketAddr, process::Command};

use crate::{
    peers::{hex, program},
    suite::Suite,
};

/// `s_client` with one suite.
pub fn s_client(server: SocketAddr, suite: Suite, identity: &str, key: &str) -> Command {
    let mut command = program("openssl");
    command.args(["s_client", "-dtls1_2", "-connect", &server.to_string()]);
    command.args(["-psk_identity", identity, "-psk", &hex(key)]);
    command.args(["-cipher", suite.openssl]);
    command
}
