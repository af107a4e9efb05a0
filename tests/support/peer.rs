//! The cryptography of DTLS 1.2 with pre-shared keys, straight from the RFCs and the RustCrypto crates.

use ccm::consts::{U8, U12, U16};
use ccm::{AeadInOut, KeyInit};
use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256};

use super::craft::{self, CCM, CCM_8, GCM};

fn hmac(key: &[u8], data: &[&[u8]]) -> Vec<u8> {
    let mut mac = <Hmac<Sha256> as KeyInit>::new_from_slice(key).unwrap();
    data.iter().for_each(|data| mac.update(data));
    mac.finalize().into_bytes().to_vec()
}

/// RFC 5246 §5.
pub fn prf(secret: &[u8], label: &[u8], seed: &[u8], len: usize) -> Vec<u8> {
    let mut out = Vec::new();
    let mut a = [label, seed].concat();
    while out.len() < len {
        a = hmac(secret, &[&a]);
        out.extend(hmac(secret, &[&a, label, seed]));
    }
    out.truncate(len);
    out
}

/// Whether the suite has ephemeral keys.
pub const fn is_ecdhe(suite: u16) -> bool {
    matches!(suite, craft::ECDHE_CCM_8 | craft::ECDHE_CCM | craft::ECDHE_GCM)
}

/// A secret key and its public one, always the same.
#[cfg(feature = "x25519")]
pub fn ephemeral(seed: u8) -> ([u8; 32], [u8; 32]) {
    let secret = [seed; 32];
    (secret, x25519_dalek::x25519(secret, x25519_dalek::X25519_BASEPOINT_BYTES))
}

#[cfg(feature = "x25519")]
pub fn diffie_hellman(secret: [u8; 32], point: &[u8]) -> Vec<u8> {
    x25519_dalek::x25519(secret, point.try_into().unwrap()).to_vec()
}

#[cfg(not(feature = "x25519"))]
pub fn ephemeral(_: u8) -> ([u8; 32], [u8; 32]) {
    panic!("this build has no such suite")
}

#[cfg(not(feature = "x25519"))]
pub fn diffie_hellman(_: [u8; 32], _: &[u8]) -> Vec<u8> {
    panic!("this build has no such suite")
}

pub fn sha256(bytes: &[u8]) -> Vec<u8> {
    Sha256::digest(bytes).to_vec()
}

/// RFC 4279 §2 and RFC 5246 §8.1, or RFC 7627 §4 with the hash of the handshake so far.
pub fn master_secret(
    psk: &[u8],
    shared: Option<&[u8]>,
    randoms: [&[u8; 32]; 2],
    session_hash: Option<&[u8]>,
) -> Vec<u8> {
    // RFC 5489 §2 puts what ECDH gives in the place of the zeros.
    let zeros = vec![0; psk.len()];
    let premaster = [craft::vec16(shared.unwrap_or(&zeros)), craft::vec16(psk)].concat();
    match session_hash {
        Some(hash) => prf(&premaster, b"extended master secret", hash, 48),
        None => prf(&premaster, b"master secret", &[randoms[0].as_slice(), randoms[1]].concat(), 48),
    }
}

/// One direction of a connection.
#[derive(Clone, Debug)]
pub struct Direction {
    pub suite: u16,
    pub key: [u8; 16],
    pub salt: [u8; 4],
    pub epoch: u16,
    pub next: u64,
    /// The connection ID that the receiver asked for.
    pub connection_id: Vec<u8>,
    /// How many zeros go behind the type inside of a record with a connection ID.
    pub padding: usize,
}

/// The client's and the server's direction.
pub fn key_block(
    master: &[u8],
    suite: u16,
    client_random: &[u8; 32],
    server_random: &[u8; 32],
) -> [Direction; 2] {
    let block = prf(master, b"key expansion", &[server_random.as_slice(), client_random].concat(), 40);
    let suite = match suite {
        craft::ECDHE_CCM_8 => CCM_8,
        craft::ECDHE_CCM => CCM,
        craft::ECDHE_GCM => GCM,
        plain => plain,
    };
    [0, 1].map(|side| Direction {
        suite,
        key: block[16 * side..][..16].try_into().unwrap(),
        salt: block[32 + 4 * side..][..4].try_into().unwrap(),
        epoch: 1,
        next: 0,
        connection_id: Vec::new(),
        padding: 0,
    })
}

impl Direction {
    fn nonce(&self, explicit: &[u8]) -> Vec<u8> {
        [self.salt.as_slice(), explicit].concat()
    }

    /// The next record.
    pub fn seal(&mut self, content_type: u8, plaintext: &[u8]) -> Vec<u8> {
        let sequence_number = self.next;
        self.next += 1;
        self.seal_as(content_type, sequence_number, plaintext)
    }

    /// A record with a number of the caller's choice.
    pub fn seal_as(&self, content_type: u8, sequence_number: u64, plaintext: &[u8]) -> Vec<u8> {
        let explicit = (u64::from(self.epoch) << 48 | sequence_number).to_be_bytes();
        self.seal_with(content_type, sequence_number, explicit, plaintext)
    }

    /// A record with an explicit nonce of the caller's choice.
    pub fn seal_with(
        &self,
        content_type: u8,
        sequence_number: u64,
        explicit: [u8; 8],
        plaintext: &[u8],
    ) -> Vec<u8> {
        let mut data = plaintext.to_vec();
        let mut outer = content_type;
        if !self.connection_id.is_empty() {
            data.push(content_type);
            data.resize(data.len() + self.padding, 0);
            outer = craft::TLS12_CID;
        }
        let aad = self.aad(outer, sequence_number, data.len());
        let nonce = self.nonce(&explicit);
        let tag = match self.suite {
            CCM_8 => encrypt::<ccm::Ccm<aes::Aes128, U8, U12>>(&self.key, &nonce, &aad, &mut data),
            CCM => encrypt::<ccm::Ccm<aes::Aes128, U16, U12>>(&self.key, &nonce, &aad, &mut data),
            #[cfg(feature = "aes-gcm")]
            GCM => encrypt::<aes_gcm::Aes128Gcm>(&self.key, &nonce, &aad, &mut data),
            other => panic!("no suite {other:#06x}"),
        };
        let body = [explicit.to_vec(), data, tag].concat();
        let mut record = craft::record(outer, self.epoch, sequence_number, &body);
        record.splice(11..11, self.connection_id.iter().copied());
        record
    }

    /// Opens a record, and tells what it carries; `None` when it is not authentic.
    pub fn open(&self, record: &super::parse::Record) -> Option<(u8, Vec<u8>)> {
        let tag_len = if self.suite == CCM_8 { 8 } else { 16 };
        if record.epoch != self.epoch
            || record.connection_id != self.connection_id
            || record.body.len() < 8 + tag_len
        {
            return None;
        }
        let (explicit, rest) = record.body.split_at(8);
        let (data, tag) = rest.split_at(rest.len() - tag_len);
        let aad = self.aad(record.content_type, record.sequence_number, data.len());
        let (mut data, nonce) = (data.to_vec(), self.nonce(explicit));
        let opened = match self.suite {
            CCM_8 => decrypt::<ccm::Ccm<aes::Aes128, U8, U12>>(&self.key, &nonce, &aad, &mut data, tag),
            CCM => decrypt::<ccm::Ccm<aes::Aes128, U16, U12>>(&self.key, &nonce, &aad, &mut data, tag),
            #[cfg(feature = "aes-gcm")]
            GCM => decrypt::<aes_gcm::Aes128Gcm>(&self.key, &nonce, &aad, &mut data, tag),
            other => panic!("no suite {other:#06x}"),
        };
        if !opened {
            return None;
        }
        if self.connection_id.is_empty() {
            return Some((record.content_type, data));
        }
        data.truncate(data.iter().rposition(|byte| *byte != 0).expect("a type inside") + 1);
        let content_type = data.pop().expect("a type inside");
        Some((content_type, data))
    }

    fn aad(&self, content_type: u8, sequence_number: u64, len: usize) -> Vec<u8> {
        let number = (u64::from(self.epoch) << 48 | sequence_number).to_be_bytes();
        let len = (len as u16).to_be_bytes();
        if self.connection_id.is_empty() {
            return [&number[..], &[content_type], &craft::DTLS12, &len].concat();
        }
        // RFC 9146 §5.3.
        let id_len = self.connection_id.len() as u8;
        let head = [&[0xFF; 8][..], &[25, id_len, 25], &craft::DTLS12].concat();
        [&head[..], &number, &self.connection_id, &len].concat()
    }
}

fn encrypt<A: KeyInit + AeadInOut>(key: &[u8], nonce: &[u8], aad: &[u8], data: &mut [u8]) -> Vec<u8> {
    let cipher = A::new_from_slice(key).unwrap();
    cipher.encrypt_inout_detached(nonce.try_into().unwrap(), aad, data.into()).unwrap().to_vec()
}

fn decrypt<A: KeyInit + AeadInOut>(
    key: &[u8],
    nonce: &[u8],
    aad: &[u8],
    data: &mut [u8],
    tag: &[u8],
) -> bool {
    let cipher = A::new_from_slice(key).unwrap();
    let (nonce, tag) = (nonce.try_into().unwrap(), tag.try_into().unwrap());
    cipher.decrypt_inout_detached(nonce, aad, data.into(), tag).is_ok()
}
