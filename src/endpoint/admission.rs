//! Who gets a slot when there is none, so that no single peer fills a pool.

use core::net::IpAddr;
use core::time::Duration;

use super::pool::{Entry, Path, Pool};
use crate::connection::Session;
use crate::handshake::Handshake;
use crate::time::Instant;

/// The slot that a handshake from `path` may take over in a full pool; `None` when the newcomer has to try again.
///
/// One network prefix may hold half of a full pool. A newcomer whose prefix holds that much can only push out a
/// handshake of its own kind; any other takes from a prefix that holds more than half. Within these, the oldest
/// handshake goes. One that is younger than `grace`, the time that an answer may take, stays, but where its prefix
/// holds too much.
pub(super) fn handshake_to_evict<const H: usize>(
    pool: &Pool<Handshake, H>,
    path: &Path,
    grace: Duration,
    now: Instant,
) -> Option<u16> {
    let share = (H / 2).max(1);
    let held = |prefix| pool.iter().filter(|(_, entry)| Prefix::of(&entry.path) == prefix).count();
    let oldest = |eligible: &dyn Fn(&Entry<Handshake>) -> bool| {
        let candidates = pool.iter().filter(|(_, entry)| eligible(entry));
        candidates.min_by_key(|(_, entry)| entry.touched).map(|(at, _)| at)
    };
    let is_late = |entry: &Entry<Handshake>| now.saturating_since(entry.touched) >= grace;

    let newcomer = Prefix::of(path);
    if held(newcomer) >= share {
        return oldest(&|entry| Prefix::of(&entry.path) == newcomer && is_late(entry));
    }
    oldest(&|entry| held(Prefix::of(&entry.path)) > share).or_else(|| oldest(&is_late))
}

/// The session that has to go before `identity` may have one more: the longest idle one of its own when it holds as
/// many as it may, else the longest idle one of all when the pool is full.
pub(super) fn session_to_evict<const S: usize>(
    pool: &Pool<Session, S>,
    identity: &[u8],
    per_identity: usize,
) -> Option<u16> {
    let own = || pool.iter().filter(|(_, entry)| entry.value.peer().identity == identity);
    if own().count() >= per_identity {
        own().min_by_key(|(_, entry)| entry.touched).map(|(at, _)| at)
    } else if pool.is_full() {
        pool.iter().min_by_key(|(_, entry)| entry.touched).map(|(at, _)| at)
    } else {
        None
    }
}

/// The part of an address that one party controls: the first 24 bits of IPv4, the first 64 of IPv6.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Prefix([u8; 8]);

impl Prefix {
    fn of(path: &Path) -> Self {
        match path.remote.ip().to_canonical() {
            IpAddr::V4(ip) => {
                let [a, b, c, _] = ip.octets();
                Self([0, 0, 0, 0, 0, a, b, c])
            }
            IpAddr::V6(ip) => Self(ip.octets().first_chunk().copied().unwrap_or_default()),
        }
    }
}
