//! HMAC-SHA256 (RFC 2104) with a key that was prepared once.
//!
//! It stands on SHA-256's compression function, because all that has to be kept of a prepared key are two hash states of
//! 32 bytes. A general hasher is four times as large, and is copied and wiped for every MAC.

use sha2::Digest;
use sha2::block_api::compress256;
use zeroize::{ZeroizeOnDrop, Zeroizing};

/// Length in bytes of the output of SHA-256.
pub const HASH_LEN: usize = 32;

/// Length in bytes of the blocks that SHA-256 works on.
const BLOCK_LEN: usize = 64;

/// Where the message's length in bits stands in its last block.
const LENGTH_AT: usize = BLOCK_LEN - 8;

/// The state of SHA-256 before the first block (FIPS 180-4 §5.3.3).
const INITIAL: [u32; 8] =
    [0x6A09_E667, 0xBB67_AE85, 0x3C6E_F372, 0xA54F_F53A, 0x510E_527F, 0x9B05_688C, 0x1F83_D9AB, 0x5BE0_CD19];

/// HMAC-SHA256 under one key: the states of both hashes behind their padded key, wiped on drop.
#[derive(Clone, ZeroizeOnDrop)]
pub struct HmacKey {
    inner: [u32; 8],
    outer: [u32; 8],
}

impl HmacKey {
    /// Prepares `key`, of any length: a key longer than a block is hashed first (RFC 2104 §2).
    pub fn new(key: &[u8]) -> Self {
        let mut block = Zeroizing::new([0; BLOCK_LEN]);
        if let Some(start) = block.get_mut(..key.len()) {
            start.copy_from_slice(key);
        } else if let Some(start) = block.first_chunk_mut::<HASH_LEN>() {
            *start = sha2::Sha256::digest(key).into();
        }
        let [mut inner, mut outer] = [INITIAL; 2];
        block.iter_mut().for_each(|byte| *byte ^= 0x36);
        compress256(&mut inner, core::slice::from_ref(&*block));
        block.iter_mut().for_each(|byte| *byte ^= 0x36 ^ 0x5C);
        compress256(&mut outer, core::slice::from_ref(&*block));
        Self { inner, outer }
    }

    /// The MAC over the concatenation of `parts`.
    pub fn mac<'p>(&self, parts: impl IntoIterator<Item = &'p [u8]>) -> [u8; HASH_LEN] {
        let mut hasher = Hasher { state: self.inner, block: [0; BLOCK_LEN], len: BLOCK_LEN };
        parts.into_iter().for_each(|part| hasher.update(part));
        let hash = hasher.finish();
        (hasher.state, hasher.len) = (self.outer, BLOCK_LEN);
        hasher.update(&hash);
        let mac = hasher.finish();
        hasher.wipe();
        mac
    }
}

/// SHA-256 that goes on from a state (FIPS 180-4 §6.2).
struct Hasher {
    state: [u32; 8],
    /// The last block, as far as it has come.
    block: [u8; BLOCK_LEN],
    /// Length in bytes of everything, from the first block on.
    len: usize,
}

impl Hasher {
    fn update(&mut self, mut part: &[u8]) {
        while let Some(free) = self.block.get_mut(self.len % BLOCK_LEN..) {
            let Some((head, rest)) = part.split_at_checked(free.len()) else {
                let (free, _) = free.split_at_mut(part.len());
                free.copy_from_slice(part);
                self.len += part.len();
                break;
            };
            free.copy_from_slice(head);
            self.len += head.len();
            self.compress();
            part = rest;
        }
    }

    /// Pads with one bit that is set, zeros, and the length in bits (FIPS 180-4 §5.1.1), in another block where this
    /// one has no room for it.
    fn finish(&mut self) -> [u8; HASH_LEN] {
        let filled = self.len % BLOCK_LEN;
        let (_, free) = self.block.split_at_mut(filled);
        free.fill(0);
        if let Some(first) = free.first_mut() {
            *first = 0x80;
        }
        if filled >= LENGTH_AT {
            self.compress();
            self.block.fill(0);
        }
        if let Some(end) = self.block.last_chunk_mut() {
            *end = (8 * self.len as u64).to_be_bytes();
        }
        self.compress();

        let mut hash = [0; HASH_LEN];
        for (out, word) in hash.as_chunks_mut().0.iter_mut().zip(self.state) {
            *out = word.to_be_bytes();
        }
        hash
    }

    fn compress(&mut self) {
        compress256(&mut self.state, core::slice::from_ref(&self.block));
    }

    /// What `Zeroizing` would do, but not byte by byte, which takes a twentieth of a handshake.
    fn wipe(&mut self) {
        self.state.fill(0);
        self.block.fill(0);
        zeroize::optimization_barrier(self);
    }
}
