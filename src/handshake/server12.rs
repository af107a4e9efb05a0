//! The server's side of the DTLS 1.2 handshake (RFC 6347 §4.2, RFC 4279 §2).

use rand_core::TryCryptoRng;
use zeroize::Zeroizing;

use super::flight::{Flight, Outgoing};
use super::keys12::{Agreed, Keys};
use super::{Context, Core, Established, LastFlight, Message, Pending, Role, State, fill_random};
use crate::config::Config;
use crate::crypto;
use crate::error::{Error, PeerMisbehaved};
use crate::log::warning;
use crate::psk::{self, Identity, MAX_KEY_LEN, PskStore};
use crate::wire::client_hello::ClientHello;
use crate::wire::client_key_exchange::ClientKeyExchange;
use crate::wire::extension::Extensions;
use crate::wire::finished::Finished;
use crate::wire::handshake::HandshakeType;
use crate::wire::server_hello::ServerHello;
use crate::wire::server_key_exchange::ServerKeyExchange;
use crate::wire::{BufferFull, RANDOM_LEN, Writer, version};

/// What a server draws for one handshake.
pub(crate) struct ServerRandom {
    server_random: [u8; RANDOM_LEN],
    /// The key that stands in for that of an unknown identity.
    dummy: Zeroizing<[u8; RANDOM_LEN]>,
}

impl ServerRandom {
    pub(crate) fn draw<R: TryCryptoRng + ?Sized>(rng: &mut R) -> Result<Self, Error> {
        let mut random = Self { server_random: [0; RANDOM_LEN], dummy: Zeroizing::new([0; RANDOM_LEN]) };
        fill_random(rng, &mut random.server_random)?;
        fill_random(rng, random.dummy.as_mut())?;
        Ok(random)
    }
}

/// A server that has answered the ClientHello: what the answer is encoded from.
pub(super) struct HelloSeen {
    pub(super) agreed: Agreed,
    renegotiation_info: bool,
    dummy: Zeroizing<[u8; RANDOM_LEN]>,
}

impl HelloSeen {
    /// Chooses among what the client offers.
    pub(super) fn negotiate(
        config: &Config<'_>,
        hello: &ClientHello<'_>,
        random: ServerRandom,
    ) -> Result<Self, Error> {
        let ServerRandom { server_random, dummy } = random;
        let [major, minor] = hello.client_version;
        let [our_major, our_minor] = version::DTLS12;
        // Versions count downwards: a client that speaks something newer speaks 1.2 too (RFC 5246 appendix E.1).
        if major != our_major || minor > our_minor {
            return Err(PeerMisbehaved::UnsupportedVersion.into());
        }
        if hello.random == [0; RANDOM_LEN] {
            return Err(PeerMisbehaved::ZeroRandom.into());
        }
        if !hello.compression_methods.contains(&0) {
            return Err(PeerMisbehaved::Compression.into());
        }
        let mut suites = config.suites().iter().copied();
        let suite =
            suites.find(|suite| hello.cipher_suites.contains(suite.number())).ok_or(Error::NoCommonSuite)?;
        let extended_master_secret = hello.extensions.extended_master_secret;
        if config.requires_extended_master_secret() && !extended_master_secret {
            return Err(PeerMisbehaved::NoExtendedMasterSecret.into());
        }
        Ok(Self {
            agreed: Agreed { client_random: hello.random, server_random, suite, extended_master_secret },
            renegotiation_info: hello.knows_renegotiation_info(),
            dummy,
        })
    }

    pub(super) fn emit_server_hello(&self, w: &mut Writer<'_>) -> Result<(), BufferFull> {
        ServerHello {
            server_version: version::DTLS12,
            random: self.agreed.server_random,
            // An empty id: this session cannot be resumed.
            session_id: &[],
            cipher_suite: self.agreed.suite.number(),
            compression_method: 0,
            extensions: Extensions {
                extended_master_secret: self.agreed.extended_master_secret,
                renegotiation_info: self.renegotiation_info,
                unknown: false,
            },
        }
        .emit(w)
    }
}

/// The answer to the ClientHello. The ServerKeyExchange is left out where there is no hint (RFC 4279 §2).
pub(super) const fn hello_flight(config: &Config<'_>) -> &'static [Outgoing] {
    match config.identity_hint() {
        Some(_) => &[Outgoing::ServerHello, Outgoing::ServerKeyExchange, Outgoing::ServerHelloDone],
        None => &[Outgoing::ServerHello, Outgoing::ServerHelloDone],
    }
}

/// Writes the body of the ServerKeyExchange.
pub(super) fn emit_identity_hint(config: &Config<'_>, w: &mut Writer<'_>) -> Result<(), BufferFull> {
    ServerKeyExchange { psk_identity_hint: config.identity_hint().unwrap_or_default() }.emit(w)
}

/// A server that has the ClientKeyExchange, and keys that the client has yet to prove.
pub(super) struct KeyExchangeSeen {
    pub(super) client_random: [u8; RANDOM_LEN],
    pub(super) identity: Identity,
    pub(super) pending: Pending,
    proof: Proof,
}

/// How the client's attempts to prove its key went. A wrong key shows as a Finished that does not open; but so does a
/// forged one, so it takes two flights to believe it (RFC 7925 §6).
#[derive(Clone, Copy, PartialEq, Eq)]
enum Proof {
    Awaited,
    Failed,
    /// Failed, and the client has sent its flight again since.
    Repeated,
}

impl KeyExchangeSeen {
    pub(super) fn has_failed(&self) -> bool {
        self.proof != Proof::Awaited
    }

    pub(super) fn on_repeated_flight(&mut self) {
        if self.proof == Proof::Failed {
            self.proof = Proof::Repeated;
        }
    }

    /// The record that should be the Finished did not open.
    pub(super) fn on_unopened(&mut self) -> Result<(), Error> {
        if self.proof == Proof::Repeated {
            return Err(Error::AuthenticationFailed);
        }
        self.proof = Proof::Failed;
        Ok(())
    }
}

impl Core {
    /// What a server does with a message. The ClientHello has been dealt with before.
    pub(super) fn on_client_message(
        &mut self,
        context: &Context<'_>,
        store: &dyn PskStore,
        message: &Message<'_>,
    ) -> Result<Option<Established>, Error> {
        match (&mut self.state, message.msg_type) {
            (State::ServerAwaitsClientKeyExchange(seen), HandshakeType::ClientKeyExchange) => {
                let (agreed, dummy) = (seen.agreed, seen.dummy.clone());
                self.add_to_transcript(message);
                self.look_up_key(context, store, &agreed, &dummy, message)?;
            }
            (State::ServerAwaitsFinished(seen), HandshakeType::Finished) => {
                let finished = Finished::parse(message.body)?;
                if !crypto::equal(&finished.verify_data, &seen.pending.peer_verify_data) {
                    return Err(PeerMisbehaved::WrongVerifyData.into());
                }
                let message_seq = self.flight.next_seq();
                let plain = self.plain;
                let over = State::Failed { alert: None, write: None };
                if let State::ServerAwaitsFinished(KeyExchangeSeen {
                    client_random, identity, pending, ..
                }) = core::mem::replace(&mut self.state, over)
                {
                    let client_random = client_random.first_chunk().copied().unwrap_or_default();
                    let Pending { read, write, verify_data, exporter, .. } = pending;
                    let last_flight = Some(LastFlight { client_random, plain, message_seq, verify_data });
                    return Ok(Some(Established { identity, read, write, last_flight, exporter }));
                }
            }
            _ => return Err(PeerMisbehaved::UnexpectedMessage.into()),
        }
        Ok(None)
    }

    /// Derives the keys from the ClientKeyExchange. An unknown identity goes on under a key that nobody knows, so that
    /// it looks like a wrong key (RFC 4279 §2).
    fn look_up_key(
        &mut self,
        context: &Context<'_>,
        store: &dyn PskStore,
        agreed: &Agreed,
        dummy: &[u8; RANDOM_LEN],
        message: &Message<'_>,
    ) -> Result<(), Error> {
        let ClientKeyExchange { psk_identity } = ClientKeyExchange::parse(message.body)?;
        let identity = Identity::new(psk_identity);
        let key = store.key(psk_identity).filter(|key| {
            let usable = psk::check_key(key).is_ok();
            if !usable {
                warning!("the key store has a key of {} bytes, which cannot be used", key.len());
            }
            usable
        });
        // An identity too long to be stored is as unknown as one that is not in the store.
        let known = identity.is_ok() && key.is_some();
        let dummy = Zeroizing::new([*dummy; MAX_KEY_LEN.div_ceil(RANDOM_LEN)]);
        let dummy = dummy.as_flattened();
        let dummy = dummy.get(..store.dummy_key_len().clamp(1, MAX_KEY_LEN)).unwrap_or(dummy);
        let key = key.filter(|_| known).unwrap_or(dummy);

        let finished_seq = message.message_seq.saturating_add(1);
        let keys = Keys::derive(context, agreed, key, &mut self.transcript, finished_seq);
        self.state = State::ServerAwaitsFinished(KeyExchangeSeen {
            client_random: agreed.client_random,
            identity: identity.or_else(|_| Identity::new(&[]))?,
            pending: Pending::new(agreed, keys, Role::Server),
            proof: Proof::Awaited,
        });
        // The client could not have sent this without the whole answer to its hello.
        self.flight = Flight::new(&[], self.flight.next_seq());
        Ok(())
    }
}
