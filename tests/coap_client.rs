//! The CoAP client against a peer that is a closure, in simulated time.
#![cfg(feature = "coap")]

use core::time::Duration;

use coap_message::ReadableMessage;
use dtls_psk::coap::{Client, Error, Message, Request, Type};

#[path = "support/coap.rs"]
mod support;

use support::{Link, Repeatable, World};

fn client<'a, 'w>(
    link: &'a mut Link<'w>,
    world: &'w World,
) -> Client<'a, Link<'w>, &'w World, Repeatable, 1152> {
    Client::new(link, world, Repeatable(1))
}

/// A message with the token of `request`, and its Message ID where none is given.
fn answer(request: &[u8], kind: u8, code: u8, message_id: Option<u16>, tail: &[u8]) -> Vec<u8> {
    let request = Message::parse(request).unwrap();
    let token = request.token().as_bytes();
    let mut bytes = vec![0x40 | kind << 4 | token.len() as u8, code];
    bytes.extend(message_id.unwrap_or(request.message_id()).to_be_bytes());
    bytes.extend(token);
    bytes.extend(tail);
    bytes
}

fn empty(kind: u8, message_id: u16) -> Vec<u8> {
    let [high, low] = message_id.to_be_bytes();
    vec![0x40 | kind << 4, 0, high, low]
}

fn id(datagram: &[u8]) -> u16 {
    u16::from_be_bytes([datagram[2], datagram[3]])
}

const CON: u8 = 0;
const NON: u8 = 1;
const ACK: u8 = 2;
const RST: u8 = 3;
const CONTENT: u8 = 0x45;

#[test]
fn a_piggybacked_response() {
    let world = World::default();
    let mut link = Link::new(&world, |request| {
        // ETag "v1", Content-Format 0, Max-Age 30, Location-Path "x".
        vec![(10, answer(request, ACK, CONTENT, None, b"\x42v1\x41x\x40\x21\x1e\xff21.5"))]
    });
    // Options in order: 4 ETag, 8 Location-Path, 12 Content-Format (empty: 0), 14 Max-Age.
    let mut client = client(&mut link, &world);
    let reply = world.run(client.get("/sensors/a%20b?unit=C&all")).unwrap().unwrap();
    assert_eq!(reply.code(), CONTENT);
    assert_eq!(reply.payload(), b"21.5");
    assert_eq!(reply.content_format(), Some(0));
    assert_eq!(reply.etag(), Some(&b"v1"[..]));
    assert_eq!(reply.max_age(), 30);
    assert_eq!(reply.location_path().collect::<Vec<_>>(), ["x"]);
    assert_eq!(reply.diagnostic(), None);
    assert_eq!(reply.message().options().count(), 4);
    let (_, request) = &link.sent[0];
    assert_eq!(request[0], 0x44);
    assert_eq!(&request[8..], b"\xb7sensors\x03a b\x46unit=C\x03all");
}

#[test]
fn a_request_with_everything() {
    let world = World::default();
    let mut link = Link::new(&world, |request| vec![(0, answer(request, NON, 0x44, Some(7), b""))]);
    let mut client = client(&mut link, &world);
    let request = Request::put("/a/?q", b"payload").content_format(60).accept(0).non_confirmable();
    let reply = world.run(client.request(&request)).unwrap().unwrap();
    assert_eq!(reply.code().to_string(), "2.04");
    let (_, request) = &link.sent[0];
    assert_eq!(&request[..2], b"\x54\x03");
    assert_eq!(&request[8..], b"\xb1a\x00\x11\x3c\x31q\x20\xffpayload");
    assert_eq!(link.sent.len(), 1, "a Non-confirmable response is not acknowledged");
}

#[test]
fn an_error_is_a_reply() {
    let world = World::default();
    let mut link =
        Link::new(&world, |request| vec![(0, answer(request, ACK, 0x80, None, b"\xffno such mode"))]);
    let mut client = client(&mut link, &world);
    let reply = world.run(client.post("/mode", b"?")).unwrap().unwrap();
    assert!(reply.code().is_client_error());
    assert_eq!(reply.diagnostic(), Some("no such mode"));
}

/// RFC 7252 §4.2: 4 retransmissions, after a random 2 to 3 seconds and twice as long each time; then one more wait.
#[test]
fn retransmissions_back_off() {
    let mut firsts = vec![];
    for seed in 0..50 {
        let world = World::default();
        let mut link = Link::new(&world, |_| vec![]);
        let mut client = Client::new(&mut link, &world, Repeatable(seed));
        assert_eq!(world.run(client.get("/")).unwrap().unwrap_err(), Error::TimedOut);
        let first = link.sent[1].0;
        assert!((2_000..=3_000).contains(&first), "{first}");
        let times: Vec<u64> = link.sent.iter().map(|(at, _)| *at).collect();
        assert_eq!(times, [0, first, 3 * first, 7 * first, 15 * first]);
        assert!(15 * first <= 45_000, "MAX_TRANSMIT_SPAN");
        assert_eq!(world.millis(), 31 * first);
        assert!(world.millis() <= 93_000, "MAX_TRANSMIT_WAIT");
        assert!(
            link.sent.iter().all(|(_, datagram)| *datagram == link.sent[0].1),
            "the same message each time"
        );
        firsts.push(first);
    }
    firsts.sort_unstable();
    assert!(firsts[0] < 2_100 && firsts[49] > 2_900, "the timeout is spread over its range");
}

#[test]
fn a_retransmission_is_answered() {
    let world = World::default();
    let mut count = 0;
    let mut link = Link::new(&world, |request| {
        count += 1;
        if count < 4 { vec![] } else { vec![(50, answer(request, ACK, CONTENT, None, b"\xffok"))] }
    });
    let mut client = client(&mut link, &world);
    assert_eq!(world.run(client.get("/")).unwrap().unwrap().payload(), b"ok");
    assert_eq!(link.sent.len(), 4);
}

#[test]
fn a_deadline_ends_it_before() {
    let world = World::default();
    let mut link = Link::new(&world, |_| vec![]);
    let mut client = client(&mut link, &world);
    client.set_deadline(Duration::from_secs(5));
    assert_eq!(world.run(client.get("/")).unwrap().unwrap_err(), Error::TimedOut);
    assert_eq!(world.millis(), 5_000);
    assert_eq!(link.sent.len(), 2);
}

/// RFC 7252 §5.2.2: an Empty ACK, and the response in a Confirmable message of its own.
#[test]
fn a_separate_response() {
    let world = World::default();
    let mut link = Link::new(&world, |request| match request[1] {
        0x01 => vec![
            (10, empty(ACK, id(request))),
            (30_000, answer(request, CON, CONTENT, Some(0x1234), b"\xfflater")),
            // Our ACK was lost.
            (32_000, answer(request, CON, CONTENT, Some(0x1234), b"\xfflater")),
        ],
        _ => vec![],
    });
    let mut client = client(&mut link, &world);
    assert_eq!(world.run(client.get("/slow")).unwrap().unwrap().payload(), b"later");
    assert_eq!(world.millis(), 30_000);
    // The duplicate is found by the next exchange, which is not fooled by it.
    client.set_deadline(Duration::from_secs(10));
    assert_eq!(world.run(client.get("/slow")).unwrap().unwrap_err(), Error::NoResponse);
    let sent: Vec<_> = link.sent.iter().map(|(_, datagram)| &datagram[..]).collect();
    assert_eq!(sent.len(), 4);
    assert_eq!(sent[1], empty(ACK, 0x1234));
    assert_eq!(sent[2][1], 0x01);
    assert_eq!(sent[3], empty(ACK, 0x1234));
}

/// Neither a RST for something else nor the ACK of the response has to be sent for the response to count.
#[test]
fn a_response_counts_even_if_its_ack_cannot_be_sent() {
    let world = World::default();
    let mut link = Link::new(&world, |request| {
        vec![(5, b"\x40\x01\x00\x05".to_vec()), (10, answer(request, CON, CONTENT, Some(9), b"\xffx"))]
    });
    link.failing_empties = true;
    let mut client = client(&mut link, &world);
    assert_eq!(world.run(client.get("/")).unwrap().unwrap().payload(), b"x");
    assert_eq!(world.millis(), 10);
}

/// The response may overtake the ACK, and stands in for it (RFC 7252 §5.2.2); it may be Non-confirmable (§5.2.3).
#[test]
fn a_separate_response_without_an_ack() {
    for (kind, sent) in [(CON, 2), (NON, 1)] {
        let world = World::default();
        let mut link = Link::new(&world, move |request| match request[1] {
            0x01 => vec![(500, answer(request, kind, CONTENT, Some(9), b"\xffx"))],
            _ => vec![],
        });
        let mut client = client(&mut link, &world);
        assert_eq!(world.run(client.get("/")).unwrap().unwrap().payload(), b"x");
        assert_eq!(link.sent.len(), sent);
    }
}

#[test]
fn acknowledged_and_never_answered() {
    let world = World::default();
    let mut link = Link::new(&world, |request| vec![(10, empty(ACK, id(request)))]);
    let mut client = client(&mut link, &world);
    assert_eq!(world.run(client.get("/")).unwrap().unwrap_err(), Error::NoResponse);
    assert_eq!(world.millis(), 93_000);
    assert_eq!(link.sent.len(), 1, "an acknowledged message is not sent again");
}

#[test]
fn a_reset() {
    for request in [Request::get("/"), Request::get("/").non_confirmable()] {
        let world = World::default();
        let mut link = Link::new(&world, |request| vec![(10, empty(RST, id(request)))]);
        let mut client = client(&mut link, &world);
        assert_eq!(world.run(client.request(&request)).unwrap().unwrap_err(), Error::Reset);
    }
}

#[test]
fn ping() {
    let world = World::default();
    let mut link = Link::new(&world, |ping| {
        assert_eq!((ping.len(), ping[0], ping[1]), (4, 0x40, 0));
        // A RST for something else is not the answer.
        vec![(5, empty(RST, id(ping).wrapping_add(1))), (10, empty(RST, id(ping)))]
    });
    let mut client = client(&mut link, &world);
    world.run(client.ping()).unwrap().unwrap();
    assert_eq!(world.millis(), 10);

    // It should be rejected, but an ACK is an answer, too.
    let world = World::default();
    let mut link = Link::new(&world, |ping| vec![(10, empty(ACK, id(ping)))]);
    let mut acknowledged = Client::new(&mut link, &world, Repeatable(3));
    world.run(acknowledged.ping()).unwrap().unwrap();
    assert_eq!(world.millis(), 10);

    let world = World::default();
    let mut link = Link::new(&world, |_| vec![]);
    let mut client = Client::new(&mut link, &world, Repeatable(2));
    assert_eq!(world.run(client.ping()), Some(Err(Error::TimedOut)));
}

/// What is not the response does not end the exchange, and is rejected as RFC 7252 §4.2 and §4.3 say.
#[test]
fn what_is_not_the_response() {
    let world = World::default();
    let mut link = Link::new(&world, |request| {
        if request[1] != 0x01 {
            return vec![];
        }
        let message_id = id(request);
        let mut other_token = answer(request, ACK, CONTENT, None, b"\xffforged");
        other_token[4] ^= 1;
        let mut unexpected = answer(request, CON, CONTENT, Some(1), b"\xffforged");
        unexpected[4] ^= 1;
        let mut unexpected_non = answer(request, NON, CONTENT, Some(1), b"\xffforged");
        unexpected_non[4] ^= 1;
        vec![
            (1, other_token),
            (2, answer(request, ACK, CONTENT, Some(message_id ^ 1), b"\xffforged")),
            (3, unexpected),
            (4, unexpected_non),
            (5, answer(request, ACK, 0x01, None, b"")),
            (6, answer(request, RST, CONTENT, None, b"\xffforged")),
            // A ping, and a request to us.
            (10, empty(CON, 4)),
            (11, b"\x40\x01\x00\x05".to_vec()),
            // Format errors, reserved classes, other versions, nothing.
            (12, b"\x49\x45\x00\x06".to_vec()),
            (13, b"\x59\x45\x00\x07".to_vec()),
            (14, b"\x40\xe1\x00\x08".to_vec()),
            (15, b"\x80\x45\x00\x09".to_vec()),
            (16, b"".to_vec()),
            (20, answer(request, ACK, CONTENT, None, b"\xffgenuine")),
        ]
    });
    let mut client = client(&mut link, &world);
    assert_eq!(world.run(client.get("/")).unwrap().unwrap().payload(), b"genuine");
    let rejected: Vec<_> = link.sent[1..].iter().map(|(at, datagram)| (*at, datagram.clone())).collect();
    let expected = [(3, 1), (10, 4), (11, 5), (12, 6), (14, 8)];
    assert_eq!(rejected, expected.map(|(at, message_id)| (at, empty(RST, message_id))));
}

/// RFC 7252 §5.4.1: a response with a critical option that no client understands is rejected. The exchange is over.
#[test]
fn responses_with_critical_options() {
    let critical = [
        &b"\x90"[..],    // 9, OSCORE
        b"\xd1\x0a\x07", // Block2, SZX 7
        b"\xd1\x0e\x06", // Block1 in a success
    ];
    for option in critical {
        for (kind, reset) in [(ACK, None), (NON, None), (CON, Some(empty(RST, 9)))] {
            let world = World::default();
            let mut link = Link::new(&world, |request| match request[1] {
                0x01 => {
                    let message_id = (kind != ACK).then_some(9);
                    vec![(10, answer(request, kind, CONTENT, message_id, &[option, b"\xffx"].concat()))]
                }
                _ => vec![],
            });
            let mut client = client(&mut link, &world);
            assert_eq!(world.run(client.get("/")).unwrap().unwrap_err(), Error::BadOption);
            assert_eq!(world.millis(), 10);
            assert_eq!(link.sent.get(1).map(|(_, datagram)| datagram.clone()), reset);
        }
    }
}

/// RFC 7959 §2.9.3: a 4.13 may say which block size would suit the server.
#[test]
fn block1_in_an_error() {
    let world = World::default();
    let mut link = Link::new(&world, |request| vec![(0, answer(request, ACK, 0x8d, None, b"\xd1\x0e\x06"))]);
    let mut client = client(&mut link, &world);
    assert_eq!(world.run(client.put("/", b"x")).unwrap().unwrap().code().to_string(), "4.13");
}

#[test]
fn what_does_not_fit() {
    let world = World::default();
    let mut link = Link::new(&world, |request| {
        vec![(0, answer(request, ACK, CONTENT, None, &[&b"\xff"[..], &[b'x'; 200]].concat()))]
    });
    let mut client = Client::<_, _, _, 64>::with_size(&mut link, &world, Repeatable(1));
    let result = world.run(client.get("/")).unwrap().map(|_| ());
    assert_eq!(result, Err(Error::ReplyTooLong));
    let result = world.run(client.get(&format!("/{}", "a".repeat(80)))).unwrap().map(|_| ());
    assert_eq!(result, Err(Error::RequestTooLong));
    assert_eq!(link.sent.len(), 1, "nothing is sent that does not fit");
}

#[test]
fn paths() {
    let world = World::default();
    for (path, options) in [
        ("", &b""[..]),
        ("/", b""),
        ("/a", b"\xb1a"),
        ("/a/", b"\xb1a\x00"),
        ("//", b"\xb0\x00"),
        ("/%41%c3%a9", b"\xb3A\xc3\xa9"),
        ("/a?", b"\xb1a\x40"),
        ("?x=%26", b"\xd3\x02x=&"),
        ("/%2F", b"\xb1/"),
    ] {
        let mut link = Link::new(&world, |request| vec![(0, answer(request, ACK, CONTENT, None, b""))]);
        let mut client = Client::new(&mut link, &world, Repeatable(1));
        world.run(client.get(path)).unwrap().unwrap();
        assert_eq!(&link.sent[0].1[8..], options, "{path}");
    }
    let long = format!("/{}", "x".repeat(256));
    for path in ["a", "coap://host/a", "/a#b", "/%", "/%4", "/%zz", "/%ff", "/.", "/a/../b", "/%2e%2E", &long]
    {
        let mut link = Link::new(&world, |_| vec![]);
        let mut client = Client::new(&mut link, &world, Repeatable(1));
        assert_eq!(world.run(client.get(path)).unwrap().unwrap_err(), Error::Path, "{path}");
        assert!(link.sent.is_empty());
    }
}

/// RFC 7252 §6.4: the host in lowercase and then decoded, before the path.
#[test]
fn hosts() {
    let world = World::default();
    let long = "x".repeat(256);
    for (host, options) in [
        ("example.net", &b"\x3bexample.net\x81a"[..]),
        ("Example", b"\x37example\x81a"),
        ("%c3%A9%41", b"\x33\xc3\xa9A\x81a"),
    ] {
        let mut link = Link::new(&world, |request| vec![(0, answer(request, ACK, CONTENT, None, b""))]);
        let mut client = Client::new(&mut link, &world, Repeatable(1));
        world.run(client.request(&Request::get("/a").host(host))).unwrap().unwrap();
        assert_eq!(&link.sent[0].1[8..], options, "{host}");
    }
    for host in ["", "::1", "[::1]", "host:5684", "coap://host", "host/", "user@host", "%", "%ff", &long] {
        let mut link = Link::new(&world, |_| vec![]);
        let mut client = Client::new(&mut link, &world, Repeatable(1));
        let result = world.run(client.request(&Request::get("/a").host(host))).unwrap();
        assert_eq!(result.unwrap_err(), Error::Path, "{host}");
        assert!(link.sent.is_empty());
    }
}

/// An Empty message, a response and codes of reserved classes are no requests.
#[test]
fn methods() {
    let world = World::default();
    for (method, sent) in [(0x00, 0), (0x01, 1), (0x1f, 1), (0x20, 0), (CONTENT, 0), (0xe0, 0)] {
        let mut link = Link::new(&world, |request| vec![(0, answer(request, ACK, CONTENT, None, b""))]);
        let mut client = Client::new(&mut link, &world, Repeatable(1));
        let result = world.run(client.request(&Request::new(method, "/", b""))).unwrap().map(|_| ());
        assert_eq!(result, if sent == 1 { Ok(()) } else { Err(Error::Method) }, "{method:#x}");
        assert_eq!(link.sent.len(), sent);
    }
}

#[test]
fn a_socket_error_speaks_for_itself() {
    let error = Error::Socket(support::ScriptOver);
    assert_eq!(error.to_string(), "the script is over");
    assert!(std::error::Error::source(&error).is_none(), "it is not named twice");
}

/// A request that is dropped at any await leaves the client ready, and its late response is not taken for another's.
#[test]
fn a_request_can_be_dropped_at_any_await() {
    for polls in 1..=4 {
        let world = World::default();
        let mut link = Link::new(&world, |request| match request[1] {
            0x01 if Message::parse(request).unwrap().options().count() == 1 => {
                vec![(10, empty(ACK, id(request))), (20, answer(request, CON, CONTENT, Some(77), b"\xffold"))]
            }
            0x01 => vec![(50, answer(request, ACK, CONTENT, None, b"\xffnew"))],
            _ => vec![],
        });
        link.slow_sends = 10;
        let mut client = client(&mut link, &world);
        let _ = world.run_and_drop(async { client.get("/old").await.map(|_| ()) }, polls);
        assert_eq!(world.run(client.get("/")).unwrap().unwrap().payload(), b"new", "{polls}");
    }
}

#[test]
fn every_request_has_its_own_id_and_token() {
    let world = World::default();
    let mut link = Link::new(&world, |request| vec![(0, answer(request, ACK, CONTENT, None, b""))]);
    let mut client = client(&mut link, &world);
    for _ in 0..3 {
        world.run(client.get("/")).unwrap().unwrap();
    }
    let ids: Vec<u16> = link.sent.iter().map(|(_, datagram)| id(datagram)).collect();
    assert_eq!(ids, [ids[0], ids[0].wrapping_add(1), ids[0].wrapping_add(2)]);
    let tokens: std::collections::HashSet<_> =
        link.sent.iter().map(|(_, datagram)| datagram[4..8].to_vec()).collect();
    assert_eq!(tokens.len(), 3);
    assert_eq!(Message::parse(&link.sent[0].1).unwrap().kind(), Type::Confirmable);
}

/// Datagrams of all kinds do no harm; and the response still gets through.
#[test]
fn noise() {
    use rand_core::TryRng;
    let world = World::default();
    let mut rng = Repeatable(7);
    let mut link = Link::new(&world, move |request| {
        if request[1] != 0x01 {
            return vec![];
        }
        let mut random = |below: usize| rng.try_next_u32().unwrap() as usize % below;
        let mut datagrams: Vec<_> = (0..200)
            .map(|i| {
                let mut datagram = answer(request, random(4) as u8, CONTENT, None, b"\xc0\x21\x1e\xffforged");
                // The header, the token or all of it is damaged.
                match random(4) {
                    0 => datagram[0] |= 0x49,
                    1 => datagram[4 + random(4)] ^= 1 << random(8),
                    2 => datagram.truncate(random(8)),
                    _ => datagram = (0..random(40)).map(|_| random(256) as u8).collect(),
                }
                (i, datagram)
            })
            .collect();
        datagrams.push((1_000, answer(request, ACK, CONTENT, None, b"\xffgenuine")));
        datagrams
    });
    let mut client = client(&mut link, &world);
    for _ in 0..500 {
        assert_eq!(world.run(client.get("/")).unwrap().unwrap().payload(), b"genuine");
    }
}
