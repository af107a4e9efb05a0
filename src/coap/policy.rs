//! Who may do what: a policy in front of any handler, by identity, method and path.

use core::time::Duration;

use coap_message::MessageOption as _;
use coap_numbers::{code, option};

use super::{Code, Message, Options};
use crate::Peer;

/// Decides about each request before a handler sees it.
///
/// [`Server::with_policy`](super::Server::with_policy) sets one; [`Rule`]s are one that is written down as a list.
///
/// ```
/// use dtls_psk::coap::{Access, Code, Policy, RequestPath};
/// use dtls_psk::Peer;
///
/// /// Everybody who has proved an identity may do everything.
/// struct Authenticated;
///
/// impl Policy for Authenticated {
///     fn access(&self, peer: Option<&Peer<'_>>, _: Code, _: RequestPath<'_>) -> Access {
///         if peer.is_some() { Access::Granted } else { Access::Denied }
///     }
/// }
/// ```
pub trait Policy {
    /// Whether the peer may carry out the method at the path. Without a secure session there is no peer.
    ///
    /// Asked for each new request, and again for each notification of an observation: whoever loses a right hears no more.
    fn access(&self, peer: Option<&Peer<'_>>, method: Code, path: RequestPath<'_>) -> Access;
}

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Access {
    /// It is answered 4.03 Forbidden.
    Denied,
    /// A handler sees it.
    Granted,
    /// A handler sees it if it shows that it was made within this time (RFC 9175 §2.4). If not, it is answered 4.01 with an Echo
    /// option, which clients repeat it with. For actuators: a request that an attacker has held back does nothing.
    Fresh(Duration),
}

/// The Uri-Path of a request.
#[derive(Clone, Debug)]
pub struct RequestPath<'a>(Options<'a>);

impl<'a> RequestPath<'a> {
    pub(super) fn of(request: &Message<'a>) -> Self {
        Self(request.option_iter())
    }

    /// Its segments. None of them is decoded, and they may hold any bytes.
    pub fn segments(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        self.0.clone().filter(|option| option.number() == option::URI_PATH).map(|option| option.bytes())
    }

    /// Whether this is the path: `/` or `/a/b`.
    pub fn is(&self, path: &str) -> bool {
        self.strip_prefix(path).is_some_and(|mut rest| rest.next().is_none())
    }

    /// Whether `pattern` matches: a path such as `/a/b`, or one that ends in `/*`, which stands for whatever is below `/a` and
    /// `/a` itself.
    pub fn matches(&self, pattern: &str) -> bool {
        match pattern.strip_suffix("/*") {
            Some(above) => self.strip_prefix(above).is_some(),
            None => self.is(pattern),
        }
    }

    /// The segments after those of `path`.
    fn strip_prefix(&self, path: &str) -> Option<impl Iterator<Item = &'a [u8]> + use<'a>> {
        let mut segments = self.segments();
        let path = path.strip_prefix('/').unwrap_or(path);
        // `/` and the empty path have no segments, where splitting gives one.
        for wanted in path.split('/').filter(|_| !path.is_empty()) {
            if segments.next()? != wanted.as_bytes() {
                return None;
            }
        }
        Some(segments)
    }
}

/// A set of methods.
///
/// ```
/// use dtls_psk::coap::{Code, Methods};
///
/// let methods = Methods::READ.and(Methods::of(coap_numbers::code::PUT));
/// assert!(methods.has(Code::new(coap_numbers::code::GET)));
/// assert!(!methods.has(Code::new(coap_numbers::code::DELETE)));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Methods(u32);

impl Methods {
    /// GET and FETCH, which are safe.
    pub const READ: Self = Self::of(code::GET).and(Self::of(code::FETCH));
    /// Every method there is or will be.
    pub const ALL: Self = Self(u32::MAX);

    /// The method with this code, such as [`coap_numbers::code::PUT`]; none where that is no method's.
    pub const fn of(code: u8) -> Self {
        Self(if Code::new(code).is_request() { 1 << code } else { 0 })
    }

    /// Those that are in one of both.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Those that are in both.
    #[must_use]
    pub const fn only(self, those: Self) -> Self {
        Self(self.0 & those.0)
    }

    /// Whether a method is among them.
    pub const fn has(self, method: Code) -> bool {
        self.0 & Self::of(method.byte()).0 != 0
    }
}

/// One line of a list that says who may do what. Whatever no line grants is denied.
///
/// ```
/// use core::time::Duration;
/// use coap_numbers::code;
/// use dtls_psk::coap::{Methods, Rule};
///
/// const RULES: &[Rule] = &[
///     Rule::everyone(Methods::READ, "/.well-known/core"),
///     Rule::identity(b"client1", Methods::READ, "/*"),
///     // A request to switch that is older than ten seconds does nothing.
///     Rule::identity(b"admin", Methods::of(code::PUT), "/led").fresh(Duration::from_secs(10)),
/// ];
/// # let _ = RULES;
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule<'a> {
    identity: Option<&'a [u8]>,
    methods: Methods,
    path: &'a str,
    fresh: Option<Duration>,
}

impl<'a> Rule<'a> {
    /// Whoever has proved this identity may use the methods at paths that [match](RequestPath::matches).
    pub const fn identity(identity: &'a [u8], methods: Methods, path: &'a str) -> Self {
        Self { identity: Some(identity), methods, path, fresh: None }
    }

    /// Everyone may, also without a secure session.
    pub const fn everyone(methods: Methods, path: &'a str) -> Self {
        Self { identity: None, methods, path, fresh: None }
    }

    /// If the request was made within this time: see [`Access::Fresh`].
    #[must_use]
    pub const fn fresh(self, within: Duration) -> Self {
        Self { fresh: Some(within), ..self }
    }

    fn grants(&self, peer: Option<&Peer<'_>>, method: Code, path: &RequestPath<'_>) -> bool {
        let is_for = self.identity.is_none_or(|identity| peer.is_some_and(|peer| peer.identity == identity));
        is_for && self.methods.has(method) && path.matches(self.path)
    }
}

/// The first rule that grants it decides.
impl Policy for [Rule<'_>] {
    fn access(&self, peer: Option<&Peer<'_>>, method: Code, path: RequestPath<'_>) -> Access {
        match self.iter().find(|rule| rule.grants(peer, method, &path)) {
            None => Access::Denied,
            Some(Rule { fresh: None, .. }) => Access::Granted,
            Some(Rule { fresh: Some(within), .. }) => Access::Fresh(*within),
        }
    }
}

impl<const N: usize> Policy for [Rule<'_>; N] {
    fn access(&self, peer: Option<&Peer<'_>>, method: Code, path: RequestPath<'_>) -> Access {
        self.as_slice().access(peer, method, path)
    }
}

impl<P: Policy + ?Sized> Policy for &P {
    fn access(&self, peer: Option<&Peer<'_>>, method: Code, path: RequestPath<'_>) -> Access {
        P::access(self, peer, method, path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(bytes: &[u8], matches: impl FnOnce(RequestPath<'_>)) {
        matches(RequestPath::of(&Message::parse(bytes).unwrap()));
    }

    #[test]
    fn paths_and_patterns() {
        path(b"\x40\x01\0\0", |path| {
            for pattern in ["", "/", "/*", "*/*"] {
                assert_eq!(path.matches(pattern), pattern != "*/*", "{pattern}");
            }
            assert!(!path.matches("/a") && !path.matches("/a/*"));
        });
        path(b"\x40\x01\0\0\xb1a\x01b", |path| {
            for pattern in ["/a/b", "a/b", "/*", "/a/*", "/a/b/*"] {
                assert!(path.matches(pattern), "{pattern}");
            }
            for pattern in ["/", "", "/a", "/a/b/c", "/a/c", "/b/*", "/a/b/c/*", "/a/", "/a/bb", "/ab"] {
                assert!(!path.matches(pattern), "{pattern}");
            }
        });
        // A slash in a segment is not one between segments.
        path(b"\x40\x01\0\0\xb3a/b", |path| assert!(!path.matches("/a/b")));
        // An empty segment is one.
        path(b"\x40\x01\0\0\xb1a\x00", |path| assert!(path.is("/a/") && !path.is("/a")));
    }

    #[test]
    fn methods() {
        assert!(Methods::ALL.has(Code::new(31)) && Methods::ALL.has(Code::new(code::GET)));
        assert!(!Methods::ALL.has(Code::EMPTY) && !Methods::ALL.has(Code::new(0x45)));
        assert!(!Methods::READ.has(Code::new(code::PUT)));
    }
}
