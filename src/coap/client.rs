//! The client: one exchange at a time between a socket and a caller.

use core::time::Duration;

use coap_message::MinimalWritableMessage;
use coap_numbers::{code, option};
use embassy_futures::select::{Either, select};
use embedded_nal_async::ConnectedUdp;
use rand_core::TryCryptoRng;

use super::exchange::{Acknowledged, Exchange, Outcome, Step};
use super::message::{self, Header, Type};
use super::message_ids::MessageIds;
use super::options::{is_first_of_many, understands_response};
use super::uri::{PathError, write_host, write_path};
use super::writer::Writer;
use super::{Code, Error, Message, Reply, Token, TransmissionParameters};
use crate::Timer;

/// How long the tokens are that a client makes: "A client that is connected to the general Internet SHOULD use at least 32
/// bits of randomness" (§5.3.1).
const TOKEN: usize = 4;

/// A request that is yet to be made: a method, a path, and what else there is to say.
///
/// ```
/// use dtls_psk::coap::Request;
///
/// let readings = Request::post("/log?unit=K", b"21.5").content_format(0).non_confirmable();
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    method: u8,
    host: Option<&'a str>,
    path: &'a str,
    payload: &'a [u8],
    content_format: Option<u16>,
    accept: Option<u16>,
    confirmable: bool,
}

impl<'a> Request<'a> {
    /// A request with any method, such as [`coap_numbers::code::FETCH`]: a code of class 0, but not 0.00. A client
    /// refuses what is none with [`Error::Method`].
    pub fn new(method: u8, path: &'a str, payload: &'a [u8]) -> Self {
        Self { method, host: None, path, payload, content_format: None, accept: None, confirmable: true }
    }

    /// GET: what is there (RFC 7252 §5.8.1).
    pub fn get(path: &'a str) -> Self {
        Self::new(code::GET, path, &[])
    }

    /// POST: have the payload processed (§5.8.2).
    pub fn post(path: &'a str, payload: &'a [u8]) -> Self {
        Self::new(code::POST, path, payload)
    }

    /// PUT: make the payload what is there (§5.8.3).
    pub fn put(path: &'a str, payload: &'a [u8]) -> Self {
        Self::new(code::PUT, path, payload)
    }

    /// DELETE: have nothing there (§5.8.4).
    pub fn delete(path: &'a str) -> Self {
        Self::new(code::DELETE, path, &[])
    }

    /// Says which host is asked (Uri-Host, §5.10.1), for servers that have several at one address.
    ///
    /// It is the host as it is in a URI, percent-encoding and all. Where that is an IP address, it is left out: a server
    /// knows its address (§6.4).
    #[must_use]
    pub fn host(self, host: &'a str) -> Self {
        Self { host: Some(host), ..self }
    }

    /// Says what the payload is (§5.10.3), with the numbers of the Content-Formats registry.
    #[must_use]
    pub fn content_format(self, content_format: u16) -> Self {
        Self { content_format: Some(content_format), ..self }
    }

    /// Says what the reply should be (§5.10.4), with the numbers of the Content-Formats registry.
    #[must_use]
    pub fn accept(self, content_format: u16) -> Self {
        Self { accept: Some(content_format), ..self }
    }

    /// Sends the request once and not again (§4.3).
    #[must_use]
    pub fn non_confirmable(self) -> Self {
        Self { confirmable: false, ..self }
    }

    /// Writes the whole message and returns its length.
    fn emit(&self, header: &Header, buffer: &mut [u8]) -> Result<usize, PathError> {
        let mut writer = Writer::new(buffer, header).ok_or(PathError::TooLong)?;
        // Options are written in the order of their numbers: 3, 11, 12, 15, 17.
        if let Some(host) = self.host {
            write_host(&mut writer, host)?;
        }
        let (path, query) = match self.path.find('?') {
            Some(at) => self.path.split_at_checked(at).ok_or(PathError::Invalid)?,
            None => (self.path, ""),
        };
        write_path(&mut writer, path)?;
        if let Some(content_format) = self.content_format {
            writer.add_option_uint(option::CONTENT_FORMAT, content_format).map_err(|_| PathError::TooLong)?;
        }
        write_path(&mut writer, query)?;
        if let Some(accept) = self.accept {
            writer.add_option_uint(option::ACCEPT, accept).map_err(|_| PathError::TooLong)?;
        }
        writer.set_payload(self.payload).map_err(|_| PathError::TooLong)?;
        if writer.is_part() {
            return Err(PathError::TooLong);
        }
        Ok(writer.finish())
    }
}

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
    socket: &'s mut S,
    timer: T,
    rng: R,
    parameters: TransmissionParameters,
    deadline: Duration,
    message_ids: MessageIds,
    acknowledged: Acknowledged,
    outgoing: [u8; SIZE],
    incoming: [u8; SIZE],
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
        const { assert!(SIZE >= 32, "SIZE: a message needs room for its header, its token and a path") }
        let parameters = TransmissionParameters::RFC_7252;
        Self {
            socket,
            timer,
            rng,
            parameters,
            deadline: parameters.max_transmit_wait(),
            message_ids: MessageIds::default(),
            acknowledged: Acknowledged::default(),
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

    /// Sets how long a request may take in all, from its first transmission to its response.
    ///
    /// MAX_TRANSMIT_WAIT by default, 93 seconds. A Confirmable request that is not acknowledged fails before, when its
    /// retransmissions are used up; so a longer deadline is for servers that acknowledge at once and respond much later.
    pub fn set_deadline(&mut self, deadline: Duration) {
        self.deadline = deadline;
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

    /// Makes a request and waits for its reply.
    ///
    /// # Errors
    ///
    /// As [`get`](Self::get).
    pub async fn request(&mut self, request: &Request<'_>) -> Result<Reply<'_>, Error<S::Error>> {
        let code = Code::new(request.method);
        if !code.is_request() {
            return Err(Error::Method);
        }
        let mut token = [0; TOKEN];
        self.rng.try_fill_bytes(&mut token).map_err(|_| Error::Random)?;
        let token = Token::new(&token).unwrap_or_default();
        let header = Header {
            kind: if request.confirmable { Type::Confirmable } else { Type::NonConfirmable },
            code,
            message_id: self.next_message_id()?,
            token,
        };
        let len = request.emit(&header, &mut self.outgoing).map_err(|error| match error {
            PathError::Invalid => Error::Path,
            PathError::TooLong => Error::RequestTooLong,
        })?;
        match self.exchange(&header, Some(token), len).await? {
            Done::Reset => Err(Error::Reset),
            Done::Response(len) => {
                let message = self.incoming.get(..len).and_then(|datagram| Message::parse(datagram).ok());
                match message {
                    None => Err(Error::ReplyTooLong),
                    Some(message) if is_first_of_many(&message) => Err(Error::BlockWise),
                    Some(message) => Ok(Reply::new(message)),
                }
            }
        }
    }

    /// Checks that a CoAP endpoint is there, with an Empty Confirmable message that it rejects ("CoAP ping", §4.3). One
    /// that acknowledges it instead is there, too.
    ///
    /// # Errors
    ///
    /// [`TimedOut`](Error::TimedOut) when nothing answered, [`Socket`](Error::Socket) when the socket failed,
    /// [`Random`](Error::Random) when the random number generator did. There are no others.
    pub async fn ping(&mut self) -> Result<(), Error<S::Error>> {
        let header = Header {
            kind: Type::Confirmable,
            code: Code::EMPTY,
            message_id: self.next_message_id()?,
            token: Token::EMPTY,
        };
        let ping = message::empty(header.kind, header.message_id);
        if let Some(outgoing) = self.outgoing.get_mut(..ping.len()) {
            outgoing.copy_from_slice(&ping);
        }
        // There is no response to a ping: whatever ends its exchange is a RST or an ACK.
        self.exchange(&header, None, ping.len()).await.map(|_| ())
    }

    fn next_message_id(&mut self) -> Result<u16, Error<S::Error>> {
        let message_id = self.message_ids.peek(&mut self.rng).map_err(|_| Error::Random)?;
        self.message_ids.used(message_id);
        Ok(message_id)
    }

    /// Sends the first `len` bytes of `outgoing` until something answers.
    async fn exchange(
        &mut self,
        header: &Header,
        token: Option<Token>,
        len: usize,
    ) -> Result<Done, Error<S::Error>> {
        let random = match header.kind {
            Type::Confirmable => Some(self.rng.try_next_u32().map_err(|_| Error::Random)?),
            _ => None,
        };
        let outgoing = self.outgoing.get(..len).unwrap_or_default();
        self.socket.send(outgoing).await.map_err(Error::Socket)?;
        // Sending may have taken a handshake, which is none of the server's time to answer.
        let now = self.timer.now();
        let mut exchange =
            Exchange::new(header.message_id, token, random, self.deadline, self.parameters, now);
        loop {
            let until = match exchange.poll(self.timer.now()) {
                Step::Transmit => {
                    crate::log::debug!("CoAP: message {} is sent again", header.message_id);
                    self.socket.send(outgoing).await.map_err(Error::Socket)?;
                    continue;
                }
                Step::Wait(until) => until,
                Step::TimedOut => return Err(Error::TimedOut),
                Step::NoResponse => return Err(Error::NoResponse),
            };
            let received =
                select(self.socket.receive_into(&mut self.incoming), self.timer.sleep_until(until)).await;
            let len = match received {
                Either::First(received) => received.map_err(Error::Socket)?,
                Either::Second(()) => continue,
            };
            let received = match self.incoming.get(..len) {
                Some(datagram) => {
                    let message = Message::parse(datagram);
                    let known = message.is_ok_and(|message| understands_response(&message));
                    let header = message.as_ref().map(Message::header).map_err(|&malformed| malformed);
                    exchange.receive(header, known, &mut self.acknowledged)
                }
                // Longer than the buffer, but header and token tell whose it is.
                None => {
                    let header = Header::parse(&self.incoming);
                    let header = header.as_ref().map(|(header, _)| header).map_err(|&malformed| malformed);
                    exchange.receive(header, true, &mut self.acknowledged)
                }
            };
            if let Some(reply) = received.reply
                && self.socket.send(&reply).await.is_err()
            {
                // An ACK or a RST that is lost is the network's everyday: whoever wants it sends its message again. What
                // arrived has arrived.
                crate::log::debug!("CoAP: an ACK or a RST could not be sent");
            }
            match received.outcome {
                Outcome::Pending => {}
                Outcome::Response => return Ok(Done::Response(len)),
                Outcome::BadOption => return Err(Error::BadOption),
                Outcome::Reset => return Ok(Done::Reset),
            }
        }
    }
}

/// How an exchange ended.
enum Done {
    /// With a response of this length in `incoming`; it is longer than the buffer where it was cut off.
    Response(usize),
    Reset,
}
