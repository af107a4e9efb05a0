//! Bytes to values and back: one file per thing on the wire. No state, no keys, no panics.
//!
//! Parsers take a slice and return values that borrow from it, or [`InvalidMessage`]. Writers put bytes through a
//! [`Writer`] into a caller's buffer, or say [`BufferFull`]. Lengths are checked once, here, so that no room above does
//! arithmetic on what a peer claims.

pub mod alert;
pub mod client_hello;
#[cfg(feature = "dtls12")]
pub mod client_key_exchange;
mod codec;
pub mod extension;
pub mod finished;
pub mod handshake;
#[cfg(feature = "dtls12")]
pub mod hello_verify_request;
pub mod max_fragment_length;
pub mod new_session_ticket;
pub mod record;
pub mod return_routability_check;
pub mod server_hello;
#[cfg(feature = "dtls12")]
pub mod server_key_exchange;
pub mod suite;
pub mod version;

#[cfg(feature = "dtls13")]
pub mod ack;
#[cfg(feature = "dtls13")]
pub mod imported_identity;
#[cfg(feature = "dtls13")]
pub mod key_share;
#[cfg(feature = "dtls13")]
pub mod key_update;
#[cfg(feature = "dtls13")]
pub mod new_connection_id;
#[cfg(feature = "dtls13")]
pub mod pre_shared_key;
#[cfg(feature = "dtls13")]
pub mod psk_key_exchange_modes;
#[cfg(feature = "dtls13")]
pub mod supported_versions;
#[cfg(feature = "dtls13")]
pub mod unified_header;

#[cfg(all(test, feature = "dtls13"))]
mod tests;

pub use codec::{BufferFull, Reader, Writer};

/// Length in bytes of `Random` (RFC 5246 §7.4.1.2).
pub const RANDOM_LEN: usize = 32;

/// Why bytes from the network are not the message that they claim to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum InvalidMessage {
    /// The message ends before its last field.
    Truncated,
    /// Bytes are left over behind the last field.
    TrailingData,
    /// A vector's length is outside the range that its definition allows, or not a multiple of its element's.
    IllegalLength,
    /// An extension appears twice (RFC 5246 §7.4.1.4).
    DuplicateExtension,
    /// A fragment reaches past the end of its message, or fragments of one message disagree on its length.
    InconsistentFragment,
    /// A field holds a value that its definition does not allow.
    IllegalValue,
}
