//! Flights: when they are sent again and with what, how they are cut, and how fragments are put together.

mod support;

use std::time::Duration;

use dtls_psk::{CipherSuite, Config, Error, Instant};
use rand::seq::SliceRandom;

use support::craft::*;
use support::net::{Direction, Packet};
use support::parse::{self, Record};
use support::raw::{RawClient, reassemble};
use support::world::{AgainstRaw, Note, Small, path, psk};
use support::{IDENTITY, KEY, seeded};

const SECOND: Duration = Duration::from_secs(1);
const LONG: Config<'static> = support::DTLS12.with_handshake_timeout(Duration::from_secs(300));

/// 1 s, 2 s, 4 s up to 60 s between two transmissions (RFC 6347 §4.2.4.1), up to the deadline of 300 s.
const TIMES: [u64; 9] = [1, 3, 7, 15, 31, 63, 123, 183, 243];

fn seconds_since(start: Instant, sent: &[(Instant, Vec<u8>)]) -> Vec<u64> {
    sent.iter()
        .map(|(at, _)| {
            let millis = at.saturating_since(start).as_millis();
            assert_eq!(millis % 1_000, 0, "on the second");
            millis as u64 / 1_000
        })
        .collect()
}

/// A record but for its number, which changes with every transmission.
fn without_numbers(datagram: &[u8]) -> Vec<(u8, u16, Vec<u8>)> {
    parse::records(datagram)
        .into_iter()
        .map(|record| (record.content_type, record.epoch, record.body))
        .collect()
}

fn numbers(datagrams: &[Vec<u8>], epoch: u16) -> Vec<u64> {
    let records = datagrams.iter().flat_map(|datagram| parse::records(datagram));
    records.filter(|record| record.epoch == epoch).map(|record| record.sequence_number).collect()
}

#[track_caller]
fn assert_never_repeats(numbers: &[u64]) {
    assert!(numbers.is_sorted_by(|a, b| a < b), "record numbers only grow: {numbers:?}");
}

#[test]
fn a_hello_is_sent_again_as_it_was() {
    let mut against = AgainstRaw::with_config(1, LONG);
    let start = against.now;
    let first = against.client.transmit();
    let sent = against.pass(Duration::from_secs(299));
    assert_eq!(seconds_since(start, &sent), TIMES);
    let all: Vec<Vec<u8>> = first.into_iter().chain(sent.into_iter().map(|(_, bytes)| bytes)).collect();
    assert_never_repeats(&numbers(&all, 0));
    for again in &all {
        assert_eq!(without_numbers(again), without_numbers(&all[0]));
    }
    against.pass(SECOND);
    assert_eq!(against.client.log, [Note::Failed(Error::NoAnswer)]);
    assert_eq!(against.client.connection.stats().retransmitted, 9);
}

/// ClientKeyExchange is the same every time; Finished is the same message, sealed under a new number each time.
#[test]
fn a_key_exchange_is_sent_again_with_fresh_numbers() {
    let mut against = AgainstRaw::with_config(2, LONG);
    let start = against.now;
    against.hello();
    let flight = against.server.flight(None);
    let first = against.hit(&flight);
    let sent = against.pass(Duration::from_secs(299));
    assert_eq!(seconds_since(start, &sent), TIMES);
    let all: Vec<Vec<u8>> = first.iter().cloned().chain(sent.into_iter().map(|(_, bytes)| bytes)).collect();
    against.server.take_key_flight(&first);
    assert_never_repeats(&numbers(&all, 0));
    assert_never_repeats(&numbers(&all, 1));
    let finished = against.server.side.open(&first);
    for again in &all {
        assert_eq!(without_numbers(again)[..2], without_numbers(&all[0])[..2]);
        assert_eq!(against.server.side.open(std::slice::from_ref(again)), finished, "the same message");
        // The nonce is the record's number, and never random (RFC 6655 §3).
        let record = parse::records(again).pop().unwrap();
        assert_eq!(record.body[..8], (1 << 48 | record.sequence_number).to_be_bytes());
    }
    assert_eq!(against.client.log, []);
    let last = against.server.last_flight();
    against.hit(&last);
    against.assert_data_flows();
}

#[test]
fn a_servers_flight_is_sent_again_as_it_was() {
    let config = LONG.with_identity_hint(b"hint");
    let mut world = Small::with_config(3, config);
    let mut raw = RawClient::new(IDENTITY, KEY, 3);
    let hello = raw.hello();
    let replies = world.hit(path(0), &hello);
    raw.follow(&replies);
    let hello = raw.hello();
    let (start, first) = (world.now, world.hit(path(0), &hello));
    world.run_for(Duration::from_secs(299));
    let sent: Vec<_> = world.net.trace.iter().map(|(at, packet)| (*at, packet.bytes.clone())).collect();
    assert_eq!(seconds_since(start, &sent), TIMES);
    let all: Vec<Vec<u8>> = first.iter().cloned().chain(sent.into_iter().map(|(_, bytes)| bytes)).collect();
    assert_never_repeats(&numbers(&all, 0));
    for again in &all {
        assert_eq!(without_numbers(again), without_numbers(&all[0]));
    }
    // The first record has the number of the hello (RFC 6347 §4.2.1).
    assert_eq!(numbers(&all, 0)[0], raw.side.plain_seq - 1);
    raw.take_server_flight(&all[8..]);
    raw.exchange_keys();
    let flight = raw.key_flight();
    let last = world.hit(path(0), &flight);
    raw.take_last_flight(&last);
}

/// The configured times, and not others.
#[test]
fn the_timers_are_configurable() {
    let config = Config::coap()
        .with_versions(&[dtls_psk::ProtocolVersion::Dtls12])
        .with_retransmission(9 * SECOND, 20 * SECOND);
    let mut against = AgainstRaw::with_config(4, config);
    let start = against.now;
    against.client.transmit();
    let sent = against.pass(Duration::from_secs(100));
    assert_eq!(seconds_since(start, &sent), [9, 27, 47, 67, 87]);
}

/// A new flight starts from the first timeout again.
#[test]
fn each_flight_has_a_timer_of_its_own() {
    let mut against = AgainstRaw::with_config(5, LONG);
    against.client.transmit();
    against.pass(20 * SECOND);
    let request = against.server.hello_verify_request(DTLS10, b"cookie");
    let start = against.now;
    assert_eq!(against.hit(&request).len(), 1);
    let sent = against.pass(8 * SECOND);
    assert_eq!(seconds_since(start, &sent), [1, 3, 7]);
}

/// How long after a flight the peer's repeated one is taken to ask for it: a quarter of the initial timeout.
const ANSWER_TIME: Duration = Duration::from_millis(250);

/// A peer that sends its flight again for each of ours, as wolfSSL's server does where the key is wrong, does not get into
/// an exchange without end: as fast as the network, it would go on until the deadline.
#[test]
fn two_sides_that_repeat_for_each_other_do_not_storm() {
    // The client.
    let mut against = AgainstRaw::new(6);
    against.hello();
    let messages = against.server.flight_messages(None);
    let mut ours = 0;
    for _ in 0..4_000 {
        let flight: Vec<u8> =
            messages.iter().flat_map(|message| against.server.side.plain(HANDSHAKE, message)).collect();
        ours += against.hit(&flight).len();
        ours += against.pass(Duration::from_millis(1)).len();
    }
    assert_eq!(ours, 16, "one in each quarter of a second");

    // The server.
    let mut world = Small::new(6);
    let mut raw = RawClient::new(IDENTITY, KEY, 6);
    let hello = raw.hello();
    raw.follow(&world.hit(path(0), &hello));
    let mut ours = 0;
    for _ in 0..4_000 {
        let hello = raw.hello();
        raw.side.message_seq -= 1;
        ours += world.hit(path(0), &hello).len();
        world.run_for(Duration::from_millis(1));
    }
    assert_eq!(ours + world.net.trace.len(), 16);
}

/// The peer's repeated flight is answered at once: it misses ours (RFC 6347 §4.2.4).
#[test]
fn a_repeated_flight_is_answered_at_once() {
    // The server, on a repeated hello.
    let mut world = Small::new(6);
    let mut raw = RawClient::new(IDENTITY, KEY, 6);
    let hello = raw.hello();
    let replies = world.hit(path(0), &hello);
    raw.follow(&replies);
    let hello = raw.hello();
    let first = world.hit(path(0), &hello);
    raw.side.message_seq -= 1;
    let hello = raw.hello();
    world.run_for(ANSWER_TIME);
    let again = world.hit(path(0), &hello);
    assert_eq!(without_numbers(&again[0]), without_numbers(&first[0]));
    assert_never_repeats(&[numbers(&first, 0), numbers(&again, 0)].concat());
    assert_eq!(world.server.handshakes(), 1);
    assert_eq!(world.server.stats().retransmitted, 1);

    // The client, on a repeated ServerHelloDone.
    let mut against = AgainstRaw::new(6);
    against.hello();
    let messages = against.server.flight_messages(None);
    let flight: Vec<u8> =
        messages.iter().flat_map(|message| against.server.side.plain(HANDSHAKE, message)).collect();
    let first = against.hit(&flight);
    let flight: Vec<u8> =
        messages.iter().flat_map(|message| against.server.side.plain(HANDSHAKE, message)).collect();
    against.pass(ANSWER_TIME);
    let again = against.hit(&flight);
    assert_eq!(again.len(), 1, "once for the flight, not for each of its messages");
    assert_eq!(without_numbers(&again[0])[..2], without_numbers(&first[0])[..2]);
    assert_never_repeats(&[numbers(&first, 1), numbers(&again, 1)].concat());
    against.server.take_key_flight(&again);
    let last = against.server.last_flight();
    against.hit(&last);
    against.assert_data_flows();
}

/// A lost flight is repeated once: the other end's repetition and this end's own timer fall together, and count as one.
#[test]
fn a_lost_flight_is_repeated_once() {
    for (lost, direction) in [(SERVER_HELLO, Direction::ToClient), (CLIENT_KEY_EXCHANGE, Direction::ToServer)]
    {
        for delay in [1, 10, 200] {
            let mut world = Small::new(17);
            world.net.conditions.delay = delay..=delay;
            let is_it = move |packet: &Packet| {
                let types = parse::message_types(std::slice::from_ref(&packet.bytes));
                packet.direction == direction && types.contains(&lost)
            };
            let mut to_lose = 1;
            world.net.attacker = Some(Box::new(move |_, packet| {
                if is_it(packet) && to_lose > 0 {
                    to_lose -= 1;
                    return Vec::new();
                }
                vec![packet.clone()]
            }));
            let client = world.client();
            world.run_for(20 * SECOND);
            assert!(world.clients[client].is_established());
            let sent = world.net.trace.iter().filter(|(_, packet)| is_it(packet)).count();
            assert_eq!(sent, 2, "message {lost}, {delay} ms");
            world.assert_data_flows(client);
        }
    }
}

/// Some clients wait for the server to repeat its answer before they send the rest of their flight again, so it does
/// until the Finished is there (RFC 6347 §4.2.4).
#[test]
fn the_answer_is_repeated_while_the_finished_is_missing() {
    let mut world = Small::with_config(19, LONG);
    let mut raw = RawClient::new(IDENTITY, KEY, 19);
    let hello = raw.hello();
    raw.follow(&world.hit(path(0), &hello));
    let hello = raw.hello();
    let answer = world.hit(path(0), &hello);
    raw.take_server_flight(&answer);
    raw.exchange_keys();
    let datagram = raw.key_exchange_record();
    assert!(world.hit(path(0), &datagram).is_empty());
    world.run_for(SECOND);
    let repeated: Vec<_> = world.net.trace.iter().map(|(_, packet)| packet.bytes.clone()).collect();
    assert_eq!(repeated.len(), 1);
    assert_eq!(without_numbers(&repeated[0]), without_numbers(&answer[0]));

    let datagram = raw.key_flight();
    let last = world.hit(path(0), &datagram);
    raw.take_last_flight(&last);
    assert_eq!(world.log_of(path(0)), [Note::Established]);
    // From there on nothing is repeated that nobody asks for.
    world.run_for(10 * SECOND);
    assert_eq!(world.net.trace.len(), 1);
}

/// A repetition that the other end asked for rearms the timer, and leaves the timeout as long as it was.
#[test]
fn a_repeated_flight_rearms_the_timer() {
    // The server, asked 900 ms after its flight, and again after its timer has fired.
    let mut world = Small::with_config(18, LONG);
    let mut raw = RawClient::new(IDENTITY, KEY, 18);
    let hello = raw.hello();
    let replies = world.hit(path(0), &hello);
    raw.follow(&replies);
    let hello = raw.hello();
    let start = world.now;
    assert_eq!(world.hit(path(0), &hello).len(), 1);
    let next = |world: &Small| world.server.poll_timeout().unwrap().saturating_since(start).as_millis();
    assert_eq!(next(&world), 1_000);
    world.run_for(Duration::from_millis(900));
    assert_eq!(world.hit(path(0), &hello).len(), 1);
    assert_eq!(next(&world), 1_900);
    world.run_for(SECOND);
    assert_eq!((world.net.trace.len(), next(&world)), (1, 3_900), "its own, 2 s before the next");
    world.run_for(SECOND);
    assert_eq!(world.hit(path(0), &hello).len(), 1);
    assert_eq!(next(&world), 4_900, "still 2 s");
    assert_eq!(world.server.stats().retransmitted, 3);
    // The deadline does not move with it.
    for _ in 0..400 {
        world.hit(path(0), &hello);
        world.run_for(Duration::from_millis(999));
    }
    assert_eq!(world.log_of(path(0))[0], Note::Refused(Error::HandshakeTimeout));

    // The client, on a repeated ServerHelloDone.
    let mut against = AgainstRaw::with_config(18, LONG);
    against.hello();
    let messages = against.server.flight_messages(None);
    let start = against.now;
    let flight = |against: &mut AgainstRaw| {
        let flight: Vec<u8> =
            messages.iter().flat_map(|message| against.server.side.plain(HANDSHAKE, message)).collect();
        assert_eq!(against.hit(&flight).len(), 1);
        let next = against.client.connection.poll_timeout().unwrap();
        next.saturating_since(start).as_millis()
    };
    assert_eq!(flight(&mut against), 1_000);
    against.pass(Duration::from_millis(900));
    assert_eq!(flight(&mut against), 1_900);
    assert_eq!(against.pass(SECOND).len(), 1);
    against.pass(SECOND);
    assert_eq!(flight(&mut against), 4_900);
}

/// The last flight is kept repeatable after the handshake, for a client that missed it.
#[test]
fn the_last_flight_is_sent_again_for_a_repeated_finished() {
    let mut world = Small::new(7);
    let mut raw = RawClient::new(IDENTITY, KEY, 7);
    world.raw_hello(path(0), &mut raw);
    let flight = raw.key_flight();
    let mut all = world.hit(path(0), &flight);
    let session = world.session_of(&path(0));
    for _ in 0..5 {
        let flight = raw.key_flight();
        let again = world.hit(path(0), &flight);
        assert_eq!(again.len(), 1);
        assert_eq!(raw.side.open(&again), raw.side.open(&all[..1]), "the same message");
        all.extend(again);
    }
    assert_never_repeats(&numbers(&all, 0));
    assert_never_repeats(&numbers(&all, 1));
    raw.take_last_flight(&all[5..]);
    assert_eq!(world.session_of(&path(0)), session);
    assert_eq!(world.log_of(path(0)), [Note::Established], "established once");
    // The very same datagram again is a replay, which nobody answers.
    assert!(world.hit(path(0), &flight).is_empty());
    world.assert_raw_data_flows(path(0), &mut raw);
    // Even after data has flown.
    let flight = raw.key_flight();
    assert_eq!(world.hit(path(0), &flight).len(), 1);
    world.assert_raw_data_flows(path(0), &mut raw);
}

/// A lost last flight: the client's timer gets it again, without the independent peer's help.
#[test]
fn a_lost_last_flight_is_recovered() {
    let mut world = Small::new(8);
    let mut to_lose = 3;
    world.net.attacker = Some(Box::new(move |_, packet| {
        let is_last = packet.direction == Direction::ToClient
            && parse::records(&packet.bytes).iter().any(|record| record.epoch == 1);
        if is_last && to_lose > 0 {
            to_lose -= 1;
            return Vec::new();
        }
        vec![packet.clone()]
    }));
    let client = world.client();
    world.run_for(6 * SECOND);
    assert!(world.server.peer(&path(0)).is_some());
    assert!(!world.clients[client].is_established());
    world.run_for(2 * SECOND);
    assert!(world.clients[client].is_established());
    world.assert_data_flows(client);
    assert_eq!(world.server.stats().retransmitted, 3);
}

/// Every MTU down to the smallest: no datagram is longer, and all arrives, both ways and from both implementations.
#[test]
fn every_small_mtu() {
    let identity = [b'i'; 128];
    const HINT: &[u8] = &[b'h'; 128];
    for mtu in (Config::MIN_MTU..Config::MIN_MTU + 40).chain([200, 256, 512]) {
        let config =
            support::DTLS12.with_suites(&[CipherSuite::Aes128Ccm]).with_mtu(mtu).with_identity_hint(HINT);
        let mut world = Small::with_config(9, config);
        world.keys.add(psk(&identity, KEY));
        world.net.conditions.mtu = mtu;
        let client = world.client_with(config, psk(&identity, KEY), path(0));
        world.run_for(3 * SECOND);
        assert!(world.clients[client].is_established(), "MTU {mtu}");
        assert!(world.net.trace.iter().all(|(_, packet)| packet.bytes.len() <= mtu));
        assert_eq!((world.net.counts.too_long, world.server.stats().retransmitted), (0, 0));
        world.assert_data_flows(client);

        let mut raw = RawClient::new(&identity, KEY, 9);
        raw.hello.suites = vec![CCM];
        world.raw_handshake(path(1), &mut raw);
        assert_eq!(raw.hint.as_deref(), Some(HINT));

        let mut against = AgainstRaw::with_config(9, config);
        against.server.hello.suite = CCM;
        against.establish();
        against.assert_data_flows();
    }
    // What is cut was cut.
    let config = support::DTLS12.with_suites(&[CipherSuite::Aes128Ccm8]).with_mtu(Config::MIN_MTU);
    let mut world = Small::with_config(9, config.with_identity_hint(HINT));
    let mut raw = RawClient::new(IDENTITY, KEY, 9);
    let hello = raw.hello();
    let replies = world.hit(path(0), &hello);
    raw.follow(&replies);
    let hello = raw.hello();
    let flight = world.hit(path(0), &hello);
    assert!(flight.len() >= 3, "{} datagrams", flight.len());
    let parts = flight.iter().flat_map(|datagram| parse::plain_messages(datagram));
    assert!(parts.filter(|part| part.msg_type == SERVER_KEY_EXCHANGE).count() >= 2);
}

/// A hello is never cut, whatever the MTU: with a long cookie it is longer than it.
#[test]
fn a_hello_with_a_long_cookie_is_never_cut() {
    for len in [0, 1, 32, 33, 254, 255] {
        let config = support::DTLS12.with_suites(&[CipherSuite::Aes128Ccm8]).with_mtu(Config::MIN_MTU);
        let mut against = AgainstRaw::with_config(10, config);
        against.hello();
        let cookie = vec![0xC0; len];
        let request = against.server.hello_verify_request(DTLS10, &cookie);
        let hellos = against.hit(&request);
        assert_eq!(hellos.len(), 1);
        assert_eq!(hellos[0].len(), 75 + len);
        let messages = parse::plain_messages(&hellos[0]);
        assert_eq!(messages.len(), 1);
        assert_eq!((messages[0].offset, messages[0].length), (0, messages[0].body.len()));
        assert_eq!(messages[0].message_seq, 1);
        let at = 2 + 32 + 1;
        assert_eq!(messages[0].body[at..at + 1 + len], vec8(&cookie));
        against.server.take_hello(&hellos);
        let flight = against.server.flight(None);
        let answer = against.hit(&flight);
        against.server.take_key_flight(&answer);
        let last = against.server.last_flight();
        against.hit(&last);
        against.assert_data_flows();
    }
}

/// Splits a message into fragments of `size` bytes.
fn cut(message: &[u8], size: usize) -> Vec<Vec<u8>> {
    let whole = parse::messages(message).remove(0);
    let at = (0..whole.body.len()).step_by(size);
    at.map(|at| {
        let end = (at + size).min(whole.body.len());
        fragment(whole.msg_type, whole.length as u32, whole.message_seq, at as u32, &whole.body[at..end])
    })
    .collect()
}

/// Fragments of a server's messages in every order, overlapping, repeated and empty.
#[test]
fn a_client_puts_fragments_together() {
    for seed in 0..200 {
        let mut rng = seeded(seed);
        let mut against = AgainstRaw::new(seed);
        against.hello();
        let messages = against.server.flight_messages((seed % 2 == 0).then_some(&[b'h'; 100]));
        let mut answer = Vec::new();
        for whole in &messages {
            let mut parts: Vec<Vec<u8>> =
                cut(whole, 1 + seed as usize % 23).into_iter().chain(cut(whole, 17)).collect();
            if parts.is_empty() {
                parts.push(whole.clone());
            } else {
                // No bytes of it, at its start, in its middle and at its end.
                let length = whole.len() as u32 - 12;
                for offset in [0, length / 2, length] {
                    parts.push(fragment(whole[0], length, u16::from(whole[5]), offset, &[]));
                }
            }
            parts.shuffle(&mut rng);
            for part in &parts {
                let datagram = against.server.side.plain(HANDSHAKE, part);
                answer.extend(against.hit(&datagram));
            }
        }
        assert_eq!(against.client.log, []);
        against.server.take_key_flight(&answer);
        let last = against.server.last_flight();
        against.hit(&last);
        against.assert_data_flows();
    }
}

/// The same at the server, with the one message that a client may cut there, and with its Finished.
#[test]
fn a_server_puts_fragments_together() {
    for seed in 0..200 {
        let mut rng = seeded(seed);
        let mut world = Small::new(seed);
        let identity = vec![b'i'; 1 + seed as usize % 128];
        world.keys.add(psk(&identity, KEY));
        let mut raw = RawClient::new(&identity, KEY, seed);
        world.raw_hello(path(0), &mut raw);
        let mut parts = cut(raw.key_exchange_message(), 1 + seed as usize % 40);
        parts.extend(cut(raw.key_exchange_message(), 9));
        parts.shuffle(&mut rng);
        for part in &parts {
            let datagram = raw.side.plain(HANDSHAKE, part);
            assert!(world.hit(path(0), &datagram).is_empty());
        }
        let change = raw.change_cipher_spec_record();
        world.hit(path(0), &change);
        let mut parts = cut(raw.finished_message(), 1 + seed as usize % 12);
        parts.shuffle(&mut rng);
        let mut last = Vec::new();
        for part in &parts {
            let datagram = raw.side.seal(HANDSHAKE, part);
            last.extend(world.hit(path(0), &datagram));
        }
        raw.take_last_flight(&last);
        world.assert_raw_data_flows(path(0), &mut raw);
    }
}

/// Several messages in one record, and several records in one datagram, in every grouping.
#[test]
fn messages_in_one_record_and_records_in_one_datagram() {
    for grouping in 0..4 {
        let mut against = AgainstRaw::new(11);
        against.hello();
        let messages = against.server.flight_messages(Some(b"hint"));
        let mut answer = Vec::new();
        let groups: Vec<Vec<Vec<u8>>> = match grouping {
            0 => vec![vec![messages.concat()]],
            1 => vec![vec![messages[..2].concat(), messages[2].clone()]],
            2 => vec![vec![messages[0].clone()], vec![messages[1..].concat()]],
            _ => messages.iter().map(|message| vec![message.clone()]).collect(),
        };
        for records in groups {
            let datagram: Vec<u8> =
                records.iter().flat_map(|body| against.server.side.plain(HANDSHAKE, body)).collect();
            answer.extend(against.hit(&datagram));
        }
        against.server.take_key_flight(&answer);
        let last = against.server.last_flight();
        against.hit(&last);
        against.assert_data_flows();
    }
}

/// Writes the next datagram of either end.
type Poll<'a> = &'a mut dyn FnMut(&mut [u8]) -> Result<Option<usize>, Error>;

/// A buffer that is too small loses nothing: the error says how much would do, and that much does.
#[test]
fn a_buffer_that_is_too_small_loses_nothing() {
    let mut world = Small::with_config(12, support::DTLS12.with_identity_hint(b"hint"));
    let client = world.client();
    let transmit = |poll: Poll<'_>| {
        let mut sent = Vec::new();
        loop {
            let mut size = 0;
            let len = loop {
                let mut buf = vec![0; size];
                match poll(&mut buf) {
                    Ok(None) => return sent,
                    Ok(Some(len)) => {
                        sent.push(buf[..len].to_vec());
                        break len;
                    }
                    Err(Error::BufferTooSmall { needed }) => {
                        assert!(needed > size, "{needed} bytes are more than {size}");
                        // One byte more each time, and far enough past what is needed to see that it was.
                        size += 1;
                        assert!(size <= needed.max(200));
                    }
                    Err(error) => panic!("{error}"),
                }
            };
            assert!(len > 0);
        }
    };
    for _ in 0..4 {
        let connection = &mut world.clients[client].connection;
        let sent = transmit(&mut |buf| connection.poll_transmit(buf));
        for mut datagram in sent {
            let events: Vec<Note> = world
                .server
                .receive(&mut datagram, path(0), &mut world.rng, world.now)
                .map(Note::from)
                .collect();
            assert!(events.iter().all(|event| *event == Note::Established));
        }
        let server = &mut world.server;
        let sent = transmit(&mut |buf| Ok(server.poll_transmit(buf)?.map(|(len, _)| len)));
        let now = world.now;
        for mut datagram in sent {
            let events = world.clients[client].connection.receive(&mut datagram, now);
            events.for_each(drop);
        }
    }
    world.assert_data_flows(client);
    assert_eq!(world.clients[client].connection.stats().dropped, 0);
    assert_eq!(world.server.stats().dropped, 0);

    // Data, and the closing, too.
    let connection = &mut world.clients[client].connection;
    let mut buf = [0; 100];
    assert_eq!(connection.send(b"four", &mut buf[..32]), Err(Error::BufferTooSmall { needed: 33 }));
    assert_eq!(connection.send(b"four", &mut buf[..33]), Ok(33));
    assert_eq!(parse::records(&buf[..33])[0].sequence_number, 2, "the one that failed took no number");
    connection.close();
    assert_eq!(connection.poll_transmit(&mut buf[..30]), Err(Error::BufferTooSmall { needed: 31 }));
    assert_eq!(connection.poll_transmit(&mut buf[..31]), Ok(Some(31)));
    assert_eq!(connection.poll_transmit(&mut buf), Ok(None));
    let mut close_notify = buf[..31].to_vec();
    let events: Vec<Note> =
        world.server.receive(&mut close_notify, path(0), &mut world.rng, world.now).map(Note::from).collect();
    assert_eq!(events, [Note::Closed]);
    assert!(world.server.poll_transmit(&mut buf[..30]).is_err());
    assert_eq!(world.server.poll_transmit(&mut buf), Ok(Some((31, path(0)))));
    assert_eq!(world.server.peer(&path(0)), None);
}

/// An alert that did not fit goes out with the next buffer.
#[test]
fn an_alert_waits_for_room() {
    let mut world = Small::new(13);
    let mut raw = RawClient::new(IDENTITY, b"wrong", 13);
    world.raw_hello(path(0), &mut raw);
    for _ in 0..2 {
        let mut flight = raw.key_flight();
        let events = world.server.receive(&mut flight, path(0), &mut world.rng, world.now);
        events.for_each(drop);
    }
    assert_eq!(world.server.handshakes(), 1);
    let mut buf = [0; 100];
    assert_eq!(world.server.poll_transmit(&mut buf[..14]), Err(Error::BufferTooSmall { needed: 15 }));
    assert_eq!(world.server.poll_transmit(&mut buf), Ok(Some((15, path(0)))));
    assert_eq!(parse::plain_alert(&buf[..15]), Some((2, 51)));
    assert_eq!(world.server.handshakes(), 0);
}

/// Reassembled flights have one ChangeCipherSpec and one Finished behind one ClientKeyExchange, whatever the MTU.
#[test]
fn the_clients_flight_is_in_order() {
    let config = support::DTLS12.with_suites(&[CipherSuite::Aes128Ccm8]).with_mtu(Config::MIN_MTU);
    let mut against = AgainstRaw::with_config(14, config);
    against.hello();
    let flight = against.server.flight(None);
    let answer = against.hit(&flight);
    let types: Vec<(u16, u8)> = answer
        .iter()
        .flat_map(|datagram| parse::records(datagram))
        .map(|Record { epoch, content_type, .. }| (epoch, content_type))
        .collect();
    assert_eq!(types, [(0, HANDSHAKE), (0, CHANGE_CIPHER_SPEC), (1, HANDSHAKE)]);
    assert_eq!(reassemble(&answer)[0].message_seq, 1);
}

/// A repeated hello is answered by the handshake that it began, even when its cookie has run out since. Asking for
/// another cookie instead would have the two ends wait for different messages.
#[test]
fn a_repeated_hello_outlives_its_cookie() {
    let mut world = Small::with_config(15, LONG);
    let mut raw = RawClient::new(IDENTITY, KEY, 15);
    let hello = raw.hello();
    let replies = world.hit(path(0), &hello);
    raw.follow(&replies);
    let hello = raw.hello();
    // Not the first copy of it, which was lost: the cookie is good for five minutes or ten, and so is the handshake.
    world.run_for(Duration::from_secs(290));
    world.hit(path(0), &hello);
    world.run_for(Duration::from_secs(290));
    assert!(parse::cookie(&world.hit(path(1), &hello)[0]).is_some());
    let flight = world.hit(path(0), &hello);
    assert_eq!(world.server.handshakes(), 1);
    raw.take_server_flight(&flight);
    raw.exchange_keys();
    let flight = raw.key_flight();
    let last = world.hit(path(0), &flight);
    raw.take_last_flight(&last);
    world.assert_raw_data_flows(path(0), &mut raw);
}

/// A client that was asked for a cookie again begins anew, and late copies of its older hello do not set it back.
#[test]
fn a_newer_hello_of_the_same_client_begins_anew() {
    let mut world = Small::new(16);
    let mut raw = RawClient::new(IDENTITY, KEY, 16);
    let hello = raw.hello();
    let replies = world.hit(path(0), &hello);
    raw.follow(&replies);
    // A copy of the next hello loses its cookie on its way, and overtakes the genuine one.
    let mut spoilt = raw.hello.clone();
    spoilt.cookie[0] ^= 1;
    let replies = world.hit(path(0), &spoilt.datagram(1, 1));
    let older = raw.hello();
    world.hit(path(0), &older);
    assert_eq!(world.server.handshakes(), 1);
    raw.follow(&replies);
    let newer = raw.hello();
    let flight = world.hit(path(0), &newer);
    assert_eq!(world.server.handshakes(), 1);
    assert_eq!(parse::plain_messages(&flight[0])[0].message_seq, 2);
    assert!(world.hit(path(0), &older).is_empty());
    raw.take_server_flight(&flight);
    raw.exchange_keys();
    let flight = raw.key_flight();
    let last = world.hit(path(0), &flight);
    raw.take_last_flight(&last);
    world.assert_raw_data_flows(path(0), &mut raw);
}
