//! The CoAP server of a main loop, over a stack in memory that blocks and fails where the test says so: with and without
//! security.
#![cfg(all(feature = "coap", feature = "embedded-nal"))]

mod shell_support;

use coap_message::{MessageOption as _, ReadableMessage as _};
use dtls_psk::coap::{Changes, Message, ObserveParameters, PlainUdp, PolledServer, Type, Upload};
use dtls_psk::nal::SecureStack;
use dtls_psk::{Endpoint, Psk, SessionStack, Storage};
use dtls_psk_reference::{ABOUT, Board, SimulatedBoard, resources};
use embedded_nal::{UdpClientStack, nb};
use shell_support::*;

const PORT: u16 = 5684;

/// A client that sends bytes and looks at those that come back, over whatever stack.
struct Client<N: UdpClientStack> {
    stack: N,
    socket: N::UdpSocket,
}

impl<N: UdpClientStack<Error: std::fmt::Debug>> Client<N> {
    fn new(mut stack: N) -> Self {
        let mut socket = stack.socket().unwrap();
        stack.connect(&mut socket, address(1, PORT)).unwrap();
        Self { stack, socket }
    }

    /// Sends as soon as the stack takes it, while `serve` drives the server.
    fn send(&mut self, datagram: &[u8], mut serve: impl FnMut()) {
        for _ in 0..1_000 {
            match self.stack.send(&mut self.socket, datagram) {
                Ok(()) => return,
                Err(nb::Error::WouldBlock) => serve(),
                Err(nb::Error::Other(error)) => panic!("{error:?}"),
            }
        }
        panic!("no end in sight");
    }

    fn receive(&mut self, mut serve: impl FnMut()) -> Vec<u8> {
        let mut buffer = [0; 2_000];
        for _ in 0..1_000 {
            serve();
            match self.stack.receive(&mut self.socket, &mut buffer) {
                Ok((len, _)) => return buffer[..len].to_vec(),
                Err(nb::Error::WouldBlock) => {}
                Err(nb::Error::Other(error)) => panic!("{error:?}"),
            }
        }
        panic!("no end in sight");
    }

    fn ask(&mut self, datagram: &[u8], mut serve: impl FnMut()) -> Vec<u8> {
        self.send(datagram, &mut serve);
        self.receive(serve)
    }
}

/// What the server is good for, whatever carries its datagrams.
fn talk<S, N>(world: &World, mut stack: S, mut client: Client<N>)
where
    S: SessionStack<Error: std::fmt::Debug>,
    N: UdpClientStack<Error: std::fmt::Debug>,
{
    let mut socket = stack.socket().unwrap();
    stack.bind(&mut socket, PORT).unwrap();
    let changes = Changes::local(["/led"]);
    let mut board = SimulatedBoard::default();
    let mut handler = resources(&mut board, |path| {
        changes.notify(path);
    });
    let mut room = [0; 100];
    let mut uploads = [Upload::new(&mut room)];
    let mut server =
        PolledServer::new(world, Repeatable(5)).with_changes(&changes).with_uploads(&mut uploads);
    let mut serve = || match server.poll(&mut stack, &mut socket, &mut handler) {
        Err(nb::Error::WouldBlock) => {}
        Err(nb::Error::Other(error)) => panic!("{error:?}"),
        Ok(never) => match never {},
    };

    // An observation, and what a request changes.
    assert_eq!(
        client.ask(b"\x41\x01\x00\x01t\x60\x53led", &mut serve),
        b"\x61\x45\x00\x01t\x61\x01\x60\xff0"
    );
    assert_eq!(client.ask(b"\x41\x03\x00\x02u\xb3led\xff1", &mut serve), b"\x61\x44\x00\x02u");
    let notification = client.receive(&mut serve);
    let parsed = Message::parse(&notification).unwrap();
    assert_eq!((parsed.kind(), parsed.payload()), (Type::NonConfirmable, &b"1"[..]));
    // The same again is a duplicate.
    assert_eq!(client.ask(b"\x41\x03\x00\x02u\xb3led\xff1", &mut serve), b"\x61\x44\x00\x02u");
    // Nobody has confirmed that notification, so another one follows.
    world.pass(10_000);
    let confirmable = client.receive(&mut serve);
    assert_eq!(Message::parse(&confirmable).unwrap().kind(), Type::Confirmable);
    client.send(&[0x70, 0, confirmable[2], confirmable[3]], &mut serve);

    // A long text, in blocks of 64 bytes.
    let mut text: Vec<u8> = Vec::new();
    for number in 0.. {
        let id = (100_u16 + number).to_be_bytes();
        let block = (u32::from(number) << 4 | 2).to_be_bytes();
        let request = [&b"\x40\x01"[..], &id, b"\xb5about\xc2", &block[2..]].concat();
        let reply = client.ask(&request, &mut serve);
        let reply = Message::parse(&reply).unwrap();
        text.extend(reply.payload());
        let more =
            reply.options().any(|option| option.number() == 23 && option.value().last().unwrap() & 8 != 0);
        if !more {
            break;
        }
    }
    assert_eq!(text, ABOUT.as_bytes());

    // A body in two blocks of 64 bytes.
    let first = [&b"\x40\x03\x01\x01\xb8firmware\xd1\x03\x0a\xff"[..], &[7; 64]].concat();
    assert_eq!(client.ask(&first, &mut serve), b"\x60\x5f\x01\x01\xd1\x0e\x0a");
    let last = [&b"\x40\x03\x01\x02\xb8firmware\xd1\x03\x12\xff"[..], &[7; 36]].concat();
    assert_eq!(client.ask(&last, &mut serve), b"\x60\x44\x01\x02\xd1\x0e\x12");
    assert_eq!(server.observers(), 0, "a RST ends an observation");
    assert_eq!(server.counters().send_errors, 0);
    drop(handler);
    assert!(board.led());
    assert_eq!(board.firmware().len, 100);
}

#[test]
fn with_and_without_security() {
    assert_eq!(ObserveParameters::DEFAULT.confirm_interval.as_secs(), 10);
    for seed in 0..50 {
        let pending = || match seed {
            0 => Pending::Never,
            _ => Pending::Sometimes(Repeatable(seed)),
        };
        let world = World::new();
        *world.pending.borrow_mut() = pending();
        talk(&world, PlainUdp(Stack::new(&world, 1)), Client::new(Stack::new(&world, 9)));

        let world = World::new();
        *world.pending.borrow_mut() = pending();
        let keys = [client1()];
        let device = Psk::new(b"device", b"a key of its own").unwrap();
        let mut storage = Storage::<2, 4>::new();
        let endpoint = Endpoint::new(&CONFIG, &keys, &mut storage, &mut Repeatable(2)).unwrap();
        let stack = SecureStack::new(Stack::new(&world, 1), &CONFIG, &device, &world, Repeatable(3));
        let client = SecureStack::new(Stack::new(&world, 9), &CONFIG, &keys[0], &world, Repeatable(1));
        let stack: SecureStack<'_, _, _, _, 2, 4> = stack.with_server(endpoint);
        let client: SecureStack<'_, _, _, _> = client;
        talk(&world, stack, Client::new(client));
    }
}
