//! The example programs: `coap-server` and `coap-client`.

use std::{net::SocketAddr, path::PathBuf, process::Command, sync::OnceLock, time::Duration};

use crate::{
    peers::{Ended, GOOD, IDENTITY, KEY, Peer},
    suite::Suite,
};

/// A running `coap-server`.
pub struct Server {
    pub peer: Peer,
    pub address: SocketAddr,
}

impl Server {
    /// Waits until it says that a session with the usual identity and this suite is established.
    #[track_caller]
    pub fn wait_for_session(&self, suite: Suite) {
        self.peer.wait_for(&agreed(suite));
    }
}

/// What a verbose program of ours says about a session.
pub fn agreed(suite: Suite) -> String {
    format!("established: {}, {}, identity {IDENTITY}", suite.ours.version(), suite.name)
}

/// Starts a server that holds the usual key.
pub fn server(arguments: &[&str]) -> Server {
    server_with(KEY, arguments)
}

/// Starts a server that holds another one for the usual identity.
pub fn server_with(key: &str, arguments: &[&str]) -> Server {
    start(&[&["--psk", &format!("{IDENTITY}:{key}")], arguments].concat())
}

/// Starts a server without security.
pub fn plain_server(arguments: &[&str]) -> Server {
    start(&[&["--plain"], arguments].concat())
}

fn start(arguments: &[&str]) -> Server {
    let mut command = example("coap-server");
    command.args(["-v", "--listen", "127.0.0.1:0"]);
    let peer = Peer::spawn(command.args(arguments));
    let line = peer.wait_for("listening on ");
    let address = line.split("listening on ").nth(1).unwrap();
    let address = address.trim().parse().expect("the server names its address");
    Server { peer, address }
}

/// Runs a client with the usual key to its end.
#[track_caller]
pub fn client(server: SocketAddr, path: &str, arguments: &[&str]) -> Ended {
    client_with(GOOD, server, path, arguments)
}

/// Runs a client with another identity or key to its end.
#[track_caller]
pub fn client_with(key: (&str, &str), server: SocketAddr, path: &str, arguments: &[&str]) -> Ended {
    let mut command = example("coap-client");
    command.args(["-v", "-u", key.0, "-k", key.1]);
    command.args(arguments).arg(format!("coaps://{server}{path}"));
    Peer::spawn(&mut command).wait()
}

/// An example program, built if need be as this test was.
fn example(name: &str) -> Command {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    let folder = FOLDER.get_or_init(|| {
        // target/PROFILE/deps/interop-HASH
        let test = std::env::current_exe().unwrap();
        let profile = test.ancestors().nth(2).unwrap();
        let mut build = Command::new(env!("CARGO"));
        build.args(["build", "--quiet", "--examples"]);
        build.args(["--manifest-path", concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")]);
        if cfg!(feature = "x25519") {
            build.args(["--features", "x25519"]);
        }
        if profile.ends_with("release") {
            build.arg("--release");
        }
        build.env("CARGO_TARGET_DIR", profile.parent().unwrap());
        let ended = Peer::spawn(&mut build).wait_at_most(Duration::from_secs(900));
        assert!(ended.status.success(), "the examples do not build: {ended}");
        profile.join("examples")
    });
    Command::new(folder.join(name))
}
