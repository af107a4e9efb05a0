//! The client's side of the DTLS 1.2 handshake (RFC 6347 §4.2, RFC 4279 §2).

use super::agreed::{Agreed, Side};
use super::client_hello::{Hello, offers};
use super::flight::Flight;
use super::keys12::PremasterSecret;
use super::pending12::Pending;
use super::{Context, Core, Credentials, Established, LastFlight, Message, State};
use crate::config::Config;
use crate::connection_id::{OwnConnectionId, PeerConnectionId};
use crate::crypto;
use crate::crypto::key_share::{KeyShare, Point};
use crate::error::{Error, PeerMisbehaved};
use crate::psk::{Identity, Psk};
use crate::resumption::{Ticket, TlsSessionId};
use crate::time::Instant;
use crate::wire::client_key_exchange::ClientKeyExchange;
use crate::wire::extension::{X25519, parse_point};
use crate::wire::finished::{Finished, VERIFY_DATA_LEN};
use crate::wire::handshake::HandshakeType;
use crate::wire::max_fragment_length::MaxFragmentLength;
use crate::wire::new_session_ticket::NewSessionTicket;
use crate::wire::record::MAX_RECORD_SIZE;
use crate::wire::server_hello::{DOWNGRADE_DTLS12, ServerHello};
use crate::wire::server_key_exchange::{EcdhParams, ServerKeyExchange};
use crate::wire::suite::CipherSuite;
use crate::wire::version::ProtocolVersion;
use crate::wire::{BufferFull, RANDOM_LEN, Writer};

/// The key that a client uses in DTLS 1.2, where it offers none to choose from: the first that it may.
pub(super) fn psk<'p>(offered: &Psk<'p>) -> Psk<'p> {
    offered.of_version(ProtocolVersion::Dtls12).next().unwrap_or(*offered)
}

impl Hello {
    /// Checks the server's choice against what was offered.
    pub(super) fn accept12(
        &self,
        config: &Config<'_>,
        psk: &Psk<'_>,
        hello: &ServerHello<'_>,
    ) -> Result<ServerHelloSeen, Error> {
        // Once it has asked for another hello in DTLS 1.3, it speaks that.
        if !offers(config, psk, ProtocolVersion::Dtls12) || self.was_retried() {
            return Err(PeerMisbehaved::UnsupportedVersion.into());
        }
        if hello.random == [0; RANDOM_LEN] {
            return Err(PeerMisbehaved::ZeroRandom.into());
        }
        // A server that knows DTLS 1.3 says so here: then somebody has taken it out of the hello (RFC 8446 §4.1.3).
        if offers(config, psk, ProtocolVersion::Dtls13) && hello.random.ends_with(&DOWNGRADE_DTLS12) {
            return Err(PeerMisbehaved::Downgrade.into());
        }
        let suite = config
            .offered_suites()
            .find(|suite| suite.number() == hello.cipher_suite && suite.version() == ProtocolVersion::Dtls12)
            .ok_or(PeerMisbehaved::SelectedUnofferedSuite)?;
        if hello.compression_method != 0 {
            return Err(PeerMisbehaved::Compression.into());
        }
        if hello.extensions.renegotiated_connection {
            return Err(PeerMisbehaved::Renegotiation.into());
        }
        let (offered, answer) = (self.extensions(config, psk), hello.extensions);
        if !answer.are_offered_by(&offered) {
            return Err(PeerMisbehaved::UnofferedExtension.into());
        }
        if config.requires_extended_master_secret() && !answer.extended_master_secret {
            return Err(PeerMisbehaved::NoExtendedMasterSecret.into());
        }
        // The length is echoed or left out (RFC 6066 §4), and never stands beside a limit (RFC 8449 §5).
        let mut length = answer.max_fragment_length;
        if length.is_some() && (length != offered.max_fragment_length || answer.record_size_limit.is_some()) {
            return Err(PeerMisbehaved::WrongSizeLimit.into());
        }
        let peer_connection_id = PeerConnectionId::new(answer.connection_id.unwrap_or_default())
            .ok_or(PeerMisbehaved::ConnectionIdTooLong)?;
        // Without an answer to it, the extension has no effect in either direction.
        let own_connection_id = match answer.connection_id {
            Some(_) => self.random.connection_id,
            None => OwnConnectionId::EMPTY,
        };
        if self.offer.is_taken_by(hello.session_id) && answer.record_size_limit.is_none() {
            // That of the session is still in force, and not said again (RFC 6066 §1.1).
            length = length.or(self.offer.max_fragment_length);
        }
        let fragment = length.map_or(MAX_RECORD_SIZE, MaxFragmentLength::len);
        // A server that does not answer the signal is let through, as RFC 5746 §4.1 allows: tinydtls and others do not
        // know it, and this client never renegotiates, which is what the splice would need.
        let agreed = Agreed {
            client_random: self.random.random,
            server_random: hello.random,
            suite,
            forward_secrecy: suite.has_forward_secrecy(),
            extended_master_secret: answer.extended_master_secret,
            own_connection_id,
            return_routability_check: answer.return_routability_check && answer.connection_id.is_some(),
            send_limit: answer.record_size_limit.unwrap_or(fragment).min(MAX_RECORD_SIZE),
            receive_limit: match answer.record_size_limit {
                Some(_) => offered.record_size_limit.unwrap_or(fragment),
                None => fragment,
            },
            max_fragment_length: length,
            session_id: TlsSessionId::new(hello.session_id).unwrap_or(TlsSessionId::EMPTY),
        };
        let ticket_awaited = answer.session_ticket.is_some();
        Ok(ServerHelloSeen {
            hello: *self,
            agreed,
            peer_connection_id,
            ticket_awaited,
            server_key_exchange_seen: false,
            point: None,
        })
    }
}

/// A client that has the ServerHello. It keeps its own hello, to repeat it while the rest of the flight is missing.
#[derive(Clone, Copy)]
pub(super) struct ServerHelloSeen {
    pub(super) hello: Hello,
    agreed: Agreed,
    peer_connection_id: PeerConnectionId,
    ticket_awaited: bool,
    server_key_exchange_seen: bool,
    /// The server's ephemeral key.
    point: Option<Point>,
}

impl ServerHelloSeen {
    pub(super) const fn suite(&self) -> CipherSuite {
        self.agreed.suite
    }

    /// Whether the server resumes the session that it was offered.
    fn is_resumed(&self) -> bool {
        self.hello.offer.is_taken_by(self.agreed.session_id.as_bytes())
    }
}

/// The server's ephemeral key, if it is on the group that was offered (RFC 8422 §5.4).
fn point_on_our_group(params: EcdhParams<'_>) -> Result<Point, Error> {
    if params.group != X25519 {
        return Err(PeerMisbehaved::WrongGroup.into());
    }
    Ok(parse_point(params.point)?)
}

/// Writes the body of the ClientKeyExchange.
pub(super) fn emit_key_exchange(
    context: &Context<'_>,
    suite: CipherSuite,
    key_share: &KeyShare,
    w: &mut Writer<'_>,
) -> Result<(), BufferFull> {
    let point = suite.has_forward_secrecy().then(|| *key_share.public());
    match context.credentials {
        Credentials::Client(offered) => {
            ClientKeyExchange { psk_identity: psk(offered).identity(), point }.emit(w)
        }
        Credentials::Server(_) => Err(BufferFull),
    }
}

impl Core {
    /// The server speaks DTLS 1.2.
    pub(super) fn on_server_hello12(
        &mut self,
        context: &Context<'_>,
        psk: &Psk<'_>,
        hello: &ServerHello<'_>,
        message: &Message<'_>,
        now: Instant,
    ) -> Result<(), Error> {
        let State::ClientAwaitsServerHello(offered) = &self.state else { return Ok(()) };
        let seen = offered.accept12(context.config, psk, hello)?;
        // Neither a HelloVerifyRequest nor the hello before it is part of the transcript (RFC 6347 §4.2.1).
        self.begin_transcript(context, ProtocolVersion::Dtls12, false)?;
        self.add_to_transcript(message);
        if seen.is_resumed() || !seen.suite().has_forward_secrecy() {
            self.key_share.wipe();
        }
        if seen.is_resumed() {
            return self.resume_as_client(context, &seen, now);
        }
        // It would not take the session the next time either.
        context.config.forget_session(&seen.hello.offer.tag);
        self.state = State::ClientAwaitsServerHelloDone(seen);
        Ok(())
    }

    /// What a client does with a message behind the ServerHello.
    pub(super) fn on_server_message12(
        &mut self,
        context: &Context<'_>,
        psk: &Psk<'_>,
        message: &Message<'_>,
        now: Instant,
    ) -> Result<Option<Established>, Error> {
        match (&mut self.state, message.msg_type) {
            (State::ClientAwaitsServerHelloDone(seen), HandshakeType::ServerKeyExchange)
                if !seen.server_key_exchange_seen =>
            {
                // A hint helps to choose among several identities. This client has one, and knows it (RFC 4279 §5.2).
                let with_params = seen.agreed.suite.has_forward_secrecy();
                let params = ServerKeyExchange::parse(message.body, with_params)?.params;
                seen.point = params.filter(|_| with_params).map(point_on_our_group).transpose()?;
                seen.server_key_exchange_seen = true;
                self.add_to_transcript(message);
            }
            (State::ClientAwaitsServerHelloDone(seen), HandshakeType::ServerHelloDone) => {
                if !message.body.is_empty() {
                    return Err(crate::wire::InvalidMessage::TrailingData.into());
                }
                let ServerHelloSeen { agreed, peer_connection_id, ticket_awaited, point, .. } = *seen;
                self.add_to_transcript(message);
                let premaster = if agreed.suite.has_forward_secrecy() {
                    self.agree(psk, point)?
                } else {
                    PremasterSecret::psk(psk.key())
                };
                let pending = Pending { ticket_awaited, ..Pending::new(agreed, peer_connection_id) };
                self.exchange_keys(context, &premaster, psk, pending, now)?;
            }
            (State::ClientAwaitsFinished(pending), HandshakeType::NewSessionTicket)
                if pending.ticket_awaited =>
            {
                let NewSessionTicket { lifetime_hint, ticket } = NewSessionTicket::parse(message.body)?;
                pending.ticket_awaited = false;
                if !ticket.is_empty() {
                    // One that is too long is not kept. The id is good for nothing beside any (RFC 5077 §3.4).
                    pending.ticket = Ticket::new(ticket).unwrap_or(Ticket::EMPTY);
                    pending.ticket_lifetime = lifetime_hint;
                    pending.agreed.session_id = TlsSessionId::EMPTY;
                }
                self.add_to_transcript(message);
            }
            (State::ClientAwaitsFinished(pending), HandshakeType::Finished) if !pending.ticket_awaited => {
                let finished = Finished::<VERIFY_DATA_LEN>::parse(message.body)?;
                let expected = pending.master.verify_data(Side::Server, &self.transcript);
                if !crypto::equal(&finished.verify_data, &expected) {
                    return Err(PeerMisbehaved::WrongVerifyData.into());
                }
                // The server has all of this side's messages, or it could not have finished. In an abbreviated handshake, it
                // is yet to get the last ones.
                let last_flight = pending.resumed.then(|| {
                    self.transcript.add(message.msg_type, message.message_seq, message.body);
                    LastFlight::Dtls12 {
                        plain: self.plain,
                        message_seq: self.flight.next_seq(),
                        verify_data: pending.master.verify_data(Side::Client, &self.transcript),
                    }
                });
                let identity = Identity::new(psk.identity()).ok_or(Error::IdentityTooLong)?;
                pending.keep(context.config, identity, None, now);
                let established = pending.establish(identity, None, last_flight);
                self.state = State::OVER;
                return Ok(Some(established));
            }
            _ => return Err(PeerMisbehaved::UnexpectedMessage.into()),
        }
        Ok(None)
    }

    /// The server goes on with the session that it was offered (RFC 5246 §7.3): what it sends next, it sends under new keys,
    /// but for a ticket.
    fn resume_as_client(
        &mut self,
        context: &Context<'_>,
        seen: &ServerHelloSeen,
        now: Instant,
    ) -> Result<(), Error> {
        let ServerHelloSeen { hello, agreed, peer_connection_id, ticket_awaited, .. } = seen;
        if !agreed.extended_master_secret {
            return Err(PeerMisbehaved::NoExtendedMasterSecret.into());
        }
        let mut offered = None;
        if let Some(cache) = context.config.resumption() {
            cache.last(now, &mut |session| {
                offered =
                    Some(session.suite).filter(|_| session.tag.as_bytes() == hello.offer.tag.as_bytes());
            });
        }
        // The cache may have forgotten it meanwhile.
        if offered.ok_or(Error::ResumptionFailed)? != agreed.suite {
            return Err(PeerMisbehaved::SelectedUnofferedSuite.into());
        }
        self.state = State::ClientAwaitsFinished(Pending {
            resumed: true,
            ticket_awaited: *ticket_awaited,
            tag: hello.offer.tag,
            ..Pending::new(*agreed, *peer_connection_id)
        });
        if let (Some(pending), Some(cache)) = (self.state.pending(), context.config.resumption()) {
            pending.resume(context, Side::Client, |lend| cache.last(now, lend))?;
        }
        // The hello was answered, and the server repeats the rest by itself. The Finished has the next number.
        self.flight = Flight::new(&[], self.flight.next_seq());
        Ok(())
    }

    /// What the master secret comes from in a suite with ephemeral keys.
    fn agree(&mut self, psk: &Psk<'_>, point: Option<Point>) -> Result<PremasterSecret, Error> {
        // Such a suite is nothing without the server's ephemeral key.
        let point = point.ok_or(PeerMisbehaved::UnexpectedMessage)?;
        self.key_share.begin();
        let shared = self.key_share.agree(&point)?;
        Ok(PremasterSecret::ecdhe_psk(&shared, psk.key()))
    }

    /// Answers the ServerHelloDone: ClientKeyExchange, ChangeCipherSpec, Finished.
    fn exchange_keys(
        &mut self,
        context: &Context<'_>,
        premaster: &PremasterSecret,
        psk: &Psk<'_>,
        pending: Pending,
        now: Instant,
    ) -> Result<(), Error> {
        // The client's messages are numbered on from the ClientHello that the server answered.
        let seq = self.flight.next_seq();
        self.start_flight(context, &[HandshakeType::ClientKeyExchange, HandshakeType::Finished], seq, now)?;
        self.state = State::ClientAwaitsFinished(pending);
        if let Some(pending) = self.state.pending() {
            let Pending { agreed, master, tag, .. } = pending;
            master.derive(context, agreed, premaster, &self.transcript);
            *tag = master.tag(context.config, agreed, psk.key());
            pending.make_keys(Side::Client);
            pending.verify_data = pending.master.verify_data(Side::Client, &self.transcript);
            self.transcript.add(HandshakeType::Finished, seq.saturating_add(1), &pending.verify_data);
        }
        Ok(())
    }
}
