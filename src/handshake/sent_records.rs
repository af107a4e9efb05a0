//! In which records a flight went out, so that only what is missing is sent again (RFC 9147 §7.2).

use super::flight::Position;
use crate::wire::record::RecordNumber;

/// How many records of a flight are remembered. What a peer says of others changes nothing: they are sent again.
const MAX_RECORDS: usize = 8;

/// A part of a flight, the record that carried it, and whether the peer has it.
#[derive(Clone, Copy)]
struct SentRecord {
    number: RecordNumber,
    start: Position,
    end: Position,
    acknowledged: bool,
}

/// The records that a flight went out in, the latest ones.
#[derive(Clone, Copy)]
pub(crate) struct SentRecords {
    records: [Option<SentRecord>; MAX_RECORDS],
}

impl SentRecords {
    pub(crate) const NONE: Self = Self { records: [None; MAX_RECORDS] };

    /// What lies between `start` and `end` went out in this record. It takes the place of the oldest one that is not
    /// acknowledged, if need be; where the peer has so many parts already, it is not remembered.
    pub(crate) fn add(&mut self, number: RecordNumber, start: Position, end: Position) {
        let is_newer = |place: &&mut Option<SentRecord>| place.is_none_or(|record| !record.acknowledged);
        let place =
            self.records.iter_mut().filter(is_newer).min_by_key(|place| place.map(|record| record.number));
        if let Some(place) = place {
            *place = Some(SentRecord { number, start, end, acknowledged: false });
        }
    }

    /// The peer has this record. Whether that is news.
    pub(crate) fn acknowledge(&mut self, number: RecordNumber) -> bool {
        let records = self.records.iter_mut().flatten();
        let mut is_news = false;
        for record in records.filter(|record| record.number == number) {
            is_news |= !core::mem::replace(&mut record.acknowledged, true);
        }
        is_news
    }

    /// The first position from `at` on that the peer may not have.
    pub(crate) fn skip(&self, mut at: Position) -> Position {
        // Each record is passed once at most.
        for _ in 0..MAX_RECORDS {
            let acknowledged = self.records.iter().flatten().filter(|record| record.acknowledged);
            let covering = acknowledged.filter(|record| record.start <= at && at < record.end);
            match covering.map(|record| record.end).max() {
                Some(end) => at = end,
                None => break,
            }
        }
        at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn number(sequence_number: u64) -> RecordNumber {
        RecordNumber { epoch: 2, sequence_number }
    }

    const fn at(message: u8, offset: u16) -> Position {
        Position { message, offset }
    }

    #[test]
    fn what_was_acknowledged_is_skipped() {
        let mut sent = SentRecords::NONE;
        sent.add(number(0), at(0, 0), at(1, 10));
        sent.add(number(1), at(1, 10), at(2, 0));
        sent.add(number(2), at(2, 0), at(3, 0));
        assert_eq!(sent.skip(at(0, 0)), at(0, 0));
        assert!(!sent.acknowledge(number(3)), "never sent");
        assert!(sent.acknowledge(number(1)));
        assert!(!sent.acknowledge(number(1)), "no news");
        assert_eq!(sent.skip(at(0, 0)), at(0, 0));
        assert_eq!(sent.skip(at(1, 10)), at(2, 0));
        assert_eq!(sent.skip(at(1, 50)), at(2, 0));
        // The first part again, in other records, in smaller pieces.
        sent.add(number(3), at(0, 0), at(0, 40));
        sent.add(number(4), at(0, 40), at(1, 10));
        assert!(sent.acknowledge(number(4)));
        assert!(sent.acknowledge(number(3)));
        assert_eq!(sent.skip(at(0, 0)), at(2, 0));
        assert!(sent.acknowledge(number(2)));
        assert_eq!(sent.skip(at(0, 0)), at(3, 0));
    }

    #[test]
    fn more_records_than_are_remembered() {
        let mut sent = SentRecords::NONE;
        for seq in 0..20 {
            sent.add(number(seq), at(0, seq as u16), at(0, seq as u16 + 1));
        }
        assert!(!sent.acknowledge(number(0)), "forgotten");
        for seq in 12..20 {
            assert!(sent.acknowledge(number(seq)));
        }
        sent.add(number(20), at(0, 0), at(0, 1));
        assert!(!sent.acknowledge(number(20)), "there was no room");
        assert_eq!(sent.skip(at(0, 12)), at(0, 20));
    }
}
