//! Identities, keys, and where a server looks them up (RFC 4279).

use crate::bytes::ByteString;
use crate::crypto;
use crate::env::cap;
use crate::error::Error;
use crate::wire::version::ProtocolVersion;

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
    usage: PskUse<'a>,
    other: Option<&'a Psk<'a>>,
}

/// What a pre-shared key may be used for.
///
/// One key for several versions or protocols is against the advice of RFC 9258 §8: nobody has shown that what one of them does with
/// it never helps against the other. Whoever cannot give each peer two keys has DTLS 1.3 [import](Self::imported) the one that DTLS
/// 1.2 uses as it is, until all peers speak DTLS 1.3.
///
/// ```
/// use dtls_psk::{Psk, PskUse};
///
/// let psk = Psk::new(b"client1", b"hardfault_secure_key")?.with_use(PskUse::imported(b"lamp and switch"));
/// # Ok::<(), dtls_psk::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct PskUse<'a> {
    pub(crate) dtls12: bool,
    pub(crate) dtls13: Dtls13Use<'a>,
}

/// What DTLS 1.3 may do with a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub(crate) enum Dtls13Use<'a> {
    Never,
    Direct,
    Imported { context: &'a [u8] },
}

/// Longest context in bytes of an imported key.
pub const MAX_CONTEXT_LEN: usize = 32;

impl<'a> PskUse<'a> {
    /// Both versions use the key as it is: what a [`Psk`] is for unless you say otherwise, and what the log warns of where both are on.
    pub const ANY: Self = Self { dtls12: true, dtls13: Dtls13Use::Direct };

    /// DTLS 1.2 alone uses the key.
    pub const DTLS12: Self = Self { dtls12: true, dtls13: Dtls13Use::Never };

    /// DTLS 1.3 alone uses the key, as it is.
    pub const DTLS13: Self = Self { dtls12: false, dtls13: Dtls13Use::Direct };

    /// DTLS 1.3 alone uses a key that is made of this one (RFC 9258). Both sides have to do that, with the same `context` of up to
    /// [`MAX_CONTEXT_LEN`] bytes: who the two are, and where their key comes from. It travels in the clear, behind the identity.
    pub const fn imported(context: &'a [u8]) -> Self {
        Self { dtls12: false, dtls13: Dtls13Use::Imported { context } }
    }

    /// The same, and DTLS 1.2 uses the key as it is (RFC 9258 §7: for a time of transition).
    #[must_use]
    pub const fn and_dtls12(self) -> Self {
        Self { dtls12: true, ..self }
    }

    /// Whether this version may use the key.
    pub(crate) const fn allows(&self, version: ProtocolVersion) -> bool {
        match version {
            ProtocolVersion::Dtls12 => self.dtls12,
            ProtocolVersion::Dtls13 => !matches!(self.dtls13, Dtls13Use::Never),
        }
    }
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
            Ok(()) => Ok(Self { identity, key, usage: PskUse::ANY, other: None }),
            Err(error) => Err(error),
        }
    }

    /// The same key, for this use.
    #[must_use]
    pub const fn with_use(self, usage: PskUse<'a>) -> Self {
        Self { usage, ..self }
    }

    /// This key, and another one for a server that does not know this: DTLS 1.3 offers both, and the server takes the first that it
    /// knows. Up to [`MAX_OFFERED_PSKS`] in all; each costs its identity and 40 bytes in every first hello. DTLS 1.2 uses the first that
    /// may be [used](Self::with_use) for it.
    ///
    /// ```
    /// use dtls_psk::Psk;
    ///
    /// // While the keys of a fleet are replaced, some servers know the new one and some do not.
    /// let old = Psk::new(b"lamp 7", b"the key of last year")?;
    /// let psk = Psk::new(b"lamp 7, 2027", b"the key of this year")?.or(&old);
    /// # Ok::<(), dtls_psk::Error>(())
    /// ```
    #[must_use]
    pub const fn or(self, other: &'a Psk<'a>) -> Self {
        Self { other: Some(other), ..self }
    }

    /// What it may be used for.
    pub(crate) const fn usage(&self) -> PskUse<'a> {
        self.usage
    }

    /// This key and those behind it that this version may use, as many as a client offers.
    pub(crate) fn of_version(&self, version: ProtocolVersion) -> impl Iterator<Item = Psk<'a>> + use<'a> {
        let all = core::iter::successors(Some(*self), |psk| psk.other.copied());
        all.filter(move |psk| psk.usage.allows(version)).take(MAX_OFFERED_PSKS)
    }

    /// The key that this version uses for an identity, of this one and those behind it.
    pub(crate) fn of_identity(&self, version: ProtocolVersion, identity: &[u8]) -> Option<Psk<'a>> {
        self.of_version(version).find(|psk| psk.identity == identity)
    }

    /// Whether there are no more keys than a client offers.
    pub(crate) fn is_short(&self) -> bool {
        core::iter::successors(Some(self), |psk| psk.other).nth(MAX_OFFERED_PSKS).is_none()
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

/// How many keys of its own a client offers at most, beside that of a ticket ([`Psk::or`]).
pub const MAX_OFFERED_PSKS: usize = 2;

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

    /// What the key of `identity` may be used for: [`PskUse::ANY`] unless you say otherwise. In a handshake where it may not be, the
    /// identity is as good as unknown.
    fn usage(&self, identity: &[u8]) -> PskUse<'_> {
        let _ = identity;
        PskUse::ANY
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

    fn usage(&self, _: &[u8]) -> PskUse<'_> {
        self.usage
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

    fn usage(&self, identity: &[u8]) -> PskUse<'_> {
        let found = self.iter().find(|psk| crypto::equal(psk.identity, identity));
        found.map_or(PskUse::ANY, |psk| psk.usage)
    }

    fn dummy_key_len(&self) -> usize {
        self.iter().map(|psk| psk.key.len()).max().unwrap_or(16)
    }
}

impl<const N: usize> PskStore for [Psk<'_>; N] {
    fn with_key(&self, identity: &[u8], lend: &mut dyn FnMut(&[u8])) {
        self.as_slice().with_key(identity, lend);
    }

    fn usage(&self, identity: &[u8]) -> PskUse<'_> {
        self.as_slice().usage(identity)
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

    fn usage(&self, identity: &[u8]) -> PskUse<'_> {
        T::usage(self, identity)
    }

    fn dummy_key_len(&self) -> usize {
        T::dummy_key_len(self)
    }
}

/// [`PskStore::with_host_key`] for a handshake in this version: does nothing where the key may not be used there.
pub(crate) fn with_key_for(
    store: &dyn PskStore,
    version: ProtocolVersion,
    host: Option<u16>,
    identity: &[u8],
    lend: &mut dyn FnMut(&[u8]),
) {
    if store.usage(identity).allows(version) {
        store.with_host_key(host, identity, lend);
    }
}

/// A session's own copy of its peer's identity.
pub(crate) type Identity = ByteString<MAX_IDENTITY_LEN>;
