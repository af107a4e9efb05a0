//! The cursors that every parser and writer of this module shares.

use super::InvalidMessage;

/// Reads fields in network byte order off the front of a slice.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// A reader at the start of `bytes`.
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// Whether every byte has been read.
    pub const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The next `len` bytes.
    pub fn take(&mut self, len: usize) -> Result<&'a [u8], InvalidMessage> {
        let (head, rest) = self.rest.split_at_checked(len).ok_or(InvalidMessage::Truncated)?;
        self.rest = rest;
        Ok(head)
    }

    /// The next `N` bytes, by value.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], InvalidMessage> {
        let (head, rest) = self.rest.split_first_chunk().ok_or(InvalidMessage::Truncated)?;
        self.rest = rest;
        Ok(*head)
    }

    /// The next byte.
    pub fn u8(&mut self) -> Result<u8, InvalidMessage> {
        self.array::<1>().map(|[byte]| byte)
    }

    /// The next two bytes.
    pub fn u16(&mut self) -> Result<u16, InvalidMessage> {
        self.array().map(u16::from_be_bytes)
    }

    /// The next three bytes.
    pub fn u24(&mut self) -> Result<u32, InvalidMessage> {
        self.array().map(|[a, b, c]| u32::from_be_bytes([0, a, b, c]))
    }

    /// The next eight bytes.
    pub fn u64(&mut self) -> Result<u64, InvalidMessage> {
        self.array().map(u64::from_be_bytes)
    }

    /// A vector with a length of one byte (`opaque x<0..2^8-1>`).
    pub fn vec8(&mut self) -> Result<&'a [u8], InvalidMessage> {
        let len = self.u8()?;
        self.take(len.into())
    }

    /// A vector with a length of two bytes (`opaque x<0..2^16-1>`).
    pub fn vec16(&mut self) -> Result<&'a [u8], InvalidMessage> {
        let len = self.u16()?;
        self.take(len.into())
    }

    /// Succeeds when nothing is left.
    pub fn finish(self) -> Result<(), InvalidMessage> {
        if self.rest.is_empty() { Ok(()) } else { Err(InvalidMessage::TrailingData) }
    }
}

/// The caller's buffer has no room for what was to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct BufferFull;

/// Writes fields in network byte order into a slice.
#[derive(Debug)]
pub struct Writer<'a> {
    buf: &'a mut [u8],
    len: usize,
}

impl<'a> Writer<'a> {
    /// A writer at the start of `buf`.
    pub const fn new(buf: &'a mut [u8]) -> Self {
        Self { buf, len: 0 }
    }

    /// How many bytes were written.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// What was written.
    pub fn written(self) -> &'a mut [u8] {
        self.buf.get_mut(..self.len).unwrap_or_default()
    }

    /// Appends `bytes`.
    pub fn bytes(&mut self, bytes: &[u8]) -> Result<(), BufferFull> {
        let end = self.len.checked_add(bytes.len()).ok_or(BufferFull)?;
        self.buf.get_mut(self.len..end).ok_or(BufferFull)?.copy_from_slice(bytes);
        self.len = end;
        Ok(())
    }

    /// Appends one byte.
    pub fn u8(&mut self, value: u8) -> Result<(), BufferFull> {
        self.bytes(&[value])
    }

    /// Appends two bytes.
    pub fn u16(&mut self, value: u16) -> Result<(), BufferFull> {
        self.bytes(&value.to_be_bytes())
    }

    /// Appends eight bytes.
    pub fn u64(&mut self, value: u64) -> Result<(), BufferFull> {
        self.bytes(&value.to_be_bytes())
    }

    /// Appends `bytes` behind their length in one byte.
    pub fn vec8(&mut self, bytes: &[u8]) -> Result<(), BufferFull> {
        self.u8(u8::try_from(bytes.len()).map_err(|_| BufferFull)?)?;
        self.bytes(bytes)
    }

    /// Appends `bytes` behind their length in two bytes.
    pub fn vec16(&mut self, bytes: &[u8]) -> Result<(), BufferFull> {
        self.u16(u16::try_from(bytes.len()).map_err(|_| BufferFull)?)?;
        self.bytes(bytes)
    }

    /// Appends what `body` writes, behind its length in two bytes.
    pub fn nested16(
        &mut self,
        body: impl FnOnce(&mut Self) -> Result<(), BufferFull>,
    ) -> Result<(), BufferFull> {
        let at = self.len;
        self.u16(0)?;
        let start = self.len;
        body(self)?;
        let len = u16::try_from(self.len - start).map_err(|_| BufferFull)?;
        self.buf.get_mut(at..start).ok_or(BufferFull)?.copy_from_slice(&len.to_be_bytes());
        Ok(())
    }
}
