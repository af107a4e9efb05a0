//! The server: a responder between a socket and a handler.

use core::future::{pending, poll_fn};
use core::net::IpAddr;
use core::task::Poll;

use coap_handler::Handler;
use embassy_futures::select::{Either3, select3};
use rand_core::TryCryptoRng;

use super::changes::Observable;
use super::counters::count;
use super::handler::ForEveryone;
use super::policy::Policy;
use super::reception::Reception;
use super::responder::Responder;
use super::settings::settings;
use super::source::Source;
use super::upload::Upload;
use super::{Counters, Error, ForPeer, ObserveParameters, TransmissionParameters};
use crate::path::Path;
use crate::{SessionUdp, Timer};

/// A CoAP server (RFC 7252) that drives a [`coap_handler::Handler`].
///
/// Responses to Confirmable requests are piggybacked in the acknowledgement; those to Non-confirmable requests are
/// Non-confirmable (§5.2). A request that comes again is answered with what it was answered before, without the handler
/// (§4.5). Requests with critical options that nobody here understands are refused before a handler sees them, see
/// [`understand`](Self::understand).
///
/// # What handlers need not know of
///
/// - **Blocks** (RFC 7959). A handler sees a body that came in blocks at once, if there is [room](Self::with_uploads) for it, and
///   sets a payload of any length with `set_payload`; what it writes in place (`payload_mut_with_len`) may be as long as a
///   message of `SIZE` bytes. The server sends a block of it, with an ETag, and asks the handler again for the next one.
///   What follows from that is for GET and FETCH alone: the response to an unsafe method has to fit into one message.
///   Handlers that make blocks themselves, as those of `coap-handler-implementations` do, are left to it, but are never asked for
///   a block that they do not have.
/// - **Observation** (RFC 7641) of the resources that [`Changes`](super::Changes) lists: see [`with_changes`](Self::with_changes).
/// - **Who may do what**: see [`with_policy`](Self::with_policy).
///
/// # Separate responses
///
/// A handler that cannot answer yet, because a measurement takes its time, sets the code 0.00 in the response. Its request is
/// acknowledged, and the handler is asked again, with the same request, when the resource at its path has
/// [changed](super::Changes::notify); the response is sent by itself then (§5.2.2). This needs a place as an
/// observation does, and gives it up after EXCHANGE_LIFETIME. The handler is not asked once more for a response that is lost:
/// it is sent again out of the memory of replies, and not at all where an unsafe method's is forgotten there.
///
/// # Sizes
///
/// - `SIZE`: the longest message in bytes, requests and replies alike. 1152, the most that RFC 7252 §4.6 recommends; at
///   least 128. A longer request is answered 4.13 with this size. There are two buffers of it. Messages are no longer than the
///   socket says that datagrams to the peer may be.
/// - `EXCHANGES`: how many requests are remembered to recognise duplicates, 48 bytes each. 64.
/// - `REPLIES`: how many bytes of replies to them are remembered in all. 1536, three quarters of which hold the longest reply.
/// - `OBSERVERS`: how many requests are answered later, observations and separate responses, about 250 bytes each. 8.
///
/// A request of an unsafe method is remembered for [NON_LIFETIME](TransmissionParameters::non_lifetime) at least, 145 seconds, and
/// as long as there is room for EXCHANGE_LIFETIME. Of clients that count their Message IDs up, as nearly all do, the oldest are
/// remembered as one: they are not done again, but not answered again either. When the memory is full all the same, new
/// requests are dropped: their clients send them again, and nothing is ever done twice. So `EXCHANGES` should be about ten for
/// each client that is active at the same time. GET and FETCH are always served. One client leaves the others a quarter of each memory.
///
/// [`new`](Self::new) makes a server with the default sizes, [`with_sizes`](Self::with_sizes) one with yours:
///
/// ```
/// use dtls_psk::{SessionUdp, Timer, coap};
///
/// async fn serve_small(
///     socket: &mut impl SessionUdp,
///     timer: impl Timer,
///     rng: impl rand_core::TryCryptoRng,
///     resources: &mut impl coap_handler::Handler,
/// ) {
///     let mut server = coap::Server::<_, _, _, 256, 16, 512, 2>::with_sizes(socket, timer, rng);
///     server.run(resources).await;
/// }
/// ```
pub struct Server<
    's,
    S,
    T,
    R,
    const SIZE: usize = 1152,
    const EXCHANGES: usize = 64,
    const REPLIES: usize = 1536,
    const OBSERVERS: usize = 8,
> {
    socket: &'s mut S,
    timer: T,
    rng: R,
    incoming: [u8; SIZE],
    outgoing: [u8; SIZE],
    responder: Responder<'s, EXCHANGES, REPLIES, OBSERVERS>,
}

impl<'s, S: SessionUdp, T: Timer, R: TryCryptoRng> Server<'s, S, T, R> {
    /// A server on `socket` with the default sizes.
    ///
    /// `timer` tells when requests are old enough to be forgotten, and when messages are sent again; `rng` where Message IDs
    /// begin, and the key of what clients have to repeat (RFC 9175).
    pub fn new(socket: &'s mut S, timer: T, rng: R) -> Self {
        Self::with_sizes(socket, timer, rng)
    }
}

impl<'s, S, T, R, const SIZE: usize, const EXCHANGES: usize, const REPLIES: usize, const OBSERVERS: usize>
    Server<'s, S, T, R, SIZE, EXCHANGES, REPLIES, OBSERVERS>
where
    S: SessionUdp,
    T: Timer,
    R: TryCryptoRng,
{
    /// A server on `socket` with sizes of your choice. Sizes that cannot work do not compile.
    pub fn with_sizes(socket: &'s mut S, timer: T, rng: R) -> Self {
        const { Responder::<EXCHANGES, REPLIES, OBSERVERS>::check_sizes(SIZE) }
        Self { socket, timer, rng, incoming: [0; SIZE], outgoing: [0; SIZE], responder: Responder::new() }
    }

    settings!();

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

    /// Sends what is due, then receives one datagram and answers it.
    async fn serve_one<P: ForPeer>(&mut self, handlers: &mut P) -> Result<(), Error<S::Error>> {
        self.responder.seed(&mut self.rng).map_err(|_| Error::Random)?;
        self.transmit(handlers).await;
        let Some((len, path)) = self.wait().await? else { return Ok(()) };
        if is_for_many(path.local.ip()) {
            // Answering would take the care of §8.2, and a DTLS session has no groups at all. The broadcast address of a
            // subnet cannot be told from others here.
            count(&mut self.responder.counters.ignored);
            return Ok(());
        }
        let reception = Reception::new(&*self.socket, path, self.timer.now());
        let datagram = (&self.incoming[..], len);
        let reply = self.responder.receive(datagram, &mut self.outgoing, &reception, self.socket, handlers);
        let (audience, now) = (reception.audience(), reception.now);
        let Some(reply) = reply else { return Ok(()) };
        if let (Some(session), true) = (audience.source.session(), reply.proves_address) {
            self.socket.prove_address(session);
        }
        if self.send(&audience.source, reply.len).await {
            return Ok(());
        }
        let request = self.incoming.get(..len).unwrap_or_default();
        let demand = self.responder.demand_reachability(request, &mut self.outgoing, &audience, now);
        if let Some(len) = demand {
            self.send(&audience.source, len).await;
        }
        Ok(())
    }

    /// Sends what there is to send that is no reply.
    async fn transmit<P: ForPeer>(&mut self, handlers: &mut P) {
        loop {
            let now = self.timer.now();
            let outgoing = &mut self.outgoing;
            let due = self.responder.poll_transmit(outgoing, self.socket, handlers, &mut self.rng, now);
            let Some((len, source)) = due else { return };
            self.send(&source, len).await;
        }
    }

    /// Waits for a datagram; `None` where something else is to be done before one comes.
    async fn wait(&mut self) -> Result<Option<(usize, Path)>, Error<S::Error>> {
        let until = self.responder.poll_timeout(self.timer.now());
        let timeout = async {
            match until {
                Some(until) => self.timer.sleep_until(until).await,
                None => pending().await,
            }
        };
        let receive = self.socket.receive_into(&mut self.incoming);
        match select3(receive, timeout, changed(self.responder.changes)).await {
            Either3::First(received) => {
                let (len, local, remote) = received.map_err(Error::Socket)?;
                Ok(Some((len, Path { local, remote })))
            }
            Either3::Second(()) | Either3::Third(()) => Ok(None),
        }
    }

    /// Sends the message of `len` bytes that is in the buffer. `false` where that failed.
    async fn send(&mut self, to: &Source, len: usize) -> bool {
        let message = self.outgoing.get(..len).unwrap_or_default();
        let sent = match to {
            Source::Session { session, .. } => self.socket.send_in(*session, message).await,
            Source::Addresses(Path { local, remote }) => self.socket.send(*local, *remote, message).await,
        };
        if sent.is_err() {
            count(&mut self.responder.counters.send_errors);
            crate::log::debug!("CoAP: a message of {} bytes could not be sent", len);
        }
        sent.is_ok()
    }
}

/// Waits for a resource to change.
async fn changed(changes: Option<&dyn Observable>) {
    let Some(changes) = changes else { return pending().await };
    poll_fn(|context| {
        changes.register(context.waker());
        if changes.any() { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
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
    use embedded_nal_async::UnconnectedUdp;
    use rand_core::TryRng;

    use super::*;
    use crate::{CipherSuite, Clock, Instant, Peer, PeerLookup, ProtocolVersion, SessionId};

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

        fn session(&self, session: SessionId) -> Option<Peer<'_>> {
            let anywhere = SocketAddr::from(([0; 4], 0));
            self.peer(anywhere, anywhere).filter(|peer| peer.session == session)
        }
    }

    impl SessionUdp for Secure<'_> {
        async fn send_in(&mut self, _: SessionId, data: &[u8]) -> Result<(), Self::Error> {
            self.sent.borrow_mut().push(data.to_vec());
            Ok(())
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
