//! What a handshake does with records and messages, whichever role it has.

#[cfg(feature = "dtls12")]
use super::CHANGE_CIPHER_SPEC;
use super::{Context, Core, Credentials, Established, Message, State, Taken};
use crate::config::Config;
use crate::error::{Error, PeerMisbehaved};
use crate::log::debug;
use crate::record::Dropped;
use crate::stats::Stats;
use crate::time::Instant;
#[cfg(feature = "dtls13")]
use crate::wire::ack::Ack;
use crate::wire::alert::Alert;
use crate::wire::handshake::{Fragment, HandshakeType};
#[cfg(feature = "dtls12")]
use crate::wire::record::ContentType;
use crate::wire::record::{Header, RecordNumber};
use crate::wire::version::ProtocolVersion;

impl Core {
    /// A message that was here already. When it ends the peer's flight, the peer is missing ours (RFC 6347 §4.2.4).
    pub(super) fn on_repeated(
        &mut self,
        config: &Config<'_>,
        fragment: &Fragment<'_>,
        now: Instant,
        stats: &mut Stats,
    ) {
        let _ = (config, now, &stats);
        match (&mut self.state, HandshakeType::from_number(fragment.msg_type)) {
            #[cfg(feature = "dtls12")]
            (State::ClientAwaitsFinished(_), Some(HandshakeType::ServerHelloDone)) => {
                self.on_missed(config, now, stats);
            }
            #[cfg(feature = "dtls12")]
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

    #[cfg(feature = "dtls12")]
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
            Ok(alert) if alert.ends_association(ProtocolVersion::Dtls12) => {
                debug!("<- Alert {:?}, not authenticated", alert.description);
                self.remembered = Some(alert.description);
            }
            Ok(_) => {}
            Err(_) => Stats::count(&mut stats.dropped),
        }
    }

    /// A record under keys was dropped.
    pub(super) fn on_unopened(
        &mut self,
        config: &Config<'_>,
        header: &Header<'_>,
        reason: Dropped,
        now: Instant,
        stats: &mut Stats,
    ) -> Result<(), Error> {
        reason.count(stats);
        match (&mut self.state, header) {
            // What is no alert may have been the Finished.
            #[cfg(feature = "dtls12")]
            (State::Server(server), Header::Full(header))
                if reason == Dropped::Forged && header.content_type != ContentType::Alert =>
            {
                server.on_unopened(header.sequence_number)
            }
            // The ServerHello, with which it could be read, may be lost: an empty ACK has the server send all again soon (RFC 9147
            // §7.1).
            #[cfg(feature = "dtls13")]
            (State::ClientAwaitsServerHello(_), Header::Unified(_)) => {
                self.acks.expect_more(config, now);
                Ok(())
            }
            _ => {
                let _ = (config, now);
                Ok(())
            }
        }
    }

    /// The messages of a record have been dealt with.
    #[cfg(not(feature = "dtls13"))]
    pub(super) const fn on_taken(&self, _: &Config<'_>, _: RecordNumber, _: Taken, _: Instant) {}

    pub(super) fn on_message(
        &mut self,
        context: &Context<'_>,
        message: &Message<'_>,
        now: Instant,
    ) -> Result<Option<Established>, Error> {
        let established = match context.credentials {
            Credentials::Client(psk) => self.on_server_message(context, psk, message, now)?,
            Credentials::Server(store) => match self.state {
                #[cfg(feature = "dtls12")]
                State::Server(_) => self.on_client_message(context, store, message, now)?,
                #[cfg(feature = "dtls13")]
                State::Server13(_) => self.on_client_message13(context, message, now)?,
                _ => {
                    let _ = store;
                    return Err(PeerMisbehaved::UnexpectedMessage.into());
                }
            },
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
            #[cfg(feature = "dtls12")]
            State::ClientAwaitsFinished(_) => Error::NoAnswerToKeyExchange,
            #[cfg(feature = "dtls12")]
            State::Server(server) if server.has_failed() => Error::AuthenticationFailed,
            _ => Error::HandshakeTimeout,
        }
    }
}

/// An alert under the new keys, before the Finished: the peer that sent it holds the key, and gives up.
pub(super) fn on_authenticated_alert(
    version: ProtocolVersion,
    body: &[u8],
    stats: &mut Stats,
) -> Result<(), Error> {
    match Alert::parse(body) {
        Ok(alert) if alert.ends_association(version) => Err(Error::AlertReceived(alert.description)),
        Ok(_) => Ok(()),
        Err(_) => {
            Stats::count(&mut stats.dropped);
            Ok(())
        }
    }
}

#[cfg(feature = "dtls13")]
impl Core {
    /// The messages of a record have been dealt with. Where the rest of their flight is yet to come, the peer may have to be told which
    /// of them are here (RFC 9147 §7.1).
    pub(super) fn on_taken(&mut self, config: &Config<'_>, number: RecordNumber, taken: Taken, now: Instant) {
        let may_acknowledge = match &self.state {
            State::Client13(_) => true,
            // All that a client says in the clear is its hello, which the flight answers.
            State::Server13(_) => number.epoch > 0,
            // A part of a ServerHello, which may yet turn out to be one of DTLS 1.2, where nobody knows of ACKs.
            _ => false,
        };
        // What is of no use says nothing about what else is here.
        if !may_acknowledge || taken == Taken::NotAll {
            return;
        }
        if taken == Taken::All {
            self.acks.add(number);
        }
        // What comes in the clear may come from anybody, and makes nothing happen at once.
        if taken == Taken::OutOfOrder && number.epoch > 0 {
            self.acks.on_gap();
        }
        self.acks.expect_more(config, now);
    }

    /// The peer has these records of the flight: what is missing goes out again (RFC 9147 §7.2).
    pub(super) fn on_ack(&mut self, config: &Config<'_>, body: &[u8], now: Instant, stats: &mut Stats) {
        let Ok(ack) = Ack::parse(body) else {
            Stats::count(&mut stats.dropped);
            return;
        };
        debug!("<- ACK of {} records", ack.iter().count());
        let is_news = ack.iter().fold(false, |is_news, number| self.flight.acknowledge(number) | is_news);
        if is_news {
            self.timer.restart(config, now);
            self.repeat_flight(stats);
        } else {
            self.on_missed(config, now, stats);
        }
    }

    /// An ACK that anybody may have sent. It is taken for a sign that something is missing, as one is that a peer sends who could not
    /// read any record yet, and no more than that: what it says to be there may not be.
    pub(super) fn on_plaintext_ack(
        &mut self,
        config: &Config<'_>,
        body: &[u8],
        now: Instant,
        stats: &mut Stats,
    ) {
        match (Ack::parse(body), &self.state) {
            (Ok(_), State::Server13(_)) => self.on_missed(config, now, stats),
            _ => Stats::count(&mut stats.dropped),
        }
    }
}
