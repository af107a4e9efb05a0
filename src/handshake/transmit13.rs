//! What only a handshake of DTLS 1.3 sends: records with several messages in them, and ACKs (RFC 9147 §5.5, §7).

use super::acks::MAX_RECEIVED;
use super::transmit::MAX_OUTGOING;
use super::{Context, Core};
use crate::error::Error;
use crate::log::debug;
use crate::wire::Writer;
use crate::wire::ack::Ack;
use crate::wire::handshake::{self, Fragment};
use crate::wire::record::{self, ContentType};

impl Core {
    /// Writes one record with as much of the flight as fits, and as is to be encrypted; `None` when there is no room.
    pub(super) fn transmit_encrypted(
        &mut self,
        context: &Context<'_>,
        room: &mut [u8],
    ) -> Result<Option<usize>, Error> {
        let Some(write) = self.state.write13() else { return Ok(None) };
        let (prefix, suffix) = write.overhead();
        let max = room.len().saturating_sub(prefix + suffix).min(write.max_payload());
        let start = self.flight.position();
        let mut w = Writer::new(room.get_mut(prefix..prefix + max).unwrap_or_default());
        let mut scratch = [0; MAX_OUTGOING];
        while let Some((message, seq, offset)) = self.flight.next().filter(|(next, ..)| next.is_encrypted()) {
            let body = self.encode(context, message, &mut scratch)?;
            let rest = body.get(offset..).unwrap_or_default();
            let Some(room) = (max - w.len()).checked_sub(handshake::HEADER_LEN + 1) else { break };
            let part = rest.get(..rest.len().min(room + 1)).unwrap_or_default();
            let fragment = Fragment {
                msg_type: message.number(),
                length: body.len() as u32,
                message_seq: seq,
                fragment_offset: offset as u32,
                body: part,
            };
            if w.bytes(&fragment.header()).and_then(|()| w.bytes(part)).is_err() {
                break;
            }
            debug!("-> {:?} (message {}, {} of {} bytes)", message, seq, part.len(), body.len());
            self.flight.advance(part.len(), body.len());
        }
        let len = w.len();
        if len == 0 {
            return Ok(None);
        }
        let Some(write) = self.state.write13() else { return Ok(None) };
        let number = write.next_number();
        let sealed =
            write.seal_in_place(context.config.crypto(), ContentType::Handshake, room, prefix..prefix + len);
        let record = sealed.inspect_err(|_| self.flight.back_to(start))?;
        self.flight.is_in(number, start);
        let len = record.len();
        room.copy_within(record, 0);
        Ok(Some(len))
    }

    /// Writes an ACK, if one is due.
    pub(super) fn transmit_ack(
        &mut self,
        context: &Context<'_>,
        buf: &mut [u8],
    ) -> Result<Option<usize>, Error> {
        if !self.acks.is_due() {
            return Ok(None);
        }
        let mut body = [0; Ack::len(MAX_RECEIVED)];
        let mut w = Writer::new(&mut body);
        let written = Ack::emit(self.acks.records().as_slice(), &mut w);
        written.map_err(|_| Error::BufferTooSmall { needed: Ack::len(MAX_RECEIVED) })?;
        let body = &*w.written();
        let len = match self.state.write13() {
            Some(write) => write.seal(context.config.crypto(), ContentType::Ack, [body, &[]], buf)?,
            None => self
                .plain
                .write(ContentType::Ack, [body, &[]], buf)
                .ok_or(Error::BufferTooSmall { needed: record::HEADER_LEN + body.len() })?,
        };
        debug!("-> ACK of {} records", self.acks.records().as_slice().len());
        self.acks.on_sent();
        Ok(Some(len))
    }
}
