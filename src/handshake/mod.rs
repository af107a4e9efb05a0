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
mod receive;
mod server12;
mod timer;
mod transcript;
mod transmit;

pub(crate) use client12::{ClientRandom, MAX_HELLO_VERIFY_REQUESTS};
pub(crate) use cookie::CookieJar;
pub(crate) use flight::{finished_len, write_finished};
pub(crate) use hello_reply::HelloReply;
pub(crate) use server12::ServerRandom;

use core::cmp::Ordering;

use rand_core::TryCryptoRng;

use self::flight::Flight;
use self::keys12::{Agreed, MasterSecret, Side};
use self::reassembly::{MAX_FRAGMENTED_MESSAGE, Reassembly};
use self::timer::{Due, Timer};
use self::transcript::Transcript;
use crate::config::Config;
use crate::connection_id::PeerConnectionId;
use crate::crypto::aead::AeadKey;
use crate::crypto::exporter::Exporter;
use crate::crypto::key_share::KeyShare;
use crate::error::{Error, PeerMisbehaved};
use crate::log::debug;
use crate::psk::{Identity, Psk, PskStore};
use crate::record::{Dropped, Opened, PlainWriter, ReadState, WriteState};
use crate::resumption::{ResumableSession, ResumptionTag, Ticket};
use crate::stats::Stats;
use crate::time::Instant;
use crate::wire::Reader;
use crate::wire::alert::AlertDescription;
use crate::wire::client_hello::ClientHello;
use crate::wire::finished::VERIFY_DATA_LEN;
use crate::wire::handshake::{Fragment, HandshakeType};
use crate::wire::record::{ContentType, RecordHeader};

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
    /// Whose key it is, where the client's server name has decided that.
    pub(crate) host: Option<u16>,
    pub(crate) read: ReadState,
    pub(crate) write: WriteState,
    /// The start of the client's random, by which a late copy of its hello is told from a new one.
    pub(crate) client_random: [u8; 8],
    /// The flight that this side sent last, where the other may still be missing it.
    pub(crate) last_flight: Option<LastFlight>,
    /// Whether the peer answers return routability checks.
    pub(crate) return_routability_check: bool,
    pub(crate) resumed: bool,
    /// By which the session can be forgotten where it could be resumed; empty for one that cannot.
    pub(crate) tag: ResumptionTag,
    pub(crate) exporter: Option<Exporter>,
}

/// ChangeCipherSpec and Finished of the side that speaks last, kept repeatable after the handshake (RFC 6347 §4.2.4).
#[derive(Clone, Copy)]
pub(crate) struct LastFlight {
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
    key_share: KeyShare,
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
    Server(server12::Server),
    /// Over. What is left is to tell the peer, under the keys that this side writes with.
    Over {
        alert: Option<AlertDescription>,
        write: Option<WriteState>,
    },
}

impl State {
    /// Over, with nothing left to say.
    const OVER: Self = Self::Over { alert: None, write: None };

    /// The pending states, while the peer's Finished is awaited.
    const fn pending(&mut self) -> Option<&mut Pending> {
        match self {
            Self::ClientAwaitsFinished(pending) => Some(pending),
            Self::Server(server) if server.awaits_finished() => Some(&mut server.pending),
            _ => None,
        }
    }

    /// Whether a message of this type is the ticket that the server has announced.
    fn awaits_ticket(&self, msg_type: u8) -> bool {
        let awaited = matches!(self, Self::ClientAwaitsFinished(pending) if pending.ticket_awaited);
        awaited && msg_type == HandshakeType::NewSessionTicket.number()
    }

    const fn awaits_finished(&self) -> bool {
        match self {
            Self::ClientAwaitsFinished(_) => true,
            Self::Server(server) => server.awaits_finished(),
            _ => false,
        }
    }
}

/// The pending states of RFC 5246 §6.1, waiting for the peer's ChangeCipherSpec and Finished.
struct Pending {
    agreed: Agreed,
    master: MasterSecret,
    read: ReadState,
    write: WriteState,
    /// That of this side's Finished, where it comes before the peer's.
    verify_data: [u8; VERIFY_DATA_LEN],
    change_cipher_spec_seen: bool,
    /// Whether the master secret is that of an earlier session.
    resumed: bool,
    /// Whether a server has announced a ticket, and has yet to send it.
    ticket_awaited: bool,
    ticket: Ticket,
    /// For how many seconds the ticket is good; 0 where the server did not say.
    ticket_lifetime: u32,
    /// Names the session, and the key that it was made with: the key store may have another one by the end of the handshake.
    tag: ResumptionTag,
}

/// A message that is complete and whose turn it is.
struct Message<'m> {
    msg_type: HandshakeType,
    message_seq: u16,
    body: &'m [u8],
}

impl Handshake {
    fn new(config: &Config<'_>, state: State, key_share: KeyShare, plain: PlainWriter, now: Instant) -> Self {
        Self {
            reassembly: Reassembly::new(),
            core: Core {
                state,
                transcript: Transcript::new(),
                flight: Flight::new(&[], 0),
                timer: Timer::start(config, now),
                plain,
                key_share,
                next_receive_seq: 0,
                remembered: None,
            },
        }
    }

    /// A client's handshake; its ClientHello is ready to be sent.
    pub(crate) fn client(
        context: &Context<'_>,
        psk: &Psk<'_>,
        random: ClientRandom,
        key_share: KeyShare,
        now: Instant,
    ) -> Result<Self, Error> {
        let hello = client12::Hello::new(context.config, psk, random, now);
        let state = State::ClientAwaitsServerHello(hello);
        let mut handshake = Self::new(context.config, state, key_share, PlainWriter::starting_at(0), now);
        handshake.core.start_flight(context, &[HandshakeType::ClientHello], 0, now)?;
        Ok(handshake)
    }

    /// A server's handshake, from a ClientHello whose cookie was good; the answer is ready to be sent.
    pub(crate) fn server(
        context: &Context<'_>,
        store: &dyn PskStore,
        hello: &Fragment<'_>,
        parsed: &ClientHello<'_>,
        header: &RecordHeader<'_>,
        random: ServerRandom,
        now: Instant,
    ) -> Result<Self, Error> {
        let negotiated = server12::Negotiated::negotiate(context.config, store, parsed, &random)?;
        let resumed = negotiated.find_session(context.config, store, parsed, now)?;
        let mut key_share = random.key_share;
        let with_key_share = resumed.is_none() && negotiated.agreed.suite.has_forward_secrecy();
        if with_key_share {
            key_share.begin();
        } else {
            key_share.wipe();
        }
        let state = State::Server(server12::Server::new(negotiated, resumed.as_ref()));
        // The first ServerHello takes the record's number from the ClientHello (RFC 6347 §4.2.1), and so does its
        // message number: the HelloVerifyRequests before it had the ones before.
        let plain = PlainWriter::starting_at(header.sequence_number);
        let mut handshake = Self::new(context.config, state, key_share, plain, now);
        let core = &mut handshake.core;
        core.transcript.add(HandshakeType::ClientHello, hello.message_seq, hello.body);
        core.next_receive_seq = hello.message_seq.saturating_add(1);
        match resumed {
            Some(_) => core.resume_as_server(context, hello.message_seq, now)?,
            None => {
                let flight = server12::hello_flight(context.config, with_key_share);
                core.start_flight(context, flight, hello.message_seq, now)?;
            }
        }
        Ok(handshake)
    }

    /// Takes one record.
    ///
    /// # Errors
    /// Why the handshake failed. [`Handshake::fail`] has been done already.
    pub(crate) fn receive(
        &mut self,
        context: &Context<'_>,
        header: &RecordHeader<'_>,
        body: &mut [u8],
        now: Instant,
        stats: &mut Stats,
    ) -> Result<Option<Established>, Error> {
        // Whoever failed has said so once, to its owner and to the peer, and is deaf from there on.
        if let State::Over { .. } = self.core.state {
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
            (1, _) => self.on_sealed(context, header, body, now, stats),
            _ => {
                Stats::count(&mut stats.dropped);
                Ok(None)
            }
        };
        outcome.inspect_err(|error| {
            self.forget_session(context);
            self.fail(*error);
        })
    }

    /// A record under the pending keys.
    fn on_sealed(
        &mut self,
        context: &Context<'_>,
        header: &RecordHeader<'_>,
        body: &mut [u8],
        now: Instant,
        stats: &mut Stats,
    ) -> Result<Option<Established>, Error> {
        // Application data before the Finished is not even looked at.
        let may_be_wanted = match header.content_type {
            ContentType::Handshake | ContentType::Alert | ContentType::Tls12Cid => Ok(()),
            _ => Err(Dropped::Unexpected),
        };
        match may_be_wanted.and_then(|()| self.core.open(context, header, body)) {
            Ok(Opened { content_type: ContentType::Handshake, body, .. }) => {
                self.on_messages(context, 1, body, now, stats)
            }
            Ok(Opened { content_type: ContentType::Alert, body, .. }) => {
                receive::on_authenticated_alert(body, stats).map(|()| None)
            }
            Ok(_) => {
                Stats::count(&mut stats.dropped);
                Ok(None)
            }
            Err(reason) => self.core.on_unopened(header, reason, stats).map(|()| None),
        }
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
            // And while the Finished is awaited, nothing that is new can come in the clear but from someone else.
            let is_late = !is_finished
                && self.core.state.awaits_finished()
                && !self.core.state.awaits_ticket(fragment.msg_type)
                && fragment.message_seq >= self.core.next_receive_seq;
            if is_hello_request || is_finished != (epoch == 1) || is_late {
                Stats::count(&mut stats.dropped);
                continue;
            }
            if fragment.message_seq < self.core.next_receive_seq {
                self.core.on_repeated(context.config, &fragment, now, stats);
                continue;
            }
            if fragment.message_seq > self.core.next_receive_seq {
                Stats::count(&mut stats.dropped);
                continue;
            }
            let body = if fragment.is_whole() {
                self.reassembly.clear();
                fragment.body
            } else if fragment.length as usize > MAX_FRAGMENTED_MESSAGE {
                Stats::count(&mut stats.dropped);
                continue;
            } else {
                match self.reassembly.add(&fragment) {
                    Some(body) => body,
                    None => continue,
                }
            };
            let msg_type =
                HandshakeType::from_number(fragment.msg_type).ok_or(PeerMisbehaved::UnexpectedMessage)?;
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
            State::Over { .. } => None,
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
        if let State::Over { .. } = core.state {
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
        outcome.inspect_err(|error| {
            // A server that never answered may not even have heard of the session.
            if *error != Error::NoAnswer {
                self.forget_session(context);
            }
            self.abandon();
        })
    }

    /// Ends the handshake and tells the peer why, unless it was the peer who ended it (RFC 5246 §7.2.2).
    pub(crate) fn fail(&mut self, error: Error) {
        let alert = (!matches!(error, Error::AlertReceived(_))).then(|| error.alert());
        // A side that has sent its ChangeCipherSpec writes under the new keys, alerts too.
        let write = match &self.core.state {
            State::ClientAwaitsFinished(pending) if !pending.resumed => Some(pending.write.clone()),
            State::Server(server) if server.pending.resumed => Some(server.pending.write.clone()),
            _ => None,
        };
        self.core.end(State::Over { alert, write });
    }

    /// The handshake failed: a client will not try to resume that session again. A server keeps it, as whoever has seen its
    /// id go by could have begun this handshake.
    fn forget_session(&self, context: &Context<'_>) {
        match &self.core.state {
            State::ClientAwaitsServerHello(hello) => context.config.forget_session(hello.offered_tag()),
            State::ClientAwaitsFinished(pending) if pending.resumed => {
                context.config.forget_session(&pending.tag);
            }
            _ => {}
        }
    }

    /// Ends the handshake without a word.
    pub(crate) fn abandon(&mut self) {
        self.core.end(State::OVER);
    }

    /// Whether the handshake failed and has nothing left to say.
    pub(crate) fn is_over(&self) -> bool {
        matches!(self.core.state, State::Over { alert: None, .. })
    }

    /// Whether this is a server's handshake with the client that sent this hello; if so, whether the hello is older than
    /// the one that began it, that very one, or newer: a client sends another only where it was asked for a cookie again.
    pub(crate) fn compare_hello(&self, message_seq: u16, hello: &ClientHello<'_>) -> Option<Ordering> {
        let State::Server(server) = &self.core.state else { return None };
        let newest = self.core.next_receive_seq.saturating_sub(1);
        let began_with = newest.saturating_sub(server.messages_since_hello());
        (server.pending.agreed.client_random == hello.random).then(|| message_seq.cmp(&began_with))
    }

    /// The identity that a client has claimed, and is yet to prove.
    pub(crate) fn identity(&self) -> Option<&[u8]> {
        match &self.core.state {
            State::Server(server) if server.awaits_finished() => Some(server.identity.as_bytes()),
            _ => None,
        }
    }

    /// The connection ID that this side asked for; empty for none.
    pub(crate) fn connection_id(&self) -> &[u8] {
        match &self.core.state {
            State::Server(server) => server.pending.agreed.own_connection_id.as_bytes(),
            _ => &[],
        }
    }

    /// The client repeated its ClientHello: it misses the answer.
    pub(crate) fn on_repeated_hello(&mut self, config: &Config<'_>, now: Instant, stats: &mut Stats) {
        if matches!(&self.core.state, State::Server(server) if server.may_repeat_answer()) {
            self.core.on_missed(config, now, stats);
        }
    }

    /// Whether the peer's Finished is what this handshake waits for, and a record under new keys may be meant for it.
    pub(crate) fn awaits_finished(&self) -> bool {
        self.core.state.awaits_finished()
    }
}

impl Core {
    /// Ends a handshake that does not succeed: nobody will need its secrets.
    fn end(&mut self, over: State) {
        self.key_share.wipe();
        self.state = over;
    }
}

impl Pending {
    /// Pending states without their secrets, which are made when the states are where they stay.
    fn new(agreed: Agreed, peer_connection_id: PeerConnectionId) -> Self {
        let Agreed { suite, own_connection_id, send_limit, receive_limit, .. } = agreed;
        Self {
            agreed,
            master: MasterSecret::empty(),
            read: ReadState::new(suite, AeadKey::empty(), 1, own_connection_id, receive_limit),
            write: WriteState::new(suite, AeadKey::empty(), 1, peer_connection_id, send_limit),
            verify_data: [0; VERIFY_DATA_LEN],
            change_cipher_spec_seen: false,
            resumed: false,
            ticket_awaited: false,
            ticket: Ticket::EMPTY,
            ticket_lifetime: 0,
            tag: ResumptionTag::EMPTY,
        }
    }

    /// Takes the master secret of the session with this tag, which `lend` lends from the cache, and makes the keys of it.
    ///
    /// # Errors
    /// The cache has forgotten it meanwhile.
    fn resume(
        &mut self,
        context: &Context<'_>,
        side: Side,
        lend: impl FnOnce(&mut dyn FnMut(&ResumableSession)),
    ) -> Result<(), Error> {
        let mut found = false;
        lend(&mut |session| {
            if session.tag.as_bytes() == self.tag.as_bytes() && session.suite == self.agreed.suite {
                self.master.resume(context, &self.agreed, session);
                found = true;
            }
        });
        if !found {
            return Err(Error::ResumptionFailed);
        }
        self.make_keys(side);
        Ok(())
    }

    /// Makes the keys of the master secret.
    fn make_keys(&mut self, side: Side) {
        let (own, peer) = (self.write.key_mut(), self.read.key_mut());
        match side {
            Side::Client => self.master.key_block(&self.agreed, own, peer),
            Side::Server => self.master.key_block(&self.agreed, peer, own),
        }
    }

    /// Keeps the session for the next handshake, if there is where to.
    fn keep(&mut self, config: &Config<'_>, identity: Identity, host: Option<u16>, now: Instant) {
        let Some(cache) = config.resumption().filter(|_| !self.tag.is_empty()) else { return };
        let Agreed { session_id, suite, max_fragment_length, .. } = self.agreed;
        // One that was resumed is there already, unless it has a new ticket.
        if self.resumed && self.ticket.is_empty() {
            return;
        }
        if session_id.is_empty() && self.ticket.is_empty() {
            self.tag = ResumptionTag::EMPTY;
            return;
        }
        let session = ResumableSession {
            session_id,
            ticket: self.ticket,
            ticket_lifetime: self.ticket_lifetime,
            master: self.master.secret(),
            suite,
            max_fragment_length,
            identity,
            host,
            tag: self.tag,
        };
        cache.put(&session, now);
    }

    /// Makes the current states of the pending ones. These are copies: the originals are wiped where they lie, when the
    /// handshake's state is replaced.
    fn establish(
        &self,
        identity: Identity,
        host: Option<u16>,
        last_flight: Option<LastFlight>,
    ) -> Established {
        Established {
            identity,
            host,
            read: self.read.clone(),
            write: self.write.clone(),
            client_random: self.agreed.client_random.first_chunk().copied().unwrap_or_default(),
            last_flight,
            return_routability_check: self.agreed.return_routability_check,
            resumed: self.resumed,
            tag: self.tag,
            exporter: self.master.exporter(&self.agreed),
        }
    }
}

/// Fills `out` with random bytes. A generator that returns nothing but zeros has failed without saying so.
pub(crate) fn fill_random<R: TryCryptoRng + ?Sized>(rng: &mut R, out: &mut [u8]) -> Result<(), Error> {
    rng.try_fill_bytes(out).map_err(|_| Error::RandomFailed)?;
    if out.iter().all(|byte| *byte == 0) { Err(Error::RandomFailed) } else { Ok(()) }
}
