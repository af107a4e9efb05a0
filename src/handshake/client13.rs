//! The client's side of the DTLS 1.3 handshake (RFC 9147 §5, RFC 8446 §4).

use super::agreed::{Agreed, Side};
use super::client_hello::{Hello, offers};
use super::flight::Flight;
use super::pending13::Pending;
use super::server::inner_type_len;
use super::transcript::Transcript;
use super::{Context, Core, Established, LastFlight, Message, State, Tickets};
use crate::config::Config;
use crate::connection_id::{OwnConnectionId, PeerConnectionId};
use crate::crypto;
use crate::error::{Error, PeerMisbehaved};
use crate::psk::{Identity, Psk};
use crate::resumption::TlsSessionId;
use crate::time::Instant;
use crate::wire::extension::{Extensions, X25519, parse_point};
use crate::wire::finished::{Finished, VERIFY_DATA13_LEN};
use crate::wire::handshake::HandshakeType;
use crate::wire::key_share::KeyShareEntry;
use crate::wire::max_fragment_length::MaxFragmentLength;
use crate::wire::record::MAX_RECORD_SIZE;
use crate::wire::server_hello::{HELLO_RETRY_REQUEST_RANDOM, ServerHello};
use crate::wire::suite::CipherSuite;
use crate::wire::version::ProtocolVersion;
use crate::wire::{RANDOM_LEN, Reader, pre_shared_key};

/// A client that has the ServerHello.
pub(super) struct Client {
    pub(super) pending: Pending,
    identity: Identity,
    encrypted_extensions_seen: bool,
}

impl Hello {
    /// The suite that the server has chosen, if it is one of those that were offered; and what every answer of a server of DTLS 1.3 has
    /// in common.
    fn accept_suite13(
        &self,
        config: &Config<'_>,
        psk: &Psk<'_>,
        hello: &ServerHello<'_>,
    ) -> Result<CipherSuite, Error> {
        // A cookie in the old field means that the server has spoken DTLS 1.2 before (RFC 9147 §5.1).
        if !offers(config, psk, ProtocolVersion::Dtls13) || self.has_followed() {
            return Err(PeerMisbehaved::UnsupportedVersion.into());
        }
        if !hello.session_id.is_empty() {
            return Err(PeerMisbehaved::SessionIdEcho.into());
        }
        if hello.compression_method != 0 {
            return Err(PeerMisbehaved::Compression.into());
        }
        let is_chosen = |suite: &CipherSuite| {
            suite.number() == hello.cipher_suite && suite.version() == ProtocolVersion::Dtls13
        };
        // The one of a HelloRetryRequest is chosen for good (RFC 8446 §4.1.4).
        let suite = config.offered_suites().find(is_chosen);
        let suite = suite.filter(|suite| self.psks.retried.is_none_or(|chosen| chosen == *suite));
        Ok(suite.ok_or(PeerMisbehaved::SelectedUnofferedSuite)?)
    }

    /// Checks a ServerHello against what was offered.
    fn accept13(&self, config: &Config<'_>, psk: &Psk<'_>, hello: &ServerHello<'_>) -> Result<Client, Error> {
        let suite = self.accept_suite13(config, psk, hello)?;
        if hello.random == [0; RANDOM_LEN] {
            return Err(PeerMisbehaved::ZeroRandom.into());
        }
        let Extensions {
            supported_versions,
            key_share,
            pre_shared_key,
            connection_id,
            return_routability_check,
            ..
        } = hello.extensions;
        check_extensions(
            &hello.extensions,
            &Extensions {
                supported_versions,
                key_share,
                pre_shared_key,
                connection_id,
                return_routability_check,
                ..Extensions::default()
            },
        )?;
        let offered =
            Extensions { supported_versions, key_share, pre_shared_key, ..self.extensions(config, psk) };
        if !hello.extensions.are_offered_by(&offered) {
            return Err(PeerMisbehaved::UnofferedExtension.into());
        }
        let forward_secrecy = key_share.is_some();
        if !config.key_exchange_modes().iter().any(|mode| mode.has_forward_secrecy() == forward_secrecy) {
            return Err(PeerMisbehaved::IllegalParameter.into());
        }
        let peer_connection_id = PeerConnectionId::new(connection_id.unwrap_or_default())
            .ok_or(PeerMisbehaved::ConnectionIdTooLong)?;
        let agreed = Agreed {
            client_random: self.random.random,
            server_random: hello.random,
            suite,
            forward_secrecy,
            #[cfg(feature = "dtls12")]
            extended_master_secret: true,
            // Without an answer to it, the extension has no effect in either direction.
            own_connection_id: connection_id.map_or(OwnConnectionId::EMPTY, |_| self.random.connection_id),
            return_routability_check: return_routability_check && connection_id.is_some(),
            send_limit: MAX_RECORD_SIZE,
            receive_limit: MAX_RECORD_SIZE,
            max_fragment_length: None,
            session_id: TlsSessionId::EMPTY,
        };
        let pending = Pending::new(agreed, peer_connection_id);
        Ok(Client { pending, identity: Identity::EMPTY, encrypted_extensions_seen: false })
    }
}

/// An extension in a message where it has no place is an `illegal_parameter` where it is known, and not offered where it is not (RFC
/// 8446 §4.2).
fn check_extensions(extensions: &Extensions<'_>, allowed: &Extensions<'_>) -> Result<(), Error> {
    if extensions.unknown {
        return Err(PeerMisbehaved::UnofferedExtension.into());
    }
    let ordered = Extensions { pre_shared_key_is_not_last: false, ..*extensions };
    if ordered == *allowed { Ok(()) } else { Err(PeerMisbehaved::IllegalParameter.into()) }
}

impl Client {
    /// Takes what the server accepts over.
    fn accept_extensions(
        &mut self,
        config: &Config<'_>,
        offered: &Extensions<'_>,
        body: &[u8],
    ) -> Result<(), Error> {
        let mut r = Reader::new(body);
        let answer = Extensions::parse_list(&mut r)?;
        r.finish()?;
        let Extensions { server_name, max_fragment_length, supported_groups, record_size_limit, .. } = answer;
        check_extensions(
            &answer,
            &Extensions {
                server_name,
                max_fragment_length,
                supported_groups,
                record_size_limit,
                ..Extensions::default()
            },
        )?;
        if !answer.are_offered_by(offered) {
            return Err(PeerMisbehaved::UnofferedExtension.into());
        }
        if max_fragment_length.is_some()
            && (max_fragment_length != config.max_fragment_length() || record_size_limit.is_some())
        {
            return Err(PeerMisbehaved::WrongSizeLimit.into());
        }
        let inner_type = inner_type_len(ProtocolVersion::Dtls13);
        let fragment = max_fragment_length.map_or(MAX_RECORD_SIZE, MaxFragmentLength::len) + inner_type;
        let agreed = &mut self.pending.agreed;
        agreed.max_fragment_length = max_fragment_length;
        agreed.send_limit = record_size_limit.unwrap_or(fragment).min(MAX_RECORD_SIZE + inner_type);
        agreed.receive_limit = match record_size_limit {
            Some(_) => config.record_size_limit().unwrap_or(fragment),
            None => fragment,
        };
        self.encrypted_extensions_seen = true;
        Ok(())
    }
}

impl Core {
    /// The server speaks DTLS 1.3.
    pub(super) fn on_server_hello13(
        &mut self,
        context: &Context<'_>,
        psk: &Psk<'_>,
        hello: &ServerHello<'_>,
        message: &Message<'_>,
        now: Instant,
    ) -> Result<(), Error> {
        if hello.random == HELLO_RETRY_REQUEST_RANDOM {
            return self.on_hello_retry_request(context, psk, hello, message, now);
        }
        let State::ClientAwaitsServerHello(offered) = &self.state else { return Ok(()) };
        let mut client = offered.accept13(context.config, psk, hello)?;
        let selected = hello.extensions.pre_shared_key.ok_or(PeerMisbehaved::MissingExtension)?;
        let selected = pre_shared_key::selected_identity(selected)?;
        let point = hello.extensions.key_share.map(KeyShareEntry::parse).transpose()?;
        if point.is_some_and(|entry| entry.group != X25519) {
            return Err(PeerMisbehaved::WrongGroup.into());
        }
        // After a HelloRetryRequest, it has begun already.
        let was_retried = offered.was_retried();
        self.begin_transcript(context, ProtocolVersion::Dtls13, was_retried)?;
        self.add_to_transcript(message);
        if let State::ClientAwaitsServerHello(offered) = &self.state {
            let chosen = offered.select(context, psk, selected, now, &mut client.pending.secret)?;
            (client.identity, client.pending.resumed) = (chosen.identity, chosen.resumed);
            // A session that the server did not take, it would not take the next time either; and a ticket is used once (RFC 8446
            // appendix C.4).
            context.config.forget_session(&offered.offer.tag);
        }
        // What can go wrong has to do so here: from the next line on, alerts go out under the keys.
        let shared =
            point.map(|entry| self.key_share.agree(&parse_point(entry.key_exchange)?)).transpose()?;
        self.key_share.wipe();
        self.state = State::Client13(client);
        let State::Client13(client) = &mut self.state else { return Ok(()) };
        let shared = shared.as_ref().map_or(&[][..], |shared| shared.as_ref());
        client.pending.derive(context, Side::Client, shared, &self.transcript);
        self.acks.clear();
        self.flight = Flight::new(&[], self.flight.next_seq());
        self.timer.restart(context.config, now);
        Ok(())
    }

    /// The server asks to say hello once more, with its cookie (RFC 8446 §4.1.4).
    fn on_hello_retry_request(
        &mut self,
        context: &Context<'_>,
        psk: &Psk<'_>,
        request: &ServerHello<'_>,
        message: &Message<'_>,
        now: Instant,
    ) -> Result<(), Error> {
        let State::ClientAwaitsServerHello(offered) = &self.state else { return Ok(()) };
        if offered.was_retried() {
            return Err(PeerMisbehaved::UnexpectedMessage.into());
        }
        let suite = offered.accept_suite13(context.config, psk, request)?;
        let Extensions { supported_versions, cookie, .. } = request.extensions;
        // The one group that was offered has its key in the hello already, so there is no other to ask for.
        check_extensions(
            &request.extensions,
            &Extensions { supported_versions, cookie, ..Extensions::default() },
        )?;
        // It has to change something (RFC 8446 §4.1.4).
        let cookie = cookie.ok_or(PeerMisbehaved::IllegalParameter)?;
        self.begin_transcript(context, ProtocolVersion::Dtls13, false)?;
        self.transcript = Transcript::after_hello(&self.transcript.hash());
        self.add_to_transcript(message);
        let State::ClientAwaitsServerHello(hello) = &mut self.state else { return Ok(()) };
        hello.retry(suite, cookie)?;
        let before = self.transcript.clone();
        self.offer13(context, psk, Some(&before), now)?;
        let seq = self.flight.next_seq();
        self.start_flight(context, &[HandshakeType::ClientHello], seq, now)
    }

    /// What a client does with a message behind the ServerHello.
    pub(super) fn on_server_message13(
        &mut self,
        context: &Context<'_>,
        message: &Message<'_>,
    ) -> Result<Option<Established>, Error> {
        let State::Client13(client) = &mut self.state else { return Ok(None) };
        match (client.encrypted_extensions_seen, message.msg_type) {
            (false, HandshakeType::EncryptedExtensions) => {
                let offered = client_offer(context.config);
                client.accept_extensions(context.config, &offered, message.body)?;
                self.add_to_transcript(message);
                Ok(None)
            }
            (true, HandshakeType::Finished) => {
                let finished = Finished::<VERIFY_DATA13_LEN>::parse(message.body)?;
                let expected = client.pending.peer_verify_data(&self.transcript);
                if !crypto::equal(&finished.verify_data, &expected) {
                    return Err(PeerMisbehaved::WrongVerifyData.into());
                }
                self.transcript.add(message.msg_type, message.message_seq, message.body);
                let State::Client13(client) = &mut self.state else { return Ok(None) };
                let pending = &client.pending;
                let (message_seq, verify_data) =
                    (self.flight.next_seq(), pending.own_verify_data(&self.transcript));
                let last_flight = LastFlight::Finished {
                    secret: pending.write.secret().clone(),
                    next: pending.write.sealed(),
                    message_seq,
                    verify_data,
                };
                let next_seqs = [message_seq.wrapping_add(1), message.message_seq.wrapping_add(1)];
                let peer = (client.identity, None);
                let mut established =
                    pending.establish(context, Side::Client, peer, &self.transcript, last_flight, next_seqs);
                if context.config.resumption().is_some() {
                    self.transcript.add(HandshakeType::Finished, message_seq, &verify_data);
                    let resumption_master = pending.resumption_master(&self.transcript);
                    established.tickets = Tickets::Awaited { resumption_master };
                }
                self.state = State::OVER;
                Ok(Some(established))
            }
            _ => Err(PeerMisbehaved::UnexpectedMessage.into()),
        }
    }
}

/// What a server may answer in its EncryptedExtensions.
fn client_offer<'c>(config: &'c Config<'_>) -> Extensions<'c> {
    Extensions {
        server_name: config.server_name().map(str::as_bytes),
        max_fragment_length: config.max_fragment_length(),
        record_size_limit: config.record_size_limit(),
        supported_groups: config.wants_forward_secrecy().then_some(&[]),
        ..Extensions::default()
    }
}
