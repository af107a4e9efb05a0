//! `NewSessionTicket` (RFC 5077 §3.3).

use super::{InvalidMessage, Reader};

/// What a server gives its client to resume the session with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewSessionTicket<'a> {
    /// For how many seconds the server means to take the ticket; 0 where it does not say.
    pub lifetime_hint: u32,
    /// Bytes that mean nothing to the client; none where the server has changed its mind.
    pub ticket: &'a [u8],
}

impl<'a> NewSessionTicket<'a> {
    /// Reads the body.
    pub fn parse(body: &'a [u8]) -> Result<Self, InvalidMessage> {
        let mut r = Reader::new(body);
        let lifetime_hint = u32::from_be_bytes(r.array()?);
        let ticket = r.vec16()?;
        r.finish()?;
        Ok(Self { lifetime_hint, ticket })
    }
}
