//! Records that are not encrypted, those of epoch 0.

#[cfg(feature = "dtls13")]
use crate::wire::record::RecordNumber;
use crate::wire::record::{ContentType, MAX_SEQUENCE_NUMBER, RecordHeader};
use crate::wire::{Writer, version};

/// Writes plaintext records of epoch 0.
#[derive(Clone, Copy)]
pub(crate) struct PlainWriter {
    pub(super) next: u64,
}

impl PlainWriter {
    /// Starts at `sequence_number`.
    pub(crate) const fn starting_at(sequence_number: u64) -> Self {
        Self { next: sequence_number }
    }

    /// The number of the next record.
    #[cfg(feature = "dtls13")]
    pub(crate) const fn next_number(&self) -> RecordNumber {
        RecordNumber { epoch: 0, sequence_number: self.next }
    }

    /// Writes a record whose body comes in two parts, and returns its length, or `None` when `buf` has no room for it.
    pub(crate) fn write(
        &mut self,
        content_type: ContentType,
        body: [&[u8]; 2],
        buf: &mut [u8],
    ) -> Option<usize> {
        let [head, tail] = body;
        let header = RecordHeader {
            content_type,
            version: version::DTLS12,
            epoch: 0,
            sequence_number: self.next,
            connection_id: &[],
        };
        let mut w = Writer::new(buf);
        header.emit(head.len() + tail.len(), &mut w).ok()?;
        w.bytes(head).ok()?;
        w.bytes(tail).ok()?;
        // The 2^48 plaintext records of one handshake are never reached: its deadline comes first.
        self.next = (self.next + 1) & MAX_SEQUENCE_NUMBER;
        Some(w.len())
    }
}
