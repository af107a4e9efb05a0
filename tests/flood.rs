//! An endpoint of a thousand sessions under a flood: nobody loses a session, and honest newcomers get in.

mod support;

use std::time::Duration;

use dtls_psk::{Config, Instant, Path};
use rand::RngExt;
use rand::rngs::ChaCha8Rng;

use support::craft::*;
use support::net::{Direction, Packet};
use support::raw::RawClient;
use support::world::{Note, World, path_from, psk};
use support::{IDENTITY, KEY, parse, seeded};

const SESSIONS: usize = 1_000;
/// Those of them whose clients have timers, and are looked at all the time. The others are only looked at when they talk.
const CITIZENS: usize = 40;
/// Of each kind.
const ATTACKS: usize = 10_000;

/// Retransmission after 9 s, on both sides.
const CONFIG: Config<'static> = Config::coap().with_versions(&[dtls_psk::ProtocolVersion::Dtls12]);
/// Handshake slots.
const SLOTS: usize = 64;
const TICK: Duration = Duration::from_millis(1);

type Big = World<SLOTS, 1_010>;

/// Every address of a quarter is in a network of its own, half of them of IPv6.
fn address(quarter: u8, n: usize) -> Path {
    let n = n as u16;
    let [high, low] = n.to_be_bytes();
    if n.is_multiple_of(2) {
        path_from([quarter, high, low, 1], 40_000)
    } else {
        path_from([0x2001, 0xD00 + u16::from(quarter), n, 0, 0, 0, 0, 1], 40_000)
    }
}

/// Where resident number `n` is.
fn home(n: usize) -> Path {
    address(10, n)
}

/// Where newcomer number `n` comes from.
fn inn(n: usize) -> Path {
    address(172, n)
}

/// Every resident has an identity of its own.
fn identity(n: usize) -> [u8; 2] {
    (n as u16).to_be_bytes()
}

/// Anywhere.
fn stranger(rng: &mut ChaCha8Rng) -> Path {
    if rng.random() {
        path_from(rng.random::<[u8; 4]>(), rng.random())
    } else {
        path_from(rng.random::<[u16; 8]>(), rng.random())
    }
}

/// The storage of a thousand sessions is built on the stack before it goes to its place, where nothing is optimised.
fn with_room(test: fn()) {
    let thread = std::thread::Builder::new().stack_size(64 << 20).spawn(test).unwrap();
    thread.join().unwrap();
}

/// Resident number `n`, with a session.
fn settled(world: &mut Big, n: usize, seed: u64) -> RawClient {
    let mut raw = RawClient::new(&identity(n), KEY, seed << 32 | n as u64);
    world.raw_handshake(home(n), &mut raw);
    raw
}

struct Town {
    world: Big,
    residents: Vec<RawClient>,
    /// How often one of them had to begin anew, because its session had been pushed out.
    pushed_out: usize,
    /// How often the citizens have asked.
    asked: usize,
    answered: usize,
    /// Newcomers so far, and since when those wait that have no session yet.
    newcomers: usize,
    waiting: Vec<Instant>,
    /// How long the others have waited.
    waited: Vec<Duration>,
    ticks: usize,
}

impl Town {
    fn new(seed: u64, config: Config<'static>) -> Self {
        let mut world = Big::with_config(seed, config);
        (0..SESSIONS).for_each(|n| world.keys.add(psk(&identity(n), KEY)));
        for n in 0..CITIZENS {
            world.client_with(config, psk(&identity(n), KEY), home(n));
        }
        let all = |world: &Big| world.clients.iter().all(|client| client.is_established());
        assert!(world.run_until(Duration::from_secs(1), all));
        world.run_for(Duration::from_secs(1));
        let residents = (CITIZENS..SESSIONS).map(|n| settled(&mut world, n, seed)).collect();
        assert_eq!(world.server.sessions().count(), SESSIONS);
        world.log.clear();
        Self {
            world,
            residents,
            pushed_out: 0,
            asked: 0,
            answered: 0,
            newcomers: 0,
            waiting: Vec::new(),
            waited: Vec::new(),
            ticks: 0,
        }
    }

    /// The life of the town goes on: one resident after the other talks, citizens ask and are answered. Whoever is new and
    /// has got in talks too, and leaves.
    fn tick(&mut self, time: Duration) {
        self.ticks += 1;
        if self.ticks.is_multiple_of(10) {
            self.resident_talks(self.ticks / 10 % self.residents.len());
        }
        if self.ticks.is_multiple_of(5) {
            self.citizen_asks(self.ticks / 5 % CITIZENS);
        }
        self.world.run_for(time);
        for (path, note) in std::mem::take(&mut self.world.log) {
            match note {
                Note::Data(question) if question.starts_with(b"question") => {
                    let bytes = self.world.seal(&path, &question);
                    let packet = Packet { direction: Direction::ToClient, path, bytes };
                    self.world.net.send(self.world.now, packet);
                }
                Note::Data(_) | Note::Established | Note::Refused(_) | Note::Closed => {}
                other => panic!("{other:?}"),
            }
        }
        for citizen in &mut self.world.clients[..CITIZENS] {
            for note in citizen.log.drain(..) {
                assert!(matches!(note, Note::Data(_) | Note::Established), "{note:?}");
                self.answered += usize::from(matches!(note, Note::Data(_)));
            }
        }
        let mut at = CITIZENS;
        while let Some(newcomer) = self.world.clients.get(at) {
            if !newcomer.is_established() {
                at += 1;
                continue;
            }
            self.world.assert_data_flows(at);
            self.world.server.close(&self.world.clients.remove(at).path);
            let since = self.waiting.remove(at - CITIZENS);
            self.waited.push(self.world.now.saturating_since(since));
        }
    }

    fn resident_talks(&mut self, n: usize) {
        if self.world.server.peer(&home(CITIZENS + n)).is_none() {
            self.pushed_out += 1;
            self.residents[n] = settled(&mut self.world, CITIZENS + n, self.ticks as u64);
        }
        self.world.assert_raw_data_flows(home(CITIZENS + n), &mut self.residents[n]);
    }

    fn citizen_asks(&mut self, n: usize) {
        self.asked += 1;
        let bytes = self.world.clients[n].seal(&[&b"question"[..], &self.asked.to_be_bytes()].concat());
        self.world.net.send(self.world.now, Packet { direction: Direction::ToServer, path: home(n), bytes });
    }

    /// Every citizen has its turn.
    fn everybody_asks(&mut self) {
        (0..5 * CITIZENS).for_each(|_| self.tick(TICK));
    }

    fn newcomer_comes(&mut self) {
        self.world.client_with(CONFIG, psk(IDENTITY, KEY), inn(self.newcomers));
        self.newcomers += 1;
        self.waiting.push(self.world.now);
    }

    /// What no newcomer waited longer for.
    fn longest_wait(&self) -> Duration {
        self.waited.iter().max().copied().unwrap_or_default()
    }

    /// In the end, every session is there and carries data, and no question was left without its answer.
    fn everybody_is_well(mut self) {
        self.everybody_asks();
        let open = self.asked - self.answered;
        assert!(open <= 20, "{open} questions are more than may be under way");
        for n in 0..self.residents.len() {
            self.resident_talks(n);
        }
        for n in 0..CITIZENS {
            self.world.assert_data_flows(n);
        }
        self.world.run_for(Duration::from_secs(301));
        assert_eq!(self.world.server.handshakes(), 0, "no slot is held");
    }
}

/// What can be sent by someone who does not receive at the address that it gives: hellos, forged records, and the rest of
/// a handshake as if there had been a hello.
fn spoofed(kind: usize, rng: &mut ChaCha8Rng) -> (Path, Vec<u8>) {
    let somebody = if rng.random() { home(rng.random_range(0..SESSIONS)) } else { stranger(rng) };
    let number = rng.random_range(0..1 << 40);
    let epoch = rng.random_range(0..2);
    let mut body = rng.random::<[u8; 32]>().to_vec();
    body.truncate(rng.random_range(0..=32));
    let datagram = match kind % KINDS {
        #[cfg(feature = "dtls13")]
        3 => spoofed13(rng),
        0 => ClientHello::new(rng.random()).datagram(0, number),
        1 => match rng.random_range(0..5) {
            0 => record(APPLICATION_DATA, epoch, number, &body),
            1 => record(HANDSHAKE, 1, number, &body),
            2 => record(TLS12_CID, 1, number, &body),
            3 => record(ALERT, 1, number, &body),
            _ => record(ALERT, 0, number, &[2, rng.random()]),
        },
        _ => match rng.random_range(0..3) {
            0 => {
                let cookie = rng.random::<[u8; 16]>().to_vec();
                let hello = ClientHello { cookie, ..ClientHello::new(rng.random()) };
                hello.datagram(rng.random_range(1..5), number)
            }
            1 => record(HANDSHAKE, 0, number, &message(CLIENT_KEY_EXCHANGE, 2, &vec16(IDENTITY))),
            _ => [
                record(HANDSHAKE, 0, number, &message(CLIENT_KEY_EXCHANGE, 2, &vec16(IDENTITY))),
                record(CHANGE_CIPHER_SPEC, 0, number + 1, &[1]),
                record(HANDSHAKE, 1, 0, &rng.random::<[u8; 40]>()),
            ]
            .concat(),
        },
    };
    (somebody, datagram)
}

const KINDS: usize = if cfg!(feature = "dtls13") { 4 } else { 3 };

/// The same of DTLS 1.3.
#[cfg(feature = "dtls13")]
fn spoofed13(rng: &mut ChaCha8Rng) -> Vec<u8> {
    use support::raw13::{EXT_COOKIE, RawClient13, ack};
    let mut raw = RawClient13::new(&identity(rng.random_range(0..SESSIONS)), b"guessed", rng.random());
    raw.hello.random = rng.random();
    match rng.random_range(0..4) {
        0 => raw.hello(),
        1 => {
            raw.extensions().push((EXT_COOKIE, vec16(&rng.random::<[u8; 49]>())));
            raw.message_seq = 1;
            raw.hello()
        }
        2 => record(ACK, 0, rng.random_range(0..9), &ack(&[(2, 0), (2, 1)])),
        _ => {
            let mut datagram = rng.random::<[u8; 40]>().to_vec();
            datagram[0] = 0x20 | datagram[0] & 0x1F;
            datagram
        }
    }
}

/// The sources cannot receive, so no slot is taken, no more bytes go out than came in, and newcomers never even notice.
#[test]
fn spoofed_sources() {
    with_room(|| {
        // Citizens and server speak both versions, the others DTLS 1.2.
        let mut town = Town::new(1, Config::coap());
        let mut rng = seeded(2);
        let (mut came, mut went) = (0, 0);
        for n in 0..KINDS * ATTACKS {
            let (from, datagram) = spoofed(n, &mut rng);
            let held = town.world.server.handshakes();
            let answers = town.world.hit(from, &datagram);
            let answered: usize = answers.iter().map(Vec::len).sum();
            assert!(answered <= datagram.len(), "{answered} bytes for {}", datagram.len());
            // A HelloVerifyRequest with its cookie of 16 bytes has 44, a HelloRetryRequest 126, and an alert that the cookie is not good 15.
            let is_one = |answer: &Vec<u8>| match answer.len() {
                44 => parse::cookie(answer).is_some(),
                126 => parse::message_types(std::slice::from_ref(answer)) == [SERVER_HELLO],
                _ => parse::plain_alert(answer) == Some((2, ILLEGAL_PARAMETER)),
            };
            assert!(answers.iter().all(is_one), "{answers:?}");
            assert_eq!(town.world.server.handshakes(), held, "a slot for a stranger");
            came += datagram.len();
            went += answered;
            if n % 250 == 0 {
                town.newcomer_comes();
            }
            town.tick(TICK);
        }
        (0..100).for_each(|_| town.tick(TICK));
        println!(
            "{ATTACKS} spoofed datagrams of each kind: {came} bytes in, {went} bytes out; {} answers to citizens, \
             {} newcomers, the longest waited {:?}",
            town.answered,
            town.waited.len(),
            town.longest_wait(),
        );
        assert_eq!(town.waited.len(), KINDS * ATTACKS / 250);
        // Three round trips of 20 ms, and not one retransmission.
        assert!(town.longest_wait() < Duration::from_millis(100));
        let stats = town.world.server.stats();
        assert_eq!(town.pushed_out, 0);
        assert_eq!((stats.sessions_evicted, stats.handshakes_refused), (0, 0));
        town.everybody_is_well();
    });
}

/// Where attackers receive: the networks that they have, as numbers that make addresses.
type Addresses = fn(usize) -> Path;

/// Leaves a handshake half open, from an address that receives.
fn half_open(world: &mut Big, from: Path, seed: u64) {
    let mut raw = RawClient::new(b"nobody", b"no key", seed);
    let hello = raw.hello();
    let replies = world.hit(from, &hello);
    raw.follow(&replies);
    let hello = raw.hello();
    world.hit(from, &hello);
}

/// A minute of half-open handshakes at so many a second from these addresses, at any time, and spoofed datagrams of all kinds
/// between them. Two newcomers a second; those who are not in then go on trying for another minute of it.
fn flooded(seed: u64, addresses: Addresses, per_second: f64) -> Town {
    let mut town = Town::new(seed, CONFIG);
    let mut rng = seeded(seed);
    let mut attacks = 0;
    for n in 0..120_000 {
        if rng.random_bool(per_second / 1_000.0) {
            half_open(&mut town.world, addresses(attacks), rng.random());
            attacks += 1;
        }
        if n % 10 == 0 {
            let (from, datagram) = spoofed(n / 10, &mut rng);
            town.world.hit(from, &datagram);
        }
        if n < 60_000 && n % 500 == 0 {
            town.newcomer_comes();
        }
        town.tick(TICK);
        if n >= 60_000 && town.waiting.is_empty() {
            break;
        }
    }
    town
}

/// Attackers who own the addresses that they send from, and leave handshakes half open.
///
/// One address, and one network, keep nobody out. With a network for each handshake it is a matter of numbers: a slot is
/// kept for a quarter of the retransmission timeout, here 2.25 s, before anybody else may have it, so 64 slots are enough
/// for 28 handshakes a second. Up to there nobody notices. Beyond, a hello finds a slot with the same chance as those of the
/// attackers, and a newcomer has as many chances as it sends hellos, at 0, 9, 27, 63 and 123 s.
#[test]
fn half_open_handshakes() {
    with_room(|| {
        println!("attackers                  a second  newcomers  at once  late  the longest   not in yet");
        let one_address: Addresses = |n| path_from([198, 51, 100, 7], n as u16);
        let a_24: Addresses = |n| path_from([198, 51, 100, n as u8], n as u16);
        let a_48: Addresses =
            |n| path_from([0x2001, 0xDBA, 0, n as u16, (n >> 16) as u16, 0, 0, 1_u16], 1_000);
        let networks: Addresses = |n| path_from([198, (n >> 8) as u8, n as u8, 1], 1_000);
        let a_32: Addresses =
            |n| path_from([0x2001, 0xDBA, n as u16, (n >> 16) as u16, 0, 0, 0, 1_u16], 1_000);
        for (name, addresses, per_second, at_once, in_the_end) in [
            ("one address", one_address, 100.0, 1.0, 1.0),
            ("one network of /24", a_24, 100.0, 1.0, 1.0),
            ("one network of /48", a_48, 100.0, 1.0, 1.0),
            ("a network for each", networks, 20.0, 1.0, 1.0),
            ("a network for each", networks, 50.0, 0.4, 0.8),
            ("a network for each, IPv6", a_32, 100.0, 0.15, 0.4),
        ] {
            let town = flooded(3, addresses, per_second);
            let did_not_wait = town.waited.iter().filter(|wait| **wait < Duration::from_millis(100)).count();
            println!(
                "{name:26} {per_second:8}  {:9}  {did_not_wait:7}  {:4}  {:>11.1?}  {:11}",
                town.newcomers,
                town.waited.len() - did_not_wait,
                town.longest_wait(),
                town.waiting.len(),
            );
            assert!(did_not_wait as f64 >= at_once * town.newcomers as f64);
            assert!(town.waited.len() as f64 >= in_the_end * town.newcomers as f64);
            assert_eq!(town.pushed_out, 0);
            town.everybody_is_well();
        }
    });
}

/// Someone with a valid key of his own opens one session after the other. Nobody waits for him, and he pushes out his own
/// from `sessions_per_identity` on. Below that, where the pool is full, he takes it from who has been silent the longest:
/// those who come again within the time that he needs to open as many as he may have are never the ones.
#[test]
fn a_valid_key() {
    with_room(|| {
        println!(
            "sessions of an identity  a second  opened  his at the end  residents pushed out  newcomers waited"
        );
        let beyond = 1_010 - SESSIONS;
        for (per_identity, per_second, opened) in
            [(beyond, 1_000, 2_000), (505, 1_000, 2_000), (505, 20, 500)]
        {
            let mut town = Town::new(5, CONFIG.with_sessions_per_identity(per_identity));
            town.world.keys.add(psk(b"mallory", b"his own key"));
            town.everybody_asks();
            let mut most_absent = 0;
            for n in 0..opened {
                let [high, low] = (n as u16).to_be_bytes();
                let mut raw = RawClient::new(b"mallory", b"his own key", n);
                town.world.raw_handshake(path_from([192, 168, high, low], 1_000), &mut raw);
                if per_identity == 505 && n % 20 == 0 {
                    town.newcomer_comes();
                }
                (0..1_000 / per_second).for_each(|_| town.tick(TICK));
                let others =
                    town.world.server.sessions().filter(|(_, peer)| peer.identity != b"mallory").count();
                most_absent = most_absent.max(SESSIONS.saturating_sub(others));
            }
            let his = town.world.server.sessions().filter(|(_, peer)| peer.identity == b"mallory").count();
            println!(
                "{per_identity:23}  {per_second:8}  {opened:6}  {his:14}  {most_absent:9} at once  {:?}",
                town.longest_wait()
            );
            // A newcomer has one as well, for a moment.
            assert!(his <= per_identity && most_absent <= per_identity - beyond + town.newcomers.min(2));
            assert!(town.longest_wait() < Duration::from_millis(100));
            town.everybody_is_well();
        }
    });
}
