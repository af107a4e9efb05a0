//! Bad networks: whatever they do, both ends finish and agree.

mod support;

use std::time::Duration;

use dtls_psk::{CipherSuite, Config, Error};
use rand::RngExt;

use support::net::{Conditions, Counts, Direction, Packet};
use support::world::{Note, Small, World, path, psk};
use support::{IDENTITY, KEY, seeded};

/// Time enough for every repetition.
const fn patient(config: Config<'static>) -> Config<'static> {
    config.with_handshake_timeout(Duration::from_secs(100_000))
}

/// One association over a bad network: handshake, then data both ways. How long the handshake took, what the network did
/// meanwhile, and how many flights were sent again in all.
fn associate(seed: u64, configs: Configs, conditions: Conditions) -> (Duration, Counts, u32) {
    let mut world = Small::with_config(seed, configs.server);
    let identity: Vec<u8> = (0..1 + seed % 128).map(|at| (at * seed) as u8).collect();
    let key = psk(&identity, KEY);
    world.keys.add(key);
    if configs.resume {
        let first = world.client_with(configs.client, key, path(1));
        world.run_for(Duration::from_secs(1));
        assert!(world.clients[first].is_established());
        world.net.counts = Counts::default();
    }
    world.net.conditions = conditions;
    let client = world.client_with(configs.client, key, path(0));
    let start = world.now;
    let both =
        |world: &Small| world.clients[client].is_established() && world.server.peer(&path(0)).is_some();
    let done = world.run_until(Duration::from_secs(100_000), both);
    assert!(done, "seed {seed}: {:?} {:?} {:?}", world.clients[client].log, world.log, world.net.conditions);
    let took = world.now.saturating_since(start);
    let counts = world.net.counts;
    let is_answer = |packet: &&Packet| packet.direction == Direction::ToClient;
    let longest = world
        .net
        .trace
        .iter()
        .map(|(_, packet)| packet)
        .filter(is_answer)
        .map(|packet| packet.bytes.len())
        .max();
    assert!(longest.unwrap() <= configs.mtu, "{longest:?}");

    world.assert_agreement(client);
    let peer = world.server.peer(&path(0)).unwrap();
    assert_eq!((peer.identity, peer.resumed), (&identity[..], configs.resume));

    // Whatever arrives of the data is what was sent, and no more than once.
    const SENT: usize = 10;
    for n in 0..SENT as u8 {
        let bytes = world.clients[client].seal(&[n; 20]);
        let now = world.now;
        let packet = |direction, bytes| Packet { direction, path: path(0), bytes };
        world.net.send(now, packet(Direction::ToServer, bytes));
        let bytes = world.seal(&path(0), &[n; 30]);
        world.net.send(now, packet(Direction::ToClient, bytes));
    }
    world.run_for(Duration::from_secs(100));
    for (log, len) in [(world.log_of(path(0)), 20), (world.clients[client].log.clone(), 30)] {
        let mut seen = [false; SENT];
        assert_eq!(log[0], Note::Established, "seed {seed}");
        for note in &log[1..] {
            let Note::Data(data) = note else { panic!("seed {seed}: {note:?}") };
            assert_eq!(*data, vec![data[0]; len]);
            assert!(!std::mem::replace(&mut seen[usize::from(data[0])], true), "delivered twice");
        }
    }
    world.net.conditions = Conditions::PERFECT;
    world.assert_data_flows(client);
    assert_eq!(world.server.sessions().count(), world.clients.len());
    assert_eq!(world.server.handshakes(), 0, "no slot left behind");
    let repeated =
        world.server.stats().retransmitted + world.clients[client].connection.stats().retransmitted;
    (took, counts, repeated)
}

/// What both ends are configured for.
#[derive(Clone, Copy)]
struct Configs {
    server: Config<'static>,
    client: Config<'static>,
    /// The client was here before.
    resume: bool,
    /// That of the server.
    mtu: usize,
}

impl Configs {
    fn full(config: Config<'static>) -> Self {
        Self { server: config, client: config, resume: false, mtu: usize::MAX }
    }

    #[cfg(feature = "resumption")]
    fn resumed(config: Config<'static>) -> Self {
        let [server, client] = [0; 2].map(|_| support::resumed::with_cache(config));
        Self { server, client, resume: true, mtu: usize::MAX }
    }
}

/// Loss from 0 to 60 %, with duplicates and reordering, over hundreds of seeds.
#[test]
fn loss_duplication_and_reordering() {
    println!("               datagrams of a handshake  virtual seconds");
    println!("loss           sent   lost   again       median  longest");
    for (version, config) in support::versions() {
        let config = patient(config);
        for loss in [0, 10, 20, 30, 40, 50, 60] {
            row(&format!("{version} full"), loss, || Configs::full(config));
            #[cfg(feature = "resumption")]
            row(&format!("{version} resumed"), loss, || Configs::resumed(config));
        }
    }
}

/// A hundred handshakes at so many percent of loss.
fn row(kind: &str, loss: u32, configs: impl Fn() -> Configs) {
    const HANDSHAKES: u64 = 100;
    let (mut times, mut totals, mut repeated) = (Vec::new(), Counts::default(), 0);
    for seed in 0..HANDSHAKES {
        let conditions = Conditions {
            loss: f64::from(loss) / 100.0,
            duplicate: 0.2,
            reorder: 0.2,
            delay: 5..=200,
            ..Conditions::PERFECT
        };
        let (took, counts, again) = associate(seed + 1_000 * u64::from(loss), configs(), conditions);
        times.push(took.as_secs_f64());
        totals.sent += counts.sent;
        totals.lost += counts.lost;
        totals.duplicated += counts.duplicated;
        totals.reordered += counts.reordered;
        repeated += again;
    }
    times.sort_unstable_by(f64::total_cmp);
    let each = |total: u64| total as f64 / HANDSHAKES as f64;
    let (median, longest) = (times[times.len() / 2], times[times.len() - 1]);
    let (sent, lost, again) = (each(totals.sent), each(totals.lost), each(repeated.into()));
    println!("{loss:2} % {kind:12} {sent:4.1}  {lost:5.1}  {again:6.1}  {median:11.1}  {longest:7.1}");
    assert!(totals.duplicated > 0 && totals.reordered > 0);
    if loss == 0 {
        assert!(longest < 10.0, "no loss, no waiting: {times:?}");
    } else {
        assert!(totals.lost > 0 && repeated > 0);
    }
}

/// The same with every message of a cut flight in a datagram of its own.
#[test]
fn loss_with_a_small_mtu() {
    let hint: &'static [u8] = &[b'h'; 128];
    for (version, config) in support::versions() {
        // One of each version, with tags of 16 bytes.
        let is_it = |suite: &&CipherSuite| suite.name().ends_with("AES_128_CCM") || suite.number() == 0x1304;
        let suites: Vec<CipherSuite> = CipherSuite::ALL.iter().filter(is_it).copied().collect();
        let config = patient(config).with_suites(suites.leak()).with_identity_hint(hint);
        let mut sent = 0;
        for seed in 0..150 {
            // A HelloRetryRequest is not cut either.
            let least = if version == "1.2" { Config::MIN_MTU } else { 132 };
            let mtu = least + (seed as usize % 30);
            let conditions =
                Conditions { loss: 0.2, duplicate: 0.1, reorder: 0.3, delay: 5..=50, ..Conditions::PERFECT };
            // A ClientHello is never cut.
            let of_client = if version == "1.2" { config.with_mtu(mtu) } else { config };
            let configs = Configs { server: config.with_mtu(mtu), client: of_client, resume: false, mtu };
            let (_, counts, _) = associate(seed, configs, conditions);
            sent += counts.sent;
        }
        println!("{version}: {sent} datagrams in 150 handshakes");
        assert!(sent > 150 * 8, "{version}: {sent}");
    }
}

/// Damaged datagrams: a handshake may fail of them, as nothing authenticates its start, but never end in disagreement,
/// and an established session does not care.
#[test]
fn bit_errors() {
    let (mut established, mut failed, mut damaged) = (0, 0, 0);
    let worlds = support::versions().flat_map(|(_, config)| (0..400).map(move |seed| (seed, config)));
    for (seed, config) in worlds {
        let mut world = Small::with_config(seed, config).with_usual(config);
        world.net.conditions.bit_error = seeded(seed).random_range(0.0..0.5);
        world.net.conditions.duplicate = 0.1;
        let client = world.client();
        let both =
            |world: &Small| world.clients[client].is_established() && world.server.peer(&path(0)).is_some();
        let over = |world: &Small| {
            both(world) || world.clients[client].log.iter().any(|note| matches!(note, Note::Failed(_)))
        };
        assert!(world.run_until(Duration::from_secs(120), over), "seed {seed} hangs");
        damaged += world.net.counts.damaged;
        if both(&world) {
            established += 1;
            assert_eq!(world.server.peer(&path(0)).map(|peer| peer.identity), Some(IDENTITY));
            for n in 0..50_u8 {
                let now = world.now;
                let (direction, path) = (Direction::ToServer, path(0));
                let bytes = world.clients[client].seal(&[n; 9]);
                world.net.send(now, Packet { direction, path, bytes });
            }
            let before = world.log.len();
            world.run_for(Duration::from_secs(1));
            for (_, note) in &world.log[before..] {
                assert!(
                    matches!(note, Note::Data(data) if data.len() == 9 && data.iter().all(|byte| *byte == data[0]))
                );
            }
            world.net.conditions = Conditions::PERFECT;
            world.assert_data_flows(client);
        } else {
            failed += 1;
            let log = &world.clients[client].log;
            // A client of DTLS 1.3 may have been through before it found that its Finished is not acknowledged.
            assert!(matches!(log[..], [Note::Failed(_)] | [Note::Established, Note::Failed(_)]), "{log:?}");
            assert_ne!(*log, [Note::Failed(Error::NoAnswer)], "somebody answered");
        }
        // Whatever became of it, the server is free again in the end and serves others.
        world.net.conditions = Conditions::PERFECT;
        world.run_for(Duration::from_secs(61));
        assert_eq!(world.server.handshakes(), 0);
        world.assert_newcomer_gets_through();
    }
    println!("{damaged} datagrams damaged: {established} handshakes done, {failed} failed");
    assert!(established > 200 && damaged > 400, "{established} {failed} {damaged}");
}

/// Many clients at once behind a bad network, each with its own identity and key.
#[test]
fn many_clients_on_a_bad_network() {
    support::versions().for_each(|(_, config)| many_clients(patient(config)));
}

fn many_clients(config: Config<'static>) {
    let mut world = World::<32, 64>::with_config(99, config);
    world.net.conditions =
        Conditions { loss: 0.3, duplicate: 0.2, reorder: 0.2, delay: 5..=300, ..Conditions::PERFECT };
    for n in 0..32_u8 {
        let key = psk(&[n], &[n, 1, 2, 3, 4, 5, 6, 7]);
        world.keys.add(key);
        world.client_with(config, key, path(n.into()));
    }
    let all = |world: &World<32, 64>| world.clients.iter().all(|client| client.is_established());
    assert!(world.run_until(Duration::from_secs(10_000), all));
    world.net.conditions = Conditions::PERFECT;
    world.settle();
    for n in 0..32 {
        assert_eq!(world.server.peer(&path(n)).map(|peer| peer.identity), Some([n as u8].as_slice()));
        world.assert_data_flows(n);
    }
    assert_eq!((world.server.sessions().count(), world.server.handshakes()), (32, 0));
}
