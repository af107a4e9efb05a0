//! Whatever the network does, as long as one datagram of so many gets through each way, both ends finish and agree.
//!
//! Every flight here fits into one datagram. One that does not has to arrive whole, as DTLS 1.2 has no acknowledgements:
//! a network that always loses its second datagram keeps it from that for ever. `loss.rs` has those, under chance.

mod support;

use std::cell::Cell;
use std::collections::HashSet;
use std::time::Duration;

use dtls_psk::{CipherSuite, Config};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{RngAlgorithm, TestRng, TestRunner};

use support::net::{Direction, Packet};
use support::parse;
use support::schedule::{Lane, Schedule, Turn};
use support::world::{Note, Small, path, psk};
use support::{IDENTITY, KEY};

/// The largest N of "one in N gets through".
const WORST: u8 = 8;

const CAN_RESUME: bool = cfg!(feature = "resumption");

/// Time enough for every repetition.
const PATIENT: Config<'static> = Config::new().with_handshake_timeout(Duration::from_secs(100_000));
/// Between two repetitions.
const LONGEST_TIMEOUT: Duration = Duration::from_secs(60);

/// What the two ends want of each other.
#[derive(Clone, Copy, Debug)]
struct Wishes {
    /// Which says the version, too.
    suite: usize,
    connection_ids: bool,
    resume: bool,
}

impl Wishes {
    /// Nothing but the first suite of each version.
    fn least() -> impl Iterator<Item = Self> {
        let suites = CipherSuite::ALL.iter().enumerate();
        let is_first = |(at, suite): &(usize, &CipherSuite)| {
            CipherSuite::ALL[..*at].iter().all(|earlier| earlier.version() != suite.version())
        };
        suites.filter(is_first).map(|(suite, _)| Self { suite, connection_ids: false, resume: false })
    }

    /// What the server is configured for, or the client, which needs a cache of its own.
    fn config(self) -> Config<'static> {
        let mut config = PATIENT.with_suites(std::slice::from_ref(&CipherSuite::ALL[self.suite]));
        if self.connection_ids {
            config = config.with_connection_id(1);
        }
        #[cfg(feature = "resumption")]
        if self.resume {
            config = support::resumed::with_cache(config);
        }
        config
    }
}

/// A client and a server that come to an end over a network that only gets bad now: how long it took.
fn finish(wishes: Wishes, make_bad: impl FnOnce(&mut Small)) -> Result<Duration, TestCaseError> {
    let mut world = Small::with_config(1, wishes.config());
    let config = wishes.config();
    if wishes.resume {
        world.client_with(config, psk(IDENTITY, KEY), path(0));
        world.run_for(Duration::from_secs(1));
    }
    make_bad(&mut world);
    let at = path(1);
    let client = world.client_with(config, psk(IDENTITY, KEY), at);
    let start = world.now;
    let both = |world: &Small| world.clients[client].is_established() && world.server.peer(&at).is_some();
    let done = world.run_until(Duration::from_secs(99_000), both);
    prop_assert!(done, "{:?} {:?}", world.clients[client].log, world.log);
    let took = world.now.saturating_since(start);
    world.run_for(Duration::from_secs(60));

    world.assert_agreement(client);
    let peer = world.server.peer(&at).unwrap();
    prop_assert_eq!((peer.identity, peer.resumed), (IDENTITY, wishes.resume));
    for log in [&world.clients[client].log, &world.log_of(at)] {
        prop_assert_eq!(log, &[Note::Established]);
    }
    prop_assert_eq!(world.server.handshakes(), 0);

    // One in so many of the data gets through as well, and none of it twice.
    const SENT: u8 = 3 * WORST;
    for n in 0..SENT {
        let now = world.now;
        for direction in [Direction::ToServer, Direction::ToClient] {
            let bytes = match direction {
                Direction::ToServer => world.clients[client].seal(&[n; 20]),
                Direction::ToClient => world.seal(&at, &[n; 20]),
            };
            world.net.send(now, Packet { direction, path: at, bytes });
        }
    }
    world.run_for(Duration::from_secs(60));
    for log in [&world.clients[client].log, &world.log_of(at)] {
        let mut seen = HashSet::new();
        for note in &log[1..] {
            let Note::Data(data) = note else { panic!("{note:?}") };
            prop_assert!(seen.insert(data[0]) && *data == [data[0]; 20]);
        }
        prop_assert!(seen.len() >= usize::from(SENT / WORST));
    }
    Ok(took)
}

/// Up to seven datagrams in a row are lost, and the next arrives after up to three seconds, up to three times.
fn turns() -> impl Strategy<Value = Vec<Turn>> {
    (1..=WORST).prop_flat_map(|window| {
        let turn = (0..window, vec(0..3_000_u64, 1..=3));
        vec(turn.prop_map(|(lost, arrivals)| Turn { lost, arrivals }), 1..16)
    })
}

fn wishes() -> impl Strategy<Value = Wishes> {
    let suites = 0..CipherSuite::ALL.len();
    (suites, any::<bool>(), any::<bool>()).prop_map(|(suite, connection_ids, resume)| Wishes {
        suite,
        connection_ids,
        resume: resume && CAN_RESUME,
    })
}

/// Any schedule. One that fails is shrunk, and printed. There are sixteen times as many as `PROPTEST_CASES` says.
#[test]
fn any_schedule() {
    let usual = ProptestConfig::default();
    let config = ProptestConfig { cases: 16 * usual.cases, failure_persistence: None, ..usual };
    let mut runner = TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    let longest = Cell::new(Duration::ZERO);
    let outcome = runner.run(&(wishes(), turns(), turns()), |(wishes, to_server, to_client)| {
        let schedule = Schedule { to_server: Lane::new(to_server), to_client: Lane::new(to_client) };
        let took = finish(wishes, |world| world.net.schedule = Some(schedule))?;
        longest.set(longest.get().max(took));
        Ok(())
    });
    outcome.unwrap_or_else(|error| panic!("{error}"));
    println!("the longest handshake took {:.0?}", longest.get());
}

/// As few datagrams as may be get through, from whichever one on: for each N, the longest handshake.
#[test]
fn as_little_as_may_be() {
    for least in Wishes::least() {
        println!("{}", CipherSuite::ALL[least.suite].version());
        println!("one in  full     resumed");
        for window in 1..=WORST {
            let longest = [false, CAN_RESUME].map(|resume| {
                let starts = (0..window)
                    .flat_map(|to_server| (0..window).map(move |to_client| [to_server, to_client]));
                let times = starts.map(|starts| {
                    let [to_server, to_client] = starts.map(|first| {
                        let turn = |lost| Turn { lost, arrivals: vec![10] };
                        // A thousand turns are more than any handshake sees.
                        Lane::new([vec![turn(first)], vec![turn(window - 1); 1_000]].concat())
                    });
                    let wishes = Wishes { resume, ..least };
                    finish(wishes, |world| world.net.schedule = Some(Schedule { to_server, to_client }))
                        .unwrap()
                });
                times.max().unwrap()
            });
            println!("{window:6}  {:<7.1?}  {:.1?}", longest[0], longest[1]);
            // A flight that N repetitions bring there, and N times that until the answer has come back.
            let bound = LONGEST_TIMEOUT * u32::from(window) * u32::from(window) * 3;
            assert!(longest.iter().all(|longest| *longest <= bound), "{longest:?}");
        }
    }
}

/// What a datagram brings, as far as anyone can tell who has no keys.
fn kind(packet: &Packet) -> (Direction, Vec<u8>) {
    let first = packet.bytes[0];
    // In DTLS 1.3, the epoch and how much it is (RFC 9147 §4).
    let sealed = first & 0xE0 == 0x20;
    let kind = if sealed {
        vec![first, packet.bytes.len() as u8]
    } else {
        parse::message_types(std::slice::from_ref(&packet.bytes))
    };
    (packet.direction, kind)
}

/// Whoever reads along chooses: what has been there already may go, what is new is lost as often as it can be.
#[test]
fn against_all_progress() {
    for window in 1..=WORST {
        let least = Wishes::least();
        for wishes in
            least.flat_map(|least| [least, Wishes { resume: CAN_RESUME, connection_ids: true, ..least }])
        {
            let took = finish(wishes, |world| {
                let mut seen = HashSet::new();
                let mut lost = [0; 2];
                world.net.attacker = Some(Box::new(move |_, packet| {
                    let lost = &mut lost[packet.direction as usize];
                    let kind = kind(packet);
                    if !seen.contains(&kind) && *lost + 1 < window {
                        *lost += 1;
                        return Vec::new();
                    }
                    *lost = 0;
                    seen.insert(kind);
                    vec![packet.clone()]
                }));
            });
            took.unwrap();
        }
    }
}
