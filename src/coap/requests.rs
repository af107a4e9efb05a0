//! Many requests at once, to many servers, over one socket.

use core::cell::{RefCell, RefMut};
use core::convert::Infallible;
use core::future::poll_fn;
use core::net::SocketAddr;
use core::task::{Poll, Waker};
use core::time::Duration;

use embassy_futures::select::{Either, Either3, select, select3};
use embedded_nal_async::UnconnectedUdp;
use rand_core::TryCryptoRng;

use super::exchange::{self, Acknowledged, Exchange, Outcome};
use super::message::{Datagram, HEADER};
use super::message_ids::MessageIds;
use super::transfer::{
    Echo, Failure, MAX_MESSAGE, MIN_MESSAGE, Outgoing, Step, Transfer, reply, understands,
};
use super::{Error, Reply, Request, TransmissionParameters};
use crate::path::{any_local, is_same};
use crate::{Instant, PeerLookup, SessionId, Timer};

/// When someone who waits for a place, and for whose waker there is no room, looks whether there is one.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// A CoAP client (RFC 7252) for several servers over one unconnected socket, with up to `N` requests at once.
///
/// Its methods take `&self`, so futures of one task, or of several tasks of one executor, make requests at the same time. Each
/// waits for the socket for all of them until its own reply is there, and then another one does: there is nothing to spawn.
/// That has a price: whoever has begun to poll a request's future has to go on, or to drop it. One that is kept and polled no more
/// may be the one that all others wait for.
///
/// A request that does not find one of the `N` places waits for one. So does one to a server with which
/// [NSTART](Self::set_nstart) requests are outstanding already. Dropping a request's future abandons it and frees its place at
/// once.
///
/// Replies come into the caller's buffer, in blocks where they have to (RFC 7959), as with
/// [`Client::request_into`](super::Client::request_into).
///
/// An answer counts if it comes from the address that the request went to, with its token, and in the same DTLS session and epoch
/// (§9.1.2). The socket has to say which, so one without security goes in [`PlainUdp`](super::PlainUdp). For secure ones there is
/// [`nal::asynch::Clients`](crate::nal::asynch::Clients).
///
/// # Sizes
///
/// `N` requests at once take a message of `SIZE` bytes each, and there are two more for all: with the defaults, 4 and 1152, that is
/// 7 KB.
///
/// ```
/// use core::net::SocketAddr;
/// use dtls_psk::{PeerLookup, Timer, coap};
/// use embassy_futures::join::join;
/// use embedded_nal_async::UnconnectedUdp;
///
/// async fn both<S: UnconnectedUdp + PeerLookup>(
///     socket: &mut S,
///     timer: impl Timer,
///     rng: impl rand_core::TryCryptoRng,
///     [kitchen, cellar]: [SocketAddr; 2],
/// ) -> Result<(), coap::Error<S::Error>> {
///     let requests: coap::Requests<'_, _, _, _, 2, 256> = coap::Requests::with_size(socket, timer, rng);
///     let (mut one, mut other) = ([0; 256], [0; 256]);
///     let (one, other) = join(
///         requests.get(kitchen, "/temperature", &mut one),
///         requests.get(cellar, "/temperature", &mut other),
///     )
///     .await;
///     println!("{:?} and {:?}", one?.payload(), other?.payload());
///     Ok(())
/// }
/// ```
pub struct Requests<'s, S: UnconnectedUdp, T, R, const N: usize = 4, const SIZE: usize = MAX_MESSAGE> {
    /// Whoever holds it moves the datagrams of all.
    io: RefCell<Io<'s, S, SIZE>>,
    state: RefCell<State<S::Error, R, N, SIZE>>,
    timer: T,
    parameters: TransmissionParameters,
    deadline: Duration,
    max_message: usize,
    nstart: usize,
    local: Option<SocketAddr>,
}

struct Io<'s, S, const SIZE: usize> {
    socket: &'s mut S,
    outgoing: [u8; SIZE],
    incoming: [u8; SIZE],
}

struct State<E, R, const N: usize, const SIZE: usize> {
    rng: R,
    message_ids: MessageIds,
    acknowledged: Acknowledged,
    slots: [Slot<E, SIZE>; N],
    /// The number of the next message in line.
    ticket: u64,
    /// Whether there is something for the one who holds the socket to look at, and how to tell.
    is_changed: bool,
    holder: Option<Waker>,
    /// Those who wait for a slot. More of them look again after a while.
    waiting: [Option<Waker>; N],
}

/// One of several sessions at an address, and its epoch; `None` without security.
type Session = Option<(SessionId, u16)>;

struct Slot<E, const SIZE: usize> {
    is_taken: bool,
    local: SocketAddr,
    remote: SocketAddr,
    /// What that server wants to hear with the next request (RFC 9175 §2.3), from this session.
    echo: Option<Echo>,
    session: Session,
    stage: Stage<E>,
    /// Whether the message has a block of the payload in it, and an Echo.
    has_block1: bool,
    has_echo: bool,
    waker: Option<Waker>,
    /// The message that is to be sent or sent again, then the response.
    buffer: [u8; SIZE],
}

enum Stage<E> {
    /// There is no message.
    Idle,
    /// The message waits in line.
    Queued { ticket: u64, message: Outgoing },
    /// The message is on its way.
    Underway { exchange: Exchange, message: Outgoing },
    /// The exchange is over: with a response of so many bytes, or a reason to make the message again.
    Over(Result<Over, Error<E>>),
}

#[derive(Clone, Copy)]
enum Over {
    Response(usize),
    /// The message has an Echo in it that another session said.
    OtherSession,
}

/// What whoever holds the socket does next.
enum Task {
    Send { index: usize, message: Outgoing, local: SocketAddr, remote: SocketAddr },
    Wait(Option<Instant>),
}

impl<'s, S, T, R> Requests<'s, S, T, R>
where
    S: UnconnectedUdp + PeerLookup,
    T: Timer,
    R: TryCryptoRng,
{
    /// A client on `socket` with the default sizes.
    ///
    /// `timer` tells when to send again and when to give up; `rng` makes tokens, spreads retransmissions, and tells where
    /// Message IDs begin.
    pub fn new(socket: &'s mut S, timer: T, rng: R) -> Self {
        Self::with_size(socket, timer, rng)
    }
}

impl<'s, S, T, R, const N: usize, const SIZE: usize> Requests<'s, S, T, R, N, SIZE>
where
    S: UnconnectedUdp + PeerLookup,
    T: Timer,
    R: TryCryptoRng,
{
    /// A client on `socket` with sizes of your choice.
    pub fn with_size(socket: &'s mut S, timer: T, rng: R) -> Self {
        const { assert!(N > 0, "N: a request needs a place") }
        const { assert!(SIZE >= MIN_MESSAGE, "SIZE: a message needs room for its header, its token and a path") }
        let parameters = TransmissionParameters::RFC_7252;
        let state = State {
            rng,
            message_ids: MessageIds::default(),
            acknowledged: Acknowledged::default(),
            slots: [const { Slot::NEW }; N],
            ticket: 0,
            is_changed: false,
            holder: None,
            waiting: [const { None }; N],
        };
        Self {
            io: RefCell::new(Io { socket, outgoing: [0; SIZE], incoming: [0; SIZE] }),
            state: RefCell::new(state),
            timer,
            parameters,
            deadline: parameters.max_transmit_wait(),
            max_message: SIZE.min(MAX_MESSAGE),
            nstart: 1,
            local: None,
        }
    }

    /// Sets the transmission parameters (§4.8), and the deadline to their MAX_TRANSMIT_WAIT.
    #[must_use]
    pub fn with_parameters(mut self, parameters: TransmissionParameters) -> Self {
        self.parameters = parameters;
        self.deadline = parameters.max_transmit_wait();
        self
    }

    /// Sets how long each exchange of a request may take, as [`Client::set_deadline`](super::Client::set_deadline) does. The time in
    /// which a request waits for its turn does not count.
    pub fn set_deadline(&mut self, deadline: Duration) {
        self.deadline = deadline;
    }

    /// Sets how long messages may be in bytes, as [`Client::set_max_message`](super::Client::set_max_message) does.
    pub fn set_max_message(&mut self, bytes: usize) {
        self.max_message = bytes.clamp(MIN_MESSAGE, SIZE);
    }

    /// Sets NSTART, how many requests may be outstanding with one server: sent, but neither acknowledged nor answered. 1 by
    /// default, and at least. "Further congestion control optimizations and considerations are expected in the future [...] which
    /// may [...] allow a value for NSTART greater than one" (§4.7): they are up to you.
    pub fn set_nstart(&mut self, nstart: usize) {
        self.nstart = nstart.max(1);
    }

    /// Sets the local address that requests go out from. Without it, that is the unspecified address of the server's family, with
    /// port 0, which sockets that are bound to one address or to all of them take.
    pub fn set_local(&mut self, local: SocketAddr) {
        self.local = Some(local);
    }

    /// Asks `server` for what is at `path`, like `/a/b` or `/a/b?c=1`. The reply comes into `buffer`.
    ///
    /// # Errors
    ///
    /// As [`Client::get`](super::Client::get).
    pub async fn get<'b>(
        &self,
        server: SocketAddr,
        path: &str,
        buffer: &'b mut [u8],
    ) -> Result<Reply<'b>, Error<S::Error>> {
        self.request(server, &Request::get(path), buffer).await
    }

    /// Makes `payload` what is at `path`.
    ///
    /// # Errors
    ///
    /// As [`Client::get`](super::Client::get).
    pub async fn put<'b>(
        &self,
        server: SocketAddr,
        path: &str,
        payload: &[u8],
        buffer: &'b mut [u8],
    ) -> Result<Reply<'b>, Error<S::Error>> {
        self.request(server, &Request::put(path, payload), buffer).await
    }

    /// Has `payload` processed by what is at `path`.
    ///
    /// # Errors
    ///
    /// As [`Client::get`](super::Client::get).
    pub async fn post<'b>(
        &self,
        server: SocketAddr,
        path: &str,
        payload: &[u8],
        buffer: &'b mut [u8],
    ) -> Result<Reply<'b>, Error<S::Error>> {
        self.request(server, &Request::post(path, payload), buffer).await
    }

    /// Makes a request of `server`. What does not fit into a message goes in blocks, both ways (RFC 7959). The reply comes into
    /// `buffer`.
    ///
    /// # Errors
    ///
    /// As [`Client::get`](super::Client::get). An error when sending to one server is that of this request alone.
    pub async fn request<'b>(
        &self,
        server: SocketAddr,
        request: &Request<'_>,
        buffer: &'b mut [u8],
    ) -> Result<Reply<'b>, Error<S::Error>> {
        let place = self.place(server).await;
        let mut transfer = Transfer::new(*request, place.echo());
        loop {
            place.queue(&mut transfer, buffer.len())?;
            match place.exchange().await? {
                Over::OtherSession => transfer.forget_echo(),
                Over::Response(len) => {
                    place.response(len, buffer.get_mut(transfer.received()..))?;
                    if transfer.on_response(buffer, len).map_err(Failure::into_error)? == Step::Done {
                        break;
                    }
                }
            }
        }
        let len = transfer.received();
        place.keep_echo(transfer.take_echo());
        reply(buffer, len)
    }

    /// Waits for a place.
    async fn place(&self, remote: SocketAddr) -> Place<'_, 's, S, T, R, N, SIZE> {
        let local = self.local.unwrap_or(any_local(remote));
        loop {
            let taken = poll_fn(|context| {
                let mut state = self.state.borrow_mut();
                match state.take(local, remote) {
                    Some(index) => Poll::Ready(Some(index)),
                    None if state.wait(context.waker()) => Poll::Pending,
                    None => Poll::Ready(None),
                }
            });
            if let Some(index) = taken.await {
                return Place { requests: self, index };
            }
            self.timer.sleep_until(self.timer.now() + LOOK_AGAIN).await;
        }
    }

    /// Takes the socket, unless someone else has it.
    fn hold(&self) -> Option<Holder<'_, 's, S, R, N, SIZE>> {
        let io = self.io.try_borrow_mut().ok()?;
        Some(Holder { io: Some(io), state: &self.state })
    }

    /// Moves everyone's datagrams, until the socket fails.
    async fn drive(&self, io: &mut Io<'s, S, SIZE>) -> Result<Infallible, S::Error> {
        loop {
            let until = match self.next_task(io) {
                Task::Send { index, message, local, remote } => {
                    let datagram = io.outgoing.get(..message.len).unwrap_or_default();
                    let sent = io.socket.send(local, remote, datagram).await;
                    self.on_sent(index, &message, sent, session(io.socket, local, remote));
                    continue;
                }
                Task::Wait(until) => until,
            };
            let sleep = async {
                match until {
                    Some(until) => self.timer.sleep_until(until).await,
                    None => core::future::pending().await,
                }
            };
            let received =
                select3(io.socket.receive_into(&mut io.incoming), sleep, self.state_changes()).await;
            let Either3::First(received) = received else { continue };
            let (len, local, remote) = received?;
            let session = session(io.socket, local, remote);
            let (answer, over) = self.on_received(&io.incoming, len, remote, session);
            // Before whoever waits for it may drop this future: what was sent twice because it was not acknowledged would find
            // nobody.
            if let Some(answer) = answer
                && io.socket.send(local, remote, &answer).await.is_err()
            {
                crate::log::debug!("CoAP: an ACK or a RST could not be sent");
            }
            if let Some((index, message_id, over)) = over {
                self.on_over(index, message_id, over, &io.incoming);
            }
        }
    }

    /// Waits until there is something new to do with the socket.
    async fn state_changes(&self) {
        poll_fn(|context| {
            let mut state = self.state.borrow_mut();
            if core::mem::take(&mut state.is_changed) {
                return Poll::Ready(());
            }
            state.holder = Some(context.waker().clone());
            Poll::Pending
        })
        .await;
    }

    /// What is to be done with the socket. A message that is to be sent is put into `io`.
    fn next_task(&self, io: &mut Io<'s, S, SIZE>) -> Task {
        let mut state = self.state.borrow_mut();
        let now = self.timer.now();
        let mut until: Option<Instant> = None;
        let mut due = None;
        for (index, slot) in state.slots.iter_mut().enumerate() {
            let Stage::Underway { exchange, .. } = &mut slot.stage else { continue };
            match exchange.poll(now) {
                exchange::Step::Transmit => {
                    due = Some(index);
                    break;
                }
                exchange::Step::Wait(at) => until = Some(until.map_or(at, |until| until.min(at))),
                exchange::Step::TimedOut => slot.finish(Err(Error::TimedOut)),
                exchange::Step::NoResponse => slot.finish(Err(Error::NoResponse)),
            }
        }
        while let Some(index) = due.take().or_else(|| state.next_in_line(self.nstart)) {
            let Some(slot) = state.slots.get_mut(index) else { break };
            let message = match &slot.stage {
                // "A client MUST only send Echo option values to endpoints it received them from (where [...] the security
                // association is part of the endpoint)" (RFC 9175 §2.3).
                Stage::Queued { .. }
                    if slot.has_echo && session(io.socket, slot.local, slot.remote) != slot.session =>
                {
                    slot.finish(Ok(Over::OtherSession));
                    continue;
                }
                Stage::Queued { message, .. } | Stage::Underway { message, .. } => *message,
                Stage::Idle | Stage::Over(_) => break,
            };
            for (to, byte) in io.outgoing.iter_mut().zip(&slot.buffer).take(message.len) {
                *to = *byte;
            }
            return Task::Send { index, message, local: slot.local, remote: slot.remote };
        }
        Task::Wait(until)
    }

    /// A message was sent; for the first time, if its exchange has not begun. If it could not be sent, it was for its request.
    fn on_sent(&self, index: usize, message: &Outgoing, sent: Result<(), S::Error>, session: Session) {
        let mut state = self.state.borrow_mut();
        let Some(slot) = state.holding(index, message.header.message_id) else { return };
        if let Err(error) = sent {
            slot.finish(Err(Error::Socket(error)));
        } else if matches!(slot.stage, Stage::Queued { .. }) {
            // Sending may have taken a handshake, which is none of the server's time to answer.
            let now = self.timer.now();
            let exchange = message.exchange(self.deadline, self.parameters, now);
            slot.session = session;
            slot.stage = Stage::Underway { exchange, message: *message };
        }
    }

    /// What a datagram is to be answered with, and which exchange it ends.
    #[expect(clippy::type_complexity, reason = "it is taken apart at once")]
    fn on_received(
        &self,
        incoming: &[u8],
        len: usize,
        remote: SocketAddr,
        session: Session,
    ) -> (Option<[u8; HEADER]>, Option<(usize, u16, Result<Over, Error<S::Error>>)>) {
        let datagram = Datagram::new(incoming, len);
        let mut state = self.state.borrow_mut();
        let State { slots, acknowledged, .. } = &mut *state;
        for (index, slot) in slots.iter_mut().enumerate() {
            let Stage::Underway { exchange, message } = &mut slot.stage else { continue };
            let header = match datagram.header() {
                Ok(header) if exchange.concerns(header) => header,
                _ => continue,
            };
            // "The DTLS session MUST be the same, and the epoch MUST be the same" (§9.1.2), and so does the address (§5.3.2).
            if !is_same(slot.remote, remote) || slot.session != session {
                continue;
            }
            let known = datagram.message().is_none_or(|response| understands(response, slot.has_block1));
            let received = exchange.receive(Ok(header), known, acknowledged);
            let over = match received.outcome {
                Outcome::Pending => {
                    // An acknowledged request is not outstanding, and another one may go to this server.
                    return (received.reply, None);
                }
                Outcome::Response => Ok(Over::Response(len)),
                Outcome::BadOption => Err(Error::BadOption),
                Outcome::Reset => Err(Error::Reset),
            };
            return (received.reply, Some((index, message.header.message_id, over)));
        }
        (acknowledged.turn_away(datagram.header()), None)
    }

    /// The exchange of this message is over. A response is in `incoming`.
    fn on_over(&self, index: usize, message_id: u16, over: Result<Over, Error<S::Error>>, incoming: &[u8]) {
        let mut state = self.state.borrow_mut();
        let Some(slot) = state.holding(index, message_id) else { return };
        if matches!(over, Ok(Over::Response(_))) {
            for (to, byte) in slot.buffer.iter_mut().zip(incoming) {
                *to = *byte;
            }
        }
        slot.finish(over);
    }
}

impl<E, R, const N: usize, const SIZE: usize> State<E, R, N, SIZE> {
    /// The slot with this message in it, if it still has it.
    fn holding(&mut self, index: usize, message_id: u16) -> Option<&mut Slot<E, SIZE>> {
        self.slots.get_mut(index).filter(|slot| match &slot.stage {
            Stage::Queued { message, .. } | Stage::Underway { message, .. } => {
                message.header.message_id == message_id
            }
            Stage::Idle | Stage::Over(_) => false,
        })
    }

    /// The first message in line of those to servers with which fewer than `nstart` requests are outstanding (§4.7).
    fn next_in_line(&self, nstart: usize) -> Option<usize> {
        let outstanding = |remote: SocketAddr| {
            let with = self.slots.iter().filter(|slot| is_same(slot.remote, remote));
            with.filter(
                |slot| matches!(&slot.stage, Stage::Underway { exchange, .. } if exchange.is_outstanding()),
            )
            .count()
        };
        let in_line = self.slots.iter().enumerate().filter_map(|(index, slot)| match slot.stage {
            Stage::Queued { ticket, .. } if outstanding(slot.remote) < nstart => Some((ticket, index)),
            _ => None,
        });
        in_line.min().map(|(_, index)| index)
    }

    /// Whoever holds the socket is to look again.
    fn change(&mut self) {
        self.is_changed = true;
        if let Some(holder) = self.holder.take() {
            holder.wake();
        }
    }

    /// Takes a free slot for a request from `local` to `remote`.
    fn take(&mut self, local: SocketAddr, remote: SocketAddr) -> Option<usize> {
        let free = |slot: &Slot<_, SIZE>| !slot.is_taken;
        // The one that knows what this server wants to hear.
        let known = self.slots.iter().position(|slot| free(slot) && is_same(slot.remote, remote));
        let index = known.or_else(|| self.slots.iter().position(free))?;
        let slot = self.slots.get_mut(index)?;
        if !is_same(slot.remote, remote) {
            slot.echo = None;
        }
        (slot.is_taken, slot.local, slot.remote) = (true, local, remote);
        Some(index)
    }

    /// Has `waker` called when a slot is free; `false` where too many wait already.
    fn wait(&mut self, waker: &Waker) -> bool {
        let mut is_known = self.waiting.iter().flatten().any(|waiting| waiting.will_wake(waker));
        if let Some(free) = self.waiting.iter_mut().find(|waiting| waiting.is_none() && !is_known) {
            *free = Some(waker.clone());
            is_known = true;
        }
        is_known
    }
}

impl<E, const SIZE: usize> Slot<E, SIZE> {
    const NEW: Self = Self {
        is_taken: false,
        local: crate::path::UNKNOWN,
        remote: crate::path::UNKNOWN,
        echo: None,
        session: None,
        stage: Stage::Idle,
        has_block1: false,
        has_echo: false,
        waker: None,
        buffer: [0; SIZE],
    };

    fn finish(&mut self, over: Result<Over, Error<E>>) {
        self.stage = Stage::Over(over);
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

/// A slot that is taken, until this is dropped.
struct Place<'q, 's, S, T, R, const N: usize, const SIZE: usize>
where
    S: UnconnectedUdp + PeerLookup,
    T: Timer,
    R: TryCryptoRng,
{
    requests: &'q Requests<'s, S, T, R, N, SIZE>,
    index: usize,
}

impl<S, T, R, const N: usize, const SIZE: usize> Place<'_, '_, S, T, R, N, SIZE>
where
    S: UnconnectedUdp + PeerLookup,
    T: Timer,
    R: TryCryptoRng,
{
    fn slot<'r>(&self, state: &'r mut State<S::Error, R, N, SIZE>) -> Option<&'r mut Slot<S::Error, SIZE>> {
        state.slots.get_mut(self.index)
    }

    fn echo(&self) -> Option<Echo> {
        self.slot(&mut self.requests.state.borrow_mut()).and_then(|slot| slot.echo.take())
    }

    /// Keeps what the server wants to hear with the next request.
    fn keep_echo(&self, echo: Option<Echo>) {
        if let Some(slot) = self.slot(&mut self.requests.state.borrow_mut()) {
            slot.echo = echo;
        }
    }

    /// Makes the next message of a transfer, and puts it in line.
    fn queue(&self, transfer: &mut Transfer<'_>, capacity: usize) -> Result<(), Error<S::Error>> {
        let mut state = self.requests.state.borrow_mut();
        let State { rng, message_ids, slots, ticket, .. } = &mut *state;
        let Some(slot) = slots.get_mut(self.index) else { return Err(Error::RequestTooLong) };
        slot.has_echo = transfer.has_echo();
        let buffer = slot.buffer.get_mut(..self.requests.max_message).unwrap_or_default();
        let message = transfer.next_message(None, message_ids, rng, buffer, capacity)?;
        slot.has_block1 = transfer.has_block1();
        slot.stage = Stage::Queued { ticket: *ticket, message };
        *ticket += 1;
        state.change();
        Ok(())
    }

    /// Waits for the end of the exchange of the message in line.
    async fn exchange(&self) -> Result<Over, Error<S::Error>> {
        loop {
            let over = match self.requests.hold() {
                Some(mut holder) => {
                    let Some(io) = &mut holder.io else { continue };
                    match select(self.requests.drive(io), self.over(false)).await {
                        Either::First(Err(error)) => return Err(Error::Socket(error)),
                        Either::Second(over) => over,
                    }
                }
                None => self.over(true).await,
            };
            if let Some(over) = over {
                return over;
            }
        }
    }

    /// Waits for the end of the exchange, or, if `or_free`, until the socket is free (`None`).
    async fn over(&self, or_free: bool) -> Option<Result<Over, Error<S::Error>>> {
        poll_fn(|context| {
            let mut state = self.requests.state.borrow_mut();
            let Some(slot) = self.slot(&mut state) else { return Poll::Pending };
            if let Stage::Over(_) = slot.stage
                && let Stage::Over(over) = core::mem::replace(&mut slot.stage, Stage::Idle)
            {
                // It is no longer outstanding, and another message may go out.
                state.change();
                return Poll::Ready(Some(over));
            }
            if or_free && self.requests.io.try_borrow_mut().is_ok() {
                return Poll::Ready(None);
            }
            slot.waker = Some(context.waker().clone());
            Poll::Pending
        })
        .await
    }

    /// Copies the response to where its transfer wants it.
    fn response(&self, len: usize, to: Option<&mut [u8]>) -> Result<(), Error<S::Error>> {
        let mut state = self.requests.state.borrow_mut();
        let response = self.slot(&mut state).and_then(|slot| slot.buffer.get(..len));
        let to = to.and_then(|to| to.get_mut(..len));
        let (Some(response), Some(to)) = (response, to) else {
            return Err(Error::ReplyTooLong);
        };
        to.copy_from_slice(response);
        Ok(())
    }
}

impl<S, T, R, const N: usize, const SIZE: usize> Drop for Place<'_, '_, S, T, R, N, SIZE>
where
    S: UnconnectedUdp + PeerLookup,
    T: Timer,
    R: TryCryptoRng,
{
    fn drop(&mut self) {
        let mut state = self.requests.state.borrow_mut();
        if let Some(slot) = self.slot(&mut state) {
            (slot.is_taken, slot.stage, slot.waker) = (false, Stage::Idle, None);
        }
        state.waiting.iter_mut().filter_map(Option::take).for_each(Waker::wake);
        // Another message to this server may be the next.
        state.change();
    }
}

/// Has the socket; whoever waits may take it when this is dropped.
struct Holder<'q, 's, S: UnconnectedUdp, R, const N: usize, const SIZE: usize> {
    io: Option<RefMut<'q, Io<'s, S, SIZE>>>,
    state: &'q RefCell<State<S::Error, R, N, SIZE>>,
}

impl<S: UnconnectedUdp, R, const N: usize, const SIZE: usize> Drop for Holder<'_, '_, S, R, N, SIZE> {
    fn drop(&mut self) {
        self.io = None;
        self.state.borrow_mut().slots.iter_mut().filter_map(|slot| slot.waker.take()).for_each(Waker::wake);
    }
}

/// The session that a datagram between these addresses belongs to.
fn session(socket: &impl PeerLookup, local: SocketAddr, remote: SocketAddr) -> Session {
    socket.peer(local, remote).map(|peer| (peer.session, peer.epoch))
}
