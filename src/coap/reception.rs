//! Where a datagram came from, and what may go back there.

use core::net::SocketAddr;

use super::echo::Audience;
use super::source::Source;
use super::writer::Writer;
use crate::path::Path;
use crate::{Instant, Peer, PeerLookup};

/// What a responder needs to know about a datagram beside its bytes.
#[derive(Clone, Copy)]
pub(super) struct Reception<'a> {
    pub(super) source: Source,
    pub(super) peer: Option<Peer<'a>>,
    pub(super) link: Link,
    pub(super) now: Instant,
}

impl<'a> Reception<'a> {
    /// Of a datagram that has just come by `path`.
    pub(super) fn new(lookup: &'a impl PeerLookup, path: Path, now: Instant) -> Self {
        let peer = lookup.peer(path.local, path.remote);
        let source = Source::new(peer, path);
        Self { source, peer, link: Link::to(lookup, &source), now }
    }

    /// Whom an Echo option is for.
    pub(super) fn audience(&self) -> Audience {
        Audience { source: self.source, address: self.link.unproven }
    }
}

/// What is known of the way to a peer.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Link {
    /// The longest message that goes there, where somebody knows.
    pub(super) max_message: Option<usize>,
    /// Where the peer has yet to show that it receives.
    pub(super) unproven: Option<SocketAddr>,
}

impl Link {
    pub(super) fn to(lookup: &impl PeerLookup, source: &Source) -> Self {
        source.session().map_or_else(Self::default, |session| Self {
            max_message: lookup.max_payload(session),
            unproven: lookup.unproven_address(session),
        })
    }

    /// How long a message may be that this writer writes.
    pub(super) fn limit(&self, writer: &Writer<'_>) -> usize {
        self.max_message.unwrap_or(usize::MAX).min(writer.capacity())
    }
}

/// A datagram to send in return.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reply {
    pub(super) len: usize,
    /// The peer has shown that it receives where it is.
    pub(super) proves_address: bool,
}

impl Reply {
    /// `None` without any byte.
    pub(super) fn new(len: usize) -> Option<Self> {
        (len > 0).then_some(Self { len, proves_address: false })
    }
}
