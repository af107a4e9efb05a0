//! The server's side of the DTLS 1.2 handshake (RFC 6347 §4.2, RFC 4279 §2).

use zeroize::Zeroizing;

use super::agreed::{Agreed, Side};
use super::keys12::PremasterSecret;
use super::pending12::Pending;
use super::server::{Accepted, ServerRandom, Terms};
use super::{Context, Core, Established, Handshake, LastFlight, Message, State};
use crate::CipherSuite;
use crate::config::Config;
use crate::connection_id::PeerConnectionId;
use crate::crypto;
use crate::crypto::key_share::KeyShare;
use crate::error::{Error, PeerMisbehaved};
use crate::log::warning;
use crate::psk::{self, Identity, MAX_KEY_LEN, PskStore};
use crate::record::PlainWriter;
use crate::resumption::{ResumableSession, ResumptionTag, TlsSessionId};
use crate::time::Instant;
use crate::wire::client_hello::ClientHello;
use crate::wire::client_key_exchange::ClientKeyExchange;
use crate::wire::extension::{Extensions, X25519};
use crate::wire::finished::{Finished, VERIFY_DATA_LEN};
use crate::wire::handshake::HandshakeType;
use crate::wire::max_fragment_length::MaxFragmentLength;
use crate::wire::server_hello::{DOWNGRADE_DTLS12, ServerHello};
use crate::wire::server_key_exchange::{EcdhParams, ServerKeyExchange};
use crate::wire::version::ProtocolVersion;
use crate::wire::{BufferFull, RANDOM_LEN, Writer, version};

/// What a server makes of a ClientHello.
pub(super) struct Negotiated {
    pub(super) agreed: Agreed,
    peer_connection_id: PeerConnectionId,
    answer: Answer,
    dummy: Zeroizing<[u8; RANDOM_LEN]>,
}

/// What a server says of the session that it goes on with. Its secret is still in the cache.
pub(super) struct Resumption {
    session_id: TlsSessionId,
    suite: CipherSuite,
    identity: Identity,
    tag: ResumptionTag,
}

/// What else the ServerHello is encoded from.
#[derive(Clone, Copy)]
pub(super) struct Answer {
    renegotiation_info: bool,
    /// Whether a connection ID was asked for, and may be answered with an empty one.
    connection_id: bool,
    ec_point_formats: bool,
    max_fragment_length: Option<MaxFragmentLength>,
    record_size_limit: Option<u16>,
    /// Whose keys the client wants to be looked up, where its server name decides that.
    host: Option<u16>,
    resumed: bool,
}

impl Negotiated {
    /// Chooses among what the client offers.
    pub(super) fn negotiate(
        config: &Config<'_>,
        store: &dyn PskStore,
        hello: &ClientHello<'_>,
        random: &ServerRandom,
    ) -> Result<Self, Error> {
        let offered = &hello.extensions;
        if !hello.offers_version(ProtocolVersion::Dtls12)? {
            return Err(PeerMisbehaved::UnsupportedVersion.into());
        }
        if offered.renegotiated_connection {
            return Err(PeerMisbehaved::Renegotiation.into());
        }
        if !hello.compression_methods.contains(&0) {
            return Err(PeerMisbehaved::Compression.into());
        }
        let can_be = |suite: &CipherSuite| {
            suite.version() == ProtocolVersion::Dtls12
                && hello.cipher_suites.contains(suite.number())
                && (!suite.has_forward_secrecy() || offered.allow_x25519())
        };
        let suite = config.offered_suites().find(can_be).ok_or(Error::NoCommonSuite)?;
        if config.requires_extended_master_secret() && !offered.extended_master_secret {
            return Err(PeerMisbehaved::NoExtendedMasterSecret.into());
        }
        let terms = Terms::agree(config, store, hello, random, ProtocolVersion::Dtls12)?;
        let mut server_random = random.server_random;
        // A client that knows DTLS 1.3 too can tell that somebody has taken it out of its hello (RFC 8446 §4.1.3).
        if config.offers_version(ProtocolVersion::Dtls13)
            && let Some(end) = server_random.last_chunk_mut()
        {
            *end = DOWNGRADE_DTLS12;
        }
        let agreed = Agreed {
            client_random: hello.random,
            server_random,
            suite,
            forward_secrecy: suite.has_forward_secrecy(),
            extended_master_secret: offered.extended_master_secret,
            own_connection_id: terms.own_connection_id,
            return_routability_check: terms.return_routability_check,
            send_limit: terms.send_limit,
            receive_limit: terms.receive_limit,
            max_fragment_length: terms.max_fragment_length,
            // Without the extended master secret it could not be resumed (RFC 7627 §5.3).
            session_id: if offered.extended_master_secret { random.session_id } else { TlsSessionId::EMPTY },
        };
        let answer = Answer {
            renegotiation_info: hello.knows_renegotiation_info(),
            connection_id: terms.with_connection_id,
            ec_point_formats: offered.ec_point_formats && suite.has_forward_secrecy(),
            max_fragment_length: terms.max_fragment_length,
            record_size_limit: terms.record_size_limit,
            host: terms.host,
            resumed: false,
        };
        Ok(Self { agreed, peer_connection_id: terms.peer_connection_id, answer, dummy: random.dummy.clone() })
    }

    /// The session that the client would resume, if this side still has it and would agree on the same once more.
    ///
    /// # Errors
    /// A hello without the extended master secret for a session that has it (RFC 7627 §5.3).
    pub(super) fn find_session(
        &self,
        config: &Config<'_>,
        store: &dyn PskStore,
        hello: &ClientHello<'_>,
        now: Instant,
    ) -> Result<Option<Resumption>, Error> {
        // The id beside a ticket is one that the client has made up (RFC 5077 §3.4).
        let has_ticket = hello.extensions.session_ticket.is_some_and(|ticket| !ticket.is_empty());
        let (Some(cache), false) = (config.resumption(), hello.session_id.is_empty() || has_ticket) else {
            return Ok(None);
        };
        let mut found = None;
        // The secret stays in the cache: all that is looked at is looked at here.
        cache.get(hello.session_id, now, &mut |session| {
            if session.session_id() != hello.session_id {
                return;
            }
            // Another host than before means a full handshake (RFC 6066 §3), and so does a suite that is not wanted any
            // more, or another length of records, which the resumed session could not have (§1.1).
            let suits = session.suite.version() == ProtocolVersion::Dtls12
                && session.host == self.answer.host
                && session.max_fragment_length == self.agreed.max_fragment_length
                && config.offers(session.suite)
                && hello.cipher_suites.contains(session.suite.number());
            let mut has_same_key = false;
            psk::with_key_for(
                store,
                ProtocolVersion::Dtls12,
                session.host,
                session.identity.as_bytes(),
                &mut |key| {
                    has_same_key = session.is_under(key);
                },
            );
            let ResumableSession { session_id, suite, identity, tag, .. } = *session;
            found = Some((Resumption { session_id, suite, identity, tag }, suits, has_same_key));
        });
        let Some((session, suits, has_same_key)) = found else { return Ok(None) };
        if !hello.extensions.extended_master_secret {
            return Err(PeerMisbehaved::NoExtendedMasterSecret.into());
        }
        if !has_same_key {
            cache.forget(session.tag.as_bytes());
        }
        Ok(Some(session).filter(|_| suits && has_same_key))
    }
}

impl Answer {
    /// Writes the ServerHello.
    pub(super) fn emit(&self, agreed: &Agreed, w: &mut Writer<'_>) -> Result<(), BufferFull> {
        ServerHello {
            server_version: version::DTLS12,
            random: agreed.server_random,
            session_id: agreed.session_id.as_bytes(),
            cipher_suite: agreed.suite.number(),
            compression_method: 0,
            extensions: Extensions {
                // Not said again when a session is resumed (RFC 6066 §3).
                server_name: self.host.filter(|_| !self.resumed).map(|_| [].as_slice()),
                max_fragment_length: self.max_fragment_length,
                // Of use where keys are exchanged only, and not looked at when a session is resumed (RFC 8422 §4).
                ec_point_formats: self.ec_point_formats && !self.resumed,
                extended_master_secret: agreed.extended_master_secret,
                record_size_limit: self.record_size_limit,
                connection_id: self.connection_id.then_some(agreed.own_connection_id.as_bytes()),
                return_routability_check: agreed.return_routability_check,
                renegotiation_info: self.renegotiation_info,
                ..Extensions::default()
            },
        }
        .emit(w)
    }
}

/// The answer to the ClientHello. The ServerKeyExchange is left out where there is neither a hint nor an ephemeral key in it
/// (RFC 4279 §2).
pub(super) const fn hello_flight(config: &Config<'_>, with_key_share: bool) -> &'static [HandshakeType] {
    if with_key_share || config.identity_hint().is_some() {
        &[HandshakeType::ServerHello, HandshakeType::ServerKeyExchange, HandshakeType::ServerHelloDone]
    } else {
        &[HandshakeType::ServerHello, HandshakeType::ServerHelloDone]
    }
}

/// Writes the body of the ServerKeyExchange.
pub(super) fn emit_key_exchange(
    config: &Config<'_>,
    suite: CipherSuite,
    key_share: &KeyShare,
    w: &mut Writer<'_>,
) -> Result<(), BufferFull> {
    let psk_identity_hint = config.identity_hint().unwrap_or_default();
    let params = EcdhParams { group: X25519, point: key_share.public() };
    let params = Some(params).filter(|_| suite.has_forward_secrecy());
    ServerKeyExchange { psk_identity_hint, params }.emit(w)
}

/// A server that has answered the ClientHello.
///
/// It has room for all that is to come from the start, and the room is empty: a state that grew on the way would be moved into
/// its slot together with whatever lies on the stack where it is to grow, and that may be the secrets of others.
pub(super) struct Server {
    /// It goes on being repeated while the rest of the client's flight is missing: some clients wait for that before they
    /// send theirs again (RFC 6347 §4.2.4).
    pub(super) answer: Answer,
    pub(super) pending: Pending,
    /// The identity that the client claims; empty before it does.
    pub(super) identity: Identity,
    /// Whether the key store has a key for the identity.
    known: bool,
    dummy: Zeroizing<[u8; RANDOM_LEN]>,
    awaits: Awaits,
}

/// What a server waits for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Awaits {
    ClientKeyExchange,
    /// Which proves the client's key.
    Finished(Proof),
}

/// How the client's attempts to prove its key went. A wrong key shows as a Finished that does not open; but so does a
/// forged one, so it takes two flights to believe it (RFC 7925 §6).
#[derive(Clone, Copy, PartialEq, Eq)]
enum Proof {
    Awaited,
    /// The record with this number failed.
    Failed(u64),
    /// The record with this number failed, and the client has sent its flight again since.
    Repeated(u64),
}

impl Server {
    pub(super) fn new(negotiated: Negotiated, resumed: Option<&Resumption>) -> Self {
        let Negotiated { mut agreed, peer_connection_id, mut answer, dummy } = negotiated;
        if let Some(session) = resumed {
            (agreed.suite, agreed.session_id) = (session.suite, session.session_id);
            // Nothing of RFC 6066 is said again (§1.1).
            (answer.resumed, answer.max_fragment_length) = (true, None);
        }
        let mut pending = Pending::new(agreed, peer_connection_id);
        let (mut identity, mut awaits) = (Identity::EMPTY, Awaits::ClientKeyExchange);
        if let Some(session) = resumed {
            (pending.resumed, pending.tag) = (true, session.tag);
            (identity, awaits) = (session.identity, Awaits::Finished(Proof::Awaited));
        }
        Self { answer, pending, identity, known: resumed.is_some(), dummy, awaits }
    }

    pub(super) const fn awaits_finished(&self) -> bool {
        matches!(self.awaits, Awaits::Finished(_))
    }

    /// Whether the ServerHello is still what the client may be missing.
    pub(super) const fn may_repeat_answer(&self) -> bool {
        self.pending.resumed || !self.awaits_finished()
    }

    /// How many messages of the client's this is behind its hello.
    pub(super) const fn messages_since_hello(&self) -> u16 {
        if self.may_repeat_answer() { 0 } else { 1 }
    }

    pub(super) fn has_failed(&self) -> bool {
        matches!(self.awaits, Awaits::Finished(proof) if proof != Proof::Awaited)
    }

    pub(super) fn on_repeated_flight(&mut self) {
        if let Awaits::Finished(Proof::Failed(number)) = self.awaits {
            self.awaits = Awaits::Finished(Proof::Repeated(number));
        }
    }

    /// The record that should be the Finished did not open.
    pub(super) fn on_unopened(&mut self, sequence_number: u64) -> Result<(), Error> {
        let Awaits::Finished(proof) = &mut self.awaits else { return Ok(()) };
        match *proof {
            Proof::Awaited => *proof = Proof::Failed(sequence_number),
            // A client sends it again under a new number. The same one is a copy that the network made.
            Proof::Repeated(number) if number != sequence_number => return Err(Error::AuthenticationFailed),
            Proof::Failed(_) | Proof::Repeated(_) => {}
        }
        Ok(())
    }
}

impl Handshake {
    /// A server's handshake in DTLS 1.2.
    pub(super) fn server12(
        context: &Context<'_>,
        store: &dyn PskStore,
        accepted: &Accepted<'_>,
        random: ServerRandom,
        now: Instant,
    ) -> Result<Self, Error> {
        let Accepted { header, fragment, hello, .. } = accepted;
        let negotiated = Negotiated::negotiate(context.config, store, hello, &random)?;
        let resumed = negotiated.find_session(context.config, store, hello, now)?;
        let mut key_share = random.key_share;
        let with_key_share = resumed.is_none() && negotiated.agreed.forward_secrecy;
        if with_key_share {
            key_share.begin();
        } else {
            key_share.wipe();
        }
        let state = State::Server(Server::new(negotiated, resumed.as_ref()));
        // The first ServerHello takes the record's number from the ClientHello (RFC 6347 §4.2.1), and so does its
        // message number: the HelloVerifyRequests before it had the ones before.
        let plain = PlainWriter::starting_at(header.sequence_number);
        let mut handshake = Self::new(context.config, state, key_share, plain, now);
        let core = &mut handshake.core;
        core.transcript.add(HandshakeType::ClientHello, fragment.message_seq, fragment.body);
        core.next_receive_seq = fragment.message_seq.saturating_add(1);
        match resumed {
            Some(_) => core.resume_as_server(context, fragment.message_seq, now)?,
            None => {
                let flight = hello_flight(context.config, with_key_share);
                core.start_flight(context, flight, fragment.message_seq, now)?;
            }
        }
        Ok(handshake)
    }
}

impl Core {
    /// Answers the ClientHello with the end of an abbreviated handshake: ServerHello, ChangeCipherSpec, Finished (RFC 5246
    /// §7.3).
    pub(super) fn resume_as_server(
        &mut self,
        context: &Context<'_>,
        message_seq: u16,
        now: Instant,
    ) -> Result<(), Error> {
        if let (Some(pending), Some(cache)) = (self.state.pending(), context.config.resumption()) {
            let session_id = pending.agreed.session_id;
            pending.resume(context, Side::Server, |lend| cache.get(session_id.as_bytes(), now, lend))?;
        }
        let flight = &[HandshakeType::ServerHello, HandshakeType::Finished];
        self.start_flight(context, flight, message_seq, now)?;
        if let Some(pending) = self.state.pending() {
            pending.verify_data = pending.master.verify_data(Side::Server, &self.transcript);
            self.transcript.add(HandshakeType::Finished, message_seq.saturating_add(1), &pending.verify_data);
        }
        Ok(())
    }

    /// What a server does with a message. The ClientHello has been dealt with before.
    pub(super) fn on_client_message(
        &mut self,
        context: &Context<'_>,
        store: &dyn PskStore,
        message: &Message<'_>,
        now: Instant,
    ) -> Result<Option<Established>, Error> {
        let State::Server(server) = &mut self.state else {
            return Err(PeerMisbehaved::UnexpectedMessage.into());
        };
        match (server.awaits, message.msg_type) {
            (Awaits::ClientKeyExchange, HandshakeType::ClientKeyExchange) => {
                server.awaits = Awaits::Finished(Proof::Awaited);
                self.add_to_transcript(message);
                self.look_up_key(context, store, message)?;
            }
            (Awaits::Finished(_), HandshakeType::Finished) => {
                let finished = Finished::<VERIFY_DATA_LEN>::parse(message.body)?;
                let master = &server.pending.master;
                let expected = master.verify_data(Side::Client, &self.transcript);
                let proven = crypto::equal(&finished.verify_data, &expected);
                // Nobody can prove a key that does not exist. Should somebody guess the one that stands in for it, it
                // is of no use.
                if !(proven & server.known) {
                    return Err(PeerMisbehaved::WrongVerifyData.into());
                }
                self.transcript.add(message.msg_type, message.message_seq, message.body);
                // In an abbreviated handshake, it is the client that speaks last.
                let last_flight = (!server.pending.resumed).then(|| LastFlight::Dtls12 {
                    plain: self.plain,
                    message_seq: self.flight.next_seq(),
                    verify_data: master.verify_data(Side::Server, &self.transcript),
                });
                let (identity, host) = (server.identity, server.answer.host);
                server.pending.keep(context.config, identity, host, now);
                let established = server.pending.establish(identity, host, last_flight);
                self.state = State::OVER;
                return Ok(Some(established));
            }
            _ => return Err(PeerMisbehaved::UnexpectedMessage.into()),
        }
        Ok(None)
    }

    /// Makes the secrets of the ClientKeyExchange, in the pending states. An unknown identity goes on under a key that nobody
    /// knows, so that it looks like a wrong key (RFC 4279 §2).
    fn look_up_key(
        &mut self,
        context: &Context<'_>,
        store: &dyn PskStore,
        message: &Message<'_>,
    ) -> Result<(), Error> {
        let State::Server(server) = &mut self.state else {
            return Ok(());
        };
        let (agreed, host) = (&server.pending.agreed, server.answer.host);
        let with_point = agreed.suite.has_forward_secrecy();
        let ClientKeyExchange { psk_identity, point } = ClientKeyExchange::parse(message.body, with_point)?;
        let identity = Identity::new(psk_identity);
        let mut key = Zeroizing::new([*server.dummy; MAX_KEY_LEN.div_ceil(RANDOM_LEN)]);
        let key = key.as_flattened_mut();
        let mut key_len = store.dummy_key_len().clamp(1, MAX_KEY_LEN);
        let mut known = false;
        psk::with_key_for(store, ProtocolVersion::Dtls12, host, psk_identity, &mut |lent| match key
            .get_mut(..lent.len())
        {
            // An identity too long to be stored is as unknown as one that is not in the store.
            Some(start) if psk::check_key(lent).is_ok() && identity.is_some() => {
                start.copy_from_slice(lent);
                (key_len, known) = (lent.len(), true);
            }
            _ => warning!("the key store has a key of {} bytes, which cannot be used", lent.len()),
        });
        let key = key.get(..key_len).unwrap_or_default();

        let premaster = match point.filter(|_| with_point) {
            Some(point) => {
                let shared = self.key_share.agree(&point)?;
                PremasterSecret::ecdhe_psk(&shared, key)
            }
            None => PremasterSecret::psk(key),
        };
        let Pending { agreed, master, tag, .. } = &mut server.pending;
        master.derive(context, agreed, &premaster, &self.transcript);
        *tag = master.tag(context.config, agreed, key);
        server.pending.make_keys(Side::Server);
        (server.identity, server.known) = (identity.unwrap_or(Identity::EMPTY), known);
        Ok(())
    }
}
