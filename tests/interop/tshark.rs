//! Wireshark's decoder as an independent judge: a recorded session must decrypt with the key log and hold nothing
//! malformed.

use std::{fmt::Write, process::Command};

use dtls_psk::CipherSuite;

use crate::{
    matrix, ours,
    peers::{Ended, Peer, Scratch, program},
    relay::{Datagram, FAIR, Relay},
    suite::{SUITES, Suite},
};

/// The port under which the server appears in the capture.
const SERVER_PORT: u16 = 5684;
const CLIENT_PORT: u16 = 40_000;

/// What the judge saw in one datagram. Where it holds several records, values are separated by commas.
#[derive(Debug)]
pub struct Seen {
    pub from_client: bool,
    pub record_versions: String,
    /// The suite that a ServerHello chose, as `0xc0a8`.
    pub suite: Option<u16>,
    /// The CoAP code of decrypted application data, as `1` (GET) or `69` (2.05).
    pub coap_code: String,
    pub coap_path: String,
    pub coap_payload: String,
}

/// The fields asked for, in the order in which `Seen` is read. The first three are the judge's complaints.
const FIELDS: [&str; 10] = [
    "_ws.malformed",
    "_ws.expert.severity",
    "_ws.expert.message",
    "udp.srcport",
    "dtls.record.version",
    "dtls.handshake.type",
    "dtls.handshake.ciphersuite",
    "coap.code",
    "coap.opt.uri_path",
    "data.data",
];

/// The severity that Wireshark calls a warning; errors are higher.
const WARNING: u32 = 0x0060_0000;

/// Lets tshark decrypt and dissect what passed a relay, and fails on anything that it finds wrong.
#[track_caller]
pub fn judge(passed: &[Datagram], key_log: &Scratch) -> Vec<Seen> {
    let capture = capture(passed);
    let mut command = program("tshark");
    command.args(["-n", "-r", capture.path(), "-T", "fields"]);
    command.args(["-E", "separator=|", "-E", "occurrence=a"]);
    command.args(["-o", &format!("tls.keylog_file:{}", key_log.path())]);
    command.args(["-d", &format!("udp.port=={SERVER_PORT},dtls")]);
    command.args(["-d", &format!("dtls.port=={SERVER_PORT},coap")]);
    for field in FIELDS {
        command.args(["-e", field]);
    }
    let ended = Peer::spawn(&mut command).wait();
    assert!(ended.status.success(), "tshark failed: {ended}");
    let text = String::from_utf8_lossy(&ended.stdout);
    let seen: Vec<Seen> = text.lines().map(|line| read(line, &ended)).collect();
    assert_eq!(seen.len(), passed.len(), "datagrams are missing: {ended}");
    seen
}

#[track_caller]
fn read(line: &str, all: &Ended) -> Seen {
    let values: Vec<&str> = line.split('|').collect();
    assert_eq!(values.len(), FIELDS.len(), "{line}\n{all}");
    let [malformed, severities, messages, port, versions, types, suites, code, path, payload] =
        values[..].try_into().unwrap();
    let severe = severities
        .split(',')
        .filter_map(|severity| severity.parse::<u32>().ok())
        .any(|severity| severity >= WARNING);
    assert!(malformed.is_empty() && !severe, "Wireshark complains about `{malformed}{messages}`:\n{all}");
    let is_server_hello = types.split(',').any(|kind| kind == "2");
    let suite = || u16::from_str_radix(suites.trim_start_matches("0x"), 16).unwrap();
    Seen {
        from_client: port != SERVER_PORT.to_string(),
        record_versions: versions.into(),
        suite: is_server_hello.then(suite),
        coap_code: code.into(),
        coap_path: path.into(),
        coap_payload: payload.into(),
    }
}

/// The content of each record of DTLS 1.3 that Wireshark opens, and whether it came from the client.
#[track_caller]
pub fn opened13(passed: &[Datagram], key_log: &Scratch) -> Vec<(bool, String)> {
    let capture = capture(passed);
    let tshark = matrix::folder().join("tshark");
    assert!(tshark.is_file(), "there is no tshark for DTLS 1.3: `cargo xtask test` brings it");
    let mut command = Command::new(tshark);
    command.args(["-n", "-r", capture.path(), "-T", "fields", "-E", "separator=|", "-E", "occurrence=a"]);
    command.args(["-o", &format!("tls.keylog_file:{}", key_log.path())]);
    command.args(["-d", &format!("udp.port=={SERVER_PORT},dtls")]);
    command.args(["-d", &format!("dtls.port=={SERVER_PORT},data")]);
    for field in ["_ws.malformed", "udp.srcport", "dtls.handshake.type", "data.data"] {
        command.args(["-e", field]);
    }
    let ended = Peer::spawn(&mut command).wait();
    assert!(ended.status.success(), "tshark failed: {ended}");
    let text = String::from_utf8_lossy(&ended.stdout);
    let lines = text.lines().map(|line| {
        let [malformed, port, message, data] = line.split('|').collect::<Vec<_>>()[..] else {
            panic!("{line}: {ended}")
        };
        assert!(malformed.is_empty(), "Wireshark complains: {ended}");
        let content = if message.is_empty() { data.into() } else { format!("message {message}") };
        (port != SERVER_PORT.to_string(), content)
    });
    lines.collect()
}

/// The datagrams as a capture file.
fn capture(passed: &[Datagram]) -> Scratch {
    let mut dump = String::new();
    for Datagram { from_client, bytes } in passed {
        // text2pcap swaps the ports of what goes "out".
        dump.push(if *from_client { 'I' } else { 'O' });
        for (line, bytes) in bytes.chunks(16).enumerate() {
            write!(dump, "\n{:06x}", 16 * line).unwrap();
            for byte in bytes {
                write!(dump, " {byte:02x}").unwrap();
            }
        }
        dump.push('\n');
    }
    let dump = Scratch::with("session.txt", dump);
    let capture = Scratch::new("session.pcapng");
    let ended = Peer::spawn(
        program("text2pcap")
            .args(["-D", "-4", "127.0.0.1,127.0.0.1"])
            .args(["-u", &format!("{CLIENT_PORT},{SERVER_PORT}")])
            .args([dump.path(), capture.path()]),
    )
    .wait();
    assert!(ended.status.success(), "text2pcap failed: {ended}");
    capture
}

/// Fails unless a client's PUT of `1` to `/led` and its answer were seen in a session with this suite.
#[track_caller]
fn must_show_put(seen: &[Seen], suite: Suite) {
    let hellos: Vec<_> = seen.iter().filter_map(|seen| seen.suite).collect();
    assert_eq!(hellos, [suite.number], "{seen:#?}");
    let request = seen.iter().find(|seen| seen.from_client && !seen.coap_code.is_empty());
    let request = request.unwrap_or_else(|| panic!("no CoAP request: {seen:#?}"));
    assert_eq!(
        (&*request.coap_code, &*request.coap_path, &*request.coap_payload),
        ("3", "led", "31"),
        "{seen:#?}"
    );
    let answer = seen.iter().find(|seen| !seen.from_client && !seen.coap_code.is_empty());
    let answer = answer.unwrap_or_else(|| panic!("no CoAP response: {seen:#?}"));
    assert_eq!(answer.coap_code, "68", "not 2.04: {seen:#?}");
    // All that is protected is of DTLS 1.2; hellos may say 1.0 in front (RFC 6347 §4.2.1).
    let finished = seen.iter().skip_while(|seen| seen.suite.is_none()).skip(1);
    for seen in finished {
        assert!(seen.record_versions.split(',').all(|version| version == "0xfefd"), "{seen:?}");
    }
}

/// The capture with another suite in the ServerHello.
fn disguise(mut passed: Vec<Datagram>, from: u16, to: u16) -> Vec<Datagram> {
    // Headers of record and message, version, random, an empty session id.
    const SUITE: std::ops::Range<usize> = 13 + 12 + 2 + 32 + 1..13 + 12 + 2 + 32 + 1 + 2;
    let mut hellos = passed.iter_mut().filter(|datagram| !datagram.from_client && datagram.bytes[13] == 2);
    let hello = hellos.next().expect("a ServerHello");
    assert_eq!(hello.bytes[SUITE], from.to_be_bytes());
    hello.bytes[SUITE].copy_from_slice(&to.to_be_bytes());
    passed
}

/// Wireshark 4.0 knows the ECDHE_PSK suites of RFC 8442 by name, and has no cipher for them. With the key log, it can open
/// their records when it takes them for the plain suite with the same cipher. It looks into the hellos either way, and into
/// the keys themselves in neither.
#[test]
fn our_programs_with_ephemeral_keys() {
    // In the order of the plain ones; none without the feature.
    let suites = CipherSuite::ALL.iter().filter(|suite| suite.has_forward_secrecy());
    for (ours, plain) in suites.zip(SUITES) {
        let suite = Suite { name: ours.name(), ours: *ours, number: ours.number(), ..plain };
        let key_log = Scratch::new("keys.log");
        let server = ours::server(&[]);
        let relay = Relay::new(server.address, FAIR);
        let options = ["-m", "put", "-e", "1", "--suite", suite.name, "--keylog", key_log.path()];
        let put = ours::client(relay.address, "/led", &options);
        assert!(put.status.success(), "{put}");
        put.must_say(&ours::agreed(suite));
        server.wait_for_session(suite);
        let passed = relay.record().passed;
        let named = judge(&passed, &key_log);
        assert_eq!(named.iter().filter_map(|seen| seen.suite).collect::<Vec<_>>(), [suite.number]);
        must_show_put(&judge(&disguise(passed, suite.number, plain.number), &key_log), plain);
    }
}

#[test]
fn our_programs_among_themselves() {
    for suite in SUITES {
        for logged_by_server in [true, false] {
            let key_log = Scratch::new("keys.log");
            let key_log_option = ["--keylog", key_log.path()];
            let server = ours::server(if logged_by_server { &key_log_option } else { &[] });
            let relay = Relay::new(server.address, FAIR);
            let mut options = vec!["-m", "put", "-e", "1", "--suite", suite.name];
            if !logged_by_server {
                options.extend(key_log_option);
            }
            let put = ours::client(relay.address, "/led", &options);
            assert!(put.status.success(), "{put}");
            put.must_say(&ours::agreed(suite));
            server.wait_for_session(suite);
            must_show_put(&judge(&relay.record().passed, &key_log), suite);
        }
    }
}
