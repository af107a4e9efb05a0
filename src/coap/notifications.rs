//! What a server sends by itself: notifications (RFC 7641), and separate responses (RFC 7252 §5.2.2).

use coap_message::MinimalWritableMessage;
use coap_numbers::{code, option};
use rand_core::TryRng;

use super::counters::count;
use super::deduplication::{Kind, MessageKey, Seen};
use super::message::{Header, Type};
use super::observers::Answers;
use super::options::is_safe;
use super::policy::{Access, RequestPath};
use super::reception::Link;
use super::render::{Rendered, Wanted, render};
use super::responder::{Responder, is_gone};
use super::source::Source;
use super::writer::Writer;
use super::{Code, ForPeer};
use crate::{Instant, PeerLookup};

/// How many bytes an Observe option adds to a message.
pub(super) const OBSERVE_LEN: usize = 4;

impl<const EXCHANGES: usize, const REPLIES: usize, const OBSERVERS: usize>
    Responder<'_, EXCHANGES, REPLIES, OBSERVERS>
{
    /// Writes the next message that is not a reply, and tells whom it goes to: a notification, or a separate response.
    pub(super) fn poll_transmit<P: ForPeer, R: TryRng>(
        &mut self,
        outgoing: &mut [u8],
        lookup: &impl PeerLookup,
        handlers: &mut P,
        rng: &mut R,
        now: Instant,
    ) -> Option<(usize, Source)> {
        if let Some(changes) = self.changes {
            self.observers.changed(changes.take());
        }
        // Each one that is looked at is sent to, is no more, or has to wait.
        for _ in 0..=OBSERVERS {
            let Ok(send) = self.observers.poll(&self.parameters, now)? else {
                count(&mut self.counters.lost_observers);
                crate::log::debug!("CoAP: an observer acknowledges nothing and is given up");
                continue;
            };
            let Some(observer) = self.observers.get(send.at) else { continue };
            let (source, asked, answers) = (observer.source, observer.asked, observer.answers());
            if is_gone(lookup, &source) {
                self.observers.remove(send.at);
                count(&mut self.counters.lost_observers);
                continue;
            }
            let is_once = matches!(answers, Answers::Once { .. });
            if is_once && observer.is_outstanding() {
                let message_id = observer.message_id;
                match self.seen.get(self.response_key(&source, message_id), false, now) {
                    Seen::Answered(response) => {
                        let len = response.len();
                        outgoing.get_mut(..len)?.copy_from_slice(response);
                        self.observers.sent(send, message_id, &self.parameters, 0, now);
                        count(&mut self.counters.notifications);
                        return Some((len, source));
                    }
                    _ if !is_safe(asked.code()) => {
                        crate::log::debug!("CoAP: response {} is forgotten, and not made again", message_id);
                        self.observers.remove(send.at);
                        count(&mut self.counters.lost_observers);
                        continue;
                    }
                    _ => {}
                }
            }
            let message_id = self.message_ids.take();
            let kind = if send.confirmable { Type::Confirmable } else { Type::NonConfirmable };
            let request = asked.message().without(self.hidden());
            let token = request.header().token;
            let mut writer = Writer::new(outgoing, &Header { kind, code: Code::EMPTY, message_id, token })?;
            let peer = source.session().and_then(|session| lookup.session(session));
            let method = request.header().code;
            let access =
                self.policy.map(|policy| policy.access(peer.as_ref(), method, RequestPath::of(&request)));
            let rendered = if access == Some(Access::Denied) {
                count(&mut self.counters.denied);
                writer.set_code(code::FORBIDDEN);
                Rendered::Response
            } else {
                let limit = Link::to(lookup, &source).limit(&writer).saturating_sub(OBSERVE_LEN);
                render(handlers, &request, &Wanted { peer, block2: asked.block2(), limit }, &mut writer)
            };
            if rendered == Rendered::Postponed {
                self.observers.postponed(send.at, now);
                continue;
            }
            if answers == Answers::Always {
                if writer.code().is_success() {
                    let _ = writer.insert_uint(option::OBSERVE, self.observers.next_sequence());
                } else {
                    // "the server SHOULD notify the client [...] and subsequently MUST remove the associated entry from the
                    // list of observers" (RFC 7641 §4.2).
                    self.observers.last(send, now + self.parameters.exchange_lifetime());
                }
            }
            // Without randomness, a retransmission comes a little sooner.
            let random = rng.try_next_u32().unwrap_or_default();
            self.observers.sent(send, message_id, &self.parameters, random, now);
            count(&mut self.counters.notifications);
            let len = writer.finish();
            if is_once && send.confirmable {
                // For when it is lost: what was done for it is not done again.
                let key = self.response_key(&source, message_id);
                let until = now + self.parameters.max_transmit_wait();
                let kind = if is_safe(method) { Kind::Repeatable } else { Kind::Once { young_until: until } };
                self.seen.insert(key, kind, outgoing.get(..len).unwrap_or_default(), until, now);
            }
            return Some((len, source));
        }
        None
    }

    /// What a separate response is remembered by.
    fn response_key(&self, source: &Source, message_id: u16) -> MessageKey {
        MessageKey { source: self.key.tag(source), is_ours: true, message_id }
    }

    /// When to call [`poll_transmit`](Self::poll_transmit) at the latest, if no resource changes before.
    pub(super) fn poll_timeout(&self, now: Instant) -> Option<Instant> {
        self.observers.poll_timeout(now)
    }
}
