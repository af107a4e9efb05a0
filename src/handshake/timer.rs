//! The retransmission timer (RFC 6347 §4.2.4.1) and the handshake's deadline.

use core::time::Duration;

use crate::config::Config;
use crate::time::Instant;

pub(crate) struct Timer {
    retransmit_at: Instant,
    timeout: Duration,
    deadline: Instant,
}

/// What it is time for.
pub(crate) enum Due {
    Nothing,
    Retransmission,
    Deadline,
}

impl Timer {
    pub(crate) fn start(config: &Config<'_>, now: Instant) -> Self {
        Self {
            retransmit_at: now + config.initial_timeout(),
            timeout: config.initial_timeout(),
            deadline: now + config.handshake_timeout(),
        }
    }

    /// A new flight is on its way: it waits for the initial timeout again. The deadline stays.
    pub(crate) fn restart(&mut self, config: &Config<'_>, now: Instant) {
        *self = Self { deadline: self.deadline, ..Self::start(config, now) };
    }

    /// Whether to send the flight again now that the peer has repeated its own. The timeout begins again then, as long as it
    /// was.
    ///
    /// Not so shortly after the last time: two sides that both answer a repeated flight with theirs, as RFC 6347 §4.2.4
    /// tells them to, would go on as fast as the network lets them until the deadline. A quarter of a second is well below
    /// the second after which most repeat it by themselves (§4.2.4.1).
    pub(crate) fn repeat(&mut self, config: &Config<'_>, now: Instant) -> bool {
        // Both sides of the comparison are a timeout after when they mean.
        let repeat_at = now + self.timeout;
        let due = repeat_at >= self.retransmit_at + config.initial_timeout().min(Duration::from_secs(1)) / 4;
        if due {
            self.retransmit_at = repeat_at;
        }
        due
    }

    pub(crate) fn next(&self) -> Instant {
        self.retransmit_at.min(self.deadline)
    }

    /// Says what is due at `now`, and doubles the timeout after a retransmission.
    pub(crate) fn fire(&mut self, config: &Config<'_>, now: Instant) -> Due {
        if now >= self.deadline {
            Due::Deadline
        } else if now >= self.retransmit_at {
            self.timeout = self.timeout.saturating_mul(2).min(config.max_timeout());
            self.retransmit_at = now + self.timeout;
            Due::Retransmission
        } else {
            Due::Nothing
        }
    }
}
