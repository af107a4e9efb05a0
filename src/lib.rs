#![no_std]
//! DTLS with pre-shared keys for CoAP on microcontrollers: client and server, over any datagram socket.
//!
//! `no_std`, no allocator, no `unsafe`, no panics on anything that a peer sends. RAM is known at compile time.
//!
//! # Where to start
//!
//! | you have | you want |
//! |---|---|
//! | an `embedded-nal-async` socket (embassy, or a host) | [`nal::asynch::Client`], [`nal::asynch::Server`] |
//! | an `embedded-nal` stack | `SecureStack` in [`nal`], with the feature `embedded-nal` |
//! | neither, or your own idea of I/O | [`Connection`] for a client, [`Endpoint`] for a server |
//! | resources to serve, or to ask for | [`coap::Server`], [`coap::Client`] |
//!
//! All of them borrow a [`Config`], which says what may be negotiated and how long to wait, and the keys: one [`Psk`], or
//! a [`PskStore`] to look identities up in. Randomness is a `rand_core` 0.10 `TryCryptoRng`
#![cfg_attr(
    any(feature = "rand-core-06", feature = "rand-core-09"),
    doc = "([`compat`] has newtypes for older generators),"
)]
#![cfg_attr(
    not(any(feature = "rand-core-06", feature = "rand-core-09")),
    doc = "(`compat` has newtypes for older generators),"
)]
//! time a [`Clock`] or a [`Timer`].
//!
//! # What a datagram costs
//!
//! A sealed record is its payload and 29 bytes in DTLS 1.2 with CCM_8, 37 with the other suites; in DTLS 1.3 it is 11 or 12 bytes, or
//! 19 or 20. A handshake with a 1-byte identity and CCM_8 is 336 bytes of UDP payload in DTLS 1.2, and 135 more for the cookie; in
//! DTLS 1.3 it is 360, and 311 more for the cookie.
//!
//! # Features
#![doc = document_features::document_features!()]
#![forbid(unsafe_code)]
#![deny(missing_docs)]
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::unreachable,
        clippy::todo,
        clippy::indexing_slicing
    )
)]

#[cfg(any(test, feature = "std"))]
extern crate std;

#[cfg(not(any(feature = "dtls12", feature = "dtls13")))]
compile_error!("dtls-psk without a protocol version can do nothing: enable the feature `dtls12` or `dtls13`");

mod bytes;
#[cfg(any(feature = "rand-core-06", feature = "rand-core-09"))]
pub mod compat;
mod config;
mod connection;
mod connection_id;
mod crypto;
mod endpoint;
mod env;
mod error;
mod handshake;
#[cfg(feature = "keylog")]
mod keylog;
mod log;
mod path;
mod peer;
mod psk;
mod record;
#[cfg_attr(
    not(feature = "resumption"),
    allow(dead_code, reason = "without a cache, nothing of it is reached")
)]
mod resumption;
mod stats;
#[cfg(test)]
mod test_vectors;
mod time;
#[cfg(not(fuzzing))]
mod wire;
#[cfg(fuzzing)]
pub mod wire;

#[cfg(feature = "coap")]
pub mod coap;
#[cfg(any(feature = "embedded-nal", feature = "embedded-nal-async"))]
pub mod nal;

pub use config::Config;
pub use connection::{Connection, Event, ImageSeal, Incoming, KeyUsage, MAX_IMAGE_LEN};
pub use connection_id::{MAX_CONNECTION_ID_LEN, MAX_PEER_CONNECTION_ID_LEN};
pub use crypto::provider::{AeadError, CryptoProvider, RustCrypto};
pub use endpoint::{Endpoint, EndpointIncoming, Storage};
pub use error::{ConfigField, Error, PeerMisbehaved};
#[cfg(fuzzing)]
pub use handshake::reassembly::{MAX_FRAGMENTED_MESSAGE, Reassembly};
#[cfg(feature = "keylog")]
pub use keylog::KeyLog;
pub use path::Path;
#[cfg(feature = "embedded-nal")]
pub use peer::SessionStack;
#[cfg(feature = "embedded-nal-async")]
pub use peer::SessionUdp;
pub use peer::{Peer, PeerLookup, SessionId};
pub use psk::{
    HostLookup, MAX_CONTEXT_LEN, MAX_IDENTITY_LEN, MAX_KEY_LEN, MAX_OFFERED_PSKS, Psk, PskStore, PskUse,
};
pub use record::{RECORD_PREFIX, RECORD_SUFFIX};
#[cfg(feature = "resumption")]
pub use resumption::{
    MAX_RESUMABLE_LEN, MAX_TICKET_LEN, MemoryCache, ResumableSession, SESSION_LIFETIME, SessionCache,
};
pub use stats::Stats;
#[cfg(feature = "embassy-time")]
pub use time::EmbassyTimer;
#[cfg(feature = "std")]
pub use time::StdClock;
#[cfg(feature = "tokio")]
pub use time::TokioTimer;
pub use time::{Clock, Instant, Timer};
pub use wire::InvalidMessage;
pub use wire::alert::AlertDescription;
pub use wire::max_fragment_length::MaxFragmentLength;
#[cfg(feature = "dtls13")]
pub use wire::psk_key_exchange_modes::PskKeyExchangeMode;
pub use wire::suite::{AeadAlgorithm, CipherSuite};
pub use wire::version::ProtocolVersion;

/// The README's examples compile.
#[cfg(all(doctest, feature = "coap"))]
#[doc = include_str!("../README.md")]
struct Readme;
