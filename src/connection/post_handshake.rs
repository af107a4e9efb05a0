//! Handshake messages of an established session of DTLS 1.3, and the ACKs that both sides tell each other of them with (RFC 9147
//! §5.8.4, §7, §8).
//!
//! One message is on its way at a time, and the next one waits for its ACK. So there is one of everything that it takes to repeat it.

use super::session::Session;
use crate::bytes::ByteString;
use crate::config::Config;
use crate::connection_id::{
    MAX_CONNECTION_ID_LEN, MAX_PEER_CONNECTION_ID_LEN, OwnConnectionId, PeerConnectionId,
};
use crate::crypto::key_schedule::{self, Secret};
use crate::crypto::provider::CryptoProvider;
use crate::error::{Error, PeerMisbehaved};
use crate::handshake::reassembly::{Put, Reassembly};
use crate::handshake::{self, Context, Credentials, LastFlight, Tickets, Timer};
use crate::log::debug;
use crate::record::{Dropped, Opened, ReceivedRecords, WriteState};
use crate::resumption::{ResumableSession, Ticket, TlsSessionId};
use crate::stats::Stats;
use crate::time::Instant;
use crate::wire::ack::Ack;
use crate::wire::finished::VERIFY_DATA13_LEN;
use crate::wire::handshake::{Fragment, HandshakeType, whole_header};
use crate::wire::key_update::KeyUpdate;
use crate::wire::new_connection_id::{ConnectionIdUsage, NewConnectionId, RequestConnectionId};
use crate::wire::new_session_ticket::NewSessionTicket13;
use crate::wire::record::{ContentType, Header, RecordNumber};
use crate::wire::{BufferFull, InvalidMessage, Reader, Writer};

/// How many records with one message are remembered, to know its ACK by.
const MAX_SENT: usize = 3;

/// No record has this number: keys are replaced long before.
const NOT_SENT: u64 = u64::MAX;

/// How many records are acknowledged at once. The peer repeats what is missing.
const MAX_RECEIVED: usize = 3;

/// The longest message in bytes that is sent: a NewSessionTicket.
const MAX_BODY: usize = 4 + 4 + 2 + 2 + 32 + 2;

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

/// A message that is sent until it is acknowledged.
struct Outgoing {
    message: Message,
    message_seq: u16,
    /// The numbers of the last records that it went out in; [`NOT_SENT`] where there are less.
    sent: [u64; MAX_SENT],
    is_due: bool,
    /// `None` where the time is not known yet, or has passed.
    timer: Option<Timer>,
    has_given_up: bool,
}

enum Message {
    /// A client's Finished, under the secret of epoch 2, with the number of the next record there.
    Finished {
        secret: Secret,
        next: u64,
        verify_data: [u8; VERIFY_DATA13_LEN],
    },
    KeyUpdate(KeyUpdate),
    NewSessionTicket {
        ticket: TlsSessionId,
        age_add: u32,
    },
    /// With one ID, or with none for who has a spare one already.
    NewConnectionId {
        id: OwnConnectionId,
        usage: ConnectionIdUsage,
    },
    RequestConnectionId,
}

impl Message {
    fn msg_type(&self) -> HandshakeType {
        match self {
            Self::Finished { .. } => HandshakeType::Finished,
            Self::KeyUpdate(_) => HandshakeType::KeyUpdate,
            Self::NewSessionTicket { .. } => HandshakeType::NewSessionTicket,
            Self::NewConnectionId { .. } => HandshakeType::NewConnectionId,
            Self::RequestConnectionId => HandshakeType::RequestConnectionId,
        }
    }

    fn emit(&self, w: &mut Writer<'_>) -> Result<(), BufferFull> {
        match self {
            Self::Finished { verify_data, .. } => w.bytes(verify_data),
            Self::KeyUpdate(update) => w.bytes(&update.to_bytes()),
            Self::NewSessionTicket { ticket, age_add } => NewSessionTicket13 {
                ticket_lifetime: handshake::TICKET_LIFETIME,
                ticket_age_add: *age_add,
                ticket_nonce: handshake::TICKET_NONCE,
                ticket: ticket.as_bytes(),
            }
            .emit(w),
            Self::NewConnectionId { id, usage } => {
                let ids = Some(id.as_bytes()).filter(|id| !id.is_empty());
                NewConnectionId::emit(w, ids.into_iter(), *usage)
            }
            Self::RequestConnectionId => w.u8(1),
        }
    }
}

impl Outgoing {
    fn new(message: Message, message_seq: u16) -> Self {
        Self {
            message,
            message_seq,
            sent: [NOT_SENT; MAX_SENT],
            is_due: true,
            timer: None,
            has_given_up: false,
        }
    }

    /// Under which epoch it goes out: that of the session's keys, as they do not change before it has arrived (RFC 9147 §8).
    const fn epoch(&self, write: &WriteState) -> u64 {
        match self.message {
            Message::Finished { .. } => handshake::HANDSHAKE_EPOCH,
            _ => write.epoch(),
        }
    }

    /// Seals it at the start of `buf`.
    fn seal(
        &mut self,
        write: &mut WriteState,
        crypto: &dyn CryptoProvider,
        buf: &mut [u8],
    ) -> Result<usize, Error> {
        let mut body = [0; MAX_BODY];
        let mut w = Writer::new(&mut body);
        self.message.emit(&mut w).map_err(|BufferFull| Error::BufferTooSmall { needed: MAX_BODY })?;
        let body = &*w.written();
        let msg_type = self.message.msg_type();
        let parts = [&whole_header(msg_type, body.len(), self.message_seq)[..], body];
        let number;
        let len = match &mut self.message {
            Message::Finished { secret, next, .. } => {
                // Made anew each time: it is rarely sent twice, and a key would be kept in every session.
                let mut early = write.clone();
                early.begin(handshake::HANDSHAKE_EPOCH, u16::MAX);
                early.secret_mut().copy_from_slice(secret.as_ref());
                early.derive_key();
                early.go_on_at(*next);
                number = *next;
                let len = early.seal(crypto, ContentType::Handshake, parts, buf)?;
                *next += 1;
                len
            }
            _ => {
                number = write.sealed();
                write.seal(crypto, ContentType::Handshake, parts, buf)?
            }
        };
        debug!("-> {:?} (message {})", msg_type, self.message_seq);
        self.sent.rotate_right(1);
        if let Some(latest) = self.sent.first_mut() {
            *latest = number;
        }
        self.is_due = false;
        Ok(len)
    }
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

    /// Writes what has to be known to go on.
    pub(super) fn save(&self, w: &mut Writer<'_>) -> Result<(), BufferFull> {
        w.u16(self.next_send_seq)?;
        w.u16(self.next_receive_seq)?;
        let flags =
            |update: Option<&KeyUpdate>| update.map_or(0, |update| 1 + u8::from(update.request_update));
        w.u8(flags(self.key_update.as_ref()))?;
        match &self.outgoing {
            None => w.u8(0)?,
            Some(Outgoing {
                message: Message::NewSessionTicket { ticket, age_add }, message_seq, ..
            }) => {
                w.u8(4)?;
                w.u16(*message_seq)?;
                w.vec8(ticket.as_bytes())?;
                w.bytes(&age_add.to_be_bytes())?;
            }
            Some(Outgoing { message: Message::NewConnectionId { id, usage }, message_seq, .. }) => {
                w.u8(5 + *usage as u8)?;
                w.u16(*message_seq)?;
                w.vec8(id.as_bytes())?;
            }
            Some(Outgoing { message: Message::RequestConnectionId, message_seq, .. }) => {
                w.u8(7)?;
                w.u16(*message_seq)?;
            }
            Some(Outgoing { message: Message::KeyUpdate(update), message_seq, .. }) => {
                w.u8(flags(Some(update)))?;
                w.u16(*message_seq)?;
            }
            Some(Outgoing {
                message: Message::Finished { secret, next, verify_data }, message_seq, ..
            }) => {
                w.u8(3)?;
                w.u16(*message_seq)?;
                w.bytes(secret.as_ref())?;
                w.u64(*next)?;
                w.bytes(verify_data)?;
            }
        }
        w.u8(self.request_connection_id as u8)?;
        let granted = self.new_connection_id.as_ref();
        w.u8(granted.map_or(0, |(_, usage)| 1 + *usage as u8))?;
        w.vec8(granted.map_or(&[], |(id, _)| id.as_bytes()))?;
        w.vec8(self.spare.as_bytes())?;
        w.bytes(&self.made.to_be_bytes())?;
        // A ticket that was not sent yet is one less.
        let Tickets::Awaited { resumption_master } = &self.tickets else { return w.u8(0) };
        w.u8(1)?;
        w.bytes(resumption_master.as_ref())
    }

    /// Reads what [`save`](Self::save) has written.
    pub(super) fn load(r: &mut Reader<'_>) -> Result<Self, InvalidMessage> {
        let (next_send_seq, next_receive_seq) = (r.u16()?, r.u16()?);
        let update = |flags| KeyUpdate { request_update: flags == 2 };
        let key_update = match r.u8()? {
            0 => None,
            flags => Some(update(flags)),
        };
        let outgoing = match r.u8()? {
            0 => None,
            flags @ 1..=2 => Some(Outgoing::new(Message::KeyUpdate(update(flags)), r.u16()?)),
            3 => {
                let message_seq = r.u16()?;
                let secret = Secret::new(r.array()?);
                let message = Message::Finished { secret, next: r.u64()?, verify_data: r.array()? };
                Some(Outgoing::new(message, message_seq))
            }
            4 => {
                let message_seq = r.u16()?;
                let ticket = TlsSessionId::new(r.vec8()?).ok_or(InvalidMessage::IllegalLength)?;
                let message = Message::NewSessionTicket { ticket, age_add: u32::from_be_bytes(r.array()?) };
                Some(Outgoing::new(message, message_seq))
            }
            usage @ 5..=6 => {
                let message_seq = r.u16()?;
                let id = OwnConnectionId::new(r.vec8()?).ok_or(InvalidMessage::IllegalLength)?;
                let usage = if usage == 5 { ConnectionIdUsage::Immediate } else { ConnectionIdUsage::Spare };
                Some(Outgoing::new(Message::NewConnectionId { id, usage }, message_seq))
            }
            7 => Some(Outgoing::new(Message::RequestConnectionId, r.u16()?)),
            _ => return Err(InvalidMessage::IllegalValue),
        };
        let request_connection_id = match r.u8()? {
            0 => RequestState::None,
            1 => RequestState::Wanted,
            _ => RequestState::Sent,
        };
        let usage = match r.u8()? {
            0 => None,
            1 => Some(ConnectionIdUsage::Immediate),
            _ => Some(ConnectionIdUsage::Spare),
        };
        let granted = OwnConnectionId::new(r.vec8()?).ok_or(InvalidMessage::IllegalLength)?;
        let new_connection_id = usage.map(|usage| (granted, usage));
        let spare = SpareConnectionId::new(r.vec8()?).ok_or(InvalidMessage::IllegalLength)?;
        let made = u32::from_be_bytes(r.array()?);
        let tickets = match r.u8()? {
            0 => Tickets::None,
            _ => Tickets::Awaited { resumption_master: Secret::new(r.array()?) },
        };
        Ok(Self {
            next_send_seq,
            next_receive_seq,
            outgoing,
            key_update,
            tickets,
            new_connection_id,
            request_connection_id,
            spare,
            made,
            ..Self::NOTHING
        })
    }
}

/// Longest length in bytes of what [`PostHandshake::save`] writes.
pub(super) const MAX_SAVED_LEN: usize = 2
    + 2
    + 1
    + 1
    + 2
    + 32
    + 8
    + VERIFY_DATA13_LEN
    + 1
    + 1
    + (1 + MAX_CONNECTION_ID_LEN)
    + (1 + MAX_SPARE_LEN)
    + 4
    + 1
    + 32;

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

    /// Connection IDs to send with (RFC 9147 §9). One is kept for later.
    fn on_new_connection_id(&mut self, body: &[u8]) -> Result<bool, Error> {
        if !self.write.has_connection_id() {
            return Err(PeerMisbehaved::UnexpectedMessage.into());
        }
        let Ok(new) = NewConnectionId::parse(body) else { return Ok(false) };
        let mut ids = new.iter();
        if new.usage == ConnectionIdUsage::Immediate
            && let Some(id) = ids.next()
        {
            // One that does not fit into this build was never asked for.
            let id = PeerConnectionId::new(id).ok_or(PeerMisbehaved::ConnectionIdTooLong)?;
            self.write.use_connection_id(id);
        }
        if let Some(spare) = ids.find_map(SpareConnectionId::new).filter(|spare| !spare.is_empty()) {
            self.post.spare = spare;
        }
        self.post.request_connection_id = RequestState::None;
        Ok(true)
    }

    /// The peer would like to have connection IDs. It gets one at a time, whatever it asks for.
    fn on_request_connection_id(&mut self, body: &[u8]) -> Result<bool, Error> {
        if self.read.connection_id().is_empty() {
            return Err(PeerMisbehaved::UnexpectedMessage.into());
        }
        let Ok(RequestConnectionId { .. }) = RequestConnectionId::parse(body) else { return Ok(false) };
        self.post.connection_id_wanted = true;
        Ok(true)
    }

    /// Whether the peer waits for a connection ID.
    pub(crate) const fn is_asked_for_connection_id(&self) -> bool {
        self.post.connection_id_wanted
    }

    /// A connection ID that nobody can link with the one before it.
    pub(crate) fn next_connection_id(&self) -> OwnConnectionId {
        let mut bytes = [0; MAX_CONNECTION_ID_LEN];
        let bytes = bytes.get_mut(..self.read.connection_id().len()).unwrap_or_default();
        key_schedule::expand_label(
            self.read.secret(),
            b"connection id",
            &self.post.made.to_be_bytes(),
            bytes,
        );
        OwnConnectionId::new(bytes).unwrap_or(OwnConnectionId::EMPTY)
    }

    /// Gives the peer the connection ID that it has asked for, unless it has one that it does not use yet: then it gets none (RFC 9147
    /// §9). No other peer has `id`.
    pub(crate) fn grant_connection_id(&mut self, id: OwnConnectionId) {
        self.post.connection_id_wanted = false;
        // One that is to be sent in any case is an answer, too.
        if self.post.new_connection_id.is_some() {
            return;
        }
        let id =
            if self.read.spare_connection_id().is_empty() { self.expect(id) } else { OwnConnectionId::EMPTY };
        self.post.new_connection_id = Some((id, ConnectionIdUsage::Spare));
    }

    /// Has the peer go on with `id` at once, which no other peer has.
    #[cfg(feature = "connection-id")]
    pub(crate) fn renew_connection_id(&mut self, id: OwnConnectionId) -> Result<(), Error> {
        self.check_connection_id_of(self.read.connection_id().is_empty())?;
        if !self.read.spare_connection_id().is_empty() {
            return Err(Error::ConnectionIdPending);
        }
        self.post.new_connection_id = Some((self.expect(id), ConnectionIdUsage::Immediate));
        Ok(())
    }

    /// Records may come with `id` from here on.
    const fn expect(&mut self, id: OwnConnectionId) -> OwnConnectionId {
        self.post.made = self.post.made.wrapping_add(1);
        self.read.expect_connection_id(id);
        id
    }

    /// Asks the peer for a connection ID to go on with.
    #[cfg(feature = "connection-id")]
    pub(crate) fn request_connection_id(&mut self) -> Result<(), Error> {
        self.check_connection_id_of(!self.write.has_connection_id())?;
        if self.post.request_connection_id == RequestState::None {
            self.post.request_connection_id = RequestState::Wanted;
        }
        Ok(())
    }

    /// Goes on with the connection ID that the peer has given for later.
    #[cfg(feature = "connection-id")]
    pub(crate) fn use_spare_connection_id(&mut self) -> Result<(), Error> {
        self.check_connection_id_of(!self.write.has_connection_id())?;
        if self.post.spare.is_empty() {
            return Err(Error::ConnectionIdPending);
        }
        let id = PeerConnectionId::new(self.post.spare.as_bytes()).ok_or(Error::ConnectionIdPending)?;
        self.post.spare = SpareConnectionId::EMPTY;
        self.write.use_connection_id(id);
        self.write.outdate_checkpoint();
        Ok(())
    }

    #[cfg(feature = "connection-id")]
    fn check_connection_id_of(&self, is_without: bool) -> Result<(), Error> {
        if !self.is_open() {
            return Err(Error::NotConnected);
        }
        if is_without || self.version() != crate::ProtocolVersion::Dtls13 {
            return Err(Error::NoConnectionId);
        }
        Ok(())
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
