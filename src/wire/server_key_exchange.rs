//! `ServerKeyExchange`: a hint which identity to use (RFC 4279 §2), and the server's ephemeral key in front of which it stands
//! in ECDHE_PSK suites (RFC 5489 §2, RFC 8422 §5.4).

use super::{BufferFull, InvalidMessage, Reader, Writer};

/// `named_curve`, the one `ECCurveType` that is left (RFC 8422 §5.4).
const NAMED_CURVE: u8 = 3;

/// The server's PSK identity hint, and its ephemeral key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServerKeyExchange<'a> {
    /// The hint; what it says is between the two applications.
    pub psk_identity_hint: &'a [u8],
    /// The key of an ECDHE_PSK suite.
    pub params: Option<EcdhParams<'a>>,
}

/// `ServerECDHParams` of a named group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EcdhParams<'a> {
    /// The group, whichever it is.
    pub group: u16,
    /// The public key, as that group writes it.
    pub point: &'a [u8],
}

impl<'a> ServerKeyExchange<'a> {
    /// Reads the body, which has a key in an ECDHE_PSK suite.
    pub fn parse(body: &'a [u8], with_params: bool) -> Result<Self, InvalidMessage> {
        let mut r = Reader::new(body);
        let psk_identity_hint = r.vec16()?;
        let params = if with_params {
            if r.u8()? != NAMED_CURVE {
                return Err(InvalidMessage::IllegalValue);
            }
            Some(EcdhParams { group: r.u16()?, point: r.vec8()? })
        } else {
            None
        };
        r.finish()?;
        Ok(Self { psk_identity_hint, params })
    }

    /// Writes the body.
    pub fn emit(&self, w: &mut Writer<'_>) -> Result<(), BufferFull> {
        w.vec16(self.psk_identity_hint)?;
        if let Some(EcdhParams { group, point }) = self.params {
            w.u8(NAMED_CURVE)?;
            w.u16(group)?;
            w.vec8(point)?;
        }
        Ok(())
    }
}
