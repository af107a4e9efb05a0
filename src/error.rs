//! What can go wrong, by reason, and what to check.

use crate::wire::InvalidMessage;
use crate::wire::alert::AlertDescription;

/// Everything that can go wrong with a connection.
///
/// An invalid *record* is none of these: it is dropped, counted in [`Stats`](crate::Stats), and nothing else changes.
///
/// `Display` says what happened and what to check:
///
/// ```
/// use dtls_psk::Error;
///
/// assert_eq!(
///     Error::NoAnswerToKeyExchange.to_string(),
///     "no answer after the key exchange: does the server know this identity, with the same key?",
/// );
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Error {
    /// A PSK identity is longer than [`MAX_IDENTITY_LEN`](crate::MAX_IDENTITY_LEN).
    IdentityTooLong,
    /// A key is longer than [`MAX_KEY_LEN`](crate::MAX_KEY_LEN).
    KeyTooLong,
    /// A key has no bytes.
    EmptyKey,
    /// A client has more keys to offer than [`MAX_OFFERED_PSKS`](crate::MAX_OFFERED_PSKS).
    TooManyKeys,
    /// A field of the [`Config`](crate::Config) is out of its range.
    InvalidConfig(ConfigField),
    /// The random number generator failed or returned only zeros. Nothing was started.
    RandomFailed,
    /// The [`CryptoProvider`](crate::CryptoProvider) could not seal a record.
    CryptoFailed,
    /// The caller's buffer cannot hold what has to be written.
    BufferTooSmall {
        /// Bytes that would do.
        needed: usize,
    },
    /// A payload is longer than a record may be: 16,384 bytes (RFC 5246 §6.2.1), or less where the peer has asked for less
    /// (RFC 6066 §4, RFC 8449).
    PayloadTooLong {
        /// The longest payload in bytes that this session can send.
        max: usize,
    },
    /// The server never answered.
    NoAnswer,
    /// The server answered the hello, and fell silent once it had the identity. Servers that hide which identities they
    /// know do that on a wrong key.
    NoAnswerToKeyExchange,
    /// The peer began the handshake and did not bring it to its end in time.
    HandshakeTimeout,
    /// The server saw two flights of this identity whose records its key does not open: identity or key are wrong.
    AuthenticationFailed,
    /// The client speaks to a server by a name that is not here (RFC 6066 §3). A client learns of it by
    /// [`AlertReceived`](Self::AlertReceived) with `unrecognized_name`.
    UnrecognizedName,
    /// The client offers no cipher suite that this server is configured for. A client learns of it by
    /// [`AlertReceived`](Self::AlertReceived) with `handshake_failure`.
    NoCommonSuite,
    /// The client does not offer a pre-shared key, or no way to use it that the server is configured for
    /// (`Config::with_key_exchange_modes`). A client learns of it by [`AlertReceived`](Self::AlertReceived) with
    /// `handshake_failure`.
    NoCommonKeyExchange,
    /// The peer ended the association with this alert.
    AlertReceived(AlertDescription),
    /// The peer sent bytes that are not the message they claim to be.
    InvalidMessage(InvalidMessage),
    /// The peer sent a message that is well formed and against the rules.
    PeerMisbehaved(PeerMisbehaved),
    /// There is no established session (yet, or any more).
    NotConnected,
    /// A label for exported keying material that DTLS itself uses.
    #[cfg(feature = "exporter")]
    ReservedLabel,
    /// The peer closed the session (close_notify).
    Closed,
    /// A stack has the same identity and key as a client and as a server: then somebody could have it talk to itself (RFC 9257 §4.1).
    OneKeyForBothRoles,
    /// A socket cannot be bound without an endpoint for its peers, or while another one has it.
    NoStorage,
    /// The key has sealed as many records as its algorithm allows
    /// ([`AeadAlgorithm::seal_limit`](crate::AeadAlgorithm::seal_limit)). Connect again; receiving goes on.
    SealLimitReached,
    /// The key has refused as many forged records as it may, and the configuration says that this ends a session
    /// ([`Config::with_close_at_forgery_limit`](crate::Config::with_close_at_forgery_limit)).
    ForgeryLimitReached,
    /// The server goes on with a session that the cache has forgotten meanwhile. The next handshake will be a full one.
    ResumptionFailed,
    /// The record numbers that the last checkpoint kept for this session are used up
    /// ([`Connection::checkpoint`](crate::Connection::checkpoint)). Take another one.
    CheckpointNeeded,
    /// A saved session cannot be restored: it was not sealed under this key with this counter, by this version of this
    /// crate and in this role, or it is damaged. Nothing of it was used.
    InvalidImage,
    /// The identity of a saved session is not in the key store any more, or not with the same key.
    IdentityRevoked,
    /// The connection ID of a saved session belongs to another session of this endpoint by now. Restore before you serve.
    ConnectionIdTaken,
    /// The session is not one of DTLS 1.3, or has no connection ID in this direction.
    NoConnectionId,
    /// The other side has not given a connection ID to go on with yet, or has not used the last one.
    ConnectionIdPending,
    /// Only a session of DTLS 1.3 changes its keys, and not for ever: connect again, for a new one.
    UpdateImpossible,
    /// The peer's address has changed, and nothing has shown yet that it receives there: only three times as many bytes
    /// go to the new address as came from it (RFC 9853 §5). Try again, or let the application prove the address.
    AddressNotProven,
}

/// How a peer broke the rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum PeerMisbehaved {
    /// A message came that has no place at this point of the handshake.
    UnexpectedMessage,
    /// The other side speaks another version.
    UnsupportedVersion,
    /// The server knows DTLS 1.3 and did not see it offered: somebody has taken it out of the hello (RFC 8446 §4.1.3).
    Downgrade,
    /// A message lacks an extension that it must have (RFC 8446 §9.2).
    MissingExtension,
    /// A server of DTLS 1.3 repeats the client's session id (RFC 9147 §5).
    SessionIdEcho,
    /// A hello brings back a cookie that was not given to this client, or long ago (RFC 9147 §5.1).
    InvalidCookie,
    /// A server chose a pre-shared key that was not offered.
    SelectedUnofferedIdentity,
    /// A field or an extension of a message has a value, or a place, that it must not have there.
    IllegalParameter,
    /// The server chose what the client did not offer.
    SelectedUnofferedSuite,
    /// The server accepted an extension that the client did not offer (RFC 5246 §7.4.1.4).
    UnofferedExtension,
    /// The server chose another `max_fragment_length` than the client asked for (RFC 6066 §4), or that and
    /// `record_size_limit` at once (RFC 8449 §5).
    WrongSizeLimit,
    /// The server's ephemeral key is on another group than X25519, the one that the client offered (RFC 8422 §5.4).
    WrongGroup,
    /// The peer's ephemeral key is one with which anybody could compute the shared secret (RFC 8422 §5.11).
    WeakKeyShare,
    /// The server asks for a connection ID longer than this build can send.
    ConnectionIdTooLong,
    /// A compression method other than none was chosen, or none was not offered.
    Compression,
    /// The hello is one of a renegotiation (RFC 5746), where there is nothing to renegotiate.
    Renegotiation,
    /// The peer does not know the extended master secret (RFC 7627), and the configuration requires it.
    NoExtendedMasterSecret,
    /// The peer's random bytes are all zero: its generator is broken.
    ZeroRandom,
    /// The Finished message does not fit the handshake that this side saw.
    WrongVerifyData,
}

/// A field of the [`Config`](crate::Config).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum ConfigField {
    /// [`Config::with_suites`](crate::Config::with_suites).
    Suites,
    /// [`Config::with_versions`](crate::Config::with_versions), or [`Psk::with_use`](crate::Psk::with_use): there is none that both allow.
    Versions,
    /// [`Config::with_key_exchange_modes`](crate::Config::with_key_exchange_modes).
    #[cfg(feature = "dtls13")]
    KeyExchangeModes,
    /// [`Config::with_mtu`](crate::Config::with_mtu).
    Mtu,
    /// [`Config::with_retransmission`](crate::Config::with_retransmission).
    Retransmission,
    /// [`Config::with_handshake_timeout`](crate::Config::with_handshake_timeout).
    HandshakeTimeout,
    /// [`Config::with_identity_hint`](crate::Config::with_identity_hint).
    IdentityHint,
    /// [`Config::with_connection_id`](crate::Config::with_connection_id).
    ConnectionId,
    /// [`Config::with_record_size_limit`](crate::Config::with_record_size_limit).
    RecordSizeLimit,
    /// [`Config::with_server_name`](crate::Config::with_server_name).
    ServerName,
    /// [`Config::with_ccm_8_forgery_limit`](crate::Config::with_ccm_8_forgery_limit).
    Ccm8ForgeryLimit,
}

impl core::fmt::Display for Error {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let text = match self {
            Self::IdentityTooLong => {
                return write!(f, "the PSK identity is too long: {} bytes at most", crate::MAX_IDENTITY_LEN);
            }
            Self::KeyTooLong => {
                return write!(f, "the pre-shared key is too long: {} bytes at most", crate::MAX_KEY_LEN);
            }
            Self::EmptyKey => "the pre-shared key is empty",
            Self::TooManyKeys => {
                return write!(f, "too many keys to offer: {} at most", crate::MAX_OFFERED_PSKS);
            }
            Self::InvalidConfig(field) => {
                return write!(f, "the configuration is invalid: {field}");
            }
            Self::RandomFailed => "the random number generator failed",
            Self::CryptoFailed => "the crypto provider failed to seal a record",
            Self::BufferTooSmall { needed } => {
                return write!(f, "the buffer is too small: {needed} bytes are needed");
            }
            Self::PayloadTooLong { max } => {
                return write!(f, "the payload is too long for a record: {max} bytes at most");
            }
            Self::NoAnswer => {
                "no answer: is the server running at this address and port, and can it be reached?"
            }
            Self::NoAnswerToKeyExchange => {
                "no answer after the key exchange: does the server know this identity, with the same key?"
            }
            Self::HandshakeTimeout => {
                "the handshake did not finish in time: is there a cipher suite that both sides are configured for, and does the network lose most datagrams?"
            }
            Self::AuthenticationFailed => {
                "the peer's key does not fit: are identity and key the same on both sides?"
            }
            Self::UnrecognizedName => "the client asks for a server of another name",
            Self::NoCommonKeyExchange => {
                "no common key exchange: does the client offer a pre-shared key, with forward secrecy where the server wants it?"
            }
            Self::NoCommonSuite => "no common cipher suite: which suites is the other side configured for?",
            Self::AlertReceived(description) => {
                write!(f, "the peer ended the connection with alert {description}")?;
                return f.write_str(match *description {
                    // close_notify in a handshake: how GnuTLS gives up on a flight that it cannot open.
                    AlertDescription::CLOSE_NOTIFY
                    | AlertDescription::DECRYPT_ERROR
                    | AlertDescription::UNKNOWN_PSK_IDENTITY => {
                        ": are identity and key the same on both sides?"
                    }
                    AlertDescription::HANDSHAKE_FAILURE => {
                        ": is there a cipher suite that both sides are configured for?"
                    }
                    AlertDescription::PROTOCOL_VERSION => {
                        ": is there a version that both sides are configured for?"
                    }
                    _ => "",
                });
            }
            Self::InvalidMessage(reason) => {
                return write!(f, "the peer sent an invalid message: {reason:?}");
            }
            Self::PeerMisbehaved(reason) => {
                return write!(f, "the peer broke the rules: {reason:?}");
            }
            Self::NotConnected => "there is no established session",
            #[cfg(feature = "exporter")]
            Self::ReservedLabel => "this label is one that DTLS itself uses",
            Self::Closed => "the peer closed the session",
            Self::OneKeyForBothRoles => {
                "client and server have the same identity and key, so that it could talk to itself: give each direction its own"
            }
            Self::NoStorage => "there is no endpoint for a bound socket, or another one has it",
            Self::SealLimitReached => "the key has sealed as many records as it may: connect again",
            Self::ForgeryLimitReached => {
                "too many forged records: is someone attacking this session? Connect again, for a new key"
            }
            Self::ResumptionFailed => {
                "the session that was to be resumed is not in the cache any more: connect again"
            }
            Self::CheckpointNeeded => {
                "the record numbers of the last checkpoint are used up: take another one"
            }
            Self::InvalidImage => {
                "the saved session cannot be restored: is it the newest one, with its own key and counter, from the same firmware?"
            }
            Self::IdentityRevoked => "the saved session's identity is not known any more, or has another key",
            Self::ConnectionIdTaken => {
                "another session has the saved session's connection ID: restore before you serve"
            }
            Self::NoConnectionId => {
                "there is no connection ID to change: is it DTLS 1.3, with connection IDs in this direction?"
            }
            Self::ConnectionIdPending => {
                "the other side has not answered about connection IDs yet: try again later"
            }
            Self::UpdateImpossible => "only a session of DTLS 1.3 changes its keys: connect again",
            Self::AddressNotProven => {
                "the peer's address has changed, and is not proven yet: is its answer to the return routability check on the way?"
            }
        };
        f.write_str(text)
    }
}

impl core::error::Error for Error {}

impl core::fmt::Display for ConfigField {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Suites => "suites must name at least one of a version that is wanted, and none twice",
            Self::Versions => "there is no version that both the configuration and the key may be used for",
            #[cfg(feature = "dtls13")]
            Self::KeyExchangeModes => "the key exchange modes of DTLS 1.3 must name at least one",
            Self::Mtu => "the MTU must hold the longest ClientHello, and at most 65535 bytes",
            Self::Retransmission => {
                "the first retransmission timeout must be at least 1 ms and not above the longest"
            }
            Self::HandshakeTimeout => "the handshake timeout must not be below the first retransmission's",
            Self::IdentityHint => "the identity hint must be at most 128 bytes",
            Self::ConnectionId => {
                "connection IDs must be at most 8 bytes, long enough to tell all sessions of the storage apart, and need the feature `connection-id`"
            }
            Self::RecordSizeLimit => "the record size limit must be 64 to 16384 bytes",
            Self::ServerName => "the server name must be 1 to 128 characters of ASCII",
            Self::Ccm8ForgeryLimit => "the forgery limit of CCM_8 must be at least 2",
        })
    }
}

impl From<InvalidMessage> for Error {
    fn from(reason: InvalidMessage) -> Self {
        Self::InvalidMessage(reason)
    }
}

impl From<PeerMisbehaved> for Error {
    fn from(reason: PeerMisbehaved) -> Self {
        Self::PeerMisbehaved(reason)
    }
}

impl Error {
    /// The alert that tells the peer of it.
    pub(crate) const fn alert(self) -> AlertDescription {
        match self {
            Self::InvalidMessage(InvalidMessage::IllegalValue) => AlertDescription::ILLEGAL_PARAMETER,
            Self::InvalidMessage(_) => AlertDescription::DECODE_ERROR,
            Self::NoCommonSuite | Self::NoCommonKeyExchange => AlertDescription::HANDSHAKE_FAILURE,
            Self::UnrecognizedName => AlertDescription::UNRECOGNIZED_NAME,
            Self::AuthenticationFailed => AlertDescription::DECRYPT_ERROR,
            Self::PeerMisbehaved(reason) => match reason {
                PeerMisbehaved::UnexpectedMessage => AlertDescription::UNEXPECTED_MESSAGE,
                PeerMisbehaved::UnsupportedVersion => AlertDescription::PROTOCOL_VERSION,
                PeerMisbehaved::UnofferedExtension => AlertDescription::UNSUPPORTED_EXTENSION,
                PeerMisbehaved::MissingExtension => AlertDescription::MISSING_EXTENSION,
                PeerMisbehaved::SelectedUnofferedSuite
                | PeerMisbehaved::Downgrade
                | PeerMisbehaved::SessionIdEcho
                | PeerMisbehaved::InvalidCookie
                | PeerMisbehaved::SelectedUnofferedIdentity
                | PeerMisbehaved::IllegalParameter
                | PeerMisbehaved::Compression
                | PeerMisbehaved::WrongSizeLimit
                | PeerMisbehaved::ConnectionIdTooLong
                | PeerMisbehaved::WrongGroup
                | PeerMisbehaved::WeakKeyShare
                | PeerMisbehaved::ZeroRandom => AlertDescription::ILLEGAL_PARAMETER,
                PeerMisbehaved::Renegotiation | PeerMisbehaved::NoExtendedMasterSecret => {
                    AlertDescription::HANDSHAKE_FAILURE
                }
                PeerMisbehaved::WrongVerifyData => AlertDescription::DECRYPT_ERROR,
            },
            _ => AlertDescription::INTERNAL_ERROR,
        }
    }
}
