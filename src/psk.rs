//! Identities, keys, and where a server looks them up (RFC 4279).

use crate::bytes::ByteString;
use crate::crypto;
use crate::env::cap;
use crate::error::Error;

/// Longest PSK identity in bytes: 128, which RFC 4279 §5.3 asks for.
///
/// A small device lowers it, and with it the RAM of every session, by setting `DTLS_PSK_MAX_IDENTITY` in the
/// environment of its build, for example in the `[env]` table of `.cargo/config.toml`.
pub const MAX_IDENTITY_LEN: usize = cap(option_env!("DTLS_PSK_MAX_IDENTITY"), 128);

/// Longest key in bytes: 64, which RFC 4279 §5.3 asks for. Lowered with `DTLS_PSK_MAX_KEY`, which saves stack.
pub const MAX_KEY_LEN: usize = cap(option_env!("DTLS_PSK_MAX_KEY"), 64);

/// An identity and the key that goes with it, both lent.
///
/// Identities are compared byte by byte and may hold any value, NUL included. A key should be 16 random bytes or more:
/// whoever records one handshake under a guessable key can search for it at leisure (RFC 4279 §7.2).
///
/// `Debug` shows the identity and never the key.
///
/// ```
/// use dtls_psk::{Error, Psk};
///
/// let psk = Psk::new(b"client1", b"hardfault_secure_key")?;
/// assert_eq!(format!("{psk:?}"), r#"Psk { identity: "client1", key: .. }"#);
/// assert_eq!(Psk::new(b"client1", b"").unwrap_err(), Error::EmptyKey);
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Copy)]
pub struct Psk<'a> {
    identity: &'a [u8],
    key: &'a [u8],
}

impl<'a> Psk<'a> {
    /// An identity of 0 to [`MAX_IDENTITY_LEN`] bytes with a key of 1 to [`MAX_KEY_LEN`].
    ///
    /// # Errors
    /// [`Error::IdentityTooLong`], [`Error::KeyTooLong`] or [`Error::EmptyKey`].
    pub const fn new(identity: &'a [u8], key: &'a [u8]) -> Result<Self, Error> {
        if identity.len() > MAX_IDENTITY_LEN {
            return Err(Error::IdentityTooLong);
        }
        match check_key(key) {
            Ok(()) => Ok(Self { identity, key }),
            Err(error) => Err(error),
        }
    }

    /// The identity, which travels in the clear.
    pub const fn identity(&self) -> &'a [u8] {
        self.identity
    }

    /// The key.
    pub const fn key(&self) -> &'a [u8] {
        self.key
    }
}

impl core::fmt::Debug for Psk<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Psk {{ identity: \"{}\", key: .. }}", self.identity.escape_ascii())
    }
}

#[cfg(feature = "defmt")]
impl defmt::Format for Psk<'_> {
    fn format(&self, f: defmt::Formatter<'_>) {
        defmt::write!(f, "Psk {{ identity: {=[u8]:a}, key: .. }}", self.identity);
    }
}

pub(crate) const fn check_key(key: &[u8]) -> Result<(), Error> {
    if key.is_empty() {
        Err(Error::EmptyKey)
    } else if key.len() > MAX_KEY_LEN {
        Err(Error::KeyTooLong)
    } else {
        Ok(())
    }
}

/// Where a server looks up the key of an identity.
///
/// Implemented for one [`Psk`], for slices and arrays of them, and for references to stores. A store of your own (flash, a
/// map behind a lock) should take the same time whether it knows an identity or not, or it tells an attacker who measures.
/// It may change while an [`Endpoint`](crate::Endpoint) uses it: each handshake asks anew.
///
/// ```
/// use core::cell::RefCell;
/// use std::collections::BTreeMap;
/// use dtls_psk::PskStore;
///
/// /// Devices come and go while the server runs.
/// struct Fleet(RefCell<BTreeMap<Vec<u8>, [u8; 16]>>);
///
/// impl PskStore for Fleet {
///     fn with_key(&self, identity: &[u8], lend: &mut dyn FnMut(&[u8])) {
///         if let Some(key) = self.0.borrow().get(identity) {
///             lend(key);
///         }
///     }
/// }
/// ```
pub trait PskStore {
    /// Lends the key of `identity`, 1 to [`MAX_KEY_LEN`] bytes, by calling `lend` with it once; does nothing for an
    /// identity that may not come in.
    ///
    /// A key of another length is treated as none, and reported through the log.
    fn with_key(&self, identity: &[u8], lend: &mut dyn FnMut(&[u8]));

    /// What the name means that a client calls this server by (`server_name`, RFC 6066 §3): 1 to 65,535 bytes that nobody
    /// has checked. Names are ignored unless you say otherwise.
    ///
    /// Asked once a handshake, before there is an identity; what is [found](HostLookup::Found) comes back with it in
    /// [`with_host_key`](Self::with_host_key).
    fn host(&self, server_name: &[u8]) -> HostLookup {
        let _ = server_name;
        HostLookup::Ignored
    }

    /// [`with_key`](Self::with_key) among the keys of one host, where the client has named one. Does not look at the host
    /// unless you say otherwise.
    ///
    /// ```
    /// use dtls_psk::{HostLookup, PskStore};
    ///
    /// /// Two sites on one socket, with keys of their own.
    /// struct Sites;
    ///
    /// impl PskStore for Sites {
    ///     fn with_key(&self, identity: &[u8], lend: &mut dyn FnMut(&[u8])) {
    ///         self.with_host_key(None, identity, lend);
    ///     }
    ///
    ///     fn host(&self, server_name: &[u8]) -> HostLookup {
    ///         match server_name {
    ///             b"north.example" => HostLookup::Found(0),
    ///             b"south.example" => HostLookup::Found(1),
    ///             _ => HostLookup::Unrecognized,
    ///         }
    ///     }
    ///
    ///     fn with_host_key(&self, host: Option<u16>, identity: &[u8], lend: &mut dyn FnMut(&[u8])) {
    ///         match (host, identity) {
    ///             (Some(0), b"client1") => lend(b"key of the north"),
    ///             (Some(1), b"client1") => lend(b"key of the south"),
    ///             _ => {}
    ///         }
    ///     }
    /// }
    /// ```
    fn with_host_key(&self, host: Option<u16>, identity: &[u8], lend: &mut dyn FnMut(&[u8])) {
        let _ = host;
        self.with_key(identity, lend);
    }

    /// How long the key is, in bytes, that stands in for those of unknown identities: 16 unless you say otherwise.
    ///
    /// The handshake with an unknown identity goes on under a random key, so that it looks and lasts just like one with a
    /// wrong key (RFC 4279 §2). How long the premaster secret takes to hash depends on the length: up to 30 bytes are
    /// alike. So say here how long your keys are.
    fn dummy_key_len(&self) -> usize {
        16
    }
}

/// What a [`PskStore`] makes of a server name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum HostLookup {
    /// Names play no part here. The client is not told, and served.
    Ignored,
    /// The name is that of this host, by whatever number the store likes.
    Found(u16),
    /// There is no such host: the handshake ends with `unrecognized_name`.
    Unrecognized,
}

impl PskStore for Psk<'_> {
    fn with_key(&self, identity: &[u8], lend: &mut dyn FnMut(&[u8])) {
        if crypto::equal(self.identity, identity) {
            lend(self.key);
        }
    }

    fn dummy_key_len(&self) -> usize {
        self.key.len()
    }
}

impl PskStore for [Psk<'_>] {
    /// Looks at every entry, so that the time does not tell which one it was.
    fn with_key(&self, identity: &[u8], lend: &mut dyn FnMut(&[u8])) {
        let found = self.iter().fold(None, |found, psk| {
            let fits = crypto::equal(psk.identity, identity);
            found.or(fits.then_some(psk.key))
        });
        found.into_iter().for_each(lend);
    }

    fn dummy_key_len(&self) -> usize {
        self.iter().map(|psk| psk.key.len()).max().unwrap_or(16)
    }
}

impl<const N: usize> PskStore for [Psk<'_>; N] {
    fn with_key(&self, identity: &[u8], lend: &mut dyn FnMut(&[u8])) {
        self.as_slice().with_key(identity, lend);
    }

    fn dummy_key_len(&self) -> usize {
        self.as_slice().dummy_key_len()
    }
}

impl<T: PskStore + ?Sized> PskStore for &T {
    fn with_key(&self, identity: &[u8], lend: &mut dyn FnMut(&[u8])) {
        T::with_key(self, identity, lend);
    }

    fn host(&self, server_name: &[u8]) -> HostLookup {
        T::host(self, server_name)
    }

    fn with_host_key(&self, host: Option<u16>, identity: &[u8], lend: &mut dyn FnMut(&[u8])) {
        T::with_host_key(self, host, identity, lend);
    }

    fn dummy_key_len(&self) -> usize {
        T::dummy_key_len(self)
    }
}

/// A session's own copy of its peer's identity.
pub(crate) type Identity = ByteString<MAX_IDENTITY_LEN>;
