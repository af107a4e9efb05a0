//! The anti-replay window (RFC 6347 §4.1.2.6, RFC 4303 §3.4.3).

/// Remembers which of the last 64 sequence numbers were received.
#[derive(Clone, Copy, Default)]
pub(crate) struct ReplayWindow {
    /// The highest sequence number received; means nothing while `seen` is empty.
    highest: u64,
    /// Bit n stands for `highest - n`.
    seen: u64,
}

impl ReplayWindow {
    /// Its two numbers, for a saved session.
    pub(super) const fn to_numbers(self) -> [u64; 2] {
        [self.highest, self.seen]
    }

    /// The window that had these numbers.
    pub(super) const fn from_numbers([highest, seen]: [u64; 2]) -> Self {
        Self { highest, seen }
    }

    /// Whether a record with this number is new. Changes nothing, as the record may yet turn out to be forged.
    pub(crate) fn is_new(&self, sequence_number: u64) -> bool {
        match self.highest.checked_sub(sequence_number) {
            // Ahead of the window, or nothing was received yet.
            None => true,
            Some(_) if self.seen == 0 => true,
            Some(age @ 0..64) => self.seen >> age & 1 == 0,
            Some(_) => false,
        }
    }

    /// Whether no record with this number or a higher one was received.
    pub(crate) const fn is_newest(&self, sequence_number: u64) -> bool {
        self.seen == 0 || sequence_number > self.highest
    }

    /// Whether nothing was received.
    #[cfg(feature = "dtls13")]
    pub(crate) const fn is_empty(&self) -> bool {
        self.seen == 0
    }

    /// The number whose low `bits` bits, 8 or 16, are these, next to the one behind the highest received (RFC 9147 §4.2.2).
    #[cfg(feature = "dtls13")]
    pub(crate) fn reconstruct(&self, low: u16, bits: u32) -> u64 {
        let expected = if self.seen == 0 { 0 } else { self.highest + 1 };
        let span = 1 << bits;
        let candidate = expected & !(span - 1) | u64::from(low);
        if candidate > expected + span / 2 && candidate >= span {
            candidate - span
        } else if candidate + span / 2 < expected {
            candidate + span
        } else {
            candidate
        }
    }

    /// Remembers the number of a record that was authenticated.
    pub(crate) fn mark(&mut self, sequence_number: u64) {
        match self.highest.checked_sub(sequence_number) {
            _ if self.seen == 0 => (self.highest, self.seen) = (sequence_number, 1),
            Some(age @ 0..64) => self.seen |= 1 << age,
            Some(_) => {}
            None => {
                let ahead = sequence_number - self.highest;
                self.seen = if ahead < 64 { self.seen << ahead | 1 } else { 1 };
                self.highest = sequence_number;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::ReplayWindow;

    /// The window against the plainest model of it: a set of everything that was marked.
    #[test]
    fn agrees_with_a_set() {
        let mut state = 1_u64;
        let mut random = || {
            // Knuth's MMIX generator: any fixed sequence will do here.
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            state >> 33
        };
        for _ in 0..200 {
            let mut window = ReplayWindow::default();
            let mut marked = std::collections::BTreeSet::new();
            let mut base = random() % 3;
            for _ in 0..300 {
                base += random() % 5 * (random() % 20);
                let number = (base + random() % 100).saturating_sub(70);
                let highest = marked.last().copied();
                let expected =
                    !marked.contains(&number) && highest.is_none_or(|highest| number + 64 > highest);
                assert_eq!(window.is_new(number), expected, "{number} after {highest:?}");
                if expected {
                    window.mark(number);
                    marked.insert(number);
                }
            }
        }
    }

    #[test]
    fn ends_of_the_number_space() {
        let mut window = ReplayWindow::default();
        assert!(window.is_new(0));
        window.mark(0);
        assert!(!window.is_new(0));
        let last = crate::wire::record::MAX_SEQUENCE_NUMBER;
        assert!(window.is_new(last));
        window.mark(last);
        assert!(!window.is_new(last));
        assert!(!window.is_new(0));
        assert!(window.is_new(last - 63));
        assert!(!window.is_new(last - 64));
    }
}
