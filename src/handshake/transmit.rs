//! What a handshake sends: flights, encoded from its state, and the alert that ends it.

use super::client_hello::{self, Hello};
use super::flight::{self, Flight};
use super::transcript::Transcript;
use super::{Context, Core, Credentials, State};
#[cfg(feature = "dtls12")]
use super::{client12, finished12, server12};
use crate::crypto::key_share::POINT_LEN;
use crate::error::Error;
use crate::log::debug;
use crate::psk::MAX_IDENTITY_LEN;
use crate::stats::Stats;
use crate::time::Instant;
use crate::wire::alert::Alert;
use crate::wire::handshake::{self, HandshakeType};
use crate::wire::record::{self, ContentType};
use crate::wire::version::ProtocolVersion;
use crate::wire::{BufferFull, Writer};

/// Longest body in bytes of a message that this crate sends.
pub(super) const MAX_OUTGOING: usize = client_hello::MAX_HELLO_LEN;

/// Length in bytes of what a key exchange has behind an identity or a hint: curve type, group, and a point behind its length.
const ECDH_PARAMS_LEN: usize = 1 + 2 + 1 + POINT_LEN;

const _: () = assert!(
    MAX_OUTGOING >= 2 + MAX_IDENTITY_LEN + ECDH_PARAMS_LEN,
    "the longest identity fits, with an ephemeral key"
);

impl Core {
    /// Makes `messages` the flight to send, and adds them to the transcript; but for a ClientHello, as the server has to say first
    /// what form it takes there.
    pub(super) fn start_flight(
        &mut self,
        context: &Context<'_>,
        messages: &'static [HandshakeType],
        first_seq: u16,
        now: Instant,
    ) -> Result<(), Error> {
        self.flight = Flight::new(messages, first_seq);
        self.timer.restart(context.config, now);
        for (message, seq) in self.flight.numbered() {
            // The derivation of the keys has added the Finished already.
            if !matches!(message, HandshakeType::ClientHello | HandshakeType::Finished) {
                self.add_encoded(context, message, seq)?;
            }
        }
        Ok(())
    }

    /// Adds a message of this side to the transcript.
    pub(super) fn add_encoded(
        &mut self,
        context: &Context<'_>,
        message: HandshakeType,
        seq: u16,
    ) -> Result<(), Error> {
        let mut scratch = [0; MAX_OUTGOING];
        let body = self.encode(context, message, &mut scratch)?;
        self.transcript.add(message, seq, body);
        Ok(())
    }

    /// Starts the transcript with the ClientHello that the server answers, now that the version is known; after a HelloRetryRequest, it
    /// goes on with it.
    pub(super) fn begin_transcript(
        &mut self,
        context: &Context<'_>,
        version: ProtocolVersion,
        goes_on: bool,
    ) -> Result<(), Error> {
        if !goes_on {
            self.transcript = Transcript::new(version);
        }
        self.add_encoded(context, HandshakeType::ClientHello, self.flight.next_seq().saturating_sub(1))
    }

    /// Encodes the body of a message from the state, the same bytes every time.
    pub(super) fn encode<'b>(
        &self,
        context: &Context<'_>,
        message: HandshakeType,
        scratch: &'b mut [u8; MAX_OUTGOING],
    ) -> Result<&'b [u8], Error> {
        let mut w = Writer::new(scratch);
        let written = match (message, &self.state) {
            (HandshakeType::ClientHello, State::ClientAwaitsServerHello(hello)) => {
                self.emit_client_hello(context, hello, &mut w)
            }
            #[cfg(feature = "dtls12")]
            (HandshakeType::ClientHello, State::ClientAwaitsServerHelloDone(seen)) => {
                self.emit_client_hello(context, &seen.hello, &mut w)
            }
            #[cfg(feature = "dtls12")]
            (HandshakeType::ServerHello, State::Server(server)) => {
                server.answer.emit(&server.pending.agreed, &mut w)
            }
            #[cfg(feature = "dtls12")]
            (HandshakeType::ServerKeyExchange, State::Server(server)) => {
                let suite = server.pending.agreed.suite;
                server12::emit_key_exchange(context.config, suite, &self.key_share, &mut w)
            }
            #[cfg(feature = "dtls12")]
            (HandshakeType::ServerHelloDone, _) => Ok(()),
            #[cfg(feature = "dtls12")]
            (HandshakeType::ClientKeyExchange, State::ClientAwaitsServerHelloDone(seen)) => {
                client12::emit_key_exchange(context, seen.suite(), &self.key_share, &mut w)
            }
            #[cfg(feature = "dtls12")]
            (HandshakeType::ClientKeyExchange, State::ClientAwaitsFinished(pending)) => {
                client12::emit_key_exchange(context, pending.agreed.suite, &self.key_share, &mut w)
            }
            #[cfg(feature = "dtls13")]
            (HandshakeType::ServerHello, State::Server13(server)) => {
                server.emit_server_hello(&self.key_share, &mut w)
            }
            #[cfg(feature = "dtls13")]
            (HandshakeType::EncryptedExtensions, State::Server13(server)) => {
                server.emit_encrypted_extensions(&mut w)
            }
            #[cfg(feature = "dtls13")]
            (HandshakeType::Finished, State::Server13(server)) => w.bytes(&server.pending.verify_data),
            // A flight never outlives the state that it was made in.
            _ => Err(BufferFull),
        };
        written.map_err(|_| Error::BufferTooSmall { needed: MAX_OUTGOING })?;
        Ok(w.written())
    }

    fn emit_client_hello(
        &self,
        context: &Context<'_>,
        hello: &Hello,
        w: &mut Writer<'_>,
    ) -> Result<(), BufferFull> {
        match context.credentials {
            Credentials::Client(psk) => hello.emit(context.config, psk, &self.key_share, w),
            Credentials::Server(_) => Err(BufferFull),
        }
    }

    pub(super) fn poll_transmit(
        &mut self,
        context: &Context<'_>,
        buf: &mut [u8],
    ) -> Result<Option<usize>, Error> {
        if let State::Over { .. } = self.state {
            return self.transmit_alert(context, buf);
        }
        let mut len = 0;
        while let Some((message, seq, offset)) = self.flight.next() {
            // A ClientHello is never cut, whatever the MTU: a server without state could not put it together
            // (RFC 6347 §4.2.1).
            let limit = match message {
                HandshakeType::ClientHello => buf.len(),
                _ => buf.len().min(context.config.mtu()),
            };
            let room = buf.get_mut(len..limit).unwrap_or_default();
            match self.transmit_message(context, message, seq, offset, room) {
                Ok(Some(written)) => len += written,
                Ok(None) => break,
                // What is written goes out. The next call will say what went wrong.
                Err(_) if len > 0 => break,
                Err(error) => return Err(error),
            }
            // A sealed record says no length, so it is the last of its datagram (RFC 9147 §4).
            #[cfg(feature = "dtls13")]
            if message.is_encrypted() && self.state.write13().is_some() {
                break;
            }
        }
        match (len, self.flight.next()) {
            (0, Some((message, ..))) => Err(Error::BufferTooSmall { needed: self.needed(context, message)? }),
            (0, None) => self.transmit_ack(context, buf),
            _ => Ok(Some(len)),
        }
    }

    /// Writes one record of the flight, or two with the ChangeCipherSpec; `None` when there is no room.
    fn transmit_message(
        &mut self,
        context: &Context<'_>,
        message: HandshakeType,
        seq: u16,
        offset: usize,
        room: &mut [u8],
    ) -> Result<Option<usize>, Error> {
        #[cfg(feature = "dtls12")]
        if message == HandshakeType::Finished
            && let Some(super::pending12::Pending { write, verify_data, .. }) = self.state.pending()
        {
            let crypto = context.config.crypto();
            let written = finished12::write_finished(&mut self.plain, write, crypto, seq, verify_data, room)?;
            if written.is_some() {
                debug!("-> ChangeCipherSpec, Finished (message {})", seq);
                self.flight.advance(0, 0);
            }
            return Ok(written);
        }
        #[cfg(feature = "dtls13")]
        if self.state.write13().is_some() && message.is_encrypted() {
            return self.transmit_encrypted(context, room);
        }
        let mut scratch = [0; MAX_OUTGOING];
        let body = self.encode(context, message, &mut scratch)?;
        if message == HandshakeType::ClientHello && room.len() < plain_len(body.len()) {
            return Ok(None);
        }
        #[cfg(feature = "dtls13")]
        let (number, start) = (self.plain.next_number(), self.flight.position());
        let Some((len, part)) = flight::write_plain(&mut self.plain, message, seq, body, offset, room) else {
            return Ok(None);
        };
        debug!("-> {:?} (message {}, {} of {} bytes)", message, seq, part, body.len());
        self.flight.advance(part, body.len());
        #[cfg(feature = "dtls13")]
        self.flight.is_in(number, start);
        Ok(Some(len))
    }

    /// Length in bytes of a buffer that would do for this message.
    fn needed(&mut self, context: &Context<'_>, message: HandshakeType) -> Result<usize, Error> {
        #[cfg(feature = "dtls12")]
        if message == HandshakeType::Finished
            && let Some(pending) = self.state.pending()
        {
            return Ok(finished12::finished_len(&pending.write));
        }
        let len = handshake::HEADER_LEN + self.encode(context, message, &mut [0; MAX_OUTGOING])?.len();
        #[cfg(feature = "dtls13")]
        if message.is_encrypted()
            && let Some(write) = self.state.write13()
        {
            return Ok(write.sealed_len(len));
        }
        Ok(record::HEADER_LEN + len)
    }

    /// Writes the alert of a failed handshake, once.
    fn transmit_alert(&mut self, context: &Context<'_>, buf: &mut [u8]) -> Result<Option<usize>, Error> {
        let State::Over { alert, write } = &mut self.state else {
            return Ok(None);
        };
        let Some(description) = *alert else {
            return Ok(None);
        };
        let bytes = Alert::fatal(description).to_bytes();
        let len = match write {
            Some(write) => write.seal(context.config.crypto(), ContentType::Alert, [&bytes, &[]], buf)?,
            None => self
                .plain
                .write(ContentType::Alert, [&bytes, &[]], buf)
                .ok_or(Error::BufferTooSmall { needed: record::HEADER_LEN + bytes.len() })?,
        };
        debug!("-> Alert {:?}", description);
        *alert = None;
        Ok(Some(len))
    }

    pub(super) fn repeat_flight(&mut self, stats: &mut Stats) {
        // What may not go out before more has come does so first, or a flight that is too long would never come to its end.
        if self.allowance.is_some() && self.flight.next().is_some() {
            return;
        }
        if self.flight.restart() {
            debug!("sending the last flight again");
            Stats::count(&mut stats.retransmitted);
        }
    }
}

/// Length in bytes of the record with a plaintext message whose body has `len` bytes.
const fn plain_len(len: usize) -> usize {
    record::HEADER_LEN + handshake::HEADER_LEN + len
}

#[cfg(not(feature = "dtls13"))]
impl Core {
    /// There are none in DTLS 1.2.
    const fn transmit_ack(&mut self, _: &Context<'_>, _: &mut [u8]) -> Result<Option<usize>, Error> {
        Ok(None)
    }
}
