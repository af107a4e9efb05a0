//! Tickets (RFC 5077): when a client takes one, keeps it and shows it.
#![cfg(feature = "resumption")]

mod support;

use dtls_psk::{Config, Error, MAX_TICKET_LEN, PeerMisbehaved};

use support::craft::*;
use support::parse;
use support::raw::client_extensions;
use support::resumed::*;
use support::world::{AgainstRaw, Note};

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
    let roomy = Config::coap().with_resumption(cache);
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
