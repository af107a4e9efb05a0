//! Clients with DTLS sessions, for CoAP messages made elsewhere.
#![allow(dead_code, reason = "each test program uses its part of this")]

use std::net::SocketAddr;

use dtls_psk::{Config, Connection, Event, Instant, Psk};

use super::peer::{Coap, Wire};
use super::support::Repeatable;

/// A client without timers; datagrams go in and out. Its address may change at any time.
pub struct Secure<'c> {
    pub connection: Connection<'c>,
    pub at: SocketAddr,
}

impl<'c> Secure<'c> {
    pub fn new(config: &'c Config<'c>, psk: &'c Psk<'c>, at: SocketAddr, seed: u64, now: u64) -> Self {
        let now = Instant::from_millis(now);
        let connection = Connection::client(config, psk, &mut Repeatable(seed), now).unwrap();
        Self { connection, at }
    }

    pub fn is_established(&self) -> bool {
        self.connection.peer().is_some()
    }

    /// What the session itself has to send.
    pub fn transmit(&mut self) -> Vec<Vec<u8>> {
        let mut buffer = [0; 2_048];
        let next = || self.connection.poll_transmit(&mut buffer).unwrap().map(|len| buffer[..len].to_vec());
        std::iter::from_fn(next).collect()
    }

    pub fn seal(&mut self, plaintext: &[u8]) -> Vec<u8> {
        let mut buffer = [0; 2_048];
        let len = self.connection.send(plaintext, &mut buffer).unwrap();
        buffer[..len].to_vec()
    }

    /// The data in a datagram.
    pub fn hit(&mut self, datagram: &[u8], now: u64) -> Vec<Vec<u8>> {
        let mut datagram = datagram.to_vec();
        let events = self.connection.receive(&mut datagram, Instant::from_millis(now));
        events
            .filter_map(|event| if let Event::Data(data) = event { Some(data.to_vec()) } else { None })
            .collect()
    }

    /// Exchanges datagrams over the wire until nobody has anything to say, and returns the messages that came, those of others
    /// left where they are.
    pub fn converse(&mut self, wire: &Wire, mut drive: impl FnMut()) -> Vec<Coap> {
        let mut messages = Vec::new();
        loop {
            let flight = self.transmit();
            let is_over = flight.is_empty();
            flight.into_iter().for_each(|datagram| wire.push_bytes(self.at, datagram));
            drive();
            let (own, others) = wire.sent.take().into_iter().partition::<Vec<_>, _>(|(to, _)| *to == self.at);
            wire.sent.replace(others);
            if is_over && own.is_empty() {
                return messages;
            }
            for (_, datagram) in own {
                messages.extend(self.hit(&datagram, 0).iter().map(|data| Coap::read(data)));
            }
        }
    }

    /// Sends a message, and returns what comes in return.
    pub fn ask(&mut self, wire: &Wire, message: &Coap, drive: impl FnMut()) -> Vec<Coap> {
        let datagram = self.seal(&message.bytes());
        wire.push_bytes(self.at, datagram);
        self.converse(wire, drive)
    }
}
