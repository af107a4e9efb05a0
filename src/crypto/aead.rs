//! The AEAD ciphers of TLS 1.2 as records use them: `GenericAEADCipher` (RFC 5246 §6.2.3.3) with the nonces of RFC 5288
//! §3 and RFC 6655 §3.

use zeroize::ZeroizeOnDrop;

use super::provider::{AeadError, CryptoProvider, KEY_LEN, NONCE_LEN};
use crate::CipherSuite;
use crate::wire::record::RecordHeader;

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
    /// Seals `data` in place as the body of the record `header`, and writes the tag.
    pub fn seal(
        &self,
        crypto: &dyn CryptoProvider,
        suite: CipherSuite,
        header: &RecordHeader,
        explicit_nonce: [u8; EXPLICIT_NONCE_LEN],
        data: &mut [u8],
        tag: &mut [u8],
    ) -> Result<(), AeadError> {
        let aad = additional_data(header, data.len())?;
        crypto.seal(suite, &self.key, &self.nonce(explicit_nonce), &aad, data, tag)
    }

    /// Opens `data` in place as the body of the record `header`.
    pub fn open(
        &self,
        crypto: &dyn CryptoProvider,
        suite: CipherSuite,
        header: &RecordHeader,
        explicit_nonce: [u8; EXPLICIT_NONCE_LEN],
        data: &mut [u8],
        tag: &[u8],
    ) -> Result<(), AeadError> {
        let aad = additional_data(header, data.len())?;
        crypto.open(suite, &self.key, &self.nonce(explicit_nonce), &aad, data, tag)
    }

    fn nonce(&self, explicit: [u8; EXPLICIT_NONCE_LEN]) -> [u8; NONCE_LEN] {
        let mut nonce = [0; NONCE_LEN];
        let (salt, rest) = nonce.split_at_mut(SALT_LEN);
        salt.copy_from_slice(&self.salt);
        rest.copy_from_slice(&explicit);
        nonce
    }
}

/// What is authenticated beside the data: epoch, sequence number, type, version, and the plaintext's length (RFC 5246
/// §6.2.3.3, RFC 6347 §4.1.2.1).
fn additional_data(header: &RecordHeader, len: usize) -> Result<[u8; 13], AeadError> {
    let [s0, s1, s2, s3, s4, s5, s6, s7] = header.epoch_and_sequence().to_be_bytes();
    let [v0, v1] = header.version;
    let [l0, l1] = u16::try_from(len).map_err(|_| AeadError)?.to_be_bytes();
    Ok([s0, s1, s2, s3, s4, s5, s6, s7, header.content_type.number(), v0, v1, l0, l1])
}
