//! Who may do what: by identity, method and path, over DTLS and without.
#![cfg(feature = "coap")]

use std::cell::{Cell, RefCell};

use coap_numbers::code;
use dtls_psk::coap::{Methods, Rule, Server};
use dtls_psk::{Config, Endpoint, Psk, Storage, nal};

#[path = "support/coap_peer.rs"]
mod peer;
#[path = "support/coap_secure.rs"]
mod secure;
#[path = "support/coap.rs"]
mod support;

use peer::*;
use secure::Secure;
use support::Repeatable;

const DELETE: u8 = 0x04;

const RULES: [Rule<'_>; 4] = [
    Rule::everyone(Methods::of(code::GET), "/.well-known/core"),
    Rule::identity(b"alice", Methods::READ, "/*"),
    Rule::identity(b"bob", Methods::READ.and(Methods::of(code::PUT)), "/led"),
    Rule::identity(b"alice", Methods::ALL, "/logs/*"),
];

/// A method at a path, and which of alice, bob and everybody else may use it.
const CASES: [(u8, &str, [bool; 3]); 18] = [
    (GET, "/.well-known/core", [true, true, true]),
    (GET, "/.well-known", [true, false, false]),
    (PUT, "/.well-known/core", [false, false, false]),
    (GET, "/", [true, false, false]),
    (GET, "/led", [true, true, false]),
    (FETCH, "/led", [true, true, false]),
    (PUT, "/led", [false, true, false]),
    (POST, "/led", [false, false, false]),
    (PUT, "/led/1", [false, false, false]),
    (GET, "/led/1", [true, false, false]),
    (PUT, "/le", [false, false, false]),
    (PUT, "/ledx", [false, false, false]),
    (PUT, "/LED", [false, false, false]),
    (DELETE, "/logs", [true, false, false]),
    (DELETE, "/logs/2026/1", [true, false, false]),
    (POST, "/logs/x", [true, false, false]),
    (0x1f, "/logs/x", [true, false, false]),
    (DELETE, "/log", [false, false, false]),
];

/// Serves plain datagrams, or those in sessions, and has `n` ask all cases.
fn check(who: usize, mut ask: impl FnMut(&Coap) -> Coap, asked: &Cell<u32>) {
    let mut id = 0;
    for kind in [CON, NON] {
        for (code, path, may) in CASES {
            id += 1;
            let before = asked.get();
            let reply = ask(&Coap::request(kind, code, id, path).payload(b"1"));
            let says = if may[who] { 204 } else { 403 };
            assert_eq!(reply.says(), says, "{who}: {code} {path}");
            assert_eq!(asked.get() - before, u32::from(may[who]), "no handler sees what is denied");
            assert!(may[who] || reply.payload.is_empty() && reply.options.is_empty());
        }
    }
}

#[test]
fn without_sessions_everybody_is_nobody() {
    let (time, wire, asked) = (Time::default(), Wire::default(), Cell::new(0));
    let mut port = Port(&wire);
    let mut server = Server::new(&mut port, &time, Repeatable(1)).with_policy(&RULES);
    let mut handler = Does(|_| {
        asked.set(asked.get() + 1);
        (0x44, vec![])
    });
    check(
        2,
        |request| {
            wire.push(client(0), request);
            drive(server.run(&mut handler));
            wire.take_one()
        },
        &asked,
    );
    let denied = CASES.iter().filter(|(.., may)| !may[2]).count() as u32;
    assert_eq!(server.counters().denied, 2 * denied);
}

/// Two identities, at one address one after the other, and at two at the same time; and one that no rule knows.
#[test]
fn identities_in_sessions() {
    let config = Config::coap();
    let (time, wire, asked) = (Time::default(), Wire::default(), Cell::new(0));
    let keys = [(&b"alice"[..], [1; 16]), (b"bob", [2; 16]), (b"bobby", [3; 16])];
    let keys = keys.each_ref().map(|(identity, key)| Psk::new(identity, key).unwrap());
    let mut storage = Storage::<2, 8>::new();
    let endpoint = Endpoint::new(&config, &keys, &mut storage, &mut Repeatable(1)).unwrap();
    let mut secure = nal::asynch::Server::<_, _, _, 2, 8>::new(Port(&wire), endpoint, &time, Repeatable(2));
    let server = RefCell::new(Server::new(&mut secure, &time, Repeatable(3)).with_policy(&RULES));
    let run = || {
        let mut handler = Does(|_| {
            asked.set(asked.get() + 1);
            (0x44, vec![])
        });
        drive(server.borrow_mut().run(&mut handler));
    };
    for at in [[0, 1, 2], [3, 3, 3]] {
        let mut clients: Vec<_> = (0..3)
            .map(|who| {
                let mut secure = Secure::new(&config, &keys[who], client(at[who]), who as u64, 0);
                secure.converse(&wire, run);
                assert!(secure.is_established());
                // At one address, each takes the place of the one before.
                if at[0] == at[1] {
                    check(who, |request| secure.ask(&wire, request, run).remove(0), &asked);
                }
                secure
            })
            .collect();
        if at[0] != at[1] {
            for (who, secure) in clients.iter_mut().enumerate() {
                check(who, |request| secure.ask(&wire, request, run).remove(0), &asked);
            }
        }
    }
}

/// An empty list grants nothing, and a list without any policy everything.
#[test]
fn denied_by_default() {
    for (policy, says) in [(Some(&[] as &[Rule<'_>; 0]), 403), (None, 204)] {
        let (time, wire) = (Time::default(), Wire::default());
        let mut port = Port(&wire);
        let mut server = Server::new(&mut port, &time, Repeatable(1));
        if let Some(policy) = policy {
            server = server.with_policy(policy);
        }
        wire.push(client(0), &Coap::request(CON, GET, 1, "/"));
        drive(server.run(&mut Does(|_| (0x44, vec![]))));
        assert_eq!(wire.take_one().says(), says);
    }
}
