//! The client's side of the DTLS 1.2 handshake (RFC 6347 §4.2, RFC 4279 §2).

use super::flight::Flight;
use super::keys12::{Agreed, PremasterSecret, Side};
use super::transcript::Transcript;
use super::{Context, Core, Credentials, Established, LastFlight, Message, Pending, State, fill_random};
use rand_core::TryCryptoRng;

use crate::config::Config;
use crate::connection_id::{OwnConnectionId, PeerConnectionId};
use crate::crypto;
use crate::crypto::key_share::{KeyShare, Point};
use crate::error::{Error, PeerMisbehaved};
use crate::psk::{Identity, Psk};
use crate::resumption::{ResumptionTag, Ticket, TlsSessionId, draw_session_id};
use crate::time::Instant;
use crate::wire::client_hello::{CipherSuites, ClientHello};
use crate::wire::client_key_exchange::ClientKeyExchange;
use crate::wire::extension::{Extensions, X25519};
use crate::wire::finished::Finished;
use crate::wire::handshake::HandshakeType;
use crate::wire::hello_verify_request::HelloVerifyRequest;
use crate::wire::max_fragment_length::MaxFragmentLength;
use crate::wire::new_session_ticket::NewSessionTicket;
use crate::wire::record::MAX_RECORD_SIZE;
use crate::wire::server_hello::ServerHello;
use crate::wire::server_key_exchange::{EcdhParams, ServerKeyExchange, parse_point};
use crate::wire::suite::{CipherSuite, EMPTY_RENEGOTIATION_INFO_SCSV};
use crate::wire::{BufferFull, RANDOM_LEN, Writer, version};

/// How many HelloVerifyRequests a client follows. More than one comes when a cookie ran out on its way; without a bound,
/// anyone could keep the client turning.
pub(crate) const MAX_HELLO_VERIFY_REQUESTS: u16 = 4;

/// Longest body in bytes of a ClientHello: version, random, no session id, the longest cookie, every suite and the SCSV,
/// one compression method, and the extensions.
pub(super) const MAX_HELLO_LEN: usize =
    2 + RANDOM_LEN + 1 + (1 + 255) + 2 + 2 * (CipherSuite::ALL.len() + 1) + 2 + Config::MAX_OPTIONS_LEN;

/// What the client's `supported_groups` holds.
static X25519_ALONE: [u8; 2] = X25519.to_be_bytes();

/// What a client draws for one handshake.
#[derive(Clone, Copy)]
pub(crate) struct ClientRandom {
    random: [u8; RANDOM_LEN],
    connection_id: OwnConnectionId,
    /// By which the client learns that a server has taken its ticket (RFC 5077 §3.4).
    session_id: TlsSessionId,
}

impl ClientRandom {
    pub(crate) fn draw<R: TryCryptoRng + ?Sized>(config: &Config<'_>, rng: &mut R) -> Result<Self, Error> {
        let mut random = [0; RANDOM_LEN];
        fill_random(rng, &mut random)?;
        let connection_id = OwnConnectionId::draw(config.connection_id_len().unwrap_or(0), rng)?;
        let session_id =
            if config.resumption().is_some() { draw_session_id(rng)? } else { TlsSessionId::EMPTY };
        Ok(Self { random, connection_id, session_id })
    }
}

/// The session that a client would resume. Nothing in it where there is none.
#[derive(Clone, Copy)]
struct Offer {
    session_id: TlsSessionId,
    ticket: Ticket,
    tag: ResumptionTag,
    max_fragment_length: Option<MaxFragmentLength>,
}

impl Offer {
    const NOTHING: Self = Self {
        session_id: TlsSessionId::EMPTY,
        ticket: Ticket::EMPTY,
        tag: ResumptionTag::EMPTY,
        max_fragment_length: None,
    };

    fn find(config: &Config<'_>, psk: &Psk<'_>, own_id: TlsSessionId, now: Instant) -> Self {
        let mut offer = Self::NOTHING;
        let Some(cache) = config.resumption() else { return offer };
        cache.last(now, &mut |session| {
            let is_ours = session.identity.as_bytes() == psk.identity() && session.is_under(psk.key());
            let length = session.max_fragment_length;
            let suits = config.suites().contains(&session.suite)
                && (length.is_none() || length == config.max_fragment_length());
            let has_ticket = !session.ticket.is_empty() && config.has_room_for_ticket(session.ticket.len());
            let (session_id, ticket) =
                if has_ticket { (own_id, session.ticket) } else { (session.session_id, Ticket::EMPTY) };
            if is_ours && suits && !session_id.is_empty() {
                offer = Self { session_id, ticket, tag: session.tag, max_fragment_length: length };
            }
        });
        offer
    }

    /// Whether a server that gives the session this id goes on with the one that it was offered: it repeats the id (RFC 5246
    /// §7.4.1.3).
    fn is_taken_by(&self, session_id: &[u8]) -> bool {
        !session_id.is_empty() && session_id == self.session_id.as_bytes()
    }
}

/// What the ClientHello is encoded from.
#[derive(Clone, Copy)]
pub(super) struct Hello {
    random: ClientRandom,
    offer: Offer,
    cookie: [u8; 255],
    cookie_len: u8,
    hello_verify_requests: u16,
}

impl Hello {
    /// A hello that offers what the cache has, if that is under this key still.
    pub(super) fn new(config: &Config<'_>, psk: &Psk<'_>, random: ClientRandom, now: Instant) -> Self {
        let offer = Offer::find(config, psk, random.session_id, now);
        Self { random, offer, cookie: [0; 255], cookie_len: 0, hello_verify_requests: 0 }
    }

    /// Names the session that is offered; empty for none.
    pub(super) const fn offered_tag(&self) -> &ResumptionTag {
        &self.offer.tag
    }

    pub(super) const fn was_answered(&self) -> bool {
        self.hello_verify_requests > 0
    }

    pub(super) fn emit(&self, config: &Config<'_>, w: &mut Writer<'_>) -> Result<(), BufferFull> {
        let mut suites = [0; 2 * (CipherSuite::ALL.len() + 1)];
        let mut list = Writer::new(&mut suites);
        for suite in config.suites() {
            list.u16(suite.number())?;
        }
        list.u16(EMPTY_RENEGOTIATION_INFO_SCSV)?;
        ClientHello {
            client_version: version::DTLS12,
            random: self.random.random,
            session_id: self.offer.session_id.as_bytes(),
            cookie: self.cookie.get(..self.cookie_len.into()).unwrap_or_default(),
            cipher_suites: CipherSuites(list.written()),
            compression_methods: &[0],
            extensions: self.extensions(config),
        }
        .emit(w)
    }

    /// What is offered: each costs airtime, so none but what was asked for.
    fn extensions<'h>(&'h self, config: &'h Config<'_>) -> Extensions<'h> {
        let connection_id = config.connection_id_len().map(|_| self.random.connection_id.as_bytes());
        let wants_forward_secrecy = config.wants_forward_secrecy();
        Extensions {
            supported_groups: wants_forward_secrecy.then_some(&X25519_ALONE),
            ec_point_formats: wants_forward_secrecy,
            extended_master_secret: true,
            server_name: config.server_name().map(str::as_bytes),
            max_fragment_length: config.max_fragment_length(),
            record_size_limit: config.record_size_limit(),
            // An empty one asks for a ticket.
            session_ticket: config.resumption().map(|_| self.offer.ticket.as_bytes()),
            connection_id,
            // RFC 9853 §3: nothing without connection IDs.
            return_routability_check: connection_id.is_some(),
            ..Extensions::default()
        }
    }

    /// Takes the cookie over.
    fn follow(&mut self, request: &HelloVerifyRequest<'_>) -> Result<(), Error> {
        if self.hello_verify_requests >= MAX_HELLO_VERIFY_REQUESTS {
            return Err(PeerMisbehaved::UnexpectedMessage.into());
        }
        self.hello_verify_requests += 1;
        let mut w = Writer::new(&mut self.cookie);
        // A vector with a length of one byte always fits into 255.
        self.cookie_len = match w.bytes(request.cookie) {
            Ok(()) => u8::try_from(w.len()).unwrap_or(u8::MAX),
            Err(BufferFull) => 0,
        };
        Ok(())
    }

    /// Checks the server's choice against what was offered.
    fn accept(self, config: &Config<'_>, hello: &ServerHello<'_>) -> Result<ServerHelloSeen, Error> {
        if hello.server_version != version::DTLS12 {
            return Err(PeerMisbehaved::UnsupportedVersion.into());
        }
        if hello.random == [0; RANDOM_LEN] {
            return Err(PeerMisbehaved::ZeroRandom.into());
        }
        let suite = CipherSuite::from_number(hello.cipher_suite)
            .filter(|suite| config.suites().contains(suite))
            .ok_or(PeerMisbehaved::SelectedUnofferedSuite)?;
        if hello.compression_method != 0 {
            return Err(PeerMisbehaved::Compression.into());
        }
        if hello.extensions.renegotiated_connection {
            return Err(PeerMisbehaved::Renegotiation.into());
        }
        let (offered, answer) = (self.extensions(config), hello.extensions);
        if !answer.are_offered_by(&offered) {
            return Err(PeerMisbehaved::UnofferedExtension.into());
        }
        if config.requires_extended_master_secret() && !answer.extended_master_secret {
            return Err(PeerMisbehaved::NoExtendedMasterSecret.into());
        }
        // The length is echoed or left out (RFC 6066 §4), and never stands beside a limit (RFC 8449 §5).
        let mut length = answer.max_fragment_length;
        if length.is_some() && (length != offered.max_fragment_length || answer.record_size_limit.is_some()) {
            return Err(PeerMisbehaved::WrongSizeLimit.into());
        }
        let peer_connection_id = PeerConnectionId::new(answer.connection_id.unwrap_or_default())
            .ok_or(PeerMisbehaved::ConnectionIdTooLong)?;
        // Without an answer to it, the extension has no effect in either direction.
        let own_connection_id = match answer.connection_id {
            Some(_) => self.random.connection_id,
            None => OwnConnectionId::EMPTY,
        };
        if self.offer.is_taken_by(hello.session_id) && answer.record_size_limit.is_none() {
            // That of the session is still in force, and not said again (RFC 6066 §1.1).
            length = length.or(self.offer.max_fragment_length);
        }
        let fragment = length.map_or(MAX_RECORD_SIZE, MaxFragmentLength::len);
        // A server that does not answer the signal is let through, as RFC 5746 §4.1 allows: tinydtls and others do not
        // know it, and this client never renegotiates, which is what the splice would need.
        let agreed = Agreed {
            client_random: self.random.random,
            server_random: hello.random,
            suite,
            extended_master_secret: answer.extended_master_secret,
            own_connection_id,
            return_routability_check: answer.return_routability_check && answer.connection_id.is_some(),
            send_limit: answer.record_size_limit.unwrap_or(fragment).min(MAX_RECORD_SIZE),
            receive_limit: match answer.record_size_limit {
                Some(_) => offered.record_size_limit.unwrap_or(fragment),
                None => fragment,
            },
            max_fragment_length: length,
            session_id: TlsSessionId::new(hello.session_id).unwrap_or(TlsSessionId::EMPTY),
        };
        let ticket_awaited = answer.session_ticket.is_some();
        Ok(ServerHelloSeen {
            hello: self,
            agreed,
            peer_connection_id,
            ticket_awaited,
            server_key_exchange_seen: false,
            point: None,
        })
    }
}

/// A client that has the ServerHello. It keeps its own hello, to repeat it while the rest of the flight is missing.
#[derive(Clone, Copy)]
pub(super) struct ServerHelloSeen {
    pub(super) hello: Hello,
    agreed: Agreed,
    peer_connection_id: PeerConnectionId,
    ticket_awaited: bool,
    server_key_exchange_seen: bool,
    /// The server's ephemeral key.
    point: Option<Point>,
}

impl ServerHelloSeen {
    pub(super) const fn suite(&self) -> CipherSuite {
        self.agreed.suite
    }

    /// Whether the server resumes the session that it was offered.
    fn is_resumed(&self) -> bool {
        self.hello.offer.is_taken_by(self.agreed.session_id.as_bytes())
    }
}

/// The server's ephemeral key, if it is on the group that was offered (RFC 8422 §5.4).
fn point_on_our_group(params: EcdhParams<'_>) -> Result<Point, Error> {
    if params.group != X25519 {
        return Err(PeerMisbehaved::WrongGroup.into());
    }
    Ok(parse_point(params.point)?)
}

/// Writes the body of the ClientKeyExchange.
pub(super) fn emit_key_exchange(
    context: &Context<'_>,
    suite: CipherSuite,
    key_share: &KeyShare,
    w: &mut Writer<'_>,
) -> Result<(), BufferFull> {
    let point = suite.has_forward_secrecy().then(|| *key_share.public());
    match context.credentials {
        Credentials::Client(psk) => ClientKeyExchange { psk_identity: psk.identity(), point }.emit(w),
        Credentials::Server(_) => Err(BufferFull),
    }
}

impl Core {
    /// What a client does with a message.
    pub(super) fn on_server_message(
        &mut self,
        context: &Context<'_>,
        psk: &Psk<'_>,
        message: &Message<'_>,
        now: Instant,
    ) -> Result<Option<Established>, Error> {
        match (&mut self.state, message.msg_type) {
            (State::ClientAwaitsServerHello(hello), HandshakeType::HelloVerifyRequest) => {
                let request = HelloVerifyRequest::parse(message.body)?;
                hello.follow(&request)?;
                // Neither the request nor the hello before it is part of the transcript (RFC 6347 §4.2.1).
                self.transcript = Transcript::new();
                let seq = self.flight.next_seq();
                self.start_flight(context, &[HandshakeType::ClientHello], seq, now)?;
            }
            (State::ClientAwaitsServerHello(hello), HandshakeType::ServerHello) => {
                let seen = hello.accept(context.config, &ServerHello::parse(message.body)?)?;
                self.add_to_transcript(message);
                if seen.is_resumed() || !seen.suite().has_forward_secrecy() {
                    self.key_share.wipe();
                }
                if seen.is_resumed() {
                    self.resume_as_client(context, &seen, now)?;
                } else {
                    // It would not take the session the next time either.
                    context.config.forget_session(seen.hello.offered_tag());
                    self.state = State::ClientAwaitsServerHelloDone(seen);
                }
            }
            (State::ClientAwaitsServerHelloDone(seen), HandshakeType::ServerKeyExchange)
                if !seen.server_key_exchange_seen =>
            {
                // A hint helps to choose among several identities. This client has one, and knows it (RFC 4279 §5.2).
                let with_params = seen.agreed.suite.has_forward_secrecy();
                let params = ServerKeyExchange::parse(message.body, with_params)?.params;
                seen.point = params.filter(|_| with_params).map(point_on_our_group).transpose()?;
                seen.server_key_exchange_seen = true;
                self.add_to_transcript(message);
            }
            (State::ClientAwaitsServerHelloDone(seen), HandshakeType::ServerHelloDone) => {
                if !message.body.is_empty() {
                    return Err(crate::wire::InvalidMessage::TrailingData.into());
                }
                let ServerHelloSeen { agreed, peer_connection_id, ticket_awaited, point, .. } = *seen;
                self.add_to_transcript(message);
                let premaster = if agreed.suite.has_forward_secrecy() {
                    self.agree(psk, point)?
                } else {
                    PremasterSecret::psk(psk.key())
                };
                let pending = Pending { ticket_awaited, ..Pending::new(agreed, peer_connection_id) };
                self.exchange_keys(context, &premaster, psk, pending, now)?;
            }
            (State::ClientAwaitsFinished(pending), HandshakeType::NewSessionTicket)
                if pending.ticket_awaited =>
            {
                let NewSessionTicket { lifetime_hint, ticket } = NewSessionTicket::parse(message.body)?;
                pending.ticket_awaited = false;
                if !ticket.is_empty() {
                    // One that is too long is not kept. The id is good for nothing beside any (RFC 5077 §3.4).
                    pending.ticket = Ticket::new(ticket).unwrap_or(Ticket::EMPTY);
                    pending.ticket_lifetime = lifetime_hint;
                    pending.agreed.session_id = TlsSessionId::EMPTY;
                }
                self.add_to_transcript(message);
            }
            (State::ClientAwaitsFinished(pending), HandshakeType::Finished) if !pending.ticket_awaited => {
                let finished = Finished::parse(message.body)?;
                let expected = pending.master.verify_data(Side::Server, &self.transcript);
                if !crypto::equal(&finished.verify_data, &expected) {
                    return Err(PeerMisbehaved::WrongVerifyData.into());
                }
                // The server has all of this side's messages, or it could not have finished. In an abbreviated handshake, it
                // is yet to get the last ones.
                let last_flight = pending.resumed.then(|| {
                    self.transcript.add(message.msg_type, message.message_seq, message.body);
                    LastFlight {
                        plain: self.plain,
                        message_seq: self.flight.next_seq(),
                        verify_data: pending.master.verify_data(Side::Client, &self.transcript),
                    }
                });
                let identity = Identity::new(psk.identity()).ok_or(Error::IdentityTooLong)?;
                pending.keep(context.config, identity, None, now);
                let established = pending.establish(identity, None, last_flight);
                self.state = State::OVER;
                return Ok(Some(established));
            }
            _ => return Err(PeerMisbehaved::UnexpectedMessage.into()),
        }
        Ok(None)
    }

    /// The server goes on with the session that it was offered (RFC 5246 §7.3): what it sends next, it sends under new keys,
    /// but for a ticket.
    fn resume_as_client(
        &mut self,
        context: &Context<'_>,
        seen: &ServerHelloSeen,
        now: Instant,
    ) -> Result<(), Error> {
        let ServerHelloSeen { hello, agreed, peer_connection_id, ticket_awaited, .. } = seen;
        if !agreed.extended_master_secret {
            return Err(PeerMisbehaved::NoExtendedMasterSecret.into());
        }
        let mut offered = None;
        if let Some(cache) = context.config.resumption() {
            cache.last(now, &mut |session| {
                offered =
                    Some(session.suite).filter(|_| session.tag.as_bytes() == hello.offer.tag.as_bytes());
            });
        }
        // The cache may have forgotten it meanwhile.
        if offered.ok_or(Error::ResumptionFailed)? != agreed.suite {
            return Err(PeerMisbehaved::SelectedUnofferedSuite.into());
        }
        self.state = State::ClientAwaitsFinished(Pending {
            resumed: true,
            ticket_awaited: *ticket_awaited,
            tag: hello.offer.tag,
            ..Pending::new(*agreed, *peer_connection_id)
        });
        if let (Some(pending), Some(cache)) = (self.state.pending(), context.config.resumption()) {
            pending.resume(context, Side::Client, |lend| cache.last(now, lend))?;
        }
        // The hello was answered, and the server repeats the rest by itself. The Finished has the next number.
        self.flight = Flight::new(&[], self.flight.next_seq());
        Ok(())
    }

    /// What the master secret comes from in a suite with ephemeral keys.
    fn agree(&mut self, psk: &Psk<'_>, point: Option<Point>) -> Result<PremasterSecret, Error> {
        // Such a suite is nothing without the server's ephemeral key.
        let point = point.ok_or(PeerMisbehaved::UnexpectedMessage)?;
        self.key_share.begin();
        let shared = self.key_share.agree(&point)?;
        Ok(PremasterSecret::ecdhe_psk(&shared, psk.key()))
    }

    /// Answers the ServerHelloDone: ClientKeyExchange, ChangeCipherSpec, Finished.
    fn exchange_keys(
        &mut self,
        context: &Context<'_>,
        premaster: &PremasterSecret,
        psk: &Psk<'_>,
        pending: Pending,
        now: Instant,
    ) -> Result<(), Error> {
        // The client's messages are numbered on from the ClientHello that the server answered.
        let seq = self.flight.next_seq();
        self.start_flight(context, &[HandshakeType::ClientKeyExchange, HandshakeType::Finished], seq, now)?;
        self.state = State::ClientAwaitsFinished(pending);
        if let Some(pending) = self.state.pending() {
            let Pending { agreed, master, tag, .. } = pending;
            master.derive(context, agreed, premaster, &self.transcript);
            *tag = master.tag(context.config, agreed, psk.key());
            pending.make_keys(Side::Client);
            pending.verify_data = pending.master.verify_data(Side::Client, &self.transcript);
            self.transcript.add(HandshakeType::Finished, seq.saturating_add(1), &pending.verify_data);
        }
        Ok(())
    }

    pub(super) fn add_to_transcript(&mut self, message: &Message<'_>) {
        self.transcript.add(message.msg_type, message.message_seq, message.body);
    }
}
