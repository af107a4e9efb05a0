//! One message of a client and what becomes of it (RFC 7252 §4.2–§4.4, §5.2, §5.3), without I/O.

use core::time::Duration;

use super::message::{self, HEADER, Header, Malformed, Type};
use super::retransmission::{Due, Retransmission};
use super::{Code, Token, TransmissionParameters};
use crate::Instant;

/// A message that was sent, or is about to be, and waits for what answers it.
pub(super) struct Exchange {
    message_id: u16,
    /// The token of the request; a ping has none.
    token: Option<Token>,
    deadline: Instant,
    parameters: TransmissionParameters,
    /// Until the message is acknowledged. Never for a Non-confirmable one.
    retransmission: Option<Retransmission>,
    acknowledged: bool,
}

/// What is to be done next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Send the message again.
    Transmit,
    /// Wait for a datagram, at most until then.
    Wait(Instant),
    /// Give up: nothing answered.
    TimedOut,
    /// Give up: the message arrived, but its response did not come in time.
    NoResponse,
}

/// What a datagram means for the exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Received {
    /// An Empty message to send in return.
    pub(super) reply: Option<[u8; HEADER]>,
    pub(super) outcome: Outcome,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The exchange goes on.
    Pending,
    /// The datagram is the response.
    Response,
    /// The datagram would be the response if the critical options in it were understood.
    BadOption,
    /// The peer rejected the message with a RST; this is how a ping is answered (§4.3), if not with an ACK.
    Reset,
}

impl Exchange {
    /// The exchange of a message that is sent for the first time now.
    ///
    /// `random` spreads the first timeout of a Confirmable message; a Non-confirmable one has no `random`.
    pub(super) fn new(
        message_id: u16,
        token: Option<Token>,
        random: Option<u32>,
        deadline: Duration,
        parameters: TransmissionParameters,
        now: Instant,
    ) -> Self {
        let retransmission = random.map(|random| Retransmission::new(&parameters, random, now));
        Self { message_id, token, deadline: now + deadline, parameters, retransmission, acknowledged: false }
    }

    /// What is to be done at `now`.
    pub(super) fn poll(&mut self, now: Instant) -> Step {
        if now >= self.deadline {
            return if self.acknowledged { Step::NoResponse } else { Step::TimedOut };
        }
        let Some(retransmission) = &mut self.retransmission else {
            return Step::Wait(self.deadline);
        };
        match retransmission.poll(&self.parameters, now) {
            Due::Wait(at) => Step::Wait(at.min(self.deadline)),
            Due::Transmit => Step::Transmit,
            Due::GiveUp => Step::TimedOut,
        }
    }

    /// Whether neither a response nor an acknowledgement has come as yet (§4.7).
    pub(super) fn is_outstanding(&self) -> bool {
        !self.acknowledged
    }

    /// Whether a message answers this one: by its token (§5.3.2), or by its Message ID (§4.2).
    pub(super) fn concerns(&self, header: &Header) -> bool {
        let by_id = matches!(header.kind, Type::Acknowledgement | Type::Reset)
            && header.message_id == self.message_id;
        by_id || header.code.is_response() && self.token == Some(header.token)
    }

    /// Sorts a message out that came from the peer. `known` says whether the critical options in it are understood.
    pub(super) fn receive(
        &mut self,
        header: Result<&Header, Malformed>,
        known: bool,
        acknowledged: &mut Acknowledged,
    ) -> Received {
        let pending = Received { reply: None, outcome: Outcome::Pending };
        let Ok(header) = header else {
            return Received { reply: acknowledged.turn_away(header), ..pending };
        };
        let ours = header.message_id == self.message_id;
        // What this datagram makes of the exchange, if it is a response to our request. One with critical options that are
        // not understood is rejected (§5.4.1), and another will not come: its sender gives up, or sends the same again.
        let response = (header.code.is_response() && self.token == Some(header.token)).then_some(if known {
            Outcome::Response
        } else {
            Outcome::BadOption
        });
        match header.kind {
            Type::Reset => {
                // A RST that is not Empty is rejected, that is: ignored (§4.2).
                if ours && header.code == Code::EMPTY {
                    return Received { outcome: Outcome::Reset, ..pending };
                }
                pending
            }
            Type::Acknowledgement if ours && header.code == Code::EMPTY => {
                if self.token.is_none() {
                    // A ping is to be rejected, but whoever acknowledges it is there as well.
                    return Received { outcome: Outcome::Reset, ..pending };
                }
                self.acknowledge();
                pending
            }
            // In a piggybacked response, both the Message ID and the token match (§5.3.2). An ACK that carries anything
            // else is ignored.
            Type::Acknowledgement if !ours => pending,
            // Both are rejected by ignoring them (§4.2, §4.3).
            Type::Acknowledgement | Type::NonConfirmable => {
                Received { outcome: response.unwrap_or(Outcome::Pending), ..pending }
            }
            Type::Confirmable => {
                // A separate response also serves as the acknowledgement of the request (§5.2.2). One that comes again
                // because our ACK was lost is acknowledged again; anything else is rejected (§4.2): a ping, a request,
                // an unexpected response, and one with options that are not understood (§5.4.1).
                if response == Some(Outcome::Response) {
                    acknowledged.remember(header.message_id);
                }
                let reply = match response {
                    Some(Outcome::BadOption) => Some(message::empty(Type::Reset, header.message_id)),
                    _ => acknowledged.turn_away(Ok(header)),
                };
                Received { reply, outcome: response.unwrap_or(Outcome::Pending) }
            }
        }
    }

    /// The message arrived; what is left is to wait for its response.
    fn acknowledge(&mut self) {
        self.acknowledged = true;
        self.retransmission = None;
    }
}

/// The Message IDs of the last separate responses, to acknowledge them again.
///
/// It needs no clock: what is in it only decides between ACK and RST for responses that nobody waits for.
#[derive(Default)]
pub(super) struct Acknowledged([Option<u16>; 4]);

impl Acknowledged {
    pub(super) fn remember(&mut self, message_id: u16) {
        if !self.0.contains(&Some(message_id)) {
            self.0.rotate_right(1);
            if let Some(first) = self.0.first_mut() {
                *first = Some(message_id);
            }
        }
    }

    /// What is to be sent in return for a message that nobody waits for.
    pub(super) fn turn_away(&self, header: Result<&Header, Malformed>) -> Option<[u8; HEADER]> {
        let (message_id, kind) = match header {
            Ok(Header { kind: Type::Confirmable, code, message_id, .. }) => {
                let is_known = code.is_response() && self.0.contains(&Some(*message_id));
                (*message_id, if is_known { Type::Acknowledgement } else { Type::Reset })
            }
            Err(Malformed::FormatError { kind: Type::Confirmable, message_id }) => (message_id, Type::Reset),
            Ok(_) | Err(_) => return None,
        };
        Some(message::empty(kind, message_id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(millis: u64) -> Instant {
        Instant::from_millis(millis)
    }

    fn exchange(random: u32) -> Exchange {
        let rfc = TransmissionParameters::RFC_7252;
        Exchange::new(1, Some(Token::EMPTY), Some(random), Duration::from_secs(1_000), rfc, Instant::ZERO)
    }

    #[test]
    fn polling_changes_nothing_before_its_time() {
        let mut exchange = exchange(0);
        for millis in [0, 1, 1_999] {
            assert_eq!(exchange.poll(at(millis)), Step::Wait(at(2_000)));
        }
        assert_eq!(exchange.poll(at(2_000)), Step::Transmit);
        assert_eq!(exchange.poll(at(2_000)), Step::Wait(at(6_000)));
    }

    /// RFC 7252 section 4.2: whoever was late may catch up, with ACK_TIMEOUT between retransmissions.
    #[test]
    fn a_late_poll_catches_up() {
        let mut exchange = exchange(0);
        assert_eq!(exchange.poll(at(13_500)), Step::Transmit);
        assert_eq!(exchange.poll(at(13_500)), Step::Wait(at(15_500)));
        assert_eq!(exchange.poll(at(15_500)), Step::Transmit);
        assert_eq!(exchange.poll(at(15_500)), Step::Wait(at(23_500)));
    }

    /// And nothing is sent after MAX_TRANSMIT_SPAN.
    #[test]
    fn a_poll_that_is_too_late_sends_nothing() {
        let mut exchange = exchange(u32::MAX);
        assert_eq!(exchange.poll(at(3_000)), Step::Transmit);
        let mut now = 45_001;
        for _ in 0..3 {
            let Step::Wait(next) = exchange.poll(at(now)) else {
                panic!("it is too late to send");
            };
            assert!(next.as_millis() >= now + 2_000);
            now = next.as_millis();
        }
        assert_eq!(exchange.poll(at(now)), Step::TimedOut);
    }
}
