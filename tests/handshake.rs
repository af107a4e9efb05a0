//! Handshakes that succeed as they should, and handshakes that fail as they should.

mod support;

use std::time::Duration;

use dtls_psk::{
    AlertDescription, CipherSuite, Config, ConfigField, Connection, Endpoint, Error, Instant, InvalidMessage,
    PeerMisbehaved, Psk, PskStore, Storage,
};
use rand_core::{TryCryptoRng, TryRng};

use support::craft::*;
use support::net::Direction;
use support::raw::RawClient;
use support::world::{AgainstRaw, Note, Small, World, path, psk};
use support::{IDENTITY, KEY, parse, seeded};

const CCM_8_ONLY: Config<'static> = support::DTLS12.with_suites(&[CipherSuite::Aes128Ccm8]);
const MINUTE: Duration = Duration::from_secs(60);

/// Without cookies, a client gets no more than three times what came from it (RFC 9147 §5.1). A longer flight comes in parts, for its
/// repeated hellos.
#[test]
fn a_flight_longer_than_three_hellos() {
    let config = support::DTLS12
        .with_suites(&[CipherSuite::Aes128Ccm8])
        .with_cookie_exchange(false)
        .with_identity_hint(&[b'h'; 128])
        .with_mtu(Config::MIN_MTU);
    let mut world = Small::with_config(1, config).with_usual(config);
    let client = world.client();
    let established = |world: &Small| world.clients[client].is_established();
    assert!(world.run_until(Duration::from_secs(2), established), "{:?}", world.clients[client].log);
    let sum = |direction| {
        let of_it = world.net.trace.iter().filter(|(_, packet)| packet.direction == direction);
        of_it.map(|(_, packet)| packet.bytes.len()).sum::<usize>()
    };
    assert!(sum(Direction::ToClient) <= 3 * sum(Direction::ToServer));
    assert_eq!(world.server.stats().retransmitted, 0, "the rest, and not the start again");
    world.assert_data_flows(client);
}

/// The least that a handshake costs on the air, byte by byte.
#[test]
fn bytes_of_each_flight() {
    let mut world = Small::with_config(1, CCM_8_ONLY);
    let client = world.client_with(CCM_8_ONLY, psk(IDENTITY, KEY), path(0));
    world.run_for(MINUTE);
    assert!(world.clients[client].is_established());
    let sent: Vec<_> =
        world.net.trace.iter().map(|(_, packet)| (packet.direction, packet.bytes.len())).collect();
    use Direction::{ToClient, ToServer};
    // The HelloVerifyRequest with its cookie of 16 bytes, and the hello that repeats it, come on top of the rest.
    let expected =
        [(ToServer, 75), (ToClient, 44), (ToServer, 75 + 16), (ToClient, 99), (ToServer, 95), (ToClient, 67)];
    assert_eq!(sent, expected);
    assert_eq!(75 + 99 + 95 + 67, 336);
    assert_eq!(world.server.handshakes(), 0);
    assert_eq!(world.server.stats(), Default::default(), "nothing was dropped or repeated");
    assert_eq!(world.clients[client].connection.stats(), Default::default());
    world.assert_data_flows(client);
}

/// The same with a peer that does not offer the extended master secret: 69, 95, 95 and 67 bytes, 326 in all, of which the
/// second and the last are ours.
#[test]
fn bytes_without_the_extended_master_secret() {
    let mut world = Small::with_config(1, CCM_8_ONLY);
    let mut raw = RawClient::new(IDENTITY, KEY, 1);
    raw.hello.extensions = None;
    let hello = raw.hello();
    assert_eq!(hello.len(), 69);
    let replies = world.hit(path(0), &hello);
    raw.follow(&replies);
    let hello = raw.hello();
    let flight = world.hit(path(0), &hello);
    assert_eq!(flight.iter().map(Vec::len).collect::<Vec<_>>(), [95]);
    raw.take_server_flight(&flight);
    raw.exchange_keys();
    let flight = raw.key_flight();
    let last = world.hit(path(0), &flight);
    assert_eq!((flight.len(), last[0].len(), last.len()), (95, 67, 1));
    raw.take_last_flight(&last);

    // A server without it: our hello offers it all the same, and our key exchange is as long.
    let mut against = AgainstRaw::with_config(1, CCM_8_ONLY);
    against.server.hello.extensions = Some(vec![(EXT_RENEGOTIATION_INFO, vec![0])]);
    let hello = against.client.transmit();
    against.server.take_hello(&hello);
    let flight = against.server.flight(None);
    let answer = against.hit(&flight);
    assert_eq!((hello[0].len(), flight.len(), answer[0].len(), answer.len()), (75, 95, 95, 1));
    against.server.take_key_flight(&answer);
    let last = against.server.last_flight();
    assert_eq!(last.len(), 67);
    against.hit(&last);
    against.assert_data_flows();
}

/// Per record: 29 bytes with CCM_8, 37 with the longer tags.
#[test]
fn every_suite() {
    for suite in support::suites12() {
        let config = support::DTLS12.with_suites(std::slice::from_ref(suite));
        let mut world = Small::with_config(2, config);
        let client = world.client_with(config, psk(IDENTITY, KEY), path(0));
        world.run_for(MINUTE);
        let peer = world.clients[client].connection.peer().unwrap();
        assert_eq!((peer.suite, peer.identity, peer.epoch), (*suite, IDENTITY, 1));
        let peer = world.server.peer(&path(0)).unwrap();
        assert_eq!((peer.suite, peer.identity, peer.epoch), (*suite, IDENTITY, 1));
        world.assert_data_flows(client);
        assert_eq!(world.clients[client].seal(b"").len(), 21 + suite.tag_len());
    }
}

/// Every suite against an independent client and an independent server, with and without the extended master secret.
#[test]
fn every_suite_with_an_independent_peer() {
    for suite in support::suites12() {
        for extensions in [Some(vec![(EXT_EMS, vec![])]), Some(vec![]), None] {
            let expected_ems = extensions.as_ref().is_some_and(|list| !list.is_empty());
            let mut world = Small::new(3);
            let mut raw = RawClient::new(IDENTITY, KEY, 3);
            raw.hello.suites = vec![0x002F, suite.number(), SCSV];
            raw.hello.extensions = extensions.clone();
            world.raw_handshake(path(0), &mut raw);
            assert_eq!(raw.side.suite, suite.number());
            assert_eq!(raw.side.extended_master_secret, expected_ems);
            world.assert_raw_data_flows(path(0), &mut raw);

            let mut against = AgainstRaw::new(3);
            against.server.hello.suite = suite.number();
            against.server.hello.extensions = extensions;
            against.establish();
            assert_eq!(against.client.connection.peer().unwrap().suite, *suite);
            against.assert_data_flows();
        }
    }
}

/// The server takes the first of its own suites that the client offers.
#[test]
fn the_server_chooses() {
    let mut world = Small::with_config(
        4,
        support::DTLS12.with_suites(&[CipherSuite::Aes128Ccm, CipherSuite::Aes128Ccm8]),
    );
    let client = world.client();
    world.run_for(MINUTE);
    assert_eq!(world.clients[client].connection.peer().unwrap().suite, CipherSuite::Aes128Ccm);
}

/// Identities of every length, with every byte value in them, and keys of every length.
#[test]
fn identities_and_keys_of_every_length() {
    for len in 0..=128_usize {
        // NUL, bytes that are no UTF-8, and everything else in turn.
        let identity: Vec<u8> = (0..len).map(|at| (at * 131 + len) as u8 & 0xFE).collect();
        let key: Vec<u8> = (0..1 + len % 64).map(|at| (at * 7 + len) as u8).collect();
        let mut world = Small::new(5);
        let one = psk(&identity, &key);
        world.keys.add(one);
        let client = world.client_with(support::DTLS12, one, path(0));
        world.run_for(MINUTE);
        assert_eq!(world.server.peer(&path(0)).map(|peer| peer.identity), Some(identity.as_slice()), "{len}");
        world.assert_data_flows(client);
    }
    // Against the independent key schedule as well, at the ends and where the premaster secret fills hash blocks.
    for len in [1, 2, 15, 16, 29, 30, 31, 32, 60, 63, 64] {
        let key = vec![0xA5; len];
        let mut world = Small::new(6);
        world.keys.add(psk(b"\0\xFF", &key));
        let mut raw = RawClient::new(b"\0\xFF", &key, 6);
        world.raw_handshake(path(0), &mut raw);
        world.assert_raw_data_flows(path(0), &mut raw);
    }
}

/// NUL is an ordinary byte: identities that agree up to one are not the same.
#[test]
fn identities_are_compared_in_full() {
    for (identity, wrong) in [(b"a\0b".as_slice(), b"a\0c".as_slice()), (b"a", b"a\0"), (b"", b"\0")] {
        let mut world = Small::new(7);
        world.keys.add(psk(identity, b"the key of this one"));
        let client = world.client_with(support::DTLS12, psk(wrong, b"the key of this one"), path(0));
        world.run_for(MINUTE);
        assert!(!world.clients[client].is_established());
        let client = world.client_with(support::DTLS12, psk(identity, b"the key of this one"), path(1));
        world.run_for(MINUTE);
        assert!(world.clients[client].is_established());
    }
}

/// An identity longer than any that this crate stores is unknown, and looks it.
#[test]
fn an_identity_that_is_too_long_is_unknown() {
    for len in [129, 255, 256, 300] {
        let mut world = Small::new(8);
        let mut raw = RawClient::new(&vec![b'x'; len], KEY, 8);
        world.raw_hello(path(0), &mut raw);
        let flight = raw.key_flight();
        assert!(world.hit(path(0), &flight).is_empty());
        let flight = raw.key_flight();
        let answer = world.hit(path(0), &flight);
        assert_eq!(parse::plain_alert(&answer[0]), Some((2, 51)), "decrypt_error");
        assert_eq!(world.server.handshakes(), 0);
    }
}

/// Whoever guesses the key that stands in for an unknown identity's gets no further. Here it has one byte, and every
/// byte is tried.
#[test]
fn the_stand_in_key_lets_nobody_in() {
    let store = psk(IDENTITY, b"k");
    assert_eq!(store.dummy_key_len(), 1);
    let mut world = Small::with_store(27, Box::leak(Box::new(store)));
    let refused = Note::Refused(PeerMisbehaved::WrongVerifyData.into());
    for n in 0..40 {
        let mut raw = RawClient::new(b"somebody else", b"k", n);
        let hello = raw.hello();
        let replies = world.hit(path(0), &hello);
        raw.follow(&replies);
        let hello = raw.hello();
        let flight = world.hit(path(0), &hello);
        raw.take_server_flight(&flight);
        // All of the keys in one handshake, each with a proof of its own.
        let mut proofs: Vec<Vec<u8>> = Vec::new();
        for key in 0..=255 {
            let mut guess = raw.clone();
            guess.side.key = vec![key];
            guess.exchange_keys();
            if key == 0 {
                let begin = [guess.key_exchange_record(), guess.change_cipher_spec_record()].concat();
                assert!(world.hit(path(0), &begin).is_empty());
            }
            proofs.push(guess.finished_record());
        }
        let answers: Vec<_> = proofs.iter().flat_map(|proof| world.hit(path(0), proof)).collect();
        // One of them was the one: without that, this test would show nothing.
        assert_eq!(world.log.last(), Some(&(path(0), refused.clone())), "handshake {n}");
        assert_eq!(answers.len(), 1);
        assert_eq!(parse::plain_alert(&answers[0]), Some((2, 51)));
        assert_eq!((world.server.handshakes(), world.server.sessions().count()), (0, 0));
    }
    // One key for each handshake, over many, as an attacker without a record layer of its own would.
    let mut guessed = 0;
    for n in 0..2_048 {
        let mut raw = RawClient::new(b"somebody else", &[n as u8], 1_000 + n);
        world.raw_hello(path(1), &mut raw);
        let told = world.log.len();
        for _ in 0..2 {
            let flight = raw.key_flight();
            world.hit(path(1), &flight);
        }
        guessed += world.log[told..].iter().filter(|(_, note)| *note == refused).count();
        assert_eq!(world.server.sessions().count(), 0);
    }
    assert!((1..64).contains(&guessed), "{guessed} of 2048 guesses at one byte were right");
    assert!(world.log.iter().all(|(_, note)| matches!(note, Note::Refused(_))), "never established");
    // Whoever is known gets in with as short a key.
    let mut raw = RawClient::new(IDENTITY, b"k", 27);
    world.raw_handshake(path(2), &mut raw);
    world.assert_raw_data_flows(path(2), &mut raw);
}

/// A store of the application's own, with keys that cannot be used.
struct BadStore(&'static [u8]);

impl PskStore for BadStore {
    fn with_key(&self, _: &[u8], lend: &mut dyn FnMut(&[u8])) {
        lend(self.0);
    }
}

/// A key of a length that no key may have is none.
#[test]
fn a_key_that_cannot_be_used_is_none() {
    for (key, usable) in
        [(&[][..], false), (&[7], true), (&[7; 64], true), (&[7; 65], false), (&[7; 999], false)]
    {
        let mut world = Small::with_store(28, Box::leak(Box::new(BadStore(key))));
        let mut raw = RawClient::new(IDENTITY, key, 28);
        world.raw_hello(path(0), &mut raw);
        if usable {
            let flight = raw.key_flight();
            let last = world.hit(path(0), &flight);
            raw.take_last_flight(&last);
            continue;
        }
        for _ in 0..2 {
            let flight = raw.key_flight();
            world.hit(path(0), &flight);
        }
        assert_eq!(
            world.log_of(path(0)),
            [Note::Refused(Error::AuthenticationFailed)],
            "{} bytes",
            key.len()
        );
    }
}

/// Sessions have names of their own across connections, endpoints and restarts.
#[test]
fn names_of_sessions() {
    let mut names = std::collections::HashSet::new();
    for seed in 0..20 {
        let mut world = Small::new(seed);
        for n in 0..3 {
            let client = world.established();
            assert!(names.insert(world.session_of(&path(n)).unwrap()));
            assert!(names.insert(world.clients[client].connection.peer().unwrap().session));
        }
    }
    assert_eq!(names.len(), 20 * 3 * 2);
}

#[test]
fn identity_hint() {
    for len in [0, 1, 128] {
        let hint: &'static [u8] = vec![b'h'; len].leak();
        let config = support::DTLS12.with_identity_hint(hint);
        let mut world = Small::with_config(9, config);
        let client = world.client();
        world.run_for(MINUTE);
        assert!(world.clients[client].is_established());
        world.assert_data_flows(client);
        let mut raw = RawClient::new(IDENTITY, KEY, 9);
        world.raw_handshake(path(1), &mut raw);
        assert_eq!(raw.hint.as_deref(), Some(hint));
        world.assert_raw_data_flows(path(1), &mut raw);
    }
    // Without one, the ServerKeyExchange is left out.
    let mut world = Small::new(9);
    let mut raw = RawClient::new(IDENTITY, KEY, 9);
    world.raw_handshake(path(1), &mut raw);
    assert_eq!(raw.hint, None);
    // And a client takes any that a server may send.
    for hint in [b"".as_slice(), b"hint", &[0xFF; 300]] {
        let mut against = AgainstRaw::new(9);
        against.hello();
        let flight = against.server.flight(Some(hint));
        let answer = against.hit(&flight);
        against.server.take_key_flight(&answer);
        let last = against.server.last_flight();
        against.hit(&last);
        against.assert_data_flows();
    }
}

/// RFC 5746 §3.6: the extension answers the signal and the extension, and is not sent to those who know neither.
#[test]
fn renegotiation_info() {
    let info = (EXT_RENEGOTIATION_INFO, vec![0]);
    for (suites, extensions, expected) in [
        (vec![CCM_8, SCSV], None, vec![EXT_RENEGOTIATION_INFO]),
        (vec![CCM_8], Some(vec![info.clone()]), vec![EXT_RENEGOTIATION_INFO]),
        (vec![CCM_8, SCSV], Some(vec![info.clone()]), vec![EXT_RENEGOTIATION_INFO]),
        (vec![CCM_8], None, vec![]),
        (vec![CCM_8], Some(vec![(EXT_EMS, vec![])]), vec![EXT_EMS]),
        // Extensions that nobody here knows are passed over.
        (
            vec![CCM_8],
            Some(vec![(0x1234, vec![1, 2, 3]), (EXT_EMS, vec![]), (0xFAFA, vec![])]),
            vec![EXT_EMS],
        ),
    ] {
        let mut world = Small::new(10);
        let mut raw = RawClient::new(IDENTITY, KEY, 10);
        raw.hello.suites = suites;
        raw.hello.extensions = extensions;
        world.raw_handshake(path(0), &mut raw);
        assert_eq!(raw.server_extension_types(), expected);
        world.assert_raw_data_flows(path(0), &mut raw);
    }
}

#[test]
fn a_required_extended_master_secret() {
    let config = support::DTLS12.with_required_extended_master_secret(true);
    let mut world = Small::with_config(11, config);
    let client = world.client();
    world.run_for(MINUTE);
    assert!(world.clients[client].is_established());

    let mut raw = RawClient::new(IDENTITY, KEY, 11);
    raw.hello.extensions = None;
    let answers = refused(&mut world, &mut raw);
    assert_eq!(answers, Some((2, 40)), "handshake_failure");
    let error = Error::PeerMisbehaved(PeerMisbehaved::NoExtendedMasterSecret);
    assert_eq!(world.log_of(path(1)), [Note::Refused(error)]);

    let mut against = AgainstRaw::with_config(11, config);
    against.hello();
    against.server.hello.extensions = None;
    let flight = against.server.flight(None);
    let answer = against.hit(&flight);
    assert_eq!(parse::plain_alert(&answer[0]), Some((2, 40)));
    assert_eq!(against.client.log, [Note::Failed(error)]);
}

/// Brings a hello with a good cookie to the server, which refuses it: the alert. Nothing may stay behind.
fn refused<const H: usize, const S: usize>(world: &mut World<H, S>, raw: &mut RawClient) -> Option<(u8, u8)> {
    let hello = raw.hello();
    let replies = world.hit(path(1), &hello);
    raw.follow(&replies);
    let hello = raw.hello();
    let answers = world.hit(path(1), &hello);
    assert_eq!(answers.len(), 1);
    assert!(answers[0].len() < hello.len());
    assert_eq!(world.server.handshakes(), 0, "no slot for a hello that cannot be served");
    assert_eq!(world.server.poll_timeout(), None);
    parse::plain_alert(&answers[0])
}

/// The one extension `renegotiation_info`, with these bytes in it.
fn renegotiation(info: &[u8]) -> Option<Vec<(u16, Vec<u8>)>> {
    Some(vec![(EXT_RENEGOTIATION_INFO, info.to_vec())])
}

#[test]
fn hellos_that_cannot_be_served() {
    type Case = (fn(&mut ClientHello), u8, Error);
    let cases: [Case; 12] = [
        (|hello| hello.suites = vec![0x002F, 0xC0AE, SCSV], 40, Error::NoCommonSuite),
        (|hello| hello.suites = vec![SCSV], 40, Error::NoCommonSuite),
        // DTLS 1.0 alone, and TLS numbers.
        (|hello| hello.version = DTLS10, 70, PeerMisbehaved::UnsupportedVersion.into()),
        (|hello| hello.version = [0xFE, 0xFE], 70, PeerMisbehaved::UnsupportedVersion.into()),
        (|hello| hello.version = [3, 3], 70, PeerMisbehaved::UnsupportedVersion.into()),
        (|hello| hello.version = [0, 0], 70, PeerMisbehaved::UnsupportedVersion.into()),
        (|hello| hello.compression = vec![1], 47, PeerMisbehaved::Compression.into()),
        (|hello| hello.random = [0; 32], 47, PeerMisbehaved::ZeroRandom.into()),
        // RFC 5746 §3.6: anything but an empty renegotiated_connection.
        (|hello| hello.extensions = renegotiation(&[1, 0]), 40, PeerMisbehaved::Renegotiation.into()),
        (|hello| hello.extensions = renegotiation(&[12; 13]), 40, PeerMisbehaved::Renegotiation.into()),
        (|hello| hello.extensions = renegotiation(&[1]), 40, PeerMisbehaved::Renegotiation.into()),
        (|hello| hello.extensions = renegotiation(&[]), 40, PeerMisbehaved::Renegotiation.into()),
    ];
    for (change, alert, error) in cases {
        let mut world = Small::new(12);
        let mut raw = RawClient::new(IDENTITY, KEY, 12);
        change(&mut raw.hello);
        assert_eq!(refused(&mut world, &mut raw), Some((2, alert)), "{error:?}");
        assert_eq!(world.log_of(path(1)), [Note::Refused(error)]);
        assert_eq!(world.server.stats().handshakes_failed, 1);
        world.assert_newcomer_gets_through();
    }
    // A newer version than 1.2 counts downwards, and 1.2 is what both speak.
    let mut world = Small::new(12);
    let mut raw = RawClient::new(IDENTITY, KEY, 12);
    raw.hello.version = [0xFE, 0xFC];
    raw.hello.compression = vec![1, 0];
    world.raw_handshake(path(0), &mut raw);
    world.assert_raw_data_flows(path(0), &mut raw);
}

#[test]
fn the_crates_own_client_without_a_common_suite() {
    let mut world = Small::with_config(13, support::DTLS12.with_suites(&[CipherSuite::Aes128Ccm]));
    let client = world.client_with(CCM_8_ONLY, psk(IDENTITY, KEY), path(0));
    world.run_for(MINUTE);
    // The alert is not authenticated: the client believes it at its next timeout.
    let error = Error::AlertReceived(AlertDescription::HANDSHAKE_FAILURE);
    assert_eq!(world.clients[client].log, [Note::Failed(error)]);
    assert_eq!(world.log_of(path(0)), [Note::Refused(Error::NoCommonSuite)]);
}

/// What a server may not answer.
#[test]
fn server_hellos_that_are_refused() {
    type Case = (fn(&mut ServerHello), u8, Error);
    let cases: [Case; 15] = [
        (|hello| hello.version = DTLS10, 70, PeerMisbehaved::UnsupportedVersion.into()),
        (|hello| hello.version = [0xFE, 0xFC], 70, PeerMisbehaved::UnsupportedVersion.into()),
        (|hello| hello.random = [0; 32], 47, PeerMisbehaved::ZeroRandom.into()),
        (|hello| hello.suite = 0xC0AE, 47, PeerMisbehaved::SelectedUnofferedSuite.into()),
        (|hello| hello.suite = SCSV, 47, PeerMisbehaved::SelectedUnofferedSuite.into()),
        // Known to the crate, but this client does not offer it.
        (|hello| hello.suite = CCM, 47, PeerMisbehaved::SelectedUnofferedSuite.into()),
        (|hello| hello.compression = 1, 47, PeerMisbehaved::Compression.into()),
        (|hello| hello.session_id = vec![7; 33], 50, InvalidMessage::IllegalLength.into()),
        (|hello| hello.extensions = Some(vec![(1, vec![2])]), 110, PeerMisbehaved::UnofferedExtension.into()),
        (
            |hello| hello.extensions.as_mut().unwrap().push((EXT_EMS, Vec::new())),
            50,
            InvalidMessage::DuplicateExtension.into(),
        ),
        (|hello| hello.extensions = Some(vec![(EXT_EMS, vec![0])]), 50, InvalidMessage::IllegalLength.into()),
        // RFC 5746 §3.4: anything but an empty renegotiated_connection.
        (|hello| hello.extensions = renegotiation(&[1, 0]), 40, PeerMisbehaved::Renegotiation.into()),
        (|hello| hello.extensions = renegotiation(&[24; 25]), 40, PeerMisbehaved::Renegotiation.into()),
        (|hello| hello.extensions = renegotiation(&[1]), 40, PeerMisbehaved::Renegotiation.into()),
        (|hello| hello.extensions = renegotiation(&[]), 40, PeerMisbehaved::Renegotiation.into()),
    ];
    for (change, alert, error) in cases {
        let mut against = AgainstRaw::with_config(14, CCM_8_ONLY);
        against.hello();
        change(&mut against.server.hello);
        let flight = against.server.flight(None);
        let answer = against.hit(&flight);
        assert_eq!(parse::plain_alert(&answer[0]), Some((2, alert)), "{error:?}");
        assert_eq!(answer.len(), 1);
        assert_eq!(against.client.log, [Note::Failed(error)]);
        assert_eq!(against.client.connection.poll_timeout(), None);
        assert_eq!(against.client.connection.stats().handshakes_failed, 1);
    }
    // A session id, and no renegotiation_info, are both allowed.
    let mut against = AgainstRaw::new(14);
    against.server.hello.session_id = vec![7; 32];
    against.server.hello.extensions = Some(vec![(EXT_EMS, Vec::new())]);
    against.establish();
    against.assert_data_flows();
}

/// A wrong key and an unknown identity: the same from outside, byte for byte and millisecond for millisecond.
#[test]
fn a_wrong_key_looks_like_an_unknown_identity() {
    let attempt = |identity: &[u8]| {
        let mut world = Small::new(15);
        let client = world.client_with(support::DTLS12, psk(identity, b"not the key"), path(0));
        world.run_for(MINUTE);
        assert_eq!(world.log_of(path(0)), [Note::Refused(Error::AuthenticationFailed)]);
        assert_eq!(world.server.handshakes(), 0);
        let error = Error::AlertReceived(AlertDescription::DECRYPT_ERROR);
        assert_eq!(world.clients[client].log, [Note::Failed(error)]);
        let outside: Vec<_> = world
            .net
            .trace
            .iter()
            .map(|(at, packet)| {
                let from_server = packet.direction == Direction::ToClient;
                (*at, packet.bytes.len(), from_server.then(|| packet.bytes.clone()))
            })
            .collect();
        assert_eq!(world.server.stats().forged, 2);
        world.assert_newcomer_gets_through();
        outside
    };
    assert_eq!(attempt(IDENTITY), attempt(b"?"));
}

/// The alert comes with the second flight that does not open, and no sooner; then the slot is free.
#[test]
fn decrypt_error_only_after_the_second_flight() {
    for identity in [IDENTITY, b"unknown"] {
        let mut world = Small::new(16);
        let mut raw = RawClient::new(identity, b"not the key", 16);
        world.raw_hello(path(0), &mut raw);
        let first = raw.key_flight();
        assert!(world.hit(path(0), &first).is_empty());
        // Records under the wrong key alone are not a second flight.
        for _ in 0..5 {
            let finished = raw.finished_record();
            assert!(world.hit(path(0), &finished).is_empty());
        }
        assert_eq!(world.server.handshakes(), 1);
        let second = raw.key_flight();
        let answer = world.hit(path(0), &second);
        assert_eq!(answer.len(), 1);
        assert_eq!(parse::plain_alert(&answer[0]), Some((2, 51)));
        assert_eq!(world.server.handshakes(), 0);
        assert_eq!(world.log_of(path(0)), [Note::Refused(Error::AuthenticationFailed)]);
        // A third one finds nobody.
        let third = raw.key_flight();
        assert!(world.hit(path(0), &third).is_empty());
    }
}

/// Somebody forges the first proof; the honest client's own is still good.
#[test]
fn a_forged_proof_does_not_end_the_handshake() {
    let mut world = Small::new(17);
    let mut raw = RawClient::new(IDENTITY, KEY, 17);
    world.raw_hello(path(0), &mut raw);
    let early = [raw.key_exchange_record(), raw.change_cipher_spec_record()].concat();
    world.hit(path(0), &early);
    let forged = record(HANDSHAKE, 1, 0, &[0x55; 40]);
    assert!(world.hit(path(0), &forged).is_empty());
    let flight = raw.key_flight();
    let last = world.hit(path(0), &flight);
    raw.take_last_flight(&last);
    world.assert_raw_data_flows(path(0), &mut raw);
}

/// The network damages the client's flight, and then copies it: that is one failed flight, not two.
#[test]
fn a_copy_of_a_damaged_flight_does_not_end_the_handshake() {
    let mut world = Small::new(26);
    let mut raw = RawClient::new(IDENTITY, KEY, 26);
    world.raw_hello(path(0), &mut raw);
    let mut damaged = raw.key_flight();
    *damaged.last_mut().unwrap() ^= 1;
    for _ in 0..5 {
        assert!(world.hit(path(0), &damaged).is_empty());
    }
    assert_eq!(world.server.handshakes(), 1);
    let flight = raw.key_flight();
    let last = world.hit(path(0), &flight);
    raw.take_last_flight(&last);
    world.assert_raw_data_flows(path(0), &mut raw);
}

/// A client remembers an alert that nobody authenticated, and believes it at its next timeout, unless the server goes on.
#[test]
fn an_unauthenticated_alert_ends_a_handshake_at_the_next_timeout_only() {
    // Before the ServerHello, after it, and while waiting for the Finished.
    for stage in 0..3 {
        for (alert, ends) in
            [([2, 51], true), ([2, 40], true), ([1, 0], true), ([1, 90], false), ([1, 100], false)]
        {
            let mut against = AgainstRaw::new(18);
            let messages = match stage {
                0 => {
                    against.hello();
                    Vec::new()
                }
                1 => {
                    against.hello();
                    let messages = against.server.flight_messages(None);
                    let hello = against.server.side.plain(HANDSHAKE, &messages[0]);
                    against.hit(&hello);
                    messages
                }
                _ => {
                    against.key_exchange();
                    Vec::new()
                }
            };
            let alert_record = against.server.side.plain(ALERT, &alert);
            assert!(against.hit(&alert_record).is_empty(), "not answered");
            assert_eq!(against.client.log, [], "not believed yet");

            // The server goes on: the alert was not from it.
            if stage == 1 {
                let done = against.server.side.plain(HANDSHAKE, &messages[1]);
                let answer = against.hit(&done);
                against.server.take_key_flight(&answer);
            }
            if stage > 0 {
                let last = against.server.last_flight();
                against.hit(&last);
                against.assert_data_flows();
                continue;
            }
            // Nobody goes on.
            let sent = against.pass(Duration::from_millis(1_000));
            let error = Error::AlertReceived(AlertDescription(alert[1]));
            if ends {
                assert_eq!(against.client.log, [Note::Failed(error)]);
                assert!(sent.is_empty(), "nothing more is said");
            } else {
                assert_eq!(against.client.log, []);
                assert_eq!(sent.len(), 1, "the hello is sent again");
            }
        }
    }
}

/// The same at the server: a forged alert costs a handshake that goes on nothing.
#[test]
fn an_unauthenticated_alert_does_not_end_a_servers_handshake_that_goes_on() {
    let mut world = Small::new(19);
    let mut raw = RawClient::new(IDENTITY, KEY, 19);
    world.raw_hello(path(0), &mut raw);
    world.hit(path(0), &record(ALERT, 0, 77, &[2, 40]));
    assert_eq!(world.server.handshakes(), 1);
    let flight = raw.key_flight();
    let last = world.hit(path(0), &flight);
    raw.take_last_flight(&last);
    world.assert_raw_data_flows(path(0), &mut raw);

    // One that does not go on ends with the alert at the next timeout, and its slot is free.
    let mut raw = RawClient::new(IDENTITY, KEY, 20);
    world.raw_hello(path(1), &mut raw);
    world.hit(path(1), &record(ALERT, 0, 77, &[2, 40]));
    world.run_for(Duration::from_millis(1_000));
    let error = Error::AlertReceived(AlertDescription::HANDSHAKE_FAILURE);
    assert_eq!(world.log_of(path(1)), [Note::Refused(error)]);
    assert_eq!(world.server.handshakes(), 0);
}

/// Each kind of silence is an error of its own.
#[test]
fn silence() {
    let mut nothing = AgainstRaw::new(21);
    nothing.hello();
    nothing.pass(MINUTE);
    assert_eq!(nothing.client.log, [Note::Failed(Error::NoAnswer)]);

    let mut after_cookie = AgainstRaw::new(21);
    after_cookie.hello();
    let request = after_cookie.server.hello_verify_request(DTLS10, b"cookie");
    after_cookie.hit(&request);
    after_cookie.pass(MINUTE);
    assert_eq!(after_cookie.client.log, [Note::Failed(Error::HandshakeTimeout)]);

    let mut half_a_flight = AgainstRaw::new(21);
    half_a_flight.hello();
    let messages = half_a_flight.server.flight_messages(None);
    let hello = half_a_flight.server.side.plain(HANDSHAKE, &messages[0]);
    half_a_flight.hit(&hello);
    half_a_flight.pass(MINUTE);
    assert_eq!(half_a_flight.client.log, [Note::Failed(Error::HandshakeTimeout)]);

    let mut after_key_exchange = AgainstRaw::new(21);
    after_key_exchange.key_exchange();
    after_key_exchange.pass(MINUTE - Duration::from_millis(1));
    assert_eq!(after_key_exchange.client.log, []);
    after_key_exchange.pass(Duration::from_millis(1));
    assert_eq!(after_key_exchange.client.log, [Note::Failed(Error::NoAnswerToKeyExchange)]);
    assert_eq!(after_key_exchange.client.connection.poll_timeout(), None);
}

/// A server gives up at its deadline whatever state the client left it in.
#[test]
fn silent_clients() {
    let mut world = Small::new(22);
    let mut hello_only = RawClient::new(IDENTITY, KEY, 1);
    world.raw_hello(path(0), &mut hello_only);
    let mut key_exchange_only = RawClient::new(IDENTITY, KEY, 2);
    world.raw_hello(path(1), &mut key_exchange_only);
    let key_exchange = key_exchange_only.key_exchange_record();
    world.hit(path(1), &key_exchange);
    let mut wrong_key = RawClient::new(IDENTITY, b"wrong", 3);
    world.raw_hello(path(2), &mut wrong_key);
    let flight = wrong_key.key_flight();
    world.hit(path(2), &flight);
    assert_eq!(world.server.handshakes(), 3);
    world.run_for(MINUTE - Duration::from_millis(1));
    assert_eq!(world.server.handshakes(), 3);
    world.run_for(Duration::from_millis(1));
    assert_eq!(world.server.handshakes(), 0);
    assert_eq!(world.log_of(path(0)), [Note::Refused(Error::HandshakeTimeout)]);
    assert_eq!(world.log_of(path(1)), [Note::Refused(Error::HandshakeTimeout)]);
    assert_eq!(world.log_of(path(2)), [Note::Refused(Error::AuthenticationFailed)]);
    assert_eq!(world.server.stats().handshakes_failed, 3);
    assert_eq!(world.server.poll_timeout(), None);
}

/// A failed association says so once, and then nothing more, whatever still comes.
#[test]
fn a_failed_client_stays_silent() {
    let mut against = AgainstRaw::new(23);
    against.hello();
    against.server.hello.compression = 1;
    let flight = against.server.flight(None);
    let answer = against.hit(&flight);
    assert_eq!(answer.len(), 1, "one alert");
    assert_eq!(against.client.log.len(), 1);
    for _ in 0..3 {
        let again = against.server.side.clone();
        let late = record(
            HANDSHAKE,
            0,
            again.plain_seq + 5,
            &message(SERVER_HELLO, 0, &against.server.hello.body()),
        );
        assert!(against.hit(&late).is_empty(), "no second alert");
    }
    assert_eq!(against.client.log.len(), 1, "no second failure: {:?}", against.client.log);
    assert_eq!(against.client.connection.stats().handshakes_failed, 1);
    assert_eq!(against.client.connection.handle_timeout(against.now + 2 * MINUTE), Ok(()), "nothing is due");
    assert_eq!(against.client.connection.send(b"x", &mut [0; 100]), Err(Error::NotConnected));
}

/// The same after it gave up for silence.
#[test]
fn a_client_that_gave_up_stays_silent() {
    let mut against = AgainstRaw::new(24);
    against.hello();
    against.pass(MINUTE);
    assert_eq!(against.client.log, [Note::Failed(Error::NoAnswer)]);
    let late = against.server.flight(None);
    assert!(against.hit(&late).is_empty());
    assert_eq!(against.client.log.len(), 1);
    assert_eq!(against.client.connection.stats().handshakes_failed, 1);
}

struct BadRng(Option<u8>);

impl TryRng for BadRng {
    type Error = std::io::Error;

    fn try_next_u32(&mut self) -> Result<u32, Self::Error> {
        let mut bytes = [0; 4];
        self.try_fill_bytes(&mut bytes).map(|()| u32::from_ne_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, Self::Error> {
        let mut bytes = [0; 8];
        self.try_fill_bytes(&mut bytes).map(|()| u64::from_ne_bytes(bytes))
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Self::Error> {
        out.fill(self.0.ok_or(std::io::ErrorKind::Other)?);
        Ok(())
    }
}

impl TryCryptoRng for BadRng {}

/// A generator that fails, or gives zeros, is an error and never a weak key.
#[test]
fn bad_random_number_generators() {
    let config = support::DTLS12;
    let one = Psk::new(IDENTITY, KEY).unwrap();
    for mut rng in [BadRng(None), BadRng(Some(0))] {
        let client = Connection::client(&config, &one, &mut rng, Instant::ZERO);
        assert_eq!(client.err(), Some(Error::RandomFailed));
        let mut storage = Storage::<2, 2>::new();
        let server = Endpoint::new(&config, &one, &mut storage, &mut rng);
        assert_eq!(server.err(), Some(Error::RandomFailed));

        // Later, at a running server: no slot, no answer, and the client's next hello finds a generator that works.
        let mut world = Small::new(25);
        let mut raw = RawClient::new(IDENTITY, KEY, 25);
        let hello = raw.hello();
        let replies = world.hit(path(0), &hello);
        raw.follow(&replies);
        let mut hello = raw.hello();
        let events: Vec<Note> =
            world.server.receive(&mut hello, path(0), &mut rng, world.now).map(Note::from).collect();
        assert_eq!(events, [Note::Refused(Error::RandomFailed)]);
        assert_eq!(world.server.handshakes(), 0);
        assert!(world.answers(path(0)).is_empty());
        let flight = world.hit(path(0), &hello);
        raw.take_server_flight(&flight);
        raw.exchange_keys();
        let flight = raw.key_flight();
        let last = world.hit(path(0), &flight);
        raw.take_last_flight(&last);
    }
}

#[test]
fn every_field_of_a_config_is_checked() {
    const MS: Duration = Duration::from_millis(1);
    const S: Duration = Duration::from_secs(1);
    let suites = support::suites12();
    let one = support::DTLS12.with_suites(&[CipherSuite::Aes128Ccm8]);
    let long = [b'h'; 129];
    // Ephemeral keys come with groups and point formats.
    let groups = if cfg!(feature = "x25519") { 14 } else { 0 };
    let per_suite = Config::MIN_MTU + groups + 2 * (suites.len() - 1);
    for (config, expected) in [
        (support::DTLS12, None),
        (Config::coap().with_versions(&[dtls_psk::ProtocolVersion::Dtls12]), None),
        (support::DTLS12.with_suites(&[]), Some(ConfigField::Suites)),
        (
            support::DTLS12.with_suites(&[
                CipherSuite::Aes128Ccm,
                CipherSuite::Aes128Ccm8,
                CipherSuite::Aes128Ccm,
            ]),
            Some(ConfigField::Suites),
        ),
        (one.with_mtu(Config::MIN_MTU), None),
        (one.with_mtu(Config::MIN_MTU - 1), Some(ConfigField::Mtu)),
        (one.with_mtu(0), Some(ConfigField::Mtu)),
        (support::DTLS12.with_mtu(per_suite), None),
        (support::DTLS12.with_mtu(per_suite - 1), Some(ConfigField::Mtu)),
        (one.with_mtu(65_535), None),
        (one.with_mtu(65_536), Some(ConfigField::Mtu)),
        (one.with_mtu(usize::MAX), Some(ConfigField::Mtu)),
        (one.with_retransmission(MS, MS), None),
        (one.with_retransmission(Duration::ZERO, S), Some(ConfigField::Retransmission)),
        (one.with_retransmission(Duration::from_micros(999), S), Some(ConfigField::Retransmission)),
        (one.with_retransmission(S, MS), Some(ConfigField::Retransmission)),
        (one.with_handshake_timeout(S), None),
        (one.with_handshake_timeout(S - MS), Some(ConfigField::HandshakeTimeout)),
        (one.with_identity_hint(&long[1..]), None),
        (one.with_identity_hint(&long), Some(ConfigField::IdentityHint)),
    ] {
        let expected = expected.map(Error::InvalidConfig);
        assert_eq!(config.validate().err(), expected, "{config:?}");
        let key = psk(IDENTITY, KEY);
        assert_eq!(Connection::client(&config, &key, &mut seeded(1), Instant::ZERO).err(), expected);
        let mut storage = Storage::<1, 1>::new();
        // An endpoint sends no hello, so that its MTU need not hold one.
        let expected = expected.filter(|_| config.mtu() < Config::MIN_MTU || config.mtu() != per_suite - 1);
        assert_eq!(Endpoint::new(&config, &key, &mut storage, &mut seeded(1)).err(), expected);
    }
    assert_eq!(Psk::new(&[0; 129], b"k").err(), Some(Error::IdentityTooLong));
    assert_eq!(Psk::new(b"i", &[0; 65]).err(), Some(Error::KeyTooLong));
    assert_eq!(Psk::new(b"i", b"").err(), Some(Error::EmptyKey));
    assert!(Psk::new(&[0; 128], &[0; 64]).is_ok());
}
