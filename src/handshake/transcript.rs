//! The running hash over the handshake's messages (RFC 5246 §7.4.9, RFC 6347 §4.2.6).

use sha2::{Digest, Sha256};

use crate::crypto::hmac::HASH_LEN;
use crate::wire::handshake::{HandshakeType, whole_header};

/// SHA-256 over every message since the ClientHello that carried the cookie.
pub(crate) struct Transcript(Sha256);

impl Transcript {
    pub(crate) fn new() -> Self {
        Self(Sha256::new())
    }

    /// Adds a message as if it had travelled in one piece.
    pub(crate) fn add(&mut self, msg_type: HandshakeType, message_seq: u16, body: &[u8]) {
        self.0.update(whole_header(msg_type, body.len(), message_seq));
        self.0.update(body);
    }

    /// The hash so far.
    pub(crate) fn hash(&self) -> [u8; HASH_LEN] {
        self.0.clone().finalize().into()
    }
}
