//! A network that loses, repeats, delays, reorders, damages and cuts off datagrams, and moves clients to other addresses,
//! as its seed says.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

use dtls_psk::{Instant, Path};
use rand::rngs::ChaCha8Rng;
use rand::{Rng, RngExt};

use super::nat::Nat;
use super::schedule::Schedule;
use super::seeded;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    ToServer,
    ToClient,
}

impl Direction {
    pub fn opposite(self) -> Self {
        match self {
            Self::ToServer => Self::ToClient,
            Self::ToClient => Self::ToServer,
        }
    }
}

/// One datagram on its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    pub direction: Direction,
    /// As the server sees it: `remote` is the client.
    pub path: Path,
    pub bytes: Vec<u8>,
}

/// How bad the network is. Probabilities from 0 to 1, for each datagram.
#[derive(Clone, Debug)]
pub struct Conditions {
    pub loss: f64,
    pub duplicate: f64,
    /// Held back long enough for later ones to overtake it.
    pub reorder: f64,
    /// One bit flipped.
    pub bit_error: f64,
    /// One way, in milliseconds.
    pub delay: RangeInclusive<u64>,
    /// Longer datagrams are dropped.
    pub mtu: usize,
}

impl Conditions {
    pub const PERFECT: Self =
        Self { loss: 0.0, duplicate: 0.0, reorder: 0.0, bit_error: 0.0, delay: 10..=10, mtu: usize::MAX };
}

/// What the network did so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub sent: u64,
    pub lost: u64,
    pub duplicated: u64,
    pub reordered: u64,
    pub damaged: u64,
    pub too_long: u64,
    /// For an address that no client has any more.
    pub forgotten: u64,
    pub delivered: u64,
}

/// Sees every datagram and says what the network carries in its place: the same, another, several, none.
pub type Attacker = Box<dyn FnMut(Instant, &Packet) -> Vec<Packet>>;

pub struct Network {
    pub conditions: Conditions,
    pub counts: Counts,
    /// Everything that an end sent, before the network did anything to it.
    pub trace: Vec<(Instant, Packet)>,
    pub attacker: Option<Attacker>,
    pub nat: Option<Nat>,
    /// Decides what is lost, repeated and delayed, in the place of chance.
    pub schedule: Option<Schedule>,
    in_flight: BTreeMap<(Instant, u64), Packet>,
    serial: u64,
    rng: ChaCha8Rng,
}

impl Network {
    pub fn new(seed: u64) -> Self {
        Self {
            conditions: Conditions::PERFECT,
            counts: Counts::default(),
            trace: Vec::new(),
            attacker: None,
            nat: None,
            schedule: None,
            in_flight: BTreeMap::new(),
            serial: 0,
            rng: seeded(seed ^ 0x6E65_7477_6F72_6B00),
        }
    }

    /// One end sends a datagram.
    pub fn send(&mut self, now: Instant, mut packet: Packet) {
        if packet.direction == Direction::ToServer {
            packet.path = self.outside(packet.path, now);
        }
        self.trace.push((now, packet.clone()));
        self.counts.sent += 1;
        let carried = match &mut self.attacker {
            Some(attacker) => attacker(now, &packet),
            None => vec![packet],
        };
        for packet in carried {
            self.carry(now, packet);
        }
    }

    /// Where the server sees the client that is at `inside`.
    pub fn outside(&mut self, inside: Path, now: Instant) -> Path {
        self.nat.as_mut().map_or(inside, |nat| nat.outside(inside, now))
    }

    fn carry(&mut self, now: Instant, mut packet: Packet) {
        if packet.bytes.len() > self.conditions.mtu {
            self.counts.too_long += 1;
            return;
        }
        if let Some(schedule) = &mut self.schedule {
            let arrivals = schedule.arrivals(packet.direction);
            self.counts.lost += u64::from(arrivals.is_empty());
            for delay in arrivals {
                self.enqueue_at(now + Duration::from_millis(delay), packet.clone());
            }
            return;
        }
        if self.rng.random_bool(self.conditions.loss) {
            self.counts.lost += 1;
            return;
        }
        if !packet.bytes.is_empty() && self.rng.random_bool(self.conditions.bit_error) {
            self.counts.damaged += 1;
            let at = self.rng.random_range(0..packet.bytes.len());
            packet.bytes[at] ^= 1 << self.rng.random_range(0..8);
        }
        if self.rng.random_bool(self.conditions.duplicate) {
            self.counts.duplicated += 1;
            self.enqueue(now, packet.clone());
        }
        self.enqueue(now, packet);
    }

    fn enqueue(&mut self, now: Instant, packet: Packet) {
        let mut delay = self.rng.random_range(self.conditions.delay.clone());
        if self.rng.random_bool(self.conditions.reorder) {
            self.counts.reordered += 1;
            delay += self.rng.random_range(1..=4) * (1 + self.conditions.delay.end());
        }
        self.enqueue_at(now + Duration::from_millis(delay), packet);
    }

    fn enqueue_at(&mut self, at: Instant, packet: Packet) {
        self.serial += 1;
        self.in_flight.insert((at, self.serial), packet);
    }

    /// When the next datagram arrives.
    pub fn next_arrival(&self) -> Option<Instant> {
        self.in_flight.keys().next().map(|(at, _)| *at)
    }

    /// The next datagram that has arrived at `now`.
    pub fn arrived(&mut self, now: Instant) -> Option<Packet> {
        loop {
            let entry = self.in_flight.first_entry().filter(|entry| entry.key().0 <= now)?;
            let mut packet = entry.remove();
            if let (Some(nat), Direction::ToClient) = (&self.nat, packet.direction) {
                let Some(inside) = nat.inside(&packet.path, now) else {
                    self.counts.forgotten += 1;
                    continue;
                };
                packet.path = inside;
            }
            self.counts.delivered += 1;
            return Some(packet);
        }
    }

    /// Random bytes for whoever needs some that belong to this network's seed.
    pub fn random<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        self.rng.fill_bytes(&mut bytes);
        bytes
    }
}
