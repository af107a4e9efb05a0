//! The record layer (RFC 6347 §4.1): records sealed and opened in place, the window that stops replays, and both states
//! as bytes.

mod image;
mod plain;
mod read;
#[cfg(feature = "dtls13")]
mod received;
mod replay;
#[cfg(test)]
mod tests;
mod write;

pub(crate) use image::{MAX_STATES_LEN, load_states, save_states};
pub(crate) use plain::PlainWriter;
pub(crate) use read::{Dropped, Opened, ReadState};
#[cfg(feature = "dtls13")]
pub(crate) use received::ReceivedRecords;
pub(crate) use replay::ReplayWindow;
pub(crate) use write::WriteState;

use crate::crypto::aead::EXPLICIT_NONCE_LEN;
use crate::crypto::provider::MAX_TAG_LEN;
use crate::wire::record::HEADER_LEN;

/// Bytes that a sealed record needs in front of its payload: header and explicit nonce. In a session whose peer asked for
/// a connection ID, the length of that comes on top.
pub const RECORD_PREFIX: usize = HEADER_LEN + EXPLICIT_NONCE_LEN;

/// Bytes that a sealed record needs behind its payload at most: the tag of the suite that has the longest, and in front of
/// it the content type that a record with a connection ID carries inside.
pub const RECORD_SUFFIX: usize = MAX_TAG_LEN + 1;
