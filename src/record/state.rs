//! The connection states of RFC 5246 §6.1, one per direction and epoch.

use core::ops::Range;

use super::{RECORD_PREFIX, ReplayWindow};
use crate::CipherSuite;
use crate::crypto::aead::{AeadKey, EXPLICIT_NONCE_LEN};
use crate::crypto::provider::CryptoProvider;
use crate::error::Error;
use crate::stats::Stats;
use crate::wire::record::{ContentType, MAX_PLAINTEXT, MAX_SEQUENCE_NUMBER, RecordHeader};
use crate::wire::{Writer, version};

/// Length in bytes of the datagram that carries one sealed record of `len` plaintext bytes.
pub(crate) const fn sealed_len(suite: CipherSuite, len: usize) -> usize {
    RECORD_PREFIX + len + suite.tag_len()
}

/// Writes plaintext records of epoch 0.
#[derive(Clone, Copy)]
pub(crate) struct PlainWriter {
    next: u64,
}

impl PlainWriter {
    /// Starts at `sequence_number`.
    pub(crate) const fn starting_at(sequence_number: u64) -> Self {
        Self { next: sequence_number }
    }

    /// Writes a record whose body comes in two parts, and returns its length, or `None` when `buf` has no room for it.
    pub(crate) fn write(
        &mut self,
        content_type: ContentType,
        body: [&[u8]; 2],
        buf: &mut [u8],
    ) -> Option<usize> {
        let [head, tail] = body;
        let header =
            RecordHeader { content_type, version: version::DTLS12, epoch: 0, sequence_number: self.next };
        let mut w = Writer::new(buf);
        header.emit(head.len() + tail.len(), &mut w).ok()?;
        w.bytes(head).ok()?;
        w.bytes(tail).ok()?;
        // The 2^48 plaintext records of one handshake are never reached: its deadline comes first.
        self.next = (self.next + 1) & MAX_SEQUENCE_NUMBER;
        Some(w.len())
    }
}

/// Seals the records that leave. Of two clones, only one may ever seal.
#[derive(Clone)]
pub(crate) struct WriteState {
    suite: CipherSuite,
    key: AeadKey,
    epoch: u16,
    next: u64,
}

impl WriteState {
    pub(crate) const fn new(suite: CipherSuite, key: AeadKey, epoch: u16) -> Self {
        Self { suite, key, epoch, next: 0 }
    }

    pub(crate) const fn epoch(&self) -> u16 {
        self.epoch
    }

    pub(crate) const fn suite(&self) -> CipherSuite {
        self.suite
    }

    /// Seals the payload that lies at `payload` in `buf`, and returns where in `buf` the record is.
    pub(crate) fn seal_in_place(
        &mut self,
        crypto: &dyn CryptoProvider,
        content_type: ContentType,
        buf: &mut [u8],
        payload: Range<usize>,
    ) -> Result<Range<usize>, Error> {
        let len = payload.len();
        if len > MAX_PLAINTEXT {
            return Err(Error::PayloadTooLong);
        }
        let start = payload.start.saturating_sub(RECORD_PREFIX);
        let end = payload.end.saturating_add(self.suite.tag_len());
        // Of another length where there is no room in front, or the range runs backwards.
        let record = buf.get_mut(start..end).filter(|record| record.len() == sealed_len(self.suite, len));
        let Some(record) = record else {
            return Err(Error::BufferTooSmall { needed: sealed_len(self.suite, len) });
        };
        // A sequence number is never used twice under a key: at the end of the numbers, sending ends (RFC 6347 §4.1).
        if self.next > MAX_SEQUENCE_NUMBER {
            return Err(Error::SequenceNumbersExhausted);
        }
        let header = RecordHeader {
            content_type,
            version: version::DTLS12,
            epoch: self.epoch,
            sequence_number: self.next,
        };
        self.next += 1;

        // The nonce is never random: epoch and sequence number make it unique (RFC 6655 §3).
        let explicit_nonce = header.epoch_and_sequence().to_be_bytes();
        let (head, rest) = record.split_at_mut(RECORD_PREFIX);
        let (data, tag) = rest.split_at_mut(len);
        self.key
            .seal(crypto, self.suite, &header, explicit_nonce, data, tag)
            .map_err(|_| Error::CryptoFailed)?;
        let mut w = Writer::new(head);
        header
            .emit(EXPLICIT_NONCE_LEN + len + self.suite.tag_len(), &mut w)
            .and_then(|()| w.bytes(&explicit_nonce))
            .map_err(|_| Error::BufferTooSmall { needed: sealed_len(self.suite, len) })?;
        Ok(start..end)
    }

    /// Seals the concatenation of `parts` at the start of `buf`, and returns the record's length.
    pub(crate) fn seal(
        &mut self,
        crypto: &dyn CryptoProvider,
        content_type: ContentType,
        parts: [&[u8]; 2],
        buf: &mut [u8],
    ) -> Result<usize, Error> {
        let len = parts.iter().map(|part| part.len()).sum();
        let too_small = Error::BufferTooSmall { needed: sealed_len(self.suite, len) };
        let body = buf.get_mut(RECORD_PREFIX..RECORD_PREFIX + len).ok_or(too_small)?;
        let mut w = Writer::new(body);
        for part in parts {
            w.bytes(part).map_err(|_| too_small)?;
        }
        let payload = RECORD_PREFIX..RECORD_PREFIX + len;
        self.seal_in_place(crypto, content_type, buf, payload).map(|record| record.end)
    }
}

/// Why a record was not opened. No error: the record is dropped and counted, and nothing else changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub(crate) enum Dropped {
    /// It was received before, or is older than the window.
    Replayed,
    /// It does not carry the peer's authentication.
    Forged,
    /// It is of an epoch, a type or a state that does not belong here.
    Unexpected,
}

impl Dropped {
    pub(crate) fn count(self, stats: &mut Stats) {
        Stats::count(match self {
            Self::Replayed => &mut stats.replayed,
            Self::Forged => &mut stats.forged,
            Self::Unexpected => &mut stats.dropped,
        });
    }
}

/// Opens the records that arrive.
#[derive(Clone)]
pub(crate) struct ReadState {
    suite: CipherSuite,
    key: AeadKey,
    epoch: u16,
    window: ReplayWindow,
}

impl ReadState {
    pub(crate) fn new(suite: CipherSuite, key: AeadKey, epoch: u16) -> Self {
        Self { suite, key, epoch, window: ReplayWindow::default() }
    }

    /// Opens a record in place. The replay window moves only when that succeeds (RFC 6347 §4.1.2.6).
    pub(crate) fn open<'d>(
        &mut self,
        crypto: &dyn CryptoProvider,
        header: &RecordHeader,
        body: &'d mut [u8],
    ) -> Result<&'d mut [u8], Dropped> {
        if header.epoch != self.epoch {
            return Err(Dropped::Unexpected);
        }
        if !self.window.is_new(header.sequence_number) {
            return Err(Dropped::Replayed);
        }
        let (explicit_nonce, rest) =
            body.split_first_chunk_mut::<EXPLICIT_NONCE_LEN>().ok_or(Dropped::Forged)?;
        let len = rest.len().checked_sub(self.suite.tag_len()).ok_or(Dropped::Forged)?;
        if len > MAX_PLAINTEXT {
            return Err(Dropped::Forged);
        }
        let (data, tag) = rest.split_at_mut(len);
        self.key.open(crypto, self.suite, header, *explicit_nonce, data, tag).map_err(|_| Dropped::Forged)?;
        self.window.mark(header.sequence_number);
        Ok(data)
    }
}

#[cfg(test)]
mod tests {
    use super::{PlainWriter, WriteState};
    use crate::crypto::aead::AeadKey;
    use crate::crypto::provider::RustCrypto;
    use crate::wire::record::{ContentType, HEADER_LEN, MAX_SEQUENCE_NUMBER};
    use crate::{CipherSuite, Error};

    /// The last number is used once; then sending ends, for data and alerts alike (RFC 6347 §4.1).
    #[test]
    fn numbers_are_never_used_twice() {
        let mut write = WriteState::new(CipherSuite::Aes128Ccm8, AeadKey { key: [1; 16], salt: [2; 4] }, 1);
        write.next = MAX_SEQUENCE_NUMBER;
        let mut buf = [0; 64];
        let len = write.seal(&RustCrypto, ContentType::ApplicationData, [b"last", &[]], &mut buf).unwrap();
        assert_eq!(buf[5..11], [0xFF; 6]);
        assert_eq!(buf[HEADER_LEN..HEADER_LEN + 8], [0, 1, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF]);
        assert_eq!(len, 33);
        for content_type in [ContentType::ApplicationData, ContentType::Alert, ContentType::Handshake] {
            let before = buf;
            let outcome = write.seal_in_place(&RustCrypto, content_type, &mut buf, 21..25);
            assert_eq!(outcome, Err(Error::SequenceNumbersExhausted));
            assert_eq!(buf, before);
        }
    }

    /// Plaintext records take their first number from the peer, so theirs may come to the end, and wrap.
    #[test]
    fn plaintext_numbers_wrap() {
        let mut plain = PlainWriter::starting_at(MAX_SEQUENCE_NUMBER);
        let mut buf = [0; 15];
        assert_eq!(plain.write(ContentType::Alert, [&[2, 40], &[]], &mut buf), Some(15));
        assert_eq!(buf[5..11], [0xFF; 6]);
        assert_eq!(plain.write(ContentType::Alert, [&[2], &[40]], &mut buf), Some(15));
        assert_eq!(buf[5..11], [0; 6]);
        assert_eq!(plain.write(ContentType::Alert, [&[2, 40], &[]], &mut buf[..14]), None);
    }
}
