//! What a handshake tells its peer to have received, and when (RFC 9147 §7.1).

use super::{Established, LastFlight};
use crate::config::Config;
use crate::record::ReceivedRecords;
use crate::time::Instant;
use crate::wire::record::RecordNumber;

/// How many records of a flight are remembered.
pub(super) const MAX_RECEIVED: usize = 8;

/// The records of the flight that is arriving.
pub(super) struct Acks {
    received: ReceivedRecords<MAX_RECEIVED>,
    /// When to say so, if the rest has not come by then.
    at: Option<Instant>,
    is_due: bool,
}

impl Acks {
    pub(super) const NONE: Self = Self { received: ReceivedRecords::NONE, at: None, is_due: false };

    /// A record's messages were processed or buffered.
    pub(super) fn add(&mut self, number: RecordNumber) {
        self.received.add(number);
    }

    /// The rest of the flight should follow at once. If it does not within a quarter of the time after which a flight is repeated, the
    /// peer is told what is here.
    pub(super) fn expect_more(&mut self, config: &Config<'_>, now: Instant) {
        self.at.get_or_insert(now + config.initial_timeout() / 4);
    }

    /// Something is missing for sure.
    pub(super) const fn on_gap(&mut self) {
        self.is_due = true;
    }

    /// The next flight is on its way, and says by itself that all of this one has arrived.
    pub(super) const fn clear(&mut self) {
        *self = Self::NONE;
    }

    /// The peer's last flight ends with this record. Where nothing is sent in answer to it, it has to be acknowledged.
    pub(super) fn finish(&mut self, number: RecordNumber, established: &mut Established) {
        if let Some(LastFlight::Acknowledge { .. }) = established.last_flight {
            self.add(number);
            established.received = self.received.newest();
        }
    }

    pub(super) const fn is_due(&self) -> bool {
        self.is_due
    }

    pub(super) const fn records(&self) -> &ReceivedRecords<MAX_RECEIVED> {
        &self.received
    }

    pub(super) const fn on_sent(&mut self) {
        self.is_due = false;
        self.at = None;
    }

    pub(super) const fn poll_timeout(&self) -> Option<Instant> {
        self.at
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) {
        if self.at.is_some_and(|at| at <= now) {
            self.is_due = true;
            self.at = None;
        }
    }
}
