//! What a handshake does with records and messages, whichever role it has.

use super::{CHANGE_CIPHER_SPEC, Context, Core, Credentials, Established, Message, State};
use crate::config::Config;
use crate::error::Error;
use crate::log::debug;
use crate::record::{Dropped, Opened};
use crate::stats::Stats;
use crate::time::Instant;
use crate::wire::alert::Alert;
use crate::wire::handshake::{Fragment, HandshakeType};
use crate::wire::record::{ContentType, RecordHeader};

impl Core {
    /// A message that was here already. When it ends the peer's flight, the peer is missing ours (RFC 6347 §4.2.4).
    pub(super) fn on_repeated(
        &mut self,
        config: &Config<'_>,
        fragment: &Fragment<'_>,
        now: Instant,
        stats: &mut Stats,
    ) {
        match (&mut self.state, HandshakeType::from_number(fragment.msg_type)) {
            (State::ClientAwaitsFinished(_), Some(HandshakeType::ServerHelloDone)) => {
                self.on_missed(config, now, stats);
            }
            (State::Server(server), Some(HandshakeType::ClientKeyExchange)) => {
                server.on_repeated_flight();
            }
            _ => {}
        }
    }

    /// The peer is missing the last flight.
    pub(super) fn on_missed(&mut self, config: &Config<'_>, now: Instant, stats: &mut Stats) {
        if self.timer.repeat(config, now) {
            self.repeat_flight(stats);
        }
    }

    pub(super) fn on_change_cipher_spec(&mut self, body: &[u8], stats: &mut Stats) {
        match self.state.pending() {
            Some(pending) if body == CHANGE_CIPHER_SPEC => {
                debug!("<- ChangeCipherSpec");
                pending.change_cipher_spec_seen = true;
            }
            // Before there are keys to change to, it is early or forged (CVE-2014-0224, CVE-2017-7243).
            _ => Stats::count(&mut stats.dropped),
        }
    }

    pub(super) fn on_plaintext_alert(&mut self, body: &[u8], stats: &mut Stats) {
        match Alert::parse(body) {
            Ok(alert) if alert.ends_association() => {
                debug!("<- Alert {:?}, not authenticated", alert.description);
                self.remembered = Some(alert.description);
            }
            Ok(_) => {}
            Err(_) => Stats::count(&mut stats.dropped),
        }
    }

    /// Opens a record under the pending keys, which the peer may use from its ChangeCipherSpec on.
    pub(super) fn open<'d>(
        &mut self,
        context: &Context<'_>,
        header: &RecordHeader<'_>,
        body: &'d mut [u8],
    ) -> Result<Opened<'d>, Dropped> {
        let pending = self.state.pending().filter(|pending| pending.change_cipher_spec_seen);
        let pending = pending.ok_or(Dropped::Unexpected)?;
        pending.read.open(context.config.crypto(), header, body)
    }

    /// The record that should be the Finished was dropped.
    pub(super) fn on_unopened(
        &mut self,
        header: &RecordHeader<'_>,
        reason: Dropped,
        stats: &mut Stats,
    ) -> Result<(), Error> {
        reason.count(stats);
        // What is no alert may have been the Finished.
        match (&mut self.state, reason) {
            (State::Server(server), Dropped::Forged) if header.content_type != ContentType::Alert => {
                server.on_unopened(header.sequence_number)
            }
            _ => Ok(()),
        }
    }

    pub(super) fn on_message(
        &mut self,
        context: &Context<'_>,
        message: &Message<'_>,
        now: Instant,
    ) -> Result<Option<Established>, Error> {
        let established = match context.credentials {
            Credentials::Client(psk) => self.on_server_message(context, psk, message, now)?,
            Credentials::Server(store) => self.on_client_message(context, store, message, now)?,
        };
        self.next_receive_seq = message.message_seq.saturating_add(1);
        // The peer goes on, so the alert was not from it.
        self.remembered = None;
        Ok(established)
    }

    /// What it means that the deadline passed in this state.
    pub(super) fn silence(&self) -> Error {
        match &self.state {
            State::ClientAwaitsServerHello(hello) if !hello.was_answered() => Error::NoAnswer,
            State::ClientAwaitsFinished(_) => Error::NoAnswerToKeyExchange,
            State::Server(server) if server.has_failed() => Error::AuthenticationFailed,
            _ => Error::HandshakeTimeout,
        }
    }
}

/// An alert under the new keys, before the Finished: the peer that sent it holds the key, and gives up.
pub(super) fn on_authenticated_alert(body: &[u8], stats: &mut Stats) -> Result<(), Error> {
    match Alert::parse(body) {
        Ok(alert) if alert.ends_association() => Err(Error::AlertReceived(alert.description)),
        Ok(_) => Ok(()),
        Err(_) => {
            Stats::count(&mut stats.dropped);
            Ok(())
        }
    }
}
