//! What broke other stacks, tried on this one: records, epochs, replays and floods. The numbers are those of the list of
//! bug classes in `attack_rows.rs`; the tests about messages and fragments are in `attacks_messages.rs`, random bytes in
//! `attacks_random.rs`.

mod support;

use std::collections::HashSet;
use std::time::Duration;

use dtls_psk::{Error, PeerMisbehaved};

use support::craft::*;
use support::net::Direction;
use support::parse;
use support::raw::RawClient;
use support::scene::{ClientScene, ClientState, ServerScene, ServerState};
use support::world::{AgainstRaw, Note, Small, World, path, path_from, psk};
use support::{IDENTITY, KEY};

const CONTENT_TYPES: [u8; 4] = [CHANGE_CIPHER_SPEC, ALERT, HANDSHAKE, APPLICATION_DATA];
const MAX_SEQ: u64 = (1 << 48) - 1;

/// Row 1 (CVE-2017-7243): a bare ChangeCipherSpec, right and wrong, once and often, in every state.
#[test]
fn row_01_bare_change_cipher_spec() {
    for mut scene in ServerScene::each(1) {
        for (seq, body) in (500..).zip([&[1][..], &[], &[0], &[2], &[1, 1], &[0xFF; 40], &[1]]) {
            for epoch in [0, 1, 2, 0xFFFF] {
                scene.ignores(&record(CHANGE_CIPHER_SPEC, epoch, seq, body));
            }
        }
        scene.ends_well();
    }
    for mut scene in ClientScene::each(1) {
        for (seq, body) in (500..).zip([&[1][..], &[], &[0], &[2], &[1, 1], &[0xFF; 40], &[1]]) {
            for epoch in [0, 1, 2, 0xFFFF] {
                scene.ignores(&record(CHANGE_CIPHER_SPEC, epoch, seq, body));
            }
        }
        scene.ends_well();
    }
}

/// Row 2 (CVE-2021-42141): handshake messages in plaintext records that claim epoch 1.
#[test]
fn row_02_plaintext_in_epoch_1() {
    for mut scene in ServerScene::each(2) {
        let hello = scene.victim.hello.clone();
        for seq in 0..4 {
            scene.ignores(&record(
                HANDSHAKE,
                1,
                900 + u64::from(seq),
                &message(CLIENT_HELLO, seq, &hello.body()),
            ));
            // Beside a session, what claims to be a proof counts as a failed one, and nothing more.
            let key_exchange = message(CLIENT_KEY_EXCHANGE, seq, &vec16(IDENTITY));
            scene.ignores(&record(HANDSHAKE, 1, 910 + u64::from(seq), &key_exchange));
            scene.ignores(&record(CHANGE_CIPHER_SPEC, 1, 920, &[1]));
            scene.ignores(&record(HANDSHAKE, 1, 930 + u64::from(seq), &message(FINISHED, seq, &[0; 12])));
        }
        scene.ends_well();
    }
    for mut scene in ClientScene::each(2) {
        for seq in 0..5 {
            for msg_type in [HELLO_VERIFY_REQUEST, SERVER_HELLO, SERVER_HELLO_DONE, FINISHED, HELLO_REQUEST] {
                scene.ignores(&record(HANDSHAKE, 1, 900, &message(msg_type, seq, &[0; 12])));
            }
        }
        scene.ends_well();
    }
}

/// Row 3 (CVE-2021-42142): early records with a huge epoch, or a huge number.
#[test]
fn row_03_huge_epochs_and_numbers() {
    let datagrams = || {
        CONTENT_TYPES.into_iter().flat_map(|content_type| {
            [1, 2, 3, 0x7FFF, 0x8000, 0xFFFE, 0xFFFF].into_iter().flat_map(move |epoch| {
                [0, 1, 64, MAX_SEQ].map(|seq| record(content_type, epoch, seq, &[0x5A; 40]))
            })
        })
    };
    for mut scene in ServerScene::each(3) {
        datagrams().for_each(|datagram| scene.ignores(&datagram));
        scene.ends_well();
    }
    for mut scene in ClientScene::each(3) {
        datagrams().for_each(|datagram| scene.ignores(&datagram));
        scene.ends_well();
    }
    // In epoch 0 a hello may have any number: the answer takes it over, and wraps where it must.
    for seq in [MAX_SEQ - 1, MAX_SEQ] {
        let mut world = Small::new(3);
        let mut raw = RawClient::new(IDENTITY, KEY, 3);
        raw.side.plain_seq = seq - 1;
        let hello = raw.hello();
        let replies = world.hit(path(0), &hello);
        assert_eq!(parse::records(&replies[0])[0].sequence_number, seq - 1);
        raw.follow(&replies);
        let hello = raw.hello();
        let flight = world.hit(path(0), &hello);
        let numbers: Vec<u64> =
            parse::records(&flight[0]).iter().map(|record| record.sequence_number).collect();
        assert_eq!(numbers, [seq, (seq + 1) & MAX_SEQ]);
        raw.take_server_flight(&flight);
        raw.exchange_keys();
        raw.side.plain_seq = 10;
        let flight = raw.key_flight();
        let last = world.hit(path(0), &flight);
        raw.take_last_flight(&last);
        world.assert_raw_data_flows(path(0), &mut raw);
    }
}

/// Rows 5 and 16 (CVE-2021-42144, CVE-2026-75806): records shorter than nonce and tag, of every length and type, and
/// longer ones that are forged.
#[test]
fn row_05_and_16_short_and_forged_records() {
    for mut scene in ServerScene::each(5) {
        for content_type in CONTENT_TYPES {
            for len in (0..=40).chain([100, 1_000, 16_384, 16_408, 16_409, 17_000, 65_535]) {
                scene.ignores(&record(content_type, 1, 40 + len as u64, &vec![0xE5; len]));
            }
        }
        scene.ends_well();
    }
    for mut scene in ClientScene::each(5) {
        for content_type in CONTENT_TYPES {
            for len in (0..=40).chain([100, 1_000, 16_384, 16_408, 16_409, 17_000, 65_535]) {
                scene.ignores(&record(content_type, 1, 40 + len as u64, &vec![0xE5; len]));
            }
        }
        scene.ends_well();
    }
    // What is too short depends on the tag.
    for suite in support::suites12() {
        let mut world = Small::with_config(5, support::DTLS12.with_suites(std::slice::from_ref(suite)));
        let mut raw = RawClient::new(IDENTITY, KEY, 5);
        raw.hello.suites = vec![suite.number(), SCSV];
        world.raw_handshake(path(0), &mut raw);
        let told = world.log.len();
        for content_type in CONTENT_TYPES {
            for len in 0..=60 {
                let forged = record(content_type, 1, 40 + len as u64, &vec![0xE5; len]);
                assert!(world.hit(path(0), &forged).is_empty());
            }
        }
        assert_eq!(world.log[told..], []);
        world.assert_raw_data_flows(path(0), &mut raw);
    }
    // Authentic records that were cut at every length, or had one bit of anything flipped.
    let mut scene = ServerScene::new(ServerState::Established, 5);
    let genuine = scene.victim.side.data(b"genuine");
    for len in 0..genuine.len() {
        scene.ignores(&genuine[..len]);
        let body = &genuine[13..genuine.len().max(13 + len) - len.min(genuine.len() - 13)];
        if body.len() < genuine.len() - 13 {
            scene.ignores(&record(APPLICATION_DATA, 1, 1, body));
        }
    }
    for bit in 0..8 * genuine.len() {
        let mut damaged = genuine.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        scene.ignores(&damaged);
    }
    scene.attack(&genuine);
    assert_eq!(scene.world.log.last(), Some(&(path(0), Note::Data(b"genuine".to_vec()))));
    scene.ends_well();
}

/// Row 10 (tinydtls #79): Finished before ChangeCipherSpec, under the new keys and in the clear.
#[test]
fn row_10_finished_before_change_cipher_spec() {
    for state in [ServerState::AwaitsClientKeyExchange, ServerState::AwaitsChangeCipherSpec] {
        let mut scene = ServerScene::new(state, 10);
        let sealed = scene.victim.finished_record();
        scene.ignores(&sealed);
        scene.ignores(&sealed);
        let plain = scene.victim.finished_message().to_vec();
        let plain = scene.victim.side.plain(HANDSHAKE, &plain);
        scene.ignores(&plain);
        scene.ends_well();
    }
    let mut scene = ClientScene::new(ClientState::AwaitsFinished, 10);
    let sealed = scene.against.server.finished_record();
    scene.ignores(&sealed);
    let plain = scene.against.server.finished_message().to_vec();
    let plain = scene.against.server.side.plain(HANDSHAKE, &plain);
    scene.ignores(&plain);
    // Cut into plaintext fragments it is not put together either.
    let body = &plain[25..];
    let seq = u16::from_be_bytes([plain[17], plain[18]]);
    scene.ignores(&record(HANDSHAKE, 0, 90, &fragment(FINISHED, 12, seq, 0, &body[..6])));
    scene.ignores(&record(HANDSHAKE, 0, 91, &fragment(FINISHED, 12, seq, 6, &body[6..])));
    scene.ends_well();
}

/// Row 11 (CVE-2009-1377): a flood of records of a future epoch. Nothing is kept for later.
#[test]
fn row_11_flood_of_future_epochs() {
    for mut scene in ServerScene::each(11) {
        for n in 0..5_000 {
            let content_type = CONTENT_TYPES[n as usize % 4];
            scene.ignores(&record(content_type, 2 + (n % 3) as u16, n, &[0x11; 200]));
        }
        // Future records of this very epoch, before the keys are there.
        if scene.state == ServerState::AwaitsClientKeyExchange {
            for _ in 0..100 {
                let early = scene.victim.side.data(b"early");
                scene.ignores(&early);
            }
        }
        scene.ends_well();
    }
    for mut scene in ClientScene::each(11) {
        for n in 0..5_000 {
            scene.ignores(&record(CONTENT_TYPES[n as usize % 4], 2, n, &[0x11; 200]));
        }
        scene.ends_well();
    }
}

/// Row 14 (CVE-2013-6450): a retransmission under the wrong epoch, ours and the peer's.
#[test]
fn row_14_retransmission_under_the_wrong_epoch() {
    // The peer's: ClientKeyExchange under the new keys, Finished in the clear.
    for state in [ServerState::AwaitsChangeCipherSpec, ServerState::AwaitsFinished, ServerState::Established]
    {
        let mut scene = ServerScene::new(state, 14);
        let message = scene.victim.key_exchange_message().to_vec();
        let sealed = scene.victim.side.seal(HANDSHAKE, &message);
        scene.ignores(&sealed);
        let message = scene.victim.finished_message().to_vec();
        let plain = scene.victim.side.plain(HANDSHAKE, &message);
        scene.ignores(&plain);
        scene.ends_well();
    }
    // Ours: whatever was repeated before, what belongs into epoch 0 stays there, and numbers never come twice.
    let mut against = AgainstRaw::new(14);
    against.key_exchange();
    let mut seen = HashSet::new();
    for (_, datagram) in against.pass(Duration::from_secs(50)) {
        let records = parse::records(&datagram);
        let kinds: Vec<_> = records.iter().map(|record| (record.epoch, record.content_type)).collect();
        assert_eq!(kinds, [(0, HANDSHAKE), (0, CHANGE_CIPHER_SPEC), (1, HANDSHAKE)]);
        assert!(records.iter().all(|record| seen.insert((record.epoch, record.sequence_number))));
    }
    assert_eq!(seen.len(), 5 * 3);
    let last = against.server.last_flight();
    against.hit(&last);
    against.assert_data_flows();
}

/// Row 15 (CVE-2016-2181): a forged record with a high number must not move the replay window.
#[test]
fn row_15_the_replay_window_moves_after_authentication() {
    for mut scene in ServerScene::each(15) {
        for seq in [63, 64, 65, 1 << 20, MAX_SEQ] {
            for content_type in CONTENT_TYPES {
                scene.ignores(&record(content_type, 1, seq, &[0x77; 40]));
            }
        }
        scene.ends_well();
    }
    for mut scene in ClientScene::each(15) {
        for seq in [63, 64, 65, 1 << 20, MAX_SEQ] {
            for content_type in CONTENT_TYPES {
                scene.ignores(&record(content_type, 1, seq, &[0x77; 40]));
            }
        }
        scene.ends_well();
    }
    // An authentic record whose header claims another number.
    let mut scene = ServerScene::new(ServerState::Established, 15);
    let genuine = scene.victim.side.data(b"x");
    let mut lifted = genuine.clone();
    lifted[5..11].copy_from_slice(&[0xFF; 6]);
    scene.ignores(&lifted);
    scene.attack(&genuine);
    assert_eq!(scene.world.log.last(), Some(&(path(0), Note::Data(b"x".to_vec()))));
    scene.ignores(&genuine);
    scene.ends_well();
}

/// Row 19 (SA-2020-03-31): random bytes that are all zero are refused from both roles; a part of them is chance.
#[test]
fn row_19_zero_randoms() {
    let mut scene = ServerScene::new(ServerState::Nothing, 19);
    let mut zero = RawClient::new(IDENTITY, KEY, 19);
    zero.hello.random = [0; 32];
    let hello = zero.hello();
    let replies = scene.attack(&hello);
    zero.follow(&replies);
    let hello = zero.hello();
    let answers = scene.attack(&hello);
    assert_eq!(parse::plain_alert(&answers[0]), Some((2, 47)));
    assert_eq!(scene.world.log.last(), Some(&(path(0), Note::Refused(PeerMisbehaved::ZeroRandom.into()))));
    // Every random but all zeros will do.
    for at in [0, 4, 31] {
        let (mut world, mut raw) = (Small::new(19), RawClient::new(IDENTITY, KEY, 19));
        raw.hello.random = [0; 32];
        raw.hello.random[at] = 1;
        world.raw_handshake(path(0), &mut raw);
        world.assert_raw_data_flows(path(0), &mut raw);
    }
    scene.ends_well();

    let mut scene = ClientScene::new(ClientState::AwaitsServerHello, 19);
    scene.against.server.hello.random = [0; 32];
    let flight = scene.against.server.flight(None);
    let answers = scene.attack(&flight);
    scene.has_failed_with(&answers, 47);
}

/// Row 20 (CVE-2020-24585, CVE-2019-20786): application data in epoch 0 is never delivered.
#[test]
fn row_20_application_data_in_the_clear() {
    for mut scene in ServerScene::each(20) {
        for len in [0, 1, 16, 40, 1_000] {
            for epoch in [0, 1, 2] {
                scene.ignores(&record(APPLICATION_DATA, epoch, 700 + len as u64, &vec![b'!'; len]));
                scene.ignores(&record_of(DTLS10, APPLICATION_DATA, epoch, 700, &vec![b'!'; len]));
            }
        }
        scene.ends_well();
    }
    for mut scene in ClientScene::each(20) {
        for len in [0, 1, 16, 40, 1_000] {
            for epoch in [0, 1, 2] {
                scene.ignores(&record(APPLICATION_DATA, epoch, 700 + len as u64, &vec![b'!'; len]));
                scene.ignores(&record_of(DTLS10, APPLICATION_DATA, epoch, 700, &vec![b'!'; len]));
            }
        }
        scene.ends_well();
    }
    // Under the right keys, but before the Finished: not delivered either (RFC 6347 §4.1).
    let mut scene = ServerScene::new(ServerState::AwaitsFinished, 20);
    let early = scene.victim.side.data(b"early");
    scene.ignores(&early);
    scene.ends_well();
    let mut scene = ClientScene::new(ClientState::AwaitsFinished, 20);
    let early =
        [scene.against.server.side.plain(CHANGE_CIPHER_SPEC, &[1]), scene.against.server.side.data(b"early")]
            .concat();
    scene.ignores(&early);
    scene.ends_well();
}

/// Row 21 (CVE-2022-34293): no cookie check is skipped.
#[test]
fn row_21_no_way_round_the_cookie() {
    let mut scene = ServerScene::new(ServerState::Nothing, 21);
    let hello = ClientHello::new([0x21; 32]);
    // The cookie of another hello, of another address, of another endpoint, and made-up ones.
    let good = parse::cookie(&scene.attack(&hello.datagram(0, 0))[0]).unwrap();
    let elsewhere = parse::cookie(&scene.world.hit(path(5), &hello.datagram(0, 0))[0]).unwrap();
    let foreign = parse::cookie(&Small::new(22).hit(path(0), &hello.datagram(0, 0))[0]).unwrap();
    let other = ClientHello::new([0x22; 32]);
    let other = parse::cookie(&scene.attack(&other.datagram(0, 0))[0]).unwrap();
    let made_up = (1..=255).flat_map(|len| [vec![0; len], vec![0xFF; len]]);
    let prefixes = (1..good.len()).map(|len| good[..len].to_vec());
    let longer = [[good.clone(), vec![0]].concat(), good.repeat(2)];
    for cookie in made_up.chain(prefixes).chain(longer).chain([elsewhere, foreign, other]) {
        for seq in 0..=5 {
            let hello = ClientHello { cookie: cookie.clone(), ..hello.clone() };
            let answers = scene.attack(&hello.datagram(seq, 7));
            assert!(answers.iter().all(|answer| parse::cookie(answer).is_some() && answer.len() < 75));
            assert_eq!(scene.world.server.handshakes(), 0);
        }
    }
    // Without a cookie, whatever number the hello has.
    for seq in (0..=6).chain([255, 256, 0x7FFF, 0xFFFF]) {
        let answers = scene.attack(&hello.datagram(seq, 9));
        assert_eq!(answers.len(), usize::from(seq == 0));
        assert_eq!(scene.world.server.handshakes(), 0);
    }
    // Straight on with the key exchange, as if there had been a hello.
    let mut raw = scene.victim.clone();
    raw.side.suite = CCM_8;
    raw.exchange_keys();
    let flight = raw.key_flight();
    scene.ignores(&flight);
    assert_eq!(scene.world.server.sessions().count(), 1, "the bystander's");
    scene.ends_well();
}

/// Row 23 (CVE-2026-26014): the explicit nonce is epoch and number, and never comes twice under a key.
#[test]
fn row_23_nonces_never_repeat() {
    let mut world = Small::new(23);
    let client = world.established();
    let mut nonces = HashSet::new();
    let mut look = |direction, datagram: &[u8]| {
        for record in parse::records(datagram).iter().filter(|record| record.epoch == 1) {
            assert_eq!(record.body[..8], (1 << 48 | record.sequence_number).to_be_bytes());
            assert!(nonces.insert((direction == Direction::ToServer, record.sequence_number)));
        }
    };
    for (_, packet) in &world.net.trace {
        look(packet.direction, &packet.bytes);
    }
    for n in 0..2_000_u32 {
        let datagram = world.clients[client].seal(&n.to_be_bytes());
        look(Direction::ToServer, &datagram);
        let datagram = world.seal(&path(0), &n.to_be_bytes());
        look(Direction::ToClient, &datagram);
    }
    let before = world.net.trace.len();
    world.clients[client].connection.close();
    world.run_for(Duration::from_secs(1));
    for (_, packet) in &world.net.trace[before..] {
        look(packet.direction, &packet.bytes);
    }
    assert_eq!(nonces.len(), 2 * (1 + 2_000 + 1));

    // A peer may choose its nonces as it likes: they are only read.
    let mut scene = ServerScene::new(ServerState::Established, 23);
    let write = scene.victim.side.write.clone().unwrap();
    for (seq, explicit) in [(100, [0; 8]), (101, [0xFF; 8]), (102, [0; 8])] {
        scene.attack(&write.seal_with(APPLICATION_DATA, seq, explicit, b"x"));
        assert_eq!(scene.world.log.last(), Some(&(path(0), Note::Data(b"x".to_vec()))));
    }
    scene.victim.side.write.as_mut().unwrap().next = 200;
    scene.ends_well();
}

/// Row 26 (CVE-2022-39368): failed handshakes of every kind give their slots back.
#[test]
fn row_26_failed_handshakes_leak_nothing() {
    let mut world = World::<2, 4>::new(26);
    let client = world.established();
    for n in 0..600_u64 {
        let attacker = path_from([198, 51, 100, n as u8], 2_000 + n as u16);
        let mut raw = RawClient::new(IDENTITY, if n % 2 == 0 { KEY } else { b"wrong" }, n);
        world.raw_hello(attacker, &mut raw);
        match n % 6 {
            // A wrong key, or a message that has no place here, is answered and over.
            1 | 3 => {
                for _ in 0..2 {
                    let flight = raw.key_flight();
                    world.hit(attacker, &flight);
                }
            }
            0 => drop(world.hit(attacker, &raw.side.plain(HANDSHAKE, &message(SERVER_HELLO, 2, &[])))),
            2 => {
                drop(world.hit(attacker, &raw.side.plain(HANDSHAKE, &message(CLIENT_KEY_EXCHANGE, 2, &[9]))))
            }
            // An alert ends it at its next timeout.
            4 => drop(world.hit(attacker, &raw.side.plain(ALERT, &[2, 80]))),
            // And silence at its deadline.
            _ => {}
        }
        if matches!(n % 6, 0..4) {
            assert_eq!(world.server.handshakes(), 0, "kind {}", n % 6);
        } else {
            world.run_for(Duration::from_secs(if n % 6 == 4 { 1 } else { 60 }));
            assert_eq!(world.server.handshakes(), 0, "kind {}", n % 6);
        }
    }
    assert_eq!(world.server.stats().handshakes_failed, 600);
    assert_eq!(world.server.poll_timeout(), None);
    assert_eq!(world.server.stats().sessions_evicted, 0);
    world.assert_data_flows(client);
    world.assert_newcomer_gets_through();
}

/// Row 29 (webrtc-rs #614): a stuck handshake does not keep later clients out.
#[test]
fn row_29_a_stuck_handshake_blocks_nobody() {
    let mut world = World::<2, 8>::new(29);
    let mut stuck = RawClient::new(IDENTITY, KEY, 29);
    world.raw_hello(path(40), &mut stuck);
    for n in 0..5 {
        let client = world.client_with(support::DTLS12, psk(IDENTITY, KEY), path(n));
        let done =
            world.run_until(Duration::from_millis(100), |world| world.clients[client].is_established());
        assert!(done, "client {n} waits for another's handshake");
    }
    // Not even where there is one slot only: then it takes as long as an answer may take.
    let mut world = World::<1, 8>::new(29);
    let mut stuck = RawClient::new(IDENTITY, KEY, 29);
    world.raw_hello(path(40), &mut stuck);
    let client = world.client();
    let done = world.run_until(Duration::from_millis(1_200), |world| world.clients[client].is_established());
    assert!(done);
    world.assert_data_flows(client);
}

/// Row 30 (OpenThread #13078): no memory for a session before the cookie came back, and none before the proof.
#[test]
fn row_30_no_memory_before_the_proof() {
    let mut world = World::<1, 1>::new(30);
    let client = world.established();
    for n in 0..2_000_u64 {
        let mut raw = RawClient::new(IDENTITY, KEY, n);
        let hello = raw.hello();
        let attacker = path_from([198, 51, 100, 1], 1 + n as u16);
        assert_eq!(world.hit(attacker, &hello).len(), 1);
        assert_eq!((world.server.handshakes(), world.server.sessions().count()), (0, 1));
    }
    // With the cookie a slot for the handshake, and still none for a session.
    let mut raw = RawClient::new(IDENTITY, b"wrong", 1);
    world.raw_hello(path(60), &mut raw);
    let flight = raw.key_flight();
    world.hit(path(60), &flight);
    assert_eq!((world.server.handshakes(), world.server.sessions().count()), (1, 1));
    assert_eq!(world.server.stats().sessions_evicted, 0);
    world.assert_data_flows(client);
    world.run_for(Duration::from_secs(61));
    assert_eq!(world.log_of(path(60)), [Note::Refused(Error::AuthenticationFailed)]);
    assert_eq!((world.server.handshakes(), world.server.sessions().count()), (0, 1));
    world.assert_data_flows(client);
}

/// Row 32: what a side has sent comes back to it. Under keys that is nobody's. In the clear, a message that has no place
/// ends the handshake as from anybody else (RFC 5246 §7.2.2), and never leads to a session with oneself.
#[test]
fn row_32_reflections() {
    let mut world = Small::new(32);
    let client = world.established();
    world.assert_data_flows(client);
    let now = world.now;
    let (told, client_told) = (world.log.len(), world.clients[client].log.len());
    let conversation: Vec<_> = world.net.trace.iter().map(|(_, packet)| packet.clone()).collect();
    let sealed = [world.clients[client].seal(b"mine"), world.seal(&path(0), b"mine")];
    for packet in &conversation {
        let answers = match packet.direction {
            Direction::ToClient => world.hit(path(0), &packet.bytes),
            Direction::ToServer => world.clients[client].hit(&packet.bytes, now),
        };
        assert!(answers.is_empty());
    }
    assert!(world.clients[client].hit(&sealed[0], now).is_empty());
    assert!(world.hit(path(0), &sealed[1]).is_empty());
    assert_eq!(world.log[told..], []);
    assert_eq!(world.clients[client].log[client_told..], []);
    assert_eq!((world.server.handshakes(), world.server.sessions().count()), (0, 1));
    world.assert_data_flows(client);

    for state in [ClientState::AwaitsServerHello, ClientState::AwaitsFinished] {
        let mut scene = ClientScene::new(state, 32);
        let own = scene.against.pass(Duration::from_secs(2));
        let (_, own) = own.first().expect("the flight again");
        if state == ClientState::AwaitsServerHello {
            let answers = scene.attack(own);
            scene.has_failed_with(&answers, 10);
        } else {
            scene.ignores(own);
            scene.ends_well();
        }
    }
    let mut scene = ServerScene::new(ServerState::AwaitsClientKeyExchange, 32);
    scene.world.now = scene.world.now + Duration::from_secs(1);
    scene.world.server.handle_timeout(scene.world.now);
    let own = scene.world.answers(path(0));
    let answers = scene.attack(&own.concat());
    assert_eq!(parse::plain_alert(&answers[0]), Some((2, 10)));
    assert_eq!((scene.world.server.handshakes(), scene.world.server.sessions().count()), (0, 1));
    scene.others_are_unharmed();
    scene.leaves_nothing_behind();
}

/// Row 32 (RFC 9257 §4.1): a node that is a client and a server, whose client somebody connects to its own server. With one
/// key for both it cannot know. With a key for each direction, its server refuses its client like any stranger.
#[test]
fn row_32_selfie() {
    for (own, is_fooled) in [(psk(IDENTITY, KEY), true), (psk(b"to the others", b"another key"), false)] {
        let mut world = Small::new(32);
        let client = world.client_with(support::DTLS12, own, path(0));
        world.run_for(Duration::from_secs(61));
        assert_eq!(world.clients[client].is_established(), is_fooled);
        assert_eq!(world.server.peer(&path(0)).is_some(), is_fooled);
        assert_eq!(world.server.handshakes(), 0);
        if !is_fooled {
            assert_eq!(world.log_of(path(0)), [Note::Refused(Error::AuthenticationFailed)]);
        }
        world.assert_newcomer_gets_through();
    }
}

/// Forged alerts in the clear never end a session, whatever they say, nor does a forged close_notify.
#[test]
fn unauthenticated_alerts_never_end_a_session() {
    for level in [0, 1, 2, 3] {
        for description in [0, 10, 20, 22, 40, 50, 51, 80, 90, 100, 255] {
            for state in [ServerState::Established, ServerState::Rebooted] {
                let mut scene = ServerScene::new(state, 33);
                let ends_handshake = state == ServerState::Rebooted;
                if ends_handshake {
                    // The handshake beside it may end of one, at its next timeout; the session never.
                    scene.attack(&record(ALERT, 0, 5, &[level, description]));
                    scene.world.run_for(Duration::from_secs(2));
                    scene.others_are_unharmed();
                } else {
                    scene.ignores(&record(ALERT, 0, 5, &[level, description]));
                    scene.ignores(&record(ALERT, 1, 5, &[level, description]));
                    scene.ends_well();
                }
            }
            let mut scene = ClientScene::new(ClientState::Established, 33);
            scene.ignores(&record(ALERT, 0, 5, &[level, description]));
            scene.ignores(&record(ALERT, 1, 5, &[level, description]));
            scene.ends_well();
        }
    }
}

/// Whole recorded conversations, played back at both ends and from elsewhere: nothing happens twice.
#[test]
fn recorded_conversations_are_worth_nothing() {
    let mut world = Small::new(34);
    let client = world.established();
    world.assert_data_flows(client);
    let data = world.clients[client].seal(b"once");
    world.hit(path(0), &data);
    let recorded: Vec<_> = world.net.trace.iter().map(|(_, packet)| packet.clone()).collect();
    let (told, client_told) = (world.log.len(), world.clients[client].log.len());
    for _ in 0..3 {
        for packet in &recorded {
            match packet.direction {
                Direction::ToServer => {
                    world.hit(path(0), &packet.bytes);
                    world.hit(path(88), &packet.bytes);
                }
                Direction::ToClient => {
                    let now = world.now;
                    assert!(world.clients[client].hit(&packet.bytes, now).is_empty());
                }
            }
            world.hit(path(0), &data);
        }
    }
    assert_eq!(world.log[told..], []);
    assert_eq!(world.clients[client].log[client_told..], []);
    assert_eq!((world.server.handshakes(), world.server.sessions().count()), (0, 1));
    world.assert_data_flows(client);
    // A client's own records, sent back to it, do not open: each direction has its key.
    let own = world.clients[client].seal(b"mine");
    let now = world.now;
    world.clients[client].hit(&own, now);
    assert_ne!(world.clients[client].log.last(), Some(&Note::Data(b"mine".to_vec())));
    world.assert_data_flows(client);
}
