//! Where a datagram came from and where it went to.

use core::hash::{Hash, Hasher};
use core::net::{IpAddr, SocketAddr};

/// The two ends of a datagram's way.
///
/// Two paths are equal when addresses, ports and IPv6 zones are: the flow label of IPv6 may change from one datagram to
/// the next.
#[derive(Clone, Copy, Debug)]
pub struct Path {
    /// The address here that the peer's datagrams arrive at, and that the replies leave from. Sockets that do not tell
    /// it may use any constant.
    pub local: SocketAddr,
    /// The peer's address.
    pub remote: SocketAddr,
}

impl Path {
    fn key(&self) -> [(IpAddr, u16, u32); 2] {
        [self.local, self.remote].map(|address| match address {
            SocketAddr::V4(v4) => (IpAddr::V4(*v4.ip()), v4.port(), 0),
            SocketAddr::V6(v6) => (IpAddr::V6(*v6.ip()), v6.port(), v6.scope_id()),
        })
    }
}

impl PartialEq for Path {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for Path {}

impl Hash for Path {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.key().hash(state);
    }
}
