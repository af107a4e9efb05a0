//! Flights (RFC 6347 §4.2.4): which messages go out, and how far they got.
//!
//! A flight is encoded from the handshake's state whenever it is sent, with fresh record numbers around the same
//! messages.

use super::CHANGE_CIPHER_SPEC;
use crate::crypto::provider::CryptoProvider;
use crate::error::Error;
use crate::record::{PlainWriter, WriteState};
use crate::wire::finished::VERIFY_DATA_LEN;
use crate::wire::handshake::{self, Fragment, HandshakeType, whole_header};
use crate::wire::record::{self, ContentType};

/// A flight on its way out. Finished brings its ChangeCipherSpec with it, which is no handshake message and has no number.
#[derive(Clone, Copy)]
pub(crate) struct Flight {
    messages: &'static [HandshakeType],
    /// The number of the first message.
    first_seq: u16,
    /// How many messages are out.
    sent: u8,
    /// How many bytes of the next one's body are out.
    offset: usize,
}

impl Flight {
    pub(crate) const fn new(messages: &'static [HandshakeType], first_seq: u16) -> Self {
        Self { messages, first_seq, sent: 0, offset: 0 }
    }

    /// The number of the message after the last one.
    pub(crate) fn next_seq(&self) -> u16 {
        // A flight has three messages at most.
        self.first_seq.saturating_add(self.messages.len() as u16)
    }

    /// The messages with their numbers.
    pub(crate) fn numbered(&self) -> impl Iterator<Item = (HandshakeType, u16)> + use<> {
        self.messages.iter().copied().zip(self.first_seq..)
    }

    /// The next message to send, its number, and how much of its body is out already.
    pub(crate) fn next(&self) -> Option<(HandshakeType, u16, usize)> {
        let message = self.messages.get(usize::from(self.sent))?;
        Some((*message, self.first_seq + u16::from(self.sent), self.offset))
    }

    /// `written` more bytes of the next message's body of `len` bytes are out.
    pub(crate) fn advance(&mut self, written: usize, len: usize) {
        self.offset += written;
        if self.offset >= len {
            self.advance_whole();
        }
    }

    /// All of the next message is out.
    pub(crate) fn advance_whole(&mut self) {
        self.sent += 1;
        self.offset = 0;
    }

    /// Sends everything again. `false` for a flight with nothing in it.
    pub(crate) fn restart(&mut self) -> bool {
        (self.sent, self.offset) = (0, 0);
        !self.messages.is_empty()
    }
}

/// Writes as much of a plaintext message as fits into `buf` as one record, from `offset` of its body on. Returns the
/// length of the record and of the body's part in it, or `None` when there is no room for any of it.
pub(crate) fn write_plain(
    plain: &mut PlainWriter,
    msg_type: HandshakeType,
    message_seq: u16,
    body: &[u8],
    offset: usize,
    buf: &mut [u8],
) -> Option<(usize, usize)> {
    let rest = body.get(offset..)?;
    let room = buf.len().checked_sub(record::HEADER_LEN + handshake::HEADER_LEN)?;
    let part = rest.get(..rest.len().min(room))?;
    if part.is_empty() && !rest.is_empty() {
        return None;
    }
    let fragment = Fragment {
        msg_type: msg_type.number(),
        length: u32::try_from(body.len()).ok()?,
        message_seq,
        fragment_offset: u32::try_from(offset).ok()?,
        body: part,
    };
    let len = plain.write(ContentType::Handshake, [&fragment.header(), part], buf)?;
    Some((len, part.len()))
}

/// Writes ChangeCipherSpec and Finished, which travel together, and returns their length, or `None` when there is no
/// room for them.
pub(crate) fn write_finished(
    plain: &mut PlainWriter,
    write: &mut WriteState,
    crypto: &dyn CryptoProvider,
    message_seq: u16,
    verify_data: &[u8; VERIFY_DATA_LEN],
    buf: &mut [u8],
) -> Result<Option<usize>, Error> {
    if buf.len() < finished_len(write) {
        return Ok(None);
    }
    let Some(len) = plain.write(ContentType::ChangeCipherSpec, [&CHANGE_CIPHER_SPEC, &[]], buf) else {
        return Ok(None);
    };
    let header = whole_header(HandshakeType::Finished, VERIFY_DATA_LEN, message_seq);
    let rest = buf.get_mut(len..).unwrap_or_default();
    let sealed = write.seal(crypto, ContentType::Handshake, [&header, verify_data], rest)?;
    Ok(Some(len + sealed))
}

/// Length in bytes of ChangeCipherSpec and Finished.
pub(crate) const fn finished_len(write: &WriteState) -> usize {
    record::HEADER_LEN + 1 + write.sealed_len(handshake::HEADER_LEN + VERIFY_DATA_LEN)
}
