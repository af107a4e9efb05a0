//! Writing a message into a buffer that is already there.

use core::hash::Hasher;

use coap_message::error::RenderableOnMinimal;
use coap_message::{Code as _, MinimalWritableMessage, MutableWritableMessage};
use coap_numbers::code::INTERNAL_SERVER_ERROR;
use coap_numbers::option::BLOCK2;

use siphasher::sip::SipHasher24;

use super::block::Block;
use super::message::{Header, PAYLOAD_MARKER};
use super::{Code, option_format};

/// The longest value that [`Writer::insert`] takes: that of an Echo option (RFC 9175 §2.2.1).
pub(super) const MAX_INSERTED: usize = 40;

/// Why something could not be written. It renders as 5.00.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub(super) enum WriteError {
    /// Options come in the order of their numbers, and then one payload.
    OutOfSequence,
    /// The buffer is full.
    OutOfSpace,
}

impl RenderableOnMinimal for WriteError {
    type Error<E: RenderableOnMinimal + core::fmt::Debug> = E;

    fn render<M: MinimalWritableMessage>(self, message: &mut M) -> Result<(), M::UnionError> {
        message.set_code(M::Code::new(INTERNAL_SERVER_ERROR)?);
        Ok(())
    }
}

impl From<core::convert::Infallible> for WriteError {
    fn from(never: core::convert::Infallible) -> Self {
        match never {}
    }
}

/// Where the payload of a message stands in the representation that a handler has written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Payload {
    /// How many bytes follow the payload marker; there is no marker when it is zero.
    len: usize,
    /// How many bytes of the representation are in front of them.
    start: usize,
    /// How long the representation is.
    total: usize,
    /// A hash of the representation, where the payload is only a part of it.
    digest: u64,
    /// Whether it is a block on purpose.
    is_block: bool,
}

/// What [`Writer::cut`] has left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cut {
    /// The block that is in the message now.
    pub(super) block: Block,
    /// How long the representation is.
    pub(super) total: usize,
    /// A hash of it, which is another one when it changes.
    pub(super) digest: u64,
}

/// Tells representations apart. Nobody who could choose them is to be kept from making two alike, so it has no key.
fn digest_of(representation: &[u8]) -> u64 {
    let mut hasher = SipHasher24::new();
    hasher.write(representation);
    hasher.finish()
}

/// A message that is being written behind a header that stands already.
///
/// A payload that is set at once may be longer than the buffer: what is kept of it begins at the writer's `window`, and
/// [`cut`](Self::cut) makes a block of that. So a handler needs no buffer for a long representation, and does not have to know
/// of blocks.
///
/// Unlike the writer in `coap-message-implementations`, it holds its ground when an option or a payload does not fit, and
/// when whoever writes goes on regardless: the message stays as it was before the call that failed.
pub(super) struct Writer<'a> {
    /// What follows header and token.
    buffer: &'a mut [u8],
    header_len: usize,
    code: u8,
    /// The number of the last option.
    latest: u16,
    options_end: usize,
    /// Which bytes of a longer payload are wanted: those from here on.
    window: usize,
    payload: Payload,
}

impl<'a> Writer<'a> {
    /// Writes the header; `None` where the buffer is too small for it. The code can still be set.
    pub(super) fn new(buffer: &'a mut [u8], header: &Header) -> Option<Self> {
        let header_len = header.emit(buffer)?;
        Some(Self {
            buffer,
            header_len,
            code: header.code.byte(),
            latest: 0,
            options_end: header_len,
            window: 0,
            payload: Payload::default(),
        })
    }

    /// Begins anew behind the header. Of a payload that is set at once, the part from `window` on is wanted.
    pub(super) fn restart(&mut self, window: usize) {
        self.reset();
        self.window = window;
    }

    /// Forgets code, options and payload.
    pub(super) fn reset(&mut self) {
        self.code = 0;
        self.latest = 0;
        self.options_end = self.header_len;
        self.payload = Payload::default();
    }

    pub(super) fn code(&self) -> Code {
        Code::new(self.code)
    }

    /// How long the message may be.
    pub(super) fn capacity(&self) -> usize {
        self.buffer.len()
    }

    /// The length of the message as it is.
    pub(super) fn len(&self) -> usize {
        match self.payload.len {
            0 => self.options_end,
            len => self.options_end + 1 + len,
        }
    }

    /// How many bytes the message has in front of its payload, and of the payload's marker.
    pub(super) fn front(&self) -> usize {
        self.options_end
    }

    /// Whether some of what a handler has written is not in the message, and nothing was [cut](Self::cut).
    pub(super) fn is_part(&self) -> bool {
        self.payload.len < self.payload.total && !self.payload.is_block
    }

    /// The payload as far as it is in the message.
    pub(super) fn payload(&self) -> &[u8] {
        let start = self.options_end + 1;
        self.buffer.get(start..start + self.payload.len).unwrap_or_default()
    }

    /// The length of the whole message, which then stands at the front of the buffer.
    pub(super) fn finish(self) -> usize {
        if let Some(code) = self.buffer.get_mut(1) {
            *code = self.code;
        }
        self.len()
    }

    /// Leaves this block of the representation, and tells whether more follow. `None` where there is no such block.
    pub(super) fn cut(&mut self, block: Block) -> Option<Cut> {
        let Payload { len, start, total, digest, .. } = self.payload;
        let offset = block.offset();
        // Only an empty representation has an empty block, its first.
        if offset >= total.max(1) {
            return None;
        }
        let skip = offset.checked_sub(start)?;
        let kept = len.checked_sub(skip)?.min(block.len());
        let digest = if len == total { digest_of(self.payload()) } else { digest };
        let payload = self.buffer.get_mut(self.options_end + 1..).unwrap_or_default();
        if skip > 0 {
            payload.get_mut(..len)?.copy_within(skip..skip + kept, 0);
        }
        self.payload = Payload { len: kept, start: offset, total, digest, is_block: true };
        Some(Cut { block: Block { more: offset + kept < total, ..block }, total, digest })
    }

    /// The number and value of the first option with this number.
    pub(super) fn option(&self, number: u16) -> Option<&[u8]> {
        let mut rest = self.buffer.get(self.header_len..self.options_end)?;
        let mut at = 0_u16;
        while let Some((delta, len, after)) = option_format::parse(rest) {
            let (value, after) = after.split_at_checked(len)?;
            at = at.saturating_add(delta);
            if at == number {
                return Some(value);
            }
            rest = after;
        }
        None
    }

    /// Adds an option with a value of at most [`MAX_INSERTED`] bytes in its place among those that are there, and moves
    /// what follows.
    pub(super) fn insert(&mut self, number: u16, value: &[u8]) -> Result<(), WriteError> {
        let options = self.buffer.get(self.header_len..self.options_end).unwrap_or_default();
        // The option that will follow, and the number in front of it.
        let (mut rest, mut before) = (options, 0_u16);
        let next = loop {
            let Some((delta, len, after)) = option_format::parse(rest) else { break None };
            let after_number = before.saturating_add(delta);
            if after_number > number {
                break Some((after_number, len, rest.len() - after.len()));
            }
            before = after_number;
            rest = after.get(len..).unwrap_or_default();
        };
        let at = self.options_end - rest.len();
        // Both are written anew: the option that is added, and how the next one begins.
        let mut bytes = [0; 2 * option_format::MAX_FRONT + MAX_INSERTED];
        let whole = bytes.len();
        let value_len = u16::try_from(value.len()).map_err(|_| WriteError::OutOfSpace)?;
        let free = option_format::emit(&mut bytes, number.saturating_sub(before), value_len)
            .ok_or(WriteError::OutOfSpace)?;
        let (to, mut free) = free.split_at_mut_checked(value.len()).ok_or(WriteError::OutOfSpace)?;
        to.copy_from_slice(value);
        let mut replaced = 0;
        if let Some((next_number, len, front)) = next {
            let len = u16::try_from(len).map_err(|_| WriteError::OutOfSpace)?;
            free = option_format::emit(free, next_number.saturating_sub(number), len)
                .ok_or(WriteError::OutOfSpace)?;
            replaced = front;
        }
        let added_len = whole - free.len();
        let end = self.len();
        let new_end = end + added_len - replaced;
        let bytes = bytes.get(..added_len).unwrap_or_default();
        if new_end > self.buffer.len() {
            return Err(WriteError::OutOfSpace);
        }
        self.buffer.copy_within(at + replaced..end, at + added_len);
        self.buffer.get_mut(at..at + added_len).ok_or(WriteError::OutOfSpace)?.copy_from_slice(bytes);
        self.options_end = self.options_end + added_len - replaced;
        self.latest = self.latest.max(number);
        Ok(())
    }

    /// The same as [`insert`](Self::insert) with a `uint` (RFC 7252 §3.2).
    pub(super) fn insert_uint(&mut self, number: u16, value: u32) -> Result<(), WriteError> {
        self.insert(number, option_format::uint(value, &mut [0; 4]))
    }

    /// Adds an option of `len` bytes which `fill` writes.
    pub(super) fn add_option_with(
        &mut self,
        number: u16,
        len: usize,
        fill: impl FnOnce(&mut [u8]),
    ) -> Result<(), WriteError> {
        if self.payload.len > 0 {
            return Err(WriteError::OutOfSequence);
        }
        let delta = number.checked_sub(self.latest).ok_or(WriteError::OutOfSequence)?;
        let encoded_len = u16::try_from(len).map_err(|_| WriteError::OutOfSpace)?;
        let free = self.buffer.get_mut(self.options_end..).ok_or(WriteError::OutOfSpace)?;
        let before = free.len();
        let rest = option_format::emit(free, delta, encoded_len).ok_or(WriteError::OutOfSpace)?;
        let (value, rest) = rest.split_at_mut_checked(len).ok_or(WriteError::OutOfSpace)?;
        fill(value);
        self.latest = number;
        self.options_end += before - rest.len();
        Ok(())
    }

    /// Sets a diagnostic payload (§5.5.2), or leaves it out where it does not fit.
    pub(super) fn diagnostic(&mut self, parts: [&str; 2]) {
        let [first, second] = parts.map(str::as_bytes);
        if let Ok(payload) = self.payload_mut_with_len(first.len() + second.len())
            && let Some((front, back)) = payload.split_at_mut_checked(first.len())
            && back.len() == second.len()
        {
            front.copy_from_slice(first);
            back.copy_from_slice(second);
        } else {
            self.payload = Payload::default();
        }
    }
}

impl MinimalWritableMessage for Writer<'_> {
    type Code = u8;
    type OptionNumber = u16;
    type AddOptionError = WriteError;
    type SetPayloadError = WriteError;
    type UnionError = WriteError;

    fn set_code(&mut self, code: u8) {
        self.code = code;
    }

    fn add_option(&mut self, number: u16, value: &[u8]) -> Result<(), WriteError> {
        // The first block of 16 bytes is 0, and as short as can be it has no bytes. Handlers of
        // `coap-handler-implementations` (0.6) panic when they set the M bit in that afterwards. A leading zero is as good:
        // recipients "MUST be prepared to process values with leading zero bytes" (§3.2).
        let value = if number == BLOCK2 && value.is_empty() { &[0] } else { value };
        self.add_option_with(number, value.len(), |to| to.copy_from_slice(value))
    }

    fn set_payload(&mut self, data: &[u8]) -> Result<(), WriteError> {
        if self.payload.total > 0 {
            return Err(WriteError::OutOfSequence);
        }
        // Whether a part will do is for `cut` to say. Errors have no blocks.
        let window = if self.code().is_success() { self.window } else { 0 };
        let (start, part) = match data.get(window..) {
            Some(part) => (window, part),
            None => (data.len(), &[][..]),
        };
        let payload = self.payload_mut_with_len(part.len())?;
        let len = payload.len();
        payload.copy_from_slice(part.get(..len).unwrap_or_default());
        let digest = if len < data.len() { digest_of(data) } else { 0 };
        self.payload = Payload { len, start, total: data.len(), digest, is_block: false };
        Ok(())
    }

    #[inline]
    #[allow(refining_impl_trait, reason = "the advanced interface is this same type")]
    fn promote_to_mutable_writable_message(&mut self) -> Option<&mut Self> {
        Some(self)
    }
}

impl MutableWritableMessage for Writer<'_> {
    fn available_space(&self) -> usize {
        // Handlers of `coap-handler-implementations` (0.6) count in 16 bits.
        self.buffer.len().saturating_sub(self.options_end).min(usize::from(u16::MAX))
    }

    fn payload_mut_with_len(&mut self, len: usize) -> Result<&mut [u8], WriteError> {
        if len == 0 {
            self.payload = Payload::default();
            return Ok(&mut []);
        }
        let (marker, payload) = self
            .buffer
            .get_mut(self.options_end..)
            .and_then(|free| free.split_first_mut())
            .ok_or(WriteError::OutOfSpace)?;
        // The longest payload there is room for, as the trait asks; but a marker alone would be a format error.
        let len = len.min(payload.len());
        if len == 0 {
            return Err(WriteError::OutOfSpace);
        }
        *marker = PAYLOAD_MARKER;
        self.payload = Payload { len, total: len, ..Payload::default() };
        payload.get_mut(..len).ok_or(WriteError::OutOfSpace)
    }

    fn truncate(&mut self, len: usize) -> Result<(), WriteError> {
        if len > self.payload.len {
            return Err(WriteError::OutOfSpace);
        }
        self.payload = Payload { len, total: len, ..self.payload };
        Ok(())
    }

    fn mutate_options<F>(&mut self, mut callback: F)
    where
        F: FnMut(u16, &mut [u8]),
    {
        let Some(mut rest) = self.buffer.get_mut(self.header_len..self.options_end) else {
            return;
        };
        let mut number = 0_u16;
        while let Some((delta, len, after)) = option_format::parse(rest) {
            let value_at = rest.len() - after.len();
            number = number.saturating_add(delta);
            let Some((value, after)) =
                rest.get_mut(value_at..).and_then(|rest| rest.split_at_mut_checked(len))
            else {
                return;
            };
            callback(number, value);
            rest = after;
        }
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use coap_message::ReadableMessage as _;
    use std::vec::Vec;

    use super::super::message::Type;
    use super::super::{Message, Token};
    use super::*;

    const HEADER: Header =
        Header { kind: Type::Acknowledgement, code: Code::new(0x45), message_id: 7, token: Token::EMPTY };

    fn options(bytes: &[u8]) -> Vec<(u16, Vec<u8>)> {
        use coap_message::MessageOption as _;
        let message = Message::parse(bytes).unwrap();
        message.options().map(|option| (option.number(), option.value().to_vec())).collect()
    }

    /// Inserting options gives what writing them in their order gives.
    #[test]
    fn options_are_inserted_in_their_places() {
        let values: [(u16, &[u8]); 6] =
            [(4, b"tag"), (6, b"\x01"), (12, b""), (23, b"\x0e"), (28, b"\x01\0\0"), (252, &[7; 40])];
        for left_out in 0..values.len() {
            for payload in [&b""[..], b"payload"] {
                let mut buffer = [0; 128];
                let mut writer = Writer::new(&mut buffer, &HEADER).unwrap();
                for (_, (number, value)) in values.iter().enumerate().filter(|(at, _)| *at != left_out) {
                    writer.add_option(*number, value).unwrap();
                }
                writer.set_payload(payload).unwrap();
                let (number, value) = values[left_out];
                writer.insert(number, value).unwrap();
                let len = writer.finish();
                let expected: Vec<_> =
                    values.iter().map(|(number, value)| (*number, value.to_vec())).collect();
                assert_eq!(options(&buffer[..len]), expected);
                assert_eq!(Message::parse(&buffer[..len]).unwrap().payload(), payload);
            }
        }
    }

    #[test]
    fn what_does_not_fit_is_not_inserted() {
        for room in 0..10 {
            let mut buffer = [0; 4 + 2 + 4 + 9];
            let free = buffer.len() - 9 + room;
            let mut writer = Writer::new(&mut buffer[..free], &HEADER).unwrap();
            writer.add_option(12, b"0").unwrap();
            writer.set_payload(b"123").unwrap();
            assert_eq!(writer.insert(4, b"etag1234").is_ok(), room == 9, "{room}");
            let len = writer.finish();
            assert_eq!(Message::parse(&buffer[..len]).unwrap().payload(), b"123");
        }
    }

    /// A block of a payload, whether or not it was longer than the buffer.
    #[test]
    fn blocks_are_cut() {
        let body: Vec<u8> = (0..200).collect();
        for len in [0, 1, 15, 16, 17, 32, 33, 200] {
            for number in 0..15 {
                let block = Block { number, more: false, szx: 0 };
                let mut buffer = [0; 48];
                let mut writer = Writer::new(&mut buffer, &HEADER).unwrap();
                writer.restart(block.offset());
                writer.set_code(0x45);
                writer.set_payload(&body[..len]).unwrap();
                let cut = writer.cut(block);
                let from = block.offset();
                if from >= len.max(1) {
                    assert_eq!(cut, None, "block {number} of {len}");
                    continue;
                }
                let end = len.min(from + 16);
                let block = Block { more: end < len, ..block };
                assert_eq!(cut, Some(Cut { block, total: len, digest: digest_of(&body[..len]) }));
                let len = writer.finish();
                assert_eq!(Message::parse(&buffer[..len]).unwrap().payload(), &body[from..end]);
            }
        }
    }

    /// Handlers that write in place know nothing of the window.
    #[test]
    fn blocks_are_cut_of_what_was_written_in_place() {
        let mut buffer = [0; 64];
        let mut writer = Writer::new(&mut buffer, &HEADER).unwrap();
        writer.restart(16);
        writer.set_code(0x45);
        let payload = writer.payload_mut_with_len(40).unwrap();
        payload.iter_mut().zip(0..).for_each(|(byte, at)| *byte = at);
        writer.truncate(30).unwrap();
        let cut = writer.cut(Block { number: 1, more: false, szx: 0 }).unwrap();
        assert_eq!((cut.block.more, cut.total), (false, 30));
        let len = writer.finish();
        assert_eq!(Message::parse(&buffer[..len]).unwrap().payload(), (16..30).collect::<Vec<u8>>());
    }
}
