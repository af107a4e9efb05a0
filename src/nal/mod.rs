//! Shells that move the datagrams: secure sockets that are themselves `embedded-nal` and `embedded-nal-async` sockets.

#[cfg(feature = "embedded-nal-async")]
pub mod asynch;
#[cfg(feature = "embedded-nal")]
mod blocking;
mod buffered;
#[cfg(feature = "embedded-nal-async")]
mod clients;
mod error;

#[cfg(feature = "embedded-nal")]
pub use blocking::{SecureSocket, SecureStack};
pub use error::Error;
