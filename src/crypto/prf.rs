//! The pseudorandom function of TLS 1.2 with SHA-256 (RFC 5246 §5), which every suite of this crate uses.

use zeroize::Zeroizing;

use super::hmac::HmacKey;

/// `P_SHA256` under one secret.
pub struct Prf(HmacKey);

impl Prf {
    /// Prepares the secret, of any length.
    pub fn new(secret: &[u8]) -> Self {
        Self(HmacKey::new(secret))
    }

    /// Fills `out` with `PRF(secret, label, seed)`, where the seed is the concatenation of `seed`'s parts.
    pub fn expand(&self, label: &[u8], seed: &[&[u8]], out: &mut [u8]) {
        let labelled = || [label].into_iter().chain(seed.iter().copied());
        // A(1) = HMAC(secret, A(0)), where A(0) is the label and the seed.
        let mut a = Zeroizing::new(self.0.mac(labelled()));
        let mut chunks = out.chunks_mut(a.len()).peekable();
        while let Some(chunk) = chunks.next() {
            let block = Zeroizing::new(self.0.mac([a.as_slice()].into_iter().chain(labelled())));
            for (out, byte) in chunk.iter_mut().zip(block.iter()) {
                *out = *byte;
            }
            if chunks.peek().is_some() {
                *a = self.0.mac([a.as_slice()]);
            }
        }
    }
}
