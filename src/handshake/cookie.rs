//! Stateless cookies (RFC 6347 §4.2.1, RFC 9147 §5.1).

use core::net::{IpAddr, SocketAddr};
use core::num::NonZeroU64;
use core::time::Duration;

use rand_core::TryCryptoRng;
use zeroize::Zeroizing;

use super::fill_random;
#[cfg(feature = "dtls13")]
use crate::CipherSuite;
#[cfg(feature = "dtls13")]
use crate::crypto::hmac::HASH_LEN;
use crate::crypto::{self, hmac::HmacKey};
use crate::error::Error;
use crate::path::Path;
use crate::peer::SessionId;
use crate::time::Instant;
#[cfg(feature = "dtls12")]
use crate::wire::client_hello::ClientHello;
use crate::wire::return_routability_check;

/// Length in bytes of a cookie: what is left of an HMAC that nobody has to resist for longer than two periods.
pub(crate) const COOKIE_LEN: usize = 16;

/// Makes and checks cookies: `HMAC(secret, period, address, parameters of the hello)`.
pub(crate) struct CookieJar {
    secret: HmacKey,
    /// How long a cookie is good for at least, in milliseconds; at most twice that.
    period: NonZeroU64,
}

impl CookieJar {
    /// Draws the secret. That the period goes into each cookie makes it a new secret every period, which is as long as a
    /// handshake may take: a client that repeats its hello until then still has a good cookie.
    pub(crate) fn new<R: TryCryptoRng + ?Sized>(handshake: Duration, rng: &mut R) -> Result<Self, Error> {
        let mut secret = Zeroizing::new([0; 32]);
        fill_random(rng, secret.as_mut())?;
        let period = NonZeroU64::new((Instant::ZERO + handshake).as_millis()).unwrap_or(NonZeroU64::MIN);
        Ok(Self { secret: HmacKey::new(secret.as_ref()), period })
    }

    /// The cookie that the client at `remote` has to repeat in this hello, sent as message `message_seq`.
    #[cfg(feature = "dtls12")]
    pub(crate) fn make(
        &self,
        remote: SocketAddr,
        hello: &ClientHello<'_>,
        message_seq: u16,
        now: Instant,
    ) -> [u8; COOKIE_LEN] {
        self.of_period(now.as_millis() / self.period, remote, hello, message_seq)
    }

    /// Whether the hello, which came as message `message_seq`, carries a cookie of this period or of the last one.
    #[cfg(feature = "dtls12")]
    pub(crate) fn check(
        &self,
        remote: SocketAddr,
        hello: &ClientHello<'_>,
        message_seq: u16,
        now: Instant,
    ) -> bool {
        // Most hellos have none yet, and cost no hash.
        if hello.cookie.len() != COOKIE_LEN {
            return false;
        }
        let period = now.as_millis() / self.period;
        [Some(period), period.checked_sub(1)]
            .into_iter()
            .flatten()
            .any(|period| crypto::equal(&self.of_period(period, remote, hello, message_seq), hello.cookie))
    }

    /// What a peer has to send back to show that it receives at the address that `to` leads to (RFC 9853 §4). `sealed`
    /// makes it another one each time.
    pub(crate) fn path_challenge(
        &self,
        session: SessionId,
        sealed: u64,
        to: &Path,
    ) -> [u8; return_routability_check::COOKIE_LEN] {
        // No period of a hello's cookie begins like this.
        let label = u64::MAX.to_be_bytes();
        let [local, remote] = [to.local, to.remote].map(address_bytes);
        let numbers = [session.0, sealed].map(u64::to_be_bytes);
        let mac = self.secret.mac([label.as_slice(), numbers.as_flattened(), &local, &remote]);
        mac.first_chunk().copied().unwrap_or_default()
    }

    #[cfg(feature = "dtls12")]
    fn of_period(
        &self,
        period: u64,
        remote: SocketAddr,
        hello: &ClientHello<'_>,
        message_seq: u16,
    ) -> [u8; COOKIE_LEN] {
        // Each variable part behind its length, so that no two hellos give the same bytes.
        let lengths = [hello.session_id.len(), hello.cipher_suites.0.len(), hello.compression_methods.len()]
            .map(|len| u32::try_from(len).unwrap_or(u32::MAX).to_be_bytes());
        let mac = self.secret.mac([
            period.to_be_bytes().as_slice(),
            &address_bytes(remote),
            &message_seq.to_be_bytes(),
            lengths.as_flattened(),
            &hello.client_version,
            &hello.random,
            hello.session_id,
            hello.cipher_suites.0,
            hello.compression_methods,
        ]);
        mac.first_chunk().copied().unwrap_or_default()
    }
}

/// Address and port.
fn address_bytes(address: SocketAddr) -> [u8; 18] {
    let ip = match address.ip() {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    };
    let mut bytes = [0; 18];
    let parts = ip.octets().into_iter().chain(address.port().to_be_bytes());
    bytes.iter_mut().zip(parts).for_each(|(out, byte)| *out = byte);
    bytes
}

/// Length in bytes of the cookie of a HelloRetryRequest: whether it asks for an ephemeral key, the hash of the first hello, and a MAC.
#[cfg(feature = "dtls13")]
pub(super) const RETRY_COOKIE_LEN: usize = 1 + HASH_LEN + COOKIE_LEN;

/// What a HelloRetryRequest's cookie brings back: all of a handshake that came before the second ClientHello.
pub(crate) struct Retry {
    #[cfg(feature = "dtls13")]
    pub(super) hello_hash: [u8; HASH_LEN],
    #[cfg(feature = "dtls13")]
    pub(super) with_group: bool,
    #[cfg(feature = "dtls13")]
    pub(super) cookie: [u8; RETRY_COOKIE_LEN],
}

#[cfg(feature = "dtls13")]
impl CookieJar {
    /// The cookie of a HelloRetryRequest with this suite, for the client at `remote` whose first ClientHello has this hash.
    pub(super) fn retry(
        &self,
        remote: SocketAddr,
        suite: CipherSuite,
        with_group: bool,
        hello_hash: [u8; HASH_LEN],
        now: Instant,
    ) -> Retry {
        let mac = self.retry_mac(now.as_millis() / self.period, remote, suite, with_group, &hello_hash);
        let mut cookie = [0; RETRY_COOKIE_LEN];
        let parts = [u8::from(with_group)].into_iter().chain(hello_hash).chain(mac);
        cookie.iter_mut().zip(parts).for_each(|(out, byte)| *out = byte);
        Retry { hello_hash, with_group, cookie }
    }

    /// What the cookie says that a client brings back, if it was given to it in this period or the last one.
    pub(crate) fn check_retry(
        &self,
        remote: SocketAddr,
        suite: CipherSuite,
        cookie: &[u8],
        now: Instant,
    ) -> Option<Retry> {
        let cookie: [u8; RETRY_COOKIE_LEN] = cookie.try_into().ok()?;
        let mut r = crate::wire::Reader::new(&cookie);
        let with_group = r.u8().ok()? != 0;
        let hello_hash = r.array().ok()?;
        let mac: [u8; COOKIE_LEN] = r.array().ok()?;
        let period = now.as_millis() / self.period;
        let is_good =
            |period| crypto::equal(&self.retry_mac(period, remote, suite, with_group, &hello_hash), &mac);
        let periods = [Some(period), period.checked_sub(1)];
        periods.into_iter().flatten().any(is_good).then_some(Retry { hello_hash, with_group, cookie })
    }

    fn retry_mac(
        &self,
        period: u64,
        remote: SocketAddr,
        suite: CipherSuite,
        with_group: bool,
        hello_hash: &[u8; HASH_LEN],
    ) -> [u8; COOKIE_LEN] {
        // No period of another cookie begins like this.
        let label = (u64::MAX - 1).to_be_bytes();
        let mac = self.secret.mac([
            label.as_slice(),
            &period.to_be_bytes(),
            &address_bytes(remote),
            &suite.number().to_be_bytes(),
            &[with_group.into()],
            hello_hash,
        ]);
        mac.first_chunk().copied().unwrap_or_default()
    }
}
