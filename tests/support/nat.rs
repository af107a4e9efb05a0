//! A NAT in front of all clients. It forgets who had which address from time to time, and gives them away again.

use std::collections::HashMap;
use std::ops::RangeInclusive;
use std::time::Duration;

use dtls_psk::{Instant, Path};
use rand::RngExt;
use rand::rngs::ChaCha8Rng;

use super::seeded;

pub struct Nat {
    /// For how long a client keeps an address, in milliseconds.
    keeps: RangeInclusive<u64>,
    /// Every address that there is. With few of them, one client gets what was another's.
    addresses: Vec<Path>,
    /// Which address each client has, and until when.
    bindings: HashMap<Path, (Path, Instant)>,
    /// How often a client came to have another address than before.
    pub rebound: usize,
    rng: ChaCha8Rng,
}

impl Nat {
    pub fn new(seed: u64, addresses: Vec<Path>, keeps: RangeInclusive<u64>) -> Self {
        let rng = seeded(seed ^ 0x6E61_7400);
        Self { keeps, addresses, bindings: HashMap::new(), rebound: 0, rng }
    }

    /// From here on, everybody keeps what address there is, or the next one.
    pub fn settle(&mut self, now: Instant) {
        const FOR_EVER: u64 = u64::MAX / 4;
        self.keeps = FOR_EVER..=FOR_EVER;
        for (_, until) in self.bindings.values_mut().filter(|(_, until)| now < *until) {
            *until = Instant::from_millis(FOR_EVER);
        }
    }

    /// Where the client at `inside` is to be found, now that it sends something.
    pub fn outside(&mut self, inside: Path, now: Instant) -> Path {
        let before = self.bindings.get(&inside);
        if let Some((outside, until)) = before
            && now < *until
        {
            return *outside;
        }
        let before = before.map(|(outside, _)| *outside);
        self.bindings.retain(|_, (_, until)| now < *until);
        let taken = |path: &Path| self.bindings.values().any(|(outside, _)| outside == path);
        let free: Vec<Path> =
            self.addresses.iter().copied().filter(|path| !taken(path) && before != Some(*path)).collect();
        let outside = free[self.rng.random_range(0..free.len())];
        let until = now + Duration::from_millis(self.rng.random_range(self.keeps.clone()));
        self.bindings.insert(inside, (outside, until));
        self.rebound += 1;
        outside
    }

    /// Who has this address now, if anybody.
    pub fn inside(&self, outside: &Path, now: Instant) -> Option<Path> {
        let mut bindings = self.bindings.iter();
        bindings.find(|(_, (path, until))| path == outside && now < *until).map(|(inside, _)| *inside)
    }
}
