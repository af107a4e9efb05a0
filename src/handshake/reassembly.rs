//! Putting the fragments of a message together (RFC 6347 §4.2.3).
//!
//! One message at a time: the next one in sequence. Fragments of later ones are dropped and come again with their
//! flight, so nobody can fill this buffer with messages whose turn never comes. A message that arrives whole never
//! passes through here.

use crate::wire::handshake::Fragment;

/// Longest fragmented message in bytes. The longest that a PSK handshake needs is a ServerKeyExchange or a
/// ClientKeyExchange with 128 bytes of text and an ephemeral key; a ServerHello with the extensions of a chatty server stays below it too.
pub const MAX_FRAGMENTED_MESSAGE: usize = 384;

/// A message on its way to being whole.
pub struct Reassembly {
    /// The message that is being put together: its type, length and sequence number, as its first fragment said.
    message: Option<(u8, u32, u16)>,
    bytes: [u8; MAX_FRAGMENTED_MESSAGE],
    /// One bit for each byte that has arrived.
    arrived: [u8; MAX_FRAGMENTED_MESSAGE / 8],
}

/// What became of a fragment.
pub(crate) enum Put<'m> {
    /// The body of the message, which is complete.
    Whole(&'m [u8]),
    /// There is more to come.
    Part,
    /// Its message is too long to be put together.
    TooLong,
}

impl Reassembly {
    /// Nothing has arrived.
    pub const fn new() -> Self {
        Self { message: None, bytes: [0; MAX_FRAGMENTED_MESSAGE], arrived: [0; MAX_FRAGMENTED_MESSAGE / 8] }
    }

    /// Forgets what has arrived.
    pub const fn clear(&mut self) {
        self.message = None;
    }

    /// What a fragment comes to: one that is whole is its message, and the buffer is for other ones.
    pub(crate) fn take<'m>(&'m mut self, fragment: &Fragment<'m>) -> Put<'m> {
        if fragment.is_whole() {
            self.clear();
            Put::Whole(fragment.body)
        } else if fragment.length as usize > MAX_FRAGMENTED_MESSAGE {
            Put::TooLong
        } else {
            self.add(fragment).map_or(Put::Part, Put::Whole)
        }
    }

    /// Adds a fragment, and returns the body of its message once all of it has arrived; `None` as well for a message
    /// that is too long.
    ///
    /// Fragments of one message must agree on its type and length. One that does not starts the message anew: the
    /// sender of the first may have been forging it, and the honest peer will repeat its own.
    pub fn add(&mut self, fragment: &Fragment<'_>) -> Option<&[u8]> {
        let length = usize::try_from(fragment.length).ok()?;
        let offset = usize::try_from(fragment.fragment_offset).ok()?;
        let message = (fragment.msg_type, fragment.length, fragment.message_seq);
        let whole = self.bytes.get_mut(..length)?;
        if self.message != Some(message) {
            self.message = Some(message);
            self.arrived.fill(0);
        }

        let end = offset + fragment.body.len();
        whole.get_mut(offset..end)?.copy_from_slice(fragment.body);
        for at in offset..end {
            if let Some(bits) = self.arrived.get_mut(at / 8) {
                *bits |= 1 << (at % 8);
            }
        }
        let complete =
            (0..length).all(|at| self.arrived.get(at / 8).is_some_and(|bits| bits >> (at % 8) & 1 == 1));
        if !complete {
            return None;
        }
        self.clear();
        self.bytes.get(..length)
    }
}

#[cfg(test)]
mod tests {
    use super::{MAX_FRAGMENTED_MESSAGE, Reassembly};
    use crate::wire::handshake::Fragment;

    fn fragment(length: u32, offset: u32, body: &[u8]) -> Fragment<'_> {
        Fragment { msg_type: 2, length, message_seq: 1, fragment_offset: offset, body }
    }

    #[test]
    fn out_of_order_overlapping_and_twice() {
        let mut reassembly = Reassembly::new();
        assert_eq!(reassembly.add(&fragment(6, 4, b"ef")), None);
        assert_eq!(reassembly.add(&fragment(6, 1, b"bcd")), None);
        assert_eq!(reassembly.add(&fragment(6, 1, b"bcd")), None);
        assert_eq!(reassembly.add(&fragment(6, 3, b"")), None);
        assert_eq!(reassembly.add(&fragment(6, 0, b"abc")), Some(b"abcdef".as_slice()));
        // A finished message is gone: its repetition starts from nothing.
        assert_eq!(reassembly.add(&fragment(6, 0, b"abc")), None);
    }

    #[test]
    fn a_disagreeing_fragment_starts_anew() {
        let mut reassembly = Reassembly::new();
        assert_eq!(reassembly.add(&fragment(100, 0, b"forged")), None);
        assert_eq!(reassembly.add(&fragment(4, 0, b"ab")), None);
        assert_eq!(reassembly.add(&fragment(4, 2, b"cd")), Some(b"abcd".as_slice()));
    }

    #[test]
    fn too_long_is_not_kept() {
        let mut reassembly = Reassembly::new();
        let longest = u32::try_from(MAX_FRAGMENTED_MESSAGE).unwrap();
        assert_eq!(reassembly.add(&fragment(longest + 1, 0, b"x")), None);
        assert_eq!(reassembly.add(&fragment(0x00FF_FFFF, 0x00FF_FFFE, b"x")), None);
        assert!(reassembly.message.is_none());
        assert_eq!(reassembly.add(&fragment(longest, 0, &[7; MAX_FRAGMENTED_MESSAGE - 1])), None);
        assert!(reassembly.add(&fragment(longest, longest - 1, &[7])).is_some());
    }
}
