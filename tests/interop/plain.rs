//! The peers that send plain lines, started alike, for what is tested with each of them in the same way.

use std::net::SocketAddr;

use dtls_psk::Psk;

use crate::{
    bundled::{BOUNCY_CASTLE, MBEDTLS, TINYDTLS, WOLFSSL},
    gnutls, openssl,
    peers::{IDENTITY, KEY, Peer, Scratch},
    suite::{SUITES, Suite},
};

pub struct Plain {
    pub name: &'static str,
    pub key: &'static str,
    pub suites: &'static [Suite],
    /// With further arguments.
    pub server: fn(Suite, &[&str]) -> Running,
    pub client: fn(SocketAddr, Suite, &[&str]) -> Peer,
    /// What its client says once it has a session.
    pub established: &'static str,
}

/// A running server.
pub struct Running {
    pub peer: Peer,
    pub address: SocketAddr,
    /// What it reads its keys from, for as long as it runs.
    pub _keys: Option<Scratch>,
}

impl From<(Peer, SocketAddr)> for Running {
    fn from((peer, address): (Peer, SocketAddr)) -> Self {
        Self { peer, address, _keys: None }
    }
}

impl Plain {
    pub fn psk(&self) -> Psk<'static> {
        Psk::new(IDENTITY.as_bytes(), self.key.as_bytes()).unwrap()
    }
}

pub const OPENSSL: Plain = Plain {
    name: "openssl",
    key: KEY,
    suites: &SUITES,
    server: |suite, arguments| openssl::s_server_with(suite, IDENTITY, KEY, arguments).into(),
    client: |server, suite, arguments| {
        Peer::spawn(openssl::s_client(server, suite, IDENTITY, KEY).arg("-brief").args(arguments))
    },
    established: "CONNECTION ESTABLISHED",
};

pub const GNUTLS: Plain = Plain {
    name: "gnutls",
    key: KEY,
    suites: &SUITES,
    server: |suite, arguments| gnutls::serv_with(suite, IDENTITY, KEY, arguments),
    client: |server, suite, arguments| Peer::spawn(gnutls::cli(server, suite, IDENTITY, KEY).args(arguments)),
    established: "Handshake was completed",
};

macro_rules! bundled {
    ($library:expr) => {
        Plain {
            name: $library.name,
            key: $library.key,
            suites: $library.suites,
            server: |suite, arguments| $library.server(suite, arguments).into(),
            client: |server, suite, arguments| $library.client(server, suite, arguments),
            established: "established",
        }
    };
}

pub const MBED: Plain = bundled!(MBEDTLS);
pub const WOLF: Plain = bundled!(WOLFSSL);
pub const TINY: Plain = bundled!(TINYDTLS);
pub const BOUNCY: Plain = bundled!(BOUNCY_CASTLE);
