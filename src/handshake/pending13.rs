//! What both sides of a DTLS 1.3 handshake have from the ServerHello on, until the peer's Finished: the keys of epoch 2, and the
//! secrets that those of the session come from (RFC 8446 §7.1).

use super::agreed::{Agreed, Side};
use super::transcript::Transcript;
use super::{Context, Established, LastFlight, Tickets};
use crate::config::Config;
use crate::connection_id::PeerConnectionId;
use crate::crypto::exporter::Exporter;
use crate::crypto::key_schedule::{self, Secret, derive_secret, no_secret};
use crate::psk::Identity;
use crate::record::{ReadState, ReceivedRecords, WriteState};
use crate::resumption::{ResumableSession, ResumptionTag, SESSION_LIFETIME};
use crate::time::Instant;
use crate::wire::finished::VERIFY_DATA13_LEN;

/// The epoch of the messages that are encrypted in a handshake (RFC 9147 §6.1).
pub(crate) const EPOCH: u64 = 2;

/// The nonce of the one ticket that a server hands out in a session.
pub(crate) const TICKET_NONCE: &[u8] = &[0];

/// For how many seconds a client may use the ticket: a day, like a session of DTLS 1.2.
pub(crate) const TICKET_LIFETIME: u32 = SESSION_LIFETIME.as_secs() as u32;

/// The first epoch of a session (RFC 9147 §6.1).
const APPLICATION_EPOCH: u64 = 3;

pub(super) struct Pending {
    pub(super) agreed: Agreed,
    pub(super) read: ReadState,
    pub(super) write: WriteState,
    /// The secret of the schedule: the Early Secret until both sides' keys are combined, then the Main Secret.
    pub(super) secret: Secret,
    /// That of this side's Finished.
    pub(super) verify_data: [u8; VERIFY_DATA13_LEN],
    pub(super) resumed: bool,
    pub(super) tag: ResumptionTag,
}

impl Pending {
    /// Pending states without their secrets, which are made when the states are where they stay.
    pub(super) fn new(agreed: Agreed, peer_connection_id: PeerConnectionId) -> Self {
        let Agreed { suite, own_connection_id, send_limit, receive_limit, .. } = agreed;
        Self {
            agreed,
            read: ReadState::new(suite, EPOCH, own_connection_id, receive_limit),
            write: WriteState::new(suite, EPOCH, peer_connection_id, send_limit),
            secret: no_secret(),
            verify_data: [0; VERIFY_DATA13_LEN],
            resumed: false,
            tag: ResumptionTag::EMPTY,
        }
    }

    /// Makes the keys of epoch 2 of the Early Secret and of what the ephemeral keys agree on, if there are any, once the transcript
    /// ends with the ServerHello.
    pub(super) fn derive(
        &mut self,
        context: &Context<'_>,
        side: Side,
        shared: &[u8],
        transcript: &Transcript,
    ) {
        let mut handshake = no_secret();
        key_schedule::handshake_secret(&self.secret, shared, &mut handshake);
        let hash = transcript.hash();
        let (client, server) = match side {
            Side::Client => (self.write.secret_mut(), self.read.secret_mut()),
            Side::Server => (self.read.secret_mut(), self.write.secret_mut()),
        };
        derive_secret(&handshake, b"c hs traffic", &hash, client);
        derive_secret(&handshake, b"s hs traffic", &hash, server);
        log_secret(context, "CLIENT_HANDSHAKE_TRAFFIC_SECRET", &self.agreed, client);
        log_secret(context, "SERVER_HANDSHAKE_TRAFFIC_SECRET", &self.agreed, server);
        self.read.derive_key();
        self.write.derive_key();
        key_schedule::master_secret(&handshake, &mut self.secret);
    }

    /// The `verify_data` of this side's Finished behind the transcript.
    pub(super) fn own_verify_data(&self, transcript: &Transcript) -> [u8; VERIFY_DATA13_LEN] {
        key_schedule::verify_data(self.write.secret(), &transcript.hash())
    }

    /// The `verify_data` that the peer's Finished must have behind the transcript.
    pub(super) fn peer_verify_data(&self, transcript: &Transcript) -> [u8; VERIFY_DATA13_LEN] {
        key_schedule::verify_data(self.read.secret(), &transcript.hash())
    }

    /// Makes the state that this side writes with in the session, once the transcript ends with the server's Finished.
    pub(super) fn session_write(&self, side: Side, transcript: &Transcript) -> WriteState {
        let mut write = self.write.clone();
        write.begin(APPLICATION_EPOCH, self.agreed.send_limit);
        derive_secret(&self.secret, traffic_label(side), &transcript.hash(), write.secret_mut());
        write.derive_key();
        write
    }

    /// Makes the states of the session, once the transcript ends with the server's Finished.
    pub(super) fn establish(
        &self,
        context: &Context<'_>,
        side: Side,
        peer: (Identity, Option<u16>),
        transcript: &Transcript,
        last_flight: LastFlight,
        next_seqs: [u16; 2],
    ) -> Established {
        let hash = transcript.hash();
        let mut write = self.session_write(side, transcript);
        let mut read = self.read.clone();
        read.begin(APPLICATION_EPOCH, self.agreed.receive_limit);
        derive_secret(&self.secret, traffic_label(side.peer()), &hash, read.secret_mut());
        read.derive_key();
        let (client, server) = match side {
            Side::Client => (write.secret_mut(), read.secret_mut()),
            Side::Server => (read.secret_mut(), write.secret_mut()),
        };
        log_secret(context, "CLIENT_TRAFFIC_SECRET_0", &self.agreed, client);
        log_secret(context, "SERVER_TRAFFIC_SECRET_0", &self.agreed, server);
        let mut exporter_master = no_secret();
        if cfg!(any(feature = "exporter", feature = "keylog")) {
            derive_secret(&self.secret, b"exp master", &hash, &mut exporter_master);
            log_secret(context, "EXPORTER_SECRET", &self.agreed, &exporter_master);
        }
        let (identity, host) = peer;
        Established {
            identity,
            host,
            read,
            write,
            client_random: self.agreed.client_random.first_chunk().copied().unwrap_or_default(),
            last_flight: Some(last_flight),
            return_routability_check: self.agreed.return_routability_check,
            resumed: self.resumed,
            tag: self.tag,
            exporter: Some(Exporter::of_exporter_master(&exporter_master)),
            received: ReceivedRecords::NONE,
            next_seqs,
            tickets: Tickets::None,
        }
    }

    /// What the keys of tickets are made of, once the transcript ends with the client's Finished.
    pub(super) fn resumption_master(&self, transcript: &Transcript) -> Secret {
        let mut resumption_master = no_secret();
        derive_secret(&self.secret, b"res master", &transcript.hash(), &mut resumption_master);
        resumption_master
    }

    /// Keeps the session for the client to come back with a ticket, if there is where to, and returns what the ticket is.
    pub(super) fn issue_ticket(
        &self,
        config: &Config<'_>,
        peer: (Identity, Option<u16>),
        transcript: &Transcript,
        now: Instant,
    ) -> Tickets {
        let Some(cache) = config.resumption().filter(|_| !self.tag.is_empty()) else { return Tickets::None };
        let mut psk = no_secret();
        key_schedule::resumption_psk(&self.resumption_master(transcript), TICKET_NONCE, &mut psk);
        // Encrypted as it was, nobody but the client knows it: as good as random to all others (RFC 8446 §4.6.1).
        let age_add = u32::from_be_bytes(self.verify_data.first_chunk().copied().unwrap_or_default());
        let ticket = self.agreed.session_id;
        let (identity, host) = peer;
        let session = ResumableSession {
            session_id: ticket,
            ticket_lifetime: TICKET_LIFETIME,
            ticket_age_add: age_add,
            received: now,
            ..ResumableSession::of_psk(&psk, self.agreed.suite, identity, host, self.tag)
        };
        cache.put(&session, now);
        Tickets::ToSend { ticket, age_add }
    }
}

/// What the first secret is called that this side writes with in a session.
const fn traffic_label(side: Side) -> &'static [u8] {
    match side {
        Side::Client => b"c ap traffic",
        Side::Server => b"s ap traffic",
    }
}

#[cfg(feature = "keylog")]
fn log_secret(context: &Context<'_>, label: &str, agreed: &Agreed, secret: &Secret) {
    if let Some(keylog) = context.config.keylog() {
        keylog.log(label, &agreed.client_random, secret.as_ref());
    }
}

#[cfg(not(feature = "keylog"))]
fn log_secret(_: &Context<'_>, _: &str, _: &Agreed, _: &Secret) {}

#[cfg(test)]
mod tests;
