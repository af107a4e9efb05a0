//! The AEAD ciphers as records use them: the nonces of RFC 5288 §3, RFC 6655 §3 and RFC 8446 §5.3, the additional data of RFC 5246
//! and RFC 9146, and the encryption of record numbers (RFC 9147 §4.2.3).

use zeroize::ZeroizeOnDrop;

#[cfg(feature = "dtls13")]
use super::key_schedule::{Secret, expand_label};
#[cfg(feature = "dtls13")]
use super::provider::BLOCK_LEN;
use super::provider::{AeadError, CryptoProvider, KEY_LEN, NONCE_LEN};
use crate::AeadAlgorithm;
use crate::connection_id::MAX_PEER_CONNECTION_ID_LEN;
#[cfg(feature = "dtls12")]
use crate::wire::record::RecordHeader;
#[cfg(feature = "dtls12")]
use crate::wire::{BufferFull, Writer};

/// Length in bytes of the nonce's part that travels in each record of DTLS 1.2.
pub const EXPLICIT_NONCE_LEN: usize = 8;
/// Length in bytes of the nonce's part that stays with the key in DTLS 1.2.
pub const SALT_LEN: usize = 4;

/// Length in bytes of what stays with a key for its nonces: all of one in DTLS 1.3, a salt in DTLS 1.2.
pub const IV_LEN: usize = if cfg!(feature = "dtls13") { NONCE_LEN } else { SALT_LEN };

/// Length in bytes of the key that encrypts record numbers.
pub const SN_KEY_LEN: usize = if cfg!(feature = "dtls13") { KEY_LEN } else { 0 };

/// The key of one direction.
#[derive(Clone, ZeroizeOnDrop)]
pub struct AeadKey {
    /// `client_write_key` or `server_write_key`.
    pub key: [u8; KEY_LEN],
    /// `client_write_IV` or `server_write_IV`. In DTLS 1.2 it is the start of every nonce; in DTLS 1.3 all of it, to be combined with
    /// a record's number.
    pub iv: [u8; IV_LEN],
    /// `sn_key`, of DTLS 1.3 alone.
    pub sn_key: [u8; SN_KEY_LEN],
}

impl AeadKey {
    /// The place for one.
    pub const fn empty() -> Self {
        Self { key: [0; KEY_LEN], iv: [0; IV_LEN], sn_key: [0; SN_KEY_LEN] }
    }

    /// Makes the key of a traffic secret (RFC 8446 §7.3, RFC 9147 §4.2.3), in its place.
    #[cfg(feature = "dtls13")]
    pub fn derive(&mut self, traffic: &Secret) {
        expand_label(traffic, b"key", &[], &mut self.key);
        expand_label(traffic, b"iv", &[], &mut self.iv);
        expand_label(traffic, b"sn", &[], &mut self.sn_key);
    }

    /// Seals `data` in place under the nonce with this number, and writes the tag.
    pub fn seal(
        &self,
        crypto: &dyn CryptoProvider,
        algorithm: AeadAlgorithm,
        number: u64,
        aad: &[u8],
        data: &mut [u8],
        tag: &mut [u8],
    ) -> Result<(), AeadError> {
        crypto.seal(algorithm, &self.key, &self.nonce(number), aad, data, tag)
    }

    /// Opens `data` in place under the nonce with this number.
    pub fn open(
        &self,
        crypto: &dyn CryptoProvider,
        algorithm: AeadAlgorithm,
        number: u64,
        aad: &[u8],
        data: &mut [u8],
        tag: &[u8],
    ) -> Result<(), AeadError> {
        crypto.open(algorithm, &self.key, &self.nonce(number), aad, data, tag)
    }

    /// The number in 64 bits, combined with the end of the IV (RFC 8446 §5.3). In DTLS 1.2 there is nothing to combine it with, and it
    /// follows the salt (RFC 5288 §3): its IV is the same as one that ends in zeros.
    fn nonce(&self, number: u64) -> [u8; NONCE_LEN] {
        let mut nonce = [0; NONCE_LEN];
        nonce.iter_mut().zip(self.iv).for_each(|(out, byte)| *out = byte);
        nonce.iter_mut().skip(SALT_LEN).zip(number.to_be_bytes()).for_each(|(out, byte)| *out ^= byte);
        nonce
    }

    /// What a record's number is encrypted with, from the start of its ciphertext (RFC 9147 §4.2.3).
    #[cfg(feature = "dtls13")]
    pub fn record_number_mask(
        &self,
        crypto: &dyn CryptoProvider,
        ciphertext: &[u8; BLOCK_LEN],
    ) -> Result<[u8; 2], AeadError> {
        let mut block = *ciphertext;
        crypto.encrypt_block(&self.sn_key, &mut block)?;
        let [first, second, ..] = block;
        Ok([first, second])
    }
}

/// The longest additional data: that of a record with the longest connection ID.
pub const MAX_ADDITIONAL_DATA: usize = 8 + 3 + 2 + 8 + MAX_PEER_CONNECTION_ID_LEN + 2;

/// What is authenticated beside the data in DTLS 1.2. Without a connection ID: epoch, sequence number, type, version, and the
/// plaintext's length (RFC 5246 §6.2.3.3, RFC 6347 §4.1.2.1). With one: what RFC 9146 §5.3 says.
#[cfg(feature = "dtls12")]
pub fn additional_data<'b>(
    header: &RecordHeader<'_>,
    len: usize,
    buf: &'b mut [u8; MAX_ADDITIONAL_DATA],
) -> Result<&'b [u8], AeadError> {
    let content_type = header.content_type.number();
    let epoch_and_sequence = header.epoch_and_sequence().to_be_bytes();
    let mut w = Writer::new(buf);
    let mut emit = || {
        if header.connection_id.is_empty() {
            w.bytes(&epoch_and_sequence)?;
            w.u8(content_type)?;
            w.bytes(&header.version)?;
        } else {
            // What no record without a connection ID begins with: a placeholder for its number.
            w.bytes(&[0xFF; 8])?;
            w.u8(content_type)?;
            w.u8(u8::try_from(header.connection_id.len()).map_err(|_| BufferFull)?)?;
            w.u8(content_type)?;
            w.bytes(&header.version)?;
            w.bytes(&epoch_and_sequence)?;
            w.bytes(header.connection_id)?;
        }
        w.u16(u16::try_from(len).map_err(|_| BufferFull)?)
    };
    emit().map_err(|_| AeadError)?;
    Ok(w.written())
}
