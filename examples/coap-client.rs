//! A CoAP client over DTLS with pre-shared keys, with some of the flags of libcoap's `coap-client`.
//!
//! ```sh
//! cargo run --release --example coap-client -- -u client1 -k hardfault_secure_key coaps://localhost/temperature
//! cargo run --release --example coap-client -- -m put -e toggle -u client1 -k hardfault_secure_key coaps://localhost/led
//! cargo run --release --example coap-client -- -s 60 -u client1 -k hardfault_secure_key coaps://localhost/time
//! ```
//!
//! The payload of the reply goes to stdout or into a file, everything else to stderr. The exit code is 0 only for a 2.xx reply.

mod host;

use std::io::{ErrorKind, IsTerminal, Write};
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::{Parser, ValueEnum};
use dtls_psk::coap::Progress;
use dtls_psk::nal::asynch::Client;
use dtls_psk::{CipherSuite, Error as Dtls, Psk, StdClock, coap, nal};
use embassy_futures::select::{Either, select};
use embedded_nal_async::{ConnectedUdp, UdpStack};
use getrandom::SysRng;
use url::Url;

/// A CoAP client over DTLS with pre-shared keys.
#[derive(Parser)]
struct Arguments {
    /// The request method
    #[arg(short, value_name = "METHOD", default_value = "get", ignore_case = true)]
    method: Method,

    /// The PSK identity
    #[arg(short, value_name = "IDENTITY", default_value = "client1")]
    user: String,

    /// The pre-shared key
    #[arg(short, value_name = "KEY", default_value = "hardfault_secure_key")]
    key: String,

    /// The payload of the request; percent-encode what is not text
    #[arg(short = 'e', value_name = "PAYLOAD", conflicts_with = "payload_file")]
    payload: Option<String>,

    /// The file to send as the payload of the request
    #[arg(short = 'f', value_name = "FILE")]
    payload_file: Option<PathBuf>,

    /// The file to put the payload of the reply into; it is only touched once the whole reply is there
    #[arg(short = 'o', value_name = "FILE")]
    output: Option<PathBuf>,

    /// Observe for this many seconds, and show every notification
    #[arg(short = 's', value_name = "SECONDS", value_parser = parse_seconds)]
    observe: Option<Duration>,

    /// The longest blocks to send and to ask for: 16, 32, 64, 128, 256, 512 or 1024 bytes [default: what fits]
    #[arg(short = 'b', value_name = "SIZE", value_parser = parse_block_size)]
    block_size: Option<usize>,

    /// The local address to send from
    #[arg(short = 'a', value_name = "LOCAL_ADDR", value_parser = parse_local)]
    local: Option<SocketAddr>,

    /// Give up after this many seconds in all; an observation, if that is not made by then
    #[arg(short = 'B', value_name = "SECONDS", default_value = "90", value_parser = parse_seconds)]
    break_after: Duration,

    /// Which version of DTLS to speak
    #[arg(long, value_name = "VERSION", default_value = "any")]
    dtls: host::Dtls,

    /// A cipher suite to offer, by its IANA name, the best first; repeat for more [default: all]
    #[arg(long = "suite", value_name = "NAME", value_parser = host::parse_suite)]
    suites: Vec<CipherSuite>,

    /// Append the keys of each handshake to this file, for Wireshark
    #[arg(long, value_name = "FILE")]
    keylog: Option<PathBuf>,

    /// Show every message of the handshake
    #[arg(short, long)]
    verbose: bool,

    /// coaps://HOST[:PORT]/PATH[?QUERY]
    #[arg(value_parser = parse_uri)]
    uri: Target,
}

/// The least time for a handshake, whatever -B says: that of the first retransmission.
const SHORTEST_HANDSHAKE: Duration = Duration::from_secs(1);
/// The most.
const LONGEST_HANDSHAKE: Duration = Duration::from_secs(60);

#[derive(Clone, Copy, ValueEnum)]
enum Method {
    Get,
    Put,
    Post,
    Delete,
}

/// Where a request goes, as the URI says it.
#[derive(Clone)]
struct Target {
    host: String,
    port: u16,
    /// Path and query, still percent-encoded.
    path: String,
}

fn parse_uri(text: &str) -> Result<Target, String> {
    let uri =
        Url::parse(text).map_err(|error| format!("{error}; it has to look like coaps://HOST[:PORT]/PATH"))?;
    if uri.scheme() != "coaps" {
        return Err(format!("the scheme is {}, and this client speaks coaps alone", uri.scheme()));
    }
    if !uri.username().is_empty() || uri.password().is_some() || uri.fragment().is_some() {
        return Err("a coaps URI has neither a user nor a fragment".into());
    }
    let host = uri.host_str().filter(|host| !host.is_empty()).ok_or("there is no host in it")?;
    let path = match uri.query() {
        Some(query) => format!("{}?{query}", uri.path()),
        None => uri.path().to_owned(),
    };
    let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    Ok(Target { host, port: uri.port().unwrap_or(5684), path })
}

fn parse_local(text: &str) -> Result<SocketAddr, String> {
    let address = text.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, 0));
    address.or_else(|_| text.parse()).map_err(|_| "has to be an address, with or without a port".into())
}

fn parse_seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().map_err(|_| "has to be a number of seconds".to_owned())?;
    Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
}

fn parse_block_size(text: &str) -> Result<usize, String> {
    let is_size = |size: &usize| size.is_power_of_two() && (16..=1024).contains(size);
    let size = text.parse().ok().filter(is_size);
    size.ok_or_else(|| "has to be 16, 32, 64, 128, 256, 512 or 1024".into())
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if arguments.observe.is_some() && !matches!(arguments.method, Method::Get) {
        eprintln!("coap-client: -s observes, which needs the method get");
        return ExitCode::FAILURE;
    }
    host::log_to_stderr(log::LevelFilter::Warn, arguments.verbose);
    match async_io::block_on(request(&arguments)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("coap-client: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Makes the request, and says whether the reply was a 2.xx.
async fn request(arguments: &Arguments) -> Result<bool, String> {
    let psk =
        Psk::new(arguments.user.as_bytes(), arguments.key.as_bytes()).map_err(|error| error.to_string())?;
    let keylog = arguments.keylog.as_deref().map(host::KeyLogFile::open).transpose()?;
    // Whichever of the two takes the time that -B gives says what it waited for.
    let started = Instant::now();
    let config = host::config(arguments.dtls, &arguments.suites, keylog.as_ref())
        .with_handshake_timeout(arguments.break_after.clamp(SHORTEST_HANDSHAKE, LONGEST_HANDSHAKE));
    let payload: Vec<u8> = match &arguments.payload_file {
        Some(file) => std::fs::read(file).map_err(|error| format!("{}: {error}", file.display()))?,
        None => percent_encoding::percent_decode_str(arguments.payload.as_deref().unwrap_or("")).collect(),
    };

    let Target { host, port, path } = &arguments.uri;
    let remote = resolve(host, *port, arguments.local)?;
    let local = arguments.local.unwrap_or_else(|| match remote {
        SocketAddr::V4(_) => SocketAddr::from(([0; 4], 0)),
        SocketAddr::V6(_) => SocketAddr::from(([0_u16; 8], 0)),
    });
    let stack = std_embedded_nal_async::Stack::default();
    let (_, socket) = stack
        .connect_from(local, remote)
        .await
        .map_err(|error| format!("{remote} cannot be reached from {local}: {error}"))?;

    let clock = StdClock::new();
    let mut secure = Client::connect(socket, &config, &psk, clock, &mut SysRng)
        .await
        .map_err(|error| explain(&error, remote))?;
    if let Some(peer) = secure.peer() {
        eprintln!("coap-client: {peer}");
    }
    let request = match arguments.method {
        Method::Get => coap::Request::get(path),
        Method::Put => coap::Request::put(path, &payload),
        Method::Post => coap::Request::post(path, &payload),
        Method::Delete => coap::Request::delete(path),
    };
    // A server knows its own address, but not by which name it was found (RFC 7252 §6.4).
    let request = if host.parse::<IpAddr>().is_ok() { request } else { request.host(host) };
    let request = arguments.block_size.map_or(request, |size| request.block_size(size));
    let mut client: CoapClient<'_, _> = coap::Client::with_size(&mut secure, clock, SysRng);
    let left = arguments.break_after.saturating_sub(started.elapsed());
    client.set_deadline(left);
    let result = match arguments.observe {
        Some(duration) => observe(&mut client, &request, duration, arguments).await,
        None => match select(transfer(&mut client, &request), async_io::Timer::after(left)).await {
            Either::First(reply) => reply.and_then(|reply| show(&reply, arguments)),
            Either::Second(_) => {
                Err(Failure::Other(format!("not done after {} seconds", arguments.break_after.as_secs_f64())))
            }
        },
    };
    let is_success = result.map_err(|failure| match failure {
        Failure::Coap(coap::Error::Socket(error)) => explain(&error, remote),
        Failure::Coap(error) => error.to_string(),
        Failure::Other(error) => error,
    })?;
    // The server forgets the session sooner for it; whether it hears it changes nothing here.
    let _ = secure.close().await;
    Ok(is_success)
}

type SocketError = nal::Error<std::io::Error>;
/// Messages have 1152 bytes at most, whatever the size, and a notification is put together of many.
type CoapClient<'s, S> = coap::Client<'s, S, StdClock, SysRng, 65_536>;

enum Failure {
    Coap(coap::Error<SocketError>),
    Other(String),
}

impl From<coap::Error<SocketError>> for Failure {
    fn from(error: coap::Error<SocketError>) -> Self {
        Self::Coap(error)
    }
}

/// A reply of any length.
struct Reply {
    code: coap::Code,
    payload: Vec<u8>,
}

/// Makes the request and collects its reply, and shows how far it is where someone may be looking.
async fn transfer<S: ConnectedUdp<Error = SocketError>>(
    client: &mut CoapClient<'_, S>,
    request: &coap::Request<'_>,
) -> Result<Reply, Failure> {
    let mut meter = Meter { is_wanted: std::io::stderr().is_terminal(), is_shown: false };
    let mut blocks = client.in_blocks(request);
    let mut payload = Vec::new();
    while let Some(progress) = blocks.next().await? {
        match progress {
            Progress::Sent { sent, total } => meter.show("sent", sent, u32::try_from(total).ok()),
            Progress::Received(part) => {
                // What is there may have changed meanwhile, and begins again.
                payload.truncate(part.offset());
                payload.extend_from_slice(part.reply().payload());
                if part.is_last() {
                    return Ok(Reply { code: part.reply().code(), payload });
                }
                meter.show("received", payload.len(), part.total());
            }
        }
    }
    Err(Failure::Other("the reply has no end".into()))
}

/// A line on stderr that says how far a long transfer is.
struct Meter {
    is_wanted: bool,
    is_shown: bool,
}

impl Meter {
    fn show(&mut self, what: &str, bytes: usize, total: Option<u32>) {
        if self.is_wanted {
            self.is_shown = true;
            let of = total.map(|total| format!(" of {total}")).unwrap_or_default();
            eprint!("\r{bytes}{of} bytes {what}\x1b[K");
        }
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        if self.is_shown {
            eprintln!();
        }
    }
}

/// Shows what there is and whatever is new, until the time is over or the server says no more.
async fn observe<S: ConnectedUdp<Error = SocketError>>(
    client: &mut CoapClient<'_, S>,
    request: &coap::Request<'_>,
    duration: Duration,
    arguments: &Arguments,
) -> Result<bool, Failure> {
    let mut observation = client.observe(request);
    let mut is_success = true;
    let mut end = async_io::Timer::after(duration);
    loop {
        match select(observation.next(), &mut end).await {
            Either::First(Ok(Some(reply))) => {
                let mut reply = Reply { code: reply.code(), payload: reply.payload().to_vec() };
                if arguments.output.is_none() && !reply.payload.ends_with(b"\n") {
                    reply.payload.push(b'\n');
                }
                is_success = show(&reply, arguments)?;
            }
            Either::First(Ok(None)) => {
                eprintln!("coap-client: the server sends no more notifications");
                return Ok(is_success);
            }
            Either::First(Err(error)) => return Err(error.into()),
            Either::Second(_) => break,
        }
    }
    // It would end with the session as well, but a server that goes without close_notify hears of that much later.
    observation.cancel().await?;
    Ok(is_success)
}

/// Puts a reply where it belongs, and says whether it is a 2.xx.
fn show(reply: &Reply, arguments: &Arguments) -> Result<bool, Failure> {
    if !reply.code.is_success() {
        let diagnostic = String::from_utf8_lossy(&reply.payload);
        eprintln!("coap-client: {} for {} {}", reply.code, arguments.uri.path, diagnostic.trim_end());
        return Ok(false);
    }
    let written = match &arguments.output {
        Some(file) => write_file(file, &reply.payload),
        None => {
            let mut stdout = std::io::stdout();
            let written = stdout.write_all(&reply.payload).and_then(|()| stdout.flush());
            written.map_err(|error| format!("stdout: {error}"))
        }
    };
    written.map_err(Failure::Other)?;
    Ok(true)
}

/// Writes a file whole, or leaves it as it was: it is written under another name first.
fn write_file(file: &Path, bytes: &[u8]) -> Result<(), String> {
    // Devices and pipes are no files that could be replaced.
    if file.metadata().is_ok_and(|metadata| !metadata.is_file()) {
        return std::fs::write(file, bytes).map_err(|error| format!("{}: {error}", file.display()));
    }
    let mut name = file.as_os_str().to_owned();
    name.push(".part");
    let part = PathBuf::from(name);
    std::fs::write(&part, bytes).and_then(|()| std::fs::rename(&part, file)).map_err(|error| {
        let _ = std::fs::remove_file(&part);
        format!("{}: {error}; it is as it was before", file.display())
    })
}

fn resolve(host: &str, port: u16, local: Option<SocketAddr>) -> Result<SocketAddr, String> {
    let addresses =
        (host, port).to_socket_addrs().map_err(|error| format!("{host} is no known host: {error}"))?;
    let fits = |address: &SocketAddr| local.is_none_or(|local| local.is_ipv4() == address.is_ipv4());
    let mut addresses = addresses.filter(fits);
    addresses.next().ok_or_else(|| format!("{host} has no address of the kind that -a asks for"))
}

/// Says what to check.
fn explain(error: &nal::Error<std::io::Error>, remote: SocketAddr) -> String {
    match error {
        nal::Error::Socket(error) if error.kind() == ErrorKind::ConnectionRefused => {
            format!("nothing listens at {remote}: is the server running, and is the port right?")
        }
        nal::Error::Dtls(Dtls::NoAnswer) => format!("{remote}: {error}"),
        error => error.to_string(),
    }
}
