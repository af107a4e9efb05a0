//! Keys that are not the right ones.

use crate::support::craft::CCM_8;
use crate::support::peer::Direction;

/// The keys of someone who knows none.
pub const fn stranger() -> Direction {
    Direction {
        suite: CCM_8,
        key: [0x5A; 16],
        salt: [0xA5; 4],
        epoch: 1,
        next: 0,
        connection_id: Vec::new(),
        padding: 0,
    }
}

/// The next record, under a key that is wrong in one bit.
pub fn forged(right: &mut Direction, content_type: u8, plaintext: &[u8]) -> Vec<u8> {
    right.key[0] ^= 1;
    let record = right.seal(content_type, plaintext);
    right.key[0] ^= 1;
    record
}
