//! The async shells over sockets in memory, which pend and fail where the test says so.

mod shell_support;

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::pin::pin;
use std::task::{Context, Waker};

use dtls_psk::nal::Error;
use dtls_psk::nal::asynch::{Client, Server};
use dtls_psk::{
    Config, Endpoint, Error as Dtls, MAX_PEER_CONNECTION_ID_LEN, MAX_TICKET_LEN, PeerLookup, Psk, PskStore,
    Storage,
};
use embedded_nal_async::{ConnectedUdp, UnconnectedUdp};
use shell_support::*;

type TestClient<'a, const N: usize = 1280> = Client<'a, Socket<'a>, &'a World, N>;
type TestServer<'a, const H: usize = 2, const S: usize = 4, const N: usize = 1280> =
    Server<'a, Socket<'a>, &'a World, Repeatable, H, S, N>;

const SERVER: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::new(127, 0, 0, 1)), 5684);

fn client_address() -> SocketAddr {
    address(9, 40_000)
}

fn new_client<'a>(world: &'a World, psk: &'a Psk<'a>) -> TestClient<'a> {
    client_at(world, psk, client_address())
}

fn client_at<'a>(world: &'a World, psk: &'a Psk<'a>, local: SocketAddr) -> TestClient<'a> {
    let seed = u64::from(local.port());
    Client::new(Socket::connected(world, local, SERVER), &CONFIG, psk, world, &mut Repeatable(seed)).unwrap()
}

fn new_server<'a, const H: usize, const S: usize>(
    world: &'a World,
    keys: &'a dyn PskStore,
    storage: &'a mut Storage<H, S>,
) -> TestServer<'a, H, S> {
    let endpoint = Endpoint::new(&CONFIG, keys, storage, &mut Repeatable(2)).unwrap();
    Server::new(Socket::bound(world, SERVER), endpoint, world, Repeatable(3))
}

/// Answers every message with itself.
async fn echo(server: &mut TestServer<'_>) {
    let mut buffer = [0; 256];
    loop {
        let (len, local, remote) = server.receive_into(&mut buffer).await.unwrap();
        server.send(local, remote, &buffer[..len]).await.unwrap();
    }
}

/// Polls a future once, as a caller would that has something else to do.
fn once<T>(future: impl Future<Output = T>) -> Option<T> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        std::task::Poll::Ready(output) => Some(output),
        std::task::Poll::Pending => None,
    }
}

/// Which futures of an exchange are given up.
#[derive(Clone, Copy, PartialEq)]
enum Side {
    Client,
    Server,
}

const MESSAGES: u8 = 4;

/// What an exchange came to: the messages in the order in which each side got them.
struct Outcome {
    at_server: Vec<u8>,
    at_client: Vec<u8>,
    given_up: usize,
    dropped_sends: usize,
    forged: u32,
}

/// A handshake, some messages and their echoes, and the end, while futures are given up and made anew.
fn exchange(side: Side, when: When, pending: Pending, losses: usize) -> Outcome {
    let world = World::new();
    *world.pending.borrow_mut() = pending;
    world.losses.set(losses);
    let psk = client1();
    let keys = [psk];
    let mut storage = Storage::<2, 4>::new();
    let mut server = new_server(&world, &keys, &mut storage);
    let mut client = new_client(&world, &psk);

    let drops = Drops::new(when);
    let never = Drops::new(When::Never);
    let (client_drops, server_drops) = match side {
        Side::Client => (&drops, &never),
        Side::Server => (&never, &drops),
    };
    let dropped_sends = Cell::new(0);
    let at_server = RefCell::new(Vec::new());
    let mut at_client = Vec::new();

    let serve = async {
        let mut buffer = [0; 64];
        loop {
            let received =
                server_drops.persist(&world, async || server.receive_into(&mut buffer).await).await;
            let (len, local, remote) = received.unwrap();
            assert_eq!(len, 3);
            at_server.borrow_mut().push(buffer[0]);
            let before = server_drops.given_up.get();
            let echo = &buffer[..len];
            server_drops.persist(&world, async || server.send(local, remote, echo).await).await.unwrap();
            dropped_sends.set(dropped_sends.get() + server_drops.given_up.get() - before);
        }
    };
    let run = async {
        client_drops.persist(&world, async || client.handshake().await).await.unwrap();
        let mut buffer = [0; 64];
        for message in 0..MESSAGES {
            let before = client_drops.given_up.get();
            client_drops.persist(&world, async || client.send(&[message, 1, 2]).await).await.unwrap();
            dropped_sends.set(dropped_sends.get() + client_drops.given_up.get() - before);
            // An echo of a message that was sent twice may come in between.
            while at_client.last() != Some(&message) {
                let received =
                    client_drops.persist(&world, async || client.receive_into(&mut buffer).await).await;
                assert_eq!(received.unwrap(), 3);
                at_client.push(buffer[0]);
            }
        }
        client_drops.persist(&world, async || client.close().await).await.unwrap();
        client.stats()
    };
    let stats = world.run_with(run, serve);
    world.assert_no_number_twice();

    // The server hears of the close, whatever was given up.
    *world.pending.borrow_mut() = Pending::Never;
    while once(server.receive_into(&mut [])).is_some() {}
    assert_eq!(server.endpoint().sessions().count(), 0);
    Outcome {
        at_server: at_server.into_inner(),
        at_client,
        given_up: drops.given_up.get(),
        dropped_sends: dropped_sends.get(),
        forged: stats.forged + server.endpoint().stats().forged,
    }
}

fn assert_complete(outcome: &Outcome, what: &str) {
    let Outcome { at_server, at_client, dropped_sends, .. } = outcome;
    let in_order: Vec<u8> = (0..MESSAGES).collect();
    for (side, messages) in [("server", at_server), ("client", at_client)] {
        let mut once = messages.clone();
        once.dedup();
        assert_eq!(once, in_order, "{what}: the {side} got {messages:?}");
        // Twice comes only what was sent twice, because its first future was given up.
        assert!(messages.len() <= in_order.len() + 2 * dropped_sends, "{what}: {messages:?}");
    }
    assert_eq!(outcome.forged, 0, "{what}");
}

#[test]
fn each_future_can_be_dropped_at_each_await() {
    for side in [Side::Client, Side::Server] {
        for at in 0.. {
            let outcome = exchange(side, When::Once(at), Pending::Always, 0);
            assert_complete(&outcome, &format!("dropped at {at}"));
            if outcome.dropped_sends == 0 {
                assert_eq!((outcome.at_server.len(), outcome.at_client.len()), (4, 4), "dropped at {at}");
            }
            if outcome.given_up == 0 {
                assert!(at > 20, "the test gave up {at} futures only");
                break;
            }
        }
    }
}

#[test]
fn futures_can_be_dropped_again_and_again() {
    for seed in 0..400 {
        let side = if seed % 2 == 0 { Side::Client } else { Side::Server };
        let when = When::Sometimes(RefCell::new(Repeatable(seed)));
        let losses = (seed / 2 % 3) as usize;
        let outcome = exchange(side, when, Pending::Sometimes(Repeatable(!seed)), losses);
        assert_complete(&outcome, &format!("seed {seed}"));
    }
}

/// A send that was given up and is not done again: its record goes out once or never, and nothing else suffers.
#[test]
fn a_dropped_send_is_sent_once_at_most() {
    let mut outcomes = Vec::new();
    for polls in 1..10 {
        let world = World::new();
        let psk = client1();
        let keys = [psk];
        let mut storage = Storage::<2, 4>::new();
        let mut server = new_server(&world, &keys, &mut storage);
        let mut client = new_client(&world, &psk);
        world.run_with(client.handshake(), echo(&mut server)).unwrap();
        *world.pending.borrow_mut() = Pending::Always;

        {
            let mut send = pin!(client.send(b"given up"));
            let mut context = Context::from_waker(Waker::noop());
            for _ in 0..polls {
                if send.as_mut().poll(&mut context).is_ready() {
                    break;
                }
            }
        }
        let received = RefCell::new(Vec::new());
        let collect = async {
            let mut buffer = [0; 64];
            loop {
                let (len, ..) = server.receive_into(&mut buffer).await.unwrap();
                received.borrow_mut().push(buffer[..len].to_vec());
            }
        };
        let end = async {
            client.send(b"end").await.unwrap();
            for _ in 0..100 {
                world.yield_now().await;
            }
        };
        world.run_with(end, collect);
        world.assert_no_number_twice();
        outcomes.push(received.into_inner());
    }
    for received in &outcomes {
        assert_eq!(received.last().unwrap(), b"end");
        assert_eq!(
            received.len(),
            2,
            "sealed before its first await, it is sent by the next call: {received:?}"
        );
    }
}

/// A record whose send was given up still goes out, before whatever else is due by then.
#[test]
fn a_dropped_send_comes_before_the_end() {
    let world = World::new();
    let psk = client1();
    let keys = [psk];
    let mut storage = Storage::<2, 4>::new();
    let mut server = new_server(&world, &keys, &mut storage);
    let mut client = new_client(&world, &psk);
    let mut buffer = [0; 64];
    world.run_with(client.handshake(), async { server.receive_into(&mut [0; 64]).await }).unwrap();
    *world.pending.borrow_mut() = Pending::Always;
    assert!(once(client.send(b"from the client")).is_none());
    assert!(once(server.send(SERVER, client_address(), b"from the server")).is_none());
    *world.pending.borrow_mut() = Pending::Never;

    world.run(client.close()).unwrap();
    let (len, ..) = once(server.receive_into(&mut buffer)).unwrap().unwrap();
    assert_eq!(&buffer[..len], b"from the client");
    assert!(once(server.receive_into(&mut buffer)).is_none());
    assert!(server.peer(SERVER, client_address()).is_none());
    world.assert_no_number_twice();

    // The same from the other side.
    let mut client = client_at(&world, &psk, address(9, 41_000));
    world.run_with(client.handshake(), async { server.receive_into(&mut [0; 64]).await }).unwrap();
    *world.pending.borrow_mut() = Pending::Always;
    assert!(once(server.send(SERVER, address(9, 41_000), b"from the server")).is_none());
    *world.pending.borrow_mut() = Pending::Never;
    world.run(server.close()).unwrap();
    assert_eq!(once(client.receive_into(&mut buffer)), Some(Ok(15)));
    assert_eq!(&buffer[..15], b"from the server");
    assert_eq!(once(client.receive_into(&mut buffer)), Some(Err(Error::Dtls(Dtls::Closed))));
    world.assert_no_number_twice();
}

#[test]
fn records_of_one_datagram_come_one_per_call() {
    let world = World::new();
    let psk = client1();
    let keys = [psk];
    let mut storage = Storage::<2, 4>::new();
    let mut server = new_server(&world, &keys, &mut storage);
    let mut client = new_client(&world, &psk);
    let mut buffer = [0; 64];
    world.run_with(client.handshake(), async { server.receive_into(&mut [0; 64]).await }).unwrap();

    // To the server.
    for message in [b"one".as_slice(), b"two", b"three"] {
        world.run(client.send(message)).unwrap();
    }
    world.merge(SERVER);
    for message in [b"one".as_slice(), b"two", b"three"] {
        let (len, ..) =
            once(server.receive_into(&mut buffer)).expect("no await before the next record").unwrap();
        assert_eq!(&buffer[..len], message);
    }
    assert!(once(server.receive_into(&mut buffer)).is_none());

    // To the client, with the end behind it.
    for message in [b"four".as_slice(), b"five"] {
        world.run(server.send(SERVER, client_address(), message)).unwrap();
    }
    world.run(server.close()).unwrap();
    world.merge(client_address());
    assert!(client.peer().is_some());
    for message in [b"four".as_slice(), b"five"] {
        let len = once(client.receive_into(&mut buffer)).expect("no await before the next record").unwrap();
        assert_eq!(&buffer[..len], message);
    }
    for _ in 0..2 {
        assert_eq!(once(client.receive_into(&mut buffer)), Some(Err(Error::Dtls(Dtls::Closed))));
        assert_eq!(once(client.send(b"more")), Some(Err(Error::Dtls(Dtls::Closed))));
        assert_eq!(once(client.handshake()), Some(Err(Error::Dtls(Dtls::Closed))));
    }
    assert!(client.peer().is_none());
    world.assert_no_number_twice();
}

/// Data that shares its datagram with the Finished before it is for the call after the handshake.
#[test]
fn data_right_behind_the_handshake_is_kept() {
    let world = World::new();
    let psk = client1();
    let keys = [psk];
    let mut storage = Storage::<2, 4>::new();
    let mut server = new_server(&world, &keys, &mut storage);
    let mut client = new_client(&world, &psk);
    while server.peer(SERVER, client_address()).is_none() {
        assert!(once(client.handshake()).is_none());
        assert!(once(server.receive_into(&mut [])).is_none());
    }
    world.run(server.send(SERVER, client_address(), b"welcome")).unwrap();
    world.merge(client_address());
    once(client.handshake()).unwrap().unwrap();
    let mut buffer = [0; 64];
    assert_eq!(once(client.receive_into(&mut buffer)).unwrap().unwrap(), 7);
    assert_eq!(&buffer[..7], b"welcome");
}

#[test]
fn one_peers_failure_is_not_the_servers() {
    let world = World::new();
    let psk = client1();
    let wrong = Psk::new(b"client1", b"another key").unwrap();
    let unknown = Psk::new(b"nobody", KEY).unwrap();
    let keys = [psk];
    let mut storage = Storage::<4, 4>::new();
    let mut server = new_server(&world, &keys, &mut storage);
    let mut bad = client_at(&world, &wrong, address(9, 2));
    let mut nobody = client_at(&world, &unknown, address(9, 3));
    // This one can send, and not be answered.
    let mut deaf = client_at(&world, &psk, address(9, 4));
    world.unreachable.set(Some(address(9, 4)));
    for garbage in
        [b"".as_slice(), b"garbage", &[22; 1280], &[22, 254, 253, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255]]
    {
        world.deliver(address(9, 5), SERVER, garbage);
    }

    let all = async {
        let ((bad, nobody), deaf) = embassy_futures::join::join(
            embassy_futures::join::join(bad.handshake(), nobody.handshake()),
            deaf.handshake(),
        )
        .await;
        assert!(
            matches!(bad, Err(Error::Dtls(Dtls::AlertReceived(_) | Dtls::NoAnswerToKeyExchange))),
            "{bad:?}"
        );
        assert!(
            matches!(nobody, Err(Error::Dtls(Dtls::AlertReceived(_) | Dtls::NoAnswerToKeyExchange))),
            "{nobody:?}"
        );
        assert_eq!(deaf, Err(Error::Dtls(Dtls::NoAnswer)));
        let mut good = client_at(&world, &psk, address(9, 1));
        assert_eq!(good.handshake().await, Ok(()));
        good.send(b"still there").await.unwrap();
        let mut buffer = [0; 64];
        assert_eq!(good.receive_into(&mut buffer).await, Ok(11));
    };
    let serve = async {
        let mut buffer = [0; 64];
        loop {
            let (len, local, remote) = server.receive_into(&mut buffer).await.unwrap();
            assert_eq!(remote, address(9, 1));
            server.send(local, remote, &buffer[..len]).await.unwrap();
        }
    };
    world.run_with(all, serve);
    assert_eq!(server.endpoint().sessions().count(), 1);
    assert!(server.endpoint().stats().dropped >= 3);
    // Without a session at that address.
    world.unreachable.set(None);
    assert_eq!(
        world.run(server.send(SERVER, address(9, 4), b"hello?")),
        Err(Error::Dtls(Dtls::NotConnected)),
    );
    assert_eq!(
        world.run(server.send(address(2, 5684), address(9, 1), b"hello?")),
        Err(Error::Dtls(Dtls::NotConnected)),
        "the session is with another local address",
    );
}

#[test]
fn replies_leave_from_the_address_that_was_reached() {
    let world = World::new();
    let psk = client1();
    let keys = [psk];
    let mut storage = Storage::<2, 4>::new();
    let endpoint = Endpoint::new(&CONFIG, &keys, &mut storage, &mut Repeatable(2)).unwrap();
    let locals = vec![address(1, 5684), address(2, 5684), address(3, 5684)];
    let socket = Socket { world: &world, locals: locals.clone(), remote: None };
    let mut server = Server::new(socket, endpoint, &world, Repeatable(3));
    for (at, remote) in locals.iter().enumerate() {
        // One remote address, three sessions.
        let socket = Socket::connected(&world, client_address(), *remote);
        let rng = &mut Repeatable(40 + at as u64);
        let mut client = Client::new(socket, &CONFIG, &psk, &world, rng).unwrap();
        world.losses.set(at);
        world.run_with(
            async {
                client.send(b"where?").await.unwrap();
                client.receive_into(&mut [0; 64]).await.unwrap()
            },
            echo(&mut server),
        );
        let from_server =
            world.sent.take().into_iter().filter(|(_, datagram)| datagram.to == client_address());
        assert!(from_server.map(|(_, datagram)| datagram.from).all(|from| from == *remote));
    }
}

/// "The local address can be left unspecified by leaving any of its component zero": the session says the rest.
#[test]
fn a_local_address_may_be_left_open() {
    let world = World::new();
    let keys = [&b"a"[..], b"b", b"c"].map(|identity| Psk::new(identity, KEY).unwrap());
    let mut storage = Storage::<2, 4>::new();
    let endpoint = Endpoint::new(&CONFIG, &keys, &mut storage, &mut Repeatable(2)).unwrap();
    let locals = vec![address(1, 5684), address(1, 5685), address(2, 5685)];
    let socket = Socket { world: &world, locals: locals.clone(), remote: None };
    let mut server = Server::new(socket, endpoint, &world, Repeatable(3));
    for (key, remote) in keys.iter().zip(&locals) {
        let socket = Socket::connected(&world, client_address(), *remote);
        let mut client = Client::new(socket, &CONFIG, key, &world, &mut Repeatable(4)).unwrap();
        world.run_with(client.handshake(), echo(&mut server)).unwrap();
    }
    let mut send = |local: &str, remote| {
        world.sent.take();
        world.run(server.send(local.parse().unwrap(), remote, b"hello"))?;
        Ok(world.sent.take()[0].1.from)
    };
    for (local, expected) in [
        ("127.0.0.1:5684", &[0][..]),
        ("127.0.0.1:5685", &[1]),
        ("127.0.0.2:0", &[2]),
        ("127.0.0.1:0", &[0, 1]),
        ("0.0.0.0:5684", &[0]),
        ("[::]:5684", &[0]),
        ("[::]:5685", &[1, 2]),
        ("[::]:0", &[0, 1, 2]),
    ] {
        let from = send(local, client_address()).unwrap_or_else(|error| panic!("{local}: {error:?}"));
        assert!(expected.iter().any(|at| locals[*at] == from), "{local}: {from}");
    }
    let nobody = Err(Error::Dtls(Dtls::NotConnected));
    assert_eq!(send("127.0.0.3:0", client_address()), nobody);
    assert_eq!(send("[::]:5683", client_address()), nobody);
    assert_eq!(send("[::]:0", address(9, 1)), nobody);
}

/// The client sends again at 1, 3, 7, … seconds, and gives up in the end, all while it waits in `receive_into`.
#[test]
fn retransmissions_happen_while_receive_waits() {
    let world = World::new();
    let psk = client1();
    let mut client = new_client(&world, &psk);
    assert_eq!(world.run(client.receive_into(&mut [])), Err(Error::Dtls(Dtls::NoAnswer)));
    assert_eq!(world.millis(), 300_000);
    let times: Vec<u64> = world.sent.borrow().iter().map(|(at, _)| at / 1_000).collect();
    assert_eq!(times[..7], [0, 1, 3, 7, 15, 31, 63]);
    // The error stays, and nothing more is sent.
    assert_eq!(once(client.send(b"")), Some(Err(Error::Dtls(Dtls::NoAnswer))));
    assert_eq!(once(client.handshake()), Some(Err(Error::Dtls(Dtls::NoAnswer))));
    assert_eq!(world.sent.borrow().len(), times.len());
}

#[test]
fn a_handshake_survives_any_first_losses() {
    for losses in 0..9 {
        let world = World::new();
        world.losses.set(losses);
        let psk = client1();
        let keys = [psk];
        let mut storage = Storage::<2, 4>::new();
        let mut server = new_server(&world, &keys, &mut storage);
        let mut client = new_client(&world, &psk);
        world.run_with(client.handshake(), echo(&mut server)).unwrap();
        assert_eq!(client.stats().retransmitted > 0, losses > 0);
    }
}

/// Timers run although there is always another datagram to look at.
#[test]
fn a_flood_does_not_hold_the_timers() {
    let world = World::new();
    let psk = client1();
    let keys = [psk];
    let mut storage = Storage::<2, 4>::new();
    let mut server = new_server(&world, &keys, &mut storage);
    let mut client = new_client(&world, &psk);
    // A handshake that stops half way, at both ends.
    for _ in 0..2 {
        assert!(once(client.handshake()).is_none());
        assert!(once(server.receive_into(&mut [])).is_none());
    }
    assert_eq!(server.endpoint().handshakes(), 1);
    world.intercept(client_address());
    world.sent.take();
    world.losses.set(usize::MAX);
    for _ in 0..400 {
        world.pass(1_000);
        world.deliver(SERVER, client_address(), b"flood");
        world.deliver(client_address(), SERVER, b"flood");
        // These sockets are never seen empty.
        let flood = async |to: SocketAddr| {
            world.yield_now().await;
            world.deliver(SERVER, to, b"flood");
        };
        let mut receive = pin!(client.receive_into(&mut []));
        world.run(async {
            let ended = embassy_futures::select::select(&mut receive, flood(client_address())).await;
            if let embassy_futures::select::Either::First(ended) = ended {
                assert_eq!(ended, Err(Error::Dtls(Dtls::HandshakeTimeout)));
            }
        });
        let mut buffer = [];
        let mut receive = pin!(server.receive_into(&mut buffer));
        world.run(embassy_futures::select::select(&mut receive, flood(SERVER)));
    }
    assert!(world.sent.borrow().iter().filter(|(_, datagram)| datagram.from == SERVER).count() >= 5);
    assert_eq!(server.endpoint().handshakes(), 0);
    assert!(matches!(once(client.handshake()), Some(Err(Error::Dtls(_)))));
}

/// One handshake is given up in the very moment in which another one's flight is due again.
#[test]
fn the_end_of_one_handshake_does_not_delay_another() {
    let world = World::new();
    let psk = client1();
    let keys = [psk];
    let mut storage = Storage::<2, 4>::new();
    let mut server = new_server(&world, &keys, &mut storage);
    let mut step = |client: &mut TestClient<'_>| {
        let done = once(client.handshake());
        assert!(once(server.receive_into(&mut [])).is_none());
        (done, server.endpoint().handshakes())
    };
    // Two that begin together: one finishes, the other falls silent. A third one takes the finished one's place.
    let [mut finished, mut silent] = [1, 2].map(|port| client_at(&world, &psk, address(9, port)));
    step(&mut finished);
    step(&mut silent);
    assert_eq!(step(&mut finished), (None, 1));
    assert_eq!(step(&mut silent), (None, 2));
    assert_eq!(step(&mut finished), (None, 1));
    assert_eq!(step(&mut finished), (Some(Ok(())), 1));
    world.pass(299_000);
    let third = address(9, 3);
    let mut late = client_at(&world, &psk, third);
    step(&mut late);
    assert_eq!(step(&mut late), (None, 2));
    world.sent.take();
    world.pass(1_000);
    assert!(once(server.receive_into(&mut [])).is_none());
    assert_eq!(server.endpoint().handshakes(), 1);
    assert_eq!(world.sent.borrow().iter().filter(|(_, datagram)| datagram.to == third).count(), 1);
}

#[test]
fn a_small_callers_buffer_truncates_and_tells() {
    let world = World::new();
    let psk = client1();
    let keys = [psk];
    let mut storage = Storage::<2, 4>::new();
    let mut server = new_server(&world, &keys, &mut storage);
    let mut client = new_client(&world, &psk);
    let serve = async {
        // Handshake and all.
        let mut buffer = [0; 2];
        let (len, local, remote) = server.receive_into(&mut buffer).await.unwrap();
        assert_eq!((len, &buffer), (12, b"a "));
        server.send(local, remote, b"another message").await.unwrap();
        let (len, ..) = server.receive_into(&mut []).await.unwrap();
        assert_eq!(len, 0);
    };
    let run = async {
        client.send(b"a long story").await.unwrap();
        let mut buffer = [0; 3];
        assert_eq!(client.receive_into(&mut buffer).await, Ok(15));
        assert_eq!(&buffer, b"ano");
        client.send(b"").await.unwrap();
    };
    world.join(run, serve);
}

#[test]
fn a_datagram_that_is_too_long_is_dropped_and_nothing_else() {
    let world = World::new();
    let psk = client1();
    let keys = [psk];
    let mut storage = Storage::<2, 4>::new();
    let endpoint = Endpoint::new(&CONFIG, &keys, &mut storage, &mut Repeatable(2)).unwrap();
    let mut server =
        Server::with_buffers::<256>(Socket::bound(&world, SERVER), endpoint, &world, Repeatable(3));
    let socket = Socket::connected(&world, client_address(), SERVER);
    let mut client = Client::new(socket, &CONFIG, &psk, &world, &mut Repeatable(1)).unwrap();
    let mut buffer = [0; 1024];

    world.run_with(client.handshake(), async { server.receive_into(&mut [0; 64]).await }).unwrap();
    let before = server.endpoint().stats();
    world.run(client.send(&[7; 1000])).unwrap();
    assert!(once(server.receive_into(&mut buffer)).is_none());
    assert_eq!(server.endpoint().stats().dropped, before.dropped + 1);
    assert_eq!(server.endpoint().stats().forged, before.forged);
    world.run(client.send(&[8; 200])).unwrap();
    let (len, ..) = once(server.receive_into(&mut buffer)).unwrap().unwrap();
    assert_eq!(buffer[..len], [8; 200]);

    // What is too long to be sent is refused, and nothing else.
    let refused = world.run(server.send(SERVER, client_address(), &[9; 250]));
    assert!(matches!(refused, Err(Error::Dtls(Dtls::BufferTooSmall { needed: 279 }))), "{refused:?}");
    world.run(server.send(SERVER, client_address(), &[9; 220])).unwrap();
    assert_eq!(once(client.receive_into(&mut buffer)), Some(Ok(220)));

    // A client's socket may tell of too long datagrams as well.
    let before = client.stats();
    world.deliver(SERVER, client_address(), &[23; 2000]);
    assert!(once(client.receive_into(&mut buffer)).is_none());
    assert_eq!(client.stats().dropped, before.dropped + 1);
    world.assert_no_number_twice();
}

/// The smallest buffers there may be, and the longest identity through them.
#[test]
fn the_smallest_buffers_carry_a_handshake() {
    const N: usize = Config::MIN_MTU;
    const SMALL: Config<'static> = CONFIG.with_mtu(N);
    let world = World::new();
    let psk = Psk::new(&[b'x'; 128], KEY).unwrap();
    let keys = [psk];
    let mut storage = Storage::<2, 4>::new();
    let endpoint = Endpoint::new(&SMALL, &keys, &mut storage, &mut Repeatable(2)).unwrap();
    let mut server =
        Server::with_buffers::<N>(Socket::bound(&world, SERVER), endpoint, &world, Repeatable(3));
    let socket = Socket::connected(&world, client_address(), SERVER);
    let mut client = Client::with_buffers::<N>(socket, &SMALL, &psk, &world, &mut Repeatable(1)).unwrap();
    let run = async {
        client.send(b"small").await.unwrap();
        let mut buffer = [0; 64];
        assert_eq!(client.receive_into(&mut buffer).await, Ok(5));
        client.close().await.unwrap();
    };
    let serve = async {
        let mut buffer = [0; 64];
        let (len, local, remote) = server.receive_into(&mut buffer).await.unwrap();
        server.send(local, remote, &buffer[..len]).await.unwrap();
        server.receive_into(&mut buffer).await.unwrap();
    };
    world.run_with(run, serve);
    assert!(world.sent.borrow().iter().all(|(_, datagram)| datagram.bytes.len() <= N));
}

/// A server that sends an extraordinary cookie needs a longer buffer: an error that says so with every call, until the
/// time for the handshake is over.
#[test]
fn too_small_buffers_are_an_error() {
    let world = World::new();
    let psk = client1();
    let socket = Socket::connected(&world, client_address(), SERVER);
    let mut client = Client::with_buffers::<256>(socket, &CONFIG, &psk, &world, &mut Repeatable(1)).unwrap();
    assert!(once(client.handshake()).is_none());
    let mut hello_verify_request = vec![22, 254, 255, 0, 0, 0, 0, 0, 0, 0, 0, 1, 14];
    hello_verify_request.extend([3, 0, 1, 2, 0, 0, 0, 0, 0, 0, 1, 2, 254, 255, 255]);
    hello_verify_request.extend([7; 255]);
    // It does not fit into this buffer itself, and is of no use in parts.
    world.deliver(SERVER, client_address(), &hello_verify_request);
    assert!(once(client.handshake()).is_none());
    assert_eq!(client.stats().dropped, 1);
    let (head, tail) = hello_verify_request[13..].split_at(12);
    for (offset, part) in [(0, &tail[..200]), (200, &tail[200..])] {
        let mut fragment = vec![22, 254, 255, 0, 0, 0, 0, 0, 0, 0, offset, 0, 12 + part.len() as u8];
        fragment.extend(&head[..6]);
        fragment.extend([0, 0, offset, 0, 0, part.len() as u8]);
        fragment.extend(part);
        world.deliver(SERVER, client_address(), &fragment);
    }
    for _ in 0..3 {
        let outcome = once(client.handshake());
        assert!(
            matches!(outcome, Some(Err(Error::Dtls(Dtls::BufferTooSmall { needed: 330 })))),
            "{outcome:?}"
        );
    }
    world.pass(300_000);
    assert_eq!(once(client.handshake()), Some(Err(Error::Dtls(Dtls::HandshakeTimeout))));
}

#[test]
fn a_sockets_errors_surface_and_the_next_call_goes_on() {
    let world = World::new();
    let psk = client1();
    let keys = [psk];
    let mut storage = Storage::<2, 4>::new();
    let mut server = new_server(&world, &keys, &mut storage);
    let mut client = new_client(&world, &psk);

    world.send_failures.set(1);
    assert_eq!(once(client.handshake()), Some(Err(Error::Socket(Failure))));
    world.receive_failures.set(1);
    assert_eq!(once(client.receive_into(&mut [])), Some(Err(Error::Socket(Failure))));
    world.receive_failures.set(1);
    assert_eq!(once(server.receive_into(&mut [])), Some(Err(Error::Socket(Failure))));

    world.run_with(client.handshake(), echo(&mut server)).unwrap();
    world.send_failures.set(1);
    assert_eq!(once(client.send(b"lost")), Some(Err(Error::Socket(Failure))));
    let run = async {
        client.send(b"not lost").await.unwrap();
        let mut buffer = [0; 64];
        assert_eq!(client.receive_into(&mut buffer).await, Ok(8));
    };
    world.run_with(run, echo(&mut server));

    world.send_failures.set(1);
    assert_eq!(
        once(server.send(SERVER, client_address(), b"lost")),
        Some(Err(Error::Socket(Failure))),
        "the caller learns that this one was not sent",
    );
    world.run(server.send(SERVER, client_address(), b"not lost")).unwrap();
    assert_eq!(once(client.receive_into(&mut [])), Some(Ok(8)));
    world.assert_no_number_twice();
}

#[test]
fn the_peer_of_a_datagram_is_known_until_its_session_is_replaced() {
    let world = World::new();
    let psk = client1();
    let second = Psk::new(b"client2", KEY).unwrap();
    let keys = [psk, second];
    let mut storage = Storage::<2, 4>::new();
    let mut server = new_server(&world, &keys, &mut storage);
    let mut buffer = [0; 64];

    let mut client = new_client(&world, &psk);
    let (sent, received) = world.join(client.send(b"first"), server.receive_into(&mut buffer));
    sent.unwrap();
    let (_, local, remote) = received.unwrap();
    let first = server.peer(local, remote).unwrap();
    assert_eq!(first.identity, b"client1");
    let first = first.session;
    assert!(server.peer(local, address(9, 41_000)).is_none());
    assert!(server.peer(address(2, 5684), remote).is_none());

    // The client loses its memory and comes back from the same address under another name.
    let socket = client.into_socket();
    let mut client = Client::new(socket, &CONFIG, &second, &world, &mut Repeatable(99)).unwrap();
    let (sent, received) = world.join(client.send(b"second"), server.receive_into(&mut buffer));
    sent.unwrap();
    assert_eq!(received.unwrap(), (6, local, remote));
    let peer = server.peer(local, remote).unwrap();
    assert_eq!(peer.identity, b"client2");
    assert_ne!(peer.session, first);
    assert_eq!(server.endpoint().sessions().count(), 1);

    // [data, close_notify] in one datagram: the data still has its peer.
    world.run(client.send(b"last")).unwrap();
    world.run(client.close()).unwrap();
    world.merge(SERVER);
    once(server.receive_into(&mut buffer)).unwrap().unwrap();
    assert!(server.peer(local, remote).is_some());
    assert!(once(server.receive_into(&mut buffer)).is_none());
    assert!(server.peer(local, remote).is_none());
    assert_eq!(once(server.send(local, remote, b"late")), Some(Err(Error::Dtls(Dtls::NotConnected))));
}

#[test]
fn a_closed_client_says_so_once_and_stays_closed() {
    for established in [true, false] {
        let world = World::new();
        let psk = client1();
        let keys = [psk];
        let mut storage = Storage::<2, 4>::new();
        let mut server = new_server(&world, &keys, &mut storage);
        let mut client = new_client(&world, &psk);
        if established {
            world.run_with(client.handshake(), echo(&mut server)).unwrap();
        } else {
            assert!(once(client.handshake()).is_none());
        }
        world.sent.take();
        for _ in 0..3 {
            world.run(client.close()).unwrap();
        }
        assert_eq!(world.sent.borrow().len(), usize::from(established));
        assert_eq!(once(client.send(b"")), Some(Err(Error::Dtls(Dtls::NotConnected))));
        assert_eq!(once(client.receive_into(&mut [])), Some(Err(Error::Dtls(Dtls::NotConnected))));
        assert_eq!(once(client.handshake()), Some(Err(Error::Dtls(Dtls::NotConnected))));
    }
}

#[test]
fn a_server_goes_on_after_it_said_goodbye() {
    let world = World::new();
    let psk = client1();
    let keys = [psk];
    let mut storage = Storage::<2, 4>::new();
    let mut server = new_server(&world, &keys, &mut storage);
    let mut client = new_client(&world, &psk);
    world.run_with(client.handshake(), echo(&mut server)).unwrap();
    world.run(server.close()).unwrap();
    assert_eq!(world.run(client.receive_into(&mut [])), Err(Error::Dtls(Dtls::Closed)));
    let mut client = Client::new(client.into_socket(), &CONFIG, &psk, &world, &mut Repeatable(9)).unwrap();
    world.run_with(client.handshake(), echo(&mut server)).unwrap();

    // Taken apart and put together, it still knows its peers.
    let (socket, endpoint) = server.into_parts();
    let mut server = Server::new(socket, endpoint, &world, Repeatable(5));
    world.run(server.send(SERVER, client_address(), b"hello")).unwrap();
    assert_eq!(world.run(client.receive_into(&mut [])), Ok(5));

    // Revoked through the endpoint; the next call tells the peer.
    server.endpoint_mut().revoke(b"client1");
    assert!(once(server.receive_into(&mut [])).is_none());
    assert_eq!(world.run(client.receive_into(&mut [])), Err(Error::Dtls(Dtls::Closed)));
}

#[test]
fn a_broken_generator_starts_nothing() {
    let world = World::new();
    let psk = client1();
    let socket = Socket::connected(&world, client_address(), SERVER);
    assert_eq!(Client::new(socket, &CONFIG, &psk, &world, &mut Broken).err(), Some(Dtls::RandomFailed));

    // A server whose generator fails later refuses newcomers and keeps its sessions.
    let keys = [psk];
    let mut storage = Storage::<2, 4>::new();
    let endpoint = Endpoint::new(&CONFIG, &keys, &mut storage, &mut Repeatable(2)).unwrap();
    let mut server = Server::new(Socket::bound(&world, SERVER), endpoint, &world, Broken);
    let mut client = new_client(&world, &psk);
    let failed = world.run_with(client.handshake(), async { server.receive_into(&mut []).await.unwrap() });
    assert!(matches!(failed, Err(Error::Dtls(_))), "{failed:?}");
}

fn size_of_future<F: Future>(future: F) -> usize {
    size_of_val(&future)
}

/// So that growth is noticed: what the futures take beside the shells themselves.
#[test]
fn futures_stay_small() {
    let world = World::new();
    let psk = client1();
    let keys = [psk];
    let mut storage = Storage::<2, 16>::new();
    let mut server = new_server(&world, &keys, &mut storage);
    let mut client = new_client(&world, &psk);
    let mut buffer = [0; 64];
    // These sockets' own futures are 100 to 200 bytes long.
    let sizes = [
        ("Client::handshake", size_of_future(client.handshake()), 600),
        ("Client::send", size_of_future(client.send(b"")), 800),
        ("Client::receive_into", size_of_future(client.receive_into(&mut buffer)), 700),
        ("Client::close", size_of_future(client.close()), 400),
        ("Server::send", size_of_future(server.send(SERVER, SERVER, b"")), 700),
        ("Server::receive_into", size_of_future(server.receive_into(&mut buffer)), 800),
        ("Server::close", size_of_future(server.close()), 500),
        (
            "Client",
            size_of::<TestClient<'_, 256>>(),
            512 + 2_050 + MAX_PEER_CONNECTION_ID_LEN + MAX_TICKET_LEN,
        ),
        ("Server", size_of::<TestServer<'_, 2, 16, 256>>(), 512 + 700),
    ];
    for (what, size, bound) in sizes {
        println!("{what}: {size} bytes");
        assert!(size <= bound, "{what} takes {size} bytes");
    }
}
