//! What a saved session has to know of its handshake messages to go on, as bytes.

use super::outgoing::{Message, Outgoing};
use super::{MAX_SPARE_LEN, PostHandshake, RequestState, SpareConnectionId};
use crate::connection_id::{MAX_CONNECTION_ID_LEN, OwnConnectionId};
use crate::crypto::key_schedule::Secret;
use crate::handshake::Tickets;
use crate::resumption::TlsSessionId;
use crate::wire::finished::VERIFY_DATA13_LEN;
use crate::wire::key_update::KeyUpdate;
use crate::wire::new_connection_id::ConnectionIdUsage;
use crate::wire::{BufferFull, InvalidMessage, Reader, Writer};

/// Longest length in bytes of what [`PostHandshake::save`] writes.
pub(in crate::connection) const MAX_SAVED_LEN: usize = 2
    + 2
    + 1
    + 1
    + 2
    + 32
    + 8
    + VERIFY_DATA13_LEN
    + 1
    + 1
    + (1 + MAX_CONNECTION_ID_LEN)
    + (1 + MAX_SPARE_LEN)
    + 4
    + 1
    + 32;

impl PostHandshake {
    /// Writes what has to be known to go on.
    pub(in crate::connection) fn save(&self, w: &mut Writer<'_>) -> Result<(), BufferFull> {
        w.u16(self.next_send_seq)?;
        w.u16(self.next_receive_seq)?;
        let flags =
            |update: Option<&KeyUpdate>| update.map_or(0, |update| 1 + u8::from(update.request_update));
        w.u8(flags(self.key_update.as_ref()))?;
        match &self.outgoing {
            None => w.u8(0)?,
            Some(Outgoing {
                message: Message::NewSessionTicket { ticket, age_add }, message_seq, ..
            }) => {
                w.u8(4)?;
                w.u16(*message_seq)?;
                w.vec8(ticket.as_bytes())?;
                w.bytes(&age_add.to_be_bytes())?;
            }
            Some(Outgoing { message: Message::NewConnectionId { id, usage }, message_seq, .. }) => {
                w.u8(5 + *usage as u8)?;
                w.u16(*message_seq)?;
                w.vec8(id.as_bytes())?;
            }
            Some(Outgoing { message: Message::RequestConnectionId, message_seq, .. }) => {
                w.u8(7)?;
                w.u16(*message_seq)?;
            }
            Some(Outgoing { message: Message::KeyUpdate(update), message_seq, .. }) => {
                w.u8(flags(Some(update)))?;
                w.u16(*message_seq)?;
            }
            Some(Outgoing {
                message: Message::Finished { secret, next, verify_data }, message_seq, ..
            }) => {
                w.u8(3)?;
                w.u16(*message_seq)?;
                w.bytes(secret.as_ref())?;
                w.u64(*next)?;
                w.bytes(verify_data)?;
            }
        }
        w.u8(self.request_connection_id as u8)?;
        let granted = self.new_connection_id.as_ref();
        w.u8(granted.map_or(0, |(_, usage)| 1 + *usage as u8))?;
        w.vec8(granted.map_or(&[], |(id, _)| id.as_bytes()))?;
        w.vec8(self.spare.as_bytes())?;
        w.bytes(&self.made.to_be_bytes())?;
        // A ticket that was not sent yet is one less.
        let Tickets::Awaited { resumption_master } = &self.tickets else { return w.u8(0) };
        w.u8(1)?;
        w.bytes(resumption_master.as_ref())
    }

    /// Reads what [`save`](Self::save) has written.
    pub(in crate::connection) fn load(r: &mut Reader<'_>) -> Result<Self, InvalidMessage> {
        let (next_send_seq, next_receive_seq) = (r.u16()?, r.u16()?);
        let update = |flags| KeyUpdate { request_update: flags == 2 };
        let key_update = match r.u8()? {
            0 => None,
            flags => Some(update(flags)),
        };
        let outgoing = match r.u8()? {
            0 => None,
            flags @ 1..=2 => Some(Outgoing::new(Message::KeyUpdate(update(flags)), r.u16()?)),
            3 => {
                let message_seq = r.u16()?;
                let secret = Secret::new(r.array()?);
                let message = Message::Finished { secret, next: r.u64()?, verify_data: r.array()? };
                Some(Outgoing::new(message, message_seq))
            }
            4 => {
                let message_seq = r.u16()?;
                let ticket = TlsSessionId::new(r.vec8()?).ok_or(InvalidMessage::IllegalLength)?;
                let message = Message::NewSessionTicket { ticket, age_add: u32::from_be_bytes(r.array()?) };
                Some(Outgoing::new(message, message_seq))
            }
            usage @ 5..=6 => {
                let message_seq = r.u16()?;
                let id = OwnConnectionId::new(r.vec8()?).ok_or(InvalidMessage::IllegalLength)?;
                let usage = if usage == 5 { ConnectionIdUsage::Immediate } else { ConnectionIdUsage::Spare };
                Some(Outgoing::new(Message::NewConnectionId { id, usage }, message_seq))
            }
            7 => Some(Outgoing::new(Message::RequestConnectionId, r.u16()?)),
            _ => return Err(InvalidMessage::IllegalValue),
        };
        let request_connection_id = match r.u8()? {
            0 => RequestState::None,
            1 => RequestState::Wanted,
            _ => RequestState::Sent,
        };
        let usage = match r.u8()? {
            0 => None,
            1 => Some(ConnectionIdUsage::Immediate),
            _ => Some(ConnectionIdUsage::Spare),
        };
        let granted = OwnConnectionId::new(r.vec8()?).ok_or(InvalidMessage::IllegalLength)?;
        let new_connection_id = usage.map(|usage| (granted, usage));
        let spare = SpareConnectionId::new(r.vec8()?).ok_or(InvalidMessage::IllegalLength)?;
        let made = u32::from_be_bytes(r.array()?);
        let tickets = match r.u8()? {
            0 => Tickets::None,
            _ => Tickets::Awaited { resumption_master: Secret::new(r.array()?) },
        };
        Ok(Self {
            next_send_seq,
            next_receive_seq,
            outgoing,
            key_update,
            tickets,
            new_connection_id,
            request_connection_id,
            spare,
            made,
            ..Self::NOTHING
        })
    }
}
