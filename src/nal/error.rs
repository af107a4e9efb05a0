//! What a secure socket can fail with.

/// An error of the socket underneath, or of DTLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Error<E> {
    /// The socket underneath failed.
    Socket(E),
    /// The association failed, or the call has no place in its state.
    Dtls(crate::Error),
}

impl<E> From<crate::Error> for Error<E> {
    fn from(error: crate::Error) -> Self {
        Self::Dtls(error)
    }
}

impl<E: core::fmt::Display> core::fmt::Display for Error<E> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Socket(error) => write!(f, "the socket failed: {error}"),
            Self::Dtls(error) => error.fmt(f),
        }
    }
}

impl<E: core::error::Error> core::error::Error for Error<E> {}

#[cfg(feature = "embedded-nal-async")]
impl<E: embedded_io_async::Error> embedded_io_async::Error for Error<E> {
    fn kind(&self) -> embedded_io_async::ErrorKind {
        use crate::Error as Dtls;
        use embedded_io_async::ErrorKind;
        match self {
            Self::Socket(error) => error.kind(),
            Self::Dtls(error) => match error {
                Dtls::NotConnected => ErrorKind::NotConnected,
                Dtls::Closed => ErrorKind::ConnectionReset,
                Dtls::AlertReceived(_) => ErrorKind::ConnectionAborted,
                Dtls::NoAnswer | Dtls::NoAnswerToKeyExchange | Dtls::HandshakeTimeout => ErrorKind::TimedOut,
                Dtls::AuthenticationFailed => ErrorKind::PermissionDenied,
                Dtls::BufferTooSmall { .. } => ErrorKind::OutOfMemory,
                Dtls::InvalidConfig(_) | Dtls::PayloadTooLong { .. } => ErrorKind::InvalidInput,
                Dtls::InvalidMessage(_) | Dtls::PeerMisbehaved(_) => ErrorKind::InvalidData,
                _ => ErrorKind::Other,
            },
        }
    }
}
