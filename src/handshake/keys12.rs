//! From the pre-shared key to the keys of both directions (RFC 4279 §2, RFC 5246 §6.3 and §8.1, RFC 7627 §4).

use zeroize::Zeroizing;

use super::Context;
use super::agreed::{Agreed, Side};
use super::transcript::Transcript;
use crate::config::Config;
use crate::crypto::aead::{AeadKey, SALT_LEN};
use crate::crypto::exporter::{Exporter, MASTER_SECRET_LEN};
use crate::crypto::key_share::POINT_LEN;
use crate::crypto::prf::Prf;
use crate::crypto::provider::KEY_LEN;
use crate::psk::MAX_KEY_LEN;
use crate::resumption::{ResumableSession, ResumptionTag};
use crate::wire::RANDOM_LEN;
use crate::wire::finished::VERIFY_DATA_LEN;

/// The master secret (RFC 5246 §8.1).
///
/// It is made where it stays, as a part of the pending states, and never moved: each move would leave a copy behind on the
/// stack, and an optimised build takes what lies there into unused bytes of the next slot that it fills.
pub(crate) struct MasterSecret(Zeroizing<[u8; MASTER_SECRET_LEN]>);

impl MasterSecret {
    /// The place for one.
    pub(crate) fn empty() -> Self {
        Self(Zeroizing::new([0; MASTER_SECRET_LEN]))
    }

    /// Makes it of the premaster secret, once the transcript ends with the ClientKeyExchange.
    pub(crate) fn derive(
        &mut self,
        context: &Context<'_>,
        agreed: &Agreed,
        premaster: &PremasterSecret,
        transcript: &Transcript,
    ) {
        let Agreed { client_random, server_random, .. } = agreed;
        let prf = Prf::new(premaster.as_bytes());
        if agreed.extended_master_secret {
            prf.expand(b"extended master secret", &[&transcript.hash()], self.0.as_mut());
        } else {
            prf.expand(b"master secret", &[client_random, server_random], self.0.as_mut());
        }
        log_master_secret(context, client_random, self.0.as_ref());
    }

    /// Takes that of the session that is resumed (RFC 5246 §8.1 is skipped).
    pub(crate) fn resume(&mut self, context: &Context<'_>, agreed: &Agreed, session: &ResumableSession) {
        self.0.copy_from_slice(session.master.as_ref());
        log_master_secret(context, &agreed.client_random, self.0.as_ref());
    }

    fn prf(&self) -> Prf {
        Prf::new(self.0.as_ref())
    }

    /// A copy of the secret, for the session that can be resumed with it.
    pub(crate) fn secret(&self) -> Zeroizing<[u8; MASTER_SECRET_LEN]> {
        self.0.clone()
    }

    /// The tag of the session, under the key that the secret was made of. Empty where the session cannot be resumed: nobody
    /// would keep it, or its secret is not bound to the handshake (RFC 7627 §5.3).
    pub(crate) fn tag(&self, config: &Config<'_>, agreed: &Agreed, psk: &[u8]) -> ResumptionTag {
        if config.resumption().is_none() || !agreed.extended_master_secret {
            return ResumptionTag::EMPTY;
        }
        ResumableSession::tag_of(&self.0, psk)
    }

    /// Writes the keys that the client and the server write with to where they stay.
    pub(crate) fn key_block(&self, agreed: &Agreed, client: &mut AeadKey, server: &mut AeadKey) {
        let mut key_block = Zeroizing::new([0; 2 * (KEY_LEN + SALT_LEN)]);
        let seed = [agreed.server_random.as_slice(), &agreed.client_random];
        self.prf().expand(b"key expansion", &seed, key_block.as_mut());
        split_key_block(&key_block, client, server);
    }

    /// The `verify_data` of a side whose Finished follows the transcript (RFC 5246 §7.4.9).
    pub(crate) fn verify_data(&self, side: Side, transcript: &Transcript) -> [u8; VERIFY_DATA_LEN] {
        let label: &[u8] = match side {
            Side::Client => b"client finished",
            Side::Server => b"server finished",
        };
        let mut verify_data = [0; VERIFY_DATA_LEN];
        self.prf().expand(label, &[&transcript.hash()], &mut verify_data);
        verify_data
    }

    /// What keying material is made of. Only where the master secret is bound to the handshake: without that, two
    /// sessions could share what is exported (RFC 7627 §1).
    pub(crate) fn exporter(&self, agreed: &Agreed) -> Option<Exporter> {
        let exporter = Exporter::of_master_secret(&self.0, &agreed.client_random, &agreed.server_random);
        Some(exporter).filter(|_| agreed.extended_master_secret)
    }
}

/// Where the master secret comes from, and with it the proof that a side holds the key.
pub(crate) struct PremasterSecret {
    bytes: Zeroizing<[u8; MAX_PREMASTER]>,
    len: usize,
}

/// Length in bytes of the longest other secret: zeros as long as the key, or what an ECDHE_PSK suite has agreed on.
const MAX_OTHER: usize = if MAX_KEY_LEN > POINT_LEN { MAX_KEY_LEN } else { POINT_LEN };

/// Length in bytes of the longest.
const MAX_PREMASTER: usize = 4 + MAX_OTHER + MAX_KEY_LEN;

impl PremasterSecret {
    /// That of a suite with a key of N bytes alone: the other secret is N zero bytes (RFC 4279 §2).
    pub(crate) fn psk(psk: &[u8]) -> Self {
        Self::new(core::iter::repeat_n(0, psk.len().min(MAX_OTHER)), psk)
    }

    /// That of an ECDHE_PSK suite (RFC 5489 §2).
    pub(crate) fn ecdhe_psk(shared: &[u8; POINT_LEN], psk: &[u8]) -> Self {
        Self::new(shared.iter().copied(), psk)
    }

    /// The other secret and the key, each behind its length in two bytes.
    fn new(other: impl ExactSizeIterator<Item = u8>, psk: &[u8]) -> Self {
        let mut bytes = Zeroizing::new([0; MAX_PREMASTER]);
        let [other_len, psk_len] = [other.len(), psk.len()].map(|len| (len as u16).to_be_bytes());
        let len = 4 + other.len() + psk.len();
        let filled = other_len.into_iter().chain(other).chain(psk_len).chain(psk.iter().copied());
        bytes.iter_mut().zip(filled).for_each(|(out, byte)| *out = byte);
        Self { bytes, len }
    }

    fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}

/// `client_write_key, server_write_key, client_write_IV, server_write_IV` (RFC 5246 §6.3; AEAD ciphers have no MAC keys).
fn split_key_block(block: &[u8; 2 * (KEY_LEN + SALT_LEN)], client: &mut AeadKey, server: &mut AeadKey) {
    let (keys, salts) = block.split_at(2 * KEY_LEN);
    let parts = keys.chunks_exact(KEY_LEN).zip(salts.chunks_exact(SALT_LEN));
    for (write, (key, salt)) in [client, server].into_iter().zip(parts) {
        write.key.copy_from_slice(key);
        write.iv.iter_mut().zip(salt).for_each(|(out, byte)| *out = *byte);
    }
}

#[cfg(feature = "keylog")]
fn log_master_secret(context: &Context<'_>, client_random: &[u8; RANDOM_LEN], master: &[u8]) {
    if let Some(keylog) = context.config.keylog() {
        keylog.log("CLIENT_RANDOM", client_random, master);
    }
}

#[cfg(not(feature = "keylog"))]
fn log_master_secret(_: &Context<'_>, _: &[u8; RANDOM_LEN], _: &[u8]) {}

#[cfg(test)]
mod tests;
