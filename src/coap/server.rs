//! The server: a responder between a socket and a handler.

use coap_handler::Handler;
use embedded_nal_async::UnconnectedUdp;
use rand_core::TryCryptoRng;

use super::deduplication::Source;
use super::handler::ForEveryone;
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
///   least 128. A longer request is answered 4.13, and a reply that does not fit is 5.00.
/// - `EXCHANGES`: how many requests are remembered to recognise duplicates. 8.
/// - `REPLIES`: how many bytes of replies to them are remembered in all, at least `SIZE`. 1536.
///
/// When either memory is full, the oldest request is forgotten; should that one come again, it counts as new.
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
    /// The next Message ID of our own, once one has been drawn.
    message_id: Option<u16>,
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
            assert!(
                EXCHANGES >= 1,
                "EXCHANGES: duplicates cannot be recognised without memory"
            );
            assert!(REPLIES >= SIZE, "REPLIES: the longest reply has to fit");
        }
        Self {
            socket,
            timer,
            rng,
            buffer: [0; SIZE],
            responder: Responder::new(),
            message_id: None,
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
    /// Requests with others are answered 4.02 (Confirmable) or ignored (Non-confirmable), as §5.4.1 wants it. Block2
    /// stays guarded whatever is in the list: see the [module's documentation](super).
    #[must_use]
    pub fn understand(mut self, options: &'static [u16]) -> Self {
        self.responder.known_options = options;
        self
    }

    /// What the server has seen so far.
    pub fn counters(&self) -> Counters {
        self.responder.counters
    }

    /// Serves everyone with the same handler until the socket fails. Returns the failure.
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
        let next_id = match self.message_id {
            Some(message_id) => message_id,
            // "It is strongly recommended that the initial value of the variable (e.g., on startup) be randomized" (§4.4).
            None => self.rng.try_next_u32().map_err(|_| Error::Random)? as u16,
        };
        self.message_id = Some(next_id);

        let (len, local, remote) = self
            .socket
            .receive_into(&mut self.buffer)
            .await
            .map_err(Error::Socket)?;
        if local.ip().is_multicast() {
            // Only a server that joined a group gets here. Answering would take the care of §8.2, and a DTLS session has
            // no groups at all.
            count(&mut self.responder.counters.ignored);
            return Ok(());
        }
        let peer = self.socket.peer(local, remote);
        let source = Source::new(peer, local, remote);
        let reception = Reception {
            source,
            peer,
            now: self.timer.now(),
        };
        let message_id = || {
            self.message_id = Some(next_id.wrapping_add(1));
            next_id
        };
        let Some(reply) =
            self.responder
                .receive(&mut self.buffer, len, reception, message_id, handlers)
        else {
            return Ok(());
        };
        // A response never leaves the session that asked for it (§9.1.2), not even for its successor at this address.
        if Source::new(self.socket.peer(local, remote), local, remote) != source {
            count(&mut self.responder.counters.orphaned);
            return Ok(());
        }
        let Some(reply) = self.buffer.get(..reply) else {
            return Ok(());
        };
        if self.socket.send(local, remote, reply).await.is_err() {
            count(&mut self.responder.counters.send_errors);
        }
        Ok(())
    }
}
