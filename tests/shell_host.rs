//! The async shells over the host's sockets, and every timer that comes with the crate.

mod shell_support;

use std::cell::Cell;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant as StdInstant};

use dtls_psk::nal::Error;
use dtls_psk::nal::asynch::{Client, Server};
use dtls_psk::{
    Clock, EmbassyTimer, Endpoint, Error as Dtls, Instant, PeerLookup, Psk, StdClock, Storage, Timer,
    TokioTimer,
};
use embassy_futures::select::{Either, select};
use embedded_nal_async::{ConnectedUdp, UdpStack, UnconnectedUdp};
use getrandom::SysRng;
use shell_support::{CONFIG, Socket, World, address, client1};

/// A server and two clients over loopback, one with IPv4 and one with IPv6.
async fn exchange_over_loopback(timer: impl Timer + Copy) {
    let config = shell_support::DTLS12;
    let keys = [client1(), Psk::new(b"client2", b"another key").unwrap()];
    let stack = std_embedded_nal_async::Stack::default();
    for (key, host) in keys.iter().zip(["127.0.0.1:0", "[::1]:0"]) {
        let mut storage = Storage::<2, 4>::new();
        let endpoint = Endpoint::new(&config, &keys, &mut storage, &mut SysRng).unwrap();
        let (bound, socket) = stack.bind_single(host.parse().unwrap()).await.unwrap();
        let mut server = Server::new(socket, endpoint, timer, SysRng);
        let serve = async {
            let mut buffer = [0; 256];
            loop {
                let (len, local, remote) = server.receive_into(&mut buffer).await.unwrap();
                assert_eq!(local, bound);
                assert_eq!(server.peer(local, remote).unwrap().identity, key.identity());
                server.send(local, remote, &buffer[..len]).await.unwrap();
            }
        };
        let run = async {
            let (_, socket) = stack.connect(bound).await.unwrap();
            let mut client = Client::connect(socket, &config, key, timer, &mut SysRng).await.unwrap();
            assert_eq!(client.peer().unwrap().identity, key.identity());
            for message in [b"".as_slice(), b"hello", &[7; 200]] {
                client.send(message).await.unwrap();
                let mut buffer = [0; 256];
                let len = client.receive_into(&mut buffer).await.unwrap();
                assert_eq!(&buffer[..len], message);
            }
            client.close().await.unwrap();
        };
        let limit = timer.sleep_until(timer.now() + Duration::from_secs(20));
        match select(select(run, serve), limit).await {
            Either::First(Either::First(())) => {}
            Either::First(Either::Second(())) | Either::Second(()) => panic!("no end in sight"),
        }
    }
}

#[test]
fn any_executor_beside_async_io() {
    async_io::block_on(exchange_over_loopback(StdClock::new()));
}

#[tokio::test]
async fn tokio_with_one_thread() {
    exchange_over_loopback(TokioTimer::new()).await;
}

/// Under Tokio's paused time five minutes of silence take no time, and the retransmissions come when they should.
#[tokio::test(start_paused = true)]
async fn tokio_with_paused_time() {
    let started = StdInstant::now();
    let world = World::new();
    let psk = client1();
    let timer = TokioTimer::new();
    let socket = Socket::connected(&world, address(9, 1), address(1, 5684));
    let mut client = Client::new(socket, &CONFIG, &psk, timer, &mut SysRng).unwrap();
    let begin = timer.now();
    let given_up = select(client.handshake(), timer.sleep_until(begin + Duration::from_millis(31_500))).await;
    assert!(matches!(given_up, Either::Second(())));
    assert_eq!(world.sent.borrow().len(), 6, "at 0, 1, 3, 7, 15 and 31 seconds");
    assert_eq!(client.handshake().await, Err(Error::Dtls(Dtls::NoAnswer)));
    assert_eq!(timer.now().saturating_since(begin).as_secs(), 300);
    assert!(started.elapsed() < Duration::from_secs(10));
}

/// Waits for `timer` with `run`, and checks what the traits promise.
fn check_timer(timer: impl Timer, run: impl Fn(&mut dyn FnMut() -> Poll<()>)) {
    let before = timer.now();
    assert!(timer.now() >= before);
    for wait in [0, 1, 7, 23] {
        let at = timer.now() + Duration::from_millis(wait);
        let mut sleep = pin!(timer.sleep_until(at));
        let mut context = Context::from_waker(Waker::noop());
        run(&mut || sleep.as_mut().poll(&mut context));
        assert!(timer.now() >= at, "woken {wait} ms after {:?} at {:?}", at, timer.now());
        assert!(timer.now().saturating_since(at) < Duration::from_secs(5));
        // What has passed is not waited for.
        let mut past = pin!(timer.sleep_until(at));
        assert_eq!(past.as_mut().poll(&mut context), Poll::Ready(()));
    }
    // The end of time is not now, and no overflow either.
    let mut never = pin!(timer.sleep_until(Instant::from_millis(u64::MAX)));
    assert_eq!(never.as_mut().poll(&mut Context::from_waker(Waker::noop())), Poll::Pending);
}

fn poll_again(poll: &mut dyn FnMut() -> Poll<()>) {
    while poll().is_pending() {
        std::thread::sleep(Duration::from_micros(200));
    }
}

#[test]
fn std_clock() {
    check_timer(StdClock::new(), poll_again);
    check_timer(StdClock::default(), poll_again);
}

#[test]
fn tokio_timer() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let _guard = runtime.enter();
    let poll = |poll: &mut dyn FnMut() -> Poll<()>| {
        runtime.block_on(async {
            while poll().is_pending() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        });
    };
    check_timer(TokioTimer::new(), poll);
    check_timer(TokioTimer::default(), poll);
}

/// A board's clock with 32,768 ticks a second, which no millisecond is a whole number of. Each thread has its own.
struct Ticks;

thread_local! {
    static TICKS: Cell<u64> = const { Cell::new(12_345) };
    static ALARM: Cell<u64> = const { Cell::new(0) };
}

impl embassy_time_driver::Driver for Ticks {
    fn now(&self) -> u64 {
        TICKS.get()
    }

    fn schedule_wake(&self, at: u64, waker: &Waker) {
        ALARM.set(at);
        waker.wake_by_ref();
    }
}

embassy_time_driver::time_driver_impl!(static TICKS_DRIVER: Ticks = Ticks);

#[test]
fn embassy_timer() {
    let advance = |poll: &mut dyn FnMut() -> Poll<()>| {
        while poll().is_pending() {
            // To the alarm and no further.
            TICKS.set(ALARM.get().max(TICKS.get()));
        }
    };
    for _ in 0..1_000 {
        check_timer(EmbassyTimer, advance);
        TICKS.set(TICKS.get() + 1);
    }
    assert_eq!(EmbassyTimer.now().as_millis(), TICKS.get() * 1_000 / 32_768);
}
