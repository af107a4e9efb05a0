//! `embedded-nal-minimal-coapserver`, unchanged, over the blocking stack.
#![cfg(all(feature = "coap", feature = "embedded-nal", feature = "dtls12"))]

mod shell_support;

use std::future::poll_fn;
use std::task::Poll;

use coap_numbers::code;
use dtls_psk::coap::TransmissionParameters;
use dtls_psk::nal::SecureStack;
use dtls_psk::{Endpoint, Psk, Storage, coap, nal};
use dtls_psk_reference::{Board, SimulatedBoard, resources};
use embedded_nal::{UdpFullStack, nb};
use embedded_nal_minimal_coapserver::poll;
use shell_support::*;

const PORT: u16 = 5684;

/// Over this stack, with the reference resources; asked by the client of this crate, again where an answer was not sent.
fn serve_and_ask<S>(world: &World, mut stack: S, ask: impl Future<Output = ()>)
where
    S: UdpFullStack<Error: std::fmt::Debug>,
{
    let mut socket = stack.socket().unwrap();
    stack.bind(&mut socket, PORT).unwrap();
    let mut board = SimulatedBoard::default();
    let mut handler = resources(&mut board, |_| ());
    let serve = poll_fn(|_| {
        // A main loop comes round often enough for a datagram to be taken in time.
        for _ in 0..20 {
            match poll(&mut stack, &mut socket, &mut handler) {
                Ok(()) | Err(nb::Error::WouldBlock) => {}
                Err(nb::Error::Other(error)) => panic!("{error:?}"),
            }
        }
        Poll::<()>::Pending
    });
    world.run_with(ask, serve);
    drop(handler);
    assert!(board.led());
}

async fn ask<U>(world: &World, socket: &mut U)
where
    U: embedded_nal_async::ConnectedUdp<Error: std::fmt::Debug>,
{
    // One time in two there is no room for the answer.
    let mut patient = TransmissionParameters::RFC_7252;
    patient.max_retransmit = 16;
    let mut client = coap::Client::new(socket, world, Repeatable(7)).with_parameters(patient);
    client.ping().await.unwrap();
    assert_eq!(client.get("/led").await.unwrap().payload(), b"0");
    assert_eq!(client.put("/led", b"1").await.unwrap().code(), code::CHANGED);
    assert_eq!(client.get("/led").await.unwrap().payload(), b"1");
    assert_eq!(client.get("/temperature").await.unwrap().payload(), b"21.5");
    assert_eq!(client.post("/led", b"blink").await.unwrap().diagnostic(), Some("send 0, 1 or toggle"));
    let found = client.get("/.well-known/core?href=/fi*").await.unwrap();
    assert_eq!(found.content_format(), Some(40));
    assert_eq!(found.payload(), b"</firmware>;rt=\"firmware\";ct=0");
    assert_eq!(client.get("/nothing").await.unwrap().code(), code::NOT_FOUND);
}

#[test]
fn with_and_without_security() {
    for seed in 0..50 {
        let prepare = |world: &World| {
            if seed > 0 {
                // A server that finds no room for its answer forgets it, and has the client ask again.
                *world.pending.borrow_mut() = Pending::Sometimes(Repeatable(seed));
            }
        };
        let world = World::new();
        prepare(&world);
        let asking = async {
            ask(&world, &mut Socket::connected(&world, address(9, 1), address(1, PORT))).await;
        };
        serve_and_ask(&world, Stack::new(&world, 1), asking);

        let world = World::new();
        prepare(&world);
        let keys = [client1()];
        let device = Psk::new(b"device", b"a key of its own").unwrap();
        let mut storage = Storage::<2, 4>::new();
        let endpoint = Endpoint::new(&CONFIG, &keys, &mut storage, &mut Repeatable(2)).unwrap();
        let stack = SecureStack::new(Stack::new(&world, 1), &CONFIG, &device, &world, Repeatable(3));
        let stack: SecureStack<'_, _, _, _, 2, 4> = stack.with_server(endpoint);
        let asking = async {
            let mut rng = Repeatable(4);
            let socket = Socket::connected(&world, address(9, 1), address(1, PORT));
            let connecting = nal::asynch::Client::connect(socket, &CONFIG, &keys[0], &world, &mut rng);
            let mut socket = connecting.await.unwrap();
            // What a stranger sends is nothing to it.
            world.deliver(address(7, 7), address(1, PORT), b"garbage");
            ask(&world, &mut socket).await;
            world.losses.set(1);
            let mut client = coap::Client::new(&mut socket, &world, Repeatable(8));
            assert_eq!(client.get("/led").await.unwrap().payload(), b"1");
        };
        serve_and_ask(&world, stack, asking);
    }
}
