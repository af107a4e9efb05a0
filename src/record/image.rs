//! Read and write states as bytes, for sessions that are saved. What is written is secret.

#[cfg(feature = "dtls12")]
use super::PlainWriter;
use super::{ReadState, ReplayWindow, WriteState};
use crate::CipherSuite;
use crate::connection_id::{
    MAX_CONNECTION_ID_LEN, MAX_PEER_CONNECTION_ID_LEN, OwnConnectionId, PeerConnectionId,
};
use crate::crypto::aead::{AeadKey, IV_LEN, SN_KEY_LEN};
use crate::crypto::provider::KEY_LEN;
use crate::wire::{BufferFull, InvalidMessage, Reader, Writer};

/// Longest length in bytes of both states.
pub(crate) const MAX_STATES_LEN: usize = 2
    + 2 * (KEY_LEN + IV_LEN + SN_KEY_LEN + SECRET_LEN + 8 + 2)
    + (1 + 2 * 8 + 8 + 2 * (1 + MAX_CONNECTION_ID_LEN))
    + (8 + 1 + MAX_PEER_CONNECTION_ID_LEN);

/// Length in bytes of the secret that each state keeps for the next one.
const SECRET_LEN: usize = if cfg!(feature = "dtls13") { 32 } else { 0 };

/// Writes both states, those of one epoch. The numbers that are kept for the session itself are left out: whoever restores
/// goes on behind them.
pub(crate) fn save_states(
    read: &ReadState,
    write: &WriteState,
    w: &mut Writer<'_>,
) -> Result<(), BufferFull> {
    w.u16(read.suite.number())?;
    save_key(&read.key, read.epoch, read.record_size_limit, w)?;
    #[cfg(feature = "dtls13")]
    {
        w.bytes(read.secret.as_ref())?;
        w.u8(read.update_expected.into())?;
        w.vec8(read.spare_connection_id.as_bytes())?;
    }
    for number in read.window.to_numbers() {
        w.u64(number)?;
    }
    w.u64(read.forged)?;
    w.vec8(read.connection_id.as_bytes())?;
    save_key(&write.key, write.epoch, write.record_size_limit, w)?;
    #[cfg(feature = "dtls13")]
    w.bytes(write.secret.as_ref())?;
    // Never below what was sealed, whatever became of the last checkpoint since: no number is used twice.
    let next = if write.reserved == u64::MAX { write.next } else { write.reserved.max(write.next) };
    w.u64(next)?;
    w.vec8(write.connection_id.as_bytes())
}

/// Reads what [`save_states`] has written.
pub(crate) fn load_states(r: &mut Reader<'_>) -> Result<(ReadState, WriteState), InvalidMessage> {
    let suite = CipherSuite::from_number(r.u16()?).ok_or(InvalidMessage::IllegalValue)?;
    let mut read = ReadState::new(suite, 0, OwnConnectionId::EMPTY, 0);
    (read.epoch, read.record_size_limit) = load_key(&mut read.key, r)?;
    #[cfg(feature = "dtls13")]
    {
        read.secret.copy_from_slice(r.take(SECRET_LEN)?);
        read.update_expected = r.u8()? != 0;
        read.spare_connection_id = OwnConnectionId::new(r.vec8()?).ok_or(InvalidMessage::IllegalLength)?;
    }
    read.window = ReplayWindow::from_numbers([r.u64()?, r.u64()?]);
    read.forged = r.u64()?;
    read.connection_id = OwnConnectionId::new(r.vec8()?).ok_or(InvalidMessage::IllegalLength)?;
    let mut write = WriteState::new(suite, 0, PeerConnectionId::EMPTY, 0);
    (write.epoch, write.record_size_limit) = load_key(&mut write.key, r)?;
    #[cfg(feature = "dtls13")]
    {
        write.secret.copy_from_slice(r.take(SECRET_LEN)?);
        write.go_on_after_a_gap();
    }
    write.next = r.u64()?;
    write.connection_id = PeerConnectionId::new(r.vec8()?).ok_or(InvalidMessage::IllegalLength)?;
    Ok((read, write))
}

fn save_key(key: &AeadKey, epoch: u64, limit: u16, w: &mut Writer<'_>) -> Result<(), BufferFull> {
    w.bytes(&key.key)?;
    w.bytes(&key.iv)?;
    w.bytes(&key.sn_key)?;
    w.u64(epoch)?;
    w.u16(limit)
}

fn load_key(key: &mut AeadKey, r: &mut Reader<'_>) -> Result<(u64, u16), InvalidMessage> {
    (key.key, key.iv, key.sn_key) = (r.array()?, r.array()?, r.array()?);
    Ok((r.u64()?, r.u16()?))
}

#[cfg(feature = "dtls12")]
impl PlainWriter {
    /// The number of the next record, which [`starting_at`](Self::starting_at) takes.
    pub(crate) const fn next(&self) -> u64 {
        self.next
    }
}
