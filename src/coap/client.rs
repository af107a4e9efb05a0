//! The client: one exchange at a time between a socket and a caller.

use core::time::Duration;

use embassy_futures::select::{Either, select};
use embedded_nal_async::ConnectedUdp;
use rand_core::TryCryptoRng;

use super::exchange::{Acknowledged, Outcome, Step};
use super::message::{self, Datagram, HEADER, Header, Type};
use super::message_ids::MessageIds;
use super::transfer::{self, Echo, Failure, MAX_MESSAGE, MIN_MESSAGE, Outgoing, Transfer, draw_token, reply};
use super::watch::{News, Watch};
use super::{Blocks, Code, Error, Observation, Reply, Request, Token, TransmissionParameters};
use crate::Timer;

/// A CoAP client (RFC 7252) on a socket that is connected to a server.
///
/// It makes one request at a time (NSTART is 1, §4.7), sends Confirmable ones again until they are acknowledged, and takes
/// piggybacked and separate responses (§5.2). A reply that says 4.xx or 5.xx is a [`Reply`], not an error.
///
/// Dropping the future of a request abandons it, and the client is ready for the next one.
///
/// A socket whose `receive_into` is dropped must lose nothing, for the client drops it whenever it is time to send again or
/// to give up; this crate's sockets keep to that. A socket that cuts datagrams to the buffer without telling their length
/// makes a reply that is too long look like a shorter one: `SIZE` has to be enough for all replies there.
///
/// The socket is expected to be one DTLS session, or none: messages are not sent again from one session to another
/// (§9.1.1). Message IDs count up from a random one, so whoever makes more than 65,536 requests in EXCHANGE_LIFETIME, or
/// 265 a second for minutes, uses some again too early (§4.4).
///
/// # Sizes
///
/// `SIZE` is the longest message in bytes, 1152 by default, the most that §4.6 recommends. The client has two buffers of
/// this size, one for what it sends and one for what it gets. [`new`](Self::new) makes a client with the default size,
/// [`with_size`](Self::with_size) one with yours.
///
/// ```
/// use dtls_psk::{Timer, coap};
/// use embedded_nal_async::ConnectedUdp;
///
/// async fn temperature<S: ConnectedUdp>(
///     socket: &mut S,
///     timer: impl Timer,
///     rng: impl rand_core::TryCryptoRng,
/// ) -> Result<Option<f32>, coap::Error<S::Error>> {
///     let mut client = coap::Client::<_, _, _, 128>::with_size(socket, timer, rng);
///     let reply = client.get("/temperature").await?;
///     Ok(core::str::from_utf8(reply.payload()).ok().and_then(|text| text.parse().ok()))
/// }
/// ```
pub struct Client<'s, S, T, R, const SIZE: usize = 1152> {
    pub(super) link: Link<'s, S, T, R, SIZE>,
    pub(super) incoming: [u8; SIZE],
}

/// All of a client but the buffer for what it gets.
pub(super) struct Link<'s, S, T, R, const SIZE: usize> {
    pub(super) socket: &'s mut S,
    pub(super) timer: T,
    rng: R,
    parameters: TransmissionParameters,
    deadline: Duration,
    max_message: usize,
    message_ids: MessageIds,
    pub(super) acknowledged: Acknowledged,
    /// What the server wants to hear again with the next request (RFC 9175 §2.3).
    pub(super) echo: Option<Echo>,
    outgoing: [u8; SIZE],
}

impl<'s, S: ConnectedUdp, T: Timer, R: TryCryptoRng> Client<'s, S, T, R> {
    /// A client on `socket` with the default size.
    ///
    /// `timer` tells when to send again and when to give up; `rng` makes tokens, spreads retransmissions, and tells where
    /// Message IDs begin.
    pub fn new(socket: &'s mut S, timer: T, rng: R) -> Self {
        Self::with_size(socket, timer, rng)
    }
}

impl<'s, S: ConnectedUdp, T: Timer, R: TryCryptoRng, const SIZE: usize> Client<'s, S, T, R, SIZE> {
    /// A client on `socket` with a size of your choice.
    pub fn with_size(socket: &'s mut S, timer: T, rng: R) -> Self {
        const { assert!(SIZE >= MIN_MESSAGE, "SIZE: a message needs room for its header, its token and a path") }
        let parameters = TransmissionParameters::RFC_7252;
        let link = Link {
            socket,
            timer,
            rng,
            parameters,
            deadline: parameters.max_transmit_wait(),
            max_message: SIZE.min(MAX_MESSAGE),
            message_ids: MessageIds::default(),
            acknowledged: Acknowledged::default(),
            echo: None,
            outgoing: [0; SIZE],
        };
        Self { link, incoming: [0; SIZE] }
    }

    /// Sets the transmission parameters (§4.8), and the deadline to their MAX_TRANSMIT_WAIT.
    #[must_use]
    pub fn with_parameters(mut self, parameters: TransmissionParameters) -> Self {
        self.link.parameters = parameters;
        self.link.deadline = parameters.max_transmit_wait();
        self
    }

    /// Sets how long each exchange of a request may take, from its first transmission to its response. A request or a reply that
    /// goes in blocks takes an exchange for each of them, so it may take that long several times.
    ///
    /// MAX_TRANSMIT_WAIT by default, 93 seconds. A Confirmable request that is not acknowledged fails before, when its
    /// retransmissions are used up; so a longer deadline is for servers that acknowledge at once and respond much later.
    /// Whoever wants to give up on the whole drops the future.
    pub fn set_deadline(&mut self, deadline: Duration) {
        self.link.deadline = deadline;
    }

    /// Sets how long messages may be in bytes, both ways: `SIZE` by default, but at most 1152, which is what §4.6 recommends for
    /// networks of which nothing is known.
    ///
    /// A longer payload goes in blocks that fit (RFC 7959), and the server is asked for such blocks. On a link with a smaller MTU
    /// this is the MTU without the [overhead](crate::Connection::overhead) of a record. More than `SIZE` counts as
    /// `SIZE`, and less than 32 as 32.
    pub fn set_max_message(&mut self, bytes: usize) {
        self.link.max_message = bytes.clamp(MIN_MESSAGE, SIZE);
    }

    /// Asks for what is at `path`, like `/a/b` or `/a/b?c=1`.
    ///
    /// # Errors
    ///
    /// [`Error`] says what to check. Nothing was sent where it is [`Method`](Error::Method), [`Path`](Error::Path),
    /// [`Random`](Error::Random) or [`RequestTooLong`](Error::RequestTooLong).
    pub async fn get(&mut self, path: &str) -> Result<Reply<'_>, Error<S::Error>> {
        self.request(&Request::get(path)).await
    }

    /// Makes `payload` what is at `path`.
    ///
    /// # Errors
    ///
    /// As [`get`](Self::get).
    pub async fn put(&mut self, path: &str, payload: &[u8]) -> Result<Reply<'_>, Error<S::Error>> {
        self.request(&Request::put(path, payload)).await
    }

    /// Has `payload` processed by what is at `path`.
    ///
    /// # Errors
    ///
    /// As [`get`](Self::get).
    pub async fn post(&mut self, path: &str, payload: &[u8]) -> Result<Reply<'_>, Error<S::Error>> {
        self.request(&Request::post(path, payload)).await
    }

    /// Deletes what is at `path`.
    ///
    /// # Errors
    ///
    /// As [`get`](Self::get).
    pub async fn delete(&mut self, path: &str) -> Result<Reply<'_>, Error<S::Error>> {
        self.request(&Request::delete(path)).await
    }

    /// Makes a request and waits for its reply. What does not fit into a message goes in blocks, both ways (RFC 7959).
    ///
    /// The whole reply has to fit into `SIZE` bytes. For longer ones, there are [`request_into`](Self::request_into) and
    /// [`in_blocks`](Self::in_blocks).
    ///
    /// # Errors
    ///
    /// As [`get`](Self::get).
    pub async fn request(&mut self, request: &Request<'_>) -> Result<Reply<'_>, Error<S::Error>> {
        let len = self.link.request(request, &mut self.incoming).await?;
        reply(&self.incoming, len)
    }

    /// Makes a request and waits for its reply in a buffer of your own, which may be longer than `SIZE`.
    ///
    /// The buffer holds the reply with its options, and needs room for one more message while there is more to come.
    ///
    /// ```
    /// # use dtls_psk::{Timer, coap};
    /// # use embedded_nal_async::ConnectedUdp;
    /// # async fn links<S: ConnectedUdp, T: Timer, R: rand_core::TryCryptoRng>(
    /// #     client: &mut coap::Client<'_, S, T, R, 256>,
    /// # ) -> Result<(), coap::Error<S::Error>> {
    /// // What a server has may take kilobytes to say.
    /// let mut buffer = [0; 4096];
    /// let reply = client.request_into(&coap::Request::get("/.well-known/core"), &mut buffer).await?;
    /// println!("{} bytes of links", reply.payload().len());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`get`](Self::get).
    pub async fn request_into<'b>(
        &mut self,
        request: &Request<'_>,
        buffer: &'b mut [u8],
    ) -> Result<Reply<'b>, Error<S::Error>> {
        let len = self.link.request(request, buffer).await?;
        reply(buffer, len)
    }

    /// Makes a request step by step: for payloads and replies that are longer than any buffer, and to show how far they are.
    ///
    /// Nothing is sent before [`Blocks::next`] is called.
    pub fn in_blocks<'c, 'r>(&'c mut self, request: &Request<'r>) -> Blocks<'c, 's, 'r, S, T, R, SIZE> {
        Blocks::new(self, request)
    }

    /// Observes what `request`, which should be a GET, asks for (RFC 7641): the server is to say whenever it changes.
    ///
    /// Nothing is sent before [`Observation::next`] is called.
    pub fn observe<'c, 'r>(&'c mut self, request: &Request<'r>) -> Observation<'c, 's, 'r, S, T, R, SIZE> {
        Observation::new(self, request)
    }

    /// Checks that a CoAP endpoint is there, with an Empty Confirmable message that it rejects ("CoAP ping", §4.3). One
    /// that acknowledges it instead is there, too.
    ///
    /// # Errors
    ///
    /// [`TimedOut`](Error::TimedOut) when nothing answered, [`Socket`](Error::Socket) when the socket failed,
    /// [`Random`](Error::Random) when the random number generator did. There are no others.
    pub async fn ping(&mut self) -> Result<(), Error<S::Error>> {
        let Self { link, incoming } = self;
        let message_id = link.message_ids.peek(&mut link.rng).map_err(|_| Error::Random)?;
        let random = Some(link.rng.try_next_u32().map_err(|_| Error::Random)?);
        link.message_ids.used(message_id);
        let header = Header { kind: Type::Confirmable, code: Code::EMPTY, message_id, token: Token::EMPTY };
        let ping = message::empty(header.kind, header.message_id);
        if let Some(outgoing) = link.outgoing.get_mut(..ping.len()) {
            outgoing.copy_from_slice(&ping);
        }
        let ping = Outgoing { header, len: ping.len(), random };
        // There is no response to a ping: whatever ends its exchange is a RST or an ACK.
        link.exchange(&ping, None, None, incoming).await.map(|_| ())
    }
}

impl<S: ConnectedUdp, T: Timer, R: TryCryptoRng, const SIZE: usize> Link<'_, S, T, R, SIZE> {
    /// Makes a request, and returns how many bytes of `buffer` its reply has.
    async fn request(&mut self, request: &Request<'_>, buffer: &mut [u8]) -> Result<usize, Error<S::Error>> {
        let mut transfer = Transfer::new(*request, self.echo.take());
        while self.step(&mut transfer, None, None, buffer).await? != transfer::Step::Done {}
        let len = transfer.received();
        self.echo = transfer.take_echo();
        Ok(len)
    }

    /// Makes the next exchange of a transfer, with a token of its own unless one is given.
    ///
    /// When an observation that is being watched brings news, the transfer begins anew.
    pub(super) async fn step(
        &mut self,
        transfer: &mut Transfer<'_>,
        token: Option<Token>,
        watch: Option<&mut Watch>,
        buffer: &mut [u8],
    ) -> Result<transfer::Step, Error<S::Error>> {
        let Self { rng, message_ids, outgoing, max_message, .. } = self;
        let outgoing = outgoing.get_mut(..*max_message).unwrap_or_default();
        let message = transfer.next_message(token, message_ids, rng, outgoing, buffer.len())?;
        let free = buffer.get_mut(transfer.received()..).unwrap_or_default();
        match self.exchange(&message, Some(transfer), watch, free).await? {
            Done::Reset => Err(Error::Reset),
            Done::Response(len) => transfer.on_response(buffer, len).map_err(Failure::into_error),
            Done::Outdated => {
                transfer.restart().map_err(Failure::into_error)?;
                Ok(transfer::Step::Again)
            }
        }
    }

    pub(super) fn token(&mut self) -> Result<Token, Error<S::Error>> {
        draw_token(&mut self.rng)
    }

    /// Sends the message that is in `outgoing` until something answers, and receives into `incoming`.
    async fn exchange(
        &mut self,
        message: &Outgoing,
        transfer: Option<&Transfer<'_>>,
        mut watch: Option<&mut Watch>,
        incoming: &mut [u8],
    ) -> Result<Done, Error<S::Error>> {
        let Outgoing { header, len, .. } = *message;
        let outgoing = self.outgoing.get(..len).unwrap_or_default();
        self.socket.send(outgoing).await.map_err(Error::Socket)?;
        // Sending may have taken a handshake, which is none of the server's time to answer.
        let now = self.timer.now();
        let mut exchange = message.exchange(self.deadline, self.parameters, now);
        loop {
            let until = match exchange.poll(self.timer.now()) {
                Step::Transmit => {
                    crate::log::debug!("CoAP: message {} is sent again", header.message_id);
                    let outgoing = self.outgoing.get(..len).unwrap_or_default();
                    self.socket.send(outgoing).await.map_err(Error::Socket)?;
                    continue;
                }
                Step::Wait(until) => until,
                Step::TimedOut => return Err(Error::TimedOut),
                Step::NoResponse => return Err(Error::NoResponse),
            };
            let received = select(self.socket.receive_into(incoming), self.timer.sleep_until(until)).await;
            let len = match received {
                Either::First(received) => received.map_err(Error::Socket)?,
                Either::Second(()) => continue,
            };
            let datagram = Datagram::new(incoming, len);
            if let Some(watch) = &mut watch
                && let Ok(header) = datagram.header()
                && let Some(notified) =
                    watch.receive(header, datagram.message(), self.timer.now(), &mut self.acknowledged)
            {
                self.answer(notified.reply).await;
                match notified.news {
                    News::Newer => return Ok(Done::Outdated),
                    News::Older => continue,
                    News::BadOption => return Err(Error::BadOption),
                }
            }
            let known = datagram
                .message()
                .is_none_or(|message| transfer.is_some_and(|transfer| transfer.understands(message)));
            let received = exchange.receive(datagram.header(), known, &mut self.acknowledged);
            self.answer(received.reply).await;
            match received.outcome {
                Outcome::Pending => {}
                Outcome::Response => return Ok(Done::Response(len)),
                Outcome::BadOption => return Err(Error::BadOption),
                Outcome::Reset => return Ok(Done::Reset),
            }
        }
    }

    /// Sends an ACK or a RST.
    pub(super) async fn answer(&mut self, reply: Option<[u8; HEADER]>) {
        if let Some(reply) = reply
            && self.socket.send(&reply).await.is_err()
        {
            // One that is lost is the network's everyday: whoever wants it sends its message again. What arrived has arrived.
            crate::log::debug!("CoAP: an ACK or a RST could not be sent");
        }
    }
}

/// How an exchange ended.
enum Done {
    /// With a response of this length in `incoming`; it is longer than the buffer where it was cut off.
    Response(usize),
    Reset,
    /// With news of the observation whose representation was to be fetched.
    Outdated,
}
