//! What an observer knows of its observation (RFC 7641 §3), without I/O.

use core::time::Duration;

use coap_numbers::option;

use super::exchange::Acknowledged;
use super::message::{self, HEADER, Header, Type};
use super::transfer::understands;
use super::{Message, Token};
use crate::Instant;

/// "after 128 seconds have elapsed without any notification, a client does not need to check the sequence numbers" (§3.4).
const ANY_IS_NEWER: Duration = Duration::from_secs(128);

/// An observation: its token, and which notification is the freshest.
pub(super) struct Watch {
    token: Token,
    state: State,
    freshest: Option<(u32, Instant)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// The server does not notify.
    Off,
    /// The server notifies.
    On,
    /// The server is being told that it need not, under the same token.
    Ending,
}

/// What a message under the token of an observation means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Notified {
    /// An Empty message to send in return.
    pub(super) reply: Option<[u8; HEADER]>,
    pub(super) news: News,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum News {
    /// It was sent more recently than all before it.
    Newer,
    /// It is a duplicate, or was overtaken.
    Older,
    /// It has critical options that are not understood, so it was rejected, which ends the observation.
    BadOption,
}

impl Watch {
    pub(super) const fn new() -> Self {
        Self { token: Token::EMPTY, state: State::Off, freshest: None }
    }

    pub(super) const fn token(&self) -> Token {
        self.token
    }

    pub(super) fn is_registered(&self) -> bool {
        self.state == State::On
    }

    /// The observation is to be known by this token.
    pub(super) fn begin(&mut self, token: Token) {
        *self = Self { token, ..Self::new() };
    }

    /// The server has responded to the registration.
    ///
    /// "If the server returns a 2.xx response that includes an Observe Option as well, the server has successfully added an
    /// entry" (§3.1).
    pub(super) fn on_registered(&mut self, response: &Message<'_>, now: Instant) {
        let observe = observe(response).filter(|_| response.header().code.is_success());
        self.state = if observe.is_some() { State::On } else { State::Off };
        self.freshest = observe.map(|sequence| (sequence, now));
    }

    /// Nothing more is wanted: what notifies is acknowledged, and what is no notification is the answer to having said so.
    pub(super) const fn end(&mut self) {
        self.state = State::Ending;
    }

    /// Sorts a message out; `None` where it is no notification for this observation. `message` is what `header` is of, unless
    /// it was too long for the buffer.
    pub(super) fn receive(
        &mut self,
        header: &Header,
        message: Option<&Message<'_>>,
        now: Instant,
        acknowledged: &mut Acknowledged,
    ) -> Option<Notified> {
        let sequence = message.and_then(observe);
        let is_notification = (self.state == State::On || self.state == State::Ending && sequence.is_some())
            && header.token == self.token
            && header.code.is_response()
            && matches!(header.kind, Type::Confirmable | Type::NonConfirmable);
        if !is_notification {
            return None;
        }
        let mut answer = Type::Acknowledgement;
        let news = match (message, sequence) {
            _ if self.state == State::Ending => News::Older,
            (Some(message), _) if !understands(message, false) => {
                self.state = State::Off;
                answer = Type::Reset;
                News::BadOption
            }
            (Some(message), Some(sequence)) if message.header().code.is_success() => {
                if self.freshest.is_none_or(|freshest| is_newer(freshest, (sequence, now))) {
                    self.freshest = Some((sequence, now));
                    News::Newer
                } else {
                    News::Older
                }
            }
            // "Non-2.xx responses do not include an Observe Option", and remove "the client's entry from the list of observers"
            // (§3.2); and one without the option is the last as well (§3.1).
            (Some(_), _) => {
                self.state = State::Off;
                News::Newer
            }
            (None, _) => News::Newer,
        };
        // "the client MUST acknowledge the message as usual" (§3.5), a duplicate once more.
        let reply = (header.kind == Type::Confirmable).then(|| {
            if answer == Type::Acknowledgement {
                acknowledged.remember(header.message_id);
            }
            message::empty(answer, header.message_id)
        });
        Some(Notified { reply, news })
    }
}

/// The value of Observe, the 24 bits of a sequence number.
fn observe(message: &Message<'_>) -> Option<u32> {
    message
        .option_iter()
        .find(|option| coap_message::MessageOption::number(option) == option::OBSERVE)
        .and_then(|option| option.uint(3))
}

/// Whether the second was sent more recently than the first (§3.4).
fn is_newer((v1, t1): (u32, Instant), (v2, t2): (u32, Instant)) -> bool {
    (v1 < v2 && v2 - v1 < 1 << 23) || (v1 > v2 && v1 - v2 > 1 << 23) || t2 > t1 + ANY_IS_NEWER
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_of_notifications() {
        let at = Instant::from_millis;
        let max = (1 << 24) - 1;
        for (v1, v2, newer) in [
            (1, 2, true),
            (2, 1, false),
            (1, 1, false),
            (0, (1 << 23) - 1, true),
            (0, 1 << 23, false),
            (1 << 23, 0, false),
            ((1 << 23) + 1, 0, true),
            (max, 0, true),
            (0, max, false),
        ] {
            assert_eq!(is_newer((v1, at(0)), (v2, at(128_000))), newer, "{v1} {v2}");
            assert!(is_newer((v1, at(0)), (v2, at(128_001))));
        }
    }
}
