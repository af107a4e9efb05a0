//! CoAP as people use it, with libcoap's and aiocoap's clients against our server: discovery, long bodies in both directions, and
//! observation, over DTLS and without it.

use std::{
    net::SocketAddr,
    process::Command,
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use coap_handler::Handler;
use coap_message::{Code, MinimalWritableMessage, MutableWritableMessage, ReadableMessage};
use coap_numbers::code;
use dtls_psk::{
    Config, Endpoint, Psk, StdClock, Storage,
    coap::{PlainUdp, Server, Upload},
    nal::asynch,
};
use dtls_psk_reference::{ABOUT, Firmware};
use embedded_nal_async::UdpStack;
use getrandom::SysRng;

use crate::{
    aiocoap,
    bundled::SHORT_KEY,
    libcoap::{self, BUILDS, Build},
    ours,
    peers::{Ended, GOOD, IDENTITY, KEY, PATIENCE, Peer, Scratch, program},
    relay::{Relay, Weather},
};

/// One in ten is lost, all the time.
const LOSSY: Weather = Weather { drop: 10, duplicate: 5, reorder: 0, most: u32::MAX, seed: 1 };

/// Bytes that are nowhere the same.
fn body(len: usize) -> Vec<u8> {
    (0..len as u32).flat_map(|number| number.wrapping_mul(0x9E37_79B9).to_be_bytes()).take(len).collect()
}

/// Runs libcoap's client to its end, without security.
fn ask_plain(server: SocketAddr, path: &str, arguments: &[&str]) -> (Ended, Option<Vec<u8>>) {
    let payload = Scratch::new("payload");
    let mut command: Command = program("coap-client-notls");
    command.args(["-v", "9", "-B", "20", "-o", payload.path()]).args(arguments);
    let ended = Peer::spawn(command.arg(format!("coap://{server}{path}"))).wait();
    (ended, payload.read())
}

/// A way to ask our server: its name, and the client.
type Asks = Vec<(String, ours::Server, Box<dyn Fn(SocketAddr, &str, &[&str]) -> (Ended, Option<Vec<u8>>)>)>;

/// libcoap in both builds, and without security.
fn libcoap_clients() -> Asks {
    let mut asks: Asks = Vec::new();
    for build in BUILDS {
        asks.push((
            format!("{build:?}"),
            ours::server(&[]),
            Box::new(move |server, path, arguments| libcoap::ask(build, server, path, GOOD, arguments)),
        ));
    }
    asks.push(("plain".into(), ours::plain_server(&[]), Box::new(ask_plain)));
    asks
}

#[test]
fn libcoap_discovers_what_is_here() {
    for (name, server, ask) in libcoap_clients() {
        let (ended, links) = ask(server.address, "/.well-known/core", &[]);
        let links = String::from_utf8(links.unwrap_or_else(|| panic!("{name}: {ended}"))).unwrap();
        for link in ["</temperature>;", "</led>;", "</about>;", "</firmware>;", ";obs", "rt=\"led\"", "sz="] {
            assert!(links.contains(link), "{name}: {links}");
        }
    }
}

#[test]
fn libcoap_downloads_in_blocks_of_each_size() {
    for (name, server, ask) in libcoap_clients() {
        for size in ["", "16", "32", "64", "128", "256", "512", "1024"] {
            let arguments: &[&str] = if size.is_empty() { &[] } else { &["-b", size] };
            let (ended, text) = ask(server.address, "/about", arguments);
            assert!(text.as_deref() == Some(ABOUT.as_bytes()), "{name}, blocks of {size}: {ended}");
        }
    }
}

#[test]
fn libcoap_uploads_in_blocks() {
    for (name, server, ask) in libcoap_clients() {
        for (len, size) in [(65_536, "1024"), (10_001, "64"), (16, "16"), (1_000, "1024")] {
            let image = body(len);
            let file = Scratch::with("image", &image);
            let (put, _) = ask(server.address, "/firmware", &["-m", "put", "-b", size, "-f", file.path()]);
            put.must_say("c:2.04");
            let (ended, said) = ask(server.address, "/firmware", &[]);
            let Firmware { len, crc32 } = Firmware::of(&image);
            let expected = format!("{len} bytes, CRC-32 {crc32:08x}");
            assert_eq!(said, Some(expected.into_bytes()), "{name}, {len} bytes in blocks of {size}: {ended}");
        }
    }
}

#[test]
fn a_body_that_is_too_long_is_refused() {
    let server = ours::server(&[]);
    let file = Scratch::with("image", body((1 << 20) + 1));
    let arguments = ["-m", "put", "-b", "1024", "-f", file.path()];
    let (put, _) = libcoap::ask(Build::OpenSsl, server.address, "/firmware", GOOD, &arguments);
    put.must_say("c:4.13");
    let (_, said) = libcoap::ask(Build::OpenSsl, server.address, "/firmware", GOOD, &[]);
    assert_eq!(said.as_deref(), Some(&b"0 bytes, CRC-32 00000000"[..]));
}

/// Each observer hears what another client changes, and what the thermometer does.
#[test]
fn libcoap_observes() {
    for build in BUILDS {
        let server = ours::server(&[]);
        let thermometer =
            libcoap::client(build, server.address, "/temperature", GOOD, &["-s", "6", "-v", "6"]);
        let led = libcoap::client(build, server.address, "/led", GOOD, &["-s", "6", "-v", "6"]);
        server.peer.wait_for_count("established", 2);
        thread::sleep(Duration::from_millis(300));
        let (put, _) = libcoap::ask(build, server.address, "/led", GOOD, &["-m", "put", "-e", "1"]);
        put.must_say("c:2.04");
        led.wait().must_say(":: '0'").must_say(":: '1'");
        // It shows something else every two seconds.
        let thermometer = thermometer.wait();
        let shown = String::from_utf8_lossy(&thermometer.stdout).matches(":: '21.").count();
        assert!(shown >= 3, "{thermometer}");
    }
}

/// What may be done by whom, and that a request to change something is fresh.
#[test]
fn libcoap_is_allowed_what_the_server_allows() {
    let server = ours::server(&[
        "--psk",
        "admin:another_key",
        "--allow",
        "*:get:/.well-known/core",
        "--allow",
        "client1:get,fetch:/led",
        "--allow",
        "admin:*:/*",
    ]);
    let admin = ("admin", "another_key");
    for (key, path, arguments, code) in [
        (GOOD, "/.well-known/core", &[][..], "c:2.05"),
        (GOOD, "/led", &[], "c:2.05"),
        (GOOD, "/led", &["-m", "put", "-e", "1"], "c:4.03"),
        (GOOD, "/temperature", &[], "c:4.03"),
        (admin, "/led", &["-m", "put", "-e", "1"], "c:2.04"),
        (admin, "/temperature", &[], "c:2.05"),
    ] {
        let (ended, _) = libcoap::ask(Build::OpenSsl, server.address, path, key, arguments);
        ended.must_say(code);
    }
}

#[test]
fn aiocoap_downloads_uploads_and_observes() {
    let server = ours::server_with(SHORT_KEY, &["--suite", "TLS_PSK_WITH_AES_128_CCM_8"]);
    let text = aiocoap::ask(server.address, "/about", aiocoap::GOOD, &[]);
    assert_eq!(text.stdout.trim_ascii_end(), ABOUT.trim_ascii_end().as_bytes(), "{text}");

    let image = body(20_000);
    let file = Scratch::with("image", &image);
    let arguments = ["-m", "PUT", "--content-format", "42", "--payload", &format!("@{}", file.path())];
    let put = aiocoap::ask(server.address, "/firmware", aiocoap::GOOD, &arguments);
    assert!(put.status.success(), "{put}");
    let said = aiocoap::ask(server.address, "/firmware", aiocoap::GOOD, &[]);
    said.must_say(&format!("20000 bytes, CRC-32 {:08x}", Firmware::of(&image).crc32));

    let observer = aiocoap::observe(server.address, "/led", aiocoap::GOOD);
    observer.wait_for("0\n");
    let put = aiocoap::ask(server.address, "/led", aiocoap::GOOD, &["-m", "PUT", "--payload", "1"]);
    assert!(put.status.success(), "{put}");
    observer.wait_for("1\n");
}

/// Our client's long bodies and observations, with libcoap's server.
#[test]
fn our_client_moves_long_bodies_and_observes_at_libcoap() {
    for build in BUILDS {
        let server = libcoap::server(build, &[]);
        for (len, size) in [(20_000, "1024"), (5_000, "64"), (100, "16")] {
            let image = body(len);
            let (file, copy) = (Scratch::with("image", &image), Scratch::new("copy"));
            let put = ["-m", "put", "-b", size, "-f", file.path()];
            let put = ours::client(server.address, "/example_data", &put);
            assert!(put.status.success(), "{build:?}, {len} bytes in blocks of {size}: {put}");
            let get = ours::client(server.address, "/example_data", &["-b", size, "-o", copy.path()]);
            assert!(get.status.success(), "{build:?}, {len} bytes in blocks of {size}: {get}");
            assert!(copy.read() == Some(image), "{build:?}, {len} bytes in blocks of {size}: {get}");
        }
        // It tells the time every second.
        let observed = ours::client(server.address, "/time", &["-s", "4"]);
        assert!(observed.status.success(), "{build:?}: {observed}");
        let times = String::from_utf8_lossy(&observed.stdout).matches(':').count();
        assert!(times >= 6, "{build:?}, two colons each: {observed}");
        let links = ours::client(server.address, "/.well-known/core", &[]);
        links.must_say("</time>");
    }
}

#[test]
fn our_client_moves_long_bodies_and_observes_at_aiocoap() {
    let (_server, address) = aiocoap::server(aiocoap::GOOD);
    let image = body(20_000);
    let (file, copy) = (Scratch::with("image", &image), Scratch::new("copy"));
    for arguments in [["-m", "put", "-f", file.path()], ["-m", "get", "-o", copy.path()]] {
        let suited = [&["--suite", "TLS_PSK_WITH_AES_128_CCM_8"], &arguments[..]].concat();
        let ended = ours::client_with(aiocoap::GOOD, address, "/value", &suited);
        assert!(ended.status.success(), "{ended}");
    }
    assert!(copy.read() == Some(image));
    let arguments = ["--suite", "TLS_PSK_WITH_AES_128_CCM_8", "-s", "3"];
    let observed = ours::client_with(aiocoap::GOOD, address, "/ticks", &arguments);
    assert!(observed.status.success(), "{observed}");
    let ticks = String::from_utf8_lossy(&observed.stdout).matches("tick").count();
    assert!(ticks >= 4, "{observed}");
}

/// Serves a body of its own at every path.
struct Big(Vec<u8>);

impl Handler for Big {
    type RequestData = Option<usize>;
    type ExtractRequestError = core::convert::Infallible;
    type BuildResponseError<M: MinimalWritableMessage> = M::UnionError;

    fn extract_request_data<M: ReadableMessage>(
        &mut self,
        request: &M,
    ) -> Result<Self::RequestData, Self::ExtractRequestError> {
        let is_put = request.code().into() == code::PUT;
        if is_put {
            self.0 = request.payload().to_vec();
        }
        Ok((!is_put).then_some(self.0.len()))
    }

    fn estimate_length(&mut self, request: &Self::RequestData) -> usize {
        request.unwrap_or(0)
    }

    fn build_response<M: MutableWritableMessage>(
        &mut self,
        response: &mut M,
        request: Self::RequestData,
    ) -> Result<(), M::UnionError> {
        response.set_code(M::Code::new(if request.is_some() { code::CONTENT } else { code::CHANGED })?);
        if request.is_some() {
            response.set_payload(&self.0)?;
        }
        Ok(())
    }
}

/// Serves in a thread for as long as the test runs.
fn serve_big(plain: bool) -> SocketAddr {
    let (tell, told) = mpsc::channel();
    thread::spawn(move || {
        async_io::block_on(async {
            let stack = std_embedded_nal_async::Stack::default();
            let (address, socket) = stack.bind_single("127.0.0.1:0".parse().unwrap()).await.unwrap();
            tell.send(address).unwrap();
            let mut room = vec![0; 65_536];
            let mut uploads = [Upload::new(&mut room)];
            let mut big = Big(Vec::new());
            if plain {
                let mut socket = PlainUdp(socket);
                let mut server = Server::new(&mut socket, StdClock::new(), SysRng).with_uploads(&mut uploads);
                server.run(&mut big).await;
            } else {
                let config = Config::default();
                let keys = [Psk::new(IDENTITY.as_bytes(), KEY.as_bytes()).unwrap()];
                let mut storage = Storage::<2, 4>::new();
                let endpoint = Endpoint::new(&config, &keys, &mut storage, &mut SysRng).unwrap();
                let mut secure = asynch::Server::new(socket, endpoint, StdClock::new(), SysRng);
                let mut server = Server::new(&mut secure, StdClock::new(), SysRng).with_uploads(&mut uploads);
                server.run(&mut big).await;
            }
        });
    });
    told.recv_timeout(PATIENCE).unwrap()
}

/// 64 KiB in both directions; and some of that where one datagram in ten is lost.
#[test]
fn libcoap_moves_long_bodies_over_bad_networks() {
    let cases = [
        (false, 65_536, None),
        (true, 65_536, None),
        (false, 12_000, Some(LOSSY)),
        (true, 12_000, Some(LOSSY)),
    ];
    let threads = cases.map(|(plain, len, weather)| {
        thread::spawn(move || {
            let server = serve_big(plain);
            let relay = weather.map(|weather| Relay::new(server, weather));
            let address = relay.as_ref().map_or(server, |relay| relay.address);
            let (image, payload) = (body(len), Scratch::new("payload"));
            let file = Scratch::with("image", &image);
            let started = Instant::now();
            for arguments in [&["-m", "put", "-f", file.path()][..], &["-o", payload.path()]] {
                let mut command =
                    if plain { program("coap-client-notls") } else { program("coap-client-openssl") };
                command.args(["-v", "6", "-B", "120"]).args(arguments);
                if !plain {
                    command.args(["-u", IDENTITY, "-k", KEY]);
                }
                let scheme = if plain { "coap" } else { "coaps" };
                let ended = Peer::spawn(command.arg(format!("{scheme}://{address}/big")))
                    .wait_at_most(Duration::from_secs(150));
                assert!(ended.status.success(), "{ended}");
            }
            assert!(payload.read() == Some(image), "{len} bytes, plain: {plain}");
            if let Some(relay) = relay {
                let record = relay.record();
                assert!(record.dropped >= 2, "the network was good: {} lost", record.dropped);
            }
            println!("{len} bytes up and down in {:?}", started.elapsed());
        })
    });
    for thread in threads {
        thread.join().unwrap();
    }
}
