//! Requests that are answered later: observations, again and again (RFC 7641), and requests that a handler could not answer
//! at once, one time (RFC 7252 §5.2.2).

use core::time::Duration;

use coap_message::MessageOption as _;
use coap_numbers::option;

use super::block::Block;
use super::message::{Header, Message, Type};
use super::retransmission::{Due, Retransmission};
use super::share::admits;
use super::source::Source;
use super::{Code, Token, TransmissionParameters};
use crate::Instant;
use crate::bytes::ByteString;

/// How long a request may be that is answered later, without its header and token, in bytes.
pub(super) const MAX_REQUEST: usize = 64;

/// How often observers are notified, and how (RFC 7641 §4.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub struct ObserveParameters {
    /// A notification is Confirmable when the observer has not confirmed one for so long: 10 seconds. In between they are
    /// Non-confirmable, and the last of those is followed by a Confirmable one after this time, so that an observer
    /// ends on the last value whatever is lost. [`Duration::ZERO`] makes all of them Confirmable.
    pub confirm_interval: Duration,
    /// An observer of a resource that does not change gets a Confirmable notification all the same after this time, so that one
    /// that is no more makes room: 24 hours, the most that RFC 7641 §4.5 allows.
    pub refresh_interval: Duration,
}

impl ObserveParameters {
    /// The default.
    pub const DEFAULT: Self = Self {
        confirm_interval: Duration::from_secs(10),
        refresh_interval: Duration::from_secs(24 * 60 * 60),
    };
}

impl Default for ObserveParameters {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// How far apart Non-confirmable notifications are while the round-trip time to an observer is not known (RFC 7641 §4.5.1).
const UNKNOWN_RTT: Duration = Duration::from_secs(3);
/// The shortest round-trip time there is, for clocks that do not see it. Whoever is notified of changes that notifications cause
/// leaves the server some time for others.
const SHORTEST_RTT: Duration = Duration::from_millis(1);

/// The request that is answered.
#[derive(Clone, Copy)]
pub(super) struct Asked {
    code: Code,
    token: Token,
    options: u8,
    bytes: ByteString<MAX_REQUEST>,
}

impl Asked {
    /// `None` where it is too long to be kept.
    pub(super) fn new(request: &Message<'_>) -> Option<Self> {
        let (options, payload) = request.rest();
        let mut bytes = [0; MAX_REQUEST];
        let (front, rest) = bytes.split_at_mut_checked(options.len())?;
        front.copy_from_slice(options);
        rest.get_mut(..payload.len())?.copy_from_slice(payload);
        let bytes = ByteString::new(bytes.get(..options.len() + payload.len())?)?;
        let Header { code, token, .. } = *request.header();
        Some(Self { code, token, options: u8::try_from(options.len()).ok()?, bytes })
    }

    pub(super) const fn code(&self) -> Code {
        self.code
    }

    pub(super) fn message(&self) -> Message<'_> {
        let header = Header { kind: Type::NonConfirmable, code: self.code, message_id: 0, token: self.token };
        let rest = self.bytes.as_bytes().split_at_checked(self.options.into()).unwrap_or_default();
        Message::from_rest(header, rest)
    }

    /// The block that the request wants. Blocks of notifications are no longer than those that the registration asked for
    /// (RFC 7959 §2.6).
    pub(super) fn block2(&self) -> Option<Block> {
        let option = self.message().option_iter().find(|option| option.number() == option::BLOCK2)?;
        Block::parse(&option).ok()
    }
}

/// How often a request is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answers {
    /// Whenever the resource changes.
    Always,
    /// Once, by a separate response; until then at most, if nothing happens.
    Once { confirmable: bool, until: Instant },
}

/// One request that is answered later.
pub(super) struct Observer {
    pub(super) source: Source,
    pub(super) asked: Asked,
    answers: Answers,
    /// The number of the resource.
    resource: usize,
    /// Whether there is something new to tell.
    changed: bool,
    /// Of the last message that was sent for it.
    pub(super) message_id: u16,
    outstanding: Option<Retransmission>,
    /// When the observer last showed that it is there.
    confirmed: Instant,
    /// Whether something was sent since that nobody confirms.
    unconfirmed: bool,
    /// No Non-confirmable notification goes out before that.
    not_before: Instant,
    rtt: Option<Duration>,
}

impl Observer {
    pub(super) const fn answers(&self) -> Answers {
        self.answers
    }

    /// Whether what is due is a message that was sent before.
    pub(super) const fn is_outstanding(&self) -> bool {
        self.outstanding.is_some()
    }

    /// When it has to confirm a notification.
    fn confirm_at(&self, parameters: &ObserveParameters) -> Instant {
        let interval = match self.unconfirmed {
            true => parameters.confirm_interval,
            false => parameters.refresh_interval.max(parameters.confirm_interval),
        };
        self.confirmed + interval
    }

    /// The next time that something is due for it, if nothing else happens.
    fn due_at(&self, parameters: &ObserveParameters, now: Instant) -> Instant {
        match (self.outstanding, self.answers) {
            (Some(retransmission), _) => retransmission.at(),
            (None, Answers::Always) if self.changed => self.not_before.max(now),
            (None, Answers::Always) => self.confirm_at(parameters),
            (None, Answers::Once { .. }) if self.changed => now,
            (None, Answers::Once { until, .. }) => until,
        }
    }
}

/// What is to be sent for an observer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Send {
    pub(super) at: usize,
    pub(super) confirmable: bool,
}

/// What became of an observer that a message was about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Known {
    /// Nobody waits for that message.
    Nobody,
    /// It goes on.
    Stays,
    /// It is no more.
    Gone,
}

/// All requests that are answered later.
pub(super) struct Observers<const N: usize> {
    observers: [Option<Observer>; N],
    /// Of the last notification: "the sequence number MUST be [...] strictly increasing" (RFC 7641 §4.4), in 24 bits.
    sequence: u32,
    /// Where to begin looking for what is due, so that everybody's turn comes.
    next: usize,
    pub(super) parameters: ObserveParameters,
}

impl<const N: usize> Observers<N> {
    pub(super) const fn new() -> Self {
        Self { observers: [const { None }; N], sequence: 0, next: 0, parameters: ObserveParameters::DEFAULT }
    }

    pub(super) fn len(&self) -> usize {
        self.observers.iter().flatten().count()
    }

    pub(super) fn get(&self, at: usize) -> Option<&Observer> {
        self.observers.get(at)?.as_ref()
    }

    pub(super) fn remove(&mut self, at: usize) {
        if let Some(place) = self.observers.get_mut(at) {
            *place = None;
        }
    }

    /// The sequence number for the next notification.
    pub(super) fn next_sequence(&mut self) -> u32 {
        self.sequence = (self.sequence + 1) & 0xff_ffff;
        self.sequence
    }

    /// Adds a request, in the place of one with the same token (RFC 7641 §4.1). `is_gone` tells whose session is over. `false`
    /// where there is no room.
    pub(super) fn add(
        &mut self,
        source: Source,
        asked: Asked,
        answers: Answers,
        resource: usize,
        is_gone: impl Fn(&Source) -> bool,
        now: Instant,
    ) -> bool {
        let before = self.observers.iter().position(|place| {
            place.as_ref().is_some_and(|it| it.source == source && it.asked.token == asked.token)
        });
        let place = before.or_else(|| {
            if self.len() == N {
                self.remove_if(|observer| is_gone(&observer.source));
            }
            let held = self.observers.iter().flatten().filter(|observer| observer.source == source).count();
            let free = N.saturating_sub(self.len());
            let place = self.observers.iter().position(Option::is_none)?;
            admits(N, free, held).then_some(place)
        });
        let rtt = self.of(&source).find_map(|observer| observer.rtt);
        let Some(place) = place.and_then(|at| self.observers.get_mut(at)) else {
            return false;
        };
        // Its client may never see the response to this request, as to a copy of an old one. So what it has yet to confirm
        // stays so.
        let before = place.as_ref();
        let unconfirmed = before.is_some_and(|before| before.changed || before.unconfirmed);
        let not_before = before.map_or(now, |before| before.not_before);
        *place = Some(Observer {
            source,
            asked,
            answers,
            resource,
            changed: false,
            message_id: 0,
            outstanding: None,
            confirmed: now,
            unconfirmed,
            not_before,
            rtt,
        });
        true
    }

    fn remove_if(&mut self, is_it: impl Fn(&Observer) -> bool) -> bool {
        let before = self.len();
        for place in &mut self.observers {
            place.take_if(|observer| is_it(observer));
        }
        self.len() < before
    }

    /// Forgets the observer with this token, if there is one.
    pub(super) fn cancel(&mut self, source: &Source, token: Token) -> bool {
        self.remove_if(|observer| observer.source == *source && observer.asked.token == token)
    }

    /// Resources have changed, those whose bits are set.
    pub(super) fn changed(&mut self, resources: u32) {
        for observer in self.observers.iter_mut().flatten() {
            observer.changed |= resources >> observer.resource & 1 != 0;
        }
    }

    fn find(&self, source: &Source, message_id: u16) -> Option<usize> {
        let is_it = |observer: &Observer| {
            observer.source == *source
                && observer.message_id == message_id
                && (observer.outstanding.is_some() || observer.unconfirmed)
        };
        self.observers.iter().position(|place| place.as_ref().is_some_and(is_it))
    }

    /// An ACK for the message with this ID.
    pub(super) fn on_acknowledgement(&mut self, source: &Source, message_id: u16, now: Instant) -> Known {
        let Some(at) = self.find(source, message_id) else { return Known::Nobody };
        let Some(Some(observer)) = self.observers.get_mut(at) else { return Known::Nobody };
        let Some(retransmission) = observer.outstanding.take() else { return Known::Nobody };
        observer.confirmed = now;
        observer.unconfirmed = false;
        observer.not_before = now;
        let is_last = matches!(observer.answers, Answers::Once { .. });
        if let Some(sent) = retransmission.sent_once_at() {
            let rtt = now.saturating_since(sent).max(SHORTEST_RTT);
            let of_source = self.observers.iter_mut().flatten().filter(|observer| observer.source == *source);
            of_source.for_each(|observer| observer.rtt = Some(rtt));
        }
        if is_last {
            self.remove(at);
            return Known::Gone;
        }
        Known::Stays
    }

    /// A RST for it: "the client [...] is no longer interested and the server MUST remove the associated entry" (RFC 7641 §4.5).
    pub(super) fn on_reset(&mut self, source: &Source, message_id: u16) -> Known {
        match self.find(source, message_id) {
            None => Known::Nobody,
            Some(at) => {
                self.remove(at);
                Known::Gone
            }
        }
    }

    /// When to call [`poll`](Self::poll) at the latest.
    pub(super) fn poll_timeout(&self, now: Instant) -> Option<Instant> {
        self.observers.iter().flatten().filter_map(|observer| self.due_at(observer, now)).min()
    }

    /// Those of the same source.
    fn of(&self, source: &Source) -> impl Iterator<Item = &Observer> {
        self.observers.iter().flatten().filter(move |observer| observer.source == *source)
    }

    /// When something is due for an observer, if nothing else happens; `None` while it has to wait for another message to be
    /// acknowledged.
    ///
    /// "servers MUST strictly limit the number of simultaneous outstanding notifications/responses that they transmit to a given
    /// client to NSTART" (RFC 7641 §4.5.1), which is 1, "either a confirmable message for which an acknowledgement has not yet
    /// been received [...] or a non-confirmable message for which the waiting time [...] has not yet elapsed".
    fn due_at(&self, observer: &Observer, now: Instant) -> Option<Instant> {
        let due_at = observer.due_at(&self.parameters, now);
        if observer.outstanding.is_some() {
            return Some(due_at);
        }
        self.of(&observer.source).try_fold(due_at, |due_at, other| {
            other.outstanding.is_none().then(|| due_at.max(other.not_before))
        })
    }

    /// What is to be sent next; `Err` tells of an observer that answers no more, or a request that nothing came of.
    pub(super) fn poll(
        &mut self,
        transmission: &TransmissionParameters,
        now: Instant,
    ) -> Option<Result<Send, Observer>> {
        for step in 0..N {
            let at = (self.next + step) % N;
            let Some(observer) = self.get(at) else { continue };
            if self.due_at(observer, now).is_none_or(|at| at > now) {
                continue;
            }
            let parameters = self.parameters;
            let Some(Some(observer)) = self.observers.get_mut(at) else { continue };
            let confirmable = if let Some(retransmission) = &mut observer.outstanding {
                match retransmission.poll(transmission, now) {
                    Due::Wait(_) => continue,
                    Due::Transmit => true,
                    Due::GiveUp => return self.observers.get_mut(at).and_then(Option::take).map(Err),
                }
            } else {
                match observer.answers {
                    Answers::Once { .. } if !observer.changed => {
                        return self.observers.get_mut(at).and_then(Option::take).map(Err);
                    }
                    Answers::Once { confirmable, .. } => confirmable,
                    Answers::Always => {
                        !observer.changed || observer.confirmed + parameters.confirm_interval <= now
                    }
                }
            };
            self.next = at + 1;
            return Some(Ok(Send { at, confirmable }));
        }
        None
    }

    /// The message that was due goes out. `random` spreads the first retransmission.
    pub(super) fn sent(
        &mut self,
        due: Send,
        message_id: u16,
        transmission: &TransmissionParameters,
        random: u32,
        now: Instant,
    ) {
        let Some(Some(observer)) = self.observers.get_mut(due.at) else { return };
        observer.message_id = message_id;
        observer.changed = false;
        observer.unconfirmed = true;
        if due.confirmable {
            // "retain its transmission parameters" (RFC 7641 §4.5.2): the timer of one that is sent again goes on.
            observer.outstanding.get_or_insert_with(|| Retransmission::new(transmission, random, now));
        } else {
            observer.not_before = now + observer.rtt.unwrap_or(UNKNOWN_RTT);
            if let Answers::Once { .. } = observer.answers {
                self.remove(due.at);
            }
        }
    }

    /// What goes out to this observer is the last it hears, until then at most.
    pub(super) fn last(&mut self, send: Send, until: Instant) {
        if let Some(Some(observer)) = self.observers.get_mut(send.at) {
            observer.answers = Answers::Once { confirmable: send.confirmable, until };
        }
    }

    /// The handler has nothing to say yet.
    pub(super) fn postponed(&mut self, at: usize, now: Instant) {
        if let Some(Some(observer)) = self.observers.get_mut(at) {
            observer.changed = false;
            observer.confirmed = now;
        }
    }
}
