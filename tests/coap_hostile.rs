//! A hostile client with a session: whatever it sends, the server goes on, and serves the next one.
#![cfg(feature = "coap")]

use proptest::prelude::*;
use rand_core::TryRng;

#[path = "support/coap_hostile.rs"]
mod hostile;
#[path = "support/coap_peer.rs"]
mod peer;
#[path = "support/coap.rs"]
mod support;

use hostile::attack;
use peer::*;
use support::Repeatable;

struct Random(Repeatable);

impl Random {
    fn below(&mut self, below: u32) -> u32 {
        self.0.try_next_u32().unwrap() % below
    }

    fn of<T: Clone>(&mut self, all: &[T]) -> T {
        all[self.below(all.len() as u32) as usize].clone()
    }

    /// A message that makes sense, more or less.
    fn message(&mut self) -> Vec<u8> {
        let path = self.of(&[
            "/led",
            "/temperature",
            "/about",
            "/firmware",
            "/slow",
            "/text",
            "/.well-known/core",
            "/x",
        ]);
        let (kind, code) = (self.of(&[CON, CON, NON]), self.of(&[GET, GET, PUT, PUT, POST, FETCH, 4, 0x1f]));
        let mut message =
            Coap::request(kind, code, self.below(200) as u16, path).token(&[self.below(12) as u8]);
        let mut len = 1;
        for _ in 0..self.below(4) {
            let size = 16 << self.below(7);
            let number = self.of(&[0, 0, 1, 2, 3, 100, (1 << 20) - 1]);
            let value = block(number, self.below(2) == 0, size);
            message = match self.below(10) {
                0 | 1 => message.with(OBSERVE, uint(self.below(2))),
                2 | 3 => message.with(BLOCK2, value),
                4 | 5 => {
                    // As long as the block says, more often than not.
                    len = size.min(220) as usize;
                    message.with(BLOCK1, value)
                }
                6 => message.with(REQUEST_TAG, [self.below(5) as u8]),
                7 => message.with(SIZE1, uint(self.below(9_000))),
                8 => message.with(ECHO, [7; 16]),
                _ => message.with(self.below(300) as u16, vec![1; self.below(20) as usize]),
            };
        }
        let len = if self.below(5) == 0 { self.below(200) as usize } else { len };
        let mut bytes = message.payload(&vec![b'1'; len]).bytes();
        for _ in 0..self.of(&[0, 0, 0, 1, 3]) {
            let at = self.below(bytes.len() as u32) as usize;
            match self.below(3) {
                0 => bytes[at] ^= 1 << self.below(8),
                1 => bytes.truncate(at.max(1)),
                _ => bytes.insert(at, self.below(256) as u8),
            }
        }
        bytes.truncate(255);
        bytes
    }

    fn script(&mut self, steps: u32) -> Vec<u8> {
        let mut script = vec![self.below(3) as u8];
        for _ in 0..steps {
            let step = self.below(256) as u8;
            script.push(step);
            match step % 8 {
                0..=3 => {
                    let message = self.message();
                    script.push(message.len() as u8);
                    script.extend(message);
                }
                4 => script.push(self.below(256).saturating_sub(100) as u8),
                _ => {}
            }
        }
        script
    }
}

/// Messages that nearly make sense, changes, answers and pauses in any order.
#[test]
fn messages_that_nearly_make_sense() {
    let (mut requests, mut notifications, mut refused, mut overloaded, mut denied) = (0, 0, 0, 0, 0);
    for seed in 0..3_000 {
        let script = Random(Repeatable(seed)).script(300);
        let counters = attack(&script);
        requests += counters.requests;
        notifications += counters.notifications;
        refused += counters.refused;
        overloaded += counters.overloaded;
        denied += counters.denied;
    }
    let all = [requests, notifications, refused, overloaded, denied];
    assert!(all.iter().all(|count| *count > 500), "{all:?}");
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 500,
        failure_persistence: None,
        rng_seed: proptest::test_runner::RngSeed::Fixed(7252),
        ..ProptestConfig::default()
    })]

    /// Any bytes at all.
    #[test]
    fn any_script(script in proptest::collection::vec(any::<u8>(), 0..600)) {
        attack(&script);
    }
}
