//! The shells over a deep sleep: a client that saves its session wakes up at another address, and goes on.
#![cfg(feature = "connection-id")]

mod shell_support;

use std::net::SocketAddr;

use dtls_psk::nal::asynch::{Client, Server};
use dtls_psk::nal::{SecureSocket, SecureStack};
use dtls_psk::{Config, Endpoint, Error, ImageSeal, MAX_IMAGE_LEN, PeerLookup, Psk, Storage};
use embedded_nal::{UdpClientStack as _, UdpFullStack as _};
use embedded_nal_async::{ConnectedUdp as _, UnconnectedUdp as _};
use shell_support::*;

const CONFIG: Config<'static> = shell_support::DTLS12.with_connection_id(1);
const SEAL: ImageSeal<'static> = ImageSeal { key: &[0x11; 16], counter: 3 };

fn server_address() -> SocketAddr {
    address(1, 5684)
}

/// What the server knows of its peers.
fn peers<const S: usize>(server: &Server<'_, Socket<'_>, &World, Repeatable, 2, S>) -> Vec<SocketAddr> {
    server.endpoint().sessions().map(|(path, _)| path.remote).collect()
}

#[test]
fn an_async_client_wakes_up_elsewhere() {
    let world = World::new();
    let psk = client1();
    let keys = [psk];
    let mut storage = Storage::<2, 4>::new();
    let endpoint = Endpoint::new(&CONFIG, &keys, &mut storage, &mut Repeatable(1)).unwrap();
    let mut server: Server<'_, _, _, _, 2, 4> =
        Server::new(Socket::bound(&world, server_address()), endpoint, &world, Repeatable(2));
    let (evening, morning) = (address(9, 40_000), address(8, 50_000));
    let client = |local| Socket::connected(&world, local, server_address());

    let mut image = [0; MAX_IMAGE_LEN];
    let fresh: Client<'_, _, _> =
        Client::new(client(evening), &CONFIG, &psk, &world, &mut Repeatable(3)).unwrap();
    let Err((mut before, Error::NotConnected)) = fresh.suspend(&SEAL, &mut image) else {
        panic!("there is no session yet")
    };
    let mut buffer = [0; 64];
    let (_, received) = world.join(before.send(b"good night"), server.receive_into(&mut buffer));
    let (len, _, remote) = received.unwrap();
    assert_eq!((&buffer[..len], remote), (&b"good night"[..], evening));

    let Ok((_socket, len)) = before.suspend(&SEAL, &mut image) else { panic!("there is a session") };
    let mut after: Client<'_, _, _> =
        Client::restore(client(morning), &CONFIG, &psk, &world, &SEAL, &image[..len]).unwrap();
    assert_eq!(after.peer().unwrap().identity, b"client1");
    world.run(after.send(b"good morning")).unwrap();
    let (len, local, remote) = world.run(server.receive_into(&mut buffer)).unwrap();
    // Its new address is not proven yet, so it goes by the old one; and still the answer reaches it.
    assert_eq!((&buffer[..len], remote), (&b"good morning"[..], evening));
    assert_eq!(server.peer(local, remote).map(|peer| peer.identity), Some(&b"client1"[..]));
    world.run(server.send(local, remote, b"did you sleep well?")).unwrap();
    let mut heard = [0; 64];
    // The client answers the check as it waits for data, and the server hears of it as it does.
    let len = world.run_with(after.receive_into(&mut heard), server.receive_into(&mut buffer)).unwrap();
    assert_eq!(&heard[..len], b"did you sleep well?");
    let (_, received) = world.join(after.send(b"yes"), server.receive_into(&mut buffer));
    let (len, _, remote) = received.unwrap();
    assert_eq!((&buffer[..len], remote), (&b"yes"[..], morning));
    assert_eq!(peers(&server), [morning]);
    world.assert_no_number_twice();
}

#[test]
fn a_client_of_a_stack_sleeps_and_goes_on() {
    let world = World::new();
    let psk: Psk<'_> = client1();
    let keys = [psk];
    let mut storage = Storage::<2, 4>::new();
    let endpoint = Endpoint::new(&CONFIG, &keys, &mut storage, &mut Repeatable(1)).unwrap();
    let mut server =
        SecureStack::<'_, _, _, _>::new(Stack::new(&world, 1), &CONFIG, &psk, &world, Repeatable(2))
            .with_server(endpoint);
    let mut bound: SecureSocket<'_, Stack<'_>, 2, 4> = server.socket().unwrap();
    server.bind(&mut bound, 5684).unwrap();
    let mut client: SecureStack<'_, _, _, _> =
        SecureStack::new(Stack::new(&world, 9), &CONFIG, &psk, &world, Repeatable(3));
    let mut socket: SecureSocket<'_, Stack<'_>> = client.socket().unwrap();
    let mut image = [0; MAX_IMAGE_LEN];
    assert_eq!(socket.suspend(&SEAL, &mut image), Err(Error::NotConnected));
    client.connect(&mut socket, server_address()).unwrap();
    assert_eq!(socket.suspend(&SEAL, &mut image), Err(Error::NotConnected), "the handshake goes on");

    let mut buffer = [0; 64];
    let mut heard = None;
    let mut sent = false;
    for _ in 0..100 {
        sent = sent || client.send(&mut socket, b"good night").is_ok();
        heard = server.receive(&mut bound, &mut buffer).ok();
        if heard.is_some() {
            break;
        }
    }
    assert_eq!(heard.map(|(len, _)| &buffer[..len]), Some(&b"good night"[..]));
    assert!(socket.checkpoint(10, &SEAL, &mut image).is_ok());
    let seal = ImageSeal { counter: 4, ..SEAL };
    let len = socket.suspend(&seal, &mut image).unwrap();
    assert!(socket.server().is_none());
    client.restore(&mut socket, server_address(), &seal, &image[..len]).unwrap();
    nb::block!(client.send(&mut socket, b"good morning")).unwrap();
    let (len, _) = nb::block!(server.receive(&mut bound, &mut buffer)).unwrap();
    assert_eq!(&buffer[..len], b"good morning");
    world.assert_no_number_twice();
}
