//! The server's side of the DTLS 1.2 handshake (RFC 6347 §4.2, RFC 4279 §2).

use rand_core::TryCryptoRng;
use zeroize::Zeroizing;

use super::keys12::{Agreed, PremasterSecret, Side};
use super::{Context, Core, Established, LastFlight, Message, Pending, State, fill_random};
use crate::CipherSuite;
use crate::config::Config;
use crate::connection_id::{OwnConnectionId, PeerConnectionId};
use crate::crypto;
use crate::crypto::key_share::KeyShare;
use crate::error::{Error, PeerMisbehaved};
use crate::log::warning;
use crate::psk::{self, HostLookup, Identity, MAX_KEY_LEN, PskStore};
use crate::resumption::{ResumableSession, ResumptionTag, TlsSessionId, draw_session_id};
use crate::time::Instant;
use crate::wire::client_hello::ClientHello;
use crate::wire::client_key_exchange::ClientKeyExchange;
use crate::wire::extension::{Extensions, X25519};
use crate::wire::finished::Finished;
use crate::wire::handshake::HandshakeType;
use crate::wire::max_fragment_length::MaxFragmentLength;
use crate::wire::record::MAX_RECORD_SIZE;
use crate::wire::server_hello::ServerHello;
use crate::wire::server_key_exchange::{EcdhParams, ServerKeyExchange};
use crate::wire::{BufferFull, RANDOM_LEN, Writer, version};

/// What a server draws for one handshake.
pub(crate) struct ServerRandom {
    server_random: [u8; RANDOM_LEN],
    /// The key that stands in for that of an unknown identity.
    dummy: Zeroizing<[u8; RANDOM_LEN]>,
    /// The connection ID to ask for; `None` where this side does not want to hear of any.
    connection_id: Option<OwnConnectionId>,
    /// The name under which the session can be resumed; empty where nothing is kept for that.
    session_id: TlsSessionId,
    pub(super) key_share: KeyShare,
}

impl ServerRandom {
    pub(crate) fn draw<R: TryCryptoRng + ?Sized>(
        config: &Config<'_>,
        rng: &mut R,
        connection_id: Option<OwnConnectionId>,
    ) -> Result<Self, Error> {
        let dummy = Zeroizing::new([0; RANDOM_LEN]);
        let key_share = KeyShare::draw(config.wants_forward_secrecy(), rng)?;
        let session_id = TlsSessionId::EMPTY;
        let mut random = Self { server_random: [0; RANDOM_LEN], dummy, connection_id, session_id, key_share };
        fill_random(rng, &mut random.server_random)?;
        fill_random(rng, random.dummy.as_mut())?;
        if config.resumption().is_some() {
            random.session_id = draw_session_id(rng)?;
        }
        Ok(random)
    }
}

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
        let ServerRandom { server_random, connection_id, session_id, .. } = *random;
        let offered = &hello.extensions;
        let [major, minor] = hello.client_version;
        let [our_major, our_minor] = version::DTLS12;
        // Versions count downwards: a client that speaks something newer speaks 1.2 too (RFC 5246 appendix E.1).
        if major != our_major || minor > our_minor {
            return Err(PeerMisbehaved::UnsupportedVersion.into());
        }
        if hello.random == [0; RANDOM_LEN] {
            return Err(PeerMisbehaved::ZeroRandom.into());
        }
        if offered.renegotiated_connection {
            return Err(PeerMisbehaved::Renegotiation.into());
        }
        if !hello.compression_methods.contains(&0) {
            return Err(PeerMisbehaved::Compression.into());
        }
        let mut suites = config.suites().iter().copied();
        let can_be = |suite: &CipherSuite| {
            hello.cipher_suites.contains(suite.number())
                && (!suite.has_forward_secrecy() || offered.allow_x25519())
        };
        let suite = suites.find(can_be).ok_or(Error::NoCommonSuite)?;
        if config.requires_extended_master_secret() && !offered.extended_master_secret {
            return Err(PeerMisbehaved::NoExtendedMasterSecret.into());
        }
        let host = match offered.server_name.map(|name| store.host(name)) {
            None | Some(HostLookup::Ignored) => None,
            Some(HostLookup::Found(host)) => Some(host),
            Some(HostLookup::Unrecognized) => return Err(Error::UnrecognizedName),
        };
        // A limit makes the older extension void, so both are never answered (RFC 8449 §5).
        let own_limit = config.record_size_limit().unwrap_or(MAX_RECORD_SIZE);
        let record_size_limit = offered.record_size_limit.map(|_| own_limit);
        let max_fragment_length = offered.max_fragment_length.filter(|_| record_size_limit.is_none());
        let fragment = max_fragment_length.map_or(MAX_RECORD_SIZE, MaxFragmentLength::len);
        // A client whose connection ID does not fit into this build goes on without.
        let peer_connection_id = offered.connection_id.and_then(PeerConnectionId::new);
        let ids = peer_connection_id.zip(connection_id);
        let (peer_connection_id, own_connection_id) =
            ids.unwrap_or((PeerConnectionId::EMPTY, OwnConnectionId::EMPTY));
        let agreed = Agreed {
            client_random: hello.random,
            server_random,
            suite,
            extended_master_secret: offered.extended_master_secret,
            own_connection_id,
            return_routability_check: offered.return_routability_check && ids.is_some(),
            send_limit: offered.record_size_limit.unwrap_or(fragment).min(MAX_RECORD_SIZE),
            receive_limit: record_size_limit.unwrap_or(fragment),
            max_fragment_length,
            // Without the extended master secret it could not be resumed (RFC 7627 §5.3).
            session_id: if offered.extended_master_secret { session_id } else { TlsSessionId::EMPTY },
        };
        let answer = Answer {
            renegotiation_info: hello.knows_renegotiation_info(),
            connection_id: ids.is_some(),
            ec_point_formats: offered.ec_point_formats && suite.has_forward_secrecy(),
            max_fragment_length,
            record_size_limit,
            host,
            resumed: false,
        };
        Ok(Self { agreed, peer_connection_id, answer, dummy: random.dummy.clone() })
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
            let suits = session.host == self.answer.host
                && session.max_fragment_length == self.agreed.max_fragment_length
                && config.suites().contains(&session.suite)
                && hello.cipher_suites.contains(session.suite.number());
            let mut has_same_key = false;
            store.with_host_key(session.host, session.identity.as_bytes(), &mut |key| {
                has_same_key = session.is_under(key);
            });
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
                let finished = Finished::parse(message.body)?;
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
                let last_flight = (!server.pending.resumed).then(|| LastFlight {
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
        store.with_host_key(host, psk_identity, &mut |lent| match key.get_mut(..lent.len()) {
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
