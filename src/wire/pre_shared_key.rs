//! `pre_shared_key` (RFC 8446 §4.2.11).

use super::extension::emit_pre_shared_key;
use super::{BufferFull, InvalidMessage, Reader, Writer};

/// Length in bytes of a binder: that of the hash of every suite of this crate.
pub const BINDER_LEN: usize = 32;

/// A key that a client offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PskIdentity<'a> {
    /// The identity of an external key, or a ticket; at least one byte.
    pub identity: &'a [u8],
    /// How old a ticket is, plus what came with it, in milliseconds; 0 for an external key.
    pub obfuscated_ticket_age: u32,
}

/// The keys that a client offers, and the proof for each that it holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OfferedPsks<'a> {
    identities: &'a [u8],
    binders: &'a [u8],
}

impl<'a> OfferedPsks<'a> {
    /// Reads the extension's data. There is at least one key, and as many binders as keys.
    pub fn parse(data: &'a [u8]) -> Result<Self, InvalidMessage> {
        let mut r = Reader::new(data);
        let identities = r.vec16()?;
        let binders = r.vec16()?;
        r.finish()?;
        let mut keys = Reader::new(identities);
        let mut proofs = Reader::new(binders);
        loop {
            read_identity(&mut keys)?;
            if proofs.vec8()?.len() < BINDER_LEN {
                return Err(InvalidMessage::IllegalLength);
            }
            match (keys.is_empty(), proofs.is_empty()) {
                (true, true) => return Ok(Self { identities, binders }),
                (false, false) => {}
                _ => return Err(InvalidMessage::IllegalValue),
            }
        }
    }

    /// Each key with its binder.
    pub fn iter(&self) -> impl Iterator<Item = (PskIdentity<'a>, &'a [u8])> + use<'a> {
        let (mut identities, mut binders) = (Reader::new(self.identities), Reader::new(self.binders));
        core::iter::from_fn(move || Some((read_identity(&mut identities).ok()?, binders.vec8().ok()?)))
    }

    /// Length in bytes of the binders with the length in front of them: what a ClientHello has behind the part that the binders
    /// prove (§4.2.11.2).
    pub const fn binders_len(&self) -> usize {
        2 + self.binders.len()
    }
}

fn read_identity<'a>(r: &mut Reader<'a>) -> Result<PskIdentity<'a>, InvalidMessage> {
    let identity = r.vec16()?;
    let obfuscated_ticket_age = u32::from_be_bytes(r.array()?);
    if identity.is_empty() {
        Err(InvalidMessage::IllegalLength)
    } else {
        Ok(PskIdentity { identity, obfuscated_ticket_age })
    }
}

/// Writes a client's extension: the identities that `identities` writes, with [`emit_identity`], and a binder for each.
pub fn emit(
    w: &mut Writer<'_>,
    identities: impl FnOnce(&mut Writer<'_>) -> Result<(), BufferFull>,
    binders: &[[u8; BINDER_LEN]],
) -> Result<(), BufferFull> {
    emit_pre_shared_key(w, |w| {
        w.nested16(identities)?;
        w.nested16(|w| binders.iter().try_for_each(|binder| w.vec8(binder)))
    })
}

/// Writes one key that a client offers.
pub fn emit_identity(w: &mut Writer<'_>, key: PskIdentity<'_>) -> Result<(), BufferFull> {
    w.vec16(key.identity)?;
    w.bytes(&key.obfuscated_ticket_age.to_be_bytes())
}

/// The number of the key that a server has chosen.
pub fn selected_identity(data: &[u8]) -> Result<u16, InvalidMessage> {
    let mut r = Reader::new(data);
    let selected = r.u16()?;
    r.finish()?;
    Ok(selected)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    fn data(identities: &[u8], binders: &[u8]) -> Vec<u8> {
        let len = |bytes: &[u8]| (bytes.len() as u16).to_be_bytes();
        [&len(identities)[..], identities, &len(binders), binders].concat()
    }

    const BINDER: [u8; 33] = {
        let mut binder = [9; 33];
        binder[0] = 32;
        binder
    };

    #[test]
    fn written_and_read() {
        let keys = [(b"client1".as_slice(), 0), (b"\0", 0xFFFF_FFFF)];
        let keys =
            keys.map(|(identity, obfuscated_ticket_age)| PskIdentity { identity, obfuscated_ticket_age });
        let mut buf = [0; 256];
        let mut w = Writer::new(&mut buf);
        let identities = |w: &mut Writer<'_>| keys.iter().try_for_each(|key| emit_identity(w, *key));
        emit(&mut w, identities, &[[1; 32], [2; 32]]).unwrap();
        let mut r = Reader::new(w.written());
        assert_eq!(r.u16(), Ok(41));
        let psks = OfferedPsks::parse(r.vec16().unwrap()).unwrap();
        assert!(psks.iter().eq([(keys[0], [1; 32].as_slice()), (keys[1], &[2; 32])]));
        assert_eq!(psks.binders_len(), 2 + 33 + 33);
    }

    #[test]
    fn hostile() {
        let key = [0, 1, b'x', 0, 0, 0, 0];
        assert!(OfferedPsks::parse(&data(&key, &BINDER)).is_ok());
        for (identities, binders, error) in [
            (&key[..], [BINDER, BINDER].concat(), InvalidMessage::IllegalValue),
            (&[key, key].concat()[..], BINDER.to_vec(), InvalidMessage::IllegalValue),
            (&key[..], Vec::new(), InvalidMessage::Truncated),
            (&[], BINDER.to_vec(), InvalidMessage::Truncated),
            (&[0, 0, 0, 0, 0, 0], BINDER.to_vec(), InvalidMessage::IllegalLength),
            (&key[..6], BINDER.to_vec(), InvalidMessage::Truncated),
            (&key[..], [&[31][..], &[9; 31]].concat(), InvalidMessage::IllegalLength),
            (&key[..], BINDER[..32].to_vec(), InvalidMessage::Truncated),
        ] {
            assert_eq!(
                OfferedPsks::parse(&data(identities, &binders)),
                Err(error),
                "{identities:?} {binders:?}"
            );
        }
        let mut trailing = data(&key, &BINDER);
        trailing.push(0);
        assert_eq!(OfferedPsks::parse(&trailing), Err(InvalidMessage::TrailingData));
        assert_eq!(selected_identity(&[0, 1]), Ok(1));
        assert_eq!(selected_identity(&[0]), Err(InvalidMessage::Truncated));
    }
}
