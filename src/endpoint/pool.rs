//! A bounded pool of values, found by the path that they belong to.

use super::index::Index;
use crate::path::Path;
use crate::time::Instant;

/// `N` slots, and where in them the value of a path is.
///
/// All methods take the path's hash from their caller, who keys it, so that nobody can aim at one bucket.
pub(super) struct Pool<T, const N: usize> {
    slots: [Option<Entry<T>>; N],
    by_path: Index<N>,
    /// Every slot from here on is free.
    end: u16,
}

/// A value and where it belongs.
pub(super) struct Entry<T> {
    pub(super) path: Path,
    /// When it was made, or last of use.
    pub(super) touched: Instant,
    pub(super) value: T,
}

impl<T, const N: usize> Pool<T, N> {
    /// A constant, because the value of an expression may lie in stack memory that had keys in it before, and an
    /// unoptimised build copies all of that memory into the slot.
    const FREE: Option<Entry<T>> = None;

    pub(super) const fn new() -> Self {
        Self { slots: [Self::FREE; N], by_path: Index::new(), end: 0 }
    }

    /// Drops every value.
    pub(super) fn clear(&mut self) {
        for slot in &mut self.slots {
            *slot = Self::FREE;
        }
        self.by_path = Index::new();
        self.end = 0;
    }

    pub(super) fn is_full(&self) -> bool {
        self.slots.iter().all(Option::is_some)
    }

    /// The slot of the value at `path`.
    pub(super) fn find(&self, hash: u64, path: &Path) -> Option<u16> {
        self.by_path.find(hash, |at| self.get(at).is_some_and(|entry| entry.path == *path))
    }

    pub(super) fn get(&self, at: u16) -> Option<&Entry<T>> {
        self.slots.get(usize::from(at))?.as_ref()
    }

    pub(super) fn get_mut(&mut self, at: u16) -> Option<&mut Entry<T>> {
        self.slots.get_mut(usize::from(at))?.as_mut()
    }

    /// Puts a value into a free slot and returns which; `None` when there is none. At most one value belongs to a path.
    pub(super) fn insert(&mut self, hash: u64, path: Path, now: Instant, value: T) -> Option<u16> {
        let (at, slot) = (0..).zip(&mut self.slots).find(|(_, slot)| slot.is_none())?;
        *slot = Some(Entry { path, touched: now, value });
        self.by_path.insert(hash, at);
        self.end = self.end.max(at + 1);
        Some(at)
    }

    /// Drops the value of a slot where it lies, so that its secrets are wiped there and not in a copy.
    pub(super) fn remove(&mut self, at: u16) {
        self.by_path.remove(at);
        if let Some(slot) = self.slots.get_mut(usize::from(at)) {
            *slot = Self::FREE;
        }
    }

    /// The path finds this value no more.
    pub(super) fn detach(&mut self, at: u16) {
        self.by_path.remove(at);
    }

    /// Another path, which no other value belongs to, finds this value.
    pub(super) fn attach(&mut self, at: u16, hash: u64, path: Path) {
        self.by_path.remove(at);
        if let Some(entry) = self.get_mut(at) {
            entry.path = path;
            self.by_path.insert(hash, at);
        }
    }

    /// Whether some path finds this value.
    pub(super) fn is_attached(&self, at: u16) -> bool {
        self.by_path.contains(at)
    }

    /// The slots that may hold a value.
    pub(super) const fn slots(&self) -> core::ops::Range<u16> {
        0..self.end
    }

    /// Every value with its slot.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u16, &Entry<T>)> {
        let used = self.slots.iter().take(self.end.into());
        (0..).zip(used).filter_map(|(at, slot)| Some((at, slot.as_ref()?)))
    }

    /// Every value.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Entry<T>> {
        self.slots.iter_mut().take(self.end.into()).flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::Pool;
    use crate::path::Path;
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
                    pool.remove(at);
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
