//! What broke other stacks, tried on this one: messages and their fragments. The numbers are those of the list of bug
//! classes in `attack_rows.rs`.

mod support;

use std::time::Duration;

use dtls_psk::{Error, InvalidMessage, PeerMisbehaved};

use support::craft::*;
use support::net::{Direction, Packet};
use support::parse;
use support::raw::RawClient;
use support::scene::{ClientScene, ClientState, ServerScene, ServerState};
use support::world::{Note, Small, path};
use support::{IDENTITY, KEY};

/// The number of the message that the server waits for in this state.
fn expected_seq(scene: &ServerScene) -> u16 {
    match scene.state {
        ServerState::AwaitsClientKeyExchange => 2,
        ServerState::AwaitsChangeCipherSpec | ServerState::AwaitsFinished | ServerState::Rebooted => 3,
        _ => 0,
    }
}

/// The number of the message that the client waits for in this state.
fn expected_by_client(scene: &ClientScene) -> u16 {
    match scene.state {
        ClientState::AwaitsServerHello => 0,
        ClientState::AwaitsServerHelloWithCookie | ClientState::AwaitsServerHelloDone => 1,
        ClientState::AwaitsFinished => 2,
        ClientState::Established => 3,
    }
}

/// A hello's body with the cookie that it needs, as bytes to be spoilt.
fn hello_with_cookie(scene: &mut ServerScene, hello: &ClientHello) -> Vec<u8> {
    let answers = scene.attack(&hello.datagram(0, 0));
    let cookie = parse::cookie(&answers[0]).unwrap();
    ClientHello { cookie, ..hello.clone() }.body()
}

/// Row 4 (CVE-2021-42143): `cipher_suites` of an odd length, of none, and longer than the message.
#[test]
fn row_04_cipher_suite_lengths() {
    for mut scene in ServerScene::each(4) {
        let hello = ClientHello { suites: vec![], ..ClientHello::new([4; 32]) };
        for suites in [
            vec16(&[]),
            vec16(&[0xC0]),
            vec16(&[0xC0, 0xA8, 0]),
            vec16(&[0xC0, 0xA8, 0, 0xFF, 0xC0]),
            vec![0xFF, 0xFF, 0xC0, 0xA8],
            vec![0, 4, 0xC0, 0xA8],
            vec![0],
            vec![],
        ] {
            let body = hello.body();
            let spoilt = [&body[..36], &suites, &body[38..]].concat();
            // With and without what comes behind.
            for body in [spoilt.clone(), [&body[..36], &suites].concat()] {
                scene.ignores(&record(HANDSHAKE, 0, 9, &message(CLIENT_HELLO, 0, &body)));
            }
        }
        scene.ends_well();
    }
    // Suites that are there but of another stack, many of them, among which is ours.
    let mut world = Small::new(4);
    let mut raw = RawClient::new(IDENTITY, KEY, 4);
    raw.hello.suites = (0..500).chain([CCM_8, SCSV]).collect();
    world.raw_handshake(path(0), &mut raw);
    world.assert_raw_data_flows(path(0), &mut raw);
}

/// Row 6 (CVE-2021-42145): no assertion is reachable: every message type, expected or not, in every state.
#[test]
fn row_06_every_message_type_in_every_state() {
    let bodies: [&[u8]; 5] = [&[], &[0], &[0; 2], &[0xFE, 0xFF, 0], &[0xA5; 300]];
    for msg_type in 0..=255_u8 {
        for (n, body) in bodies.iter().enumerate() {
            let state = support::scene::SERVER_STATES[(usize::from(msg_type) + n) % 7];
            let mut scene = ServerScene::new(state, 6);
            let datagram = record(HANDSHAKE, 0, 60, &message(msg_type, expected_seq(&scene), body));
            let answers = scene.attack(&datagram);
            assert!(answers.len() <= 1);
            // At worst the one handshake has failed, and said so.
            assert!(
                answers.iter().all(|answer| parse::plain_alert(answer).is_some()),
                "{msg_type} {state:?}"
            );
            let held = scene.world.server.handshakes();
            assert!(held == scene.slots() || held == 0 && answers.len() == 1, "{msg_type} {state:?}: {held}");
            scene.others_are_unharmed();
            scene.leaves_nothing_behind();

            let state = support::scene::CLIENT_STATES[(usize::from(msg_type) + n) % 5];
            let mut scene = ClientScene::new(state, 6);
            let datagram = record(HANDSHAKE, 0, 60, &message(msg_type, expected_by_client(&scene), body));
            let answers = scene.attack(&datagram);
            assert!(answers.len() <= 1);
            if state == ClientState::Established {
                assert!(answers.is_empty());
                scene.ends_well();
            }
        }
    }
}

/// Row 7 (CVE-2021-42147): `fragment_length` larger than the record, the message, or both.
#[test]
fn row_07_fragment_lengths_that_lie() {
    let headers = |msg_type, seq| {
        [
            header(msg_type, 10, seq, 0, 11),
            header(msg_type, 10, seq, 0, 10),
            header(msg_type, 100, seq, 0, 100),
            header(msg_type, 100, seq, 99, 2),
            header(msg_type, 100, seq, 100, 1),
            header(msg_type, 5, seq, 0, 0xFF_FFFF),
            header(msg_type, 5, seq, 0xFF_FFFF, 0xFF_FFFF),
            header(msg_type, 0xFF_FFFF, seq, 0xFF_FFFF, 1),
            header(msg_type, 0xFF_FFFF, seq, 1, 0xFF_FFFE),
            header(msg_type, 0, seq, 1, 0),
            header(msg_type, 0, seq, 0, 1),
        ]
    };
    for mut scene in ServerScene::each(7) {
        let seq = expected_seq(&scene);
        for msg_type in [CLIENT_HELLO, CLIENT_KEY_EXCHANGE, FINISHED] {
            for header in headers(msg_type, seq) {
                scene.ignores(&record(HANDSHAKE, 0, 70, &[&header[..], &[0; 9]].concat()));
                // Headers cut short.
                for len in 0..header.len() {
                    scene.ignores(&record(HANDSHAKE, 0, 70, &header[..len]));
                }
            }
        }
        scene.ends_well();
    }
    for mut scene in ClientScene::each(7) {
        let seq = expected_by_client(&scene);
        for msg_type in [HELLO_VERIFY_REQUEST, SERVER_HELLO, SERVER_KEY_EXCHANGE, FINISHED] {
            for header in headers(msg_type, seq) {
                scene.ignores(&record(HANDSHAKE, 0, 70, &[&header[..], &[0; 9]].concat()));
            }
        }
        scene.ends_well();
    }
}

/// Row 8 (CVE-2026-9267): bodies shorter than their fixed part, at every length, and longer than they may be.
#[test]
fn row_08_bodies_of_every_wrong_length() {
    // A ClientHello with its cookie, cut everywhere and lengthened: nothing is kept for it.
    let mut scene = ServerScene::new(ServerState::Nothing, 8);
    let hello = ClientHello { session_id: vec![7; 32], ..ClientHello::new([8; 32]) };
    let whole = hello_with_cookie(&mut scene, &hello);
    let block = 2 + 4;
    for len in 0..whole.len() {
        // A hello may end before its extensions (RFC 5246 §7.4.1.2), and then it is one.
        if len != whole.len() - block {
            scene.ignores(&record(HANDSHAKE, 0, 80, &message(CLIENT_HELLO, 1, &whole[..len])));
        }
    }
    scene.ignores(&record(HANDSHAKE, 0, 80, &message(CLIENT_HELLO, 1, &[&whole[..], &[0]].concat())));
    // A session id longer than 32 bytes.
    let long = ClientHello { session_id: vec![7; 33], ..hello };
    scene.ignores(&long.datagram(0, 0));
    scene.ends_well();

    // A ClientKeyExchange.
    for body in [&[][..], &[0], &[0, 1], &[0, 2, b'c'], &[0xFF, 0xFF, b'c'], &[0, 1, b'c', 0], &[0, 0, 0]] {
        let mut scene = ServerScene::new(ServerState::AwaitsClientKeyExchange, 8);
        let answers = scene.attack(&record(HANDSHAKE, 0, 80, &message(CLIENT_KEY_EXCHANGE, 2, body)));
        assert_eq!(answers.len(), 1);
        assert_eq!(parse::plain_alert(&answers[0]), Some((2, 50)), "decode_error");
        assert_eq!(scene.world.server.handshakes(), 0);
        let Some((_, Note::Refused(Error::InvalidMessage(reason)))) = scene.world.log.last() else {
            panic!("{:?}", scene.world.log)
        };
        assert!(matches!(reason, InvalidMessage::Truncated | InvalidMessage::TrailingData));
        scene.leaves_nothing_behind();
    }

    // An authentic Finished of another length.
    for len in [0, 1, 11, 13, 100] {
        let mut scene = ServerScene::new(ServerState::AwaitsFinished, 8);
        let finished = scene.victim.finished_message()[12..].repeat(9);
        let datagram = scene.victim.side.seal(HANDSHAKE, &message(FINISHED, 3, &finished[..len]));
        let answers = scene.attack(&datagram);
        assert_eq!(parse::plain_alert(&answers[0]), Some((2, 50)));
        assert_eq!(scene.world.server.handshakes(), 0);
        scene.leaves_nothing_behind();

        let mut scene = ClientScene::new(ClientState::AwaitsFinished, 8);
        let finished = scene.against.server.finished_message()[12..].repeat(9);
        let change = scene.against.server.side.plain(CHANGE_CIPHER_SPEC, &[1]);
        let finished = message(FINISHED, 2, &finished[..len]);
        let datagram = [change, scene.against.server.side.seal(HANDSHAKE, &finished)].concat();
        let answers = scene.attack(&datagram);
        scene.has_failed_with(&answers, 50);
        assert_eq!(scene.against.server.side.open(&answers), [(ALERT, vec![2, 50])]);
    }

    // What a server sends, cut everywhere.
    let hello = ServerHello { session_id: vec![7; 32], ..ServerHello::new([8; 32]) }.body();
    for len in (0..hello.len()).filter(|len| *len != hello.len() - 11) {
        let mut scene = ClientScene::new(ClientState::AwaitsServerHello, 8);
        let answers = scene.attack(&record(HANDSHAKE, 0, 80, &message(SERVER_HELLO, 0, &hello[..len])));
        scene.has_failed_with(&answers, 50);
    }
    for (msg_type, body) in [
        (SERVER_KEY_EXCHANGE, &[][..]),
        (SERVER_KEY_EXCHANGE, &[0]),
        (SERVER_KEY_EXCHANGE, &[0, 1]),
        (SERVER_KEY_EXCHANGE, &[0, 1, b'h', b'h']),
        (SERVER_HELLO_DONE, &[0]),
    ] {
        let mut scene = ClientScene::new(ClientState::AwaitsServerHelloDone, 8);
        let answers = scene.attack(&record(HANDSHAKE, 0, 80, &message(msg_type, 1, body)));
        scene.has_failed_with(&answers, 50);
    }
}

/// An authentic Finished with the wrong proof: the handshake is over, and nothing else.
#[test]
fn wrong_verify_data() {
    for bit in [0, 50, 95] {
        let mut scene = ServerScene::new(ServerState::Rebooted, 35);
        let mut finished = scene.victim.finished_message().to_vec();
        finished[12 + bit / 8] ^= 1 << (bit % 8);
        let datagram = scene.victim.side.seal(HANDSHAKE, &finished);
        let answers = scene.attack(&datagram);
        assert_eq!(parse::plain_alert(&answers[0]), Some((2, 51)));
        let error = Error::PeerMisbehaved(PeerMisbehaved::WrongVerifyData);
        assert_eq!(scene.world.log.last(), Some(&(path(0), Note::Refused(error))));
        assert_eq!(scene.world.server.handshakes(), 0);
        scene.others_are_unharmed();
        scene.leaves_nothing_behind();

        let mut scene = ClientScene::new(ClientState::AwaitsFinished, 35);
        let mut finished = scene.against.server.finished_message().to_vec();
        finished[12 + bit / 8] ^= 1 << (bit % 8);
        let change = scene.against.server.side.plain(CHANGE_CIPHER_SPEC, &[1]);
        let datagram = [change, scene.against.server.side.seal(HANDSHAKE, &finished)].concat();
        let answers = scene.attack(&datagram);
        scene.has_failed_with(&answers, 51);
        assert_eq!(scene.against.server.side.open(&answers), [(ALERT, vec![2, 51])]);
    }
}

/// Row 9 (tinydtls #72, #248): messages with any number but the next one.
#[test]
fn row_09_wrong_message_numbers() {
    let mut scene = ServerScene::new(ServerState::CookieSent, 9);
    let hello = scene.victim.hello.clone();
    for seq in [0, 5, 6, 255, 256, 0x0100, 0x7FFF, 0xFFFF] {
        scene.ignores(&hello.datagram(seq, 3));
        if seq != 0 {
            scene.ignores(&ClientHello { cookie: vec![], ..hello.clone() }.datagram(seq, 3));
        }
    }
    scene.ends_well();
    for state in [
        ServerState::AwaitsClientKeyExchange,
        ServerState::AwaitsChangeCipherSpec,
        ServerState::AwaitsFinished,
        ServerState::Rebooted,
    ] {
        let mut scene = ServerScene::new(state, 9);
        let expected = expected_seq(&scene);
        for seq in [0, 1, 2, 3, 4, 5, 255, 256 + expected, 0x7FFF, 0xFFFE, 0xFFFF] {
            if seq == expected {
                continue;
            }
            for (msg_type, body) in
                [(CLIENT_KEY_EXCHANGE, vec16(b"other")), (FINISHED, vec![0; 12]), (11, vec![])]
            {
                // Whole, and in parts.
                scene.ignores(&record(HANDSHAKE, 0, 90, &message(msg_type, seq, &body)));
                scene.ignores(&record(HANDSHAKE, 0, 90, &fragment(msg_type, 40, seq, 3, &body)));
            }
        }
        scene.ends_well();
    }
    // An authentic Finished under a wrong number.
    let mut scene = ServerScene::new(ServerState::AwaitsFinished, 9);
    for seq in [0, 1, 2, 4, 255, 0xFFFF] {
        let body = scene.victim.finished_message()[12..].to_vec();
        let datagram = scene.victim.side.seal(HANDSHAKE, &message(FINISHED, seq, &body));
        scene.ignores(&datagram);
    }
    scene.ends_well();
    for mut scene in ClientScene::each(9) {
        let expected = expected_by_client(&scene);
        for seq in [0, 1, 2, 3, 4, 5, 255, 256 + expected, 0x7FFF, 0xFFFF] {
            // A repeated ServerHelloDone asks for the flight again, and that is what it gets.
            if seq == expected {
                continue;
            }
            for (msg_type, body) in [
                (SERVER_HELLO, ServerHello::new([9; 32]).body()),
                (HELLO_VERIFY_REQUEST, hello_verify_request(DTLS10, b"x")),
                (SERVER_KEY_EXCHANGE, vec16(b"x")),
                (FINISHED, vec![0; 12]),
            ] {
                scene.ignores(&record(HANDSHAKE, 0, 90, &message(msg_type, seq, &body)));
                scene.ignores(&record(HANDSHAKE, 0, 90, &fragment(msg_type, 400, seq, 3, &body)));
            }
        }
        scene.ends_well();
    }
}

/// Rows 12 and 13 (CVE-2014-0195, CVE-2016-6308): a second fragment with a larger length, up to 16 MB.
#[test]
fn row_12_and_13_growing_messages() {
    for length in [3, 4, 383, 384, 385, 1_000, 0xFFFF, 0x10000, 0xFF_FFFF] {
        for mut scene in ServerScene::each(12) {
            let seq = expected_seq(&scene);
            scene.ignores(&record(HANDSHAKE, 0, 90, &fragment(CLIENT_KEY_EXCHANGE, 3, seq, 0, &[0])));
            for offset in [0, 1, length - 2] {
                scene.ignores(&record(
                    HANDSHAKE,
                    0,
                    91,
                    &fragment(CLIENT_KEY_EXCHANGE, length, seq, offset, &[7]),
                ));
            }
            scene.ignores(&record(HANDSHAKE, 0, 92, &fragment(CLIENT_KEY_EXCHANGE, length, seq, 1, &[])));
            scene.ignores(&record(HANDSHAKE, 0, 93, &fragment(CLIENT_HELLO, length, seq, 1, &[0; 1])));
            scene.ends_well();
        }
        for mut scene in ClientScene::each(12) {
            let seq = expected_by_client(&scene);
            scene.ignores(&record(HANDSHAKE, 0, 90, &fragment(SERVER_HELLO, 3, seq, 0, &[0])));
            for offset in [0, 1, length - 2] {
                scene.ignores(&record(HANDSHAKE, 0, 91, &fragment(SERVER_HELLO, length, seq, offset, &[7])));
            }
            scene.ignores(&record(HANDSHAKE, 0, 92, &fragment(SERVER_HELLO, length, seq, length, &[])));
            scene.ends_well();
        }
    }
    // A message that is too long to be kept, but fragmented all the same, is never put together.
    let mut scene = ServerScene::new(ServerState::AwaitsClientKeyExchange, 12);
    for offset in 0..400 {
        scene.ignores(&record(HANDSHAKE, 0, 90, &fragment(CLIENT_KEY_EXCHANGE, 400, 2, offset, &[1])));
    }
    scene.ends_well();
}

/// Row 17 (CVE-2026-33846): fragments that agree on their type only, or on all but their type.
#[test]
fn row_17_fragments_that_disagree() {
    let mut scene = ServerScene::new(ServerState::AwaitsClientKeyExchange, 17);
    let genuine = parse::messages(scene.victim.key_exchange_message())[0].body.clone();
    let length = genuine.len() as u32;
    let forged = [
        fragment(CLIENT_KEY_EXCHANGE, length, 3, 0, &[0xEE; 2]),
        fragment(CLIENT_KEY_EXCHANGE, length, 0xFFFF, 0, &[0xEE; 2]),
        fragment(CLIENT_KEY_EXCHANGE, length + 1, 2, 0, &[0xEE; 2]),
        fragment(CLIENT_KEY_EXCHANGE, length + 300, 2, 0, &[0xEE; 300]),
        fragment(FINISHED, length, 2, 0, &[0xEE; 2]),
        fragment(SERVER_HELLO, length, 2, 0, &[0xEE; 2]),
        fragment(99, length, 2, 0, &[0xEE; 2]),
    ];
    for forged in &forged {
        scene.ignores(&record(HANDSHAKE, 0, 90, forged));
        // The rest of the genuine message does not complete what was forged.
        scene.ignores(&record(HANDSHAKE, 0, 91, &fragment(CLIENT_KEY_EXCHANGE, length, 2, 2, &genuine[2..])));
        scene.ignores(&record(HANDSHAKE, 0, 92, forged));
    }
    // The genuine fragments, one after the other, do.
    for (at, byte) in (0..).zip(&genuine) {
        scene.ignores(&record(HANDSHAKE, 0, 93, &fragment(CLIENT_KEY_EXCHANGE, length, 2, at, &[*byte])));
    }
    scene.state = ServerState::AwaitsChangeCipherSpec;
    scene.ends_well();
}

/// Row 24 (CVE-2022-29189, CVE-2022-29190): floods of fragments, and of fragments with nothing in them.
#[test]
fn row_24_floods_of_fragments() {
    let empty = |msg_type, length, seq| fragment(msg_type, length, seq, 0, &[]);
    for mut scene in ServerScene::each(24) {
        let seq = expected_seq(&scene);
        // Thousands in one datagram.
        for (length, seq) in [(3, seq), (100, seq), (3, seq + 1), (0xFF_FFFF, seq), (384, 0)] {
            let body = empty(CLIENT_KEY_EXCHANGE, length, seq).repeat(5_000);
            scene.ignores(&record(HANDSHAKE, 0, 90, &body));
        }
        // Many messages that never become complete, and many parts of one that does not.
        for n in 0..3_000_u32 {
            let message_seq = seq.wrapping_add(n as u16 % 200);
            let part = fragment(CLIENT_KEY_EXCHANGE, 384, message_seq, n % 300, &[n as u8]);
            scene.ignores(&record(HANDSHAKE, 0, 90, &part));
        }
        // Empty records.
        for _ in 0..100 {
            scene.ignores(&record(HANDSHAKE, 0, 90, &[]).repeat(100));
        }
        scene.ends_well();
    }
    for mut scene in ClientScene::each(24) {
        let seq = expected_by_client(&scene);
        for length in [3, 384, 0xFF_FFFF] {
            scene.ignores(&record(HANDSHAKE, 0, 90, &empty(SERVER_HELLO, length, seq).repeat(5_000)));
        }
        for n in 0..3_000_u32 {
            let part = fragment(SERVER_HELLO, 384, seq.wrapping_add(n as u16 % 200), n % 300, &[n as u8]);
            scene.ignores(&record(HANDSHAKE, 0, 90, &part));
        }
        scene.ends_well();
    }
}

/// Row 25 (Mbed TLS 2.14/2.4): lengths of the hint and of the cookie that reach past their message.
#[test]
fn row_25_bounds_of_hint_and_cookie() {
    for body in [
        &[0xFF, 0xFF][..],
        &[0, 4, b'h', b'i', b't'],
        &[0xFF, 0xFF, b'h'],
        &[0x01, 0x00, b'h'],
        &[0, 2, b'h', b'i', b't'],
    ] {
        let mut scene = ClientScene::new(ClientState::AwaitsServerHelloDone, 25);
        let answers = scene.attack(&record(HANDSHAKE, 0, 9, &message(SERVER_KEY_EXCHANGE, 1, body)));
        scene.has_failed_with(&answers, 50);
    }
    for (body, alert) in [
        (vec![], 50),
        (vec![0xFE], 50),
        (vec![0xFE, 0xFF], 50),
        (vec![0xFE, 0xFF, 1], 50),
        (vec![0xFE, 0xFF, 255, 1, 2, 3], 50),
        ([hello_verify_request(DTLS10, &[7; 255]), vec![0]].concat(), 50),
        (hello_verify_request([3, 3], b"cookie"), 47),
        (hello_verify_request([0xFE, 0xFC], b"cookie"), 47),
    ] {
        for state in [ClientState::AwaitsServerHello, ClientState::AwaitsServerHelloWithCookie] {
            let mut scene = ClientScene::new(state, 25);
            let seq = expected_by_client(&scene);
            let answers = scene.attack(&record(HANDSHAKE, 0, 9, &message(HELLO_VERIFY_REQUEST, seq, &body)));
            scene.has_failed_with(&answers, alert);
        }
    }
    // A server that asks for ever is not followed for ever.
    let mut scene = ClientScene::new(ClientState::AwaitsServerHello, 25);
    for seq in 0..4 {
        let body = hello_verify_request(DTLS10, &[seq as u8; 255]);
        let answers =
            scene.attack(&record(HANDSHAKE, 0, seq.into(), &message(HELLO_VERIFY_REQUEST, seq, &body)));
        assert_eq!(answers.len(), 1);
        assert_eq!(parse::plain_messages(&answers[0])[0].message_seq, seq + 1);
    }
    let body = hello_verify_request(DTLS10, b"again");
    let answers = scene.attack(&record(HANDSHAKE, 0, 9, &message(HELLO_VERIFY_REQUEST, 4, &body)));
    scene.has_failed_with(&answers, 10);
}

/// Row 27 (dimpl #149): a forged fragment of another `message_seq` does not freeze the reassembly, and one of the same
/// only until the honest peer repeats its own.
#[test]
fn row_27_forged_fragments_do_not_freeze() {
    for forged_seq in [0, 1, 3, 4, 100, 0xFFFF] {
        let mut scene = ServerScene::new(ServerState::AwaitsClientKeyExchange, 27);
        let genuine = parse::messages(scene.victim.key_exchange_message())[0].body.clone();
        let length = genuine.len() as u32;
        for (at, byte) in (0..).zip(&genuine) {
            let forged = fragment(CLIENT_KEY_EXCHANGE, 200, forged_seq, at, &[0xBB; 5]);
            scene.ignores(&record(HANDSHAKE, 0, 90, &forged));
            scene.ignores(&record(HANDSHAKE, 0, 91, &fragment(CLIENT_KEY_EXCHANGE, length, 2, at, &[*byte])));
        }
        scene.state = ServerState::AwaitsChangeCipherSpec;
        scene.ends_well();
    }
    for forged_seq in [1, 2, 3, 100, 0xFFFF] {
        let mut scene = ClientScene::new(ClientState::AwaitsServerHello, 27);
        let forged = fragment(SERVER_HELLO, 384, forged_seq, 0, &[0xBB; 100]);
        scene.ignores(&record(HANDSHAKE, 0, 90, &forged));
        scene.ends_well();
    }
    // Of the same number, over and over: the next whole flight of the honest peer gets through between two of them.
    let mut scene = ServerScene::new(ServerState::AwaitsClientKeyExchange, 27);
    for n in 0..100 {
        scene.ignores(&record(HANDSHAKE, 0, 90, &fragment(CLIENT_KEY_EXCHANGE, 300, 2, n, &[0xBB; 5])));
    }
    scene.ends_well();
    let mut scene = ClientScene::new(ClientState::AwaitsServerHello, 27);
    for n in 0..100 {
        scene.ignores(&record(HANDSHAKE, 0, 90, &fragment(SERVER_HELLO, 300, 0, n, &[0xBB; 5])));
    }
    scene.ends_well();
}

/// Row 28 (dimpl #36): coalesced messages, and either version in a HelloVerifyRequest and in the first records.
#[test]
fn row_28_coalesced_messages_and_versions() {
    for body_version in [DTLS10, DTLS12] {
        for record_version in [DTLS10, DTLS12] {
            let mut scene = ClientScene::new(ClientState::AwaitsServerHello, 28);
            let body = message(HELLO_VERIFY_REQUEST, 0, &hello_verify_request(body_version, b"cookie"));
            let hello = scene.attack(&record_of(record_version, HANDSHAKE, 0, 0, &body));
            scene.against.server.take_hello(&hello);
            (scene.against.server.side.message_seq, scene.against.server.side.plain_seq) = (1, 1);
            scene.state = ClientState::AwaitsServerHelloWithCookie;
            scene.ends_well();
        }
    }
    // A hello in a record of DTLS 1.0, as many clients send their first one.
    let mut scene = ServerScene::new(ServerState::Nothing, 28);
    let hello = scene.victim.hello.clone();
    let body = message(CLIENT_HELLO, 0, &hello.body());
    assert!(parse::cookie(&scene.attack(&record_of(DTLS10, HANDSHAKE, 0, 0, &body))[0]).is_some());
    for version in [[3, 3], [3, 1], [0xFE, 0xFC], [0xFE, 0xFE], [0, 0], [0xFF, 0xFF]] {
        scene.ignores(&record_of(version, HANDSHAKE, 0, 0, &body));
    }
    scene.ends_well();

    // The client's whole flight in one datagram behind a repetition of its hello, and twice over.
    let mut scene = ServerScene::new(ServerState::AwaitsClientKeyExchange, 28);
    scene.victim.side.message_seq = 1;
    let hello = scene.victim.hello.clone().datagram(1, 50);
    let datagram = [hello.clone(), scene.victim.key_flight(), hello, scene.victim.key_flight()].concat();
    let last = scene.attack(&datagram);
    scene.victim.take_last_flight(&last[..1]);
    assert_eq!(scene.world.log_of(path(0)), [Note::Established]);
    scene.state = ServerState::Established;
    scene.ends_well();

    // HelloVerifyRequest and the whole server flight in one datagram: the hello that the flight answers is not out yet,
    // so the messages behind the request are for another one.
    let mut scene = ClientScene::new(ClientState::AwaitsServerHello, 28);
    let request = scene.against.server.hello_verify_request(DTLS10, b"cookie");
    let flight = scene.against.server.flight(None);
    let answers = scene.attack(&[request, flight].concat());
    assert!(!answers.is_empty());
    scene.against.client.log.iter().for_each(|note| assert!(!matches!(note, Note::Established)));
}

/// A recorded hello, sent again under another number: its cookie is not good there, so it costs the victim nothing,
/// however far that got.
#[test]
fn a_recorded_hello_under_another_number() {
    for state in support::scene::SERVER_STATES.into_iter().skip(1) {
        let mut scene = ServerScene::new(state, 39);
        let recorded = scene.victim.hello.clone();
        assert!(!recorded.cookie.is_empty());
        let (handshakes, told) = (scene.world.server.handshakes(), scene.world.log.len());
        for _ in 0..3 {
            for seq in [2, 3, 4] {
                let answers = scene.attack(&recorded.datagram(seq, 60));
                assert_eq!(answers.len(), 1, "{state:?}, message {seq}");
                assert_ne!(parse::cookie(&answers[0]).expect("a HelloVerifyRequest"), recorded.cookie);
                assert_eq!(parse::plain_messages(&answers[0])[0].message_seq, seq);
                // The new cookie is good for the next number alone.
                let cookie = parse::cookie(&answers[0]).unwrap();
                for other in (1..=4).filter(|other| *other > 1 && *other != seq + 1) {
                    let hello = ClientHello { cookie: cookie.clone(), ..recorded.clone() };
                    let answers = scene.attack(&hello.datagram(other, 61));
                    assert!(parse::cookie(&answers[0]).is_some(), "{state:?}, message {other}");
                }
            }
            for seq in [0, 5, 6, 0xFFFF] {
                scene.ignores(&recorded.datagram(seq, 62));
            }
        }
        assert_eq!(scene.world.server.handshakes(), handshakes, "{state:?}");
        assert_eq!(scene.world.log[told..], [], "{state:?}");
        scene.ends_well();
    }
    // The same against the crate's own client, around every datagram that it sends.
    let mut world = Small::new(39);
    let mut recorded = None;
    world.net.attacker = Some(Box::new(move |_, packet| {
        if packet.direction == Direction::ToClient {
            return vec![packet.clone()];
        }
        let hello = parse::plain_messages(&packet.bytes).into_iter().next();
        if let Some(hello) = hello.filter(|hello| (hello.msg_type, hello.message_seq) == (CLIENT_HELLO, 1)) {
            recorded = Some(hello.body);
        }
        let replays = [2, 3, 4].map(|seq| {
            let bytes = record(HANDSHAKE, 0, 60, &message(CLIENT_HELLO, seq, recorded.as_deref()?));
            Some(Packet { bytes, ..packet.clone() })
        });
        let replays: Vec<Packet> = replays.into_iter().flatten().collect();
        [replays.clone(), vec![packet.clone()], replays].concat()
    }));
    let client = world.established();
    world.assert_data_flows(client);
    assert_eq!(world.log_of(path(0))[0], Note::Established);
    assert_eq!(world.server.stats().handshakes_failed, 0);
    assert_eq!(world.clients[client].connection.stats().retransmitted, 0, "not even delayed");
}

/// HelloRequests and hellos cut into pieces, before the cookie: nothing is kept, and the pieces do not add up.
#[test]
fn cut_hellos_before_the_cookie() {
    for mut scene in ServerScene::each(36) {
        let body = ClientHello::new([0x36; 32]).body();
        for size in [1, 10, 40] {
            for (at, part) in body.chunks(size).enumerate() {
                let fragment = fragment(CLIENT_HELLO, body.len() as u32, 0, (at * size) as u32, part);
                scene.ignores(&record(HANDSHAKE, 0, 9, &fragment));
            }
        }
        scene.ignores(&record(HANDSHAKE, 0, 9, &message(HELLO_REQUEST, 0, &[])));
        scene.ends_well();
    }
}

/// A message that has no place: the handshake ends with unexpected_message, and its slot is free.
#[test]
fn messages_without_a_place() {
    for msg_type in [SERVER_HELLO, HELLO_VERIFY_REQUEST, SERVER_KEY_EXCHANGE, SERVER_HELLO_DONE, 11, 15, 99] {
        let mut scene = ServerScene::new(ServerState::AwaitsClientKeyExchange, 37);
        let answers = scene.attack(&record(HANDSHAKE, 0, 9, &message(msg_type, 2, &[0; 8])));
        assert_eq!(parse::plain_alert(&answers[0]), Some((2, 10)), "message {msg_type}");
        assert_eq!((answers.len(), scene.world.server.handshakes()), (1, 0));
        scene.world.run_for(Duration::from_secs(1));
        scene.leaves_nothing_behind();
    }
    for (state, msg_type) in [
        (ClientState::AwaitsServerHello, SERVER_HELLO_DONE),
        (ClientState::AwaitsServerHello, SERVER_KEY_EXCHANGE),
        (ClientState::AwaitsServerHello, CLIENT_HELLO),
        (ClientState::AwaitsServerHello, CLIENT_KEY_EXCHANGE),
        (ClientState::AwaitsServerHello, 11),
        (ClientState::AwaitsServerHelloDone, SERVER_HELLO),
        (ClientState::AwaitsServerHelloDone, HELLO_VERIFY_REQUEST),
        (ClientState::AwaitsServerHelloDone, 13),
    ] {
        let mut scene = ClientScene::new(state, 37);
        let seq = expected_by_client(&scene);
        let answers = scene.attack(&record(HANDSHAKE, 0, 9, &message(msg_type, seq, &[])));
        scene.has_failed_with(&answers, 10);
    }
}

/// While the Finished is awaited, a new message in the clear is nobody's but an attacker's: it is dropped and counted,
/// whatever it is, and no part of it is kept.
#[test]
fn new_messages_in_the_clear_do_not_end_a_handshake_that_awaits_its_finished() {
    let bodies: [&[u8]; 4] = [&[], &[0; 8], &[0, 1, b'c'], &[0xA5; 300]];
    let plaintext = |msg_type, seq, body: &[u8]| {
        let part = fragment(msg_type, body.len() as u32 + 1, seq, 0, body);
        [message(msg_type, seq, body), part].map(|message| record(HANDSHAKE, 0, 9, &message))
    };
    // The ClientHello and the HelloRequest go other ways.
    let types = || (2..=255_u8).chain([HELLO_REQUEST]);
    for state in [ServerState::AwaitsChangeCipherSpec, ServerState::AwaitsFinished, ServerState::Rebooted] {
        let mut scene = ServerScene::new(state, 38);
        let (expected, mut sent) = (expected_seq(&scene), scene.world.server.stats().dropped);
        for msg_type in types() {
            for (seq, body) in (expected..).zip(bodies) {
                for seq in [expected, seq] {
                    for datagram in plaintext(msg_type, seq, body) {
                        scene.ignores(&datagram);
                        sent += 1;
                        assert_eq!(scene.world.server.stats().dropped, sent, "{state:?}: {msg_type}");
                    }
                }
            }
        }
        scene.ends_well();
    }
    // The same before the server's ChangeCipherSpec and after it.
    for changed in [false, true] {
        let mut scene = ClientScene::new(ClientState::AwaitsFinished, 38);
        if changed {
            let change = scene.against.server.side.plain(CHANGE_CIPHER_SPEC, &[1]);
            scene.ignores(&change);
        }
        let dropped = |scene: &ClientScene| scene.against.client.connection.stats().dropped;
        let (expected, mut sent) = (expected_by_client(&scene), dropped(&scene));
        for msg_type in types().chain([CLIENT_HELLO]) {
            for (seq, body) in (expected..).zip(bodies) {
                for seq in [expected, seq] {
                    for datagram in plaintext(msg_type, seq, body) {
                        scene.ignores(&datagram);
                        sent += 1;
                        assert_eq!(dropped(&scene), sent, "message {msg_type}");
                    }
                }
            }
        }
        scene.ends_well();
    }
}
