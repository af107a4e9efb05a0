//! Clients that say hello: who has to repeat a cookie first, and who gets a handshake.

use core::cmp::Ordering;
use core::hash::BuildHasher;

use rand_core::TryCryptoRng;

use super::{Endpoint, admission};
use crate::connection_id::OwnConnectionId;
use crate::error::Error;
#[cfg(feature = "dtls13")]
use crate::error::PeerMisbehaved;
#[cfg(feature = "dtls13")]
use crate::handshake::Choice;
#[cfg(feature = "dtls12")]
use crate::handshake::MAX_HELLO_VERIFY_REQUESTS;
use crate::handshake::{Accepted, Handshake, HelloReply, ServerRandom, select_version};
use crate::log::{debug, info};
use crate::path::Path;
use crate::stats::Stats;
use crate::time::Instant;
use crate::wire::Reader;
use crate::wire::client_hello::ClientHello;
use crate::wire::handshake::Fragment;
use crate::wire::record::{HEADER_LEN, RecordHeader};
use crate::wire::version::ProtocolVersion;

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
        let len = HEADER_LEN + body.len();
        // A fragment is never kept here, so a hello that was cut is of no use.
        let fragment = Fragment::parse(&mut Reader::new(body)).ok().filter(Fragment::is_whole);
        let parsed = fragment.and_then(|fragment| Some((fragment, ClientHello::parse(fragment.body).ok()?)));
        let Some((fragment, hello)) = parsed else {
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
                if entry.value.is_limited() {
                    entry.value.allow(len);
                }
                entry.value.on_repeated_hello(self.config, now, &mut self.stats);
            }
            Some(age)
        });
        if age == Some(Ordering::Equal) {
            // Its cookie was good when the handshake began, and need not be any more.
            self.handshakes_due = true;
            return Ok(());
        }
        let accepted = match self.check_cookie(header, &fragment, &hello, path, now) {
            Ok(Some(accepted)) => accepted,
            Ok(None) => return Ok(()),
            // Its address may be forged, so the application does not hear of it.
            Err(error) => {
                debug!("<- ClientHello that cannot be served: {}", error);
                Stats::count(&mut self.stats.dropped);
                self.reply = Some((HelloReply::alert(header, error), path));
                return Ok(());
            }
        };

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
        match Handshake::server(&self.context(), self.store, &accepted, random, now) {
            Ok(mut handshake) => {
                // It has not shown anything without a cookie.
                if !self.config.exchanges_cookies() && accepted.retry.is_none() {
                    handshake.allow(len);
                }
                self.admit(hash, path, before, handshake, now);
                Ok(())
            }
            Err(error) => self.refuse(header, path, error),
        }
    }

    /// Tells a client that it cannot be served, and forgets it.
    fn refuse(&mut self, header: &RecordHeader<'_>, path: Path, error: Error) -> Result<(), Error> {
        Stats::count(&mut self.stats.handshakes_failed);
        info!("the handshake with {} failed: {}", path.remote, error);
        self.reply = Some((HelloReply::alert(header, error), path));
        Err(error)
    }

    /// Whether the client has shown that it receives at its address; `None` where it is asked to.
    ///
    /// # Errors
    /// Why it cannot be served.
    fn check_cookie<'h>(
        &mut self,
        header: &'h RecordHeader<'h>,
        fragment: &'h Fragment<'h>,
        hello: &'h ClientHello<'h>,
        path: Path,
        now: Instant,
    ) -> Result<Option<Accepted<'h>>, Error> {
        let version = select_version(self.config, hello)?;
        let accepted = Accepted { version, header, fragment, hello, retry: None };
        match version {
            #[cfg(feature = "dtls13")]
            ProtocolVersion::Dtls13 => self.check_retry_cookie(accepted, path, now),
            #[cfg(feature = "dtls12")]
            ProtocolVersion::Dtls12 => Ok(self.check_legacy_cookie(accepted, path, now)),
            #[allow(unreachable_patterns, reason = "but not in a build with one version")]
            _ => Ok(None),
        }
    }

    #[cfg(feature = "dtls12")]
    fn check_legacy_cookie<'h>(
        &mut self,
        accepted: Accepted<'h>,
        path: Path,
        now: Instant,
    ) -> Option<Accepted<'h>> {
        let Accepted { header, fragment, hello, .. } = &accepted;
        if !self.config.exchanges_cookies() {
            return Some(accepted);
        }
        let is_plausible = match hello.cookie {
            [] => fragment.message_seq == 0,
            // One hello for each HelloVerifyRequest that a client follows.
            _ => (1..=MAX_HELLO_VERIFY_REQUESTS).contains(&fragment.message_seq),
        };
        if !is_plausible {
            Stats::count(&mut self.stats.dropped);
            return None;
        }
        if self.cookies.check(path.remote, hello, fragment.message_seq, now) {
            return Some(accepted);
        }
        let cookie = self.cookies.make(path.remote, hello, fragment.message_seq + 1, now);
        self.reply = Some((HelloReply::hello_verify_request(header, fragment, cookie), path));
        None
    }

    #[cfg(feature = "dtls13")]
    fn check_retry_cookie<'h>(
        &mut self,
        accepted: Accepted<'h>,
        path: Path,
        now: Instant,
    ) -> Result<Option<Accepted<'h>>, Error> {
        let Accepted { header, fragment, hello, .. } = &accepted;
        // A first hello has no cookie, and a second one no other number (RFC 9147 §5.2).
        let cookie = hello.extensions.cookie;
        if fragment.message_seq != u16::from(cookie.is_some()) {
            Stats::count(&mut self.stats.dropped);
            return Ok(None);
        }
        let choice = Choice::make(self.config, hello)?;
        let Some(cookie) = cookie else {
            if !self.config.exchanges_cookies() && !choice.lacks_key_share() {
                return Ok(Some(accepted));
            }
            let reply =
                HelloReply::hello_retry_request(header, fragment, &choice, &self.cookies, path.remote, now);
            self.reply = Some((reply, path));
            return Ok(None);
        };
        let retry = self.cookies.check_retry(path.remote, choice.suite, cookie, now);
        let retry = Some(retry.ok_or(PeerMisbehaved::InvalidCookie)?);
        Ok(Some(Accepted { retry, ..accepted }))
    }

    /// A connection ID that no other peer has been asked for.
    fn draw_connection_id<R: TryCryptoRng + ?Sized>(
        &self,
        len: usize,
        rng: &mut R,
    ) -> Result<OwnConnectionId, Error> {
        Ok(self.free_connection_id(OwnConnectionId::draw(len, rng)?))
    }

    /// This connection ID, or the first one behind it that no peer has been asked for.
    pub(super) fn free_connection_id(&self, mut id: OwnConnectionId) -> OwnConnectionId {
        // There are more of them than peers, so the search ends.
        for _ in 0..H + 2 * S {
            if id.is_empty() || !self.is_taken(id.as_bytes()) {
                break;
            }
            id = id.next();
        }
        id
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
