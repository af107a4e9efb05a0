//! The CoAP server against scripted datagrams.
#![cfg(feature = "coap")]

use coap_handler::Handler;
use coap_handler_implementations::{HandlerBuilder, ReportingHandlerBuilder, SimpleRendered, new_dispatcher};
use coap_message::{
    Code, MessageOption, MinimalWritableMessage, MutableWritableMessage, OptionNumber, ReadableMessage,
};
use coap_numbers::{code, option};
use dtls_psk::Peer;
use dtls_psk::coap::{Counters, Error, ForPeer, Message, Server, Type};
use dtls_psk_reference::{ABOUT, Board, SimulatedBoard, resources};

#[path = "support/coap.rs"]
mod support;

use support::{Repeatable, Script, ScriptOver, World, addr};

/// Runs a server with default sizes to the end of its script, and returns what it sent.
fn serve(handler: &mut impl Handler, datagrams: &[&[u8]]) -> Vec<Vec<u8>> {
    serve_and_count(handler, datagrams).0
}

fn serve_and_count(handler: &mut impl Handler, datagrams: &[&[u8]]) -> (Vec<Vec<u8>>, Counters) {
    let world = World::default();
    let mut script = Script::new(&world);
    for datagram in datagrams {
        script.arrive(datagram);
    }
    let mut server = Server::new(&mut script, &world, Repeatable(1));
    assert_eq!(world.run(server.run(handler)), Some(Error::Socket(ScriptOver)));
    let counters = server.counters();
    (script.replies(), counters)
}

/// Says how often it was asked, in the payload; and it understands every option.
#[derive(Default)]
struct Counting(u8);

impl Handler for Counting {
    type RequestData = u8;
    type ExtractRequestError = core::convert::Infallible;
    type BuildResponseError<M: MinimalWritableMessage> = M::UnionError;

    fn extract_request_data<M: ReadableMessage>(
        &mut self,
        request: &M,
    ) -> Result<u8, Self::ExtractRequestError> {
        // Whatever passes the server can be read.
        for option in request.options() {
            let _ = (option.number(), option.value());
        }
        let _ = request.payload();
        self.0 += 1;
        Ok(self.0)
    }

    fn estimate_length(&mut self, _: &u8) -> usize {
        2
    }

    fn build_response<M: MutableWritableMessage>(
        &mut self,
        response: &mut M,
        count: u8,
    ) -> Result<(), M::UnionError> {
        response.set_code(M::Code::new(code::CONTENT)?);
        response.set_payload(&[b'0' + count])?;
        Ok(())
    }
}

#[test]
fn the_reference_resources() {
    let mut board = SimulatedBoard::default();
    let replies = serve(
        &mut resources(&mut board, |_| ()),
        &[
            b"\x41\x01\x00\x01t\xb3led",
            b"\x41\x03\x00\x02t\xb3led\xff1",
            b"\x41\x01\x00\x03t\xb3led",
            b"\x41\x02\x00\x04t\xb3led\xfftoggle",
            b"\x41\x03\x00\x05t\xb3led\xff2",
            b"\x41\x01\x00\x06t\xbbtemperature",
            b"\x41\x02\x00\x07t\xbbtemperature\xff1",
            b"\x41\x01\x00\x08t\xb3led\x01x",
            b"\x41\x01\x00\x09t",
            b"\x41\x03\x00\x0at\xb3led\x11\x32\xff1",
            b"\x41\x02\x00\x0bt\xb3led\xff0",
            b"\x41\x03\x00\x0ct\xb3led\xfftoggle",
        ],
    );
    assert_eq!(
        replies,
        [
            &b"\x61\x45\x00\x01t\xc0\xff0"[..],
            b"\x61\x44\x00\x02t",
            b"\x61\x45\x00\x03t\xc0\xff1",
            b"\x61\x44\x00\x04t",
            b"\x61\x80\x00\x05t\xffsend 0, 1 or toggle",
            b"\x61\x45\x00\x06t\xc0\xff21.5",
            b"\x61\x85\x00\x07t",
            b"\x61\x84\x00\x08t",
            b"\x61\x84\x00\x09t",
            b"\x61\x8f\x00\x0at",
            b"\x61\x44\x00\x0bt",
            b"\x61\x44\x00\x0ct",
        ]
    );
    assert!(board.led());
}

#[test]
fn well_known_core() {
    let replies = serve(
        &mut resources(SimulatedBoard::default(), |_| ()),
        &[b"\x40\x01\x00\x01\xbb.well-known\x04core"],
    );
    let reply = Message::parse(&replies[0]).unwrap();
    assert_eq!(reply.code(), code::CONTENT);
    let links = core::str::from_utf8(reply.payload()).unwrap();
    let expected = [
        r#"</led>;rt="led";if="core.a";ct=0;obs"#,
        r#"</temperature>;rt="temperature";if="core.s";ct=0;obs"#,
        &format!(r#"</about>;title="About";ct=0;sz={}"#, ABOUT.len()),
        r#"</firmware>;rt="firmware";ct=0"#,
    ];
    assert_eq!(links, expected.join(","));
}

#[test]
fn tokens_of_all_lengths_are_echoed() {
    for len in 0..=8_u8 {
        let token: Vec<u8> = (1..=len).collect();
        let request = [&[0x40 | len, 1, 0xab, len][..], &token].concat();
        let expected = [&[0x60 | len, 0x45, 0xab, len][..], &token, b"\xff1"].concat();
        assert_eq!(serve(&mut Counting::default(), &[&request]), [expected]);
    }
}

/// RFC 7252 §4.5: a duplicate of a Confirmable request is answered the same, without the handler.
#[test]
fn duplicates() {
    let (con, non) = (b"\x41\x02\x00\x01t", b"\x51\x02\x00\x02t");
    let mut counting = Counting::default();
    let (replies, counters) = serve_and_count(&mut counting, &[con, con, non, non, con]);
    assert_eq!(counting.0, 2);
    assert_eq!(replies.len(), 4);
    assert_eq!(replies[0], b"\x61\x45\x00\x01t\xff1");
    assert_eq!([&replies[1], &replies[3]], [&replies[0]; 2]);
    assert_eq!((replies[2][0], &replies[2][4..]), (0x51, &b"t\xff2"[..]));
    assert_eq!((counters.requests, counters.duplicates), (2, 3));
}

/// The same Message ID from somewhere else, or after EXCHANGE_LIFETIME or NON_LIFETIME, is another message.
#[test]
fn what_is_no_duplicate() {
    let world = World::default();
    let mut script = Script::new(&world);
    let (one, other, port) = (addr("192.0.2.2:5683"), addr("192.0.2.3:5683"), addr("192.0.2.2:5684"));
    let (con, non) = (b"\x40\x02\x00\x01", b"\x50\x02\x00\x02");
    for (at, remote, datagram) in [
        (0, one, con),
        (0, other, con),
        (0, port, con),
        (0, one, non),
        (144_999, one, non),
        (145_000, one, non),
        (246_999, one, con),
        (247_000, one, con),
    ] {
        script.arrive_from(at, remote, datagram);
    }
    let mut counting = Counting::default();
    let mut server = Server::new(&mut script, &world, Repeatable(1));
    world.run(server.run(&mut counting)).unwrap();
    assert_eq!(server.counters().duplicates, 2);
    assert_eq!(counting.0, 6);
    let remotes: Vec<_> = script.sent.borrow().iter().map(|(remote, _)| *remote).collect();
    assert_eq!(remotes, [one, other, port, one, one, one, one], "replies go to where the request came from");
}

/// A full memory drops new requests rather than forget young ones. They come again, and nothing is done twice.
#[test]
fn a_full_memory_has_new_requests_wait() {
    let world = World::default();
    let mut script = Script::new(&world);
    let remote = addr("192.0.2.2:40000");
    for (at, message_id) in [(0, 1), (0, 2), (0, 3), (0, 2), (0, 1), (144_999, 3), (144_999, 1), (145_000, 3)]
    {
        script.arrive_from(at, remote, &[0x40, 2, 0, message_id]);
    }
    let mut counting = Counting::default();
    let mut server = Server::<_, _, _, 128, 2, 128, 1>::with_sizes(&mut script, &world, Repeatable(1));
    world.run(server.run(&mut counting)).unwrap();
    assert_eq!((server.counters().overloaded, server.counters().duplicates), (2, 3));
    assert_eq!(script.replies().iter().map(|reply| reply[5]).collect::<Vec<_>>(), *b"122113");
}

/// Safe requests are served all the same, and take no place from others.
#[test]
fn a_full_memory_still_serves_what_is_safe() {
    let world = World::default();
    let mut script = Script::new(&world);
    for (method, message_id) in [(2, 1), (2, 2), (1, 3), (1, 3), (5, 4), (2, 5), (2, 1), (2, 2)] {
        script.arrive(&[0x40, method, 0, message_id]);
    }
    let mut counting = Counting::default();
    let mut server = Server::<_, _, _, 128, 2, 128, 1>::with_sizes(&mut script, &world, Repeatable(1));
    world.run(server.run(&mut counting)).unwrap();
    assert_eq!(script.replies().iter().map(|reply| reply[5]).collect::<Vec<_>>(), *b"1234512");
}

/// A client that counts its messages may ask as often as it likes, with the default sizes, and nothing of it is done twice.
#[test]
fn a_client_that_counts_need_not_wait() {
    let world = World::default();
    let mut script = Script::new(&world);
    let remote = addr("192.0.2.2:40000");
    for message_id in 0..2_000_u16 {
        let [high, low] = message_id.wrapping_add(65_000).to_be_bytes();
        script.arrive_from(u64::from(message_id), remote, &[0x40, 2, high, low]);
    }
    // All of them come again.
    for message_id in 0..2_000_u16 {
        let [high, low] = message_id.wrapping_add(65_000).to_be_bytes();
        script.arrive_from(100_000, remote, &[0x40, 2, high, low]);
    }
    let mut server = Server::new(&mut script, &world, Repeatable(1));
    world.run(server.run(&mut Endless)).unwrap();
    let counters = server.counters();
    assert_eq!((counters.requests, counters.duplicates, counters.overloaded), (2_000, 2_000, 0));
    // The newest get their replies once more.
    assert!(script.replies().len() > 2_040);
}

/// Has no end, unlike [`Counting`].
struct Endless;

impl Handler for Endless {
    type RequestData = ();
    type ExtractRequestError = core::convert::Infallible;
    type BuildResponseError<M: MinimalWritableMessage> = M::UnionError;

    fn extract_request_data<M: ReadableMessage>(&mut self, _: &M) -> Result<(), Self::ExtractRequestError> {
        Ok(())
    }

    fn estimate_length(&mut self, (): &()) -> usize {
        0
    }

    fn build_response<M: MutableWritableMessage>(
        &mut self,
        response: &mut M,
        (): (),
    ) -> Result<(), M::UnionError> {
        response.set_code(M::Code::new(code::CHANGED)?);
        Ok(())
    }
}

/// One client leaves the others a quarter of the memory.
#[test]
fn nobody_fills_the_memory_alone() {
    let world = World::default();
    let mut script = Script::new(&world);
    let (greedy, other) = (addr("192.0.2.2:40000"), addr("192.0.2.3:40000"));
    for message_id in 0..20 {
        script.arrive_from(0, greedy, &[0x40, 2, 0, message_id]);
    }
    for message_id in 0..3 {
        script.arrive_from(0, other, &[0x40, 2, 0, message_id]);
    }
    let mut server = Server::<_, _, _, 128, 8, 128, 1>::with_sizes(&mut script, &world, Repeatable(1));
    world.run(server.run(&mut Counting::default())).unwrap();
    assert_eq!(server.counters().overloaded, 14 + 1);
    let remotes: Vec<_> = script.sent.borrow().iter().map(|(remote, _)| *remote).collect();
    assert_eq!(remotes, [[greedy; 6].as_slice(), &[other; 2]].concat());
}

/// What stops while it sends, or at any other await, remembers everything when it starts again.
#[test]
fn run_can_be_dropped_at_any_await() {
    let world = World::default();
    let mut script = Script::new(&world);
    script.arrive(b"\x40\x02\x00\x01");
    script.arrive(b"\x40\x02\x00\x01");
    script.arrive(b"\x40\x02\x00\x02");
    script.slow_sends = 1;
    let mut counting = Counting::default();
    let mut server = Server::new(&mut script, &world, Repeatable(1));
    drop(server.run(&mut counting));
    // It waits for the first reply to be sent.
    assert_eq!(world.run_and_drop(server.run(&mut counting), 1), None);
    world.run(server.run(&mut counting)).unwrap();
    world.run(server.run(&mut counting)).unwrap();
    assert_eq!(script.replies(), [b"\x60\x45\x00\x01\xff1", b"\x60\x45\x00\x02\xff2"]);
}

/// RFC 7252 §4.2, §4.3: Confirmable messages that are no requests are rejected with a RST, others silently.
#[test]
fn what_is_no_request() {
    let mut counting = Counting::default();
    for datagram in [
        &b"\x40\x00\x12\x34"[..],
        b"\x41\x00\x12\x34t",
        b"\x40\x45\x12\x34\xffx",
        b"\x40\x21\x12\x34",
        b"\x40\xc1\x12\x34",
        b"\x40\xe1\x12\x34",
        b"\x49\x01\x12\x34123456789",
        b"\x40\x01\x12\x34\xff",
        b"\x40\x01\x12\x34\xf0",
        b"\x48\x01\x12\x34t",
    ] {
        assert_eq!(serve(&mut counting, &[datagram]), [b"\x70\x00\x12\x34"], "{datagram:02x?}");
        for kind in [0x10, 0x20, 0x30] {
            let mut other = datagram.to_vec();
            other[0] |= kind;
            assert!(serve(&mut counting, &[&other]).is_empty(), "{other:02x?}");
        }
    }
    for datagram in [&b""[..], b"\x40", b"\x40\x01\x12", b"\x00\x01\x12\x34", b"\xc0\x01\x12\x34"] {
        assert!(serve(&mut counting, &[datagram]).is_empty(), "{datagram:02x?}");
    }
    // An ACK or a RST that carries a request.
    assert!(serve(&mut counting, &[b"\x60\x01\x12\x34", b"\x70\x01\x12\x34"]).is_empty());
    assert_eq!(counting.0, 0);
}

/// RFC 7252 §5.4.1, §5.4.3, §5.4.5: 4.02 for a Confirmable request, silence for a Non-confirmable one.
#[test]
fn options_that_are_not_understood() {
    let long = [&b"\xbd\xf3"[..], &[b'x'; 256]].concat();
    for options in [
        &b"\x90"[..],                // 9, OSCORE
        b"\xd4\x0e\x00\x00\x00\x00", // Block1 of four bytes
        b"\xe0\xfe\xf2",             // 65535
        b"\x30",                     // an empty Uri-Host
        b"\x31h\x01i",               // two of them
        b"\x51x",                    // If-None-Match with a value
        b"\x73\x01\x02\x03",         // a Uri-Port of three bytes
        b"\xd3\x04\x00\x00\x00",     // an Accept of three bytes
        &long[..],                   // a segment of 256 bytes
        b"\xd4\x0a\x00\x00\x00\x00", // Block2 of four bytes
        b"\xd1\x0a\x06\x01\x06",     // two of them
    ] {
        let mut counting = Counting::default();
        let replies = serve(&mut counting, &[&[&b"\x41\x01\x00\x01t"[..], options].concat()]);
        let reply = Message::parse(&replies[0]).unwrap();
        assert_eq!((reply.kind(), reply.code()), (Type::Acknowledgement, code::BAD_OPTION), "{options:02x?}");
        assert_eq!(reply.token().as_bytes(), b"t");
        // A Non-confirmable one is silently rejected.
        let replies = serve(&mut counting, &[&[&b"\x51\x01\x00\x01t"[..], options].concat()]);
        assert!(replies.is_empty());
        assert_eq!(counting.0, 0, "{options:02x?} reached the handler");
    }
    let replies = serve(&mut Counting::default(), &[b"\x40\x01\x00\x01\x90"]);
    assert_eq!(replies, [b"\x60\x82\x00\x01\xffnot understood: option 9"]);
}

/// An option number past 65535 is a format error (RFC 7252 §3.1), not an option.
#[test]
fn option_numbers_that_do_not_exist() {
    let request = b"\x41\x01\x00\x01t\xe1\xff\xff\x00";
    assert_eq!(serve(&mut Counting::default(), &[request]), [b"\x70\x00\x00\x01"]);
}

/// RFC 7252 §5.10.2, RFC 7959 §2.2: options that are understood and refused. Either type of request gets its response.
#[test]
fn options_that_are_refused() {
    for (options, code) in [
        (&b"\xd1\x0a\x07"[..], code::BAD_REQUEST), // Block2 with the reserved size
        (b"\xd1\x0e\x07", code::BAD_REQUEST),      // Block1 with the reserved size
        (b"\xd5\x16a:b/c", code::PROXYING_NOT_SUPPORTED), // Proxy-Uri
        (b"\xd4\x1acoap", code::PROXYING_NOT_SUPPORTED), // Proxy-Scheme
    ] {
        let (con, non) = (&b"\x41\x01\x00\x01t"[..], &b"\x51\x01\x00\x02t"[..]);
        let another = b"\x51\x01\x00\x03t";
        let mut counting = Counting::default();
        let (replies, counters) = serve_and_count(
            &mut counting,
            &[con, non, another]
                .map(|request| [request, options].concat())
                .each_ref()
                .map(|request| &request[..]),
        );
        assert_eq!((counting.0, counters.refused), (0, 3), "{options:02x?} reached the handler");
        let replies: Vec<_> = replies.iter().map(|reply| Message::parse(reply).unwrap()).collect();
        assert!(replies.iter().all(|reply| reply.code() == code && reply.token().as_bytes() == b"t"));
        let kinds: Vec<_> = replies.iter().map(Message::kind).collect();
        assert_eq!(kinds, [Type::Acknowledgement, Type::NonConfirmable, Type::NonConfirmable]);
        let ids: Vec<_> = replies.iter().map(Message::message_id).collect();
        assert_eq!((ids[0], ids[2]), (1, ids[1].wrapping_add(1)), "Message IDs of its own");
    }
}

#[test]
fn options_that_are_understood() {
    let segment = [&b"\xbd\xf2"[..], &[b'x'; 255]].concat();
    for options in [
        &b"\xe1\xfe\xf1x"[..],                              // 65534, elective
        b"\x60",                                            // Observe
        b"\xc3abc",                                         // a Content-Format that is too long: elective
        b"\x34host\x42\x16\x33\x41a\x00\x41q\x01r\x21\x3c", // host, port, path, path, query, query, accept
        &segment,
        b"\x11a\x01b", // two If-Match
    ] {
        let replies = serve(&mut Counting::default(), &[&[&b"\x40\x01\x00\x01"[..], options].concat()]);
        assert_eq!(replies, [b"\x60\x45\x00\x01\xff1"], "{options:02x?}");
    }
    // Block2, which says in return which block it is.
    for (value, options) in [(&b"\xd1\x0a\x06"[..], &b"\xd1\x0a\x06"[..]), (b"\xd0\x0a", b"\xd0\x0a")] {
        let replies = serve(&mut Counting::default(), &[&[&b"\x40\x01\x00\x01"[..], value].concat()]);
        assert_eq!(replies, [[&b"\x60\x45\x00\x01"[..], options, b"\xff1"].concat()]);
    }
    // No handler needs to know Uri-Port.
    let replies = serve(
        &mut resources(SimulatedBoard::default(), |_| ()),
        &[b"\x40\x01\x00\x01\x34host\x42\x16\x33\x43led"],
    );
    assert_eq!(replies, [b"\x60\x45\x00\x01\xc0\xff0"]);
}

#[test]
fn critical_options_for_handlers_that_know_them() {
    let world = World::default();
    let mut script = Script::new(&world);
    script.arrive(b"\x40\x01\x00\x01\xe0\x06\xf4"); // 2049
    script.arrive(b"\x40\x01\x00\x02\xe0\x06\xf8"); // 2053
    script.arrive(b"\x40\x01\x00\x03\xd1\x0a\x10"); // Block2 stays guarded: there is no second block
    let mut server = Server::new(&mut script, &world, Repeatable(1)).understand(&[2049, option::BLOCK2]);
    world.run(server.run(&mut Counting::default())).unwrap();
    assert_eq!(script.replies().iter().map(|reply| reply[1]).collect::<Vec<_>>(), [0x45, 0x82, 0x80]);
}

/// `SimpleRendered` panics past the end of what it has, and where it has less than about 41 bytes to write to.
#[test]
fn block2_and_small_buffers_do_not_reach_the_panics_of_handlers() {
    let text = "x".repeat(3_000);
    let mut handler = new_dispatcher()
        .at(&["short"], SimpleRendered("short"))
        .at(&["long"], SimpleRendered(&text[..]))
        .at(&["empty"], SimpleRendered(""))
        .with_wkc();
    let world = World::default();
    for path in [&b"\xb5short"[..], b"\xb4long", b"\xb5empty", b"\xbb.well-known\x04core"] {
        for token in [&b""[..], b"12345678"] {
            let mut script = Script::new(&world);
            let mut requests = 0_u16;
            let mut request = |block: Option<&[u8]>| {
                requests += 1;
                let mut request = vec![0x40 | token.len() as u8, 1];
                request.extend(requests.to_be_bytes());
                request.extend(token);
                request.extend(path);
                if let Some(block) = block {
                    request.extend([0xc0 | block.len() as u8]);
                    request.extend(block);
                }
                script.arrive(&request);
            };
            request(None);
            for block in [0, 1, 2, 6, 7, 8, 0x10, 0x16, 0x1f, 0xf6, 0xff] {
                request(Some(&[block]));
                request(Some(&[block, 0xf6]));
                request(Some(&[0, block]));
                request(Some(&[0xff, block, 0xf6]));
            }
            let mut server = Server::<_, _, _, 128, 4, 128>::with_sizes(&mut script, &world, Repeatable(1));
            world.run(server.run(&mut handler)).unwrap();
            let replies = script.replies();
            assert_eq!(replies.len(), usize::from(requests));
            assert_eq!(replies[0][1], code::CONTENT);
            assert!(replies.iter().all(|reply| reply.len() <= 128));
        }
    }
}

/// Does what handlers should not do.
struct Misbehaving(u8);

impl Handler for Misbehaving {
    type RequestData = ();
    type ExtractRequestError = core::convert::Infallible;
    type BuildResponseError<M: MinimalWritableMessage> = M::UnionError;

    fn extract_request_data<M: ReadableMessage>(&mut self, _: &M) -> Result<(), Self::ExtractRequestError> {
        Ok(())
    }

    fn estimate_length(&mut self, _: &()) -> usize {
        0
    }

    fn build_response<M: MutableWritableMessage>(
        &mut self,
        response: &mut M,
        _: (),
    ) -> Result<(), M::UnionError> {
        let number = |number: u16| M::OptionNumber::new(number).map_err(|_| ()).unwrap();
        match self.0 {
            // No code.
            0 => {}
            // A request as the response.
            1 => response.set_code(M::Code::new(code::GET)?),
            // Longer than a message, which is for the server to deal with.
            2 => {
                response.set_code(M::Code::new(code::CONTENT)?);
                response.set_payload(&[b'x'; 2_000])?;
            }
            3 => response.add_option(number(4), &[b'x'; 2_000])?,
            4 => response.add_option(number(4), &[b'x'; 70_000])?,
            // Out of order.
            5 => {
                response.add_option(number(12), b"")?;
                response.add_option(number(4), b"")?;
            }
            6 => {
                response.set_payload(b"x")?;
                response.add_option(number(4), b"")?;
            }
            7 => {
                response.set_payload(b"x")?;
                response.set_payload(b"y")?;
            }
            // Goes on after errors, until nothing fits any more.
            _ => {
                response.set_code(M::Code::new(code::CONTENT)?);
                while response.add_option(number(4), b"x").is_ok() {}
                assert!(response.set_payload(b"payload").is_err());
                assert!(response.payload_mut_with_len(10).is_err());
                assert!(response.truncate(1).is_err());
                assert!(response.truncate(0).is_ok());
                assert_eq!(response.payload_mut_with_len(0).ok().map(|payload| payload.len()), Some(0));
                assert!(response.available_space() < 2);
                response.mutate_options(|_, value| value.fill(b'y'));
            }
        }
        Ok(())
    }
}

#[test]
fn a_handler_that_misbehaves() {
    for what in (0..=7).filter(|what| *what != 2) {
        let replies = serve(&mut Misbehaving(what), &[b"\x41\x01\x00\x01t"]);
        assert_eq!(replies, [b"\x61\xa0\x00\x01t"], "{what}");
    }
    let replies = serve(&mut Misbehaving(2), &[b"\x41\x01\x00\x01t"]);
    assert_eq!(Message::parse(&replies[0]).unwrap().payload(), [b'x'; 1_024]);
    let replies = serve(&mut Misbehaving(8), &[b"\x41\x01\x00\x01t"]);
    let reply = Message::parse(&replies[0]).unwrap();
    assert!(reply.options().count() > 500 && reply.options().all(|option| option.value() == b"y"));
}

/// RFC 7252 §4.6: a request that is cut off is 4.13.
#[test]
fn a_request_that_is_too_long() {
    let long = [&b"\x41\x03\x00\x01t\xb3led\xff"[..], &[b'x'; 2_000]].concat();
    let mut non = long.clone();
    non[0] = 0x51;
    let mut response = long.clone();
    response[1] = 0x45;
    let mut acknowledgement = long.clone();
    acknowledgement[0] = 0x61;
    let datagrams: [&[u8]; 4] = [&long, &non, &response, &acknowledgement];
    let (replies, counters) = serve_and_count(&mut Counting::default(), &datagrams);
    // 4.13 with Block1 (27): 512 bytes, and Size1 (60): 1152.
    assert_eq!(replies[0], b"\x61\x8d\x00\x01t\xd1\x0e\x05\xd2\x14\x04\x80");
    // The same for a Non-confirmable one, with a Message ID of its own.
    assert_eq!((&replies[1][..2], &replies[1][4..]), (&b"\x51\x8d"[..], &replies[0][4..]));
    assert_eq!(replies[2..], [b"\x70\x00\x00\x01"]);
    assert_eq!((counters.requests, counters.refused), (0, 2));
}

#[test]
fn a_failed_send_ends_nothing() {
    let world = World::default();
    let mut script = Script::new(&world);
    script.arrive(b"\x40\x02\x00\x01");
    // The client asks again, and gets the reply that it missed.
    script.arrive(b"\x40\x02\x00\x01");
    script.failing_sends = 1;
    let mut counting = Counting::default();
    let mut server = Server::new(&mut script, &world, Repeatable(1));
    world.run(server.run(&mut counting)).unwrap();
    assert_eq!(server.counters().send_errors, 1);
    assert_eq!(script.replies(), [b"\x60\x45\x00\x01\xff1"]);
    assert_eq!(counting.0, 1);
}

#[test]
fn multicast_is_ignored() {
    let world = World::default();
    let mut script = Script::new(&world);
    script.local = addr("224.0.1.187:5683");
    script.arrive(b"\x40\x01\x00\x01");
    script.arrive(b"\x50\x01\x00\x02");
    script.arrive(b"\x40\x00\x00\x03");
    let mut server = Server::new(&mut script, &world, Repeatable(1));
    world.run(server.run(&mut Counting::default())).unwrap();
    assert_eq!(server.counters().ignored, 3);
    assert!(script.replies().is_empty());
}

#[test]
fn a_server_without_security_has_no_peers() {
    struct Nobody;
    impl ForPeer for Nobody {
        type Handler<'h> = Option<SimpleRendered<&'h str>>;

        fn for_peer<'h>(&'h mut self, peer: Option<Peer<'h>>) -> Self::Handler<'h> {
            assert_eq!(peer, None);
            None
        }
    }
    let world = World::default();
    let mut script = Script::new(&world);
    script.arrive(b"\x40\x01\x00\x01");
    let mut server = Server::new(&mut script, &world, Repeatable(1));
    world.run(server.run_for(&mut Nobody)).unwrap();
    assert_eq!(script.replies(), [b"\x60\x84\x00\x01"]);
}

/// Datagrams of all kinds, most of them near misses, do no harm; and a good request still works after them.
#[test]
fn noise() {
    let mut rng = Repeatable(2026);
    let mut random = |below: usize| {
        use rand_core::TryRng;
        rng.try_next_u32().unwrap() as usize % below
    };
    let seeds: [&[u8]; 8] = [
        b"\x44\x01\x7d\x35abcd\xbbtemperature",
        b"\x44\x03\x7d\x36abcd\xb3led\xfftoggle",
        b"\x40\x01\x00\x01\xbb.well-known\x04core\xc1\x06",
        b"\x48\x02\x00\x0112345678\x34host\x42\x16\x33\x43led\x11\x00\x21\x00\xff1",
        b"\x50\x01\x00\x01\x60\x55short\xc1\x02",
        b"\x40\x00\x00\x01",
        b"\x60\x45\x00\x01\xffx",
        b"\x40\x01\x00\x01\xe1\x00\x01\x0d\x0d\x00",
    ];
    let mut board = SimulatedBoard::default();
    let mut handler = HandlerBuilder::at(resources(&mut board, |_| ()), &["short"], SimpleRendered("short"));
    let world = World::default();
    let mut script = Script::new(&world);
    for i in 0..200_000_u64 {
        let mut datagram = seeds[random(seeds.len())].to_vec();
        if random(4) > 0 {
            datagram[2..4].copy_from_slice(&(i as u16).to_be_bytes());
        }
        for _ in 0..random(4) {
            match random(4) {
                0 if !datagram.is_empty() => datagram.truncate(random(datagram.len())),
                1 => datagram.extend((0..random(20)).map(|_| random(256) as u8)),
                2 => datagram = (0..random(40)).map(|_| random(256) as u8).collect(),
                _ if !datagram.is_empty() => {
                    let at = random(datagram.len());
                    datagram[at] ^= 1 << random(8);
                }
                _ => {}
            }
        }
        script.arrive_from(i * 50, addr("192.0.2.2:5683"), &datagram);
    }
    script.arrive_from(60_000_000, addr("192.0.2.9:5683"), b"\x41\x01\x00\x01t\xbbtemperature");
    let mut server = Server::<_, _, _, 256, 4, 256>::with_sizes(&mut script, &world, Repeatable(1));
    world.run(server.run(&mut handler)).unwrap();
    let counters = server.counters();
    assert!(counters.requests > 10_000 && counters.resets > 10_000 && counters.refused > 500, "{counters:?}");
    assert!(counters.ignored > 10_000 && counters.duplicates > 1_000, "{counters:?}");
    let replies = script.replies();
    for reply in &replies {
        Message::parse(reply).unwrap();
    }
    assert_eq!(replies.last().unwrap(), b"\x61\x45\x00\x01t\xc0\xff21.5");
}
