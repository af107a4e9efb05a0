//! Read and write states as bytes, for sessions that are saved. What is written is secret.

use super::{PlainWriter, ReadState, ReplayWindow, WriteState};
use crate::CipherSuite;
use crate::connection_id::{
    MAX_CONNECTION_ID_LEN, MAX_PEER_CONNECTION_ID_LEN, OwnConnectionId, PeerConnectionId,
};
use crate::crypto::aead::{AeadKey, SALT_LEN};
use crate::crypto::provider::KEY_LEN;
use crate::wire::{BufferFull, InvalidMessage, Reader, Writer};

/// Longest length in bytes of both states.
pub(crate) const MAX_STATES_LEN: usize = 2
    + 2 * (KEY_LEN + SALT_LEN + 2 + 2)
    + (2 * 8 + 8 + 1 + MAX_CONNECTION_ID_LEN)
    + (8 + 1 + MAX_PEER_CONNECTION_ID_LEN);

/// Writes both states, those of one epoch. The numbers that are kept for the session itself are left out: whoever restores
/// goes on behind them.
pub(crate) fn save_states(
    read: &ReadState,
    write: &WriteState,
    w: &mut Writer<'_>,
) -> Result<(), BufferFull> {
    w.u16(read.suite.number())?;
    save_key(&read.key, read.epoch, read.record_size_limit, w)?;
    for number in read.window.to_numbers() {
        w.u64(number)?;
    }
    w.u64(read.forged)?;
    w.vec8(read.connection_id.as_bytes())?;
    save_key(&write.key, write.epoch, write.record_size_limit, w)?;
    let next = if write.reserved == u64::MAX { write.next } else { write.reserved };
    w.u64(next)?;
    w.vec8(write.connection_id.as_bytes())
}

/// Reads what [`save_states`] has written.
pub(crate) fn load_states(r: &mut Reader<'_>) -> Result<(ReadState, WriteState), InvalidMessage> {
    let suite = CipherSuite::from_number(r.u16()?).ok_or(InvalidMessage::IllegalValue)?;
    let (key, epoch, limit) = load_key(r)?;
    let window = ReplayWindow::from_numbers([r.u64()?, r.u64()?]);
    let forged = r.u64()?;
    let id = OwnConnectionId::new(r.vec8()?).ok_or(InvalidMessage::IllegalLength)?;
    let read = ReadState { window, forged, ..ReadState::new(suite, key, epoch, id, limit) };
    let (key, epoch, limit) = load_key(r)?;
    let next = r.u64()?;
    let id = PeerConnectionId::new(r.vec8()?).ok_or(InvalidMessage::IllegalLength)?;
    let write = WriteState { next, ..WriteState::new(suite, key, epoch, id, limit) };
    Ok((read, write))
}

fn save_key(key: &AeadKey, epoch: u16, limit: u16, w: &mut Writer<'_>) -> Result<(), BufferFull> {
    w.bytes(&key.key)?;
    w.bytes(&key.salt)?;
    w.u16(epoch)?;
    w.u16(limit)
}

fn load_key(r: &mut Reader<'_>) -> Result<(AeadKey, u16, u16), InvalidMessage> {
    let key = AeadKey { key: r.array()?, salt: r.array()? };
    Ok((key, r.u16()?, r.u16()?))
}

impl PlainWriter {
    /// The number of the next record, which [`starting_at`](Self::starting_at) takes.
    pub(crate) const fn next(&self) -> u64 {
        self.next
    }
}
