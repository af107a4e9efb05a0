//! `ACK` (RFC 9147 §7): which records with handshake messages have arrived.

use super::record::RecordNumber;
use super::{BufferFull, InvalidMessage, Reader, Writer};

/// A list of record numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ack<'a>(&'a [u8]);

/// Length in bytes of a record number.
const NUMBER_LEN: usize = 16;

impl<'a> Ack<'a> {
    /// Reads an ACK, which must fill its record. It may be empty.
    pub fn parse(body: &'a [u8]) -> Result<Self, InvalidMessage> {
        let mut r = Reader::new(body);
        let numbers = r.vec16()?;
        r.finish()?;
        if numbers.len().is_multiple_of(NUMBER_LEN) {
            Ok(Self(numbers))
        } else {
            Err(InvalidMessage::IllegalLength)
        }
    }

    /// The numbers.
    pub fn iter(&self) -> impl Iterator<Item = RecordNumber> + use<'a> {
        let mut r = Reader::new(self.0);
        core::iter::from_fn(move || {
            Some(RecordNumber { epoch: r.u64().ok()?, sequence_number: r.u64().ok()? })
        })
    }

    /// Writes one with these numbers.
    pub fn emit(numbers: &[RecordNumber], w: &mut Writer<'_>) -> Result<(), BufferFull> {
        w.nested16(|w| {
            numbers.iter().try_for_each(|number| {
                w.u64(number.epoch)?;
                w.u64(number.sequence_number)
            })
        })
    }

    /// Length in bytes of one with so many numbers.
    pub const fn len(numbers: usize) -> usize {
        2 + NUMBER_LEN * numbers
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn written_and_read() {
        let number = |epoch, sequence_number| RecordNumber { epoch, sequence_number };
        let numbers = [number(0, 1), number(2, 0), number(2, u64::MAX)];
        let mut buf = [0; 64];
        let mut w = Writer::new(&mut buf);
        Ack::emit(&numbers, &mut w).unwrap();
        let bytes = w.written();
        assert_eq!(bytes.len(), Ack::len(3));
        assert!(Ack::parse(bytes).unwrap().iter().eq(numbers));
        assert_eq!(Ack::parse(&[0, 0]).unwrap().iter().count(), 0);
        assert_eq!(Ack::parse(&bytes[..bytes.len() - 1]), Err(InvalidMessage::Truncated));
        assert_eq!(Ack::parse(&[0, 1, 0]), Err(InvalidMessage::IllegalLength));
        assert_eq!(Ack::parse(&[0, 0, 0]), Err(InvalidMessage::TrailingData));
        assert_eq!(Ack::parse(&[0]), Err(InvalidMessage::Truncated));
    }
}
