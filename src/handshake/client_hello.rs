//! What a client says first, in both versions at once: the server picks (RFC 6347 §4.2.1, RFC 9147 §5.3).

use rand_core::TryCryptoRng;

use super::fill_random;
use crate::bytes::ByteString;
use crate::config::{Config, PSK_LEN};
use crate::connection_id::OwnConnectionId;
use crate::crypto::key_share::KeyShare;
use crate::error::Error;
#[cfg(feature = "dtls12")]
use crate::error::PeerMisbehaved;
use crate::psk::{MAX_OFFERED_PSKS, Psk};
use crate::resumption::{ResumptionTag, Ticket, TlsSessionId, draw_session_id};
use crate::time::Instant;
use crate::wire::client_hello::{CipherSuites, ClientHello};
use crate::wire::extension::{Extensions, X25519};
#[cfg(feature = "dtls12")]
use crate::wire::max_fragment_length::MaxFragmentLength;
#[cfg(feature = "dtls13")]
use crate::wire::pre_shared_key::PskIdentity;
use crate::wire::suite::{CipherSuite, EMPTY_RENEGOTIATION_INFO_SCSV};
use crate::wire::version::ProtocolVersion;
use crate::wire::{BufferFull, RANDOM_LEN, Writer, version};

/// How many HelloVerifyRequests a client follows. More than one comes when a cookie ran out on its way; without a bound,
/// anyone could keep the client turning.
#[cfg(feature = "dtls12")]
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
    pub(super) random: [u8; RANDOM_LEN],
    pub(super) connection_id: OwnConnectionId,
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
pub(super) struct Offer {
    session_id: TlsSessionId,
    ticket: Ticket,
    pub(super) tag: ResumptionTag,
    #[cfg(feature = "dtls12")]
    pub(super) max_fragment_length: Option<MaxFragmentLength>,
    /// How old a ticket of DTLS 1.3 is, and what came with it; none of DTLS 1.2 has that.
    #[cfg(feature = "dtls13")]
    obfuscated_ticket_age: Option<u32>,
}

impl Offer {
    const NOTHING: Self = Self {
        session_id: TlsSessionId::EMPTY,
        ticket: Ticket::EMPTY,
        tag: ResumptionTag::EMPTY,
        #[cfg(feature = "dtls12")]
        max_fragment_length: None,
        #[cfg(feature = "dtls13")]
        obfuscated_ticket_age: None,
    };

    fn find(config: &Config<'_>, psk: &Psk<'_>, own_id: TlsSessionId, now: Instant) -> Self {
        let mut offer = Self::NOTHING;
        let _ = &own_id;
        let Some(cache) = config.resumption() else { return offer };
        let psks = if offers(config, psk, ProtocolVersion::Dtls13) { len_of_psks(psk) } else { 0 };
        cache.last(now, &mut |session| {
            let version = session.suite.version();
            let is_its =
                |psk: Psk<'_>| session.identity.as_bytes() == psk.identity() && session.is_under(psk.key());
            // DTLS 1.2 has one key for a handshake, and its session would be taken for one under that.
            let of_version = psk.of_version(version).take(if version == ProtocolVersion::Dtls12 {
                1
            } else {
                MAX_OFFERED_PSKS
            });
            if !config.offers(session.suite) || !of_version.into_iter().any(is_its) {
                return;
            }
            let of_dtls13 = if version == ProtocolVersion::Dtls13 { PSK_LEN } else { 0 };
            let fits = |ticket: &Ticket| config.has_room_for_ticket(of_dtls13 + ticket.len(), psks);
            let ticket = Some(session.ticket).filter(|ticket| !ticket.is_empty() && fits(ticket));
            #[cfg(feature = "dtls13")]
            if let (ProtocolVersion::Dtls13, Some(ticket)) = (version, ticket) {
                // Of 32 bits, as RFC 8446 §4.2.11.1 counts.
                let age = now.saturating_since(session.received).as_millis() as u32;
                offer.obfuscated_ticket_age = Some(age.wrapping_add(session.ticket_age_add));
                (offer.ticket, offer.tag) = (ticket, session.tag);
            }
            #[cfg(feature = "dtls12")]
            if version == ProtocolVersion::Dtls12 {
                let length = session.max_fragment_length;
                let suits = length.is_none() || length == config.max_fragment_length();
                // Every hello counts on a session id, but not on one beside the keys of DTLS 1.3.
                let suits = suits && config.has_room_for_ticket(0, psks);
                let (session_id, ticket) =
                    ticket.map_or((session.session_id, Ticket::EMPTY), |ticket| (own_id, ticket));
                if suits && !session_id.is_empty() {
                    (offer.session_id, offer.ticket) = (session_id, ticket);
                    (offer.tag, offer.max_fragment_length) = (session.tag, length);
                }
            }
        });
        offer
    }

    /// Whether it is a ticket of DTLS 1.3.
    #[cfg(feature = "dtls13")]
    pub(super) const fn is_of_dtls13(&self) -> bool {
        self.obfuscated_ticket_age.is_some()
    }

    #[cfg(not(feature = "dtls13"))]
    const fn is_of_dtls13(&self) -> bool {
        false
    }

    /// What DTLS 1.3 calls the key by that goes with the ticket.
    #[cfg(feature = "dtls13")]
    pub(super) fn psk_identity(&self) -> Option<PskIdentity<'_>> {
        let identity = self.ticket.as_bytes();
        self.obfuscated_ticket_age
            .map(|obfuscated_ticket_age| PskIdentity { identity, obfuscated_ticket_age })
    }

    /// What DTLS 1.2 sends of it: empty for a ticket that it asks for.
    fn ticket12(&self) -> &[u8] {
        if self.is_of_dtls13() { &[] } else { self.ticket.as_bytes() }
    }

    /// Whether a server that gives the session this id goes on with the one that it was offered: it repeats the id (RFC 5246
    /// §7.4.1.3).
    #[cfg(feature = "dtls12")]
    pub(super) fn is_taken_by(&self, session_id: &[u8]) -> bool {
        !session_id.is_empty() && session_id == self.session_id.as_bytes()
    }
}

/// Length in bytes of what a hello says about these keys.
#[cfg(feature = "dtls13")]
fn len_of_psks(psk: &Psk<'_>) -> usize {
    super::offered_psks::len_of(psk)
}

#[cfg(not(feature = "dtls13"))]
const fn len_of_psks(_: &Psk<'_>) -> usize {
    0
}

/// Whether a client with this key offers this version.
pub(super) fn offers(config: &Config<'_>, psk: &Psk<'_>, version: ProtocolVersion) -> bool {
    config.offers_version(version) && psk.of_version(version).next().is_some()
}

/// What the ClientHello is encoded from.
#[derive(Clone, Copy)]
pub(super) struct Hello {
    pub(super) random: ClientRandom,
    pub(super) offer: Offer,
    pub(super) cookie: ByteString<255>,
    /// How many HelloVerifyRequests it has followed.
    hello_verify_requests: u16,
    #[cfg(feature = "dtls13")]
    pub(super) psks: super::offered_psks::OfferedPsks,
}

impl Hello {
    /// A hello that offers what the cache has, if that is under this key still.
    pub(super) fn new(config: &Config<'_>, psk: &Psk<'_>, random: ClientRandom, now: Instant) -> Self {
        let offer = Offer::find(config, psk, random.session_id, now);
        Self {
            random,
            offer,
            cookie: ByteString::EMPTY,
            hello_verify_requests: 0,
            #[cfg(feature = "dtls13")]
            psks: super::offered_psks::OfferedPsks::UNBOUND,
        }
    }

    /// Whether it has followed a HelloVerifyRequest.
    pub(super) const fn has_followed(&self) -> bool {
        self.hello_verify_requests > 0
    }

    pub(super) const fn was_answered(&self) -> bool {
        self.has_followed() || self.was_retried()
    }

    /// Writes the body.
    pub(super) fn emit(
        &self,
        config: &Config<'_>,
        psk: &Psk<'_>,
        key_share: &KeyShare,
        w: &mut Writer<'_>,
    ) -> Result<(), BufferFull> {
        let mut suites = [0; 2 * (CipherSuite::ALL.len() + 1)];
        let mut list = Writer::new(&mut suites);
        for suite in config.offered_suites().filter(|suite| offers(config, psk, suite.version())) {
            list.u16(suite.number())?;
        }
        if offers(config, psk, ProtocolVersion::Dtls12) {
            list.u16(EMPTY_RENEGOTIATION_INFO_SCSV)?;
        }
        // A HelloRetryRequest's cookie goes into an extension (RFC 9147 §5.1).
        let cookie = if self.was_retried() { &[] } else { self.cookie.as_bytes() };
        let hello = ClientHello {
            client_version: version::DTLS12,
            random: self.random.random,
            session_id: self.offer.session_id.as_bytes(),
            cookie,
            cipher_suites: CipherSuites(list.written()),
            compression_methods: &[0],
            extensions: self.extensions(config, psk),
        };
        self.emit_with_dtls13(hello, config, psk, key_share, w)
    }

    #[cfg(not(feature = "dtls13"))]
    fn emit_with_dtls13(
        &self,
        hello: ClientHello<'_>,
        _: &Config<'_>,
        _: &Psk<'_>,
        _: &KeyShare,
        w: &mut Writer<'_>,
    ) -> Result<(), BufferFull> {
        hello.emit(w)
    }

    #[cfg(not(feature = "dtls13"))]
    pub(super) const fn was_retried(&self) -> bool {
        false
    }

    /// What is offered, but for what only DTLS 1.3 knows: each costs airtime, so none but what was asked for.
    pub(super) fn extensions<'h>(&'h self, config: &'h Config<'_>, psk: &Psk<'_>) -> Extensions<'h> {
        let connection_id = config.connection_id_len().map(|_| self.random.connection_id.as_bytes());
        let dtls12 = offers(config, psk, ProtocolVersion::Dtls12);
        let wants_forward_secrecy = config.wants_forward_secrecy();
        Extensions {
            supported_groups: wants_forward_secrecy.then_some(&X25519_ALONE),
            ec_point_formats: wants_forward_secrecy && dtls12,
            extended_master_secret: dtls12,
            server_name: config.server_name().map(str::as_bytes),
            max_fragment_length: config.max_fragment_length(),
            record_size_limit: config.record_size_limit(),
            // An empty one asks for a ticket.
            session_ticket: config.resumption().filter(|_| dtls12).map(|_| self.offer.ticket12()),
            connection_id,
            // RFC 9853 §3: nothing without connection IDs.
            return_routability_check: connection_id.is_some(),
            ..Extensions::default()
        }
    }

    /// Takes a HelloVerifyRequest's cookie over.
    #[cfg(feature = "dtls12")]
    pub(super) fn follow(&mut self, cookie: &[u8]) -> Result<(), Error> {
        // There is one for each version, and none of the other once a server has shown which it speaks.
        if self.hello_verify_requests >= MAX_HELLO_VERIFY_REQUESTS || self.was_retried() {
            return Err(PeerMisbehaved::UnexpectedMessage.into());
        }
        self.hello_verify_requests += 1;
        // A vector with a length of one byte always fits.
        self.cookie = ByteString::new(cookie).unwrap_or(ByteString::EMPTY);
        Ok(())
    }
}
