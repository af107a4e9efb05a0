//! `NewSessionTicket` (RFC 5077 §3.3, RFC 8446 §4.6.1).

#[cfg(feature = "dtls13")]
use super::extension::Extensions;
#[cfg(feature = "dtls13")]
use super::{BufferFull, Writer};
use super::{InvalidMessage, Reader};

/// What a server of DTLS 1.2 gives its client to resume the session with.
#[cfg(feature = "dtls12")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewSessionTicket<'a> {
    /// For how many seconds the server means to take the ticket; 0 where it does not say.
    pub lifetime_hint: u32,
    /// Bytes that mean nothing to the client; none where the server has changed its mind.
    pub ticket: &'a [u8],
}

#[cfg(feature = "dtls12")]
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

/// What a server of DTLS 1.3 gives its client to resume the session with.
#[cfg(feature = "dtls13")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewSessionTicket13<'a> {
    /// For how many seconds the server takes the ticket.
    pub ticket_lifetime: u32,
    /// What the client adds to the ticket's age when it uses it.
    pub ticket_age_add: u32,
    /// What tells the pre-shared keys of several tickets apart.
    pub ticket_nonce: &'a [u8],
    /// Bytes that mean nothing to the client; at least one.
    pub ticket: &'a [u8],
}

#[cfg(feature = "dtls13")]
impl<'a> NewSessionTicket13<'a> {
    /// Reads the body. Extensions are passed over: there is none that this crate has a use for.
    pub fn parse(body: &'a [u8]) -> Result<Self, InvalidMessage> {
        let mut r = Reader::new(body);
        let ticket_lifetime = u32::from_be_bytes(r.array()?);
        let ticket_age_add = u32::from_be_bytes(r.array()?);
        let ticket_nonce = r.vec8()?;
        let ticket = r.vec16()?;
        Extensions::parse_list(&mut r)?;
        r.finish()?;
        if ticket.is_empty() {
            return Err(InvalidMessage::IllegalLength);
        }
        Ok(Self { ticket_lifetime, ticket_age_add, ticket_nonce, ticket })
    }

    /// Writes the body, without extensions.
    pub fn emit(&self, w: &mut Writer<'_>) -> Result<(), BufferFull> {
        w.bytes(&self.ticket_lifetime.to_be_bytes())?;
        w.bytes(&self.ticket_age_add.to_be_bytes())?;
        w.vec8(self.ticket_nonce)?;
        w.vec16(self.ticket)?;
        w.vec16(&[])
    }
}

#[cfg(all(test, feature = "dtls13"))]
mod tests {
    use super::*;

    /// The ticket of RFC 8448 §3, but for its middle; it has an `early_data` extension, which is passed over.
    #[test]
    fn of_dtls13() {
        let body = [
            &[0, 0, 0, 30, 0xFA, 0xD6, 0xAA, 0xC5, 2, 0, 0, 0, 4][..],
            b"tick",
            &[0, 8, 0, 0x2A, 0, 4, 0, 0, 4, 0],
        ]
        .concat();
        let expected = NewSessionTicket13 {
            ticket_lifetime: 30,
            ticket_age_add: 0xFAD6_AAC5,
            ticket_nonce: &[0, 0],
            ticket: b"tick",
        };
        assert_eq!(NewSessionTicket13::parse(&body), Ok(expected));
        let mut buf = [0; 64];
        let mut w = Writer::new(&mut buf);
        expected.emit(&mut w).unwrap();
        assert_eq!(NewSessionTicket13::parse(w.written()), Ok(expected));
        for len in 0..body.len() {
            assert!(NewSessionTicket13::parse(&body[..len]).is_err(), "{len}");
        }
        assert_eq!(
            NewSessionTicket13::parse(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
            Err(InvalidMessage::IllegalLength)
        );
    }
}
