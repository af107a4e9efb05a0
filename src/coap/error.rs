//! What can go wrong.

use core::fmt;

/// Why a request got no reply, or a server stopped.
///
/// A reply that says 4.xx or 5.xx is a [`Reply`](super::Reply), not an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Error<E> {
    /// The socket failed.
    Socket(E),
    /// The random number generator failed, so there is no token and no Message ID to send with.
    Random,
    /// The request's code is none of a request: those are 0.01 to 0.31.
    Method,
    /// The path is not that of a URI: it has to look like `/a/b` or `/a/b?c=1`, with percents only before two hex digits,
    /// segments of at most 255 bytes, and no `.`, `..` or `#`. Or the [host](super::Request::host) is not that of a URI.
    Path,
    /// The request's options and a block of its payload do not fit into a message: shorten the path, or raise the client's
    /// `SIZE` or [`max_message`](super::Client::set_max_message).
    RequestTooLong,
    /// The reply does not fit into the buffer: raise the client's `SIZE`, lend a longer buffer to
    /// [`request_into`](super::Client::request_into), or take the reply [in blocks](super::Client::in_blocks).
    ReplyTooLong,
    /// Nothing answered, not even an acknowledgement: is the server there, and does it speak CoAP at this port? Of a
    /// Non-confirmable request, which is not acknowledged, it only says that no response came before the deadline.
    TimedOut,
    /// The server acknowledged the request, but did not respond before the deadline: is
    /// [`deadline`](super::Client::set_deadline) long enough for what it has to do?
    NoResponse,
    /// The server rejected the message with a RST: it could make nothing of it. Is it a CoAP server, and not a client?
    Reset,
    /// The reply has a critical option that this client does not understand, so it was rejected (RFC 7252 §5.4.1).
    BadOption,
    /// The server's blocks are not those that were asked for or sent (RFC 7959 §2.3): a number, a size or a length is wrong. Is
    /// another client with the same address in the way, or does the server's block-wise transfer have a bug?
    BlockMismatch,
    /// What was asked for changed while its blocks were fetched, each time anew (RFC 7959 §2.4): ask again later, or for larger
    /// blocks. Of a request that must not be repeated, such as a POST, it changed once.
    Changing,
}

impl<E> From<E> for Error<E> {
    fn from(error: E) -> Self {
        Self::Socket(error)
    }
}

impl<E: fmt::Display> fmt::Display for Error<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            // It says itself what failed.
            Self::Socket(error) => return error.fmt(f),
            Self::Random => "the random number generator failed",
            Self::Method => "the code is not that of a request",
            Self::Path => "not a path or not a host: a path has to look like `/a/b` or `/a/b?c=1`",
            Self::RequestTooLong => {
                "the request does not fit into a message: are the client's SIZE and max_message large enough?"
            }
            Self::ReplyTooLong => {
                "the reply does not fit into the buffer: is it, or the client's SIZE, large enough?"
            }
            Self::TimedOut => "no answer: is a CoAP server at this address and port?",
            Self::NoResponse => "acknowledged, but no response: is the deadline long enough for the server?",
            Self::Reset => "rejected with a RST: is the peer a CoAP server?",
            Self::BadOption => "the reply has a critical option that is not understood",
            Self::BlockMismatch => "the server's blocks are not those that were asked for",
            Self::Changing => {
                "it changed while its blocks were fetched: ask again later, or for larger blocks"
            }
        })
    }
}

impl<E: core::error::Error + 'static> core::error::Error for Error<E> {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            // As it is shown in the place of this one, what is behind it comes next.
            Self::Socket(error) => error.source(),
            _ => None,
        }
    }
}
