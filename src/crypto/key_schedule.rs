//! The key schedule of DTLS 1.3 (RFC 8446 §7.1, RFC 9147 §5.9), with SHA-256, which every suite of this crate uses.
//!
//! Secrets are written to where they stay, and what is needed on the way is wiped.

use hkdf::Hkdf;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::hmac::{HASH_LEN, HmacKey};
#[cfg(feature = "exporter")]
use crate::error::Error;

/// Length in bytes of a secret.
pub const SECRET_LEN: usize = HASH_LEN;

/// A secret of the schedule.
pub type Secret = Zeroizing<[u8; SECRET_LEN]>;

/// The place for a secret.
pub fn no_secret() -> Secret {
    Zeroizing::new([0; SECRET_LEN])
}

/// What every label begins with in DTLS (RFC 9147 §5.9).
const PREFIX: &[u8] = b"dtls13";

/// Where a pre-shared key comes from, which its binder tells apart (RFC 8446 §7.1, RFC 9258 §5.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PskKind {
    /// Both sides were given it.
    External,
    /// Made of one that both sides were given, for this version alone.
    Imported,
    /// An earlier handshake left it.
    Resumption,
}

/// `HKDF-Extract`.
fn extract(salt: &[u8], ikm: &[u8], out: &mut Secret) {
    **out = HmacKey::new(salt).mac([ikm]);
}

/// `HKDF-Expand-Label`: at most 255 times as long as a secret.
pub fn expand_label(secret: &Secret, label: &[u8], context: &[u8], out: &mut [u8]) {
    expand_prefixed(PREFIX, secret, label, context, out);
}

fn expand_prefixed(prefix: &[u8], secret: &Secret, label: &[u8], context: &[u8], out: &mut [u8]) {
    let len = (out.len() as u16).to_be_bytes();
    // No label and no context here has more than 255 bytes.
    let [label_len, context_len] = [prefix.len() + label.len(), context.len()].map(|len| [len as u8]);
    // A secret is as long as HKDF asks for, and nothing here is longer than it gives.
    if let Ok(hkdf) = Hkdf::<Sha256>::from_prk(secret.as_ref()) {
        let _ = hkdf.expand_multi_info(&[&len, &label_len, prefix, label, &context_len, context], out);
    }
}

/// `Derive-Secret`, of messages whose hash is `transcript`.
pub fn derive_secret(secret: &Secret, label: &[u8], transcript: &[u8; HASH_LEN], out: &mut Secret) {
    expand_label(secret, label, transcript, out.as_mut());
}

/// The secret of the next step: that of this one, and `input`.
fn next_step(secret: &Secret, input: &[u8], out: &mut Secret) {
    let mut derived = no_secret();
    derive_secret(secret, b"derived", &Sha256::digest([]).into(), &mut derived);
    extract(derived.as_ref(), input, out);
}

/// The Early Secret of a pre-shared key.
pub fn early_secret(psk: &[u8], out: &mut Secret) {
    extract(&[0; SECRET_LEN], psk, out);
}

/// The key that is imported of an external one, under the serialized `ImportedIdentity` (RFC 9258 §5.1).
pub fn imported_psk(external: &[u8], imported_identity: &[u8], out: &mut Secret) {
    let mut extracted = no_secret();
    extract(&[0; SECRET_LEN], external, &mut extracted);
    expand_label(&extracted, b"derived psk", &Sha256::digest(imported_identity), out.as_mut());
}

/// The key that a binder is made with.
pub fn binder_key(early: &Secret, kind: PskKind, out: &mut Secret) {
    let label: &[u8] = match kind {
        PskKind::External => b"ext binder",
        PskKind::Imported => b"imp binder",
        PskKind::Resumption => b"res binder",
    };
    derive_secret(early, label, &Sha256::digest([]).into(), out);
}

/// The Handshake Secret, of what both sides' ephemeral keys agree on; with nothing, that of `psk_ke`.
pub fn handshake_secret(early: &Secret, shared: &[u8], out: &mut Secret) {
    next_step(early, if shared.is_empty() { &[0; SECRET_LEN] } else { shared }, out);
}

/// The Main Secret, which RFC 8446 calls the Master Secret.
pub fn master_secret(handshake: &Secret, out: &mut Secret) {
    next_step(handshake, &[0; SECRET_LEN], out);
}

/// The `verify_data` of a Finished behind messages whose hash is `transcript`, with the sender's traffic secret (RFC 8446 §4.4.4); a
/// binder, with its key (§4.2.11.2).
pub fn verify_data(base_key: &Secret, transcript: &[u8; HASH_LEN]) -> [u8; HASH_LEN] {
    let mut finished_key = no_secret();
    expand_label(base_key, b"finished", &[], finished_key.as_mut());
    HmacKey::new(finished_key.as_ref()).mac([transcript.as_slice()])
}

/// Makes the traffic secret that follows this one, in its place (RFC 8446 §7.2).
pub fn update_traffic_secret(secret: &mut Secret) {
    let mut next = no_secret();
    expand_label(secret, b"traffic upd", &[], next.as_mut());
    secret.copy_from_slice(next.as_ref());
}

/// The pre-shared key that goes with a ticket (RFC 8446 §4.6.1).
pub fn resumption_psk(resumption_master: &Secret, ticket_nonce: &[u8], out: &mut Secret) {
    expand_label(resumption_master, b"resumption", ticket_nonce, out.as_mut());
}

/// The longest label in bytes that a key is exported for: together with the prefix, its length takes one byte (RFC 8446 §7.1).
#[cfg(feature = "exporter")]
const MAX_LABEL: usize = 255 - PREFIX.len();

/// Exported keying material (RFC 8446 §7.5).
///
/// # Errors
/// A label of more than 249 bytes, or more than 8,160 bytes to fill.
#[cfg(feature = "exporter")]
pub fn export(
    exporter_master: &[u8; SECRET_LEN],
    label: &[u8],
    context: &[u8],
    out: &mut [u8],
) -> Result<(), Error> {
    for (len, max) in [(label.len(), MAX_LABEL), (out.len(), 255 * HASH_LEN)] {
        if len > max {
            return Err(Error::PayloadTooLong { max });
        }
    }
    let mut secret = no_secret();
    expand_label(&Zeroizing::new(*exporter_master), label, &Sha256::digest([]), secret.as_mut());
    expand_label(&secret, b"exporter", &Sha256::digest(context), out);
    Ok(())
}

#[cfg(test)]
mod tests;
