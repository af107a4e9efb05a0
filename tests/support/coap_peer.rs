//! A peer of a CoAP server that shares no code with it: bytes by RFC 7252 §3, a socket that is a pair of queues, and a clock
//! that stands still until a test turns it.
#![allow(dead_code, reason = "each test program uses its part of this")]

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use coap_handler::Handler;
use coap_message::{
    Code as _, MessageOption as _, MinimalWritableMessage, MutableWritableMessage, ReadableMessage,
};
use dtls_psk::{
    CipherSuite, Clock, Config, Connection, Endpoint, Instant, Path, Peer, PeerLookup, ProtocolVersion, Psk,
    SessionId, SessionUdp, Storage, Timer,
};
use embedded_nal_async::UnconnectedUdp;

use super::support::Repeatable;

pub const CON: u8 = 0;
pub const NON: u8 = 1;
pub const ACK: u8 = 2;
pub const RST: u8 = 3;

pub const GET: u8 = 0x01;
pub const POST: u8 = 0x02;
pub const PUT: u8 = 0x03;
pub const FETCH: u8 = 0x05;

pub const ETAG: u16 = 4;
pub const OBSERVE: u16 = 6;
pub const URI_PATH: u16 = 11;
pub const CONTENT_FORMAT: u16 = 12;
pub const BLOCK2: u16 = 23;
pub const BLOCK1: u16 = 27;
pub const SIZE2: u16 = 28;
pub const SIZE1: u16 = 60;
pub const ECHO: u16 = 252;
pub const REQUEST_TAG: u16 = 292;

/// A message, by its parts. Options are in any order.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Coap {
    pub kind: u8,
    pub code: u8,
    pub id: u16,
    pub token: Vec<u8>,
    pub options: Vec<(u16, Vec<u8>)>,
    pub payload: Vec<u8>,
}

/// "leading zero bytes [...] SHOULD NOT be sent" (RFC 7252 §3.2).
pub fn uint(value: u32) -> Vec<u8> {
    value.to_be_bytes().into_iter().skip_while(|byte| *byte == 0).collect()
}

/// NUM/M/size, as RFC 7959 §3 writes it.
pub fn block(number: u32, more: bool, size: u32) -> Vec<u8> {
    uint(number << 4 | u32::from(more) << 3 | (size.ilog2() - 4))
}

impl Coap {
    pub fn request(kind: u8, code: u8, id: u16, path: &str) -> Self {
        let message = Self { kind, code, id, token: vec![0x74], ..Self::default() };
        path.split('/')
            .filter(|segment| !segment.is_empty())
            .fold(message, |message, segment| message.with(URI_PATH, segment.as_bytes()))
    }

    pub fn empty(kind: u8, id: u16) -> Self {
        Self { kind, id, ..Self::default() }
    }

    pub fn with(mut self, number: u16, value: impl AsRef<[u8]>) -> Self {
        self.options.push((number, value.as_ref().to_vec()));
        self
    }

    pub fn token(self, token: &[u8]) -> Self {
        Self { token: token.to_vec(), ..self }
    }

    pub fn payload(self, payload: &[u8]) -> Self {
        Self { payload: payload.to_vec(), ..self }
    }

    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = vec![0x40 | self.kind << 4 | self.token.len() as u8, self.code];
        bytes.extend(self.id.to_be_bytes());
        bytes.extend(&self.token);
        let mut options = self.options.clone();
        options.sort_by_key(|(number, _)| *number);
        let mut before = 0;
        for (number, value) in options {
            let (delta, delta_more) = nibble(usize::from(number - before));
            let (len, len_more) = nibble(value.len());
            bytes.push(delta << 4 | len);
            bytes.extend(delta_more);
            bytes.extend(len_more);
            bytes.extend(value);
            before = number;
        }
        if !self.payload.is_empty() {
            bytes.push(0xff);
            bytes.extend(&self.payload);
        }
        bytes
    }

    /// Reads what has to be a message.
    #[track_caller]
    pub fn read(bytes: &[u8]) -> Self {
        Self::parse(bytes).unwrap_or_else(|| panic!("no message: {bytes:02x?}"))
    }

    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let (&[first, code, high, low], rest) = bytes.split_first_chunk::<4>()?;
        let token_len = usize::from(first & 0x0f);
        if first >> 6 != 1 || token_len > 8 {
            return None;
        }
        let (token, mut rest) = rest.split_at_checked(token_len)?;
        let (mut options, mut number, mut payload) = (Vec::new(), 0_usize, Vec::new());
        while let Some((&front, after)) = rest.split_first() {
            rest = after;
            if front == 0xff {
                payload = rest.to_vec();
                if payload.is_empty() {
                    return None;
                }
                break;
            }
            number += extended(front >> 4, &mut rest)?;
            let len = extended(front & 0x0f, &mut rest)?;
            let (value, after) = rest.split_at_checked(len)?;
            options.push((u16::try_from(number).ok()?, value.to_vec()));
            rest = after;
        }
        if code == 0 && bytes.len() > 4 {
            return None;
        }
        let id = u16::from_be_bytes([high, low]);
        Some(Self { kind: first >> 4 & 3, code, id, token: token.to_vec(), options, payload })
    }

    pub fn option(&self, number: u16) -> Option<&[u8]> {
        self.options.iter().find(|(known, _)| *known == number).map(|(_, value)| &value[..])
    }

    pub fn uint(&self, number: u16) -> Option<u32> {
        self.option(number).map(|value| value.iter().fold(0, |sum, byte| sum << 8 | u32::from(*byte)))
    }

    /// NUM, M and the size of a Block option, of three bytes at most.
    pub fn block(&self, number: u16) -> Option<(u32, bool, u32)> {
        assert!(self.option(number)?.len() <= 3);
        let value = self.uint(number)?;
        assert!(value & 7 < 7, "a reserved size");
        Some((value >> 4, value & 8 != 0, 16 << (value & 7)))
    }

    /// 2.05 as 205.
    pub fn says(&self) -> u16 {
        u16::from(self.code >> 5) * 100 + u16::from(self.code & 0x1f)
    }
}

fn nibble(value: usize) -> (u8, Vec<u8>) {
    match value {
        0..13 => (value as u8, vec![]),
        13..269 => (13, vec![(value - 13) as u8]),
        _ => (14, ((value - 269) as u16).to_be_bytes().to_vec()),
    }
}

fn extended(nibble: u8, rest: &mut &[u8]) -> Option<usize> {
    let len = match nibble {
        0..13 => return Some(nibble.into()),
        13 => 1,
        14 => 2,
        _ => return None,
    };
    let (bytes, after) = rest.split_at_checked(len)?;
    *rest = after;
    let value = bytes.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte));
    Some(value + if len == 1 { 13 } else { 269 })
}

/// The time in milliseconds, which only tests change.
#[derive(Default)]
pub struct Time {
    now: Cell<u64>,
    next: Cell<Option<u64>>,
}

impl Time {
    pub fn millis(&self) -> u64 {
        self.now.get()
    }

    pub fn set(&self, millis: u64) {
        assert!(millis >= self.now.get());
        self.now.set(millis);
    }

    /// Has `drive` be called whenever something is due, and in the end at that time.
    pub fn run_until(&self, end: u64, mut drive: impl FnMut()) {
        for round in 0.. {
            assert!(round < 100_000, "time stands still at {}", self.millis());
            self.next.set(None);
            drive();
            match self.next.get() {
                Some(next) if next <= end => self.set(next.max(self.millis())),
                _ if self.millis() == end => return,
                _ => self.set(end),
            }
        }
    }

    /// Forgets who wants to be driven when.
    pub fn reset(&self) {
        self.next.set(None);
    }

    /// When whoever was driven last wants to be driven again.
    pub fn next(&self) -> Option<u64> {
        self.next.get()
    }
}

impl Clock for Time {
    fn now(&self) -> Instant {
        Instant::from_millis(self.now.get())
    }
}

impl Timer for Time {
    async fn sleep_until(&self, at: Instant) {
        poll_fn(|_| {
            if self.now() >= at {
                return Poll::Ready(());
            }
            let at = at.as_millis();
            self.next.set(Some(self.next.get().map_or(at, |next| next.min(at))));
            Poll::Pending
        })
        .await;
    }
}

/// Has a server do what there is to do now, then stops it. It goes on where it was the next time.
#[track_caller]
pub fn drive<T>(future: impl Future<Output = T>) {
    let polled = pin!(future).poll(&mut Context::from_waker(Waker::noop()));
    assert!(polled.is_pending(), "the server has stopped");
}

/// A session of a [`Wire`].
#[derive(Clone)]
pub struct Session {
    pub id: SessionId,
    pub identity: Vec<u8>,
    pub at: SocketAddr,
    pub max_payload: Option<usize>,
    pub unproven: Option<SocketAddr>,
    pub is_over: Cell<bool>,
}

/// What a server's socket is connected to.
pub struct Wire {
    inbox: RefCell<VecDeque<(SocketAddr, Vec<u8>)>>,
    pub sent: RefCell<Vec<(SocketAddr, Vec<u8>)>>,
    pub sessions: Vec<Session>,
    /// Whether sending does not end.
    pub is_stuck: Cell<bool>,
}

pub const SERVER: &str = "192.0.2.1:5683";

pub fn client(n: u8) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 100], 40_000 + u16::from(n)))
}

impl Default for Wire {
    fn default() -> Self {
        Self::with_sessions(Vec::new())
    }
}

impl Wire {
    pub fn with_sessions(sessions: Vec<Session>) -> Self {
        Self { inbox: RefCell::default(), sent: RefCell::default(), sessions, is_stuck: Cell::new(false) }
    }

    pub fn push(&self, from: SocketAddr, message: &Coap) {
        self.push_bytes(from, message.bytes());
    }

    pub fn push_bytes(&self, from: SocketAddr, bytes: Vec<u8>) {
        self.inbox.borrow_mut().push_back((from, bytes));
    }

    /// What was sent since the last call, to whom.
    pub fn take(&self) -> Vec<(SocketAddr, Coap)> {
        self.sent.borrow_mut().drain(..).map(|(to, bytes)| (to, Coap::read(&bytes))).collect()
    }

    /// The one message that was sent since the last call.
    #[track_caller]
    pub fn take_one(&self) -> Coap {
        let mut sent = self.take();
        assert_eq!(sent.len(), 1, "{sent:?}");
        sent.remove(0).1
    }
}

/// The server's end of a [`Wire`].
pub struct Port<'w>(pub &'w Wire);

impl UnconnectedUdp for Port<'_> {
    type Error = embedded_io_async::ErrorKind;

    async fn send(&mut self, _: SocketAddr, remote: SocketAddr, data: &[u8]) -> Result<(), Self::Error> {
        if self.0.is_stuck.get() {
            std::future::pending::<()>().await;
        }
        self.0.sent.borrow_mut().push((remote, data.to_vec()));
        Ok(())
    }

    async fn receive_into(
        &mut self,
        buffer: &mut [u8],
    ) -> Result<(usize, SocketAddr, SocketAddr), Self::Error> {
        poll_fn(|_| {
            let Some((from, bytes)) = self.0.inbox.borrow_mut().pop_front() else { return Poll::Pending };
            let len = bytes.len().min(buffer.len());
            buffer[..len].copy_from_slice(&bytes[..len]);
            Poll::Ready(Ok((bytes.len(), SERVER.parse().unwrap(), from)))
        })
        .await
    }
}

impl Port<'_> {
    fn find(&self, session: SessionId) -> Option<&Session> {
        self.0.sessions.iter().find(|known| known.id == session && !known.is_over.get())
    }
}

impl PeerLookup for Port<'_> {
    fn peer(&self, _: SocketAddr, remote: SocketAddr) -> Option<Peer<'_>> {
        let session =
            self.0.sessions.iter().find(|session| session.at == remote && !session.is_over.get())?;
        Some(Peer {
            identity: &session.identity,
            session: session.id,
            epoch: 1,
            version: ProtocolVersion::Dtls12,
            suite: CipherSuite::Aes128Ccm8,
            resumed: false,
        })
    }

    fn session(&self, session: SessionId) -> Option<Peer<'_>> {
        self.peer(SERVER.parse().unwrap(), self.find(session)?.at)
    }

    fn max_payload(&self, session: SessionId) -> Option<usize> {
        self.find(session)?.max_payload
    }

    fn unproven_address(&self, session: SessionId) -> Option<SocketAddr> {
        self.find(session)?.unproven
    }
}

impl SessionUdp for Port<'_> {
    async fn send_in(&mut self, session: SessionId, data: &[u8]) -> Result<(), Self::Error> {
        let session = self.find(session).ok_or(embedded_io_async::ErrorKind::NotConnected)?.clone();
        if session.max_payload.is_some_and(|most| data.len() > most) {
            return Err(embedded_io_async::ErrorKind::InvalidData);
        }
        self.send(SERVER.parse().unwrap(), session.at, data).await
    }
}

/// A session at `client(n)`. Only a handshake gives a session its name.
pub fn session(n: u8) -> Session {
    let (config, psk) = (Config::coap(), Psk::new(b"alice", &[1; 16]).unwrap());
    let keys = [psk];
    let mut storage = Storage::<1, 1>::new();
    let mut endpoint = Endpoint::new(&config, &keys, &mut storage, &mut Repeatable(1)).unwrap();
    let mut rng = Repeatable(1_000 + u64::from(n));
    let mut connection = Connection::client(&config, &psk, &mut rng, Instant::ZERO).unwrap();
    let path = Path { local: SERVER.parse().unwrap(), remote: client(n) };
    let mut buffer = [0; 1_500];
    while connection.peer().is_none() {
        while let Some(len) = connection.poll_transmit(&mut buffer).unwrap() {
            let datagram = &mut buffer[..len].to_vec();
            let mut events = endpoint.receive(datagram, path, &mut rng, Instant::ZERO);
            while events.next().is_some() {}
        }
        while let Some((len, _)) = endpoint.poll_transmit(&mut buffer).unwrap() {
            let datagram = &mut buffer[..len].to_vec();
            connection.receive(datagram, Instant::ZERO).for_each(drop);
        }
    }
    let id = connection.peer().unwrap().session;
    Session {
        id,
        identity: format!("client{n}").into_bytes(),
        at: client(n),
        max_payload: None,
        unproven: None,
        is_over: Cell::new(false),
    }
}

/// A handler that is a closure: from code, path, the numbers of the options and the payload of a request to the code and the
/// payload of the response.
pub struct Does<F>(pub F);

/// What a [`Does`] gets to see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    pub code: u8,
    pub path: String,
    pub options: Vec<u16>,
    pub payload: Vec<u8>,
}

impl<F: FnMut(Seen) -> (u8, Vec<u8>)> Handler for Does<F> {
    type RequestData = Seen;
    type ExtractRequestError = Infallible;
    type BuildResponseError<M: MinimalWritableMessage> = M::UnionError;

    fn extract_request_data<M: ReadableMessage>(&mut self, request: &M) -> Result<Seen, Infallible> {
        let (mut path, mut options) = (String::new(), Vec::new());
        for option in request.options() {
            if option.number() == URI_PATH {
                path += "/";
                path += core::str::from_utf8(option.value()).unwrap_or("?");
            } else {
                options.push(option.number());
            }
        }
        Ok(Seen { code: request.code().into(), path, options, payload: request.payload().to_vec() })
    }

    fn estimate_length(&mut self, _: &Seen) -> usize {
        0
    }

    fn build_response<M: MutableWritableMessage>(
        &mut self,
        response: &mut M,
        seen: Seen,
    ) -> Result<(), M::UnionError> {
        let (code, payload) = (self.0)(seen);
        response.set_code(M::Code::new(code)?);
        response.set_payload(&payload)?;
        Ok(())
    }
}
