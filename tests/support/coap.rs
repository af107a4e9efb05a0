//! Sockets in memory, a clock that tests turn, and randomness that repeats, for the tests of CoAP.
#![allow(dead_code, reason = "each test program uses its part of this")]

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use dtls_psk::{Clock, Instant, Peer, PeerLookup, SessionId, SessionUdp, Timer};
use embedded_nal_async::{ConnectedUdp, UnconnectedUdp};
use rand_core::{TryCryptoRng, TryRng};

/// Randomness that is the same in every run (splitmix64).
pub struct Repeatable(pub u64);

impl TryRng for Repeatable {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        self.try_next_u64().map(|number| (number >> 32) as u32)
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        Ok(z ^ (z >> 31))
    }

    fn try_fill_bytes(&mut self, to: &mut [u8]) -> Result<(), Infallible> {
        for byte in to {
            *byte = self.try_next_u64()? as u8;
        }
        Ok(())
    }
}

impl TryCryptoRng for Repeatable {}

/// What a socket says when its script is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScriptOver;

impl std::fmt::Display for ScriptOver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the script is over")
    }
}

impl std::error::Error for ScriptOver {}

impl embedded_io_async::Error for ScriptOver {
    fn kind(&self) -> embedded_io_async::ErrorKind {
        embedded_io_async::ErrorKind::Other
    }
}

/// Simulated time: it stands still until [`World::run`] moves it to the next thing that happens.
#[derive(Default)]
pub struct World {
    now: Cell<u64>,
    /// The earliest thing that someone waits for.
    next: Cell<Option<u64>>,
}

impl World {
    pub fn millis(&self) -> u64 {
        self.now.get()
    }

    pub fn set_millis(&self, millis: u64) {
        self.now.set(millis);
    }

    pub fn wait_for(&self, millis: u64) {
        let next = self.next.get().map_or(millis, |next| next.min(millis));
        self.next.set(Some(next));
    }

    /// The earliest thing that someone has waited for since the last call.
    pub fn take_next(&self) -> Option<u64> {
        self.next.take()
    }

    /// Runs a future to its end; `None` when it waits for something that never happens.
    pub fn run<F: Future>(&self, future: F) -> Option<F::Output> {
        let mut future = pin!(future);
        loop {
            self.next.set(None);
            if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                return Some(output);
            }
            let next = self.next.get()?;
            self.now.set(next.max(self.now.get()));
        }
    }

    /// Polls a future as often as that, then drops it.
    pub fn run_and_drop<F: Future>(&self, future: F, polls: usize) -> Option<F::Output> {
        let mut future = pin!(future);
        for _ in 0..polls {
            self.next.set(None);
            if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                return Some(output);
            }
            if let Some(next) = self.next.get() {
                self.now.set(next.max(self.now.get()));
            }
        }
        None
    }
}

impl Clock for World {
    fn now(&self) -> Instant {
        Instant::from_millis(self.now.get())
    }
}

impl Timer for World {
    async fn sleep_until(&self, at: Instant) {
        poll_fn(|_| {
            if self.now() >= at {
                return Poll::Ready(());
            }
            self.wait_for(at.as_millis());
            Poll::Pending
        })
        .await;
    }
}

/// What a peer does about a datagram: replies, each after so many milliseconds.
type Peer_<'w> = Box<dyn FnMut(&[u8]) -> Vec<(u64, Vec<u8>)> + 'w>;

/// A connected socket whose peer is a closure.
pub struct Link<'w> {
    world: &'w World,
    peer: Peer_<'w>,
    inbox: Vec<(u64, Vec<u8>)>,
    /// What was sent, and when.
    pub sent: Vec<(u64, Vec<u8>)>,
    /// How many sends are pending once before they are done, as a full transmit queue makes them.
    pub slow_sends: usize,
    /// Whether sending an Empty message fails.
    pub failing_empties: bool,
}

impl<'w> Link<'w> {
    pub fn new(world: &'w World, peer: impl FnMut(&[u8]) -> Vec<(u64, Vec<u8>)> + 'w) -> Self {
        Self {
            world,
            peer: Box::new(peer),
            inbox: Vec::new(),
            sent: Vec::new(),
            slow_sends: 0,
            failing_empties: false,
        }
    }

    /// Has a datagram arrive at that time.
    pub fn arrive(&mut self, at: u64, datagram: &[u8]) {
        self.inbox.push((at, datagram.to_vec()));
    }
}

impl ConnectedUdp for Link<'_> {
    type Error = ScriptOver;

    async fn send(&mut self, data: &[u8]) -> Result<(), ScriptOver> {
        if self.slow_sends > 0 {
            self.slow_sends -= 1;
            let mut waited = false;
            let now = self.world.millis();
            poll_fn(|_| {
                if std::mem::replace(&mut waited, true) {
                    return Poll::Ready(());
                }
                self.world.wait_for(now);
                Poll::Pending
            })
            .await;
        }
        if self.failing_empties && data.len() == 4 {
            return Err(ScriptOver);
        }
        let now = self.world.millis();
        self.sent.push((now, data.to_vec()));
        for (delay, reply) in (self.peer)(data) {
            self.inbox.push((now + delay, reply));
        }
        Ok(())
    }

    async fn receive_into(&mut self, buffer: &mut [u8]) -> Result<usize, ScriptOver> {
        poll_fn(|_| {
            let first =
                self.inbox.iter().enumerate().min_by_key(|(_, (at, _))| *at).map(|(i, (at, _))| (i, *at));
            match first {
                Some((i, at)) if at <= self.world.millis() => {
                    let (_, datagram) = self.inbox.remove(i);
                    let len = datagram.len().min(buffer.len());
                    buffer[..len].copy_from_slice(&datagram[..len]);
                    Poll::Ready(Ok(datagram.len()))
                }
                Some((_, at)) => {
                    self.world.wait_for(at);
                    Poll::Pending
                }
                None => Poll::Pending,
            }
        })
        .await
    }
}

pub fn addr(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// A server's socket: it receives what is in its inbox, and fails when that is empty.
pub struct Script<'w> {
    world: &'w World,
    pub local: SocketAddr,
    pub inbox: VecDeque<(u64, SocketAddr, Vec<u8>)>,
    pub sent: RefCell<Vec<(SocketAddr, Vec<u8>)>>,
    /// How many sends are pending for ever, from now on.
    pub slow_sends: usize,
    /// How many sends fail, from then on.
    pub failing_sends: usize,
}

impl<'w> Script<'w> {
    pub fn new(world: &'w World) -> Self {
        Self {
            world,
            local: addr("192.0.2.1:5683"),
            inbox: VecDeque::new(),
            sent: RefCell::default(),
            slow_sends: 0,
            failing_sends: 0,
        }
    }

    /// Has a datagram arrive from 192.0.2.2 right after the last one.
    pub fn arrive(&mut self, datagram: &[u8]) {
        let at = self.inbox.back().map_or(self.world.millis(), |(at, ..)| *at);
        self.arrive_from(at, addr("192.0.2.2:40000"), datagram);
    }

    pub fn arrive_from(&mut self, at: u64, remote: SocketAddr, datagram: &[u8]) {
        self.inbox.push_back((at, remote, datagram.to_vec()));
    }

    pub fn replies(&self) -> Vec<Vec<u8>> {
        self.sent.borrow_mut().drain(..).map(|(_, datagram)| datagram).collect()
    }
}

impl UnconnectedUdp for Script<'_> {
    type Error = ScriptOver;

    async fn send(&mut self, local: SocketAddr, remote: SocketAddr, data: &[u8]) -> Result<(), ScriptOver> {
        assert_eq!(local, self.local);
        if self.slow_sends > 0 {
            self.slow_sends -= 1;
            std::future::pending::<()>().await;
        }
        if self.failing_sends > 0 {
            self.failing_sends -= 1;
            return Err(ScriptOver);
        }
        self.sent.borrow_mut().push((remote, data.to_vec()));
        Ok(())
    }

    async fn receive_into(
        &mut self,
        buffer: &mut [u8],
    ) -> Result<(usize, SocketAddr, SocketAddr), ScriptOver> {
        let (at, remote, datagram) = self.inbox.pop_front().ok_or(ScriptOver)?;
        self.world.set_millis(at);
        let len = datagram.len().min(buffer.len());
        buffer[..len].copy_from_slice(&datagram[..len]);
        Ok((datagram.len(), self.local, remote))
    }
}

impl PeerLookup for Script<'_> {
    fn peer(&self, _: SocketAddr, _: SocketAddr) -> Option<Peer<'_>> {
        None
    }
}

impl SessionUdp for Script<'_> {
    async fn send_in(&mut self, _: SessionId, _: &[u8]) -> Result<(), ScriptOver> {
        unreachable!("there are no sessions")
    }
}

/// The two ends of a cable: a client's, and a server's.
pub struct Cable<'w> {
    world: &'w World,
    to_server: RefCell<VecDeque<Vec<u8>>>,
    to_client: RefCell<VecDeque<Vec<u8>>>,
}

impl<'w> Cable<'w> {
    pub fn new(world: &'w World) -> Self {
        Self { world, to_server: RefCell::default(), to_client: RefCell::default() }
    }

    fn send(&self, queue: &RefCell<VecDeque<Vec<u8>>>, data: &[u8]) {
        queue.borrow_mut().push_back(data.to_vec());
        // Whoever receives it may have been asked already.
        self.world.wait_for(self.world.millis());
    }

    async fn receive(&self, queue: &RefCell<VecDeque<Vec<u8>>>, buffer: &mut [u8]) -> usize {
        poll_fn(|_| {
            let Some(datagram) = queue.borrow_mut().pop_front() else {
                return Poll::Pending;
            };
            let len = datagram.len().min(buffer.len());
            buffer[..len].copy_from_slice(&datagram[..len]);
            Poll::Ready(datagram.len())
        })
        .await
    }
}

pub struct ClientEnd<'c, 'w>(pub &'c Cable<'w>);

impl ConnectedUdp for ClientEnd<'_, '_> {
    type Error = ScriptOver;

    async fn send(&mut self, data: &[u8]) -> Result<(), ScriptOver> {
        self.0.send(&self.0.to_server, data);
        Ok(())
    }

    async fn receive_into(&mut self, buffer: &mut [u8]) -> Result<usize, ScriptOver> {
        Ok(self.0.receive(&self.0.to_client, buffer).await)
    }
}

pub struct ServerEnd<'c, 'w>(pub &'c Cable<'w>);

impl UnconnectedUdp for ServerEnd<'_, '_> {
    type Error = ScriptOver;

    async fn send(&mut self, _: SocketAddr, _: SocketAddr, data: &[u8]) -> Result<(), ScriptOver> {
        self.0.send(&self.0.to_client, data);
        Ok(())
    }

    async fn receive_into(
        &mut self,
        buffer: &mut [u8],
    ) -> Result<(usize, SocketAddr, SocketAddr), ScriptOver> {
        let len = self.0.receive(&self.0.to_server, buffer).await;
        Ok((len, addr("192.0.2.1:5684"), addr("192.0.2.2:40000")))
    }
}
