//! Time, which stands still or passes evenly.

use std::time::Duration;

use dtls_psk::{Config, Instant};

/// Whether time passes between the symbols: enough for a repeated flight to be answered, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    Slow,
    Fast,
}

/// After this time, a repeated flight is taken to ask for the other side's.
pub const ANSWER_TIME: Duration = Duration::from_millis(250);

/// Short enough for cookies to be good until the end of every sequence.
const TIMEOUT: Duration = Duration::from_secs(2);

pub const DEADLINE: Duration = Duration::from_secs(3_600);

/// Not zero, so that nothing works by accident of being at the start of time.
pub const START: Instant = Instant::from_millis(1_000_000);

pub fn config() -> Config<'static> {
    Config::coap().with_retransmission(TIMEOUT, TIMEOUT).with_handshake_timeout(DEADLINE)
}
