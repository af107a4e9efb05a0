//! What both sides of a DTLS 1.2 handshake have from the key exchange on, until the peer's Finished.

use super::agreed::{Agreed, Side};
use super::keys12::MasterSecret;
use super::{Context, Established, LastFlight};
use crate::config::Config;
use crate::connection_id::PeerConnectionId;
use crate::error::Error;
use crate::psk::Identity;
use crate::record::{ReadState, WriteState};
use crate::resumption::{ResumableSession, ResumptionTag, Ticket};
use crate::time::Instant;
use crate::wire::finished::VERIFY_DATA_LEN;

/// The pending states of RFC 5246 §6.1, waiting for the peer's ChangeCipherSpec and Finished.
pub(super) struct Pending {
    pub(super) agreed: Agreed,
    pub(super) master: MasterSecret,
    pub(super) read: ReadState,
    pub(super) write: WriteState,
    /// That of this side's Finished, where it comes before the peer's.
    pub(super) verify_data: [u8; VERIFY_DATA_LEN],
    pub(super) change_cipher_spec_seen: bool,
    /// Whether the master secret is that of an earlier session.
    pub(super) resumed: bool,
    /// Whether a server has announced a ticket, and has yet to send it.
    pub(super) ticket_awaited: bool,
    pub(super) ticket: Ticket,
    /// For how many seconds the ticket is good; 0 where the server did not say.
    pub(super) ticket_lifetime: u32,
    /// Names the session, and the key that it was made with: the key store may have another one by the end of the handshake.
    pub(super) tag: ResumptionTag,
}

impl Pending {
    /// Pending states without their secrets, which are made when the states are where they stay.
    pub(super) fn new(agreed: Agreed, peer_connection_id: PeerConnectionId) -> Self {
        let Agreed { suite, own_connection_id, send_limit, receive_limit, .. } = agreed;
        Self {
            agreed,
            master: MasterSecret::empty(),
            read: ReadState::new(suite, 1, own_connection_id, receive_limit),
            write: WriteState::new(suite, 1, peer_connection_id, send_limit),
            verify_data: [0; VERIFY_DATA_LEN],
            change_cipher_spec_seen: false,
            resumed: false,
            ticket_awaited: false,
            ticket: Ticket::EMPTY,
            ticket_lifetime: 0,
            tag: ResumptionTag::EMPTY,
        }
    }

    /// Takes the master secret of the session with this tag, which `lend` lends from the cache, and makes the keys of it.
    ///
    /// # Errors
    /// The cache has forgotten it meanwhile.
    pub(super) fn resume(
        &mut self,
        context: &Context<'_>,
        side: Side,
        lend: impl FnOnce(&mut dyn FnMut(&ResumableSession)),
    ) -> Result<(), Error> {
        let mut found = false;
        lend(&mut |session| {
            if session.tag.as_bytes() == self.tag.as_bytes() && session.suite == self.agreed.suite {
                self.master.resume(context, &self.agreed, session);
                found = true;
            }
        });
        if !found {
            return Err(Error::ResumptionFailed);
        }
        self.make_keys(side);
        Ok(())
    }

    /// Makes the keys of the master secret.
    pub(super) fn make_keys(&mut self, side: Side) {
        let (own, peer) = (self.write.key_mut(), self.read.key_mut());
        match side {
            Side::Client => self.master.key_block(&self.agreed, own, peer),
            Side::Server => self.master.key_block(&self.agreed, peer, own),
        }
    }

    /// Keeps the session for the next handshake, if there is where to.
    pub(super) fn keep(&mut self, config: &Config<'_>, identity: Identity, host: Option<u16>, now: Instant) {
        let Some(cache) = config.resumption().filter(|_| !self.tag.is_empty()) else { return };
        let Agreed { session_id, suite, max_fragment_length, .. } = self.agreed;
        // One that was resumed is there already, unless it has a new ticket.
        if self.resumed && self.ticket.is_empty() {
            return;
        }
        if session_id.is_empty() && self.ticket.is_empty() {
            self.tag = ResumptionTag::EMPTY;
            return;
        }
        let session = ResumableSession {
            session_id,
            ticket: self.ticket,
            ticket_lifetime: self.ticket_lifetime,
            ticket_age_add: 0,
            received: now,
            master: self.master.secret(),
            suite,
            max_fragment_length,
            identity,
            host,
            tag: self.tag,
        };
        cache.put(&session, now);
    }

    /// Makes the current states of the pending ones. These are copies: the originals are wiped where they lie, when the
    /// handshake's state is replaced.
    pub(super) fn establish(
        &self,
        identity: Identity,
        host: Option<u16>,
        last_flight: Option<LastFlight>,
    ) -> Established {
        Established {
            identity,
            host,
            read: self.read.clone(),
            write: self.write.clone(),
            client_random: self.agreed.client_random.first_chunk().copied().unwrap_or_default(),
            last_flight,
            return_routability_check: self.agreed.return_routability_check,
            resumed: self.resumed,
            tag: self.tag,
            exporter: self.master.exporter(&self.agreed),
            #[cfg(feature = "dtls13")]
            received: crate::record::ReceivedRecords::NONE,
            #[cfg(feature = "dtls13")]
            next_seqs: [0; 2],
            #[cfg(feature = "dtls13")]
            tickets: super::Tickets::None,
        }
    }
}
