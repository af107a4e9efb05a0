//! Every sequence of an alphabet, or many random ones, over all processors.

use std::fmt::Debug;
use std::ops::{AddAssign, Range};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Instant;

use rand::RngExt;

use crate::support::seeded;
use crate::support::world::Note;

/// One end, which is given symbols, and checks after each of them that it does what its model expects.
pub trait Subject {
    type Symbol: Copy + Debug + Sync + 'static;

    /// Plays a sequence from a fresh start: until there is no `next` symbol, which may depend on what an honest peer would
    /// send.
    fn play(&mut self, next: &mut dyn FnMut(Self::Symbol) -> Option<Self::Symbol>, rest: Rest) -> Ending;
}

/// What else is tried at the end of a sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rest {
    /// A session carries data, both ways.
    Data,
    /// And where there is none, an honest peer goes on to make one.
    HonestPeer,
    /// And where there is none, nobody says anything until the deadline.
    Silence,
}

impl Rest {
    /// The costly ones for some.
    const fn of(number: u64) -> Self {
        match number % 16 {
            3 | 10 => Self::HonestPeer,
            6 => Self::Silence,
            _ => Self::Data,
        }
    }
}

/// How a sequence ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ending {
    /// How often an end was established.
    pub established: u64,
    pub state: State,
    /// How many symbols were played.
    pub steps: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// Nothing has begun.
    Nothing,
    Handshake,
    Session,
    /// The last handshake or session is over, and this is why.
    Over(Note),
}

/// The endings of many sequences.
#[derive(Default)]
pub struct Tally {
    pub sequences: u64,
    pub established: u64,
    steps: u64,
    states: Vec<(State, u64)>,
}

impl Tally {
    fn count(&mut self, ending: Ending) {
        self.sequences += 1;
        self.steps += ending.steps;
        self.established += u64::from(ending.established > 0);
        self.count_state(ending.state, 1);
    }

    fn count_state(&mut self, state: State, times: u64) {
        match self.states.iter_mut().find(|(other, _)| *other == state) {
            Some((_, count)) => *count += times,
            None => self.states.push((state, times)),
        }
    }

    fn print(&mut self, what: &str, began: Instant) {
        println!(
            "{what}: {} sequences, {} steps, {} established, in {:.1} s",
            self.sequences,
            self.steps,
            self.established,
            began.elapsed().as_secs_f32()
        );
        self.states.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        for (state, count) in &self.states {
            println!("{count:>10} {state:?}");
        }
    }
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.sequences += other.sequences;
        self.established += other.established;
        self.steps += other.steps;
        other.states.into_iter().for_each(|(state, count)| self.count_state(state, count));
    }
}

/// Every sequence over `alphabet` of up to `longest` symbols that come after those of `beginning`.
pub fn every_sequence<S: Subject>(
    what: &str,
    subject: impl Fn() -> S + Sync,
    beginning: &[S::Symbol],
    alphabet: &[S::Symbol],
    longest: u32,
) -> Tally {
    let began = Instant::now();
    let mut tally = Tally::default();
    let symbols = alphabet.len() as u64;
    for length in 1..=longest {
        tally += in_parallel(0..symbols.pow(length), &subject, |subject, numbers| {
            let mut tally = Tally::default();
            for number in numbers {
                // The digits of the number, of which each sequence has its own.
                let (mut digits, mut left) = (number, length);
                let mut beginning = beginning.iter().copied();
                let mut next = |_| {
                    if let Some(symbol) = beginning.next() {
                        return Some(symbol);
                    }
                    left = left.checked_sub(1)?;
                    let digit = digits % symbols;
                    digits /= symbols;
                    Some(alphabet[digit as usize])
                };
                tally.count(subject.play(&mut next, Rest::of(number / symbols)));
            }
            tally
        });
    }
    tally.print(what, began);
    tally
}

/// Random sequences of up to `longest` symbols, one for each seed. Every second symbol is what an honest peer would send,
/// so that many get far.
pub fn random_sequences<S: Subject>(
    what: &str,
    subject: impl Fn() -> S + Sync,
    alphabet: &[S::Symbol],
    longest: u32,
    seeds: Range<u64>,
) -> Tally {
    let began = Instant::now();
    let mut tally = in_parallel(seeds, &subject, |subject, numbers| {
        let mut tally = Tally::default();
        let mut rng = seeded(numbers.start);
        for number in numbers {
            let mut left = rng.random_range(1..=longest);
            let mut next = |honest| {
                left = left.checked_sub(1)?;
                let at = rng.random_range(0..2 * alphabet.len());
                Some(alphabet.get(at).copied().unwrap_or(honest))
            };
            tally.count(subject.play(&mut next, Rest::of(number)));
        }
        tally
    });
    tally.print(what, began);
    tally
}

/// Shares the numbers among the processors.
fn in_parallel<S: Subject>(
    numbers: Range<u64>,
    subject: &(impl Fn() -> S + Sync),
    work: impl Fn(&mut S, Range<u64>) -> Tally + Sync,
) -> Tally {
    const SHARE: u64 = 4_096;
    let next = AtomicU64::new(numbers.start);
    let worker = || {
        let _stop = StopAll { next: &next, end: numbers.end };
        let (mut subject, mut tally) = (subject(), Tally::default());
        loop {
            let start = next.fetch_add(SHARE, Ordering::Relaxed);
            if start >= numbers.end {
                return tally;
            }
            tally += work(&mut subject, start..numbers.end.min(start + SHARE));
        }
    };
    thread::scope(|scope| {
        let processors = thread::available_parallelism().map_or(1, usize::from);
        let workers: Vec<_> = (0..processors).map(|_| scope.spawn(worker)).collect();
        let mut tally = Tally::default();
        workers.into_iter().for_each(|worker| tally += worker.join().expect("as the model says"));
        tally
    })
}

/// Leaves nothing to do for the others once one has failed.
struct StopAll<'n> {
    next: &'n AtomicU64,
    end: u64,
}

impl Drop for StopAll<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.next.store(self.end, Ordering::Relaxed);
        }
    }
}
