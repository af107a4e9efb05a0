//! Where a datagram came from and where it went to.

use core::hash::{Hash, Hasher};
use core::net::SocketAddr;

/// An address that nobody told.
#[cfg(any(feature = "embedded-nal", feature = "embedded-nal-async"))]
pub(crate) const UNKNOWN: SocketAddr =
    SocketAddr::new(core::net::IpAddr::V6(core::net::Ipv6Addr::UNSPECIFIED), 0);

/// The address, of the family of `remote`, that leaves a socket the choice of its own.
#[cfg(feature = "embedded-nal-async")]
pub(crate) fn any_local(remote: SocketAddr) -> SocketAddr {
    match remote {
        SocketAddr::V4(_) => SocketAddr::from(([0; 4], 0)),
        SocketAddr::V6(_) => SocketAddr::from(([0_u16; 8], 0)),
    }
}

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

/// What counts of an address, as bytes: comparing and hashing those takes a tenth of the code.
type Key = [u8; 1 + 16 + 2 + 4];

fn key_of(address: SocketAddr) -> Key {
    let mut key = [0; size_of::<Key>()];
    let [family, ip @ .., p1, p0, s3, s2, s1, s0] = &mut key;
    match address {
        SocketAddr::V4(v4) => {
            *family = 4;
            ip.iter_mut().zip(v4.ip().octets()).for_each(|(out, byte)| *out = byte);
        }
        SocketAddr::V6(v6) => {
            *family = 6;
            *ip = v6.ip().octets();
            [*s3, *s2, *s1, *s0] = v6.scope_id().to_be_bytes();
        }
    }
    [*p1, *p0] = address.port().to_be_bytes();
    key
}

/// Whether two addresses are the same, as those of [`Path`] are.
#[cfg(feature = "embedded-nal-async")]
pub(crate) fn is_same(one: SocketAddr, other: SocketAddr) -> bool {
    key_of(one) == key_of(other)
}

impl Path {
    fn key(&self) -> [Key; 2] {
        [self.local, self.remote].map(key_of)
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
        state.write(self.key().as_flattened());
    }
}
