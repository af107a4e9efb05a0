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
}

pub const CLOSE_NOTIFY: u8 = 0;
pub const UNEXPECTED_MESSAGE: u8 = 10;
pub const HANDSHAKE_FAILURE: u8 = 40;
pub const ILLEGAL_PARAMETER: u8 = 47;
pub const DECRYPT_ERROR: u8 = 51;
pub const USER_CANCELED: u8 = 90;
pub const NO_RENEGOTIATION: u8 = 100;

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
