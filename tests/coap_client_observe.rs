//! The CoAP client as an observer (RFC 7641), against a peer in simulated time.
#![cfg(feature = "coap")]
#![allow(clippy::drop_non_drop, reason = "it says where an observation ends")]

use std::cell::RefCell;

use dtls_psk::coap::{Client, Error, Request};

#[path = "support/coap_scripted.rs"]
mod peer;
#[path = "support/coap.rs"]
mod support;

use peer::*;
use support::{Link, Repeatable, World};

/// Codes and payloads.
type Items = Vec<Result<(u8, Vec<u8>), Error<support::ScriptOver>>>;
type TestClient<'a, 'w, const SIZE: usize = 512> = Client<'a, Link<'w>, &'w World, Repeatable, SIZE>;

fn client<'a, 'w>(link: &'a mut Link<'w>, world: &'w World) -> TestClient<'a, 'w> {
    Client::with_size(link, world, Repeatable(1))
}

fn sequence(number: u32) -> (u16, Vec<u8>) {
    (OBSERVE, uint(number))
}

fn notification(kind: u8, message_id: u16, registration: &[u8], number: u32, payload: &[u8]) -> Vec<u8> {
    message(kind, CONTENT, message_id, &token(registration), &[sequence(number)], payload)
}

/// A peer that registers whoever asks, with the number 9, and then sends these.
fn notifying<'w>(world: &'w World, notifications: impl Fn(&[u8]) -> Vec<(u64, Vec<u8>)> + 'w) -> Link<'w> {
    Link::new(world, move |request| {
        if !is_request(request) {
            return vec![];
        }
        match option(request, OBSERVE).as_deref() {
            Some([]) => {
                let first = piggybacked(request, CONTENT, &[sequence(9)], b"first");
                [vec![(10, first)], notifications(request)].concat()
            }
            _ => vec![(10, piggybacked(request, CONTENT, &[], b"plain"))],
        }
    })
}

/// All that an observation brings until there is no more, or nothing happens any more.
fn all<const SIZE: usize>(world: &World, client: &mut TestClient<'_, '_, SIZE>) -> Items {
    let mut observation = client.observe(&Request::get("/temperature"));
    let mut items = vec![];
    while let Some(next) = world.run(async {
        let next = observation.next().await;
        next.map(|reply| reply.map(|reply| (reply.code().byte(), reply.payload().to_vec())))
    }) {
        match next {
            Ok(None) => break,
            Ok(Some(item)) => items.push(Ok(item)),
            Err(error) => items.push(Err(error)),
        }
    }
    items
}

fn contents(payloads: &[&[u8]]) -> Items {
    payloads.iter().map(|payload| Ok((CONTENT, payload.to_vec()))).collect()
}

/// RFC 7641 appendix A.1 figure 3: a registration, its response, and a Non-confirmable notification.
#[test]
fn registration_and_a_notification() {
    let world = World::default();
    let mut link = Link::new(&world, |request| {
        let options = |number| [(OBSERVE, vec![number]), (MAX_AGE, vec![15])];
        vec![
            (10, piggybacked(request, CONTENT, &options(9), b"18.5 Cel")),
            (7_000, message(NON, CONTENT, 0x7b50, &token(request), &options(16), b"19.2 Cel")),
        ]
    });
    let mut client = Client::new(&mut link, &world, Repeatable(1));
    assert_eq!(all(&world, &mut client), contents(&[b"18.5 Cel", b"19.2 Cel"]));
    assert_eq!(link.sent.len(), 1);
    assert_eq!(link.sent[0].1[8..], *b"\x60\x5btemperature", "Observe (empty) and Uri-Path");
}

/// §3.5: Confirmable ones are acknowledged, duplicates too. Non-confirmable ones are not.
#[test]
fn confirmable_notifications() {
    let world = World::default();
    let mut link = notifying(&world, |request| {
        let second = notification(CON, 100, request, 10, b"second");
        let third = notification(NON, 101, request, 11, b"third");
        vec![(20, second.clone()), (30, second.clone()), (40, third.clone()), (50, third), (60, second)]
    });
    let mut client = client(&mut link, &world);
    assert_eq!(all(&world, &mut client), contents(&[b"first", b"second", b"third"]));
    let acks: Vec<_> = link.sent[1..].iter().map(|(at, datagram)| (*at, datagram.clone())).collect();
    assert_eq!(acks, [20, 30, 60].map(|at| (at, empty(ACK, 100))));
}

/// §3.4: "a client MUST consider the notification that was sent most recently as the freshest, regardless of the order of
/// arrival"; after 128 seconds any is.
#[test]
fn reordering() {
    let world = World::default();
    let mut link = notifying(&world, |request| {
        let at = |millis, number, payload: &[u8]| {
            (millis, notification(CON, number as u16, request, number, payload))
        };
        vec![
            at(20, 12, b"12"),
            at(30, 10, b"10"),
            at(40, 11, b"11"),
            at(50, 13, b"13"),
            // Half of the numbers are behind 13, and what is exactly halfway is neither.
            at(60, (1 << 23) + 13, b"behind"),
            at(70, (1 << 23) + 12, b"ahead"),
            at(80, 12, b"halfway"),
            at(90, 12, b"replayed"),
            at(128_070, 13, b"not yet"),
            at(128_071, 13, b"late"),
        ]
    });
    let mut client = client(&mut link, &world);
    let expected = contents(&[b"first", b"12", b"13", b"ahead", b"late"]);
    let items = all(&world, &mut client);
    assert_eq!(items[..4], expected[..4]);
    assert_eq!(items[4..], expected[4..]);
    assert_eq!(link.sent.len(), 11, "each is acknowledged");
}

/// §3.2: an error is the last, and so is a response without Observe (§3.1).
#[test]
fn the_last() {
    for (code, options) in [(NOT_FOUND, vec![]), (CONTENT, vec![])] {
        let world = World::default();
        let options: Vec<(u16, Vec<u8>)> = options;
        let mut link = notifying(&world, move |request| {
            let last = message(CON, code, 7, &token(request), &options, b"last");
            let after = notification(CON, 8, request, 11, b"after");
            vec![(20, last.clone()), (30, last), (40, after)]
        });
        let mut client = client(&mut link, &world);
        assert_eq!(all(&world, &mut client)[1..], [Ok((code, b"last".to_vec()))]);
        // What comes late is answered by the next exchange: the duplicate is acknowledged, and what nobody waits for is rejected.
        client.set_deadline(core::time::Duration::from_secs(1));
        world.run(client.get("/")).unwrap().unwrap();
        let answers: Vec<_> =
            link.sent.iter().filter(|(_, sent)| !is_request(sent)).map(|(_, sent)| sent.clone()).collect();
        assert_eq!(answers[..2], [empty(ACK, 7), empty(ACK, 7)]);
        let world = World::default();
        let mut link = Link::new(&world, |request| vec![(0, piggybacked(request, code, &[], b"only"))]);
        let mut client: TestClient<'_, '_> = Client::with_size(&mut link, &world, Repeatable(1));
        assert_eq!(all(&world, &mut client), [Ok((code, b"only".to_vec()))]);
    }
}

/// §3.6: whoever forgets an observation rejects what is said to it.
#[test]
fn a_dropped_observation() {
    let world = World::default();
    let mut link = notifying(&world, |request| vec![(5_000, notification(CON, 8, request, 11, b"after"))]);
    let mut client = client(&mut link, &world);
    let mut observation = client.observe(&Request::get("/"));
    world.run(async { observation.next().await.map(|_| ()) }).unwrap().unwrap();
    drop(observation);
    world.set_millis(6_000);
    assert_eq!(world.run(client.get("/other")).unwrap().unwrap().payload(), b"plain");
    assert_eq!(link.sent[2].1, empty(RST, 8));
}

/// §3.6: "a GET request that has the Token field set to the token of the observation to be cancelled and includes an Observe Option
/// with the value set to 1 (deregister). All other options MUST be identical".
#[test]
fn cancellation() {
    let world = World::default();
    // A notification that crosses is not taken for the answer.
    let mut link = notifying(&world, |request| vec![(15, notification(CON, 8, request, 11, b"after"))]);
    let mut client = client(&mut link, &world);
    let mut observation = client.observe(&Request::get("/a?b").accept(0));
    world.run(async { observation.next().await.map(|_| ()) }).unwrap().unwrap();
    world.run(observation.cancel()).unwrap().unwrap();
    assert_eq!(world.millis(), 20);
    let [(_, register), (_, deregister), (_, ack)] = &link.sent[..] else { panic!("{:?}", link.sent) };
    assert_eq!(*ack, empty(ACK, 8));
    assert_eq!((token(register), option(register, OBSERVE)), (token(deregister), Some(vec![])));
    assert_eq!(option(deregister, OBSERVE), Some(vec![1]));
    assert_eq!(register[9..], deregister[10..], "all other options are the same");
    // Nothing is to be cancelled that is not there.
    let mut client: TestClient<'_, '_> = Client::with_size(&mut link, &world, Repeatable(3));
    world.run(client.observe(&Request::get("/")).cancel()).unwrap().unwrap();
    assert_eq!(link.sent.len(), 3);
}

/// §3.3.1: "a client MAY issue a new GET request with the same token as the original at any time".
#[test]
fn renewal() {
    let world = World::default();
    let mut link = notifying(&world, |_| vec![]);
    let mut client = client(&mut link, &world);
    let mut observation = client.observe(&Request::get("/"));
    for _ in 0..3 {
        let payload =
            world.run(async { observation.next().await.map(|reply| reply.unwrap().payload().to_vec()) });
        assert_eq!(payload, Some(Ok(b"first".to_vec())));
        assert_eq!(world.run(async { observation.next().await.map(|_| ()) }), None, "nothing is new");
        observation.renew();
    }
    let tokens: Vec<_> = link.sent.iter().map(|(_, datagram)| token(datagram)).collect();
    assert_eq!(tokens, [&tokens[0][..]; 3]);
    assert!(link.sent.iter().all(|(_, datagram)| option(datagram, OBSERVE) == Some(vec![])));
}

/// RFC 9175 §2.3 with a registration: the one that counts is the one with the Echo, under another token.
#[test]
fn a_registration_that_needs_an_echo() {
    let world = World::default();
    let mut link = Link::new(&world, |request| {
        if option(request, ECHO).is_none() {
            return vec![(5, piggybacked(request, UNAUTHORIZED, &[(ECHO, vec![1])], b""))];
        }
        let first = piggybacked(request, CONTENT, &[sequence(1)], b"first");
        vec![(5, first), (10, notification(NON, 3, request, 2, b"second"))]
    });
    let mut client = client(&mut link, &world);
    assert_eq!(all(&world, &mut client), contents(&[b"first", b"second"]));
    assert_ne!(token(&link.sent[0].1), token(&link.sent[1].1));
}

/// What belongs to nobody: other tokens, requests, pings; and what is no message at all.
#[test]
fn noise() {
    let world = World::default();
    let mut link = notifying(&world, |request| {
        let mut other = notification(CON, 7, request, 10, b"forged");
        other[4] ^= 1;
        let mut other_non = notification(NON, 8, request, 10, b"forged");
        other_non[5] ^= 1;
        vec![
            (20, other),
            (21, other_non),
            (22, message(ACK, CONTENT, 9, &token(request), &[sequence(10)], b"in an ACK")),
            (23, empty(CON, 10)),
            (24, b"\x40\x01\x00\x0b".to_vec()),
            (25, b"\x49\x45\x00\x0c".to_vec()),
            (26, b"?".to_vec()),
            (30, notification(CON, 13, request, 10, b"genuine")),
        ]
    });
    let mut client = client(&mut link, &world);
    assert_eq!(all(&world, &mut client), contents(&[b"first", b"genuine"]));
    let sent: Vec<_> = link.sent[1..].iter().map(|(_, datagram)| datagram.clone()).collect();
    assert_eq!(sent, [empty(RST, 7), empty(RST, 10), empty(RST, 11), empty(RST, 12), empty(ACK, 13)]);
}

/// A notification with a critical option that is not understood is rejected (RFC 7252 §5.4.1), which ends it.
#[test]
fn critical_options() {
    let world = World::default();
    let mut link = notifying(&world, |request| {
        let options = [sequence(10), (9, vec![])];
        vec![(20, message(CON, CONTENT, 7, &token(request), &options, b"?"))]
    });
    let mut client = client(&mut link, &world);
    assert_eq!(all(&world, &mut client)[1..], [Err(Error::BadOption)]);
    assert_eq!(link.sent[1].1, empty(RST, 7));
}

/// A resource of a server that is observed, whose representations are longer than a message.
struct Observed {
    versions: Vec<Vec<u8>>,
    now: usize,
}

impl Observed {
    fn new(versions: usize) -> Self {
        let versions =
            (0..versions).map(|n| body(200 + n).iter().map(|byte| byte ^ n as u8).collect()).collect();
        Self { versions, now: 0 }
    }

    fn options(&self, number: u32, observe: bool) -> (Vec<(u16, Vec<u8>)>, Vec<u8>) {
        let body = &self.versions[self.now];
        let from = number as usize * 64;
        let to = body.len().min(from + 64);
        let mut options = vec![(ETAG, vec![self.now as u8])];
        if observe {
            options.push(sequence(100 + self.now as u32));
        }
        options.push((BLOCK2, block(number, u32::from(to < body.len()), 64)));
        (options, body[from..to].to_vec())
    }

    fn answer(&self, request: &[u8]) -> Vec<u8> {
        let number = block_of(request, BLOCK2).map_or(0, |(number, ..)| number);
        let (options, payload) = self.options(number, option(request, OBSERVE) == Some(vec![]));
        piggybacked(request, CONTENT, &options, &payload)
    }

    fn notify(&mut self, token: &[u8]) -> Vec<u8> {
        self.now += 1;
        let (options, payload) = self.options(0, true);
        message(CON, CONTENT, 1_000 + self.now as u16, token, &options, &payload)
    }
}

/// RFC 7959 §3.4 figures 12 and 13: the rest of a notification is fetched by GETs without Observe, under other tokens.
#[test]
fn notifications_in_blocks() {
    let world = World::default();
    let observed = RefCell::new(Observed::new(3));
    let mut link = Link::new(&world, |request| {
        if is_request(request) { vec![(10, observed.borrow().answer(request))] } else { vec![] }
    });
    let mut client = client(&mut link, &world);
    client.set_max_message(128);
    let mut observation = client.observe(&Request::get("/status-icon"));
    let item = world.run(async { observation.next().await.map(|reply| reply.unwrap().payload().to_vec()) });
    assert_eq!(item, Some(Ok(observed.borrow().versions[0].clone())));
    drop(observation);
    assert_eq!(flow(&link.sent), ["GET 2:0/0/64", "GET 2:1/0/64", "GET 2:2/0/64", "GET 2:3/0/64"]);
    assert_eq!(option(&link.sent[0].1, OBSERVE), Some(vec![]));
    for (_, datagram) in &link.sent[1..] {
        assert_eq!(option(datagram, OBSERVE), None);
        assert_ne!(token(datagram), token(&link.sent[0].1));
    }
}

/// A newer notification while the blocks of one are fetched starts over; every datagram is lost once, and any future dropped.
#[test]
fn a_newer_notification_meanwhile() {
    for newer_at in 0..12 {
        for dropped_after in [None, Some(1), Some(2), Some(3), Some(5), Some(8)] {
            let world = World::default();
            let observed = RefCell::new(Observed::new(3));
            let mut count = 0;
            let mut registration = vec![];
            let mut link = Link::new(&world, |request| {
                if !is_request(request) {
                    return vec![];
                }
                let mut arriving = vec![(10, observed.borrow().answer(request))];
                if option(request, OBSERVE).is_some() {
                    registration = token(request);
                }
                if count == newer_at || count == newer_at + 2 {
                    arriving.push((15, observed.borrow_mut().notify(&registration)));
                }
                count += 1;
                arriving
            });
            let mut client = client(&mut link, &world);
            client.set_max_message(128);
            let mut observation = client.observe(&Request::get("/"));
            let mut last = vec![];
            if let Some(polls) = dropped_after {
                let _ = world.run_and_drop(async { observation.next().await.map(|_| ()) }, polls);
            }
            while let Some(item) = world.run(async {
                observation.next().await.map(|reply| reply.map(|reply| reply.payload().to_vec()))
            }) {
                let item = item.unwrap().unwrap();
                assert!(observed.borrow().versions.contains(&item), "blocks of one version");
                last = item;
            }
            let now = observed.borrow().now;
            if dropped_after.is_none() || now == 2 {
                assert_eq!(last, observed.borrow().versions[now], "{newer_at} {dropped_after:?}");
            }
            for (_, datagram) in link.sent.iter().filter(|(_, datagram)| !is_request(datagram)) {
                assert!(datagram[0] == 0x60 || dropped_after.is_some(), "each is acknowledged");
            }
        }
    }
}

/// A representation that changes faster than it can be fetched.
#[test]
fn changing_for_ever() {
    let world = World::default();
    let observed = RefCell::new(Observed::new(100));
    let mut registration = vec![];
    let mut link = Link::new(&world, |request| {
        if !is_request(request) {
            return vec![];
        }
        if option(request, OBSERVE).is_some() {
            registration = token(request);
        }
        let answer = observed.borrow().answer(request);
        vec![(10, answer), (5, observed.borrow_mut().notify(&registration))]
    });
    let mut client = client(&mut link, &world);
    client.set_max_message(128);
    let mut observation = client.observe(&Request::get("/"));
    let errors: Vec<_> =
        (0..3).map(|_| world.run(async { observation.next().await.map(|_| ()) }).unwrap()).collect();
    assert!(errors.contains(&Err(Error::Changing)), "{errors:?}");
    assert!(link.sent.len() < 60);
}

/// An observation that is given up at any await leaves nothing behind: the next request works.
#[test]
fn an_observation_can_be_dropped_at_any_await() {
    for polls in 1..12 {
        let world = World::default();
        let mut link = notifying(&world, |request| {
            (1..5).map(|n| (20 * n, notification(CON, n as u16, request, 9 + n as u32, b"new"))).collect()
        });
        link.slow_sends = 6;
        let mut client = client(&mut link, &world);
        let mut observation = client.observe(&Request::get("/"));
        // Each call is dropped after one poll more, and still there is progress.
        let mut seen = 0;
        for polls in 1..=polls {
            let item =
                world.run_and_drop(async { observation.next().await.map(|reply| reply.is_some()) }, polls);
            seen += usize::from(item == Some(Ok(true)));
        }
        assert!(seen > 0 || polls < 6, "{polls}");
        drop(observation);
        assert_eq!(world.run(client.get("/other")).unwrap().unwrap().payload(), b"plain", "{polls}");
    }
}
