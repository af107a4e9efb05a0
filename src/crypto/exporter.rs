//! Keying material for other protocols (RFC 5705, RFC 8446 §7.5), behind the feature `exporter`: without it, nothing is kept.

#[cfg(feature = "dtls13")]
use super::key_schedule::Secret;
#[cfg(all(feature = "exporter", feature = "dtls12"))]
use super::prf::Prf;
#[cfg(feature = "exporter")]
use crate::error::Error;
use crate::wire::{BufferFull, InvalidMessage, RANDOM_LEN, Reader, Writer};

/// Length in bytes of a master secret.
pub const MASTER_SECRET_LEN: usize = 48;

/// Length in bytes of a saved one.
pub const EXPORTER_LEN: usize =
    if cfg!(feature = "exporter") { 1 + MASTER_SECRET_LEN + 2 * RANDOM_LEN } else { 0 };

/// What keying material is made of.
#[derive(Clone)]
pub struct Exporter {
    #[cfg(feature = "exporter")]
    secrets: Secrets,
}

#[cfg(feature = "exporter")]
#[derive(Clone, zeroize::ZeroizeOnDrop)]
enum Secrets {
    #[cfg(feature = "dtls12")]
    Dtls12 {
        master: [u8; MASTER_SECRET_LEN],
        client_random: [u8; RANDOM_LEN],
        server_random: [u8; RANDOM_LEN],
    },
    #[cfg(feature = "dtls13")]
    Dtls13 { exporter_master: [u8; super::key_schedule::SECRET_LEN] },
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
    #[cfg(feature = "dtls12")]
    pub const fn of_master_secret(
        _: &[u8; MASTER_SECRET_LEN],
        _: &[u8; RANDOM_LEN],
        _: &[u8; RANDOM_LEN],
    ) -> Self {
        Self {}
    }

    /// Keeps nothing.
    #[cfg(feature = "dtls13")]
    pub const fn of_exporter_master(_: &Secret) -> Self {
        Self {}
    }
}

#[cfg(feature = "exporter")]
impl Exporter {
    /// Writes the secrets, for a saved session.
    pub fn save(&self, w: &mut Writer<'_>) -> Result<(), BufferFull> {
        match &self.secrets {
            #[cfg(feature = "dtls12")]
            Secrets::Dtls12 { master, client_random, server_random } => {
                w.u8(2)?;
                w.bytes(master)?;
                w.bytes(client_random)?;
                w.bytes(server_random)
            }
            #[cfg(feature = "dtls13")]
            Secrets::Dtls13 { exporter_master } => {
                w.u8(3)?;
                w.bytes(exporter_master)
            }
        }
    }

    /// Reads what [`save`](Self::save) has written.
    pub fn load(r: &mut Reader<'_>) -> Result<Self, InvalidMessage> {
        let secrets = match r.u8()? {
            #[cfg(feature = "dtls12")]
            2 => Secrets::Dtls12 { master: r.array()?, client_random: r.array()?, server_random: r.array()? },
            #[cfg(feature = "dtls13")]
            3 => Secrets::Dtls13 { exporter_master: r.array()? },
            _ => return Err(InvalidMessage::IllegalValue),
        };
        Ok(Self { secrets })
    }

    /// Keeps the master secret of DTLS 1.2 and both randoms.
    #[cfg(feature = "dtls12")]
    pub const fn of_master_secret(
        master: &[u8; MASTER_SECRET_LEN],
        client_random: &[u8; RANDOM_LEN],
        server_random: &[u8; RANDOM_LEN],
    ) -> Self {
        let (client_random, server_random) = (*client_random, *server_random);
        Self { secrets: Secrets::Dtls12 { master: *master, client_random, server_random } }
    }

    /// Keeps the `exporter_master_secret` of DTLS 1.3.
    #[cfg(feature = "dtls13")]
    pub fn of_exporter_master(exporter_master: &Secret) -> Self {
        Self { secrets: Secrets::Dtls13 { exporter_master: **exporter_master } }
    }

    /// Fills `out` as RFC 5705 §4 or RFC 8446 §7.5 says. There, no context is the same as an empty one.
    pub fn export(&self, label: &[u8], context: Option<&[u8]>, out: &mut [u8]) -> Result<(), Error> {
        match &self.secrets {
            #[cfg(feature = "dtls12")]
            Secrets::Dtls12 { master, client_random, server_random } => {
                export12(master, [client_random, server_random], label, context, out)
            }
            #[cfg(feature = "dtls13")]
            Secrets::Dtls13 { exporter_master } => {
                super::key_schedule::export(exporter_master, label, context.unwrap_or_default(), out)
            }
        }
    }
}

#[cfg(all(feature = "exporter", feature = "dtls12"))]
fn export12(
    master: &[u8],
    randoms: [&[u8; RANDOM_LEN]; 2],
    label: &[u8],
    context: Option<&[u8]>,
    out: &mut [u8],
) -> Result<(), Error> {
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
    let prf = Prf::new(master);
    let [client, server] = randoms.map(<[u8; RANDOM_LEN]>::as_slice);
    match context {
        None => prf.expand(label, &[client, server], out),
        Some(context) => {
            let len =
                u16::try_from(context.len()).map_err(|_| Error::PayloadTooLong { max: u16::MAX.into() })?;
            prf.expand(label, &[client, server, &len.to_be_bytes(), context], out);
        }
    }
    Ok(())
}
