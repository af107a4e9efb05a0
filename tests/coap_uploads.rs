//! Uploads in blocks (RFC 7959 §2.5), against peers that share no code with the server.
#![cfg(feature = "coap")]

use std::cell::RefCell;
use std::time::Duration;

use coap_numbers::code;
use dtls_psk::coap::{Access, Code, Policy, RequestPath, Rule, Server, Upload};
use dtls_psk::{Peer, coap::Methods};

#[path = "support/coap_peer.rs"]
mod peer;
#[path = "support/coap.rs"]
mod support;

use peer::*;
use support::Repeatable;

fn body(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at ^ ((at >> 4) * 7) ^ ((at >> 11) * 13)) as u8).collect()
}

/// What arrived as a whole.
#[derive(Default)]
struct Bench {
    time: Time,
    wire: Wire,
    arrived: RefCell<Vec<Seen>>,
}

impl Bench {
    fn handle(&self, seen: Seen) -> (u8, Vec<u8>) {
        let answer = match seen.code {
            // Long enough for blocks of its own.
            FETCH => (0x45, body(300)),
            _ => (0x44, vec![]),
        };
        self.arrived.borrow_mut().push(seen);
        answer
    }

    fn bodies(&self) -> Vec<Vec<u8>> {
        self.arrived.borrow_mut().drain(..).map(|seen| seen.payload).collect()
    }
}

/// A server with rooms of the sizes `$rooms`, and `$ask(n, request)`, which has client `n` ask something, with the next Message ID.
macro_rules! serve {
    ($bench:ident, $server:ident, $ask:ident, $rooms:expr) => {
        serve!($bench, $server, $ask, $rooms, |server| server)
    };
    ($bench:ident, $server:ident, $ask:ident, $rooms:expr, $with:expr) => {
        let mut port = Port(&$bench.wire);
        let mut rooms = $rooms.map(|len| vec![0; len]);
        let mut uploads = rooms.each_mut().map(|room| Upload::new(room));
        let $server =
            Server::<_, _, _, 1152, 64, 1536, 2>::with_sizes(&mut port, &$bench.time, Repeatable(1))
                .with_uploads(&mut uploads);
        let with: fn(Ours<'_>) -> Ours<'_> = $with;
        let $server = RefCell::new(with($server));
        let mut id = 0;
        #[allow(unused_mut, reason = "not every test asks more than once")]
        let mut $ask = |n: u8, request: Coap| {
            id += 1;
            $bench.wire.push(client(n), &Coap { id, ..request });
            drive($server.borrow_mut().run(&mut Does(|seen| $bench.handle(seen))));
            $bench.wire.take_one()
        };
    };
}

type Ours<'s> = Server<'s, Port<'s>, &'s Time, Repeatable, 1152, 64, 1536, 2>;

fn put(number: u32, more: bool, size: u32, payload: &[u8]) -> Coap {
    Coap::request(CON, PUT, 0, "/options").with(BLOCK1, block(number, more, size)).payload(payload)
}

/// The blocks of a body.
fn blocks(body: &[u8], size: u32) -> Vec<Coap> {
    let size_ = size as usize;
    let last = body.len().div_ceil(size_).max(1) - 1;
    (0..=last)
        .map(|number| {
            let payload = &body[number * size_..body.len().min((number + 1) * size_)];
            put(number as u32, number < last, size, payload)
        })
        .collect()
}

/// RFC 7959 §3.2, figure 7, byte by byte: 1:0/1/128 is 0x0b, 1:1/1/128 is 0x1b, 1:2/0/128 is 0x23.
#[test]
fn figure_7() {
    let bench = Bench::default();
    serve!(bench, server, _ask, [1_000]);
    let body = body(300);
    for (id, value, part, reply) in [
        (0xd2_u8, 0x0b, &body[..128], &b"\x5f\xd1\x0e\x0b"[..]),
        (0xd3, 0x1b, &body[128..256], b"\x5f\xd1\x0e\x1b"),
        (0xd4, 0x23, &body[256..], b"\x44\xd1\x0e\x23"),
    ] {
        let request = [&[0x40, 3, 4, id][..], b"\xb7options\xd1\x03", &[value, 0xff], part].concat();
        bench.wire.push_bytes(client(0), request);
        drive(server.borrow_mut().run(&mut Does(|seen| bench.handle(seen))));
        let sent = bench.wire.sent.borrow_mut().remove(0).1;
        let (code, options) = reply.split_first().unwrap();
        assert_eq!(sent, [&[0x60, *code, 4, id][..], options].concat());
    }
    let arrived = bench.arrived.borrow();
    assert_eq!((arrived.len(), &arrived[0].payload, &arrived[0].options[..]), (1, &body, &[][..]));
}

/// Bodies of every length around the border of a block, in every size; and a block size that gets smaller on the way (figure 9).
#[test]
fn bodies_of_all_lengths() {
    let bench = Bench::default();
    serve!(bench, server, ask, [3_100]);
    for size in [16, 32, 64, 128, 256, 512, 1_024] {
        for len in [0, 1, 15, 16, 17, 31, 32, 33, 48, 1_023, 1_024, 1_025, 2_047, 2_048, 2_049, 3_072] {
            if len > 100 * size as usize {
                continue;
            }
            // What was done has to be remembered for NON_LIFETIME.
            bench.time.set(bench.time.millis() + 145_000);
            let body = body(len);
            let mut last = None;
            for request in blocks(&body, size) {
                let (number, more, _) = request.block(BLOCK1).unwrap();
                let reply = ask(0, request);
                assert_eq!(reply.block(BLOCK1), Some((number, more, size)));
                assert_eq!(reply.says(), if more { 231 } else { 204 });
                last = Some(reply);
            }
            assert_eq!(last.unwrap().says(), 204);
            assert_eq!(bench.bodies(), [body]);
        }
    }
    let body = body(300);
    for request in [
        put(0, true, 128, &body[..128]),
        put(4, true, 32, &body[128..160]),
        put(10, true, 16, &body[160..176]),
        // "size" grows again, which nobody should do but which is as clear.
        put(11, true, 16, &body[176..192]),
        put(3, true, 64, &body[192..256]),
        put(2, false, 128, &body[256..]),
    ] {
        let says = if request.block(BLOCK1).unwrap().1 { 231 } else { 204 };
        assert_eq!(ask(0, request).says(), says);
    }
    assert_eq!(bench.bodies(), [body]);
    assert_eq!(server.borrow().counters().duplicates, 0);
}

/// Blocks that come again, in new messages, change nothing. One that is missing is 4.08; and the body can be begun again.
#[test]
fn repeated_and_missing_blocks() {
    let bench = Bench::default();
    serve!(bench, server, ask, [200]);
    let body = body(100);
    let all = blocks(&body, 32);
    for (number, says) in [(0, 231), (1, 231), (0, 231), (1, 231), (2, 231), (1, 231), (2, 231), (3, 204)] {
        assert_eq!(ask(0, all[number].clone()).says(), says);
    }
    assert_eq!(bench.bodies(), std::slice::from_ref(&body));
    // The last one again is of no body any more, and is not carried out once more.
    assert_eq!(ask(0, all[3].clone()).says(), 408);
    for (number, says) in [(1, 408), (0, 231), (2, 408), (3, 408), (1, 231), (3, 408), (2, 231), (3, 204)] {
        assert_eq!(ask(0, all[number].clone()).says(), says, "{number}");
    }
    // Of another method, Content-Format or Request-Tag (RFC 9175 §3.3), or to another path or from somebody else.
    assert_eq!(bench.bodies(), std::slice::from_ref(&body));
    ask(0, all[0].clone());
    for other in [
        Coap { code: POST, ..all[1].clone() },
        all[1].clone().with(CONTENT_FORMAT, [42]),
        all[1].clone().with(REQUEST_TAG, [1]),
        all[1].clone().with(REQUEST_TAG, []),
        all[1].clone().with(URI_PATH, b"x"),
    ] {
        assert_eq!(ask(0, other).says(), 408);
    }
    assert_eq!(ask(1, all[1].clone()).says(), 408);
    // Size1 and the token are not part of what blocks have in common.
    for request in [all[1].clone().with(SIZE1, [100]), all[2].clone().token(b"other")] {
        assert_eq!(ask(0, request).says(), 231);
    }
    assert_eq!(ask(0, all[3].clone()).says(), 204);
    assert_eq!(bench.bodies(), [body]);
    assert_eq!(server.borrow().counters().requests, 3);
}

/// Only the last block may be of another length than it says, and it may not be longer (§2.2).
#[test]
fn wrong_lengths() {
    let bench = Bench::default();
    serve!(bench, server, ask, [200]);
    let payload = body(33);
    for (number, more, len) in [(0, true, 31), (0, true, 0), (0, true, 33), (0, false, 33), (1, true, 31)] {
        assert_eq!(ask(0, put(0, true, 32, &payload[..32])).says(), 231);
        assert_eq!(ask(0, put(number, more, 32, &payload[..len])).says(), 400, "{number} {more} {len}");
    }
    // A last block that ends before what is there.
    assert_eq!(ask(0, put(1, true, 32, &payload[..32])).says(), 231);
    assert_eq!(ask(0, put(1, false, 32, &payload[..5])).says(), 408);
    assert_eq!((bench.bodies(), server.borrow().counters().requests), (vec![], 0));
}

/// Bodies of several peers, and several of one peer, come at the same time.
#[test]
fn interleaved() {
    let bench = Bench::default();
    serve!(bench, server, ask, [200; 3]);
    let bodies = [body(90), body(180), body(140).into_iter().rev().collect()];
    let all = bodies.each_ref().map(|body| blocks(body, 16));
    let all =
        [all[0].clone(), all[1].clone(), all[2].iter().map(|m| m.clone().with(REQUEST_TAG, [7])).collect()];
    for number in 0..12 {
        for (n, of) in [(0, 0), (1, 1), (0, 2)] {
            if let Some(request) = all[of].get(number) {
                assert!([204, 231].contains(&ask(n, request.clone()).says()), "{n}, {number}");
            }
        }
    }
    let mut arrived = bench.bodies();
    arrived.sort_by_key(Vec::len);
    assert_eq!(arrived, [bodies[0].clone(), bodies[2].clone(), bodies[1].clone()]);
    assert_eq!(server.borrow().counters().requests, 3);
}

/// 4.13 with the size that there is room for (Size1), at once where the client says how long the body is; 5.03 where others have
/// the room, until they have not gone on for EXCHANGE_LIFETIME.
#[test]
fn no_room() {
    let bench = Bench::default();
    serve!(bench, server, ask, [64, 128]);
    let body = body(160);
    let all = blocks(&body, 32);
    let reply = ask(0, all[0].clone().with(SIZE1, [129]));
    assert_eq!((reply.says(), reply.uint(SIZE1)), (413, Some(128)));
    for number in 0..4 {
        assert_eq!(
            ask(0, all[number].clone()).says(),
            if number < 2 { 231 } else { 413 },
            "the smallest that there is"
        );
        if number == 2 {
            // With the size, there is room for the longer one.
            assert_eq!(ask(0, all[0].clone().with(SIZE1, [128])).says(), 231);
            (1..=2).for_each(|number| assert_eq!(ask(0, all[number].clone()).says(), 231));
            assert_eq!(ask(0, Coap { ..put(3, false, 32, &body[96..128]) }).says(), 204);
            break;
        }
    }
    bench.bodies();
    for n in 0..3 {
        assert_eq!(ask(n, all[0].clone()).says(), [231, 231, 503][usize::from(n)]);
    }
    bench.time.set(200_000);
    assert_eq!(ask(1, all[1].clone()).says(), 231);
    bench.time.set(247_000);
    assert_eq!(ask(2, all[0].clone()).says(), 231);
    // That of client 0 is over, that of client 1 goes on: it is in the room of 128 bytes.
    assert_eq!(ask(0, all[1].clone()).says(), 408);
    assert_eq!(ask(1, all[2].clone()).says(), 231);
    assert_eq!(ask(1, put(3, false, 32, &body[96..100])).says(), 204);
    // Without any room, a body of one block is as good as without blocks.
    let bench = Bench::default();
    serve!(bench, other, ask, [0; 0]);
    assert_eq!(ask(0, all[0].clone()).says(), 413);
    assert_eq!(ask(0, put(0, false, 32, &body[..20])).says(), 204);
    assert_eq!((bench.bodies(), other.borrow().counters().requests), (vec![body[..20].to_vec()], 1));
}

/// A late copy of the first block of a body whose other blocks are there does not begin it again, however long ago it came, while
/// the body is on its way: its client would have to begin anew.
#[test]
fn a_late_copy_of_the_first_block() {
    let bench = Bench::default();
    serve!(bench, server, ask, [4_000]);
    let body = body(100 * 16);
    let first = Coap { id: 7_000, ..put(0, true, 16, &body[..16]) };
    let send = |request: &Coap| {
        bench.wire.push(client(0), request);
        drive(server.borrow_mut().run(&mut Does(|seen| bench.handle(seen))));
        bench.wire.take_one()
    };
    assert_eq!(send(&first).says(), 231);
    for request in &blocks(&body, 16)[1..99] {
        assert_eq!(ask(0, request.clone()).says(), 231);
    }
    assert_eq!(send(&first).says(), 231);
    assert_eq!(ask(0, blocks(&body, 16)[99].clone()).says(), 204);
    assert_eq!(bench.bodies(), [body]);
}

/// RFC 7959 §2.7: the response to a body in blocks has blocks as well, and both options.
#[test]
fn both_ways() {
    let bench = Bench::default();
    serve!(bench, server, ask, [200]);
    let all = blocks(&body(40), 32).into_iter().map(|request| Coap { code: FETCH, ..request });
    let all: Vec<_> = all.map(|request| request.with(BLOCK2, block(0, false, 64))).collect();
    assert_eq!(ask(0, all[0].clone()).says(), 231);
    let reply = ask(0, all[1].clone());
    assert_eq!((reply.block(BLOCK1), reply.block(BLOCK2)), (Some((1, false, 32)), Some((0, true, 64))));
    assert_eq!((reply.says(), &reply.payload[..]), (205, &body(300)[..64]));
    assert_eq!((bench.bodies(), server.borrow().counters().requests), (vec![body(40)], 1));
    // What an unsafe method has done is not done again for another block.
    assert_eq!(ask(0, put(0, false, 32, b"x").with(BLOCK2, block(1, false, 64))).says(), 400);
    assert!(bench.bodies().is_empty());
}

/// A handler that takes blocks by itself sees each of them, with its option, and answers with its own.
#[test]
fn handlers_that_know_blocks() {
    let bench = Bench::default();
    serve!(bench, server, ask, [200], |server| server.understand(&[27]));
    let body = body(100);
    for request in blocks(&body, 32) {
        let reply = ask(0, request);
        assert_eq!((reply.says(), reply.option(BLOCK1)), (204, None));
    }
    let arrived = bench.arrived.borrow();
    assert!(arrived.iter().all(|seen| seen.options == [BLOCK1]));
    assert_eq!(arrived.iter().map(|seen| seen.payload.len()).collect::<Vec<_>>(), [32, 32, 32, 4]);
    assert_eq!(server.borrow().counters().requests, 4);
}

/// A policy is asked about every block, and a request that has to be fresh is fresh in every block.
#[test]
fn a_policy_is_asked_about_every_block() {
    struct OnlyThree(std::cell::Cell<u32>);
    impl Policy for OnlyThree {
        fn access(&self, _: Option<&Peer<'_>>, _: Code, _: RequestPath<'_>) -> Access {
            self.0.set(self.0.get() + 1);
            if self.0.get() <= 3 { Access::Granted } else { Access::Denied }
        }
    }
    static RULES: [Rule<'_>; 1] =
        [Rule::everyone(Methods::of(code::PUT), "/options").fresh(Duration::from_secs(5))];
    let (bench, policy) = (Bench::default(), OnlyThree(std::cell::Cell::new(0)));
    let (mut port, mut room) = (Port(&bench.wire), [0; 200]);
    let mut uploads = [Upload::new(&mut room)];
    let mut server = Server::new(&mut port, &bench.time, Repeatable(1)).with_uploads(&mut uploads);
    server = server.with_policy(&policy);
    for (id, request) in blocks(&body(100), 32).into_iter().enumerate() {
        bench.wire.push(client(0), &Coap { id: id as u16, ..request });
        drive(server.run(&mut Does(|seen| bench.handle(seen))));
        assert_eq!(bench.wire.take_one().says(), [231, 231, 231, 403][id]);
    }
    assert!(bench.bodies().is_empty());
    let bench = Bench::default();
    serve!(bench, server, ask, [200], |server| server.with_policy(&RULES));
    let mut echo = vec![];
    for (at, request) in blocks(&body(100), 32).into_iter().enumerate() {
        bench.time.set(at as u64 * 3_000);
        let mut reply = ask(0, request.clone().with(ECHO, &echo));
        // Every other block, five seconds are over.
        if at % 2 == 0 {
            assert_eq!(reply.says(), 401);
            echo = reply.option(ECHO).unwrap().to_vec();
            reply = ask(0, request.with(ECHO, &echo));
        }
        assert_eq!(reply.says(), if at == 3 { 204 } else { 231 });
    }
    assert_eq!(bench.bodies(), [body(100)]);
    assert_eq!(server.borrow().counters().refused, 2);
}
