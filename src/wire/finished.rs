//! `Finished` (RFC 5246 §7.4.9, RFC 8446 §4.4.4).

use super::{InvalidMessage, Reader};

/// Length in bytes of `verify_data` in every suite of DTLS 1.2.
#[cfg(feature = "dtls12")]
pub const VERIFY_DATA_LEN: usize = 12;

/// Length in bytes of `verify_data` in DTLS 1.3: that of the hash.
#[cfg(feature = "dtls13")]
pub const VERIFY_DATA13_LEN: usize = 32;

/// The proof that both sides saw the same handshake and hold the same key, in `N` bytes.
#[derive(Clone, Copy)]
pub struct Finished<const N: usize> {
    /// The proof.
    pub verify_data: [u8; N],
}

impl<const N: usize> Finished<N> {
    /// Reads the body.
    pub fn parse(body: &[u8]) -> Result<Self, InvalidMessage> {
        let mut r = Reader::new(body);
        let verify_data = r.array()?;
        r.finish()?;
        Ok(Self { verify_data })
    }
}
