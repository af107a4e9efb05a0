//! Handshake messages of an established session of DTLS 1.3, and the ACKs that both sides tell each other of them with (RFC 9147
//! §5.8.4, §7, §8).
//!
//! One message is on its way at a time, and the next one waits for its ACK. So there is one of everything that it takes to repeat it.

mod connection_ids;
mod image;
mod outgoing;

pub(super) use image::MAX_SAVED_LEN;

use self::outgoing::{Message, NOT_SENT, Outgoing};
use super::session::Session;
use crate::bytes::ByteString;
use crate::config::Config;
use crate::connection_id::{MAX_PEER_CONNECTION_ID_LEN, OwnConnectionId};
use crate::crypto::key_schedule;
use crate::crypto::provider::CryptoProvider;
use crate::error::Error;
use crate::handshake::reassembly::{Put, Reassembly};
use crate::handshake::{self, Context, Credentials, LastFlight, Tickets, Timer};
use crate::log::debug;
use crate::record::{Dropped, Opened, ReceivedRecords, WriteState};
use crate::resumption::{ResumableSession, Ticket};
use crate::stats::Stats;
use crate::time::Instant;
use crate::wire::ack::Ack;
use crate::wire::handshake::{Fragment, HandshakeType};
use crate::wire::key_update::KeyUpdate;
use crate::wire::new_connection_id::ConnectionIdUsage;
use crate::wire::new_session_ticket::NewSessionTicket13;
use crate::wire::record::{ContentType, Header, RecordNumber};
use crate::wire::{BufferFull, Reader, Writer};

/// How many records are acknowledged at once. The peer repeats what is missing.
const MAX_RECEIVED: usize = 3;

/// What a session of DTLS 1.3 has to do with handshake messages. That of DTLS 1.2 has nothing to do.
pub(super) struct PostHandshake {
    next_send_seq: u16,
    next_receive_seq: u16,
    /// What is to be acknowledged.
    received: ReceivedRecords<MAX_RECEIVED>,
    outgoing: Option<Outgoing>,
    /// Whether a KeyUpdate is to follow, and asks for the peer's.
    key_update: Option<KeyUpdate>,
    tickets: Tickets,
    new_connection_id: Option<(OwnConnectionId, ConnectionIdUsage)>,
    request_connection_id: RequestState,
    /// The peer asks for a connection ID.
    connection_id_wanted: bool,
    /// One of the peer's, to go on with; empty for none.
    spare: SpareConnectionId,
    /// How many connection IDs this side has made.
    made: u32,
}

/// Longest connection ID in bytes of a peer that is kept for later. Longer ones are of no use but at once.
const MAX_SPARE_LEN: usize = if MAX_PEER_CONNECTION_ID_LEN < 20 { MAX_PEER_CONNECTION_ID_LEN } else { 20 };

type SpareConnectionId = ByteString<MAX_SPARE_LEN>;

/// How far a request for a connection ID is. There is one at a time (RFC 9147 §9).
#[derive(Clone, Copy, PartialEq, Eq)]
enum RequestState {
    None,
    Wanted,
    Sent,
}

impl PostHandshake {
    pub(super) fn new(
        next_seqs: [u16; 2],
        received: ReceivedRecords<MAX_RECEIVED>,
        last_flight: &mut Option<LastFlight>,
        tickets: Tickets,
        config: &Config<'_>,
        now: Instant,
    ) -> Self {
        let [next_send_seq, next_receive_seq] = next_seqs;
        let mut outgoing = None;
        if let Some(LastFlight::Finished { secret, next, message_seq, verify_data }) =
            last_flight.take_if(|last| matches!(last, LastFlight::Finished { .. }))
        {
            let message = Message::Finished { secret, next, verify_data };
            let timer = Some(Timer::start(config, now));
            outgoing = Some(Outgoing { timer, ..Outgoing::new(message, message_seq) });
        }
        Self { next_send_seq, next_receive_seq, received, outgoing, tickets, ..Self::NOTHING }
    }

    const NOTHING: Self = Self {
        next_send_seq: 0,
        next_receive_seq: 0,
        received: ReceivedRecords::NONE,
        outgoing: None,
        key_update: None,
        tickets: Tickets::None,
        new_connection_id: None,
        request_connection_id: RequestState::None,
        connection_id_wanted: false,
        spare: SpareConnectionId::EMPTY,
        made: 0,
    };

    /// Whether a message follows that nothing is in the way of.
    fn has_next(&self) -> bool {
        let follows = self.key_update.is_some()
            || matches!(self.tickets, Tickets::ToSend { .. })
            || self.new_connection_id.is_some()
            || self.request_connection_id == RequestState::Wanted;
        self.outgoing.is_none() && follows
    }

    pub(super) fn is_due(&self) -> bool {
        self.has_next()
            || self.outgoing.as_ref().is_some_and(|outgoing| outgoing.is_due)
            || !self.received.as_slice().is_empty()
    }

    /// When to look at it again.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        if self.has_next() {
            return Some(Instant::ZERO);
        }
        let outgoing = self.outgoing.as_ref().filter(|outgoing| !outgoing.has_given_up)?;
        // At once, where the time it went out at is not known.
        Some(outgoing.timer.as_ref().map_or(Instant::ZERO, Timer::next))
    }

    /// Has a message sent again when it is time.
    ///
    /// # Errors
    /// The server has not acknowledged the client's Finished in the time that a handshake may take.
    pub(super) fn handle_timeout(
        &mut self,
        config: &Config<'_>,
        now: Instant,
        stats: &mut Stats,
    ) -> Result<(), Error> {
        let Some(outgoing) = self.outgoing.as_mut().filter(|outgoing| !outgoing.has_given_up) else {
            return Ok(());
        };
        let timer = outgoing.timer.get_or_insert_with(|| Timer::start(config, now));
        match timer.fire(config, now) {
            handshake::Due::Nothing => {}
            handshake::Due::Retransmission => {
                Stats::count(&mut stats.retransmitted);
                outgoing.is_due = true;
            }
            handshake::Due::Deadline if matches!(outgoing.message, Message::Finished { .. }) => {
                return Err(Error::HandshakeTimeout);
            }
            // The peer seems to be away. It goes out again when there is a sign of it.
            handshake::Due::Deadline => outgoing.has_given_up = true,
        }
        Ok(())
    }

    /// The peer is there.
    pub(super) const fn on_heard(&mut self) {
        if let Some(outgoing) = &mut self.outgoing
            && outgoing.has_given_up
        {
            outgoing.has_given_up = false;
            outgoing.is_due = true;
            outgoing.timer = None;
        }
    }

    /// Has a KeyUpdate sent. One that is wanted already may come to ask for the peer's, too.
    pub(super) fn want_key_update(&mut self, request_update: bool) {
        let asks = self.key_update.is_some_and(|update| update.request_update);
        self.key_update = Some(KeyUpdate { request_update: request_update || asks });
    }

    pub(super) fn is_updating(&self) -> bool {
        let on_its_way =
            self.outgoing.as_ref().is_some_and(|outgoing| matches!(outgoing.message, Message::KeyUpdate(_)));
        on_its_way || self.key_update.is_some()
    }

    /// The message that follows.
    fn next_message(&mut self, write: &WriteState) -> Option<Message> {
        if let Some(update) = self.key_update.take().filter(|_| write.may_update()) {
            return Some(Message::KeyUpdate(update));
        }
        if let Tickets::ToSend { ticket, age_add } = self.tickets {
            self.tickets = Tickets::None;
            return Some(Message::NewSessionTicket { ticket, age_add });
        }
        if let Some((id, usage)) = self.new_connection_id.take() {
            return Some(Message::NewConnectionId { id, usage });
        }
        let is_wanted = self.request_connection_id == RequestState::Wanted;
        is_wanted.then(|| {
            self.request_connection_id = RequestState::Sent;
            Message::RequestConnectionId
        })
    }

    /// Writes one datagram.
    pub(super) fn poll_transmit(
        &mut self,
        write: &mut WriteState,
        crypto: &dyn CryptoProvider,
        buf: &mut [u8],
    ) -> Result<Option<usize>, Error> {
        if self.outgoing.is_none()
            && let Some(message) = self.next_message(write)
            && let Some(next) = self.next_send_seq.checked_add(1)
        {
            self.outgoing = Some(Outgoing::new(message, self.next_send_seq));
            self.next_send_seq = next;
        }
        if let Some(outgoing) = self.outgoing.as_mut().filter(|outgoing| outgoing.is_due) {
            let len = outgoing.seal(write, crypto, buf)?;
            write.outdate_checkpoint();
            return Ok(Some(len));
        }
        let numbers = self.received.as_slice();
        if numbers.is_empty() {
            return Ok(None);
        }
        let mut body = [0; Ack::len(MAX_RECEIVED)];
        let mut w = Writer::new(&mut body);
        Ack::emit(numbers, &mut w)
            .map_err(|BufferFull| Error::BufferTooSmall { needed: Ack::len(MAX_RECEIVED) })?;
        debug!("-> ACK of {} records", numbers.len());
        let len = write.seal(crypto, ContentType::Ack, [w.written(), &[]], buf)?;
        self.received.clear();
        write.outdate_checkpoint();
        Ok(Some(len))
    }

    /// The peer has these records. What waited for that goes on.
    pub(super) fn on_ack(&mut self, write: &mut WriteState, body: &[u8], stats: &mut Stats) {
        let Ok(ack) = Ack::parse(body) else {
            Stats::count(&mut stats.dropped);
            return;
        };
        debug!("<- ACK of {} records", ack.iter().count());
        let Some(outgoing) = &self.outgoing else { return };
        let epoch = outgoing.epoch(write);
        let is_it = |number: RecordNumber| {
            number.epoch == epoch
                && number.sequence_number != NOT_SENT
                && outgoing.sent.contains(&number.sequence_number)
        };
        if !ack.iter().any(is_it) {
            return;
        }
        // Only now may the next key be used (RFC 9147 §8).
        if let Message::KeyUpdate(_) = outgoing.message {
            write.update();
            debug!("epoch {} to send with", write.epoch());
        }
        self.outgoing = None;
    }

    /// The client's Finished has come again: its ACK was lost.
    fn on_repeated_finished(&mut self, number: RecordNumber) {
        self.received.add(number);
    }
}

/// Where a session puts messages together that came in parts. A server has none: what a client sends after its handshake is a few
/// bytes long, and comes whole.
pub(crate) type SessionReassembly<'r> = Option<&'r mut Reassembly>;

/// For how many seconds a ticket is good at most: seven days (RFC 8446 §4.6.1).
const MAX_TICKET_LIFETIME: u32 = 7 * 24 * 60 * 60;

impl Session {
    /// A record with handshake messages, under the session's keys.
    pub(super) fn on_post_handshake(
        &mut self,
        context: &Context<'_>,
        number: RecordNumber,
        body: &[u8],
        reassembly: &mut SessionReassembly<'_>,
        now: Instant,
        stats: &mut Stats,
    ) -> Result<(), Error> {
        let mut r = Reader::new(body);
        while !r.is_empty() {
            let fragment = Fragment::parse(&mut r).ok();
            let taken =
                fragment.map(|fragment| self.on_fragment(context, &fragment, reassembly, now)).transpose()?;
            if taken != Some(true) {
                // It is not acknowledged either (RFC 9147 §7).
                Stats::count(&mut stats.dropped);
                return Ok(());
            }
        }
        self.post.received.add(number);
        Ok(())
    }

    /// Whether a message was processed, now or before, or its fragment was buffered.
    ///
    /// # Errors
    /// One that ends the session.
    fn on_fragment(
        &mut self,
        context: &Context<'_>,
        fragment: &Fragment<'_>,
        reassembly: &mut SessionReassembly<'_>,
        now: Instant,
    ) -> Result<bool, Error> {
        if fragment.message_seq < self.post.next_receive_seq {
            return Ok(true);
        }
        if fragment.message_seq > self.post.next_receive_seq {
            return Ok(false);
        }
        let body = match reassembly {
            Some(reassembly) => match reassembly.take(fragment) {
                Put::Whole(body) => body,
                Put::Part => return Ok(true),
                Put::TooLong => return Ok(false),
            },
            None if fragment.is_whole() => fragment.body,
            None => return Ok(false),
        };
        let processed = match HandshakeType::from_number(fragment.msg_type) {
            Some(HandshakeType::KeyUpdate) => self.on_key_update(body),
            Some(HandshakeType::NewSessionTicket) => self.on_ticket(context, body, now),
            Some(HandshakeType::NewConnectionId) => self.on_new_connection_id(body)?,
            Some(HandshakeType::RequestConnectionId) => self.on_request_connection_id(body)?,
            _ => false,
        };
        if processed {
            debug!("<- handshake message {} (message {})", fragment.msg_type, fragment.message_seq);
            self.post.next_receive_seq = self.post.next_receive_seq.saturating_add(1);
        }
        Ok(processed)
    }

    fn on_key_update(&mut self, body: &[u8]) -> bool {
        let Ok(KeyUpdate { request_update }) = KeyUpdate::parse(body) else { return false };
        // There is none before the one before it has taken effect (RFC 9147 §8).
        if !self.read.expect_update() {
            return false;
        }
        // One that crossed it on the way is the answer, too.
        if request_update && !self.post.is_updating() && self.write.may_update() {
            self.post.want_key_update(false);
        }
        true
    }

    /// Keeps a ticket for the next handshake.
    fn on_ticket(&mut self, context: &Context<'_>, body: &[u8], now: Instant) -> bool {
        let Ok(ticket) = NewSessionTicket13::parse(body) else { return false };
        // Only a server hands them out.
        let Credentials::Client(psk) = context.credentials else { return false };
        if let (Tickets::Awaited { resumption_master }, Some(cache), Some(held), Some(psk)) = (
            &self.post.tickets,
            context.config.resumption(),
            Ticket::new(ticket.ticket),
            psk.of_identity(crate::ProtocolVersion::Dtls13, self.identity().as_bytes()),
        ) && ticket.ticket_lifetime > 0
        {
            let mut secret = key_schedule::no_secret();
            key_schedule::resumption_psk(resumption_master, ticket.ticket_nonce, &mut secret);
            let tag = ResumableSession::tag_of_ticket(ticket.ticket, psk.key());
            let session = ResumableSession {
                ticket: held,
                ticket_lifetime: ticket.ticket_lifetime.min(MAX_TICKET_LIFETIME),
                ticket_age_add: ticket.ticket_age_add,
                received: now,
                ..ResumableSession::of_psk(&secret, self.write.suite(), self.identity(), self.host(), tag)
            };
            self.tag = tag;
            cache.put(&session, now);
        }
        true
    }

    /// A record that the session's keys do not open may be the client's Finished, come again (RFC 9147 §5.8.1).
    pub(super) fn open_repeated_finished(
        &mut self,
        config: &Config<'_>,
        header: &Header<'_>,
        body: &mut [u8],
        now: Instant,
    ) -> Result<(), Dropped> {
        let Header::Unified(unified) = header else { return Err(Dropped::Unexpected) };
        let Some(LastFlight::Acknowledge { secret, window, forged, until }) = &mut self.last_flight else {
            return Err(Dropped::Unexpected);
        };
        // Each forged record is a guess, and this key stands no more of them than others (RFC 9147 §4.5.3).
        if now >= *until || *forged >= config.forgery_limit(self.write.suite().aead()) {
            self.last_flight = None;
            return Err(Dropped::Unexpected);
        }
        if u64::from(unified.epoch_bits) != handshake::HANDSHAKE_EPOCH {
            return Err(Dropped::Unexpected);
        }
        let mut early = self.read.clone();
        early.begin(handshake::HANDSHAKE_EPOCH, u16::MAX);
        early.secret_mut().copy_from_slice(secret.as_ref());
        early.derive_key();
        early.go_on_with(*window);
        let opened = early.open(config.crypto(), header, body);
        (*window, *forged) = (early.window(), forged.saturating_add(early.forged()));
        let Opened { content_type, number, body, .. } = opened?;
        // Nothing else is acknowledged, as nothing else is processed (RFC 9147 §7).
        let is_finished = body.first() == Some(&HandshakeType::Finished.number());
        if content_type == ContentType::Handshake && is_finished {
            self.post.on_repeated_finished(number);
        }
        Ok(())
    }

    /// Has a KeyUpdate sent, if the session may have one more.
    pub(crate) fn update_keys(&mut self, request_update: bool) -> Result<(), Error> {
        if !self.is_open() {
            return Err(Error::NotConnected);
        }
        if self.version() != crate::ProtocolVersion::Dtls13 || !self.write.may_update() {
            return Err(Error::UpdateImpossible);
        }
        self.post.want_key_update(request_update);
        Ok(())
    }
}
