//! Hello extensions (RFC 5246 §7.4.1.4): those that this crate reads and writes.

use super::{BufferFull, InvalidMessage, Reader, Writer};

/// `extended_master_secret` (RFC 7627 §5.1).
const EXTENDED_MASTER_SECRET: u16 = 23;
/// `renegotiation_info` (RFC 5746 §3.2).
const RENEGOTIATION_INFO: u16 = 0xFF01;

/// The extensions of a hello.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extensions {
    /// The master secret is bound to the handshake (RFC 7627).
    pub extended_master_secret: bool,
    /// `renegotiation_info` is there, and empty as it must be in a first handshake (RFC 5746 §3.4–3.6).
    pub renegotiation_info: bool,
    /// `renegotiation_info` is there and speaks of a connection that there is not: the handshake fails (RFC 5746 §3.4, §3.6).
    pub renegotiated_connection: bool,
    /// Something else is there: a server passes over it, a client did not offer it.
    pub unknown: bool,
}

impl Extensions {
    /// Reads the extensions block that ends a hello; a hello may also end before it.
    pub fn parse(r: &mut Reader<'_>) -> Result<Self, InvalidMessage> {
        let mut extensions = Self::default();
        if r.is_empty() {
            return Ok(extensions);
        }
        let mut list = Reader::new(r.vec16()?);
        while !list.is_empty() {
            let extension_type = list.u16()?;
            let data = list.vec16()?;
            let seen = match extension_type {
                EXTENDED_MASTER_SECRET if data.is_empty() => &mut extensions.extended_master_secret,
                EXTENDED_MASTER_SECRET => return Err(InvalidMessage::IllegalLength),
                RENEGOTIATION_INFO if data == [0] => &mut extensions.renegotiation_info,
                RENEGOTIATION_INFO => &mut extensions.renegotiated_connection,
                _ => {
                    extensions.unknown = true;
                    continue;
                }
            };
            if core::mem::replace(seen, true) {
                return Err(InvalidMessage::DuplicateExtension);
            }
        }
        Ok(extensions)
    }

    /// Writes the extensions block; nothing at all where there is no extension.
    pub fn emit(&self, w: &mut Writer<'_>) -> Result<(), BufferFull> {
        if !self.extended_master_secret && !self.renegotiation_info {
            return Ok(());
        }
        w.nested16(|w| {
            if self.renegotiation_info {
                w.u16(RENEGOTIATION_INFO)?;
                w.vec16(&[0])?;
            }
            if self.extended_master_secret {
                w.u16(EXTENDED_MASTER_SECRET)?;
                w.vec16(&[])?;
            }
            Ok(())
        })
    }
}
