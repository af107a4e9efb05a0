//! What every shell is made of: the associations and the two datagrams on their way through it, without any I/O.
//!
//! Each method leaves everything in place for the next one, so a shell may be given up between any two of them and go on
//! later. A datagram that is to be sent stays the next one until the shell says [`sent`](BufferedConnection::sent), so
//! nothing is sealed twice. Received records are opened one at a time, as the shell asks for them.

#[cfg(feature = "embedded-nal-async")]
use core::net::SocketAddr;
use core::ops::Range;

use rand_core::TryCryptoRng;

use crate::config::Config;
use crate::connection::{Connection, Event, ImageSeal};
use crate::endpoint::Endpoint;
use crate::error::Error;
#[cfg(feature = "embedded-nal-async")]
use crate::path::is_same;
use crate::path::{Path, UNKNOWN};
use crate::peer::SessionId;
use crate::time::Instant;

/// A buffer of `N` bytes, of which `waiting` is still to be sent or to be read.
struct Datagram<const N: usize> {
    bytes: [u8; N],
    waiting: Range<usize>,
}

impl<const N: usize> Datagram<N> {
    const fn new() -> Self {
        const { assert!(N >= Config::MIN_MTU, "N: a datagram buffer must hold a ClientHello") };
        Self { bytes: [0; N], waiting: 0..0 }
    }

    /// The first `len` bytes wait. Of a datagram that was too long for the buffer these are all: its last record is
    /// incomplete, and will be dropped and counted as such.
    fn fill(&mut self, len: usize) {
        self.waiting = 0..len.min(N);
    }

    const fn clear(&mut self) {
        self.waiting = 0..0;
    }

    fn waiting(&self) -> Option<&[u8]> {
        self.bytes.get(self.waiting.clone()).filter(|bytes| !bytes.is_empty())
    }

    /// Hands what waits to `read`, which tells with its result how many bytes it leaves.
    fn read<'d, T>(&'d mut self, read: impl FnOnce(&'d mut [u8]) -> (Option<T>, usize)) -> Option<T> {
        let Range { start, end } = self.waiting;
        let bytes = self.bytes.get_mut(start..end).filter(|bytes| !bytes.is_empty())?;
        let (value, left) = read(bytes);
        self.waiting.start = end.saturating_sub(left);
        value
    }
}

/// A client's connection, and whether it is over.
struct Association<'a> {
    connection: Connection<'a>,
    /// Why nothing more will come.
    over: Option<Error>,
}

impl<'a> Association<'a> {
    const fn new(connection: Connection<'a>) -> Self {
        Self { connection, over: None }
    }

    const fn check(&self) -> Result<(), Error> {
        match self.over {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    /// What the first record of a datagram brought, and how many bytes there are behind it.
    fn receive<'d>(&mut self, datagram: &'d mut [u8], now: Instant) -> (Option<Event<'d>>, usize) {
        let mut incoming = self.connection.receive(datagram, now);
        let event = incoming.next();
        let remaining = incoming.remaining();
        match &event {
            Some(Event::Failed(error)) => self.over = Some(*error),
            Some(Event::Closed) => self.over = Some(Error::Closed),
            _ => {}
        }
        (event, remaining)
    }

    /// Does what is due at `now`.
    fn handle_timeout(&mut self, now: Instant) {
        if self.connection.poll_timeout().is_some_and(|at| at <= now) {
            self.over = self.over.or(self.connection.handle_timeout(now).err());
        }
    }

    fn close(&mut self) {
        self.connection.close();
        self.over = self.over.or(Some(Error::NotConnected));
    }
}

/// A client's connection with its datagrams.
pub(super) struct BufferedConnection<'a, const N: usize> {
    association: Association<'a>,
    received: Datagram<N>,
    outgoing: Datagram<N>,
}

impl<'a, const N: usize> BufferedConnection<'a, N> {
    pub(super) const fn new(connection: Connection<'a>) -> Self {
        Self {
            association: Association::new(connection),
            received: Datagram::new(),
            outgoing: Datagram::new(),
        }
    }

    pub(super) const fn connection(&self) -> &Connection<'a> {
        &self.association.connection
    }

    pub(super) fn is_established(&self) -> bool {
        self.connection().peer().is_some()
    }

    /// Fails once nothing more will come.
    pub(super) const fn check(&self) -> Result<(), Error> {
        self.association.check()
    }

    /// Where to receive the next datagram, once [`next_event`](Self::next_event) has no more of the last.
    pub(super) const fn buffer(&mut self) -> &mut [u8] {
        &mut self.received.bytes
    }

    /// A datagram of `len` bytes is in the buffer.
    pub(super) fn received(&mut self, len: usize) {
        self.received.fill(len);
    }

    /// What the next record brought; `None` when the datagram has no more.
    pub(super) fn next_event(&mut self, now: Instant) -> Option<Event<'_>> {
        let Self { association, received, .. } = self;
        received.read(|datagram| association.receive(datagram, now))
    }

    #[cfg(feature = "embedded-nal-async")]
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.connection().poll_timeout()
    }

    /// Does what is due at `now`.
    pub(super) fn handle_timeout(&mut self, now: Instant) {
        self.association.handle_timeout(now);
    }

    /// The datagram to send next, until [`sent`](Self::sent).
    pub(super) fn poll_transmit(&mut self) -> Result<Option<&[u8]>, Error> {
        if self.outgoing.waiting().is_none()
            && let Some(len) = self.association.connection.poll_transmit(&mut self.outgoing.bytes)?
        {
            self.outgoing.fill(len);
        }
        Ok(self.outgoing.waiting())
    }

    /// The datagram is sent, or lost as any datagram may be.
    pub(super) const fn sent(&mut self) {
        self.outgoing.clear();
    }

    /// Seals `payload` as the datagram to send next. Whatever else was to be sent must be so by now.
    pub(super) fn seal(&mut self, payload: &[u8]) -> Result<(), Error> {
        let len = self.association.connection.send(payload, &mut self.outgoing.bytes)?;
        self.outgoing.fill(len);
        Ok(())
    }

    /// Saves the session and ends it here. What waits to be sent or to be read is lost, as any datagram may be.
    #[expect(clippy::result_large_err, reason = "there is no heap to put the association on")]
    pub(super) fn suspend(self, seal: &ImageSeal<'_>, image: &mut [u8]) -> Result<usize, (Self, Error)> {
        let Self { association: Association { connection, over }, received, outgoing } = self;
        connection.suspend(seal, image).map_err(|(connection, error)| {
            let association = Association { connection, over };
            (Self { association, received, outgoing }, over.unwrap_or(error))
        })
    }

    /// Saves the session and goes on with it.
    pub(super) fn checkpoint(
        &mut self,
        records: u32,
        seal: &ImageSeal<'_>,
        image: &mut [u8],
    ) -> Result<usize, Error> {
        self.association.connection.checkpoint(records, seal, image)
    }

    /// Ends the association; the next datagram to send says so.
    pub(super) fn close(&mut self) {
        self.association.close();
    }
}

/// Up to `S` connections of a client with the datagrams of all of them.
#[cfg(feature = "embedded-nal-async")]
pub(super) struct BufferedConnections<'a, const S: usize, const N: usize> {
    associations: [Option<(Path, Association<'a>)>; S],
    received: Datagram<N>,
    received_by: Path,
    outgoing: Datagram<N>,
    outgoing_by: Path,
}

#[cfg(feature = "embedded-nal-async")]
impl<'a, const S: usize, const N: usize> BufferedConnections<'a, S, N> {
    pub(super) const fn new() -> Self {
        let nowhere = Path { local: UNKNOWN, remote: UNKNOWN };
        Self {
            associations: [const { None }; S],
            received: Datagram::new(),
            received_by: nowhere,
            outgoing: Datagram::new(),
            outgoing_by: nowhere,
        }
    }

    /// Takes a connection in for `path`, in the place of another one to that server, or of one that is over; `None` where
    /// there is neither that nor a free place.
    pub(super) fn insert(&mut self, path: Path, connection: Connection<'a>) -> Option<()> {
        let places = || self.associations.iter();
        let at = places()
            .position(|place| place.as_ref().is_some_and(|(by, _)| is_same(by.remote, path.remote)))
            .or_else(|| places().position(Option::is_none))
            .or_else(|| places().position(|place| place.as_ref().is_some_and(|(_, it)| it.over.is_some())))?;
        *self.associations.get_mut(at)? = Some((path, Association::new(connection)));
        Some(())
    }

    fn find(&self, remote: SocketAddr) -> Option<&(Path, Association<'a>)> {
        self.associations.iter().flatten().find(|(by, _)| is_same(by.remote, remote))
    }

    fn find_mut(&mut self, remote: SocketAddr) -> Option<&mut (Path, Association<'a>)> {
        self.associations.iter_mut().flatten().find(|(by, _)| is_same(by.remote, remote))
    }

    /// The connections that there are.
    pub(super) fn connections(&self) -> impl Iterator<Item = &Connection<'a>> {
        self.associations.iter().flatten().map(|(_, association)| &association.connection)
    }

    /// The connection to this server.
    pub(super) fn connection(&self, remote: SocketAddr) -> Option<&Connection<'a>> {
        self.find(remote).map(|(_, association)| &association.connection)
    }

    /// Fails if there is no connection to this server, or none any more.
    pub(super) fn check(&self, remote: SocketAddr) -> Result<(), Error> {
        self.find(remote).map_or(Err(Error::NotConnected), |(_, association)| association.check())
    }

    /// Where to receive the next datagram, once [`next_event`](Self::next_event) has no more of the last.
    pub(super) const fn buffer(&mut self) -> &mut [u8] {
        &mut self.received.bytes
    }

    /// A datagram of `len` bytes is in the buffer, and came by `path`.
    pub(super) fn received(&mut self, len: usize, path: Path) {
        self.received.fill(len);
        self.received_by = path;
    }

    /// What the next record brought, and the path that it came by; `None` when the datagram has no more, or is nobody's.
    pub(super) fn next_event(&mut self, now: Instant) -> Option<(Event<'_>, Path)> {
        let Self { associations, received, received_by, .. } = self;
        let by = *received_by;
        let whose = associations.iter_mut().flatten().find(|(path, _)| is_same(path.remote, by.remote));
        received.read(|datagram| match whose {
            Some((_, association)) => {
                let (event, remaining) = association.receive(datagram, now);
                (event.map(|event| (event, by)), remaining)
            }
            None => (None, 0),
        })
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.connections().filter_map(Connection::poll_timeout).min()
    }

    /// Does what is due at `now`.
    pub(super) fn handle_timeout(&mut self, now: Instant) {
        for (Path { remote, .. }, association) in self.associations.iter_mut().flatten() {
            let was_over = association.over.is_some();
            association.handle_timeout(now);
            if let (Some(error), false) = (association.over, was_over) {
                crate::log::info!("the connection to {} is over: {}", remote, error);
            }
        }
    }

    /// The datagram to send next and where to, until [`sent`](Self::sent).
    pub(super) fn poll_transmit(&mut self) -> Option<(&[u8], Path)> {
        if self.outgoing.waiting().is_none() {
            for (path, association) in self.associations.iter_mut().flatten() {
                match association.connection.poll_transmit(&mut self.outgoing.bytes) {
                    Ok(None) => continue,
                    Ok(Some(len)) => {
                        self.outgoing.fill(len);
                        self.outgoing_by = *path;
                        break;
                    }
                    // It is this connection that cannot go on.
                    Err(error) => association.over = Some(error),
                }
            }
        }
        self.outgoing.waiting().map(|datagram| (datagram, self.outgoing_by))
    }

    /// The datagram is sent, or lost as any datagram may be.
    pub(super) const fn sent(&mut self) {
        self.outgoing.clear();
    }

    /// Seals `payload` for this server as the datagram to send next, and returns it with the way it has to go. Whatever else
    /// was to be sent must be so by now.
    pub(super) fn seal(&mut self, remote: SocketAddr, payload: &[u8]) -> Result<(&[u8], Path), Error> {
        let associations = self.associations.iter_mut().flatten();
        let (path, association) =
            associations.into_iter().find(|(by, _)| is_same(by.remote, remote)).ok_or(Error::NotConnected)?;
        let len = association.connection.send(payload, &mut self.outgoing.bytes)?;
        self.outgoing.fill(len);
        self.outgoing_by = *path;
        Ok((self.outgoing.waiting().unwrap_or_default(), *path))
    }

    /// Ends the connection to this server; the next datagram to send says so.
    pub(super) fn close(&mut self, remote: SocketAddr) {
        if let Some((_, association)) = self.find_mut(remote) {
            association.close();
        }
    }

    /// Ends all connections.
    pub(super) fn close_all(&mut self) {
        self.associations.iter_mut().flatten().for_each(|(_, association)| association.close());
    }
}

/// A server's endpoint with its datagrams.
pub(super) struct BufferedEndpoint<'a, const H: usize, const S: usize, const N: usize> {
    endpoint: Endpoint<'a, H, S>,
    received: Datagram<N>,
    received_by: Path,
    outgoing: Datagram<N>,
    outgoing_by: Path,
}

impl<'a, const H: usize, const S: usize, const N: usize> BufferedEndpoint<'a, H, S, N> {
    pub(super) const fn new(endpoint: Endpoint<'a, H, S>) -> Self {
        let nowhere = Path { local: UNKNOWN, remote: UNKNOWN };
        Self {
            endpoint,
            received: Datagram::new(),
            received_by: nowhere,
            outgoing: Datagram::new(),
            outgoing_by: nowhere,
        }
    }

    pub(super) const fn endpoint(&self) -> &Endpoint<'a, H, S> {
        &self.endpoint
    }

    pub(super) const fn endpoint_mut(&mut self) -> &mut Endpoint<'a, H, S> {
        &mut self.endpoint
    }

    pub(super) fn into_endpoint(self) -> Endpoint<'a, H, S> {
        self.endpoint
    }

    /// Where to receive the next datagram, once [`next_event`](Self::next_event) has no more of the last.
    pub(super) const fn buffer(&mut self) -> &mut [u8] {
        &mut self.received.bytes
    }

    /// A datagram of `len` bytes is in the buffer, and came by `path`.
    pub(super) fn received(&mut self, len: usize, path: Path) {
        self.received.fill(len);
        self.received_by = path;
    }

    /// What the next record brought, and the path of the session that it is about; `None` when the datagram has no more.
    pub(super) fn next_event<R: TryCryptoRng>(
        &mut self,
        rng: &mut R,
        now: Instant,
    ) -> Option<(Event<'_>, Path)> {
        let Self { endpoint, received, received_by, .. } = self;
        received.read(|datagram| {
            let mut incoming = endpoint.receive(datagram, *received_by, rng, now);
            let event = incoming.next();
            let path = incoming.path();
            (event.map(|event| (event, path)), incoming.remaining())
        })
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.endpoint.poll_timeout()
    }

    /// Does what is due at `now`. The endpoint logs who gave up.
    pub(super) fn handle_timeout(&mut self, now: Instant) {
        if self.poll_timeout().is_some_and(|at| at <= now) {
            while self.endpoint.handle_timeout(now).is_some() {}
        }
    }

    /// The datagram to send next and where to, until [`sent`](Self::sent).
    pub(super) fn poll_transmit(&mut self) -> Result<Option<(&[u8], Path)>, Error> {
        if self.outgoing.waiting().is_none()
            && let Some((len, path)) = self.endpoint.poll_transmit(&mut self.outgoing.bytes)?
        {
            self.outgoing.fill(len);
            self.outgoing_by = path;
        }
        Ok(self.outgoing.waiting().map(|datagram| (datagram, self.outgoing_by)))
    }

    /// The datagram is sent, or lost as any datagram may be.
    pub(super) const fn sent(&mut self) {
        self.outgoing.clear();
    }

    /// Seals `payload` for the peer at `path` as the datagram to send next, and returns it with the way it has to go.
    /// Whatever else was to be sent must be so by now.
    pub(super) fn seal(&mut self, path: Path, payload: &[u8]) -> Result<(&[u8], Path), Error> {
        let sealed = self.endpoint.send(&path, payload, &mut self.outgoing.bytes)?;
        Ok(self.fill(sealed))
    }

    /// Seals `payload` in a session, as [`seal`](Self::seal) does for a path.
    pub(super) fn seal_in(&mut self, session: SessionId, payload: &[u8]) -> Result<(&[u8], Path), Error> {
        let sealed = self.endpoint.send_in(session, payload, &mut self.outgoing.bytes)?;
        Ok(self.fill(sealed))
    }

    fn fill(&mut self, (len, by): (usize, Path)) -> (&[u8], Path) {
        self.outgoing.fill(len);
        self.outgoing_by = by;
        (self.outgoing.waiting().unwrap_or_default(), by)
    }
}

/// Copies a message into the caller's buffer. What does not fit is lost, as it is with any datagram; the length
/// returned is the whole one's, so that the caller can tell.
pub(super) fn deliver(message: &[u8], buffer: &mut [u8]) -> usize {
    for (out, byte) in buffer.iter_mut().zip(message) {
        *out = *byte;
    }
    message.len()
}
