//! `NewSessionTicket` (RFC 5077 §3.3).

use super::{InvalidMessage, Reader};

/// What a server gives its client to resume the session with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewSessionTicket<'a> {
    /// Bytes that mean nothing to the client; none where the server has changed its mind.
    pub ticket: &'a [u8],
}

impl<'a> NewSessionTicket<'a> {
    /// Reads the body. For how long the server means to take the ticket is passed over: it will say so when it does not.
    pub fn parse(body: &'a [u8]) -> Result<Self, InvalidMessage> {
        let mut r = Reader::new(body);
        let _lifetime_hint: [u8; 4] = r.array()?;
        let ticket = r.vec16()?;
        r.finish()?;
        Ok(Self { ticket })
    }
}
