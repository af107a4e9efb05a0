//! ChangeCipherSpec and Finished of DTLS 1.2, which travel together.

use super::CHANGE_CIPHER_SPEC;
use crate::crypto::provider::CryptoProvider;
use crate::error::Error;
use crate::record::{PlainWriter, WriteState};
use crate::wire::finished::VERIFY_DATA_LEN;
use crate::wire::handshake::{self, HandshakeType, whole_header};
use crate::wire::record::{self, ContentType};

/// Writes both and returns their length, or `None` when there is no
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
pub(crate) fn finished_len(write: &WriteState) -> usize {
    record::HEADER_LEN + 1 + write.sealed_len(handshake::HEADER_LEN + VERIFY_DATA_LEN)
}
