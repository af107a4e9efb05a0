//! A cache of one session, which is the same for every sequence.

use std::cell::{Cell, RefCell};

use dtls_psk::{Instant, ResumableSession, SessionCache};

/// A session that can be resumed.
pub struct Kept {
    pub shelf: &'static Shelf,
    pub master: Vec<u8>,
}

/// Keeps the first session that it gets, whatever comes later.
#[derive(Default)]
pub struct Shelf {
    session: RefCell<Option<ResumableSession>>,
    is_forgotten: Cell<bool>,
}

impl Shelf {
    /// Whether the session has not been forgotten.
    pub fn is_kept(&self) -> bool {
        !self.is_forgotten.get()
    }

    /// As if it had not been forgotten.
    pub fn put_back(&self) {
        self.is_forgotten.set(false);
    }

    fn lend(&self, is_it: impl FnOnce(&ResumableSession) -> bool, lend: &mut dyn FnMut(&ResumableSession)) {
        if let Some(session) = self.session.borrow().as_ref()
            && self.is_kept()
            && is_it(session)
        {
            lend(session);
        }
    }
}

impl SessionCache for Shelf {
    fn put(&self, session: &ResumableSession, _: Instant) {
        self.session.borrow_mut().get_or_insert_with(|| session.clone());
    }

    fn get(&self, session_id: &[u8], _: Instant, lend: &mut dyn FnMut(&ResumableSession)) {
        self.lend(|session| session.session_id() == session_id, lend);
    }

    fn last(&self, _: Instant, lend: &mut dyn FnMut(&ResumableSession)) {
        self.lend(|_| true, lend);
    }

    fn forget(&self, tag: &[u8]) {
        if self.session.borrow().as_ref().is_some_and(|session| session.tag() == tag) {
            self.is_forgotten.set(true);
        }
    }
}
