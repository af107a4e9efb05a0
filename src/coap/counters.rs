//! What a server has seen.

/// What a [`Server`](super::Server) has seen since it was made. The counters stop at their end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub struct Counters {
    /// Requests that a handler was asked about, each block of a response among them.
    pub requests: u32,
    /// Messages that came again (§4.5).
    pub duplicates: u32,
    /// Confirmable messages that were rejected with a RST: pings, format errors, responses that nobody waits for.
    pub resets: u32,
    /// Requests that were refused before a handler saw them: critical options that are not understood, too long, no fresh Echo.
    pub refused: u32,
    /// Requests that the policy has denied.
    pub denied: u32,
    /// Requests that were dropped, to be sent again, because too many others may still come twice: is
    /// [`EXCHANGES`](super::Server#sizes) large enough?
    pub overloaded: u32,
    /// Datagrams that were silently ignored.
    pub ignored: u32,
    /// Notifications and separate responses that were sent, retransmissions among them.
    pub notifications: u32,
    /// Observers that were given up because they acknowledge nothing, or because their session is over.
    pub lost_observers: u32,
    /// Replies that were not sent, because the session that had asked was gone by then.
    pub orphaned: u32,
    /// Replies that the socket failed to send.
    pub send_errors: u32,
}

/// Counts up, and stops at the end.
pub(super) fn count(counter: &mut u32) {
    *counter = counter.saturating_add(1);
}
