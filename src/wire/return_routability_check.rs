//! `return_routability_check` (RFC 9853 §4): messages that show whether the peer receives at an address.

use super::{InvalidMessage, Reader};

/// Length in bytes of a cookie.
pub const COOKIE_LEN: usize = 8;

/// Length in bytes of a message.
pub const LEN: usize = 1 + COOKIE_LEN;

/// What a message is for. There may be more kinds one day, which are passed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[repr(u8)]
pub enum Kind {
    /// `path_challenge`: asks to send the cookie back.
    Challenge = 0,
    /// `path_response`: sends the cookie back.
    Response = 1,
    /// `path_drop`: sends the cookie back, by a path that is to be given up.
    Drop = 2,
}

/// A message of the return routability check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReturnRoutabilityCheck {
    /// What it is for.
    pub kind: Kind,
    /// What the answer has to repeat.
    pub cookie: [u8; COOKIE_LEN],
}

impl ReturnRoutabilityCheck {
    /// Reads a message, which must fill its record; `None` for one of a kind that is not known.
    pub fn parse(body: &[u8]) -> Result<Option<Self>, InvalidMessage> {
        let mut r = Reader::new(body);
        let kind = match r.u8()? {
            0 => Kind::Challenge,
            1 => Kind::Response,
            2 => Kind::Drop,
            _ => return Ok(None),
        };
        let cookie = r.array()?;
        r.finish()?;
        Ok(Some(Self { kind, cookie }))
    }

    /// The message's bytes.
    pub const fn to_bytes(self) -> [u8; LEN] {
        let [a, b, c, d, e, f, g, h] = self.cookie;
        [self.kind as u8, a, b, c, d, e, f, g, h]
    }
}
