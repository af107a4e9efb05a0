//! ACKs of DTLS 1.3, and what is sent again because of them: what is missing, and nothing else (RFC 9147 §7).
#![cfg(feature = "dtls13")]

mod support;

use std::time::Duration;

use dtls_psk::{Config, Instant};

use support::craft::{self, ACK, EXT_CONNECTION_ID, HANDSHAKE, vec8};
use support::net::{Direction, Packet};
use support::parse;
use support::raw13::{RawClient13, ack};
use support::scene13::{DTLS13, assert_raw13_data_flows, raw13_finish};
use support::world::{Note, Small, leak, path, psk};
use support::{IDENTITY, KEY};

/// The least that a server's datagrams may have: its flight goes out in several.
const SMALL: Config<'static> = DTLS13.with_mtu(132);

/// Which bytes of which message a record carries, as type, offset and length.
type Part = (u8, usize, usize);

fn parts(message: &parse::Message) -> Part {
    (message.msg_type, message.offset, message.body.len())
}

/// The parts of messages in these datagrams, each with the number of its record.
fn flight_parts(client: &RawClient13, flight: &[Vec<u8>]) -> Vec<(Part, (u64, u64))> {
    let mut all = Vec::new();
    for datagram in flight {
        if datagram[0] == HANDSHAKE {
            let len = usize::from(u16::from_be_bytes([datagram[11], datagram[12]]));
            let record = &parse::records(&datagram[..13 + len])[0];
            all.extend(
                parse::messages(&record.body)
                    .iter()
                    .map(|message| (parts(message), (0, record.sequence_number))),
            );
        }
        let read = &client.handshake.as_ref().unwrap().read;
        for (content_type, data, number) in read.open_all(std::slice::from_ref(datagram)) {
            assert_eq!(content_type, HANDSHAKE);
            all.extend(parse::messages(&data).iter().map(|message| (parts(message), (2, number))));
        }
    }
    all
}

/// A client that asks for a connection ID, so that there is more to send, and the flight that it gets.
fn asked() -> (Small, RawClient13, Vec<Vec<u8>>) {
    let config = if cfg!(feature = "connection-id") { SMALL.with_connection_id(8) } else { SMALL };
    let mut world = Small::with_config(1, config);
    let mut client = RawClient13::new(IDENTITY, KEY, 1);
    client.extensions().push((EXT_CONNECTION_ID, vec8(b"01234567")));
    let hello = client.hello();
    let replies = world.hit(path(0), &hello);
    client.follow(&replies);
    let hello = client.hello();
    let flight = world.hit(path(0), &hello);
    client.take_flight(&flight);
    (world, client, flight)
}

/// Each part of the flight is missing once, and each set of them: it comes again, and nothing else does.
#[test]
fn what_is_missing_comes_again() {
    let (_, client, flight) = asked();
    let all = flight_parts(&client, &flight);
    assert!(flight.len() > 1 && all.len() > 2, "{all:?}");
    assert!(flight.iter().all(|datagram| datagram.len() <= SMALL.mtu()));
    for missing in 1..1_u32 << all.len() {
        let is_missing = |at: usize| missing & 1 << at != 0;
        let (mut world, mut client, flight) = asked();
        let all = flight_parts(&client, &flight);
        let here: Vec<_> = (0..all.len()).filter(|at| !is_missing(*at)).map(|at| all[at].1).collect();
        // Two messages in one record are both here, or neither.
        let expected: Vec<Part> =
            all.iter().filter(|(_, number)| !here.contains(number)).map(|(part, _)| *part).collect();
        if expected.is_empty() {
            continue;
        }
        let bytes = |parts: &[Part]| {
            let mut bytes: Vec<_> = parts
                .iter()
                .flat_map(|(of, offset, len)| (*offset..offset + len).map(|at| (*of, at)))
                .collect();
            bytes.sort_unstable();
            bytes
        };
        let sealed = client.handshake.as_mut().unwrap().write.seal(ACK, &ack(&here));
        let again = world.hit(path(0), &sealed);
        let mut seen: Vec<Part> = flight_parts(&client, &again).into_iter().map(|(part, _)| part).collect();
        if here.is_empty() {
            // An ACK of nothing is that of someone who could read nothing, and may have been on its way for long: the timer decides.
            assert!(seen.is_empty() || bytes(&seen) == bytes(&expected));
        } else {
            assert_eq!(bytes(&seen), bytes(&expected), "missing {missing:b}");
            // And again by the timer, as nothing is known of that either.
            world.now = world.now + Duration::from_secs(30);
            world.server.handle_timeout(world.now);
            seen = flight_parts(&client, &world.answers(path(0))).into_iter().map(|(part, _)| part).collect();
            assert_eq!(bytes(&seen), bytes(&expected), "missing {missing:b}");
        }
        raw13_finish(&mut world, &mut client, 0);
        assert_raw13_data_flows(&mut world, &mut client, 0);
    }
}

/// All of the flight is here, and the Finished is under way still: there is nothing to repeat (§7.2).
#[test]
fn a_flight_that_is_acknowledged_rests() {
    let (mut world, mut client, flight) = asked();
    let all: Vec<_> = flight_parts(&client, &flight).into_iter().map(|(_, number)| number).collect();
    let sealed = client.handshake.as_mut().unwrap().write.seal(ACK, &ack(&all));
    assert_eq!(world.hit(path(0), &sealed), Vec::<Vec<u8>>::new());
    for _ in 0..4 {
        world.now = world.now + Duration::from_secs(8);
        assert!(world.server.handle_timeout(world.now).is_none());
        assert_eq!(world.answers(path(0)), Vec::<Vec<u8>>::new());
    }
    raw13_finish(&mut world, &mut client, 0);
    assert_raw13_data_flows(&mut world, &mut client, 0);
}

/// A client that could not read the ServerHello says so in the clear, and gets all of it at once (§7.1).
#[test]
fn an_empty_ack_asks_for_everything() {
    let (mut world, mut client, flight) = asked();
    let all: Vec<Part> = flight_parts(&client, &flight).into_iter().map(|(part, _)| part).collect();
    world.now = world.now + Duration::from_millis(300);
    let again = world.hit(path(0), &craft::record(ACK, 0, 7, &ack(&[])));
    let seen: Vec<Part> = flight_parts(&client, &again).into_iter().map(|(part, _)| part).collect();
    assert_eq!(seen, all);
    raw13_finish(&mut world, &mut client, 0);
    assert_raw13_data_flows(&mut world, &mut client, 0);
}

/// A client and a server of the crate; the datagrams of one direction that `lose` says are lost. When both were done, and all that
/// was sent by then and in the ten seconds from then on.
fn with_losses(
    configs: [Config<'static>; 2],
    mut lose: impl FnMut(Direction, usize) -> bool + 'static,
) -> (Small, Duration) {
    let [of_client, of_server] = configs;
    let mut world = Small::with_config(1, of_server);
    let mut counts = [0; 2];
    world.net.attacker = Some(Box::new(move |_: Instant, packet: &Packet| {
        let count = &mut counts[packet.direction as usize];
        *count += 1;
        if lose(packet.direction, *count - 1) { Vec::new() } else { vec![packet.clone()] }
    }));
    world.client_with(of_client, psk(IDENTITY, KEY), path(0));
    let start = world.now;
    let both = |world: &Small| world.clients[0].is_established() && world.server.peer(&path(0)).is_some();
    assert!(world.run_until(Duration::from_secs(50), both), "{:?} {:?}", world.clients[0].log, world.log);
    let took = world.now.saturating_since(start);
    world.run_for(Duration::from_secs(10));
    world.net.attacker = None;
    world.assert_agreement(0);
    world.assert_data_flows(0);
    assert_eq!(world.clients[0].connection.poll_timeout(), None, "nothing is open");
    (world, took)
}

/// Whatever datagram of the server's flight is lost: the client says what it has, long before any timer of a flight.
#[test]
fn a_lost_part_costs_no_timeout() {
    let (world, took) = with_losses([DTLS13, SMALL], |_, _| false);
    let usual = world.net.trace.len();
    assert_eq!(took, Duration::from_millis(50), "two round trips and a half");
    let to_client = world.net.trace.iter().filter(|(_, packet)| packet.direction == Direction::ToClient);
    let flight: Vec<usize> = to_client.map(|(_, packet)| packet.bytes.len()).collect();
    // HelloRetryRequest, the flight, the ACK.
    assert!(flight.len() >= 4, "{flight:?}");
    for lost in 1..flight.len() - 1 {
        let (world, took) =
            with_losses([DTLS13, SMALL], move |to, at| to == Direction::ToClient && at == lost);
        // A quarter of the first timeout, and two round trips more.
        assert!(took <= Duration::from_millis(250 + 50 + 40), "{lost}: {took:?}");
        assert!(world.net.trace.len() <= usual + 2 + flight.len(), "{lost}: {}", world.net.trace.len());
    }
}

/// The last two: a Finished that is lost comes again, and one whose ACK is lost gets another.
#[test]
fn a_lost_finished_and_a_lost_ack() {
    for (direction, number) in [(Direction::ToServer, 2), (Direction::ToClient, 2)] {
        for times in 1..=3 {
            let (world, _) = with_losses([DTLS13, DTLS13], move |to, at| {
                to == direction && (number..number + times).contains(&at)
            });
            let finished =
                world.net.trace.iter().filter(|(_, packet)| packet.bytes[0] & 0xE3 == 0x22).count();
            // That of the client, as often as something was lost, and none of the server's: that is behind the ServerHello.
            assert_eq!(finished, 1 + times);
            assert_eq!(world.server.handshakes(), 0);
        }
    }
}

/// Messages after the handshake: each is sent until its ACK arrives, and taken once.
#[test]
fn lost_acks_after_the_handshake() {
    for updates in [[true, false], [false, true], [true, true]] {
        let mut world = Small::with_config(2, DTLS13).with_usual(DTLS13);
        let client = world.established();
        world.run_for(Duration::from_secs(1));
        // The first two datagrams of each direction are lost.
        let mut counts = [0; 2];
        world.net.attacker = Some(Box::new(move |_, packet| {
            counts[packet.direction as usize] += 1;
            if counts[packet.direction as usize] <= 2 { Vec::new() } else { vec![packet.clone()] }
        }));
        if updates[0] {
            world.clients[client].connection.update_keys(false).unwrap();
        }
        if updates[1] {
            world.server.update_keys(&path(0), false).unwrap();
        }
        world.run_for(Duration::from_secs(60));
        world.net.attacker = None;
        world.assert_data_flows(client);
        let epochs = updates.map(|updated| 3 + u64::from(updated));
        world.net.trace.clear();
        for to_server in [true, false] {
            let bytes = if to_server { world.clients[client].seal(b"!") } else { world.seal(&path(0), b"!") };
            assert_eq!(u64::from(bytes[0] & 3), epochs[usize::from(!to_server)] & 3);
        }
        assert_eq!(world.clients[client].connection.poll_timeout(), None);
        assert!(world.clients[client].log.iter().all(|note| !matches!(note, Note::Failed(_))));
    }
}

/// A ticket that is lost comes again, although the client has nothing to say any more.
#[cfg(feature = "resumption")]
#[test]
fn a_lost_ticket() {
    use dtls_psk::MemoryCache;
    let (ours, theirs) = (leak(MemoryCache::<2>::new()), leak(MemoryCache::<2>::new()));
    let configs = [DTLS13.with_resumption(ours), DTLS13.with_resumption(theirs)];
    // HelloRetryRequest, flight; then the ticket, and the ACK of the Finished.
    let (world, _) = with_losses(configs, |to, at| to == Direction::ToClient && at == 2);
    assert_eq!(world.server.poll_timeout(), None, "it has its ACK");
    let mut again = Small::with_config(3, configs[1]);
    again.client_with(configs[0], psk(IDENTITY, KEY), path(0));
    again.run_for(Duration::from_secs(5));
    assert!(again.clients[0].connection.peer().unwrap().resumed);
}

/// A ticket whose ACK is lost is handed out again, and is the same.
#[cfg(feature = "resumption")]
#[test]
fn a_ticket_whose_ack_is_lost() {
    use dtls_psk::MemoryCache;
    let (ours, theirs) = (leak(MemoryCache::<2>::new()), leak(MemoryCache::<2>::new()));
    let configs = [DTLS13.with_resumption(ours), DTLS13.with_resumption(theirs)];
    // HelloRetryRequest, flight; then ACK and ticket, of which the first copies are lost, and what the client says to them.
    let (world, _) = with_losses(configs, |to, at| match to {
        Direction::ToClient => (3..5).contains(&at),
        Direction::ToServer => (3..5).contains(&at),
    });
    drop(world);
    let mut again = Small::with_config(3, configs[1]);
    again.client_with(configs[0], psk(IDENTITY, KEY), path(0));
    again.run_for(Duration::from_secs(5));
    assert!(again.clients[0].connection.peer().unwrap().resumed);
    again.assert_agreement(0);
}
