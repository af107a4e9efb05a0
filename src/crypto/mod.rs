//! Cipher suites at work: AEAD and nonces and their limits, the PRF of DTLS 1.2 and the key schedule of DTLS 1.3, constant-time
//! comparison.

pub mod aead;
pub mod exporter;
pub mod hmac;
#[cfg(feature = "dtls13")]
pub mod key_schedule;
pub mod key_share;
pub mod limits;
#[cfg(feature = "dtls12")]
pub mod prf;
pub mod provider;
#[cfg(test)]
mod tests;

/// Whether two secrets are equal, in a time that says nothing about where they differ. Lengths are not secret.
pub fn equal(a: &[u8], b: &[u8]) -> bool {
    use subtle::ConstantTimeEq;
    a.ct_eq(b).into()
}
