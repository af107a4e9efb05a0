//! The record layer (RFC 6347 §4.1): records sealed and opened in place, and the window that stops replays.

mod replay;
mod state;

pub(crate) use replay::ReplayWindow;
pub(crate) use state::{Dropped, PlainWriter, ReadState, WriteState, sealed_len};

use crate::crypto::aead::EXPLICIT_NONCE_LEN;
use crate::crypto::provider::MAX_TAG_LEN;
use crate::wire::record::HEADER_LEN;

/// Bytes that a sealed record needs in front of its payload: header and explicit nonce.
pub const RECORD_PREFIX: usize = HEADER_LEN + EXPLICIT_NONCE_LEN;

/// Bytes that a sealed record needs behind its payload at most: the tag of the suite that has the longest.
pub const RECORD_SUFFIX: usize = MAX_TAG_LEN;
