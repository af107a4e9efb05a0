//! `Finished` (RFC 5246 §7.4.9).

use super::{InvalidMessage, Reader};

/// Length in bytes of `verify_data` in every suite of this crate.
pub const VERIFY_DATA_LEN: usize = 12;

/// The proof that both sides saw the same handshake and hold the same key.
#[derive(Clone, Copy)]
pub struct Finished {
    /// The proof.
    pub verify_data: [u8; VERIFY_DATA_LEN],
}

impl Finished {
    /// Reads the body.
    pub fn parse(body: &[u8]) -> Result<Self, InvalidMessage> {
        let mut r = Reader::new(body);
        let verify_data = r.array()?;
        r.finish()?;
        Ok(Self { verify_data })
    }
}
