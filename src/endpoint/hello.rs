//! Clients that say hello: who has to repeat a cookie first, and who gets a handshake.

use core::cmp::Ordering;
use core::hash::BuildHasher;

use rand_core::TryCryptoRng;

use super::{Endpoint, admission};
use crate::connection_id::OwnConnectionId;
use crate::error::Error;
use crate::handshake::{Handshake, HelloReply, MAX_HELLO_VERIFY_REQUESTS, ServerRandom};
use crate::log::{debug, info};
use crate::path::Path;
use crate::stats::Stats;
use crate::time::Instant;
use crate::wire::Reader;
use crate::wire::client_hello::ClientHello;
use crate::wire::handshake::Fragment;
use crate::wire::record::RecordHeader;

impl<const H: usize, const S: usize> Endpoint<'_, H, S> {
    /// A ClientHello, which nothing is kept for until its cookie shows that the client receives at its address.
    ///
    /// # Errors
    /// Why a client with a good cookie cannot be served.
    pub(super) fn on_client_hello<R: TryCryptoRng + ?Sized>(
        &mut self,
        header: &RecordHeader<'_>,
        body: &[u8],
        path: Path,
        rng: &mut R,
        now: Instant,
    ) -> Result<(), Error> {
        // A fragment is never kept here, so a hello that was cut is of no use.
        let fragment = Fragment::parse(&mut Reader::new(body)).ok().filter(Fragment::is_whole);
        let parsed = fragment.and_then(|fragment| Some((fragment, ClientHello::parse(fragment.body).ok()?)));
        let plausible = |hello: &ClientHello<'_>, seq| match hello.cookie {
            [] => seq == 0,
            // One hello for each HelloVerifyRequest that a client follows.
            _ => (1..=MAX_HELLO_VERIFY_REQUESTS).contains(&seq),
        };
        let Some((fragment, hello)) =
            parsed.filter(|(fragment, hello)| plausible(hello, fragment.message_seq))
        else {
            Stats::count(&mut self.stats.dropped);
            return Ok(());
        };
        debug!("<- ClientHello (message {}, cookie of {} bytes)", fragment.message_seq, hello.cookie.len());
        let hash = self.hash_keys.hash_one(path);
        let before = self.storage.handshakes.find(hash, &path);
        let entry = before.and_then(|at| self.storage.handshakes.get_mut(at));
        let age = entry.and_then(|entry| {
            let age = entry.value.compare_hello(fragment.message_seq, &hello)?;
            if age.is_eq() {
                entry.value.on_repeated_hello(self.config, now, &mut self.stats);
            }
            Some(age)
        });
        if age == Some(Ordering::Equal) {
            // Its cookie was good when the handshake began, and need not be any more.
            self.handshakes_due = true;
            return Ok(());
        }
        if !self.cookies.check(path.remote, &hello, fragment.message_seq, now) {
            let cookie = self.cookies.make(path.remote, &hello, fragment.message_seq + 1, now);
            let reply = HelloReply::hello_verify_request(header, &fragment, cookie);
            self.reply = Some((reply, path));
            return Ok(());
        }

        let sessions = &self.storage.sessions;
        let session = sessions.at(&self.hash_keys, &path);
        // A late copy of the hello that began the session, or of one before the handshake's.
        if age == Some(Ordering::Less) || session.is_some_and(|entry| entry.value.session.is_from(&hello)) {
            Stats::count(&mut self.stats.dropped);
            return Ok(());
        }
        let connection_id = match self.config.connection_id_len() {
            Some(len) if hello.extensions.connection_id.is_some() => Some(self.draw_connection_id(len, rng)?),
            _ => None,
        };
        let random = ServerRandom::draw(self.config, rng, connection_id)?;
        match Handshake::server(&self.context(), self.store, &fragment, &hello, header, random, now) {
            Ok(handshake) => {
                self.admit(hash, path, before, handshake, now);
                Ok(())
            }
            Err(error) => {
                Stats::count(&mut self.stats.handshakes_failed);
                info!("the handshake with {} failed: {}", path.remote, error);
                self.reply = Some((HelloReply::alert(header, error), path));
                Err(error)
            }
        }
    }

    /// A connection ID that no other peer has been asked for.
    fn draw_connection_id<R: TryCryptoRng + ?Sized>(
        &self,
        len: usize,
        rng: &mut R,
    ) -> Result<OwnConnectionId, Error> {
        let mut id = OwnConnectionId::draw(len, rng)?;
        // There are more of them than peers, so the search ends.
        for _ in 0..H + S {
            if id.is_empty() || !self.is_taken(id.as_bytes()) {
                break;
            }
            id = id.next();
        }
        Ok(id)
    }

    /// Whether some peer has been asked for this connection ID.
    pub(super) fn is_taken(&self, id: &[u8]) -> bool {
        let mut handshakes = self.storage.handshakes.iter();
        self.storage.sessions.find_by_id(&self.hash_keys, id).is_some()
            || handshakes.any(|(_, entry)| entry.value.connection_id() == id)
    }

    /// Finds a slot for a handshake, in the place of `before` where the client starts anew.
    fn admit(&mut self, hash: u64, path: Path, before: Option<u16>, handshake: Handshake, now: Instant) {
        let handshakes = &mut self.storage.handshakes;
        let evicted = before.or_else(|| {
            // An answer takes much less than the time after which it is taken to be lost.
            let grace = self.config.initial_timeout() / 4;
            let full = handshakes.is_full();
            full.then(|| admission::handshake_to_evict(handshakes, &path, grace, now)).flatten()
        });
        if let Some(at) = evicted {
            handshakes.remove(at);
        }
        if handshakes.insert(hash, path, now, handshake).is_none() {
            debug!("no room for another handshake");
            Stats::count(&mut self.stats.handshakes_refused);
        }
        self.handshakes_due = true;
    }
}
