//! CoAP without security.

use core::net::SocketAddr;

use embedded_nal_async::UnconnectedUdp;

use crate::{Peer, PeerLookup, SessionId, SessionUdp};

/// A socket without security, for `coap` instead of `coaps` (RFC 7252 §9, NoSec).
///
/// It makes a [`Server`](super::Server) run over any [`UnconnectedUdp`]: it passes datagrams through and knows no peers, so
/// exchanges are told apart by addresses alone. Anyone who reaches the socket can ask it anything, and can make it send
/// replies to an address that is not theirs.
///
/// Some sockets cut datagrams to the buffer without telling how long they were: over those, a request that is too long is
/// not answered 4.13 but taken for the shorter one that is left of it, so the server's `SIZE` has to be enough for all.
///
/// A [`Client`](super::Client) needs none of this: it takes a socket without security as it is.
///
/// ```
/// use dtls_psk::{Timer, coap};
/// use embedded_nal_async::UnconnectedUdp;
///
/// async fn serve(
///     socket: impl UnconnectedUdp,
///     timer: impl Timer,
///     rng: impl rand_core::TryCryptoRng,
///     mut resources: impl coap_handler::Handler,
/// ) {
///     let mut socket = coap::PlainUdp(socket);
///     coap::Server::new(&mut socket, timer, rng).run(&mut resources).await;
/// }
/// ```
#[derive(Clone, Copy, Debug)]
pub struct PlainUdp<S>(pub S);

impl<S: UnconnectedUdp> UnconnectedUdp for PlainUdp<S> {
    type Error = S::Error;

    async fn send(&mut self, local: SocketAddr, remote: SocketAddr, data: &[u8]) -> Result<(), S::Error> {
        self.0.send(local, remote, data).await
    }

    async fn receive_into(&mut self, buffer: &mut [u8]) -> Result<(usize, SocketAddr, SocketAddr), S::Error> {
        self.0.receive_into(buffer).await
    }
}

impl<S> PeerLookup for PlainUdp<S> {
    fn peer(&self, _: SocketAddr, _: SocketAddr) -> Option<Peer<'_>> {
        None
    }
}

impl<S: UnconnectedUdp> SessionUdp for PlainUdp<S> {
    /// There is no session to send in, and nobody who could know of one.
    async fn send_in(&mut self, _: SessionId, _: &[u8]) -> Result<(), S::Error> {
        Ok(())
    }
}
