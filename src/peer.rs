//! Who is at the other end of a session, as the layers above learn it.

use core::net::SocketAddr;

use rand_core::TryCryptoRng;

use crate::{CipherSuite, Error, ProtocolVersion};

/// Names one established session.
///
/// A [`Connection`](crate::Connection) draws its name at random, and an [`Endpoint`](crate::Endpoint) counts on from where
/// it drew the first. So a layer above that remembers a name (CoAP's deduplication, an observation) can tell a new session
/// from an old one at the same address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct SessionId(pub(crate) u64);

impl SessionId {
    pub(crate) fn draw<R: TryCryptoRng + ?Sized>(rng: &mut R) -> Result<Self, Error> {
        rng.try_next_u64().map(Self).map_err(|_| Error::RandomFailed)
    }

    /// Takes this name, and leaves the next one.
    pub(crate) fn take(&mut self) -> Self {
        core::mem::replace(self, Self(self.0.wrapping_add(1)))
    }
}

/// The authenticated peer of an established session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Peer<'a> {
    /// The PSK identity under which the peer proved that it holds the key, 0 to 128 bytes that may hold any value.
    pub identity: &'a [u8],
    /// Which session this is. A new handshake makes a new one, at whatever address.
    pub session: SessionId,
    /// The epoch of the session (RFC 6347 §4.1): CoAP exchanges never cross from one to another (RFC 7252 §9.1.1).
    pub epoch: u16,
    /// The protocol version that was agreed.
    pub version: ProtocolVersion,
    /// The cipher suite that was agreed.
    pub suite: CipherSuite,
    /// Whether the handshake was cut short with the secret of an earlier session.
    pub resumed: bool,
}

/// `DTLS 1.2, TLS_PSK_WITH_AES_128_CCM_8, identity client1`
impl core::fmt::Display for Peer<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{}, {}, identity {}", self.version, self.suite, self.identity.escape_ascii())
    }
}

/// What a datagram socket with authenticated peers has beyond a plain one.
///
/// The server of [`coap`](crate::coap) runs over any datagram socket, and asks this trait whom it speaks with. Sockets
/// without security have no sessions, which is what the methods say unless they are written otherwise.
pub trait PeerLookup {
    /// The peer of the session between `local` and `remote`; `None` where there is none (any more).
    ///
    /// Asked right after a datagram was received, before any other call on the socket, it names the peer that sent it.
    fn peer(&self, local: SocketAddr, remote: SocketAddr) -> Option<Peer<'_>>;

    /// The peer of this session, wherever it is now; `None` once the session is gone.
    fn session(&self, session: SessionId) -> Option<Peer<'_>> {
        let _ = session;
        None
    }

    /// The longest payload in bytes that one datagram to this peer carries; `None` where the session is gone.
    fn max_payload(&self, session: SessionId) -> Option<usize> {
        let _ = session;
        None
    }

    /// The address that the peer's newest record came from, if nothing has shown yet that it receives there (RFC 9853): no more
    /// than three times as many bytes go there as came from there.
    fn unproven_address(&self, session: SessionId) -> Option<SocketAddr> {
        let _ = session;
        None
    }

    /// The application has seen that the peer receives there, as
    /// [`Endpoint::prove_address`](crate::Endpoint::prove_address) has it.
    fn prove_address(&mut self, session: SessionId) {
        let _ = session;
    }
}

/// An async socket that sends to sessions, and not to whoever is at an address now.
#[cfg(feature = "embedded-nal-async")]
pub trait SessionUdp: embedded_nal_async::UnconnectedUdp + PeerLookup {
    /// Seals and sends `data` in this session, to wherever its peer is. When the future is dropped before its end, the record
    /// may still go out with the next call.
    ///
    /// # Errors
    /// An error concerns this datagram alone. It is that of a peer that is not there when the session is gone, which
    /// [`session`](PeerLookup::session) tells, too.
    #[allow(async_fn_in_trait, reason = "microcontroller executors do not move futures between threads")]
    async fn send_in(&mut self, session: SessionId, data: &[u8]) -> Result<(), Self::Error>;
}

/// A stack whose bound sockets send to sessions, and not to whoever is at an address now.
#[cfg(feature = "embedded-nal")]
pub trait SessionStack: embedded_nal::UdpFullStack<UdpSocket: PeerLookup> {
    /// Seals and sends `data` in this session, to wherever its peer is.
    ///
    /// # Errors
    /// [`WouldBlock`](nb::Error::WouldBlock) while the stack has no room for it. Any other error concerns this datagram alone.
    fn send_in(
        &mut self,
        socket: &mut Self::UdpSocket,
        session: SessionId,
        data: &[u8],
    ) -> nb::Result<(), Self::Error>;
}
