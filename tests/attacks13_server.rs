//! What broke other stacks, tried on our server of DTLS 1.3. The numbers are those of the list of bug classes in
//! `attack_rows.rs`.
#![cfg(feature = "dtls13")]

mod support;

use std::time::Duration;

use dtls_psk::{Error, PeerMisbehaved};

use support::craft::*;
use support::parse;
use support::raw13::*;
use support::scene13::{DTLS13, ServerScene13, ServerState13, assert_raw13_data_flows, raw13_handshake};
use support::world::{Note, Small, path};
use support::{IDENTITY, KEY};

use ServerState13::*;

/// The messages that have their place under keys, but for the Finished.
const ENCRYPTED: [u8; 5] =
    [NEW_SESSION_TICKET, ENCRYPTED_EXTENSIONS, REQUEST_CONNECTION_ID, NEW_CONNECTION_ID, KEY_UPDATE];

/// A client of the attacker's, at the victim's address, that has a cookie.
fn with_cookie(scene: &mut ServerScene13) -> RawClient13 {
    let mut client = RawClient13::new(IDENTITY, KEY, 0xAA);
    let hello = client.hello();
    let replies = scene.attack(&hello);
    client.follow(&replies);
    client
}

/// Each second hello that `spoil` makes of a good one is refused with `alert`, in every state of the victim, and nothing is kept.
#[track_caller]
fn refused(alert: u8, spoil: impl Fn(&mut RawClient13)) {
    for mut scene in ServerScene13::each(1) {
        let mut client = with_cookie(&mut scene);
        spoil(&mut client);
        let hello = client.hello();
        scene.refuses(&hello, alert);
        scene.ends_well();
    }
}

/// The same, of what the application is told as well: the client has shown that it is at its address.
#[track_caller]
fn refused_and_told(error: Error, alert: u8, spoil: impl Fn(&mut RawClient13)) {
    for mut scene in ServerScene13::each(1) {
        let mut client = with_cookie(&mut scene);
        spoil(&mut client);
        let hello = client.hello();
        let told = scene.world.log.len();
        scene.refuses(&hello, alert);
        assert_eq!(scene.world.log[told..], [(path(0), Note::Refused(error))]);
        scene.ends_well();
    }
}

/// Row 18 (CVE-2026-1584), row 22: a binder that is wrong in any bit, and a key that nobody knows, get the same answer.
#[test]
fn row_18_and_22_wrong_binders() {
    let wrong_key = |client: &mut RawClient13| client.offered[0].1 = b"another key".to_vec();
    let unknown = |client: &mut RawClient13| client.offered[0].0 = b"d".to_vec();
    refused_and_told(Error::AuthenticationFailed, DECRYPT_ERROR, wrong_key);
    refused_and_told(Error::AuthenticationFailed, DECRYPT_ERROR, unknown);
    // Not to be told apart by anything.
    let answer = |spoil: &dyn Fn(&mut RawClient13)| {
        let mut scene = ServerScene13::new(Nothing, 18);
        let mut client = with_cookie(&mut scene);
        spoil(&mut client);
        let hello = client.hello();
        (scene.attack(&hello), scene.world.log, scene.world.server.stats())
    };
    assert_eq!(answer(&wrong_key), answer(&unknown));
    // Every byte of the binder counts.
    let mut scene = ServerScene13::new(Nothing, 18);
    for bit in 0..8 * 32 {
        let mut client = with_cookie(&mut scene);
        let mut hello = client.hello();
        let at = hello.len() - 32 + bit / 8;
        hello[at] ^= 1 << (bit % 8);
        scene.refuses(&hello, DECRYPT_ERROR);
    }
    scene.ends_well();
}

/// The first key that is known is the one that counts: a right binder of another does not help, and one of none does not hurt.
#[test]
fn binders_of_several_keys() {
    let other = (b"d".to_vec(), b"a key that is not here".to_vec());
    let good = (IDENTITY.to_vec(), KEY.to_vec());
    let wrong = (IDENTITY.to_vec(), other.1.clone());
    refused(DECRYPT_ERROR, |client| client.offered = vec![wrong.clone(), good.clone()]);
    refused(DECRYPT_ERROR, |client| client.offered = vec![other.clone(); 3]);
    for offered in
        [vec![other.clone(), good.clone()], vec![other.clone(), other.clone(), good.clone(), wrong]]
    {
        let mut world = Small::with_config(1, DTLS13);
        let mut client = RawClient13::new(IDENTITY, KEY, 1);
        client.offered = offered;
        raw13_handshake(&mut world, &mut client, 0);
        assert_raw13_data_flows(&mut world, &mut client, 0);
    }
    // No more of them are looked up than a handshake may cost.
    refused(DECRYPT_ERROR, |client| {
        client.offered = vec![other.clone(); 4];
        client.offered.push(good.clone());
    });
}

/// Row 18: the second hello lacks what the first one had.
#[test]
fn row_18_second_hello_without_a_key() {
    refused(HANDSHAKE_FAILURE, |client| client.offered.clear());
    refused(MISSING_EXTENSION, |client| client.extensions().retain(|(number, _)| *number != EXT_PSK_MODES));
    refused(HANDSHAKE_FAILURE, |client| client.hello.suites = vec![0x1303, 0x1306]);
    // Without the cookie, it is a first hello of the wrong number.
    for mut scene in ServerScene13::each(18) {
        let mut client = with_cookie(&mut scene);
        client.extensions().retain(|(number, _)| *number != EXT_COOKIE);
        let hello = client.hello();
        scene.ignores(&hello);
        scene.ends_well();
    }
}

/// A hello that changes between its two times makes another transcript, or asks for another suite.
#[test]
fn second_hello_that_changed() {
    // What is in the cookie is the hash of the first one.
    for mut scene in ServerScene13::each(2) {
        let first = with_cookie(&mut scene);
        let mut second = RawClient13::new(IDENTITY, KEY, 0xAB);
        let hello = second.hello();
        let replies = scene.attack(&hello);
        second.follow(&replies);
        let cookie =
            first.hello.extensions.iter().flatten().find(|(number, _)| *number == EXT_COOKIE).cloned();
        second.extensions().retain(|(number, _)| *number != EXT_COOKIE);
        second.extensions().extend(cookie);
        let hello = second.hello();
        scene.refuses(&hello, DECRYPT_ERROR);
        scene.ends_well();
    }
    // The suite of the HelloRetryRequest is chosen for good (RFC 8446 §4.1.4).
    refused(ILLEGAL_PARAMETER, |client| client.hello.suites = vec![0x1304]);
}

/// Malformed keys and binders, of which there are as many as of the other (RFC 8446 §4.2.11).
#[test]
fn pre_shared_key_extensions_that_are_wrong() {
    let identity = [&vec16(IDENTITY)[..], &[0; 4]].concat();
    let with = |data: Vec<u8>| {
        move |client: &mut RawClient13| {
            client.offered.clear();
            client.behind = vec![(EXT_PRE_SHARED_KEY, data.clone())];
        }
    };
    let both = |identities: &[u8], binders: &[u8]| [vec16(identities), vec16(binders)].concat();
    let binder = vec8(&[7; 32]);
    refused(DECRYPT_ERROR, with(both(&identity, &binder)));
    // Of another hash, but well formed.
    refused(DECRYPT_ERROR, with(both(&identity, &vec8(&[7; 48]))));
    let two = [&identity[..], &identity].concat();
    for data in [both(&two, &binder), both(&identity, &[&binder[..], &binder].concat())] {
        refused(ILLEGAL_PARAMETER, with(data));
    }
    for data in [
        vec![],
        vec![0],
        both(&[], &binder),
        both(&identity, &[]),
        both(&[], &[]),
        both(&identity, &vec8(&[7; 31])),
        both(&identity, &vec8(&[])),
        both(&identity, &[32, 7, 7]),
        both(&[&vec16(&[])[..], &[0; 4]].concat(), &binder),
        both(&identity[..identity.len() - 1], &binder),
        both(&vec16(IDENTITY), &binder),
        vec16(&identity),
        [both(&identity, &binder), vec![0]].concat(),
        [&[0xFF, 0xFF], &identity[..]].concat(),
    ] {
        refused(DECODE_ERROR, with(data));
    }
    // It is the last one, as its binders are over all before (RFC 8446 §4.2.11).
    refused(ILLEGAL_PARAMETER, |client| client.behind = vec![(EXT_RECORD_SIZE_LIMIT, vec![4, 0])]);
    refused(ILLEGAL_PARAMETER, |client| client.behind = vec![(0xFFEE, vec![])]);
}

/// What else a hello of DTLS 1.3 must have, and must not.
#[test]
fn hellos_against_the_rules() {
    // RFC 9147 §5.3.
    refused(ILLEGAL_PARAMETER, |client| client.hello.cookie = vec![1, 2, 3]);
    for compression in [vec![1], vec![0, 1], vec![1, 0]] {
        refused(ILLEGAL_PARAMETER, |client| client.hello.compression = compression.clone());
    }
    // RFC 8446 §4.2.9 and §9.2.
    refused(HANDSHAKE_FAILURE, |client| client.extensions()[1].1 = vec![1, 1]);
    refused(HANDSHAKE_FAILURE, |client| client.extensions()[1].1 = vec![1, 0x7F]);
    #[cfg(feature = "x25519")]
    {
        let share = |group: u16, len| vec16(&[&group.to_be_bytes()[..], &vec16(&vec![9; len])].concat());
        refused(MISSING_EXTENSION, |client| {
            client.extensions().push((EXT_SUPPORTED_GROUPS, vec![0, 2, 0, 29]))
        });
        refused(MISSING_EXTENSION, |client| client.extensions().push((EXT_KEY_SHARE, share(29, 32))));
        let with_share = |data: Vec<u8>| {
            move |client: &mut RawClient13| {
                client.extensions()[1].1 = vec![1, 1];
                client.extensions().push((EXT_SUPPORTED_GROUPS, vec![0, 2, 0, 29]));
                client.extensions().push((EXT_KEY_SHARE, data.clone()));
            }
        };
        // One with which the secret would be zero (RFC 7748 §6.1), and ones of another length than X25519's.
        let weak = vec16(&[&[0, 29][..], &vec16(&[0; 32])].concat());
        refused(ILLEGAL_PARAMETER, with_share(weak));
        for data in [
            vec![],
            vec![0],
            vec![0, 5, 0, 29, 0, 32, 9],
            share(29, 0),
            [share(29, 32), vec![1]].concat(),
            share(29, 31),
            share(29, 33),
        ] {
            refused(DECODE_ERROR, with_share(data));
        }
    }
}

/// A hello whose bytes are no hello at all is no more than noise.
#[test]
fn hellos_that_cannot_be_read() {
    for mut scene in ServerScene13::each(4) {
        let mut client = with_cookie(&mut scene);
        let whole = client.hello_body();
        // A hello may end before its extensions, and then it is one of DTLS 1.2.
        let block = 2 + 32 + 1 + 1 + 4 + 2;
        for len in (0..whole.len()).filter(|len| *len != block) {
            scene.ignores_hello(&message(CLIENT_HELLO, 1, &whole[..len]));
        }
        scene.ignores_hello(&message(CLIENT_HELLO, 1, &[&whole[..], &[0]].concat()));
        for versions in [vec![], vec![0], vec![1, 0xFE], vec![3, 0xFE, 0xFC, 0], vec![4, 0xFE, 0xFC]] {
            let mut client = RawClient13::new(IDENTITY, KEY, 0xAA);
            client.extensions()[0].1 = versions;
            let hello = client.hello();
            scene.ignores_or_refuses(&hello, DECODE_ERROR);
        }
        for modes in [vec![], vec![0], vec![1], vec![1, 0, 0], vec![2, 0]] {
            let mut client = RawClient13::new(IDENTITY, KEY, 0xAA);
            client.extensions()[1].1 = modes;
            let hello = client.hello();
            scene.ignores_or_refuses(&hello, DECODE_ERROR);
        }
        for cookie in [vec![], vec![0], vec![0, 0], vec![0, 1], vec![0, 1, 1, 1]] {
            let mut client = RawClient13::new(IDENTITY, KEY, 0xAA);
            client.extensions().push((EXT_COOKIE, cookie));
            client.message_seq = 1;
            let hello = client.hello();
            scene.ignores_or_refuses(&hello, DECODE_ERROR);
        }
        scene.ends_well();
    }
}

/// Versions that nobody speaks here.
#[test]
fn unknown_versions() {
    for versions in [vec![2, 0xFE, 0xFB], vec![2, 3, 4], vec![4, 0x0A, 0x0A, 0xFE, 0xFE], vec![2, 0xFE, 0xFD]]
    {
        for mut scene in ServerScene13::each(5) {
            let mut client = RawClient13::new(IDENTITY, KEY, 0xAA);
            client.extensions()[0].1 = versions.clone();
            let hello = client.hello();
            scene.refuses(&hello, PROTOCOL_VERSION);
            scene.ends_well();
        }
    }
    for mut scene in ServerScene13::each(5) {
        let mut client = RawClient13::new(IDENTITY, KEY, 0xAA);
        client.extensions().remove(0);
        let hello = client.hello();
        scene.refuses(&hello, PROTOCOL_VERSION);
        scene.ends_well();
    }
    // Others beside ours are what a later client will have (RFC 8701).
    let mut world = Small::with_config(5, DTLS13);
    let mut client = RawClient13::new(IDENTITY, KEY, 5);
    client.extensions()[0].1 = vec![8, 0x0A, 0x0A, 0xFE, 0xFB, 0xFE, 0xFC, 0xFE, 0xFD];
    client.hello.suites = vec![0x0A0A, 0x1399, SUITE, 0xC0A8];
    client.extensions()[1].1 = vec![3, 0x0B, 0, 0xFF];
    client.extensions().insert(0, (0x0A0A, vec![]));
    raw13_handshake(&mut world, &mut client, 0);
    assert_raw13_data_flows(&mut world, &mut client, 0);
}

/// RFC 9147 §5: a session id may be there, from DTLS 1.2, and is not repeated.
#[test]
fn session_ids_are_not_repeated() {
    for len in [1, 8, 32] {
        let mut world = Small::with_config(6, DTLS13);
        let mut client = RawClient13::new(IDENTITY, KEY, 6);
        client.hello.session_id = vec![0x77; len];
        // `take_flight` looks at it.
        raw13_handshake(&mut world, &mut client, 0);
        assert_raw13_data_flows(&mut world, &mut client, 0);
    }
}

/// Row 21: no way round the cookie: of another address, changed, cut, made up, of another endpoint, or too old.
#[test]
fn row_21_cookies() {
    let set = |client: &mut RawClient13, cookie: &[u8]| {
        client.extensions().retain(|(number, _)| *number != EXT_COOKIE);
        client.extensions().push((EXT_COOKIE, vec16(cookie)));
    };
    let get = |client: &RawClient13| {
        let list = client.hello.extensions.as_ref().unwrap();
        list.iter().find(|(number, _)| *number == EXT_COOKIE).unwrap().1[2..].to_vec()
    };
    let with_cookies_of = |world: &mut Small, at: usize| {
        let mut client = RawClient13::new(IDENTITY, KEY, 0xAA);
        let hello = client.hello();
        let replies = world.hit(path(at), &hello);
        client.follow(&replies);
        client
    };
    for mut scene in ServerScene13::each(21) {
        let elsewhere = with_cookies_of(&mut scene.world, 9);
        let mut other = Small::with_config(2_121, DTLS13);
        let foreign = with_cookies_of(&mut other, 0);
        let good = get(&with_cookie(&mut scene));
        let mut bad = vec![get(&elsewhere), get(&foreign), vec![0], vec![0; good.len()], vec![0xFF; 300]];
        bad.extend((1..good.len()).map(|len| good[..len].to_vec()));
        bad.push([&good[..], &[0]].concat());
        bad.extend((0..8 * good.len()).map(|bit| {
            let mut cookie = good.clone();
            cookie[bit / 8] ^= 1 << (bit % 8);
            cookie
        }));
        for cookie in bad {
            let mut client = with_cookie(&mut scene);
            set(&mut client, &cookie);
            let told = scene.world.log.len();
            let hello = client.hello();
            scene.refuses(&hello, ILLEGAL_PARAMETER);
            // Its address may be forged.
            assert_eq!(scene.world.log[told..], []);
        }
        scene.ends_well();
    }
    let mut scene = ServerScene13::new(Nothing, 21);
    let mut client = with_cookie(&mut scene);
    scene.world.run_for(Duration::from_secs(600));
    let hello = client.hello();
    scene.refuses(&hello, ILLEGAL_PARAMETER);
    scene.ends_well();
}

/// Row 9: a first hello is message 0, a second one message 1, and only that (RFC 9147 §5.2).
#[test]
fn row_09_wrong_message_numbers() {
    for mut scene in ServerScene13::each(9) {
        let mut client = RawClient13::new(IDENTITY, KEY, 0xAA);
        let first = client.hello_body();
        let mut client = with_cookie(&mut scene);
        let second = client.hello_body();
        for seq in [2, 3, 255, 256, 0x7FFF, 0xFFFF] {
            scene.ignores_hello(&message(CLIENT_HELLO, seq, &first));
            scene.ignores_hello(&message(CLIENT_HELLO, seq, &second));
        }
        scene.ignores_hello(&message(CLIENT_HELLO, 1, &first));
        scene.ignores_hello(&message(CLIENT_HELLO, 0, &second));
        scene.ends_well();
    }
}

/// A hello in parts is nothing that could be kept without a cookie (RFC 9147 §5.5 has it fit into one record).
#[test]
fn fragmented_hellos() {
    for mut scene in ServerScene13::each(7) {
        let mut client = with_cookie(&mut scene);
        let body = client.hello_body();
        let len = body.len() as u32;
        for cut in [0, 1, 34, body.len() - 33, body.len() - 1] {
            for (offset, part) in [(0, &body[..cut]), (cut as u32, &body[cut..])] {
                if part.len() < body.len() {
                    scene.ignores_hello(&fragment(CLIENT_HELLO, len, 1, offset, part));
                }
            }
        }
        // Both parts in one record, and lengths that lie.
        let halves =
            [fragment(CLIENT_HELLO, len, 1, 0, &body[..50]), fragment(CLIENT_HELLO, len, 1, 50, &body[50..])];
        scene.ignores_hello(&halves.concat());
        for header in [
            header(CLIENT_HELLO, len + 1, 1, 0, len),
            header(CLIENT_HELLO, len, 1, 1, len - 1),
            header(CLIENT_HELLO, len, 1, 0, len + 1),
            header(CLIENT_HELLO, 0xFF_FFFF, 1, 0, 0xFF_FFFF),
            header(CLIENT_HELLO, 0xFF_FFFF, 1, 0xFF_FFFE, 1),
        ] {
            scene.ignores_hello(&[&header[..], &body].concat());
        }
        scene.ends_well();
    }
}

/// Row 2: a hello of DTLS 1.3 where there are keys: in a plaintext record that claims an epoch, and sealed.
#[test]
fn row_02_hello_in_an_encrypted_epoch() {
    for mut scene in ServerScene13::each(2) {
        let mut client = with_cookie(&mut scene);
        let bodies = [message(CLIENT_HELLO, 1, &client.hello_body()), message(CLIENT_HELLO, 0, &[0; 80])];
        for body in &bodies {
            for epoch in [1, 2, 3, 4, 0xFFFF] {
                scene.ignores(&record(HANDSHAKE, epoch, 60, body));
            }
        }
        scene.ends_well();
    }
    // By whoever has the keys, in a session.
    let mut scene = ServerScene13::new(Established, 2);
    let mut other = RawClient13::new(IDENTITY, KEY, 0xAA);
    for seq in [0, 1, 2, 3] {
        let hello = message(CLIENT_HELLO, seq, &other.hello_body());
        let sealed = scene.victim.side().write.seal(HANDSHAKE, &hello);
        let answers = scene.attack(&sealed);
        assert!(scene.acknowledges_at_most(&answers), "{seq}: {answers:?}");
    }
    scene.ends_well();
    // And in the place of the Finished.
    let mut scene = ServerScene13::new(Rebooted, 2);
    for seq in [0, 1, 2, 3] {
        let hello = message(CLIENT_HELLO, seq, &other.hello_body());
        let sealed = scene.victim.handshake.as_mut().unwrap().write.seal(HANDSHAKE, &hello);
        scene.ignores(&sealed);
    }
    scene.ends_well();
}

/// Rows 6, 8 and 31: authentic messages in the place of the Finished: of every type, of every wrong length, with the wrong proof.
#[test]
fn row_06_08_and_31_in_the_place_of_the_finished() {
    for msg_type in (0..=255).filter(|msg_type| *msg_type != FINISHED) {
        for body in [&[][..], &[0], &[0xA5; 32]] {
            let mut scene = ServerScene13::new(Rebooted, 6);
            let sealed = message(msg_type, 2, body);
            let sealed = scene.victim.handshake.as_mut().unwrap().write.seal(HANDSHAKE, &sealed);
            let answers = scene.attack(&sealed);
            // What has its place under keys is out of order here; all else may be passed over as well.
            if answers.is_empty() {
                assert!(!ENCRYPTED.contains(&msg_type), "{msg_type}");
                scene.ends_well();
            } else {
                scene.has_ended_with(&answers, UNEXPECTED_MESSAGE);
            }
        }
    }
    for len in [0, 1, 12, 31, 33, 64] {
        let mut scene = ServerScene13::new(Rebooted, 8);
        let finished = scene.victim.finished()[12..].repeat(2);
        let sealed = message(FINISHED, 2, &finished[..len]);
        let sealed = scene.victim.handshake.as_mut().unwrap().write.seal(HANDSHAKE, &sealed);
        let answers = scene.attack(&sealed);
        scene.has_ended_with(&answers, DECODE_ERROR);
    }
    for bit in [0, 7, 100, 255] {
        let mut scene = ServerScene13::new(Rebooted, 31);
        let mut finished = scene.victim.finished();
        finished[12 + bit / 8] ^= 1 << (bit % 8);
        let sealed = scene.victim.handshake.as_mut().unwrap().write.seal(HANDSHAKE, &finished);
        let answers = scene.attack(&sealed);
        assert_eq!(
            scene.world.log.last(),
            Some(&(path(0), Note::Refused(Error::PeerMisbehaved(PeerMisbehaved::WrongVerifyData))))
        );
        scene.has_ended_with(&answers, DECRYPT_ERROR);
    }
}

/// Rows 10 and 20: a Finished in the clear, data in the clear, and data before the Finished.
#[test]
fn row_10_and_20_in_the_clear_and_early() {
    for mut scene in ServerScene13::each(10) {
        for epoch in [0, 1, 2, 3] {
            for content_type in
                [CHANGE_CIPHER_SPEC, APPLICATION_DATA, TLS12_CID, RETURN_ROUTABILITY_CHECK, 0, 99]
            {
                for len in [0, 1, 16, 40, 1_000] {
                    scene.ignores(&record(content_type, epoch, 700, &vec![b'!'; len]));
                }
            }
            if scene.victim.session.is_some() {
                let finished = scene.victim.finished();
                scene.ignores(&record(HANDSHAKE, epoch, 701, &finished));
            }
        }
        if matches!(scene.state, AwaitsFinished | Rebooted) {
            // The keys are right, and known to this side only once the Finished is there.
            let early = scene.victim.side().data(b"early");
            scene.ignores(&early);
            scene.victim.side().write.next = 0;
            // RFC 9147 §4.1, RFC 8446 §2: none under the keys of the handshake.
            let early = scene.victim.handshake.as_mut().unwrap().write.seal(APPLICATION_DATA, b"early");
            scene.ignores(&early);
            let nothing = scene.victim.handshake.as_ref().unwrap().write.seal_as(9, &[0; 20]);
            scene.ignores(&nothing);
            scene.victim.handshake.as_mut().unwrap().write.next = 10;
        }
        scene.ends_well();
    }
}

/// Rows 3, 5, 11, 15, 16: records with every first byte, of every length, forged.
#[test]
fn row_05_15_and_16_forged_records() {
    for mut scene in ServerScene13::each(5) {
        for first in 0x20..0x40_u8 {
            for len in (0..=45).chain([100, 1_000, 1_400]) {
                for filling in [0, 0xE5, 0xFF] {
                    scene.ignores(&[&[first][..], &vec![filling; len]].concat());
                }
                // With a length that is right, behind numbers of one or two bytes.
                let number_len = if first & 8 == 0 { 1 } else { 2 };
                if first & 4 != 0 {
                    let len_field = (len as u16).to_be_bytes();
                    scene.ignores(
                        &[&[first][..], &vec![0x5A; number_len], &len_field, &vec![0xE5; len]].concat(),
                    );
                }
            }
        }
        scene.ends_well();
    }
    // Authentic records, cut at every length, and with every bit flipped; then they are still good, once.
    let mut scene = ServerScene13::new(Established, 5);
    let genuine = scene.victim.side().data(b"genuine");
    for len in 0..genuine.len() {
        scene.ignores(&genuine[..len]);
    }
    for bit in 0..8 * genuine.len() {
        let mut damaged = genuine.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        scene.ignores(&damaged);
    }
    scene.attack(&genuine);
    assert_eq!(scene.world.log.last(), Some(&(path(0), Note::Data(b"genuine".to_vec()))));
    scene.ignores(&genuine);
    scene.ends_well();
    // The same of the Finished.
    let mut scene = ServerScene13::new(AwaitsFinished, 5);
    let genuine = scene.victim.finish();
    scene.victim.handshake.as_mut().unwrap().write.next = 0;
    for len in 0..genuine.len() {
        scene.ignores(&genuine[..len]);
    }
    for bit in 0..8 * genuine.len() {
        let mut damaged = genuine.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        scene.ignores(&damaged);
    }
    scene.ends_well();
}

/// RFC 9147 §4: inner plaintexts without a type, with types that do not belong there, and longer than they may be.
#[test]
fn inner_plaintexts() {
    let mut scene = ServerScene13::new(Established, 12);
    let write = scene.victim.side().write.clone();
    let mut numbers = 10..;
    for content_type in [0, 1, CHANGE_CIPHER_SPEC, 24, 25, 27, 28, 64, 255] {
        for len in [0, 1, 100] {
            let inner = [vec![0xAB; len], vec![content_type]].concat();
            scene.ignores(&write.seal_as(numbers.next().unwrap(), &inner));
        }
    }
    for len in [0, 1, 8, 100, 1_000] {
        scene.ignores(&write.seal_as(numbers.next().unwrap(), &vec![0; len]));
    }
    // Empty data is data (RFC 8446 §5.1); padding of any length is none of it.
    for padding in [0, 1, 100, 1_000] {
        let inner = [&[b'x', APPLICATION_DATA][..], &vec![0; padding]].concat();
        scene.attack(&write.seal_as(numbers.next().unwrap(), &inner));
        assert_eq!(scene.world.log.last(), Some(&(path(0), Note::Data(b"x".to_vec()))));
    }
    scene.victim.side().write.next = numbers.next().unwrap();
    scene.ends_well();
}

/// ACKs that anybody can send: at most a reason to send the flight again, and no more often than it would be anyway.
#[test]
fn plaintext_acks() {
    let bodies = [
        ack(&[]),
        ack(&[(0, 0), (0, 1), (2, 0), (2, 1), (2, 2)]),
        ack(&[(u64::MAX, u64::MAX)]),
        ack(&(0..80).map(|number| (2, number)).collect::<Vec<_>>()),
        vec![],
        vec![0],
        vec![0, 8, 0, 0, 0, 0, 0, 0, 0, 2],
        vec![0, 15],
        vec![0xFF; 40],
        [&ack(&[(2, 0)])[..], &[0]].concat(),
    ];
    for mut scene in ServerScene13::each(40) {
        let mut answered = 0;
        for round in 0..50 {
            for body in &bodies {
                let answers = scene.attack(&record(ACK, 0, 100 + round, body));
                answered += answers.len();
                for epoch in [1, 2, 3] {
                    scene.ignores(&record(ACK, epoch, 100 + round, body));
                }
            }
        }
        // Only a handshake has something to repeat, and at one moment once at most.
        assert!(answered <= scene.slots(), "{:?}: {answered} answers", scene.state);
        // Nothing is taken for acknowledged: all of the flight still comes again.
        if scene.slots() == 1 {
            scene.world.now = scene.world.now + Duration::from_secs(10);
            scene.world.server.handle_timeout(scene.world.now);
            let again = scene.world.answers(path(0));
            let mut victim = RawClient13::new(IDENTITY, KEY, 2);
            std::mem::swap(&mut victim, &mut scene.victim);
            let types = victim.handshake.as_ref().unwrap().read.open_all(&again);
            let messages: Vec<u8> = types.iter().flat_map(|(_, data, _)| [data[0]]).collect();
            assert_eq!(
                (parse::plain_messages(&again[0])[0].msg_type, &messages[..]),
                (SERVER_HELLO, &[8][..])
            );
            scene.victim = victim;
        }
        scene.ends_well();
    }
}

/// ACKs of who has the keys, but of records that were never sent, or in numbers that nobody needs.
#[test]
fn sealed_acks_of_nothing() {
    let bodies = [
        ack(&[]),
        ack(&[(3, 77), (4, 0), (9, 9)]),
        ack(&[(u64::MAX, u64::MAX), (1 << 48, 0)]),
        ack(&(1_000..1_080).map(|number| (3, number)).collect::<Vec<_>>()),
        vec![],
        vec![0],
        vec![0, 8, 0, 0, 0, 0, 0, 0, 0, 2],
        vec![0, 15],
        [&ack(&[(2, 0)])[..], &[0]].concat(),
    ];
    for state in [AwaitsFinished, Established] {
        let mut scene = ServerScene13::new(state, 41);
        let mut answered = 0;
        for body in bodies.iter().cycle().take(100) {
            let side = if state == Established {
                scene.victim.session.as_mut().unwrap()
            } else {
                scene.victim.handshake.as_mut().unwrap()
            };
            let sealed = side.write.seal(ACK, body);
            answered += scene.attack(&sealed).len();
        }
        assert!(answered <= scene.slots(), "{answered} answers");
        scene.ends_well();
    }
    // One of everything does not finish a handshake.
    let mut scene = ServerScene13::new(AwaitsFinished, 41);
    let all = ack(&[(0, 0), (0, 1), (0, 2), (2, 0), (2, 1)]);
    let sealed = scene.victim.handshake.as_mut().unwrap().write.seal(ACK, &all);
    scene.ignores(&sealed);
    assert!(scene.world.server.peer(&path(0)).is_none());
    scene.ends_well();
}

/// KeyUpdates without end: each is answered once, by as much as it takes, and one that is early not at all.
#[test]
fn key_update_storms() {
    let mut scene = ServerScene13::new(Established, 42);
    let mut seq = scene.victim.message_seq + 1;
    for round in 0..300_u64 {
        let request = u8::from(round % 3 == 0);
        let update = message(KEY_UPDATE, seq, &[request]);
        seq += 1;
        let number = scene.victim.side().write.next;
        let epoch = scene.victim.side().write.epoch;
        let sealed = scene.victim.side().write.seal(HANDSHAKE, &update);
        // The same again in the same epoch, with the next number: there is none before this one counts (RFC 9147 §8).
        let early = message(KEY_UPDATE, seq, &[1]);
        let early = scene.victim.side().write.seal(HANDSHAKE, &early);
        let mut answers = scene.attack(&sealed);
        answers.extend(scene.attack(&early));
        let read = scene.victim.side().read.clone();
        let opened = read.open_all(&answers);
        let acks = opened.iter().filter(|(content_type, ..)| *content_type == ACK);
        let acks: Vec<_> = acks.map(|(_, body, _)| body.clone()).collect();
        assert_eq!(acks, [ack(&[(epoch, number)])], "round {round}");
        let updates: Vec<_> = opened.iter().filter(|(content_type, ..)| *content_type == HANDSHAKE).collect();
        assert_eq!(updates.len(), usize::from(request));
        assert!(answers.len() <= 2);
        scene.victim.side().write.update();
        if let [(_, update, number)] = updates[..] {
            assert_eq!((update[0], &update[12..]), (KEY_UPDATE, &[0][..]), "none is asked for in return");
            let body = ack(&[(scene.victim.side().read.epoch, *number)]);
            let sealed = scene.victim.side().write.seal(ACK, &body);
            scene.ignores(&sealed);
            scene.victim.side().read.update();
        } else {
            // The new key shows that this side has it.
            let ping = scene.victim.side().data(b"!");
            scene.attack(&ping);
        }
    }
    scene.ends_well();
}

/// KeyUpdates with another value, of another length, and in the handshake's epoch.
#[test]
fn key_updates_that_are_wrong() {
    let mut scene = ServerScene13::new(Established, 43);
    let seq = scene.victim.message_seq + 1;
    for body in [&[][..], &[2], &[255], &[0, 0], &[1; 300]] {
        let sealed = message(KEY_UPDATE, seq, body);
        let sealed = scene.victim.side().write.seal(HANDSHAKE, &sealed);
        scene.ignores(&sealed);
    }
    // Old keys do not open anything that is new, and new ones nothing before their time.
    let mut ahead = scene.victim.side().write.clone();
    for _ in 0..8 {
        ahead.update();
        scene.ignores(&ahead.clone().seal(APPLICATION_DATA, b"from the future"));
        scene.ignores(&ahead.clone().seal(HANDSHAKE, &message(KEY_UPDATE, seq, &[0])));
    }
    scene.ends_well();
}

/// Handshake messages that a client has no reason to send after its handshake.
#[test]
fn messages_of_the_other_role() {
    let mut scene = ServerScene13::new(Established, 44);
    let seq = scene.victim.message_seq + 1;
    let ticket = [&[0, 0, 0, 60][..], &[0; 4], &vec8(&[0]), &vec16(b"ticket"), &[0, 0]].concat();
    let bodies = [ticket, vec![], vec![0; 40]];
    for msg_type in (0..=255).filter(|number| ![REQUEST_CONNECTION_ID, NEW_CONNECTION_ID].contains(number)) {
        for body in &bodies {
            let sealed = message(msg_type, seq, body);
            let sealed = scene.victim.side().write.seal(HANDSHAKE, &sealed);
            let answers = scene.attack(&sealed);
            assert!(scene.acknowledges_at_most(&answers), "{msg_type}: {answers:?}");
        }
    }
    // Fragments that a server has no place for, and that never end.
    for offset in 0..500 {
        let sealed = fragment(KEY_UPDATE, 500, seq, offset, &[0]);
        let sealed = scene.victim.side().write.seal(HANDSHAKE, &sealed);
        scene.ignores(&sealed);
    }
    scene.ends_well();
}

/// RFC 9147 §9: no messages about connection IDs where there are none.
#[test]
fn connection_id_messages_without_connection_ids() {
    for (msg_type, body) in
        [(REQUEST_CONNECTION_ID, vec![1]), (NEW_CONNECTION_ID, [vec16(&vec8(b"id")), vec![0]].concat())]
    {
        let mut scene = ServerScene13::new(Established, 45);
        let sealed = message(msg_type, scene.victim.message_seq + 1, &body);
        let sealed = scene.victim.side().write.seal(HANDSHAKE, &sealed);
        let answers = scene.attack(&sealed);
        assert_eq!(
            scene.world.log.last(),
            Some(&(path(0), Note::Failed(Error::PeerMisbehaved(PeerMisbehaved::UnexpectedMessage))))
        );
        let opened = scene.victim.side().read.open_all(&answers);
        assert!(
            matches!(&opened[..], [(ALERT, alert, _)] if alert[..] == [2, UNEXPECTED_MESSAGE]),
            "{opened:?}"
        );
        assert!(scene.world.server.peer(&path(0)).is_none());
        scene.leaves_nothing_behind();
    }
}

/// Requests for connection IDs without end: one is given, and no more until it is used.
#[cfg(feature = "connection-id")]
#[test]
fn connection_id_exhaustion() {
    let config = DTLS13.with_connection_id(4);
    let mut world = Small::with_config(46, config);
    let mut client = RawClient13::new(IDENTITY, KEY, 46);
    client.extensions().push((EXT_CONNECTION_ID, vec8(b"mine")));
    raw13_handshake(&mut world, &mut client, 0);
    let mut seq = client.message_seq + 1;
    let mut given = Vec::new();
    for _ in 0..500 {
        let request = message(REQUEST_CONNECTION_ID, seq, &[255]);
        seq += 1;
        let sealed = client.side().write.seal(HANDSHAKE, &request);
        let answers = world.hit(path(0), &sealed);
        assert!(answers.len() <= 2);
        for (content_type, data, number) in client.side().read.open_all(&answers) {
            if content_type == HANDSHAKE {
                assert_eq!(data[0], NEW_CONNECTION_ID);
                given.push(data[12..].to_vec());
                let body = ack(&[(client.side().read.epoch, number)]);
                let sealed = client.side().write.seal(ACK, &body);
                assert!(world.hit(path(0), &sealed).iter().all(|answer| answer.len() < 60));
            }
        }
    }
    let ids: Vec<_> = given.iter().filter(|body| body.len() > 3).collect();
    assert_eq!(ids.len(), 1, "{given:?}");
    assert_eq!(ids[0][..3], [0, 5, 4]);
    // It goes on with that, and may have another one then.
    client.side().write.connection_id = ids[0][3..7].to_vec();
    assert_raw13_data_flows(&mut world, &mut client, 0);
    // Malformed ones say nothing.
    for body in [&[][..], &[1, 1], &[0; 30]] {
        let sealed = message(REQUEST_CONNECTION_ID, seq, body);
        let sealed = client.side().write.seal(HANDSHAKE, &sealed);
        assert_eq!(world.hit(path(0), &sealed), Vec::<Vec<u8>>::new());
    }
    for body in [
        vec![],
        vec![0, 0],
        vec![0, 1, 0, 3],
        vec![0, 2, 1, 9, 2],
        [vec16(&vec8(&[1; 255])), vec![7]].concat(),
    ] {
        let sealed = message(NEW_CONNECTION_ID, seq, &body);
        let sealed = client.side().write.seal(HANDSHAKE, &sealed);
        assert_eq!(world.hit(path(0), &sealed), Vec::<Vec<u8>>::new(), "{body:?}");
    }
    // New ones without end: the last one counts.
    for round in 0..200_u8 {
        let body = [vec16(&vec8(&[round; 4])), vec![0]].concat();
        let sealed = message(NEW_CONNECTION_ID, seq, &body);
        seq += 1;
        let sealed = client.side().write.seal(HANDSHAKE, &sealed);
        let answers = world.hit(path(0), &sealed);
        client.side().read.connection_id = vec![round; 4];
        let opened = client.side().read.open_all(&answers);
        assert!(matches!(&opened[..], [(ACK, ..)]), "{round}: {answers:?}");
    }
    assert_raw13_data_flows(&mut world, &mut client, 0);
}

/// Where connection IDs are short, an old one comes again as a new one sooner or later. A record that was held back since it was the
/// old one shows nothing of whether the peer goes on with it now.
#[cfg(feature = "connection-id")]
#[test]
fn late_records_under_a_connection_id_that_comes_again() {
    let mut world = Small::with_config(47, DTLS13.with_connection_id(1));
    let mut client = RawClient13::new(IDENTITY, KEY, 47);
    client.extensions().push((EXT_CONNECTION_ID, vec8(b"mine")));
    raw13_handshake(&mut world, &mut client, 0);
    // As many as the replay window still takes: three records go out in each round.
    let mut held_back = std::collections::VecDeque::new();
    let first = client.message_seq + 1;
    for seq in first..first + 1_000 {
        let before = client.side().write.connection_id.clone();
        held_back.push_back((before, client.side().data(b"late")));
        if held_back.len() > 20 {
            held_back.pop_front();
        }
        let request = client.side().write.seal(HANDSHAKE, &message(REQUEST_CONNECTION_ID, seq, &[1]));
        let answers = world.hit(path(0), &request);
        let opened = client.side().read.open_all(&answers);
        let (_, given, number) = opened.into_iter().find(|(kind, ..)| *kind == HANDSHAKE).unwrap();
        let body = ack(&[(client.side().read.epoch, number)]);
        let acknowledged = client.side().write.seal(ACK, &body);
        world.hit(path(0), &acknowledged);
        let [.., 2, 1, id, 1] = given[..] else { panic!("{given:?}") };
        if let Some((_, late)) = held_back.iter().find(|(before, _)| before[..] == [id]) {
            world.hit(path(0), late);
            assert_eq!(world.log_of(path(0)).last(), Some(&Note::Data(b"late".to_vec())));
            assert_raw13_data_flows(&mut world, &mut client, 0);
            client.side().write.connection_id = vec![id];
            assert_raw13_data_flows(&mut world, &mut client, 0);
            return;
        }
        client.side().write.connection_id = vec![id];
    }
    panic!("no connection ID came again");
}

/// Rows 26, 29 and 30: failures without end, and hellos of many addresses, leave room for others.
#[test]
fn row_26_failed_handshakes_leave_nothing() {
    let mut scene = ServerScene13::new(Nothing, 26);
    for round in 0..2_000_usize {
        let mut client = RawClient13::new(IDENTITY, b"guessed", (round % 200) as u8 + 1);
        let at = 100 + round;
        let hello = client.hello();
        let replies = scene.world.hit(path(at), &hello);
        client.follow(&replies);
        if round % 2 == 0 {
            let hello = client.hello();
            scene.world.hit(path(at), &hello);
        }
        assert_eq!(scene.world.server.handshakes(), 0);
    }
    scene.ends_well();
}

/// Row 32 (RFC 9257 §4.1): what a server sent, sent back to it.
#[test]
fn row_32_reflection() {
    for state in [AwaitsFinished, Established] {
        let mut scene = ServerScene13::new(state, 32);
        let mut recorded = Vec::new();
        let mut mirror = RawClient13::new(IDENTITY, KEY, 0x32);
        let hello = mirror.hello();
        let replies = scene.world.hit(path(7), &hello);
        recorded.extend(replies.clone());
        mirror.follow(&replies);
        let hello = mirror.hello();
        let flight = scene.world.hit(path(7), &hello);
        recorded.extend(flight.clone());
        mirror.take_flight(&flight);
        for datagram in &recorded {
            scene.ignores(datagram);
            assert!(scene.world.hit(path(7), datagram).len() <= 1);
        }
        let finished = mirror.finish();
        let acks = scene.world.hit(path(7), &finished);
        for datagram in acks.iter().chain(&recorded) {
            assert!(scene.world.hit(path(7), datagram).is_empty());
        }
        let data = scene.world.seal(&path(7), b"from the server");
        let told = scene.world.log.len();
        assert!(scene.world.hit(path(7), &data).is_empty());
        assert_eq!(scene.world.log[told..], []);
        assert_raw13_data_flows(&mut scene.world, &mut mirror, 7);
        scene.ends_well();
    }
}

/// 0-RTT is never taken (design: there is none): a client that tries has its data ignored, and its handshake succeeds.
#[test]
fn early_data_is_skipped() {
    let mut world = Small::with_config(47, DTLS13);
    let mut client = RawClient13::new(IDENTITY, KEY, 47);
    client.extensions().push((EXT_EARLY_DATA, vec![]));
    let hello = client.hello();
    // Records of epoch 1 with it.
    let early = [&[0x2D, 0, 0, 0, 40][..], &[0xE5; 40]].concat();
    let replies = world.hit(path(0), &[hello, early.clone()].concat());
    client.follow(&replies);
    client.extensions().retain(|(number, _)| *number != EXT_EARLY_DATA);
    let hello = client.hello();
    let flight = world.hit(path(0), &[hello, early].concat());
    client.take_flight(&flight);
    support::scene13::raw13_finish(&mut world, &mut client, 0);
    assert_raw13_data_flows(&mut world, &mut client, 0);
    assert_eq!(world.log_of(path(0))[0], Note::Established);
}
