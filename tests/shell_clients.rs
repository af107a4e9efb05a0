//! The async shell of a client of several servers over a socket in memory.

#[cfg(feature = "coap")]
#[path = "support/coap_scripted.rs"]
mod peer;
mod shell_support;

use std::net::SocketAddr;
use std::pin::pin;
use std::task::{Context, Waker};

use dtls_psk::nal::Error;
use dtls_psk::nal::asynch::{Clients, Server};
use dtls_psk::{Endpoint, Error as Dtls, PeerLookup, Psk, Storage};
use embedded_nal_async::UnconnectedUdp;
#[cfg(feature = "coap")]
use peer::*;
use shell_support::*;

type TestClients<'a, const S: usize> = Clients<'a, Socket<'a>, &'a World, Repeatable, S>;

const LOCAL: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::new(127, 0, 0, 9)), 40_000);

fn server_address(n: u8) -> SocketAddr {
    address(n, 5684)
}

fn new_clients<const S: usize>(world: &World) -> TestClients<'_, S> {
    Clients::new(Socket::bound(world, LOCAL), &CONFIG, world, Repeatable(7))
}

/// A server that answers every message with itself and its number.
async fn serve(world: &World, n: u8, keys: &[Psk<'static>]) {
    let mut storage = Storage::<2, 4>::new();
    let endpoint = Endpoint::new(&CONFIG, &keys, &mut storage, &mut Repeatable(n.into())).unwrap();
    let mut server = Server::<_, _, _, 2, 4>::new(
        Socket::bound(world, server_address(n)),
        endpoint,
        world,
        Repeatable(n.into()),
    );
    let mut buffer = [0; 256];
    loop {
        let (len, local, remote) = server.receive_into(&mut buffer).await.unwrap();
        buffer[len] = n;
        server.send(local, remote, &buffer[..=len]).await.unwrap();
    }
}

async fn receive<const S: usize>(clients: &mut TestClients<'_, S>) -> (Vec<u8>, SocketAddr) {
    let mut buffer = [0; 64];
    let (len, _, remote) = clients.receive_into(&mut buffer).await.unwrap();
    (buffer[..len].to_vec(), remote)
}

#[test]
fn two_servers_over_one_socket() {
    for losses in 0..8 {
        for pending in [Pending::Never, Pending::Always, Pending::Sometimes(Repeatable(losses))] {
            let world = World::new();
            *world.pending.borrow_mut() = pending;
            world.losses.set(losses as usize);
            let keys = [client1()];
            let psk = client1();
            let mut clients = new_clients::<2>(&world);
            let (one, two) = (server_address(1), server_address(2));
            let main = async {
                clients.connect_from(LOCAL, one, &psk).unwrap();
                clients.connect_from(LOCAL, two, &psk).unwrap();
                clients.handshake(one).await.unwrap();
                clients.handshake(two).await.unwrap();
                clients.send(LOCAL, two, b"b").await.unwrap();
                clients.send(LOCAL, one, b"a").await.unwrap();
                let mut replies = [receive(&mut clients).await, receive(&mut clients).await];
                replies.sort();
                assert_eq!(replies, [(b"a\x01".to_vec(), one), (b"b\x02".to_vec(), two)]);
                let sessions = [one, two].map(|server| clients.peer(LOCAL, server).unwrap().session);
                assert_ne!(sessions[0], sessions[1]);
                assert!(sessions.iter().all(|session| clients.session(*session).is_some()));
                assert!(clients.max_payload(sessions[0]).is_some_and(|max| max > 1_000));
            };
            world.run_with(
                main,
                embassy_futures::join::join(serve(&world, 1, &keys), serve(&world, 2, &keys)),
            );
        }
    }
}

#[test]
fn one_servers_failure_is_not_the_sockets() {
    let world = World::new();
    let keys = [client1()];
    let (psk, wrong) = (client1(), Psk::new(b"client1", b"another key").unwrap());
    let mut clients = new_clients::<3>(&world);
    let (good, bad, gone) = (server_address(1), server_address(2), server_address(3));
    world.unreachable.set(Some(gone));
    world.deliver(address(5, 5), LOCAL, b"of nobody");
    world.deliver(good, LOCAL, b"garbage");
    let main = async {
        clients.connect_from(LOCAL, bad, &wrong).unwrap();
        clients.connect_from(LOCAL, gone, &psk).unwrap();
        clients.connect_from(LOCAL, good, &psk).unwrap();
        assert_eq!(clients.connect(address(4, 5684), &psk), Err(Dtls::NoStorage));
        // Without a connection, it says so.
        assert_eq!(clients.send(LOCAL, address(4, 5684), b"x").await, Err(Error::Dtls(Dtls::NotConnected)));
        clients.send(LOCAL, good, b"a").await.unwrap();
        assert_eq!(receive(&mut clients).await, (b"a\x01".to_vec(), good));
        let error = clients.send(LOCAL, bad, b"x").await;
        assert!(
            matches!(error, Err(Error::Dtls(Dtls::AlertReceived(_) | Dtls::NoAnswerToKeyExchange))),
            "{error:?}"
        );
        assert_eq!(clients.send(LOCAL, bad, b"x").await, error, "it stays over");
        assert_eq!(clients.handshake(gone).await, Err(Error::Dtls(Dtls::NoAnswer)));
        clients.send(LOCAL, good, b"b").await.unwrap();
        assert_eq!(receive(&mut clients).await, (b"b\x01".to_vec(), good));
        // What is over makes room, and another try takes the place of the one before.
        clients.connect_from(LOCAL, address(4, 5684), &psk).unwrap();
        let before = clients.peer(LOCAL, good).unwrap().session;
        clients.connect_from(LOCAL, good, &psk).unwrap();
        assert!(clients.peer(LOCAL, good).is_none());
        clients.send(LOCAL, good, b"c").await.unwrap();
        assert_ne!(clients.peer(LOCAL, good).unwrap().session, before);
        clients.close(good).await;
        assert_eq!(clients.send(LOCAL, good, b"d").await, Err(Error::Dtls(Dtls::NotConnected)));
    };
    world.run_with(main, embassy_futures::join::join(serve(&world, 1, &keys), serve(&world, 2, &keys)));
}

/// A future that is dropped at any await loses nothing and seals nothing twice.
#[test]
fn futures_can_be_dropped_at_each_await() {
    for seed in 0..50 {
        let world = World::new();
        *world.pending.borrow_mut() = Pending::Sometimes(Repeatable(seed));
        let keys = [client1()];
        let psk = client1();
        let mut clients = new_clients::<2>(&world);
        let one = server_address(1);
        let main = async {
            clients.connect_from(LOCAL, one, &psk).unwrap();
            let mut context = Context::from_waker(Waker::noop());
            for round in 0..4_u8 {
                // Dropped after each poll, until something has come: the send goes out once more if it was dropped.
                let mut received = None;
                let mut sent = false;
                while received.is_none() {
                    if !sent {
                        let poll = pin!(clients.send(LOCAL, one, &[round])).poll(&mut context);
                        sent = poll.is_ready();
                    } else {
                        let mut buffer = [0; 64];
                        let poll = pin!(clients.receive_into(&mut buffer)).poll(&mut context);
                        if let std::task::Poll::Ready(result) = poll {
                            let (len, ..) = result.unwrap();
                            // An earlier round's, of a send that was dropped and went out all the same, is skipped.
                            received = (buffer[0] == round).then(|| buffer[..len].to_vec());
                        }
                    }
                    world.yield_now().await;
                }
                assert_eq!(received, Some(vec![round, 1]));
            }
        };
        world.run_with(main, serve(&world, 1, &keys));
        world.assert_no_number_twice();
    }
}

/// CoAP over it: requests to two servers at once, whose handshakes begin with them, with losses. A response counts in the session of
/// its request (RFC 7252 §9.1.2).
#[cfg(feature = "coap")]
#[test]
fn requests_over_clients() {
    async fn serve(world: &World, n: u8, keys: &[Psk<'static>]) {
        let mut storage = Storage::<2, 4>::new();
        let endpoint = Endpoint::new(&CONFIG, &keys, &mut storage, &mut Repeatable(n.into())).unwrap();
        let socket = Socket::bound(world, server_address(n));
        let mut server = Server::<_, _, _, 2, 4>::new(socket, endpoint, world, Repeatable(n.into()));
        let mut resource = Resource::new(body(300 + usize::from(n)), 64);
        let mut replies = std::collections::HashMap::new();
        let mut buffer = [0; 256];
        loop {
            let (len, local, remote) = server.receive_into(&mut buffer).await.unwrap();
            let request = &buffer[..len];
            let reply = replies.entry(id(request)).or_insert_with(|| resource.answer(request));
            server.send(local, remote, reply).await.unwrap();
        }
    }
    for losses in 0..12 {
        let world = World::new();
        world.losses.set(losses);
        let keys = [client1()];
        let psk = client1();
        let mut clients = new_clients::<2>(&world);
        for n in [1, 2] {
            clients.connect_from(LOCAL, server_address(n), &psk).unwrap();
        }
        let requests: dtls_psk::coap::Requests<'_, _, _, _, 2, 256> =
            dtls_psk::coap::Requests::with_size(&mut clients, &world, Repeatable(5));
        let get = async |n: u8| {
            let mut buffer = [0; 512];
            let reply = requests.get(server_address(n), "/", &mut buffer).await;
            reply.map(|reply| reply.payload().to_vec())
        };
        let servers = embassy_futures::join::join(serve(&world, 1, &keys), serve(&world, 2, &keys));
        let (one, two) = world.run_with(embassy_futures::join::join(get(1), get(2)), servers);
        assert_eq!((one, two), (Ok(body(301)), Ok(body(302))), "{losses}");
    }
}
