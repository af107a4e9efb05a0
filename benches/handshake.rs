//! A whole handshake in memory, both ends together and with the cookie, in each suite.
//!
//! `cargo bench --bench handshake` gives times. Instructions repeat better:
//! `cargo bench --bench handshake --no-run`, then
//! `valgrind --tool=callgrind --toggle-collect='*handshake_of_both*' target/release/deps/handshake-… --test`.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use dtls_psk::{CipherSuite, Config, Connection, Endpoint, Instant, Path, Psk, Storage};
use rand::SeedableRng;
use rand::rngs::ChaCha8Rng;

type Server<'a> = Endpoint<'a, 2, 4>;

const NOW: Instant = Instant::ZERO;

/// Up to the moment when both sides are established.
#[inline(never)]
fn handshake_of_both(config: &Config, psk: &Psk, server: &mut Server, rng: &mut ChaCha8Rng, path: Path) {
    let mut client = Connection::client(config, psk, rng, NOW).expect("the configuration is valid");
    let mut datagram = [0; 256];
    while client.peer().is_none() {
        while let Some(len) = client.poll_transmit(&mut datagram).expect("there is room") {
            server.receive(&mut datagram[..len], path, rng, NOW).for_each(drop);
        }
        while let Some((len, _)) = server.poll_transmit(&mut datagram).expect("there is room") {
            client.receive(&mut datagram[..len], NOW).for_each(drop);
        }
    }
    black_box(client);
}

fn handshakes(c: &mut Criterion) {
    let mut group = c.benchmark_group("handshake");
    for suite in CipherSuite::ALL {
        let suites = [*suite];
        let config = Config::new().with_suites(&suites);
        let psk = Psk::new(b"client_identity", b"0123456789abcdef").expect("within the bounds");
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let mut storage = Storage::new();
        let mut server =
            Server::new(&config, &psk, &mut storage, &mut rng).expect("the configuration is valid");
        let path = Path { local: ([127, 0, 0, 1], 5684).into(), remote: ([127, 0, 0, 1], 40_000).into() };
        group.bench_function(suite.name(), |b| {
            b.iter(|| handshake_of_both(&config, &psk, &mut server, &mut rng, path))
        });
    }
}

criterion_group!(benches, handshakes);
criterion_main!(benches);
