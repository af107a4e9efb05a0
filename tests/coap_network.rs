//! The CoAP server in a bad network, over plain sockets and over DTLS sessions, with independent clients.
#![cfg(feature = "coap")]

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::SocketAddr;

use dtls_psk::coap::{Changes, Counters, Server, Upload};
use dtls_psk::{Clock, Config, Endpoint, Instant, Psk, SessionUdp, Storage, nal};
use embassy_sync::blocking_mutex::raw::NoopRawMutex;

#[path = "support/coap_network.rs"]
mod network;
#[path = "support/coap_peer.rs"]
mod peer;
#[path = "support/coap_secure.rs"]
mod secure;
#[path = "support/coap.rs"]
mod support;

use network::*;
use peer::*;
use secure::Secure;
use support::Repeatable;

const PATHS: [&str; 4] = ["/0", "/1", "/2", "/3"];

/// What is behind the server.
struct Resources {
    changes: Changes<NoopRawMutex, 4>,
    values: RefCell<[u32; 4]>,
    /// How often each PUT was carried out, by its payload.
    done: RefCell<HashMap<Vec<u8>, u32>>,
    uploaded: RefCell<Vec<Vec<u8>>>,
    big: Vec<u8>,
}

impl Resources {
    fn new() -> Self {
        let big = (0..65_536_u32).map(|at| (at ^ at >> 8 ^ at >> 4) as u8).collect();
        let changes = Changes::local(PATHS);
        Self {
            changes,
            values: RefCell::default(),
            done: RefCell::default(),
            uploaded: RefCell::default(),
            big,
        }
    }

    fn handle(&self, seen: Seen) -> (u8, Vec<u8>) {
        match (seen.code, &seen.path[..]) {
            (PUT, "/upload") => {
                self.uploaded.borrow_mut().push(seen.payload);
                (0x44, vec![])
            }
            (PUT, _) => {
                *self.done.borrow_mut().entry(seen.payload).or_default() += 1;
                (0x44, vec![])
            }
            (_, "/big") => (0x45, self.big.clone()),
            (_, path) => {
                let at = PATHS.iter().position(|known| *known == path).unwrap();
                (0x45, self.values.borrow()[at].to_string().into_bytes())
            }
        }
    }
}

/// Changes resources, until it has done so often enough.
struct Changer<'r> {
    resources: &'r Resources,
    left: u32,
    next: u64,
}

impl Actor for Changer<'_> {
    fn receive(&mut self, _: &Net<'_>, _: &[u8]) {}

    fn act(&mut self, net: &Net<'_>) -> Option<u64> {
        if self.left > 0 && self.next <= net.time.millis() {
            let at = net.random(4) as usize;
            self.resources.values.borrow_mut()[at] += 1;
            self.resources.changes.notify(PATHS[at]);
            self.left -= 1;
            self.next = net.time.millis() + 1 + net.random(4_000);
            // The server has to hear of it.
            return Some(net.time.millis() + 1);
        }
        (self.left > 0).then_some(self.next)
    }

    fn at(&self) -> SocketAddr {
        client(255)
    }
}

/// The number and the value of the newest notification, and when it came (RFC 7641 §3.4).
type Newest = Option<(u32, u32, u64)>;

/// What a client wants.
enum Task {
    /// So many PUTs, each its own; and which of them were answered.
    Puts(u32, Vec<Vec<u8>>),
    /// To observe resources.
    Observe(Vec<(usize, Newest)>),
    Download(Vec<u8>, bool),
    Upload(Vec<u8>, usize, bool),
}

struct Client<'c> {
    at: SocketAddr,
    name: u8,
    session: Option<Secure<'c>>,
    exchange: Exchange,
    task: Task,
    /// When to go on.
    not_before: u64,
    timed_out: u32,
}

/// Sends in the session, if there is one.
fn sender<'s>(
    at: SocketAddr,
    session: &'s mut Option<Secure<'_>>,
    net: &'s Net<'_>,
) -> impl FnMut(&[u8]) + 's {
    move |message| match session {
        None => net.send_to_server(at, message),
        Some(session) => net.send_to_server(at, &session.seal(message)),
    }
}

impl<'c> Client<'c> {
    fn new(name: u8, session: Option<Secure<'c>>, task: Task) -> Self {
        let exchange = Exchange::new(u16::from(name) * 1_000);
        Self { at: client(name), name, session, exchange, task, not_before: 0, timed_out: 0 }
    }

    fn next_request(&self) -> Option<Coap> {
        match &self.task {
            Task::Puts(0, _) | Task::Download(_, true) | Task::Upload(_, _, true) => None,
            Task::Puts(left, _) => {
                Some(Coap::request(CON, PUT, 0, "/x").payload(format!("{}:{left}", self.name).as_bytes()))
            }
            Task::Observe(all) => {
                let (at, _) = all.iter().find(|(_, newest)| newest.is_none())?;
                Some(Coap::request(CON, GET, 0, PATHS[*at]).token(&[*at as u8]).with(OBSERVE, []))
            }
            Task::Download(body, _) => {
                let block = block(body.len() as u32 / 512, false, 512);
                Some(Coap::request(CON, GET, 0, "/big").with(BLOCK2, block))
            }
            Task::Upload(body, at, _) => {
                let end = body.len().min(at + 512);
                let block = block(*at as u32 / 512, end < body.len(), 512);
                Some(Coap::request(CON, PUT, 0, "/upload").with(BLOCK1, block).payload(&body[*at..end]))
            }
        }
    }

    fn on_message(&mut self, message: Coap, net: &Net<'_>) {
        let now = net.time.millis();
        match &mut self.task {
            Task::Puts(left, answered) => {
                assert_eq!(message.says(), 204);
                answered.push(format!("{}:{left}", self.name).into_bytes());
                *left -= 1;
            }
            Task::Observe(all) => {
                let (_, newest) = all.iter_mut().find(|(at, _)| message.token == [*at as u8]).unwrap();
                let number = message.uint(OBSERVE).expect("there is room for all");
                let value = core::str::from_utf8(&message.payload).unwrap().parse().unwrap();
                // RFC 7641 §3.4.
                let is_newer = newest.is_none_or(|(before, _, at)| {
                    (before < number && number - before < 1 << 23)
                        || (before > number && before - number > 1 << 23)
                        || now > at + 128_000
                });
                if is_newer {
                    assert!(newest.is_none_or(|(_, before, _)| before <= value), "back to an older value");
                    *newest = Some((number, value, now));
                }
            }
            Task::Download(body, done) => {
                assert_eq!(message.says(), 205);
                let (number, more, size) = message.block(BLOCK2).unwrap();
                assert_eq!(number * size, body.len() as u32);
                body.extend(message.payload);
                *done = !more;
            }
            Task::Upload(body, at, done) => match message.says() {
                231 => *at += 512,
                204 => {
                    assert!(*at + 512 >= body.len());
                    *done = true;
                }
                408 => *at = 0,
                503 => self.not_before = now + 5_000,
                other => panic!("{other}"),
            },
        }
    }
}

impl Actor for Client<'_> {
    fn receive(&mut self, net: &Net<'_>, from_server: &[u8]) {
        let messages = match &mut self.session {
            None => vec![from_server.to_vec()],
            Some(session) => session.hit(from_server, net.time.millis()),
        };
        for message in messages {
            let is_observing = matches!(self.task, Task::Observe(_));
            let knows = |token: &[u8]| is_observing && token.len() == 1;
            let mut send = sender(self.at, &mut self.session, net);
            let came = self.exchange.receive(&message, knows, &mut send);
            drop(send);
            if let Came::Response(message) | Came::Other(message) = came {
                self.on_message(message, net);
            }
        }
    }

    fn act(&mut self, net: &Net<'_>) -> Option<u64> {
        let now = net.time.millis();
        if let Some(session) = &mut self.session {
            if session.connection.poll_timeout().is_some_and(|at| at <= net.time.now()) {
                session.connection.handle_timeout(net.time.now()).unwrap();
            }
            session.transmit().iter().for_each(|datagram| net.send_to_server(self.at, datagram));
            if !session.is_established() {
                return session.connection.poll_timeout().map(Instant::as_millis);
            }
        }
        let mut send = sender(self.at, &mut self.session, net);
        let came = self.exchange.act(net, &mut send);
        drop(send);
        if came == Came::TimedOut {
            self.timed_out += 1;
            if let Task::Puts(left, _) = &mut self.task {
                // Nobody knows whether that one was carried out.
                *left -= 1;
            }
        }
        if self.exchange.is_idle()
            && self.not_before <= now
            && let Some(request) = self.next_request()
        {
            self.exchange.ask(net, request, &mut sender(self.at, &mut self.session, net));
        }
        let timeout = self.session.as_ref().and_then(|session| session.connection.poll_timeout());
        let not_before = Some(self.not_before).filter(|at| *at > now);
        self.exchange.next().into_iter().chain(timeout.map(Instant::as_millis)).chain(not_before).min()
    }

    fn at(&self) -> SocketAddr {
        self.at
    }
}

const PERFECT: Conditions = Conditions { loss: 0, duplicates: 0, delay: 5..=20 };

/// Runs clients over plain sockets (`None`) or in sessions, and checks what all have in common in the end.
fn play<'k, const EXCHANGES: usize, const REPLIES: usize>(
    seed: u64,
    conditions: Conditions,
    is_secure: bool,
    tasks: Vec<Task>,
    resources: &Resources,
    keys: &'k [Psk<'k>],
    changes: u32,
) -> (Vec<Client<'k>>, Counters) {
    let time = Time::default();
    let net = Net::new(&time, seed, PERFECT);
    let config: &Config<'_> = Box::leak(Box::new(Config::coap()));
    let mut clients: Vec<_> = (0..)
        .zip(tasks)
        .map(|(n, task)| {
            let session = is_secure
                .then(|| Secure::new(config, &keys[usize::from(n)], client(n), seed + u64::from(n), 0));
            Client::new(n, session, task)
        })
        .collect();
    let mut changer = Changer { resources, left: changes, next: 5_000 };
    let counters = if is_secure {
        let mut storage = Storage::<16, 16>::new();
        let endpoint = Endpoint::new(config, &keys, &mut storage, &mut Repeatable(1)).unwrap();
        let mut socket =
            nal::asynch::Server::<_, _, _, 16, 16>::new(NetPort(&net), endpoint, &time, Repeatable(2));
        serve::<EXCHANGES, REPLIES>(&net, &mut socket, resources, conditions, &mut clients, &mut changer)
    } else {
        serve::<EXCHANGES, REPLIES>(&net, &mut plain(&net), resources, conditions, &mut clients, &mut changer)
    };
    (clients, counters)
}

fn serve<const EXCHANGES: usize, const REPLIES: usize>(
    net: &Net<'_>,
    socket: &mut impl SessionUdp,
    resources: &Resources,
    conditions: Conditions,
    clients: &mut [Client<'_>],
    changer: &mut Changer<'_>,
) -> Counters {
    let mut rooms = [[0; 65_536]; 2];
    let mut uploads = rooms.each_mut().map(|room| Upload::new(room));
    let mut server =
        Server::<_, _, _, 1152, EXCHANGES, REPLIES, 32>::with_sizes(socket, net.time, Repeatable(3))
            .with_changes(&resources.changes)
            .with_uploads(&mut uploads);
    let mut handler = Does(|seen| resources.handle(seen));
    let mut actors: Vec<&mut (dyn Actor + '_)> =
        clients.iter_mut().map(|client| client as &mut dyn Actor).collect();
    // Everybody gets a session first.
    run(net, server.run(&mut handler), &mut actors, 2_000);
    *net.conditions.borrow_mut() = conditions;
    actors.push(changer);
    run(net, server.run(&mut handler), &mut actors, 3_000_000);
    drop(actors);
    let counters = server.counters();
    assert_eq!((counters.refused, counters.denied, counters.orphaned, counters.send_errors), (0, 0, 0, 0));
    assert!(EXCHANGES < 100 || counters.overloaded == 0, "{counters:?}");
    // Nobody is left in the table but those who observe.
    let registered = clients.iter().map(|client| match &client.task {
        Task::Observe(all) => all.len(),
        _ => 0,
    });
    assert_eq!(server.observers() + counters.lost_observers as usize, registered.sum(), "{counters:?}");
    counters
}

fn keys() -> Vec<Psk<'static>> {
    const NAMES: [[u8; 1]; 16] =
        [[0], [1], [2], [3], [4], [5], [6], [7], [8], [9], [10], [11], [12], [13], [14], [15]];
    NAMES.iter().map(|name| Psk::new(name, &[7; 16]).unwrap()).collect()
}

fn bad(loss: u32) -> Conditions {
    Conditions { loss, duplicates: 20, delay: 10..=3_000 }
}

/// Every PUT is carried out at most once, and once if its client was answered; whatever the network does.
#[test]
fn nothing_is_done_twice() {
    let keys = keys();
    let (mut duplicates, mut timed_out) = (0, 0);
    for seed in 0..200 {
        let loss = 10 + 10 * (seed as u32 % 4);
        let resources = Resources::new();
        let tasks = (0..6).map(|_| Task::Puts(15, vec![])).collect();
        let (clients, counters) =
            play::<256, 8192>(seed, bad(loss), seed % 2 == 1, tasks, &resources, &keys, 0);
        let done = resources.done.borrow();
        assert!(done.values().all(|times| *times == 1), "seed {seed}: {done:?}");
        for client in &clients {
            let Task::Puts(0, answered) = &client.task else { panic!("seed {seed}: not all were sent") };
            assert!(answered.iter().all(|payload| done[payload] == 1), "seed {seed}");
            assert_eq!(answered.len() + client.timed_out as usize, 15);
            timed_out += client.timed_out;
        }
        assert_eq!(counters.requests as usize, done.len());
        duplicates += counters.duplicates;
    }
    assert!(duplicates > 1_000 && timed_out > 10, "{duplicates} duplicates, {timed_out} timed out");
}

/// The same with a memory that is too small for what comes: requests have to wait, and what is safe takes no place from what is not.
#[test]
fn nothing_is_done_twice_with_little_memory() {
    let keys = keys();
    let mut overloaded = 0;
    for seed in 0..40 {
        let resources = Resources::new();
        let tasks =
            (0..10).map(|n| if n < 7 { Task::Puts(8, vec![]) } else { Task::Download(vec![], false) });
        let conditions = bad(10 + 10 * (seed as u32 % 4));
        let (clients, counters) =
            play::<24, 256>(seed, conditions, seed % 2 == 1, tasks.collect(), &resources, &keys, 0);
        let done = resources.done.borrow();
        assert!(done.values().all(|times| *times == 1), "seed {seed}: {done:?}");
        for client in &clients {
            if let Task::Puts(left, answered) = &client.task {
                assert_eq!(*left, 0);
                assert!(answered.iter().all(|payload| done[payload] == 1), "seed {seed}");
            }
        }
        overloaded += counters.overloaded;
    }
    assert!(overloaded > 500, "{overloaded}");
}

/// 32 observers over 16 sessions, while resources change: each ends on the last value, unless the server has given it up; and none
/// ever goes back to an older value.
#[test]
fn observers_end_on_the_last_value() {
    let keys = keys();
    let (mut lost, mut notifications) = (0, 0);
    for seed in 0..120 {
        let resources = Resources::new();
        let tasks = (0..16).map(|n| Task::Observe(vec![(n % 4, None), ((n + 1) % 4, None)])).collect();
        let conditions = bad(10 + 10 * (seed as u32 % 4));
        let (clients, counters) =
            play::<256, 8192>(seed, conditions, seed % 2 == 1, tasks, &resources, &keys, 40);
        let values = resources.values.borrow();
        assert_eq!(values.iter().sum::<u32>(), 40);
        let all = clients.iter().flat_map(|client| match &client.task {
            Task::Observe(all) => all.iter(),
            _ => unreachable!(),
        });
        let stale =
            all.filter(|(at, newest)| newest.is_none_or(|(_, value, _)| value != values[*at])).count() as u32;
        assert!(stale <= counters.lost_observers, "seed {seed}: {stale} of {counters:?}");
        lost += counters.lost_observers;
        notifications += counters.notifications;
        assert!(seed % 4 > 0 || counters.lost_observers <= 1, "seed {seed}: {counters:?}");
    }
    assert!(lost > 10 && notifications > 120 * 32 * 4, "{lost} of {notifications}");
}

/// 64 KiB arrive whole, in both directions and at the same time.
#[test]
fn long_bodies_arrive_whole() {
    let keys = keys();
    let restarts = Cell::new(0);
    for seed in 0..16 {
        let resources = Resources::new();
        let body = |n: u8| resources.big.iter().map(|byte| byte ^ n).collect::<Vec<_>>();
        let tasks = vec![
            Task::Upload(body(1), 0, false),
            Task::Download(vec![], false),
            Task::Upload(body(2), 0, false),
            Task::Download(vec![], false),
            Task::Puts(30, vec![]),
        ];
        let conditions = Conditions { loss: 10, duplicates: 10, delay: 10..=1_000 };
        let (clients, counters) =
            play::<256, 8192>(seed, conditions, seed % 2 == 1, tasks, &resources, &keys, 0);
        for client in &clients {
            match &client.task {
                Task::Download(arrived, done) => assert!(*done && *arrived == resources.big, "seed {seed}"),
                Task::Upload(_, _, done) => assert!(*done, "seed {seed}"),
                Task::Puts(left, _) => assert_eq!(*left, 0),
                Task::Observe(_) => unreachable!(),
            }
            restarts.set(restarts.get() + client.timed_out);
        }
        let mut uploaded = resources.uploaded.take();
        uploaded.sort();
        uploaded.dedup();
        let mut expected = [body(1), body(2)];
        expected.sort();
        assert_eq!(uploaded, expected, "seed {seed}");
        assert!(counters.requests >= 2 * 128 + 2 + 25);
    }
}
