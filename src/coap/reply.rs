//! What a server replied.

use coap_message::MessageOption as _;
use coap_numbers::option;

use super::{Code, Message, MessageOption};

/// A response to a request. It lives in the client's buffer until the client is used again.
///
/// For options that have no method here, there is the whole [`message`](Self::message).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reply<'a>(Message<'a>);

impl<'a> Reply<'a> {
    pub(super) fn new(message: Message<'a>) -> Self {
        Self(message)
    }

    /// The message that it came in, which is a [`coap_message::ReadableMessage`].
    pub fn message(&self) -> &Message<'a> {
        &self.0
    }

    /// The response code: 2.xx for success, 4.xx and 5.xx for errors (RFC 7252 §5.9).
    pub fn code(&self) -> Code {
        self.0.header().code
    }

    /// The payload; empty where there is none.
    pub fn payload(&self) -> &'a [u8] {
        self.0.payload_bytes()
    }

    /// The payload of an error as text for people (§5.5.2); `None` for successes, and where it is empty or no text.
    pub fn diagnostic(&self) -> Option<&'a str> {
        // With a Content-Format, it is a representation of the error and not a diagnostic payload.
        if self.code().is_success() || self.payload().is_empty() || self.content_format().is_some() {
            return None;
        }
        core::str::from_utf8(self.payload()).ok()
    }

    /// The payload's Content-Format (§5.10.3), such as 0 for text and 40 for links.
    pub fn content_format(&self) -> Option<u16> {
        self.option(option::CONTENT_FORMAT).and_then(|option| u16::try_from(option.uint(2)?).ok())
    }

    /// The entity-tag of the representation (§5.10.6), 1 to 8 bytes.
    pub fn etag(&self) -> Option<&'a [u8]> {
        self.option(option::ETAG).map(|option| option.bytes()).filter(|tag| (1..=8).contains(&tag.len()))
    }

    /// For how many seconds the reply may be cached (§5.10.5): 60 where the server does not say.
    pub fn max_age(&self) -> u32 {
        self.option(option::MAX_AGE).and_then(|option| option.uint(4)).unwrap_or(60)
    }

    /// The segments of the path where a POST created something (§5.10.7).
    pub fn location_path(&self) -> impl Iterator<Item = &'a str> {
        self.0
            .option_iter()
            .filter(|option| option.number() == option::LOCATION_PATH)
            .filter_map(|option| core::str::from_utf8(option.bytes()).ok())
    }

    /// The first option with this number. Unlike critical ones, elective options that are malformed are ignored.
    fn option(&self, number: u16) -> Option<MessageOption<'a>> {
        self.0.option_iter().find(|option| option.number() == number)
    }
}
