//! The server's side of the DTLS 1.2 handshake (RFC 6347 §4.2, RFC 4279 §2).

use rand_core::TryCryptoRng;
use zeroize::Zeroizing;

use super::keys12::{Agreed, Keys};
use super::{Context, Core, Established, LastFlight, Message, Pending, State, fill_random};
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

/// A server that has answered the ClientHello.
pub(super) struct HelloSeen {
    pub(super) answer: Answer,
    dummy: Zeroizing<[u8; RANDOM_LEN]>,
}

/// What the answer is encoded from.
#[derive(Clone, Copy)]
pub(super) struct Answer {
    pub(super) agreed: Agreed,
    renegotiation_info: bool,
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
        if hello.extensions.renegotiated_connection {
            return Err(PeerMisbehaved::Renegotiation.into());
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
        let agreed = Agreed { client_random: hello.random, server_random, suite, extended_master_secret };
        let answer = Answer { agreed, renegotiation_info: hello.knows_renegotiation_info() };
        Ok(Self { answer, dummy })
    }
}

impl Answer {
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
                ..Extensions::default()
            },
        }
        .emit(w)
    }
}

/// The answer to the ClientHello. The ServerKeyExchange is left out where there is no hint (RFC 4279 §2).
pub(super) const fn hello_flight(config: &Config<'_>) -> &'static [HandshakeType] {
    match config.identity_hint() {
        Some(_) => {
            &[HandshakeType::ServerHello, HandshakeType::ServerKeyExchange, HandshakeType::ServerHelloDone]
        }
        None => &[HandshakeType::ServerHello, HandshakeType::ServerHelloDone],
    }
}

/// Writes the body of the ServerKeyExchange.
pub(super) fn emit_identity_hint(config: &Config<'_>, w: &mut Writer<'_>) -> Result<(), BufferFull> {
    ServerKeyExchange { psk_identity_hint: config.identity_hint().unwrap_or_default() }.emit(w)
}

/// A server that has the ClientKeyExchange, and keys that the client has yet to prove.
pub(super) struct KeyExchangeSeen {
    /// The answer goes on being repeated while the rest of the client's flight is missing: some clients wait for that
    /// before they send theirs again (RFC 6347 §4.2.4).
    pub(super) answer: Answer,
    pub(super) identity: Identity,
    pub(super) pending: Pending,
    /// Whether the key store has a key for the identity.
    known: bool,
    proof: Proof,
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

impl KeyExchangeSeen {
    pub(super) fn has_failed(&self) -> bool {
        self.proof != Proof::Awaited
    }

    pub(super) fn on_repeated_flight(&mut self) {
        if let Proof::Failed(number) = self.proof {
            self.proof = Proof::Repeated(number);
        }
    }

    /// The record that should be the Finished did not open.
    pub(super) fn on_unopened(&mut self, sequence_number: u64) -> Result<(), Error> {
        match self.proof {
            Proof::Awaited => self.proof = Proof::Failed(sequence_number),
            // A client sends it again under a new number. The same one is a copy that the network made.
            Proof::Repeated(number) if number != sequence_number => return Err(Error::AuthenticationFailed),
            Proof::Failed(_) | Proof::Repeated(_) => {}
        }
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
                let (answer, dummy) = (seen.answer, seen.dummy.clone());
                self.add_to_transcript(message);
                self.look_up_key(context, store, answer, &dummy, message)?;
            }
            (State::ServerAwaitsFinished(seen), HandshakeType::Finished) => {
                let finished = Finished::parse(message.body)?;
                let proven = crypto::equal(&finished.verify_data, &seen.pending.peer_verify_data);
                // Nobody can prove a key that does not exist. Should somebody guess the one that stands in for it, it
                // is of no use.
                if !(proven & seen.known) {
                    return Err(PeerMisbehaved::WrongVerifyData.into());
                }
                let last_flight = LastFlight {
                    client_random: seen
                        .answer
                        .agreed
                        .client_random
                        .first_chunk()
                        .copied()
                        .unwrap_or_default(),
                    plain: self.plain,
                    message_seq: self.flight.next_seq(),
                    verify_data: seen.pending.verify_data,
                };
                let established = seen.pending.establish(seen.identity.clone(), Some(last_flight));
                self.state = State::OVER;
                return Ok(Some(established));
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
        answer: Answer,
        dummy: &[u8; RANDOM_LEN],
        message: &Message<'_>,
    ) -> Result<(), Error> {
        let ClientKeyExchange { psk_identity } = ClientKeyExchange::parse(message.body)?;
        let identity = Identity::new(psk_identity);
        let mut key = Zeroizing::new([*dummy; MAX_KEY_LEN.div_ceil(RANDOM_LEN)]);
        let key = key.as_flattened_mut();
        let mut key_len = store.dummy_key_len().clamp(1, MAX_KEY_LEN);
        let mut known = false;
        store.with_key(psk_identity, &mut |lent| match key.get_mut(..lent.len()) {
            // An identity too long to be stored is as unknown as one that is not in the store.
            Some(start) if psk::check_key(lent).is_ok() && identity.is_ok() => {
                start.copy_from_slice(lent);
                (key_len, known) = (lent.len(), true);
            }
            _ => warning!("the key store has a key of {} bytes, which cannot be used", lent.len()),
        });
        let key = key.get(..key_len).unwrap_or_default();

        let finished_seq = message.message_seq.saturating_add(1);
        let keys = Keys::derive(context, &answer.agreed, key, &mut self.transcript, finished_seq);
        self.state = State::ServerAwaitsFinished(KeyExchangeSeen {
            answer,
            identity: identity.or_else(|_| Identity::new(&[]))?,
            pending: Pending::server(&answer.agreed, keys),
            known,
            proof: Proof::Awaited,
        });
        Ok(())
    }
}
