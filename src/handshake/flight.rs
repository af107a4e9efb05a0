//! Flights (RFC 6347 §4.2.4): which messages go out, and how far they got.
//!
//! A flight is encoded from the handshake's state whenever it is sent, with fresh record numbers around the same
//! messages.

#[cfg(feature = "dtls13")]
use super::sent_records::SentRecords;
use crate::record::PlainWriter;
use crate::wire::handshake::{self, Fragment, HandshakeType};
#[cfg(feature = "dtls13")]
use crate::wire::record::RecordNumber;
use crate::wire::record::{self, ContentType};

/// Where in a flight something is: in which of its messages, and how many bytes of that body are before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Position {
    pub(crate) message: u8,
    pub(crate) offset: u16,
}

/// A flight on its way out. The Finished of DTLS 1.2 brings its ChangeCipherSpec with it, which is no handshake message and has
/// no number.
#[derive(Clone, Copy)]
pub(crate) struct Flight {
    messages: &'static [HandshakeType],
    /// The number of the first message.
    first_seq: u16,
    /// How far it is out.
    next: Position,
    #[cfg(feature = "dtls13")]
    sent: SentRecords,
}

impl Flight {
    pub(crate) const fn new(messages: &'static [HandshakeType], first_seq: u16) -> Self {
        Self {
            messages,
            first_seq,
            next: Position { message: 0, offset: 0 },
            #[cfg(feature = "dtls13")]
            sent: SentRecords::NONE,
        }
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

    /// What goes out next, and may be missing at the peer.
    pub(crate) fn position(&self) -> Position {
        #[cfg(feature = "dtls13")]
        return self.sent.skip(self.next);
        #[cfg(not(feature = "dtls13"))]
        self.next
    }

    /// The next message to send, its number, and how much of its body is out already.
    pub(crate) fn next(&self) -> Option<(HandshakeType, u16, usize)> {
        let Position { message, offset } = self.position();
        let msg_type = self.messages.get(usize::from(message))?;
        Some((*msg_type, self.first_seq + u16::from(message), offset.into()))
    }

    /// `written` more bytes of the next message's body of `len` bytes are out.
    pub(crate) fn advance(&mut self, written: usize, len: usize) {
        let Position { message, offset } = self.position();
        let end = usize::from(offset) + written;
        self.next = match u16::try_from(end) {
            Ok(offset) if end < len => Position { message, offset },
            _ => Position { message: message + 1, offset: 0 },
        };
    }

    /// Goes back to where a record began that was not sent after all.
    #[cfg(feature = "dtls13")]
    pub(crate) const fn back_to(&mut self, position: Position) {
        self.next = position;
    }

    /// What lies between `start` and here is out in this record.
    #[cfg(feature = "dtls13")]
    pub(crate) fn is_in(&mut self, number: RecordNumber, start: Position) {
        self.sent.add(number, start, self.next);
    }

    /// The peer has this record. Whether that is news.
    #[cfg(feature = "dtls13")]
    pub(crate) fn acknowledge(&mut self, number: RecordNumber) -> bool {
        self.sent.acknowledge(number)
    }

    /// Sends everything again that the peer may not have. `false` where that is nothing, or where a part has yet to go out the first
    /// time: it may be waiting for the client to show that it receives at its address, and would never be reached.
    pub(crate) fn restart(&mut self) -> bool {
        if self.next().is_some() {
            return false;
        }
        self.next = Position::default();
        self.next().is_some()
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
