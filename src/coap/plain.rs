//! CoAP without security.

use core::net::SocketAddr;

#[cfg(feature = "embedded-nal")]
use embedded_nal::{UdpClientStack, UdpFullStack};
use embedded_nal_async::UnconnectedUdp;

#[cfg(feature = "embedded-nal")]
use crate::SessionStack;
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

/// The same over an `embedded-nal` stack, for a [`PolledServer`](super::PolledServer).
#[cfg(feature = "embedded-nal")]
impl<S: UdpClientStack> UdpClientStack for PlainUdp<S> {
    type UdpSocket = PlainUdp<S::UdpSocket>;
    type Error = S::Error;

    fn socket(&mut self) -> Result<Self::UdpSocket, S::Error> {
        self.0.socket().map(PlainUdp)
    }

    fn connect(&mut self, socket: &mut Self::UdpSocket, remote: SocketAddr) -> Result<(), S::Error> {
        self.0.connect(&mut socket.0, remote)
    }

    fn send(&mut self, socket: &mut Self::UdpSocket, data: &[u8]) -> nb::Result<(), S::Error> {
        self.0.send(&mut socket.0, data)
    }

    fn receive(
        &mut self,
        socket: &mut Self::UdpSocket,
        buffer: &mut [u8],
    ) -> nb::Result<(usize, SocketAddr), S::Error> {
        self.0.receive(&mut socket.0, buffer)
    }

    fn close(&mut self, socket: Self::UdpSocket) -> Result<(), S::Error> {
        self.0.close(socket.0)
    }
}

#[cfg(feature = "embedded-nal")]
impl<S: UdpFullStack> UdpFullStack for PlainUdp<S> {
    fn bind(&mut self, socket: &mut Self::UdpSocket, local_port: u16) -> Result<(), S::Error> {
        self.0.bind(&mut socket.0, local_port)
    }

    fn send_to(
        &mut self,
        socket: &mut Self::UdpSocket,
        remote: SocketAddr,
        data: &[u8],
    ) -> nb::Result<(), S::Error> {
        self.0.send_to(&mut socket.0, remote, data)
    }
}

#[cfg(feature = "embedded-nal")]
impl<S: UdpFullStack> SessionStack for PlainUdp<S> {
    fn send_in(&mut self, _: &mut Self::UdpSocket, _: SessionId, _: &[u8]) -> nb::Result<(), S::Error> {
        Ok(())
    }
}
