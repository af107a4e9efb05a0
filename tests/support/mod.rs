//! What the protocol tests share: a simulated network in virtual time, messages written as bytes, and an independent
//! peer, so that the crate does not only talk to its own encoder.
//!
//! Nothing here sleeps, opens a port or draws a random number that the seed does not decide.
#![allow(dead_code, reason = "each test binary uses its own part")]

pub mod attacker;
pub mod craft;
pub mod nat;
pub mod net;
pub mod parse;
pub mod peer;
pub mod raw;
#[cfg(feature = "dtls13")]
pub mod raw13;
#[cfg(feature = "resumption")]
pub mod resumed;
pub mod scene;
#[cfg(feature = "dtls13")]
pub mod scene13;
pub mod schedule;
pub mod world;

use rand::SeedableRng;
use rand::rngs::ChaCha8Rng;

/// A generator that the seed alone decides.
pub fn seeded(seed: u64) -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(seed)
}

/// The identity and key of the clients that have nothing special about them.
pub const IDENTITY: &[u8] = b"c";
pub const KEY: &[u8] = b"hardfault_secure_key";

/// The suites of DTLS 1.2.
pub fn suites12() -> impl ExactSizeIterator<Item = &'static dtls_psk::CipherSuite> + Clone {
    static SUITES: std::sync::LazyLock<Vec<dtls_psk::CipherSuite>> = std::sync::LazyLock::new(|| {
        let all = dtls_psk::CipherSuite::ALL.iter().copied();
        all.filter(|suite| suite.version() == dtls_psk::ProtocolVersion::Dtls12).collect()
    });
    SUITES.iter()
}

/// A configuration for each choice of versions that this build has, by its name.
pub fn versions() -> impl Iterator<Item = (&'static str, dtls_psk::Config<'static>)> {
    use dtls_psk::ProtocolVersion::*;
    #[cfg(all(feature = "dtls12", feature = "dtls13"))]
    let all: [(&str, &[_]); 3] = [("1.2", &[Dtls12]), ("1.3", &[Dtls13]), ("any", &[Dtls12, Dtls13])];
    #[cfg(not(feature = "dtls13"))]
    let all: [(&str, &[_]); 1] = [("1.2", &[Dtls12])];
    #[cfg(not(feature = "dtls12"))]
    let all: [(&str, &[_]); 1] = [("1.3", &[Dtls13])];
    all.into_iter().map(|(name, versions)| (name, dtls_psk::Config::new().with_versions(versions)))
}

/// The default configuration in DTLS 1.2 alone.
pub const DTLS12: dtls_psk::Config<'static> =
    dtls_psk::Config::new().with_versions(&[dtls_psk::ProtocolVersion::Dtls12]);
