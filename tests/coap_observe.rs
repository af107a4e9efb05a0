//! Observation (RFC 7641), against peers that share no code with the server.
#![cfg(feature = "coap")]

use std::cell::{Cell, RefCell};
use std::time::Duration;

use dtls_psk::Peer;
use dtls_psk::coap::{Access, Changes, Code, Counters, ObserveParameters, Policy, RequestPath, Server};

#[path = "support/coap_peer.rs"]
mod peer;
#[path = "support/coap.rs"]
mod support;

use peer::*;
use support::Repeatable;

const CONTENT: u8 = 0x45;
const NOT_FOUND: u8 = 0x84;

/// What the server and its resources are made of. Resources are told apart by the first letter of their path.
struct Bench {
    time: Time,
    wire: Wire,
    changes: Changes<embassy_sync::blocking_mutex::raw::NoopRawMutex, 3>,
    /// The resources' values, and whether there is one.
    value: Cell<u32>,
    exists: Cell<bool>,
    id: Cell<u16>,
}

impl Bench {
    fn new(sessions: Vec<Session>) -> Self {
        Self {
            time: Time::default(),
            wire: Wire::with_sessions(sessions),
            changes: Changes::local(["/a", "/b", "/c"]),
            value: Cell::new(0),
            exists: Cell::new(true),
            id: Cell::new(0),
        }
    }

    fn change(&self, path: &str) {
        self.value.set(self.value.get() + 1);
        assert!(self.changes.notify(path));
    }

    fn handle(&self, seen: Seen) -> (u8, Vec<u8>) {
        match (seen.code, self.exists.get()) {
            (PUT, _) => {
                // Whoever changes something says so from within.
                self.change(&seen.path);
                (0x44, vec![])
            }
            (_, false) => (NOT_FOUND, b"gone".to_vec()),
            _ => (CONTENT, format!("{}={}", seen.path, self.value.get()).into_bytes()),
        }
    }

    /// Has client `n` send a GET with an Observe option.
    fn observe(&self, n: u8, path: &str, token: &[u8], observe: u32) {
        self.id.set(self.id.get() + 1);
        let request = Coap::request(CON, GET, self.id.get(), path).token(token).with(OBSERVE, uint(observe));
        self.wire.push(client(n), &request);
    }

    fn answer(&self, n: u8, kind: u8, id: u16) {
        self.wire.push(client(n), &Coap::empty(kind, id));
    }
}

/// A server on the bench, with `$parameters` of observation, which `$drive()` has do what there is to do.
macro_rules! serve {
    ($bench:ident, $server:ident, $drive:ident, $parameters:expr) => {
        let mut port = Port(&$bench.wire);
        let $server =
            Server::<_, _, _, 1152, 64, 1536, 32>::with_sizes(&mut port, &$bench.time, Repeatable(1))
                .with_changes(&$bench.changes)
                .with_observe_parameters($parameters);
        let $server = RefCell::new($server);
        let $drive = || drive($server.borrow_mut().run(&mut Does(|seen| $bench.handle(seen))));
    };
}

fn usual() -> ObserveParameters {
    ObserveParameters::default()
}

/// Every notification is Confirmable.
fn confirmable() -> ObserveParameters {
    let mut parameters = ObserveParameters::default();
    parameters.confirm_interval = Duration::ZERO;
    parameters
}

#[track_caller]
fn counters(
    server: &RefCell<Server<'_, Port<'_>, &Time, Repeatable, 1152, 64, 1536, 32>>,
) -> (usize, Counters) {
    let server = server.borrow();
    (server.observers(), server.counters())
}

/// RFC 7641 appendix A.1, figures 3 and 6: what is in the bytes, for the numbers that are the server's choice.
#[test]
fn the_figures_of_the_rfc() {
    let bench = Bench::new(vec![]);
    serve!(bench, server, drive, usual());
    bench.wire.push_bytes(client(0), b"\x41\x01\x16\x33\x4a\x60\x51a".to_vec());
    drive();
    let reply = bench.wire.sent.borrow_mut().remove(0).1;
    let [first @ .., number] = &reply[..7] else { panic!() };
    assert_eq!(*first, *b"\x61\x45\x16\x33\x4a\x61");
    assert_eq!(reply[7..], *b"\xff/a=0");
    bench.change("/a");
    drive();
    let notification = bench.wire.sent.borrow_mut().remove(0).1;
    assert_eq!((notification[0], notification[1], notification[4]), (0x51, 0x45, 0x4a));
    assert_eq!(notification[5], 0x61);
    assert!(notification[6] > *number);
    assert_eq!(notification[7..], *b"\xff/a=1");
    // The client rejects it, and hears no more.
    bench.wire.push_bytes(client(0), vec![0x70, 0, notification[2], notification[3]]);
    drive();
    assert_eq!(counters(&server).0, 0);
    bench.change("/a");
    bench.time.run_until(200_000, drive);
    assert_eq!(bench.wire.take(), []);
}

/// RFC 7641 §4.4, §4.5.1: numbers increase, Non-confirmable notifications are three seconds apart, and a Confirmable one follows
/// at most ten seconds after whatever was last confirmed. Then the round-trip time is known.
#[test]
fn what_is_sent_and_when() {
    let bench = Bench::new(vec![]);
    serve!(bench, server, drive, usual());
    bench.observe(0, "/a", b"t", 0);
    drive();
    let mut number = bench.wire.take_one().uint(OBSERVE).unwrap();
    let mut notified = Vec::new();
    for tenth in 0..160 {
        bench.change("/a");
        bench.time.run_until(tenth * 100, drive);
        for (_, message) in bench.wire.take() {
            assert_eq!(message.payload, format!("/a={}", bench.value.get()).into_bytes(), "the newest value");
            assert!(message.uint(OBSERVE).unwrap() > number && message.option(OBSERVE).unwrap().len() <= 3);
            number = message.uint(OBSERVE).unwrap();
            notified.push((tenth * 100, message.kind));
            if message.kind == CON {
                // Its acknowledgement takes 700 milliseconds.
                bench.time.run_until(tenth * 100 + 50, drive);
                bench.time.set(tenth * 100 + 50);
                notified.push((0, 9));
                bench.answer(0, ACK, message.id);
                drive();
            }
        }
    }
    let kinds: Vec<_> = notified.iter().take(5).copied().collect();
    assert_eq!(kinds, [(0, NON), (3_000, NON), (6_000, NON), (9_000, NON), (12_000, CON)]);
    // From there on, one in each round trip of 50 ms, which here is each change.
    assert!(notified.len() > 35, "{notified:?}");
    assert_eq!(
        counters(&server).1.notifications as usize,
        notified.iter().filter(|(_, kind)| *kind != 9).count()
    );
}

/// Whatever is lost, an observer ends on the last value, in a Confirmable notification; and when nothing changes any more, nothing is
/// sent for a day.
#[test]
fn the_last_value_is_confirmed() {
    let bench = Bench::new(vec![]);
    serve!(bench, server, drive, usual());
    bench.observe(0, "/a", b"t", 0);
    drive();
    bench.wire.take();
    bench.change("/a");
    drive();
    assert_eq!(bench.wire.take_one().kind, NON);
    bench.time.run_until(9_999, drive);
    assert_eq!(bench.wire.take(), []);
    bench.time.run_until(10_000, drive);
    let last = bench.wire.take_one();
    assert_eq!((last.kind, &last.payload[..]), (CON, &b"/a=1"[..]));
    bench.answer(0, ACK, last.id);
    drive();
    let day = 24 * 60 * 60 * 1_000;
    bench.time.run_until(10_000 + day - 1, drive);
    assert_eq!(bench.wire.take(), []);
    // "at least every 24 hours" (RFC 7641 §4.5).
    bench.time.run_until(10_000 + day, drive);
    assert_eq!(bench.wire.take_one().kind, CON);
}

/// RFC 7252 §4.2, §4.8: four retransmissions, each after twice the time, the first after 2 to 3 seconds. A newer value goes in the
/// place of an older one (RFC 7641 §4.5.2). Who acknowledges none is forgotten.
#[test]
fn retransmissions() {
    let bench = Bench::new(vec![]);
    serve!(bench, server, drive, confirmable());
    bench.observe(0, "/a", b"t", 0);
    drive();
    bench.wire.take();
    bench.change("/a");
    let (mut times, mut ids, mut number) = (Vec::new(), Vec::new(), 0);
    for millis in 0..100_000 {
        bench.time.run_until(millis, drive);
        for (_, message) in bench.wire.take() {
            assert_eq!((message.kind, &message.token[..]), (CON, &b"t"[..]));
            assert_eq!(message.payload, format!("/a={}", bench.value.get()).into_bytes());
            assert!(message.uint(OBSERVE).unwrap() > number);
            number = message.uint(OBSERVE).unwrap();
            times.push(millis);
            ids.push(message.id);
            if times.len() == 2 {
                bench.change("/a");
            }
        }
        if counters(&server).0 == 0 {
            times.push(millis);
            break;
        }
    }
    let first = times[1];
    assert!((2_000..=3_000).contains(&first));
    assert_eq!(times, [0, 1, 3, 7, 15, 31].map(|times| times * first));
    ids.dedup();
    assert_eq!(ids.len(), 5, "what is another message has another ID");
    let counters = counters(&server).1;
    assert_eq!((counters.notifications, counters.lost_observers), (5, 1));
    // It comes back.
    bench.observe(0, "/a", b"t", 0);
    drive();
    assert!(bench.wire.take_one().option(OBSERVE).is_some());
}

/// RFC 7641 §4.5.1: one outstanding notification for each client, "a confirmable message for which an acknowledgement has not yet
/// been received [...] or a non-confirmable message for which the waiting time [...] has not yet elapsed".
#[test]
fn one_at_a_time_for_each_client() {
    for parameters in [confirmable(), usual()] {
        let bench = Bench::new(vec![]);
        serve!(bench, server, drive, parameters);
        for (n, path) in [(0, "/a"), (0, "/b"), (0, "/c"), (1, "/a")] {
            bench.observe(n, path, path.as_bytes(), 0);
        }
        drive();
        assert_eq!(bench.wire.take().len(), 4);
        ["/a", "/b", "/c"].into_iter().for_each(|path| bench.change(path));
        drive();
        let sent = bench.wire.take();
        let mut told: Vec<_> = sent.iter().map(|(to, _)| *to).collect();
        told.sort();
        assert_eq!(told, [client(0), client(1)]);
        let mut paths = Vec::new();
        for (to, message) in sent.into_iter().filter(|(to, _)| *to == client(0)) {
            paths.push(message.token);
            if message.kind == CON {
                assert_eq!(to, client(0));
                bench.answer(0, ACK, message.id);
            }
        }
        for millis in [0, 1_000, 2_999, 3_000, 6_000] {
            bench.time.run_until(millis, drive);
            for (_, message) in bench.wire.take().into_iter().filter(|(to, _)| *to == client(0)) {
                let millis = bench.time.millis();
                assert!(message.kind == CON || millis == 3_000 * paths.len() as u64, "{millis}");
                paths.push(message.token);
                if message.kind == CON {
                    bench.answer(0, ACK, message.id);
                    drive();
                }
            }
        }
        paths.sort();
        assert_eq!(paths, [b"/a", b"/b", b"/c"]);
    }
}

/// Who a RST, an ACK or another registration is from, and what it is about, decides what it does.
#[test]
fn who_says_what() {
    let bench = Bench::new(vec![]);
    serve!(bench, server, drive, confirmable());
    bench.observe(0, "/a", b"one", 0);
    bench.observe(0, "/a", b"two", 0);
    // The same again is the same observation (§4.1).
    bench.observe(0, "/a", b"one", 0);
    bench.observe(1, "/a", b"one", 0);
    drive();
    assert_eq!(counters(&server).0, 3);
    assert!(bench.wire.take().iter().all(|(_, reply)| reply.option(OBSERVE).is_some()));
    bench.change("/a");
    drive();
    let sent = bench.wire.take();
    let id = |n| sent.iter().find(|(to, _)| *to == client(n)).unwrap().1.id;
    // Another client's, another message's, and an ACK that is a response.
    bench.answer(1, RST, id(0));
    bench.answer(0, RST, id(0).wrapping_add(7));
    bench.wire.push(client(0), &Coap { code: CONTENT, ..Coap::empty(ACK, id(0)) });
    drive();
    assert_eq!((counters(&server).0, counters(&server).1.ignored), (3, 3));
    bench.answer(1, RST, id(1));
    bench.answer(0, ACK, id(0));
    drive();
    assert_eq!(counters(&server).0, 2);
    // Another token ends nothing, and another client's neither.
    bench.wire.take();
    bench.observe(0, "/a", b"three", 1);
    bench.observe(1, "/a", b"two", 1);
    drive();
    assert_eq!(counters(&server).0, 2);
    for token in [b"one", b"two"] {
        bench.observe(0, "/a", token, 1);
    }
    drive();
    assert!(bench.wire.take().iter().all(|(_, m)| m.option(OBSERVE).is_none() || m.kind == CON));
    assert_eq!(counters(&server).0, 0);
}

/// A registration that fails leaves nobody behind who was there before: a response without an Observe option says "that it will
/// not be notified" (RFC 7641 §4.1).
#[test]
fn a_registration_that_fails_ends_the_one_before() {
    for what in ["it is gone", "it cannot be observed", "the request is too long"] {
        let bench = Bench::new(vec![]);
        serve!(bench, server, drive, usual());
        bench.observe(0, "/a", b"t", 0);
        drive();
        assert!(bench.wire.take_one().option(OBSERVE).is_some());
        match what {
            "it is gone" => {
                bench.exists.set(false);
                bench.observe(0, "/a", b"t", 0);
            }
            "it cannot be observed" => bench.observe(0, "/d", b"t", 0),
            _ => {
                let request = Coap::request(CON, GET, 99, "/a").with(OBSERVE, []).with(65_000, [1; 64]);
                bench.wire.push(client(0), &request);
            }
        }
        drive();
        assert_eq!(bench.wire.take_one().option(OBSERVE), None);
        assert_eq!(counters(&server).0, 0, "{what}");
    }
}

/// What was not confirmed before a registration came again is confirmed all the same: its response may have been lost, or was
/// the answer to an old copy of the request, which its client ignores.
#[test]
fn another_registration_owes_what_the_one_before_owed() {
    let bench = Bench::new(vec![]);
    serve!(bench, server, drive, usual());
    bench.observe(0, "/a", b"t", 0);
    drive();
    bench.change("/a");
    drive();
    bench.time.run_until(1_000, drive);
    bench.observe(0, "/a", b"t", 0);
    drive();
    bench.wire.take();
    bench.time.run_until(11_000, drive);
    let confirmed = bench.wire.take_one();
    assert_eq!((confirmed.kind, &confirmed.payload[..]), (CON, &b"/a=1"[..]));
}

/// RFC 7641 §4.2: the error is the last that an observer hears.
#[test]
fn an_error_ends_it() {
    for (parameters, kind) in [(usual(), NON), (confirmable(), CON)] {
        let bench = Bench::new(vec![]);
        serve!(bench, server, drive, parameters);
        bench.observe(0, "/a", b"t", 0);
        drive();
        bench.wire.take();
        bench.exists.set(false);
        bench.change("/a");
        drive();
        let last = bench.wire.take_one();
        assert_eq!((last.kind, last.code, last.option(OBSERVE)), (kind, NOT_FOUND, None));
        bench.answer(0, ACK, last.id);
        bench.exists.set(true);
        bench.change("/a");
        bench.time.run_until(300_000, drive);
        assert_eq!((bench.wire.take(), counters(&server).0), (vec![], 0));
    }
}

struct Revocable(Cell<Access>);

impl Policy for Revocable {
    fn access(&self, _: Option<&Peer<'_>>, _: Code, _: RequestPath<'_>) -> Access {
        self.0.get()
    }
}

/// Who loses a right hears no more than that.
#[test]
fn a_right_that_is_taken_back() {
    let bench = Bench::new(vec![]);
    let policy = Revocable(Cell::new(Access::Granted));
    let mut port = Port(&bench.wire);
    let mut server =
        Server::new(&mut port, &bench.time, Repeatable(1)).with_changes(&bench.changes).with_policy(&policy);
    let mut handler = Does(|seen| bench.handle(seen));
    bench.observe(0, "/a", b"t", 0);
    peer::drive(server.run(&mut handler));
    bench.wire.take();
    policy.0.set(Access::Denied);
    bench.change("/a");
    peer::drive(server.run(&mut handler));
    let last = bench.wire.take_one();
    assert_eq!((last.says(), last.option(OBSERVE), &last.payload[..]), (403, None, &b""[..]));
    bench.change("/a");
    bench.time.run_until(100_000, || peer::drive(server.run(&mut handler)));
    assert_eq!((bench.wire.take(), server.observers(), server.counters().denied), (vec![], 0, 1));
}

/// 32 observers over 16 sessions fit into a table of 32. The next one gets a plain response, until a session is over.
#[test]
fn a_full_table() {
    let bench = Bench::new((0..17).map(session).collect());
    serve!(bench, server, drive, usual());
    for n in 0..16 {
        bench.observe(n, "/a", b"a", 0);
        bench.observe(n, "/b", b"b", 0);
    }
    drive();
    assert!(bench.wire.take().iter().all(|(_, reply)| reply.option(OBSERVE).is_some()));
    assert_eq!(counters(&server).0, 32);
    bench.observe(16, "/a", b"a", 0);
    drive();
    let plain = bench.wire.take_one();
    assert_eq!((plain.says(), plain.option(OBSERVE), &plain.payload[..]), (205, None, &b"/a=0"[..]));
    // Both resources change; everybody hears of it.
    bench.change("/a");
    bench.change("/b");
    bench.time.run_until(3_000, drive);
    assert_eq!(bench.wire.take().len(), 32);
    // A session that is over makes room, and nothing goes to whoever is at its address now.
    bench.wire.sessions[3].is_over.set(true);
    bench.observe(16, "/a", b"a", 0);
    drive();
    assert!(bench.wire.take_one().option(OBSERVE).is_some());
    assert_eq!(counters(&server).0, 31);
    bench.wire.sessions[4].is_over.set(true);
    bench.change("/a");
    bench.time.run_until(20_000, drive);
    assert!(bench.wire.take().iter().all(|(to, _)| *to != client(3) && *to != client(4)));
    assert_eq!(counters(&server).0, 29);
    assert_eq!(counters(&server).1.lost_observers, 2, "those whose turn it was");
}

/// A change that the handler of another request makes, one that another future makes, and a server that is dropped wherever it
/// waits.
#[test]
fn changes_from_anywhere() {
    let bench = Bench::new(vec![]);
    serve!(bench, server, drive, confirmable());
    bench.observe(0, "/a", b"t", 0);
    drive();
    bench.wire.take();
    bench.wire.push(client(1), &Coap::request(CON, PUT, 1, "/a"));
    drive();
    let sent = bench.wire.take();
    assert_eq!(
        sent.iter().map(|(to, message)| (*to, message.kind)).collect::<Vec<_>>(),
        [(client(1), ACK), (client(0), CON)]
    );
    bench.answer(0, ACK, sent[1].1.id);
    drive();
    // From another future, while the server waits.
    let mut server = server.borrow_mut();
    let mut handler = Does(|seen| bench.handle(seen));
    peer::drive(embassy_futures::join::join(server.run(&mut handler), async {
        bench.change("/a");
        std::future::pending::<()>().await;
    }));
    peer::drive(server.run(&mut handler));
    let notification = bench.wire.take_one();
    assert_eq!(notification.payload, b"/a=2");
    bench.answer(0, ACK, notification.id);
    // A send that is given up is a message that was lost: it is sent again.
    bench.wire.is_stuck.set(true);
    bench.change("/a");
    peer::drive(server.run(&mut handler));
    peer::drive(server.run(&mut handler));
    bench.wire.is_stuck.set(false);
    peer::drive(server.run(&mut handler));
    assert_eq!(bench.wire.take(), []);
    bench.time.run_until(3_000, || peer::drive(server.run(&mut handler)));
    let again = bench.wire.take_one();
    assert_eq!((again.kind, &again.payload[..]), (CON, &b"/a=3"[..]));
}

/// A handler whose every answer is a change has everybody served all the same.
#[test]
fn a_resource_that_changes_when_it_is_read() {
    let bench = Bench::new(vec![]);
    let mut port = Port(&bench.wire);
    let mut server = Server::new(&mut port, &bench.time, Repeatable(1)).with_changes(&bench.changes);
    let mut handler = Does(|seen: Seen| {
        bench.changes.notify("/a");
        bench.handle(seen)
    });
    bench.observe(0, "/a", b"t", 0);
    for round in 0..100 {
        bench.time.set(round * 1_000);
        peer::drive(server.run(&mut handler));
        for (_, message) in bench.wire.take() {
            if message.kind == CON {
                // At once.
                bench.answer(0, ACK, message.id);
                peer::drive(server.run(&mut handler));
            }
        }
    }
    bench.wire.push(client(1), &Coap::request(CON, GET, 1, "/b"));
    peer::drive(server.run(&mut handler));
    assert!(bench.wire.take().iter().any(|(to, _)| *to == client(1)));
}
