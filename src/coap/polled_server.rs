//! The server for firmware without an executor: the same responder, polled over an `embedded-nal` stack.

use core::convert::Infallible;

use coap_handler::Handler;
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
use crate::path::{Path, UNKNOWN};
use crate::{Clock, Instant, PeerLookup, SessionStack};

/// How many datagrams one call takes, so that a flood cannot hold it.
const DATAGRAMS_PER_CALL: usize = 16;

/// A CoAP server (RFC 7252) for a main loop: what [`Server`](super::Server) is for an executor, with the same parts, sizes and
/// limits.
///
/// It runs over [`SecureStack`](crate::nal::SecureStack), or without security over [`PlainUdp`](super::PlainUdp).
///
/// ```no_run
/// use dtls_psk::coap::{Changes, PolledServer};
/// use dtls_psk::nal::SecureStack;
/// use dtls_psk::{Clock, Config, Endpoint, Psk, StdClock, Storage};
/// use embedded_nal::{UdpClientStack as _, UdpFullStack as _};
/// # use coap_handler_implementations::{HandlerBuilder, SimpleRendered, new_dispatcher};
/// # use getrandom::SysRng;
///
/// # fn example() -> Result<(), Box<dyn core::error::Error>> {
/// let config = Config::coap();
/// let psk = Psk::new(b"node7", b"a key of this node")?;
/// let keys = [Psk::new(b"client1", b"hardfault_secure_key")?];
/// let mut storage = Storage::<2, 4>::new();
/// let endpoint = Endpoint::new(&config, &keys, &mut storage, &mut SysRng)?;
/// let clock = StdClock::new();
/// let mut net =
///     SecureStack::new(std_embedded_nal::Stack, &config, &psk, clock, SysRng).with_server(endpoint);
/// let mut socket = net.socket()?;
/// net.bind(&mut socket, 5684)?;
///
/// let changes = Changes::local(["/temperature"]);
/// let mut resources = new_dispatcher().at(&["temperature"], SimpleRendered("21.5"));
/// let mut server = PolledServer::new(clock, SysRng).with_changes(&changes);
/// loop {
///     match server.poll(&mut net, &mut socket, &mut resources) {
///         Err(nb::Error::WouldBlock) => {} // The rest of the main loop.
///         Err(nb::Error::Other(error)) => return Err(error.into()),
///         Ok(never) => match never {},
///     }
/// }
/// # }
/// ```
pub struct PolledServer<
    's,
    C,
    R,
    const SIZE: usize = 1152,
    const EXCHANGES: usize = 64,
    const REPLIES: usize = 1536,
    const OBSERVERS: usize = 8,
> {
    clock: C,
    rng: R,
    incoming: [u8; SIZE],
    outgoing: [u8; SIZE],
    /// The message in `outgoing` that the stack had no room for yet.
    waiting: Option<(usize, Source)>,
    responder: Responder<'s, EXCHANGES, REPLIES, OBSERVERS>,
}

impl<C: Clock, R: TryCryptoRng> PolledServer<'_, C, R> {
    /// A server with the default [sizes](super::Server#sizes).
    pub fn new(clock: C, rng: R) -> Self {
        Self::with_sizes(clock, rng)
    }
}

impl<
    's,
    C: Clock,
    R: TryCryptoRng,
    const SIZE: usize,
    const EXCHANGES: usize,
    const REPLIES: usize,
    const OBSERVERS: usize,
> PolledServer<'s, C, R, SIZE, EXCHANGES, REPLIES, OBSERVERS>
{
    /// A server with sizes of your choice. Sizes that cannot work do not compile.
    pub fn with_sizes(clock: C, rng: R) -> Self {
        const { Responder::<EXCHANGES, REPLIES, OBSERVERS>::check_sizes(SIZE) }
        Self {
            clock,
            rng,
            incoming: [0; SIZE],
            outgoing: [0; SIZE],
            waiting: None,
            responder: Responder::new(),
        }
    }

    settings!();

    /// When to call [`poll`](Self::poll) at the latest, if nothing arrives and no resource changes before: a device may sleep
    /// until then, as far as the stack lets it.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.responder.poll_timeout(self.clock.now())
    }

    /// Does what there is to do on a bound socket, with the same handler for everyone: takes up to 16 datagrams, answers them, and
    /// sends notifications that are due. Call it often.
    ///
    /// # Errors
    /// [`WouldBlock`](nb::Error::WouldBlock) when there is nothing more to do now, which is how every call ends. Any other error
    /// is that of the socket, which fails to receive, or of the random number generator in the beginning.
    pub fn poll<N: SessionStack, H: Handler>(
        &mut self,
        stack: &mut N,
        socket: &mut N::UdpSocket,
        handler: &mut H,
    ) -> nb::Result<Infallible, Error<N::Error>> {
        self.poll_for(stack, socket, &mut ForEveryone(handler))
    }

    /// Serves each request with the handler that `handlers` makes for its peer. Like [`poll`](Self::poll) otherwise.
    ///
    /// # Errors
    /// As there.
    pub fn poll_for<N: SessionStack, P: ForPeer>(
        &mut self,
        stack: &mut N,
        socket: &mut N::UdpSocket,
        handlers: &mut P,
    ) -> nb::Result<Infallible, Error<N::Error>> {
        self.responder.seed(&mut self.rng).map_err(|_| nb::Error::Other(Error::Random))?;
        for _ in 0..DATAGRAMS_PER_CALL {
            self.transmit(stack, socket, handlers)?;
            self.serve_one(stack, socket, handlers)?;
        }
        Err(nb::Error::WouldBlock)
    }

    /// Receives one datagram and answers it.
    fn serve_one<N: SessionStack, P: ForPeer>(
        &mut self,
        stack: &mut N,
        socket: &mut N::UdpSocket,
        handlers: &mut P,
    ) -> nb::Result<(), Error<N::Error>> {
        let received = stack.receive(socket, &mut self.incoming);
        let (len, remote) = received.map_err(|error| error.map(Error::Socket))?;
        // `embedded-nal` does not tell which address was asked.
        let path = Path { local: UNKNOWN, remote };
        let reception = Reception::new(&*socket, path, self.clock.now());
        let datagram = (&self.incoming[..], len);
        let reply = self.responder.receive(datagram, &mut self.outgoing, &reception, &*socket, handlers);
        let (audience, now) = (reception.audience(), reception.now);
        let Some(reply) = reply else { return Ok(()) };
        if let (Some(session), true) = (audience.source.session(), reply.proves_address) {
            socket.prove_address(session);
        }
        if self.send(stack, socket, audience.source, reply.len)? {
            return Ok(());
        }
        let request = self.incoming.get(..len).unwrap_or_default();
        let demand = self.responder.demand_reachability(request, &mut self.outgoing, &audience, now);
        if let Some(len) = demand {
            self.send(stack, socket, audience.source, len)?;
        }
        Ok(())
    }

    /// Sends what there is to send that is no reply, after what the stack had no room for.
    fn transmit<N: SessionStack, P: ForPeer>(
        &mut self,
        stack: &mut N,
        socket: &mut N::UdpSocket,
        handlers: &mut P,
    ) -> nb::Result<(), Error<N::Error>> {
        if let Some((len, to)) = self.waiting {
            self.send(stack, socket, to, len)?;
        }
        loop {
            let (outgoing, now) = (&mut self.outgoing, self.clock.now());
            let due = self.responder.poll_transmit(outgoing, &*socket, handlers, &mut self.rng, now);
            let Some((len, to)) = due else { return Ok(()) };
            self.send(stack, socket, to, len)?;
        }
    }

    /// Sends the message of `len` bytes that is in the buffer. `false` where that failed.
    fn send<N: SessionStack>(
        &mut self,
        stack: &mut N,
        socket: &mut N::UdpSocket,
        to: Source,
        len: usize,
    ) -> nb::Result<bool, Error<N::Error>> {
        let message = self.outgoing.get(..len).unwrap_or_default();
        let sent = match to {
            Source::Session { session, .. } => stack.send_in(socket, session, message),
            Source::Addresses(Path { remote, .. }) => stack.send_to(socket, remote, message),
        };
        self.waiting = None;
        match sent {
            Ok(()) => Ok(true),
            Err(nb::Error::WouldBlock) => {
                self.waiting = Some((len, to));
                Err(nb::Error::WouldBlock)
            }
            Err(nb::Error::Other(_)) => {
                count(&mut self.responder.counters.send_errors);
                crate::log::debug!("CoAP: a message of {} bytes could not be sent", len);
                Ok(false)
            }
        }
    }
}
