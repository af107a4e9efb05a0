//! The record layer's header in its DTLS 1.2 form (RFC 6347 §4.1), with a connection ID or without (RFC 9146 §4).

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
            Self::ReturnRoutabilityCheck => 27,
        }
    }

    /// The content type with this number, if it is one of DTLS 1.2.
    pub const fn from_number(number: u8) -> Option<Self> {
        match number {
            20 => Some(Self::ChangeCipherSpec),
            21 => Some(Self::Alert),
            22 => Some(Self::Handshake),
            23 => Some(Self::ApplicationData),
            25 => Some(Self::Tls12Cid),
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
    pub const fn epoch_and_sequence(&self) -> u64 {
        (self.epoch as u64) << 48 | self.sequence_number
    }
}

/// One step through a datagram.
#[derive(Debug)]
pub enum Split<'d> {
    /// A record that this version of the protocol can read.
    Record(RecordHeader<'d>, &'d mut [u8]),
    /// A record of another version or content type: to be passed over.
    Unknown,
}

/// Takes the first record off `datagram`, and returns it with what is behind it. Connection IDs, whose length no record
/// tells, have `connection_id_len` bytes.
///
/// `None` when what is left is no record: a header cut short, or a length that reaches past the end of the datagram (a
/// record never spans two, RFC 6347 §4.1.1).
pub fn split_first(datagram: &mut [u8], connection_id_len: usize) -> Option<(Split<'_>, &mut [u8])> {
    let content_type = ContentType::from_number(*datagram.first()?);
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
            Split::Record(header, body)
        }
        _ => Split::Unknown,
    };
    Some((split, rest))
}
