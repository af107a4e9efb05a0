//! The record layer's header in its long form, that of DTLS 1.2 and of every plaintext (RFC 6347 §4.1, RFC 9147 §4), with a
//! connection ID or without (RFC 9146 §4); and the first record of a datagram, whatever its form.

#[cfg(feature = "dtls13")]
use super::unified_header::{self, UnifiedHeader};
use super::{BufferFull, Reader, Writer, version};

/// Length in bytes of a DTLS 1.2 record header without its connection ID.
pub const HEADER_LEN: usize = 13;

/// The highest sequence number that 48 bits hold.
pub const MAX_SEQUENCE_NUMBER: u64 = (1 << 48) - 1;

/// The longest plaintext of one record (RFC 5246 §6.2.1).
pub const MAX_PLAINTEXT: usize = 1 << 14;

/// The same, as a limit that hellos speak of.
pub const MAX_RECORD_SIZE: u16 = 1 << 14;

/// What a record carries (RFC 5246 §6.2.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum ContentType {
    /// The one-byte signal that the next records are under new keys.
    ChangeCipherSpec,
    /// An alert.
    Alert,
    /// Handshake messages or fragments of them.
    Handshake,
    /// The application's bytes.
    ApplicationData,
    /// A record with a connection ID; what it carries is inside, encrypted (RFC 9146 §4).
    Tls12Cid,
    /// Which records have arrived (RFC 9147 §7).
    #[cfg(feature = "dtls13")]
    Ack,
    /// A message of the return routability check (RFC 9853 §4).
    ReturnRoutabilityCheck,
}

impl ContentType {
    /// The number on the wire.
    pub const fn number(self) -> u8 {
        match self {
            Self::ChangeCipherSpec => 20,
            Self::Alert => 21,
            Self::Handshake => 22,
            Self::ApplicationData => 23,
            Self::Tls12Cid => 25,
            #[cfg(feature = "dtls13")]
            Self::Ack => 26,
            Self::ReturnRoutabilityCheck => 27,
        }
    }

    /// The content type with this number, if this build knows it.
    pub const fn from_number(number: u8) -> Option<Self> {
        match number {
            20 => Some(Self::ChangeCipherSpec),
            21 => Some(Self::Alert),
            22 => Some(Self::Handshake),
            23 => Some(Self::ApplicationData),
            25 => Some(Self::Tls12Cid),
            #[cfg(feature = "dtls13")]
            26 => Some(Self::Ack),
            27 => Some(Self::ReturnRoutabilityCheck),
            _ => None,
        }
    }
}

/// Everything of a record's header but its length, which is that of the body beside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct RecordHeader<'d> {
    /// What the record carries, as far as one can see from outside.
    pub content_type: ContentType,
    /// The version's bytes.
    pub version: [u8; 2],
    /// Counts the changes of keys; 0 is plaintext.
    pub epoch: u16,
    /// Counts the records of the epoch; 48 bits.
    pub sequence_number: u64,
    /// The connection ID that the receiver asked for; empty but for [`ContentType::Tls12Cid`].
    pub connection_id: &'d [u8],
}

impl RecordHeader<'_> {
    /// Writes the header for a body of `len` bytes.
    pub fn emit(&self, len: usize, w: &mut Writer<'_>) -> Result<(), BufferFull> {
        w.u8(self.content_type.number())?;
        w.bytes(&self.version)?;
        w.u16(self.epoch)?;
        let [_, _, sequence_number @ ..] = self.sequence_number.to_be_bytes();
        w.bytes(&sequence_number)?;
        w.bytes(self.connection_id)?;
        w.u16(u16::try_from(len).map_err(|_| BufferFull)?)
    }

    /// Epoch and sequence number as one number of 64 bits (RFC 6347 §4.1.2.1).
    #[cfg(feature = "dtls12")]
    pub const fn epoch_and_sequence(&self) -> u64 {
        (self.epoch as u64) << 48 | self.sequence_number
    }
}

/// The full number of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct RecordNumber {
    /// Under which keys it was sealed.
    pub epoch: u64,
    /// Its place among the records of the epoch.
    pub sequence_number: u64,
}

/// The header of a record, in either form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Header<'d> {
    /// That of a plaintext, or of an encrypted record of DTLS 1.2.
    Full(RecordHeader<'d>),
    /// That of an encrypted record of DTLS 1.3.
    #[cfg(feature = "dtls13")]
    Unified(UnifiedHeader<'d>),
}

impl<'d> Header<'d> {
    /// The connection ID that the receiver asked for; empty for none.
    pub const fn connection_id(&self) -> &'d [u8] {
        match self {
            Self::Full(header) => header.connection_id,
            #[cfg(feature = "dtls13")]
            Self::Unified(header) => header.connection_id,
        }
    }

    /// Length in bytes of the header.
    pub const fn len(&self) -> usize {
        match self {
            Self::Full(header) => HEADER_LEN + header.connection_id.len(),
            #[cfg(feature = "dtls13")]
            Self::Unified(header) => header.len(),
        }
    }

    /// The header of a record that is not encrypted.
    pub const fn plaintext(&self) -> Option<&RecordHeader<'d>> {
        match self {
            Self::Full(header) if header.epoch == 0 => Some(header),
            _ => None,
        }
    }

    /// Whether the header tells that the record carries application data, as that of DTLS 1.2 does.
    pub fn shows_application_data(&self) -> bool {
        matches!(self, Self::Full(header) if header.content_type == ContentType::ApplicationData)
    }
}

/// One step through a datagram.
#[derive(Debug)]
pub enum Split<'d> {
    /// A record in a form that is known.
    Record(Header<'d>, &'d mut [u8]),
    /// A record of another version or content type: to be passed over.
    Unknown,
}

/// Takes the first record off `datagram`, and returns it with what is behind it. Connection IDs, whose length no record
/// tells, have `connection_id_len` bytes.
///
/// `None` when what is left is no record: a header cut short, or a length that reaches past the end of the datagram (a
/// record never spans two, RFC 6347 §4.1.1).
pub fn split_first(datagram: &mut [u8], connection_id_len: usize) -> Option<(Split<'_>, &mut [u8])> {
    let first = *datagram.first()?;
    #[cfg(feature = "dtls13")]
    if unified_header::is_first_byte(first) {
        return unified_header::split_first(datagram, connection_id_len);
    }
    let content_type = ContentType::from_number(first);
    let id_len = if content_type == Some(ContentType::Tls12Cid) { connection_id_len } else { 0 };
    let (head, rest) = datagram.split_at_mut_checked(HEADER_LEN + id_len)?;
    let mut r = Reader::new(head.get(1..)?);
    let version: [u8; 2] = r.array().ok()?;
    let epoch = r.u16().ok()?;
    let [a, b, c, d, e, f] = r.array().ok()?;
    let sequence_number = u64::from_be_bytes([0, 0, a, b, c, d, e, f]);
    let connection_id = r.take(id_len).ok()?;
    let len = r.u16().ok()?;
    let (body, rest) = rest.split_at_mut_checked(len.into())?;

    // DTLS 1.0's number is legal on a first flight only, where no version has been agreed (RFC 6347 §4.2.1).
    let version_fits = version == version::DTLS12 || (version == version::DTLS10 && epoch == 0);
    let split = match content_type {
        // Where no connection ID is expected, there is no such record (RFC 9146 §3).
        Some(ContentType::Tls12Cid) if id_len == 0 => Split::Unknown,
        Some(content_type) if version_fits => {
            let header = RecordHeader { content_type, version, epoch, sequence_number, connection_id };
            Split::Record(Header::Full(header), body)
        }
        _ => Split::Unknown,
    };
    Some((split, rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    fn record(content_type: u8, version: [u8; 2], epoch: u8, body: &[u8]) -> Vec<u8> {
        let len = (body.len() as u16).to_be_bytes();
        [&[content_type], &version[..], &[0, epoch], &[0, 0, 0, 0, 0, 9], &len, body].concat()
    }

    /// What is made of each record of a datagram: the length of its header and its body, if it is one.
    fn split(mut datagram: Vec<u8>, connection_id_len: usize) -> Vec<Option<(usize, usize)>> {
        let mut rest = datagram.as_mut_slice();
        let mut found = Vec::new();
        while let Some((split, behind)) = split_first(rest, connection_id_len) {
            found.push(match split {
                Split::Record(header, body) => Some((header.len(), body.len())),
                Split::Unknown => None,
            });
            rest = behind;
        }
        found
    }

    #[test]
    fn content_types() {
        let known = (0..=u8::MAX).filter(|number| {
            let found = ContentType::from_number(*number);
            found.is_some_and(|found| {
                assert_eq!(found.number(), *number);
                true
            })
        });
        assert_eq!(known.count(), if cfg!(feature = "dtls13") { 7 } else { 6 });
    }

    /// Records of both versions in one datagram, as they are when the first flight of a server ends (RFC 9147 §4.3).
    #[test]
    #[cfg(feature = "dtls13")]
    fn both_forms_in_one_datagram() {
        let plain = record(22, version::DTLS12, 0, b"hello");
        let with_length = [&[0b0010_1110, 0, 7, 0, 20][..], &[5; 20]].concat();
        let with_id = [&[0b0011_0111, b'i', b'd', 7, 0, 16][..], &[5; 16]].concat();
        let to_the_end = [&[0b0010_0010, 7][..], &[5; 17]].concat();
        let datagram = [plain, with_length, with_id, to_the_end].concat();
        assert_eq!(split(datagram.clone(), 2), [Some((13, 5)), Some((5, 20)), Some((6, 16)), Some((2, 17))]);
        // How long a connection ID is that was not asked for cannot be told, nor where its record ends.
        assert_eq!(split(datagram, 0)[..2], [Some((13, 5)), Some((5, 20))]);
    }

    /// Only what says DTLS 1.2, and 1.0 where nothing has been agreed. DTLS 1.3 says 1.2 too (RFC 9147 §4).
    #[test]
    fn versions() {
        assert_eq!(split(record(22, version::DTLS12, 0, &[1]), 0), [Some((13, 1))]);
        assert_eq!(split(record(22, version::DTLS10, 0, &[1]), 0), [Some((13, 1))]);
        assert_eq!(split(record(22, version::DTLS10, 1, &[1]), 0), [None]);
        assert_eq!(split(record(22, version::DTLS13, 0, &[1]), 0), [None]);
        assert_eq!(split(record(22, [3, 3], 0, &[1]), 0), [None]);
    }

    /// What is no record is passed over or ends the datagram, and never takes what is behind it along.
    #[test]
    fn hostile() {
        let good = record(21, version::DTLS12, 0, &[2, 40]);
        // First bytes of other protocols on the same port, too (RFC 9147 §4.1).
        for first in [0, 19, 24, 28, 64, 128, 191, 255] {
            let odd = record(first, version::DTLS12, 0, &[7; 3]);
            assert_eq!(split([&odd[..], &good].concat(), 3), [None, Some((13, 2))], "{first}");
        }
        for len in 0..good.len() {
            assert_eq!(split(good[..len].to_vec(), 0), [], "{len}");
        }
        // A connection ID's record without one (RFC 9146 §3).
        let with_id = record(25, version::DTLS12, 1, &[7; 3]);
        assert_eq!(split([&with_id[..], &good].concat(), 0), [None, Some((13, 2))]);
    }
}
