//! Many CoAP requests at once to many servers over one socket, in simulated time.
#![cfg(feature = "coap")]

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use dtls_psk::coap::{Error, Request, Requests};
use dtls_psk::{
    CipherSuite, Config, Connection, Endpoint, Instant, Path, Peer, PeerLookup, ProtocolVersion, Psk,
    SessionId, Storage,
};
use embedded_nal_async::UnconnectedUdp;

#[path = "support/coap_scripted.rs"]
mod peer;
#[path = "support/coap.rs"]
mod support;

use peer::*;
use support::{Repeatable, ScriptOver, World, addr};

type Answers = Vec<(u64, SocketAddr, Vec<u8>)>;
type Peers<'w> = Box<dyn FnMut(SocketAddr, &[u8]) -> Answers + 'w>;

/// What happens at the other side of the socket.
struct Net<'w> {
    world: &'w World,
    peers: Peers<'w>,
    inbox: Vec<(u64, SocketAddr, Vec<u8>)>,
    sent: &'w RefCell<Vec<(u64, SocketAddr, Vec<u8>)>>,
    /// How many sends take a moment.
    slow_sends: usize,
    unreachable: Option<SocketAddr>,
    /// The session at every address.
    session: &'w Cell<Option<SessionId>>,
}

impl UnconnectedUdp for Net<'_> {
    type Error = ScriptOver;

    async fn send(&mut self, local: SocketAddr, remote: SocketAddr, data: &[u8]) -> Result<(), ScriptOver> {
        assert!(local.ip().is_unspecified() || local == addr("192.0.2.9:5683"), "{local}");
        assert_eq!(local.is_ipv4(), remote.is_ipv4());
        if self.slow_sends > 0 {
            self.slow_sends -= 1;
            let (mut waited, now) = (false, self.world.millis());
            poll_fn(|_| {
                if std::mem::replace(&mut waited, true) {
                    return Poll::Ready(());
                }
                self.world.wait_for(now);
                Poll::Pending
            })
            .await;
        }
        if self.unreachable == Some(remote) {
            return Err(ScriptOver);
        }
        let now = self.world.millis();
        self.sent.borrow_mut().push((now, remote, data.to_vec()));
        for (delay, from, answer) in (self.peers)(remote, data) {
            self.inbox.push((now + delay, from, answer));
        }
        Ok(())
    }

    async fn receive_into(
        &mut self,
        buffer: &mut [u8],
    ) -> Result<(usize, SocketAddr, SocketAddr), ScriptOver> {
        poll_fn(|_| {
            let first = self.inbox.iter().enumerate().min_by_key(|(_, (at, ..))| *at);
            let Some((i, at)) = first.map(|(i, (at, ..))| (i, *at)) else { return Poll::Pending };
            if at > self.world.millis() {
                self.world.wait_for(at);
                return Poll::Pending;
            }
            let (_, remote, datagram) = self.inbox.remove(i);
            let len = datagram.len().min(buffer.len());
            buffer[..len].copy_from_slice(&datagram[..len]);
            Poll::Ready(Ok((datagram.len(), addr("192.0.2.9:5683"), remote)))
        })
        .await
    }
}

impl PeerLookup for Net<'_> {
    fn peer(&self, _: SocketAddr, _: SocketAddr) -> Option<Peer<'_>> {
        let session = self.session.get()?;
        Some(Peer {
            identity: b"",
            session,
            epoch: 1,
            version: ProtocolVersion::ALL[0],
            suite: CipherSuite::ALL[0],
            resumed: false,
        })
    }
}

/// All that a test looks at.
#[derive(Default)]
struct Scene {
    world: World,
    sent: RefCell<Vec<(u64, SocketAddr, Vec<u8>)>>,
    session: Cell<Option<SessionId>>,
}

impl Scene {
    fn net<'w>(&'w self, peers: impl FnMut(SocketAddr, &[u8]) -> Answers + 'w) -> Net<'w> {
        Net {
            world: &self.world,
            peers: Box::new(peers),
            inbox: vec![],
            sent: &self.sent,
            slow_sends: 0,
            unreachable: None,
            session: &self.session,
        }
    }

    /// When requests went out, and where to.
    fn times(&self) -> Vec<(u64, SocketAddr)> {
        let sent = self.sent.borrow();
        sent.iter().filter(|(_, _, sent)| is_request(sent)).map(|(at, remote, _)| (*at, *remote)).collect()
    }
}

type TestRequests<'s, 'w, const N: usize> = Requests<'s, Net<'w>, &'w World, Repeatable, N, 256>;

fn requests<'s, 'w, const N: usize>(net: &'s mut Net<'w>) -> TestRequests<'s, 'w, N> {
    let world = net.world;
    Requests::with_size(net, world, Repeatable(1))
}

fn server(n: u8) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, n], 5683))
}

/// What a future of a GET brings.
async fn get<const N: usize>(
    requests: &TestRequests<'_, '_, N>,
    server: SocketAddr,
    path: &str,
) -> Result<Vec<u8>, Error<ScriptOver>> {
    let mut buffer = [0; 512];
    requests.get(server, path, &mut buffer).await.map(|reply| reply.payload().to_vec())
}

/// A server that answers after that many milliseconds with its last octet and the path.
fn echoing(delay: u64) -> impl FnMut(SocketAddr, &[u8]) -> Answers {
    move |remote, request| {
        if !is_request(request) {
            return vec![];
        }
        vec![(delay, remote, piggybacked(request, CONTENT, &[], &said(remote, request)))]
    }
}

fn said(remote: SocketAddr, request: &[u8]) -> Vec<u8> {
    format!("{} {}", remote.ip(), String::from_utf8(option(request, URI_PATH).unwrap_or_default()).unwrap())
        .into_bytes()
}

struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Polls each task when it was woken, or when something happens that it has waited for itself, and never else. Returns how many
/// are left at the end of all events.
fn execute(world: &World, tasks: Vec<Pin<Box<dyn Future<Output = ()> + '_>>>) -> usize {
    let mut tasks: Vec<_> =
        tasks.into_iter().map(|task| (Some(task), Arc::new(Flag(AtomicBool::new(true))), None)).collect();
    loop {
        let mut idle = true;
        for (task, flag, next) in &mut tasks {
            let due = next.is_some_and(|next| next <= world.millis());
            if (flag.0.swap(false, Ordering::Relaxed) || due) && task.is_some() {
                idle = false;
                world.take_next();
                let waker = Waker::from(flag.clone());
                if task.as_mut().unwrap().as_mut().poll(&mut Context::from_waker(&waker)).is_ready() {
                    *task = None;
                }
                *next = world.take_next();
            }
        }
        if idle {
            let next = tasks.iter().filter(|(task, ..)| task.is_some()).filter_map(|(.., next)| *next).min();
            match next {
                Some(next) => world.set_millis(next.max(world.millis())),
                None => return tasks.iter().filter(|(task, ..)| task.is_some()).count(),
            }
        }
    }
}

#[test]
fn several_servers_at_once() {
    let scene = Scene::default();
    let mut net =
        scene.net(|remote, request| echoing(100 * u64::from(remote.port() - 5680))(remote, request));
    let requests: TestRequests<'_, '_, 3> = requests(&mut net);
    let servers = [addr("192.0.2.1:5683"), addr("192.0.2.2:5682"), addr("[2001:db8::1]:5681")];
    let order = RefCell::new(vec![]);
    let (requests, order_of, world) = (&requests, &order, &scene.world);
    let tasks = servers.map(|server| {
        let task = async move {
            let reply = get(requests, server, "/x").await.unwrap();
            assert_eq!(reply, format!("{} x", server.ip()).into_bytes());
            order_of.borrow_mut().push((world.millis(), server));
        };
        Box::pin(task) as Pin<Box<dyn Future<Output = ()>>>
    });
    assert_eq!(execute(&scene.world, tasks.into()), 0);
    assert_eq!(*order.borrow(), [(100, servers[2]), (200, servers[1]), (300, servers[0])]);
    assert_eq!(scene.times().iter().filter(|(at, _)| *at == 0).count(), 3, "at once");
}

/// RFC 7252 §4.7: NSTART requests to one server at once, and the others wait in line, but not for other servers.
#[test]
fn nstart() {
    for (nstart, times) in [(1, [0, 100, 200, 0]), (2, [0, 0, 100, 0])] {
        let scene = Scene::default();
        let mut net = scene.net(echoing(100));
        let mut requests: TestRequests<'_, '_, 4> = requests(&mut net);
        requests.set_nstart(nstart);
        let order = RefCell::new(vec![]);
        let (requests, order_of) = (&requests, &order);
        let tasks = [(1, "/a"), (1, "/b"), (1, "/c"), (2, "/d")].map(|(n, path)| {
            let task = async move {
                let reply = get(requests, server(n), path).await.unwrap();
                order_of.borrow_mut().push(reply.last().copied().unwrap() as char);
            };
            Box::pin(task) as Pin<Box<dyn Future<Output = ()>>>
        });
        assert_eq!(execute(&scene.world, tasks.into()), 0);
        let sent = scene.sent.borrow();
        for (path, time) in ["a", "b", "c", "d"].iter().zip(times) {
            let at =
                sent.iter().find(|(_, _, sent)| option(sent, URI_PATH).as_deref() == Some(path.as_bytes()));
            assert_eq!(at.unwrap().0, time, "{path} with {nstart}");
        }
        assert_eq!(sent.len(), 4);
    }
}

/// An acknowledged request is not outstanding (§4.7): the next one does not wait for the separate response.
#[test]
fn an_acknowledged_request_is_not_outstanding() {
    let scene = Scene::default();
    let mut count = 0;
    let mut net = scene.net(|remote, request| {
        if !is_request(request) {
            return vec![];
        }
        count += 1;
        let response = message(CON, CONTENT, 900 + count, &token(request), &[], &said(remote, request));
        vec![(10, remote, empty(ACK, id(request))), (5_000, remote, response)]
    });
    let requests: TestRequests<'_, '_, 2> = requests(&mut net);
    let both = embassy_futures::join::join(get(&requests, server(1), "/a"), get(&requests, server(1), "/b"));
    let (a, b) = scene.world.run(both).unwrap();
    assert_eq!((a.unwrap(), b.unwrap()), (b"192.0.2.1 a".to_vec(), b"192.0.2.1 b".to_vec()));
    assert_eq!(scene.times(), [(0, server(1)), (10, server(1))]);
    let acks: Vec<_> = scene.sent.borrow().iter().filter(|(_, _, sent)| sent.len() == 4).cloned().collect();
    assert_eq!(acks, [(5_000, server(1), empty(ACK, 901)), (5_010, server(1), empty(ACK, 902))]);
}

/// More requests than places: they wait for one, and all of them get through.
#[test]
fn places() {
    let scene = Scene::default();
    let mut net = scene.net(echoing(100));
    let requests: TestRequests<'_, '_, 2> = requests(&mut net);
    let done = Cell::new(0);
    let (requests, done_of) = (&requests, &done);
    let tasks = (0..20).map(|n| {
        let task = async move {
            get(requests, server(n), "/").await.unwrap();
            done_of.set(done_of.get() + 1);
        };
        Box::pin(task) as Pin<Box<dyn Future<Output = ()>>>
    });
    assert_eq!(execute(&scene.world, tasks.collect()), 0);
    assert_eq!(done.get(), 20);
    assert!(scene.world.millis() <= 2_000, "{}", scene.world.millis());
}

/// §4.2, with every datagram lost once, and §4.8: those that nobody answers are given up, and the others are not held up.
#[test]
fn loss() {
    let scene = Scene::default();
    let mut seen = std::collections::HashSet::new();
    let mut net = scene.net(move |remote, request| {
        if remote == server(3) || seen.insert(request.to_vec()) {
            return vec![];
        }
        echoing(10)(remote, request)
    });
    let requests: TestRequests<'_, '_, 3> = requests(&mut net);
    let (one, two, three) = scene
        .world
        .run(embassy_futures::join::join3(
            get(&requests, server(1), "/"),
            get(&requests, server(2), "/"),
            get(&requests, server(3), "/"),
        ))
        .unwrap();
    assert!(one.is_ok() && two.is_ok());
    assert_eq!(three, Err(Error::TimedOut));
    assert_eq!(scene.times().iter().filter(|(_, remote)| *remote == server(3)).count(), 5);
}

/// An answer counts from the address that was asked, with the token of the request, and in its session (RFC 7252 §9.1.2).
#[test]
fn answers_of_others() {
    let scene = Scene::default();
    scene.session.set(Some(session_id(1)));
    let session = &scene.session;
    let mut net = scene.net(move |remote, request| {
        if !is_request(request) {
            return vec![];
        }
        let forged = piggybacked(request, CONTENT, &[], b"forged");
        let mut other_token = forged.clone();
        other_token[4] ^= 1;
        let separate = message(CON, CONTENT, 9, &token(request), &[], b"forged");
        let reset = empty(RST, id(request));
        vec![
            (10, server(9), forged),
            (20, server(9), separate),
            (30, server(9), reset),
            (40, SocketAddr::new(remote.ip(), 1), piggybacked(request, CONTENT, &[], b"another port")),
            (50, remote, other_token),
            (60, remote, piggybacked(request, CONTENT, &[], b"genuine")),
        ]
    });
    let requests: TestRequests<'_, '_, 2> = requests(&mut net);
    assert_eq!(scene.world.run(get(&requests, server(1), "/")).unwrap().unwrap(), b"genuine");
    assert_eq!(scene.sent.borrow()[1], (20, server(9), empty(RST, 9)), "nobody waits for it");
    // Another session at the same address.
    let mut first = pin!(get(&requests, server(1), "/"));
    assert!(first.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    session.set(Some(session_id(2)));
    assert_eq!(scene.world.run(first), Some(Err(Error::TimedOut)));
}

/// The name of a session, which nothing but a handshake makes.
fn session_id(seed: u64) -> SessionId {
    let config = Config::coap();
    let psk = Psk::new(b"client", b"key").unwrap();
    let (mut rng, now) = (Repeatable(seed), Instant::ZERO);
    let path = Path { local: server(9), remote: server(1) };
    let mut storage = Storage::<1, 1>::new();
    let keys = [psk];
    let mut endpoint = Endpoint::new(&config, &keys, &mut storage, &mut rng).unwrap();
    let mut connection = Connection::client(&config, &psk, &mut rng, now).unwrap();
    let mut datagram = [0; 1_280];
    loop {
        while let Some(len) = connection.poll_transmit(&mut datagram).unwrap() {
            endpoint.receive(&mut datagram[..len], path, &mut rng, now).for_each(drop);
        }
        if let Some(peer) = connection.peer() {
            return peer.session;
        }
        while let Some((len, _)) = endpoint.poll_transmit(&mut datagram).unwrap() {
            connection.receive(&mut datagram[..len], now).for_each(drop);
        }
    }
}

/// Block-wise both ways (RFC 7959), and Echo (RFC 9175), for several servers at once.
#[test]
fn blocks_and_echo() {
    let scene = Scene::default();
    let resources: RefCell<std::collections::HashMap<SocketAddr, Resource>> = RefCell::default();
    let mut net = scene.net(|remote, request| {
        if remote == server(2) && option(request, ECHO).is_none() {
            return vec![(5, remote, piggybacked(request, UNAUTHORIZED, &[(ECHO, vec![2; 8])], b""))];
        }
        let mut resources = resources.borrow_mut();
        let resource = resources.entry(remote).or_insert_with(|| Resource::new(body(700), 64));
        vec![(10, remote, resource.answer(request))]
    });
    let requests: TestRequests<'_, '_, 2> = requests(&mut net);
    let question = body(1_000);
    let post = async |server| {
        let mut buffer = [0; 1024];
        let reply = requests.request(server, &Request::post("/", &question), &mut buffer).await;
        reply.map(|reply| reply.payload().to_vec())
    };
    let (one, two) = scene.world.run(embassy_futures::join::join(post(server(1)), post(server(2)))).unwrap();
    assert_eq!((one, two), (Ok(body(700)), Ok(body(700))));
    assert!(resources.borrow().values().all(|resource| resource.uploaded == question));
    // A buffer that is too short says so.
    let mut buffer = [0; 300];
    let result = scene.world.run(requests.get(server(1), "/", &mut buffer)).unwrap().map(|_| ());
    assert_eq!(result, Err(Error::ReplyTooLong));
}

/// RFC 9175 §2.3: an Echo goes with the next request to the server that said it, in the session that it was said in.
#[test]
fn echo_of_a_session() {
    let scene = Scene::default();
    let mut net = scene.net(|remote, request| {
        vec![(5, remote, piggybacked(request, CONTENT, &[(ECHO, vec![remote.port() as u8; 4])], b""))]
    });
    let requests: TestRequests<'_, '_, 3> = requests(&mut net);
    let names = [1, 2].map(session_id);
    for (n, session) in
        [(1, None), (1, None), (2, None), (2, Some(names[0])), (2, Some(names[0])), (2, Some(names[1]))]
    {
        scene.session.set(session);
        scene.world.run(get(&requests, server(n), "/")).unwrap().unwrap();
    }
    let echoes: Vec<_> =
        scene.sent.borrow().iter().map(|(_, _, sent)| option(sent, ECHO).is_some()).collect();
    assert_eq!(echoes, [false, true, false, false, true, false]);
}

/// A server that cannot be sent to is the failure of its own request.
#[test]
fn an_unreachable_server() {
    let scene = Scene::default();
    let mut net = scene.net(echoing(10));
    net.unreachable = Some(server(1));
    let requests: TestRequests<'_, '_, 2> = requests(&mut net);
    let both = embassy_futures::join::join(get(&requests, server(1), "/"), get(&requests, server(2), "/"));
    let (one, two) = scene.world.run(both).unwrap();
    assert_eq!((one, two), (Err(Error::Socket(ScriptOver)), Ok(b"192.0.2.2 ".to_vec())));
}

/// A future that is dropped at any await frees its place at once, and whoever waited behind it goes on.
#[test]
fn dropped_at_any_await() {
    for polls in 1..40 {
        for slow_sends in [0, 1, 4] {
            let scene = Scene::default();
            let resource = RefCell::new(Resource::new(body(300), 64));
            let mut net = scene.net(|remote, request| {
                if remote == server(1) {
                    vec![(7, remote, resource.borrow_mut().answer(request))]
                } else {
                    echoing(10)(remote, request)
                }
            });
            net.slow_sends = slow_sends;
            let requests: TestRequests<'_, '_, 1> = requests(&mut net);
            let others = Cell::new(0);
            let other = || {
                let task = async {
                    get(&requests, server(2), "/").await.unwrap();
                    others.set(others.get() + 1);
                };
                Box::pin(task) as Pin<Box<dyn Future<Output = ()> + '_>>
            };
            let dropped = async {
                let mut buffer = [0; 512];
                let mut count = 0;
                let question = body(100);
                let put = Request::put("/", &question).block_size(32);
                let mut request = pin!(requests.request(server(1), &put, &mut buffer));
                // As `run_and_drop`, in the task of its own that it has here.
                poll_fn(|context| {
                    count += 1;
                    if count > polls { Poll::Ready(()) } else { request.as_mut().poll(context).map(|_| ()) }
                })
                .await;
            };
            let left = execute(&scene.world, vec![Box::pin(dropped), other(), other()]);
            assert_eq!((left, others.get()), (0, 2), "{polls} {slow_sends}");
            assert_eq!(scene.world.run(get(&requests, server(2), "/x")).unwrap().unwrap(), b"192.0.2.2 x");
        }
    }
}

/// A request that is dropped while it is in line, and while it holds the socket for others.
#[test]
fn dropped_in_line() {
    let scene = Scene::default();
    let mut net = scene.net(echoing(100));
    let requests: TestRequests<'_, '_, 4> = requests(&mut net);
    let mut context = Context::from_waker(Waker::noop());
    {
        let mut holder = pin!(get(&requests, server(1), "/a"));
        let mut in_line = pin!(get(&requests, server(1), "/b"));
        assert!(holder.as_mut().poll(&mut context).is_pending());
        assert!(in_line.as_mut().poll(&mut context).is_pending());
    }
    assert_eq!(scene.times().len(), 1, "what was in line did not go out");
    let all = async {
        let (c, two, three, four) = embassy_futures::join::join4(
            get(&requests, server(1), "/c"),
            get(&requests, server(2), "/"),
            get(&requests, server(3), "/"),
            get(&requests, server(4), "/"),
        )
        .await;
        assert_eq!(c.unwrap(), b"192.0.2.1 c");
        assert!(two.is_ok() && three.is_ok() && four.is_ok());
    };
    assert_eq!(execute(&scene.world, vec![Box::pin(all)]), 0);
    assert_eq!(scene.world.millis(), 100, "all places were free");
}
