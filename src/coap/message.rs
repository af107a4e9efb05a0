//! Messages on the wire (RFC 7252 §3): header, token, options, payload. Bytes to values, without state.

use coap_message::{ReadableMessage, WithSortedOptions};

use super::{Code, option_format};

/// What stands between the options and the payload (§3).
pub(super) const PAYLOAD_MARKER: u8 = 0xff;

/// The length of the fixed part of every message (§3), and of a whole Empty message.
pub(super) const HEADER: usize = 4;

/// What role a message plays in the message layer (§3, §4.3 table 1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Type {
    /// CON: its recipient answers with an ACK or a RST, or it is sent again.
    Confirmable,
    /// NON: sent once.
    NonConfirmable,
    /// ACK: a Confirmable message arrived; it may carry the response.
    Acknowledgement,
    /// RST: a message arrived that its recipient can make nothing of.
    Reset,
}

/// What the client put into its request to know the response by: 0 to 8 bytes (§5.3.1).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Token {
    // Bytes past `len` are zero, so that the derived comparison holds.
    bytes: [u8; Self::MAX],
    len: u8,
}

impl Token {
    /// The longest token there is, in bytes.
    pub const MAX: usize = 8;
    /// The token of zero bytes.
    pub const EMPTY: Self = Self { bytes: [0; Self::MAX], len: 0 };

    /// A token with these bytes; `None` where there are more than eight.
    pub fn new(bytes: &[u8]) -> Option<Self> {
        let mut token = Self { bytes: [0; Self::MAX], len: u8::try_from(bytes.len()).ok()? };
        token.bytes.get_mut(..bytes.len())?.copy_from_slice(bytes);
        Some(token)
    }

    /// Its bytes, 0 to 8 of them.
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.len)).unwrap_or_default()
    }
}

impl core::fmt::Debug for Token {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{:02x?}", self.as_bytes())
    }
}

#[cfg(feature = "defmt")]
impl defmt::Format for Token {
    fn format(&self, f: defmt::Formatter<'_>) {
        defmt::write!(f, "{:02x}", self.as_bytes());
    }
}

/// Header and token: all of a message that is needed to answer it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) kind: Type,
    pub(super) code: Code,
    pub(super) message_id: u16,
    pub(super) token: Token,
}

impl Header {
    /// Reads the header and the token and returns what follows.
    pub(super) fn parse(datagram: &[u8]) -> Result<(Self, &[u8]), Malformed> {
        let Some((&[first, code, id_high, id_low], rest)) = datagram.split_first_chunk::<HEADER>() else {
            return Err(Malformed::Unintelligible);
        };
        // "Messages with unknown version numbers MUST be silently ignored" (§3).
        if first >> 6 != 1 {
            return Err(Malformed::Unintelligible);
        }
        let kind = match (first >> 4) & 0b11 {
            0 => Type::Confirmable,
            1 => Type::NonConfirmable,
            2 => Type::Acknowledgement,
            _ => Type::Reset,
        };
        let message_id = u16::from_be_bytes([id_high, id_low]);
        let format_error = Malformed::FormatError { kind, message_id };
        // "Lengths 9-15 are reserved, MUST NOT be sent, and MUST be processed as a message format error" (§3).
        let (token, rest) = rest.split_at_checked(usize::from(first & 0x0f)).ok_or(format_error)?;
        let token = Token::new(token).ok_or(format_error)?;
        let code = Code::new(code);
        // "The Token Length field MUST be set to 0 and bytes of data MUST NOT be present after the Message ID field. If
        // there are any bytes, they MUST be processed as a message format error" (§4.1).
        if code == Code::EMPTY && !(token.as_bytes().is_empty() && rest.is_empty()) {
            return Err(format_error);
        }
        Ok((Self { kind, code, message_id, token }, rest))
    }

    /// Writes the header and the token to the front of `buffer` and returns their length; `None` where they do not fit.
    pub(super) fn emit(&self, buffer: &mut [u8]) -> Option<usize> {
        let token = self.token.as_bytes();
        let kind = match self.kind {
            Type::Confirmable => 0,
            Type::NonConfirmable => 1,
            Type::Acknowledgement => 2,
            Type::Reset => 3,
        };
        let first = (1 << 6) | (kind << 4) | self.token.len;
        let (header, rest) = buffer.split_first_chunk_mut::<HEADER>()?;
        let [id_high, id_low] = self.message_id.to_be_bytes();
        *header = [first, self.code.byte(), id_high, id_low];
        rest.get_mut(..token.len())?.copy_from_slice(token);
        Some(HEADER + token.len())
    }
}

/// An Empty message (§4.1): an ACK, a RST, or a CON that is a ping.
pub(super) fn empty(kind: Type, message_id: u16) -> [u8; HEADER] {
    let mut bytes = [0; HEADER];
    // An array of four bytes holds a header without a token.
    let _ = Header { kind, code: Code::EMPTY, message_id, token: Token::EMPTY }.emit(&mut bytes);
    bytes
}

/// Why bytes are not a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Malformed {
    /// Shorter than a header, or of another version than 1: silently ignored.
    Unintelligible,
    /// A message format error (§3, §4.1): rejected with a RST where it is Confirmable, ignored otherwise.
    FormatError {
        /// The type in its header.
        kind: Type,
        /// The Message ID in its header.
        message_id: u16,
    },
}

/// A well-formed message in the bytes of a datagram.
///
/// All of its options have been walked when it exists, so reading them does not fail. It is a
/// [`coap_message::ReadableMessage`].
///
/// ```
/// use coap_message::{MessageOption, ReadableMessage};
/// use dtls_psk::coap::{Message, Type};
///
/// // CON GET /temperature with the token 0x20 (RFC 7252, appendix A, figure 17).
/// let message = Message::parse(b"\x41\x01\x7d\x35\x20\xbbtemperature").unwrap();
/// assert_eq!((message.kind(), message.message_id()), (Type::Confirmable, 0x7d35));
/// assert_eq!(message.token().as_bytes(), [0x20]);
/// let path = message.options().next().unwrap();
/// assert_eq!((path.number(), path.value()), (coap_numbers::option::URI_PATH, &b"temperature"[..]));
/// assert!(message.payload().is_empty());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    header: Header,
    options: &'a [u8],
    payload: &'a [u8],
    /// The numbers of the options that readers do not see.
    hidden: &'static [u16],
    /// One that they see though it is not there.
    shown: Option<MessageOption<'a>>,
}

impl<'a> Message<'a> {
    /// Reads a whole datagram.
    ///
    /// # Errors
    ///
    /// [`Malformed`] says what an endpoint does about the datagram.
    pub fn parse(datagram: &'a [u8]) -> Result<Self, Malformed> {
        let (header, rest) = Header::parse(datagram)?;
        let format_error = Malformed::FormatError { kind: header.kind, message_id: header.message_id };
        let mut options = Options::new(rest);
        while options.next().is_some() {}
        let (options, payload) = match options.rest.split_first() {
            None => (rest, &[][..]),
            // "The presence of a marker followed by a zero-length payload MUST be processed as a message format error"
            // (§3).
            Some((&PAYLOAD_MARKER, payload)) if !payload.is_empty() => {
                let options = rest.len().saturating_sub(payload.len() + 1);
                (rest.get(..options).unwrap_or_default(), payload)
            }
            Some(_) => return Err(format_error),
        };
        Ok(Self { header, options, payload, hidden: &[], shown: None })
    }

    /// The message's type.
    pub fn kind(&self) -> Type {
        self.header.kind
    }

    /// The Message ID, which relates an ACK or a RST to the message that it answers (§4.4).
    pub fn message_id(&self) -> u16 {
        self.header.message_id
    }

    /// The token, which relates a response to its request (§5.3).
    pub fn token(&self) -> &Token {
        &self.header.token
    }

    pub(super) fn header(&self) -> &Header {
        &self.header
    }

    /// The options as they are in the datagram, for as long as it lives.
    pub(super) fn option_iter(&self) -> Options<'a> {
        Options { hidden: self.hidden, shown: self.shown, ..Options::new(self.options) }
    }

    /// The message as if it had no options with these numbers.
    pub(super) fn without(self, hidden: &'static [u16]) -> Self {
        Self { hidden, ..self }
    }

    /// The message as if it had this option as well.
    pub(super) fn with_option(self, number: u16, value: &'a [u8]) -> Self {
        Self { shown: Some(MessageOption { number, value }), ..self }
    }

    /// The message as if it had this payload.
    pub(super) fn with_payload(self, payload: &'a [u8]) -> Self {
        Self { payload, ..self }
    }

    /// The bytes of options and payload, as they were read.
    pub(super) fn rest(&self) -> (&'a [u8], &'a [u8]) {
        (self.options, self.payload)
    }

    /// A message of the [`rest`](Self::rest) of another one.
    pub(super) fn from_rest(header: Header, (options, payload): (&'a [u8], &'a [u8])) -> Self {
        Self { header, options, payload, hidden: &[], shown: None }
    }

    /// The payload, for as long as the datagram lives.
    pub(super) fn payload_bytes(&self) -> &'a [u8] {
        self.payload
    }
}

/// A datagram as far as it is in a buffer: of one that was longer, header and token still tell whose it is.
pub(super) struct Datagram<'a> {
    header: Result<Header, Malformed>,
    message: Option<Message<'a>>,
}

impl<'a> Datagram<'a> {
    /// The datagram of `len` bytes at the front of `buffer`.
    pub(super) fn new(buffer: &'a [u8], len: usize) -> Self {
        match buffer.get(..len).map(Message::parse) {
            Some(message) => Self { header: message.map(|message| message.header), message: message.ok() },
            None => Self { header: Header::parse(buffer).map(|(header, _)| header), message: None },
        }
    }

    /// The whole message, where it is one and was not cut off.
    pub(super) fn message(&self) -> Option<&Message<'a>> {
        self.message.as_ref()
    }

    /// The header, as it is handed on.
    pub(super) fn header(&self) -> Result<&Header, Malformed> {
        self.header.as_ref().map_err(|&malformed| malformed)
    }
}

impl ReadableMessage for Message<'_> {
    type Code = u8;
    type MessageOption<'o>
        = MessageOption<'o>
    where
        Self: 'o;
    type OptionsIter<'o>
        = Options<'o>
    where
        Self: 'o;

    fn code(&self) -> u8 {
        self.header.code.byte()
    }

    fn options(&self) -> Options<'_> {
        self.option_iter()
    }

    fn payload(&self) -> &[u8] {
        self.payload
    }
}

impl WithSortedOptions for Message<'_> {}

/// The options of a message, in ascending order of their numbers.
#[derive(Clone, Debug)]
pub struct Options<'a> {
    /// Where the next option begins. What is there in the end is no option.
    rest: &'a [u8],
    /// The number of the last one.
    number: u16,
    hidden: &'static [u16],
    shown: Option<MessageOption<'a>>,
}

impl<'a> Options<'a> {
    fn new(rest: &'a [u8]) -> Self {
        Self { rest, number: 0, hidden: &[], shown: None }
    }

    /// The option that is next in the bytes, and what follows it.
    fn peek(&self) -> Option<(MessageOption<'a>, &'a [u8])> {
        let (delta, len, rest) = option_format::parse(self.rest)?;
        let number = self.number.checked_add(delta)?;
        let (value, rest) = rest.split_at_checked(len)?;
        Some((MessageOption { number, value }, rest))
    }
}

impl<'a> Iterator for Options<'a> {
    type Item = MessageOption<'a>;

    fn next(&mut self) -> Option<MessageOption<'a>> {
        loop {
            let next = self.peek();
            if let Some(shown) = self.shown
                && next.is_none_or(|(next, _)| next.number > shown.number)
            {
                self.shown = None;
                return Some(shown);
            }
            let (option, rest) = next?;
            self.rest = rest;
            self.number = option.number;
            if !self.hidden.contains(&option.number) {
                return Some(option);
            }
        }
    }
}

/// One option of a message; read through [`coap_message::MessageOption`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MessageOption<'a> {
    number: u16,
    value: &'a [u8],
}

impl<'a> MessageOption<'a> {
    /// The option's value, for as long as the datagram lives.
    pub(super) fn bytes(&self) -> &'a [u8] {
        self.value
    }

    /// The option's value as a `uint` (§3.2); `None` where it is longer than `max` bytes, or than four.
    pub(super) fn uint(&self, max: usize) -> Option<u32> {
        if self.value.len() > max.min(4) {
            return None;
        }
        Some(self.value.iter().fold(0, |number, &byte| (number << 8) | u32::from(byte)))
    }
}

impl coap_message::MessageOption for MessageOption<'_> {
    fn number(&self) -> u16 {
        self.number
    }

    fn value(&self) -> &[u8] {
        self.value
    }
}
