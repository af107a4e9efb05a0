//! A world in memory for the tests of the shells: sockets that pend and fail where a test says so, a clock that moves
//! when nothing else can, and a record of every datagram that was sent.
#![allow(dead_code, reason = "each test program uses its part of this")]

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use dtls_psk::{Clock, Config, Instant, Psk, Timer};
use embedded_io_async::ErrorKind;
use embedded_nal::{UdpClientStack, UdpFullStack, nb};
use embedded_nal_async::{ConnectedUdp, UnconnectedUdp};
use rand_core::{TryCryptoRng, TryRng};

pub const KEY: &[u8] = b"hardfault_secure_key";

pub fn client1() -> Psk<'static> {
    Psk::new(b"client1", KEY).unwrap()
}

/// One suite, so that every build makes the same datagrams.
pub const CONFIG: Config<'static> = Config::coap()
    .with_versions(&[dtls_psk::ProtocolVersion::Dtls12])
    .with_retransmission(Duration::from_secs(1), Duration::from_secs(60));

pub fn address(host: u8, port: u16) -> SocketAddr {
    ([127, 0, 0, host], port).into()
}

/// Randomness that is the same in every run (splitmix64).
#[derive(Debug, Clone)]
pub struct Repeatable(pub u64);

impl Repeatable {
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn one_in(&mut self, of: u64) -> bool {
        self.number().is_multiple_of(of)
    }
}

impl TryRng for Repeatable {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok(self.number() as u32)
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(self.number())
    }

    fn try_fill_bytes(&mut self, to: &mut [u8]) -> Result<(), Infallible> {
        to.fill_with(|| self.number() as u8);
        Ok(())
    }
}

impl TryCryptoRng for Repeatable {}

/// A generator that has failed.
pub struct Broken;

#[derive(Debug)]
pub struct BrokenError;

impl std::fmt::Display for BrokenError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("broken")
    }
}

impl std::error::Error for BrokenError {}

impl TryRng for Broken {
    type Error = BrokenError;

    fn try_next_u32(&mut self) -> Result<u32, BrokenError> {
        Err(BrokenError)
    }

    fn try_next_u64(&mut self) -> Result<u64, BrokenError> {
        Err(BrokenError)
    }

    fn try_fill_bytes(&mut self, _: &mut [u8]) -> Result<(), BrokenError> {
        Err(BrokenError)
    }
}

impl TryCryptoRng for Broken {}

/// What a socket of this world fails with when it is told to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Failure;

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("told to fail")
    }
}

impl std::error::Error for Failure {}

impl embedded_io_async::Error for Failure {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Other
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Datagram {
    pub from: SocketAddr,
    pub to: SocketAddr,
    pub bytes: Vec<u8>,
}

/// How often a socket's future pends around what it does.
#[derive(Debug, Clone)]
pub enum Pending {
    /// Only to wait for a datagram.
    Never,
    /// Once before it sends, once after it has sent, once before it receives. A stack blocks every other time.
    Always,
    /// As it comes: every other time or so.
    Sometimes(Repeatable),
}

/// Everything around the shells.
pub struct World {
    now: Cell<u64>,
    next_timer: Cell<Option<u64>>,
    /// Whether something happened in this round of polls, so that time need not pass.
    busy: Cell<bool>,
    pub pending: RefCell<Pending>,
    inboxes: RefCell<BTreeMap<SocketAddr, VecDeque<Datagram>>>,
    /// Every datagram that a socket was asked to send and took, lost ones too.
    pub sent: RefCell<Vec<(u64, Datagram)>>,
    /// How many of the next datagrams get lost.
    pub losses: Cell<usize>,
    /// How many of the next sends fail.
    pub send_failures: Cell<usize>,
    /// How many of the next receives fail.
    pub receive_failures: Cell<usize>,
    /// Sends to this address fail.
    pub unreachable: Cell<Option<SocketAddr>>,
    /// `connect` and `bind` of a [`Stack`] fail.
    pub refuses: Cell<bool>,
    /// How often a [`Stack`] was asked to send or to receive.
    pub operations: Cell<usize>,
}

impl World {
    pub fn new() -> Self {
        Self {
            now: Cell::new(0),
            next_timer: Cell::new(None),
            busy: Cell::new(false),
            pending: RefCell::new(Pending::Never),
            inboxes: RefCell::default(),
            sent: RefCell::default(),
            losses: Cell::new(0),
            send_failures: Cell::new(0),
            receive_failures: Cell::new(0),
            unreachable: Cell::new(None),
            refuses: Cell::new(false),
            operations: Cell::new(0),
        }
    }

    pub fn millis(&self) -> u64 {
        self.now.get()
    }

    pub fn pass(&self, millis: u64) {
        self.now.set(self.now.get() + millis);
    }

    /// Puts a datagram into its receiver's inbox.
    pub fn deliver(&self, from: SocketAddr, to: SocketAddr, bytes: &[u8]) {
        let datagram = Datagram { from, to, bytes: bytes.to_vec() };
        self.inboxes.borrow_mut().entry(to).or_default().push_back(datagram);
    }

    /// Takes everything out of an inbox.
    pub fn intercept(&self, at: SocketAddr) -> Vec<Datagram> {
        self.inboxes.borrow_mut().remove(&at).unwrap_or_default().into()
    }

    /// Makes one datagram of all that wait in an inbox.
    pub fn merge(&self, at: SocketAddr) {
        let all = self.intercept(at);
        let bytes: Vec<u8> = all.iter().flat_map(|datagram| datagram.bytes.iter().copied()).collect();
        self.deliver(all[0].from, at, &bytes);
    }

    pub fn waiting_at(&self, at: SocketAddr) -> usize {
        self.inboxes.borrow().get(&at).map_or(0, VecDeque::len)
    }

    /// Sends or loses a datagram.
    pub fn send(&self, from: SocketAddr, to: SocketAddr, bytes: &[u8]) -> Result<(), Failure> {
        self.busy.set(true);
        if self.unreachable.get() == Some(to) || take_one(&self.send_failures) {
            return Err(Failure);
        }
        let datagram = Datagram { from, to, bytes: bytes.to_vec() };
        self.sent.borrow_mut().push((self.now.get(), datagram));
        if !take_one(&self.losses) {
            self.deliver(from, to, bytes);
        }
        Ok(())
    }

    /// The next datagram for one of these addresses: its whole length, and as much of it as fits.
    pub fn receive(
        &self,
        at: &[SocketAddr],
        buffer: &mut [u8],
    ) -> Option<Result<(usize, Datagram), Failure>> {
        if take_one(&self.receive_failures) {
            self.busy.set(true);
            return Some(Err(Failure));
        }
        let mut inboxes = self.inboxes.borrow_mut();
        let datagram = at.iter().find_map(|at| inboxes.get_mut(at)?.pop_front())?;
        self.busy.set(true);
        let len = datagram.bytes.len().min(buffer.len());
        buffer[..len].copy_from_slice(&datagram.bytes[..len]);
        Some(Ok((datagram.bytes.len(), datagram)))
    }

    /// A point where a socket's future may pend for no reason.
    async fn point(&self) {
        let pends = match &mut *self.pending.borrow_mut() {
            Pending::Never => false,
            Pending::Always => true,
            Pending::Sometimes(rng) => rng.one_in(2),
        };
        if pends {
            self.yield_now().await;
        }
    }

    /// Whether a [`Stack`] blocks for no reason, which it did the last time or not.
    fn blocks(&self, blocked: &mut bool) -> bool {
        self.operations.set(self.operations.get() + 1);
        let blocks = match &mut *self.pending.borrow_mut() {
            Pending::Never => false,
            Pending::Always => !*blocked,
            Pending::Sometimes(rng) => rng.one_in(2),
        };
        *blocked = blocks;
        blocks
    }

    /// Lets everyone else be polled once.
    pub async fn yield_now(&self) {
        let mut pended = false;
        poll_fn(|_| {
            self.busy.set(true);
            if std::mem::replace(&mut pended, true) { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }

    /// Runs `main` to its end, and `background` beside it. Time passes when both wait.
    pub fn run_with<T>(&self, main: impl Future<Output = T>, background: impl Future) -> T {
        let (mut main, mut background) = (pin!(main), pin!(background));
        let mut background_runs = true;
        let mut context = Context::from_waker(Waker::noop());
        for _ in 0..1_000_000 {
            self.busy.set(false);
            self.next_timer.set(None);
            if let Poll::Ready(output) = main.as_mut().poll(&mut context) {
                return output;
            }
            if background_runs && background.as_mut().poll(&mut context).is_ready() {
                background_runs = false;
            }
            if !self.busy.get() {
                let next = self.next_timer.get().expect("everything waits for something that never happens");
                assert!(next > self.now.get(), "a timer that has passed is waited for");
                self.now.set(next);
            }
        }
        panic!("no end in sight");
    }

    pub fn run<T>(&self, main: impl Future<Output = T>) -> T {
        self.run_with(main, async {})
    }

    /// Runs both futures to their end.
    pub fn join<A, B>(&self, a: impl Future<Output = A>, b: impl Future<Output = B>) -> (A, B) {
        let (mut a, mut b) = (pin!(a), pin!(b));
        let (mut a_output, mut b_output) = (None, None);
        self.run(poll_fn(|context| {
            if a_output.is_none()
                && let Poll::Ready(output) = a.as_mut().poll(context)
            {
                a_output = Some(output);
            }
            if b_output.is_none()
                && let Poll::Ready(output) = b.as_mut().poll(context)
            {
                b_output = Some(output);
            }
            if a_output.is_none() || b_output.is_none() {
                return Poll::Pending;
            }
            Poll::Ready(())
        }));
        (a_output.unwrap(), b_output.unwrap())
    }

    /// Fails if two different records ever left from one address to another under the same epoch and number. Sessions
    /// do not count apart, so this is for tests with one session between two addresses.
    pub fn assert_no_number_twice(&self) {
        let mut seen = BTreeMap::new();
        for (_, datagram) in self.sent.borrow().iter() {
            for record in records(&datagram.bytes) {
                let epoch = u16::from_be_bytes([record[3], record[4]]);
                if epoch == 0 {
                    continue;
                }
                let before = seen
                    .entry((datagram.from, datagram.to, record[3..11].to_vec()))
                    .or_insert(record.to_vec());
                assert_eq!(before, record, "one nonce, two records");
            }
        }
    }
}

fn take_one(counter: &Cell<usize>) -> bool {
    let before = counter.get();
    counter.set(before.saturating_sub(1));
    before > 0
}

/// The records of a datagram, headers included. Connection IDs, where there are any, have one byte in these tests.
pub fn records(datagram: &[u8]) -> Vec<&[u8]> {
    const TLS12_CID: u8 = 25;
    let mut records = Vec::new();
    let mut rest = datagram;
    while !rest.is_empty() {
        let header = 13 + usize::from(rest[0] == TLS12_CID);
        let len = usize::from(u16::from_be_bytes([rest[header - 2], rest[header - 1]]));
        let (record, behind) = rest.split_at(header + len);
        records.push(record);
        rest = behind;
    }
    records
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
            let at = at.as_millis();
            self.next_timer.set(Some(self.next_timer.get().map_or(at, |next| next.min(at))));
            Poll::Pending
        })
        .await
    }
}

/// A socket of a [`World`], with one or more local addresses.
pub struct Socket<'w> {
    pub world: &'w World,
    pub locals: Vec<SocketAddr>,
    /// Where a connected one sends to.
    pub remote: Option<SocketAddr>,
}

impl<'w> Socket<'w> {
    pub fn connected(world: &'w World, local: SocketAddr, remote: SocketAddr) -> Self {
        Self { world, locals: vec![local], remote: Some(remote) }
    }

    pub fn bound(world: &'w World, local: SocketAddr) -> Self {
        Self { world, locals: vec![local], remote: None }
    }

    async fn send_from(&self, local: SocketAddr, remote: SocketAddr, data: &[u8]) -> Result<(), Failure> {
        self.world.point().await;
        let sent = self.world.send(local, remote, data);
        self.world.point().await;
        sent
    }

    async fn next(&self, buffer: &mut [u8]) -> Result<(usize, Datagram), Failure> {
        self.world.point().await;
        // Nothing is taken before the future is ready, as a socket that may be dropped has to.
        poll_fn(|_| match self.world.receive(&self.locals, buffer) {
            Some(received) => Poll::Ready(received),
            None => Poll::Pending,
        })
        .await
    }
}

impl ConnectedUdp for Socket<'_> {
    type Error = Failure;

    async fn send(&mut self, data: &[u8]) -> Result<(), Failure> {
        self.send_from(self.locals[0], self.remote.unwrap(), data).await
    }

    async fn receive_into(&mut self, buffer: &mut [u8]) -> Result<usize, Failure> {
        Ok(self.next(buffer).await?.0)
    }
}

impl UnconnectedUdp for Socket<'_> {
    type Error = Failure;

    async fn send(&mut self, local: SocketAddr, remote: SocketAddr, data: &[u8]) -> Result<(), Failure> {
        assert!(self.locals.contains(&local), "a datagram leaves from an address that is not the socket's");
        self.send_from(local, remote, data).await
    }

    async fn receive_into(&mut self, buffer: &mut [u8]) -> Result<(usize, SocketAddr, SocketAddr), Failure> {
        let (len, datagram) = self.next(buffer).await?;
        Ok((len, datagram.to, datagram.from))
    }
}

/// A host of a [`World`] as an `embedded-nal` stack.
pub struct Stack<'w> {
    pub world: &'w World,
    pub host: u8,
    next_port: u16,
}

impl<'w> Stack<'w> {
    pub fn new(world: &'w World, host: u8) -> Self {
        Self { world, host, next_port: 40_000 }
    }
}

#[derive(Debug, Default)]
pub struct StackSocket {
    local: Option<SocketAddr>,
    remote: Option<SocketAddr>,
    send_blocked: bool,
    receive_blocked: bool,
}

impl StackSocket {
    fn local(&self) -> nb::Result<SocketAddr, Failure> {
        self.local.ok_or(nb::Error::Other(Failure))
    }
}

impl UdpClientStack for Stack<'_> {
    type UdpSocket = StackSocket;
    type Error = Failure;

    fn socket(&mut self) -> Result<StackSocket, Failure> {
        Ok(StackSocket::default())
    }

    fn connect(&mut self, socket: &mut StackSocket, remote: SocketAddr) -> Result<(), Failure> {
        if self.world.refuses.get() {
            return Err(Failure);
        }
        *socket = StackSocket {
            local: Some(address(self.host, self.next_port)),
            remote: Some(remote),
            ..StackSocket::default()
        };
        self.next_port += 1;
        Ok(())
    }

    fn send(&mut self, socket: &mut StackSocket, buffer: &[u8]) -> nb::Result<(), Failure> {
        let remote = socket.remote.ok_or(nb::Error::Other(Failure))?;
        self.send_to(socket, remote, buffer)
    }

    fn receive(
        &mut self,
        socket: &mut StackSocket,
        buffer: &mut [u8],
    ) -> nb::Result<(usize, SocketAddr), Failure> {
        let local = socket.local()?;
        if self.world.blocks(&mut socket.receive_blocked) {
            return Err(nb::Error::WouldBlock);
        }
        let (len, datagram) = self.world.receive(&[local], buffer).ok_or(nb::Error::WouldBlock)??;
        Ok((len, datagram.from))
    }

    fn close(&mut self, _: StackSocket) -> Result<(), Failure> {
        Ok(())
    }
}

impl UdpFullStack for Stack<'_> {
    fn bind(&mut self, socket: &mut StackSocket, local_port: u16) -> Result<(), Failure> {
        if self.world.refuses.get() {
            return Err(Failure);
        }
        *socket = StackSocket { local: Some(address(self.host, local_port)), ..StackSocket::default() };
        Ok(())
    }

    fn send_to(
        &mut self,
        socket: &mut StackSocket,
        remote: SocketAddr,
        buffer: &[u8],
    ) -> nb::Result<(), Failure> {
        let local = socket.local()?;
        if self.world.blocks(&mut socket.send_blocked) {
            return Err(nb::Error::WouldBlock);
        }
        Ok(self.world.send(local, remote, buffer)?)
    }
}

/// When futures are given up.
pub struct Drops {
    seen: Cell<usize>,
    at: When,
    pub given_up: Cell<usize>,
}

pub enum When {
    Never,
    /// At this `Pending`, counted from 0 over all futures.
    Once(usize),
    /// At each `Pending` or not, as it comes.
    Sometimes(RefCell<Repeatable>),
}

impl Drops {
    pub fn new(at: When) -> Self {
        Self { seen: Cell::new(0), at, given_up: Cell::new(0) }
    }

    fn is_due(&self) -> bool {
        let seen = self.seen.replace(self.seen.get() + 1);
        let due = match &self.at {
            When::Never => false,
            When::Once(at) => seen == *at,
            When::Sometimes(rng) => rng.borrow_mut().one_in(3),
        };
        self.given_up.set(self.given_up.get() + usize::from(due));
        due
    }

    /// Polls a future until it is ready or given up.
    pub async fn attempt<T>(&self, future: impl Future<Output = T>) -> Option<T> {
        let mut future = pin!(future);
        poll_fn(|context| match future.as_mut().poll(context) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending if self.is_due() => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        })
        .await
    }

    /// Does an operation as often as it takes for one of its futures to become ready.
    pub async fn persist<T>(&self, world: &World, mut operation: impl AsyncFnMut() -> T) -> T {
        loop {
            match self.attempt(operation()).await {
                Some(output) => return output,
                None => world.yield_now().await,
            }
        }
    }
}

/// The default configuration in DTLS 1.2 alone.
pub const DTLS12: dtls_psk::Config<'static> =
    dtls_psk::Config::new().with_versions(&[dtls_psk::ProtocolVersion::Dtls12]);
