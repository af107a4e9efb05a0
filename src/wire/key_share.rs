//! `key_share` (RFC 8446 §4.2.8): a list of ephemeral keys in a ClientHello, one in a ServerHello, and no more than a group in a
//! HelloRetryRequest.

use super::{BufferFull, InvalidMessage, Reader, Writer};

/// An ephemeral key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyShareEntry<'a> {
    /// The group, whichever it is.
    pub group: u16,
    /// The public key, as that group writes it; at least one byte.
    pub key_exchange: &'a [u8],
}

impl<'a> KeyShareEntry<'a> {
    /// Reads one off the front of a list.
    fn read(r: &mut Reader<'a>) -> Result<Self, InvalidMessage> {
        let group = r.u16()?;
        let key_exchange = r.vec16()?;
        if key_exchange.is_empty() {
            Err(InvalidMessage::IllegalLength)
        } else {
            Ok(Self { group, key_exchange })
        }
    }

    /// Reads that of a ServerHello, which is all there is.
    pub fn parse(data: &'a [u8]) -> Result<Self, InvalidMessage> {
        let mut r = Reader::new(data);
        let entry = Self::read(&mut r)?;
        r.finish()?;
        Ok(entry)
    }

    /// Writes it as a ServerHello has it.
    pub fn emit(&self, w: &mut Writer<'_>) -> Result<(), BufferFull> {
        w.u16(self.group)?;
        w.vec16(self.key_exchange)
    }

    /// Writes a client's list with no other one in it.
    pub fn emit_alone(&self, w: &mut Writer<'_>) -> Result<(), BufferFull> {
        w.nested16(|w| self.emit(w))
    }
}

/// The key of this group in a client's list. More than one of a group is against the rules.
pub fn find(data: &[u8], group: u16) -> Result<Option<&[u8]>, InvalidMessage> {
    let mut r = Reader::new(data);
    let mut list = Reader::new(r.vec16()?);
    r.finish()?;
    let mut found = None;
    while !list.is_empty() {
        let entry = KeyShareEntry::read(&mut list)?;
        if entry.group == group && found.replace(entry.key_exchange).is_some() {
            return Err(InvalidMessage::IllegalValue);
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_and_entries() {
        let entry = KeyShareEntry { group: 29, key_exchange: &[7; 32] };
        let mut buf = [0; 64];
        let mut w = Writer::new(&mut buf);
        entry.emit_alone(&mut w).unwrap();
        let list = w.written();
        assert_eq!(list[..6], [0, 36, 0, 29, 0, 32]);
        assert_eq!(find(list, 29), Ok(Some([7; 32].as_slice())));
        assert_eq!(find(list, 23), Ok(None));
        assert_eq!(KeyShareEntry::parse(&list[2..]), Ok(entry));
        assert_eq!(find(&[0, 0], 29), Ok(None), "none yet: the server may ask for one");
        let (one, two) = ([0, 29, 0, 1, 5], [0, 30, 0, 1, 6]);
        assert_eq!(find(&[&[0, 10][..], &one, &two].concat(), 30), Ok(Some([6].as_slice())));
        assert_eq!(find(&[&[0, 10][..], &one, &one].concat(), 29), Err(InvalidMessage::IllegalValue));
        assert_eq!(find(&[0, 4, 0, 29, 0, 0], 29), Err(InvalidMessage::IllegalLength));
        assert_eq!(find(&[0, 5, 0, 29, 0, 2, 1], 29), Err(InvalidMessage::Truncated));
        assert_eq!(find(&[0, 5, 0, 29, 0, 1, 1, 0], 29), Err(InvalidMessage::TrailingData));
        assert_eq!(KeyShareEntry::parse(&[0, 29, 0, 1, 1, 0]), Err(InvalidMessage::TrailingData));
        assert_eq!(KeyShareEntry::parse(&[0, 29]), Err(InvalidMessage::Truncated));
    }
}
