//! Downloads in blocks (RFC 7959 §2.4), against a peer that shares no code with the server.
#![cfg(feature = "coap")]

use coap_handler::Handler;
use coap_handler_implementations::{HandlerBuilder, ReportingHandlerBuilder, SimpleRendered, new_dispatcher};
use coap_message::{
    Code, MessageOption, MinimalWritableMessage, MutableWritableMessage, OptionNumber, ReadableMessage,
};
use dtls_psk::coap::{Changes, Server};

#[path = "support/coap_peer.rs"]
mod peer;
#[path = "support/coap.rs"]
mod support;

use peer::*;
use support::Repeatable;

const CONTENT: u8 = 0x45;

/// Bytes no two blocks of which are alike.
fn body(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at ^ ((at >> 4) * 7) ^ ((at >> 11) * 13)) as u8).collect()
}

/// A client's end, a server, and the number of the next request.
struct Bench<'w, 's, const SIZE: usize = 1152> {
    wire: &'w Wire,
    server: Server<'s, Port<'w>, &'w Time, Repeatable, SIZE>,
    id: u16,
}

macro_rules! bench {
    ($bench:ident: $size:literal, $wire:expr) => {
        let (time, wire) = (Time::default(), $wire);
        let mut port = Port(&wire);
        let server = Server::<_, _, _, $size>::with_sizes(&mut port, &time, Repeatable(1));
        let mut $bench = Bench { wire: &wire, server, id: 0 };
    };
}

impl<const SIZE: usize> Bench<'_, '_, SIZE> {
    #[track_caller]
    fn ask(&mut self, handler: &mut impl Handler, request: Coap) -> Coap {
        self.id += 1;
        self.wire.push(client(0), &Coap { id: self.id, ..request });
        drive(self.server.run(handler));
        let reply = self.wire.take_one();
        assert_eq!((reply.kind, reply.id, &reply.token[..]), (ACK, self.id, &b"t"[..]));
        reply
    }

    fn get(&mut self, handler: &mut impl Handler, path: &str, block2: Option<(u32, u32)>) -> Coap {
        let request = Coap::request(CON, GET, 0, path);
        self.ask(
            handler,
            match block2 {
                Some((number, size)) => request.with(BLOCK2, block(number, false, size)),
                None => request,
            },
        )
    }

    /// A whole representation, and how many requests that took. `size` is what the client wants from the start, `later` what
    /// it wants from the second request on.
    #[track_caller]
    fn download(
        &mut self,
        handler: &mut impl Handler,
        path: &str,
        size: Option<u32>,
        later: Option<u32>,
    ) -> (Vec<u8>, usize) {
        let mut reply = self.get(handler, path, size.map(|size| (0, size)));
        let (mut whole, mut requests) = (Vec::new(), 1);
        let etag = reply.option(ETAG).map(<[u8]>::to_vec);
        let total = reply.uint(SIZE2);
        let mut most = size;
        loop {
            assert_eq!(reply.says(), 205, "{reply:?}");
            let Some((number, more, size)) = reply.block(BLOCK2) else {
                assert!(requests == 1 && most.is_none());
                return (reply.payload, 1);
            };
            assert!(most.is_none_or(|most| size <= most), "at most what was asked for");
            assert_eq!(number * size, whole.len() as u32, "the block that was asked for");
            assert!(reply.payload.len() <= size as usize);
            assert!(!more || reply.payload.len() == size as usize);
            assert_eq!(reply.option(ETAG).map(<[u8]>::to_vec), etag);
            assert!(etag.is_some() || !more && requests == 1, "several blocks have an ETag");
            whole.extend(&reply.payload);
            if !more {
                assert!(total.is_none_or(|total| total as usize == whole.len()));
                return (whole, requests);
            }
            most = Some(later.unwrap_or(size).min(size));
            let next = whole.len() as u32 / most.unwrap();
            reply = self.get(handler, path, Some((next, most.unwrap())));
            requests += 1;
            assert_eq!(reply.option(SIZE2), None, "it was said once");
        }
    }
}

/// A handler that knows nothing of blocks and sets a payload.
fn constant(body: Vec<u8>) -> impl Handler {
    Does(move |_| (CONTENT, body.clone()))
}

/// One that writes in place.
struct InPlace(Vec<u8>);

impl Handler for InPlace {
    type RequestData = ();
    type ExtractRequestError = std::convert::Infallible;
    type BuildResponseError<M: MinimalWritableMessage> = M::UnionError;

    fn extract_request_data<M: ReadableMessage>(&mut self, _: &M) -> Result<(), Self::ExtractRequestError> {
        Ok(())
    }

    fn estimate_length(&mut self, (): &()) -> usize {
        self.0.len()
    }

    fn build_response<M: MutableWritableMessage>(
        &mut self,
        response: &mut M,
        (): (),
    ) -> Result<(), M::UnionError> {
        response.set_code(M::Code::new(CONTENT)?);
        let room = response.payload_mut_with_len(self.0.len())?;
        let len = room.len();
        room.copy_from_slice(&self.0[..len]);
        Ok(())
    }
}

/// RFC 7959 §3.1, figure 2 and 3: "/status" in blocks of 128 and of 64 bytes, byte by byte.
#[test]
fn figures_2_and_3() {
    bench!(bench: 256, Wire::default());
    let body = body(300);
    let handler = &mut constant(body.clone());
    // In a buffer of 256 bytes it is the server that proposes 128.
    let request = b"\x40\x01\x04\xd2\xb6status";
    bench.wire.push_bytes(client(0), request.to_vec());
    drive(bench.server.run(handler));
    let first = bench.wire.sent.borrow_mut().remove(0).1;
    assert_eq!(first[..5], *b"\x60\x45\x04\xd2\x48", "an ETag of eight bytes");
    let etag = first[5..13].to_vec();
    // Block2 2:0/1/128 is 0x0b, Size2 300.
    assert_eq!(first[13..], [&b"\xd1\x06\x0b\x52\x01\x2c\xff"[..], &body[..128]].concat());
    for (id, value, options, range) in [
        (0x04d3_u16, &b"\x13"[..], &b"\xd1\x06\x1b"[..], 128..256),
        (0x04d4, b"\x23", b"\xd1\x06\x23", 256..300),
        // Figure 3: 2:1/0/64 and 2:4/0/64.
        (0x04d5, b"\x12", b"\xd1\x06\x1a", 64..128),
        (0x04d6, b"\x42", b"\xd1\x06\x42", 256..300),
    ] {
        let request = [b"\x40\x01", &id.to_be_bytes()[..], b"\xb6status\xc1", value].concat();
        bench.wire.push_bytes(client(0), request);
        drive(bench.server.run(handler));
        let reply = bench.wire.sent.borrow_mut().remove(0).1;
        let head = [b"\x60\x45", &id.to_be_bytes()[..], b"\x48", &etag[..], options, b"\xff"].concat();
        assert_eq!(reply, [head, body[range].to_vec()].concat());
    }
    // Figure 6: the ACK was lost, the CON comes again.
    let request = b"\x40\x01\x04\xd6\xb6status\xc1\x42";
    bench.wire.push_bytes(client(0), request.to_vec());
    drive(bench.server.run(handler));
    assert_eq!(bench.wire.take_one().payload, body[256..]);
    assert_eq!(bench.server.counters().duplicates, 1);
}

/// Every length around the border of a block, every size that a client may want, early and late.
#[test]
fn every_length_around_the_borders() {
    bench!(bench: 1152, Wire::default());
    let mut lengths: Vec<usize> = (0..70).collect();
    for size in [128, 256, 512, 1_024, 2_048, 3_072] {
        lengths.extend(size - 2..=size + 2);
    }
    lengths.extend(1_100..1_152);
    for len in lengths {
        let body = body(len);
        for size in [None, Some(16), Some(32), Some(64), Some(128), Some(256), Some(512), Some(1_024)] {
            let (whole, requests) = bench.download(&mut constant(body.clone()), "/a", size, None);
            assert_eq!(whole, body, "{len} in {size:?}");
            let size = size.unwrap_or(1_024) as usize;
            assert!(requests == len.div_ceil(size).max(1) || requests == 1 && len > 1_024);
        }
        // Figure 4: the negotiation is late.
        assert_eq!(bench.download(&mut constant(body.clone()), "/a", None, Some(64)).0, body);
        assert_eq!(bench.download(&mut constant(body.clone()), "/a", Some(256), Some(16)).0, body);
        if len < 1_100 {
            assert_eq!(bench.download(&mut InPlace(body.clone()), "/a", Some(128), None).0, body);
        }
    }
}

#[test]
fn seventy_thousand_bytes() {
    bench!(bench: 1152, Wire::default());
    let body = body(70_000);
    let handler = &mut constant(body.clone());
    assert_eq!(bench.get(handler, "/a", None).uint(SIZE2), Some(70_000));
    assert_eq!(bench.download(handler, "/a", None, None), (body.clone(), 69));
    assert_eq!(bench.download(handler, "/a", Some(16), None), (body, 4_375));
}

/// Every room that a socket may leave for a message, for both kinds of handlers.
#[test]
fn every_max_payload() {
    let text = String::from_utf8(body(1_500).iter().map(|byte| b' ' + byte % 90).collect()).unwrap();
    let first = session(0);
    for most in (64..=200).chain((200..1_060).step_by(17)).chain(1_060..=1_152) {
        bench!(bench: 1152, Wire::with_sessions(vec![Session { max_payload: Some(most), ..first.clone() }]));
        let whole = bench.download(&mut constant(text.clone().into()), "/a", None, None).0;
        assert_eq!(whole, text.as_bytes(), "{most}");
        let mut own = new_dispatcher().at(&["a"], SimpleRendered(&text[..]));
        for size in [None, Some(64), Some(1_024)] {
            assert_eq!(
                bench.download(&mut own, "/a", size, None).0,
                text.as_bytes(),
                "{most}, own blocks of {size:?}"
            );
        }
        assert_eq!(bench.server.counters().send_errors, 0);
    }
}

/// RFC 7959 §2.4: an ETag tells representations apart.
#[test]
fn the_etag_is_that_of_the_representation() {
    bench!(bench: 1152, Wire::default());
    let (one, mut other) = (body(3_000), body(3_000));
    other[2_999] ^= 1;
    let mut etag = |body: &Vec<u8>, block| {
        bench.get(&mut constant(body.clone()), "/a", block).option(ETAG).unwrap().to_vec()
    };
    let etags = [None, Some((0, 64)), Some((46, 64)), Some((2, 1_024))].map(|block| etag(&one, block));
    assert!(etags.iter().all(|etag| *etag == etags[0]) && etags[0].len() == 8);
    // Also in a block that is the same in both.
    assert_ne!(etag(&other, None), etags[0]);
    assert_ne!(etag(&other, Some((1, 1_024))), etags[0]);
}

/// Blocks that there are none of are 4.00, up to the last that there may be, whatever makes the blocks.
#[test]
fn blocks_past_the_end() {
    bench!(bench: 1152, Wire::default());
    let text = "x".repeat(2_048);
    let mut own = new_dispatcher().at(&["a"], SimpleRendered(&text[..]));
    let last = (1 << 20) - 1;
    for size in [16, 32, 64, 128, 256, 512, 1_024] {
        let blocks = 2_048 / size;
        for number in [blocks, blocks + 1, last / 2, last - 1, last] {
            for reply in [
                bench.get(&mut own, "/a", Some((number, size))),
                bench.get(&mut constant(text.clone().into()), "/a", Some((number, size))),
                bench.get(&mut InPlace(body(1_000)), "/a", Some((number.max(1_000 / size + 1), size))),
                bench.get(&mut constant(vec![]), "/a", Some((number, size))),
            ] {
                assert_eq!((reply.says(), reply.option(BLOCK2)), (400, None), "{number} of {size}");
            }
        }
        for reply in [
            bench.get(&mut own, "/a", Some((blocks - 1, size))),
            bench.get(&mut constant(text.clone().into()), "/a", Some((blocks - 1, size))),
        ] {
            assert_eq!((reply.says(), reply.block(BLOCK2)), (205, Some((blocks - 1, false, size))));
        }
    }
    // M "in a request [...] has no function, MUST be set to zero, and MUST be ignored on reception" (§2.2).
    let request = Coap::request(CON, GET, 0, "/a").with(BLOCK2, block(31, true, 64));
    for reply in [bench.ask(&mut own, request.clone()), bench.ask(&mut constant(text.into()), request)] {
        assert_eq!((reply.says(), reply.block(BLOCK2)), (205, Some((31, false, 64))));
    }
}

/// The handlers of `coap-handler-implementations` panic past the end of what they have. Nobody gets there: for any block of
/// texts of any length, also when the text is shorter than it was for the last request.
#[test]
fn handlers_that_make_blocks_do_not_panic() {
    bench!(bench: 1152, Wire::default());
    bench!(small: 128, Wire::default());
    let text = String::from_utf8(body(5_000).iter().map(|byte| b' ' + byte % 90).collect()).unwrap();
    let sizes = [16_u32, 32, 64, 128, 256, 512, 1_024];
    for (round, len) in (0..5_000).rev().step_by(61).chain([0, 1, 15, 16, 17, 1_024, 2_048]).enumerate() {
        let text = &text[..len];
        let mut own = new_dispatcher().at(&["a"], SimpleRendered(text)).with_wkc();
        let size = sizes[round % 7];
        if len < 800 || round % 8 == 0 {
            assert_eq!(bench.download(&mut own, "/a", Some(size), None).0, text.as_bytes());
            assert_eq!(small.download(&mut own, "/a", Some(size), None).0, text.as_bytes());
        }
        for size in sizes {
            let end = len as u32 / size;
            for number in [0, 1, end.saturating_sub(1), end, end + 1, end + 2, 1 << 10, (1 << 20) - 1] {
                let exists = (number * size) < len as u32 || number == 0;
                for path in ["/a", "/.well-known/core"] {
                    let reply = bench.get(&mut own, path, Some((number, size)));
                    let short = small.get(&mut own, path, Some((number, size)));
                    if path == "/a" {
                        let code = if exists { 205 } else { 400 };
                        assert_eq!((reply.says(), short.says()), (code, code), "{number} of {size} of {len}");
                    }
                }
            }
        }
    }
}

/// A handler that makes the first of several blocks, and then has no response to the request for another.
struct OnlyTheFirst(u8);

impl Handler for OnlyTheFirst {
    type RequestData = bool;
    type ExtractRequestError = std::convert::Infallible;
    type BuildResponseError<M: MinimalWritableMessage> = M::UnionError;

    fn extract_request_data<M: ReadableMessage>(
        &mut self,
        request: &M,
    ) -> Result<bool, Self::ExtractRequestError> {
        Ok(request.options().any(|option| option.number() == BLOCK2))
    }

    fn estimate_length(&mut self, _: &bool) -> usize {
        16
    }

    fn build_response<M: MutableWritableMessage>(
        &mut self,
        response: &mut M,
        is_later: bool,
    ) -> Result<(), M::UnionError> {
        if is_later {
            response.set_code(M::Code::new(self.0)?);
            return Ok(());
        }
        response.set_code(M::Code::new(CONTENT)?);
        response.add_option(M::OptionNumber::new(BLOCK2)?, &block(0, true, 16))?;
        response.set_payload(&[b'x'; 16])?;
        Ok(())
    }
}

/// What is no response is not sent, whichever block it was asked for: neither 0.00, as if it came later, nor a request.
#[test]
fn a_handler_that_has_no_second_block() {
    bench!(bench: 1152, Wire::default());
    for (code, says) in [(0, 500), (GET, 500), (CONTENT, 500), (0x84, 404)] {
        assert_eq!(bench.get(&mut OnlyTheFirst(code), "/a", Some((0, 16))).says(), 205);
        assert_eq!(bench.get(&mut OnlyTheFirst(code), "/a", Some((1, 16))).says(), says);
    }
}

/// A registration says how long the blocks are that notifications have at most (RFC 7959 §2.6). The rest is fetched by GET
/// (figure 12).
#[test]
fn notifications_of_long_representations() {
    let (time, wire) = (Time::default(), Wire::default());
    let mut port = Port(&wire);
    let changes = Changes::local(["/status"]);
    let server = Server::new(&mut port, &time, Repeatable(1)).with_changes(&changes);
    let mut bench = Bench { wire: &wire, server, id: 0 };
    let mut body = body(300);
    let register = Coap::request(CON, GET, 0, "/status").with(OBSERVE, []).with(BLOCK2, block(0, false, 128));
    let reply = bench.ask(&mut constant(body.clone()), register);
    assert_eq!(reply.block(BLOCK2), Some((0, true, 128)));
    assert!(reply.option(OBSERVE).is_some());
    body.reverse();
    changes.notify("/status");
    drive(bench.server.run(&mut constant(body.clone())));
    let notification = wire.take_one();
    assert_eq!(notification.block(BLOCK2), Some((0, true, 128)));
    assert!(notification.uint(OBSERVE) > reply.uint(OBSERVE));
    assert_ne!(notification.option(ETAG), reply.option(ETAG));
    assert_eq!(notification.payload, body[..128]);
    for number in 1..3 {
        let rest = bench.get(&mut constant(body.clone()), "/status", Some((number, 128)));
        assert_eq!((rest.option(ETAG), rest.option(OBSERVE)), (notification.option(ETAG), None));
        assert_eq!(rest.payload, body[128 * number as usize..300.min(128 * number as usize + 128)]);
    }
}
