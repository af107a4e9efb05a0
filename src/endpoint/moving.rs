//! Peers whose address has changed (RFC 9146 §6), until it is known that they receive there (RFC 9853).

use core::time::Duration;

use crate::handshake::AMPLIFICATION;
use crate::path::Path;
use crate::time::Instant;
use crate::wire::return_routability_check::COOKIE_LEN;

/// How many challenges are sent, each as long after the last as a flight would be repeated.
const MAX_CHALLENGES: u8 = 3;

/// A peer whose newest record came from another address than the one that is known to be its own.
pub(super) struct Moving {
    /// The way to the address that is to be proven.
    pub(super) to: Path,
    /// How many bytes may yet go there.
    allowance: usize,
    check: Option<Check>,
}

/// A return routability check under way (RFC 9853 §5.1).
struct Check {
    /// What the peer has to send back, once the challenge is out.
    cookie: Option<[u8; COOKIE_LEN]>,
    is_due: bool,
    sent: u8,
    timeout: Duration,
    again_at: Instant,
}

impl Moving {
    /// The peer may be reached by `to`. It is asked for a sign of life there, if it `answers` such checks; the application
    /// has to find out by itself if not.
    pub(super) fn new(to: Path, answers: bool, timeout: Duration, now: Instant) -> Self {
        let check = Check { cookie: None, is_due: true, sent: 0, timeout, again_at: now + timeout };
        Self { to, allowance: 0, check: answers.then_some(check) }
    }

    /// A record of so many bytes has come from there.
    pub(super) const fn on_received(&mut self, len: usize) {
        self.allowance = self.allowance.saturating_add(AMPLIFICATION * len);
    }

    /// Whether a record of so many bytes may go there.
    pub(super) const fn allows(&self, len: usize) -> bool {
        len <= self.allowance
    }

    /// A record of so many bytes goes there.
    pub(super) const fn on_sent(&mut self, len: usize) {
        self.allowance = self.allowance.saturating_sub(len);
    }

    /// Whether a challenge has to go out.
    pub(super) fn is_due(&self) -> bool {
        self.check.as_ref().is_some_and(|check| check.is_due)
    }

    /// A challenge with this cookie goes out.
    pub(super) fn on_challenge(&mut self, cookie: [u8; COOKIE_LEN]) {
        if let Some(check) = &mut self.check {
            check.cookie = Some(cookie);
            check.is_due = false;
            check.sent += 1;
        }
    }

    /// Whether a record that came by `path` shows that the peer receives at its new address: only the answer to the last
    /// challenge does, and only from there.
    pub(super) fn is_proven_by(&self, path: &Path, cookie: [u8; COOKIE_LEN]) -> bool {
        let expected = self.check.as_ref().and_then(|check| check.cookie);
        self.to == *path && expected.is_some_and(|expected| crate::crypto::equal(&expected, &cookie))
    }

    /// When to look at it again.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.check.as_ref().map(|check| check.again_at)
    }

    /// Has the next challenge sent when it is time. `false` when there have been enough: the peer is not at the new address.
    pub(super) fn handle_timeout(&mut self, now: Instant) -> bool {
        let Some(check) = self.check.as_mut().filter(|check| check.again_at <= now) else {
            return true;
        };
        check.timeout = check.timeout.saturating_mul(2);
        check.again_at = now + check.timeout;
        check.is_due = true;
        check.sent < MAX_CHALLENGES
    }
}
