//! The read states of RFC 5246 §6.1, one for each epoch.

use super::ReplayWindow;
use crate::CipherSuite;
use crate::connection_id::OwnConnectionId;
use crate::crypto::aead::{AeadKey, MAX_ADDITIONAL_DATA};
#[cfg(feature = "dtls12")]
use crate::crypto::aead::{EXPLICIT_NONCE_LEN, additional_data};
#[cfg(feature = "dtls13")]
use crate::crypto::key_schedule::{self, Secret};
use crate::crypto::provider::CryptoProvider;
use crate::stats::Stats;
#[cfg(feature = "dtls13")]
use crate::wire::Writer;
#[cfg(feature = "dtls12")]
use crate::wire::record::RecordHeader;
use crate::wire::record::{ContentType, Header, MAX_PLAINTEXT, RecordNumber};
#[cfg(feature = "dtls13")]
use crate::wire::unified_header::UnifiedHeader;
use crate::wire::version::ProtocolVersion;

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
    pub(crate) number: RecordNumber,
    /// Whether no newer one had come before it.
    pub(crate) is_newest: bool,
}

/// Opens the records that arrive.
#[derive(Clone)]
pub(crate) struct ReadState {
    /// Which says the version, too.
    pub(super) suite: CipherSuite,
    pub(super) key: AeadKey,
    /// What the key comes from, and the next one will.
    #[cfg(feature = "dtls13")]
    pub(super) secret: Secret,
    pub(super) epoch: u64,
    /// Whether the peer may go on under the next key.
    #[cfg(feature = "dtls13")]
    pub(super) update_expected: bool,
    pub(super) window: ReplayWindow,
    pub(super) connection_id: OwnConnectionId,
    /// The one that the peer may go on with; empty for none.
    #[cfg(feature = "dtls13")]
    pub(super) spare_connection_id: OwnConnectionId,
    /// The longest plaintext that was asked for.
    pub(super) record_size_limit: u16,
    /// Records that did not open under this key.
    pub(super) forged: u64,
}

impl ReadState {
    /// A state without its key, which is made where it stays.
    pub(crate) fn new(
        suite: CipherSuite,
        epoch: u64,
        connection_id: OwnConnectionId,
        record_size_limit: u16,
    ) -> Self {
        Self {
            suite,
            key: AeadKey::empty(),
            #[cfg(feature = "dtls13")]
            secret: key_schedule::no_secret(),
            epoch,
            #[cfg(feature = "dtls13")]
            update_expected: false,
            window: ReplayWindow::default(),
            connection_id,
            #[cfg(feature = "dtls13")]
            spare_connection_id: OwnConnectionId::EMPTY,
            record_size_limit,
            forged: 0,
        }
    }

    /// Where the key stays.
    #[cfg(feature = "dtls12")]
    pub(crate) const fn key_mut(&mut self) -> &mut AeadKey {
        &mut self.key
    }

    /// The connection ID that records have to carry; empty for none.
    pub(crate) fn connection_id(&self) -> &[u8] {
        self.connection_id.as_bytes()
    }

    pub(crate) const fn epoch(&self) -> u64 {
        self.epoch
    }

    /// How many records did not open.
    pub(crate) const fn forged(&self) -> u64 {
        self.forged
    }

    /// Whether a record is under the key of this state, or of the one that follows it.
    pub(crate) fn is_for(&self, header: &Header<'_>) -> bool {
        match header {
            Header::Full(header) => u64::from(header.epoch) == self.epoch,
            #[cfg(feature = "dtls13")]
            Header::Unified(header) => {
                let is_of = |epoch: u64| header.epoch_bits == (epoch & 3) as u8;
                is_of(self.epoch) || self.update_expected && is_of(self.epoch.wrapping_add(1))
            }
        }
    }

    /// Opens a record in place. The replay window moves only when that succeeds (RFC 6347 §4.1.2.6, RFC 9147 §4.5.1).
    pub(crate) fn open<'d>(
        &mut self,
        crypto: &dyn CryptoProvider,
        header: &Header<'_>,
        body: &'d mut [u8],
    ) -> Result<Opened<'d>, Dropped> {
        // Where a connection ID is expected, a record without it is invalid, and the other way round (RFC 9146 §3).
        if header.connection_id() != self.connection_id.as_bytes() {
            #[cfg(feature = "dtls13")]
            return self.open_under_spare_id(crypto, header, body);
            #[cfg(not(feature = "dtls13"))]
            return Err(Dropped::Unexpected);
        }
        match (header, self.suite.version()) {
            #[cfg(feature = "dtls12")]
            (Header::Full(header), ProtocolVersion::Dtls12) => self.open12(crypto, header, body),
            #[cfg(feature = "dtls13")]
            (Header::Unified(header), ProtocolVersion::Dtls13) => self.open13(crypto, header, body),
            _ => Err(Dropped::Unexpected),
        }
    }

    /// Opens the record with this number: `number_in_nonce` is what its nonce has of it.
    fn decrypt<'d>(
        &mut self,
        crypto: &dyn CryptoProvider,
        number: u64,
        number_in_nonce: u64,
        aad: &[u8],
        body: &'d mut [u8],
    ) -> Result<(&'d mut [u8], bool), Dropped> {
        let len = body.len().checked_sub(self.suite.tag_len()).ok_or(Dropped::Forged)?;
        let (data, tag) = body.split_at_mut(len);
        let opened = self.key.open(crypto, self.suite.aead(), number_in_nonce, aad, data, tag);
        if opened.is_err() {
            self.forged = self.forged.saturating_add(1);
            return Err(Dropped::Forged);
        }
        let is_newest = self.window.is_newest(number);
        self.window.mark(number);
        // Longer than this side has asked for: discarded, as RFC 8449 §4 allows.
        if len > usize::from(self.record_size_limit) {
            return Err(Dropped::Unexpected);
        }
        Ok((data, is_newest))
    }
}

/// What is inside of a record, and what it carries: the content type is the last byte that is not padding (RFC 9146 §4, RFC 9147
/// §4).
fn strip_padding(data: &mut [u8]) -> Result<(ContentType, &mut [u8]), Dropped> {
    let at = data.iter().rposition(|byte| *byte != 0).ok_or(Dropped::Unexpected)?;
    let content_type = data.get(at).copied().and_then(ContentType::from_number);
    let content_type =
        content_type.filter(|inner| *inner != ContentType::Tls12Cid).ok_or(Dropped::Unexpected)?;
    Ok((content_type, data.get_mut(..at).ok_or(Dropped::Unexpected)?))
}

#[cfg(feature = "dtls12")]
impl ReadState {
    fn open12<'d>(
        &mut self,
        crypto: &dyn CryptoProvider,
        header: &RecordHeader<'_>,
        body: &'d mut [u8],
    ) -> Result<Opened<'d>, Dropped> {
        if u64::from(header.epoch) != self.epoch {
            return Err(Dropped::Unexpected);
        }
        if !self.window.is_new(header.sequence_number) {
            return Err(Dropped::Replayed);
        }
        let (explicit_nonce, rest) =
            body.split_first_chunk_mut::<EXPLICIT_NONCE_LEN>().ok_or(Dropped::Forged)?;
        let len = rest.len().checked_sub(self.suite.tag_len()).filter(|len| *len <= MAX_PLAINTEXT);
        let mut aad = [0; MAX_ADDITIONAL_DATA];
        let aad =
            additional_data(header, len.ok_or(Dropped::Forged)?, &mut aad).map_err(|_| Dropped::Forged)?;
        let explicit_nonce = u64::from_be_bytes(*explicit_nonce);
        let (data, is_newest) = self.decrypt(crypto, header.sequence_number, explicit_nonce, aad, rest)?;
        let (content_type, body) =
            if header.connection_id.is_empty() { (header.content_type, data) } else { strip_padding(data)? };
        let number = RecordNumber { epoch: self.epoch, sequence_number: header.sequence_number };
        Ok(Opened { content_type, body, number, is_newest })
    }
}

#[cfg(feature = "dtls13")]
impl ReadState {
    /// A record under the spare connection ID. It is the one from here on, if the record is the peer's, and its newest.
    fn open_under_spare_id<'d>(
        &mut self,
        crypto: &dyn CryptoProvider,
        header: &Header<'_>,
        body: &'d mut [u8],
    ) -> Result<Opened<'d>, Dropped> {
        let Header::Unified(unified) = header else { return Err(Dropped::Unexpected) };
        if self.spare_connection_id.is_empty() || unified.connection_id != self.spare_connection_id.as_bytes()
        {
            return Err(Dropped::Unexpected);
        }
        let opened = self.open13(crypto, unified, body)?;
        // A late one may be from when the ID was in use before, as short ones come again.
        if opened.is_newest {
            self.connection_id = core::mem::replace(&mut self.spare_connection_id, OwnConnectionId::EMPTY);
        }
        Ok(opened)
    }

    /// The connection ID that the peer may go on with; empty for none.
    pub(crate) fn spare_connection_id(&self) -> &[u8] {
        self.spare_connection_id.as_bytes()
    }

    /// Lets the peer go on with another connection ID.
    pub(crate) const fn expect_connection_id(&mut self, id: OwnConnectionId) {
        self.spare_connection_id = id;
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

    /// What has arrived.
    pub(crate) const fn window(&self) -> ReplayWindow {
        self.window
    }

    /// Goes on where another state with this secret has stopped.
    pub(crate) const fn go_on_with(&mut self, window: ReplayWindow) {
        self.window = window;
    }

    /// The peer has said that it goes on under the next key. `false` where it has said so before, and not done it.
    pub(crate) const fn expect_update(&mut self) -> bool {
        !core::mem::replace(&mut self.update_expected, true)
    }

    /// Goes on under the next key at once, if the peer has said that it does. `false` where it has not.
    pub(crate) fn take_update(&mut self) -> bool {
        let expected = self.update_expected;
        if expected {
            self.update();
        }
        expected
    }

    fn open13<'d>(
        &mut self,
        crypto: &dyn CryptoProvider,
        header: &UnifiedHeader<'_>,
        body: &'d mut [u8],
    ) -> Result<Opened<'d>, Dropped> {
        let bits_of = |epoch: u64| (epoch & 3) as u8;
        if header.epoch_bits == bits_of(self.epoch) {
            return self.open_of_epoch(crypto, header, body);
        }
        if !self.update_expected || header.epoch_bits != bits_of(self.epoch.wrapping_add(1)) {
            return Err(Dropped::Unexpected);
        }
        // The old key stays until the first record under the new one, as this side's ACK of the KeyUpdate may be lost (RFC 9147 §8).
        let mut next = self.clone();
        next.update();
        let opened = next.open_of_epoch(crypto, header, body);
        match opened {
            Err(Dropped::Forged) => self.forged = self.forged.saturating_add(1),
            _ if next.window.is_empty() => {}
            _ => *self = next,
        }
        opened
    }

    fn update(&mut self) {
        key_schedule::update_traffic_secret(&mut self.secret);
        self.derive_key();
        self.epoch = self.epoch.wrapping_add(1);
        self.update_expected = false;
        self.window = ReplayWindow::default();
        self.forged = 0;
    }

    fn open_of_epoch<'d>(
        &mut self,
        crypto: &dyn CryptoProvider,
        header: &UnifiedHeader<'_>,
        body: &'d mut [u8],
    ) -> Result<Opened<'d>, Dropped> {
        let sample = body.first_chunk().ok_or(Dropped::Forged)?;
        let mask = self.key.record_number_mask(crypto, sample).map_err(|_| Dropped::Forged)?;
        let (mask, bits) = match (header.long_sequence_number, mask) {
            (true, mask) => (u16::from_be_bytes(mask), 16),
            (false, [mask, _]) => (mask.into(), 8),
        };
        let header = UnifiedHeader { sequence_number: header.sequence_number ^ mask, ..*header };
        let number = self.window.reconstruct(header.sequence_number, bits);
        if !self.window.is_new(number) {
            return Err(Dropped::Replayed);
        }
        if body.len() - self.suite.tag_len() > MAX_PLAINTEXT + 1 {
            return Err(Dropped::Forged);
        }
        let mut aad = [0; MAX_ADDITIONAL_DATA];
        let mut w = Writer::new(&mut aad);
        header.emit(&mut w).map_err(|_| Dropped::Forged)?;
        let (data, is_newest) = self.decrypt(crypto, number, number, w.written(), body)?;
        let (content_type, body) = strip_padding(data)?;
        let number = RecordNumber { epoch: self.epoch, sequence_number: number };
        Ok(Opened { content_type, body, number, is_newest })
    }
}
