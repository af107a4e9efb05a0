//! Keying material for other protocols (RFC 5705), behind the feature `exporter`: without it, nothing is kept.

#[cfg(feature = "exporter")]
use super::prf::Prf;
#[cfg(feature = "exporter")]
use crate::error::Error;
use crate::wire::{BufferFull, InvalidMessage, RANDOM_LEN, Reader, Writer};

/// Length in bytes of a master secret.
pub const MASTER_SECRET_LEN: usize = 48;

/// Length in bytes of a saved one.
pub const EXPORTER_LEN: usize =
    if cfg!(feature = "exporter") { MASTER_SECRET_LEN + 2 * RANDOM_LEN } else { 0 };

/// What keying material is made of.
#[derive(Clone)]
#[cfg_attr(feature = "exporter", derive(zeroize::ZeroizeOnDrop))]
pub struct Exporter {
    #[cfg(feature = "exporter")]
    master: [u8; MASTER_SECRET_LEN],
    #[cfg(feature = "exporter")]
    client_random: [u8; RANDOM_LEN],
    #[cfg(feature = "exporter")]
    server_random: [u8; RANDOM_LEN],
}

#[cfg(not(feature = "exporter"))]
impl Exporter {
    /// Writes nothing.
    pub const fn save(&self, _: &mut Writer<'_>) -> Result<(), BufferFull> {
        Ok(())
    }

    /// Reads nothing.
    pub const fn load(_: &mut Reader<'_>) -> Result<Self, InvalidMessage> {
        Ok(Self {})
    }

    /// Keeps nothing.
    pub const fn new(_: &[u8; MASTER_SECRET_LEN], _: &[u8; RANDOM_LEN], _: &[u8; RANDOM_LEN]) -> Self {
        Self {}
    }
}

#[cfg(feature = "exporter")]
impl Exporter {
    /// Writes the secrets, for a saved session.
    pub fn save(&self, w: &mut Writer<'_>) -> Result<(), BufferFull> {
        w.bytes(&self.master)?;
        w.bytes(&self.client_random)?;
        w.bytes(&self.server_random)
    }

    /// Reads what [`save`](Self::save) has written.
    pub fn load(r: &mut Reader<'_>) -> Result<Self, InvalidMessage> {
        Ok(Self { master: r.array()?, client_random: r.array()?, server_random: r.array()? })
    }

    /// Keeps the master secret and both randoms.
    pub const fn new(
        master: &[u8; MASTER_SECRET_LEN],
        client_random: &[u8; RANDOM_LEN],
        server_random: &[u8; RANDOM_LEN],
    ) -> Self {
        Self { master: *master, client_random: *client_random, server_random: *server_random }
    }

    /// Fills `out` as RFC 5705 §4 says.
    pub fn export(&self, label: &[u8], context: Option<&[u8]>, out: &mut [u8]) -> Result<(), Error> {
        let reserved: [&[u8]; 5] = [
            b"client finished",
            b"server finished",
            b"master secret",
            b"extended master secret",
            b"key expansion",
        ];
        if reserved.contains(&label) {
            return Err(Error::ReservedLabel);
        }
        let prf = Prf::new(&self.master);
        let randoms = [self.client_random.as_slice(), &self.server_random];
        let [client, server] = randoms;
        match context {
            None => prf.expand(label, &randoms, out),
            Some(context) => {
                let len = u16::try_from(context.len())
                    .map_err(|_| Error::PayloadTooLong { max: u16::MAX.into() })?;
                prf.expand(label, &[client, server, &len.to_be_bytes(), context], out);
            }
        }
        Ok(())
    }
}
