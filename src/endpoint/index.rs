//! A hash table over the slots of a pool.

/// No slot.
const NIL: u16 = u16::MAX;

/// Finds slots by the hash of some key of theirs. Those of one bucket are chained.
pub(super) struct Index<const N: usize> {
    /// The first slot of each bucket.
    buckets: [u16; N],
    /// Each slot's place, if it is in the table.
    places: [Place; N],
}

#[derive(Clone, Copy)]
struct Place {
    bucket: u16,
    /// The slot behind it in the chain.
    next: u16,
}

impl Place {
    const NOWHERE: Self = Self { bucket: NIL, next: NIL };
}

impl<const N: usize> Index<N> {
    pub(super) const fn new() -> Self {
        const { assert!(N > 0 && N < NIL as usize, "a pool has 1 to 65534 slots") };
        Self { buckets: [NIL; N], places: [Place::NOWHERE; N] }
    }

    fn place(&self, at: u16) -> Option<&Place> {
        self.places.get(usize::from(at))
    }

    /// The first slot with this hash that `is_it`.
    pub(super) fn find(&self, hash: u64, is_it: impl Fn(u16) -> bool) -> Option<u16> {
        let mut at = *self.buckets.get(usize::from(bucket::<N>(hash)))?;
        // A chain is never longer than the pool.
        for _ in 0..N {
            let place = self.place(at)?;
            if is_it(at) {
                return Some(at);
            }
            at = place.next;
        }
        None
    }

    /// Whether the slot is in the table.
    pub(super) fn contains(&self, at: u16) -> bool {
        self.place(at).is_some_and(|place| place.bucket != NIL)
    }

    /// Adds a slot that is not in the table.
    pub(super) fn insert(&mut self, hash: u64, at: u16) {
        let bucket = bucket::<N>(hash);
        let head = self.buckets.get_mut(usize::from(bucket));
        if let (Some(head), Some(place)) = (head, self.places.get_mut(usize::from(at))) {
            *place = Place { bucket, next: core::mem::replace(head, at) };
        }
    }

    /// Takes a slot out of the table, if it is in there.
    pub(super) fn remove(&mut self, at: u16) {
        let Some(place) = self.places.get_mut(usize::from(at)) else { return };
        let Place { bucket, next } = core::mem::replace(place, Place::NOWHERE);
        let Some(head) = self.buckets.get_mut(usize::from(bucket)) else { return };
        // Whatever pointed at this slot points behind it now.
        if *head == at {
            *head = next;
            return;
        }
        let mut before = *head;
        for _ in 0..N {
            let Some(place) = self.places.get_mut(usize::from(before)) else { return };
            if place.next == at {
                place.next = next;
                return;
            }
            before = place.next;
        }
    }
}

const fn bucket<const N: usize>(hash: u64) -> u16 {
    // A pool has less than 65,535 slots.
    (hash % N as u64) as u16
}
