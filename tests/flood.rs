//! An endpoint of a thousand sessions under a flood: nobody loses a session, and honest newcomers get in.

mod support;

use std::time::Duration;

use dtls_psk::{Config, Path};
use rand::RngExt;

use support::craft::*;
use support::raw::RawClient;
use support::world::{Note, World, path_from, psk};
use support::{IDENTITY, KEY, seeded};

const SESSIONS: usize = 1_000;
const ATTACKS: usize = 10_000;

type Big = World<64, 1_010>;

/// Where honest client number `n` is.
fn home(n: usize) -> Path {
    path_from([10, (n >> 8) as u8, n as u8, 1], 40_000)
}

/// The storage of a thousand sessions is built on the stack before it goes to its place, where nothing is optimised.
fn with_room(test: fn()) {
    let thread = std::thread::Builder::new().stack_size(64 << 20).spawn(test).unwrap();
    thread.join().unwrap();
}

struct Town {
    world: Big,
    residents: Vec<RawClient>,
}

impl Town {
    fn new(seed: u64) -> Self {
        let config = Config::coap().with_sessions_per_identity(1_010);
        let mut world = Big::with_config(seed, config);
        let residents = (0..SESSIONS)
            .map(|n| {
                let mut raw = RawClient::new(IDENTITY, KEY, seed << 32 | n as u64);
                world.raw_handshake(home(n), &mut raw);
                raw
            })
            .collect();
        assert_eq!(world.server.sessions().count(), SESSIONS);
        world.log.clear();
        Self { world, residents }
    }

    /// One of the residents sends data and gets data.
    fn resident_talks(&mut self, n: usize) {
        self.world.assert_raw_data_flows(home(n), &mut self.residents[n]);
    }

    /// In the end, every session is there and carries data.
    fn everybody_is_well(mut self) {
        for n in 0..SESSIONS {
            self.resident_talks(n);
        }
        assert_eq!(self.world.server.stats().sessions_evicted, 0);
        self.world.run_for(Duration::from_secs(301));
        assert_eq!(self.world.server.handshakes(), 0, "no slot is held");
    }

    /// How often an honest newcomer has to say hello until it has its session: once more for each hello without an answer.
    fn newcomer(&mut self, seed: u64, mut meanwhile: impl FnMut(&mut Self)) -> usize {
        let at = path_from([172, 16, seed as u8, 9], 50_000 + seed as u16);
        let mut raw = RawClient::new(IDENTITY, KEY, 0xF00D_0000 | seed);
        for attempt in 1..100 {
            let hello = raw.hello();
            let replies = self.world.hit(at, &hello);
            assert_eq!(replies.len(), 1, "a cookie is there for everybody");
            raw.follow(&replies);
            meanwhile(self);
            let hello = raw.hello();
            let flight = self.world.hit(at, &hello);
            if flight.is_empty() {
                // Its timer is the constrained profile's.
                self.world.now = self.world.now + Duration::from_secs(9);
                while self.world.server.handle_timeout(self.world.now).is_some() {}
                raw = RawClient::new(IDENTITY, KEY, 0xF00D_0000 | seed << 8 | attempt as u64);
                continue;
            }
            raw.take_server_flight(&flight);
            raw.exchange_keys();
            meanwhile(self);
            let flight = raw.key_flight();
            let last = self.world.hit(at, &flight);
            if last.is_empty() {
                raw = RawClient::new(IDENTITY, KEY, 0xF00D_0000 | seed << 8 | attempt as u64);
                continue;
            }
            raw.take_last_flight(&last);
            self.world.server.close(&at);
            self.world.answers(at);
            return attempt;
        }
        panic!("a newcomer is kept out");
    }
}

/// Spoofed hellos, forged records for every session, and all kinds of nonsense: the sources cannot receive, so no slot is
/// taken, no more bytes go out than came in, and newcomers never even notice.
#[test]
fn spoofed_sources() {
    with_room(|| {
        let mut town = Town::new(1);
        let mut rng = seeded(2);
        let (mut came, mut went) = (0, 0);
        for n in 0..ATTACKS {
            let victim = rng.random_range(0..SESSIONS);
            let stranger = path_from(rng.random(), rng.random());
            let number: u64 = rng.random_range(0..1 << 40);
            let (from, datagram) = match n % 5 {
                0 => {
                    let mut hello = ClientHello::new(rng.random());
                    if n % 2 == 0 {
                        hello.cookie = vec![rng.random(); 16];
                    }
                    (stranger, hello.datagram(u16::from(n % 2 == 0), number))
                }
                // As a victim that has rebooted would.
                1 => (home(victim), ClientHello::new(rng.random()).datagram(0, number)),
                2 => (home(victim), record(APPLICATION_DATA, 1, number, &rng.random::<[u8; 32]>())),
                3 => (home(victim), record(ALERT, 0, number, &[2, 40])),
                _ => (home(victim), record(HANDSHAKE, 1, number, &rng.random::<[u8; 32]>())),
            };
            came += datagram.len();
            let answers = town.world.hit(from, &datagram);
            let answered: usize = answers.iter().map(Vec::len).sum();
            assert!(answered <= datagram.len(), "{answered} bytes for {}", datagram.len());
            went += answered;
            assert_eq!(town.world.server.handshakes(), 0, "a slot for a stranger");
            if n % 10 == 0 {
                town.resident_talks(n / 10);
            }
            if n % 500 == 0 {
                assert_eq!(town.newcomer(n as u64 / 500, |_| {}), 1, "refused after {n}");
            }
        }
        println!("{ATTACKS} spoofed datagrams: {came} bytes in, {went} bytes out, no newcomer refused");
        let closed = town.world.log.iter().any(|(_, note)| matches!(note, Note::Failed(_)));
        assert!(!closed);
        town.everybody_is_well();
    });
}

/// Attackers who own their addresses leave handshakes half open: from one network, and from thousands. How long a newcomer
/// waits is measured, and bounded.
#[test]
fn half_open_handshakes() {
    with_room(|| {
        println!("attackers                 hellos of a newcomer, on average and at most");
        for (name, networks, bound) in
            [("one address", 0, 1), ("one network of /24", 1, 1), ("4,000 networks", 4_000, 2)]
        {
            let mut town = Town::new(3);
            let mut rng = seeded(4);
            let mut attacker = |town: &mut Town| {
                let ip = match networks {
                    0 => [198, 51, 100, 7],
                    1 => [198, 51, 100, rng.random()],
                    many => {
                        let [high, low] = u16::to_be_bytes(rng.random_range(0..many));
                        [198, high, low, 1]
                    }
                };
                let from = path_from(ip, rng.random_range(1_024..60_000));
                let mut raw = RawClient::new(b"nobody", b"no key", rng.random());
                let hello = raw.hello();
                let replies = town.world.hit(from, &hello);
                raw.follow(&replies);
                let hello = raw.hello();
                town.world.hit(from, &hello);
            };
            let mut attempts = Vec::new();
            for n in 0..ATTACKS / 10 {
                // A flood of a thousand handshakes a second.
                for _ in 0..10 {
                    attacker(&mut town);
                    town.world.now = town.world.now + Duration::from_millis(1);
                }
                if n % 5 == 0 {
                    town.resident_talks(n);
                }
                if n % 50 == 49 {
                    attempts.push(town.newcomer(n as u64 / 50, |town| (0..5).for_each(|_| attacker(town))));
                }
            }
            let longest = *attempts.iter().max().unwrap();
            let average = attempts.iter().sum::<usize>() as f64 / attempts.len() as f64;
            println!("{name:25} {average:.2}, {longest}");
            assert!(longest <= bound, "{name}: {attempts:?}");
            town.everybody_is_well();
        }
    });
}

/// Someone with a valid key of his own opens one session after the other: he pushes out his own.
#[test]
fn a_valid_key() {
    with_room(|| {
        let config = Config::coap().with_sessions_per_identity(505);
        let mut world = World::<64, 1_010>::with_config(5, config);
        let mut residents = Vec::new();
        for n in 0..500 {
            let mut raw = RawClient::new(IDENTITY, KEY, 500 + n as u64);
            world.raw_handshake(home(n), &mut raw);
            residents.push(raw);
        }
        world.keys.add(psk(b"mallory", b"his own key"));
        for n in 0..2_000_u16 {
            let [high, low] = n.to_be_bytes();
            let mut raw = RawClient::new(b"mallory", b"his own key", u64::from(n));
            world.raw_handshake(path_from([192, 168, high, low], 1_000), &mut raw);
        }
        let his = world.server.sessions().filter(|(_, peer)| peer.identity == b"mallory").count();
        println!(
            "2,000 sessions of one identity: {his} at the end, {} pushed out, none of others",
            world.server.stats().sessions_evicted
        );
        assert_eq!(his, 505);
        for (n, raw) in residents.iter_mut().enumerate() {
            world.assert_raw_data_flows(home(n), raw);
        }
    });
}
