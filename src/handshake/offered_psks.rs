//! The pre-shared keys that a client offers in DTLS 1.3, and the binders that prove it holds them (RFC 8446 §4.2.11).

use super::client_hello::{Hello, offers};
use super::transcript::Transcript;
use super::transmit::MAX_OUTGOING;
use super::{Context, Core, State};
use crate::bytes::ByteString;
use crate::config::{Config, PSK_LEN};
use crate::crypto::hmac::HASH_LEN;
use crate::crypto::key_schedule::{self, PskKind, Secret, no_secret};
use crate::crypto::key_share::KeyShare;
use crate::error::{ConfigField, Error, PeerMisbehaved};
use crate::psk::{Dtls13Use, Identity, MAX_OFFERED_PSKS, Psk};
use crate::time::Instant;
use crate::wire::client_hello::ClientHello;
use crate::wire::extension::{Extensions, X25519};
use crate::wire::handshake::{self, HandshakeType};
use crate::wire::imported_identity::{self, ImportedIdentity};
use crate::wire::key_share::KeyShareEntry;
use crate::wire::pre_shared_key::{self, BINDER_LEN};
use crate::wire::record;
use crate::wire::suite::CipherSuite;
use crate::wire::version::ProtocolVersion;
use crate::wire::{BufferFull, Writer};

/// How many keys a client offers at most: its own, and that of a ticket.
const MAX_OFFERED: usize = MAX_OFFERED_PSKS + 1;

/// What a client's `supported_versions` holds.
static DTLS13_ALONE: [u8; 3] = [2, 0xFE, 0xFC];
static BOTH_VERSIONS: [u8; 5] = [4, 0xFE, 0xFC, 0xFE, 0xFD];

/// What the extensions of DTLS 1.3 are encoded from.
#[derive(Clone, Copy)]
pub(super) struct OfferedPsks {
    binders: [[u8; BINDER_LEN]; MAX_OFFERED],
    /// How many keys are offered.
    len: u8,
    /// The suite of the HelloRetryRequest that this hello answers.
    pub(super) retried: Option<CipherSuite>,
}

impl OfferedPsks {
    /// Nothing is proven yet.
    pub(super) const UNBOUND: Self = Self { binders: [[0; BINDER_LEN]; MAX_OFFERED], len: 0, retried: None };

    fn binders(&self) -> &[[u8; BINDER_LEN]] {
        self.binders.get(..self.len.into()).unwrap_or_default()
    }
}

/// Makes the Early Secret of a key that a client holds, and says which kind it is.
fn early_secret_of(psk: &Psk<'_>, out: &mut Secret) -> PskKind {
    let Dtls13Use::Imported { context } = psk.usage().dtls13 else {
        key_schedule::early_secret(psk.key(), out);
        return PskKind::External;
    };
    early_secret_of_imported(
        psk.key(),
        &ImportedIdentity { external_identity: psk.identity(), context },
        out,
    );
    PskKind::Imported
}

/// Makes the Early Secret of a key that is imported of `external`.
pub(super) fn early_secret_of_imported(external: &[u8], identity: &ImportedIdentity<'_>, out: &mut Secret) {
    let mut bytes = [0; imported_identity::MAX_LEN];
    let mut w = Writer::new(&mut bytes);
    let mut imported = no_secret();
    // The longest fits.
    if identity.emit(&mut w).is_ok() {
        key_schedule::imported_psk(external, w.written(), &mut imported);
    }
    key_schedule::early_secret(imported.as_ref(), out);
}

/// Length in bytes of what a hello says about these keys.
pub(super) fn len_of(psk: &Psk<'_>) -> usize {
    let len = |psk: Psk<'_>| match psk.usage().dtls13 {
        Dtls13Use::Imported { context } => PSK_LEN + 8 + psk.identity().len() + context.len(),
        _ => PSK_LEN + psk.identity().len(),
    };
    psk.of_version(ProtocolVersion::Dtls13).map(len).sum()
}

fn emit_identity(psk: &Psk<'_>, w: &mut Writer<'_>) -> Result<(), BufferFull> {
    match psk.usage().dtls13 {
        Dtls13Use::Imported { context } => {
            w.nested16(|w| ImportedIdentity { external_identity: psk.identity(), context }.emit(w))?;
        }
        _ => w.vec16(psk.identity())?,
    }
    // The age of a key that never was a ticket (RFC 8446 §4.2.11).
    w.bytes(&[0; 4])
}

/// The key that a server has chosen.
pub(super) struct Selected {
    pub(super) identity: Identity,
    /// Whether it is that of the ticket.
    pub(super) resumed: bool,
}

impl Hello {
    /// Makes the Early Secret of the key that the server has chosen, with this number among those that were offered.
    pub(super) fn select(
        &self,
        context: &Context<'_>,
        psk: &Psk<'_>,
        selected: u16,
        now: Instant,
        out: &mut Secret,
    ) -> Result<Selected, Error> {
        let number = match (self.offer.is_of_dtls13(), selected.checked_sub(1)) {
            (true, None) => {
                let identity =
                    self.early_secret_of_ticket(context, now, out).ok_or(Error::ResumptionFailed)?;
                return Ok(Selected { identity, resumed: true });
            }
            (true, Some(number)) => number,
            (false, _) => selected,
        };
        let chosen = psk.of_version(ProtocolVersion::Dtls13).nth(number.into());
        let chosen = chosen.ok_or(PeerMisbehaved::SelectedUnofferedIdentity)?;
        early_secret_of(&chosen, out);
        let identity = Identity::new(chosen.identity()).ok_or(Error::IdentityTooLong)?;
        Ok(Selected { identity, resumed: false })
    }

    /// Makes the Early Secret of the key that goes with the ticket that is offered, if the cache still has it.
    fn early_secret_of_ticket(
        &self,
        context: &Context<'_>,
        now: Instant,
        out: &mut Secret,
    ) -> Option<Identity> {
        let mut identity = None;
        context.config.resumption()?.last(now, &mut |session| {
            if session.tag.as_bytes() == self.offer.tag.as_bytes() {
                key_schedule::early_secret(session.psk(), out);
                identity = Some(session.identity);
            }
        });
        identity
    }
}

impl Hello {
    pub(super) const fn was_retried(&self) -> bool {
        self.psks.retried.is_some()
    }

    /// Takes a HelloRetryRequest's cookie over, and remembers its suite.
    pub(super) fn retry(&mut self, suite: CipherSuite, cookie: &[u8]) -> Result<(), Error> {
        // A longer one than any server makes: it would not fit into a datagram with the rest.
        self.cookie = ByteString::new(cookie).ok_or(PeerMisbehaved::IllegalParameter)?;
        self.psks.retried = Some(suite);
        Ok(())
    }

    /// Writes a body with all that DTLS 1.3 knows alone.
    pub(super) fn emit_with_dtls13(
        &self,
        hello: ClientHello<'_>,
        config: &Config<'_>,
        psk: &Psk<'_>,
        key_share: &KeyShare,
        w: &mut Writer<'_>,
    ) -> Result<(), BufferFull> {
        if !offers(config, psk, ProtocolVersion::Dtls13) {
            return hello.emit(w);
        }
        let mut modes = [0; 2];
        let mut list = Writer::new(&mut modes);
        for mode in config.key_exchange_modes() {
            list.u8(mode.number())?;
        }
        let mut entry = [0; 2 + 4 + 32];
        let mut entry = Writer::new(&mut entry);
        if config.offers_key_share() {
            KeyShareEntry { group: X25519, key_exchange: key_share.public() }.emit_alone(&mut entry)?;
        } else if hello.extensions.supported_groups.is_some() {
            // The groups are for DTLS 1.2, and one goes with the other (RFC 8446 §9.2).
            entry.u16(0)?;
        }
        let with_dtls12 = offers(config, psk, ProtocolVersion::Dtls12);
        let extensions = Extensions {
            supported_versions: Some(if with_dtls12 { &BOTH_VERSIONS } else { &DTLS13_ALONE }),
            cookie: Some(self.cookie.as_bytes()).filter(|_| self.was_retried() && !self.cookie.is_empty()),
            psk_key_exchange_modes: Some(list.written()),
            key_share: Some(&*entry.written()).filter(|entry| !entry.is_empty()),
            ..hello.extensions
        };
        ClientHello { extensions, ..hello }.emit_with(w, |w| {
            let identities = |w: &mut Writer<'_>| {
                if let Some(ticket) = self.offer.psk_identity() {
                    pre_shared_key::emit_identity(w, ticket)?;
                }
                psk.of_version(ProtocolVersion::Dtls13).try_for_each(|psk| emit_identity(&psk, w))
            };
            pre_shared_key::emit(w, identities, self.psks.binders())
        })
    }
}

impl Core {
    /// Readies the hello for DTLS 1.3: computes the public key, and the binders, which follow from all the rest and from what was said
    /// before, if anything was.
    ///
    /// # Errors
    /// A hello that does not fit into a datagram.
    pub(super) fn offer13(
        &mut self,
        context: &Context<'_>,
        psk: &Psk<'_>,
        before: Option<&Transcript>,
        now: Instant,
    ) -> Result<(), Error> {
        if !offers(context.config, psk, ProtocolVersion::Dtls13) {
            return Ok(());
        }
        if before.is_none() && context.config.offers_key_share() {
            self.key_share.begin();
        }
        let State::ClientAwaitsServerHello(hello) = &mut self.state else { return Ok(()) };
        let keys = psk.of_version(ProtocolVersion::Dtls13);
        hello.psks.len = (usize::from(hello.offer.is_of_dtls13()) + keys.count()) as u8;
        let mut scratch = [0; MAX_OUTGOING];
        let body = self.encode(context, HandshakeType::ClientHello, &mut scratch)?;
        let len = record::HEADER_LEN + handshake::HEADER_LEN + body.len();
        if before.is_none() && len > context.config.mtu() {
            return Err(Error::InvalidConfig(ConfigField::Mtu));
        }
        let State::ClientAwaitsServerHello(hello) = &mut self.state else { return Ok(()) };
        let binders_len = 2 + usize::from(hello.psks.len) * (1 + BINDER_LEN);
        let truncated = body.get(..body.len() - binders_len).unwrap_or_default();
        let mut transcript = before.cloned().unwrap_or_else(|| Transcript::new(ProtocolVersion::Dtls13));
        transcript.add_start(HandshakeType::ClientHello, body.len(), truncated);
        hello.bind(context, psk, &transcript.hash(), now)
    }
}

impl Hello {
    /// Makes the binder of each key that is offered.
    fn bind(
        &mut self,
        context: &Context<'_>,
        psk: &Psk<'_>,
        hash: &[u8; HASH_LEN],
        now: Instant,
    ) -> Result<(), Error> {
        let mut early = no_secret();
        let mut binders = self.psks.binders;
        let mut places = binders.iter_mut();
        if self.offer.is_of_dtls13() {
            // The cache may have forgotten it meanwhile.
            self.early_secret_of_ticket(context, now, &mut early).ok_or(Error::ResumptionFailed)?;
            if let Some(place) = places.next() {
                *place = binder(&early, PskKind::Resumption, hash);
            }
        }
        for (psk, place) in psk.of_version(ProtocolVersion::Dtls13).zip(places) {
            let kind = early_secret_of(&psk, &mut early);
            *place = binder(&early, kind, hash);
        }
        self.psks.binders = binders;
        Ok(())
    }
}

/// The proof that its maker holds the key with this Early Secret, behind a transcript with this hash (RFC 8446 §4.2.11.2).
pub(super) fn binder(early: &Secret, kind: PskKind, hash: &[u8; HASH_LEN]) -> [u8; BINDER_LEN] {
    let mut binder_key = no_secret();
    key_schedule::binder_key(early, kind, &mut binder_key);
    key_schedule::verify_data(&binder_key, hash)
}
