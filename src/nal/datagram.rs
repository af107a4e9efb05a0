//! A datagram that waits in a shell's own buffer: to be sent, or to be read to its end.

use core::ops::Range;

/// A buffer of `N` bytes, of which `range` waits. A call that is given up leaves it as it is, and the next one goes on.
pub(super) struct Datagram<const N: usize> {
    pub(super) bytes: [u8; N],
    range: Range<usize>,
}

impl<const N: usize> Datagram<N> {
    pub(super) const fn new() -> Self {
        Self { bytes: [0; N], range: 0..0 }
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.range.start >= self.range.end
    }

    /// The first `len` bytes wait.
    pub(super) const fn fill(&mut self, len: usize) {
        self.range = 0..len;
    }

    pub(super) const fn clear(&mut self) {
        self.range = 0..0;
    }

    pub(super) fn waiting(&self) -> &[u8] {
        self.bytes.get(self.range.clone()).unwrap_or_default()
    }

    /// Everything that waits, to be read to where `read` says with how much it leaves.
    pub(super) fn read<'d, T>(&'d mut self, read: impl FnOnce(&'d mut [u8]) -> (T, usize)) -> T {
        let end = self.range.end;
        let (value, remaining) = read(self.bytes.get_mut(self.range.clone()).unwrap_or_default());
        self.range.start = end.saturating_sub(remaining);
        value
    }
}

/// Copies a message into the caller's buffer. What does not fit is lost, as it is with any datagram; the length
/// returned is the whole one's, so that the caller can tell.
pub(super) fn deliver(message: &[u8], buffer: &mut [u8]) -> usize {
    for (out, byte) in buffer.iter_mut().zip(message) {
        *out = *byte;
    }
    message.len()
}
