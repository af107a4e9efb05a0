//! The server: a responder between a socket and a handler.

use core::net::IpAddr;

use coap_handler::Handler;
use embedded_nal_async::UnconnectedUdp;
use rand_core::TryCryptoRng;

use super::deduplication::Source;
use super::handler::ForEveryone;
use super::message_ids::MessageIds;
use super::responder::{Reception, Responder, count};
use super::{Counters, Error, ForPeer, TransmissionParameters};
use crate::{PeerLookup, Timer};

/// A CoAP server (RFC 7252) that drives a [`coap_handler::Handler`].
///
/// Responses to Confirmable requests are piggybacked in the acknowledgement; those to Non-confirmable requests are
/// Non-confirmable (§5.2). A request that comes again is answered with what it was answered before, without the handler
/// (§4.5). Requests with critical options that nobody here understands are refused before a handler sees them, see
/// [`understand`](Self::understand).
///
/// # Sizes
///
/// - `SIZE`: the longest message in bytes, requests and replies alike. 1152, the most that RFC 7252 §4.6 recommends; at
///   least 128. A longer request is answered 4.13 with this size, and a reply that does not fit is 5.00.
/// - `EXCHANGES`: how many requests are remembered to recognise duplicates. 8.
/// - `REPLIES`: how many bytes of replies to them are remembered in all, at least `SIZE`. 1536.
///
/// When either memory is full, requests are forgotten; should one of those come again, it counts as new. First go expired
/// ones, then the oldest of a peer that holds more than half, and else the oldest: no peer pushes all others' out.
/// [`new`](Self::new) makes a server with the default sizes, [`with_sizes`](Self::with_sizes) one with yours:
///
/// ```
/// use dtls_psk::{PeerLookup, Timer, coap};
/// use embedded_nal_async::UnconnectedUdp;
///
/// async fn serve_small(
///     socket: &mut (impl UnconnectedUdp + PeerLookup),
///     timer: impl Timer,
///     rng: impl rand_core::TryCryptoRng,
///     resources: &mut impl coap_handler::Handler,
/// ) {
///     let mut server = coap::Server::<_, _, _, 256, 4, 512>::with_sizes(socket, timer, rng);
///     server.run(resources).await;
/// }
/// ```
pub struct Server<
    's,
    S,
    T,
    R,
    const SIZE: usize = 1152,
    const EXCHANGES: usize = 8,
    const REPLIES: usize = 1536,
> {
    socket: &'s mut S,
    timer: T,
    rng: R,
    buffer: [u8; SIZE],
    responder: Responder<EXCHANGES, REPLIES>,
    message_ids: MessageIds,
}

impl<'s, S: UnconnectedUdp + PeerLookup, T: Timer, R: TryCryptoRng> Server<'s, S, T, R> {
    /// A server on `socket` with the default sizes.
    ///
    /// `timer` tells when requests are old enough to be forgotten, `rng` where Message IDs begin.
    pub fn new(socket: &'s mut S, timer: T, rng: R) -> Self {
        Self::with_sizes(socket, timer, rng)
    }
}

impl<'s, S, T, R, const SIZE: usize, const EXCHANGES: usize, const REPLIES: usize>
    Server<'s, S, T, R, SIZE, EXCHANGES, REPLIES>
where
    S: UnconnectedUdp + PeerLookup,
    T: Timer,
    R: TryCryptoRng,
{
    /// A server on `socket` with sizes of your choice. Sizes that cannot work do not compile.
    pub fn with_sizes(socket: &'s mut S, timer: T, rng: R) -> Self {
        const {
            // Handlers of `coap-handler-implementations` (0.6) panic where they have less than 41 bytes to write to.
            assert!(SIZE >= 128, "SIZE: a handler needs room to write to");
            assert!(EXCHANGES >= 1, "EXCHANGES: duplicates cannot be recognised without memory");
            assert!(REPLIES >= SIZE, "REPLIES: the longest reply has to fit");
        }
        Self {
            socket,
            timer,
            rng,
            buffer: [0; SIZE],
            responder: Responder::new(),
            message_ids: MessageIds::default(),
        }
    }

    /// Sets the transmission parameters, which tell how long requests are remembered (§4.8).
    #[must_use]
    pub fn with_parameters(mut self, parameters: TransmissionParameters) -> Self {
        self.responder.parameters = parameters;
        self
    }

    /// Lets critical options reach the handler that RFC 7252 does not define, because it understands them.
    ///
    /// Requests with others are answered 4.02 (Confirmable) or ignored (Non-confirmable), as §5.4.1 wants it. Block2,
    /// Proxy-Uri and Proxy-Scheme stay guarded whatever is in the list: see the [module's documentation](super).
    #[must_use]
    pub fn understand(mut self, options: &'static [u16]) -> Self {
        self.responder.known_options = options;
        self
    }

    /// What the server has seen so far.
    pub fn counters(&self) -> Counters {
        self.responder.counters
    }

    /// Serves everyone with the same handler until the socket fails to receive, or the random number generator fails in
    /// the beginning. Returns the failure.
    ///
    /// What goes wrong with one peer ends nothing: replies that cannot be sent are [counted](Self::counters), and their
    /// clients will ask again. Dropping the future stops the server at once, and calling `run` again goes on with
    /// everything it remembers.
    pub async fn run<H: Handler>(&mut self, handler: &mut H) -> Error<S::Error> {
        self.run_for(&mut ForEveryone(handler)).await
    }

    /// Serves each request with the handler that `handlers` makes for its peer until the socket fails. Like
    /// [`run`](Self::run) otherwise.
    pub async fn run_for<P: ForPeer>(&mut self, handlers: &mut P) -> Error<S::Error> {
        loop {
            if let Err(error) = self.serve_one(handlers).await {
                return error;
            }
        }
    }

    /// Receives one datagram and answers it.
    async fn serve_one<P: ForPeer>(&mut self, handlers: &mut P) -> Result<(), Error<S::Error>> {
        let next_id = self.message_ids.peek(&mut self.rng).map_err(|_| Error::Random)?;
        let (len, local, remote) = self.socket.receive_into(&mut self.buffer).await.map_err(Error::Socket)?;
        if is_for_many(local.ip()) {
            // Answering would take the care of §8.2, and a DTLS session has no groups at all. The broadcast address of a
            // subnet cannot be told from others here.
            count(&mut self.responder.counters.ignored);
            return Ok(());
        }
        let peer = self.socket.peer(local, remote);
        let source = Source::new(peer, local, remote);
        let reception = Reception { source, peer, now: self.timer.now() };
        let message_id = || {
            self.message_ids.used(next_id);
            next_id
        };
        let Some(reply) = self.responder.receive(&mut self.buffer, len, reception, message_id, handlers)
        else {
            return Ok(());
        };
        // A response never leaves the session that asked for it (§9.1.2), not even for its successor at this address.
        if Source::new(self.socket.peer(local, remote), local, remote) != source {
            count(&mut self.responder.counters.orphaned);
            crate::log::debug!("CoAP: the session that asked is gone, its reply is dropped");
            return Ok(());
        }
        let Some(reply) = self.buffer.get(..reply) else {
            return Ok(());
        };
        if self.socket.send(local, remote, reply).await.is_err() {
            count(&mut self.responder.counters.send_errors);
            crate::log::debug!("CoAP: a reply of {} bytes could not be sent", reply.len());
        }
        Ok(())
    }
}

/// Whether a datagram to this address reached other nodes as well. An IPv6 socket shows the groups of IPv4 as mapped
/// addresses.
const fn is_for_many(local: IpAddr) -> bool {
    match local.to_canonical() {
        IpAddr::V4(ip) => ip.is_multicast() || ip.is_broadcast(),
        IpAddr::V6(ip) => ip.is_multicast(),
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use core::cell::{Cell, RefCell};
    use core::convert::Infallible;
    use core::net::SocketAddr;
    use std::vec::Vec;

    use coap_message::{Code, MinimalWritableMessage, MutableWritableMessage, ReadableMessage};
    use coap_numbers::code;
    use embassy_futures::block_on;
    use rand_core::TryRng;

    use super::*;
    use crate::{CipherSuite, Clock, Instant, Peer, ProtocolVersion, SessionId};

    /// A session, by its number, epoch and identity.
    type Session = (u64, u16, &'static [u8]);

    /// A secure socket. Each datagram arrives in a session, at an address.
    struct Secure<'c> {
        inbox: Vec<(Session, &'static str, &'static [u8])>,
        now: &'c Cell<Option<Session>>,
        sent: RefCell<Vec<Vec<u8>>>,
    }

    impl UnconnectedUdp for Secure<'_> {
        type Error = embedded_io_async::ErrorKind;

        async fn send(&mut self, _: SocketAddr, _: SocketAddr, data: &[u8]) -> Result<(), Self::Error> {
            self.sent.borrow_mut().push(data.to_vec());
            Ok(())
        }

        async fn receive_into(
            &mut self,
            buffer: &mut [u8],
        ) -> Result<(usize, SocketAddr, SocketAddr), Self::Error> {
            if self.inbox.is_empty() {
                return Err(embedded_io_async::ErrorKind::Other);
            }
            let (session, remote, datagram) = self.inbox.remove(0);
            self.now.set(Some(session));
            buffer[..datagram.len()].copy_from_slice(datagram);
            Ok((datagram.len(), "192.0.2.1:5684".parse().unwrap(), remote.parse().unwrap()))
        }
    }

    impl PeerLookup for Secure<'_> {
        fn peer(&self, _: SocketAddr, _: SocketAddr) -> Option<Peer<'_>> {
            self.now.get().map(|(session, epoch, identity)| Peer {
                identity,
                session: SessionId(session),
                epoch,
                version: ProtocolVersion::Dtls12,
                resumed: false,
                suite: CipherSuite::Aes128Ccm8,
            })
        }
    }

    /// It is always the beginning, and every number is 7.
    struct Fixed;

    impl Clock for Fixed {
        fn now(&self) -> Instant {
            Instant::ZERO
        }
    }

    impl Timer for Fixed {
        async fn sleep_until(&self, _: Instant) {}
    }

    impl TryRng for Fixed {
        type Error = Infallible;

        fn try_next_u32(&mut self) -> Result<u32, Infallible> {
            Ok(7)
        }

        fn try_next_u64(&mut self) -> Result<u64, Infallible> {
            Ok(7)
        }

        fn try_fill_bytes(&mut self, to: &mut [u8]) -> Result<(), Infallible> {
            to.fill(7);
            Ok(())
        }
    }

    impl TryCryptoRng for Fixed {}

    /// Answers with the identity of whoever asks; and may end the session meanwhile.
    struct WhoAmI<'c> {
        requests: u32,
        ends: Option<&'c Cell<Option<Session>>>,
        then: Option<Session>,
    }

    struct Identity<'h>(&'h [u8]);

    impl ForPeer for WhoAmI<'_> {
        type Handler<'h>
            = Identity<'h>
        where
            Self: 'h;

        fn for_peer<'h>(&'h mut self, peer: Option<Peer<'h>>) -> Identity<'h> {
            self.requests += 1;
            if let Some(session) = self.ends {
                session.set(self.then);
            }
            Identity(peer.map_or(b"nobody", |peer| peer.identity))
        }
    }

    impl Handler for Identity<'_> {
        type RequestData = ();
        type ExtractRequestError = Infallible;
        type BuildResponseError<M: MinimalWritableMessage> = M::UnionError;

        fn extract_request_data<M: ReadableMessage>(&mut self, _: &M) -> Result<(), Infallible> {
            Ok(())
        }

        fn estimate_length(&mut self, (): &()) -> usize {
            self.0.len()
        }

        fn build_response<M: MutableWritableMessage>(
            &mut self,
            response: &mut M,
            (): (),
        ) -> Result<(), M::UnionError> {
            response.set_code(M::Code::new(code::CONTENT)?);
            response.set_payload(self.0)?;
            Ok(())
        }
    }

    #[test]
    fn groups_and_broadcasts_are_told_from_nodes() {
        let for_many = ["224.0.1.187", "::ffff:224.0.1.187", "255.255.255.255", "ff02::fd"];
        assert!(for_many.iter().all(|ip| is_for_many(ip.parse().unwrap())));
        let for_one = ["192.0.2.1", "::ffff:192.0.2.1", "2001:db8::1"];
        assert!(for_one.iter().all(|ip| !is_for_many(ip.parse().unwrap())));
    }

    const HERE: &str = "192.0.2.2:1";
    const THERE: &str = "192.0.2.3:1";

    #[test]
    fn handlers_learn_the_identity_and_sessions_keep_their_messages_apart() {
        let now = Cell::new(None);
        let request = &b"\x40\x01\x00\x01"[..];
        let mut socket = Secure {
            inbox: std::vec![
                ((1, 1, b"alice"), HERE, request),
                // The same message in another session, and in another epoch, is another message (RFC 7252 section 9.1.1).
                ((2, 1, b"bob"), HERE, request),
                ((2, 2, b"bob"), HERE, request),
                // And it is the same message from another address.
                ((1, 1, b"alice"), THERE, request),
            ],
            now: &now,
            sent: RefCell::default(),
        };
        let mut handlers = WhoAmI { requests: 0, ends: None, then: None };
        let mut server = Server::new(&mut socket, Fixed, Fixed);
        block_on(server.run_for(&mut handlers));
        assert_eq!((server.counters().requests, server.counters().duplicates), (3, 1));
        assert_eq!(handlers.requests, 3);
        let sent = socket.sent.into_inner();
        let payloads: Vec<_> = sent.iter().map(|datagram| &datagram[5..]).collect();
        assert_eq!(payloads, [&b"alice"[..], b"bob", b"bob", b"alice"]);
    }

    /// The session ends, moves to the next epoch, or makes way for another one, while the handler is at work.
    #[test]
    fn a_reply_does_not_leave_the_session_of_its_request() {
        let others: [Option<Session>; 3] = [None, Some((1, 2, b"alice")), Some((9, 1, b"mallory"))];
        for then in others {
            let now = Cell::new(None);
            let mut socket = Secure {
                inbox: std::vec![((1, 1, b"alice"), HERE, b"\x40\x01\x00\x01")],
                now: &now,
                sent: RefCell::default(),
            };
            let mut handlers = WhoAmI { requests: 0, ends: Some(&now), then };
            let mut server = Server::new(&mut socket, Fixed, Fixed);
            block_on(server.run_for(&mut handlers));
            assert_eq!(server.counters().orphaned, 1);
            assert!(socket.sent.into_inner().is_empty());
        }
    }
}
