#![no_std]
#![forbid(unsafe_code)]
#![deny(missing_docs)]
//! skeleton
#[cfg(feature = "std")]
extern crate std;
pub mod peer;
pub mod time;
pub mod wire {
    #![allow(missing_docs)]
    pub mod suite;
    pub mod version;
}
pub use peer::{Peer, PeerLookup, SessionId};
pub use time::*;
pub use wire::suite::CipherSuite;
pub use wire::version::ProtocolVersion;
#[cfg(feature = "coap")]
pub mod coap;
