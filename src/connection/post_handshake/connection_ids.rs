//! Connection IDs that change (RFC 9147 §9).

use super::{RequestState, SpareConnectionId};
use crate::connection::session::Session;
use crate::connection_id::{MAX_CONNECTION_ID_LEN, OwnConnectionId, PeerConnectionId};
use crate::crypto::key_schedule;
use crate::error::{Error, PeerMisbehaved};
use crate::wire::new_connection_id::{ConnectionIdUsage, NewConnectionId, RequestConnectionId};

impl Session {
    /// Connection IDs to send with (RFC 9147 §9). One is kept for later.
    pub(super) fn on_new_connection_id(&mut self, body: &[u8]) -> Result<bool, Error> {
        if !self.write.has_connection_id() {
            return Err(PeerMisbehaved::UnexpectedMessage.into());
        }
        let Ok(new) = NewConnectionId::parse(body) else { return Ok(false) };
        let mut ids = new.iter();
        if new.usage == ConnectionIdUsage::Immediate
            && let Some(id) = ids.next()
        {
            // One that does not fit into this build was never asked for.
            let id = PeerConnectionId::new(id).ok_or(PeerMisbehaved::ConnectionIdTooLong)?;
            self.write.use_connection_id(id);
        }
        if let Some(spare) = ids.find_map(SpareConnectionId::new).filter(|spare| !spare.is_empty()) {
            self.post.spare = spare;
        }
        self.post.request_connection_id = RequestState::None;
        Ok(true)
    }

    /// The peer would like to have connection IDs. It gets one at a time, whatever it asks for.
    pub(super) fn on_request_connection_id(&mut self, body: &[u8]) -> Result<bool, Error> {
        if self.read.connection_id().is_empty() {
            return Err(PeerMisbehaved::UnexpectedMessage.into());
        }
        let Ok(RequestConnectionId { .. }) = RequestConnectionId::parse(body) else { return Ok(false) };
        self.post.connection_id_wanted = true;
        Ok(true)
    }

    /// Whether the peer waits for a connection ID.
    pub(crate) const fn is_asked_for_connection_id(&self) -> bool {
        self.post.connection_id_wanted
    }

    /// A connection ID that nobody can link with the one before it.
    pub(crate) fn next_connection_id(&self) -> OwnConnectionId {
        let mut bytes = [0; MAX_CONNECTION_ID_LEN];
        let bytes = bytes.get_mut(..self.read.connection_id().len()).unwrap_or_default();
        key_schedule::expand_label(
            self.read.secret(),
            b"connection id",
            &self.post.made.to_be_bytes(),
            bytes,
        );
        let id = OwnConnectionId::new(bytes).unwrap_or(OwnConnectionId::EMPTY);
        // Chance repeats short ones. Nobody would see the peer go on with the one that it uses already, so it would never get another.
        if id.as_bytes() == self.read.connection_id() { id.next() } else { id }
    }

    /// Gives the peer the connection ID that it has asked for, unless it has one that it does not use yet: then it gets none (RFC 9147
    /// §9). No other peer has `id`.
    pub(crate) fn grant_connection_id(&mut self, id: OwnConnectionId) {
        self.post.connection_id_wanted = false;
        // One that is to be sent in any case is an answer, too.
        if self.post.new_connection_id.is_some() {
            return;
        }
        let id =
            if self.read.spare_connection_id().is_empty() { self.expect(id) } else { OwnConnectionId::EMPTY };
        self.post.new_connection_id = Some((id, ConnectionIdUsage::Spare));
    }

    /// Has the peer go on with `id` at once, which no other peer has.
    #[cfg(feature = "connection-id")]
    pub(crate) fn renew_connection_id(&mut self, id: OwnConnectionId) -> Result<(), Error> {
        self.check_connection_id_of(self.read.connection_id().is_empty())?;
        if !self.read.spare_connection_id().is_empty() {
            return Err(Error::ConnectionIdPending);
        }
        self.post.new_connection_id = Some((self.expect(id), ConnectionIdUsage::Immediate));
        Ok(())
    }

    /// Records may come with `id` from here on.
    const fn expect(&mut self, id: OwnConnectionId) -> OwnConnectionId {
        self.post.made = self.post.made.wrapping_add(1);
        self.read.expect_connection_id(id);
        id
    }

    /// Asks the peer for a connection ID to go on with.
    #[cfg(feature = "connection-id")]
    pub(crate) fn request_connection_id(&mut self) -> Result<(), Error> {
        self.check_connection_id_of(!self.write.has_connection_id())?;
        if self.post.request_connection_id == RequestState::None {
            self.post.request_connection_id = RequestState::Wanted;
        }
        Ok(())
    }

    /// Goes on with the connection ID that the peer has given for later.
    #[cfg(feature = "connection-id")]
    pub(crate) fn use_spare_connection_id(&mut self) -> Result<(), Error> {
        self.check_connection_id_of(!self.write.has_connection_id())?;
        if self.post.spare.is_empty() {
            return Err(Error::ConnectionIdPending);
        }
        let id = PeerConnectionId::new(self.post.spare.as_bytes()).ok_or(Error::ConnectionIdPending)?;
        self.post.spare = SpareConnectionId::EMPTY;
        self.write.use_connection_id(id);
        self.write.outdate_checkpoint();
        Ok(())
    }

    #[cfg(feature = "connection-id")]
    fn check_connection_id_of(&self, is_without: bool) -> Result<(), Error> {
        if !self.is_open() {
            return Err(Error::NotConnected);
        }
        if is_without || self.version() != crate::ProtocolVersion::Dtls13 {
            return Err(Error::NoConnectionId);
        }
        Ok(())
    }
}
