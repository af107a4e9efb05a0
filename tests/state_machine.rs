//! Row 31: the messages of a handshake in every order, early, repeated and missing, against the plainest model of what
//! each role waits for.

mod support;

use std::time::Duration;

use rand::RngExt;

use support::craft::*;
use support::raw::RawClient;
use support::seeded;
use support::world::{AgainstRaw, Note, Small, path};
use support::{IDENTITY, KEY};

/// After this time, a repeated flight is taken to ask for the other side's.
const ANSWER_TIME: Duration = Duration::from_millis(250);

/// A server takes ClientKeyExchange, ChangeCipherSpec and Finished in this order; all else is passed over.
#[test]
fn a_servers_order() {
    let mut established = 0;
    for seed in 0..4_000 {
        let mut rng = seeded(seed);
        let mut world = Small::new(seed);
        let mut raw = RawClient::new(IDENTITY, KEY, seed);
        world.raw_hello(path(0), &mut raw);
        let mut step = 0;
        for _ in 0..rng.random_range(1..9) {
            let kind = rng.random_range(0..5);
            let datagram = match kind {
                0 => raw.key_exchange_record(),
                1 => raw.change_cipher_spec_record(),
                2 => raw.finished_record(),
                3 => raw.hello.datagram(1, 60),
                _ => raw.side.data(b"early or not"),
            };
            if kind == 3 {
                world.run_for(ANSWER_TIME);
            }
            let told = world.log.len();
            let answers = world.hit(path(0), &datagram);
            let notes: Vec<Note> = world.log[told..].iter().map(|(_, note)| note.clone()).collect();
            match (step, kind) {
                (2, 2) => {
                    assert_eq!(notes, [Note::Established]);
                    raw.take_last_flight(&answers);
                }
                // The last flight again, data, and a late hello that nobody answers.
                (3, 2) => assert_eq!((notes, answers.len()), (vec![], 1)),
                (3, 4) => assert_eq!(notes, [Note::Data(b"early or not".to_vec())]),
                // The server's flight again, but only while the client's is still to come.
                (0, 3) => assert_eq!((notes, answers.len()), (vec![], 1)),
                _ => assert_eq!((notes, answers.len()), (vec![], 0), "step {step}, message {kind}"),
            }
            if step == kind && step < 3 {
                step += 1;
            }
            assert_eq!(world.server.peer(&path(0)).is_some(), step == 3);
            assert_eq!(world.server.handshakes(), usize::from(step < 3));
        }
        established += usize::from(step == 3);
        if step < 3 {
            let flight = raw.key_flight();
            let last = world.hit(path(0), &flight);
            raw.take_last_flight(&last);
        }
        world.assert_raw_data_flows(path(0), &mut raw);
    }
    println!("{established} handshakes done by chance");
    assert!(established > 50);
}

/// A client takes the server's messages by their numbers, then ChangeCipherSpec and Finished.
#[test]
fn a_clients_order() {
    let mut established = 0;
    for seed in 0..4_000 {
        let mut rng = seeded(seed);
        let mut against = AgainstRaw::new(seed);
        against.hello();
        let messages = against.server.flight_messages(Some(b"hint"));
        let mut step = 0;
        for _ in 0..rng.random_range(1..14) {
            let kind = if rng.random() { step.min(4) } else { rng.random_range(0..7) };
            let has_keys = against.server.side.write.is_some();
            let datagram = match kind {
                0..3 => against.server.side.plain(HANDSHAKE, &messages[kind]),
                3 => against.server.side.plain(CHANGE_CIPHER_SPEC, &[1]),
                4 if has_keys => against.server.finished_record(),
                5 if has_keys => against.server.side.data(b"early or not"),
                6 => against.server.side.plain(HANDSHAKE, &message(HELLO_REQUEST, 0, &[])),
                _ => record(HANDSHAKE, 1, 0, &[0x33; 40]),
            };
            if kind == 2 && step > 2 {
                against.pass(ANSWER_TIME);
            }
            let told = against.client.log.len();
            let answers = against.hit(&datagram);
            let notes = against.client.log[told..].to_vec();
            match (step, kind) {
                (2, 2) => against.server.take_key_flight(&answers),
                // The client's flight again.
                (3 | 4, 2) => assert_eq!((notes, answers.len()), (vec![], 1)),
                (4, 4) => assert_eq!((notes, answers.len()), (vec![Note::Established], 0)),
                (5, 5) => assert_eq!(notes, [Note::Data(b"early or not".to_vec())]),
                _ => assert_eq!((notes, answers.len()), (vec![], 0), "step {step}, message {kind}"),
            }
            if step == kind && step < 5 {
                step += 1;
            }
            assert_eq!(against.client.is_established(), step == 5);
        }
        if step == 5 {
            established += 1;
            against.assert_data_flows();
        }
    }
    println!("{established} handshakes done by chance");
    assert!(established > 500);
}
