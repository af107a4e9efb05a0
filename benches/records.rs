//! Sealing and opening records, beside the AEAD alone: under a key that was expanded before, and with the expansion,
//! which a session repeats for each record because it keeps 16 bytes of key instead of 176.
//!
//! `cargo bench --bench records` gives times. Instructions repeat better:
//! `cargo bench --bench records --no-run`, then
//! `valgrind --tool=callgrind --toggle-collect='*seal_record*' target/release/deps/records-… --test CCM_8/seal/64/record`.

use std::hint::black_box;

use aes::Aes128;
use aes_gcm::Aes128Gcm;
use ccm::consts::{U8, U12, U16};
use ccm::{AeadInOut, Ccm, KeyInit};
use criterion::measurement::WallTime;
use criterion::{BatchSize, BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main};
use dtls_psk::{
    CipherSuite, Config, Connection, Endpoint, Instant, Path, Psk, RECORD_PREFIX, RECORD_SUFFIX, Storage,
};
use rand::SeedableRng;
use rand::rngs::ChaCha8Rng;

type Server<'a> = Endpoint<'a, 1, 1>;

const NOW: Instant = Instant::ZERO;
const KEY: [u8; 16] = [7; 16];
const NONCE: [u8; 12] = [9; 12];
/// As long as what a record authenticates beside its payload.
const AAD: [u8; 13] = [3; 13];

fn records(c: &mut Criterion) {
    suite::<Ccm<Aes128, U8, U12>>(c, CipherSuite::Aes128Ccm8, "CCM_8");
    suite::<Ccm<Aes128, U16, U12>>(c, CipherSuite::Aes128Ccm, "CCM");
    suite::<Aes128Gcm>(c, CipherSuite::Aes128Gcm, "GCM");
}

fn suite<A: AeadInOut + KeyInit>(c: &mut Criterion, suite: CipherSuite, name: &str) {
    let suites = [suite];
    let config = Config::new().with_suites(&suites);
    let psk = Psk::new(b"client_identity", b"0123456789abcdef").expect("within the bounds");
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let mut storage = Storage::new();
    let mut server = Server::new(&config, &psk, &mut storage, &mut rng).expect("the configuration is valid");
    let path = Path { local: ([127, 0, 0, 1], 5684).into(), remote: ([127, 0, 0, 1], 40_000).into() };
    let mut client = Connection::client(&config, &psk, &mut rng, NOW).expect("the configuration is valid");
    let mut datagram = [0; 256];
    while client.peer().is_none() {
        while let Some(len) = client.poll_transmit(&mut datagram).expect("there is room") {
            server.receive(&mut datagram[..len], path, &mut rng, NOW).for_each(drop);
        }
        while let Some((len, _)) = server.poll_transmit(&mut datagram).expect("there is room") {
            client.receive(&mut datagram[..len], NOW).for_each(drop);
        }
    }

    for len in [16, 64, 256, 1024] {
        let mut group = c.benchmark_group(format!("{name}/seal/{len}"));
        group.throughput(Throughput::Bytes(len as u64));
        let mut buf = vec![0; RECORD_PREFIX + len + RECORD_SUFFIX];
        group.bench_function("record", |b| b.iter(|| seal_record(&mut client, black_box(&mut buf), len)));
        seal_alone::<A>(&mut group, len);
        group.finish();

        let mut group = c.benchmark_group(format!("{name}/open/{len}"));
        group.throughput(Throughput::Bytes(len as u64));
        let payload = vec![0; len];
        let mut sealed = || {
            let mut record = vec![0; RECORD_PREFIX + len + suite.tag_len()];
            server.send(&path, &payload, &mut record).expect("there is a session");
            record
        };
        group.bench_function("record", |b| {
            b.iter_batched_ref(&mut sealed, |record| open_record(&mut client, record), BatchSize::SmallInput)
        });
        open_alone::<A>(&mut group, len);
        group.finish();
    }
}

#[inline(never)]
fn seal_record(client: &mut Connection, buf: &mut [u8], len: usize) {
    let record = client.seal_in_place(buf, RECORD_PREFIX..RECORD_PREFIX + len);
    let _ = black_box(record.expect("there is a session"));
}

#[inline(never)]
fn open_record(client: &mut Connection, record: &mut [u8]) {
    assert_eq!(client.receive(record, NOW).count(), 1);
}

#[inline(never)]
fn seal_bare<A: AeadInOut>(cipher: &A, data: &mut [u8]) -> impl Sized + use<A> {
    let nonce = NONCE.as_slice().try_into().expect("12 bytes");
    cipher.encrypt_inout_detached(nonce, &AAD, data.into()).expect("a length that it takes")
}

#[inline(never)]
fn open_bare<A: AeadInOut>(cipher: &A, data: &mut [u8]) {
    let nonce = NONCE.as_slice().try_into().expect("12 bytes");
    let (data, tag) = data.split_at_mut(data.len() - size_of::<ccm::aead::Tag<A>>());
    let tag = (&*tag).try_into().expect("its length");
    cipher.decrypt_inout_detached(nonce, &AAD, data.into(), tag).expect("it was sealed before");
}

fn seal_alone<A: AeadInOut + KeyInit>(group: &mut BenchmarkGroup<WallTime>, len: usize) {
    let mut data = vec![0; len];
    let cipher = A::new_from_slice(&KEY).expect("16 bytes");
    group.bench_function("aead", |b| b.iter(|| seal_bare(&cipher, black_box(&mut data))));
    group.bench_function("aead and key", |b| {
        b.iter(|| seal_bare(&A::new_from_slice(black_box(&KEY)).expect("16 bytes"), black_box(&mut data)))
    });
}

fn open_alone<A: AeadInOut + KeyInit>(group: &mut BenchmarkGroup<WallTime>, len: usize) {
    let cipher = A::new_from_slice(&KEY).expect("16 bytes");
    let nonce = NONCE.as_slice().try_into().expect("12 bytes");
    let mut sealed = vec![0; len];
    let tag = cipher.encrypt_inout_detached(nonce, &AAD, sealed.as_mut_slice().into());
    sealed.extend_from_slice(&tag.expect("a length that it takes"));
    let copy = || sealed.clone();
    group.bench_function("aead", |b| {
        b.iter_batched_ref(copy, |data| open_bare(&cipher, data), BatchSize::SmallInput)
    });
    group.bench_function("aead and key", |b| {
        b.iter_batched_ref(
            copy,
            |data| open_bare(&A::new_from_slice(black_box(&KEY)).expect("16 bytes"), data),
            BatchSize::SmallInput,
        )
    });
}

criterion_group!(benches, records);
criterion_main!(benches);
