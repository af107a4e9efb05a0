//! The server's side of the DTLS 1.3 handshake (RFC 9147 §5, RFC 8446 §4).

use core::time::Duration;

use zeroize::Zeroizing;

use super::agreed::{Agreed, Side};
use super::cookie::Retry;
use super::flight::Flight;
use super::offered_psks;
use super::pending13::Pending;
use super::server::{Accepted, ServerRandom, Terms};
use super::transcript::Transcript;
use super::{Context, Core, Established, Handshake, LastFlight, Message, State};
use crate::CipherSuite;
use crate::config::Config;
use crate::crypto;
use crate::crypto::key_schedule::{self, PskKind, Secret};
use crate::crypto::key_share::KeyShare;
use crate::error::{Error, PeerMisbehaved};
use crate::log::warning;
use crate::psk::{self, Dtls13Use, Identity, MAX_KEY_LEN, PskStore};
use crate::record::PlainWriter;
use crate::resumption::{ResumableSession, ResumptionTag};
use crate::time::Instant;
use crate::wire::client_hello::ClientHello;
use crate::wire::extension::{Extensions, X25519, parse_point};
use crate::wire::finished::{Finished, VERIFY_DATA13_LEN};
use crate::wire::handshake::HandshakeType;
use crate::wire::imported_identity::ImportedIdentity;
use crate::wire::key_share::{self, KeyShareEntry};
use crate::wire::max_fragment_length::MaxFragmentLength;
use crate::wire::pre_shared_key::OfferedPsks;
use crate::wire::server_hello::{HELLO_RETRY_REQUEST_RANDOM, ServerHello};
use crate::wire::version::ProtocolVersion;
use crate::wire::{BufferFull, RANDOM_LEN, Writer, version};

/// How many of the keys that a client offers are looked up: each costs as much as the key store takes.
const MAX_LOOKUPS: usize = 4;

/// For how long a client's Finished is acknowledged again: twice the MSL of RFC 9293 §3.4.2 (RFC 9147 §5.8.1).
const TWICE_MSL: Duration = Duration::from_secs(240);

/// The answer to a ClientHello.
const HELLO_FLIGHT: &[HandshakeType] =
    &[HandshakeType::ServerHello, HandshakeType::EncryptedExtensions, HandshakeType::Finished];

/// What a server chooses among what a client offers.
pub(crate) struct Choice<'h> {
    pub(crate) suite: CipherSuite,
    /// Whether both sides add ephemeral keys.
    forward_secrecy: bool,
    /// The client's ephemeral key, if it has sent one already.
    point: Option<&'h [u8]>,
    psks: OfferedPsks<'h>,
}

impl<'h> Choice<'h> {
    pub(crate) fn make(config: &Config<'_>, hello: &ClientHello<'h>) -> Result<Self, Error> {
        let offered = &hello.extensions;
        // RFC 9147 §5.3, RFC 8446 §4.1.2.
        if !hello.cookie.is_empty() || hello.compression_methods != [0] {
            return Err(PeerMisbehaved::IllegalParameter.into());
        }
        // Without one there would have to be certificates.
        let psks = OfferedPsks::parse(offered.pre_shared_key.ok_or(Error::NoCommonKeyExchange)?)?;
        if offered.pre_shared_key_is_not_last {
            return Err(PeerMisbehaved::IllegalParameter.into());
        }
        let modes = offered.psk_key_exchange_modes.ok_or(PeerMisbehaved::MissingExtension)?;
        let can_be = |suite: &CipherSuite| {
            suite.version() == ProtocolVersion::Dtls13 && hello.cipher_suites.contains(suite.number())
        };
        let suite = config.offered_suites().find(can_be).ok_or(Error::NoCommonSuite)?;
        let has_group = offered.supported_groups.is_some() && offered.allow_x25519();
        // One goes with the other (RFC 8446 §9.2).
        if offered.supported_groups.is_some() != offered.key_share.is_some() && cfg!(feature = "x25519") {
            return Err(PeerMisbehaved::MissingExtension.into());
        }
        let mode = config
            .key_exchange_modes()
            .iter()
            .find(|mode| modes.contains(&mode.number()) && (!mode.has_forward_secrecy() || has_group))
            .ok_or(Error::NoCommonKeyExchange)?;
        let forward_secrecy = mode.has_forward_secrecy();
        let point = match offered.key_share.filter(|_| forward_secrecy) {
            Some(list) => key_share::find(list, X25519)?,
            None => None,
        };
        Ok(Self { suite, forward_secrecy, point, psks })
    }

    /// Whether the client has to be asked for an ephemeral key.
    pub(crate) const fn lacks_key_share(&self) -> bool {
        self.forward_secrecy && self.point.is_none()
    }
}

/// Writes the body of a HelloRetryRequest.
pub(super) fn emit_hello_retry_request(
    suite: CipherSuite,
    with_group: bool,
    cookie: &[u8],
    w: &mut Writer<'_>,
) -> Result<(), BufferFull> {
    ServerHello {
        server_version: version::DTLS12,
        random: HELLO_RETRY_REQUEST_RANDOM,
        session_id: &[],
        cipher_suite: suite.number(),
        compression_method: 0,
        extensions: Extensions {
            supported_versions: Some(&version::DTLS13),
            cookie: Some(cookie),
            key_share: with_group.then_some(&X25519.to_be_bytes()),
            ..Extensions::default()
        },
    }
    .emit(w)
}

/// A server that has answered the ClientHello. It has room for all that is to come from the start, as one of DTLS 1.2 does.
pub(super) struct Server {
    pub(super) pending: Pending,
    pub(super) identity: Identity,
    /// Which of the keys is used that the client has offered.
    selected: u16,
    with_connection_id: bool,
    host: Option<u16>,
    max_fragment_length: Option<MaxFragmentLength>,
    record_size_limit: Option<u16>,
}

impl Server {
    fn new(hello: &ClientHello<'_>, choice: &Choice<'_>, terms: &Terms, random: &ServerRandom) -> Self {
        let agreed = Agreed {
            client_random: hello.random,
            server_random: random.server_random,
            suite: choice.suite,
            forward_secrecy: choice.forward_secrecy,
            #[cfg(feature = "dtls12")]
            extended_master_secret: true,
            own_connection_id: terms.own_connection_id,
            return_routability_check: terms.return_routability_check,
            send_limit: terms.send_limit,
            receive_limit: terms.receive_limit,
            max_fragment_length: terms.max_fragment_length,
            // The ticket that it will get.
            session_id: random.session_id,
        };
        Self {
            pending: Pending::new(agreed, terms.peer_connection_id),
            identity: Identity::EMPTY,
            selected: 0,
            with_connection_id: terms.with_connection_id,
            host: terms.host,
            max_fragment_length: terms.max_fragment_length,
            record_size_limit: terms.record_size_limit,
        }
    }

    /// Writes the ServerHello.
    pub(super) fn emit_server_hello(
        &self,
        key_share: &KeyShare,
        w: &mut Writer<'_>,
    ) -> Result<(), BufferFull> {
        let agreed = &self.pending.agreed;
        let mut entry = [0; 4 + 32];
        let mut entry = Writer::new(&mut entry);
        if agreed.forward_secrecy {
            KeyShareEntry { group: X25519, key_exchange: key_share.public() }.emit(&mut entry)?;
        }
        ServerHello {
            server_version: version::DTLS12,
            random: agreed.server_random,
            // Never the client's (RFC 9147 §5).
            session_id: &[],
            cipher_suite: agreed.suite.number(),
            compression_method: 0,
            extensions: Extensions {
                supported_versions: Some(&version::DTLS13),
                key_share: Some(&*entry.written()).filter(|entry| !entry.is_empty()),
                pre_shared_key: Some(&self.selected.to_be_bytes()),
                connection_id: self.with_connection_id.then_some(agreed.own_connection_id.as_bytes()),
                return_routability_check: agreed.return_routability_check,
                ..Extensions::default()
            },
        }
        .emit(w)
    }

    /// Writes the EncryptedExtensions.
    pub(super) fn emit_encrypted_extensions(&self, w: &mut Writer<'_>) -> Result<(), BufferFull> {
        Extensions {
            server_name: self.host.map(|_| [].as_slice()),
            max_fragment_length: self.max_fragment_length,
            record_size_limit: self.record_size_limit,
            ..Extensions::default()
        }
        .emit_list(w, |_| Ok(()))
    }

    /// Finds the first key that is known among those that the client offers, and checks its binder. One that is not known looks like
    /// one that is wrong, and takes as long (RFC 8446 §6.2).
    fn find_key(
        &mut self,
        context: &Context<'_>,
        store: &dyn PskStore,
        choice: &Choice<'_>,
        dummy: &[u8; RANDOM_LEN],
        transcript: &Transcript,
        now: Instant,
    ) -> Result<(), Error> {
        let mut proof = None;
        let mut found = None;
        for (number, (offered, binder)) in (0..).zip(choice.psks.iter().take(MAX_LOOKUPS)) {
            proof.get_or_insert(binder);
            let kind = self.find_ticket(context, store, offered.identity, now);
            found = kind.or_else(|| self.find_external(context, store, offered.identity));
            if found.is_some() {
                (self.selected, proof) = (number, Some(binder));
                break;
            }
        }
        let known = found.is_some();
        if !known {
            let dummy = Zeroizing::new([*dummy; MAX_KEY_LEN.div_ceil(RANDOM_LEN)]);
            let len = store.dummy_key_len().clamp(1, MAX_KEY_LEN);
            let dummy = dummy.as_flattened().get(..len).unwrap_or_default();
            key_schedule::early_secret(dummy, &mut self.pending.secret);
        }
        let kind = found.unwrap_or(PskKind::External);
        let expected = offered_psks::binder(&self.pending.secret, kind, &transcript.hash());
        let proven = crypto::equal(proof.unwrap_or_default(), &expected);
        if proven & known { Ok(()) } else { Err(Error::AuthenticationFailed) }
    }

    /// The key that goes with a ticket of this server's, if its identity still has the key that it had.
    fn find_ticket(
        &mut self,
        context: &Context<'_>,
        store: &dyn PskStore,
        ticket: &[u8],
        now: Instant,
    ) -> Option<PskKind> {
        let cache = context.config.resumption()?;
        let (mut found, mut revoked) = (false, None);
        cache.get(ticket, now, &mut |session| {
            // Whoever has another host in mind than before begins anew (RFC 8446 §4.6.1).
            if session.session_id() != ticket
                || session.suite.version() != ProtocolVersion::Dtls13
                || session.host != self.host
            {
                return;
            }
            let identity = session.identity.as_bytes();
            psk::with_key_for(store, ProtocolVersion::Dtls13, session.host, identity, &mut |key| {
                found = session.is_under(key);
                if found {
                    self.pending.tag = self.tag_for(context, key);
                }
            });
            if found {
                key_schedule::early_secret(session.psk(), &mut self.pending.secret);
                self.identity = session.identity;
            } else {
                revoked = Some(session.tag);
            }
        });
        if let Some(tag) = revoked {
            cache.forget(tag.as_bytes());
        }
        self.pending.resumed = found;
        found.then_some(PskKind::Resumption)
    }

    /// The key that goes with this identity, or that is imported of it.
    fn find_external(
        &mut self,
        context: &Context<'_>,
        store: &dyn PskStore,
        offered: &[u8],
    ) -> Option<PskKind> {
        let host = self.host;
        let lookup = |server: &mut Self, name: &[u8], make: &dyn Fn(&[u8], &mut Secret)| {
            let identity = Identity::new(name)?;
            let mut found = false;
            store.with_host_key(host, name, &mut |key| match psk::check_key(key) {
                Ok(()) => {
                    make(key, &mut server.pending.secret);
                    server.pending.tag = server.tag_for(context, key);
                    found = true;
                }
                Err(_) => warning!("the key store has a key of {} bytes, which cannot be used", key.len()),
            });
            server.identity = identity;
            found.then_some(())
        };
        if store.usage(offered).dtls13 == Dtls13Use::Direct
            && lookup(self, offered, &|key, out| key_schedule::early_secret(key, out)).is_some()
        {
            return Some(PskKind::External);
        }
        let imported = ImportedIdentity::parse(offered).ok()?;
        let ImportedIdentity { external_identity, context: from } = imported;
        if store.usage(external_identity).dtls13 != (Dtls13Use::Imported { context: from }) {
            return None;
        }
        let make = |key: &[u8], out: &mut Secret| offered_psks::early_secret_of_imported(key, &imported, out);
        lookup(self, external_identity, &make).map(|()| PskKind::Imported)
    }

    /// The tag of the session that this handshake makes, which can be resumed while its identity has this key; empty where nothing is
    /// kept for that.
    fn tag_for(&self, context: &Context<'_>, key: &[u8]) -> ResumptionTag {
        let kept = context.config.resumption().filter(|_| !self.pending.agreed.session_id.is_empty());
        let ticket = self.pending.agreed.session_id;
        kept.map_or(ResumptionTag::EMPTY, |_| ResumableSession::tag_of_ticket(ticket.as_bytes(), key))
    }
}

impl Handshake {
    /// A server's handshake in DTLS 1.3. Where the client's binder does not prove a key, there is none.
    pub(super) fn server13(
        context: &Context<'_>,
        store: &dyn PskStore,
        accepted: &Accepted<'_>,
        random: ServerRandom,
        now: Instant,
    ) -> Result<Self, Error> {
        let Accepted { header, fragment, hello, retry, .. } = accepted;
        let choice = Choice::make(context.config, hello)?;
        if choice.lacks_key_share() {
            return Err(PeerMisbehaved::IllegalParameter.into());
        }
        let terms = Terms::agree(context.config, store, hello, &random, ProtocolVersion::Dtls13)?;
        let state = State::Server13(Server::new(hello, &choice, &terms, &random));
        let mut key_share = random.key_share;
        if choice.forward_secrecy {
            key_share.begin();
        } else {
            key_share.wipe();
        }
        let plain = PlainWriter::starting_at(header.sequence_number);
        let mut handshake = Self::new(context.config, state, key_share, plain, now);
        let core = &mut handshake.core;
        core.next_receive_seq = fragment.message_seq.saturating_add(1);
        core.transcript = match retry {
            Some(retry) => retry.transcript(choice.suite)?,
            None => Transcript::new(ProtocolVersion::Dtls13),
        };
        let proven = fragment.body.len().saturating_sub(choice.psks.binders_len());
        let mut truncated = core.transcript.clone();
        let start = fragment.body.get(..proven).unwrap_or_default();
        truncated.add_start(HandshakeType::ClientHello, fragment.body.len(), start);
        if let State::Server13(server) = &mut core.state {
            server.find_key(context, store, &choice, &random.dummy, &truncated, now)?;
        }
        core.transcript.add(HandshakeType::ClientHello, fragment.message_seq, fragment.body);
        core.answer_hello13(context, &choice, fragment.message_seq, now)?;
        Ok(handshake)
    }
}

impl Retry {
    /// The transcript of all that came before the second ClientHello.
    fn transcript(&self, suite: CipherSuite) -> Result<Transcript, Error> {
        let mut body = [0; MAX_HELLO_RETRY_REQUEST];
        let mut w = Writer::new(&mut body);
        let written = emit_hello_retry_request(suite, self.with_group, &self.cookie, &mut w);
        written.map_err(|_| Error::BufferTooSmall { needed: MAX_HELLO_RETRY_REQUEST })?;
        let mut transcript = Transcript::after_hello(&self.hello_hash);
        transcript.add(HandshakeType::ServerHello, 0, w.written());
        Ok(transcript)
    }
}

/// Longest body in bytes of a HelloRetryRequest of ours: version, random, session id, suite, compression method, and the extensions
/// for the version, the cookie and the group.
pub(super) const MAX_HELLO_RETRY_REQUEST: usize =
    2 + RANDOM_LEN + 1 + 2 + 1 + 2 + (4 + 2) + (4 + 2 + super::cookie::RETRY_COOKIE_LEN) + (4 + 2);

impl Core {
    /// Answers the ClientHello: ServerHello, and under the keys that follow from it EncryptedExtensions and Finished.
    fn answer_hello13(
        &mut self,
        context: &Context<'_>,
        choice: &Choice<'_>,
        message_seq: u16,
        now: Instant,
    ) -> Result<(), Error> {
        self.flight = Flight::new(HELLO_FLIGHT, message_seq);
        self.timer.restart(context.config, now);
        self.add_encoded(context, HandshakeType::ServerHello, message_seq)?;
        let State::Server13(server) = &mut self.state else { return Ok(()) };
        match choice.point {
            Some(point) => {
                let shared = self.key_share.agree(&parse_point(point)?)?;
                server.pending.derive(context, Side::Server, shared.as_ref(), &self.transcript);
            }
            None => server.pending.derive(context, Side::Server, &[], &self.transcript),
        }
        self.add_encoded(context, HandshakeType::EncryptedExtensions, message_seq)?;
        let State::Server13(server) = &mut self.state else { return Ok(()) };
        server.pending.verify_data = server.pending.own_verify_data(&self.transcript);
        self.transcript.add(HandshakeType::Finished, message_seq, &server.pending.verify_data);
        Ok(())
    }

    /// What a server does with a message behind the ClientHello.
    pub(super) fn on_client_message13(
        &mut self,
        context: &Context<'_>,
        message: &Message<'_>,
        now: Instant,
    ) -> Result<Option<Established>, Error> {
        let State::Server13(server) = &mut self.state else { return Ok(None) };
        if message.msg_type != HandshakeType::Finished {
            return Err(PeerMisbehaved::UnexpectedMessage.into());
        }
        let finished = Finished::<VERIFY_DATA13_LEN>::parse(message.body)?;
        let pending = &server.pending;
        if !crypto::equal(&finished.verify_data, &pending.peer_verify_data(&self.transcript)) {
            return Err(PeerMisbehaved::WrongVerifyData.into());
        }
        let last_flight = LastFlight::Acknowledge {
            secret: pending.read.secret().clone(),
            window: pending.read.window(),
            forged: pending.read.forged(),
            until: now + TWICE_MSL,
        };
        let peer = (server.identity, server.host);
        let next_seqs = [self.flight.next_seq(), message.message_seq.wrapping_add(1)];
        let mut established =
            pending.establish(context, Side::Server, peer, &self.transcript, last_flight, next_seqs);
        self.transcript.add(message.msg_type, message.message_seq, message.body);
        established.tickets = pending.issue_ticket(context.config, peer, &self.transcript, now);
        self.state = State::OVER;
        Ok(Some(established))
    }
}
