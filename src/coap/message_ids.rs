//! Where Message IDs come from (RFC 7252 §4.4).

use rand_core::TryRng;

/// Message IDs that count up from a random one: "It is strongly recommended that the initial value of the variable (e.g.,
/// on startup) be randomized" (§4.4).
#[derive(Default)]
pub(super) struct MessageIds {
    /// The next one, once the first has been drawn.
    next: Option<u16>,
}

impl MessageIds {
    /// The next Message ID. It stays the next until it [was used](Self::used).
    pub(super) fn peek<R: TryRng>(&mut self, rng: &mut R) -> Result<u16, R::Error> {
        let next = match self.next {
            Some(next) => next,
            None => rng.try_next_u32()? as u16,
        };
        self.next = Some(next);
        Ok(next)
    }

    /// Whether the first one has been drawn.
    pub(super) const fn is_drawn(&self) -> bool {
        self.next.is_some()
    }

    /// The next Message ID, once the first has been drawn.
    pub(super) fn take(&mut self) -> u16 {
        let next = self.next.unwrap_or_default();
        self.used(next);
        next
    }

    /// Goes on to the Message ID after this one.
    pub(super) fn used(&mut self, message_id: u16) {
        self.next = Some(message_id.wrapping_add(1));
    }
}
