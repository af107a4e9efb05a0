//! Tickets (RFC 5077): when a client takes one, keeps it and shows it.
#![cfg(feature = "resumption")]

mod support;

use std::time::Duration;

use dtls_psk::{Config, Error, MAX_TICKET_LEN, MemoryCache, PeerMisbehaved};

use support::craft::*;
use support::raw::client_extensions;
use support::resumed::*;
use support::world::{AgainstRaw, Client, Note, leak, path, psk};
use support::{IDENTITY, KEY, parse, seeded};

/// Tickets that are none, in places where none belong.
#[test]
fn tickets_out_of_place() {
    let begin = |announced: bool| {
        let cache = cache();
        let mut against = AgainstRaw::with_config(14, with(cache));
        against.hello();
        if announced {
            against.server.hello.extensions.as_mut().unwrap().push((EXT_SESSION_TICKET, vec![]));
        }
        let flight = against.server.flight(None);
        let answer = against.hit(&flight);
        (cache, against, answer)
    };
    let finish = |cache: &Cache, mut against: AgainstRaw, kept: usize| {
        let last = against.server.last_flight();
        against.hit(&last);
        against.assert_data_flows();
        assert_eq!(count(cache, against.now), kept);
    };
    // Announced and good; empty, as a server may change its mind; too long to be kept; the longest.
    for (ticket, kept) in
        [(vec![1; 100], 1), (vec![], 0), (vec![1; MAX_TICKET_LEN + 1], 0), (vec![1; MAX_TICKET_LEN], 1)]
    {
        let (cache, mut against, answer) = begin(true);
        let message = against.server.take_key_flight_with_ticket(&answer, &ticket);
        against.hit(&message);
        finish(cache, against, kept);
    }
    // Twice, and once more behind: the second is a copy.
    let (cache, mut against, answer) = begin(true);
    let message = against.server.take_key_flight_with_ticket(&answer, &[1; 9]);
    against.hit(&message);
    against.hit(&message);
    finish(cache, against, 1);
    // Not announced: dropped, as any plaintext is while the Finished is awaited.
    let (cache, mut against, answer) = begin(false);
    against.server.take_key_flight(&answer);
    let forged = record(HANDSHAKE, 0, 77, &message_of_ticket(2, &[1; 9]));
    assert!(against.hit(&forged).is_empty());
    finish(cache, against, 0);
    // Announced and left out: the Finished has the ticket's number, and is not the ticket.
    let (_, mut against, answer) = begin(true);
    against.server.take_key_flight(&answer);
    let last = against.server.last_flight();
    let answer = against.hit(&last);
    assert_eq!(against.client.log, [Note::Failed(PeerMisbehaved::UnexpectedMessage.into())]);
    assert_eq!(parse::records(&answer[0])[0].epoch, 1);
    // Malformed.
    for body in [&[0, 0, 0, 1][..], &[0, 0, 0, 1, 0, 5, 1], &[0, 0, 0, 1, 0, 0, 7]] {
        let (_, mut against, answer) = begin(true);
        against.server.take_key_flight(&answer);
        let bad = record(HANDSHAKE, 0, 77, &support::craft::message(NEW_SESSION_TICKET, 2, body));
        against.hit(&bad);
        assert!(
            matches!(against.client.log.as_slice(), [Note::Failed(Error::InvalidMessage(_))]),
            "{body:?}"
        );
    }
}

fn message_of_ticket(seq: u16, ticket: &[u8]) -> Vec<u8> {
    message(NEW_SESSION_TICKET, seq, &[&[0; 4][..], &vec16(ticket)].concat())
}

/// A ticket that does not fit into the datagram is left out, and with it the attempt.
#[test]
fn a_hello_is_never_too_long() {
    let cache = cache();
    let roomy = Config::coap().with_versions(&[dtls_psk::ProtocolVersion::Dtls12]).with_resumption(cache);
    let mut against = AgainstRaw::with_config(15, roomy);
    against.hello();
    against.server.hello.extensions.as_mut().unwrap().push((EXT_SESSION_TICKET, vec![]));
    let flight = against.server.flight(None);
    let answer = against.hit(&flight);
    let message = against.server.take_key_flight_with_ticket(&answer, &[4; 200]);
    let last = against.server.last_flight();
    against.hit(&[message, last].concat());
    assert!(against.client.is_established());
    for (mtu, offered) in [(400, 200), (300, 0)] {
        let mut again = AgainstRaw::with_config(16, roomy.with_mtu(mtu));
        let hello = again.client.transmit();
        assert!(hello[0].len() <= mtu);
        let hello = again.server.take_hello(&hello);
        let ticket = extension(&client_extensions(&hello.body), EXT_SESSION_TICKET).unwrap();
        assert_eq!(ticket.len(), offered);
    }
}

/// A client whose server gave it this ticket, beside an id of the server's.
fn given(config: Config<'static>, id: &[u8], ticket: &[u8]) -> AgainstRaw {
    let mut against = AgainstRaw::with_config(60, config);
    against.hello();
    against.server.hello.session_id = id.to_vec();
    against.server.hello.extensions.as_mut().unwrap().push((EXT_SESSION_TICKET, vec![]));
    let flight = against.server.flight(None);
    let answer = against.hit(&flight);
    let message = against.server.take_key_flight_with_ticket(&answer, ticket);
    let last = against.server.last_flight();
    against.hit(&[message, last].concat());
    assert!(against.client.is_established());
    against
}

/// The id and the ticket that a client offers, and the client.
fn offered(config: Config<'static>, after: Duration) -> (Vec<u8>, Vec<u8>, AgainstRaw) {
    let mut again =
        AgainstRaw::with_config(61, Config::coap().with_versions(&[dtls_psk::ProtocolVersion::Dtls12]));
    again.now = again.now + after;
    again.client = Client::new(leak(config), psk(IDENTITY, KEY), path(0), &mut seeded(61), again.now);
    let hello = again.client.transmit();
    let body = again.server.take_hello(&hello).body;
    let id = body[35..][..usize::from(body[34])].to_vec();
    let ticket = extension(&client_extensions(&body), EXT_SESSION_TICKET).unwrap();
    (id, ticket, again)
}

/// Beside a ticket, even one that is too long to be kept, the server's id is good for nothing (RFC 5077 §3.4). Without one, it
/// is what there is.
#[test]
fn a_ticket_and_an_id() {
    for (ticket, id_len, has_ticket) in
        [(vec![1; 100], 32, true), (vec![1; MAX_TICKET_LEN + 1], 0, false), (vec![], 7, false)]
    {
        let config = with(cache());
        given(config, b"some id", &ticket);
        let (id, shown, _) = offered(config, Duration::ZERO);
        assert_eq!((id.len(), shown), (id_len, if has_ticket { ticket } else { vec![] }));
        assert_eq!(id == b"some id", id_len == 7);
    }
    // Our server gives no tickets. The id beside one is made up by the client, so nothing is looked up by it.
    let (mut world, _, id) = remembered(62);
    for (ticket, full) in [(vec![5; 50], true), (vec![], false)] {
        let mut raw = asking_for(&id, 62 + ticket.len() as u64);
        raw.hello.extensions.as_mut().unwrap().push((EXT_SESSION_TICKET, ticket));
        let flight = ask(&mut world, &mut raw, 1);
        assert_eq!(is_full(&flight, &id), full);
    }
}

/// A ticket is shown for as long as the server said (RFC 5077 §3.3): a minute here. A new one is good for another minute; the
/// session grows old all the same.
#[test]
fn tickets_grow_old() {
    let lasting = leak(MemoryCache::<1>::with_lifetime(Duration::from_secs(100)));
    let config = Config::coap().with_versions(&[dtls_psk::ProtocolVersion::Dtls12]).with_resumption(lasting);
    let master = given(config, b"", &[1; 40]).server.side.master;
    for (after, ticket) in [(59, vec![1; 40]), (60, vec![])] {
        assert_eq!(offered(config, Duration::from_secs(after)).1, ticket);
    }
    let (id, _, mut again) = offered(config, Duration::from_secs(50));
    again.server.hello.session_id = id;
    again.server.hello.extensions.as_mut().unwrap().push((EXT_SESSION_TICKET, vec![]));
    let flight = again.server.resumption(&master, Some(&[2; 40]));
    let last = again.hit(&flight);
    again.server.take_short_flight(&last);
    for (after, ticket) in [(99, vec![2; 40]), (100, vec![])] {
        assert_eq!(offered(config, Duration::from_secs(after)).1, ticket);
    }
}

/// What a server does not take is not shown to it again, even where it gives nothing in its place.
#[test]
fn a_ticket_that_was_refused() {
    let cache = cache();
    given(with(cache), b"", &[1; 40]);
    let (_, ticket, mut again) = offered(with(cache), Duration::ZERO);
    assert_eq!(ticket, [1; 40]);
    let flight = again.server.flight(None);
    let answer = again.hit(&flight);
    again.server.take_key_flight(&answer);
    let last = again.server.last_flight();
    again.hit(&last);
    again.assert_data_flows();
    assert!(!again.client.connection.peer().unwrap().resumed);
    assert_eq!(count(cache, again.now), 0);
}

/// In pieces, twice, and when all is done: in the clear or under the keys.
#[test]
fn a_new_ticket_while_resuming() {
    let cache = cache();
    let master = given(with(cache), b"", &[1; 40]).server.side.master;
    let (id, _, mut again) = offered(with(cache), Duration::ZERO);
    again.server.hello.session_id = id;
    again.server.hello.extensions.as_mut().unwrap().push((EXT_SESSION_TICKET, vec![]));
    let flight = again.server.resumption(&master, Some(&[2; 40]));
    let records = records_of(&flight);
    let [hello, ticket, change, finished] = &records[..] else { panic!("{} records", records.len()) };
    let body = &ticket[13 + 12..];
    let piece = |number, offset: usize, end: usize| {
        let part = fragment(NEW_SESSION_TICKET, body.len() as u32, 1, offset as u32, &body[offset..end]);
        record(HANDSHAKE, 0, number, &part)
    };
    for part in [hello, &piece(50, 20, body.len()), &piece(51, 0, 20), ticket, change] {
        assert!(again.hit(part).is_empty());
    }
    let last = again.hit(finished);
    again.server.take_short_flight(&last);
    again.assert_data_flows();
    let late = [
        record(HANDSHAKE, 0, 60, &message_of_ticket(3, &[3; 40])),
        again.server.side.seal(HANDSHAKE, &message_of_ticket(3, &[3; 40])),
    ];
    for late in late {
        assert!(again.hit(&late).is_empty());
    }
    assert_eq!(again.client.connection.stats().dropped, 2);
    again.assert_data_flows();
    assert_eq!(offered(with(cache), Duration::ZERO).1, [2; 40]);
}

/// A ticket that comes cut is put together where it is short enough. Else the client waits in vain, as `with_resumption` says.
#[test]
fn cut_tickets() {
    for (len, gets_through) in [(378, true), (379, false)] {
        let mut against = AgainstRaw::with_config(63, with(cache()));
        against.hello();
        against.server.hello.extensions.as_mut().unwrap().push((EXT_SESSION_TICKET, vec![]));
        let flight = against.server.flight(None);
        let answer = against.hit(&flight);
        let ticket = against.server.take_key_flight_with_ticket(&answer, &vec![1; len]);
        let body = &ticket[13 + 12..];
        for (at, part) in body.chunks(200).enumerate() {
            let part = fragment(NEW_SESSION_TICKET, body.len() as u32, 2, 200 * at as u32, part);
            against.hit(&record(HANDSHAKE, 0, 50 + at as u64, &part));
        }
        let last = against.server.last_flight();
        against.hit(&last);
        assert_eq!(against.client.is_established(), gets_through, "{len} bytes");
        if gets_through {
            against.assert_data_flows();
        } else {
            against.pass(Duration::from_secs(301));
            assert_eq!(against.client.log, [Note::Failed(Error::NoAnswerToKeyExchange)]);
        }
    }
}

/// The records of a datagram, one by one.
fn records_of(mut datagram: &[u8]) -> Vec<Vec<u8>> {
    let mut records = Vec::new();
    while datagram.len() >= 13 {
        let len = usize::from(u16::from_be_bytes([datagram[11], datagram[12]]));
        let (first, rest) = datagram.split_at(13 + len);
        records.push(first.to_vec());
        datagram = rest;
    }
    records
}
