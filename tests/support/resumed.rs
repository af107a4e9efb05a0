//! Both ends with caches of sessions that can be resumed.

use dtls_psk::{Config, Instant, MemoryCache, SessionCache};

use super::craft::*;
use super::raw::RawClient;
use super::world::{AgainstRaw, Small, leak, path};
use super::{IDENTITY, KEY, parse};

pub type Cache = MemoryCache<4>;

pub fn cache() -> &'static Cache {
    leak(Cache::new())
}

pub fn with(cache: &'static Cache) -> Config<'static> {
    Config::coap().with_versions(&[dtls_psk::ProtocolVersion::Dtls12]).with_resumption(cache)
}

/// The same configuration with an empty cache of its own.
pub fn with_cache(config: Config<'static>) -> Config<'static> {
    config.with_resumption(cache())
}

/// A server that keeps sessions, and an independent client that has had one: its id and its master secret.
pub fn remembered(seed: u64) -> (Small, RawClient, Vec<u8>) {
    let mut world = Small::with_config(seed, with(cache()));
    let mut raw = RawClient::new(IDENTITY, KEY, seed);
    let hello = raw.hello();
    let replies = world.hit(path(0), &hello);
    raw.follow(&replies);
    let hello = raw.hello();
    let flight = world.hit(path(0), &hello);
    let id = RawClient::session_id_of(&flight);
    assert_eq!(id.len(), 32);
    raw.take_server_flight(&flight);
    raw.exchange_keys();
    let flight = raw.key_flight();
    let last = world.hit(path(0), &flight);
    raw.take_last_flight(&last);
    world.assert_raw_data_flows(path(0), &mut raw);
    assert!(!world.server.peer(&path(0)).unwrap().resumed);
    (world, raw, id)
}

/// The server's answer to a client that wants to go on with the session `id`.
pub fn ask(world: &mut Small, raw: &mut RawClient, at: usize) -> Vec<Vec<u8>> {
    let hello = raw.hello();
    let replies = world.hit(path(at), &hello);
    raw.follow(&replies);
    let hello = raw.hello();
    world.hit(path(at), &hello)
}

pub fn asking_for(id: &[u8], seed: u64) -> RawClient {
    let mut raw = RawClient::new(IDENTITY, KEY, seed);
    raw.hello.session_id = id.to_vec();
    raw
}

/// Whether the server takes the long way, which always gives the session another name.
#[track_caller]
pub fn is_full(flight: &[Vec<u8>], id: &[u8]) -> bool {
    let full = parse::message_types(flight).contains(&SERVER_HELLO_DONE);
    assert_eq!(full, RawClient::session_id_of(flight) != id);
    full
}

/// A client whose cache holds a session with this id.
pub fn kept_by_client(config: Config<'static>, id: &[u8]) -> AgainstRaw {
    let mut against = AgainstRaw::with_config(12, config);
    against.server.hello.session_id = id.to_vec();
    against.establish();
    against
}

pub fn count(cache: &dyn SessionCache, now: Instant) -> usize {
    let mut count = 0;
    cache.last(now, &mut |_| count += 1);
    count
}
