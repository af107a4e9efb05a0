//! Handshakes (RFC 6347 §4.2): flights, timers, reassembly and cookies, which both versions and roles share, and one
//! file for what each role does with a message.
//!
//! A [`Handshake`] is short and fat: it lives in a small pool until it yields [`Established`], from which the long and
//! thin session is made.

#[cfg(feature = "dtls13")]
mod acks;
mod agreed;
mod client;
#[cfg(feature = "dtls12")]
mod client12;
#[cfg(feature = "dtls13")]
mod client13;
mod client_hello;
mod cookie;
#[cfg(feature = "dtls12")]
mod finished12;
mod flight;
mod hello_reply;
#[cfg(feature = "dtls12")]
mod keys12;
#[cfg(feature = "dtls13")]
mod offered_psks;
#[cfg(feature = "dtls12")]
mod pending12;
#[cfg(feature = "dtls13")]
mod pending13;
pub(crate) mod reassembly;
mod receive;
#[cfg(feature = "dtls13")]
mod sent_records;
mod server;
#[cfg(feature = "dtls12")]
mod server12;
#[cfg(feature = "dtls13")]
mod server13;
mod timer;
mod transcript;
mod transmit;
#[cfg(feature = "dtls13")]
mod transmit13;

pub(crate) use client_hello::ClientRandom;
#[cfg(feature = "dtls12")]
pub(crate) use client_hello::MAX_HELLO_VERIFY_REQUESTS;
pub(crate) use cookie::CookieJar;
#[cfg(feature = "dtls12")]
pub(crate) use finished12::{finished_len, write_finished};
pub(crate) use hello_reply::HelloReply;
#[cfg(feature = "dtls13")]
pub(crate) use pending13::{EPOCH as HANDSHAKE_EPOCH, TICKET_LIFETIME, TICKET_NONCE};
pub(crate) use server::{Accepted, ServerRandom, select_version};
#[cfg(feature = "dtls13")]
pub(crate) use server13::Choice;
#[cfg(feature = "dtls13")]
pub(crate) use timer::{Due, Timer};

use core::cmp::Ordering;

use rand_core::TryCryptoRng;

use self::flight::Flight;
use self::reassembly::{Put, Reassembly};
#[cfg(not(feature = "dtls13"))]
use self::timer::{Due, Timer};
use self::transcript::Transcript;
use crate::config::Config;
use crate::crypto::exporter::Exporter;
#[cfg(feature = "dtls13")]
use crate::crypto::key_schedule::Secret;
use crate::crypto::key_share::KeyShare;
use crate::error::{ConfigField, Error, PeerMisbehaved};
use crate::log::{debug, warning};
use crate::psk::{Identity, Psk, PskStore, PskUse};
#[cfg(feature = "dtls13")]
use crate::record::ReplayWindow;
use crate::record::{Dropped, Opened, PlainWriter, ReadState, WriteState};
use crate::resumption::ResumptionTag;
#[cfg(feature = "dtls13")]
use crate::resumption::TlsSessionId;
use crate::stats::Stats;
use crate::time::Instant;
use crate::wire::Reader;
use crate::wire::alert::AlertDescription;
use crate::wire::client_hello::ClientHello;
use crate::wire::handshake::{Fragment, HandshakeType};
use crate::wire::record::{ContentType, Header, RecordNumber};
use crate::wire::version::ProtocolVersion;

/// The body of a ChangeCipherSpec.
#[cfg(feature = "dtls12")]
const CHANGE_CIPHER_SPEC: [u8; 1] = [1];

/// How many bytes may go to an address for each that came from it, before it is proven (RFC 9147 §5.1, RFC 9853 §5).
pub(crate) const AMPLIFICATION: usize = 3;

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
    /// The records of the peer's last flight, where it has to be told that it has arrived.
    #[cfg(feature = "dtls13")]
    pub(crate) received: crate::record::ReceivedRecords<3>,
    /// The numbers of the next message to send and of the next to come.
    #[cfg(feature = "dtls13")]
    pub(crate) next_seqs: [u16; 2],
    #[cfg(feature = "dtls13")]
    pub(crate) tickets: Tickets,
}

/// What a session of DTLS 1.3 has to do with tickets (RFC 8446 §4.6.1).
#[cfg(feature = "dtls13")]
pub(crate) enum Tickets {
    /// Nothing: there is no cache, or its ticket is on its way.
    None,
    /// A server's, which is in its cache already.
    ToSend { ticket: TlsSessionId, age_add: u32 },
    /// A client may get some, and makes their keys of this.
    Awaited { resumption_master: Secret },
}

/// What is left to be done for the other side's sake, once this one has all that it needs.
#[derive(Clone)]
pub(crate) enum LastFlight {
    /// ChangeCipherSpec and Finished of the side that speaks last, kept repeatable after the handshake (RFC 6347 §4.2.4).
    #[cfg(feature = "dtls12")]
    Dtls12 { plain: PlainWriter, message_seq: u16, verify_data: [u8; crate::wire::finished::VERIFY_DATA_LEN] },
    /// A client's Finished, sent until the server has acknowledged it (RFC 9147 §5.8.1): under the secret of epoch 2, with the
    /// number of the next record there.
    #[cfg(feature = "dtls13")]
    Finished {
        secret: Secret,
        next: u64,
        message_seq: u16,
        verify_data: [u8; crate::wire::finished::VERIFY_DATA13_LEN],
    },
    /// What a server reads the client's Finished with that comes again, to acknowledge it again (RFC 9147 §5.8.1): the secret of
    /// epoch 2, what has arrived there, how many records did not open, and until when.
    #[cfg(feature = "dtls13")]
    Acknowledge { secret: Secret, window: ReplayWindow, forged: u64, until: Instant },
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
    #[cfg(feature = "dtls13")]
    acks: acks::Acks,
    /// The number of the next message to come.
    next_receive_seq: u16,
    /// An alert that nobody authenticated. It ends the handshake at the next timeout, unless the peer goes on before:
    /// whoever can guess an address could send one.
    remembered: Option<AlertDescription>,
    /// How many bytes may go to a client that has not shown that it receives at its address; `None` once it has.
    allowance: Option<usize>,
}

enum State {
    ClientAwaitsServerHello(client_hello::Hello),
    #[cfg(feature = "dtls12")]
    ClientAwaitsServerHelloDone(client12::ServerHelloSeen),
    #[cfg(feature = "dtls12")]
    ClientAwaitsFinished(pending12::Pending),
    #[cfg(feature = "dtls12")]
    Server(server12::Server),
    #[cfg(feature = "dtls13")]
    Client13(client13::Client),
    #[cfg(feature = "dtls13")]
    Server13(server13::Server),
    /// Over. What is left is to tell the peer, under the keys that this side writes with.
    Over {
        alert: Option<AlertDescription>,
        write: Option<WriteState>,
    },
}

impl State {
    /// Over, with nothing left to say.
    const OVER: Self = Self::Over { alert: None, write: None };

    /// The pending states of DTLS 1.2, while the peer's Finished is awaited.
    #[cfg(feature = "dtls12")]
    const fn pending(&mut self) -> Option<&mut pending12::Pending> {
        match self {
            Self::ClientAwaitsFinished(pending) => Some(pending),
            Self::Server(server) if server.awaits_finished() => Some(&mut server.pending),
            _ => None,
        }
    }

    /// What this side encrypts with in DTLS 1.3, once it may.
    #[cfg(feature = "dtls13")]
    const fn write13(&mut self) -> Option<&mut WriteState> {
        match self {
            Self::Client13(client) => Some(&mut client.pending.write),
            Self::Server13(server) => Some(&mut server.pending.write),
            _ => None,
        }
    }

    /// What reads what the peer encrypts, once it may.
    const fn read(&mut self) -> Option<&mut ReadState> {
        match self {
            #[cfg(feature = "dtls12")]
            Self::ClientAwaitsFinished(pending) if pending.change_cipher_spec_seen => Some(&mut pending.read),
            #[cfg(feature = "dtls12")]
            Self::Server(server) if server.pending.change_cipher_spec_seen => Some(&mut server.pending.read),
            #[cfg(feature = "dtls13")]
            Self::Client13(client) => Some(&mut client.pending.read),
            #[cfg(feature = "dtls13")]
            Self::Server13(server) => Some(&mut server.pending.read),
            _ => None,
        }
    }

    /// Whether a message of this type is the ticket that the server has announced.
    fn awaits_ticket(&self, msg_type: u8) -> bool {
        #[cfg(feature = "dtls12")]
        if let Self::ClientAwaitsFinished(pending) = self {
            return pending.ticket_awaited && msg_type == HandshakeType::NewSessionTicket.number();
        }
        let _ = msg_type;
        false
    }

    /// Whether there are keys, and nothing that is new can come in the clear any more.
    const fn awaits_finished(&self) -> bool {
        match self {
            #[cfg(feature = "dtls12")]
            Self::ClientAwaitsFinished(_) => true,
            #[cfg(feature = "dtls12")]
            Self::Server(server) => server.awaits_finished(),
            #[cfg(feature = "dtls13")]
            Self::Client13(_) | Self::Server13(_) => true,
            _ => false,
        }
    }

    /// Under which epoch a message of this type has to come.
    fn epoch_of(&self, msg_type: u8) -> u64 {
        match self {
            #[cfg(feature = "dtls13")]
            Self::Client13(_) | Self::Server13(_) => {
                let is_encrypted =
                    HandshakeType::from_number(msg_type).is_some_and(HandshakeType::is_encrypted);
                if is_encrypted { pending13::EPOCH } else { 0 }
            }
            // In DTLS 1.2, Finished travels under the new keys, and nothing else does.
            _ => (msg_type == HandshakeType::Finished.number()).into(),
        }
    }
}

/// What became of the messages of a record.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Taken {
    /// All were processed or buffered, or had been before.
    All,
    /// At least one is further on than what is awaited.
    OutOfOrder,
    /// Some were of no use.
    NotAll,
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
                // Begun when the version is known.
                transcript: Transcript::new(ProtocolVersion::Dtls12),
                flight: Flight::new(&[], 0),
                timer: Timer::start(config, now),
                plain,
                key_share,
                #[cfg(feature = "dtls13")]
                acks: acks::Acks::NONE,
                next_receive_seq: 0,
                remembered: None,
                allowance: None,
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
        let [dtls12, dtls13] = [ProtocolVersion::Dtls12, ProtocolVersion::Dtls13]
            .map(|version| client_hello::offers(context.config, psk, version));
        if !dtls12 && !dtls13 {
            return Err(Error::InvalidConfig(ConfigField::Versions));
        }
        if dtls12 && dtls13 && psk.usage() == PskUse::ANY {
            warning!("one key for DTLS 1.2 and 1.3: see `PskUse` for what is better (RFC 9258)");
        }
        let hello = client_hello::Hello::new(context.config, psk, random, now);
        let state = State::ClientAwaitsServerHello(hello);
        let mut handshake = Self::new(context.config, state, key_share, PlainWriter::starting_at(0), now);
        let core = &mut handshake.core;
        #[cfg(feature = "dtls13")]
        core.offer13(context, psk, None, now)?;
        core.start_flight(context, &[HandshakeType::ClientHello], 0, now)?;
        Ok(handshake)
    }

    /// Takes one record.
    ///
    /// # Errors
    /// Why the handshake failed. [`Handshake::fail`] has been done already.
    pub(crate) fn receive(
        &mut self,
        context: &Context<'_>,
        header: &Header<'_>,
        body: &mut [u8],
        now: Instant,
        stats: &mut Stats,
    ) -> Result<Option<Established>, Error> {
        // Whoever failed has said so once, to its owner and to the peer, and is deaf from there on.
        if let State::Over { .. } = self.core.state {
            Stats::count(&mut stats.dropped);
            return Ok(None);
        }
        let outcome = match header.plaintext() {
            Some(plaintext) => match plaintext.content_type {
                ContentType::Handshake => {
                    let number = RecordNumber { epoch: 0, sequence_number: plaintext.sequence_number };
                    self.on_messages(context, number, body, now, stats)
                }
                #[cfg(feature = "dtls12")]
                ContentType::ChangeCipherSpec => {
                    self.core.on_change_cipher_spec(body, stats);
                    Ok(None)
                }
                ContentType::Alert => {
                    self.core.on_plaintext_alert(body, stats);
                    Ok(None)
                }
                #[cfg(feature = "dtls13")]
                ContentType::Ack => {
                    self.core.on_plaintext_ack(context.config, body, now, stats);
                    Ok(None)
                }
                _ => {
                    Stats::count(&mut stats.dropped);
                    Ok(None)
                }
            },
            None => self.on_sealed(context, header, body, now, stats),
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
        header: &Header<'_>,
        body: &mut [u8],
        now: Instant,
        stats: &mut Stats,
    ) -> Result<Option<Established>, Error> {
        // Application data before the Finished is not even looked at.
        let opened = match self.core.state.read() {
            Some(read) if !header.shows_application_data() => {
                read.open(context.config.crypto(), header, body)
            }
            _ => Err(Dropped::Unexpected),
        };
        match opened {
            Ok(Opened { content_type: ContentType::Handshake, body, number, .. }) => {
                self.on_messages(context, number, body, now, stats)
            }
            Ok(Opened { content_type: ContentType::Alert, body, number, .. }) => {
                let version =
                    if number.epoch == 1 { ProtocolVersion::Dtls12 } else { ProtocolVersion::Dtls13 };
                receive::on_authenticated_alert(version, body, stats).map(|()| None)
            }
            #[cfg(feature = "dtls13")]
            Ok(Opened { content_type: ContentType::Ack, body, .. }) => {
                self.core.on_ack(context.config, body, now, stats);
                Ok(None)
            }
            Ok(_) => {
                Stats::count(&mut stats.dropped);
                Ok(None)
            }
            Err(reason) => self.core.on_unopened(context.config, header, reason, now, stats).map(|()| None),
        }
    }

    /// Goes through the messages and fragments of one handshake record.
    fn on_messages(
        &mut self,
        context: &Context<'_>,
        number: RecordNumber,
        body: &[u8],
        now: Instant,
        stats: &mut Stats,
    ) -> Result<Option<Established>, Error> {
        let mut r = Reader::new(body);
        let mut taken = Taken::All;
        while !r.is_empty() {
            let Ok(fragment) = Fragment::parse(&mut r) else {
                Stats::count(&mut stats.dropped);
                taken = Taken::NotAll;
                break;
            };
            // A HelloRequest is not part of a handshake, and ignored while there is one (RFC 5246 §7.4.1.1).
            let is_hello_request = fragment.msg_type == HandshakeType::HelloRequest.number();
            let is_misplaced = self.core.state.epoch_of(fragment.msg_type) != number.epoch;
            // While the Finished is awaited, nothing that is new can come in the clear but from someone else.
            let is_late = number.epoch == 0
                && self.core.state.awaits_finished()
                && !self.core.state.awaits_ticket(fragment.msg_type)
                && fragment.message_seq >= self.core.next_receive_seq;
            if is_hello_request || is_misplaced || is_late {
                Stats::count(&mut stats.dropped);
                taken = Taken::NotAll;
                continue;
            }
            if fragment.message_seq < self.core.next_receive_seq {
                self.core.on_repeated(context.config, &fragment, now, stats);
                continue;
            }
            if fragment.message_seq > self.core.next_receive_seq {
                Stats::count(&mut stats.dropped);
                taken = Taken::OutOfOrder;
                continue;
            }
            let body = match self.reassembly.take(&fragment) {
                Put::Whole(body) => body,
                Put::Part => continue,
                Put::TooLong => {
                    Stats::count(&mut stats.dropped);
                    taken = Taken::NotAll;
                    continue;
                }
            };
            let msg_type =
                HandshakeType::from_number(fragment.msg_type).ok_or(PeerMisbehaved::UnexpectedMessage)?;
            debug!("<- {:?} (message {}, {} bytes)", msg_type, fragment.message_seq, body.len());
            let message = Message { msg_type, message_seq: fragment.message_seq, body };
            #[cfg_attr(not(feature = "dtls13"), expect(unused_mut, reason = "there is nothing to add"))]
            if let Some(mut established) = self.core.on_message(context, &message, now)? {
                #[cfg(feature = "dtls13")]
                self.core.acks.finish(number, &mut established);
                return Ok(Some(established));
            }
        }
        self.core.on_taken(context.config, number, taken, now);
        Ok(None)
    }

    /// So many bytes have come from a client that has not shown yet that it receives at its address: three times as many may go there
    /// (RFC 9147 §5.1).
    pub(crate) fn allow(&mut self, received: usize) {
        let allowance = self.core.allowance.get_or_insert(0);
        *allowance = allowance.saturating_add(AMPLIFICATION * received);
    }

    /// Whether the client has not shown that it receives at its address.
    pub(crate) const fn is_limited(&self) -> bool {
        self.core.allowance.is_some()
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
        let Some(allowance) = self.core.allowance else {
            return self.core.poll_transmit(context, buf);
        };
        let len = buf.len().min(allowance);
        match self.core.poll_transmit(context, buf.get_mut(..len).unwrap_or_default()) {
            // It has to wait for more from the client.
            Err(Error::BufferTooSmall { .. }) if len == allowance => Ok(None),
            Ok(Some(len)) => {
                self.core.allowance = Some(allowance - len);
                Ok(Some(len))
            }
            other => other,
        }
    }

    /// When to call [`Handshake::handle_timeout`]; `None` for a handshake that is over.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        match self.core.state {
            State::Over { .. } => None,
            #[cfg(feature = "dtls13")]
            _ => self.core.acks.poll_timeout().into_iter().chain([self.core.timer.next()]).min(),
            #[cfg(not(feature = "dtls13"))]
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
        #[cfg(feature = "dtls13")]
        core.acks.handle_timeout(now);
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
        let write = match &self.core.state {
            // A side that has sent its ChangeCipherSpec writes under the new keys, alerts too.
            #[cfg(feature = "dtls12")]
            State::ClientAwaitsFinished(pending) if !pending.resumed => Some(pending.write.clone()),
            #[cfg(feature = "dtls12")]
            State::Server(server) if server.pending.resumed => Some(server.pending.write.clone()),
            #[cfg(feature = "dtls13")]
            State::Client13(client) => Some(client.pending.write.clone()),
            // One that has sent its Finished goes on under the keys of the session (RFC 8446 §2).
            #[cfg(feature = "dtls13")]
            State::Server13(server) => {
                Some(server.pending.session_write(agreed::Side::Server, &self.core.transcript))
            }
            _ => None,
        };
        self.core.end(State::Over { alert, write });
    }

    /// The handshake failed: a client will not try to resume that session again. A server keeps it, as whoever has seen its
    /// id go by could have begun this handshake.
    fn forget_session(&self, context: &Context<'_>) {
        match &self.core.state {
            State::ClientAwaitsServerHello(hello) => context.config.forget_session(&hello.offer.tag),
            #[cfg(feature = "dtls12")]
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
        let newest = self.core.next_receive_seq.saturating_sub(1);
        let (agreed, began_with) = match &self.core.state {
            #[cfg(feature = "dtls12")]
            State::Server(server) => {
                (&server.pending.agreed, newest.saturating_sub(server.messages_since_hello()))
            }
            #[cfg(feature = "dtls13")]
            State::Server13(server) => (&server.pending.agreed, newest),
            _ => return None,
        };
        (agreed.client_random == hello.random).then(|| message_seq.cmp(&began_with))
    }

    /// The identity that a client has claimed, and is yet to prove.
    pub(crate) fn identity(&self) -> Option<&[u8]> {
        match &self.core.state {
            #[cfg(feature = "dtls12")]
            State::Server(server) if server.awaits_finished() => Some(server.identity.as_bytes()),
            #[cfg(feature = "dtls13")]
            State::Server13(server) => Some(server.identity.as_bytes()),
            _ => None,
        }
    }

    /// The connection ID that this side asked for; empty for none.
    pub(crate) fn connection_id(&self) -> &[u8] {
        match &self.core.state {
            #[cfg(feature = "dtls12")]
            State::Server(server) => server.pending.agreed.own_connection_id.as_bytes(),
            #[cfg(feature = "dtls13")]
            State::Server13(server) => server.pending.agreed.own_connection_id.as_bytes(),
            _ => &[],
        }
    }

    /// The client repeated its ClientHello: it misses the answer.
    pub(crate) fn on_repeated_hello(&mut self, config: &Config<'_>, now: Instant, stats: &mut Stats) {
        let may_repeat = match &self.core.state {
            #[cfg(feature = "dtls12")]
            State::Server(server) => server.may_repeat_answer(),
            #[cfg(feature = "dtls13")]
            State::Server13(_) => true,
            _ => false,
        };
        if may_repeat {
            self.core.on_missed(config, now, stats);
        }
    }

    /// Whether the peer's Finished is what this handshake waits for, and a record under new keys may be meant for it.
    pub(crate) fn awaits_finished(&self) -> bool {
        self.core.state.awaits_finished()
    }
}

impl Core {
    fn add_to_transcript(&mut self, message: &Message<'_>) {
        self.transcript.add(message.msg_type, message.message_seq, message.body);
    }

    /// Ends a handshake that does not succeed: nobody will need its secrets.
    fn end(&mut self, over: State) {
        self.key_share.wipe();
        self.state = over;
    }
}

/// Fills `out` with random bytes. A generator that returns nothing but zeros has failed without saying so.
pub(crate) fn fill_random<R: TryCryptoRng + ?Sized>(rng: &mut R, out: &mut [u8]) -> Result<(), Error> {
    rng.try_fill_bytes(out).map_err(|_| Error::RandomFailed)?;
    if out.iter().all(|byte| *byte == 0) { Err(Error::RandomFailed) } else { Ok(()) }
}
