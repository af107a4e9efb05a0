//! Who gets a slot when there is none, so that no single peer fills a pool.

use core::net::IpAddr;
use core::time::Duration;

use super::pool::{Entry, Pool};
use super::sessions::Sessions;
use crate::handshake::Handshake;
use crate::path::Path;
use crate::time::Instant;

/// The slot that a handshake from `path` may take over in a full pool; `None` when the newcomer has to try again.
///
/// 1. An address that has a slot takes its own oldest, if that is late: older than `grace`, the time that an answer may
///    take.
/// 2. One that has none takes the oldest of an address that has several, late or not. So one address never keeps all
///    others out.
/// 3. Else one whose prefix does not have half of the pool takes the oldest of a prefix that has more, late or not. So one
///    network never keeps all others out.
/// 4. One whose prefix has half of the pool takes its own prefix's oldest, if that is late.
/// 5. Any other takes the oldest of all, if that is late.
pub(super) fn handshake_to_evict<const H: usize>(
    pool: &Pool<Handshake, H>,
    path: &Path,
    grace: Duration,
    now: Instant,
) -> Option<u16> {
    let address = |path: &Path| path.remote.ip().to_canonical();
    let (own_address, own_prefix) = (address(path), Prefix::of(path));
    let held_by = |ip: IpAddr| pool.iter().filter(|(_, entry)| address(&entry.path) == ip).count();
    let held_in = |prefix| pool.iter().filter(|(_, entry)| Prefix::of(&entry.path) == prefix).count();
    let oldest = |eligible: &dyn Fn(&Entry<Handshake>) -> bool| {
        let candidates = pool.iter().filter(|(_, entry)| eligible(entry));
        candidates.min_by_key(|(_, entry)| entry.touched).map(|(at, _)| at)
    };
    let is_late = |entry: &Entry<Handshake>| now.saturating_since(entry.touched) >= grace;

    if held_by(own_address) > 0 {
        return oldest(&|entry| address(&entry.path) == own_address && is_late(entry));
    }
    let share = (H / 2).max(1);
    oldest(&|entry| held_by(address(&entry.path)) > 1).or_else(|| {
        if held_in(own_prefix) >= share {
            oldest(&|entry| Prefix::of(&entry.path) == own_prefix && is_late(entry))
        } else {
            oldest(&|entry| held_in(Prefix::of(&entry.path)) > share).or_else(|| oldest(&is_late))
        }
    })
}

/// The session that has to go before `identity` may have one more: the longest idle one of its own when it holds as
/// many as it may, else the longest idle one of all when the pool is full.
pub(super) fn session_to_evict<const S: usize>(
    pool: &Sessions<S>,
    identity: &[u8],
    per_identity: usize,
) -> Option<u16> {
    let own = || pool.iter().filter(|(_, entry)| entry.value.session.peer().identity == identity);
    if own().count() >= per_identity {
        own().min_by_key(|(_, entry)| entry.touched).map(|(at, _)| at)
    } else if pool.is_full() {
        pool.iter().min_by_key(|(_, entry)| entry.touched).map(|(at, _)| at)
    } else {
        None
    }
}

/// The part of an address that one party controls: the first 24 bits of IPv4, the first 48 of IPv6, which a site may have
/// all of (RFC 6177 §2).
#[derive(Clone, Copy, PartialEq, Eq)]
struct Prefix([u8; 6]);

impl Prefix {
    fn of(path: &Path) -> Self {
        match path.remote.ip().to_canonical() {
            IpAddr::V4(ip) => {
                let [a, b, c, _] = ip.octets();
                // No host has an IPv6 address that begins like this.
                Self([0, 0, 0, a, b, c])
            }
            IpAddr::V6(ip) => Self(ip.octets().first_chunk().copied().unwrap_or_default()),
        }
    }
}
