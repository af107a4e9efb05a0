//! Where sessions are kept: what is forgotten when, and caches that fail.
#![cfg(feature = "resumption")]

mod support;

use std::cell::{Cell, RefCell};
use std::time::Duration;

use dtls_psk::{Config, Instant, MAX_RESUMABLE_LEN, MemoryCache, ResumableSession, SessionCache};

use support::craft::ALERT;
use support::raw::RawClient;
use support::resumed::*;
use support::world::{Small, leak, path, psk};
use support::{IDENTITY, KEY};

/// The cache itself: its size, its lifetime, and sessions as bytes.
#[test]
fn the_cache() {
    let (servers, clients) = (cache(), leak(MemoryCache::<1>::with_lifetime(Duration::from_secs(100))));
    let mut world = Small::with_config(22, with(servers));
    let config = Config::coap().with_versions(&[dtls_psk::ProtocolVersion::Dtls12]).with_resumption(clients);
    let mut resumed = Vec::new();
    for (at, pause) in [0, 99, 101, 0].into_iter().enumerate() {
        world.run_for(Duration::from_secs(pause));
        let client = world.client_with(config, psk(IDENTITY, KEY), path(at));
        world.run_for(Duration::from_millis(100));
        resumed.push(world.clients[client].connection.peer().unwrap().resumed);
    }
    assert_eq!(resumed, [false, true, false, true]);

    let mut copies = Vec::new();
    clients.last(world.now, &mut |session| copies.push(session.clone()));
    let session = &copies[0];
    assert_eq!((session.identity(), session.session_id().len()), (IDENTITY, 32));
    assert!(
        !format!("{session:?}").contains(char::is_numeric) || format!("{session:?}").contains("Aes128Ccm8")
    );
    let mut bytes = [0; MAX_RESUMABLE_LEN];
    let len = session.to_bytes(&mut bytes).unwrap();
    let read = ResumableSession::from_bytes(&bytes[..len]).unwrap();
    assert_eq!(
        (read.identity(), read.session_id(), read.tag()),
        (IDENTITY, session.session_id(), session.tag())
    );
    for short in 0..len {
        assert!(ResumableSession::from_bytes(&bytes[..short]).is_err());
        assert!(session.to_bytes(&mut [0; MAX_RESUMABLE_LEN][..short]).is_err());
    }
    assert!(ResumableSession::from_bytes(&[&bytes[..len], &[0]].concat()).is_err());
    // Of five sessions, a cache of four keeps the last.
    let small = cache();
    let mut ids = Vec::new();
    for at in 0..5_u64 {
        let mut world = Small::with_config(23 + at, with(small));
        world.now = world.now + Duration::from_secs(at);
        let mut raw = RawClient::new(IDENTITY, KEY, at);
        let flight = ask(&mut world, &mut raw, 0);
        ids.push(RawClient::session_id_of(&flight));
        raw.take_server_flight(&flight);
        raw.exchange_keys();
        let flight = raw.key_flight();
        world.hit(path(0), &flight);
    }
    let there: Vec<bool> = ids
        .iter()
        .map(|id| {
            let mut found = false;
            small.get(id, world.now, &mut |_| found = true);
            found
        })
        .collect();
    assert_eq!(there, [false, true, true, true, true]);
    // One that is asked while it lends says nothing, and does not fail.
    small.last(world.now, &mut |session| {
        small.put(session, world.now);
        small.forget(session.tag());
    });
}

/// The key that counts is the one that the session was made with, not the one that the store has by the end of the handshake.
#[test]
fn a_key_that_changes_during_the_handshake() {
    let mut world = Small::with_config(50, with(cache()));
    let mut raw = RawClient::new(IDENTITY, KEY, 50);
    let flight = ask(&mut world, &mut raw, 0);
    let id = RawClient::session_id_of(&flight);
    raw.take_server_flight(&flight);
    raw.exchange_keys();
    let (key_exchange, change) = (raw.key_exchange_record(), raw.change_cipher_spec_record());
    world.hit(path(0), &[key_exchange, change].concat());
    world.keys.take_out(IDENTITY);
    world.keys.add(psk(IDENTITY, b"the next key"));
    let finished = raw.finished_record();
    let last = world.hit(path(0), &finished);
    raw.take_last_flight(&last);
    let mut again = asking_for(&id, 51);
    let flight = ask(&mut world, &mut again, 1);
    assert!(is_full(&flight, &id), "it was made with the key of before");
}

/// Who is revoked has nothing to come back with, not even when it gets the same key again; and one that is about to come back
/// does not.
#[test]
fn revoked() {
    for about_to_come_back in [false, true] {
        let (mut world, first, id) = remembered(52);
        let mut raw = asking_for(&id, 53);
        if about_to_come_back {
            let flight = ask(&mut world, &mut raw, 1);
            raw.take_resumption(&flight, &first.side.master);
        }
        world.keys.take_out(IDENTITY);
        world.server.revoke(IDENTITY);
        if about_to_come_back {
            let alert = world.answers(path(1));
            assert_eq!(raw.side.open(&alert), [(ALERT, vec![2, 51])], "under the new keys");
            let last = raw.short_flight();
            world.hit(path(1), &last);
            assert_eq!(world.server.peer(&path(1)), None);
        }
        world.keys.add(psk(IDENTITY, KEY));
        let flight = ask(&mut world, &mut asking_for(&id, 54), 2);
        assert!(is_full(&flight, &id));
    }
}

/// A cache that does as it likes.
#[derive(Default)]
struct Moody {
    kept: RefCell<Vec<ResumableSession>>,
    /// How many sessions to lend when asked for one: none, another one each time, several.
    lends: Cell<usize>,
    at: Cell<usize>,
}

impl SessionCache for Moody {
    fn put(&self, session: &ResumableSession, _: Instant) {
        self.kept.borrow_mut().push(session.clone());
    }

    fn get(&self, _: &[u8], now: Instant, lend: &mut dyn FnMut(&ResumableSession)) {
        self.last(now, lend);
    }

    fn last(&self, _: Instant, lend: &mut dyn FnMut(&ResumableSession)) {
        for session in self.kept.borrow().iter().cycle().skip(self.at.get()).take(self.lends.get()) {
            lend(session);
            self.at.set(self.at.get() + 1);
        }
    }

    fn forget(&self, _: &[u8]) {}
}

/// Whatever a cache does, nobody panics, no session is harmed, and a client whose cache has come to its senses gets through.
#[test]
fn caches_that_fail() {
    for (lends, by_client) in [0, 1, 2, 3].into_iter().flat_map(|lends| [(lends, true), (lends, false)]) {
        let moody: &'static Moody = leak(Moody::default());
        let (failing, good) = (
            Config::coap().with_versions(&[dtls_psk::ProtocolVersion::Dtls12]).with_resumption(moody),
            with(cache()),
        );
        let (of_server, config) = if by_client { (good, failing) } else { (failing, good) };
        let mut world = Small::with_config(55, of_server.with_sessions_per_identity(8));
        for at in 0..6 {
            // The first two are full handshakes, so that there are two sessions.
            moody.lends.set(if at < 2 { 0 } else { lends });
            let config = if at < 2 && !by_client { with(cache()) } else { config };
            world.client_with(config, psk(IDENTITY, KEY), path(at));
            world.run_for(Duration::from_secs(400));
            if at < 2 || lends == 0 {
                world.assert_data_flows(at);
            }
        }
        moody.lends.set(0);
        world.client_with(config, psk(IDENTITY, KEY), path(7));
        world.run_for(Duration::from_secs(400));
        // A client's own cache may still offer what the server's has just muddled up, so it may need one more.
        if !world.clients[6].is_established() {
            world.client_with(config, psk(IDENTITY, KEY), path(8));
            world.run_for(Duration::from_secs(400));
        }
        let last = world.clients.len() - 1;
        for at in [0, 1, last] {
            world.assert_data_flows(at);
        }
    }
}
