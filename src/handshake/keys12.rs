//! From the pre-shared key to the keys of both directions (RFC 4279 §2, RFC 5246 §6.3 and §8.1, RFC 7627 §4).

use zeroize::Zeroizing;

use super::Context;
use super::transcript::Transcript;
use crate::CipherSuite;
use crate::crypto::aead::{AeadKey, SALT_LEN};
use crate::crypto::exporter::{Exporter, MASTER_SECRET_LEN};
use crate::crypto::hmac::HASH_LEN;
use crate::crypto::prf::Prf;
use crate::crypto::provider::KEY_LEN;
use crate::psk::MAX_KEY_LEN;
use crate::wire::RANDOM_LEN;
use crate::wire::finished::VERIFY_DATA_LEN;
use crate::wire::handshake::HandshakeType;

/// What both hellos agreed on, and that the keys come from.
#[derive(Clone, Copy)]
pub(crate) struct Agreed {
    pub(crate) client_random: [u8; RANDOM_LEN],
    pub(crate) server_random: [u8; RANDOM_LEN],
    pub(crate) suite: CipherSuite,
    pub(crate) extended_master_secret: bool,
}

/// Keys and proofs of one handshake.
pub(crate) struct Keys {
    pub(crate) client_write: AeadKey,
    pub(crate) server_write: AeadKey,
    pub(crate) client_verify_data: [u8; VERIFY_DATA_LEN],
    pub(crate) server_verify_data: [u8; VERIFY_DATA_LEN],
    /// Only where the master secret is bound to the handshake: without that, two sessions could share what is exported
    /// (RFC 7627 §1).
    pub(crate) exporter: Option<Exporter>,
}

impl Keys {
    /// Derives everything at once, when `transcript` ends with the ClientKeyExchange and the client's Finished will
    /// have the number `finished_seq`. The server's proof covers that Finished, whose contents follow from the same
    /// secret, so the master secret is kept for the exporter alone.
    pub(crate) fn derive(
        context: &Context<'_>,
        agreed: &Agreed,
        psk: &[u8],
        transcript: &mut Transcript,
        finished_seq: u16,
    ) -> Self {
        let Agreed { client_random, server_random, .. } = agreed;
        let premaster = premaster_secret(psk);
        let (premaster, _) = premaster.split_at(4 + 2 * psk.len().min(MAX_KEY_LEN));
        let mut master = Zeroizing::new([0; MASTER_SECRET_LEN]);
        let session_hash = transcript.hash();
        if agreed.extended_master_secret {
            Prf::new(premaster).expand(b"extended master secret", &[&session_hash], master.as_mut());
        } else {
            Prf::new(premaster).expand(b"master secret", &[client_random, server_random], master.as_mut());
        }
        log_master_secret(context, client_random, master.as_ref());

        let prf = Prf::new(master.as_ref());
        let mut key_block = Zeroizing::new([0; 2 * (KEY_LEN + SALT_LEN)]);
        prf.expand(b"key expansion", &[server_random, client_random], key_block.as_mut());
        let (client_write, server_write) = split_key_block(&key_block);

        let client_verify_data = verify_data(&prf, b"client finished", session_hash);
        transcript.add(HandshakeType::Finished, finished_seq, &client_verify_data);
        let server_verify_data = verify_data(&prf, b"server finished", transcript.hash());
        let exporter = Exporter::new(&master, client_random, server_random);
        let exporter = Some(exporter).filter(|_| agreed.extended_master_secret);
        Self { client_write, server_write, client_verify_data, server_verify_data, exporter }
    }
}

/// `uint16 N, N zero bytes, uint16 N, the key`, for a key of N bytes (RFC 4279 §2). Bytes behind that are zero.
fn premaster_secret(psk: &[u8]) -> Zeroizing<[u8; 4 + 2 * MAX_KEY_LEN]> {
    let mut premaster = Zeroizing::new([0; 4 + 2 * MAX_KEY_LEN]);
    let len = psk.len().min(MAX_KEY_LEN);
    let [high, low] = (len as u16).to_be_bytes();
    let parts = premaster.iter_mut();
    let zeros = core::iter::repeat_n(0, len);
    let filled = [high, low].into_iter().chain(zeros).chain([high, low]).chain(psk.iter().copied().take(len));
    for (out, byte) in parts.zip(filled) {
        *out = byte;
    }
    premaster
}

/// `client_write_key, server_write_key, client_write_IV, server_write_IV` (RFC 5246 §6.3; AEAD ciphers have no MAC keys).
fn split_key_block(block: &[u8; 2 * (KEY_LEN + SALT_LEN)]) -> (AeadKey, AeadKey) {
    let (keys, salts) = block.split_at(2 * KEY_LEN);
    let direction = |at: usize| {
        let mut write = AeadKey { key: [0; KEY_LEN], salt: [0; SALT_LEN] };
        for (out, byte) in write.key.iter_mut().zip(keys.iter().skip(at * KEY_LEN)) {
            *out = *byte;
        }
        for (out, byte) in write.salt.iter_mut().zip(salts.iter().skip(at * SALT_LEN)) {
            *out = *byte;
        }
        write
    };
    (direction(0), direction(1))
}

fn verify_data(prf: &Prf, label: &[u8], transcript: [u8; HASH_LEN]) -> [u8; VERIFY_DATA_LEN] {
    let mut verify_data = [0; VERIFY_DATA_LEN];
    prf.expand(label, &[&transcript], &mut verify_data);
    verify_data
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
