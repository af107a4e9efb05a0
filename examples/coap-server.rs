//! A CoAP server over DTLS with pre-shared keys: `/led`, `/temperature` and `/.well-known/core`.
//!
//! ```sh
//! cargo run --release --example coap-server -- --psk client1:hardfault_secure_key
//! coap-client-openssl -m put -e 1 -u client1 -k hardfault_secure_key coaps://localhost/led
//! ```

mod host;

use core::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use dtls_psk::nal::asynch::Server;
use dtls_psk::{CipherSuite, Endpoint, Psk, StdClock, Storage, coap};
use dtls_psk_reference::{SimulatedBoard, resources};
use embedded_nal_async::{UdpStack, UnconnectedUdp};
use getrandom::SysRng;

/// Handshakes in progress and established sessions that this server has room for.
type Memory = Storage<16, 64>;

/// A CoAP server over DTLS with pre-shared keys.
#[derive(Parser)]
struct Arguments {
    /// Where to listen; port 0 takes a free one [default: every address of this host, port 5684]
    #[arg(long, value_name = "ADDR:PORT")]
    listen: Option<SocketAddr>,

    /// An identity and its key; repeat for more [default: client1:hardfault_secure_key]
    #[arg(long = "psk", value_name = "IDENTITY:KEY", value_parser = parse_psk)]
    psks: Vec<(String, String)>,

    /// Which version of DTLS to speak
    #[arg(long, value_name = "VERSION", default_value = "any")]
    dtls: host::Dtls,

    /// A cipher suite to accept, by its IANA name, the best first; repeat for more [default: all]
    #[arg(long = "suite", value_name = "NAME", value_parser = host::parse_suite)]
    suites: Vec<CipherSuite>,

    /// Append the keys of each handshake to this file, for Wireshark
    #[arg(long, value_name = "FILE")]
    keylog: Option<PathBuf>,

    /// Show every message of every handshake
    #[arg(short, long)]
    verbose: bool,
}

fn parse_psk(text: &str) -> Result<(String, String), String> {
    let (identity, key) = text.split_once(':').ok_or("has to look like IDENTITY:KEY")?;
    Psk::new(identity.as_bytes(), key.as_bytes()).map_err(|error| error.to_string())?;
    Ok((identity.into(), key.into()))
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    host::log_to_stderr(log::LevelFilter::Info, arguments.verbose);
    match async_io::block_on(run(&arguments)) {
        Ok(never) => match never {},
        Err(error) => {
            eprintln!("coap-server: {error}");
            ExitCode::FAILURE
        }
    }
}

type Failure = Box<dyn core::error::Error>;

async fn run(arguments: &Arguments) -> Result<Infallible, Failure> {
    let listen = arguments.listen.unwrap_or_else(|| {
        let everywhere = if host::has_ipv6() { IpAddr::from([0_u16; 8]) } else { IpAddr::from([0; 4]) };
        SocketAddr::new(everywhere, 5684)
    });
    let stack = std_embedded_nal_async::Stack::default();
    let unusable = |error| format!("cannot listen on {listen}: {error}");
    if listen.ip().is_unspecified() {
        // Replies leave from whichever of this host's addresses was asked.
        let socket = stack.bind_multiple(listen).await.map_err(unusable)?;
        eprintln!("listening on {listen}");
        serve(socket, arguments).await
    } else {
        let (bound, socket) = stack.bind_single(listen).await.map_err(unusable)?;
        eprintln!("listening on {bound}");
        serve(socket, arguments).await
    }
}

async fn serve<U>(socket: U, arguments: &Arguments) -> Result<Infallible, Failure>
where
    U: UnconnectedUdp<Error: 'static>,
{
    let default = [("client1".to_owned(), "hardfault_secure_key".to_owned())];
    let psks = if arguments.psks.is_empty() {
        eprintln!("no --psk: taking client1:hardfault_secure_key, which everybody knows");
        default.as_slice()
    } else {
        arguments.psks.as_slice()
    };
    let keys = psks.iter().map(|(identity, key)| Psk::new(identity.as_bytes(), key.as_bytes()));
    let keys = keys.collect::<Result<Vec<_>, _>>()?;
    let keys = keys.as_slice();
    let keylog = arguments.keylog.as_deref().map(host::KeyLogFile::open).transpose()?;
    let config = host::config(arguments.dtls, &arguments.suites, keylog.as_ref());

    let mut memory = Memory::new();
    let endpoint = Endpoint::new(&config, &keys, &mut memory, &mut SysRng)?;
    let clock = StdClock::new();
    let mut secure = Server::new(socket, endpoint, clock, SysRng);
    let mut resources = resources(SimulatedBoard::default());
    Err(coap::Server::new(&mut secure, clock, SysRng).run(&mut resources).await.into())
}
