//! The write states of RFC 5246 §6.1, one for each epoch.

use core::ops::Range;

use crate::CipherSuite;
use crate::connection_id::PeerConnectionId;
use crate::crypto::aead::AeadKey;
#[cfg(feature = "dtls12")]
use crate::crypto::aead::{EXPLICIT_NONCE_LEN, MAX_ADDITIONAL_DATA, additional_data};
#[cfg(feature = "dtls13")]
use crate::crypto::key_schedule::{self, Secret};
use crate::crypto::limits::ALERT_RESERVE;
use crate::crypto::provider::{AeadError, CryptoProvider};
use crate::error::Error;
use crate::log::warning;
use crate::wire::Writer;
#[cfg(feature = "dtls13")]
use crate::wire::record::RecordNumber;
use crate::wire::record::{ContentType, MAX_SEQUENCE_NUMBER};
#[cfg(feature = "dtls12")]
use crate::wire::record::{HEADER_LEN, RecordHeader};
#[cfg(feature = "dtls13")]
use crate::wire::unified_header::{MIN_CIPHERTEXT, UnifiedHeader};
use crate::wire::version::ProtocolVersion;

/// How many records go out with 8 bits of their number, while the peer may have missed them all: with more, it could not tell which
/// number is meant (RFC 9147 §4.2.2).
#[cfg(feature = "dtls13")]
const MAX_UNHEARD: u8 = 64;

/// Seals the records that leave. Of two clones, only one may ever seal.
#[derive(Clone)]
pub(crate) struct WriteState {
    /// Which says the version, too.
    pub(super) suite: CipherSuite,
    pub(super) key: AeadKey,
    /// What the key comes from, and the next one will.
    #[cfg(feature = "dtls13")]
    pub(super) secret: Secret,
    pub(super) epoch: u64,
    pub(super) next: u64,
    /// Numbers from here on belong to whoever restores the last checkpoint.
    pub(super) reserved: u64,
    /// How many records went out since the peer was heard, up to [`MAX_UNHEARD`].
    #[cfg(feature = "dtls13")]
    pub(super) unheard: u8,
    pub(super) connection_id: PeerConnectionId,
    /// The longest plaintext that the peer takes.
    pub(super) record_size_limit: u16,
}

impl WriteState {
    /// A state without its key, which is made where it stays.
    pub(crate) fn new(
        suite: CipherSuite,
        epoch: u64,
        connection_id: PeerConnectionId,
        record_size_limit: u16,
    ) -> Self {
        Self {
            suite,
            key: AeadKey::empty(),
            #[cfg(feature = "dtls13")]
            secret: key_schedule::no_secret(),
            epoch,
            next: 0,
            reserved: u64::MAX,
            #[cfg(feature = "dtls13")]
            unheard: 0,
            connection_id,
            record_size_limit,
        }
    }

    /// Where the key stays.
    #[cfg(feature = "dtls12")]
    pub(crate) const fn key_mut(&mut self) -> &mut AeadKey {
        &mut self.key
    }

    pub(crate) const fn epoch(&self) -> u64 {
        self.epoch
    }

    pub(crate) const fn suite(&self) -> CipherSuite {
        self.suite
    }

    /// Keeps so many numbers for this side, from the next one on. Those behind belong to whoever restores the image that is
    /// taken now. Returns where they began before, for [`unreserve`](Self::unreserve).
    pub(crate) fn reserve(&mut self, records: u64) -> Result<u64, Error> {
        let reserved = self.next.saturating_add(records.min(self.longest_gap()));
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

    /// The number of the next record.
    #[cfg(feature = "dtls13")]
    pub(crate) const fn next_number(&self) -> RecordNumber {
        RecordNumber { epoch: self.epoch, sequence_number: self.next }
    }

    /// Bytes in front of a payload: in DTLS 1.2 header, connection ID and explicit nonce, in DTLS 1.3 the header alone.
    pub(super) fn prefix(&self) -> usize {
        match self.suite.version() {
            #[cfg(feature = "dtls12")]
            ProtocolVersion::Dtls12 => HEADER_LEN + self.connection_id.len() + EXPLICIT_NONCE_LEN,
            #[cfg(feature = "dtls13")]
            ProtocolVersion::Dtls13 => self.unified_header().len(),
            #[allow(unreachable_patterns, reason = "but not in a build with one version")]
            _ => 0,
        }
    }

    /// Whether the content type is inside: in DTLS 1.3, and where the header has a connection ID instead (RFC 9146 §4).
    fn has_inner_type(&self) -> bool {
        self.suite.version() == ProtocolVersion::Dtls13 || !self.connection_id.is_empty()
    }

    /// Bytes behind a payload of so many bytes, up to the tag: the inner content type, and zeros where too little would be encrypted
    /// to encrypt the record's number with (RFC 9147 §4.2.3).
    fn inner_suffix(&self, len: usize) -> usize {
        let inner_type = usize::from(self.has_inner_type());
        #[cfg(feature = "dtls13")]
        if self.suite.version() == ProtocolVersion::Dtls13 {
            return inner_type.max(MIN_CIPHERTEXT.saturating_sub(len + self.suite.tag_len()));
        }
        let _ = len;
        inner_type
    }

    /// The most bytes in front of a payload and behind it.
    pub(crate) fn overhead(&self) -> (usize, usize) {
        let long_number =
            usize::from(self.suite.version() == ProtocolVersion::Dtls13 && !self.is_next_long());
        (self.prefix() + long_number, self.inner_suffix(0) + self.suite.tag_len())
    }

    /// Length in bytes of the datagram that carries one sealed record of `len` plaintext bytes.
    pub(crate) fn sealed_len(&self, len: usize) -> usize {
        self.prefix() + len + self.inner_suffix(len) + self.suite.tag_len()
    }

    /// The longest payload of one record.
    pub(crate) fn max_payload(&self) -> usize {
        usize::from(self.record_size_limit).saturating_sub(self.has_inner_type().into())
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
        let (prefix, inner_suffix) = (self.prefix(), self.inner_suffix(len));
        let start = payload.start.saturating_sub(prefix);
        let end = payload.end.saturating_add(inner_suffix + self.suite.tag_len());
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
        if self.next + 1 == limit / 2 {
            warning!("half of what this key may seal is sealed");
        }

        let (head, rest) = record.split_at_mut(prefix);
        let (data, tag) = rest.split_at_mut(len + inner_suffix);
        let (_, inner) = data.split_at_mut(len);
        if let Some((inner_type, padding)) = inner.split_first_mut() {
            *inner_type = content_type.number();
            padding.fill(0);
        }
        self.seal_record(crypto, content_type, head, data, tag).map_err(|_| Error::CryptoFailed)?;
        Ok(start..end)
    }

    /// Takes the next number, seals `data`, and writes what goes in front of it.
    fn seal_record(
        &mut self,
        crypto: &dyn CryptoProvider,
        content_type: ContentType,
        head: &mut [u8],
        data: &mut [u8],
        tag: &mut [u8],
    ) -> Result<(), AeadError> {
        match self.suite.version() {
            #[cfg(feature = "dtls12")]
            ProtocolVersion::Dtls12 => self.seal_record12(crypto, content_type, head, data, tag),
            #[cfg(feature = "dtls13")]
            ProtocolVersion::Dtls13 => {
                // It is inside.
                let _ = content_type;
                self.seal_record13(crypto, head, data, tag)
            }
            #[allow(unreachable_patterns, reason = "but not in a build with one version")]
            _ => Err(AeadError),
        }
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

#[cfg(feature = "dtls12")]
impl WriteState {
    fn seal_record12(
        &mut self,
        crypto: &dyn CryptoProvider,
        content_type: ContentType,
        head: &mut [u8],
        data: &mut [u8],
        tag: &mut [u8],
    ) -> Result<(), AeadError> {
        let with_id = !self.connection_id.is_empty();
        let header = RecordHeader {
            content_type: if with_id { ContentType::Tls12Cid } else { content_type },
            version: crate::wire::version::DTLS12,
            // There is one, which every sealed record has.
            epoch: self.epoch as u16,
            sequence_number: self.next,
            connection_id: self.connection_id.as_bytes(),
        };
        self.next += 1;
        // The nonce is never random: epoch and sequence number make it unique (RFC 6655 §3).
        let explicit_nonce = header.epoch_and_sequence();
        let mut aad = [0; MAX_ADDITIONAL_DATA];
        let aad = additional_data(&header, data.len(), &mut aad)?;
        self.key.seal(crypto, self.suite.aead(), explicit_nonce, aad, data, tag)?;
        let mut w = Writer::new(head);
        let written = header
            .emit(EXPLICIT_NONCE_LEN + data.len() + tag.len(), &mut w)
            .and_then(|()| w.u64(explicit_nonce));
        written.map_err(|_| AeadError)
    }
}

#[cfg(not(feature = "dtls13"))]
impl WriteState {
    /// DTLS 1.2 tells all of a number.
    const fn longest_gap(&self) -> u64 {
        u64::MAX
    }

    /// They have one length in DTLS 1.2.
    const fn is_next_long(&self) -> bool {
        true
    }
}

#[cfg(feature = "dtls13")]
impl WriteState {
    /// Goes on with another of the peer's connection IDs.
    pub(crate) const fn use_connection_id(&mut self, id: PeerConnectionId) {
        self.connection_id = id;
    }

    /// Whether records go out with a connection ID.
    pub(crate) const fn has_connection_id(&self) -> bool {
        !self.connection_id.is_empty()
    }

    /// Begins an epoch, whose secret is to be made next.
    pub(crate) fn begin(&mut self, epoch: u64, record_size_limit: u16) {
        *self = Self::new(self.suite, epoch, self.connection_id, record_size_limit);
    }

    /// The secret, where it stays. [`derive_key`](Self::derive_key) makes the key of it.
    pub(crate) const fn secret_mut(&mut self) -> &mut Secret {
        &mut self.secret
    }

    pub(crate) const fn secret(&self) -> &Secret {
        &self.secret
    }

    /// Makes the key of the secret.
    pub(crate) fn derive_key(&mut self) {
        self.key.derive(&self.secret);
    }

    /// Goes on where another state with this secret has stopped.
    pub(crate) const fn go_on_at(&mut self, next: u64) {
        self.next = next;
    }

    /// The peer may have seen none of the last numbers.
    pub(crate) const fn go_on_after_a_gap(&mut self) {
        self.unheard = MAX_UNHEARD;
    }

    /// How many numbers may be left out, so that the peer can still tell which 16 bits are meant: a quarter of what it could (RFC 9147
    /// §4.2.2), for whoever has to restore more than once before it is heard.
    fn longest_gap(&self) -> u64 {
        if self.suite.version() == ProtocolVersion::Dtls13 { 1 << 13 } else { u64::MAX }
    }

    /// Whether there may be a next epoch: its number stays below 2^48 (RFC 9147 §8).
    pub(crate) const fn may_update(&self) -> bool {
        self.epoch < MAX_SEQUENCE_NUMBER
    }

    /// Goes on under the next key (RFC 8446 §7.2).
    pub(crate) fn update(&mut self) {
        key_schedule::update_traffic_secret(&mut self.secret);
        self.derive_key();
        self.epoch += 1;
        self.next = 0;
        self.unheard = 0;
        self.outdate_checkpoint();
    }

    /// What both sides know of each other has changed since the last checkpoint, if there was one: whoever restored it could not go on.
    pub(crate) const fn outdate_checkpoint(&mut self) {
        if self.reserved != u64::MAX {
            self.reserved = 0;
        }
    }

    /// A record of the peer's has come.
    pub(crate) const fn on_heard(&mut self) {
        self.unheard = 0;
    }

    /// Whether the next record's number takes 16 bits: where the peer may have missed more than 8 bits tell apart, and every now and
    /// then in any case, as it may be heard and not hear.
    fn is_next_long(&self) -> bool {
        let of_every = u64::from(MAX_UNHEARD);
        self.unheard >= MAX_UNHEARD || self.next % of_every == of_every - 1
    }

    /// The header of the next record. Nothing follows in its datagram, so it needs no length (RFC 9147 §4).
    fn unified_header(&self) -> UnifiedHeader<'_> {
        UnifiedHeader {
            connection_id: self.connection_id.as_bytes(),
            epoch_bits: (self.epoch & 3) as u8,
            sequence_number: (self.next & 0xFFFF) as u16,
            long_sequence_number: self.is_next_long(),
            length: None,
        }
    }

    fn seal_record13(
        &mut self,
        crypto: &dyn CryptoProvider,
        head: &mut [u8],
        data: &mut [u8],
        tag: &mut [u8],
    ) -> Result<(), AeadError> {
        let header = self.unified_header();
        let number_at = header.sequence_number_at();
        let mut w = Writer::new(head);
        header.emit(&mut w).map_err(|_| AeadError)?;
        let number = self.next;
        self.next += 1;
        self.unheard = self.unheard.saturating_add(1).min(MAX_UNHEARD);
        self.key.seal(crypto, self.suite.aead(), number, head, data, tag)?;
        let mut sample = [0; MIN_CIPHERTEXT];
        sample.iter_mut().zip(data.iter().chain(tag.iter())).for_each(|(out, byte)| *out = *byte);
        let mask = self.key.record_number_mask(crypto, &sample)?;
        head.iter_mut().skip(number_at).zip(mask).for_each(|(out, byte)| *out ^= byte);
        Ok(())
    }
}
