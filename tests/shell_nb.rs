//! The `nb` shell over a stack in memory, which blocks and fails where the test says so, and over the host's.

mod shell_support;

use std::net::SocketAddr;
use std::time::{Duration, Instant as StdInstant};

use dtls_psk::nal::{Error, SecureSocket, SecureStack};
use dtls_psk::{
    Endpoint, Error as Dtls, MAX_PEER_CONNECTION_ID_LEN, MAX_TICKET_LEN, PeerLookup, Psk, StdClock, Storage,
};
use embedded_nal::{UdpClientStack, UdpFullStack, nb};
use getrandom::SysRng;
use shell_support::*;

type Net<'a, const H: usize = 1, const S: usize = 1> =
    SecureStack<'a, Stack<'a>, &'a World, Repeatable, H, S>;

const PORT: u16 = 5684;

fn server_address() -> SocketAddr {
    address(1, PORT)
}

fn client_net<'a>(world: &'a World, psk: &'a Psk<'a>) -> Net<'a> {
    SecureStack::new(Stack::new(world, 9), &CONFIG, psk, world, Repeatable(1))
}

fn server_net<'a>(world: &'a World, keys: &'a [Psk<'a>; 1], storage: &'a mut Storage<2, 4>) -> Net<'a, 2, 4> {
    let endpoint = Endpoint::new(&CONFIG, keys, storage, &mut Repeatable(2)).unwrap();
    server_with_key(world, &DEVICE, endpoint)
}

/// The key that a server is itself a client with, elsewhere.
const DEVICE: Psk<'static> = match Psk::new(b"device", b"a key of its own") {
    Ok(psk) => psk,
    Err(_) => panic!(),
};

fn server_with_key<'a>(world: &'a World, psk: &'a Psk<'a>, endpoint: Endpoint<'a, 2, 4>) -> Net<'a, 2, 4> {
    SecureStack::new(Stack::new(world, 1), &CONFIG, psk, world, Repeatable(3)).with_server(endpoint)
}

/// Selfie (RFC 9257 §4.1): a stack that lets clients in with the key that it is a client with could be led to itself.
#[test]
fn a_stack_does_not_talk_to_itself() {
    let world = World::new();
    let keys = [client1()];
    let mut storage = Storage::<2, 4>::new();
    let endpoint = Endpoint::new(&CONFIG, &keys, &mut storage, &mut Repeatable(2)).unwrap();
    let mut net = server_with_key(&world, &keys[0], endpoint);
    let mut socket = net.socket().unwrap();
    assert_eq!(net.connect(&mut socket, server_address()), Err(Error::Dtls(Dtls::OneKeyForBothRoles)));
    // It serves all the same.
    assert_eq!(net.bind(&mut socket, PORT), Ok(()));
    assert_eq!(net.close(socket), Ok(()));
}

/// What would block is `None`.
fn ready<T, E>(result: nb::Result<T, E>) -> Option<Result<T, E>> {
    match result {
        Ok(value) => Some(Ok(value)),
        Err(nb::Error::Other(error)) => Some(Err(error)),
        Err(nb::Error::WouldBlock) => None,
    }
}

/// Drives the server until the client's operation is ready.
fn until_ready<'a, T, E>(
    mut operation: impl FnMut() -> nb::Result<T, E>,
    server: &mut Net<'a, 2, 4>,
    socket: &mut SecureSocket<'a, Stack<'a>, 2, 4>,
) -> Result<T, E> {
    for _ in 0..1_000 {
        if let Some(result) = ready(operation()) {
            return result;
        }
        assert!(ready(server.receive(socket, &mut [])).is_none(), "nobody has sent data yet");
    }
    panic!("no end in sight");
}

/// Wherever the stack blocks, what was sent arrives, once and in order, and nothing is sealed twice.
#[test]
fn blocking_loses_nothing_and_seals_nothing_twice() {
    for seed in 0..300 {
        let world = World::new();
        *world.pending.borrow_mut() = match seed {
            0 => Pending::Never,
            1 => Pending::Always,
            _ => Pending::Sometimes(Repeatable(seed)),
        };
        let keys = [client1()];
        let mut storage = Storage::<2, 4>::new();
        let mut server = server_net(&world, &keys, &mut storage);
        let mut client = client_net(&world, &keys[0]);

        let mut bound = server.socket().unwrap();
        server.bind(&mut bound, PORT).unwrap();
        let mut socket = client.socket().unwrap();
        client.connect(&mut socket, server_address()).unwrap();

        let (mut sent, mut echoes) = (0_u8, Vec::new());
        let mut to_echo = None;
        let mut at_server = Vec::new();
        let mut buffer = [0; 64];
        for round in 0.. {
            assert!(round < 1_000, "seed {seed}: no end in sight");
            if sent < 5
                && let Some(result) = ready(client.send(&mut socket, &[sent, 1, 2]))
            {
                result.unwrap();
                sent += 1;
            }
            if let Some(result) = ready(client.receive(&mut socket, &mut buffer)) {
                assert_eq!(result.unwrap(), (3, server_address()));
                echoes.push(buffer[0]);
            }
            match to_echo {
                None => {
                    if let Some(result) = ready(server.receive(&mut bound, &mut buffer)) {
                        let (len, remote) = result.unwrap();
                        assert_eq!(len, 3);
                        at_server.push(buffer[0]);
                        to_echo = Some((buffer[0], remote));
                    }
                }
                Some((message, remote)) => {
                    if let Some(result) = ready(server.send_to(&mut bound, remote, &[message, 3, 4])) {
                        result.unwrap();
                        to_echo = None;
                    }
                }
            }
            if echoes.len() == 5 {
                break;
            }
        }
        *world.pending.borrow_mut() = Pending::Never;
        assert_eq!(socket.server().unwrap().identity, b"client1");
        client.close(socket).unwrap();
        assert!(ready(server.receive(&mut bound, &mut buffer)).is_none());
        assert_eq!(at_server, [0, 1, 2, 3, 4], "seed {seed}");
        assert_eq!(echoes, [0, 1, 2, 3, 4], "seed {seed}");
        assert_eq!(bound.endpoint().unwrap().sessions().count(), 0, "seed {seed}");
        assert_eq!(bound.stats().forged, 0);
        world.assert_no_number_twice();
    }
}

/// A record that the stack had no room for is the next one that goes out, before anything else is sealed.
#[test]
fn a_sealed_record_waits_for_its_turn() {
    let world = World::new();
    let keys = [client1()];
    let mut storage = Storage::<2, 4>::new();
    let mut server = server_net(&world, &keys, &mut storage);
    let mut client = client_net(&world, &keys[0]);
    let mut bound = server.socket().unwrap();
    server.bind(&mut bound, PORT).unwrap();
    let mut socket = client.socket().unwrap();
    client.connect(&mut socket, server_address()).unwrap();
    assert!(ready(client.send(&mut socket, b"too early")).is_none());
    let mut receive = || client.receive(&mut socket, &mut []);
    while bound.endpoint().unwrap().sessions().next().is_none() {
        assert!(ready(receive()).is_none());
        assert!(ready(server.receive(&mut bound, &mut [])).is_none());
    }
    assert!(ready(receive()).is_none());

    // Always: the first try blocks, the second does not.
    *world.pending.borrow_mut() = Pending::Always;
    world.sent.take();
    client.send(&mut socket, b"one").unwrap();
    assert_eq!(world.sent.borrow().len(), 0);
    client.send(&mut socket, b"two").unwrap();
    assert_eq!(world.sent.borrow().len(), 1);
    *world.pending.borrow_mut() = Pending::Never;
    assert!(ready(client.receive(&mut socket, &mut [])).is_none());
    let mut buffer = [0; 64];
    for message in [b"one", b"two"] {
        let (len, _) = server.receive(&mut bound, &mut buffer).unwrap();
        assert_eq!(&buffer[..len], message);
    }
    assert!(ready(server.receive(&mut bound, &mut buffer)).is_none(), "what was too early was not sealed");
    world.assert_no_number_twice();
}

#[test]
fn one_call_does_a_bounded_amount_of_work() {
    let world = World::new();
    let keys = [client1()];
    let mut storage = Storage::<2, 4>::new();
    let mut server = server_net(&world, &keys, &mut storage);
    let mut client = client_net(&world, &keys[0]);
    let mut bound = server.socket().unwrap();
    server.bind(&mut bound, PORT).unwrap();
    let mut socket = client.socket().unwrap();
    client.connect(&mut socket, server_address()).unwrap();
    let local = world.sent.borrow()[0].1.from;
    for _ in 0..1_000 {
        world.deliver(address(7, 7), server_address(), &[0; 40]);
        world.deliver(server_address(), local, &[0; 40]);
    }
    for _ in 0..50 {
        world.pass(100);
        let calls: [&mut dyn FnMut() -> bool; 3] = [
            &mut || ready(server.receive(&mut bound, &mut [])).is_none(),
            &mut || ready(client.receive(&mut socket, &mut [])).is_none(),
            &mut || true,
        ];
        for call in calls {
            world.operations.set(0);
            assert!(call());
            assert!(world.operations.get() <= 20, "{} operations", world.operations.get());
        }
        world.operations.set(0);
        assert!(ready(client.send(&mut socket, b"")).is_none());
        assert!(world.operations.get() <= 20);
    }
    // The flood did not hold the timers either.
    let retransmitted = world.sent.borrow().iter().filter(|(_, datagram)| datagram.from == local).count();
    assert!(retransmitted >= 3, "{retransmitted}");
}

#[test]
fn one_socket_at_a_time_is_bound() {
    let world = World::new();
    let keys = [client1()];
    let mut storage = Storage::<2, 4>::new();
    let mut server = server_net(&world, &keys, &mut storage);
    let no_storage = Err(Error::Dtls(Dtls::NoStorage));
    let (mut first, mut second) = (server.socket().unwrap(), server.socket().unwrap());

    // The stack's refusal costs nothing.
    world.refuses.set(true);
    assert_eq!(server.bind(&mut first, PORT), Err(Error::Socket(Failure)));
    world.refuses.set(false);
    assert_eq!(server.bind(&mut first, PORT), Ok(()));
    assert_eq!(server.bind(&mut first, PORT), no_storage);
    assert_eq!(server.bind(&mut second, PORT), no_storage);
    assert!(first.endpoint().is_some() && second.endpoint().is_none());

    // Closed, it makes room for the next.
    assert_eq!(server.close(first), Ok(()));
    assert_eq!(server.bind(&mut second, PORT), Ok(()));

    // So does one that becomes a client instead, but not if it cannot.
    world.refuses.set(true);
    assert_eq!(server.connect(&mut second, address(2, PORT)), Err(Error::Socket(Failure)));
    world.refuses.set(false);
    let mut third = server.socket().unwrap();
    assert_eq!(server.bind(&mut third, PORT), no_storage);
    assert_eq!(server.connect(&mut second, address(2, PORT)), Ok(()));
    assert!(second.endpoint().is_none());
    assert_eq!(server.bind(&mut third, PORT), Ok(()));

    // It serves: the second socket is a client of another stack now.
    let mut client = client_net(&world, &keys[0]);
    let mut second = client.socket().unwrap();
    assert_eq!(client.connect(&mut second, server_address()), Ok(()));
    for _ in 0..10 {
        let _ = client.receive(&mut second, &mut []);
        let _ = server.receive(&mut third, &mut []);
    }
    assert_eq!(second.server().unwrap().identity, b"client1");
    let remote = third.endpoint().unwrap().sessions().next().unwrap().0.remote;
    assert_eq!(third.peer(server_address(), remote).unwrap().identity, b"client1");
    assert_eq!(third.peer(address(7, 7), remote).map(|peer| peer.identity), Some(b"client1".as_slice()));

    // Closed with a session open, the peer hears of it, and the next bind starts clean.
    assert_eq!(server.close(third), Ok(()));
    assert_eq!(ready(client.receive(&mut second, &mut [])), Some(Err(Error::Dtls(Dtls::Closed))));
    let mut fourth = server.socket().unwrap();
    assert_eq!(server.bind(&mut fourth, PORT), Ok(()));
    assert_eq!(fourth.endpoint().unwrap().sessions().count(), 0);
    assert_eq!(fourth.endpoint().unwrap().handshakes(), 0);

    // Without an endpoint nothing can be bound.
    let mut socket = client.socket().unwrap();
    assert_eq!(client.bind(&mut socket, PORT), no_storage);
}

#[test]
fn each_call_has_its_place() {
    let world = World::new();
    let keys = [client1()];
    let mut storage = Storage::<2, 4>::new();
    let mut net = server_net(&world, &keys, &mut storage);
    let not_connected = || nb::Error::Other(Error::Dtls(Dtls::NotConnected));
    let somewhere = address(7, 7);

    let mut socket = net.socket().unwrap();
    assert_eq!(net.send(&mut socket, b""), Err(not_connected()));
    assert_eq!(net.send_to(&mut socket, somewhere, b""), Err(not_connected()));
    assert_eq!(net.receive(&mut socket, &mut []), Err(not_connected()));
    assert!(socket.server().is_none() && socket.endpoint_mut().is_none());
    assert_eq!(socket.stats(), dtls_psk::Stats::default());

    net.bind(&mut socket, PORT).unwrap();
    assert_eq!(net.send(&mut socket, b""), Err(not_connected()));
    assert_eq!(net.send_to(&mut socket, somewhere, b""), Err(not_connected()));
    assert_eq!(net.receive(&mut socket, &mut []), Err(nb::Error::WouldBlock));

    net.connect(&mut socket, somewhere).unwrap();
    assert_eq!(net.send(&mut socket, b""), Err(nb::Error::WouldBlock));
    assert_eq!(net.send_to(&mut socket, somewhere, b""), Err(not_connected()));
    net.close(socket).unwrap();
}

#[test]
fn errors_surface_and_the_next_call_goes_on() {
    let world = World::new();
    let keys = [client1()];
    let mut storage = Storage::<2, 4>::new();
    let mut server = server_net(&world, &keys, &mut storage);
    let mut client = client_net(&world, &keys[0]);
    let mut bound = server.socket().unwrap();
    server.bind(&mut bound, PORT).unwrap();
    let mut socket = client.socket().unwrap();

    world.send_failures.set(1);
    assert_eq!(client.connect(&mut socket, server_address()), Err(Error::Socket(Failure)));
    client.connect(&mut socket, server_address()).unwrap();
    world.receive_failures.set(1);
    assert_eq!(ready(client.receive(&mut socket, &mut [])), Some(Err(Error::Socket(Failure))));
    world.receive_failures.set(1);
    assert_eq!(ready(server.receive(&mut bound, &mut [])), Some(Err(Error::Socket(Failure))));
    // A peer that cannot be reached is no error of the server's; the client tries again.
    world.send_failures.set(1);
    assert!(ready(server.receive(&mut bound, &mut [])).is_none());
    assert_eq!(world.send_failures.get(), 0);
    world.pass(1_000);
    until_ready(|| client.send(&mut socket, b"hello"), &mut server, &mut bound).unwrap();
    let mut buffer = [0; 64];
    let (len, remote) = server.receive(&mut bound, &mut buffer).unwrap();
    assert_eq!(&buffer[..len], b"hello");

    world.send_failures.set(1);
    assert_eq!(
        ready(server.send_to(&mut bound, remote, b"lost")),
        Some(Err(Error::Socket(Failure))),
        "the caller learns that this one was not sent",
    );
    server.send_to(&mut bound, remote, b"not lost").unwrap();
    assert_eq!(client.receive(&mut socket, &mut buffer), Ok((8, server_address())));
    world.send_failures.set(1);
    assert_eq!(ready(client.send(&mut socket, b"lost")), Some(Err(Error::Socket(Failure))));
    client.send(&mut socket, b"not lost").unwrap();
    assert_eq!(server.receive(&mut bound, &mut buffer), Ok((8, remote)));

    // Longer than the buffers, in both directions.
    let refused = ready(client.send(&mut socket, &[0; 1280]));
    assert!(matches!(refused, Some(Err(Error::Dtls(Dtls::BufferTooSmall { .. })))), "{refused:?}");
    world.deliver(remote, server_address(), &[23; 3_000]);
    world.deliver(server_address(), remote, &[23; 3_000]);
    assert!(ready(server.receive(&mut bound, &mut buffer)).is_none());
    assert!(ready(client.receive(&mut socket, &mut buffer)).is_none());
    assert_eq!((bound.stats().dropped, socket.stats().dropped), (1, 1));

    // Revoked.
    bound.endpoint_mut().unwrap().revoke(b"client1");
    assert!(ready(server.receive(&mut bound, &mut buffer)).is_none());
    for _ in 0..2 {
        assert_eq!(ready(client.receive(&mut socket, &mut buffer)), Some(Err(Error::Dtls(Dtls::Closed))));
        assert_eq!(ready(client.send(&mut socket, b"")), Some(Err(Error::Dtls(Dtls::Closed))));
    }
    world.assert_no_number_twice();
}

#[test]
fn a_client_that_nobody_answers_gives_up() {
    let world = World::new();
    let psk = client1();
    let mut client = client_net(&world, &psk);
    let mut socket = client.socket().unwrap();
    client.connect(&mut socket, server_address()).unwrap();
    let ended = loop {
        match ready(client.receive(&mut socket, &mut [])) {
            Some(result) => break result,
            None => world.pass(250),
        }
    };
    assert_eq!(ended, Err(Error::Dtls(Dtls::NoAnswer)));
    assert_eq!(world.millis(), 300_000);
    let times: Vec<u64> = world.sent.borrow().iter().map(|(at, _)| at / 1_000).collect();
    assert_eq!(times[..7], [0, 1, 3, 7, 15, 31, 63]);
    assert_eq!(ready(client.send(&mut socket, b"")), Some(Err(Error::Dtls(Dtls::NoAnswer))));

    // Connected again, it tries again.
    client.connect(&mut socket, server_address()).unwrap();
    assert!(ready(client.receive(&mut socket, &mut [])).is_none());
    assert_eq!(world.sent.borrow().len(), times.len() + 1);
}

#[test]
fn a_broken_generator_changes_nothing() {
    let world = World::new();
    let psk = client1();
    let mut net = SecureStack::new(Stack::new(&world, 9), &CONFIG, &psk, &world, Broken);
    let mut socket = net.socket().unwrap();
    assert_eq!(net.connect(&mut socket, server_address()), Err(Error::Dtls(Dtls::RandomFailed)));
    assert_eq!(ready(net.send(&mut socket, b"")), Some(Err(Error::Dtls(Dtls::NotConnected))));
    assert_eq!(world.sent.borrow().len(), 0);
}

/// One question over any stack, secure or not.
fn ask<S: UdpClientStack>(net: &mut S, server: SocketAddr, question: &[u8]) -> Result<Vec<u8>, S::Error> {
    let mut socket = net.socket()?;
    net.connect(&mut socket, server)?;
    nb::block!(net.send(&mut socket, question))?;
    let mut buffer = [0; 256];
    let (len, _) = nb::block!(net.receive(&mut socket, &mut buffer))?;
    net.close(socket)?;
    Ok(buffer[..len].to_vec())
}

/// Answers as many questions over any stack.
fn answer<S: UdpFullStack>(net: &mut S, port: u16, questions: usize) -> Result<(), S::Error> {
    let mut socket = net.socket()?;
    net.bind(&mut socket, port)?;
    for _ in 0..questions {
        let mut buffer = [0; 256];
        let (len, remote) = nb::block!(net.receive(&mut socket, &mut buffer))?;
        buffer[..len].reverse();
        nb::block!(net.send_to(&mut socket, remote, &buffer[..len]))?;
    }
    net.close(socket)
}

fn free_port() -> u16 {
    std::net::UdpSocket::bind("[::]:0").unwrap().local_addr().unwrap().port()
}

/// The same generic code over the host's stack, once plain and once secure.
#[test]
fn a_secure_stack_is_a_stack() {
    for secure in [false, true] {
        let port = free_port();
        std::thread::scope(|scope| {
            let server = scope.spawn(move || {
                let config = shell_support::DTLS12;
                let keys = [client1()];
                let mut storage = Storage::<2, 4>::new();
                if secure {
                    let endpoint = Endpoint::new(&config, &keys, &mut storage, &mut SysRng).unwrap();
                    let stack = std_embedded_nal::Stack;
                    let net = SecureStack::new(stack, &config, &keys[0], StdClock::new(), SysRng);
                    let mut net = net.with_server(endpoint).with_buffers::<512>();
                    answer(&mut net, port, 3).unwrap();
                } else {
                    answer(&mut std_embedded_nal::Stack, port, 3).unwrap();
                }
            });
            let started = StdInstant::now();
            let config = shell_support::DTLS12;
            let psk = client1();
            // The client may be there before the server is.
            let server_at = |host: &str| format!("{host}:{port}").parse().unwrap();
            let mut answers = 0;
            while answers < 3 && started.elapsed() < Duration::from_secs(20) {
                let host = if answers == 0 { "127.0.0.1" } else { "[::1]" };
                let mut plain = std_embedded_nal::Stack;
                let answered = if secure {
                    let mut net = SecureStack::new(&mut plain, &config, &psk, StdClock::new(), SysRng);
                    ask(&mut net, server_at(host), b"stressed").ok()
                } else {
                    ask(&mut plain, server_at(host), b"stressed").ok()
                };
                if let Some(answered) = answered {
                    assert_eq!(answered, b"desserts");
                    answers += 1;
                }
            }
            assert_eq!(answers, 3);
            server.join().unwrap();
        });
    }
}

/// So that growth is noticed.
#[test]
fn sockets_stay_small() {
    type Socket<'a, const N: usize> = SecureSocket<'a, Stack<'a>, 2, 16, N>;
    let size = size_of::<Socket<'_, 256>>();
    println!("SecureSocket: {size} bytes");
    // A secret key and its public one.
    let key_share = if cfg!(feature = "x25519") { 64 } else { 0 };
    assert!(size <= 512 + 2_000 + MAX_PEER_CONNECTION_ID_LEN + MAX_TICKET_LEN + key_share, "{size}");
}
