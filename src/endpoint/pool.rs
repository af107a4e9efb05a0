//! A bounded pool of values, found by the path that they belong to.

use core::hash::{Hash, Hasher};
use core::net::{IpAddr, SocketAddr};

use crate::time::Instant;

/// The two ends of a datagram's way.
///
/// Two paths are equal when addresses, ports and IPv6 zones are: the flow label of IPv6 may change from one datagram to
/// the next.
#[derive(Clone, Copy, Debug)]
pub struct Path {
    /// The address here that the peer's datagrams arrive at, and that the replies leave from. Sockets that do not tell
    /// it may use any constant.
    pub local: SocketAddr,
    /// The peer's address.
    pub remote: SocketAddr,
}

impl Path {
    fn key(&self) -> [(IpAddr, u16, u32); 2] {
        [self.local, self.remote].map(|address| match address {
            SocketAddr::V4(v4) => (IpAddr::V4(*v4.ip()), v4.port(), 0),
            SocketAddr::V6(v6) => (IpAddr::V6(*v6.ip()), v6.port(), v6.scope_id()),
        })
    }
}

impl PartialEq for Path {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for Path {}

impl Hash for Path {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.key().hash(state);
    }
}

/// No slot.
const NIL: u16 = u16::MAX;

/// `N` slots with a hash table over them: the values of one bucket are chained through their slots.
///
/// All methods take the path's hash from their caller, who keys it, so that nobody can aim at one bucket.
pub(super) struct Pool<T, const N: usize> {
    buckets: [u16; N],
    slots: [Slot<T>; N],
    /// The first of the slots that were used and given back, chained as buckets are.
    free: u16,
    /// How many slots were ever used.
    used: u16,
}

struct Slot<T> {
    next: u16,
    entry: Option<Entry<T>>,
}

/// A value and where it belongs.
pub(super) struct Entry<T> {
    pub(super) path: Path,
    bucket: u16,
    /// When it was made, or last of use.
    pub(super) touched: Instant,
    pub(super) value: T,
}

impl<T, const N: usize> Pool<T, N> {
    /// A constant, because the value of an expression may lie in stack memory that had keys in it before, and an
    /// unoptimised build copies all of that memory into the slot.
    const EMPTY: Slot<T> = Slot { next: NIL, entry: None };

    pub(super) const fn new() -> Self {
        const { assert!(N > 0 && N < NIL as usize, "a pool has 1 to 65534 slots") };
        Self { buckets: [NIL; N], slots: [Self::EMPTY; N], free: NIL, used: 0 }
    }

    /// Drops every value.
    pub(super) fn clear(&mut self) {
        for slot in &mut self.slots {
            *slot = Self::EMPTY;
        }
        self.buckets = [NIL; N];
        (self.free, self.used) = (NIL, 0);
    }

    pub(super) const fn is_full(&self) -> bool {
        self.free == NIL && self.used as usize == N
    }

    /// The slot of the value at `path`.
    pub(super) fn find(&self, hash: u64, path: &Path) -> Option<u16> {
        let mut at = *self.buckets.get(usize::from(bucket::<N>(hash)))?;
        // A chain is never longer than the pool.
        for _ in 0..N {
            let slot = self.slots.get(usize::from(at))?;
            if slot.entry.as_ref().is_some_and(|entry| entry.path == *path) {
                return Some(at);
            }
            at = slot.next;
        }
        None
    }

    pub(super) fn get(&self, at: u16) -> Option<&Entry<T>> {
        self.slots.get(usize::from(at))?.entry.as_ref()
    }

    pub(super) fn get_mut(&mut self, at: u16) -> Option<&mut Entry<T>> {
        self.slots.get_mut(usize::from(at))?.entry.as_mut()
    }

    /// Puts a value into a free slot and returns which; `None` when there is none. At most one value belongs to a path.
    pub(super) fn insert(&mut self, hash: u64, path: Path, now: Instant, value: T) -> Option<u16> {
        let at = if self.free != NIL { self.free } else { self.used };
        let slot = self.slots.get_mut(usize::from(at))?;
        if at == self.free {
            self.free = slot.next;
        } else {
            self.used += 1;
        }
        let bucket = bucket::<N>(hash);
        let head = self.buckets.get_mut(usize::from(bucket))?;
        *slot = Slot {
            next: core::mem::replace(head, at),
            entry: Some(Entry { path, bucket, touched: now, value }),
        };
        Some(at)
    }

    /// Drops the value of a slot where it lies, so that its secrets are wiped there and not in a copy.
    pub(super) fn remove(&mut self, at: u16) -> Option<()> {
        let slot = self.slots.get_mut(usize::from(at))?;
        let bucket = slot.entry.as_ref()?.bucket;
        slot.entry = Self::EMPTY.entry;
        let behind = core::mem::replace(&mut slot.next, self.free);
        self.free = at;

        // Unchain it: whatever pointed at this slot points behind it now.
        let head = self.buckets.get_mut(usize::from(bucket))?;
        if *head == at {
            *head = behind;
            return Some(());
        }
        let mut before = *head;
        for _ in 0..N {
            let slot = self.slots.get_mut(usize::from(before))?;
            if slot.next == at {
                slot.next = behind;
                break;
            }
            before = slot.next;
        }
        Some(())
    }

    /// The slots that may hold a value.
    pub(super) const fn slots(&self) -> core::ops::Range<u16> {
        0..self.used
    }

    /// Every value with its slot.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u16, &Entry<T>)> {
        let used = self.slots.iter().take(self.used.into());
        (0..).zip(used).filter_map(|(at, slot)| Some((at, slot.entry.as_ref()?)))
    }

    /// Every value.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Entry<T>> {
        self.slots.iter_mut().filter_map(|slot| slot.entry.as_mut())
    }
}

const fn bucket<const N: usize>(hash: u64) -> u16 {
    // A pool has less than 65,535 slots.
    (hash % N as u64) as u16
}

#[cfg(test)]
mod tests {
    use super::{Path, Pool};
    use crate::time::Instant;

    fn path(port: u16) -> Path {
        let local = "127.0.0.1:5684".parse().unwrap();
        Path { local, remote: ([127, 0, 0, 1], port).into() }
    }

    /// The pool against a map, with a hash so poor that chains grow.
    #[test]
    fn agrees_with_a_map() {
        let mut pool = Pool::<u32, 7>::new();
        let mut map = std::collections::BTreeMap::new();
        let mut state = 7_u64;
        for step in 0..20_000_u32 {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            let port = (state >> 40) as u16 % 12;
            let hash = u64::from(port % 3);
            match pool.find(hash, &path(port)) {
                Some(at) => {
                    assert_eq!(pool.get(at).map(|entry| entry.value), map.remove(&port));
                    assert_eq!(pool.remove(at), Some(()));
                    assert_eq!(pool.find(hash, &path(port)), None);
                }
                None => {
                    assert_eq!(pool.is_full(), map.len() == 7);
                    let inserted = pool.insert(hash, path(port), Instant::ZERO, step);
                    assert_eq!(inserted.is_some(), map.len() < 7);
                    if inserted.is_some() {
                        map.insert(port, step);
                    }
                }
            }
            let mut held: std::vec::Vec<u32> = pool.iter().map(|(_, entry)| entry.value).collect();
            held.sort_unstable();
            let mut expected: std::vec::Vec<u32> = map.values().copied().collect();
            expected.sort_unstable();
            assert_eq!(held, expected);
        }
    }
}
