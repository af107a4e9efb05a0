//! The running hash over the handshake's messages (RFC 5246 §7.4.9, RFC 6347 §4.2.6, RFC 8446 §4.4.1).

use sha2::{Digest, Sha256};

use crate::crypto::hmac::HASH_LEN;
use crate::wire::handshake::{HandshakeType, whole_header};
use crate::wire::version::ProtocolVersion;

/// SHA-256 over every message since the ClientHello that the server took.
#[derive(Clone)]
pub(crate) struct Transcript {
    hash: Sha256,
    /// Whose headers the messages have.
    version: ProtocolVersion,
}

impl Transcript {
    pub(crate) fn new(version: ProtocolVersion) -> Self {
        Self { hash: Sha256::new(), version }
    }

    /// Adds a message as if it had travelled in one piece.
    pub(crate) fn add(&mut self, msg_type: HandshakeType, message_seq: u16, body: &[u8]) {
        match self.version {
            #[cfg(feature = "dtls13")]
            ProtocolVersion::Dtls13 => self.add_start(msg_type, body.len(), body),
            _ => {
                self.hash.update(whole_header(msg_type, body.len(), message_seq));
                self.hash.update(body);
            }
        }
    }

    /// The hash so far.
    pub(crate) fn hash(&self) -> [u8; HASH_LEN] {
        self.hash.clone().finalize().into()
    }
}

#[cfg(feature = "dtls13")]
impl Transcript {
    /// Adds the start of a message whose body has `len` bytes, with the header of TLS 1.3: what fragments it may travel in does
    /// not matter (RFC 9147 §5.2). All of a ClientHello but its binders is such a start.
    pub(super) fn add_start(&mut self, msg_type: HandshakeType, len: usize, start: &[u8]) {
        self.hash.update(crate::wire::handshake::tls_header(msg_type.number(), len));
        self.hash.update(start);
    }

    /// The transcript that goes on after a HelloRetryRequest: the first ClientHello is in it by its hash alone, so that a server
    /// need not keep it (RFC 8446 §4.4.1).
    pub(super) fn after_hello(hash: &[u8; HASH_LEN]) -> Self {
        let mut transcript = Self::new(ProtocolVersion::Dtls13);
        transcript
            .hash
            .update(crate::wire::handshake::tls_header(crate::wire::handshake::MESSAGE_HASH, HASH_LEN));
        transcript.hash.update(hash);
        transcript
    }
}
