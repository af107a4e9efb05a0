//! The CoAP client and bodies that are longer than a message (RFC 7959, RFC 9175), against a peer in simulated time.
#![cfg(feature = "coap")]

use std::cell::RefCell;

use dtls_psk::coap::{Client, Error, Progress, Request, TransmissionParameters};

#[path = "support/coap_scripted.rs"]
mod peer;
#[path = "support/coap.rs"]
mod support;

use peer::*;
use support::{Link, Repeatable, World};

/// Code, options and payload.
type Answer = (u8, Vec<(u16, Vec<u8>)>, Vec<u8>);
/// Code and payload.
type Reply = Result<(u8, Vec<u8>), Error<support::ScriptOver>>;
type TestClient<'a, 'w, const SIZE: usize> = Client<'a, Link<'w>, &'w World, Repeatable, SIZE>;

fn client<'a, 'w, const SIZE: usize>(link: &'a mut Link<'w>, world: &'w World) -> TestClient<'a, 'w, SIZE> {
    Client::with_size(link, world, Repeatable(1))
}

/// A peer that gives these answers in turn, and none after the last.
fn scripted<'w>(world: &'w World, script: Vec<Answer>) -> Link<'w> {
    let mut script = script.into_iter();
    Link::new(world, move |request| {
        let answer = if is_request(request) { script.next() } else { None };
        let answer = answer.map(|(code, options, payload)| piggybacked(request, code, &options, &payload));
        answer.into_iter().map(|answer| (10, answer)).collect()
    })
}

/// What a client with `SIZE` bytes gets, or why not, with what it sent.
fn ask<const SIZE: usize>(request: &Request<'_>, script: Vec<Answer>) -> (Reply, Vec<String>) {
    let world = World::default();
    let mut link = scripted(&world, script);
    let mut client: TestClient<'_, '_, SIZE> = client(&mut link, &world);
    let result = world.run(client.request(request)).unwrap();
    let result = result.map(|reply| (reply.code().byte(), reply.payload().to_vec()));
    (result, flow(&link.sent))
}

/// One that a server sends in blocks of `size` without being asked how.
fn blocks_of(body: &[u8], size: usize) -> Vec<Answer> {
    let last = body.len().div_ceil(size) - 1;
    let block_at = |(at, chunk): (usize, &[u8])| {
        let value = block(at as u32, u32::from(at < last), size as u32);
        (CONTENT, vec![(BLOCK2, value)], chunk.to_vec())
    };
    body.chunks(size).enumerate().map(block_at).collect()
}

/// RFC 7959 §3.1 figure 2: the server proposes a block size of 128, and the client agrees.
#[test]
fn simple_block_wise_get() {
    let world = World::default();
    let body = body(300);
    let mut script = blocks_of(&body, 128).into_iter();
    let mut link = Link::new(&world, move |request| {
        let (code, options, payload) = script.next().unwrap();
        vec![(0, piggybacked(request, code, &options, &payload))]
    });
    let mut client: TestClient<'_, '_, 1152> = client(&mut link, &world);
    let reply = world.run(client.get("/status")).unwrap().unwrap();
    assert_eq!(reply.payload(), body);
    assert_eq!(flow(&link.sent), ["GET", "GET 2:1/0/128", "GET 2:2/0/128"]);
    // The bytes of the figure, whose Message IDs count up: CON, GET, /status, Block2.
    let ends: Vec<_> = link.sent.iter().map(|(_, datagram)| datagram[8..].to_vec()).collect();
    assert_eq!(ends, [&b"\xb6status"[..], b"\xb6status\xc1\x13", b"\xb6status\xc1\x23"]);
    let ids: Vec<_> =
        link.sent.iter().map(|(_, datagram)| id(datagram).wrapping_sub(id(&link.sent[0].1))).collect();
    assert_eq!(ids, [0, 1, 2]);
    assert!(link.sent.iter().all(|(_, datagram)| datagram[..2] == *b"\x44\x01"));
    let tokens: std::collections::HashSet<_> =
        link.sent.iter().map(|(_, datagram)| token(datagram)).collect();
    assert_eq!(tokens.len(), 3, "each exchange has its own token");
}

/// Figure 3: early negotiation, by a client that wants blocks of 64 bytes.
#[test]
fn early_negotiation() {
    let body = body(380);
    let request = Request::get("/status").block_size(64);
    let (result, flow) = ask::<1152>(&request, blocks_of(&body, 64));
    assert_eq!(result, Ok((CONTENT, body)));
    let expected: Vec<_> = (0..6).map(|number| format!("GET 2:{number}/0/64")).collect();
    assert_eq!(flow, expected);
}

/// Figure 4: late negotiation. A server that began with 128 goes on with 64, at the third block.
#[test]
fn late_negotiation() {
    let body = body(380);
    let mut script = vec![(CONTENT, vec![(BLOCK2, block(0, 1, 128))], body[..128].to_vec())];
    script.extend(blocks_of(&body, 64).into_iter().skip(2));
    // 200 bytes hold a block of 128, but not two of them with their options.
    let world = World::default();
    let mut link = scripted(&world, script);
    let mut client: TestClient<'_, '_, 1152> = client(&mut link, &world);
    // The request that wants 64 is answered with 128 by a server that has no smaller ones: that is refused.
    let result = world.run(client.request(&Request::get("/status").block_size(64))).unwrap().map(|_| ());
    assert_eq!(result, Ok(()));
    assert_eq!(flow(&link.sent)[..3], ["GET 2:0/0/64", "GET 2:2/0/64", "GET 2:3/0/64"]);
}

/// A buffer that is nearly full gets smaller blocks, and one that is too small for one more is told so before it is asked.
#[test]
fn blocks_shrink_to_what_fits() {
    for len in 1..=400 {
        let world = World::default();
        let body = body(len);
        let mut resource = Resource::new(body.clone(), 1024);
        let mut link = Link::new(&world, move |request| vec![(0, resource.answer(request))]);
        let mut client: TestClient<'_, '_, 256> = client(&mut link, &world);
        match world.run(client.get("/")).unwrap() {
            Ok(reply) => assert_eq!(reply.payload(), body),
            Err(error) => {
                assert_eq!(error, Error::ReplyTooLong);
                assert!(len > 192, "{len} bytes fit");
            }
        }
        let first = block_of(&link.sent[0].1, BLOCK2);
        assert_eq!(first, Some((0, 0, 128)), "asked for early");
        assert!(len <= 210 || link.sent.len() < 8);
        // A longer buffer of the caller's takes it.
        let mut buffer = [0; 512];
        let mut client: TestClient<'_, '_, 256> = Client::with_size(&mut link, &world, Repeatable(2));
        let reply = world.run(client.request_into(&Request::get("/"), &mut buffer)).unwrap().unwrap();
        assert_eq!(reply.payload(), body, "{len}");
    }
}

/// The reply that is put together is the message of the first block with the whole body.
#[test]
fn the_options_are_those_of_the_first_block() {
    let world = World::default();
    let body = body(100);
    let mut resource = Resource::new(body.clone(), 32);
    let mut link = Link::new(&world, move |request| vec![(0, resource.answer(request))]);
    let mut client: TestClient<'_, '_, 1152> = client(&mut link, &world);
    let reply = world.run(client.get("/")).unwrap().unwrap();
    assert_eq!((reply.etag(), reply.payload()), (Some(&b"v1"[..]), &body[..]));
    use coap_message::{MessageOption as _, ReadableMessage as _};
    let numbers: Vec<_> = reply.message().options().map(|option| option.number()).collect();
    assert_eq!(numbers, [ETAG, SIZE2], "it is no block any more");
}

/// §3.2 figures 7 and 8: an atomic server and a stateless one, with the Size1 of §4 and the Request-Tag of RFC 9175 §3.
#[test]
fn simple_block_wise_put() {
    for (code, more) in [(CONTINUE, 1), (CHANGED, 0)] {
        let world = World::default();
        let body = body(300);
        let script = (0..3).map(|number| {
            let code = if number == 2 { CHANGED } else { code };
            (code, vec![(BLOCK1, block(number, if number == 2 { 0 } else { more }, 128))], vec![])
        });
        let mut link = scripted(&world, script.collect());
        let mut client: TestClient<'_, '_, 1152> = client(&mut link, &world);
        let request = Request::put("/options", &body).content_format(42).block_size(128);
        let reply = world.run(client.request(&request)).unwrap().unwrap();
        assert_eq!((reply.code().byte(), reply.payload()), (CHANGED, &b""[..]));
        assert_eq!(flow(&link.sent), ["PUT 1:0/1/128", "PUT 1:1/1/128", "PUT 1:2/0/128 2:0/0/128"]);
        let sent: Vec<_> = link.sent.iter().map(|(_, datagram)| datagram).collect();
        assert_eq!(sent.iter().flat_map(|datagram| payload(datagram)).collect::<Vec<_>>(), body);
        let sizes: Vec<_> = sent.iter().map(|datagram| option(datagram, SIZE1)).collect();
        assert_eq!(sizes, [Some(uint(300)), None, None]);
        assert!(
            sent.iter().all(|datagram| option(datagram, CONTENT_FORMAT) == Some(vec![42])),
            "of the whole"
        );
        let tags: Vec<_> = sent.iter().map(|datagram| option(datagram, REQUEST_TAG)).collect();
        assert!(tags[0].as_ref().is_some_and(|tag| (1..=8).contains(&tag.len())));
        assert!(tags.iter().all(|tag| *tag == tags[0]), "one tag for all blocks");
        // And another for the next transfer.
        let first_tag = tags[0].clone();
        link.sent.clear();
        let mut client: TestClient<'_, '_, 1152> = Client::with_size(&mut link, &world, Repeatable(2));
        let _ = world.run(client.request(&request));
        assert_ne!(option(&link.sent[0].1, REQUEST_TAG), first_tag);
    }
}

/// §3.2 figure 9: the server prefers blocks of 32 bytes, so the second request is for block 4.
#[test]
fn a_put_whose_blocks_shrink() {
    let body = body(200);
    let script = vec![
        (CONTINUE, vec![(BLOCK1, block(0, 1, 32))], vec![]),
        (CONTINUE, vec![(BLOCK1, block(4, 1, 32))], vec![]),
        (CONTINUE, vec![(BLOCK1, block(5, 1, 32))], vec![]),
        (CHANGED, vec![(BLOCK1, block(6, 0, 32))], vec![]),
    ];
    let world = World::default();
    let mut link = scripted(&world, script);
    let mut client: TestClient<'_, '_, 200> = client(&mut link, &world);
    client.set_max_message(190);
    world.run(client.put("/options", &body)).unwrap().unwrap();
    assert_eq!(flow(&link.sent), ["PUT 1:0/1/128", "PUT 1:4/1/32", "PUT 1:5/1/32", "PUT 1:6/0/32 2:0/0/128"]);
    assert_eq!(link.sent.iter().flat_map(|(_, datagram)| payload(datagram)).collect::<Vec<_>>(), body);
}

/// §3.3 figures 10 and 11: the reply to a POST in blocks comes in blocks, which are asked for without Block1 and payload.
#[test]
fn a_post_with_a_long_reply() {
    for size in [None, Some(64)] {
        let world = World::default();
        let (question, answer) = (body(300), body(250));
        let mut resource = Resource::new(answer.clone(), 128);
        let mut link = Link::new(&world, move |request| vec![(0, resource.answer(request))]);
        let mut client: TestClient<'_, '_, 1152> = client(&mut link, &world);
        client.set_max_message(192);
        let request = Request::post("/soap", &question);
        let request = size.map_or(request, |size| request.block_size(size));
        let reply = world.run(client.request(&request)).unwrap().unwrap();
        assert_eq!((reply.code().byte(), reply.payload()), (CHANGED, &answer[..]));
        let tag = option(&link.sent[0].1, REQUEST_TAG);
        assert!(tag.is_some());
        for (_, datagram) in &link.sent {
            assert_eq!(option(datagram, REQUEST_TAG), tag, "RFC 9175 §3.4: in the Block2 phase as well");
            assert_eq!(payload(datagram).is_empty(), option(datagram, BLOCK1).is_none());
        }
        let expected: &[_] = match size {
            None => &["POST 1:0/1/128", "POST 1:1/1/128", "POST 1:2/0/128 2:0/0/128", "POST 2:1/0/128"],
            Some(_) => &[
                "POST 1:0/1/64",
                "POST 1:1/1/64",
                "POST 1:2/1/64",
                "POST 1:3/1/64",
                "POST 1:4/0/64 2:0/0/64",
                "POST 2:1/0/64",
                "POST 2:2/0/64",
                "POST 2:3/0/64",
            ],
        };
        assert_eq!(flow(&link.sent), expected);
    }
}

/// Any payload goes with any size of messages, in the largest blocks that fit, and no message is longer than that.
#[test]
fn uploads_of_all_lengths() {
    for max in [64, 80, 100, 128, 200, 256] {
        for len in (0..300).chain([1_000, 2_000]) {
            let world = World::default();
            let body = body(len);
            let resource = RefCell::new(Resource::new(vec![], 1024));
            let mut link = Link::new(&world, |request| vec![(0, resource.borrow_mut().answer(request))]);
            let mut client: TestClient<'_, '_, 256> = client(&mut link, &world);
            client.set_max_message(max);
            let reply = world.run(client.put("/a", &body)).unwrap().unwrap();
            assert!(reply.code().is_success(), "{max} {len} {}", reply.code());
            assert_eq!(resource.borrow().uploaded, body, "{max} {len}");
            assert!(link.sent.iter().all(|(_, datagram)| datagram.len() <= max));
            if len + 40 < max {
                assert_eq!(link.sent.len(), 1, "{len} bytes go as they are into {max}");
                assert_eq!(option(&link.sent[0].1, REQUEST_TAG), None);
            }
        }
    }
}

#[test]
fn what_is_too_long_for_any_block() {
    let world = World::default();
    let mut link = Link::new(&world, |_| vec![]);
    let path = format!("/{}", "x".repeat(100));
    let mut client: TestClient<'_, '_, 128> = client(&mut link, &world);
    assert_eq!(world.run(client.put(&path, &[0; 100])).unwrap().unwrap_err(), Error::RequestTooLong);
    // Blocks are counted with 20 bits.
    client.set_max_message(64);
    let long = vec![0; (16 << 20) + 1];
    let mut blocks = client.in_blocks(&Request::put("/", &long));
    let _ = world.run_and_drop(async { blocks.next().await.map(|_| ()) }, 1);
    assert_eq!(link.sent.len(), 1);
}

/// §2.9.3: "a 4.13 response to a request with a Block1 Option where the response carries a smaller SZX in its Block1 Option is a
/// hint to try that smaller SZX", and one to a request without Block1 to try with.
#[test]
fn too_large() {
    let body = body(100);
    let refused = |size| (TOO_LARGE, vec![(BLOCK1, block(0, 1, size))], vec![]);
    let done = |number, more, size, code| (code, vec![(BLOCK1, block(number, more, size))], vec![]);
    let script = vec![refused(64), refused(32), done(0, 1, 32, CONTINUE), done(1, 1, 32, CONTINUE)];
    let (_, flow) = ask::<1152>(&Request::put("/", &body), script);
    assert_eq!(
        flow[..5],
        ["PUT", "PUT 1:0/1/64", "PUT 1:0/1/32", "PUT 1:1/1/32", "PUT 1:2/1/32"].map(String::from)
    );
    // One that is not smaller, none at all, and one in the middle are the end.
    for script in [
        vec![refused(128)],
        vec![(TOO_LARGE, vec![(SIZE1, uint(50))], b"too much".to_vec())],
        vec![refused(64), done(0, 1, 64, CONTINUE), (TOO_LARGE, vec![(BLOCK1, block(1, 0, 16))], vec![])],
        vec![refused(64), done(0, 1, 64, CONTINUE), (INCOMPLETE, vec![], vec![])],
    ] {
        let len = script.len();
        let code = script[len - 1].0;
        let (result, flow) = ask::<1152>(&Request::put("/", &body), script);
        assert_eq!((result.map(|(code, _)| code), flow.len()), (Ok(code), len));
    }
}

/// §2.4: "the client, when reassembling the representation from the blocks being exchanged, MUST compare ETag Options".
#[test]
fn another_version_begins_anew() {
    let block = |tag: &str, number, more, byte: u8| {
        let options = vec![(ETAG, tag.as_bytes().to_vec()), (BLOCK2, block(number, more, 16))];
        (CONTENT, options, vec![byte; if more == 1 { 16 } else { 3 }])
    };
    let script = vec![block("a", 0, 1, 1), block("b", 1, 0, 2), block("b", 0, 1, 3), block("b", 1, 0, 4)];
    let (result, flow) = ask::<1152>(&Request::get("/"), script);
    assert_eq!(result, Ok((CONTENT, [[3; 16].as_slice(), &[4; 3]].concat())));
    assert_eq!(flow, ["GET", "GET 2:1/0/16", "GET", "GET 2:1/0/16"]);
    // For ever: the client gives up after a while.
    let forever = |n: u8| [block(&n.to_string(), 0, 1, n), block(&(n + 1).to_string(), 1, 0, n)];
    let script: Vec<_> = (0..20).step_by(2).flat_map(forever).collect();
    let (result, flow) = ask::<1152>(&Request::get("/"), script.clone());
    assert_eq!((result, flow.len()), (Err(Error::Changing), 8));
    // What a POST has done is not done twice.
    let (result, flow) = ask::<1152>(&Request::post("/", b""), script);
    assert_eq!((result, flow.len()), (Err(Error::Changing), 2));
    // An ETag that is missing is another one, and so is another Content-Format (§2.3).
    for second in [
        vec![(BLOCK2, vec![0x10])],
        vec![(ETAG, b"a".to_vec()), (CONTENT_FORMAT, vec![50]), (BLOCK2, vec![0x10])],
    ] {
        let script =
            vec![block("a", 0, 1, 1), (CONTENT, second, vec![2; 3]), (CONTENT, vec![], b"short".to_vec())];
        assert_eq!(ask::<1152>(&Request::get("/"), script).0, Ok((CONTENT, b"short".to_vec())));
    }
}

/// Servers that do not keep to RFC 7959 §2.3.
#[test]
fn blocks_that_do_not_fit_together() {
    let first = (CONTENT, vec![(BLOCK2, block(0, 1, 32))], vec![1; 32]);
    let then = |number, more, size, len| (CONTENT, vec![(BLOCK2, block(number, more, size))], vec![2; len]);
    for script in [
        // Another block than the first, or than the second; none; a larger one; one that is shorter than it says.
        vec![then(1, 0, 32, 5)],
        vec![first.clone(), then(0, 1, 32, 32)],
        vec![first.clone(), then(2, 1, 32, 32)],
        vec![first.clone(), (CONTENT, vec![], b"all of it".to_vec())],
        vec![(CONTENT, vec![(BLOCK2, block(0, 1, 32))], vec![1; 31])],
        vec![(CONTENT, vec![(BLOCK2, block(0, 1, 32))], vec![])],
        vec![first.clone(), then(1, 1, 32, 33)],
        vec![first.clone(), then(1, 1, 32, 16)],
        // "Continue" with what?
        vec![(CONTINUE, vec![], vec![])],
    ] {
        let len = script.len();
        let (result, flow) = ask::<1152>(&Request::get("/"), script.clone());
        assert_eq!((result, flow.len()), (Err(Error::BlockMismatch), len), "{script:?}");
    }
    // A larger size at the right place.
    let script =
        vec![(CONTENT, vec![(BLOCK2, block(0, 1, 16))], vec![1; 16]), first.clone(), then(1, 1, 32, 32)];
    assert_eq!(ask::<1152>(&Request::get("/"), script).0, Err(Error::BlockMismatch));
    let script = vec![first.clone(), then(1, 1, 32, 32), then(1, 1, 64, 64)];
    assert_eq!(ask::<1152>(&Request::get("/"), script).0, Err(Error::BlockMismatch));
    // SZX 7 is reserved, and a Block option of four bytes is none (RFC 7252 §5.4.3).
    for value in [vec![0x0f], vec![0x17], vec![0, 0, 0, 8]] {
        let script = vec![first.clone(), (CONTENT, vec![(BLOCK2, value)], vec![2; 32])];
        assert_eq!(ask::<1152>(&Request::get("/"), script).0, Err(Error::BadOption));
    }
    // And of an upload: a block that was not sent, or an end that is none.
    let long = body(100);
    let put = Request::put("/", &long).block_size(32);
    for (at, answer) in
        [(1, (CONTINUE, vec![(BLOCK1, block(3, 1, 32))], vec![])), (3, (CONTINUE, vec![], vec![]))]
    {
        let mut script: Vec<_> =
            (0..at).map(|number| (CONTINUE, vec![(BLOCK1, block(number, 1, 32))], vec![])).collect();
        script.push(answer);
        assert_eq!(ask::<1152>(&put, script).0, Err(Error::BlockMismatch));
    }
}

/// A reply that never ends fills the buffer, and that is that.
#[test]
fn more_for_ever() {
    let world = World::default();
    let mut link = Link::new(&world, |request| {
        let (number, _, size) = block_of(request, BLOCK2).unwrap_or((0, 0, 64));
        let size2 = (SIZE2, uint(u32::MAX));
        let options = [(BLOCK2, block(number, 1, size)), size2];
        vec![(1, piggybacked(request, CONTENT, &options, &vec![7; size as usize]))]
    });
    let mut client: TestClient<'_, '_, 512> = client(&mut link, &world);
    assert_eq!(world.run(client.get("/")).unwrap().unwrap_err(), Error::ReplyTooLong);
    assert!(link.sent.len() < 16);
    // Taken one by one, it ends with the numbers of blocks.
    let mut client: TestClient<'_, '_, 512> = Client::with_size(&mut link, &world, Repeatable(2));
    let mut blocks = client.in_blocks(&Request::get("/").block_size(16));
    let mut expected = 0;
    let error = world.run(async {
        loop {
            match blocks.next().await {
                Ok(Some(Progress::Received(part))) => {
                    assert_eq!(
                        (part.offset(), part.total(), part.is_last()),
                        (expected, Some(u32::MAX), false)
                    );
                    expected += part.reply().payload().len();
                }
                Ok(progress) => panic!("{progress:?}"),
                Err(error) => return error,
            }
        }
    });
    assert_eq!((error, expected), (Some(Error::ReplyTooLong), 16 << 20));
}

/// An error in the middle takes the place of what was there, a diagnostic payload too.
#[test]
fn an_error_in_the_middle() {
    let script = vec![
        (CONTENT, vec![(BLOCK2, block(0, 1, 16))], vec![1; 16]),
        (NOT_FOUND, vec![], b"gone meanwhile".to_vec()),
    ];
    let (result, _) = ask::<1152>(&Request::get("/"), script);
    assert_eq!(result, Ok((NOT_FOUND, b"gone meanwhile".to_vec())));
}

/// A long body both ways, taken step by step.
#[test]
fn in_blocks() {
    let world = World::default();
    let (question, answer) = (body(1_000), body(10_000));
    let resource = RefCell::new(Resource::new(answer.clone(), 64));
    let mut link = Link::new(&world, |request| vec![(0, resource.borrow_mut().answer(request))]);
    let mut client: TestClient<'_, '_, 128> = client(&mut link, &world);
    let (mut sent, mut received) = (vec![], Vec::<u8>::new());
    let mut blocks = client.in_blocks(&Request::post("/", &question));
    world
        .run(async {
            while let Some(progress) = blocks.next().await.unwrap() {
                match progress {
                    Progress::Sent { sent: now, total } => {
                        assert_eq!(total, 1_000);
                        sent.push(now);
                    }
                    Progress::Received(part) => {
                        assert_eq!(part.offset(), received.len());
                        assert_eq!(part.total(), Some(10_000));
                        received.extend(part.reply().payload());
                        assert_eq!(part.is_last(), received.len() == 10_000);
                    }
                }
            }
        })
        .unwrap();
    assert_eq!(received, answer);
    assert_eq!(resource.borrow().uploaded, question);
    assert!(sent.is_sorted() && sent[0] == 64 && sent[sent.len() - 1] == 960, "{sent:?}");
    // "to ask the server to provide a size estimate" (§4), once.
    let asked = link.sent.iter().filter(|(_, datagram)| option(datagram, SIZE2).is_some()).count();
    assert_eq!(asked, 1);
}

/// A version that changes in the middle shows as an offset of 0.
#[test]
fn in_blocks_of_another_version() {
    let world = World::default();
    let resource = RefCell::new(Resource::new(body(100), 32));
    let mut link = Link::new(&world, |request| vec![(0, resource.borrow_mut().answer(request))]);
    let mut client: TestClient<'_, '_, 128> = client(&mut link, &world);
    let mut blocks = client.in_blocks(&Request::get("/"));
    let mut received = Vec::<u8>::new();
    world
        .run(async {
            while let Some(Progress::Received(part)) = blocks.next().await.unwrap() {
                received.truncate(part.offset());
                received.extend(part.reply().payload());
                if part.offset() == 64 && resource.borrow().etag == b"v1" {
                    *resource.borrow_mut() =
                        Resource { etag: b"v2".to_vec(), ..Resource::new(vec![9; 200], 32) };
                }
            }
        })
        .unwrap();
    assert_eq!(received, vec![9; 200]);
}

/// RFC 9175 §2.3 figure 1: the request comes again with the Echo option.
#[test]
fn echo() {
    let world = World::default();
    let value = b"\0\0\0\x09\x43\x74\x68\x75\x6c\x75\x21".to_vec();
    let script = vec![
        (UNAUTHORIZED, vec![(ECHO, value.clone())], vec![]),
        // Figure 2: the next value comes with the reply, "to allow later locking without more round trips".
        (CHANGED, vec![(ECHO, vec![6])], vec![]),
        (CHANGED, vec![], vec![]),
        (CHANGED, vec![], vec![]),
    ];
    let mut link = scripted(&world, script);
    let mut client: TestClient<'_, '_, 1152> = client(&mut link, &world);
    for _ in 0..3 {
        assert_eq!(world.run(client.put("/lock", b"0")).unwrap().unwrap().code().byte(), CHANGED);
    }
    let echoes: Vec<_> = link.sent.iter().map(|(_, datagram)| option(datagram, ECHO)).collect();
    assert_eq!(echoes, [None, Some(value), Some(vec![6]), None]);
    assert!(link.sent.iter().all(|(_, datagram)| payload(datagram) == b"0"));
    assert_ne!(token(&link.sent[0].1), token(&link.sent[1].1));
}

/// Once: a server that asks again and again gets through with its 4.01.
#[test]
fn echo_for_ever() {
    let world = World::default();
    let mut count = 0;
    let mut link = Link::new(&world, |request| {
        count += 1;
        vec![(0, piggybacked(request, UNAUTHORIZED, &[(ECHO, vec![count])], b"no"))]
    });
    let mut client: TestClient<'_, '_, 1152> = client(&mut link, &world);
    let reply = world.run(client.put("/lock", b"0")).unwrap().unwrap();
    assert_eq!((reply.code().byte(), reply.payload()), (UNAUTHORIZED, &b"no"[..]));
    assert_eq!(link.sent.len(), 2);
    // What is no Echo option (§2.2.1 has 1 to 40 bytes) is none.
    for value in [vec![], vec![1; 41]] {
        let world = World::default();
        let mut link = Link::new(&world, move |request| {
            vec![(0, piggybacked(request, UNAUTHORIZED, &[(ECHO, value.clone())], b""))]
        });
        let mut client: TestClient<'_, '_, 1152> = Client::with_size(&mut link, &world, Repeatable(1));
        assert_eq!(world.run(client.get("/")).unwrap().unwrap().code().byte(), UNAUTHORIZED);
        assert_eq!(link.sent.len(), 1);
    }
}

/// A server that wants every block to be fresh gets an Echo with each, and the blocks shrink where it takes their room.
#[test]
fn echo_in_a_transfer() {
    for max in [110, 128, 256] {
        let world = World::default();
        let body = body(500);
        let resource = RefCell::new(Resource::new(body.clone(), 64));
        let mut link = Link::new(&world, |request| {
            let is_fresh = option(request, ECHO) == Some(vec![8; 40]);
            let challenge = || piggybacked(request, UNAUTHORIZED, &[(ECHO, vec![8; 40])], b"");
            vec![(0, if is_fresh { resource.borrow_mut().answer(request) } else { challenge() })]
        });
        let mut client: TestClient<'_, '_, 1152> = client(&mut link, &world);
        client.set_max_message(max);
        let reply = world.run(client.post("/", &body)).unwrap().unwrap();
        assert_eq!((reply.code().byte(), reply.payload()), (CHANGED, &body[..]));
        assert_eq!(resource.borrow().uploaded, body);
        assert!(link.sent.iter().all(|(_, datagram)| datagram.len() <= max));
        let without = link.sent.iter().filter(|(_, datagram)| option(datagram, ECHO).is_none()).count();
        assert_eq!(without, 1, "asked for once");
    }
}

/// Figures 5 and 6: each datagram of either side is lost once, and comes twice.
#[test]
fn loss_and_duplication() {
    for lost in 0..40 {
        for duplicated in [false, true] {
            let world = World::default();
            let (question, answer) = (body(300), body(400));
            let resource = RefCell::new(Resource::new(answer.clone(), 64));
            let mut replies = std::collections::HashMap::new();
            let mut count = 0;
            let mut link = Link::new(&world, |request| {
                let mut arrives = |_: &[u8]| {
                    count += 1;
                    count - 1 != lost
                };
                if !is_request(request) || !arrives(request) {
                    return vec![];
                }
                // The server deduplicates (RFC 7252 §4.5).
                let reply = replies
                    .entry(id(request))
                    .or_insert_with(|| resource.borrow_mut().answer(request))
                    .clone();
                if !arrives(&reply) {
                    return vec![];
                }
                let mut arriving = vec![(10, reply.clone())];
                if duplicated {
                    arriving.extend([(11, reply.clone()), (3_000, reply)]);
                }
                arriving
            });
            let mut client: TestClient<'_, '_, 1152> = client(&mut link, &world);
            client.set_max_message(128);
            let reply = world.run(client.post("/", &question)).unwrap().unwrap();
            assert_eq!(reply.payload(), answer, "{lost}");
            assert_eq!(resource.borrow().uploaded, question);
        }
    }
}

/// A transfer that is dropped at any await leaves a client that works.
#[test]
fn a_transfer_can_be_dropped_at_any_await() {
    for polls in 1..60 {
        let world = World::default();
        let (question, answer) = (body(300), body(400));
        let resource = RefCell::new(Resource::new(answer.clone(), 64));
        let mut link = Link::new(&world, |request| vec![(10, resource.borrow_mut().answer(request))]);
        link.slow_sends = 12;
        let mut client: TestClient<'_, '_, 1152> = client(&mut link, &world);
        client.set_max_message(128);
        let _ = world.run_and_drop(async { client.post("/", &question).await.map(|_| ()) }, polls);
        let reply = world.run(client.get("/")).unwrap().unwrap();
        assert_eq!((reply.code().byte(), reply.payload()), (CONTENT, &answer[..]), "{polls}");
        // A step that is dropped is made again.
        let mut blocks = client.in_blocks(&Request::get("/"));
        let mut received = Vec::<u8>::new();
        while let Some(progress) = world
            .run(async {
                let _ = world.run_and_drop(async { blocks.next().await.map(|_| ()) }, 1);
                blocks.next().await
            })
            .unwrap()
            .unwrap()
        {
            if let Progress::Received(part) = progress {
                received.truncate(part.offset());
                received.extend(part.reply().payload());
            }
        }
        assert_eq!(received, answer);
    }
}

/// The deadline is one for each exchange.
#[test]
fn each_block_has_its_own_deadline() {
    let world = World::default();
    let mut resource = Resource::new(body(1_000), 64);
    let mut link = Link::new(&world, move |request| vec![(4_000, resource.answer(request))]);
    let mut client: TestClient<'_, '_, 1152> =
        client(&mut link, &world).with_parameters(TransmissionParameters::RFC_7252);
    client.set_deadline(core::time::Duration::from_secs(5));
    assert_eq!(world.run(client.get("/")).unwrap().unwrap().payload().len(), 1_000);
    assert_eq!(world.millis(), 16 * 4_000);
}

/// Servers that say anything: whatever they do, each request comes to an end, and the client goes on.
#[test]
fn nonsense() {
    use rand_core::TryRng;
    for seed in 0..4_000 {
        let world = World::default();
        let mut rng = Repeatable(seed);
        let mut link = Link::new(&world, move |request| {
            if !is_request(request) {
                return vec![];
            }
            if option(request, URI_PATH) == Some(b"sane".to_vec()) {
                return vec![(1, piggybacked(request, CONTENT, &[], b"sane"))];
            }
            let mut random = |below: u32| rng.try_next_u32().unwrap() % below;
            let mut options = vec![];
            // Mostly what was asked for, and mostly more of it.
            let (number, size) = match block_of(request, BLOCK2) {
                Some((number, _, size)) => (number, size),
                None => (0, 16 << random(4)),
            };
            let number = if random(8) == 0 { random(1 << 20) } else { number };
            let size = if random(16) == 0 { 16 << random(7) } else { size };
            for (number, one_in, value) in [
                (ETAG, 8, vec![random(2) as u8; 1]),
                (OBSERVE, 4, uint(random(1 << 24))),
                (CONTENT_FORMAT, 8, uint(random(2))),
                (BLOCK2, 0, block(number, u32::from(random(6) != 0), size)),
                (
                    BLOCK1,
                    2,
                    option(request, BLOCK1).unwrap_or_else(|| block(random(3), random(2), 16 << random(7))),
                ),
                (SIZE2, 4, uint(random(u32::MAX))),
                (ECHO, 8, vec![7; random(42) as usize]),
                (300, 20, vec![1; random(20) as usize]),
            ] {
                if one_in == 0 && random(4) != 0 || one_in > 0 && random(one_in) == 0 {
                    options.push((number, value));
                }
            }
            let code = match random(12) {
                0 => UNAUTHORIZED,
                1 => TOO_LARGE,
                2 => INCOMPLETE,
                3..6 => CONTINUE,
                _ => CONTENT,
            };
            let len = if random(10) == 0 { random(300) } else { size };
            let kind = [ACK, ACK, ACK, CON, NON][random(5) as usize];
            let message_id = if kind == ACK { id(request) } else { random(1 << 16) as u16 };
            vec![(1, message(kind, code, message_id, &token(request), &options, &vec![1; len as usize]))]
        });
        let mut client: TestClient<'_, '_, 256> = client(&mut link, &world);
        let long = body(500);
        let request = [Request::get("/"), Request::post("/", &long), Request::put("/", &long).block_size(16)]
            [seed as usize % 3];
        let _ = world.run(client.request(&request)).expect("it ends").map(|_| ());
        let mut blocks = client.in_blocks(&request);
        for _ in 0..200 {
            match world.run(blocks.next()).expect("each step ends") {
                Ok(Some(_)) => {}
                Ok(None) | Err(_) => break,
            }
        }
        let mut observation = client.observe(&request);
        for _ in 0..5 {
            let _ = world.run(async { observation.next().await.map(|_| ()) });
        }
        assert_eq!(world.run(client.get("/sane")).unwrap().unwrap().payload(), b"sane");
    }
}
