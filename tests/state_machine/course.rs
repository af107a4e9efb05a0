//! What a sequence has of its own in either role: its time, and what has happened so far.

use std::fmt::Debug;
use std::thread;
use std::time::Duration;

use dtls_psk::{Config, Instant};

use crate::outcome::{Expected, Seen};
use crate::support::world::Note;
use crate::walk::{Ending, State};

/// Whether time passes between the symbols: enough for a repeated flight to be answered, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    Slow,
    Fast,
}

/// After this time, a repeated flight is taken to ask for the other side's.
const ANSWER_TIME: Duration = Duration::from_millis(250);

/// Short enough for cookies to be good until the end of every sequence.
const TIMEOUT: Duration = Duration::from_secs(2);

const DEADLINE: Duration = Duration::from_secs(3_600);

/// Not zero, so that nothing works by accident of being at the start of time.
pub const START: Instant = Instant::from_millis(1_000_000);

pub fn config(version: &'static [dtls_psk::ProtocolVersion]) -> Config<'static> {
    Config::coap()
        .with_versions(version)
        .with_retransmission(TIMEOUT, TIMEOUT)
        .with_handshake_timeout(DEADLINE)
}

pub struct Course<S: Debug> {
    pace: Pace,
    pub now: Instant,
    symbols: Vec<S>,
    established: u64,
    /// What the application was told last, but for data.
    last: Option<Note>,
}

impl<S: Debug> Course<S> {
    pub const fn new(pace: Pace) -> Self {
        Self { pace, now: START, symbols: Vec::new(), established: 0, last: None }
    }

    /// The next symbol is played.
    pub fn next(&mut self, symbol: S) {
        self.symbols.push(symbol);
        if self.pace == Pace::Slow {
            self.now = self.now + ANSWER_TIME;
        }
    }

    /// Nobody says anything any more.
    pub fn pass_deadline(&mut self) {
        self.now = self.now + DEADLINE;
    }

    #[track_caller]
    pub fn check(&mut self, seen: Seen, expected: &Expected) {
        assert_eq!(
            (seen.told.as_ref(), seen.answered.as_slice()),
            (expected.told.as_ref(), expected.answered)
        );
        self.established += u64::from(seen.told == Some(Note::Established));
        if !matches!(seen.told, None | Some(Note::Data(_))) {
            self.last = seen.told;
        }
    }

    /// How it has ended: in this state, or because of what the application was told last.
    pub fn ending(&self, state: Option<State>) -> Ending {
        let over = || self.last.clone().map_or(State::Nothing, State::Over);
        Ending {
            established: self.established,
            state: state.unwrap_or_else(over),
            steps: self.symbols.len() as u64,
        }
    }
}

impl<S: Debug> Drop for Course<S> {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("the sequence: {:?}", self.symbols);
        }
    }
}
