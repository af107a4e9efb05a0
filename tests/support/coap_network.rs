//! A lossy network between one server and many clients, in simulated time, and clients that do what RFC 7252 §4.2 wants of them.
#![allow(dead_code, reason = "each test program uses its part of this")]

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashSet};
use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use dtls_psk::coap::PlainUdp;
use embedded_nal_async::UnconnectedUdp;
use rand_core::TryRng;

use super::peer::*;
use super::support::Repeatable;

#[derive(Clone)]
pub struct Conditions {
    /// In percent.
    pub loss: u32,
    pub duplicates: u32,
    /// In milliseconds. A wide range reorders.
    pub delay: RangeInclusive<u64>,
}

/// Datagrams, by when they arrive, and whose they are.
type UnderWay = RefCell<BTreeMap<(u64, u64), (SocketAddr, Vec<u8>)>>;

pub struct Net<'t> {
    pub time: &'t Time,
    rng: RefCell<Repeatable>,
    pub conditions: RefCell<Conditions>,
    to_server: UnderWay,
    to_clients: UnderWay,
    sent: Cell<u64>,
}

impl<'t> Net<'t> {
    pub fn new(time: &'t Time, seed: u64, conditions: Conditions) -> Self {
        let (rng, conditions) = (RefCell::new(Repeatable(seed)), RefCell::new(conditions));
        Self {
            time,
            rng,
            conditions,
            to_server: RefCell::default(),
            to_clients: RefCell::default(),
            sent: Cell::new(0),
        }
    }

    pub fn random(&self, below: u64) -> u64 {
        self.rng.borrow_mut().try_next_u64().unwrap() % below
    }

    fn send(&self, to: &UnderWay, peer: SocketAddr, data: &[u8]) {
        let Conditions { loss, duplicates, delay } = self.conditions.borrow().clone();
        let copies = if self.random(100) < duplicates.into() { 2 } else { 1 };
        for _ in 0..copies {
            if self.random(100) < loss.into() {
                continue;
            }
            let at = self.time.millis() + delay.start() + self.random(delay.end() - delay.start() + 1);
            self.sent.set(self.sent.get() + 1);
            to.borrow_mut().insert((at, self.sent.get()), (peer, data.to_vec()));
        }
    }

    pub fn send_to_server(&self, from: SocketAddr, data: &[u8]) {
        self.send(&self.to_server, from, data);
    }

    /// What has arrived at clients.
    pub fn arrived(&self) -> Option<(SocketAddr, Vec<u8>)> {
        let mut queue = self.to_clients.borrow_mut();
        queue.first_entry().filter(|first| first.key().0 <= self.time.millis()).map(|first| first.remove())
    }

    fn next(&self) -> Option<u64> {
        [&self.to_clients, &self.to_server]
            .iter()
            .filter_map(|queue| Some(queue.borrow().first_key_value()?.0.0))
            .min()
    }
}

/// The server's end.
pub struct NetPort<'n>(pub &'n Net<'n>);

impl UnconnectedUdp for NetPort<'_> {
    type Error = embedded_io_async::ErrorKind;

    async fn send(&mut self, _: SocketAddr, remote: SocketAddr, data: &[u8]) -> Result<(), Self::Error> {
        self.0.send(&self.0.to_clients, remote, data);
        Ok(())
    }

    async fn receive_into(
        &mut self,
        buffer: &mut [u8],
    ) -> Result<(usize, SocketAddr, SocketAddr), Self::Error> {
        poll_fn(|_| {
            let mut queue = self.0.to_server.borrow_mut();
            let first = queue.first_entry().filter(|first| first.key().0 <= self.0.time.millis());
            let Some((from, bytes)) = first.map(|first| first.remove()) else { return Poll::Pending };
            let len = bytes.len().min(buffer.len());
            buffer[..len].copy_from_slice(&bytes[..len]);
            Poll::Ready(Ok((bytes.len(), SERVER.parse().unwrap(), from)))
        })
        .await
    }
}

pub fn plain<'n>(net: &'n Net<'n>) -> PlainUdp<NetPort<'n>> {
    PlainUdp(NetPort(net))
}

/// Something that happens beside the server, from one moment to the next.
pub trait Actor {
    /// Takes what has arrived for it.
    fn receive(&mut self, net: &Net<'_>, from_server: &[u8]);
    /// Does what is due, and says when it wants to be asked again; `None` for never.
    fn act(&mut self, net: &Net<'_>) -> Option<u64>;
    fn at(&self) -> SocketAddr;
}

/// Runs a server and all that happens beside it until that time, or until nobody has anything to do any more.
pub fn run<T>(
    net: &Net<'_>,
    server: impl Future<Output = T>,
    actors: &mut [&mut (dyn Actor + '_)],
    end: u64,
) {
    let mut server = pin!(server);
    loop {
        net.time.reset();
        let polled = server.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        assert!(polled.is_pending(), "the server has stopped");
        while let Some((to, datagram)) = net.arrived() {
            actors
                .iter_mut()
                .filter(|actor| actor.at() == to)
                .for_each(|actor| actor.receive(net, &datagram));
        }
        let acts: Vec<_> = actors.iter_mut().filter_map(|actor| actor.act(net)).collect();
        let Some(next) = acts.into_iter().chain(net.time.next()).chain(net.next()).min() else { return };
        if next > end {
            return net.time.set(end);
        }
        net.time.set(next.max(net.time.millis()));
    }
}

/// The message layer of a client (RFC 7252 §4.2): one request at a time (NSTART), sent again until it is acknowledged. It
/// acknowledges responses, each once more when it comes again.
pub struct Exchange {
    ids: u16,
    request: Option<Outstanding>,
    /// Confirmable messages of the server's that were taken.
    taken: HashSet<u16>,
}

struct Outstanding {
    request: Coap,
    sent: u8,
    timeout: u64,
    at: u64,
    acknowledged: bool,
    /// When whoever has an acknowledgement and no response begins anew.
    until: u64,
}

/// What came of a datagram, or of the time.
#[derive(Debug, PartialEq, Eq)]
pub enum Came {
    Nothing,
    /// The response to the request.
    Response(Coap),
    /// Something else with a token: a notification.
    Other(Coap),
    /// The request has failed: nothing has come of it.
    TimedOut,
}

impl Exchange {
    pub fn new(ids: u16) -> Self {
        Self { ids, request: None, taken: HashSet::new() }
    }

    pub fn is_idle(&self) -> bool {
        self.request.is_none()
    }

    /// Sends a Confirmable request with the next Message ID.
    pub fn ask(&mut self, net: &Net<'_>, request: Coap, send: &mut impl FnMut(&[u8])) {
        assert!(self.is_idle());
        self.ids = self.ids.wrapping_add(1);
        let request = Coap { kind: CON, id: self.ids, ..request };
        send(&request.bytes());
        let (timeout, now) = (2_000 + net.random(1_001), net.time.millis());
        let until = now + 247_000;
        self.request =
            Some(Outstanding { request, sent: 1, timeout, at: now + timeout, acknowledged: false, until });
    }

    /// The code that a notification is answered with.
    pub fn receive(
        &mut self,
        bytes: &[u8],
        knows: impl Fn(&[u8]) -> bool,
        send: &mut impl FnMut(&[u8]),
    ) -> Came {
        let message = Coap::read(bytes);
        match (&mut self.request, message.kind) {
            (Some(out), ACK) if message.id == out.request.id => {
                if message.code == 0 {
                    out.acknowledged = true;
                    return Came::Nothing;
                }
                assert_eq!(message.token, out.request.token);
                self.request = None;
                Came::Response(message)
            }
            (_, ACK | RST) => Came::Nothing,
            (request, _) => {
                let is_response = request.as_ref().is_some_and(|out| out.request.token == message.token);
                if !is_response && !knows(&message.token) && !self.taken.contains(&message.id) {
                    if message.kind == CON {
                        send(&Coap::empty(RST, message.id).bytes());
                    }
                    return Came::Nothing;
                }
                if message.kind == CON {
                    send(&Coap::empty(ACK, message.id).bytes());
                }
                if !self.taken.insert(message.id) {
                    return Came::Nothing;
                }
                if is_response && message.option(OBSERVE).is_none() {
                    *request = None;
                    return Came::Response(message);
                }
                Came::Other(message)
            }
        }
    }

    /// Sends again what is due.
    pub fn act(&mut self, net: &Net<'_>, send: &mut impl FnMut(&[u8])) -> Came {
        let now = net.time.millis();
        let Some(out) = &mut self.request else { return Came::Nothing };
        if out.until <= now || !out.acknowledged && out.at <= now && out.sent > 4 {
            self.request = None;
            return Came::TimedOut;
        }
        if !out.acknowledged && out.at <= now {
            out.sent += 1;
            out.timeout *= 2;
            out.at = now + out.timeout;
            send(&out.request.bytes());
        }
        Came::Nothing
    }

    pub fn next(&self) -> Option<u64> {
        self.request.as_ref().map(|out| if out.acknowledged { out.until } else { out.at.min(out.until) })
    }
}
