//! Handshakes (RFC 6347 §4.2): flights, timers, reassembly and cookies, which both versions and roles share, and one
//! file for what each role does with a message.
//!
//! A [`Handshake`] is short and fat: it lives in a small pool until it yields [`Established`], from which the long and
//! thin session is made.

mod client12;
mod cookie;
mod flight;
mod hello_reply;
mod keys12;
pub(crate) mod reassembly;
mod server12;
mod timer;
mod transcript;

pub(crate) use cookie::CookieJar;
pub(crate) use flight::{finished_len, write_finished};
pub(crate) use hello_reply::HelloReply;
pub(crate) use server12::ServerRandom;

use core::cmp::Ordering;

use rand_core::TryCryptoRng;

use self::flight::{Flight, Outgoing};
use self::keys12::Agreed;
use self::reassembly::Reassembly;
use self::timer::{Due, Timer};
use self::transcript::Transcript;
use crate::config::Config;
use crate::crypto::exporter::Exporter;
use crate::error::Error;
use crate::log::debug;
use crate::psk::{Identity, Psk, PskStore};
use crate::record::{Dropped, PlainWriter, ReadState, WriteState};
use crate::stats::Stats;
use crate::time::Instant;
use crate::wire::alert::{Alert, AlertDescription};
use crate::wire::client_hello::ClientHello;
use crate::wire::finished::VERIFY_DATA_LEN;
use crate::wire::handshake::{Fragment, HandshakeType};
use crate::wire::record::{ContentType, RecordHeader};
use crate::wire::{BufferFull, RANDOM_LEN, Reader, Writer};

/// Longest body in bytes of a message that this crate sends: a ClientHello with the longest cookie, every suite and
/// every extension.
const MAX_OUTGOING: usize = 320;

/// The body of a ChangeCipherSpec.
const CHANGE_CIPHER_SPEC: [u8; 1] = [1];

/// What a handshake borrows from its owner on every call, so that it stores none of it.
#[derive(Clone, Copy)]
pub(crate) struct Context<'c> {
    pub(crate) config: &'c Config<'c>,
    pub(crate) credentials: Credentials<'c>,
}

/// Which side this is, and what it has to show.
#[derive(Clone, Copy)]
pub(crate) enum Credentials<'c> {
    Client(&'c Psk<'c>),
    Server(&'c dyn PskStore),
}

/// What is left of a handshake that came to its good end.
pub(crate) struct Established {
    pub(crate) identity: Identity,
    pub(crate) read: ReadState,
    pub(crate) write: WriteState,
    /// The flight that this side sent last, where the other may still be missing it.
    pub(crate) last_flight: Option<LastFlight>,
    pub(crate) exporter: Option<Exporter>,
}

/// ChangeCipherSpec and Finished of the side that speaks last, kept repeatable after the handshake (RFC 6347 §4.2.4).
#[derive(Clone, Copy)]
pub(crate) struct LastFlight {
    /// The start of the client's random, by which a late copy of its hello is told from a new one.
    pub(crate) client_random: [u8; 8],
    pub(crate) plain: PlainWriter,
    pub(crate) message_seq: u16,
    pub(crate) verify_data: [u8; VERIFY_DATA_LEN],
}

/// One handshake in progress, of either role.
pub(crate) struct Handshake {
    reassembly: Reassembly,
    core: Core,
}

/// Everything of a handshake that a message may change; apart from the buffer that the message may lie in.
struct Core {
    state: State,
    transcript: Transcript,
    flight: Flight,
    timer: Timer,
    plain: PlainWriter,
    /// The number of the next message to come.
    next_receive_seq: u16,
    /// An alert that nobody authenticated. It ends the handshake at the next timeout, unless the peer goes on before:
    /// whoever can guess an address could send one.
    remembered: Option<AlertDescription>,
}

enum State {
    ClientAwaitsServerHello(client12::Hello),
    ClientAwaitsServerHelloDone(client12::ServerHelloSeen),
    ClientAwaitsFinished(Pending),
    ServerAwaitsClientKeyExchange(server12::HelloSeen),
    ServerAwaitsFinished(server12::KeyExchangeSeen),
    /// Over. What is left is to tell the peer, under the keys that this side writes with.
    Failed {
        alert: Option<AlertDescription>,
        write: Option<WriteState>,
    },
}

/// The pending states of RFC 5246 §6.1, waiting for the peer's ChangeCipherSpec and Finished.
struct Pending {
    read: ReadState,
    write: WriteState,
    verify_data: [u8; VERIFY_DATA_LEN],
    peer_verify_data: [u8; VERIFY_DATA_LEN],
    change_cipher_spec_seen: bool,
    exporter: Option<Exporter>,
}

/// A message that is complete and whose turn it is.
struct Message<'m> {
    msg_type: HandshakeType,
    message_seq: u16,
    body: &'m [u8],
}

impl Handshake {
    fn new(config: &Config<'_>, state: State, plain: PlainWriter, now: Instant) -> Self {
        Self {
            reassembly: Reassembly::new(),
            core: Core {
                state,
                transcript: Transcript::new(),
                flight: Flight::new(&[], 0),
                timer: Timer::start(config, now),
                plain,
                next_receive_seq: 0,
                remembered: None,
            },
        }
    }

    /// A client's handshake; its ClientHello is ready to be sent.
    pub(crate) fn client(
        context: &Context<'_>,
        random: [u8; RANDOM_LEN],
        now: Instant,
    ) -> Result<Self, Error> {
        let state = State::ClientAwaitsServerHello(client12::Hello::new(random));
        let mut handshake = Self::new(context.config, state, PlainWriter::starting_at(0), now);
        handshake.core.start_flight(context, &[Outgoing::ClientHello], 0, now)?;
        Ok(handshake)
    }

    /// A server's handshake, from a ClientHello whose cookie was good; the answer is ready to be sent.
    pub(crate) fn server(
        context: &Context<'_>,
        hello: &Fragment<'_>,
        parsed: &ClientHello<'_>,
        header: &RecordHeader,
        random: ServerRandom,
        now: Instant,
    ) -> Result<Self, Error> {
        let seen = server12::HelloSeen::negotiate(context.config, parsed, random)?;
        let state = State::ServerAwaitsClientKeyExchange(seen);
        // The first ServerHello takes the record's number from the ClientHello (RFC 6347 §4.2.1), and so does its
        // message number: the HelloVerifyRequests before it had the ones before.
        let plain = PlainWriter::starting_at(header.sequence_number);
        let mut handshake = Self::new(context.config, state, plain, now);
        let core = &mut handshake.core;
        core.transcript.add(HandshakeType::ClientHello, hello.message_seq, hello.body);
        core.next_receive_seq = hello.message_seq.saturating_add(1);
        let flight = server12::hello_flight(context.config);
        core.start_flight(context, flight, hello.message_seq, now)?;
        Ok(handshake)
    }

    /// Takes one record.
    ///
    /// # Errors
    /// Why the handshake failed. [`Handshake::fail`] has been done already.
    pub(crate) fn receive(
        &mut self,
        context: &Context<'_>,
        header: &RecordHeader,
        body: &mut [u8],
        now: Instant,
        stats: &mut Stats,
    ) -> Result<Option<Established>, Error> {
        // Whoever failed has said so once, to its owner and to the peer, and is deaf from there on.
        if let State::Failed { .. } = self.core.state {
            Stats::count(&mut stats.dropped);
            return Ok(None);
        }
        let outcome = match (header.epoch, header.content_type) {
            (0, ContentType::Handshake) => self.on_messages(context, 0, body, now, stats),
            (0, ContentType::ChangeCipherSpec) => {
                self.core.on_change_cipher_spec(body, stats);
                Ok(None)
            }
            (0, ContentType::Alert) => {
                self.core.on_plaintext_alert(body, stats);
                Ok(None)
            }
            (1, ContentType::Handshake) => match self.core.open(context, header, body) {
                Ok(body) => self.on_messages(context, 1, body, now, stats),
                Err(reason) => self.core.on_dropped(reason, stats).map(|()| None),
            },
            (1, ContentType::Alert) => match self.core.open(context, header, body) {
                Ok(body) => on_authenticated_alert(body, stats).map(|()| None),
                Err(reason) => self.core.on_dropped(reason, stats).map(|()| None),
            },
            _ => {
                Stats::count(&mut stats.dropped);
                Ok(None)
            }
        };
        outcome.inspect_err(|error| self.fail(*error))
    }

    /// Goes through the messages and fragments of one handshake record.
    fn on_messages(
        &mut self,
        context: &Context<'_>,
        epoch: u16,
        body: &[u8],
        now: Instant,
        stats: &mut Stats,
    ) -> Result<Option<Established>, Error> {
        let mut r = Reader::new(body);
        while !r.is_empty() {
            let Ok(fragment) = Fragment::parse(&mut r) else {
                Stats::count(&mut stats.dropped);
                break;
            };
            // Finished travels under the new keys, and nothing else does: not even a part of it may come in the clear.
            let is_finished = fragment.msg_type == HandshakeType::Finished.number();
            // A HelloRequest is not part of a handshake, and ignored while there is one (RFC 5246 §7.4.1.1).
            let is_hello_request = fragment.msg_type == HandshakeType::HelloRequest.number();
            if is_hello_request || is_finished != (epoch == 1) {
                Stats::count(&mut stats.dropped);
                continue;
            }
            if fragment.message_seq < self.core.next_receive_seq {
                self.core.on_repeated(&fragment, stats);
                continue;
            }
            if fragment.message_seq > self.core.next_receive_seq {
                Stats::count(&mut stats.dropped);
                continue;
            }
            let body = if fragment.is_whole() {
                self.reassembly.clear();
                fragment.body
            } else {
                match self.reassembly.add(&fragment) {
                    Some(body) => body,
                    None => continue,
                }
            };
            let msg_type = HandshakeType::from_number(fragment.msg_type)
                .ok_or(crate::error::PeerMisbehaved::UnexpectedMessage)?;
            debug!("<- {:?} (message {}, {} bytes)", msg_type, fragment.message_seq, body.len());
            let message = Message { msg_type, message_seq: fragment.message_seq, body };
            if let Some(established) = self.core.on_message(context, &message, now)? {
                return Ok(Some(established));
            }
        }
        Ok(None)
    }

    /// Writes one datagram, if there is one to be sent.
    ///
    /// # Errors
    /// [`Error::BufferTooSmall`] when `buf` cannot hold a message that cannot be cut, or any part of one that can;
    /// [`Error::CryptoFailed`]. Nothing is lost: the next call tries again.
    pub(crate) fn poll_transmit(
        &mut self,
        context: &Context<'_>,
        buf: &mut [u8],
    ) -> Result<Option<usize>, Error> {
        self.core.poll_transmit(context, buf)
    }

    /// When to call [`Handshake::handle_timeout`]; `None` for a handshake that is over.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        match self.core.state {
            State::Failed { .. } => None,
            _ => Some(self.core.timer.next()),
        }
    }

    /// Sends the flight again, or gives up.
    ///
    /// # Errors
    /// Why the handshake is over. The peer is not told: it is silent, or told us first.
    pub(crate) fn handle_timeout(
        &mut self,
        context: &Context<'_>,
        now: Instant,
        stats: &mut Stats,
    ) -> Result<(), Error> {
        let core = &mut self.core;
        if let State::Failed { .. } = core.state {
            return Ok(());
        }
        let outcome = match (core.timer.fire(context.config, now), core.remembered) {
            (Due::Nothing, _) => Ok(()),
            (_, Some(description)) => Err(Error::AlertReceived(description)),
            (Due::Retransmission, None) => {
                core.repeat_flight(stats);
                Ok(())
            }
            (Due::Deadline, None) => Err(core.silence()),
        };
        outcome.inspect_err(|_| self.abandon())
    }

    /// Ends the handshake and tells the peer why, unless it was the peer who ended it (RFC 5246 §7.2.2).
    pub(crate) fn fail(&mut self, error: Error) {
        let alert = (!matches!(error, Error::AlertReceived(_))).then(|| error.alert());
        let failed = State::Failed { alert, write: None };
        let before = core::mem::replace(&mut self.core.state, failed);
        // A client that has sent its ChangeCipherSpec writes under the new keys, alerts too.
        if let (State::ClientAwaitsFinished(pending), State::Failed { write, .. }) =
            (before, &mut self.core.state)
        {
            *write = Some(pending.write);
        }
    }

    /// Ends the handshake without a word.
    pub(crate) fn abandon(&mut self) {
        self.core.state = State::Failed { alert: None, write: None };
    }

    /// Whether the handshake failed and has nothing left to say.
    pub(crate) fn is_over(&self) -> bool {
        matches!(self.core.state, State::Failed { alert: None, .. })
    }

    /// Whether this is a server's handshake with the client that sent this hello; if so, whether the hello is older than
    /// the one that began it, that very one, or newer: a client sends another only where it was asked for a cookie again.
    pub(crate) fn compare_hello(&self, message_seq: u16, hello: &ClientHello<'_>) -> Option<Ordering> {
        // The messages since the hello that began it are these.
        let (random, since) = match &self.core.state {
            State::ServerAwaitsClientKeyExchange(seen) => (&seen.agreed.client_random, 1),
            State::ServerAwaitsFinished(seen) => (&seen.client_random, 2),
            _ => return None,
        };
        let began_with = self.core.next_receive_seq.saturating_sub(since);
        (*random == hello.random).then(|| message_seq.cmp(&began_with))
    }

    /// The identity that a client has claimed, and is yet to prove.
    pub(crate) fn identity(&self) -> Option<&[u8]> {
        match &self.core.state {
            State::ServerAwaitsFinished(seen) => Some(seen.identity.as_bytes()),
            _ => None,
        }
    }

    /// The client repeated its ClientHello: it misses the answer.
    pub(crate) fn on_repeated_hello(&mut self, stats: &mut Stats) {
        if let State::ServerAwaitsClientKeyExchange(_) = self.core.state {
            self.core.repeat_flight(stats);
        }
    }

    /// Whether the peer's Finished is what this handshake waits for, and a record under new keys is meant for it.
    pub(crate) fn awaits_finished(&self) -> bool {
        matches!(self.core.state, State::ClientAwaitsFinished(_) | State::ServerAwaitsFinished(_))
    }
}

impl Core {
    /// Makes `messages` the flight to send, and adds them to the transcript.
    fn start_flight(
        &mut self,
        context: &Context<'_>,
        messages: &'static [Outgoing],
        first_seq: u16,
        now: Instant,
    ) -> Result<(), Error> {
        self.flight = Flight::new(messages, first_seq);
        self.timer.restart(context.config, now);
        let mut scratch = [0; MAX_OUTGOING];
        for (message, seq) in self.flight.numbered() {
            // The derivation of the keys has added the Finished already.
            if message != Outgoing::Finished {
                let body = self.encode(context, message, &mut scratch)?;
                self.transcript.add(message.handshake_type(), seq, body);
            }
        }
        Ok(())
    }

    /// Encodes the body of a message from the state, the same bytes every time.
    fn encode<'b>(
        &self,
        context: &Context<'_>,
        message: Outgoing,
        scratch: &'b mut [u8; MAX_OUTGOING],
    ) -> Result<&'b [u8], Error> {
        let mut w = Writer::new(scratch);
        let written = match (message, &self.state) {
            (Outgoing::ClientHello, State::ClientAwaitsServerHello(hello)) => {
                hello.emit(context.config, &mut w)
            }
            (Outgoing::ClientHello, State::ClientAwaitsServerHelloDone(seen)) => {
                seen.hello.emit(context.config, &mut w)
            }
            (Outgoing::ServerHello, State::ServerAwaitsClientKeyExchange(seen)) => {
                seen.emit_server_hello(&mut w)
            }
            (Outgoing::ServerKeyExchange, _) => server12::emit_identity_hint(context.config, &mut w),
            (Outgoing::ServerHelloDone, _) => Ok(()),
            (Outgoing::ClientKeyExchange, _) => client12::emit_identity(context, &mut w),
            // A flight never outlives the state that it was made in.
            _ => Err(BufferFull),
        };
        written.map_err(|_| Error::BufferTooSmall { needed: MAX_OUTGOING })?;
        Ok(w.written())
    }

    fn poll_transmit(&mut self, context: &Context<'_>, buf: &mut [u8]) -> Result<Option<usize>, Error> {
        if let State::Failed { .. } = self.state {
            return self.transmit_alert(context, buf);
        }
        let mut len = 0;
        while let Some((message, seq, offset)) = self.flight.next() {
            // A ClientHello is never cut, whatever the MTU: a server without state could not put it together
            // (RFC 6347 §4.2.1).
            let limit = match message {
                Outgoing::ClientHello => buf.len(),
                _ => buf.len().min(context.config.mtu()),
            };
            let room = buf.get_mut(len..limit).unwrap_or_default();
            match self.transmit_message(context, message, seq, offset, room)? {
                Some(written) => len += written,
                None => break,
            }
        }
        match (len, self.flight.next()) {
            (0, Some((message, ..))) => Err(Error::BufferTooSmall { needed: self.needed(context, message)? }),
            (0, None) => Ok(None),
            _ => Ok(Some(len)),
        }
    }

    /// Writes one record of the flight, or two with the ChangeCipherSpec; `None` when there is no room.
    fn transmit_message(
        &mut self,
        context: &Context<'_>,
        message: Outgoing,
        seq: u16,
        offset: usize,
        room: &mut [u8],
    ) -> Result<Option<usize>, Error> {
        if message == Outgoing::Finished {
            let State::ClientAwaitsFinished(Pending { write, verify_data, .. }) = &mut self.state else {
                return Ok(None);
            };
            let crypto = context.config.crypto();
            let written = flight::write_finished(&mut self.plain, write, crypto, seq, verify_data, room)?;
            if written.is_some() {
                debug!("-> ChangeCipherSpec, Finished (message {})", seq);
                self.flight.advance(0, 0);
            }
            return Ok(written);
        }
        let mut scratch = [0; MAX_OUTGOING];
        let body = self.encode(context, message, &mut scratch)?;
        if message == Outgoing::ClientHello && room.len() < plain_len(body.len()) {
            return Ok(None);
        }
        let msg_type = message.handshake_type();
        let Some((len, part)) = flight::write_plain(&mut self.plain, msg_type, seq, body, offset, room)
        else {
            return Ok(None);
        };
        debug!("-> {:?} (message {}, {} of {} bytes)", message, seq, part, body.len());
        self.flight.advance(part, body.len());
        Ok(Some(len))
    }

    /// Length in bytes of a buffer that would do for this message.
    fn needed(&self, context: &Context<'_>, message: Outgoing) -> Result<usize, Error> {
        match &self.state {
            State::ClientAwaitsFinished(pending) if message == Outgoing::Finished => {
                Ok(flight::finished_len(&pending.write))
            }
            _ => Ok(plain_len(self.encode(context, message, &mut [0; MAX_OUTGOING])?.len())),
        }
    }

    /// Writes the alert of a failed handshake, once.
    fn transmit_alert(&mut self, context: &Context<'_>, buf: &mut [u8]) -> Result<Option<usize>, Error> {
        let State::Failed { alert, write } = &mut self.state else {
            return Ok(None);
        };
        let Some(description) = *alert else {
            return Ok(None);
        };
        let bytes = Alert::fatal(description).to_bytes();
        let len = match write {
            Some(write) => write.seal(context.config.crypto(), ContentType::Alert, [&bytes, &[]], buf)?,
            None => self
                .plain
                .write(ContentType::Alert, [&bytes, &[]], buf)
                .ok_or(Error::BufferTooSmall { needed: crate::wire::record::HEADER_LEN + bytes.len() })?,
        };
        debug!("-> Alert {:?}", description);
        *alert = None;
        Ok(Some(len))
    }

    fn repeat_flight(&mut self, stats: &mut Stats) {
        if self.flight.restart() {
            debug!("sending the last flight again");
            Stats::count(&mut stats.retransmitted);
        }
    }

    /// A message that was here already. When it ends the peer's flight, the peer is missing ours (RFC 6347 §4.2.4).
    fn on_repeated(&mut self, fragment: &Fragment<'_>, stats: &mut Stats) {
        match (&mut self.state, HandshakeType::from_number(fragment.msg_type)) {
            (State::ClientAwaitsFinished(_), Some(HandshakeType::ServerHelloDone)) => {
                self.repeat_flight(stats)
            }
            (State::ServerAwaitsFinished(seen), Some(HandshakeType::ClientKeyExchange)) => {
                seen.on_repeated_flight()
            }
            _ => {}
        }
    }

    fn on_change_cipher_spec(&mut self, body: &[u8], stats: &mut Stats) {
        let pending = match &mut self.state {
            State::ClientAwaitsFinished(pending) => Some(pending),
            State::ServerAwaitsFinished(seen) => Some(&mut seen.pending),
            _ => None,
        };
        match pending {
            Some(pending) if body == CHANGE_CIPHER_SPEC => {
                debug!("<- ChangeCipherSpec");
                pending.change_cipher_spec_seen = true;
            }
            // Before there are keys to change to, it is early or forged (CVE-2014-0224, CVE-2017-7243).
            _ => Stats::count(&mut stats.dropped),
        }
    }

    fn on_plaintext_alert(&mut self, body: &[u8], stats: &mut Stats) {
        match Alert::parse(body) {
            Ok(alert) if alert.ends_association() => {
                debug!("<- Alert {:?}, not authenticated", alert.description);
                self.remembered = Some(alert.description);
            }
            Ok(_) => {}
            Err(_) => Stats::count(&mut stats.dropped),
        }
    }

    /// Opens a record under the pending keys, which the peer may use from its ChangeCipherSpec on.
    fn open<'d>(
        &mut self,
        context: &Context<'_>,
        header: &RecordHeader,
        body: &'d mut [u8],
    ) -> Result<&'d mut [u8], Dropped> {
        let pending = match &mut self.state {
            State::ClientAwaitsFinished(pending) => pending,
            State::ServerAwaitsFinished(seen) => &mut seen.pending,
            _ => return Err(Dropped::Unexpected),
        };
        if !pending.change_cipher_spec_seen {
            return Err(Dropped::Unexpected);
        }
        pending.read.open(context.config.crypto(), header, body)
    }

    fn on_dropped(&mut self, reason: Dropped, stats: &mut Stats) -> Result<(), Error> {
        reason.count(stats);
        match (&mut self.state, reason) {
            (State::ServerAwaitsFinished(seen), Dropped::Forged) => seen.on_unopened(),
            _ => Ok(()),
        }
    }

    fn on_message(
        &mut self,
        context: &Context<'_>,
        message: &Message<'_>,
        now: Instant,
    ) -> Result<Option<Established>, Error> {
        let established = match context.credentials {
            Credentials::Client(psk) => self.on_server_message(context, psk, message, now)?,
            Credentials::Server(store) => self.on_client_message(context, store, message)?,
        };
        self.next_receive_seq = message.message_seq.saturating_add(1);
        // The peer goes on, so the alert was not from it.
        self.remembered = None;
        Ok(established)
    }

    /// What it means that the deadline passed in this state.
    fn silence(&self) -> Error {
        match &self.state {
            State::ClientAwaitsServerHello(hello) if !hello.was_answered() => Error::NoAnswer,
            State::ClientAwaitsFinished(_) => Error::NoAnswerToKeyExchange,
            State::ServerAwaitsFinished(seen) if seen.has_failed() => Error::AuthenticationFailed,
            _ => Error::HandshakeTimeout,
        }
    }
}

/// An alert under the new keys, before the Finished: the peer that sent it holds the key, and gives up.
fn on_authenticated_alert(body: &[u8], stats: &mut Stats) -> Result<(), Error> {
    match Alert::parse(body) {
        Ok(alert) if alert.ends_association() => Err(Error::AlertReceived(alert.description)),
        Ok(_) => Ok(()),
        Err(_) => {
            Stats::count(&mut stats.dropped);
            Ok(())
        }
    }
}

impl Pending {
    fn new(agreed: &Agreed, keys: keys12::Keys, role: Role) -> Self {
        let (read, write, verify_data, peer_verify_data) = match role {
            Role::Client => {
                (keys.server_write, keys.client_write, keys.client_verify_data, keys.server_verify_data)
            }
            Role::Server => {
                (keys.client_write, keys.server_write, keys.server_verify_data, keys.client_verify_data)
            }
        };
        Self {
            read: ReadState::new(agreed.suite, read, 1),
            write: WriteState::new(agreed.suite, write, 1),
            verify_data,
            peer_verify_data,
            change_cipher_spec_seen: false,
            exporter: keys.exporter,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    Client,
    Server,
}

/// Length in bytes of the record with a plaintext message whose body has `len` bytes.
const fn plain_len(len: usize) -> usize {
    crate::wire::record::HEADER_LEN + crate::wire::handshake::HEADER_LEN + len
}

/// Fills `out` with random bytes. A generator that returns nothing but zeros has failed without saying so.
pub(crate) fn fill_random<R: TryCryptoRng + ?Sized>(rng: &mut R, out: &mut [u8]) -> Result<(), Error> {
    rng.try_fill_bytes(out).map_err(|_| Error::RandomFailed)?;
    if out.iter().all(|byte| *byte == 0) { Err(Error::RandomFailed) } else { Ok(()) }
}
