//! What can be seen of one step: what the application is told, and what is answered.

use crate::support::craft::*;
use crate::support::parse::{self, Record};
use crate::support::world::Note;

/// What a model expects of a step, and what the crate has shown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome<A> {
    pub told: Option<Note>,
    pub answered: A,
}

pub type Expected = Outcome<&'static [Part]>;
pub type Seen = Outcome<Vec<Part>>;

/// The record was dropped, or has changed nothing that can be seen.
pub const SILENCE: Expected = Outcome { told: None, answered: &[] };

pub const fn answer(answered: &'static [Part]) -> Expected {
    Outcome { told: None, answered }
}

pub const fn tell(told: Note, answered: &'static [Part]) -> Expected {
    Outcome { told: Some(told), answered }
}

/// A part of an answer, as far as its kind goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// A handshake message in the clear.
    Message(u8),
    ChangeCipherSpec,
    /// A handshake message under the keys.
    Sealed(u8),
    /// Level and description of an alert in the clear.
    Alert(u8, u8),
    SealedAlert(u8, u8),
    /// A ServerHello with which a server of DTLS 1.3 asks for another hello.
    #[cfg(feature = "dtls13")]
    HelloRetryRequest,
    /// An ACK under the keys of the session, one under those of the handshake, and one in the clear.
    #[cfg(feature = "dtls13")]
    Ack,
    #[cfg(feature = "dtls13")]
    PlainAck,
    #[cfg(feature = "dtls13")]
    HandshakeAck,
    /// An alert under the keys of the handshake, where [`Part::SealedAlert`] is one under those of the session.
    #[cfg(feature = "dtls13")]
    HandshakeAlert(u8, u8),
    /// A handshake message under the keys of the session, where [`Part::Sealed`] is one under those of the handshake.
    #[cfg(feature = "dtls13")]
    PostHandshake(u8),
}

pub const WARNING: u8 = 1;
pub const FATAL: u8 = 2;

/// Reads what was answered, to someone whose connection ID has `id_len` bytes. `open` opens the records that are sealed.
pub fn parts(
    datagrams: &[Vec<u8>],
    id_len: usize,
    open: impl Fn(&Record) -> Option<(u8, Vec<u8>)>,
) -> Vec<Part> {
    let mut parts = Vec::new();
    for record in datagrams.iter().flat_map(|datagram| parse::records_with_id(datagram, id_len)) {
        let is_sealed = record.epoch > 0;
        let (content_type, body) = match is_sealed {
            true => open(&record).expect("an answer that its receiver can open"),
            false => (record.content_type, record.body),
        };
        match (content_type, body.as_slice()) {
            (HANDSHAKE, body) => parts.extend(parse::messages(body).iter().map(|message| match is_sealed {
                true => Part::Sealed(message.msg_type),
                false => Part::Message(message.msg_type),
            })),
            (CHANGE_CIPHER_SPEC, [1]) if !is_sealed => parts.push(Part::ChangeCipherSpec),
            (ALERT, &[level, description]) if is_sealed => parts.push(Part::SealedAlert(level, description)),
            (ALERT, &[level, description]) => parts.push(Part::Alert(level, description)),
            _ => panic!("{content_type} in an answer, sealed: {is_sealed}"),
        }
    }
    parts
}

/// The same in DTLS 1.3. `open` opens the first record of what it is given: its epoch, type, content, and what is behind it.
#[cfg(feature = "dtls13")]
pub fn parts13(
    datagrams: &[Vec<u8>],
    open: impl Fn(&[u8]) -> Option<(u64, u8, Vec<u8>, usize)>,
) -> Vec<Part> {
    use crate::support::raw13::retry_random;

    let mut parts = Vec::new();
    for datagram in datagrams {
        let mut rest = &datagram[..];
        while !rest.is_empty() {
            if rest[0] & 0xE0 == 0x20 {
                let (epoch, content_type, body, left) =
                    open(rest).expect("an answer that its receiver can open");
                rest = &rest[rest.len() - left..];
                parts.extend(match (content_type, &body[..], epoch) {
                    (HANDSHAKE, body, 2) => {
                        parse::messages(body).iter().map(|message| Part::Sealed(message.msg_type)).collect()
                    }
                    (HANDSHAKE, body, _) => parse::messages(body)
                        .iter()
                        .map(|message| Part::PostHandshake(message.msg_type))
                        .collect(),
                    (ALERT, &[level, description], 2) => vec![Part::HandshakeAlert(level, description)],
                    (ALERT, &[level, description], _) => vec![Part::SealedAlert(level, description)],
                    (ACK, _, 2) => vec![Part::HandshakeAck],
                    (ACK, ..) => vec![Part::Ack],
                    _ => panic!("{content_type} in an answer of epoch {epoch}"),
                });
                continue;
            }
            let (record, behind) = rest.split_at(13 + usize::from(u16::from_be_bytes([rest[11], rest[12]])));
            rest = behind;
            parts.push(match (record[0], &record[13..]) {
                (HANDSHAKE, [SERVER_HELLO, ..]) if record[27..59] == retry_random() => {
                    Part::HelloRetryRequest
                }
                (HANDSHAKE, [msg_type, ..]) => Part::Message(*msg_type),
                (ALERT, &[level, description]) => Part::Alert(level, description),
                (ACK, _) => Part::PlainAck,
                (content_type, _) => panic!("{content_type} in an answer in the clear"),
            });
        }
    }
    parts
}
