//! Connection IDs (RFC 9146): by which a session is known, whatever address its records come from.

use rand_core::TryCryptoRng;

use crate::bytes::ByteString;
use crate::env::cap;
use crate::error::Error;

/// Longest connection ID in bytes that this crate asks its peers for.
///
/// It names a session among those of one endpoint, so it need not be longer.
pub const MAX_CONNECTION_ID_LEN: usize = if cfg!(feature = "connection-id") { 8 } else { 0 };

/// Longest connection ID in bytes that a peer may ask this side for: 255, which is every length there is.
///
/// A device whose peers are known lowers it with `DTLS_PSK_MAX_PEER_CONNECTION_ID` in the environment of its build, which
/// saves as much RAM in every session. A server answers a client that asks for a longer one without connection IDs; a
/// client refuses such a server.
pub const MAX_PEER_CONNECTION_ID_LEN: usize = if cfg!(feature = "connection-id") {
    cap(option_env!("DTLS_PSK_MAX_PEER_CONNECTION_ID"), 255)
} else {
    0
};

/// The one that this side receives with. Empty where records come without.
pub(crate) type OwnConnectionId = ByteString<MAX_CONNECTION_ID_LEN>;

/// The one that this side sends with. Empty where records go without.
pub(crate) type PeerConnectionId = ByteString<MAX_PEER_CONNECTION_ID_LEN>;

impl OwnConnectionId {
    /// A random one of `len` bytes.
    pub(crate) fn draw<R: TryCryptoRng + ?Sized>(len: usize, rng: &mut R) -> Result<Self, Error> {
        let mut bytes = [0; MAX_CONNECTION_ID_LEN];
        let bytes = bytes.get_mut(..len).unwrap_or_default();
        rng.try_fill_bytes(bytes).map_err(|_| Error::RandomFailed)?;
        Ok(Self::new(bytes).unwrap_or(Self::EMPTY))
    }

    /// The one behind this, for when this one is taken.
    pub(crate) fn next(&self) -> Self {
        let mut bytes = [0; MAX_CONNECTION_ID_LEN];
        let bytes = bytes.get_mut(..self.len()).unwrap_or_default();
        bytes.copy_from_slice(self.as_bytes());
        for byte in bytes.iter_mut().rev() {
            *byte = byte.wrapping_add(1);
            if *byte != 0 {
                break;
            }
        }
        Self::new(bytes).unwrap_or(Self::EMPTY)
    }
}
