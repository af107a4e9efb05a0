//! `ServerKeyExchange`: a hint which identity to use (RFC 4279 §2), and the server's ephemeral key in front of which it stands
//! in ECDHE_PSK suites (RFC 5489 §2, RFC 8422 §5.4).

use super::extension::X25519;
use super::{BufferFull, InvalidMessage, Reader, Writer};
use crate::crypto::key_share::{POINT_LEN, Point};

/// `named_curve`, the one `ECCurveType` that is left (RFC 8422 §5.4).
const NAMED_CURVE: u8 = 3;

/// The server's PSK identity hint, and its public key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServerKeyExchange<'a> {
    /// The hint; what it says is between the two applications.
    pub psk_identity_hint: &'a [u8],
    /// The public key of an ECDHE_PSK suite.
    pub point: Option<Point>,
}

impl<'a> ServerKeyExchange<'a> {
    /// Reads the body, which has a public key in an ECDHE_PSK suite.
    pub fn parse(body: &'a [u8], with_point: bool) -> Result<Self, InvalidMessage> {
        let mut r = Reader::new(body);
        let psk_identity_hint = r.vec16()?;
        let point = if with_point {
            if r.u8()? != NAMED_CURVE || r.u16()? != X25519 {
                return Err(InvalidMessage::IllegalValue);
            }
            Some(parse_point(&mut r)?)
        } else {
            None
        };
        r.finish()?;
        Ok(Self { psk_identity_hint, point })
    }

    /// Writes the body.
    pub fn emit(&self, w: &mut Writer<'_>) -> Result<(), BufferFull> {
        w.vec16(self.psk_identity_hint)?;
        if let Some(point) = &self.point {
            w.u8(NAMED_CURVE)?;
            w.u16(X25519)?;
            w.vec8(point)?;
        }
        Ok(())
    }
}

/// A public key behind its length.
pub(super) fn parse_point(r: &mut Reader<'_>) -> Result<Point, InvalidMessage> {
    let point = r.vec8()?;
    <[u8; POINT_LEN]>::try_from(point).map_err(|_| InvalidMessage::IllegalLength)
}
