//! An established session: keys, numbers, windows, and what is needed to repeat the last flight.

use core::ops::Range;

use super::Event;
use crate::crypto::exporter::Exporter;
use crate::crypto::provider::CryptoProvider;
use crate::error::Error;
#[cfg(feature = "exporter")]
use crate::error::PeerMisbehaved;
use crate::handshake::{self, Established, LastFlight};
use crate::log::debug;
use crate::peer::{Peer, SessionId};
use crate::psk::Identity;
use crate::record::{ReadState, WriteState};
use crate::stats::Stats;
use crate::wire::Reader;
use crate::wire::alert::{Alert, AlertDescription, AlertLevel};
use crate::wire::client_hello::ClientHello;
use crate::wire::handshake::{Fragment, HandshakeType};
use crate::wire::record::{ContentType, RecordHeader};
use crate::wire::version::ProtocolVersion;

/// One session. Long and thin: a server has many of them.
pub(crate) struct Session {
    id: SessionId,
    identity: Identity,
    read: ReadState,
    write: WriteState,
    last_flight: Option<LastFlight>,
    due: Due,
    state: State,
    #[cfg_attr(not(feature = "exporter"), expect(dead_code, reason = "it is empty then"))]
    exporter: Option<Exporter>,
}

/// What the session has to send by itself.
#[derive(Clone, Copy, Default)]
struct Due {
    last_flight: bool,
    no_renegotiation: bool,
    close_notify: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    /// This side or the other said close_notify. Nothing more is sent but our own one, nothing more is received.
    Closed,
}

impl Session {
    pub(crate) fn new(id: SessionId, established: Established) -> Self {
        let Established { identity, read, write, last_flight, exporter } = established;
        // Where this side speaks last, its flight has yet to go out for the first time.
        let due = Due { last_flight: last_flight.is_some(), ..Due::default() };
        Self { id, identity, read, write, last_flight, due, state: State::Open, exporter }
    }

    pub(crate) fn peer(&self) -> Peer<'_> {
        Peer {
            identity: self.identity.as_bytes(),
            session: self.id,
            epoch: self.write.epoch(),
            version: ProtocolVersion::Dtls12,
            suite: self.write.suite(),
        }
    }

    /// Whether this very hello began the session: a duplicate that comes late.
    pub(crate) fn is_from(&self, hello: &ClientHello<'_>) -> bool {
        self.last_flight.is_some_and(|flight| hello.random.starts_with(&flight.client_random))
    }

    /// Whether the session has something to send by itself.
    pub(crate) const fn is_due(&self) -> bool {
        let Due { last_flight, no_renegotiation, close_notify } = self.due;
        last_flight || no_renegotiation || close_notify
    }

    /// Whether nothing is left to be done but to forget the session.
    pub(crate) const fn is_over(&self) -> bool {
        matches!(self.state, State::Closed) && !self.due.close_notify
    }

    /// Whether the session still carries data.
    pub(crate) const fn is_open(&self) -> bool {
        matches!(self.state, State::Open)
    }

    /// Takes one record. Anything that is not authenticated changes nothing but a counter.
    pub(crate) fn receive<'d>(
        &mut self,
        crypto: &dyn CryptoProvider,
        header: &RecordHeader,
        body: &'d mut [u8],
        stats: &mut Stats,
    ) -> Option<Event<'d>> {
        if !self.is_open() {
            Stats::count(&mut stats.dropped);
            return None;
        }
        let body = match self.read.open(crypto, header, body) {
            Ok(body) => body,
            Err(reason) => {
                reason.count(stats);
                return None;
            }
        };
        match header.content_type {
            ContentType::ApplicationData => Some(Event::Data(body)),
            ContentType::Alert => self.on_alert(body, stats),
            ContentType::Handshake => {
                self.on_handshake(body, stats);
                None
            }
            ContentType::ChangeCipherSpec => {
                Stats::count(&mut stats.dropped);
                None
            }
        }
    }

    fn on_alert<'d>(&mut self, body: &[u8], stats: &mut Stats) -> Option<Event<'d>> {
        let Ok(Alert { level, description }) = Alert::parse(body) else {
            Stats::count(&mut stats.dropped);
            return None;
        };
        debug!("<- Alert {:?}", description);
        if description == AlertDescription::CLOSE_NOTIFY {
            // Answered with one of our own (RFC 5246 §7.2.1).
            self.close();
            Some(Event::Closed)
        } else if level == AlertLevel::Fatal {
            self.state = State::Closed;
            Some(Event::Failed(Error::AlertReceived(description)))
        } else {
            None
        }
    }

    /// A handshake message under the session's own keys.
    fn on_handshake(&mut self, body: &[u8], stats: &mut Stats) {
        let mut r = Reader::new(body);
        let Ok(fragment) = Fragment::parse(&mut r) else {
            Stats::count(&mut stats.dropped);
            return;
        };
        match (HandshakeType::from_number(fragment.msg_type), &self.last_flight) {
            // The peer is missing our last flight. Its own Finished came right before ours in number.
            (Some(HandshakeType::Finished), Some(_)) => {
                if !self.due.last_flight {
                    Stats::count(&mut stats.retransmitted);
                }
                self.due.last_flight = true;
            }
            // Both ask for a new handshake under these keys, which there never is.
            (Some(HandshakeType::HelloRequest | HandshakeType::ClientHello), _) => {
                self.due.no_renegotiation = true
            }
            _ => Stats::count(&mut stats.dropped),
        }
    }

    /// Says goodbye, with the next datagram that is asked for.
    pub(crate) fn close(&mut self) {
        if self.is_open() {
            self.state = State::Closed;
            self.due.close_notify = true;
        }
    }

    /// Writes one datagram of those that the session sends by itself.
    pub(crate) fn poll_transmit(
        &mut self,
        crypto: &dyn CryptoProvider,
        buf: &mut [u8],
    ) -> Result<Option<usize>, Error> {
        if self.due.last_flight
            && let Some(LastFlight { plain, message_seq, verify_data, .. }) = &mut self.last_flight
        {
            let seq = *message_seq;
            let needed = handshake::finished_len(&self.write);
            let written = handshake::write_finished(plain, &mut self.write, crypto, seq, verify_data, buf)
                .and_then(|len| len.ok_or(Error::BufferTooSmall { needed }));
            return said(&mut self.due.last_flight, written);
        }
        let (due, alert) = if self.due.no_renegotiation {
            (&mut self.due.no_renegotiation, Alert::warning(AlertDescription::NO_RENEGOTIATION))
        } else if self.due.close_notify {
            (&mut self.due.close_notify, Alert::warning(AlertDescription::CLOSE_NOTIFY))
        } else {
            return Ok(None);
        };
        debug!("-> Alert {:?}", alert.description);
        let written = self.write.seal(crypto, ContentType::Alert, [&alert.to_bytes(), &[]], buf);
        said(due, written)
    }

    /// Exports keying material.
    #[cfg(feature = "exporter")]
    pub(crate) fn export(&self, label: &[u8], context: Option<&[u8]>, out: &mut [u8]) -> Result<(), Error> {
        if !self.is_open() {
            return Err(Error::NotConnected);
        }
        let exporter = self.exporter.as_ref().ok_or(PeerMisbehaved::NoExtendedMasterSecret)?;
        exporter.export(label, context, out)
    }

    /// Seals application data that lies in the middle of `buf`.
    pub(crate) fn seal_in_place(
        &mut self,
        crypto: &dyn CryptoProvider,
        buf: &mut [u8],
        payload: Range<usize>,
    ) -> Result<Range<usize>, Error> {
        if !self.is_open() {
            return Err(Error::NotConnected);
        }
        self.write.seal_in_place(crypto, ContentType::ApplicationData, buf, payload)
    }

    /// Seals a copy of `payload` at the start of `buf`.
    pub(crate) fn send(
        &mut self,
        crypto: &dyn CryptoProvider,
        payload: &[u8],
        buf: &mut [u8],
    ) -> Result<usize, Error> {
        if !self.is_open() {
            return Err(Error::NotConnected);
        }
        self.write.seal(crypto, ContentType::ApplicationData, [payload, &[]], buf)
    }
}

/// What was due is so no longer, unless it only lacked room.
fn said(due: &mut bool, written: Result<usize, Error>) -> Result<Option<usize>, Error> {
    *due = matches!(written, Err(Error::BufferTooSmall { .. }));
    written.map(Some)
}
