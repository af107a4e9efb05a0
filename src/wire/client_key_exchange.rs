//! `ClientKeyExchange`: the identity, in the clear (RFC 4279 §2), and in ECDHE_PSK suites the client's ephemeral key (RFC 5489
//! §2).

use super::extension::parse_point;
use super::{BufferFull, InvalidMessage, Reader, Writer};
use crate::crypto::key_share::Point;

/// The client's PSK identity, and its public key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientKeyExchange<'a> {
    /// The identity; any bytes.
    pub psk_identity: &'a [u8],
    /// The public key of an ECDHE_PSK suite.
    pub point: Option<Point>,
}

impl<'a> ClientKeyExchange<'a> {
    /// Reads the body, which has a public key in an ECDHE_PSK suite.
    pub fn parse(body: &'a [u8], with_point: bool) -> Result<Self, InvalidMessage> {
        let mut r = Reader::new(body);
        let psk_identity = r.vec16()?;
        let point = if with_point { Some(parse_point(r.vec8()?)?) } else { None };
        r.finish()?;
        Ok(Self { psk_identity, point })
    }

    /// Writes the body.
    pub fn emit(&self, w: &mut Writer<'_>) -> Result<(), BufferFull> {
        w.vec16(self.psk_identity)?;
        self.point.as_ref().map_or(Ok(()), |point| w.vec8(point))
    }
}
