//! The server: a responder between a socket and a handler.

use core::future::{pending, poll_fn};
use core::net::IpAddr;
use core::task::Poll;

use coap_handler::Handler;
use embassy_futures::select::{Either3, select3};
use rand_core::TryCryptoRng;

use super::changes::Observable;
use super::echo::Audience;
use super::handler::ForEveryone;
use super::policy::Policy;
use super::responder::{Link, Reception, Responder, count, is_gone};
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
/// observation does, and gives it up after EXCHANGE_LIFETIME.
///
/// # Sizes
///
/// - `SIZE`: the longest message in bytes, requests and replies alike. 1152, the most that RFC 7252 §4.6 recommends; at
///   least 128. A longer request is answered 4.13 with this size. There are two buffers of it. Messages are no longer than the
///   socket says that datagrams to the peer may be.
/// - `EXCHANGES`: how many requests are remembered to recognise duplicates, 24 bytes each. 64.
/// - `REPLIES`: how many bytes of replies to them are remembered in all. 1536.
/// - `OBSERVERS`: how many requests are answered later, observations and separate responses, about 250 bytes each. 8.
///
/// A request of an unsafe method is remembered for [NON_LIFETIME](TransmissionParameters::non_lifetime) at least, 145 seconds, and
/// as long as there is room for EXCHANGE_LIFETIME. When the memory is full of those, new ones are dropped: their clients
/// send them again, and nothing is ever done twice. So `EXCHANGES` has to be what all clients together change in that
/// time; or the [parameters](Self::with_parameters) say that datagrams are not on their way for so long. GET and
/// FETCH are always served. One client leaves the others a quarter of each memory.
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
        const {
            // Handlers of `coap-handler-implementations` (0.6) panic where they have less than 41 bytes to write to.
            assert!(SIZE >= 128, "SIZE: a handler needs room to write to");
            assert!(SIZE <= 65_535, "SIZE: no datagram is longer");
            assert!(EXCHANGES >= 1, "EXCHANGES: duplicates cannot be recognised without memory");
        }
        Self { socket, timer, rng, incoming: [0; SIZE], outgoing: [0; SIZE], responder: Responder::new() }
    }

    /// Sets the transmission parameters, which tell how long requests are remembered and how patiently messages are sent again
    /// (§4.8).
    #[must_use]
    pub fn with_parameters(mut self, parameters: TransmissionParameters) -> Self {
        self.responder.parameters = parameters;
        self
    }

    /// Lets the resources in this list be observed (RFC 7641), and has the server send its handler's new responses whenever one
    /// of them [changes](super::Changes::notify).
    ///
    /// An observer is forgotten when it says so, when it rejects a notification or does not acknowledge one, when its session
    /// ends, and when the handler's response is an error, which is the last it gets. Requests of more than 64 bytes of
    /// options are answered but not observed; so are those that there is no room for.
    #[must_use]
    pub fn with_changes(mut self, changes: &'s dyn Observable) -> Self {
        self.responder.changes = Some(changes);
        self
    }

    /// Sets how observers are notified.
    #[must_use]
    pub fn with_observe_parameters(mut self, parameters: ObserveParameters) -> Self {
        self.responder.set_observe_parameters(parameters);
        self
    }

    /// Takes request bodies in blocks (RFC 7959 §2.5), as many at once as there are [`Upload`]s, and as long as those are.
    ///
    /// ```
    /// use dtls_psk::{SessionUdp, Timer, coap};
    ///
    /// async fn serve(
    ///     socket: &mut impl SessionUdp,
    ///     timer: impl Timer,
    ///     rng: impl rand_core::TryCryptoRng,
    ///     resources: &mut impl coap_handler::Handler,
    /// ) {
    ///     let (mut firmware, mut settings) = ([0; 65_536], [0; 4_096]);
    ///     let mut uploads = [coap::Upload::new(&mut firmware), coap::Upload::new(&mut settings)];
    ///     coap::Server::new(socket, timer, rng).with_uploads(&mut uploads).run(resources).await;
    /// }
    /// ```
    ///
    /// A handler that writes to flash block by block takes the option by itself: see [`understand`](Self::understand).
    #[must_use]
    pub fn with_uploads(mut self, uploads: &'s mut [Upload<'s>]) -> Self {
        self.responder.uploads = uploads;
        self
    }

    /// Asks `policy` about each request before a handler sees it. What it does not grant is denied, by 4.03.
    #[must_use]
    pub fn with_policy(mut self, policy: &'s dyn Policy) -> Self {
        self.responder.policy = Some(policy);
        self
    }

    /// Lets critical options reach the handler that RFC 7252 does not define, because it understands them.
    ///
    /// Requests with others are answered 4.02 (Confirmable) or ignored (Non-confirmable), as §5.4.1 wants it. With Block1 (27) in
    /// the list, the handler sees each block of a body by itself, and answers with a Block1 option of its own. Block2,
    /// Proxy-Uri and Proxy-Scheme stay guarded whatever is in the list.
    #[must_use]
    pub fn understand(mut self, options: &'static [u16]) -> Self {
        self.responder.known_options = options;
        self
    }

    /// What the server has seen so far.
    pub fn counters(&self) -> Counters {
        self.responder.counters
    }

    /// How many requests are to be answered later: observations, and separate responses.
    pub fn observers(&self) -> usize {
        self.responder.observers()
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
        let peer = self.socket.peer(path.local, path.remote);
        let source = Source::new(peer, path);
        let link = Link::to(self.socket, &source);
        let now = self.timer.now();
        let reception = Reception { source, peer, link, now };
        let datagram = (&self.incoming[..], len);
        let reply = self.responder.receive(datagram, &mut self.outgoing, &reception, self.socket, handlers);
        let Some(reply) = reply else { return Ok(()) };
        if let (Some(session), true) = (source.session(), reply.proves_address) {
            self.socket.prove_address(session);
        }
        // A response never leaves the session that asked for it (§9.1.2), not even for its successor at this address.
        if is_gone(self.socket, &source) {
            count(&mut self.responder.counters.orphaned);
            crate::log::debug!("CoAP: the session that asked is gone, its reply is dropped");
            return Ok(());
        }
        if self.send(&source, reply.len).await {
            return Ok(());
        }
        let audience = Audience { source, address: link.unproven };
        let request = self.incoming.get(..len).unwrap_or_default();
        let demand = self.responder.demand_reachability(request, &mut self.outgoing, &audience, now);
        if let Some(len) = demand {
            self.send(&source, len).await;
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
