//! What broke other stacks, tried on our client of DTLS 1.3. The numbers are those of the list of bug classes in
//! `attack_rows.rs`.
#![cfg(feature = "dtls13")]

mod support;

use std::time::Duration;

use dtls_psk::{Config, Error, PeerMisbehaved};

use support::craft::*;
use support::parse;
use support::raw13::*;
use support::scene13::{ClientScene13, ClientState13};
use support::world::Note;

use ClientState13::*;

const VERSION13: (u16, [u8; 2]) = (EXT_SUPPORTED_VERSIONS, [0xFE, 0xFC]);

fn version13() -> (u16, Vec<u8>) {
    (VERSION13.0, VERSION13.1.to_vec())
}

fn cookie(bytes: &[u8]) -> (u16, Vec<u8>) {
    (EXT_COOKIE, vec16(bytes))
}

/// The client's error, which was the only one.
#[track_caller]
fn error_of(scene: &ClientScene13) -> Error {
    let [Note::Failed(error)] = scene.client.log[..] else { panic!("{:?}", scene.client.log) };
    error
}

/// A ServerHello that `spoil` makes of a good one ends the handshake with `alert`, whether it is the first answer or not.
#[track_caller]
fn refused(alert: u8, spoil: impl Fn(&mut RawServer13)) {
    for state in [AwaitsServerHello, AwaitsServerHelloWithCookie] {
        let mut scene = ClientScene13::new(state, 1);
        spoil(&mut scene.server);
        let hello = scene.server.server_hello();
        scene.server.handshake = None;
        let answers = scene.attack(&hello);
        scene.has_failed_with(&answers, alert);
    }
}

/// A HelloRetryRequest with these extensions, and what `spoil` does to it.
#[track_caller]
fn retry_refused(alert: u8, extensions: Vec<(u16, Vec<u8>)>, spoil: impl Fn(&mut RawServer13)) {
    let mut scene = ClientScene13::new(AwaitsServerHello, 2);
    spoil(&mut scene.server);
    let request = scene.server.retry(extensions);
    let answers = scene.attack(&request);
    scene.has_failed_with(&answers, alert);
}

/// RFC 8446 §4.1.4: a HelloRetryRequest comes once, changes something, and asks for nothing that was not offered.
#[test]
fn hello_retry_requests() {
    // A second one, the same or another.
    for bytes in [&b"a cookie"[..], b"another cookie"] {
        let mut scene = ClientScene13::new(AwaitsServerHelloWithCookie, 3);
        let request = scene.server.ask_for(bytes);
        let answers = scene.attack(&request);
        scene.has_failed_with(&answers, UNEXPECTED_MESSAGE);
        assert_eq!(error_of(&scene), PeerMisbehaved::UnexpectedMessage.into());
    }
    // One that came twice on its way is no second one.
    let mut scene = ClientScene13::new(AwaitsServerHello, 3);
    let request = scene.server.ask_for(b"a cookie");
    let hello = scene.attack(&request);
    scene.ignores(&request);
    scene.server.take_hello(&hello);
    scene.ends_well();
    // Without a change, and with what has no place in it.
    retry_refused(ILLEGAL_PARAMETER, vec![version13()], |_| {});
    retry_refused(ILLEGAL_PARAMETER, vec![version13(), (EXT_KEY_SHARE, vec![0, 29])], |_| {});
    retry_refused(
        ILLEGAL_PARAMETER,
        vec![version13(), cookie(b"c"), (EXT_PRE_SHARED_KEY, vec![0, 0])],
        |_| {},
    );
    retry_refused(ILLEGAL_PARAMETER, vec![version13(), cookie(b"c"), (EXT_KEY_SHARE, vec![0, 23])], |_| {});
    retry_refused(UNSUPPORTED_EXTENSION, vec![version13(), cookie(b"c"), (0xFFEE, vec![])], |_| {});
    for data in [vec![], vec![0, 0], vec![0, 2, 1], vec![0, 1, 1, 1]] {
        retry_refused(DECODE_ERROR, vec![version13(), (EXT_COOKIE, data)], |_| {});
    }
    retry_refused(ILLEGAL_PARAMETER, vec![version13(), cookie(b"c")], |server| server.hello.suite = 0x1303);
    retry_refused(ILLEGAL_PARAMETER, vec![version13(), cookie(b"c")], |server| server.hello.compression = 1);
    retry_refused(ILLEGAL_PARAMETER, vec![version13(), cookie(b"c")], |server| {
        server.hello.session_id = vec![1]
    });
    // The version is 1.3 (RFC 8446 §4.2.1), or it is none of these.
    let other = |version: [u8; 2]| vec![(EXT_SUPPORTED_VERSIONS, version.to_vec()), cookie(b"c")];
    retry_refused(ILLEGAL_PARAMETER, other([0xFE, 0xFD]), |_| {});
    retry_refused(ILLEGAL_PARAMETER, other([0xFE, 0xFB]), |_| {});
    // A cookie that is longer than there is room for is an error that says so, not half a cookie.
    for len in [256, 1_000] {
        let mut scene = ClientScene13::new(AwaitsServerHello, 3);
        let request = scene.server.ask_for(&vec![7; len]);
        let answers = scene.attack(&request);
        let alert = parse::plain_alert(&answers[0]).unwrap().1;
        scene.has_failed_with(&answers, alert);
    }
    // The longest that there is room for.
    let mut scene = ClientScene13::new(AwaitsServerHello, 3);
    let request = scene.server.ask_for(&[7; 255]);
    let hello = scene.attack(&request);
    scene.server.take_hello(&hello);
    scene.ends_well();
}

/// The suite of a HelloRetryRequest is the suite of the ServerHello (RFC 8446 §4.1.4).
#[test]
fn another_suite_behind_the_hello_retry_request() {
    let mut scene = ClientScene13::new(AwaitsServerHelloWithCookie, 4);
    scene.server.hello.suite = 0x1304;
    let hello = scene.server.server_hello();
    scene.server.handshake = None;
    let answers = scene.attack(&hello);
    scene.has_failed_with(&answers, ILLEGAL_PARAMETER);
    assert_eq!(error_of(&scene), PeerMisbehaved::SelectedUnofferedSuite.into());
}

/// What a ServerHello must not say.
#[test]
fn server_hellos_against_the_rules() {
    // RFC 9147 §5: some servers repeat what they should not.
    for len in [1, 8, 32] {
        refused(ILLEGAL_PARAMETER, |server| server.hello.session_id = vec![0x77; len]);
    }
    for suite in [0, 0x1302, 0x1303, 0x0A0A, 0xC0A8, 0x00FF] {
        refused(ILLEGAL_PARAMETER, |server| server.hello.suite = suite);
    }
    refused(ILLEGAL_PARAMETER, |server| server.hello.compression = 1);
    refused(ILLEGAL_PARAMETER, |server| server.hello.random = [0; 32]);
    // An identity that was not offered (RFC 8446 §4.2.11), or none.
    let set = |number: u16, data: &'static [u8]| {
        move |server: &mut RawServer13| {
            let list = server.hello.extensions.as_mut().unwrap();
            list.retain(|(other, _)| *other != number);
            list.push((number, data.to_vec()));
        }
    };
    for data in [&[0, 1][..], &[0xFF, 0xFF], &[1, 0]] {
        refused(ILLEGAL_PARAMETER, set(EXT_PRE_SHARED_KEY, data));
    }
    for data in [&[][..], &[0], &[0, 0, 0]] {
        refused(DECODE_ERROR, set(EXT_PRE_SHARED_KEY, data));
    }
    refused(MISSING_EXTENSION, |server| server.hello.extensions = Some(vec![version13()]));
    // What was not offered, and what has its place elsewhere.
    refused(UNSUPPORTED_EXTENSION, set(0xFFEE, &[]));
    refused(UNSUPPORTED_EXTENSION, set(EXT_CONNECTION_ID, &[0]));
    refused(ILLEGAL_PARAMETER, set(EXT_COOKIE, &[0, 1, 1]));
    refused(ILLEGAL_PARAMETER, set(EXT_RECORD_SIZE_LIMIT, &[4, 0]));
    refused(ILLEGAL_PARAMETER, set(EXT_PSK_MODES, &[1, 0]));
    // One twice.
    refused(DECODE_ERROR, |server| {
        let list = server.hello.extensions.as_mut().unwrap();
        list.push(list[1].clone());
    });
    // The version of a TLS that has its numbers in another order, or older ones by the new way (RFC 8446 §4.2.1).
    for data in [&[0xFE, 0xFD][..], &[0xFE, 0xFB], &[3, 4], &[0, 0]] {
        refused(ILLEGAL_PARAMETER, set(EXT_SUPPORTED_VERSIONS, data));
    }
    for data in [&[][..], &[0xFE], &[2, 0xFE, 0xFC]] {
        refused(DECODE_ERROR, set(EXT_SUPPORTED_VERSIONS, data));
    }
}

/// A server that chooses ephemeral keys where none were offered, and none where they must be.
#[cfg(feature = "x25519")]
#[test]
fn key_shares() {
    use dtls_psk::PskKeyExchangeMode;
    use support::scene13::DTLS13;
    let share = |group: u16, key: &[u8]| (EXT_KEY_SHARE, [&group.to_be_bytes()[..], &vec16(key)].concat());
    let answered = |config: Config<'static>, share: Option<(u16, Vec<u8>)>| {
        let mut scene = ClientScene13::with_config(AwaitsServerHello, 5, config);
        scene.server.hello.extensions.as_mut().unwrap().extend(share);
        let hello = scene.server.server_hello();
        scene.server.handshake = None;
        let answers = scene.attack(&hello);
        let alert = parse::plain_alert(&answers[0]).expect("an alert").1;
        scene.has_failed_with(&answers, alert);
        alert
    };
    let psk_ke = DTLS13.with_key_exchange_modes(&[PskKeyExchangeMode::PskKe]);
    let psk_dhe_ke = DTLS13.with_key_exchange_modes(&[PskKeyExchangeMode::PskDheKe]);
    assert_eq!(answered(psk_ke, Some(share(29, &[9; 32]))), ILLEGAL_PARAMETER);
    assert_eq!(answered(psk_dhe_ke, None), ILLEGAL_PARAMETER);
    assert_eq!(answered(psk_dhe_ke, Some(share(23, &[4; 65]))), ILLEGAL_PARAMETER);
    assert_eq!(answered(psk_dhe_ke, Some(share(29, &[0; 32]))), ILLEGAL_PARAMETER);
    assert_eq!(answered(psk_dhe_ke, Some(share(29, &[9; 31]))), DECODE_ERROR);
    assert_eq!(answered(psk_dhe_ke, Some((EXT_KEY_SHARE, vec![0, 29]))), DECODE_ERROR);
}

/// RFC 8446 §4.1.3, RFC 9147 §5.1: nobody takes DTLS 1.3 out of a hello, nor mixes the two versions.
#[cfg(feature = "dtls12")]
#[test]
fn downgrades() {
    let both = Config::new();
    let hello12 = |random: [u8; 32]| {
        let mut hello = ServerHello::new(random);
        hello.extensions = Some(vec![(EXT_EMS, vec![]), (EXT_RENEGOTIATION_INFO, vec![0])]);
        hello
    };
    let mut sentinel = [0x5E; 32];
    sentinel[24..].copy_from_slice(b"DOWNGRD\x01");
    let mut scene = ClientScene13::with_config(AwaitsServerHello, 6, both);
    let answers =
        scene.attack(&record(HANDSHAKE, 0, 0, &message(SERVER_HELLO, 0, &hello12(sentinel).body())));
    scene.has_failed_with(&answers, ILLEGAL_PARAMETER);
    assert_eq!(error_of(&scene), PeerMisbehaved::Downgrade.into());
    // One bit less of it is chance, and DTLS 1.2 has its place where both are offered.
    let mut chance = sentinel;
    chance[24] ^= 1;
    let mut scene = ClientScene13::with_config(AwaitsServerHello, 6, both);
    let hello = record(HANDSHAKE, 0, 0, &message(SERVER_HELLO, 0, &hello12(chance).body()));
    scene.ignores(&hello);
    // And none where only 1.3 is.
    for body in [hello12(chance).body(), hello12(sentinel).body()] {
        let mut scene = ClientScene13::new(AwaitsServerHello, 6);
        let answers = scene.attack(&record(HANDSHAKE, 0, 0, &message(SERVER_HELLO, 0, &body)));
        scene.has_failed_with(&answers, PROTOCOL_VERSION);
    }
    // A HelloVerifyRequest, then 1.3.
    let mut scene = ClientScene13::with_config(AwaitsServerHello, 6, both);
    let verify = message(HELLO_VERIFY_REQUEST, 0, &hello_verify_request(DTLS10, b"cookie"));
    let answers = scene.attack(&record(HANDSHAKE, 0, 0, &verify));
    assert_eq!(answers.len(), 1, "it is followed, as a server of DTLS 1.2 may be there");
    scene.server.message_seq = 1;
    let hello = scene.server.server_hello();
    scene.server.handshake = None;
    let answers = scene.attack(&hello);
    scene.has_failed_with(&answers, PROTOCOL_VERSION);
    // The other way round.
    for body in [
        message(HELLO_VERIFY_REQUEST, 1, &hello_verify_request(DTLS10, b"cookie")),
        message(SERVER_HELLO, 1, &hello12([0x5E; 32]).body()),
    ] {
        let mut scene = ClientScene13::with_config(AwaitsServerHelloWithCookie, 6, both);
        let answers = scene.attack(&record(HANDSHAKE, 0, 7, &body));
        let alert = parse::plain_alert(&answers[0]).unwrap().1;
        assert!([UNEXPECTED_MESSAGE, PROTOCOL_VERSION, ILLEGAL_PARAMETER].contains(&alert), "{alert}");
        scene.has_failed_with(&answers, alert);
    }
    // And none at all where only 1.3 is offered.
    let mut scene = ClientScene13::new(AwaitsServerHello, 6);
    let answers = scene.attack(&record(HANDSHAKE, 0, 0, &verify));
    scene.has_failed_with(&answers, UNEXPECTED_MESSAGE);
}

/// What EncryptedExtensions must not hold (RFC 8446 §4.2), and what does not come in their place.
#[test]
fn encrypted_extensions() {
    let extension = |number: u16, data: &[u8]| vec16(&[&number.to_be_bytes()[..], &vec16(data)].concat());
    let cases = [
        (UNSUPPORTED_EXTENSION, extension(0xFFEE, &[])),
        (UNSUPPORTED_EXTENSION, extension(EXT_RECORD_SIZE_LIMIT, &[4, 0])),
        (UNSUPPORTED_EXTENSION, extension(EXT_MAX_FRAGMENT_LENGTH, &[1])),
        (UNSUPPORTED_EXTENSION, extension(EXT_SERVER_NAME, &[])),
        (ILLEGAL_PARAMETER, extension(EXT_SUPPORTED_VERSIONS, &[0xFE, 0xFC])),
        (ILLEGAL_PARAMETER, extension(EXT_PRE_SHARED_KEY, &[0, 0])),
        (ILLEGAL_PARAMETER, extension(EXT_COOKIE, &[0, 1, 1])),
        (ILLEGAL_PARAMETER, extension(EXT_CONNECTION_ID, &[0])),
        (DECODE_ERROR, vec![]),
        (DECODE_ERROR, vec![0]),
        (DECODE_ERROR, vec![0, 1]),
        (DECODE_ERROR, vec![0, 0, 0]),
        (DECODE_ERROR, vec![0, 4, 0, 28, 0, 9]),
    ];
    for (alert, body) in cases {
        let mut scene = ClientScene13::new(AwaitsEncryptedExtensions, 7);
        let sealed = scene.seal(&message(ENCRYPTED_EXTENSIONS, 1, &body));
        let answers = scene.attack(&sealed);
        scene.has_failed_with(&answers, alert);
    }
    // 0-RTT that was never asked for.
    let mut scene = ClientScene13::new(AwaitsEncryptedExtensions, 7);
    let sealed = scene.seal(&message(ENCRYPTED_EXTENSIONS, 1, &extension(EXT_EARLY_DATA, &[])));
    let answers = scene.attack(&sealed);
    scene.has_failed_with(&answers, UNSUPPORTED_EXTENSION);
}

/// Row 31: messages under the right keys at the wrong time: each ends the handshake, or is passed over.
#[test]
fn row_06_and_31_every_message_type_in_every_state() {
    let encrypted = [NEW_SESSION_TICKET, REQUEST_CONNECTION_ID, NEW_CONNECTION_ID, KEY_UPDATE];
    for msg_type in 0..=255_u8 {
        for (state, seq, own) in
            [(AwaitsEncryptedExtensions, 1, ENCRYPTED_EXTENSIONS), (AwaitsFinished, 2, FINISHED)]
        {
            if msg_type == own {
                continue;
            }
            for body in [&[][..], &[0, 0], &[0xA5; 40]] {
                let mut scene = ClientScene13::new(state, 8);
                let sealed = scene.seal(&message(msg_type, seq, body));
                let answers = scene.attack(&sealed);
                if answers.is_empty() {
                    assert!(!encrypted.contains(&msg_type), "{msg_type}");
                    scene.ends_well();
                } else {
                    scene.has_failed_with(&answers, UNEXPECTED_MESSAGE);
                }
            }
        }
    }
    // The Finished without the EncryptedExtensions.
    let mut scene = ClientScene13::new(AwaitsEncryptedExtensions, 8);
    let sealed = scene.seal(&message(FINISHED, 1, &[0; 32]));
    let answers = scene.attack(&sealed);
    scene.has_failed_with(&answers, UNEXPECTED_MESSAGE);
}

/// Row 8 and a wrong proof: the Finished that is authentic, and still not right.
#[test]
fn row_08_wrong_finished() {
    for len in [0, 1, 12, 31, 33, 64] {
        let mut scene = ClientScene13::new(AwaitsFinished, 9);
        let finished = scene.rest[0][12..].repeat(2);
        let sealed = scene.seal(&message(FINISHED, 2, &finished[..len]));
        let answers = scene.attack(&sealed);
        scene.has_failed_with(&answers, DECODE_ERROR);
    }
    for bit in 0..256 {
        let mut scene = ClientScene13::new(AwaitsFinished, 9);
        let mut finished = scene.rest[0].clone();
        finished[12 + bit / 8] ^= 1 << (bit % 8);
        let sealed = scene.seal(&finished);
        let answers = scene.attack(&sealed);
        scene.has_failed_with(&answers, DECRYPT_ERROR);
        assert_eq!(error_of(&scene), PeerMisbehaved::WrongVerifyData.into());
    }
}

/// Rows 10 and 20: what has to be sealed, in the clear; data in the clear; data before the Finished.
#[test]
fn row_10_and_20_in_the_clear_and_early() {
    for mut scene in ClientScene13::each(10) {
        for epoch in [0, 1, 2, 3] {
            for content_type in
                [CHANGE_CIPHER_SPEC, APPLICATION_DATA, TLS12_CID, RETURN_ROUTABILITY_CHECK, 0, 99]
            {
                for len in [0, 1, 16, 40, 1_000] {
                    scene.ignores(&record(content_type, epoch, 700, &vec![b'!'; len]));
                }
            }
        }
        if scene.state >= AwaitsEncryptedExtensions {
            let [extensions, finished] =
                [message(ENCRYPTED_EXTENSIONS, 1, &[0, 0]), message(FINISHED, 2, &[0; 32])];
            for epoch in [0, 1, 2, 3] {
                scene.ignores(&record(HANDSHAKE, epoch, 90, &extensions));
                scene.ignores(&record(HANDSHAKE, epoch, 91, &finished));
                for rest in scene.rest.clone() {
                    scene.ignores(&record(HANDSHAKE, epoch, 92, &rest));
                }
            }
        }
        if [AwaitsEncryptedExtensions, AwaitsFinished].contains(&scene.state) {
            // A server may speak before it has the client's Finished, but not before its own.
            let early = scene.server.side().data(b"early");
            scene.ignores(&early);
            scene.server.side().write.next = 0;
            let early = scene.server.handshake.as_ref().unwrap().write.seal_as(20, b"early\x17");
            scene.ignores(&early);
        }
        scene.ends_well();
    }
    // Behind its Finished, data is in its place before the ACK.
    let mut scene = ClientScene13::new(AwaitsAck, 10);
    let data = scene.server.side().data(b"welcome");
    scene.attack(&data);
    assert_eq!(scene.client.log, [Note::Established, Note::Data(b"welcome".to_vec())]);
    scene.ends_well();
}

/// Rows 3, 5, 11, 15, 16: records with every first byte, of every length, forged; cut and damaged ones.
#[test]
fn row_05_15_and_16_forged_records() {
    for mut scene in ClientScene13::each(5) {
        let mut told_to_send_again = 0;
        for first in 0x20..0x40_u8 {
            for len in (0..=45).chain([100, 1_000, 1_400]) {
                for filling in [0, 0xE5, 0xFF] {
                    told_to_send_again += scene.attack(&[&[first][..], &vec![filling; len]].concat()).len();
                }
            }
        }
        assert_eq!(told_to_send_again, 0, "{:?}", scene.state);
        scene.ends_well();
    }
    for (state, content) in [(AwaitsEncryptedExtensions, 0), (AwaitsFinished, 1), (Established, 2)] {
        let mut scene = ClientScene13::new(state, 5);
        let genuine = match content {
            2 => scene.server.side().data(b"genuine"),
            _ => {
                let message = scene.rest[0].clone();
                scene
                    .server
                    .handshake
                    .as_ref()
                    .unwrap()
                    .write
                    .seal_as(9, &[&message[..], &[HANDSHAKE]].concat())
            }
        };
        for len in 0..genuine.len() {
            scene.ignores(&genuine[..len]);
        }
        for bit in 0..8 * genuine.len() {
            let mut damaged = genuine.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            scene.ignores(&damaged);
        }
        if content == 2 {
            scene.attack(&genuine);
            assert_eq!(scene.client.log.last(), Some(&Note::Data(b"genuine".to_vec())));
            scene.ignores(&genuine);
        }
        scene.ends_well();
    }
}

/// A ServerHello that is cut anywhere is no ServerHello.
#[test]
fn row_08_server_hellos_of_every_length() {
    for state in [AwaitsServerHello, AwaitsServerHelloWithCookie] {
        let seq = u16::from(state == AwaitsServerHelloWithCookie);
        let mut scene = ClientScene13::new(state, 8);
        let whole = scene.server.server_hello();
        let body = &whole[25..];
        for len in 0..body.len() {
            let mut scene = ClientScene13::new(state, 8);
            let answers = scene.attack(&record(HANDSHAKE, 0, 9, &message(SERVER_HELLO, seq, &body[..len])));
            let alert = parse::plain_alert(&answers[0]).expect("an alert").1;
            // Without its extensions, it is one of DTLS 1.2.
            assert!([DECODE_ERROR, PROTOCOL_VERSION].contains(&alert), "{len}: {alert}");
            scene.has_failed_with(&answers, alert);
        }
    }
}

/// ACKs that anybody can send do nothing, in any state; nor do sealed ones of what was never sent.
#[test]
fn acks() {
    let bodies = [
        ack(&[]),
        ack(&[(0, 0), (0, 1), (2, 0), (2, 1), (3, 0)]),
        ack(&[(u64::MAX, u64::MAX)]),
        ack(&(0..80).map(|number| (2, number)).collect::<Vec<_>>()),
        vec![],
        vec![0],
        vec![0, 8, 0, 0, 0, 0, 0, 0, 0, 2],
        vec![0, 15],
        vec![0xFF; 40],
        [&ack(&[(2, 0)])[..], &[0]].concat(),
    ];
    for mut scene in ClientScene13::each(40) {
        for body in &bodies {
            for epoch in [0, 1, 2, 3] {
                scene.ignores(&record(ACK, epoch, 100, body));
            }
        }
        if scene.state == AwaitsAck {
            // The Finished is not taken for acknowledged.
            scene.now = scene.now + Duration::from_secs(5);
            scene.client.connection.handle_timeout(scene.now).unwrap();
            scene.sent = scene.client.transmit();
            let again = scene.server.take_finished(&scene.sent);
            assert_eq!(again, [(2, 1)]);
        }
        scene.ends_well();
    }
    let mut scene = ClientScene13::new(AwaitsAck, 41);
    let mut bodies = bodies.to_vec();
    bodies.remove(1);
    bodies.remove(2);
    bodies.retain(|body| body.len() != 19);
    for body in
        [ack(&[(2, 7), (3, 0), (1, 0), (0, 0), (1 << 32, 0)]), ack(&[(2, 1 << 48)])].iter().chain(&bodies)
    {
        let sealed = scene.server.side().write.seal(ACK, body);
        scene.ignores(&sealed);
    }
    scene.now = scene.now + Duration::from_secs(5);
    scene.client.connection.handle_timeout(scene.now).unwrap();
    scene.sent = scene.client.transmit();
    assert_eq!(scene.server.take_finished(&scene.sent), [(2, 1)], "it goes on");
    // The right one among eighty others is the right one.
    let mut numbers: Vec<_> = (100..180).map(|number| (2, number)).collect();
    numbers.push((2, 1));
    let sealed = scene.server.side().write.seal(ACK, &ack(&numbers));
    scene.ignores(&sealed);
    assert_eq!(scene.client.connection.poll_timeout(), None, "nothing is to be repeated");
    scene.ends_well();
}

/// KeyUpdates, tickets and others without end from a server that has the keys.
#[test]
fn post_handshake_storms() {
    let mut scene = ClientScene13::new(Established, 42);
    let mut seq = scene.server.message_seq;
    for round in 0..300_u64 {
        let request = u8::from(round % 3 == 0);
        let (number, epoch) = (scene.server.side().write.next, scene.server.side().write.epoch);
        let sealed = scene.server.side().write.seal(HANDSHAKE, &message(KEY_UPDATE, seq, &[request]));
        seq += 1;
        let early = scene.server.side().write.seal(HANDSHAKE, &message(KEY_UPDATE, seq, &[1]));
        let mut answers = scene.attack(&sealed);
        answers.extend(scene.attack(&early));
        let opened = scene.server.side().read.open_all(&answers);
        let acks: Vec<_> = opened.iter().filter(|(content_type, ..)| *content_type == ACK).collect();
        assert_eq!(acks.len(), 1);
        assert_eq!(acks[0].1, ack(&[(epoch, number)]));
        scene.server.side().write.update();
        let updates: Vec<_> = opened.iter().filter(|(content_type, ..)| *content_type == HANDSHAKE).collect();
        assert_eq!(updates.len(), usize::from(request));
        if let [(_, update, number)] = updates[..] {
            assert_eq!(update[12..], [0]);
            let body = ack(&[(scene.server.side().read.epoch, *number)]);
            let sealed = scene.server.side().write.seal(ACK, &body);
            scene.ignores(&sealed);
            scene.server.side().read.update();
        } else {
            let data = scene.server.side().data(b"!");
            scene.attack(&data);
        }
    }
    // Tickets, whether they are wanted or not; the last one may be malformed in any way.
    let ticket = [&[0, 0, 0, 60][..], &[0; 4], &vec8(&[0]), &vec16(b"ticket"), &[0, 0]].concat();
    for _ in 0..300 {
        let sealed = scene.server.side().write.seal(HANDSHAKE, &message(NEW_SESSION_TICKET, seq, &ticket));
        seq += 1;
        let answers = scene.attack(&sealed);
        assert!(matches!(&scene.server.side().read.open_all(&answers)[..], [(ACK, ..)]), "{answers:?}");
    }
    for len in 0..ticket.len() {
        let sealed =
            scene.server.side().write.seal(HANDSHAKE, &message(NEW_SESSION_TICKET, seq, &ticket[..len]));
        scene.ignores(&sealed);
    }
    for body in [&[][..], &[2], &[255], &[0, 0], &[1; 300]] {
        let sealed = scene.server.side().write.seal(HANDSHAKE, &message(KEY_UPDATE, seq, body));
        scene.ignores(&sealed);
    }
    // What a server does not send.
    for msg_type in [0, CLIENT_HELLO, SERVER_HELLO, ENCRYPTED_EXTENSIONS, 5, 11, 13, 15, FINISHED, 254, 99] {
        let sealed = scene.server.side().write.seal(HANDSHAKE, &message(msg_type, seq, &[0; 32]));
        scene.ignores(&sealed);
    }
    scene.ends_well();
}

/// Fragments of messages after the handshake: overlapping, contradicting each other, and without end.
#[test]
fn row_12_and_24_fragments_after_the_handshake() {
    let mut scene = ClientScene13::new(Established, 43);
    let seq = scene.server.message_seq;
    let update = |side: &mut Side, length: u32, offset: u32, part: &[u8]| {
        side.write.seal(HANDSHAKE, &fragment(NEW_SESSION_TICKET, length, seq, offset, part))
    };
    for (length, offset, part) in [
        (0xFF_FFFF, 0, &[0; 30][..]),
        (100, 99, &[0; 30]),
        (100, 0, &[]),
        (100, 100, &[]),
        (50, 10, &[1; 10]),
        (60, 10, &[1; 10]),
        (50, 0, &[2; 20]),
        (50_000, 49_000, &[2; 20]),
    ] {
        for _ in 0..50 {
            let sealed = update(scene.server.side(), length, offset, part);
            // Whoever buffers a part acknowledges it.
            let answers = scene.attack(&sealed);
            let opened = scene.server.side().read.open_all(&answers);
            assert!(opened.iter().all(|(content_type, ..)| *content_type == ACK));
            assert!(answers.len() <= 1);
        }
    }
    // A whole one, in its turn, is not in the way of any of that.
    let sealed = scene.server.side().write.seal(HANDSHAKE, &message(KEY_UPDATE, seq, &[0]));
    let answers = scene.attack(&sealed);
    assert!(matches!(&scene.server.side().read.open_all(&answers)[..], [(ACK, ..)]), "{answers:?}");
    scene.server.side().write.update();
    scene.ends_well();
}

/// RFC 9147 §9: no messages about connection IDs where there are none.
#[test]
fn connection_id_messages_without_connection_ids() {
    for (msg_type, body) in
        [(REQUEST_CONNECTION_ID, vec![1]), (NEW_CONNECTION_ID, [vec16(&vec8(b"id")), vec![0]].concat())]
    {
        let mut scene = ClientScene13::new(Established, 45);
        let message = message(msg_type, scene.server.message_seq, &body);
        let sealed = scene.server.side().write.seal(HANDSHAKE, &message);
        let answers = scene.attack(&sealed);
        scene.has_failed_with(&answers, UNEXPECTED_MESSAGE);
    }
}

/// Alerts: in the clear they may be anyone's; sealed ones end what they say they end, whatever their level (RFC 8446 §6.2).
#[test]
fn alerts() {
    for mut scene in ClientScene13::each(46) {
        for body in [&[2, 40][..], &[2, 20], &[1, 0], &[1, 90], &[2], &[], &[2, 40, 0], &[9, 9]] {
            for epoch in [0, 1, 2, 3] {
                scene.ignores(&record(ALERT, epoch, 77, body));
            }
        }
        scene.ends_well();
    }
    for (state, level) in [
        (AwaitsEncryptedExtensions, 1),
        (AwaitsFinished, 2),
        (AwaitsAck, 2),
        (AwaitsAck, 1),
        (Established, 1),
        (Established, 2),
    ] {
        let mut scene = ClientScene13::new(state, 46);
        let side =
            if state >= AwaitsAck { scene.server.session.as_mut() } else { scene.server.handshake.as_mut() };
        let side = side.unwrap();
        // Malformed ones, and the one that says nothing (RFC 8446 §6).
        let mut noise = [&[][..], &[2], &[2, 40, 0]].map(|body| side.write.seal(ALERT, body)).to_vec();
        noise.push(side.write.seal(ALERT, &[1, 90]));
        let sealed = side.write.seal(ALERT, &[level, 40]);
        let before = scene.client.log.len();
        for datagram in &noise {
            assert!(scene.attack(datagram).is_empty());
        }
        let failed = |scene: &ClientScene13| {
            let failed = |note: &&Note| matches!(note, Note::Failed(_) | Note::Closed);
            scene.client.log[before..].iter().filter(failed).count()
        };
        if failed(&scene) == 0 {
            assert!(scene.attack(&sealed).is_empty(), "none in return");
        }
        assert_eq!(failed(&scene), 1, "{state:?} {level}: {:?}", scene.client.log);
        assert_eq!(scene.client.connection.poll_timeout(), None);
    }
}

/// Row 32 (RFC 9257 §4.1): a client that is answered with its own words.
#[test]
fn row_32_reflection() {
    for mut scene in ClientScene13::each(32) {
        let sent = scene.sent.clone();
        if scene.state >= AwaitsEncryptedExtensions {
            for datagram in &sent {
                scene.ignores(datagram);
            }
        } else {
            // In the clear, before there are keys: anybody could have ended it so, and nothing is made of it.
            let answers = scene.attack(&sent[0]);
            scene.has_failed_with(&answers, UNEXPECTED_MESSAGE);
            continue;
        }
        scene.ends_well();
    }
    let mut scene = ClientScene13::new(Established, 32);
    let own = scene.client.seal(b"from the client");
    scene.ignores(&own);
    assert!(scene.server.side().read.open(&own).is_some());
    scene.ends_well();
}

/// The client never finishes without the server's key, whoever answers: the Finished is not sent before the proof (row 32, row 31).
#[test]
fn a_server_with_another_key_learns_nothing() {
    let mut scene = ClientScene13::new(AwaitsServerHello, 33);
    let mut impostor = RawServer13::new(b"another key entirely");
    // It has seen the hello, whose binder it cannot check.
    impostor.hear_hello(&scene.sent);
    let flight = impostor.flight();
    let answers = scene.attack(&flight);
    assert_eq!(answers, Vec::<Vec<u8>>::new(), "nothing opens, so there is nothing to say yet");
    scene.now = scene.now + Duration::from_secs(61);
    let outcome = scene.client.connection.handle_timeout(scene.now);
    assert_eq!(outcome, Err(Error::HandshakeTimeout));
    assert!(!scene.client.is_established());
}
