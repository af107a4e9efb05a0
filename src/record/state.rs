//! The connection states of RFC 5246 §6.1, one per direction and epoch.

use core::ops::Range;

use super::ReplayWindow;
use crate::CipherSuite;
use crate::connection_id::{OwnConnectionId, PeerConnectionId};
use crate::crypto::aead::{AeadKey, EXPLICIT_NONCE_LEN};
use crate::crypto::limits::ALERT_RESERVE;
use crate::crypto::provider::CryptoProvider;
use crate::error::Error;
use crate::log::warning;
use crate::stats::Stats;
use crate::wire::record::{ContentType, HEADER_LEN, MAX_PLAINTEXT, MAX_SEQUENCE_NUMBER, RecordHeader};
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

/// Seals the records that leave. Of two clones, only one may ever seal.
#[derive(Clone)]
pub(crate) struct WriteState {
    pub(super) suite: CipherSuite,
    pub(super) key: AeadKey,
    pub(super) epoch: u16,
    pub(super) next: u64,
    /// Numbers from here on belong to whoever restores the last checkpoint.
    pub(super) reserved: u64,
    pub(super) connection_id: PeerConnectionId,
    /// The longest plaintext that the peer takes.
    pub(super) record_size_limit: u16,
}

impl WriteState {
    pub(crate) const fn new(
        suite: CipherSuite,
        key: AeadKey,
        epoch: u16,
        connection_id: PeerConnectionId,
        record_size_limit: u16,
    ) -> Self {
        Self { suite, key, epoch, next: 0, reserved: u64::MAX, connection_id, record_size_limit }
    }

    /// Where the key stays.
    pub(crate) const fn key_mut(&mut self) -> &mut AeadKey {
        &mut self.key
    }

    pub(crate) const fn epoch(&self) -> u16 {
        self.epoch
    }

    pub(crate) const fn suite(&self) -> CipherSuite {
        self.suite
    }

    /// Keeps so many numbers for this side, from the next one on. Those behind belong to whoever restores the image that is
    /// taken now. Returns where they began before, for [`unreserve`](Self::unreserve).
    pub(crate) fn reserve(&mut self, records: u64) -> Result<u64, Error> {
        let reserved = self.next.saturating_add(records);
        if reserved >= self.suite.aead().seal_limit() {
            return Err(Error::SealLimitReached);
        }
        Ok(core::mem::replace(&mut self.reserved, reserved))
    }

    /// No image was taken after all.
    pub(crate) const fn unreserve(&mut self, before: u64) {
        self.reserved = before;
    }

    /// How many records were sealed.
    pub(crate) const fn sealed(&self) -> u64 {
        self.next
    }

    /// Bytes in front of a payload: header, connection ID and explicit nonce.
    const fn prefix(&self) -> usize {
        HEADER_LEN + self.connection_id.len() + EXPLICIT_NONCE_LEN
    }

    /// Bytes that the content type takes behind a payload, where the header has no place for it (RFC 9146 §4).
    const fn inner_type_len(&self) -> usize {
        if self.connection_id.is_empty() { 0 } else { 1 }
    }

    /// Bytes in front of a payload and behind it.
    pub(crate) const fn overhead(&self) -> (usize, usize) {
        (self.prefix(), self.inner_type_len() + self.suite.tag_len())
    }

    /// Length in bytes of the datagram that carries one sealed record of `len` plaintext bytes.
    pub(crate) const fn sealed_len(&self, len: usize) -> usize {
        let (prefix, suffix) = self.overhead();
        prefix + len + suffix
    }

    /// The longest payload of one record.
    pub(crate) const fn max_payload(&self) -> usize {
        (self.record_size_limit as usize).saturating_sub(self.inner_type_len())
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
        if len > self.max_payload() {
            return Err(Error::PayloadTooLong { max: self.max_payload() });
        }
        let (prefix, suffix) = self.overhead();
        let start = payload.start.saturating_sub(prefix);
        let end = payload.end.saturating_add(suffix);
        let too_small = Error::BufferTooSmall { needed: self.sealed_len(len) };
        // Of another length where there is no room in front, or the range runs backwards.
        let record = buf.get_mut(start..end).filter(|record| record.len() == self.sealed_len(len));
        let record = record.ok_or(too_small)?;
        // A key seals no more than its algorithm allows, and no sequence number is ever used twice (RFC 6347 §4.1).
        let limit = self.suite.aead().seal_limit().min(MAX_SEQUENCE_NUMBER + 1);
        let reserve = if content_type == ContentType::Alert { 0 } else { ALERT_RESERVE };
        if self.next >= limit - reserve {
            return Err(Error::SealLimitReached);
        }
        if self.next >= self.reserved {
            return Err(Error::CheckpointNeeded);
        }
        let with_id = !self.connection_id.is_empty();
        let header = RecordHeader {
            content_type: if with_id { ContentType::Tls12Cid } else { content_type },
            version: version::DTLS12,
            epoch: self.epoch,
            sequence_number: self.next,
            connection_id: self.connection_id.as_bytes(),
        };
        self.next += 1;
        if self.next == limit / 2 {
            warning!("half of what this key may seal is sealed: connect again some day soon");
        }

        // The nonce is never random: epoch and sequence number make it unique (RFC 6655 §3).
        let explicit_nonce = header.epoch_and_sequence().to_be_bytes();
        let (head, rest) = record.split_at_mut(prefix);
        let (data, tag) = rest.split_at_mut(len + self.inner_type_len());
        if with_id && let Some(inner_type) = data.last_mut() {
            *inner_type = content_type.number();
        }
        self.key
            .seal(crypto, self.suite.aead(), &header, explicit_nonce, data, tag)
            .map_err(|_| Error::CryptoFailed)?;
        let mut w = Writer::new(head);
        header
            .emit(EXPLICIT_NONCE_LEN + len + suffix, &mut w)
            .and_then(|()| w.bytes(&explicit_nonce))
            .map_err(|_| too_small)?;
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
        let len: usize = parts.iter().map(|part| part.len()).sum();
        let too_small = Error::BufferTooSmall { needed: self.sealed_len(len) };
        let payload = self.prefix()..self.prefix() + len;
        let mut w = Writer::new(buf.get_mut(payload.clone()).ok_or(too_small)?);
        for part in parts {
            w.bytes(part).map_err(|_| too_small)?;
        }
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

/// A record that its peer has authenticated.
pub(crate) struct Opened<'d> {
    /// What it really carries.
    pub(crate) content_type: ContentType,
    pub(crate) body: &'d mut [u8],
    /// Whether no newer one had come before it.
    pub(crate) is_newest: bool,
}

/// Opens the records that arrive.
#[derive(Clone)]
pub(crate) struct ReadState {
    pub(super) suite: CipherSuite,
    pub(super) key: AeadKey,
    pub(super) epoch: u16,
    pub(super) window: ReplayWindow,
    pub(super) connection_id: OwnConnectionId,
    /// The longest plaintext that was asked for.
    pub(super) record_size_limit: u16,
    /// Records that did not open under this key.
    pub(super) forged: u64,
}

impl ReadState {
    pub(crate) fn new(
        suite: CipherSuite,
        key: AeadKey,
        epoch: u16,
        connection_id: OwnConnectionId,
        record_size_limit: u16,
    ) -> Self {
        Self {
            suite,
            key,
            epoch,
            window: ReplayWindow::default(),
            connection_id,
            record_size_limit,
            forged: 0,
        }
    }

    /// Where the key stays.
    pub(crate) const fn key_mut(&mut self) -> &mut AeadKey {
        &mut self.key
    }

    /// The connection ID that records have to carry; empty for none.
    pub(crate) fn connection_id(&self) -> &[u8] {
        self.connection_id.as_bytes()
    }

    /// How many records did not open.
    pub(crate) const fn forged(&self) -> u64 {
        self.forged
    }

    /// Opens a record in place. The replay window moves only when that succeeds (RFC 6347 §4.1.2.6).
    pub(crate) fn open<'d>(
        &mut self,
        crypto: &dyn CryptoProvider,
        header: &RecordHeader<'_>,
        body: &'d mut [u8],
    ) -> Result<Opened<'d>, Dropped> {
        // Where a connection ID is expected, a record without it is invalid, and the other way round (RFC 9146 §3).
        if header.epoch != self.epoch || header.connection_id != self.connection_id.as_bytes() {
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
        let opened = self.key.open(crypto, self.suite.aead(), header, *explicit_nonce, data, tag);
        if opened.is_err() {
            self.forged = self.forged.saturating_add(1);
            return Err(Dropped::Forged);
        }
        let is_newest = self.window.is_newest(header.sequence_number);
        self.window.mark(header.sequence_number);
        // Longer than this side has asked for: discarded, as RFC 8449 §4 allows.
        if len > usize::from(self.record_size_limit) {
            return Err(Dropped::Unexpected);
        }
        if header.connection_id.is_empty() {
            return Ok(Opened { content_type: header.content_type, body: data, is_newest });
        }
        // The content type is the last byte that is not padding (RFC 9146 §4).
        let at = data.iter().rposition(|byte| *byte != 0).ok_or(Dropped::Unexpected)?;
        let content_type = data.get(at).copied().and_then(ContentType::from_number);
        let content_type = content_type.filter(|inner| *inner != ContentType::Tls12Cid);
        let content_type = content_type.ok_or(Dropped::Unexpected)?;
        let body = data.get_mut(..at).ok_or(Dropped::Unexpected)?;
        Ok(Opened { content_type, body, is_newest })
    }
}

#[cfg(test)]
mod tests {
    use super::{Dropped, PlainWriter, ReadState, WriteState};
    use crate::connection_id::{OwnConnectionId, PeerConnectionId};
    use crate::crypto::aead::AeadKey;
    use crate::crypto::limits::ALERT_RESERVE;
    use crate::crypto::provider::RustCrypto;
    use crate::wire::record::{ContentType, HEADER_LEN, MAX_SEQUENCE_NUMBER, Split, split_first};
    use crate::{CipherSuite, Error};

    const KEY: AeadKey = AeadKey { key: [1; 16], salt: [2; 4] };

    fn write_state(connection_id: &[u8], limit: u16) -> WriteState {
        let id = PeerConnectionId::new(connection_id).unwrap();
        WriteState::new(CipherSuite::Aes128Ccm8, KEY.clone(), 1, id, limit)
    }

    /// The last number is used once, and the last but a few are for alerts; then sending ends (RFC 9147 §4.5.3).
    #[test]
    fn a_key_seals_no_more_than_it_may() {
        let mut write = write_state(&[], 1 << 14);
        let limit = CipherSuite::Aes128Ccm8.aead().seal_limit();
        write.next = limit - ALERT_RESERVE - 1;
        let mut buf = [0; 64];
        let len = write.seal(&RustCrypto, ContentType::ApplicationData, [b"last", &[]], &mut buf).unwrap();
        assert_eq!(len, 33);
        let refused = |write: &mut WriteState, content_type| {
            let mut buf = [7; 64];
            let outcome = write.seal_in_place(&RustCrypto, content_type, &mut buf, 21..25);
            assert_eq!(outcome, Err(Error::SealLimitReached));
            assert_eq!(buf, [7; 64]);
        };
        refused(&mut write, ContentType::ApplicationData);
        for _ in 0..ALERT_RESERVE {
            write.seal(&RustCrypto, ContentType::Alert, [&[1, 0], &[]], &mut buf).unwrap();
        }
        assert_eq!(buf[5..11], (limit - 1).to_be_bytes()[2..]);
        assert_eq!(buf[HEADER_LEN..HEADER_LEN + 8], (1 << 48 | (limit - 1)).to_be_bytes());
        for content_type in [ContentType::ApplicationData, ContentType::Alert, ContentType::Handshake] {
            refused(&mut write, content_type);
        }
    }

    /// A connection ID of every length, with and without padding, and its type inside.
    #[test]
    fn connection_ids_and_padding() {
        if !cfg!(feature = "connection-id") {
            return;
        }
        for id in [&b"1"[..], b"12", b"12345678"] {
            let mut write = write_state(id, 1 << 14);
            let mut read =
                ReadState::new(CipherSuite::Aes128Ccm8, KEY, 1, OwnConnectionId::new(id).unwrap(), 1 << 14);
            let mut buf = [0; 128];
            // Padding is nothing but more zeros behind the type, which this side never sends but always takes.
            for padding in [0, 1, 40] {
                let padded = [&b"data\x17"[..], &[0; 40][..padding]].concat();
                // Sealed as if the last byte of the padding were the type.
                let (content, last) = padded.split_at(padded.len() - 1);
                let mut sealer = write.clone();
                let prefix = sealer.prefix();
                buf[prefix..prefix + content.len()].copy_from_slice(content);
                let len = if padding == 0 {
                    assert_eq!(last, [23]);
                    sealer.seal(&RustCrypto, ContentType::ApplicationData, [content, &[]], &mut buf).unwrap()
                } else {
                    seal_padded(&mut sealer, content, &mut buf)
                };
                write = sealer;
                assert_eq!(buf[0], 25);
                let (Split::Record(header, body), []) = split_first(&mut buf[..len], id.len()).unwrap()
                else {
                    panic!("one record")
                };
                let opened = read.open(&RustCrypto, &header, body).ok().unwrap();
                assert_eq!(
                    (opened.content_type, &*opened.body),
                    (ContentType::ApplicationData, &b"data"[..])
                );
                assert!(opened.is_newest);
            }
            // Nothing but padding, and a record inside of a record.
            for content in [&[0; 8][..], &[1, 2, 25]] {
                let len = seal_padded(&mut write, content, &mut buf);
                let (Split::Record(header, body), []) = split_first(&mut buf[..len], id.len()).unwrap()
                else {
                    panic!("one record")
                };
                assert!(matches!(read.open(&RustCrypto, &header, body), Err(Dropped::Unexpected)));
            }
        }
    }

    /// Seals `content` and a zero byte as the inner plaintext.
    fn seal_padded(write: &mut WriteState, content: &[u8], buf: &mut [u8]) -> usize {
        use crate::wire::record::RecordHeader;
        let id = write.connection_id;
        let header = RecordHeader {
            content_type: ContentType::Tls12Cid,
            version: crate::wire::version::DTLS12,
            epoch: 1,
            sequence_number: write.next,
            connection_id: id.as_bytes(),
        };
        write.next += 1;
        let nonce = header.epoch_and_sequence().to_be_bytes();
        let mut data = [content, &[0]].concat();
        let mut tag = [0; 8];
        write.key.seal(&RustCrypto, write.suite.aead(), &header, nonce, &mut data, &mut tag).unwrap();
        let mut w = crate::wire::Writer::new(buf);
        header.emit(8 + data.len() + 8, &mut w).unwrap();
        [&nonce[..], &data, &tag].iter().for_each(|part| w.bytes(part).unwrap());
        w.len()
    }

    /// The peer's limit counts what is encrypted, the content type inside too (RFC 8449 §4).
    #[test]
    fn record_size_limits() {
        let mut write = write_state(&[], 64);
        let mut buf = [0; 256];
        let mut seal = |write: &mut WriteState, len| {
            write.seal(&RustCrypto, ContentType::ApplicationData, [&[5; 80][..len], &[]], &mut buf)
        };
        assert_eq!(seal(&mut write, 64), Ok(64 + 29));
        assert_eq!(seal(&mut write, 65), Err(Error::PayloadTooLong { max: 64 }));
        if cfg!(feature = "connection-id") {
            let mut write = write_state(b"x", 64);
            assert_eq!(seal(&mut write, 63), Ok(63 + 31));
            assert_eq!(seal(&mut write, 64), Err(Error::PayloadTooLong { max: 63 }));
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
