//! CoAP over DTLS, from one end to the other: the sockets of `nal::asynch` under the client and the server.
#![cfg(all(feature = "coap", feature = "dtls12"))]

use coap_handler_implementations::SimpleRendered;
use dtls_psk::coap::{Client, ForPeer, Server};
use dtls_psk::{Config, Endpoint, Peer, Psk, Storage, nal};
use dtls_psk_reference::{Board, SimulatedBoard, resources};
use embassy_futures::select::{Either, select};

#[path = "support/coap.rs"]
mod support;

use support::{Cable, ClientEnd, Repeatable, ServerEnd, World};

/// Runs `client` against a server until it is done.
macro_rules! with_server {
    ($world:ident, $cable:ident, |$server:ident| $run:expr, |$client:ident| $request:expr) => {{
        let config = Config::coap().with_versions(&[dtls_psk::ProtocolVersion::Dtls12]);
        let keys = [Psk::new(b"alice", &[1; 16]).unwrap(), Psk::new(b"bob", &[2; 16]).unwrap()];
        let mut storage = Storage::<1, 2>::new();
        let endpoint = Endpoint::new(&config, &keys, &mut storage, &mut Repeatable(1)).unwrap();
        let mut secure =
            nal::asynch::Server::<_, _, _, 1, 2>::new(ServerEnd(&$cable), endpoint, &$world, Repeatable(2));
        let mut $server = Server::new(&mut secure, &$world, Repeatable(3));
        let serving = $run;
        let requesting = async {
            let mut rng = Repeatable(4);
            let mut secure = nal::asynch::Client::<_, _>::connect(
                ClientEnd(&$cable),
                &config,
                &keys[0],
                &$world,
                &mut rng,
            )
            .await
            .unwrap();
            let mut $client = Client::new(&mut secure, &$world, Repeatable(5));
            $request
        };
        match $world.run(select(serving, requesting)) {
            Some(Either::Second(())) => {}
            Some(Either::First(error)) => panic!("the server stopped: {error}"),
            None => panic!("client and server wait for each other"),
        }
    }};
}

#[test]
fn the_reference_resources() {
    let world = World::default();
    let cable = Cable::new(&world);
    let mut board = SimulatedBoard::default();
    let mut handler = resources(&mut board, |_| ());
    with_server!(world, cable, |server| server.run(&mut handler), |client| {
        client.ping().await.unwrap();
        assert_eq!(client.get("/led").await.unwrap().payload(), b"0");
        assert_eq!(client.put("/led", b"1").await.unwrap().code().to_string(), "2.04");
        assert_eq!(client.get("/led").await.unwrap().payload(), b"1");
        assert_eq!(client.get("/temperature").await.unwrap().payload(), b"21.5");
        let reply = client.post("/led", b"blink").await.unwrap();
        assert_eq!(reply.diagnostic(), Some("send 0, 1 or toggle"));
        let reply = client.get("/.well-known/core").await.unwrap();
        assert_eq!(reply.content_format(), Some(40));
    });
    drop(handler);
    assert!(board.led());
    assert_eq!(world.millis(), 0, "nothing had to be sent again");
}

#[test]
fn a_handler_knows_whom_it_serves() {
    struct Greeter(String);

    impl ForPeer for Greeter {
        type Handler<'h> = SimpleRendered<&'h str>;

        fn for_peer<'h>(&'h mut self, peer: Option<Peer<'h>>) -> Self::Handler<'h> {
            let identity = peer.map_or(&b"nobody"[..], |peer| peer.identity);
            self.0 = format!("Hello, {}", String::from_utf8_lossy(identity));
            SimpleRendered(&self.0)
        }
    }

    let world = World::default();
    let cable = Cable::new(&world);
    let mut greeter = Greeter(String::new());
    with_server!(world, cable, |server| server.run_for(&mut greeter), |client| {
        assert_eq!(client.get("/").await.unwrap().payload(), b"Hello, alice");
    });
}
