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
    /// The server's PSK identity hint.
    ServerKeyExchange = 12,
    /// The server is done.
    ServerHelloDone = 14,
    /// The client's PSK identity.
    ClientKeyExchange = 16,
    /// The first message under the new keys.
    Finished = 20,
}

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
            12 => Some(Self::ServerKeyExchange),
            14 => Some(Self::ServerHelloDone),
            16 => Some(Self::ClientKeyExchange),
            20 => Some(Self::Finished),
            _ => None,
        }
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

const fn header(msg_type: u8, length: u32, message_seq: u16, offset: u32, len: usize) -> [u8; HEADER_LEN] {
    let [_, l0, l1, l2] = length.to_be_bytes();
    let [s0, s1] = message_seq.to_be_bytes();
    let [_, o0, o1, o2] = offset.to_be_bytes();
    let [_, f0, f1, f2] = (len as u32).to_be_bytes();
    [msg_type, l0, l1, l2, s0, s1, o0, o1, o2, f0, f1, f2]
}
