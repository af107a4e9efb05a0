//! libcoap, in its OpenSSL and its GnuTLS build. Its programs cannot be told a suite, so our side is.

use std::{net::SocketAddr, process::Command};

use crate::peers::{KEY, Peer, Scratch, free_ports, program};
use crate::suite::Suite;

/// Which TLS library libcoap was built with.
#[derive(Clone, Copy, Debug)]
pub enum Build {
    OpenSsl,
    GnuTls,
}

pub const BUILDS: [Build; 2] = [Build::OpenSsl, Build::GnuTls];

impl Build {
    fn program(self, role: &str) -> Command {
        let mut command = program(&match self {
            Self::OpenSsl => format!("coap-{role}-openssl"),
            Self::GnuTls => format!("coap-{role}-gnutls"),
        });
        // The most verbose: it names the suite and, with GnuTLS, the version.
        command.args(["-v", "9"]);
        command
    }

    /// The lines that a verbose libcoap prints about what was agreed.
    pub fn agreed(self, suite: Suite) -> Vec<String> {
        match self {
            Self::OpenSsl => vec![format!("Using cipher: {}\n", suite.openssl)],
            Self::GnuTls => vec![
                format!("Selected cipher suite: {}\n", suite.gnutls),
                "version: 254.253".into(),
            ],
        }
    }
}

/// A running `coap-server`.
pub struct Server {
    pub peer: Peer,
    /// Where it speaks DTLS.
    pub address: SocketAddr,
}

/// Starts a server that holds the key for every identity, unless arguments say otherwise.
pub fn server(build: Build, arguments: &[&str]) -> Server {
    // The port after the plain one speaks DTLS.
    let port = free_ports(2);
    let address = SocketAddr::from(([127, 0, 0, 1], port + 1));
    let mut command = build.program("server");
    command.args(["-A", "127.0.0.1", "-p", &port.to_string()]);
    command.args(["-k", KEY]).args(arguments);
    let peer = Peer::spawn(&mut command);
    peer.wait_for(&format!("created DTLS endpoint {address}"));
    Server { peer, address }
}
