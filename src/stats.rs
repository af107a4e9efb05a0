//! Counters of what happened to datagrams, for whoever has to find out why.

/// What was dropped, repeated and refused since the start. Every counter stops at its maximum instead of wrapping.
///
/// ```
/// let stats = dtls_psk::Stats::default();
/// assert_eq!(stats.forged, 0);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub struct Stats {
    /// Records that nothing could be done with: not DTLS, of another epoch, out of place, or cut short.
    pub dropped: u32,
    /// Records that came twice, or too late for the replay window.
    pub replayed: u32,
    /// Records that did not carry the peer's authentication.
    pub forged: u32,
    /// Flights that were sent again.
    pub retransmitted: u32,
    /// Handshakes that failed.
    pub handshakes_failed: u32,
    /// ClientHellos with a good cookie that found no room in a full handshake pool.
    pub handshakes_refused: u32,
    /// Peers that did not answer at an address that their records seemed to come from (RFC 9853).
    pub moves_failed: u32,
    /// Established sessions that gave way to new ones.
    pub sessions_evicted: u32,
}

impl Stats {
    /// Adds one to a counter.
    pub(crate) fn count(counter: &mut u32) {
        *counter = counter.saturating_add(1);
    }
}
