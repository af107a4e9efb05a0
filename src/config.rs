//! What a connection or an endpoint may do.

use core::time::Duration;

use crate::connection_id::MAX_CONNECTION_ID_LEN;
use crate::crypto::key_share::POINT_LEN;
use crate::crypto::limits::forgery_limit;
use crate::crypto::provider::{CryptoProvider, RustCrypto};
use crate::error::{ConfigField, Error};
use crate::psk::{MAX_CONTEXT_LEN, MAX_IDENTITY_LEN, MAX_OFFERED_PSKS};
use crate::resumption::{MAX_SESSION_ID_LEN, MAX_TICKET_LEN, ResumptionTag, SessionCache};
use crate::wire::max_fragment_length::MaxFragmentLength;
#[cfg(feature = "dtls13")]
use crate::wire::psk_key_exchange_modes::PskKeyExchangeMode;
use crate::wire::record::MAX_RECORD_SIZE;
use crate::wire::suite::{AeadAlgorithm, CipherSuite};
use crate::wire::version::ProtocolVersion;
use crate::wire::{handshake, record};

/// Cookie bytes that a ClientHello leaves room for when the MTU is checked: what servers send in practice. The longest
/// that a server may send is 255.
const USUAL_COOKIE: usize = 32;

/// The configuration of connections and endpoints, lent to them for as long as they live.
///
/// The default suits the Internet: every suite of the build, those with forward secrecy first, datagrams of up to 1232 bytes,
/// retransmission after 1 s. [`Config::coap`] suits constrained networks.
///
/// ```
/// use core::time::Duration;
/// use dtls_psk::{CipherSuite, Config};
///
/// const CONFIG: Config = Config::coap()
///     .with_mtu(256)
///     .with_handshake_timeout(Duration::from_secs(120));
/// assert!(CONFIG.suites().contains(&CipherSuite::Aes128Ccm8));
/// CONFIG.validate()?;
/// # Ok::<(), dtls_psk::Error>(())
/// ```
#[derive(Clone, Copy)]
pub struct Config<'a> {
    versions: &'a [ProtocolVersion],
    #[cfg(feature = "dtls13")]
    key_exchange_modes: &'a [PskKeyExchangeMode],
    suites: &'a [CipherSuite],
    #[cfg(feature = "dtls12")]
    require_extended_master_secret: bool,
    mtu: usize,
    initial_timeout: Duration,
    max_timeout: Duration,
    handshake_timeout: Duration,
    identity_hint: Option<&'a [u8]>,
    server_name: Option<&'a str>,
    connection_id_len: Option<u8>,
    max_fragment_length: Option<MaxFragmentLength>,
    record_size_limit: Option<u16>,
    ccm_8_forgery_limit: u32,
    close_at_forgery_limit: bool,
    sessions_per_identity: Option<usize>,
    cookie_exchange: bool,
    #[cfg(feature = "resumption")]
    resumption: Option<&'a dyn SessionCache>,
    crypto: &'a dyn CryptoProvider,
    #[cfg(feature = "keylog")]
    keylog: Option<&'a dyn crate::keylog::KeyLog>,
}

impl Config<'_> {
    /// The smallest MTU that any configuration accepts, in bytes: that of a ClientHello for one suite without any option.
    pub const MIN_MTU: usize = hello_len(1, EXTENDED_MASTER_SECRET_LEN);

    /// The most in bytes that a configuration adds to the least ClientHello.
    pub(crate) const MAX_OPTIONS_LEN: usize = Config::new()
        .with_server_name(LONGEST_SERVER_NAME)
        .with_max_fragment_length(MaxFragmentLength::Bytes512)
        .with_record_size_limit(64)
        .with_connection_id(MAX_CONNECTION_ID_LEN as u8)
        .options_len()
        + SESSION_TICKET_LEN
        + MAX_SESSION_ID_LEN
        + MAX_TICKET_LEN
        + MAX_PSKS_LEN;
}

/// Length in bytes of what the longest hello has for its pre-shared keys of DTLS 1.3, beside the bytes of a ticket.
const MAX_PSKS_LEN: usize =
    if cfg!(feature = "dtls13") { MAX_OFFERED_PSKS * (PSK_LEN + MAX_LONG_IDENTITY) + PSK_LEN } else { 0 };

/// Length in bytes of the longest identity that travels: one of an imported key.
const MAX_LONG_IDENTITY: usize = MAX_IDENTITY_LEN + MAX_CONTEXT_LEN + 8;

impl<'a> Config<'a> {
    /// The same as [`Config::default`], for constants.
    pub const fn new() -> Self {
        Self {
            versions: ProtocolVersion::ALL,
            #[cfg(feature = "dtls13")]
            key_exchange_modes: PskKeyExchangeMode::ALL,
            suites: CipherSuite::ALL,
            #[cfg(feature = "dtls12")]
            require_extended_master_secret: false,
            // What IPv6 carries everywhere: 1280 bytes less the headers of IPv6 and UDP.
            mtu: 1232,
            initial_timeout: Duration::from_secs(1),
            max_timeout: Duration::from_secs(60),
            handshake_timeout: Duration::from_secs(60),
            identity_hint: None,
            server_name: None,
            connection_id_len: None,
            max_fragment_length: None,
            record_size_limit: None,
            ccm_8_forgery_limit: 1 << 20,
            close_at_forgery_limit: false,
            sessions_per_identity: None,
            cookie_exchange: true,
            #[cfg(feature = "resumption")]
            resumption: None,
            crypto: &RustCrypto,
            #[cfg(feature = "keylog")]
            keylog: None,
        }
    }

    /// The constrained profile of RFC 7252 §9.1.3.1 and RFC 7925 §11: CCM_8 and the pre-shared key alone, retransmission after 9 s, a
    /// handshake within five minutes.
    pub const fn coap() -> Self {
        Self {
            #[cfg(feature = "dtls13")]
            key_exchange_modes: &[PskKeyExchangeMode::PskKe],
            suites: &[
                #[cfg(feature = "dtls13")]
                CipherSuite::Aes128Ccm8Sha256,
                #[cfg(feature = "dtls12")]
                CipherSuite::Aes128Ccm8,
            ],
            initial_timeout: Duration::from_secs(9),
            handshake_timeout: Duration::from_secs(300),
            ..Self::new()
        }
    }

    /// The versions to offer or accept, every one of the build by default; in any order, as the newest that both sides know is spoken.
    ///
    /// ```
    /// use dtls_psk::{Config, ProtocolVersion};
    ///
    /// const ONLY_DTLS12: Config = Config::new().with_versions(&[ProtocolVersion::Dtls12]);
    /// # ONLY_DTLS12.validate()?;
    /// # Ok::<(), dtls_psk::Error>(())
    /// ```
    pub const fn with_versions(self, versions: &'a [ProtocolVersion]) -> Self {
        Self { versions, ..self }
    }

    /// How DTLS 1.3 may make its secrets of a pre-shared key, the best first: all that the build has by default, those with forward
    /// secrecy first. A server takes the first of its own that the client offers.
    ///
    /// With [`PskKeyExchangeMode::PskKe`] there is no forward secrecy: whoever learns the key can read what was recorded before. Leave
    /// it out to refuse that. DTLS 1.2 says the same by its [suites](Self::with_suites).
    #[cfg(feature = "dtls13")]
    pub const fn with_key_exchange_modes(self, modes: &'a [PskKeyExchangeMode]) -> Self {
        Self { key_exchange_modes: modes, ..self }
    }

    /// The suites to offer or accept, the best first. A server takes the first of its own that the client offers.
    pub const fn with_suites(self, suites: &'a [CipherSuite]) -> Self {
        Self { suites, ..self }
    }

    /// Whether to refuse peers without the extended master secret (RFC 7627); off by default.
    ///
    /// It is always offered and accepted. Without certificates and renegotiation its absence opens no known attack, and
    /// OpenThread and small builds of Mbed TLS lack it.
    #[cfg(feature = "dtls12")]
    pub const fn with_required_extended_master_secret(self, required: bool) -> Self {
        Self { require_extended_master_secret: required, ..self }
    }

    /// The longest datagram to send, in bytes of UDP payload; 1232 by default, [`Config::MIN_MTU`] to 65,535.
    ///
    /// Handshake messages are cut to fit. A ClientHello never is, as servers cannot put it together before they spend
    /// memory (RFC 6347 §4.2.1), so a client's MTU must hold it; one that repeats a cookie of more than 32 bytes may be longer. Nor is
    /// the answer of a server that keeps nothing yet: in DTLS 1.3, it is a HelloRetryRequest of up to 132 bytes.
    pub const fn with_mtu(self, mtu: usize) -> Self {
        Self { mtu, ..self }
    }

    /// How long a flight waits for its answer before it is sent again (RFC 6347 §4.2.4.1): 1 s by default, doubling to
    /// 60 s. RFC 7925 §11 advises 9 s for constrained networks, where an answer may take that long.
    pub const fn with_retransmission(self, initial: Duration, max: Duration) -> Self {
        Self { initial_timeout: initial, max_timeout: max, ..self }
    }

    /// How long a handshake may take in all; 60 s by default. Then it fails, and a server's slot is free again. A server's
    /// cookies are good for so long at least.
    pub const fn with_handshake_timeout(self, timeout: Duration) -> Self {
        Self { handshake_timeout: timeout, ..self }
    }

    /// The hint that a server sends about which identity to use (RFC 4279 §5.2), 0 to 128 bytes; none by default.
    pub const fn with_identity_hint(self, hint: &'a [u8]) -> Self {
        Self { identity_hint: Some(hint), ..self }
    }

    /// The name that a client calls its server by (`server_name`, RFC 6066 §3): 1 to 128 characters of ASCII; none by
    /// default. A server that has several sets of keys may choose among them by it ([`PskStore::host`]).
    ///
    /// [`PskStore::host`]: crate::PskStore::host
    pub const fn with_server_name(self, name: &'a str) -> Self {
        Self { server_name: Some(name), ..self }
    }

    /// Use connection IDs (RFC 9146), and ask the peer for records with one of `len` bytes: 0 to
    /// [`MAX_CONNECTION_ID_LEN`](crate::MAX_CONNECTION_ID_LEN). Off by default.
    ///
    /// With a connection ID, a session outlives a change of the peer's address: a NAT that forgot it, a sleep, another
    /// network. An [`Endpoint`](crate::Endpoint) needs one byte for up to a hundred sessions or so, two for more.
    /// With 0 this side gets records without one, and still sends with the one that its peer asks for: what a client
    /// wants whose server's address stays.
    ///
    /// A record with a connection ID costs 1 byte and the ID's length more. Whoever watches two networks can see that it
    /// is the same session that moved from one to the other (RFC 9146 §8).
    ///
    /// Return routability checks (RFC 9853) are offered with it: a server asks the client's new address for a sign of life
    /// before it trusts it.
    pub const fn with_connection_id(self, len: u8) -> Self {
        Self { connection_id_len: Some(len), ..self }
    }

    /// Have a client ask its server for short records, in both directions (`max_fragment_length`, RFC 6066 §4); none by
    /// default. For a device without room for records of 16 KiB, beside a server that does not know
    /// [`with_record_size_limit`](Self::with_record_size_limit). A server needs no setting: it does what clients ask for.
    pub const fn with_max_fragment_length(self, length: MaxFragmentLength) -> Self {
        Self { max_fragment_length: Some(length), ..self }
    }

    /// The longest plaintext in bytes that this side takes in one record (`record_size_limit`, RFC 8449), 64 to 16,384;
    /// none by default. A client offers it, a server answers with its own, or with 16,384 when it has none.
    ///
    /// With a connection ID, the content type inside of the record counts as one byte of it.
    pub const fn with_record_size_limit(self, limit: u16) -> Self {
        Self { record_size_limit: Some(limit), ..self }
    }

    /// How many forged records a session under CCM_8 refuses before its limit is reached; 2^20 by default, 2 at least. The
    /// other algorithms have the limits of RFC 9147 §4.5.3.
    ///
    /// A tag of 8 bytes is guessed with a probability of 2^-64 each time: 2^20 guesses leave an attacker a chance of 2^-44
    /// for one forged record. RFC 9147 appendix B.3 asks for 2^7, for a chance of 2^-57 as other algorithms have it, and says
    /// that this makes it cheap to end sessions by force, where the limit ends them.
    pub const fn with_ccm_8_forgery_limit(self, limit: u32) -> Self {
        Self { ccm_8_forgery_limit: limit, ..self }
    }

    /// Whether a session ends at its limit of forged records, with [`Error::ForgeryLimitReached`]; off by default, as it
    /// lets whoever can send enough datagrams end it. Without it, the application gets an
    /// [`Event::LimitReached`](crate::Event::LimitReached) and decides.
    pub const fn with_close_at_forgery_limit(self, close: bool) -> Self {
        Self { close_at_forgery_limit: close, ..self }
    }

    /// How many sessions one identity may hold at an [`Endpoint`](crate::Endpoint) at once; half of the session pool by
    /// default, so that no single peer can fill it. Raise it where many devices share one identity.
    pub const fn with_sessions_per_identity(self, sessions: usize) -> Self {
        Self { sessions_per_identity: Some(sessions), ..self }
    }

    /// Whether a server asks each client to repeat a cookie before it keeps anything for it (RFC 6347 §4.2.1, RFC 9147 §5.1); on by
    /// default.
    ///
    /// Without it, a handshake is shorter by a round trip, and anybody who can send datagrams with a false address can fill the
    /// handshake pool, and have up to three times as many bytes sent to that address. Turn it off only where nobody can: on a link that
    /// is secured by itself, such as a Thread mesh without a way in from the Internet.
    pub const fn with_cookie_exchange(self, cookie_exchange: bool) -> Self {
        Self { cookie_exchange, ..self }
    }

    /// Resume sessions, and keep them in `cache` for that; off by default. A resumed handshake is shorter by a flight and
    /// spends no thought on the key, but its session has no more forward secrecy than the first one.
    ///
    /// A server hands out session ids. A client offers the session that `cache` has kept last, by its ticket if it has one
    /// (RFC 5077), and needs a cache for each server. A server does not hand out tickets.
    ///
    /// The key store is asked each time whether the identity still has its key: whoever was taken out there does not come
    /// back by an old session.
    ///
    /// Tickets of any length are read, and those of up to [`MAX_TICKET_LEN`](crate::MAX_TICKET_LEN) bytes kept. But where a
    /// server has to cut one of more than 378 bytes to fit its MTU, a client cannot put it together, and its handshake fails
    /// without an answer: leave resumption off with such a server, or tell it to give no tickets.
    #[cfg(feature = "resumption")]
    pub const fn with_resumption(self, cache: &'a dyn SessionCache) -> Self {
        Self { resumption: Some(cache), ..self }
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

    /// The suites of the versions that are wanted.
    pub(crate) fn offered_suites(&self) -> impl Iterator<Item = CipherSuite> + use<'a> {
        let versions = self.versions;
        self.suites.iter().copied().filter(move |suite| versions.contains(&suite.version()))
    }

    /// Whether this suite is offered or accepted.
    pub(crate) fn offers(&self, suite: CipherSuite) -> bool {
        self.offered_suites().any(|offered| offered == suite)
    }

    /// Whether this version is offered or accepted: it is wanted, and there is a suite for it.
    pub(crate) fn offers_version(&self, version: ProtocolVersion) -> bool {
        self.offered_suites().any(|suite| suite.version() == version)
    }

    /// How DTLS 1.3 makes its secrets.
    #[cfg(feature = "dtls13")]
    pub(crate) const fn key_exchange_modes(&self) -> &'a [PskKeyExchangeMode] {
        self.key_exchange_modes
    }

    /// Whether ephemeral keys are offered in DTLS 1.3.
    #[cfg(feature = "dtls13")]
    pub(crate) fn offers_key_share(&self) -> bool {
        self.offers_version(ProtocolVersion::Dtls13)
            && self.key_exchange_modes.iter().any(|mode| mode.has_forward_secrecy())
    }

    #[cfg(not(feature = "dtls13"))]
    pub(crate) const fn offers_key_share(&self) -> bool {
        false
    }

    /// Whether there may be ephemeral keys.
    pub(crate) fn wants_forward_secrecy(&self) -> bool {
        self.offered_suites().any(|suite| suite.has_forward_secrecy()) || self.offers_key_share()
    }

    pub(crate) const fn exchanges_cookies(&self) -> bool {
        self.cookie_exchange
    }

    #[cfg(feature = "dtls12")]
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

    #[cfg(feature = "dtls12")]
    pub(crate) const fn identity_hint(&self) -> Option<&'a [u8]> {
        self.identity_hint
    }

    pub(crate) const fn server_name(&self) -> Option<&'a str> {
        self.server_name
    }

    /// How long the connection IDs are that this side asks for.
    pub(crate) const fn connection_id_len(&self) -> Option<usize> {
        match self.connection_id_len {
            Some(len) if cfg!(feature = "connection-id") => Some(len as usize),
            _ => None,
        }
    }

    pub(crate) const fn max_fragment_length(&self) -> Option<MaxFragmentLength> {
        self.max_fragment_length
    }

    pub(crate) const fn record_size_limit(&self) -> Option<u16> {
        self.record_size_limit
    }

    pub(crate) const fn forgery_limit(&self, algorithm: AeadAlgorithm) -> u64 {
        forgery_limit(algorithm, self.ccm_8_forgery_limit)
    }

    pub(crate) const fn closes_at_forgery_limit(&self) -> bool {
        self.close_at_forgery_limit
    }

    /// Length in bytes of the extensions of a ClientHello, and of its session id.
    const fn options_len(&self) -> usize {
        let server_name = match self.server_name {
            Some(name) => 4 + 2 + 3 + name.len(),
            None => 0,
        };
        let max_fragment_length = if self.max_fragment_length.is_some() { 4 + 1 } else { 0 };
        let record_size_limit = if self.record_size_limit.is_some() { 4 + 2 } else { 0 };
        let connection_id = match self.connection_id_len() {
            // And the return routability check.
            Some(len) => 4 + 1 + len + 4,
            None => 0,
        };
        // One that is empty. A ticket that does not fit is left out.
        let session_ticket =
            if self.resumption().is_some() { SESSION_TICKET_LEN + MAX_SESSION_ID_LEN } else { 0 };
        let mut groups = 0;
        let mut suites = self.suites;
        while let [suite, rest @ ..] = suites {
            if suite.has_forward_secrecy() {
                groups = GROUPS_LEN;
            }
            suites = rest;
        }
        let [_, dtls13] = self.count_suites();
        let dtls13 = if dtls13 > 0 { DTLS13_LEN } else { 0 };
        EXTENDED_MASTER_SECRET_LEN
            + dtls13
            + groups
            + server_name
            + max_fragment_length
            + record_size_limit
            + connection_id
            + session_ticket
    }

    /// How many suites of DTLS 1.2 and of 1.3 are offered: in constants, there are no iterators.
    const fn count_suites(&self) -> [usize; 2] {
        let mut counts = [0; 2];
        let mut suites = self.suites;
        while let [suite, rest @ ..] = suites {
            let mut versions = self.versions;
            while let [version, others @ ..] = versions {
                match (version, suite.version()) {
                    (ProtocolVersion::Dtls12, ProtocolVersion::Dtls12) => counts = [counts[0] + 1, counts[1]],
                    (ProtocolVersion::Dtls13, ProtocolVersion::Dtls13) => counts = [counts[0], counts[1] + 1],
                    _ => {}
                }
                versions = others;
            }
            suites = rest;
        }
        counts
    }

    /// Length in bytes of the datagram with the ClientHello, but for what it says about keys of DTLS 1.3.
    const fn hello_len(&self) -> usize {
        let [dtls12, dtls13] = self.count_suites();
        hello_len(dtls12 + dtls13, self.options_len())
    }

    pub(crate) const fn sessions_per_identity(&self) -> Option<usize> {
        self.sessions_per_identity
    }

    #[cfg(feature = "resumption")]
    pub(crate) const fn resumption(&self) -> Option<&'a dyn SessionCache> {
        self.resumption
    }

    /// Has the cache forget the session with this tag; an empty one names none.
    pub(crate) fn forget_session(&self, tag: &ResumptionTag) {
        if let Some(cache) = self.resumption().filter(|_| !tag.is_empty()) {
            cache.forget(tag.as_bytes());
        }
    }

    /// Nothing is kept.
    #[cfg(not(feature = "resumption"))]
    pub(crate) const fn resumption(&self) -> Option<&'a dyn SessionCache> {
        None
    }

    pub(crate) const fn crypto(&self) -> &'a dyn CryptoProvider {
        self.crypto
    }

    #[cfg(feature = "keylog")]
    pub(crate) const fn keylog(&self) -> Option<&'a dyn crate::keylog::KeyLog> {
        self.keylog
    }

    /// Whether a hello with a ticket of so many bytes fits into a datagram, beside the rest, of which `psks` bytes are about the keys
    /// that are offered.
    pub(crate) const fn has_room_for_ticket(&self, len: usize, psks: usize) -> bool {
        self.hello_len() + psks + len <= self.mtu
    }

    /// Checks every field, for a client. Connections do it too before they start; and endpoints, which are content with
    /// [`Config::MIN_MTU`].
    ///
    /// # Errors
    /// [`Error::InvalidConfig`] with the field that is out of its range.
    pub fn validate(&self) -> Result<(), Error> {
        self.check(self.hello_len())
    }

    /// The same for an endpoint, which sends no ClientHello and may cut everything else.
    pub(crate) fn validate_for_endpoint(&self) -> Result<(), Error> {
        self.check(Config::MIN_MTU)
    }

    fn check(&self, least_mtu: usize) -> Result<(), Error> {
        let repeated = |(at, suite)| self.suites.iter().take(at).any(|earlier| earlier == suite);
        let fields = [
            (
                ConfigField::Suites,
                self.offered_suites().next().is_some() && !self.suites.iter().enumerate().any(repeated),
            ),
            #[cfg(feature = "dtls13")]
            (
                ConfigField::KeyExchangeModes,
                !self.key_exchange_modes.is_empty() || !self.offers_version(ProtocolVersion::Dtls13),
            ),
            (ConfigField::Mtu, (least_mtu..=u16::MAX.into()).contains(&self.mtu)),
            (
                ConfigField::Retransmission,
                self.initial_timeout >= Duration::from_millis(1) && self.initial_timeout <= self.max_timeout,
            ),
            (ConfigField::HandshakeTimeout, self.handshake_timeout >= self.initial_timeout),
            (ConfigField::IdentityHint, self.identity_hint.is_none_or(|hint| hint.len() <= MAX_IDENTITY_LEN)),
            (
                ConfigField::ServerName,
                self.server_name.is_none_or(|name| {
                    name.is_ascii() && (1..=LONGEST_SERVER_NAME.len()).contains(&name.len())
                }),
            ),
            (
                ConfigField::ConnectionId,
                self.connection_id_len.is_none_or(|len| {
                    cfg!(feature = "connection-id") && (0..=MAX_CONNECTION_ID_LEN).contains(&len.into())
                }),
            ),
            (
                ConfigField::RecordSizeLimit,
                self.record_size_limit.is_none_or(|limit| (64..=MAX_RECORD_SIZE).contains(&limit)),
            ),
            (ConfigField::Ccm8ForgeryLimit, self.ccm_8_forgery_limit >= 2),
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

/// Length in bytes of `supported_groups` and `ec_point_formats`.
const GROUPS_LEN: usize = (4 + 2 + 2) + (4 + 1 + 1);

/// Length in bytes of the extension that carries a ticket, without the ticket.
const SESSION_TICKET_LEN: usize = 4;

/// Length in bytes of what a hello for DTLS 1.3 has beside its keys and their identities: versions, key exchange modes, an ephemeral
/// key, and the extension for the pre-shared keys with nothing in it.
const DTLS13_LEN: usize = (4 + 1 + 4) + (4 + 1 + 2) + (4 + 2 + 2 + 2 + POINT_LEN) + GROUPS_LEN + (4 + 2 + 2);

/// Length in bytes of what a hello has for each pre-shared key of DTLS 1.3: the length of its identity, an age, and a binder.
pub(crate) const PSK_LEN: usize = (2 + 4) + (1 + 32);

/// Length in bytes of the extension that every hello has.
const EXTENDED_MASTER_SECRET_LEN: usize = 4;

/// As long as the longest server name. Host names may be twice as long (RFC 1035 §2.3.4); those of devices are not.
const LONGEST_SERVER_NAME: &str = match core::str::from_utf8(&[b'x'; 128]) {
    Ok(name) => name,
    Err(_) => "",
};

/// Length in bytes of the datagram with a ClientHello that offers `suites` suites, repeats a usual cookie, and has
/// `options` bytes in its session id and its extensions: version, random, empty session id, cookie, suites with the SCSV, one compression method, and
/// the extensions.
const fn hello_len(suites: usize, options: usize) -> usize {
    let body = 2 + 32 + 1 + (1 + USUAL_COOKIE) + 2 + 2 * (suites + 1) + 2 + 2 + options;
    record::HEADER_LEN + handshake::HEADER_LEN + body
}
