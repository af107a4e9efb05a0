//! Wireshark's decoder as the judge of what DTLS 1.3 seals: it opens our records with the secrets of our key log.
//!
//! It opens those whose numbers have 16 bits: up to 4.6, it takes the mask of shorter ones for that of the upper byte. So
//! both sides speak until their numbers are that long, and it is shown no others.

use std::{fmt::Write, sync::Mutex};

use dtls_psk::{
    CipherSuite, Config, Connection, Endpoint, Instant, KeyLog, Path, ProtocolVersion, Psk, Storage,
};
use rand::{SeedableRng, rngs::ChaCha8Rng};

use crate::{
    peers::{IDENTITY, KEY, Scratch},
    relay::Datagram,
    tshark,
};

/// As many as go out with short numbers while nothing is heard, and more.
const UNHEARD: u8 = 80;

const KEY_UPDATE: u8 = 24;

#[derive(Default)]
struct Lines(Mutex<String>);

impl KeyLog for Lines {
    fn log(&self, label: &str, client_random: &[u8; 32], secret: &[u8]) {
        writeln!(self.0.lock().unwrap(), "{label} {} {}", hex(client_random), hex(secret)).unwrap();
    }
}

/// What Wireshark should find in a datagram.
struct Said {
    datagram: Datagram,
    content: String,
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

fn leak<T>(value: T) -> &'static T {
    Box::leak(Box::new(value))
}

/// A client and a server without a network between them, and all that they said.
struct Pair {
    client: Connection<'static>,
    server: Endpoint<'static, 1, 1>,
    path: Path,
    now: Instant,
    rng: ChaCha8Rng,
    said: Vec<Said>,
}

impl Pair {
    fn new(config: Config<'static>) -> Self {
        let psk = leak(Psk::new(IDENTITY.as_bytes(), KEY.as_bytes()).unwrap());
        let (config, mut rng) = (leak(config), ChaCha8Rng::seed_from_u64(1));
        let now = Instant::from_millis(1_000);
        let storage = Box::leak(Box::new(Storage::new()));
        let server = Endpoint::new(config, psk, storage, &mut rng).unwrap();
        let client = Connection::client(config, psk, &mut rng, now).unwrap();
        let path = Path { local: ([127, 0, 0, 1], 5684).into(), remote: ([127, 0, 0, 1], 40_000).into() };
        let mut pair = Self { client, server, path, now, rng, said: Vec::new() };
        pair.settle();
        assert!(pair.client.peer().is_some() && pair.server.peer(&path).is_some());
        pair
    }

    /// Passes on what both have to say until they are silent.
    fn settle(&mut self) {
        let mut buf = [0; 2048];
        loop {
            if let Some(len) = self.client.poll_transmit(&mut buf).unwrap() {
                self.pass_to_server(buf[..len].to_vec());
            } else if let Some((len, _)) = self.server.poll_transmit(&mut buf).unwrap() {
                self.pass_to_client(buf[..len].to_vec());
            } else {
                return;
            }
        }
    }

    fn pass_to_server(&mut self, mut bytes: Vec<u8>) {
        self.hear(true, &bytes);
        let received = self.server.receive(&mut bytes, self.path, &mut self.rng, self.now);
        received.for_each(|_| ());
    }

    fn pass_to_client(&mut self, mut bytes: Vec<u8>) {
        self.hear(false, &bytes);
        self.client.receive(&mut bytes, self.now).for_each(|_| ());
    }

    /// A handshake message goes by. Of the server's flight, the judge is shown the ServerHello alone.
    fn hear(&mut self, from_client: bool, bytes: &[u8]) {
        const HANDSHAKE: u8 = 22;
        let (bytes, message) = match bytes[0] {
            HANDSHAKE => (&bytes[..13 + usize::from(u16::from_be_bytes([bytes[11], bytes[12]]))], bytes[13]),
            _ => (bytes, KEY_UPDATE),
        };
        let datagram = Datagram { from_client, bytes: bytes.to_vec() };
        self.said.push(Said { datagram, content: format!("message {message}") });
    }

    /// Both sides speak without hearing each other.
    fn speak_long(&mut self) {
        let mut buf = [0; 256];
        for number in 0..UNHEARD {
            let (ping, pong) = ([number; 3], [number; 30]);
            let len = self.client.send(&ping, &mut buf).unwrap();
            let datagram = Datagram { from_client: true, bytes: buf[..len].to_vec() };
            self.said.push(Said { datagram, content: hex(&ping) });
            let (len, _) = self.server.send(&self.path, &pong, &mut buf).unwrap();
            let datagram = Datagram { from_client: false, bytes: buf[..len].to_vec() };
            self.said.push(Said { datagram, content: hex(&pong) });
        }
    }

    /// What the judge is shown: hellos, and of what is sealed the records with long numbers (RFC 9147 §4: the bit S).
    fn shown(self) -> Vec<Said> {
        let is_long = |said: &Said| said.datagram.bytes[0] & 0xE8 == 0x28;
        let is_hello = |said: &Said| said.datagram.bytes[0] & 0xE0 == 0;
        self.said.into_iter().filter(|said| is_hello(said) || is_long(said)).collect()
    }
}

/// Every suite, with connection IDs and without, of both sides, and through KeyUpdates of either.
#[test]
fn records_of_dtls13() {
    let keys = leak(Lines::default());
    let base = Config::new().with_versions(&[ProtocolVersion::Dtls13]).with_keylog(keys);
    for suite in CipherSuite::ALL.iter().filter(|suite| suite.version() == ProtocolVersion::Dtls13) {
        for (connection_id, client_updates) in
            [(None, true), (None, false), (Some(4), true), (Some(4), false)]
        {
            let config = base.with_suites(std::slice::from_ref(suite));
            let config = connection_id.map_or(config, |len| config.with_connection_id(len));
            let mut pair = Pair::new(config);
            pair.speak_long();
            for _ in 0..3 {
                if client_updates {
                    pair.client.update_keys(false).unwrap();
                } else {
                    pair.server.update_keys(&pair.path, false).unwrap();
                }
                pair.settle();
                pair.speak_long();
            }
            let shown = pair.shown();
            let key_log = Scratch::with("keys.log", keys.0.lock().unwrap().as_bytes());
            let (passed, expected): (Vec<_>, Vec<_>) = shown
                .into_iter()
                .map(|said| {
                    let from_client = said.datagram.from_client;
                    (said.datagram, (from_client, said.content))
                })
                .unzip();
            // Four hellos, three KeyUpdates, and most of what was said between them.
            assert!(passed.len() > 4 + 3 + 2 * 4 * 15, "{}", passed.len());
            assert_eq!(tshark::opened13(&passed, &key_log), expected, "{} {connection_id:?}", suite.name());
        }
    }
}
