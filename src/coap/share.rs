//! How a table that is full for some stays open for others.

/// Whether a table of `capacity`, of which `free` places are left, takes another entry of whoever has `held` of them.
///
/// The last quarter is for those who hold less than a quarter: nobody fills a table alone.
pub(super) const fn admits(capacity: usize, free: usize, held: usize) -> bool {
    let quarter = capacity / 4;
    free > quarter || (free > 0 && held < quarter)
}

#[cfg(test)]
mod tests {
    use super::admits;

    #[test]
    fn nobody_fills_a_table_alone() {
        for capacity in 1..100 {
            let mut free = capacity;
            let mut fill = || {
                let mut held = 0;
                while admits(capacity, free, held) {
                    (free, held) = (free - 1, held + 1);
                }
                held
            };
            let first = fill();
            assert_eq!(first, capacity - capacity / 4);
            assert_eq!(fill(), capacity / 4);
            assert_eq!(fill(), 0);
        }
    }
}
