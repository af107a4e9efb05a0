//! A byte string of bounded length, held by value.

/// Up to `N` bytes; `N` is 255 at most.
#[derive(Clone, Copy)]
pub(crate) struct ByteString<const N: usize> {
    len: u8,
    bytes: [u8; N],
}

impl<const N: usize> ByteString<N> {
    pub(crate) const EMPTY: Self = {
        assert!(N <= u8::MAX as usize, "the length has to fit into its byte");
        Self { len: 0, bytes: [0; N] }
    };

    /// A copy of `bytes`; `None` for too many of them.
    pub(crate) fn new(bytes: &[u8]) -> Option<Self> {
        let mut copy = Self::EMPTY;
        copy.bytes.get_mut(..bytes.len())?.copy_from_slice(bytes);
        copy.len = u8::try_from(bytes.len()).ok()?;
        Some(copy)
    }

    pub(crate) const fn len(&self) -> usize {
        self.len as usize
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.len()).unwrap_or_default()
    }
}
