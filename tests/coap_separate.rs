//! Separate responses (RFC 7252 §5.2.2), against peers that share no code with the server.
#![cfg(feature = "coap")]

use std::cell::{Cell, RefCell};

use dtls_psk::coap::{Changes, Server, Upload};
use embassy_sync::blocking_mutex::raw::NoopRawMutex;

#[path = "support/coap_peer.rs"]
mod peer;
#[path = "support/coap.rs"]
mod support;

use peer::*;
use support::Repeatable;

/// A measurement that takes its time: each request but PUT is answered once there is a result. A POST takes it away.
struct Bench {
    time: Time,
    wire: Wire,
    changes: Changes<NoopRawMutex, 1>,
    result: RefCell<Option<Vec<u8>>>,
    seen: RefCell<Vec<Seen>>,
    /// How often a POST has been carried out.
    done: Cell<u32>,
}

impl Bench {
    fn new() -> Self {
        Self {
            time: Time::default(),
            wire: Wire::default(),
            changes: Changes::local(["/m"]),
            result: RefCell::default(),
            seen: RefCell::default(),
            done: Cell::new(0),
        }
    }

    fn handle(&self, seen: Seen) -> (u8, Vec<u8>) {
        let result = self.result.borrow().clone();
        self.seen.borrow_mut().push(seen.clone());
        match result {
            None => (0, vec![]),
            Some(result) if seen.code == POST => {
                self.result.take();
                self.done.set(self.done.get() + 1);
                (0x44, result)
            }
            Some(result) => (0x45, result),
        }
    }

    fn finish(&self, result: &[u8]) {
        *self.result.borrow_mut() = Some(result.to_vec());
        self.changes.notify("/m");
    }
}

macro_rules! serve {
    ($bench:ident, $server:ident, $drive:ident) => {
        let (mut port, mut room) = (Port(&$bench.wire), [0; 256]);
        let mut uploads = [Upload::new(&mut room)];
        let $server = Server::<_, _, _, 512, 16, 1024, 2>::with_sizes(&mut port, &$bench.time, Repeatable(1))
            .with_changes(&$bench.changes)
            .with_uploads(&mut uploads);
        let $server = RefCell::new($server);
        let $drive = || drive($server.borrow_mut().run(&mut Does(|seen| $bench.handle(seen))));
    };
}

/// RFC 7252 §5.2.2, figure 5: an Empty acknowledgement, then a Confirmable response with a Message ID of its own and the same
/// token. Duplicates of the request meanwhile are acknowledged again (§4.5).
#[test]
fn a_response_that_comes_later() {
    for code in [GET, POST, FETCH] {
        let bench = Bench::new();
        serve!(bench, server, drive);
        let request = Coap::request(CON, code, 0x7d38, "/m").token(b"\x20\x21").payload(b"what?");
        for _ in 0..3 {
            bench.wire.push(client(0), &request);
            drive();
            assert_eq!(bench.wire.take_one(), Coap::empty(ACK, 0x7d38));
        }
        assert_eq!(bench.seen.borrow().len(), 1);
        bench.time.run_until(60_000, drive);
        assert_eq!((bench.wire.take(), server.borrow().observers()), (vec![], 1));
        bench.finish(b"21.5");
        drive();
        let response = bench.wire.take_one();
        assert_eq!(
            (response.kind, response.token, response.payload),
            (CON, b"\x20\x21".to_vec(), b"21.5".to_vec())
        );
        // The handler saw the same request again.
        assert_eq!(bench.seen.borrow()[0], bench.seen.borrow()[1]);
        assert_eq!(bench.seen.borrow()[1].payload, b"what?");
        // A copy of the request that was under way.
        bench.wire.push(client(0), &request);
        drive();
        assert_eq!(bench.wire.take_one(), Coap::empty(ACK, 0x7d38));
        bench.wire.push(client(0), &Coap::empty(ACK, response.id));
        bench.time.run_until(400_000, drive);
        assert_eq!((bench.wire.take(), server.borrow().observers()), (vec![], 0));
        assert_eq!(bench.seen.borrow().len(), 2);
    }
}

/// A response that is lost is sent again, the same one (§4.2), and what it took is not done again for that.
#[test]
fn nothing_is_done_twice_for_a_lost_response() {
    for code in [GET, POST] {
        let bench = Bench::new();
        serve!(bench, server, drive);
        bench.wire.push(client(0), &Coap::request(CON, code, 1, "/m"));
        drive();
        bench.wire.take();
        bench.finish(b"first");
        drive();
        let response = bench.wire.take_one();
        // Meanwhile the resource has another value.
        bench.finish(b"second");
        bench.time.run_until(93_000, drive);
        let again = bench.wire.take();
        assert_eq!(again, vec![(client(0), response); 4]);
        assert_eq!(bench.done.get(), u32::from(code == POST));
        assert_eq!(bench.seen.borrow().len(), 2);
        assert_eq!((server.borrow().observers(), server.borrow().counters().lost_observers), (0, 1));
    }
}

/// The response to a Non-confirmable request is Non-confirmable, and sent once.
#[test]
fn non_confirmable_requests() {
    let bench = Bench::new();
    serve!(bench, server, drive);
    for _ in 0..2 {
        bench.wire.push(client(0), &Coap::request(NON, GET, 1, "/m"));
        drive();
        assert_eq!(bench.wire.take(), []);
    }
    bench.finish(b"21.5");
    drive();
    let response = bench.wire.take_one();
    assert_eq!((response.kind, response.says(), &response.payload[..]), (NON, 205, &b"21.5"[..]));
    bench.time.run_until(400_000, drive);
    assert_eq!((bench.wire.take(), server.borrow().observers()), (vec![], 0));
}

/// Nothing came of it within EXCHANGE_LIFETIME.
#[test]
fn nothing_comes_of_it() {
    let bench = Bench::new();
    serve!(bench, server, drive);
    bench.wire.push(client(0), &Coap::request(CON, GET, 1, "/m"));
    bench.time.run_until(246_999, drive);
    assert_eq!(server.borrow().observers(), 1);
    bench.time.run_until(247_000, drive);
    assert_eq!((server.borrow().observers(), server.borrow().counters().lost_observers), (0, 1));
    bench.finish(b"too late");
    bench.time.run_until(300_000, drive);
    assert_eq!(bench.wire.take(), [(client(0), Coap::empty(ACK, 1))]);
}

/// A change that the handler makes nothing of yet keeps everybody waiting.
#[test]
fn not_yet() {
    let bench = Bench::new();
    serve!(bench, server, drive);
    bench.wire.push(client(0), &Coap::request(CON, GET, 1, "/m"));
    drive();
    bench.wire.take();
    for _ in 0..5 {
        bench.changes.notify("/m");
        drive();
        assert_eq!(bench.wire.take(), []);
    }
    bench.finish(b"now");
    drive();
    assert_eq!(bench.wire.take_one().payload, b"now");
    assert_eq!(bench.seen.borrow().len(), 7);
}

/// Where there is no room it is 5.03, and 5.00 where nobody says when there will be something.
#[test]
fn no_room() {
    let bench = Bench::new();
    serve!(bench, server, drive);
    for n in 0..3 {
        bench.wire.push(client(n), &Coap::request(CON, GET, 1, "/m"));
    }
    bench.wire.push(client(4), &Coap::request(CON, GET, 1, "/elsewhere"));
    bench.wire.push(client(5), &Coap::request(CON, GET, 1, "/m").payload(&[1; 65]));
    drive();
    let replies: Vec<_> = bench.wire.take().into_iter().map(|(_, reply)| reply.says()).collect();
    assert_eq!(replies, [0, 0, 503, 500, 503]);
}

/// A registration can be answered later as well, and goes on then.
#[test]
fn an_observation_that_begins_later() {
    let bench = Bench::new();
    serve!(bench, server, drive);
    bench.wire.push(client(0), &Coap::request(CON, GET, 1, "/m").with(OBSERVE, []));
    drive();
    assert_eq!(bench.wire.take_one(), Coap::empty(ACK, 1));
    let mut numbers = Vec::new();
    for value in [b"1", b"2"] {
        bench.finish(value);
        bench.time.run_until(bench.time.millis() + 3_000, drive);
        let notification = bench.wire.take_one();
        assert_eq!(notification.payload, value);
        numbers.push(notification.uint(OBSERVE));
    }
    assert!(numbers[0].is_some() && numbers[0] < numbers[1]);
}

/// The block that was asked for is the one that is sent.
#[test]
fn a_block_that_comes_later() {
    let bench = Bench::new();
    serve!(bench, server, drive);
    let body: Vec<u8> = (0..150).collect();
    bench.wire.push(client(0), &Coap::request(CON, GET, 1, "/m").with(BLOCK2, block(1, false, 64)));
    drive();
    bench.wire.take();
    bench.finish(&body);
    drive();
    let response = bench.wire.take_one();
    assert_eq!((response.block(BLOCK2), &response.payload[..]), (Some((1, true, 64)), &body[64..128]));
}

/// A body that came in blocks is there as a whole when the handler is asked again, if it is short enough to be kept.
#[test]
fn a_body_in_blocks_that_is_answered_later() {
    for (len, says) in [(40, 0), (80, 503)] {
        let bench = Bench::new();
        serve!(bench, server, drive);
        let body: Vec<u8> = (0..len).collect();
        for (number, part) in body.chunks(16).enumerate() {
            let more = 16 * (number + 1) < body.len();
            let request =
                Coap::request(CON, POST, number as u16, "/m").with(BLOCK1, block(number as u32, more, 16));
            bench.wire.push(client(0), &request.payload(part));
        }
        drive();
        let replies = bench.wire.take();
        assert!(replies[..replies.len() - 1].iter().all(|(_, reply)| reply.says() == 231));
        assert_eq!(replies.last().unwrap().1.says(), says);
        bench.finish(b"done");
        drive();
        let seen = bench.seen.borrow();
        assert!(seen.iter().all(|seen| seen.payload == body), "{seen:?}");
        assert_eq!(bench.wire.take().len(), usize::from(says == 0));
    }
}
