//! The client for those who poll: over any `embedded-nal` stack.

use core::time::Duration;

use embedded_nal::UdpClientStack;
use rand_core::TryCryptoRng;

use super::exchange::{self, Acknowledged, Exchange, Outcome};
use super::message::{Datagram, HEADER};
use super::message_ids::MessageIds;
use super::transfer::{Echo, MAX_MESSAGE, MIN_MESSAGE, Outgoing, Step, Transfer, reply};
use super::{Error, Reply, Request, TransmissionParameters};
use crate::Clock;

/// How many datagrams one call looks at before it says `WouldBlock`, so that a flood cannot hold it.
const DATAGRAMS_PER_CALL: usize = 16;

/// A CoAP client (RFC 7252) over `embedded-nal`, for programs without an executor.
///
/// It does what [`Client`](super::Client) does, with blocks and Echo, and never blocks: a request is [begun](Self::start), and then
/// [polled](Pending::poll) until its reply is there. Nothing happens between two polls, so they should come often: an ACK or a
/// retransmission is as late as they are.
///
/// The stack's sockets are [`connected`](UdpClientStack::connect) to the server: those of a
/// [`SecureStack`](crate::nal::SecureStack), or of any other. Message IDs count up from a random one, as
/// [`Client`](super::Client) says.
///
/// ```
/// use dtls_psk::{Clock, coap};
/// use embedded_nal::{UdpClientStack, nb};
///
/// fn temperature<U: UdpClientStack>(
///     stack: &mut U,
///     socket: &mut U::UdpSocket,
///     clock: impl Clock,
///     rng: impl rand_core::TryCryptoRng,
/// ) -> Result<(), coap::Error<U::Error>> {
///     let mut client: coap::PolledClient<_, _, 256> = coap::PolledClient::with_size(clock, rng);
///     let mut pending = client.start(&coap::Request::get("/temperature"));
///     // Or do other things between the polls.
///     let reply = nb::block!(pending.poll(stack, socket))?;
///     println!("{}: {:?}", reply.code(), reply.payload());
///     Ok(())
/// }
/// ```
pub struct PolledClient<C, R, const SIZE: usize = MAX_MESSAGE> {
    clock: C,
    rng: R,
    parameters: TransmissionParameters,
    deadline: Duration,
    max_message: usize,
    message_ids: MessageIds,
    acknowledged: Acknowledged,
    /// What the server wants to hear again with the next request (RFC 9175 §2.3).
    echo: Option<Echo>,
    outgoing: [u8; SIZE],
    incoming: [u8; SIZE],
}

impl<C: Clock, R: TryCryptoRng> PolledClient<C, R> {
    /// A client with the default size, two buffers of 1152 bytes.
    pub fn new(clock: C, rng: R) -> Self {
        Self::with_size(clock, rng)
    }
}

impl<C: Clock, R: TryCryptoRng, const SIZE: usize> PolledClient<C, R, SIZE> {
    /// A client with two buffers of `SIZE` bytes.
    pub fn with_size(clock: C, rng: R) -> Self {
        const { assert!(SIZE >= MIN_MESSAGE, "SIZE: a message needs room for its header, its token and a path") }
        let parameters = TransmissionParameters::RFC_7252;
        Self {
            clock,
            rng,
            parameters,
            deadline: parameters.max_transmit_wait(),
            max_message: SIZE.min(MAX_MESSAGE),
            message_ids: MessageIds::default(),
            acknowledged: Acknowledged::default(),
            echo: None,
            outgoing: [0; SIZE],
            incoming: [0; SIZE],
        }
    }

    /// Sets the transmission parameters (§4.8), and the deadline to their MAX_TRANSMIT_WAIT.
    #[must_use]
    pub fn with_parameters(mut self, parameters: TransmissionParameters) -> Self {
        self.parameters = parameters;
        self.deadline = parameters.max_transmit_wait();
        self
    }

    /// Sets how long each exchange of a request may take, from its first transmission to its response. 93 seconds by default.
    pub fn set_deadline(&mut self, deadline: Duration) {
        self.deadline = deadline;
    }

    /// Sets how long messages may be in bytes, both ways: `SIZE` by default, but at most 1152. More than `SIZE` counts as `SIZE`, and
    /// less than 32 as 32.
    pub fn set_max_message(&mut self, bytes: usize) {
        self.max_message = bytes.clamp(MIN_MESSAGE, SIZE);
    }

    /// Begins a request. Nothing is sent before it is polled, and dropping it abandons the request.
    pub fn start<'c, 'r>(&'c mut self, request: &Request<'r>) -> Pending<'c, 'r, C, R, SIZE> {
        let transfer = Transfer::new(*request, self.echo.take());
        Pending { client: self, transfer, stage: Stage::Next, answer: None }
    }
}

/// A request on its way, made by [`PolledClient::start`].
pub struct Pending<'c, 'r, C, R, const SIZE: usize> {
    client: &'c mut PolledClient<C, R, SIZE>,
    transfer: Transfer<'r>,
    stage: Stage,
    /// An ACK or a RST that is to be sent.
    answer: Option<[u8; HEADER]>,
}

enum Stage {
    /// The next message is to be made.
    Next,
    /// The message is to be sent; for the first time, if its exchange has not begun.
    Send { message: Outgoing, exchange: Option<Exchange> },
    /// The message is on its way.
    Wait { message: Outgoing, exchange: Exchange },
    /// The reply is there.
    Done,
}

impl<C: Clock, R: TryCryptoRng, const SIZE: usize> Pending<'_, '_, C, R, SIZE> {
    /// Does what can be done now, and returns the reply once it is there, as often as it is asked for.
    ///
    /// # Errors
    ///
    /// [`WouldBlock`](nb::Error::WouldBlock) until then; [`Error`] says what to check. After an error, the next call makes the message
    /// that failed anew.
    pub fn poll<U: UdpClientStack>(
        &mut self,
        stack: &mut U,
        socket: &mut U::UdpSocket,
    ) -> nb::Result<Reply<'_>, Error<U::Error>> {
        for _ in 0..DATAGRAMS_PER_CALL {
            if let Some(answer) = &self.answer {
                match stack.send(socket, answer) {
                    Err(nb::Error::WouldBlock) => return Err(nb::Error::WouldBlock),
                    Ok(()) => {}
                    // Whoever wants it sends its message again.
                    Err(nb::Error::Other(_)) => crate::log::debug!("CoAP: an ACK or a RST could not be sent"),
                }
                self.answer = None;
            }
            if matches!(self.stage, Stage::Done) {
                let len = self.transfer.received();
                return reply(&self.client.incoming, len).map_err(nb::Error::Other);
            }
            // A stage that fails is not gone on with.
            self.stage = match core::mem::replace(&mut self.stage, Stage::Next) {
                Stage::Next => Stage::Send { message: self.next_message()?, exchange: None },
                Stage::Send { message, exchange } => self.send(stack, socket, message, exchange)?,
                Stage::Wait { message, exchange } => self.wait(stack, socket, message, exchange)?,
                Stage::Done => Stage::Done,
            };
        }
        Err(nb::Error::WouldBlock)
    }

    fn next_message<E>(&mut self) -> Result<Outgoing, Error<E>> {
        let PolledClient { rng, message_ids, outgoing, max_message, .. } = &mut *self.client;
        let outgoing = outgoing.get_mut(..*max_message).unwrap_or_default();
        self.transfer.next_message(None, message_ids, rng, outgoing, SIZE)
    }

    /// Sends the message, and waits for what answers it.
    fn send<U: UdpClientStack>(
        &mut self,
        stack: &mut U,
        socket: &mut U::UdpSocket,
        message: Outgoing,
        exchange: Option<Exchange>,
    ) -> nb::Result<Stage, Error<U::Error>> {
        let outgoing = self.client.outgoing.get(..message.len).unwrap_or_default();
        match stack.send(socket, outgoing) {
            Ok(()) => {}
            Err(nb::Error::WouldBlock) => {
                self.stage = Stage::Send { message, exchange };
                return Err(nb::Error::WouldBlock);
            }
            Err(nb::Error::Other(error)) => return Err(nb::Error::Other(Error::Socket(error))),
        }
        // Sending may have taken a handshake, which is none of the server's time to answer.
        let PolledClient { clock, deadline, parameters, .. } = &*self.client;
        let exchange = exchange.unwrap_or_else(|| message.exchange(*deadline, *parameters, clock.now()));
        Ok(Stage::Wait { message, exchange })
    }

    /// Looks whether something has come, or is to be sent again.
    fn wait<U: UdpClientStack>(
        &mut self,
        stack: &mut U,
        socket: &mut U::UdpSocket,
        message: Outgoing,
        mut exchange: Exchange,
    ) -> nb::Result<Stage, Error<U::Error>> {
        let client = &mut *self.client;
        match exchange.poll(client.clock.now()) {
            exchange::Step::Transmit => return Ok(Stage::Send { message, exchange: Some(exchange) }),
            exchange::Step::Wait(_) => {}
            exchange::Step::TimedOut => return Err(nb::Error::Other(Error::TimedOut)),
            exchange::Step::NoResponse => return Err(nb::Error::Other(Error::NoResponse)),
        }
        let free = client.incoming.get_mut(self.transfer.received()..).unwrap_or_default();
        let len = match stack.receive(socket, free) {
            Ok((len, _)) => len,
            Err(nb::Error::WouldBlock) => {
                self.stage = Stage::Wait { message, exchange };
                return Err(nb::Error::WouldBlock);
            }
            Err(nb::Error::Other(error)) => return Err(nb::Error::Other(Error::Socket(error))),
        };
        let datagram = Datagram::new(free, len);
        let known = datagram.message().is_none_or(|response| self.transfer.understands(response));
        let received = exchange.receive(datagram.header(), known, &mut client.acknowledged);
        self.answer = received.reply;
        match received.outcome {
            Outcome::Pending => Ok(Stage::Wait { message, exchange }),
            Outcome::BadOption => Err(nb::Error::Other(Error::BadOption)),
            Outcome::Reset => Err(nb::Error::Other(Error::Reset)),
            Outcome::Response => match self.transfer.on_response(&mut client.incoming, len) {
                Ok(Step::Done) => {
                    client.echo = self.transfer.take_echo();
                    Ok(Stage::Done)
                }
                Ok(_) => Ok(Stage::Next),
                Err(failure) => Err(nb::Error::Other(failure.into_error())),
            },
        }
    }
}
