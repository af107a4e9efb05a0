//! `NewConnectionId` and `RequestConnectionId` (RFC 9147 §9).

use super::{BufferFull, InvalidMessage, Reader, Writer};

/// What the sender wants new connection IDs to be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[repr(u8)]
pub enum ConnectionIdUsage {
    /// `cid_immediate`: for every record from here on.
    Immediate = 0,
    /// `cid_spare`: when the receiver sees fit.
    Spare = 1,
}

/// Connection IDs that the sender wants to get records with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewConnectionId<'a> {
    cids: &'a [u8],
    /// What they are for.
    pub usage: ConnectionIdUsage,
}

impl<'a> NewConnectionId<'a> {
    /// Reads the body. There may be no ID in it.
    pub fn parse(body: &'a [u8]) -> Result<Self, InvalidMessage> {
        let mut r = Reader::new(body);
        let cids = r.vec16()?;
        let usage = match r.u8()? {
            0 => ConnectionIdUsage::Immediate,
            1 => ConnectionIdUsage::Spare,
            _ => return Err(InvalidMessage::IllegalValue),
        };
        r.finish()?;
        let mut list = Reader::new(cids);
        while !list.is_empty() {
            list.vec8()?;
        }
        Ok(Self { cids, usage })
    }

    /// The IDs, those to be used first first.
    pub fn iter(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let mut list = Reader::new(self.cids);
        core::iter::from_fn(move || list.vec8().ok())
    }

    /// Writes the body of one with these IDs.
    pub fn emit<'i>(
        w: &mut Writer<'_>,
        mut cids: impl Iterator<Item = &'i [u8]>,
        usage: ConnectionIdUsage,
    ) -> Result<(), BufferFull> {
        w.nested16(|w| cids.try_for_each(|id| w.vec8(id)))?;
        w.u8(usage as u8)
    }
}

/// The sender would like to have so many connection IDs more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestConnectionId {
    /// How many.
    pub num_cids: u8,
}

impl RequestConnectionId {
    /// Reads the body.
    pub fn parse(body: &[u8]) -> Result<Self, InvalidMessage> {
        let mut r = Reader::new(body);
        let num_cids = r.u8()?;
        r.finish()?;
        Ok(Self { num_cids })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn written_and_read() {
        let ids = [b"one".as_slice(), b"", b"three"];
        let mut buf = [0; 64];
        let mut w = Writer::new(&mut buf);
        NewConnectionId::emit(&mut w, ids.into_iter(), ConnectionIdUsage::Spare).unwrap();
        let body = w.written();
        let read = NewConnectionId::parse(body).unwrap();
        assert_eq!(read.usage, ConnectionIdUsage::Spare);
        assert!(read.iter().eq(ids));
        assert_eq!(NewConnectionId::parse(&[0, 0, 0]).unwrap().iter().count(), 0);
        assert_eq!(NewConnectionId::parse(&[0, 0, 2]), Err(InvalidMessage::IllegalValue));
        assert_eq!(NewConnectionId::parse(&[0, 2, 2, 9, 0]), Err(InvalidMessage::Truncated));
        assert_eq!(NewConnectionId::parse(&[0, 0, 0, 0]), Err(InvalidMessage::TrailingData));
        assert_eq!(RequestConnectionId::parse(&[3]), Ok(RequestConnectionId { num_cids: 3 }));
        assert_eq!(RequestConnectionId::parse(&[3, 3]), Err(InvalidMessage::TrailingData));
    }
}
