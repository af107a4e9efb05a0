//! What the host programs share: arguments, the log on stderr, and the key log.

use std::fs::File;
use std::io::Write;
use std::net::UdpSocket;
use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use clap::ValueEnum;
use dtls_psk::{CipherSuite, Config, KeyLog, ProtocolVersion};

/// Sends the library's log to stderr: what a user wants to know, or with `verbose` every message of every handshake.
#[allow(dead_code, reason = "the quickstart says by itself what happens")]
pub fn log_to_stderr(quiet: log::LevelFilter, verbose: bool) {
    let level = if verbose { log::LevelFilter::Debug } else { quiet };
    env_logger::Builder::new()
        .filter_module("dtls_psk", level)
        .format(|out, record| writeln!(out, "{}", record.args()))
        .init();
}

/// Which versions of DTLS to speak.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Dtls {
    /// DTLS 1.2 alone
    #[value(name = "1.2")]
    Only12,
    /// DTLS 1.3 alone
    #[value(name = "1.3")]
    Only13,
    /// The newest that both sides know
    #[value(name = "any")]
    Any,
}

impl Dtls {
    pub fn versions(self) -> &'static [ProtocolVersion] {
        match self {
            Self::Only12 => &[ProtocolVersion::Dtls12],
            Self::Only13 => &[ProtocolVersion::Dtls13],
            Self::Any => ProtocolVersion::ALL,
        }
    }
}

/// A cipher suite by its IANA name.
#[allow(dead_code, reason = "the quickstart takes all of them")]
pub fn parse_suite(name: &str) -> Result<CipherSuite, String> {
    let known = || CipherSuite::ALL.iter().map(|suite| suite.name()).collect::<Vec<_>>().join(", ");
    CipherSuite::ALL
        .iter()
        .copied()
        .find(|suite| suite.name().eq_ignore_ascii_case(name))
        .ok_or_else(|| format!("no suite of this program; it has {}", known()))
}

/// A time in seconds, with fractions.
#[allow(dead_code, reason = "the quickstart takes none")]
pub fn parse_seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().map_err(|_| "has to be a number of seconds".to_owned())?;
    Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
}

/// The key log in the NSS format, which Wireshark reads.
#[allow(dead_code, reason = "the quickstart has none")]
pub struct KeyLogFile(Mutex<File>);

impl KeyLogFile {
    /// Appends to the file at `path`.
    #[allow(dead_code, reason = "the quickstart has none")]
    pub fn open(path: &Path) -> Result<Self, String> {
        let file = File::options().create(true).append(true).open(path);
        file.map(|file| Self(Mutex::new(file)))
            .map_err(|error| format!("key log {}: {error}", path.display()))
    }
}

impl KeyLog for KeyLogFile {
    fn log(&self, label: &str, client_random: &[u8; 32], secret: &[u8]) {
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let line = format!("{label} {} {}\n", hex(client_random), hex(secret));
        let written = self.0.lock().map(|mut file| file.write_all(line.as_bytes()));
        if !matches!(written, Ok(Ok(()))) {
            eprintln!("the key log could not be written");
        }
    }
}

/// The default configuration with the versions, the suites and the key log that the arguments ask for.
#[allow(dead_code, reason = "the quickstart has fewer arguments")]
pub fn config<'a>(dtls: Dtls, suites: &'a [CipherSuite], keylog: Option<&'a KeyLogFile>) -> Config<'a> {
    let mut config = Config::default().with_versions(dtls.versions());
    if !suites.is_empty() {
        config = config.with_suites(suites);
    }
    if let Some(keylog) = keylog {
        config = config.with_keylog(keylog);
    }
    config
}

/// Whether this host has IPv6, so that the unspecified IPv6 address takes IPv4 in as well.
#[allow(dead_code, reason = "only servers ask")]
pub fn has_ipv6() -> bool {
    UdpSocket::bind("[::]:0").is_ok()
}
