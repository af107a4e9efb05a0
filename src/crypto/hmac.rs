//! HMAC-SHA256 (RFC 2104) with a key that was prepared once.

use hmac::digest::Digest;
use hmac::{KeyInit, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

/// Length in bytes of the output of SHA-256.
pub const HASH_LEN: usize = 32;

/// Length in bytes of the blocks that SHA-256 works on.
const BLOCK_LEN: usize = 64;

/// HMAC-SHA256 under one key. The padded key's two compressions are done once, in [`HmacKey::new`]; the state is wiped
/// on drop.
pub struct HmacKey(hmac::Hmac<Sha256>);

impl HmacKey {
    /// Prepares `key`, of any length: a key longer than a block is hashed first (RFC 2104 §2).
    pub fn new(key: &[u8]) -> Self {
        let mut block = Zeroizing::new([0; BLOCK_LEN]);
        if let Some(start) = block.get_mut(..key.len()) {
            start.copy_from_slice(key);
        } else if let Some(start) = block.first_chunk_mut::<HASH_LEN>() {
            *start = Sha256::digest(key).into();
        }
        Self(hmac::Hmac::new((&*block).into()))
    }

    /// The MAC over the concatenation of `parts`.
    pub fn mac<'p>(&self, parts: impl IntoIterator<Item = &'p [u8]>) -> [u8; HASH_LEN] {
        let mut mac = self.0.clone();
        parts.into_iter().for_each(|part| mac.update(part));
        mac.finalize().into_bytes().into()
    }
}
