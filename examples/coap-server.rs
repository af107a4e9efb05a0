//! A CoAP server over DTLS with pre-shared keys, with the resources that `examples/reference` describes: `/led`,
//! `/temperature`, `/about`, `/firmware` and `/.well-known/core`.
//!
//! ```sh
//! cargo run --release --example coap-server -- --psk client1:hardfault_secure_key
//! coap-client-openssl -m put -e 1 -u client1 -k hardfault_secure_key coaps://localhost/led
//! coap-client-openssl -s 60 -u client1 -k hardfault_secure_key coaps://localhost/temperature
//! ```
//!
//! With `--allow`, everything is forbidden that no line allows:
//!
//! ```sh
//! cargo run --release --example coap-server -- --psk client1:one_key --psk admin:another_key \
//!     --allow '*:get:/.well-known/core' --allow 'client1:get:/*' --allow 'admin:*:/*'
//! ```

mod host;

use core::cell::RefCell;
use core::convert::Infallible;
use core::time::Duration;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use coap_numbers::code;
use dtls_psk::coap::{Changes, Methods, PlainUdp, Rule, Upload};
use dtls_psk::nal::asynch::Server;
use dtls_psk::{CipherSuite, Clock, Endpoint, Psk, SessionUdp, StdClock, Storage, Timer, coap};
use dtls_psk_reference::{OBSERVABLE, SimulatedBoard, resources};
use embassy_futures::select::{Either, select};
use embedded_nal_async::{UdpStack, UnconnectedUdp};
use getrandom::SysRng;

/// Handshakes in progress and established sessions that this server has room for.
type Memory = Storage<16, 64>;

/// A CoAP server for a host: messages, requests that are remembered, bytes of replies, observers.
type CoapServer<'s, S> = coap::Server<'s, S, StdClock, SysRng, 1152, 1024, 16_384, 128>;

/// Bodies that may be uploaded at the same time, and how long they may be.
const UPLOADS: usize = 4;
const LONGEST_UPLOAD: usize = 1 << 20;

/// How often the simulated thermometer shows something else.
const DRIFT_EVERY: Duration = Duration::from_secs(2);

/// A CoAP server over DTLS with pre-shared keys.
#[derive(Parser)]
struct Arguments {
    /// Where to listen; port 0 takes a free one [default: every address of this host, port 5684]
    #[arg(long, value_name = "ADDR:PORT")]
    listen: Option<SocketAddr>,

    /// An identity and its key; repeat for more [default: client1:hardfault_secure_key]
    #[arg(long = "psk", value_name = "IDENTITY:KEY", value_parser = parse_psk)]
    psks: Vec<(String, String)>,

    /// What an identity may do; repeat for more, and everything else is forbidden. Methods are * or a list like get,put; an
    /// identity of * is everyone; a path that ends in /* stands for all below [default: everyone may do everything]
    #[arg(long = "allow", value_name = "IDENTITY:METHODS:PATH", value_parser = parse_permission)]
    permissions: Vec<Permission>,

    /// Have clients show by an Echo option that a request to change something is not older than this (RFC 9175); needs --allow
    #[arg(long, value_name = "SECONDS", value_parser = host::parse_seconds, requires = "permissions")]
    fresh: Option<Duration>,

    /// Speak CoAP without security, by default on port 5683
    #[arg(long, conflicts_with_all = ["psks", "dtls", "suites", "keylog"])]
    plain: bool,

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

/// What `--allow` says.
#[derive(Clone, Debug)]
struct Permission {
    /// `None` for everyone.
    identity: Option<String>,
    methods: Methods,
    path: String,
}

fn parse_permission(text: &str) -> Result<Permission, String> {
    let [identity, methods, path] = text.splitn(3, ':').collect::<Vec<_>>()[..] else {
        return Err("has to look like IDENTITY:METHODS:PATH".into());
    };
    if !path.starts_with('/') {
        return Err(format!("the path `{path}` does not begin with a slash"));
    }
    let identity = (identity != "*").then(|| identity.to_owned());
    Ok(Permission { identity, methods: parse_methods(methods)?, path: path.to_owned() })
}

fn parse_methods(text: &str) -> Result<Methods, String> {
    if text == "*" {
        return Ok(Methods::ALL);
    }
    let one = |name: &str| match name.to_ascii_lowercase().as_str() {
        "get" => Ok(Methods::of(code::GET)),
        "post" => Ok(Methods::of(code::POST)),
        "put" => Ok(Methods::of(code::PUT)),
        "delete" => Ok(Methods::of(code::DELETE)),
        "fetch" => Ok(Methods::of(code::FETCH)),
        "patch" => Ok(Methods::of(code::PATCH)),
        "ipatch" => Ok(Methods::of(code::IPATCH)),
        _ => Err(format!("`{name}` is no method: there are get, post, put, delete, fetch, patch and ipatch")),
    };
    text.split(',').map(one).try_fold(Methods::of(0), |all, method| Ok(all.and(method?)))
}

impl Permission {
    fn rule(&self, fresh: Option<Duration>) -> Vec<Rule<'_>> {
        let rule = |methods| match &self.identity {
            Some(identity) => Rule::identity(identity.as_bytes(), methods, &self.path),
            None => Rule::everyone(methods, &self.path),
        };
        match fresh {
            None => vec![rule(self.methods)],
            // What only reads need not be fresh.
            Some(within) => {
                vec![rule(self.methods.only(Methods::READ)), rule(self.methods).fresh(within)]
            }
        }
    }
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
        SocketAddr::new(everywhere, if arguments.plain { 5683 } else { 5684 })
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
    if arguments.plain {
        return serve_coap(&mut PlainUdp(socket), arguments).await;
    }
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
    let mut secure = Server::new(socket, endpoint, StdClock::new(), SysRng);
    serve_coap(&mut secure, arguments).await
}

/// Serves the resources of a simulated board.
async fn serve_coap<S>(socket: &mut S, arguments: &Arguments) -> Result<Infallible, Failure>
where
    S: SessionUdp<Error: core::error::Error + 'static>,
{
    let board = RefCell::new(SimulatedBoard::default());
    let changes = Changes::local(OBSERVABLE);
    let mut resources = resources(&board, |path| {
        changes.notify(path);
    });
    let mut room = vec![0; UPLOADS * LONGEST_UPLOAD];
    let mut uploads: Vec<_> = room.chunks_mut(LONGEST_UPLOAD).map(Upload::new).collect();
    let rules: Vec<_> =
        arguments.permissions.iter().flat_map(|permission| permission.rule(arguments.fresh)).collect();

    let clock = StdClock::new();
    let mut server =
        CoapServer::with_sizes(socket, clock, SysRng).with_changes(&changes).with_uploads(&mut uploads);
    let policy = rules.as_slice();
    if !rules.is_empty() {
        server = server.with_policy(&policy);
    }
    match select(server.run(&mut resources), drift(&board, &changes, clock)).await {
        Either::First(error) => Err(error.into()),
        Either::Second(never) => match never {},
    }
}

/// Has the simulated thermometer rise and fall by a tenth of a degree.
async fn drift<const N: usize>(
    board: &RefCell<SimulatedBoard>,
    changes: &Changes<embassy_sync::blocking_mutex::raw::NoopRawMutex, N>,
    clock: StdClock,
) -> Infallible {
    const DAY: [i32; 8] = [0, 100, 200, 300, 400, 300, 200, 100];
    let first = board.borrow().temperature_millicelsius;
    for above in DAY.iter().cycle().skip(1) {
        clock.sleep_until(clock.now() + DRIFT_EVERY).await;
        board.borrow_mut().temperature_millicelsius = first + above;
        changes.notify("/temperature");
    }
    core::future::pending().await
}
