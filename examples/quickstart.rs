//! CoAP over DTLS with a pre-shared key, server and client in one program on loopback UDP.
//!
//! ```sh
//! cargo run --release --example quickstart
//! cargo run --release --example quickstart -- --dtls 1.2
//! ```

mod host;

use core::cell::Cell;
use core::time::Duration;
use std::time::Instant;

use clap::Parser;
use dtls_psk::nal::asynch::{Client, Server};
use dtls_psk::{Config, Endpoint, Psk, StdClock, Storage, coap};
use dtls_psk_reference::{SimulatedBoard, resources};
use embassy_futures::select::{Either, select};
use embedded_nal_async::{ConnectedUdp, UdpStack, UnconnectedUdp};
use getrandom::SysRng;
use std_embedded_nal_async::Stack;

const IDENTITY: &[u8] = b"client1";
const KEY: &[u8] = b"hardfault_secure_key";

type Failure = Box<dyn core::error::Error>;

/// CoAP over DTLS with a pre-shared key, server and client in one program.
#[derive(Parser)]
struct Arguments {
    /// Which version of DTLS to speak
    #[arg(long, value_name = "VERSION", default_value = "any")]
    dtls: host::Dtls,
}

fn main() -> Result<(), Failure> {
    let config = Config::default().with_versions(Arguments::parse().dtls.versions());
    async_io::block_on(async {
        let (address, socket) = Stack::default().bind_single("127.0.0.1:0".parse()?).await?;
        println!("server    listening on {address} for identity client1");
        // The server runs for as long as the client has something to ask.
        match select(serve(socket, &config), ask(address, config)).await {
            Either::First(server) => server,
            Either::Second(client) => client,
        }
    })
}

/// A CoAP server with `/led`, `/temperature` and `/.well-known/core`.
async fn serve(socket: impl UnconnectedUdp<Error: 'static>, config: &Config<'_>) -> Result<(), Failure> {
    let key = Psk::new(IDENTITY, KEY)?;
    let mut storage = Storage::<2, 4>::new();
    let endpoint = Endpoint::new(config, &key, &mut storage, &mut SysRng)?;
    let mut secure = Server::new(socket, endpoint, StdClock::new(), SysRng);
    let mut resources = resources(SimulatedBoard::default(), |_| ());
    Err(coap::Server::new(&mut secure, StdClock::new(), SysRng).run(&mut resources).await.into())
}

/// A client that reads the temperature, switches the LED, and then tries a key that is wrong.
async fn ask(server: core::net::SocketAddr, config: Config<'_>) -> Result<(), Failure> {
    // On loopback there is no reason to wait for a whole second before a flight is sent again.
    let config = config.with_retransmission(Duration::from_millis(100), Duration::from_secs(1));

    let psk = Psk::new(IDENTITY, KEY)?;
    let (_, socket) = Stack::default().connect(server).await?;
    let bytes = Cell::new(0);
    let socket = Counted { socket, bytes: &bytes };
    let started = Instant::now();
    let mut secure = Client::connect(socket, &config, &psk, StdClock::new(), &mut SysRng).await?;
    let took = started.elapsed();
    let peer = secure.peer().ok_or("the handshake is done, so there is a peer")?;
    println!("handshake {peer}");
    println!("handshake {} bytes in {:.2} ms", bytes.get(), took.as_secs_f64() * 1e3);

    let mut client = coap::Client::new(&mut secure, StdClock::new(), SysRng);
    let reply = client.get("/temperature").await?;
    println!("coap      GET /temperature: {}, {} °C", reply.code(), String::from_utf8_lossy(reply.payload()));
    let reply = client.put("/led", b"1").await?;
    println!("coap      PUT /led 1: {}", reply.code());
    let reply = client.get("/led").await?;
    println!("coap      GET /led: {}, {}", reply.code(), String::from_utf8_lossy(reply.payload()));
    secure.close().await?;

    let wrong = Psk::new(IDENTITY, b"not the key")?;
    let (_, socket) = Stack::default().connect(server).await?;
    match Client::connect(socket, &config, &wrong, StdClock::new(), &mut SysRng).await {
        Ok(_) => Err("the server accepted a wrong key".into()),
        Err(error) => {
            println!("wrong key refused: {error}");
            Ok(())
        }
    }
}

/// Counts the bytes of every datagram, in both directions.
struct Counted<'a, S> {
    socket: S,
    bytes: &'a Cell<usize>,
}

impl<S: ConnectedUdp> ConnectedUdp for Counted<'_, S> {
    type Error = S::Error;

    async fn send(&mut self, data: &[u8]) -> Result<(), S::Error> {
        self.bytes.update(|bytes| bytes + data.len());
        self.socket.send(data).await
    }

    async fn receive_into(&mut self, buffer: &mut [u8]) -> Result<usize, S::Error> {
        let len = self.socket.receive_into(buffer).await?;
        self.bytes.update(|bytes| bytes + len);
        Ok(len)
    }
}
