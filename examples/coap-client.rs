//! A CoAP client over DTLS with pre-shared keys, with some of the flags of libcoap's `coap-client`.
//!
//! ```sh
//! cargo run --release --example coap-client -- -u client1 -k hardfault_secure_key coaps://localhost/temperature
//! cargo run --release --example coap-client -- -m put -e toggle -u client1 -k hardfault_secure_key coaps://localhost/led
//! ```
//!
//! The payload of the reply goes to stdout, everything else to stderr. The exit code is 0 only for a 2.xx reply.

mod host;

use std::io::{ErrorKind, Write};
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::{Parser, ValueEnum};
use dtls_psk::nal::asynch::Client;
use dtls_psk::{CipherSuite, Error as Dtls, Psk, StdClock, coap, nal};
use embedded_nal_async::UdpStack;
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
    #[arg(short = 'e', value_name = "PAYLOAD")]
    payload: Option<String>,

    /// The local address to send from
    #[arg(short = 'a', value_name = "LOCAL_ADDR", value_parser = parse_local)]
    local: Option<SocketAddr>,

    /// Give up after this many seconds in all
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

fn main() -> ExitCode {
    let arguments = Arguments::parse();
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
    let payload: Vec<u8> =
        percent_encoding::percent_decode_str(arguments.payload.as_deref().unwrap_or("")).collect();

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
    let mut client = coap::Client::new(&mut secure, clock, SysRng);
    client.set_deadline(arguments.break_after.saturating_sub(started.elapsed()));
    let reply = client.request(&request).await;
    let is_success = match reply {
        Ok(reply) if reply.code().is_success() => {
            let written = std::io::stdout().write_all(reply.payload());
            written.map_err(|error| format!("stdout: {error}"))?;
            true
        }
        Ok(reply) => {
            let diagnostic = String::from_utf8_lossy(reply.payload());
            eprintln!("coap-client: {} for {path} {diagnostic}", reply.code());
            false
        }
        Err(coap::Error::Socket(error)) => return Err(explain(&error, remote)),
        Err(error) => return Err(error.to_string()),
    };
    // The server forgets the session sooner for it; whether it hears it changes nothing here.
    let _ = secure.close().await;
    Ok(is_success)
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
