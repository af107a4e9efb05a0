//! The seam where a board's AES peripheral can stand in for the software.

use crate::AeadAlgorithm;

/// Length in bytes of an AES-128 key.
pub const KEY_LEN: usize = 16;
/// Length in bytes of the nonce of every AEAD here (RFC 5288 §3, RFC 6655 §3).
pub const NONCE_LEN: usize = 12;
/// Length in bytes of a block of AES.
#[cfg(feature = "dtls13")]
pub const BLOCK_LEN: usize = 16;
/// Length in bytes of the longest tag.
pub const MAX_TAG_LEN: usize = 16;

/// An AEAD call that was refused: a tag that does not fit on opening, a length that the cipher cannot take on sealing,
/// or a failing peripheral. It says no more than that, on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct AeadError;

/// Seals and opens records with AES-128.
///
/// [`RustCrypto`] does it in constant-time software. A board with an AES peripheral implements this trait for it and
/// hands it to [`Config::with_crypto`](crate::Config::with_crypto). SHA-256 stays in software: handshakes alone use it,
/// and its running state has to be cloned, which peripherals do not offer.
///
/// A peripheral that is shared with other code sits behind whatever lock the platform has, as the methods take `&self`.
pub trait CryptoProvider: Sync {
    /// Encrypts `data` in place and writes its tag, [`AeadAlgorithm::tag_len`] bytes long, to `tag`.
    ///
    /// # Errors
    /// [`AeadError`] when the cipher cannot do it. What `data` holds afterwards is thrown away.
    fn seal(
        &self,
        algorithm: AeadAlgorithm,
        key: &[u8; KEY_LEN],
        nonce: &[u8; NONCE_LEN],
        aad: &[u8],
        data: &mut [u8],
        tag: &mut [u8],
    ) -> Result<(), AeadError>;

    /// Checks `tag` in constant time and decrypts `data` in place.
    ///
    /// # Errors
    /// [`AeadError`] when the tag does not fit. `data` must then not hold the plaintext.
    fn open(
        &self,
        algorithm: AeadAlgorithm,
        key: &[u8; KEY_LEN],
        nonce: &[u8; NONCE_LEN],
        aad: &[u8],
        data: &mut [u8],
        tag: &[u8],
    ) -> Result<(), AeadError>;

    /// Encrypts one block with AES-128, in place, for each record of DTLS 1.3 once: its number is encrypted with that (RFC 9147
    /// §4.2.3). In software, unless you say otherwise.
    ///
    /// # Errors
    /// [`AeadError`] when the cipher cannot do it.
    #[cfg(feature = "dtls13")]
    fn encrypt_block(&self, key: &[u8; KEY_LEN], block: &mut [u8; BLOCK_LEN]) -> Result<(), AeadError> {
        use aes::cipher::{BlockCipherEncrypt, KeyInit};
        aes::Aes128::new(key.into()).encrypt_block(block.into());
        Ok(())
    }
}

/// The RustCrypto ciphers: portable, constant-time, with the processor's AES instructions where it has them.
///
/// On a microcontroller, `RUSTFLAGS='--cfg aes_backend_soft="compact" --cfg sha2_backend_soft="compact"'` in the
/// firmware's build halves their code size.
#[derive(Clone, Copy, Debug, Default)]
pub struct RustCrypto;

type Ccm<Tag> = ccm::Ccm<aes::Aes128, Tag, ccm::consts::U12>;

impl CryptoProvider for RustCrypto {
    fn seal(
        &self,
        algorithm: AeadAlgorithm,
        key: &[u8; KEY_LEN],
        nonce: &[u8; NONCE_LEN],
        aad: &[u8],
        data: &mut [u8],
        tag: &mut [u8],
    ) -> Result<(), AeadError> {
        match algorithm {
            AeadAlgorithm::Aes128Ccm8 => seal::<Ccm<ccm::consts::U8>>(key, nonce, aad, data, tag),
            AeadAlgorithm::Aes128Ccm => seal::<Ccm<ccm::consts::U16>>(key, nonce, aad, data, tag),
            #[cfg(feature = "aes-gcm")]
            AeadAlgorithm::Aes128Gcm => seal::<aes_gcm::Aes128Gcm>(key, nonce, aad, data, tag),
        }
    }

    fn open(
        &self,
        algorithm: AeadAlgorithm,
        key: &[u8; KEY_LEN],
        nonce: &[u8; NONCE_LEN],
        aad: &[u8],
        data: &mut [u8],
        tag: &[u8],
    ) -> Result<(), AeadError> {
        match algorithm {
            AeadAlgorithm::Aes128Ccm8 => open::<Ccm<ccm::consts::U8>>(key, nonce, aad, data, tag),
            AeadAlgorithm::Aes128Ccm => open::<Ccm<ccm::consts::U16>>(key, nonce, aad, data, tag),
            #[cfg(feature = "aes-gcm")]
            AeadAlgorithm::Aes128Gcm => open::<aes_gcm::Aes128Gcm>(key, nonce, aad, data, tag),
        }
    }
}

fn seal<A: ccm::KeyInit + ccm::AeadInOut>(
    key: &[u8],
    nonce: &[u8],
    aad: &[u8],
    data: &mut [u8],
    tag: &mut [u8],
) -> Result<(), AeadError> {
    let cipher = A::new_from_slice(key).map_err(|_| AeadError)?;
    let nonce = nonce.try_into().map_err(|_| AeadError)?;
    let sealed = cipher.encrypt_inout_detached(nonce, aad, data.into()).map_err(|_| AeadError)?;
    if tag.len() != sealed.len() {
        return Err(AeadError);
    }
    tag.copy_from_slice(&sealed);
    Ok(())
}

fn open<A: ccm::KeyInit + ccm::AeadInOut>(
    key: &[u8],
    nonce: &[u8],
    aad: &[u8],
    data: &mut [u8],
    tag: &[u8],
) -> Result<(), AeadError> {
    let cipher = A::new_from_slice(key).map_err(|_| AeadError)?;
    let nonce = nonce.try_into().map_err(|_| AeadError)?;
    let tag = tag.try_into().map_err(|_| AeadError)?;
    cipher.decrypt_inout_detached(nonce, aad, data.into(), tag).map_err(|_| AeadError)
}
