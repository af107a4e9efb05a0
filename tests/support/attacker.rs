//! An attacker on the path: it sees every datagram, keeps it, and adds some of its own. It takes none away, as the
//! network does that already.

use rand::rngs::ChaCha8Rng;
use rand::seq::IndexedRandom;
use rand::{Rng, RngExt};

use dtls_psk::Path;

use super::craft::*;
use super::net::{Direction, Packet};
use super::seeded;

/// How far an attacker goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Means {
    /// It repeats what it saw, from where it came and from elsewhere, sends sealed records back to who sealed them, damages
    /// them, and makes some up. Nothing of that is to be noticed, whatever the network does.
    Replays,
    /// Also what is not sealed, but for messages of the handshake. An alert in the clear ends a handshake that gets no
    /// answer until its next timeout, so this is not to be noticed where nothing is lost.
    Alerts,
    /// Also messages of the handshake in the clear. Nobody can tell them from the peer's, so a handshake may fail of them.
    Messages,
}

pub struct Attacker {
    means: Means,
    /// Where it sends from, beside the addresses of others.
    addresses: Vec<Path>,
    recorded: Vec<Packet>,
    rng: ChaCha8Rng,
}

impl Attacker {
    pub fn new(seed: u64, means: Means, addresses: Vec<Path>) -> Self {
        Self { means, addresses, recorded: Vec::new(), rng: seeded(seed ^ 0x6D61_6C6C_6F72_7900) }
    }

    /// What the network carries in the place of this datagram: it, and more before and behind.
    pub fn add_to(&mut self, packet: &Packet) -> Vec<Packet> {
        self.recorded.push(packet.clone());
        let [before, behind] = [0, 1].map(|_| self.rng.random_range(0..3));
        let mut carried: Vec<Packet> = (0..before).filter_map(|_| self.deed()).collect();
        carried.push(packet.clone());
        carried.extend((0..behind).filter_map(|_| self.deed()));
        carried
    }

    fn deed(&mut self) -> Option<Packet> {
        let mut packet = self.recorded.choose(&mut self.rng)?.clone();
        let reaches_others = is_sealed(&packet) || self.means == Means::Messages;
        match self.rng.random_range(0..8) {
            // Again, as it was.
            0 | 1 => {}
            // From an address of its own, which the server may answer.
            2 => {
                packet.path = *self.addresses.choose(&mut self.rng)?;
                packet.direction = Direction::ToServer;
            }
            // By the path of somebody else, or the other way.
            3 if reaches_others => packet.path = self.recorded.choose(&mut self.rng)?.path,
            4 if reaches_others => packet.direction = packet.direction.opposite(),
            5 if reaches_others => self.damage(&mut packet.bytes),
            6 => packet.bytes = self.sealed_forgery(&packet.bytes),
            7 if self.means >= Means::Alerts => packet.bytes = self.plain_forgery(),
            _ => return None,
        }
        Some(packet)
    }

    fn damage(&mut self, bytes: &mut Vec<u8>) {
        let rng = &mut self.rng;
        let at = rng.random_range(0..bytes.len());
        match rng.random_range(0..5) {
            0 => bytes[at] ^= 1 << rng.random_range(0..8),
            1 => bytes[at] = rng.random(),
            2 => bytes.truncate(at),
            3 => bytes.insert(at, rng.random()),
            // The record's number, to be ahead of the peer.
            _ => {
                let number = if has_unified_header(bytes) { 1..3 } else { 5..11 };
                rng.fill_bytes(&mut bytes[number]);
            }
        }
    }

    /// A record that claims to be sealed, as long as one that was seen or shorter.
    fn sealed_forgery(&mut self, like: &[u8]) -> Vec<u8> {
        let mut body = vec![0; self.rng.random_range(0..=like.len())];
        self.rng.fill_bytes(&mut body);
        if has_unified_header(like) && self.rng.random() {
            // Of the same form, in any epoch.
            body.insert(0, like[0] & !3 | self.rng.random_range(0..4));
            return body;
        }
        let types = [ALERT, HANDSHAKE, APPLICATION_DATA, TLS12_CID, RETURN_ROUTABILITY_CHECK];
        let content_type = *types.choose(&mut self.rng).unwrap();
        record(content_type, self.rng.random_range(1..3), self.rng.random_range(0..100), &body)
    }

    fn plain_forgery(&mut self) -> Vec<u8> {
        let number = self.rng.random_range(0..100);
        match self.rng.random_range(0..5) {
            0 => record(ALERT, 0, number, &[2, self.rng.random()]),
            1 => record(ALERT, 0, number, &[1, 0]),
            2 => record(CHANGE_CIPHER_SPEC, 0, number, &[1]),
            3 => {
                let known = self.rng.random_range(0..4_u64);
                let numbers = [0, 2, 3_u64].map(|epoch| [epoch.to_be_bytes(), known.to_be_bytes()]);
                record(ACK, 0, number, &vec16(numbers.as_flattened().as_flattened()))
            }
            _ => record(APPLICATION_DATA, 0, number, b"from the attacker"),
        }
    }
}

/// Whether a datagram begins with a record under keys: what follows is not looked at.
fn is_sealed(packet: &Packet) -> bool {
    has_unified_header(&packet.bytes) || packet.bytes[3..5] != [0, 0]
}

/// Whether a datagram begins with a record under keys of DTLS 1.3 (RFC 9147 §4).
fn has_unified_header(bytes: &[u8]) -> bool {
    bytes[0] & 0xE0 == 0x20
}
