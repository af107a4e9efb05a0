//! Many peers at one endpoint: pools, shares, cookies, and what is kept for whom.

mod support;

use std::time::Duration;

use dtls_psk::{AlertDescription, Config, Endpoint, Error, Path, PeerMisbehaved, Storage};

use support::craft::*;
use support::parse;
use support::raw::RawClient;
use support::world::{Note, Small, World, path, path_from, psk};
use support::{IDENTITY, KEY, seeded};

const SECOND: Duration = Duration::from_secs(1);

/// Whether a client with a good cookie gets a slot: the client, to go on with.
fn try_hello<const H: usize, const S: usize>(
    world: &mut World<H, S>,
    path: Path,
    seed: u64,
) -> Option<RawClient> {
    let mut raw = RawClient::new(IDENTITY, KEY, seed);
    let hello = raw.hello();
    let replies = world.hit(path, &hello);
    raw.follow(&replies);
    let hello = raw.hello();
    let flight = world.hit(path, &hello);
    if flight.is_empty() {
        return None;
    }
    raw.take_server_flight(&flight);
    raw.exchange_keys();
    Some(raw)
}

/// Whether a client's handshake still has its slot. It has no session afterwards.
fn still_there<const H: usize, const S: usize>(
    world: &mut World<H, S>,
    path: Path,
    raw: &mut RawClient,
) -> bool {
    let flight = raw.key_flight();
    let last = world.hit(path, &flight);
    if last.is_empty() {
        return false;
    }
    raw.take_last_flight(&last);
    let close = raw.side.seal(ALERT, &[1, 0]);
    world.hit(path, &close);
    true
}

#[test]
fn many_peers() {
    let mut world = World::<8, 64>::new(1);
    for n in 0..64_u8 {
        let key = psk(&[n; 3], &[n ^ 0x5A; 32]);
        world.keys.add(key);
        let client = world.client_with(support::DTLS12, key, path(n.into()));
        world.run_for(SECOND);
        assert!(world.clients[client].is_established());
    }
    assert_eq!(world.server.sessions().count(), 64);
    let mut sessions: Vec<_> = world.server.sessions().map(|(_, peer)| peer.session).collect();
    sessions.sort_unstable();
    sessions.dedup();
    assert_eq!(sessions.len(), 64, "every session has a name of its own");
    for n in 0..64 {
        world.assert_data_flows(n);
        assert_eq!(world.server.peer(&path(n)).unwrap().identity, [n as u8; 3]);
    }
    // One client's records do not open at another's.
    let datagram = world.seal(&path(0), b"for the first");
    let now = world.now;
    world.clients[1].hit(&datagram, now);
    assert_eq!(world.clients[1].connection.stats().forged, 1);
    world.assert_data_flows(1);
}

/// The same client by another address of the server's is another association.
#[test]
fn both_ends_of_a_path_count() {
    let mut world = Small::new(2);
    let here = path(0);
    let there = Path { local: ([198, 51, 100, 1], 5684).into(), ..here };
    let mut one = RawClient::new(IDENTITY, KEY, 1);
    world.raw_handshake(here, &mut one);
    let data = one.side.data(b"x");
    assert!(world.hit(there, &data).is_empty());
    assert_eq!(world.log_of(there), []);
    let mut two = RawClient::new(IDENTITY, KEY, 2);
    world.raw_handshake(there, &mut two);
    assert_eq!(world.server.sessions().count(), 2);
    world.assert_raw_data_flows(here, &mut one);
    world.assert_raw_data_flows(there, &mut two);
}

/// A full handshake pool gives the oldest slot to a newcomer, once it has waited for a quarter of the retransmission
/// timeout.
#[test]
fn a_full_handshake_pool() {
    let mut world = World::<4, 8>::new(3);
    let mut clients = Vec::new();
    for n in 0..4 {
        clients.push(try_hello(&mut world, path(n), n as u64).expect("a free slot"));
        world.now = world.now + Duration::from_millis(10);
    }
    world.now = world.now + Duration::from_millis(209);
    assert!(try_hello(&mut world, path(9), 9).is_none(), "the oldest is 249 ms old");
    assert_eq!(world.server.stats().handshakes_refused, 1);
    world.now = world.now + Duration::from_millis(1);
    assert!(try_hello(&mut world, path(9), 9).is_some());
    assert!(try_hello(&mut world, path(10), 10).is_none(), "the next oldest is 240 ms old");
    assert_eq!(world.server.handshakes(), 4);
    let there: Vec<bool> = (0..4).map(|n| still_there(&mut world, path(n), &mut clients[n])).collect();
    assert_eq!(there, [false, true, true, true]);
    // The one that was pushed out comes again, and gets in.
    assert!(try_hello(&mut world, path(0), 100).is_some());
}

/// The same client that begins anew takes its own slot over, and nobody else's.
#[test]
fn beginning_anew_in_a_full_pool() {
    let mut world = World::<2, 4>::new(4);
    let mut other = try_hello(&mut world, path(0), 0).unwrap();
    let mut first = try_hello(&mut world, path(1), 1).unwrap();
    let mut again = try_hello(&mut world, path(1), 2).expect("its own slot");
    assert_eq!(world.server.handshakes(), 2);
    assert!(!still_there(&mut world, path(1), &mut first));
    let mut again2 = try_hello(&mut world, path(1), 3).unwrap();
    assert!(!still_there(&mut world, path(1), &mut again));
    assert!(still_there(&mut world, path(1), &mut again2));
    assert!(still_there(&mut world, path(0), &mut other));
}

/// One address keeps one slot of a pool that others want, whatever their network, and takes nothing but its own.
#[test]
fn the_share_of_an_address() {
    let many = |n: u8| path_from([203, 0, 113, 1], 1_000 + u16::from(n));
    let mapped = |n: u8| Path {
        remote: ("::ffff:203.0.113.1".parse::<std::net::IpAddr>().unwrap(), 1_000 + u16::from(n)).into(),
        ..path(0)
    };
    let neighbour = |n: u8| path_from([203, 0, 113, n], 9);
    let stranger = |n: u8| path(n.into());
    let newcomers: [fn(u8) -> Path; 2] = [neighbour, stranger];
    for newcomer in newcomers {
        let mut world = World::<4, 8>::new(5);
        let mut held: Vec<RawClient> = (0..4)
            .map(|n| {
                world.now = world.now + Duration::from_millis(1);
                // The same address in another notation is the same address.
                let path = if n < 2 { many(n) } else { mapped(n) };
                try_hello(&mut world, path, n.into()).expect("nobody else wants it")
            })
            .collect();
        assert!(try_hello(&mut world, many(9), 9).is_none(), "its own are all young");
        let mut others: Vec<RawClient> = (10..13)
            .map(|n| {
                world.now = world.now + Duration::from_millis(1);
                try_hello(&mut world, newcomer(n), n.into()).expect("the oldest of the four")
            })
            .collect();
        assert!(try_hello(&mut world, newcomer(13), 13).is_none(), "each has one, and all are young");
        // Late ones are for whoever has none; the one address takes its own.
        world.now = world.now + SECOND / 4;
        assert!(try_hello(&mut world, many(20), 20).is_some());
        assert!(try_hello(&mut world, many(21), 21).is_none());
        world.now = world.now + 10 * SECOND;
        for n in 22..30 {
            let _ = try_hello(&mut world, many(n), n.into());
        }
        for (n, raw) in (10..).zip(&mut others) {
            assert!(still_there(&mut world, newcomer(n), raw));
        }
        for (n, raw) in (0..).zip(&mut held) {
            assert!(!still_there(&mut world, if n < 2 { many(n) } else { mapped(n) }, raw));
        }
    }
}

/// One network prefix holds no more than half of a pool that others want, however many addresses it has.
#[test]
fn the_share_of_a_prefix() {
    type Neighbour = fn(u8) -> Path;
    let v4: Neighbour = |n| path_from([203, 0, 113, n], 1_000);
    let v6: Neighbour = |n| Path {
        remote: (format!("2001:db8:1:2:{n:x}::{n:x}").parse::<std::net::IpAddr>().unwrap(), 1_000).into(),
        ..path(0)
    };
    let mapped: Neighbour = |n| Path {
        remote: (format!("::ffff:203.0.113.{n}").parse::<std::net::IpAddr>().unwrap(), 1_000).into(),
        ..path(0)
    };
    for neighbour in [v4, v6, mapped] {
        let mut world = World::<4, 8>::new(5);
        let mut held: Vec<RawClient> = (0..4)
            .map(|n| {
                world.now = world.now + Duration::from_millis(1);
                try_hello(&mut world, neighbour(n), n.into()).expect("nobody else wants it")
            })
            .collect();
        assert!(try_hello(&mut world, neighbour(9), 9).is_none(), "its own are all young");
        // Two strangers get in at once, whatever the age of what they push out.
        let mut strangers: Vec<RawClient> = (0..2)
            .map(|n| try_hello(&mut world, path(n), 20 + n as u64).expect("half of the pool"))
            .collect();
        assert!(try_hello(&mut world, path(2), 22).is_none(), "all hold their share");
        // A late neighbour pushes out its own kind only.
        world.now = world.now + SECOND / 4;
        assert!(try_hello(&mut world, neighbour(10), 10).is_some());
        assert!(try_hello(&mut world, neighbour(11), 11).is_some());
        assert!(try_hello(&mut world, neighbour(12), 12).is_none());
        world.now = world.now + SECOND / 4;
        for n in 13..20 {
            let _ = try_hello(&mut world, neighbour(n), n.into());
        }
        for (n, stranger) in strangers.iter_mut().enumerate() {
            assert!(still_there(&mut world, path(n), stranger));
        }
        for (n, raw) in (0..).zip(&mut held) {
            assert!(!still_there(&mut world, neighbour(n), raw));
        }
    }
}

/// One attacker's address, which repeats its cookies from a new port each time, against honest clients next to it that
/// retransmit seldom.
#[test]
fn one_address_does_not_keep_its_neighbours_out() {
    let mut world =
        World::<2, 64>::with_config(17, Config::coap().with_versions(&[dtls_psk::ProtocolVersion::Dtls12]));
    let (mut seed, mut slowest) = (0_u64, Duration::ZERO);
    let mut attack = |world: &mut World<2, 64>| {
        seed += 1;
        let _ = try_hello(world, path_from([203, 0, 113, 66], 1_000 + seed as u16), seed);
        world.run_for(Duration::from_millis(100));
    };
    for honest in 1..=20 {
        // Each comes at another moment between two attempts.
        attack(&mut world);
        world.run_for(Duration::from_millis(u64::from(honest) * 5));
        world.net.conditions.delay = 5..=u64::from(honest) * 20;
        let there = path_from([203, 0, 113, honest], 5_684);
        let client = world.client_with(
            Config::coap().with_versions(&[dtls_psk::ProtocolVersion::Dtls12]),
            psk(IDENTITY, KEY),
            there,
        );
        let start = world.now;
        while !world.clients[client].is_established() {
            attack(&mut world);
            assert!(world.now.saturating_since(start) < 5 * SECOND, "client {honest} is kept out");
        }
        slowest = slowest.max(world.now.saturating_since(start));
        world.assert_data_flows(client);
    }
    println!("{seed} attempts by the attacker; the slowest honest handshake took {slowest:?}");
}

/// An attacker with as many addresses of one network as it likes, all of which repeat their cookies, against honest
/// clients that come one after the other.
#[test]
fn honest_newcomers_get_in_during_a_flood_with_good_cookies() {
    let mut world = World::<4, 64>::new(6);
    let (mut seed, mut slowest) = (0, Duration::ZERO);
    for honest in 0..20 {
        let client = world.client();
        let start = world.now;
        while !world.clients[client].is_established() {
            // 100 handshakes a second, each given up after the hello.
            seed += 1;
            let attacker = path_from([203, 0, 113, seed as u8], 1_000 + (seed >> 8) as u16);
            let _ = try_hello(&mut world, attacker, seed);
            world.run_for(Duration::from_millis(10));
            assert!(world.now.saturating_since(start) < 10 * SECOND, "client {honest} is kept out");
        }
        slowest = slowest.max(world.now.saturating_since(start));
        world.assert_data_flows(client);
    }
    println!("{seed} attempts by the attacker; the slowest honest handshake took {slowest:?}");
    assert!(slowest < 2 * SECOND);
    for client in 0..20 {
        world.assert_data_flows(client);
    }
    world.run_for(61 * SECOND);
    assert_eq!(world.server.handshakes(), 0, "the attacker's slots are free again");
}

/// The same by an attacker who holds many networks, too few handshakes a second to fill the pool anew all the time.
#[test]
fn honest_newcomers_get_in_between_many_networks() {
    let mut world = World::<8, 64>::new(7);
    let (mut seed, mut slowest) = (0_u64, Duration::ZERO);
    for honest in 0..10 {
        let client = world.client();
        let start = world.now;
        while !world.clients[client].is_established() {
            seed += 1;
            let attacker = path_from([100, (seed >> 8) as u8, seed as u8, 1], 1_000);
            let _ = try_hello(&mut world, attacker, seed);
            world.run_for(Duration::from_millis(200));
            assert!(world.now.saturating_since(start) < 60 * SECOND, "client {honest} is kept out");
        }
        slowest = slowest.max(world.now.saturating_since(start));
        world.assert_data_flows(client);
    }
    println!("the slowest honest handshake took {slowest:?}");
    assert!(slowest < 5 * SECOND);
}

/// Hellos without a good cookie: no slot, and never more bytes than came in.
#[test]
fn floods_without_cookies() {
    let mut world = World::<1, 4>::new(8);
    let client = world.established();
    let (mut received, mut sent) = (0, 0);
    for n in 0..20_000_u64 {
        let mut raw = RawClient::new(b"", b"k", n);
        // The shortest hello there is, a usual one, and ones with cookies of every length that are not ours.
        match n % 3 {
            0 => {
                raw.hello.suites = vec![CCM_8];
                raw.hello.extensions = None;
            }
            1 => {}
            _ => {
                raw.hello.cookie = vec![n as u8; 1 + n as usize % 255];
                raw.side.message_seq = 1;
            }
        }
        let hello = raw.hello();
        let spoofed = path_from([172, 16, (n >> 8) as u8, n as u8], 1_024 + n as u16);
        let answers = world.hit(spoofed, &hello);
        assert_eq!(answers.len(), 1);
        assert!(parse::cookie(&answers[0]).is_some());
        assert!(answers[0].len() < hello.len(), "{} for {}", answers[0].len(), hello.len());
        received += hello.len();
        sent += answers[0].len();
        assert_eq!(world.server.handshakes(), 0);
        // The reply has the numbers of the hello, as nothing is kept to count on (RFC 6347 §4.2.1).
        assert_eq!(parse::records(&answers[0])[0].sequence_number, 0);
        assert_eq!(parse::plain_messages(&answers[0])[0].message_seq, raw.side.message_seq - 1);
    }
    println!("{received} bytes in, {sent} out");
    assert_eq!(world.server.poll_timeout(), None);
    world.assert_data_flows(client);
    world.assert_newcomer_gets_through();

    // Many hellos in one datagram have one answer.
    let mut raw = RawClient::new(b"", b"k", 1);
    let datagram = raw.hello().repeat(10);
    assert_eq!(world.hit(path(77), &datagram).len(), 1);
}

/// A cookie is good for one address and one hello.
#[test]
fn cookies_are_bound_to_address_and_hello() {
    let mut world = Small::new(9);
    let mut raw = RawClient::new(IDENTITY, KEY, 9);
    raw.hello.session_id = vec![1, 2];
    let home = path_from([10, 0, 0, 1], 1_000);
    let hello = raw.hello();
    let replies = world.hit(home, &hello);
    raw.follow(&replies);
    let is_asked_again = |world: &mut Small, path: Path, hello: &ClientHello| {
        let answers = world.hit(path, &hello.datagram(1, 1));
        assert_eq!(world.server.handshakes(), 0);
        answers.len() == 1 && parse::cookie(&answers[0]).is_some()
    };
    for other in [
        path_from([10, 0, 0, 1], 1_001),
        path_from([10, 0, 0, 2], 1_000),
        path_from([1, 0, 0, 10], 1_000),
        Path { remote: "[::1]:1000".parse().unwrap(), ..home },
    ] {
        assert!(is_asked_again(&mut world, other, &raw.hello), "{other:?}");
    }
    let changes: [fn(&mut ClientHello); 9] = [
        |hello| hello.random[31] ^= 1,
        |hello| hello.version = [0xFE, 0xFC],
        |hello| hello.session_id = vec![1],
        |hello| hello.session_id = Vec::new(),
        |hello| hello.suites.push(CCM),
        |hello| hello.compression.push(1),
        |hello| hello.cookie[0] ^= 0x80,
        |hello| hello.cookie.truncate(15),
        |hello| hello.cookie.push(0),
    ];
    for (at, change) in changes.into_iter().enumerate() {
        let mut hello = raw.hello.clone();
        change(&mut hello);
        assert!(is_asked_again(&mut world, home, &hello), "change {at}");
    }
    // Bytes that move from one field to its neighbour make another hello.
    let mut shifted = raw.hello.clone();
    shifted.session_id = [raw.hello.session_id.clone(), vec![0]].concat();
    assert!(is_asked_again(&mut world, home, &shifted));
    // Another endpoint has another secret.
    let mut elsewhere = Small::new(10);
    assert!(is_asked_again(&mut elsewhere, home, &raw.hello));
    // And with all of that the cookie is still good.
    let hello = raw.hello();
    let flight = world.hit(home, &hello);
    raw.take_server_flight(&flight);
    assert_eq!(world.server.handshakes(), 1);
}

/// A cookie is good for as long as a handshake may take, a minute here, and at most for twice that.
#[test]
fn cookies_run_out() {
    for start in (0..240_000).step_by(7_919) {
        for (age, good) in
            [(0, true), (1, true), (59_999, true), (60_000, true), (120_000, false), (500_000, false)]
        {
            let mut world = Small::new(11);
            world.now = dtls_psk::Instant::from_millis(start);
            let mut raw = RawClient::new(IDENTITY, KEY, 11);
            let hello = raw.hello();
            let replies = world.hit(path(0), &hello);
            raw.follow(&replies);
            world.now = world.now + Duration::from_millis(age);
            let hello = raw.hello();
            let answers = world.hit(path(0), &hello);
            assert_eq!(world.server.handshakes() == 1, good, "from {start} after {age} ms");
            if !good {
                // A cookie that ran out is as none: the next one is good.
                raw.follow(&answers);
                let hello = raw.hello();
                let flight = world.hit(path(0), &hello);
                raw.take_server_flight(&flight);
                raw.exchange_keys();
                let flight = raw.key_flight();
                let last = world.hit(path(0), &flight);
                raw.take_last_flight(&last);
            }
        }
    }
}

/// Where repetitions are far apart, cookies are good for longer: a client of the constrained profile whose first three
/// hellos with its cookie were lost is not asked for another.
#[test]
fn a_cookie_outlives_the_repetitions() {
    let (mut world, mut lost) =
        (Small::with_config(11, Config::coap().with_versions(&[dtls_psk::ProtocolVersion::Dtls12])), 0);
    world.now = dtls_psk::Instant::from_millis(299_000);
    world.net.attacker = Some(Box::new(move |_, packet| {
        let hello = parse::plain_messages(&packet.bytes).into_iter().next();
        let has_cookie = hello.is_some_and(|hello| (hello.msg_type, hello.message_seq) == (CLIENT_HELLO, 1));
        lost += usize::from(has_cookie);
        if has_cookie && lost <= 3 { Vec::new() } else { vec![packet.clone()] }
    }));
    let client = world.client_with(
        Config::coap().with_versions(&[dtls_psk::ProtocolVersion::Dtls12]),
        psk(IDENTITY, KEY),
        path(0),
    );
    assert!(world.run_until(64 * SECOND, |world| world.clients[client].is_established()));
    let cookies = world.net.trace.iter().filter(|(_, packet)| parse::cookie(&packet.bytes).is_some());
    assert_eq!(cookies.count(), 1);
}

/// A full session pool gives up the session that carried data the longest ago.
#[test]
fn a_full_session_pool() {
    let mut world = World::<2, 4>::with_config(12, support::DTLS12.with_sessions_per_identity(4));
    let mut raws: Vec<RawClient> = Vec::new();
    for n in 0..4 {
        raws.push(RawClient::new(IDENTITY, KEY, n as u64));
        world.raw_handshake(path(n), &mut raws[n]);
        world.now = world.now + SECOND;
    }
    world.assert_raw_data_flows(path(0), &mut raws[0]);
    // What is forged does not keep a session young.
    world.hit(path(1), &record(APPLICATION_DATA, 1, 500, &[0; 40]));
    let mut next = RawClient::new(IDENTITY, KEY, 10);
    world.raw_handshake(path(10), &mut next);
    assert_eq!(world.server.stats().sessions_evicted, 1);
    assert_eq!(world.server.sessions().count(), 4);
    assert_eq!(world.server.peer(&path(1)), None, "the longest idle one");
    assert_eq!(world.server.send(&path(1), b"x", &mut [0; 99]), Err(Error::NotConnected));
    for n in [0, 2, 3] {
        world.assert_raw_data_flows(path(n), &mut raws[n]);
    }
    // A handshake that does not finish pushes nobody out.
    for n in 20..40 {
        let _ = try_hello(&mut world, path(n), n as u64);
    }
    let mut wrong = RawClient::new(IDENTITY, b"wrong", 50);
    world.now = world.now + SECOND;
    world.raw_hello(path(50), &mut wrong);
    for _ in 0..2 {
        let flight = wrong.key_flight();
        world.hit(path(50), &flight);
    }
    assert_eq!(world.server.stats().sessions_evicted, 1);
    for n in [0, 2, 3] {
        world.assert_raw_data_flows(path(n), &mut raws[n]);
    }
}

/// One identity holds half of the session pool, or what the configuration says; beyond that its own idle ones go.
#[test]
fn sessions_of_one_identity() {
    for (config, limit) in [
        (support::DTLS12, 4),
        (support::DTLS12.with_sessions_per_identity(1), 1),
        (support::DTLS12.with_sessions_per_identity(0), 1),
        (support::DTLS12.with_sessions_per_identity(6), 6),
        (support::DTLS12.with_sessions_per_identity(usize::MAX), 8),
    ] {
        let mut world = World::<2, 8>::with_config(13, config);
        world.keys.add(psk(b"quiet", b"another key"));
        let mut quiet = RawClient::new(b"quiet", b"another key", 99);
        world.raw_handshake(path(99), &mut quiet);
        for n in 0..20 {
            world.now = world.now + SECOND;
            let mut raw = RawClient::new(IDENTITY, KEY, n as u64);
            world.raw_handshake(path(n), &mut raw);
            let held = world.server.sessions().filter(|(_, peer)| peer.identity == IDENTITY).count();
            assert_eq!(held, limit.min(n + 1));
        }
        // Whoever may fill the pool may push others out.
        assert_eq!(world.server.peer(&path(99)).is_some(), limit < 8);
        if limit < 8 {
            world.assert_raw_data_flows(path(99), &mut quiet);
            let newest: Vec<usize> = (0..20).filter(|n| world.server.peer(&path(*n)).is_some()).collect();
            assert_eq!(newest, (20 - limit..20).collect::<Vec<_>>(), "its own oldest went");
        }
    }
}

/// A revoked identity loses its sessions and the handshakes that it was about to finish, and does not come back.
#[test]
fn revoke() {
    let mut world = Small::new(14);
    world.keys.add(psk(b"bad", b"the key of the bad one"));
    let mut bad = RawClient::new(b"bad", b"the key of the bad one", 1);
    world.raw_handshake(path(1), &mut bad);
    let mut good = RawClient::new(IDENTITY, KEY, 2);
    world.raw_handshake(path(2), &mut good);
    // Handshakes that have the key already, and ones that do not yet.
    let mut nearly = RawClient::new(b"bad", b"the key of the bad one", 3);
    world.raw_hello(path(3), &mut nearly);
    let key_exchange = [nearly.key_exchange_record(), nearly.change_cipher_spec_record()].concat();
    world.hit(path(3), &key_exchange);
    let mut begun = RawClient::new(b"bad", b"the key of the bad one", 4);
    world.raw_hello(path(4), &mut begun);
    let mut other = RawClient::new(IDENTITY, KEY, 5);
    world.raw_hello(path(5), &mut other);

    world.keys.take_out(b"bad");
    world.server.revoke(b"bad");
    let answers = world.answers(path(1));
    assert_eq!(bad.side.open(&answers), [(ALERT, vec![1, 0])], "it is told");
    assert_eq!(world.server.peer(&path(1)), None);
    let data = bad.side.data(b"x");
    let before = world.log.len();
    world.hit(path(1), &data);
    assert_eq!(world.log.len(), before);

    let finished = nearly.finished_record();
    assert!(world.hit(path(3), &finished).is_empty());
    assert_eq!(world.server.peer(&path(3)), None);
    for _ in 0..2 {
        let flight = begun.key_flight();
        world.hit(path(4), &flight);
    }
    assert_eq!(world.server.peer(&path(4)), None);
    assert_eq!(world.server.handshakes(), 1, "the other's");
    let flight = other.key_flight();
    let last = world.hit(path(5), &flight);
    other.take_last_flight(&last);
    world.assert_raw_data_flows(path(5), &mut other);
    world.assert_raw_data_flows(path(2), &mut good);
    let again = world.client_with(support::DTLS12, psk(b"bad", b"the key of the bad one"), path(6));
    world.run_for(61 * SECOND);
    assert!(!world.clients[again].is_established());
    // Nobody is revoked twice, and nobody else by a prefix of a name.
    world.server.revoke(b"bad");
    world.server.revoke(b"");
    world.assert_raw_data_flows(path(2), &mut good);
}

/// Whatever way a handshake beside a live session goes wrong, it is refused, and the session does not fail.
#[test]
fn a_refused_handshake_beside_a_live_session() {
    type Attempt = fn(&mut Small, &mut RawClient);
    fn begin(world: &mut Small, raw: &mut RawClient) {
        world.raw_hello(path(0), raw);
        let datagram = [raw.key_exchange_record(), raw.change_cipher_spec_record()].concat();
        world.hit(path(0), &datagram);
    }
    fn hello_twice(world: &mut Small, raw: &mut RawClient) {
        let hello = raw.hello();
        let replies = world.hit(path(0), &hello);
        raw.follow(&replies);
        let hello = raw.hello();
        let answers = world.hit(path(0), &hello);
        assert!(parse::plain_alert(&answers[0]).is_some());
    }
    let attempts: [(Attempt, Error); 8] = [
        (
            |world, raw| {
                raw.side.key = b"wrong".to_vec();
                world.raw_hello(path(0), raw);
                for _ in 0..2 {
                    let flight = raw.key_flight();
                    world.hit(path(0), &flight);
                }
            },
            Error::AuthenticationFailed,
        ),
        (
            |world, raw| {
                begin(world, raw);
                let finished = raw.side.seal(HANDSHAKE, &message(FINISHED, 3, &[0; 12]));
                world.hit(path(0), &finished);
            },
            PeerMisbehaved::WrongVerifyData.into(),
        ),
        (
            |world, raw| {
                world.raw_hello(path(0), raw);
                let datagram = raw.side.plain(HANDSHAKE, &message(SERVER_HELLO, 2, &[]));
                world.hit(path(0), &datagram);
            },
            PeerMisbehaved::UnexpectedMessage.into(),
        ),
        (
            |world, raw| {
                raw.hello.suites = vec![SCSV];
                hello_twice(world, raw);
            },
            Error::NoCommonSuite,
        ),
        (
            |world, raw| {
                raw.hello.extensions = Some(vec![(EXT_RENEGOTIATION_INFO, vec![1, 0])]);
                hello_twice(world, raw);
            },
            PeerMisbehaved::Renegotiation.into(),
        ),
        (
            |world, raw| {
                world.raw_hello(path(0), raw);
                world.hit(path(0), &record(ALERT, 0, 70, &[2, 80]));
                world.run_for(SECOND);
            },
            Error::AlertReceived(AlertDescription::INTERNAL_ERROR),
        ),
        (
            |world, raw| {
                world.raw_hello(path(0), raw);
                world.run_for(60 * SECOND);
            },
            Error::HandshakeTimeout,
        ),
        (
            |world, raw| {
                begin(world, raw);
                // A handshake record is what can be meant for the handshake; under its key an alert beside a session
                // does not open there, so the handshake ends at its deadline.
                let alert = raw.side.seal(ALERT, &[2, 80]);
                world.hit(path(0), &alert);
                world.run_for(60 * SECOND);
            },
            Error::HandshakeTimeout,
        ),
    ];
    for (n, (attempt, error)) in attempts.into_iter().enumerate() {
        let mut world = Small::new(18);
        let mut live = RawClient::new(IDENTITY, KEY, 1);
        world.raw_handshake(path(0), &mut live);
        let session = world.session_of(&path(0));
        attempt(&mut world, &mut RawClient::new(IDENTITY, KEY, 2));
        assert_eq!(world.log_of(path(0)), [Note::Established, Note::Refused(error)], "attempt {n}");
        assert_eq!(world.server.handshakes(), 0);
        assert_eq!(world.session_of(&path(0)), session);
        assert_eq!(world.server.stats().handshakes_failed, 1);
        world.assert_raw_data_flows(path(0), &mut live);
        // What ends the session is a failure.
        let alert = live.side.seal(ALERT, &[2, 80]);
        world.hit(path(0), &alert);
        let error = Error::AlertReceived(AlertDescription::INTERNAL_ERROR);
        assert_eq!(world.log.last(), Some(&(path(0), Note::Failed(error))));
        assert_eq!(world.session_of(&path(0)), None);
    }
}

/// The secrets of an independent peer's connection: both write keys, and the master secret.
fn secrets(raw: &RawClient) -> [Vec<u8>; 3] {
    let keys = [&raw.side.read, &raw.side.write].map(|direction| direction.as_ref().unwrap().key.to_vec());
    let [read, write] = keys;
    [read, write, raw.side.master.clone()]
}

/// What the peer does, on a stack of its own, so that no copy of its secrets lies where the endpoint's calls have theirs.
fn aside<T: Send>(f: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| scope.spawn(f).join().unwrap())
}

/// Keys are wiped in the storage as soon as nobody needs them. What lies there is read through the kernel, so that it is
/// what another process would see, padding and free slots included.
#[test]
#[cfg(target_os = "linux")]
fn keys_are_wiped_where_they_lie() {
    use std::os::unix::fs::FileExt;
    let memory = std::fs::File::open("/proc/self/mem").unwrap();
    type End = fn(&mut Endpoint<'_, 2, 2>, &mut RawClient);
    fn take(endpoint: &mut Endpoint<'_, 2, 2>, bytes: &[u8]) -> Vec<Vec<u8>> {
        let (mut bytes, mut buf, mut rng) = (bytes.to_vec(), [0; 1_500], seeded(19));
        endpoint.receive(&mut bytes, path(0), &mut rng, dtls_psk::Instant::ZERO).for_each(drop);
        std::iter::from_fn(|| endpoint.poll_transmit(&mut buf).unwrap().map(|(len, _)| buf[..len].to_vec()))
            .collect()
    }
    // How an association ends, after its handshake and before.
    let of_sessions: [End; 5] = [
        |endpoint, _| {
            endpoint.close(&path(0));
            take(endpoint, &[]);
        },
        |endpoint, raw| drop(take(endpoint, &aside(|| raw.side.seal(ALERT, &[1, 0])))),
        |endpoint, raw| drop(take(endpoint, &aside(|| raw.side.seal(ALERT, &[2, 80])))),
        |endpoint, _| {
            endpoint.revoke(IDENTITY);
            take(endpoint, &[]);
        },
        |endpoint, _| {
            endpoint.close_all();
            take(endpoint, &[]);
        },
    ];
    let of_handshakes: [End; 4] = [
        |endpoint, raw| {
            drop(take(endpoint, &aside(|| raw.side.seal(HANDSHAKE, &message(FINISHED, 3, &[0; 12])))))
        },
        |endpoint, _| {
            endpoint.revoke(IDENTITY);
            take(endpoint, &[]);
        },
        |endpoint, _| endpoint.close_all(),
        |endpoint, _| assert!(endpoint.handle_timeout(dtls_psk::Instant::from_millis(60_000)).is_some()),
    ];
    let ends = of_sessions.into_iter().map(|end| (true, Some(end)));
    let ends = ends.chain(of_handshakes.into_iter().map(|end| (false, Some(end))));
    for (n, (establish, end)) in ends.chain([(true, None), (false, None)]).enumerate() {
        let (config, keys) = (support::DTLS12, psk(IDENTITY, KEY));
        let mut storage = Box::new(Storage::<2, 2>::new());
        let (at, len) = (std::ptr::from_ref(&*storage).expose_provenance() as u64, size_of_val(&*storage));
        let lie_there = |raw: &RawClient| {
            let mut bytes = vec![0; len];
            memory.read_exact_at(&mut bytes, at).unwrap();
            secrets(raw).map(|secret| bytes.windows(secret.len()).any(|window| *window == secret))
        };
        let mut endpoint = Endpoint::new(&config, &keys, &mut storage, &mut seeded(19)).unwrap();
        let mut raw = RawClient::new(IDENTITY, KEY, 19);
        let hello = raw.hello();
        raw.follow(&take(&mut endpoint, &hello));
        let hello = raw.hello();
        raw.take_server_flight(&take(&mut endpoint, &hello));
        aside(|| raw.exchange_keys());
        assert_eq!(lie_there(&raw), [false; 3]);
        let key_exchange = aside(|| [raw.key_exchange_record(), raw.change_cipher_spec_record()].concat());
        assert!(take(&mut endpoint, &key_exchange).is_empty());
        assert_eq!(lie_there(&raw)[..2], [true; 2], "end {n}: while the Finished is awaited");
        if establish {
            let finished = aside(|| raw.finished_record());
            let flight = take(&mut endpoint, &finished);
            aside(|| raw.take_last_flight(&flight));
            assert_eq!(lie_there(&raw)[..2], [true; 2], "end {n}: while the session is open");
        }
        if let Some(end) = end {
            end(&mut endpoint, &mut raw);
            assert_eq!((endpoint.handshakes(), endpoint.sessions().count()), (0, 0), "end {n}");
            assert_eq!(lie_there(&raw), [false; 3], "end {n}: nobody needs them any more");
        }
        drop(endpoint);
        assert_eq!(lie_there(&raw), [false; 3], "end {n}: the endpoint is gone");
        drop(std::hint::black_box(storage));
    }
}

/// The same of DTLS 1.3: of each epoch the secret and the key of both directions, as soon as the next one has taken its place; but
/// for the client's of the handshake, which a Finished that comes again is read with (RFC 9147 §5.8.1).
#[test]
#[cfg(all(target_os = "linux", feature = "dtls13"))]
fn keys_of_dtls13_are_wiped_where_they_lie() {
    use std::os::unix::fs::FileExt;
    use support::raw13::{KEY_UPDATE, RawClient13, Side, ack};

    let memory = std::fs::File::open("/proc/self/mem").unwrap();
    let mut now = dtls_psk::Instant::ZERO;
    fn take(endpoint: &mut Endpoint<'_, 2, 2>, bytes: &[u8], now: dtls_psk::Instant) -> Vec<Vec<u8>> {
        let (mut bytes, mut buf, mut rng) = (bytes.to_vec(), [0; 1_500], seeded(19));
        endpoint.receive(&mut bytes, path(0), &mut rng, now).for_each(drop);
        std::iter::from_fn(|| endpoint.poll_transmit(&mut buf).unwrap().map(|(len, _)| buf[..len].to_vec()))
            .collect()
    }
    let (config, keys) = (support::scene13::DTLS13, psk(IDENTITY, KEY));
    let mut storage = Box::new(Storage::<2, 2>::new());
    let (at, len) = (std::ptr::from_ref(&*storage).expose_provenance() as u64, size_of_val(&*storage));
    // Whether secret and key lie there, of what the client writes with and of what it reads with.
    let lie_there = |side: &Side| {
        let mut bytes = vec![0; len];
        memory.read_exact_at(&mut bytes, at).unwrap();
        [&side.write, &side.read].map(|direction| {
            direction.secrets().map(|secret| bytes.windows(secret.len()).any(|window| window == secret))
        })
    };
    let mut endpoint = Endpoint::new(&config, &keys, &mut storage, &mut seeded(19)).unwrap();
    let mut raw = RawClient13::new(IDENTITY, KEY, 19);
    let hello = raw.hello();
    raw.follow(&take(&mut endpoint, &hello, now));
    let hello = aside(|| raw.hello());
    let flight = take(&mut endpoint, &hello, now);
    aside(|| raw.take_flight(&flight));
    let handshake = raw.handshake.clone().unwrap();
    assert_eq!(lie_there(&handshake), [[true; 2]; 2], "while the Finished is awaited");
    assert_eq!(lie_there(raw.side()), [[false; 2]; 2], "not before they are needed");
    let finished = aside(|| raw.finish());
    take(&mut endpoint, &finished, now);
    assert_eq!(
        lie_there(&handshake),
        [[true, false], [false; 2]],
        "but for the Finished that may come again"
    );
    let first = raw.side().clone();
    assert_eq!(lie_there(&first), [[true; 2]; 2]);
    // A KeyUpdate both ways.
    let update = aside(|| raw.side().write.seal(HANDSHAKE, &message(KEY_UPDATE, 3, &[1])));
    let answers = take(&mut endpoint, &update, now);
    let numbers: Vec<_> =
        raw.side().read.open_all(&answers).iter().map(|(.., number)| (3, *number)).collect();
    aside(|| {
        raw.side().write.update();
        raw.side().read.update();
    });
    let acknowledged = aside(|| raw.side().write.seal(ACK, &ack(&numbers)));
    take(&mut endpoint, &acknowledged, now);
    assert_eq!(lie_there(&first), [[false; 2]; 2], "the old ones");
    assert_eq!(lie_there(raw.side()), [[true; 2]; 2], "the new ones");
    // Twice the MSL later, no Finished is taken any more.
    now = now + Duration::from_secs(241);
    let again = aside(|| raw.finish());
    assert!(take(&mut endpoint, &again, now).is_empty());
    assert_eq!(lie_there(&handshake), [[false; 2]; 2]);
    endpoint.close(&path(0));
    take(&mut endpoint, &[], now);
    assert_eq!(lie_there(raw.side()), [[false; 2]; 2], "nobody needs them any more");
    drop(endpoint);
    drop(std::hint::black_box(storage));
}

/// What storage held before is gone with the endpoint that used it.
#[test]
fn storage_is_used_again() {
    let config = support::DTLS12;
    let keys = psk(IDENTITY, KEY);
    let mut storage = Storage::<2, 2>::new();
    let mut rng = seeded(15);
    let mut datagram = RawClient::new(IDENTITY, KEY, 15).hello();
    let mut buf = [0; 1_500];
    for _ in 0..3 {
        let mut endpoint = Endpoint::new(&config, &keys, &mut storage, &mut rng).unwrap();
        assert_eq!(endpoint.handshakes(), 0);
        assert_eq!(endpoint.sessions().count(), 0);
        let now = dtls_psk::Instant::ZERO;
        assert_eq!(endpoint.receive(&mut datagram, path(0), &mut rng, now).count(), 0);
        let (len, _) = endpoint.poll_transmit(&mut buf).unwrap().unwrap();
        let mut raw = RawClient::new(IDENTITY, KEY, 15);
        raw.hello();
        raw.follow(&[buf[..len].to_vec()]);
        let mut hello = raw.hello();
        assert_eq!(endpoint.receive(&mut hello, path(0), &mut rng, now).count(), 0);
        assert_eq!(endpoint.handshakes(), 1);
    }
}

/// Every counter counts what it says.
#[test]
fn stats() {
    let mut world = World::<1, 1>::new(16);
    let mut raw = RawClient::new(IDENTITY, KEY, 1);
    world.raw_handshake(path(0), &mut raw);
    assert_eq!(world.server.stats(), Default::default());
    let data = raw.side.data(b"x");
    world.hit(path(0), &data);
    world.hit(path(0), &data);
    assert_eq!(world.server.stats().replayed, 1);
    world.hit(path(0), &record(APPLICATION_DATA, 1, 99, &[0; 40]));
    assert_eq!(world.server.stats().forged, 1);
    for (count, garbage) in
        [&b"hello"[..], &[0; 13], &record(APPLICATION_DATA, 2, 0, &[0; 40]), &data[..20]].iter().enumerate()
    {
        world.hit(path(0), garbage);
        assert_eq!(world.server.stats().dropped, 1 + count as u32);
    }
    let flight = raw.key_flight();
    world.hit(path(0), &flight);
    assert_eq!(world.server.stats().retransmitted, 1);
    let _ = try_hello(&mut world, path(1), 2).unwrap();
    assert!(try_hello(&mut world, path(2), 3).is_none());
    assert_eq!(world.server.stats().handshakes_refused, 1);
    world.run_for(61 * SECOND);
    assert_eq!(world.server.stats().handshakes_failed, 1);
    assert_eq!(world.log_of(path(1)), [Note::Refused(Error::HandshakeTimeout)]);
    let mut raw = RawClient::new(IDENTITY, KEY, 4);
    world.raw_handshake(path(3), &mut raw);
    assert_eq!(world.server.stats().sessions_evicted, 1);
}
