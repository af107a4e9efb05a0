//! An established session: keys, numbers, windows, and what is needed to repeat the last flight.

use core::ops::Range;

#[cfg(feature = "dtls13")]
use super::post_handshake::{self, PostHandshake, SessionReassembly};
use super::{Event, KeyUsage};
use crate::config::Config;
use crate::crypto::exporter::{EXPORTER_LEN, Exporter};
use crate::crypto::provider::CryptoProvider;
use crate::error::Error;
#[cfg(feature = "exporter")]
use crate::error::PeerMisbehaved;
#[cfg(feature = "dtls12")]
use crate::handshake;
use crate::handshake::{Context, Established, LastFlight};
use crate::log::{debug, warning};
use crate::peer::{Peer, SessionId};
use crate::psk::{Identity, MAX_IDENTITY_LEN};
#[cfg(feature = "dtls12")]
use crate::record::PlainWriter;
use crate::record::{Dropped, MAX_STATES_LEN, Opened, ReadState, WriteState, load_states, save_states};
use crate::resumption::{ResumptionTag, TAG_LEN};
use crate::stats::Stats;
use crate::time::Instant;
use crate::wire::alert::{Alert, AlertDescription};
use crate::wire::client_hello::ClientHello;
use crate::wire::handshake::{Fragment, HandshakeType};
use crate::wire::record::{ContentType, Header};
use crate::wire::return_routability_check::{COOKIE_LEN, Kind, ReturnRoutabilityCheck};
use crate::wire::version::ProtocolVersion;
use crate::wire::{BufferFull, InvalidMessage, Reader, Writer};

/// One session. Long and thin: a server has many of them.
pub(crate) struct Session {
    id: SessionId,
    identity: Identity,
    /// Whose key it is, where the client's server name has decided that.
    host: Option<u16>,
    pub(super) read: ReadState,
    pub(super) write: WriteState,
    client_random: [u8; 8],
    pub(super) last_flight: Option<LastFlight>,
    #[cfg(feature = "dtls13")]
    pub(super) post: PostHandshake,
    return_routability_check: bool,
    resumed: bool,
    /// By which it is forgotten where it could be resumed; empty for a session that cannot.
    pub(super) tag: ResumptionTag,
    due: Due,
    /// Whether the application has heard that the limit of sealed records is near.
    near_seal_limit: bool,
    state: State,
    exporter: Option<Exporter>,
}

/// Longest length in bytes of a saved session: name, identity, host, states, random, last flight, flags and exporter.
pub(super) const MAX_SESSION_LEN: usize = 8
    + (1 + MAX_IDENTITY_LEN)
    + 3
    + MAX_STATES_LEN
    + 8
    + (1 + MAX_LAST_FLIGHT_LEN)
    + MAX_POST_HANDSHAKE_LEN
    + 3
    + (1 + TAG_LEN)
    + (1 + EXPORTER_LEN);

/// Longest length in bytes of a last flight in there.
const MAX_LAST_FLIGHT_LEN: usize = 8 + 2 + 32 + 8 + 8 + 8;

/// Longest length in bytes of what handshake messages leave to be done.
#[cfg(feature = "dtls13")]
const MAX_POST_HANDSHAKE_LEN: usize = post_handshake::MAX_SAVED_LEN;
#[cfg(not(feature = "dtls13"))]
const MAX_POST_HANDSHAKE_LEN: usize = 0;

/// What the session has to send by itself.
#[derive(Clone, Copy, Default)]
struct Due {
    #[cfg(feature = "dtls12")]
    last_flight: bool,
    no_renegotiation: bool,
    close_notify: bool,
    #[cfg(feature = "dtls13")]
    fatal: Option<AlertDescription>,
    path_response: Option<[u8; COOKIE_LEN]>,
}

/// What a record brought.
#[derive(Default)]
pub(crate) struct Received<'d> {
    pub(crate) event: Option<Event<'d>>,
    /// Whether the peer has authenticated it, and no newer one came before it.
    pub(crate) is_newest: bool,
    /// The answer to a return routability check.
    pub(crate) path_response: Option<[u8; COOKIE_LEN]>,
}

impl<'d> From<Option<Event<'d>>> for Received<'d> {
    fn from(event: Option<Event<'d>>) -> Self {
        Self { event, ..Self::default() }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    /// This side or the other said close_notify. Nothing more is sent but our own one, nothing more is received.
    Closed,
}

impl Session {
    pub(crate) fn new(id: SessionId, established: Established, config: &Config<'_>, now: Instant) -> Self {
        #[cfg_attr(not(feature = "dtls13"), expect(unused_mut, reason = "nothing is taken out of it"))]
        let Established {
            identity,
            host,
            read,
            write,
            client_random,
            mut last_flight,
            return_routability_check,
            resumed,
            tag,
            exporter,
            #[cfg(feature = "dtls13")]
            received,
            #[cfg(feature = "dtls13")]
            next_seqs,
            #[cfg(feature = "dtls13")]
            tickets,
        } = established;
        #[cfg(feature = "dtls13")]
        let post = PostHandshake::new(next_seqs, received, &mut last_flight, tickets, config, now);
        #[cfg(not(feature = "dtls13"))]
        let _ = (config, now);
        let due = Due {
            // Where this side speaks last, its flight has yet to go out for the first time.
            #[cfg(feature = "dtls12")]
            last_flight: matches!(last_flight, Some(LastFlight::Dtls12 { .. })),
            ..Due::default()
        };
        Self {
            id,
            identity,
            host,
            read,
            write,
            client_random,
            last_flight,
            #[cfg(feature = "dtls13")]
            post,
            return_routability_check,
            resumed,
            tag,
            due,
            near_seal_limit: false,
            state: State::Open,
            exporter,
        }
    }

    /// The connection ID that this side asked for; empty for none.
    pub(crate) fn connection_id(&self) -> &[u8] {
        self.read.connection_id()
    }

    /// The one that the peer may go on with; empty for none.
    #[cfg(feature = "dtls13")]
    pub(crate) fn spare_connection_id(&self) -> &[u8] {
        self.read.spare_connection_id()
    }

    /// Whether the peer answers return routability checks.
    pub(crate) const fn checks_return_routability(&self) -> bool {
        self.return_routability_check
    }

    /// How many records were sealed.
    pub(crate) const fn sealed(&self) -> u64 {
        self.write.sealed()
    }

    /// Bytes that a record needs in front of its payload and behind it.
    pub(crate) fn overhead(&self) -> (usize, usize) {
        self.write.overhead()
    }

    /// The longest payload of one record that fits into a datagram of so many bytes.
    pub(crate) fn max_payload(&self, datagram: usize) -> usize {
        let (front, behind) = self.overhead();
        // One byte more, as the next record may have a longer number than this one.
        self.write.max_payload().min(datagram.saturating_sub(front + behind + 1))
    }

    pub(crate) const fn identity(&self) -> Identity {
        self.identity
    }

    /// Among whose keys the identity is.
    pub(crate) const fn host(&self) -> Option<u16> {
        self.host
    }

    pub(crate) fn peer(&self) -> Peer<'_> {
        Peer {
            identity: self.identity.as_bytes(),
            session: self.id,
            // Those of one session of DTLS 1.3 count as one.
            epoch: self.write.epoch().min(3) as u16,
            version: self.version(),
            suite: self.write.suite(),
            resumed: self.resumed,
        }
    }

    pub(crate) const fn version(&self) -> ProtocolVersion {
        self.write.suite().version()
    }

    /// Whether this very hello began the session: a duplicate that comes late.
    pub(crate) fn is_from(&self, hello: &ClientHello<'_>) -> bool {
        hello.random.starts_with(&self.client_random)
    }

    /// Whether a record may be under the session's keys.
    #[cfg(feature = "dtls13")]
    pub(crate) fn may_read(&self, header: &Header<'_>) -> bool {
        self.read.is_for(header)
    }

    /// Whether the session has something to send by itself.
    pub(crate) fn is_due(&self) -> bool {
        let Due { no_renegotiation, close_notify, path_response, .. } = self.due;
        #[cfg(feature = "dtls12")]
        if self.due.last_flight {
            return true;
        }
        #[cfg(feature = "dtls13")]
        if self.is_open() && self.post.is_due() {
            return true;
        }
        #[cfg(feature = "dtls13")]
        if self.due.fatal.is_some() {
            return true;
        }
        no_renegotiation || close_notify || path_response.is_some()
    }

    /// When to call [`handle_timeout`](Self::handle_timeout).
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        #[cfg(feature = "dtls13")]
        if self.is_open() {
            return self.post.poll_timeout();
        }
        None
    }

    /// Does what is due at `now`.
    ///
    /// # Errors
    /// Why the session is over.
    pub(crate) fn handle_timeout(
        &mut self,
        config: &Config<'_>,
        now: Instant,
        stats: &mut Stats,
    ) -> Result<(), Error> {
        #[cfg(feature = "dtls13")]
        if self.is_open() {
            let outcome = self.post.handle_timeout(config, now, stats);
            return outcome.inspect_err(|_| self.state = State::Closed);
        }
        let _ = (config, now, stats);
        Ok(())
    }

    /// Whether nothing is left to be done but to forget the session.
    pub(crate) const fn is_over(&self) -> bool {
        #[cfg(feature = "dtls13")]
        if self.due.fatal.is_some() {
            return false;
        }
        matches!(self.state, State::Closed) && !self.due.close_notify
    }

    /// Whether the session still carries data.
    pub(crate) const fn is_open(&self) -> bool {
        matches!(self.state, State::Open)
    }

    /// Keeps so many record numbers for this session and has it saved, so that the image can be restored whatever is sent
    /// until then.
    pub(crate) fn checkpoint(
        &mut self,
        records: u32,
        save: impl FnOnce(&Self) -> Result<usize, Error>,
    ) -> Result<usize, Error> {
        if !self.is_open() {
            return Err(Error::NotConnected);
        }
        let before = self.write.reserve(records.into())?;
        save(self).inspect_err(|_| self.write.unreserve(before))
    }

    /// Writes all that has to be known to go on with the session. What is due is left out: the peer will ask again.
    pub(super) fn save(&self, w: &mut Writer<'_>) -> Result<(), BufferFull> {
        w.u64(self.id.0)?;
        w.vec8(self.identity.as_bytes())?;
        w.u8(self.host.is_some().into())?;
        w.u16(self.host.unwrap_or(0))?;
        save_states(&self.read, &self.write, w)?;
        w.bytes(&self.client_random)?;
        match &self.last_flight {
            #[cfg(feature = "dtls12")]
            Some(LastFlight::Dtls12 { plain, message_seq, verify_data }) => {
                w.u8(1)?;
                w.u64(plain.next())?;
                w.u16(*message_seq)?;
                w.bytes(verify_data)?;
            }
            // What acknowledges a Finished again is left out: by the time that a session is saved, that has arrived.
            _ => w.u8(0)?,
        }
        #[cfg(feature = "dtls13")]
        self.post.save(w)?;
        w.u8(self.return_routability_check.into())?;
        w.u8(self.resumed.into())?;
        w.vec8(self.tag.as_bytes())?;
        w.u8(self.near_seal_limit.into())?;
        w.u8(self.exporter.is_some().into())?;
        self.exporter.as_ref().map_or(Ok(()), |exporter| exporter.save(w))
    }

    /// Reads what [`save`](Self::save) has written.
    pub(super) fn load(r: &mut Reader<'_>) -> Result<Self, InvalidMessage> {
        let id = SessionId(r.u64()?);
        let identity = Identity::new(r.vec8()?).ok_or(InvalidMessage::IllegalLength)?;
        let has_host = r.u8()? != 0;
        let host = Some(r.u16()?).filter(|_| has_host);
        let (read, write) = load_states(r)?;
        let client_random = r.array()?;
        let last_flight = match r.u8()? {
            0 => None,
            #[cfg(feature = "dtls12")]
            1 => {
                let plain = PlainWriter::starting_at(r.u64()?);
                Some(LastFlight::Dtls12 { plain, message_seq: r.u16()?, verify_data: r.array()? })
            }
            _ => return Err(InvalidMessage::IllegalValue),
        };
        #[cfg(feature = "dtls13")]
        let post = PostHandshake::load(r)?;
        let return_routability_check = r.u8()? != 0;
        let resumed = r.u8()? != 0;
        let tag = ResumptionTag::new(r.vec8()?).ok_or(InvalidMessage::IllegalLength)?;
        let near_seal_limit = r.u8()? != 0;
        let exporter = if r.u8()? == 0 { None } else { Some(Exporter::load(r)?) };
        Ok(Self {
            id,
            identity,
            host,
            read,
            write,
            client_random,
            last_flight,
            #[cfg(feature = "dtls13")]
            post,
            return_routability_check,
            resumed,
            tag,
            due: Due::default(),
            near_seal_limit,
            state: State::Open,
            exporter,
        })
    }

    /// Takes one record. Anything that is not authenticated changes nothing but a counter.
    pub(crate) fn receive<'d>(
        &mut self,
        context: &Context<'_>,
        header: &Header<'_>,
        body: &'d mut [u8],
        #[cfg(feature = "dtls13")] mut reassembly: SessionReassembly<'_>,
        now: Instant,
        stats: &mut Stats,
    ) -> Received<'d> {
        let config = context.config;
        if !self.is_open() {
            Stats::count(&mut stats.dropped);
            return Received::default();
        }
        let forged = self.read.forged();
        if !self.read.is_for(header) {
            if let Err(reason) = self.receive_other(config, header, body, now) {
                reason.count(stats);
            }
            return Received::default();
        }
        let epoch = self.read.epoch();
        let opened = match self.read.open(config.crypto(), header, body) {
            Ok(opened) => opened,
            Err(reason) => {
                reason.count(stats);
                let event = if self.read.forged() > forged { self.on_forged(config) } else { None };
                return event.into();
            }
        };
        let Opened { content_type, body, is_newest, number } = opened;
        #[cfg(feature = "dtls13")]
        {
            self.write.on_heard();
            self.post.on_heard();
            // What was saved would not read the peer any more.
            if self.read.epoch() != epoch {
                self.write.outdate_checkpoint();
            }
        }
        let received = match content_type {
            ContentType::ApplicationData => Some(Event::Data(body)).into(),
            ContentType::Alert => self.on_alert(config, body, stats).into(),
            #[cfg(feature = "dtls13")]
            ContentType::Handshake if self.version() == ProtocolVersion::Dtls13 => {
                match self.on_post_handshake(context, number, body, &mut reassembly, now, stats) {
                    Ok(()) => Received::default(),
                    Err(error) => {
                        self.fail(error);
                        Some(Event::Failed(error)).into()
                    }
                }
            }
            ContentType::Handshake => {
                self.on_handshake(body, stats);
                Received::default()
            }
            #[cfg(feature = "dtls13")]
            ContentType::Ack => {
                self.post.on_ack(&mut self.write, body, stats);
                Received::default()
            }
            ContentType::ReturnRoutabilityCheck => self.on_return_routability_check(body, stats),
            ContentType::ChangeCipherSpec | ContentType::Tls12Cid => {
                Stats::count(&mut stats.dropped);
                Received::default()
            }
        };
        let _ = (number, epoch);
        Received { is_newest, ..received }
    }

    /// A record that is under other keys than those of the session.
    fn receive_other(
        &mut self,
        config: &Config<'_>,
        header: &Header<'_>,
        body: &mut [u8],
        now: Instant,
    ) -> Result<(), Dropped> {
        #[cfg(feature = "dtls13")]
        return self.open_repeated_finished(config, header, body, now);
        #[cfg(not(feature = "dtls13"))]
        {
            let _ = (config, header, body, now);
            Err(Dropped::Unexpected)
        }
    }

    /// A record that is not the peer's. Each one is a guess, and a key stands only so many (RFC 9147 §4.5.3).
    fn on_forged(&mut self, config: &Config<'_>) -> Option<Event<'static>> {
        let limit = config.forgery_limit(self.write.suite().aead());
        if self.read.forged() == limit {
            warning!("{} forged records: connect again, for a new key", limit);
        }
        match self.read.forged() {
            forged if forged == limit / 2 => {
                #[cfg(feature = "dtls13")]
                let _ = self.update_keys(true);
                Some(Event::NearLimit(KeyUsage::Forgeries))
            }
            // The peer has a new key already, so there is no need for the old one (RFC 9147 §4.5.3).
            #[cfg(feature = "dtls13")]
            forged if forged == limit && self.read.take_update() => None,
            forged if forged == limit && config.closes_at_forgery_limit() => {
                self.state = State::Closed;
                self.due = Due { close_notify: true, ..Due::default() };
                Some(Event::Failed(Error::ForgeryLimitReached))
            }
            forged if forged == limit => Some(Event::LimitReached(KeyUsage::Forgeries)),
            _ => None,
        }
    }

    /// Whether half of what the key may seal is sealed.
    const fn is_near_seal_limit(&self) -> bool {
        self.write.sealed() >= self.write.suite().aead().seal_limit() / 2
    }

    /// A record has gone out. Its key is replaced in time (RFC 9147 §4.5.3).
    fn on_sealed(&mut self) {
        #[cfg(feature = "dtls13")]
        if self.is_near_seal_limit() && !self.post.is_updating() {
            let _ = self.update_keys(false);
        }
    }

    /// What the application has to hear of beside what records bring.
    pub(crate) fn poll_notice(&mut self) -> Option<Event<'static>> {
        let is_near = self.is_near_seal_limit();
        // A session that changes its keys does not have to be replaced.
        #[cfg(feature = "dtls13")]
        if self.version() == ProtocolVersion::Dtls13 && self.write.may_update() {
            return None;
        }
        let is_news = is_near && !core::mem::replace(&mut self.near_seal_limit, is_near);
        is_news.then_some(Event::NearLimit(KeyUsage::Seals))
    }

    /// A challenge is answered at once, to where it came from; which answers are good, the endpoint knows (RFC 9853 §5).
    fn on_return_routability_check<'d>(&mut self, body: &[u8], stats: &mut Stats) -> Received<'d> {
        let message = ReturnRoutabilityCheck::parse(body);
        match message {
            Ok(Some(ReturnRoutabilityCheck { kind, cookie })) if self.return_routability_check => {
                match kind {
                    Kind::Challenge => self.due.path_response = Some(cookie),
                    Kind::Response => {
                        return Received { path_response: Some(cookie), ..Received::default() };
                    }
                    // Only asked for by the enhanced check, which this side does not do.
                    Kind::Drop => {}
                }
            }
            Ok(None) if self.return_routability_check => {}
            _ => Stats::count(&mut stats.dropped),
        }
        Received::default()
    }

    fn on_alert<'d>(&mut self, config: &Config<'_>, body: &[u8], stats: &mut Stats) -> Option<Event<'d>> {
        let Ok(alert) = Alert::parse(body) else {
            Stats::count(&mut stats.dropped);
            return None;
        };
        let description = alert.description;
        debug!("<- Alert {:?}", description);
        if description == AlertDescription::CLOSE_NOTIFY {
            // Answered with one of our own (RFC 5246 §7.2.1).
            self.close();
            Some(Event::Closed)
        } else if alert.ends_association(self.version()) {
            self.state = State::Closed;
            // A session that failed is not to be resumed (RFC 5246 §7.2.2).
            config.forget_session(&self.tag);
            Some(Event::Failed(Error::AlertReceived(description)))
        } else {
            None
        }
    }

    /// A handshake message under the session's own keys.
    fn on_handshake(&mut self, body: &[u8], stats: &mut Stats) {
        let mut r = Reader::new(body);
        let Ok(fragment) = Fragment::parse(&mut r) else {
            Stats::count(&mut stats.dropped);
            return;
        };
        match (HandshakeType::from_number(fragment.msg_type), &self.last_flight) {
            // The peer is missing our last flight. Its own Finished came right before ours in number.
            #[cfg(feature = "dtls12")]
            (Some(HandshakeType::Finished), Some(_)) => {
                if !self.due.last_flight {
                    Stats::count(&mut stats.retransmitted);
                }
                self.due.last_flight = true;
            }
            // Both ask for a new handshake under these keys, which there never is.
            (Some(HandshakeType::HelloRequest | HandshakeType::ClientHello), _) => {
                self.due.no_renegotiation = true
            }
            _ => Stats::count(&mut stats.dropped),
        }
    }

    /// Ends the session, and tells the peer why.
    #[cfg(feature = "dtls13")]
    fn fail(&mut self, error: Error) {
        self.state = State::Closed;
        self.due = Due { fatal: Some(error.alert()), ..Due::default() };
    }

    /// Says goodbye, with the next datagram that is asked for.
    pub(crate) fn close(&mut self) {
        if self.is_open() {
            self.state = State::Closed;
            self.due.close_notify = true;
        }
    }

    /// Writes one datagram of those that the session sends by itself.
    pub(crate) fn poll_transmit(
        &mut self,
        crypto: &dyn CryptoProvider,
        buf: &mut [u8],
    ) -> Result<Option<usize>, Error> {
        #[cfg(feature = "dtls13")]
        if self.is_open() && self.post.is_due() {
            let written = self.post.poll_transmit(&mut self.write, crypto, buf)?;
            if written.is_some() {
                return Ok(written);
            }
        }
        #[cfg(feature = "dtls12")]
        if self.due.last_flight
            && let Some(LastFlight::Dtls12 { plain, message_seq, verify_data }) = &mut self.last_flight
        {
            let seq = *message_seq;
            let needed = handshake::finished_len(&self.write);
            let written = handshake::write_finished(plain, &mut self.write, crypto, seq, verify_data, buf)
                .and_then(|len| len.ok_or(Error::BufferTooSmall { needed }));
            return said(&mut self.due.last_flight, written);
        }
        if let Some(cookie) = self.due.path_response {
            let written = self.seal_check(crypto, Kind::Response, cookie, buf);
            if !matches!(written, Err(Error::BufferTooSmall { .. })) {
                self.due.path_response = None;
            }
            return written.map(Some);
        }
        #[cfg(feature = "dtls13")]
        if let Some(description) = self.due.fatal {
            debug!("-> Alert {:?}", description);
            let alert = Alert::fatal(description).to_bytes();
            let written = self.write.seal(crypto, ContentType::Alert, [&alert, &[]], buf);
            if !matches!(written, Err(Error::BufferTooSmall { .. })) {
                self.due.fatal = None;
            }
            return written.map(Some);
        }
        let (due, alert) = if self.due.no_renegotiation {
            (&mut self.due.no_renegotiation, Alert::warning(AlertDescription::NO_RENEGOTIATION))
        } else if self.due.close_notify {
            (&mut self.due.close_notify, Alert::warning(AlertDescription::CLOSE_NOTIFY))
        } else {
            return Ok(None);
        };
        debug!("-> Alert {:?}", alert.description);
        let written = self.write.seal(crypto, ContentType::Alert, [&alert.to_bytes(), &[]], buf);
        said(due, written)
    }

    /// Seals a message of the return routability check at the start of `buf`.
    pub(crate) fn seal_check(
        &mut self,
        crypto: &dyn CryptoProvider,
        kind: Kind,
        cookie: [u8; COOKIE_LEN],
        buf: &mut [u8],
    ) -> Result<usize, Error> {
        debug!("-> {:?}", kind);
        let message = ReturnRoutabilityCheck { kind, cookie }.to_bytes();
        self.write.seal(crypto, ContentType::ReturnRoutabilityCheck, [&message, &[]], buf)
    }

    /// Length in bytes of the datagram that carries `len` bytes of application data.
    pub(crate) fn sealed_len(&self, len: usize) -> usize {
        self.write.sealed_len(len)
    }

    /// Exports keying material.
    #[cfg(feature = "exporter")]
    pub(crate) fn export(&self, label: &[u8], context: Option<&[u8]>, out: &mut [u8]) -> Result<(), Error> {
        if !self.is_open() {
            return Err(Error::NotConnected);
        }
        let exporter = self.exporter.as_ref().ok_or(PeerMisbehaved::NoExtendedMasterSecret)?;
        exporter.export(label, context, out)
    }

    /// Seals application data that lies in the middle of `buf`.
    pub(crate) fn seal_in_place(
        &mut self,
        crypto: &dyn CryptoProvider,
        buf: &mut [u8],
        payload: Range<usize>,
    ) -> Result<Range<usize>, Error> {
        if !self.is_open() {
            return Err(Error::NotConnected);
        }
        let sealed = self.write.seal_in_place(crypto, ContentType::ApplicationData, buf, payload)?;
        self.on_sealed();
        Ok(sealed)
    }

    /// Seals a copy of `payload` at the start of `buf`.
    pub(crate) fn send(
        &mut self,
        crypto: &dyn CryptoProvider,
        payload: &[u8],
        buf: &mut [u8],
    ) -> Result<usize, Error> {
        if !self.is_open() {
            return Err(Error::NotConnected);
        }
        let sealed = self.write.seal(crypto, ContentType::ApplicationData, [payload, &[]], buf)?;
        self.on_sealed();
        Ok(sealed)
    }
}

/// What was due is so no longer, unless it only lacked room.
fn said(due: &mut bool, written: Result<usize, Error>) -> Result<Option<usize>, Error> {
    *due = matches!(written, Err(Error::BufferTooSmall { .. }));
    written.map(Some)
}
