//! The handshake header, and fragments of messages (RFC 6347 §4.2.2).

use super::{InvalidMessage, Reader};

/// Length in bytes of a handshake header.
pub const HEADER_LEN: usize = 12;

/// Which handshake message follows (RFC 5246 §7.4, RFC 6347 §4.3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[repr(u8)]
pub enum HandshakeType {
    /// The server asks for a new handshake.
    HelloRequest = 0,
    /// The client opens.
    ClientHello = 1,
    /// The server's choice.
    ServerHello = 2,
    /// The server asks the client to show that it receives at its address.
    HelloVerifyRequest = 3,
    /// What the client can resume the session with.
    NewSessionTicket = 4,
    /// What the server accepts, encrypted (RFC 8446 §4.3.1).
    #[cfg(feature = "dtls13")]
    EncryptedExtensions = 8,
    /// The peer would like to have more connection IDs (RFC 9147 §9).
    #[cfg(feature = "dtls13")]
    RequestConnectionId = 9,
    /// More connection IDs (RFC 9147 §9).
    #[cfg(feature = "dtls13")]
    NewConnectionId = 10,
    /// The server's PSK identity hint.
    ServerKeyExchange = 12,
    /// The server is done.
    ServerHelloDone = 14,
    /// The client's PSK identity.
    ClientKeyExchange = 16,
    /// The first message under the new keys.
    Finished = 20,
    /// The peer goes on under the next keys (RFC 8446 §4.6.3).
    #[cfg(feature = "dtls13")]
    KeyUpdate = 24,
}

/// The type of what stands in a transcript for a first ClientHello (RFC 8446 §4.4.1).
#[cfg(feature = "dtls13")]
pub const MESSAGE_HASH: u8 = 254;

impl HandshakeType {
    /// The number on the wire.
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// The type with this number, if a PSK handshake knows it.
    pub const fn from_number(number: u8) -> Option<Self> {
        match number {
            0 => Some(Self::HelloRequest),
            1 => Some(Self::ClientHello),
            2 => Some(Self::ServerHello),
            3 => Some(Self::HelloVerifyRequest),
            4 => Some(Self::NewSessionTicket),
            #[cfg(feature = "dtls13")]
            8 => Some(Self::EncryptedExtensions),
            #[cfg(feature = "dtls13")]
            9 => Some(Self::RequestConnectionId),
            #[cfg(feature = "dtls13")]
            10 => Some(Self::NewConnectionId),
            12 => Some(Self::ServerKeyExchange),
            14 => Some(Self::ServerHelloDone),
            16 => Some(Self::ClientKeyExchange),
            20 => Some(Self::Finished),
            #[cfg(feature = "dtls13")]
            24 => Some(Self::KeyUpdate),
            _ => None,
        }
    }

    /// Whether the message is encrypted in DTLS 1.3: all are but the hellos (RFC 9147 §6.1).
    #[cfg(feature = "dtls13")]
    pub const fn is_encrypted(self) -> bool {
        !matches!(self, Self::ClientHello | Self::ServerHello)
    }
}

/// A fragment of a handshake message, or a whole one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fragment<'a> {
    /// Which message; the number stays raw because a type that is not known may still have to be answered.
    pub msg_type: u8,
    /// Length in bytes of the whole message, header left out.
    pub length: u32,
    /// Counts the messages of one side of a handshake.
    pub message_seq: u16,
    /// Where in the message this fragment starts.
    pub fragment_offset: u32,
    /// The fragment's part of the message.
    pub body: &'a [u8],
}

impl<'a> Fragment<'a> {
    /// Reads one fragment off the front of a handshake record.
    pub fn parse(r: &mut Reader<'a>) -> Result<Self, InvalidMessage> {
        let msg_type = r.u8()?;
        let length = r.u24()?;
        let message_seq = r.u16()?;
        let fragment_offset = r.u24()?;
        let fragment_length = r.u24()?;
        // Both are of 24 bits, so the sum cannot overflow.
        if fragment_offset + fragment_length > length {
            return Err(InvalidMessage::InconsistentFragment);
        }
        let body = r.take(usize::try_from(fragment_length).map_err(|_| InvalidMessage::Truncated)?)?;
        Ok(Self { msg_type, length, message_seq, fragment_offset, body })
    }

    /// Whether the fragment is the whole message.
    pub fn is_whole(&self) -> bool {
        usize::try_from(self.length).is_ok_and(|length| length == self.body.len())
    }

    /// The header that goes in front of the body.
    pub fn header(&self) -> [u8; HEADER_LEN] {
        header(self.msg_type, self.length, self.message_seq, self.fragment_offset, self.body.len())
    }
}

/// The header of a message in one piece, as the transcript takes it whatever fragments it travelled in (RFC 6347
/// §4.2.6).
pub const fn whole_header(msg_type: HandshakeType, len: usize, message_seq: u16) -> [u8; HEADER_LEN] {
    header(msg_type.number(), len as u32, message_seq, 0, len)
}

/// The header of a message as the transcript of DTLS 1.3 takes it (RFC 9147 §5.2).
#[cfg(feature = "dtls13")]
pub const fn tls_header(msg_type: u8, len: usize) -> [u8; 4] {
    let [_, a, b, c] = (len as u32).to_be_bytes();
    [msg_type, a, b, c]
}

const fn header(msg_type: u8, length: u32, message_seq: u16, offset: u32, len: usize) -> [u8; HEADER_LEN] {
    let [_, l0, l1, l2] = length.to_be_bytes();
    let [s0, s1] = message_seq.to_be_bytes();
    let [_, o0, o1, o2] = offset.to_be_bytes();
    let [_, f0, f1, f2] = (len as u32).to_be_bytes();
    [msg_type, l0, l1, l2, s0, s1, o0, o1, o2, f0, f1, f2]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every number is that of one type, or of none.
    #[test]
    fn numbers() {
        let known = (0..=u8::MAX).filter(|number| {
            let found = HandshakeType::from_number(*number);
            found.is_some_and(|found| {
                assert_eq!(found.number(), *number);
                true
            })
        });
        assert_eq!(known.count(), if cfg!(feature = "dtls13") { 13 } else { 9 });
    }

    /// In a transcript, DTLS 1.2 has what DTLS 1.3 leaves out: the number, and where the fragment is (RFC 9147 §5.2).
    #[test]
    #[cfg(feature = "dtls13")]
    fn headers_of_a_transcript() {
        let full = whole_header(HandshakeType::KeyUpdate, 0x01_0203, 0x0405);
        assert_eq!(full, [24, 1, 2, 3, 4, 5, 0, 0, 0, 1, 2, 3]);
        assert_eq!(tls_header(HandshakeType::KeyUpdate.number(), 0x01_0203), full[..4]);
        assert_eq!(tls_header(MESSAGE_HASH, 32), [254, 0, 0, 32]);
    }
}
