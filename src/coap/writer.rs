//! Writing a message into a buffer that is already there.

use coap_message::{MinimalWritableMessage, MutableWritableMessage};
use coap_message_implementations::inmemory::WriteError;
use coap_message_implementations::option_extension::{encode_extensions, take_extension};
use coap_numbers::option::BLOCK2;

use super::Code;
use super::message::Header;

const PAYLOAD_MARKER: u8 = 0xff;

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
        let encoded = encode_extensions(delta, u16::try_from(len).map_err(|_| WriteError::OutOfSpace)?);
        let encoded = encoded.as_ref();
        let total = encoded.len().checked_add(len).ok_or(WriteError::OutOfSpace)?;
        let (start, value) = self
            .buffer
            .get_mut(self.options_end..)
            .and_then(|free| free.get_mut(..total))
            .and_then(|option| option.split_at_mut_checked(encoded.len()))
            .ok_or(WriteError::OutOfSpace)?;
        start.copy_from_slice(encoded);
        fill(value);
        self.latest = number;
        self.options_end += total;
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
        while let Some((&first, after)) = rest.split_first() {
            let (mut delta, mut len) = (u16::from(first >> 4), u16::from(first & 0x0f));
            let mut view = after;
            if take_extension(&mut delta, &mut view).is_err() || take_extension(&mut len, &mut view).is_err()
            {
                return;
            }
            let value_at = rest.len() - view.len();
            number = number.saturating_add(delta);
            let Some((value, after)) =
                rest.get_mut(value_at..).and_then(|rest| rest.split_at_mut_checked(usize::from(len)))
            else {
                return;
            };
            callback(number, value);
            rest = after;
        }
    }
}
