//! Resumption by session id and by ticket: who is resumed, who is not, and that nobody is harmed by an attempt.
#![cfg(feature = "resumption")]

mod support;

use std::time::Duration;

use dtls_psk::{AlertDescription, Config, Error, HostLookup, PeerMisbehaved, PskStore};

use support::craft::*;
use support::net::Conditions;
use support::raw::{RawClient, client_extensions, reassemble};
use support::resumed::*;
use support::world::{AgainstRaw, Note, Small, leak, path, psk};
use support::{IDENTITY, KEY, parse};

/// Our server against an independent client, over and over, each time with keys of its own.
#[test]
fn an_independent_client_resumes() {
    let (mut world, first, id) = remembered(2);
    let mut keys = vec![first.side.write.as_ref().unwrap().key];
    for at in 1..5 {
        let mut raw = asking_for(&id, 200 + at as u64);
        let flight = ask(&mut world, &mut raw, at);
        assert!(!is_full(&flight, &id));
        assert_eq!(raw.take_resumption(&flight, &first.side.master), None);
        assert_eq!(world.server.peer(&path(at)), None, "not before its Finished");
        let last = raw.short_flight();
        assert!(world.hit(path(at), &last).is_empty());
        assert_eq!(world.log.last(), Some(&(path(at), Note::Established)));
        world.assert_raw_data_flows(path(at), &mut raw);
        keys.push(raw.side.write.as_ref().unwrap().key);
    }
    keys.sort_unstable();
    keys.dedup();
    assert_eq!(keys.len(), 5);
}

/// Our client against an independent server, by id and by ticket, with a new ticket and without.
#[test]
fn our_client_resumes_with_an_independent_server() {
    for by_ticket in [false, true] {
        let cache = cache();
        let mut against = AgainstRaw::with_config(3, with(cache));
        against.hello();
        let (id, ticket) = (vec![7; 20], vec![9; 150]);
        if by_ticket {
            against.server.hello.extensions.as_mut().unwrap().push((EXT_SESSION_TICKET, vec![]));
        } else {
            against.server.hello.session_id = id.clone();
        }
        let flight = against.server.flight(None);
        let answer = against.hit(&flight);
        if by_ticket {
            let message = against.server.take_key_flight_with_ticket(&answer, &ticket);
            assert!(against.hit(&message).is_empty());
        } else {
            against.server.take_key_flight(&answer);
        }
        let last = against.server.last_flight();
        against.hit(&last);
        against.assert_data_flows();
        let master = against.server.side.master.clone();

        for (round, new_ticket) in [(1, None), (2, Some([3; 90])), (3, None)] {
            let mut again = AgainstRaw::with_config(30 + round, with(cache));
            let hello = again.client.transmit();
            let message = again.server.take_hello(&hello);
            let offered_id = message.body[35..][..usize::from(message.body[34])].to_vec();
            let offered = extension(&client_extensions(&message.body), EXT_SESSION_TICKET).unwrap();
            if by_ticket {
                let expected = if round == 3 { vec![3; 90] } else { ticket.clone() };
                assert_eq!((offered, offered_id.len()), (expected, 32), "an id of its own");
            } else if round < 3 {
                assert_eq!((offered, &offered_id), (vec![], &id));
            }
            again.server.hello.session_id = offered_id;
            if new_ticket.is_some() {
                again.server.hello.extensions.as_mut().unwrap().push((EXT_SESSION_TICKET, vec![]));
            }
            let flight = again.server.resumption(&master, new_ticket.as_ref().map(|ticket| &ticket[..]));
            let last = again.hit(&flight);
            again.server.take_short_flight(&last);
            assert!(again.client.connection.peer().unwrap().resumed);
            again.assert_data_flows();
            // The server has lost the last flight, and repeats its own: it gets it again.
            let repeated = again.server.finished_record();
            let last = again.hit(&repeated);
            assert_eq!(again.server.side.open(&last).len(), 1);
            again.assert_data_flows();
        }
    }
}

/// Whatever the network does, both ends finish and agree, resumed or not.
#[test]
fn through_a_bad_network() {
    let (mut resumed, patient) = (0, Duration::from_secs(100_000));
    for seed in 0..100 {
        let (servers, clients) = (cache(), cache());
        let config = |cache| with(cache).with_handshake_timeout(patient);
        let mut world = Small::with_config(seed, config(servers));
        world.net.conditions =
            Conditions { loss: 0.4, duplicate: 0.2, reorder: 0.2, delay: 5..=200, ..Conditions::PERFECT };
        for at in 0..3 {
            let client = world.client_with(config(clients), psk(IDENTITY, KEY), path(at));
            let both = |world: &Small| {
                world.clients[client].is_established() && world.server.peer(&path(at)).is_some()
            };
            assert!(world.run_until(patient, both), "seed {seed}: {:?}", world.clients[client].log);
            let (ours, theirs) = (world.clients[client].connection.peer(), world.server.peer(&path(at)));
            assert_eq!(ours.unwrap().resumed, theirs.unwrap().resumed);
            resumed += usize::from(ours.unwrap().resumed);
        }
        world.net.conditions = Conditions::PERFECT;
        world.run_for(Duration::from_secs(200));
        for at in 0..3 {
            world.assert_data_flows(at);
        }
        assert_eq!(world.server.handshakes(), 0);
    }
    assert_eq!(resumed, 200, "all but each first one");
}

/// Who cannot be resumed takes the long way, without an error.
#[test]
fn the_long_way() {
    let (mut world, first, id) = remembered(4);
    let long_way = |world: &mut Small, mut raw: RawClient, at: usize| {
        let flight = ask(world, &mut raw, at);
        assert!(is_full(&flight, &id), "{at}");
        raw.take_server_flight(&flight);
        raw.exchange_keys();
        let flight = raw.key_flight();
        let last = world.hit(path(at), &flight);
        raw.take_last_flight(&last);
        world.assert_raw_data_flows(path(at), &mut raw);
    };
    for other in [vec![1; 32], vec![2; 1], id[..31].to_vec()] {
        long_way(&mut world, asking_for(&other, 40 + other.len() as u64), other.len());
    }
    // A suite that the client does not offer any more, or the server does not want.
    let mut raw = asking_for(&id, 5);
    raw.hello.suites = vec![CCM, SCSV];
    let flight = ask(&mut world, &mut raw, 5);
    assert_eq!(parse::plain_alert(&flight[0]), Some((2, 40)), "CCM_8 alone is configured");
    // The key has changed, or the identity is gone: that is looked up again, and the session is forgotten.
    world.keys.take_out(IDENTITY);
    world.keys.add(psk(IDENTITY, b"another key"));
    let mut raw = RawClient::new(IDENTITY, b"another key", 6);
    raw.hello.session_id = id.clone();
    long_way(&mut world, raw, 6);
    world.keys.take_out(IDENTITY);
    world.keys.add(psk(IDENTITY, KEY));
    long_way(&mut world, asking_for(&id, 7), 7);
    drop(first);

    // Sessions without the extended master secret are not kept.
    let mut raw = RawClient::new(IDENTITY, KEY, 8);
    raw.hello.extensions = None;
    let flight = ask(&mut world, &mut raw, 8);
    assert_eq!(RawClient::session_id_of(&flight), Vec::<u8>::new());
}

/// A session that has the extended master secret is not resumed without it (RFC 7627 §5.3), and nobody is harmed.
#[test]
fn the_extended_master_secret() {
    let (mut world, mut first, id) = remembered(9);
    let mut raw = asking_for(&id, 9);
    raw.hello.extensions = None;
    let answer = ask(&mut world, &mut raw, 1);
    assert_eq!(parse::plain_alert(&answer[0]), Some((2, 40)));
    let refused = Note::Refused(PeerMisbehaved::NoExtendedMasterSecret.into());
    assert_eq!(world.log.last(), Some(&(path(1), refused)));
    world.assert_raw_data_flows(path(0), &mut first);
    // It can be resumed still.
    let mut raw = asking_for(&id, 10);
    let flight = ask(&mut world, &mut raw, 2);
    raw.take_resumption(&flight, &first.side.master);

    // And the client's side of it.
    for (extensions, suite, alert) in [
        (vec![(EXT_RENEGOTIATION_INFO, vec![0])], CCM_8, 40),
        (vec![(EXT_EMS, vec![])], CCM, 47),
        (vec![(EXT_EMS, vec![]), (EXT_EMS, vec![])], CCM_8, 50),
    ] {
        let cache = cache();
        let config = support::DTLS12.with_resumption(cache);
        let mut against = kept_by_client(config, b"id of it");
        let mut again = AgainstRaw::with_config(11, config);
        again.hello();
        again.server.hello.session_id = b"id of it".to_vec();
        again.server.hello.extensions = Some(extensions);
        again.server.hello.suite = suite;
        let flight = again.server.resumption(&against.server.side.master.clone(), None);
        let answer = again.hit(&flight);
        assert_eq!(parse::plain_alert(&answer[0]), Some((2, alert)));
        assert!(matches!(again.client.log.as_slice(), [Note::Failed(_)]));
        against.assert_data_flows();
    }
}

/// When a resumed handshake fails, the client forgets the session and takes the long way. Silence alone says nothing.
#[test]
fn a_failed_resumption_is_not_tried_again() {
    // A server whose Finished is wrong, one that refuses, one that is silent after its hello, one that never answers.
    for (case, forgotten) in [("forged", true), ("refused", true), ("half", true), ("silent", false)] {
        let cache = cache();
        let config = with(cache).with_handshake_timeout(Duration::from_secs(30));
        let against = kept_by_client(config, b"some id");
        let master = against.server.side.master.clone();
        assert_eq!(count(cache, against.now), 1);
        let mut again = AgainstRaw::with_config(13, config);
        again.hello();
        again.server.hello.session_id = b"some id".to_vec();
        match case {
            "forged" => {
                let mut flight = again.server.resumption(&master, None);
                again.server.side.transcript.push(1);
                let end = flight.len() - 67 + 14;
                flight.truncate(end);
                let wrong = craft_finished(&mut again);
                flight.extend(wrong);
                let answer = again.hit(&flight);
                assert_eq!(parse::plain_alert(&answer[0]), Some((2, 51)), "it has not changed keys yet");
            }
            "refused" => {
                let alert = again.server.side.plain(ALERT, &[2, 40]);
                again.hit(&alert);
            }
            "half" => {
                let mut flight = again.server.resumption(&master, None);
                flight.truncate(flight.len() - 67);
                again.hit(&flight);
            }
            _ => {}
        }
        again.pass(Duration::from_secs(31));
        assert!(matches!(again.client.log.as_slice(), [Note::Failed(_)]), "{case}: {:?}", again.client.log);
        assert_eq!(count(cache, again.now), usize::from(!forgotten), "{case}");
    }
}

/// A Finished that proves nothing, under the right keys.
fn craft_finished(against: &mut AgainstRaw) -> Vec<u8> {
    let message = message(FINISHED, 1, &[9; 12]);
    against.server.side.seal(HANDSHAKE, &message)
}

/// Someone has seen the id go by, and tries it from an address of his own: nothing comes of it, for anybody.
#[test]
fn a_stolen_id() {
    let (mut world, mut first, id) = remembered(17);
    for at in 1..4 {
        let mut thief = asking_for(&id, 170 + at as u64);
        let flight = ask(&mut world, &mut thief, at);
        assert!(!is_full(&flight, &id));
        thief.take_resumption(&flight, &first.side.master);
        // He does not have the master secret, so what he sends is not the Finished.
        let forged = record(HANDSHAKE, 1, 0, &[5; 40]);
        let guess = [thief.change_cipher_spec_record(), forged].concat();
        world.hit(path(at), &guess);
        let plain = record(HANDSHAKE, 0, 9, &message(FINISHED, 2, &[1; 12]));
        assert!(world.hit(path(at), &plain).is_empty());
        assert_eq!(world.server.peer(&path(at)), None);
        world.assert_raw_data_flows(path(0), &mut first);
    }
    world.run_for(Duration::from_secs(301));
    assert_eq!(world.server.handshakes(), 0);
    world.assert_raw_data_flows(path(0), &mut first);
    // Whose id it is can still be resumed, and beside its own session, which goes on until then.
    let mut raw = asking_for(&id, 18);
    let flight = ask(&mut world, &mut raw, 0);
    raw.take_resumption(&flight, &first.side.master);
    world.assert_raw_data_flows(path(0), &mut first);
    let last = raw.short_flight();
    world.hit(path(0), &last);
    world.assert_raw_data_flows(path(0), &mut raw);
    assert_eq!(world.server.sessions().count(), 1);
    // A copy of its hello that comes late is no new one.
    let told = world.log.len();
    let hello = raw.hello.datagram(1, 1);
    assert!(world.hit(path(0), &hello).is_empty());
    assert_eq!((world.log.len(), world.server.handshakes()), (told, 0));
}

/// Nothing is looked up before the cookie is good, and a repeated hello gets the same answer again.
#[test]
fn cookies_and_repeated_hellos() {
    let (mut world, first, id) = remembered(19);
    let mut raw = asking_for(&id, 19);
    let hello = raw.hello();
    let replies = world.hit(path(1), &hello);
    assert_eq!(parse::message_types(&replies), [HELLO_VERIFY_REQUEST]);
    assert_eq!(world.server.handshakes(), 0);
    raw.follow(&replies);
    let hello = raw.hello();
    let flight = world.hit(path(1), &hello);
    world.run_for(Duration::from_millis(250));
    let again = world.hit(path(1), &hello);
    let messages = |flight: &[Vec<u8>]| reassemble(flight);
    assert_eq!(messages(&flight), messages(&again), "the same bytes");
    assert_ne!(flight, again, "under fresh record numbers");
    raw.take_resumption(&again, &first.side.master);
    let last = raw.short_flight();
    world.hit(path(1), &last);
    world.assert_raw_data_flows(path(1), &mut raw);
}

/// Another name than before means a full handshake (RFC 6066 §3).
#[test]
fn another_server_name() {
    struct Hosts;
    impl PskStore for Hosts {
        fn with_key(&self, _: &[u8], lend: &mut dyn FnMut(&[u8])) {
            lend(KEY);
        }
        fn host(&self, server_name: &[u8]) -> HostLookup {
            HostLookup::Found(server_name.len() as u16)
        }
    }
    let clients = cache();
    let mut world = Small::with_store(20, &Hosts);
    let config = leak(with(cache()));
    world.server = dtls_psk::Endpoint::new(config, &Hosts, leak_storage(), &mut support::seeded(20)).unwrap();
    for (at, (name, resumed)) in
        [("a", false), ("a", true), ("bb", false), ("bb", true)].into_iter().enumerate()
    {
        let client = world.client_with(with(clients).with_server_name(name), psk(IDENTITY, KEY), path(at));
        world.run_for(Duration::from_secs(1));
        assert_eq!(world.clients[client].connection.peer().map(|peer| peer.resumed), Some(resumed), "{name}");
    }
}

fn leak_storage() -> &'static mut dtls_psk::Storage<4, 8> {
    Box::leak(Box::new(dtls_psk::Storage::new()))
}

/// A session that failed is not resumed (RFC 5246 §7.2.2), on either side.
#[test]
fn fatal_alerts_forget() {
    let (mut world, mut first, id) = remembered(21);
    let fatal = first.side.seal(ALERT, &[2, 80]);
    world.hit(path(0), &fatal);
    assert_eq!(world.log.last(), Some(&(path(0), Note::Failed(Error::AlertReceived(AlertDescription(80))))));
    let mut raw = asking_for(&id, 21);
    let flight = ask(&mut world, &mut raw, 1);
    assert!(is_full(&flight, &id));

    let cache = cache();
    let mut against = kept_by_client(with(cache), b"id");
    let goodbye = against.server.side.seal(ALERT, &[1, 0]);
    against.hit(&goodbye);
    assert_eq!(count(cache, against.now), 1, "a goodbye is none");
    let mut against = kept_by_client(with(cache), b"another");
    let fatal = against.server.side.seal(ALERT, &[2, 80]);
    against.hit(&fatal);
    assert_eq!(count(cache, against.now), 0, "nor is that of before, which the server did not take");
}

/// Ids that are too long, and that of another identity.
#[test]
fn ids_that_are_none() {
    let (mut world, mut first, id) = remembered(30);
    let mut raw = asking_for(&[id.clone(), vec![1]].concat(), 30);
    let hello = raw.hello();
    assert!(world.hit(path(1), &hello).is_empty(), "33 bytes");
    assert_eq!(world.server.stats().dropped, 1);
    // Another identity's id: whoever has no more than that is at its end here, whatever keys it holds itself.
    world.keys.add(psk(b"mallory", b"mallory's own key"));
    let mut mallory = RawClient::new(b"mallory", b"mallory's own key", 31);
    mallory.hello.session_id = id.clone();
    let flight = ask(&mut world, &mut mallory, 2);
    assert!(!is_full(&flight, &id));
    mallory.take_resumption(&flight, &first.side.master);
    mallory.exchange_keys();
    let flight = mallory.key_flight();
    assert!(world.hit(path(2), &flight).is_empty());
    assert_eq!(world.server.peer(&path(2)), None);
    world.assert_raw_data_flows(path(0), &mut first);

    // A server that gives the session a name of 33 bytes.
    let mut against = AgainstRaw::with_config(32, with(cache()));
    against.hello();
    against.server.hello.session_id = vec![1; 33];
    let flight = against.server.flight(None);
    let answer = against.hit(&flight);
    assert!(matches!(parse::plain_alert(&answer[0]), Some((2, 47 | 50))));
}

/// Without a wish for it, not a byte of it is on the wire.
#[test]
fn off_by_default() {
    let mut world = Small::new(24);
    let mut raw = asking_for(&[1; 32], 24);
    let flight = ask(&mut world, &mut raw, 0);
    assert_eq!(RawClient::session_id_of(&flight), Vec::<u8>::new());
    let mut against =
        AgainstRaw::with_config(24, Config::coap().with_versions(&[dtls_psk::ProtocolVersion::Dtls12]));
    let hello = against.client.transmit();
    assert_eq!(hello[0].len(), 75);
    // A server that names its session all the same, or announces a ticket that nobody asked for.
    against.server.take_hello(&hello);
    against.server.hello.session_id = vec![1; 32];
    let flight = against.server.flight(None);
    let answer = against.hit(&flight);
    against.server.take_key_flight(&answer);
    let mut against =
        AgainstRaw::with_config(25, Config::coap().with_versions(&[dtls_psk::ProtocolVersion::Dtls12]));
    against.server.hello.extensions.as_mut().unwrap().push((EXT_SESSION_TICKET, vec![]));
    against.hello();
    let flight = against.server.flight(None);
    let answer = against.hit(&flight);
    assert_eq!(parse::plain_alert(&answer[0]), Some((2, 110)));
}
