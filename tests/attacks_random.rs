//! Row 6 and everything that nobody thought of: random and mutated datagrams, against both roles in each state.

mod support;

use std::time::Duration;

use dtls_psk::Error;
use rand::rngs::ChaCha8Rng;
use rand::seq::IndexedRandom;
use rand::{Rng, RngExt};

use support::craft::*;
use support::scene::{CLIENT_STATES, ClientScene, ClientState, SERVER_STATES, ServerScene, ServerState};
use support::seeded;
use support::world::Note;

/// Datagrams for each state of each role; more than 100,000 in all.
const PER_STATE: usize = 9_000;

const DATA: &[u8] = b"genuine";

/// A datagram that may be anything, but looks like one of `genuine` most of the time.
fn datagram(rng: &mut ChaCha8Rng, genuine: &[Vec<u8>]) -> Vec<u8> {
    match rng.random_range(0..10) {
        // Noise.
        0 => {
            let mut bytes = vec![0; rng.random_range(0..300)];
            rng.fill_bytes(&mut bytes);
            bytes
        }
        // A record whose header makes sense, with noise in it.
        1 => {
            let mut body = vec![0; rng.random_range(0..200)];
            rng.fill_bytes(&mut body);
            let seq = rng.random_range(0..200);
            record(rng.random_range(19..25), rng.random_range(0..3), seq, &body)
        }
        // A message whose header makes sense, with noise in it.
        2 | 3 => {
            let mut body = vec![0; rng.random_range(0..100)];
            rng.fill_bytes(&mut body);
            let types = [0, 1, 2, 3, 4, 11, 12, 13, 14, 16, 20];
            let (msg_type, seq) = (*types.choose(rng).unwrap(), rng.random_range(0..6));
            let part = if rng.random() {
                message(msg_type, seq, &body)
            } else {
                let length = rng.random_range(0..500);
                fragment(msg_type, length, seq, rng.random_range(0..500), &body)
            };
            record(HANDSHAKE, rng.random_range(0..2), rng.random_range(0..200), &part)
        }
        // Genuine ones, damaged.
        _ => {
            let mut bytes = genuine.choose(rng).unwrap().clone();
            for _ in 0..rng.random_range(1..4) {
                if bytes.is_empty() {
                    break;
                }
                let at = rng.random_range(0..bytes.len());
                match rng.random_range(0..7) {
                    0 => bytes[at] ^= 1 << rng.random_range(0..8),
                    1 => bytes[at] = *[0, 1, 0x7F, 0x80, 0xFE, 0xFF].choose(rng).unwrap(),
                    2 => bytes.truncate(at),
                    3 => drop(bytes.remove(at)),
                    4 => bytes.insert(at, rng.random()),
                    5 => {
                        let other = genuine.choose(rng).unwrap();
                        let from = rng.random_range(0..other.len());
                        bytes.truncate(at);
                        bytes.extend(&other[from..]);
                    }
                    _ => bytes.extend(genuine.choose(rng).unwrap()),
                }
            }
            bytes
        }
    }
}

/// What an honest peer of this server could have sent so far, and a little more.
fn genuine_to_server(scene: &mut ServerScene) -> Vec<Vec<u8>> {
    let mut hello = scene.victim.hello.clone();
    let mut genuine = vec![hello.datagram(1, 1), record(ALERT, 0, 9, &[2, 40]), record(ALERT, 0, 9, &[1, 0])];
    hello.cookie.clear();
    genuine.push(hello.datagram(0, 0));
    hello.extensions = None;
    hello.session_id = vec![1; 32];
    genuine.push(hello.datagram(0, 0));
    genuine.push(record(CHANGE_CIPHER_SPEC, 0, 3, &[1]));
    genuine.push(record(HANDSHAKE, 0, 2, &message(CLIENT_KEY_EXCHANGE, 2, &vec16(b"c"))));
    genuine.push(record(HANDSHAKE, 0, 2, &fragment(CLIENT_KEY_EXCHANGE, 3, 2, 1, b"\x01c")));
    if scene.victim.side.write.is_some() && scene.state != ServerState::Established {
        // Not the Finished, which may end the handshake: that is for the end of the scene.
        genuine.push(scene.victim.key_exchange_record());
        genuine.push(scene.victim.side.data(b"early"));
    }
    let established = match scene.state {
        ServerState::Established => Some(&mut scene.victim),
        _ => scene.old.as_mut(),
    };
    if let Some(client) = established {
        genuine.push(client.side.data(DATA));
        genuine.push(client.key_flight());
        genuine.push(client.side.seal(HANDSHAKE, &message(CLIENT_HELLO, 0, &hello.body())));
    }
    genuine
}

#[test]
fn datagrams_to_a_server_in_each_state() {
    let (mut sent, mut answered, mut failed) = (0, 0, 0);
    for (seed, state) in (0..).zip(SERVER_STATES) {
        let mut rng = seeded(seed);
        // A new scene every now and then, as handshakes do end.
        for round in 0..PER_STATE as u64 / 300 {
            let mut scene = ServerScene::new(state, 100 * seed + round);
            let genuine = genuine_to_server(&mut scene);
            for _ in 0..300 {
                let bytes = datagram(&mut rng, &genuine);
                let told = scene.world.log.len();
                let answers = scene.attack(&bytes);
                sent += 1;
                answered += answers.len();
                for (_, note) in &scene.world.log[told..] {
                    match note {
                        Note::Data(data) => assert_eq!(data, DATA),
                        Note::Refused(_) => failed += 1,
                        other => panic!("{state:?}: {other:?} for {bytes:02x?}"),
                    }
                }
                assert!(scene.world.server.handshakes() <= 1, "the attacker has one address");
                if rng.random_ratio(1, 50) {
                    scene.world.run_for(Duration::from_millis(rng.random_range(0..2_000)));
                }
            }
            scene.others_are_unharmed();
            scene.leaves_nothing_behind();
        }
    }
    println!("{sent} datagrams, {answered} answers, {failed} handshakes failed");
    assert!(sent > 60_000 && answered > 1_000 && failed > 100);
}

fn genuine_to_client(scene: &mut ClientScene) -> Vec<Vec<u8>> {
    let server = &mut scene.against.server;
    let hello = message(SERVER_HELLO, 1, &ServerHello::new([0xAA; 32]).body());
    let hint = message(SERVER_KEY_EXCHANGE, 2, &vec16(b"hint"));
    let done = message(SERVER_HELLO_DONE, 3, &[]);
    let mut genuine = vec![
        record(HANDSHAKE, 0, 0, &message(HELLO_VERIFY_REQUEST, 0, &hello_verify_request(DTLS10, b"cookie"))),
        record(HANDSHAKE, 0, 1, &hello),
        record(HANDSHAKE, 0, 1, &[&hello[..], &hint, &done].concat()),
        record(HANDSHAKE, 0, 2, &hint),
        record(HANDSHAKE, 0, 3, &done),
        record(HANDSHAKE, 0, 3, &message(HELLO_REQUEST, 0, &[])),
        record(CHANGE_CIPHER_SPEC, 0, 4, &[1]),
        record(ALERT, 0, 5, &[2, 51]),
        record(ALERT, 0, 5, &[1, 0]),
    ];
    if scene.state == ClientState::Established {
        genuine.push(server.side.data(DATA));
        genuine.push(server.side.seal(HANDSHAKE, &message(HELLO_REQUEST, 0, &[])));
        genuine.push(server.last_flight());
    } else if server.side.write.is_some() {
        genuine.push(server.side.data(b"early"));
    }
    genuine
}

#[test]
fn datagrams_to_a_client_in_each_state() {
    let (mut sent, mut answered, mut failed) = (0, 0, 0);
    for (seed, state) in (0..).zip(CLIENT_STATES) {
        let mut rng = seeded(1_000 + seed);
        let mut scene = ClientScene::new(state, 1_000 + seed);
        let mut genuine = genuine_to_client(&mut scene);
        for n in 0..PER_STATE {
            let bytes = datagram(&mut rng, &genuine);
            let told = scene.against.client.log.len();
            answered += scene.attack(&bytes).len();
            sent += 1;
            if rng.random_ratio(1, 50) {
                answered += scene.against.pass(Duration::from_millis(rng.random_range(0..2_000))).len();
            }
            for note in &scene.against.client.log[told..] {
                match note {
                    Note::Data(data) => {
                        assert_eq!((state, data.as_slice()), (ClientState::Established, DATA))
                    }
                    // Whoever awaits a Finished believes nothing in the clear, but an alert when nothing else comes.
                    Note::Failed(error) if state == ClientState::AwaitsFinished => {
                        assert!(matches!(error, Error::AlertReceived(_)), "{error:?} for {bytes:02x?}");
                        failed += 1;
                    }
                    Note::Failed(_) if state != ClientState::Established => failed += 1,
                    other => panic!("{state:?}: {other:?} for {bytes:02x?}"),
                }
            }
            let over = scene.against.client.connection.poll_timeout().is_none();
            if state == ClientState::Established {
                if n % 100 == 0 {
                    scene.against.assert_data_flows();
                }
            } else if over || rng.random_ratio(1, 100) {
                // It failed, or went too far to call it this state.
                scene = ClientScene::new(state, 2_000 + n as u64);
                genuine = genuine_to_client(&mut scene);
            }
        }
        if state == ClientState::Established {
            scene.ends_well();
        }
    }
    println!("{sent} datagrams, {answered} answers, {failed} handshakes failed");
    assert!(sent >= 5 * PER_STATE && answered > 1_000 && failed > 500);
}

/// Somebody who holds the key and sends what it likes under it: its own association may end of it, and nothing else.
#[test]
fn authentic_nonsense() {
    let plaintexts = |rng: &mut ChaCha8Rng| -> (u8, Vec<u8>) {
        let mut body = vec![0; rng.random_range(0..60)];
        rng.fill_bytes(&mut body);
        let content_type = *[20, 21, 22, 22, 22, 23].choose(rng).unwrap();
        if content_type == HANDSHAKE && rng.random_ratio(3, 4) {
            let msg_type = *[0, 1, 2, 3, 12, 14, 16, 20, 99].choose(rng).unwrap();
            let (length, offset) = (rng.random_range(0..100), rng.random_range(0..50));
            body = match rng.random_range(0..3) {
                0 => message(msg_type, rng.random_range(0..6), &body),
                1 => fragment(msg_type, length, rng.random_range(0..6), offset, &body),
                _ => header(msg_type, length, 3, offset, rng.random_range(0..100)),
            };
        }
        (content_type, body)
    };
    let (mut ended, mut delivered) = (0, 0);
    for state in [ServerState::AwaitsFinished, ServerState::Established, ServerState::Rebooted] {
        for seed in 0..150 {
            let mut rng = seeded(3_000 + seed);
            let mut scene = ServerScene::new(state, 3_000 + seed);
            for _ in 0..40 {
                let (content_type, plaintext) = plaintexts(&mut rng);
                let datagram = scene.victim.side.seal(content_type, &plaintext);
                let told = scene.world.log.len();
                scene.attack(&datagram);
                for (_, note) in &scene.world.log[told..] {
                    match note {
                        Note::Data(data) if state == ServerState::Established => {
                            assert_eq!((content_type, data), (APPLICATION_DATA, &plaintext));
                            delivered += 1;
                        }
                        Note::Closed | Note::Failed(_) if state == ServerState::Established => ended += 1,
                        Note::Refused(_) if state != ServerState::Established => ended += 1,
                        other => panic!("{state:?}: {other:?}"),
                    }
                }
            }
            if let Some(old) = &mut scene.old {
                scene.world.assert_raw_data_flows(support::world::path(0), old);
            }
            scene.leaves_nothing_behind();
        }
    }
    for state in [ClientState::AwaitsFinished, ClientState::Established] {
        for seed in 0..150 {
            let mut rng = seeded(4_000 + seed);
            let mut scene = ClientScene::new(state, 4_000 + seed);
            let change = scene.against.server.side.plain(CHANGE_CIPHER_SPEC, &[1]);
            scene.attack(&change);
            for _ in 0..40 {
                let (content_type, plaintext) = plaintexts(&mut rng);
                let datagram = scene.against.server.side.seal(content_type, &plaintext);
                let told = scene.against.client.log.len();
                scene.attack(&datagram);
                for note in &scene.against.client.log[told..] {
                    match note {
                        Note::Data(data) if state == ClientState::Established => {
                            assert_eq!((content_type, data), (APPLICATION_DATA, &plaintext));
                            delivered += 1;
                        }
                        Note::Closed | Note::Failed(_) => ended += 1,
                        other => panic!("{state:?}: {other:?}"),
                    }
                }
            }
        }
    }
    println!("{ended} associations ended, {delivered} payloads delivered");
    assert!(ended > 20 && delivered > 1_000);
}
