//! The Echo option (RFC 9175): requests that are fresh, and clients that receive where they are.
#![cfg(all(feature = "coap", feature = "dtls12", feature = "dtls13", feature = "connection-id"))]

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::time::Duration;

use coap_numbers::code;
use dtls_psk::coap::{Changes, Methods, Rule, Server};
use dtls_psk::{Config, Endpoint, ProtocolVersion, Psk, Storage, nal};
use rand_core::TryRng;

#[path = "support/mod.rs"]
mod dtls;
#[path = "support/coap_peer.rs"]
mod peer;
#[path = "support/coap_secure.rs"]
mod secure;
#[path = "support/coap.rs"]
mod support;

use dtls::craft::{EXT_CONNECTION_ID, vec8};
use dtls::raw::RawClient;
use peer::*;
use secure::Secure;
use support::Repeatable;

const RULES: [Rule<'_>; 2] = [
    Rule::everyone(Methods::READ, "/*"),
    Rule::everyone(Methods::of(code::PUT), "/valve").fresh(Duration::from_secs(10)),
];

/// Asks with the next Message ID.
struct Asking(u16);

impl Asking {
    fn put(&mut self, echo: Option<&[u8]>) -> Coap {
        self.0 += 1;
        let request = Coap::request(CON, PUT, self.0, "/valve").payload(b"open");
        echo.iter().fold(request, |request, echo| request.with(ECHO, echo))
    }
}

/// RFC 9175 §2.3, §2.4, figure 2: 4.01 with an Echo, the request again with it, and what was done for it.
#[test]
fn fresh_requests() {
    let (time, wire, opened) = (Time::default(), Wire::default(), Cell::new(0));
    let mut port = Port(&wire);
    let mut server = Server::new(&mut port, &time, Repeatable(1)).with_policy(&RULES);
    let mut handler = Does(|seen: Seen| {
        opened.set(opened.get() + 1);
        assert_eq!((seen.code, seen.options), (PUT, vec![ECHO]));
        (0x44, vec![])
    });
    let mut asking = Asking(0);
    let mut ask = |n, request: &Coap| {
        wire.push(client(n), request);
        drive(server.run(&mut handler));
        wire.take_one()
    };
    let demand = ask(0, &asking.put(None));
    let echo = demand.option(ECHO).unwrap().to_vec();
    assert_eq!((demand.says(), demand.payload.len(), &demand.token[..]), (401, 0, &b"t"[..]));
    // "a length between 1 and 40 bytes" (§2.2.1).
    assert!((1..=40).contains(&echo.len()));
    // Ten seconds later it is as good, to the millisecond, and more than once.
    time.set(10_000);
    for _ in 0..2 {
        assert_eq!(ask(0, &asking.put(Some(&echo))).says(), 204);
    }
    assert_eq!(opened.get(), 2);
    // A copy of the request that was answered 4.01 is a copy.
    assert_eq!(ask(0, &Coap { id: 1, ..asking.put(None) }), demand);
    time.set(10_001);
    let mut forged = echo.clone();
    forged[0] ^= 1;
    let mut later = echo.clone();
    later[7] ^= 0x10;
    let long = [0; 41];
    let other = ask(1, &asking.put(Some(&echo)));
    let others_echo = other.option(ECHO).unwrap().to_vec();
    assert_eq!(other.says(), 401);
    for bad in
        [None, Some(&echo[..]), Some(&forged), Some(&later), Some(&others_echo), Some(&[]), Some(&long)]
    {
        let again = ask(0, &asking.put(bad));
        assert_eq!(again.says(), 401, "{bad:02x?}");
        assert_ne!(again.option(ECHO), Some(&echo[..]), "a new one");
    }
    assert_eq!(ask(1, &asking.put(Some(&others_echo))).says(), 204);
    assert_eq!((opened.get(), server.counters().refused), (3, 9));
}

/// Over DTLS: what is sealed for one session is not good in another one, of the same client at the same address.
#[test]
fn an_echo_is_for_one_session() {
    let config = Config::coap();
    let (time, wire, psk) = (Time::default(), Wire::default(), Psk::new(b"alice", &[1; 16]).unwrap());
    let (keys, mut storage) = ([psk], Storage::<2, 4>::new());
    let endpoint = Endpoint::new(&config, &keys, &mut storage, &mut Repeatable(1)).unwrap();
    let mut secure = nal::asynch::Server::<_, _, _, 2, 4>::new(Port(&wire), endpoint, &time, Repeatable(2));
    let server = RefCell::new(Server::new(&mut secure, &time, Repeatable(3)).with_policy(&RULES));
    let run = || drive(server.borrow_mut().run(&mut Does(|_| (0x44, vec![]))));
    let mut asking = Asking(0);
    let mut echoes: Vec<Vec<u8>> = Vec::new();
    for seed in 0..3 {
        let mut client = Secure::new(&config, &psk, client(0), seed, 0);
        client.converse(&wire, run);
        for echo in &echoes {
            assert_eq!(client.ask(&wire, &asking.put(Some(echo)), run)[0].says(), 401);
        }
        let echo = client.ask(&wire, &asking.put(None), run)[0].option(ECHO).unwrap().to_vec();
        assert_eq!(client.ask(&wire, &asking.put(Some(&echo)), run)[0].says(), 204);
        echoes.push(echo);
    }
}

/// A client with a connection ID that knows nothing of return routability checks (RFC 9853), and a server that it is in session
/// with.
struct Moved<'w> {
    wire: &'w Wire,
    raw: RawClient,
    id: u16,
    /// How many bytes came from, and went to, an address that is not proven.
    bytes: (usize, usize),
}

fn elsewhere(n: u8) -> SocketAddr {
    SocketAddr::from(([203, 0, 113, 9], 1_000 + u16::from(n)))
}

impl Moved<'_> {
    fn handshake(&mut self, mut run: impl FnMut()) {
        let mut hit = |datagram: Vec<u8>| -> Vec<Vec<u8>> {
            self.wire.push_bytes(client(0), datagram);
            run();
            self.wire.sent.take().into_iter().map(|(_, datagram)| datagram).collect()
        };
        let replies = hit(self.raw.hello());
        self.raw.follow(&replies);
        let flight = hit(self.raw.hello());
        self.raw.take_server_flight(&flight);
        self.raw.exchange_keys();
        let last = hit(self.raw.key_flight());
        self.raw.take_last_flight(&last);
    }

    /// Sends a request from `at`, and returns what comes, where all of it goes to.
    fn ask(&mut self, at: SocketAddr, request: Coap, mut run: impl FnMut()) -> Option<(SocketAddr, Coap)> {
        self.id += 1;
        let datagram = self.raw.side.data(&Coap { id: self.id, ..request }.bytes());
        self.bytes.0 += datagram.len();
        self.wire.push_bytes(at, datagram);
        run();
        let sent = self.wire.sent.take();
        assert!(sent.len() <= 1);
        let (to, datagram) = sent.into_iter().next()?;
        self.bytes.1 += datagram.len();
        Some((to, Coap::read(&self.raw.side.open(&[datagram])[0].1)))
    }
}

macro_rules! moved {
    ($moved:ident, $server:ident, $run:ident, $handler:expr) => {
        moved!($moved, $server, $run, time, wire, changes, $handler)
    };
    ($moved:ident, $server:ident, $run:ident, $time:ident, $wire:ident, $changes:ident, $handler:expr) => {
        let config = Config::coap().with_versions(&[ProtocolVersion::Dtls12]).with_connection_id(1);
        let ($time, $wire) = (Time::default(), Wire::default());
        let keys = [Psk::new(dtls::IDENTITY, dtls::KEY).unwrap()];
        let mut storage = Storage::<2, 2>::new();
        let endpoint = Endpoint::new(&config, &keys, &mut storage, &mut Repeatable(1)).unwrap();
        let mut secure =
            nal::asynch::Server::<_, _, _, 2, 2>::new(Port(&$wire), endpoint, &$time, Repeatable(2));
        let $changes = Changes::local(["/a"]);
        let $server = RefCell::new(Server::new(&mut secure, &$time, Repeatable(3)).with_changes(&$changes));
        let handler = $handler;
        let $run = || drive($server.borrow_mut().run(&mut Does(|seen| handler(seen))));
        let mut raw = RawClient::new(dtls::IDENTITY, dtls::KEY, 7);
        raw.side.own_id = Some(b"me".to_vec());
        raw.hello.extensions.as_mut().unwrap().push((EXT_CONNECTION_ID, vec8(b"me")));
        let mut $moved = Moved { wire: &$wire, raw, id: 0, bytes: (0, 0) };
        $moved.handshake($run);
    };
}

fn get(echo: Option<&[u8]>) -> Coap {
    let request = Coap::request(CON, GET, 0, "/a");
    echo.iter().fold(request, |request, echo| request.with(ECHO, echo))
}

/// RFC 9175 §2.4 item 3: a reply that is too long for an address that is not proven has to wait until the client has shown that it
/// receives there, by repeating what was sent to nobody else.
#[test]
fn an_echo_proves_an_address() {
    moved!(moved, server, run, |_| (0x45, vec![b'x'; 900]));
    let (to, reply) = moved.ask(client(0), get(None), run).unwrap();
    assert_eq!((to, reply.says(), reply.option(ECHO)), (client(0), 205, None));
    for n in 0..3 {
        moved.bytes = (0, 0);
        let (to, demand) = moved.ask(elsewhere(n), get(None), run).unwrap();
        assert_eq!((to, demand.says(), demand.payload.len()), (elsewhere(n), 401, 0));
        let echo = demand.option(ECHO).unwrap().to_vec();
        // Neither something else nor what was sent elsewhere does.
        let mut forged = echo.clone();
        forged[15] ^= 1;
        for bad in [&forged[..], &[], &[0; 40]] {
            let (to, again) = moved.ask(elsewhere(n), get(Some(bad)), run).unwrap();
            assert_eq!((to, again.says()), (elsewhere(n), 401));
        }
        assert!(moved.bytes.1 <= 3 * moved.bytes.0, "{:?}", moved.bytes);
        let (to, stolen) = moved.ask(elsewhere(100 + n), get(Some(&echo)), run).unwrap();
        assert_eq!((to, stolen.says()), (elsewhere(100 + n), 401));
        let (_, demand) = moved.ask(elsewhere(n), get(None), run).unwrap();
        assert_eq!(demand.says(), 401);
        let (to, reply) = moved.ask(elsewhere(n), get(demand.option(ECHO)), run).unwrap();
        assert_eq!(
            (to, reply.says(), reply.payload.len(), reply.option(ECHO)),
            (elsewhere(n), 205, 900, None)
        );
        // From here on it is there.
        let (to, reply) = moved.ask(elsewhere(n), get(None), run).unwrap();
        assert_eq!((to, reply.says(), reply.option(ECHO)), (elsewhere(n), 205, None));
    }
    assert!(server.borrow().counters().send_errors >= 3);
}

/// A reply that is short enough goes out at once, with an Echo, so that the next request shows it; and what an unsafe method does is
/// done once, wherever it came from.
#[test]
fn short_replies_carry_an_echo() {
    let done = Cell::new(0);
    moved!(moved, server, run, |seen: Seen| {
        done.set(done.get() + u32::from(seen.code == PUT));
        (0x44, vec![b'x'; 10])
    });
    let (_, reply) = moved.ask(elsewhere(0), Coap { code: PUT, ..get(None) }, run).unwrap();
    assert_eq!((reply.says(), done.get()), (204, 1));
    let echo = reply.option(ECHO).unwrap().to_vec();
    let (to, reply) = moved.ask(elsewhere(0), get(Some(&echo)), run).unwrap();
    assert_eq!((to, reply.option(ECHO)), (elsewhere(0), None));
    assert_eq!(server.borrow().counters().send_errors, 0);
    // An old one proves nothing new.
    let (_, reply) = moved.ask(elsewhere(1), get(Some(&echo)), run).unwrap();
    assert!(reply.option(ECHO).is_some());
}

/// A client that answers return routability checks (RFC 9853) needs no Echo: by the time that its request comes again, it is known to
/// be there.
#[test]
fn return_routability_checks_prove_an_address() {
    for version in [ProtocolVersion::Dtls12, ProtocolVersion::Dtls13] {
        let versions = [version];
        let config = Config::coap().with_versions(&versions).with_connection_id(1);
        let (time, wire, psk) = (Time::default(), Wire::default(), Psk::new(b"alice", &[1; 16]).unwrap());
        let (keys, mut storage) = ([psk], Storage::<2, 2>::new());
        let endpoint = Endpoint::new(&config, &keys, &mut storage, &mut Repeatable(1)).unwrap();
        let mut secure =
            nal::asynch::Server::<_, _, _, 2, 2>::new(Port(&wire), endpoint, &time, Repeatable(2));
        let server = RefCell::new(Server::new(&mut secure, &time, Repeatable(3)));
        let run = || drive(server.borrow_mut().run(&mut Does(|_| (0x45, vec![b'x'; 900]))));
        let mut client = Secure::new(&config, &psk, client(0), 1, 0);
        client.converse(&wire, run);
        for n in 0..3 {
            client.at = elsewhere(n);
            let request = Coap { id: u16::from(n), ..get(None) };
            let first = client.ask(&wire, &request, run);
            assert!(first.iter().all(|reply| reply.says() == 401), "{first:?}");
            // The same message again.
            let again = client.ask(&wire, &request, run);
            assert_eq!(again.iter().map(|reply| reply.payload.len()).collect::<Vec<_>>(), [900]);
        }
        assert_eq!(server.borrow().counters().requests, 3);
    }
}

/// Whatever a client asks for from an address that is not proven, and whatever it observes, no more than three times as many bytes
/// go there as came from there (RFC 9146 §6).
#[test]
fn the_amplification_limit() {
    for seed in 0..20 {
        let rng = RefCell::new(Repeatable(seed));
        let random = |below: u32| rng.borrow_mut().try_next_u32().unwrap() % below;
        moved!(moved, server, run, time, wire, changes, |_| (0x45, vec![b'x'; random(1_200) as usize]));
        let register = |id| Coap { id, ..get(None).with(OBSERVE, []) };
        moved.ask(client(0), register(60_000), run);
        let mut answered = 0;
        moved.bytes = (0, 0);
        for round in 0..200_u16 {
            let mut request = match random(4) {
                0 => get(None).with(BLOCK2, block(random(3), false, 16 << random(7))),
                1 => Coap { code: PUT, ..get(None).payload(&vec![1; random(100) as usize]) },
                2 => Coap { kind: NON, ..get(Some(&[9; 16])) },
                _ => register(0),
            };
            request.id = 100 + round;
            let datagram = moved.raw.side.data(&request.bytes());
            moved.bytes.0 += datagram.len();
            wire.push_bytes(elsewhere(0), datagram);
            run();
            if random(2) == 0 {
                changes.notify("/a");
            }
            time.run_until(time.millis() + u64::from(random(4_000)), run);
            for (to, datagram) in wire.sent.take() {
                assert_eq!(to, elsewhere(0));
                moved.bytes.1 += datagram.len();
                answered += 1;
            }
            assert!(moved.bytes.1 <= 3 * moved.bytes.0, "{:?}", moved.bytes);
        }
        assert!(answered > 50, "{answered}");
    }
}
