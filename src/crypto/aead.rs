//! The AEAD ciphers of TLS 1.2 as records use them: `GenericAEADCipher` (RFC 5246 §6.2.3.3) with the nonces of RFC 5288
//! §3 and RFC 6655 §3, and the additional data of RFC 5246 and RFC 9146.

use zeroize::ZeroizeOnDrop;

use super::provider::{AeadError, CryptoProvider, KEY_LEN, NONCE_LEN};
use crate::AeadAlgorithm;
use crate::connection_id::MAX_PEER_CONNECTION_ID_LEN;
use crate::wire::record::RecordHeader;
use crate::wire::{BufferFull, Writer};

/// Length in bytes of the nonce's part that travels in each record.
pub const EXPLICIT_NONCE_LEN: usize = 8;
/// Length in bytes of the nonce's part that stays with the key.
pub const SALT_LEN: usize = 4;

/// The key of one direction.
#[derive(Clone, ZeroizeOnDrop)]
pub struct AeadKey {
    /// `client_write_key` or `server_write_key`.
    pub key: [u8; KEY_LEN],
    /// `client_write_IV` or `server_write_IV`.
    pub salt: [u8; SALT_LEN],
}

impl AeadKey {
    /// The place for one.
    pub const fn empty() -> Self {
        Self { key: [0; KEY_LEN], salt: [0; SALT_LEN] }
    }

    /// Seals `data` in place as the body of the record `header`, and writes the tag.
    pub fn seal(
        &self,
        crypto: &dyn CryptoProvider,
        algorithm: AeadAlgorithm,
        header: &RecordHeader<'_>,
        explicit_nonce: [u8; EXPLICIT_NONCE_LEN],
        data: &mut [u8],
        tag: &mut [u8],
    ) -> Result<(), AeadError> {
        let mut aad = [0; MAX_ADDITIONAL_DATA];
        let aad = additional_data(header, data.len(), &mut aad)?;
        crypto.seal(algorithm, &self.key, &self.nonce(explicit_nonce), aad, data, tag)
    }

    /// Opens `data` in place as the body of the record `header`.
    pub fn open(
        &self,
        crypto: &dyn CryptoProvider,
        algorithm: AeadAlgorithm,
        header: &RecordHeader<'_>,
        explicit_nonce: [u8; EXPLICIT_NONCE_LEN],
        data: &mut [u8],
        tag: &[u8],
    ) -> Result<(), AeadError> {
        let mut aad = [0; MAX_ADDITIONAL_DATA];
        let aad = additional_data(header, data.len(), &mut aad)?;
        crypto.open(algorithm, &self.key, &self.nonce(explicit_nonce), aad, data, tag)
    }

    fn nonce(&self, explicit: [u8; EXPLICIT_NONCE_LEN]) -> [u8; NONCE_LEN] {
        let mut nonce = [0; NONCE_LEN];
        let (salt, rest) = nonce.split_at_mut(SALT_LEN);
        salt.copy_from_slice(&self.salt);
        rest.copy_from_slice(&explicit);
        nonce
    }
}

/// The longest additional data: that of a record with the longest connection ID.
const MAX_ADDITIONAL_DATA: usize = 8 + 3 + 2 + 8 + MAX_PEER_CONNECTION_ID_LEN + 2;

/// What is authenticated beside the data. Without a connection ID: epoch, sequence number, type, version, and the
/// plaintext's length (RFC 5246 §6.2.3.3, RFC 6347 §4.1.2.1). With one: what RFC 9146 §5.3 says.
fn additional_data<'b>(
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
