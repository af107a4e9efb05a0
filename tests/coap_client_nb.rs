//! The CoAP client over `embedded-nal`, polled, against a peer in simulated time.
#![cfg(all(feature = "coap", feature = "embedded-nal"))]

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;

use dtls_psk::coap::{Error, PolledClient, Request};
use dtls_psk::{Clock, Instant};
use embedded_nal::{UdpClientStack, nb};

#[path = "support/coap_scripted.rs"]
mod peer;
#[path = "support/coap.rs"]
mod support;

use peer::*;
use support::{Repeatable, ScriptOver};

#[derive(Default)]
struct Time(Cell<u64>);

impl Clock for &Time {
    fn now(&self) -> Instant {
        Instant::from_millis(self.0.get())
    }
}

type Peer<'t> = Box<dyn FnMut(&[u8]) -> Vec<(u64, Vec<u8>)> + 't>;

/// A stack of one socket, which blocks before it does anything.
struct Stack<'t> {
    time: &'t Time,
    peer: Peer<'t>,
    inbox: Vec<(u64, Vec<u8>)>,
    sent: Vec<(u64, Vec<u8>)>,
    /// Every other call blocks.
    blocks: bool,
    blocked: bool,
    fails: bool,
}

impl<'t> Stack<'t> {
    fn new(time: &'t Time, peer: impl FnMut(&[u8]) -> Vec<(u64, Vec<u8>)> + 't) -> Self {
        Self {
            time,
            peer: Box::new(peer),
            inbox: vec![],
            sent: vec![],
            blocks: false,
            blocked: false,
            fails: false,
        }
    }

    fn block(&mut self) -> nb::Result<(), ScriptOver> {
        self.blocked = self.blocks && !self.blocked;
        if self.fails {
            return Err(nb::Error::Other(ScriptOver));
        }
        if self.blocked { Err(nb::Error::WouldBlock) } else { Ok(()) }
    }
}

impl UdpClientStack for Stack<'_> {
    type UdpSocket = ();
    type Error = ScriptOver;

    fn socket(&mut self) -> Result<(), ScriptOver> {
        Ok(())
    }

    fn connect(&mut self, _: &mut (), _: SocketAddr) -> Result<(), ScriptOver> {
        Ok(())
    }

    fn send(&mut self, _: &mut (), buffer: &[u8]) -> nb::Result<(), ScriptOver> {
        self.block()?;
        let now = self.time.0.get();
        self.sent.push((now, buffer.to_vec()));
        for (delay, answer) in (self.peer)(buffer) {
            self.inbox.push((now + delay, answer));
        }
        Ok(())
    }

    fn receive(&mut self, _: &mut (), buffer: &mut [u8]) -> nb::Result<(usize, SocketAddr), ScriptOver> {
        self.block()?;
        let now = self.time.0.get();
        let first = self.inbox.iter().enumerate().min_by_key(|(_, (at, _))| *at);
        let at = first.filter(|(_, (at, _))| *at <= now).map(|(at, _)| at).ok_or(nb::Error::WouldBlock)?;
        let (_, datagram) = self.inbox.remove(at);
        let len = datagram.len().min(buffer.len());
        buffer[..len].copy_from_slice(&datagram[..len]);
        Ok((datagram.len(), support::addr("192.0.2.1:5683")))
    }

    fn close(&mut self, (): ()) -> Result<(), ScriptOver> {
        Ok(())
    }
}

type TestClient<'t, const SIZE: usize = 256> = PolledClient<&'t Time, Repeatable, SIZE>;

/// Polls a request every ten milliseconds until it is done.
fn run<const SIZE: usize>(
    stack: &mut Stack<'_>,
    client: &mut TestClient<'_, SIZE>,
    request: &Request<'_>,
) -> Result<(u8, Vec<u8>), Error<ScriptOver>> {
    let time = stack.time;
    let mut pending = client.start(request);
    loop {
        match pending.poll(stack, &mut ()) {
            Ok(reply) => return Ok((reply.code().byte(), reply.payload().to_vec())),
            Err(nb::Error::Other(error)) => return Err(error),
            Err(nb::Error::WouldBlock) => time.0.set(time.0.get() + 10),
        }
    }
}

#[test]
fn a_piggybacked_and_a_separate_response() {
    for blocks in [false, true] {
        let time = Time::default();
        let mut stack = Stack::new(&time, |request| match request[1] {
            GET => vec![(10, piggybacked(request, CONTENT, &[], b"at once"))],
            PUT => vec![
                (10, empty(ACK, id(request))),
                (5_000, message(CON, CHANGED, 77, &token(request), &[], b"later")),
            ],
            _ => vec![],
        });
        stack.blocks = blocks;
        let mut client: TestClient = PolledClient::with_size(&time, Repeatable(1));
        assert_eq!(run(&mut stack, &mut client, &Request::get("/a")), Ok((CONTENT, b"at once".to_vec())));
        assert_eq!(run(&mut stack, &mut client, &Request::put("/a", b"x")), Ok((CHANGED, b"later".to_vec())));
        let sent: Vec<_> = stack.sent.iter().map(|(_, sent)| sent[1]).collect();
        assert_eq!(sent, [GET, PUT, 0]);
        assert_eq!(stack.sent[2].1, empty(ACK, 77), "even where the stack blocked");
    }
}

/// RFC 7252 §4.2, with a first timeout of 2 to 3 seconds.
#[test]
fn retransmissions_back_off() {
    let time = Time::default();
    let mut stack = Stack::new(&time, |_| vec![]);
    let mut client: TestClient = PolledClient::with_size(&time, Repeatable(1));
    assert_eq!(run(&mut stack, &mut client, &Request::get("/")), Err(Error::TimedOut));
    let times: Vec<_> = stack.sent.iter().map(|(at, _)| *at).collect();
    assert_eq!(times.len(), 5);
    for (n, at) in times.iter().enumerate().skip(1) {
        let first = (1 << n) - 1;
        assert!((2_000 * first..=3_010 * first).contains(at), "{times:?}");
    }
    assert!(stack.sent.iter().all(|(_, sent)| *sent == stack.sent[0].1));
}

/// Blocks both ways and Echo, wherever the stack blocks, with every datagram lost once.
#[test]
fn blocks_and_echo() {
    for lost in 0..30 {
        for blocks in [false, true] {
            let time = Time::default();
            let resource = RefCell::new(Resource::new(body(150), 32));
            let mut replies = std::collections::HashMap::new();
            let mut count = 0;
            let mut stack = Stack::new(&time, |request| {
                count += 1;
                if count - 1 == lost {
                    return vec![];
                }
                let answer = || match option(request, ECHO) {
                    Some(_) => resource.borrow_mut().answer(request),
                    None => piggybacked(request, UNAUTHORIZED, &[(ECHO, vec![5; 8])], b""),
                };
                vec![(10, replies.entry(id(request)).or_insert_with(answer).clone())]
            });
            stack.blocks = blocks;
            let mut client: TestClient = PolledClient::with_size(&time, Repeatable(1));
            client.set_max_message(100);
            let question = body(200);
            assert_eq!(
                run(&mut stack, &mut client, &Request::post("/", &question)),
                Ok((CHANGED, body(150)))
            );
            assert_eq!(resource.borrow().uploaded, question, "{lost}");
            assert!(stack.sent.iter().all(|(_, sent)| sent.len() <= 100));
        }
    }
}

/// What ends a request, and that the next one works.
#[test]
fn failures_leave_nothing_behind() {
    let time = Time::default();
    let mut stack = Stack::new(&time, |request| {
        let path = option(request, URI_PATH).unwrap_or_default();
        match &path[..] {
            b"reset" => vec![(10, empty(RST, id(request)))],
            b"critical" => vec![(10, piggybacked(request, CONTENT, &[(9, vec![])], b""))],
            b"long" => vec![(10, piggybacked(request, CONTENT, &[], &[7; 300]))],
            b"mismatch" => vec![(10, piggybacked(request, CONTENT, &[(BLOCK2, block(3, 0, 16))], b""))],
            _ => vec![(10, piggybacked(request, CONTENT, &[], b"ok"))],
        }
    });
    let mut client: TestClient = PolledClient::with_size(&time, Repeatable(1));
    for (request, error) in [
        (Request::get("/reset"), Error::Reset),
        (Request::get("/critical"), Error::BadOption),
        (Request::get("/long"), Error::ReplyTooLong),
        (Request::get("/mismatch"), Error::BlockMismatch),
        (Request::get("no path"), Error::Path),
        (Request::new(0x45, "/", b""), Error::Method),
    ] {
        assert_eq!(run(&mut stack, &mut client, &request), Err(error));
        assert_eq!(run(&mut stack, &mut client, &Request::get("/")), Ok((CONTENT, b"ok".to_vec())));
    }
    stack.fails = true;
    assert_eq!(run(&mut stack, &mut client, &Request::get("/")), Err(Error::Socket(ScriptOver)));
    stack.fails = false;
    assert_eq!(run(&mut stack, &mut client, &Request::get("/")), Ok((CONTENT, b"ok".to_vec())));
}

/// A request that is dropped after any poll leaves a client that works.
#[test]
fn dropped_after_any_poll() {
    for polls in 0..40 {
        let time = Time::default();
        let resource = RefCell::new(Resource::new(body(150), 32));
        let mut stack = Stack::new(&time, |request| vec![(10, resource.borrow_mut().answer(request))]);
        stack.blocks = true;
        let mut client: TestClient = PolledClient::with_size(&time, Repeatable(1));
        let question = body(200);
        {
            let mut pending = client.start(&Request::post("/", &question).non_confirmable().block_size(32));
            for _ in 0..polls {
                let _ = pending.poll(&mut stack, &mut ());
                time.0.set(time.0.get() + 10);
            }
        }
        assert_eq!(run(&mut stack, &mut client, &Request::get("/")), Ok((CONTENT, body(150))), "{polls}");
    }
}

/// A flood does not hold a call, and does not hold the timers up.
#[test]
fn a_flood() {
    let time = Time::default();
    let mut stack = Stack::new(&time, |_| vec![]);
    stack.inbox = (0..10_000).map(|n| (n, message(NON, CONTENT, n as u16, b"not ours", &[], b"?"))).collect();
    let mut client: TestClient = PolledClient::with_size(&time, Repeatable(1));
    assert_eq!(run(&mut stack, &mut client, &Request::get("/")), Err(Error::TimedOut));
    assert_eq!(stack.sent.len(), 5);
}
