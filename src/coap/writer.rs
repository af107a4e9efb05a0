//! Writing a message into a buffer that is already there.

use coap_message::error::RenderableOnMinimal;
use coap_message::{Code as _, MinimalWritableMessage, MutableWritableMessage};
use coap_numbers::code::INTERNAL_SERVER_ERROR;
use coap_numbers::option::BLOCK2;

use super::message::{Header, PAYLOAD_MARKER};
use super::{Code, option_format};

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

/// A message that is being written behind a header that stands already.
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
    /// How many bytes follow the payload marker; there is none when it is zero.
    payload_len: usize,
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
            payload_len: 0,
        })
    }

    /// Forgets code, options and payload.
    pub(super) fn reset(&mut self) {
        self.code = 0;
        self.latest = 0;
        self.options_end = self.header_len;
        self.payload_len = 0;
    }

    pub(super) fn code(&self) -> Code {
        Code::new(self.code)
    }

    /// The length of the whole message, which then stands at the front of the buffer.
    pub(super) fn finish(self) -> usize {
        if let Some(code) = self.buffer.get_mut(1) {
            *code = self.code;
        }
        match self.payload_len {
            0 => self.options_end,
            len => self.options_end + 1 + len,
        }
    }

    /// Adds an option of `len` bytes which `fill` writes.
    pub(super) fn add_option_with(
        &mut self,
        number: u16,
        len: usize,
        fill: impl FnOnce(&mut [u8]),
    ) -> Result<(), WriteError> {
        if self.payload_len > 0 {
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
            self.payload_len = 0;
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
        if self.payload_len > 0 {
            return Err(WriteError::OutOfSequence);
        }
        let payload = self.payload_mut_with_len(data.len())?;
        if payload.len() == data.len() {
            payload.copy_from_slice(data);
            Ok(())
        } else {
            self.payload_len = 0;
            Err(WriteError::OutOfSpace)
        }
    }

    #[inline]
    #[allow(refining_impl_trait, reason = "the advanced interface is this same type")]
    fn promote_to_mutable_writable_message(&mut self) -> Option<&mut Self> {
        Some(self)
    }
}

impl MutableWritableMessage for Writer<'_> {
    fn available_space(&self) -> usize {
        self.buffer.len().saturating_sub(self.options_end)
    }

    fn payload_mut_with_len(&mut self, len: usize) -> Result<&mut [u8], WriteError> {
        if len == 0 {
            self.payload_len = 0;
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
        self.payload_len = len;
        payload.get_mut(..len).ok_or(WriteError::OutOfSpace)
    }

    fn truncate(&mut self, len: usize) -> Result<(), WriteError> {
        if len > self.payload_len {
            return Err(WriteError::OutOfSpace);
        }
        self.payload_len = len;
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
