//! What a server makes of a ClientHello in the same way in both versions: which version it is, what both sides call each other,
//! and how long their records are.

use rand_core::TryCryptoRng;
use zeroize::Zeroizing;

use super::cookie::Retry;
use super::{Context, Handshake, fill_random};
use crate::config::Config;
use crate::connection_id::{OwnConnectionId, PeerConnectionId};
use crate::crypto::key_share::KeyShare;
use crate::error::{Error, PeerMisbehaved};
use crate::psk::{HostLookup, PskStore};
use crate::resumption::{TlsSessionId, draw_session_id};
use crate::time::Instant;
use crate::wire::RANDOM_LEN;
use crate::wire::client_hello::ClientHello;
use crate::wire::handshake::Fragment;
use crate::wire::max_fragment_length::MaxFragmentLength;
use crate::wire::record::{MAX_RECORD_SIZE, RecordHeader};
use crate::wire::version::ProtocolVersion;

/// What a server draws for one handshake.
pub(crate) struct ServerRandom {
    pub(super) server_random: [u8; RANDOM_LEN],
    /// The key that stands in for that of an unknown identity.
    pub(super) dummy: Zeroizing<[u8; RANDOM_LEN]>,
    /// The connection ID to ask for; `None` where this side does not want to hear of any.
    connection_id: Option<OwnConnectionId>,
    /// The name under which the session can be resumed; empty where nothing is kept for that.
    pub(super) session_id: TlsSessionId,
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

/// A ClientHello from an address that its client has shown to receive at.
pub(crate) struct Accepted<'h> {
    pub(crate) version: ProtocolVersion,
    pub(crate) header: &'h RecordHeader<'h>,
    pub(crate) fragment: &'h Fragment<'h>,
    pub(crate) hello: &'h ClientHello<'h>,
    /// What came before it, in DTLS 1.3.
    pub(crate) retry: Option<Retry>,
}

impl Handshake {
    /// A server's handshake, from a ClientHello whose cookie was good; the answer is ready to be sent.
    pub(crate) fn server(
        context: &Context<'_>,
        store: &dyn PskStore,
        accepted: &Accepted<'_>,
        random: ServerRandom,
        now: Instant,
    ) -> Result<Self, Error> {
        match accepted.version {
            #[cfg(feature = "dtls12")]
            ProtocolVersion::Dtls12 => Self::server12(context, store, accepted, random, now),
            #[cfg(feature = "dtls13")]
            ProtocolVersion::Dtls13 => Self::server13(context, store, accepted, random, now),
            #[allow(unreachable_patterns, reason = "but not in a build with one version")]
            _ => Err(PeerMisbehaved::UnsupportedVersion.into()),
        }
    }
}

/// The version that a server speaks with a client: the newest that both know.
pub(crate) fn select_version(config: &Config<'_>, hello: &ClientHello<'_>) -> Result<ProtocolVersion, Error> {
    let accepted = |version: &ProtocolVersion| config.offers_version(*version);
    for version in [ProtocolVersion::Dtls13, ProtocolVersion::Dtls12].into_iter().filter(accepted) {
        if hello.offers_version(version)? {
            return Ok(version);
        }
    }
    // Where DTLS 1.2 would do, the client hears of it once it has repeated a cookie.
    let fallback = Some(ProtocolVersion::Dtls12).filter(accepted);
    fallback.ok_or(PeerMisbehaved::UnsupportedVersion.into())
}

/// What a record holds beside its content, and has room for beyond the longest fragment: in DTLS 1.3, the content type (RFC 8446 §5.4).
/// A `record_size_limit` counts it (RFC 8449 §4).
pub(super) const fn inner_type_len(version: ProtocolVersion) -> u16 {
    match version {
        ProtocolVersion::Dtls12 => 0,
        ProtocolVersion::Dtls13 => 1,
    }
}

/// What both versions agree on in the same way.
pub(super) struct Terms {
    pub(super) own_connection_id: OwnConnectionId,
    pub(super) peer_connection_id: PeerConnectionId,
    /// Whether a connection ID was asked for, and may be answered with an empty one.
    pub(super) with_connection_id: bool,
    pub(super) return_routability_check: bool,
    /// Whose keys the client wants to be looked up, where its server name decides that.
    pub(super) host: Option<u16>,
    /// What the client asked for and gets.
    pub(super) max_fragment_length: Option<MaxFragmentLength>,
    /// What this side asks for.
    pub(super) record_size_limit: Option<u16>,
    pub(super) send_limit: u16,
    pub(super) receive_limit: u16,
}

impl Terms {
    pub(super) fn agree(
        config: &Config<'_>,
        store: &dyn PskStore,
        hello: &ClientHello<'_>,
        random: &ServerRandom,
        version: ProtocolVersion,
    ) -> Result<Self, Error> {
        let offered = &hello.extensions;
        if hello.random == [0; RANDOM_LEN] {
            return Err(PeerMisbehaved::ZeroRandom.into());
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
        let inner_type = inner_type_len(version);
        let fragment = max_fragment_length.map_or(MAX_RECORD_SIZE, MaxFragmentLength::len) + inner_type;
        // A client whose connection ID does not fit into this build goes on without.
        let ids = offered.connection_id.and_then(PeerConnectionId::new).zip(random.connection_id);
        let (peer_connection_id, own_connection_id) =
            ids.unwrap_or((PeerConnectionId::EMPTY, OwnConnectionId::EMPTY));
        Ok(Self {
            own_connection_id,
            peer_connection_id,
            with_connection_id: ids.is_some(),
            return_routability_check: offered.return_routability_check && ids.is_some(),
            host,
            max_fragment_length,
            record_size_limit,
            send_limit: offered.record_size_limit.unwrap_or(fragment).min(MAX_RECORD_SIZE + inner_type),
            receive_limit: record_size_limit.unwrap_or(fragment),
        })
    }
}
