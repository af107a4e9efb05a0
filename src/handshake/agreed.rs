//! What both hellos agreed on, whichever the version.

use crate::CipherSuite;
use crate::connection_id::OwnConnectionId;
use crate::resumption::TlsSessionId;
use crate::wire::RANDOM_LEN;
use crate::wire::max_fragment_length::MaxFragmentLength;

/// What both hellos agreed on.
#[derive(Clone, Copy)]
pub(crate) struct Agreed {
    pub(crate) client_random: [u8; RANDOM_LEN],
    pub(crate) server_random: [u8; RANDOM_LEN],
    pub(crate) suite: CipherSuite,
    /// Whether both sides add ephemeral keys to the pre-shared one.
    pub(crate) forward_secrecy: bool,
    #[cfg(feature = "dtls12")]
    pub(crate) extended_master_secret: bool,
    /// The connection ID that this side asked for.
    pub(crate) own_connection_id: OwnConnectionId,
    pub(crate) return_routability_check: bool,
    /// The longest plaintext that the peer takes in a record.
    pub(crate) send_limit: u16,
    /// The longest plaintext that this side takes in a record.
    pub(crate) receive_limit: u16,
    /// What the client asked for, where it is in force: for all that is resumed from the session, too (RFC 6066 §1.1).
    pub(crate) max_fragment_length: Option<MaxFragmentLength>,
    /// The id that the server gave the session; empty where it cannot be resumed by one.
    pub(crate) session_id: TlsSessionId,
}

/// The side of a connection.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Client,
    Server,
}

#[cfg(feature = "dtls13")]
impl Side {
    pub(crate) const fn peer(self) -> Self {
        match self {
            Self::Client => Self::Server,
            Self::Server => Self::Client,
        }
    }
}
