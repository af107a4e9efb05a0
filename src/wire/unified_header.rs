//! The unified header of encrypted records in DTLS 1.3 (RFC 9147 §4).

use super::record::{Header, Split};
use super::{BufferFull, Reader, Writer};

/// What every unified header begins with.
const FIXED_BITS: u8 = 0b0010_0000;
/// Whether a connection ID follows.
const C: u8 = 0b0001_0000;
/// Whether the sequence number has 16 bits, or 8.
const S: u8 = 0b0000_1000;
/// Whether a length follows.
const L: u8 = 0b0000_0100;
/// The low bits of the epoch.
const E: u8 = 0b0000_0011;

/// The shortest ciphertext in bytes, tag included: the sequence number is encrypted with what that much of it gives (§4.2.3).
pub const MIN_CIPHERTEXT: usize = 16;

/// The header of an encrypted record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnifiedHeader<'d> {
    /// The connection ID that the receiver asked for; empty for none.
    pub connection_id: &'d [u8],
    /// The low two bits of the epoch.
    pub epoch_bits: u8,
    /// The low 8 or 16 bits of the sequence number. Encrypted, as they are read off a datagram.
    pub sequence_number: u16,
    /// Whether the sequence number has 16 bits.
    pub long_sequence_number: bool,
    /// Length in bytes of the ciphertext; `None` for a record that reaches to the end of its datagram.
    pub length: Option<u16>,
}

impl UnifiedHeader<'_> {
    /// Length in bytes of the header.
    pub const fn len(&self) -> usize {
        let length = if self.length.is_some() { 2 } else { 0 };
        self.sequence_number_at() + self.sequence_number_len() + length
    }

    /// How many bytes of the header are before the sequence number.
    pub const fn sequence_number_at(&self) -> usize {
        1 + self.connection_id.len()
    }

    /// Length in bytes of the sequence number.
    pub const fn sequence_number_len(&self) -> usize {
        if self.long_sequence_number { 2 } else { 1 }
    }

    /// Writes the header as it is authenticated: with the sequence number in the clear.
    pub fn emit(&self, w: &mut Writer<'_>) -> Result<(), BufferFull> {
        let flag = |set, bit| if set { bit } else { 0 };
        let [high, low] = self.sequence_number.to_be_bytes();
        w.u8(FIXED_BITS
            | flag(!self.connection_id.is_empty(), C)
            | flag(self.long_sequence_number, S)
            | flag(self.length.is_some(), L)
            | self.epoch_bits & E)?;
        w.bytes(self.connection_id)?;
        if self.long_sequence_number {
            w.u8(high)?;
        }
        w.u8(low)?;
        self.length.map_or(Ok(()), |length| w.u16(length))
    }
}

/// Whether a record that begins with this byte has a unified header (§4.1).
pub const fn is_first_byte(byte: u8) -> bool {
    byte & 0b1110_0000 == FIXED_BITS
}

/// Takes a record with a unified header off `datagram`, as [`split_first`](super::record::split_first) does.
pub(super) fn split_first(datagram: &mut [u8], connection_id_len: usize) -> Option<(Split<'_>, &mut [u8])> {
    let first = *datagram.first()?;
    let id_len = if first & C == 0 { 0 } else { connection_id_len };
    let long_sequence_number = first & S != 0;
    let len = 1 + id_len + if long_sequence_number { 2 } else { 1 } + if first & L == 0 { 0 } else { 2 };
    let (head, rest) = datagram.split_at_mut_checked(len)?;
    let mut r = Reader::new(head.get(1..)?);
    let connection_id = r.take(id_len).ok()?;
    let sequence_number = if long_sequence_number { r.u16().ok()? } else { r.u8().ok()?.into() };
    let length = if first & L == 0 { None } else { Some(r.u16().ok()?) };
    let end = length.map_or(rest.len(), usize::from);
    let (body, rest) = rest.split_at_mut_checked(end)?;
    let header =
        UnifiedHeader { connection_id, epoch_bits: first & E, sequence_number, long_sequence_number, length };
    // A connection ID that nobody asked for has a length that nobody knows (§9), and less than this cannot be read (§4.2.3).
    let split = if first & C != 0 && id_len == 0 || body.len() < MIN_CIPHERTEXT {
        Split::Unknown
    } else {
        Split::Record(Header::Unified(header), body)
    };
    Some((split, rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::record::split_first;

    /// Every form, written and read.
    #[test]
    fn every_form() {
        for form in 0..32 {
            let header = UnifiedHeader {
                connection_id: if form & 16 == 0 { b"" } else { b"cid" },
                epoch_bits: form & 3,
                sequence_number: if form & 8 == 0 { 0xAB } else { 0xABCD },
                long_sequence_number: form & 8 != 0,
                length: (form & 4 != 0).then_some(20),
            };
            let mut datagram = [7; 64];
            let mut w = Writer::new(&mut datagram);
            header.emit(&mut w).unwrap();
            let len = w.len();
            assert_eq!((datagram[0], len), (0b0010_0000 | form, header.len()));
            let (Split::Record(Header::Unified(read), body), rest) = split_first(&mut datagram, 3).unwrap()
            else {
                panic!("a record")
            };
            assert_eq!(read, header);
            let expected = if header.length.is_some() { (20, 64 - len - 20) } else { (64 - len, 0) };
            assert_eq!((body.len(), rest.len()), expected);
        }
    }

    #[test]
    fn hostile() {
        // Cut short anywhere.
        for len in 0..6 {
            assert!(split_first(&mut [0b0011_1111, 1, 2, 3, 4, 5][..len], 2).is_none());
        }
        // A length beyond the datagram.
        assert!(split_first(&mut [&[0b0010_0100, 0, 0, 17][..], &[0; 16]].concat(), 0).is_none());
        // Too little to read, and a connection ID that was not asked for: passed over, whatever follows is looked at.
        let mut short = [&[0b0010_0100, 0, 0, 15][..], &[0; 15], &[22]].concat();
        assert!(matches!(split_first(&mut short, 0), Some((Split::Unknown, [22]))));
        let mut with_id = [&[0b0011_0100, 0, 0, 16][..], &[0; 16], &[22]].concat();
        assert!(matches!(split_first(&mut with_id, 0), Some((Split::Unknown, [22]))));
        assert!(matches!(split_first(&mut [0b0010_0000; 17], 0), Some((Split::Unknown, []))));
    }
}
