//! Which records have arrived whose sender wants to know (RFC 9147 §7).

use crate::wire::record::RecordNumber;

/// Records with handshake messages that have arrived, and that the peer may want to hear of: `N` at most.
#[derive(Clone, Copy)]
pub(crate) struct ReceivedRecords<const N: usize> {
    numbers: [RecordNumber; N],
    len: u8,
}

impl<const N: usize> ReceivedRecords<N> {
    pub(crate) const NONE: Self =
        Self { numbers: [RecordNumber { epoch: 0, sequence_number: 0 }; N], len: 0 };

    /// Adds a record whose messages were all processed or buffered, in numerical order (§7). In place of the oldest one where
    /// there are too many: the newest copies are the likelier ones to be missed.
    pub(crate) fn add(&mut self, number: RecordNumber) {
        let known = self.as_slice();
        if known.contains(&number) {
            return;
        }
        let at = known.iter().take_while(|earlier| **earlier < number).count();
        if usize::from(self.len) == N {
            if at == 0 {
                return;
            }
            self.numbers.copy_within(1..at, 0);
            if let Some(place) = self.numbers.get_mut(at - 1) {
                *place = number;
            }
            return;
        }
        self.numbers.copy_within(at..self.len.into(), at + 1);
        if let Some(place) = self.numbers.get_mut(at) {
            *place = number;
            self.len += 1;
        }
    }

    /// The newest of them, as many as there is room for.
    pub(crate) fn newest<const M: usize>(&self) -> ReceivedRecords<M> {
        let mut newest = ReceivedRecords::NONE;
        self.as_slice().iter().for_each(|number| newest.add(*number));
        newest
    }

    pub(crate) const fn clear(&mut self) {
        self.len = 0;
    }

    pub(crate) fn as_slice(&self) -> &[RecordNumber] {
        self.numbers.get(..self.len.into()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn number(sequence_number: u64) -> RecordNumber {
        RecordNumber { epoch: 2, sequence_number }
    }

    #[test]
    fn received_records_are_in_order_and_bounded() {
        let mut received = ReceivedRecords::<8>::NONE;
        for sequence_number in [5, 3, 9, 3, 7] {
            received.add(number(sequence_number));
        }
        received.add(RecordNumber { epoch: 0, sequence_number: 100 });
        let numbers = |received: &ReceivedRecords<8>| {
            received.as_slice().iter().map(|number| number.sequence_number).collect::<std::vec::Vec<_>>()
        };
        assert_eq!(numbers(&received), [100, 3, 5, 7, 9]);
        for sequence_number in [20, 21, 22, 8] {
            received.add(number(sequence_number));
        }
        assert_eq!(numbers(&received), [3, 5, 7, 8, 9, 20, 21, 22]);
        received.add(number(2));
        received.add(number(23));
        assert_eq!(numbers(&received), [5, 7, 8, 9, 20, 21, 22, 23]);
        received.clear();
        assert_eq!(received.as_slice(), []);
    }
}
