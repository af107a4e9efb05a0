//! Someone who sees every datagram and adds to them: everybody gets through, they agree, and nothing comes twice or from
//! somebody else.

mod support;

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use dtls_psk::{Config, Error, Instant};

use support::attacker::{Attacker, Means};
use support::craft::SERVER_HELLO;
use support::net::{Conditions, Direction, Packet};
use support::world::{Client, Note, Small, leak, path, path_from, psk};
use support::{KEY, parse};

const CLIENTS: usize = 3;

/// Both ends alike, in each version.
fn configs() -> impl Iterator<Item = (&'static str, Config<'static>)> {
    let patient = |config: Config<'static>| config.with_handshake_timeout(Duration::from_secs(10_000));
    support::versions().map(move |(version, config)| (version, patient(config)))
}

fn identity(client: usize) -> [u8; 3] {
    [b'n', b'o', client as u8]
}

/// Clients and a server, and an attacker who has an address in each of their networks and one elsewhere.
fn attacked(seed: u64, config: Config<'static>, means: Means, conditions: Conditions) -> Small {
    let mut world = Small::with_config(seed, config).with_usual(config);
    for n in 0..CLIENTS {
        let key = psk(&identity(n), KEY);
        world.keys.add(key);
        world.client_with(config, key, path(n));
    }
    world.net.conditions = conditions;
    let addresses = vec![path_from([10, 0, 0, 66], 40_000), path_from([203, 0, 113, 66], 1_234)];
    let mut attacker = Attacker::new(seed, means, addresses);
    world.net.attacker = Some(Box::new(move |_, packet| attacker.add_to(packet)));
    world
}

fn everybody(world: &Small) -> bool {
    (0..CLIENTS).all(|n| world.clients[n].is_established() && world.server.peer(&path(n)).is_some())
}

/// Each client and the server agree, and the server knows who it is.
fn assert_agreement(world: &Small, seed: u64) {
    for n in 0..CLIENTS {
        world.assert_agreement(n);
        let peer = world.server.peer(&path(n)).unwrap();
        assert_eq!(peer.identity, identity(n), "seed {seed}");
    }
}

/// Data goes both ways under attack. What arrives was sent by the peer, and arrives once: how much of it did.
fn talk(world: &mut Small, seed: u64, means: Means) -> usize {
    let mut expected = HashMap::new();
    let told: Vec<usize> = world.clients.iter().map(|client| client.log.len()).collect();
    let told_server = world.log.len();
    for round in 0..10 {
        for (n, path) in (0..CLIENTS).map(|n| (n, path(n))) {
            let question = [&b"to the server"[..], &[n as u8, round]].concat();
            let bytes = world.clients[n].seal(&question);
            expected.insert((Direction::ToServer, question), n);
            world.net.send(world.now, Packet { direction: Direction::ToServer, path, bytes });
            let answer = [&b"to the client"[..], &[n as u8, round]].concat();
            let mut buf = [0; 128];
            match world.server.send(&path, &answer, &mut buf) {
                Ok((len, path)) => {
                    expected.insert((Direction::ToClient, answer), n);
                    let bytes = buf[..len].to_vec();
                    world.net.send(world.now, Packet { direction: Direction::ToClient, path, bytes });
                }
                Err(error) => assert_eq!(error, Error::AddressNotProven, "to where the attacker is"),
            }
        }
        world.run_for(Duration::from_millis(300));
    }
    world.run_for(Duration::from_secs(30));
    let to_server = world.log[told_server..].iter().map(|(at, note)| {
        let n = (0..CLIENTS).find(|n| path(*n) == *at);
        (Direction::ToServer, n, note)
    });
    let clients = world.clients.iter().zip(told).enumerate();
    let to_clients = clients.flat_map(|(n, (client, told))| {
        client.log[told..].iter().map(move |note| (Direction::ToClient, Some(n), note))
    });
    let mut arrived = 0;
    for (direction, n, note) in to_server.chain(to_clients) {
        match note {
            Note::Data(data) => {
                assert_eq!(expected.remove(&(direction, data.clone())), n, "seed {seed}: {data:02x?}");
                arrived += 1;
            }
            // A hello was repeated in the victim's name, and its handshake led to nothing.
            Note::Refused(_) if means == Means::Messages => {}
            other => panic!("seed {seed}: {direction:?} {n:?} {other:?}"),
        }
    }
    arrived
}

/// Everything is quiet again: all is as if nothing had been.
fn end(world: &mut Small, seed: u64) {
    world.net.attacker = None;
    world.net.conditions = Conditions::PERFECT;
    world.run_for(Duration::from_secs(1));
    (0..CLIENTS).for_each(|n| world.assert_data_flows(n));
    assert_eq!(world.server.sessions().count(), CLIENTS, "seed {seed}");
    world.run_for(Duration::from_secs(10_000));
    assert_eq!(world.server.handshakes(), 0, "seed {seed}: a slot is held");
    (0..CLIENTS).for_each(|n| world.assert_data_flows(n));
    world.assert_newcomer_gets_through();
}

/// No nonce comes twice under the keys of one session, and each is made of epoch and number (RFC 6655 §3). Whose record it
/// is says the connection ID, or the path where there is none. In DTLS 1.3, nobody sees the number, but that a datagram comes twice.
fn assert_nonces_are_fresh(trace: &[(Instant, Packet)], id_len: usize) {
    let mut seen = HashSet::new();
    let mut sealed = HashSet::new();
    for (_, Packet { direction, path, bytes }) in trace {
        if bytes[0] & 0xE0 == 0x20 {
            assert!(sealed.insert(bytes), "sealed twice alike");
            continue;
        }
        if parse::plain_messages(bytes).iter().any(|message| message.msg_type == SERVER_HELLO) {
            continue;
        }
        for record in parse::records_with_id(bytes, id_len).iter().filter(|record| record.epoch == 1) {
            assert_eq!(record.body[..8], (1 << 48 | record.sequence_number).to_be_bytes());
            let path = (id_len == 0).then_some(*path);
            assert!(seen.insert((*direction, path, record.connection_id.clone(), record.sequence_number)));
        }
    }
}

/// Whatever is repeated, reflected and made up around them: every handshake succeeds the first time, through loss.
#[test]
fn replays_and_reflections() {
    let lossy = Conditions { loss: 0.2, duplicate: 0.1, reorder: 0.2, delay: 5..=100, ..Conditions::PERFECT };
    let still = Conditions { delay: 5..=20, duplicate: 0.1, ..Conditions::PERFECT };
    println!("                                        sent by the peers  added   data arrived");
    for (version, config) in configs() {
        for (means, conditions, id_len) in [
            (Means::Replays, &lossy, 0),
            // So long that no two are the same.
            (Means::Replays, &lossy, 8),
            (Means::Alerts, &still, 0),
            (Means::Alerts, &still, 8),
        ] {
            let id_len = if cfg!(feature = "connection-id") { id_len } else { 0 };
            let config = if id_len > 0 { config.with_connection_id(id_len as u8) } else { config };
            let (mut sent, mut carried, mut arrived) = (0, 0, 0);
            for seed in 0..40 {
                let mut world = attacked(seed, config, means, conditions.clone());
                let done = world.run_until(Duration::from_secs(10_000), everybody);
                assert!(done, "seed {seed}: {:?}", world.clients[0].log);
                world.run_for(Duration::from_secs(5));
                assert_agreement(&world, seed);
                for client in &world.clients {
                    assert_eq!(client.log, [Note::Established], "seed {seed}");
                }
                arrived += talk(&mut world, seed, means);
                assert_nonces_are_fresh(&world.net.trace, id_len);
                sent += world.net.counts.sent;
                carried += world.net.counts.delivered + world.net.counts.lost;
                assert_eq!(world.server.stats().handshakes_failed, 0, "seed {seed}: nobody else began one");
                end(&mut world, seed);
            }
            println!(
                "{version:3}  {means:?}, connection IDs of {id_len} bytes  {sent:17}  {:5}  {arrived}",
                carried - sent
            );
        }
    }
}

/// One who also says in the clear what only the peer should say can end handshakes, as nothing in RFC 6347 tells them
/// apart. Whoever tries again gets through, both ends agree when they do, and sessions do not notice.
#[test]
fn forged_messages() {
    configs().for_each(|(version, config)| forged_messages_of(version, config));
}

fn forged_messages_of(version: &str, config: Config<'static>) {
    let (mut tries, mut arrived) = (0, 0);
    for seed in 0..60 {
        let config = config.with_handshake_timeout(Duration::from_secs(20));
        let conditions = Conditions { delay: 5..=20, ..Conditions::PERFECT };
        let mut world = attacked(seed, config, Means::Messages, conditions);
        for _ in 0..100 {
            world.run_until(Duration::from_secs(30), everybody);
            if everybody(&world) {
                break;
            }
            for n in 0..CLIENTS {
                if world.clients[n].is_established() {
                    continue;
                }
                tries += 1;
                let key = psk(&identity(n), KEY);
                world.clients[n] = Client::new(leak(config), key, path(n), &mut world.rng, world.now);
            }
        }
        assert!(everybody(&world), "seed {seed}");
        assert_agreement(&world, seed);
        arrived += talk(&mut world, seed, Means::Messages);
        end(&mut world, seed);
    }
    println!("{version}: {tries} handshakes of {} failed, {arrived} payloads arrived", tries + 60 * CLIENTS);
    assert!(tries > 20);
}
