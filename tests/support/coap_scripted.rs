//! Messages as a peer of the client writes them, from the RFCs' figures, and a peer that has a resource in blocks.
#![allow(dead_code, reason = "each test program uses its part of this")]

use coap_message::{MessageOption, ReadableMessage};
use dtls_psk::coap::{Message, Type};

pub const CON: u8 = 0;
pub const NON: u8 = 1;
pub const ACK: u8 = 2;
pub const RST: u8 = 3;

pub const GET: u8 = 0x01;
pub const POST: u8 = 0x02;
pub const PUT: u8 = 0x03;
pub const CHANGED: u8 = 0x44;
pub const CONTENT: u8 = 0x45;
pub const CONTINUE: u8 = 0x5f;
pub const UNAUTHORIZED: u8 = 0x81;
pub const NOT_FOUND: u8 = 0x84;
pub const INCOMPLETE: u8 = 0x88;
pub const TOO_LARGE: u8 = 0x8d;

pub const ETAG: u16 = 4;
pub const OBSERVE: u16 = 6;
pub const URI_PATH: u16 = 11;
pub const CONTENT_FORMAT: u16 = 12;
pub const MAX_AGE: u16 = 14;
pub const BLOCK2: u16 = 23;
pub const BLOCK1: u16 = 27;
pub const SIZE2: u16 = 28;
pub const SIZE1: u16 = 60;
pub const ECHO: u16 = 252;
pub const REQUEST_TAG: u16 = 292;

/// A `uint` as short as can be (RFC 7252 §3.2).
pub fn uint(value: u32) -> Vec<u8> {
    value.to_be_bytes().into_iter().skip_while(|byte| *byte == 0).collect()
}

/// The value of a Block option as the figures of RFC 7959 show it: NUM/M/size.
pub fn block(number: u32, more: u32, size: u32) -> Vec<u8> {
    uint(number << 4 | more << 3 | (size.trailing_zeros() - 4))
}

/// A message with these options, which are in the order of their numbers.
pub fn message(
    kind: u8,
    code: u8,
    message_id: u16,
    token: &[u8],
    options: &[(u16, Vec<u8>)],
    payload: &[u8],
) -> Vec<u8> {
    let mut bytes = vec![0x40 | kind << 4 | token.len() as u8, code];
    bytes.extend(message_id.to_be_bytes());
    bytes.extend(token);
    let mut before = 0;
    for (number, value) in options {
        let nibble = |value: u16| match value {
            0..13 => (value as u8, vec![]),
            13..269 => (13, vec![(value - 13) as u8]),
            _ => (14, (value - 269).to_be_bytes().to_vec()),
        };
        let (delta, delta_more) = nibble(number - before);
        let (len, len_more) = nibble(value.len() as u16);
        bytes.push(delta << 4 | len);
        bytes.extend(delta_more);
        bytes.extend(len_more);
        bytes.extend(value);
        before = *number;
    }
    if !payload.is_empty() {
        bytes.push(0xff);
        bytes.extend(payload);
    }
    bytes
}

/// A piggybacked response (RFC 7252 §5.2.1).
pub fn piggybacked(request: &[u8], code: u8, options: &[(u16, Vec<u8>)], payload: &[u8]) -> Vec<u8> {
    message(ACK, code, id(request), &token(request), options, payload)
}

pub fn empty(kind: u8, message_id: u16) -> Vec<u8> {
    message(kind, 0, message_id, b"", &[], b"")
}

pub fn id(datagram: &[u8]) -> u16 {
    u16::from_be_bytes([datagram[2], datagram[3]])
}

pub fn token(datagram: &[u8]) -> Vec<u8> {
    Message::parse(datagram).unwrap().token().as_bytes().to_vec()
}

pub fn payload(datagram: &[u8]) -> Vec<u8> {
    Message::parse(datagram).unwrap().payload().to_vec()
}

/// The value of an option.
pub fn option(datagram: &[u8], number: u16) -> Option<Vec<u8>> {
    let message = Message::parse(datagram).unwrap();
    message.options().find(|option| option.number() == number).map(|option| option.value().to_vec())
}

/// The value of a Block option as the figures of RFC 7959 show it: NUM/M/size.
pub fn block_of(datagram: &[u8], number: u16) -> Option<(u32, u32, u32)> {
    let value = option(datagram, number)?.iter().fold(0_u32, |value, &byte| value << 8 | u32::from(byte));
    Some((value >> 4, value >> 3 & 1, 16 << (value & 7)))
}

pub fn is_request(datagram: &[u8]) -> bool {
    (0x01..0x20).contains(&datagram[1])
}

/// Every request that was sent, as the figures of RFC 7959 §3 show it.
pub fn flow(sent: &[(u64, Vec<u8>)]) -> Vec<String> {
    let requests = sent.iter().map(|(_, datagram)| datagram).filter(|datagram| is_request(datagram));
    requests
        .map(|datagram| {
            let method = ["GET", "POST", "PUT", "DELETE", "FETCH"][usize::from(datagram[1]) - 1];
            let mut line = method.to_owned();
            for (name, number) in [(1, BLOCK1), (2, BLOCK2)] {
                if let Some((number, more, size)) = block_of(datagram, number) {
                    line += &format!(" {name}:{number}/{more}/{size}");
                }
            }
            line
        })
        .collect()
}

/// Bytes of which each part is another.
pub fn body(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at % 251) as u8 ^ (at >> 8) as u8).collect()
}

/// A resource of a server that knows RFC 7959, without state but for an upload.
pub struct Resource {
    pub body: Vec<u8>,
    /// The blocks that the server prefers, both ways.
    pub size: u32,
    pub etag: Vec<u8>,
    pub uploaded: Vec<u8>,
    /// The tag of the upload.
    pub tag: Option<Vec<u8>>,
}

impl Resource {
    pub fn new(body: Vec<u8>, size: u32) -> Self {
        Self { body, size, etag: b"v1".to_vec(), uploaded: vec![], tag: None }
    }

    /// The response to a request, piggybacked.
    pub fn answer(&mut self, request: &[u8]) -> Vec<u8> {
        let mut options = vec![];
        if let Some((number, more, size)) = block_of(request, BLOCK1) {
            let data = payload(request);
            let tag = option(request, REQUEST_TAG);
            if number == 0 {
                self.uploaded.clear();
                self.tag = tag.clone();
            }
            if self.uploaded.len() as u32 != number * size || self.tag != tag {
                return piggybacked(request, INCOMPLETE, &[], b"");
            }
            assert!(more == 0 || data.len() as u32 == size, "the block is as long as its SZX says");
            self.uploaded.extend(data);
            let preferred = block(number, more, size.min(self.size));
            if more == 1 {
                return piggybacked(request, CONTINUE, &[(BLOCK1, preferred)], b"");
            }
            options.push((BLOCK1, preferred));
        } else if block_of(request, BLOCK2).is_none_or(|(number, ..)| number == 0) {
            self.uploaded = payload(request);
        }
        let code = if request[1] == GET { CONTENT } else { CHANGED };
        let (number, _, size) = block_of(request, BLOCK2).unwrap_or((0, 0, self.size));
        let size = if number == 0 { size.min(self.size) } else { size };
        let from = (number * size) as usize;
        let to = self.body.len().min(from + size as usize);
        if self.body.len() > size as usize {
            let more = u32::from(to < self.body.len());
            options.insert(0, (BLOCK2, block(number, more, size)));
            options.insert(0, (ETAG, self.etag.clone()));
            options.push((SIZE2, uint(self.body.len() as u32)));
        }
        options.sort_by_key(|(number, _)| *number);
        piggybacked(request, code, &options, &self.body[from..to])
    }
}

/// Whether a message is Confirmable.
pub fn is_confirmable(datagram: &[u8]) -> bool {
    Message::parse(datagram).unwrap().kind() == Type::Confirmable
}
