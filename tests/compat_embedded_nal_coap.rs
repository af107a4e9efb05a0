//! `embedded-nal-coap`, unchanged, over the async sockets: as a server, and as a client in either role of DTLS.
#![cfg(all(feature = "coap", feature = "dtls12"))]

mod shell_support;

use std::net::SocketAddr;

use coap_handler_implementations::{HandlerBuilder, SimpleRendered, new_dispatcher};
use coap_message::{Code, MessageOption, MinimalWritableMessage, OptionNumber, ReadableMessage};
use coap_numbers::{code, option};
use coap_request::{Request, Stack};
use dtls_psk::coap::{self, Message, Type, WellKnownCore};
use dtls_psk::nal::asynch::{Client, Server};
use dtls_psk::nal::{self};
use dtls_psk::{Endpoint, Psk, Storage};
use dtls_psk_reference::{Board, SimulatedBoard, resources};
use embassy_futures::select::{Either, select};
use embedded_nal_async::{ConnectedUdp, UnconnectedUdp};
use embedded_nal_coap::{CoAPRuntimeClient, CoAPShared, TransportError};
use shell_support::{CONFIG, Failure, Repeatable, Socket, World, address, client1};

const SERVER_PORT: u16 = 5684;

fn server_address() -> SocketAddr {
    address(1, SERVER_PORT)
}

/// A secure client's socket, from this port of host 9.
async fn connect<'a>(world: &'a World, psk: &'a Psk<'a>, port: u16) -> Client<'a, Socket<'a>, &'a World> {
    let socket = Socket::connected(world, address(9, port), server_address());
    Client::connect(socket, &CONFIG, psk, world, &mut Repeatable(port.into())).await.unwrap()
}

/// The randomness that a runner wants: where its Message IDs and tokens begin.
struct Low(u32);

impl rand_core_09::RngCore for Low {
    fn next_u32(&mut self) -> u32 {
        self.0
    }

    fn next_u64(&mut self) -> u64 {
        self.0.into()
    }

    fn fill_bytes(&mut self, to: &mut [u8]) {
        to.fill(self.0 as u8);
    }
}

/// Runs `main` beside a runner. What these two tell each other is nothing that the world sees, so it never is at rest.
fn run_beside<T>(world: &World, main: impl Future<Output = T>, runner: impl Future) -> T {
    let restless = async {
        loop {
            world.yield_now().await;
        }
    };
    match world.run_with(select(main, restless), runner) {
        Either::First(output) => output,
        Either::Second(()) => unreachable!(),
    }
}

/// What was asked, and what comes back of the answer.
struct Ask<'a> {
    method: u8,
    path: &'a str,
    payload: &'a [u8],
}

impl<S: Stack + ?Sized> Request<S> for Ask<'_> {
    type Output = (u8, Vec<u8>);
    type Carry = ();

    async fn build_request(
        &mut self,
        request: &mut S::RequestMessage<'_>,
    ) -> Result<(), S::RequestUnionError> {
        fn fill<M: MinimalWritableMessage>(message: &mut M, ask: &Ask<'_>) -> Result<(), M::UnionError> {
            message.set_code(M::Code::new(ask.method)?);
            for segment in ask.path.split('/') {
                message.add_option_str(M::OptionNumber::new(option::URI_PATH)?, segment)?;
            }
            Ok(message.set_payload(ask.payload)?)
        }
        fill(request, self)
    }

    async fn process_response(&mut self, response: &S::ResponseMessage<'_>, (): ()) -> (u8, Vec<u8>) {
        (response.code().into(), response.payload().to_vec())
    }
}

async fn ask<const N: usize>(
    client: CoAPRuntimeClient<'_, N>,
    whom: SocketAddr,
    method: u8,
    path: &str,
    payload: &[u8],
) -> Result<(u8, Vec<u8>), TransportError> {
    client.to(whom).request(Ask { method, path, payload }).await
}

/// Its server over a secure server socket, asked byte by byte.
#[test]
fn its_server() {
    let world = World::new();
    let psk = client1();
    let keys = [client1()];
    let mut storage = Storage::<2, 4>::new();
    let endpoint = Endpoint::new(&CONFIG, &keys, &mut storage, &mut Repeatable(1)).unwrap();
    let mut server = Server::new(Socket::bound(&world, server_address()), endpoint, &world, Repeatable(2));

    let mut handler = new_dispatcher().at(&["led"], SimpleRendered("on"));
    let shared = CoAPShared::<1>::new();
    let (_, runner) = shared.split();
    let mut low = Low(4);
    let serve = runner.run(&mut server, &mut handler, &mut low);

    let ask = |port: u16| {
        let (world, psk) = (&world, &psk);
        async move {
            let mut client = connect(world, psk, port).await;
            // CON GET /led, Message ID 0x1234, token "T"; its answer is ACK 2.05 with the same, and "on".
            client.send(b"\x41\x01\x12\x34T\xb3led").await.unwrap();
            let mut buffer = [0; 64];
            let len = client.receive_into(&mut buffer).await.unwrap();
            assert_eq!(buffer[..5], *b"\x61\x45\x12\x34T");
            assert!(buffer[..len].ends_with(b"\xffon"), "{:02x?}", &buffer[..len]);
            client.close().await.unwrap();
        }
    };
    // The second client comes after the first one's session is over, and after garbage.
    let run = async {
        ask(1).await;
        world.deliver(address(7, 7), server_address(), b"garbage");
        world.losses.set(2);
        ask(2).await;
    };
    world.run_with(run, serve);
}

/// The same, with the reference resources, asked by the client of this crate.
#[test]
fn its_server_and_our_client() {
    let world = World::new();
    let psk = client1();
    let keys = [client1()];
    let mut storage = Storage::<2, 4>::new();
    let endpoint = Endpoint::new(&CONFIG, &keys, &mut storage, &mut Repeatable(1)).unwrap();
    let mut server = Server::new(Socket::bound(&world, server_address()), endpoint, &world, Repeatable(2));

    let mut board = SimulatedBoard::default();
    let mut handler = resources(&mut board, |_| ());
    let shared = CoAPShared::<1>::new();
    let (_, runner) = shared.split();
    let mut low = Low(4);
    let serve = runner.run(&mut server, &mut handler, &mut low);

    let run = async {
        let mut socket = connect(&world, &psk, 1).await;
        let mut client = coap::Client::new(&mut socket, &world, Repeatable(3));
        client.ping().await.unwrap();
        assert_eq!(client.get("/led").await.unwrap().payload(), b"0");
        // A request that gets lost comes again.
        world.losses.set(1);
        assert_eq!(client.put("/led", b"1").await.unwrap().code(), code::CHANGED);
        assert_eq!(client.get("/led").await.unwrap().payload(), b"1");
        let found = client.get("/.well-known/core?rt=temp*").await.unwrap();
        assert_eq!(found.content_format(), Some(40));
        assert_eq!(found.payload(), b"</temperature>;rt=\"temperature\";if=\"core.s\";ct=0;obs");
        assert_eq!(client.delete("/led").await.unwrap().code(), code::METHOD_NOT_ALLOWED);
        assert_eq!(client.get("/nothing").await.unwrap().code(), code::NOT_FOUND);
    };
    world.run_with(run, serve);
    drop(handler);
    assert!(board.led());
}

/// Its client on a secure server socket: it asks a peer who has come before, which is how a server reaches a device. A request of
/// its own names no local address, as it has none to name.
#[test]
fn its_client_on_a_server_socket() {
    let world = World::new();
    let psk = client1();
    let keys = [client1()];
    let mut storage = Storage::<2, 4>::new();
    let endpoint = Endpoint::new(&CONFIG, &keys, &mut storage, &mut Repeatable(1)).unwrap();
    let mut server = Server::new(Socket::bound(&world, server_address()), endpoint, &world, Repeatable(2));

    let mut handler = new_dispatcher().at(&["led"], SimpleRendered("on"));
    let shared = CoAPShared::<2>::new();
    let (asking, runner) = shared.split();
    let mut low = Low(0x1234_5678);
    let serve = async {
        runner.run(&mut server, &mut handler, &mut low).await.unwrap();
    };

    let run = async {
        let (mut first, mut second) = (connect(&world, &psk, 1).await, connect(&world, &psk, 2).await);
        // A device that is asked, and asks in between.
        async fn device<U: ConnectedUdp>(socket: &mut U, name: &str) {
            let mut buffer = [0; 256];
            socket.send(b"\x41\x01\x00\x01t\xb3led").await.unwrap();
            let mut open = 2;
            while open > 0 {
                let len = socket.receive_into(&mut buffer).await.unwrap();
                let message = Message::parse(&buffer[..len]).unwrap();
                if message.kind() == Type::Acknowledgement {
                    assert_eq!(
                        (ReadableMessage::code(&message), message.payload()),
                        (code::CONTENT, &b"on"[..])
                    );
                    open -= 1;
                    continue;
                }
                assert_eq!(
                    (message.kind(), ReadableMessage::code(&message)),
                    (Type::Confirmable, code::POST)
                );
                let path = message.options().next().unwrap();
                assert_eq!((path.number(), path.value()), (option::URI_PATH, &b"name"[..]));
                assert_eq!(message.payload(), b"who are you?");
                let [high, low] = message.message_id().to_be_bytes();
                let header = [0x62, code::CHANGED, high, low];
                let reply = [&header, message.token().as_bytes(), b"\xff", name.as_bytes()].concat();
                socket.send(&reply).await.unwrap();
                open -= 1;
            }
        }
        let devices = async {
            device(&mut first, "the first").await;
            device(&mut second, "the second").await;
        };
        let questions = async {
            let mut names = Vec::new();
            for port in [1, 2] {
                names.push(ask(asking, address(9, port), code::POST, "name", b"who are you?").await.unwrap());
            }
            names
        };
        let ((), names) = embassy_futures::join::join(devices, questions).await;
        assert_eq!(names, [(code::CHANGED, b"the first".to_vec()), (code::CHANGED, b"the second".to_vec())]);
    };
    run_beside(&world, run, serve);
}

/// What the local address of a datagram is, where nobody asks for it.
const ANYWHERE: &str = "[::]:0";

/// A socket with one peer as one that may have many, which is all that `embedded-nal-coap` knows. There is no other way for it to
/// be a client of DTLS, whoever makes the sockets.
struct OnePeer<U>(U, SocketAddr);

impl<U: ConnectedUdp> UnconnectedUdp for OnePeer<U> {
    type Error = U::Error;

    async fn send(&mut self, _: SocketAddr, remote: SocketAddr, data: &[u8]) -> Result<(), U::Error> {
        assert_eq!(remote, self.1);
        self.0.send(data).await
    }

    async fn receive_into(&mut self, buffer: &mut [u8]) -> Result<(usize, SocketAddr, SocketAddr), U::Error> {
        let len = self.0.receive_into(buffer).await?;
        Ok((len, ANYWHERE.parse().unwrap(), self.1))
    }
}

/// Its client on a secure client socket, and the server of this crate.
#[test]
fn its_client_and_our_server() {
    let world = World::new();
    let psk = client1();
    let keys = [client1()];
    let mut storage = Storage::<2, 4>::new();
    let endpoint = Endpoint::new(&CONFIG, &keys, &mut storage, &mut Repeatable(1)).unwrap();
    let mut secure = Server::new(Socket::bound(&world, server_address()), endpoint, &world, Repeatable(2));
    let mut board = SimulatedBoard::default();
    let mut handler = resources(&mut board, |_| ());
    let mut server = coap::Server::new(&mut secure, &world, Repeatable(3));

    let shared = CoAPShared::<1>::new();
    let (asking, runner) = shared.split();
    let (mut low, mut nothing) = (Low(0x1234_5678), new_dispatcher());
    let run = async {
        let mut socket = OnePeer(connect(&world, &psk, 1).await, server_address());
        let questions = async {
            for (method, path, payload, expected) in [
                (code::GET, "led", "", (code::CONTENT, "0")),
                (code::PUT, "led", "1", (code::CHANGED, "")),
                (code::GET, "led", "", (code::CONTENT, "1")),
                (code::PUT, "led", "blink", (code::BAD_REQUEST, "send 0, 1 or toggle")),
                (code::GET, "nothing", "", (code::NOT_FOUND, "")),
                (code::GET, ".well-known/rd", "", (code::NOT_FOUND, "")),
            ] {
                let (code, text) =
                    ask(asking, server_address(), method, path, payload.as_bytes()).await.unwrap();
                assert_eq!((code, String::from_utf8(text).unwrap()), (expected.0, expected.1.to_owned()));
            }
        };
        match select(questions, runner.run(&mut socket, &mut nothing, &mut low)).await {
            Either::First(()) => {}
            Either::Second(stopped) => panic!("{stopped:?}"),
        }
    };
    run_beside(&world, run, server.run(&mut handler));
    drop(handler);
    assert!(board.led());
}

/// The links of [`WellKnownCore`] in blocks, from a server that hands Block2 options to its handlers.
#[test]
fn links_in_blocks() {
    let world = World::new();
    let psk = client1();
    let keys = [client1()];
    let mut storage = Storage::<2, 4>::new();
    let endpoint = Endpoint::new(&CONFIG, &keys, &mut storage, &mut Repeatable(1)).unwrap();
    let mut server = Server::new(Socket::bound(&world, server_address()), endpoint, &world, Repeatable(2));
    let tree = new_dispatcher().at(&["led"], SimpleRendered("on")).at(&["a long name"], SimpleRendered("x"));
    let mut handler = WellKnownCore::new(tree);
    let shared = CoAPShared::<1>::new();
    let (_, runner) = shared.split();
    let mut low = Low(4);
    let serve = runner.run(&mut server, &mut handler, &mut low);
    let run = async {
        let mut socket = connect(&world, &psk, 1).await;
        let mut codes = Vec::new();
        let mut text = Vec::new();
        for number in 0_u8..4 {
            let request = [b"\x40\x01\x00", &[number][..], b"\xbb.well-known\x04core\xc1", &[number << 4]];
            socket.send(&request.concat()).await.unwrap();
            let mut buffer = [0; 128];
            let len = socket.receive_into(&mut buffer).await.unwrap();
            let reply = Message::parse(&buffer[..len]).unwrap();
            codes.push(ReadableMessage::code(&reply));
            text.extend(reply.payload());
        }
        assert_eq!(String::from_utf8(text).unwrap(), "</led>,</a%20long%20name>");
        assert_eq!(codes, [code::CONTENT, code::CONTENT, code::BAD_REQUEST, code::BAD_REQUEST]);
    };
    world.run_with(run, serve);
}

/// Whoever has no session cannot be asked. Its runner stops at that, as at any error of a socket.
#[test]
fn its_client_and_a_stranger() {
    let world = World::new();
    let keys = [client1()];
    let mut storage = Storage::<2, 4>::new();
    let endpoint = Endpoint::new(&CONFIG, &keys, &mut storage, &mut Repeatable(1)).unwrap();
    let mut server = Server::new(Socket::bound(&world, server_address()), endpoint, &world, Repeatable(2));
    let shared = CoAPShared::<1>::new();
    let (asking, runner) = shared.split();
    let (mut low, mut nothing) = (Low(4), new_dispatcher());
    let question = ask(asking, address(9, 9), code::GET, "name", b"");
    let run = select(runner.run(&mut server, &mut nothing, &mut low), question);
    let Either::First(stopped) = run_beside(&world, run, async {}) else { panic!("who has answered?") };
    let expected: nal::Error<Failure> = dtls_psk::Error::NotConnected.into();
    assert_eq!(stopped, Err(expected));
}
