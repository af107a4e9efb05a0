//! What a connection or an endpoint may do.

use core::time::Duration;

use crate::crypto::provider::{CryptoProvider, RustCrypto};
use crate::error::{ConfigField, Error};
use crate::psk::MAX_IDENTITY_LEN;
use crate::wire::suite::CipherSuite;
use crate::wire::{handshake, record};

/// Cookie bytes that a ClientHello leaves room for when the MTU is checked: what servers send in practice. The longest
/// that a server may send is 255.
const USUAL_COOKIE: usize = 32;

/// The configuration of connections and endpoints, lent to them for as long as they live.
///
/// The default suits the Internet: every suite of the build, the shortest records first, datagrams of up to 1232 bytes,
/// retransmission after 1 s. [`Config::coap`] suits constrained networks.
///
/// ```
/// use core::time::Duration;
/// use dtls_psk::{CipherSuite, Config};
///
/// const CONFIG: Config = Config::coap()
///     .with_mtu(256)
///     .with_handshake_timeout(Duration::from_secs(120));
/// assert_eq!(CONFIG.suites(), [CipherSuite::Aes128Ccm8]);
/// CONFIG.validate()?;
/// # Ok::<(), dtls_psk::Error>(())
/// ```
#[derive(Clone, Copy)]
pub struct Config<'a> {
    suites: &'a [CipherSuite],
    require_extended_master_secret: bool,
    mtu: usize,
    initial_timeout: Duration,
    max_timeout: Duration,
    handshake_timeout: Duration,
    identity_hint: Option<&'a [u8]>,
    sessions_per_identity: Option<usize>,
    crypto: &'a dyn CryptoProvider,
    #[cfg(feature = "keylog")]
    keylog: Option<&'a dyn crate::keylog::KeyLog>,
}

impl Config<'_> {
    /// The smallest MTU that any configuration accepts, in bytes: that of a ClientHello for one suite.
    pub const MIN_MTU: usize = hello_len(1);
}

impl<'a> Config<'a> {
    /// The same as [`Config::default`], for constants.
    pub const fn new() -> Self {
        Self {
            suites: CipherSuite::ALL,
            require_extended_master_secret: false,
            // What IPv6 carries everywhere: 1280 bytes less the headers of IPv6 and UDP.
            mtu: 1232,
            initial_timeout: Duration::from_secs(1),
            max_timeout: Duration::from_secs(60),
            handshake_timeout: Duration::from_secs(60),
            identity_hint: None,
            sessions_per_identity: None,
            crypto: &RustCrypto,
            #[cfg(feature = "keylog")]
            keylog: None,
        }
    }

    /// The constrained profile of RFC 7252 §9.1.3.1 and RFC 7925 §11: CCM_8 alone, retransmission after 9 s, a handshake
    /// within five minutes.
    pub const fn coap() -> Self {
        Self {
            suites: &[CipherSuite::Aes128Ccm8],
            initial_timeout: Duration::from_secs(9),
            handshake_timeout: Duration::from_secs(300),
            ..Self::new()
        }
    }

    /// The suites to offer or accept, the best first. A server takes the first of its own that the client offers.
    pub const fn with_suites(self, suites: &'a [CipherSuite]) -> Self {
        Self { suites, ..self }
    }

    /// Whether to refuse peers without the extended master secret (RFC 7627); off by default.
    ///
    /// It is always offered and accepted. Without certificates and renegotiation its absence opens no known attack, and
    /// OpenThread and small builds of Mbed TLS lack it.
    pub const fn with_required_extended_master_secret(self, required: bool) -> Self {
        Self { require_extended_master_secret: required, ..self }
    }

    /// The longest datagram to send, in bytes of UDP payload; 1232 by default, [`Config::MIN_MTU`] to 65,535.
    ///
    /// Handshake messages are cut to fit. A ClientHello never is, as servers cannot put it together before they spend
    /// memory (RFC 6347 §4.2.1), so the MTU must hold it; one that repeats a cookie of more than 32 bytes may be longer.
    pub const fn with_mtu(self, mtu: usize) -> Self {
        Self { mtu, ..self }
    }

    /// How long a flight waits for its answer before it is sent again (RFC 6347 §4.2.4.1): 1 s by default, doubling to
    /// 60 s. RFC 7925 §11 advises 9 s for constrained networks, where an answer may take that long.
    pub const fn with_retransmission(self, initial: Duration, max: Duration) -> Self {
        Self { initial_timeout: initial, max_timeout: max, ..self }
    }

    /// How long a handshake may take in all; 60 s by default. Then it fails, and a server's slot is free again.
    pub const fn with_handshake_timeout(self, timeout: Duration) -> Self {
        Self { handshake_timeout: timeout, ..self }
    }

    /// The hint that a server sends about which identity to use (RFC 4279 §5.2), 0 to 128 bytes; none by default.
    pub const fn with_identity_hint(self, hint: &'a [u8]) -> Self {
        Self { identity_hint: Some(hint), ..self }
    }

    /// How many sessions one identity may hold at an [`Endpoint`](crate::Endpoint) at once; half of the session pool by
    /// default, so that no single peer can fill it. Raise it where many devices share one identity.
    pub const fn with_sessions_per_identity(self, sessions: usize) -> Self {
        Self { sessions_per_identity: Some(sessions), ..self }
    }

    /// The ciphers to use; [`RustCrypto`] by default.
    pub const fn with_crypto(self, crypto: &'a dyn CryptoProvider) -> Self {
        Self { crypto, ..self }
    }

    /// Where to log keys to; nowhere by default. For development only.
    #[cfg(feature = "keylog")]
    pub const fn with_keylog(self, keylog: &'a dyn crate::keylog::KeyLog) -> Self {
        Self { keylog: Some(keylog), ..self }
    }

    /// The suites, the best first.
    pub const fn suites(&self) -> &'a [CipherSuite] {
        self.suites
    }

    /// The longest datagram to send, in bytes.
    pub const fn mtu(&self) -> usize {
        self.mtu
    }

    pub(crate) const fn requires_extended_master_secret(&self) -> bool {
        self.require_extended_master_secret
    }

    pub(crate) const fn initial_timeout(&self) -> Duration {
        self.initial_timeout
    }

    pub(crate) const fn max_timeout(&self) -> Duration {
        self.max_timeout
    }

    pub(crate) const fn handshake_timeout(&self) -> Duration {
        self.handshake_timeout
    }

    pub(crate) const fn identity_hint(&self) -> Option<&'a [u8]> {
        self.identity_hint
    }

    pub(crate) const fn sessions_per_identity(&self) -> Option<usize> {
        self.sessions_per_identity
    }

    pub(crate) const fn crypto(&self) -> &'a dyn CryptoProvider {
        self.crypto
    }

    #[cfg(feature = "keylog")]
    pub(crate) const fn keylog(&self) -> Option<&'a dyn crate::keylog::KeyLog> {
        self.keylog
    }

    /// Checks every field. Connections and endpoints do it too before they start.
    ///
    /// # Errors
    /// [`Error::InvalidConfig`] with the field that is out of its range.
    pub fn validate(&self) -> Result<(), Error> {
        let repeated = |(at, suite)| self.suites.iter().take(at).any(|earlier| earlier == suite);
        let fields = [
            (ConfigField::Suites, !self.suites.is_empty() && !self.suites.iter().enumerate().any(repeated)),
            (ConfigField::Mtu, (hello_len(self.suites.len())..=usize::from(u16::MAX)).contains(&self.mtu)),
            (
                ConfigField::Retransmission,
                self.initial_timeout >= Duration::from_millis(1) && self.initial_timeout <= self.max_timeout,
            ),
            (ConfigField::HandshakeTimeout, self.handshake_timeout >= self.initial_timeout),
            (ConfigField::IdentityHint, self.identity_hint.is_none_or(|hint| hint.len() <= MAX_IDENTITY_LEN)),
        ];
        match fields.into_iter().find(|(_, valid)| !valid) {
            Some((field, _)) => Err(Error::InvalidConfig(field)),
            None => Ok(()),
        }
    }
}

impl Default for Config<'_> {
    fn default() -> Self {
        Self::new()
    }
}

impl core::fmt::Debug for Config<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Config")
            .field("suites", &self.suites)
            .field("mtu", &self.mtu)
            .field("initial_timeout", &self.initial_timeout)
            .field("max_timeout", &self.max_timeout)
            .field("handshake_timeout", &self.handshake_timeout)
            .finish_non_exhaustive()
    }
}

/// Length in bytes of the datagram with a ClientHello that offers `suites` suites and repeats a usual cookie: version,
/// random, empty session id, cookie, suites with the SCSV, one compression method, and the extensions.
const fn hello_len(suites: usize) -> usize {
    let body = 2 + 32 + 1 + (1 + USUAL_COOKIE) + 2 + 2 * (suites + 1) + 2 + 2 + 4;
    record::HEADER_LEN + handshake::HEADER_LEN + body
}
