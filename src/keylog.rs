//! The key log (feature `keylog`): secrets in the NSS format, so that Wireshark can decrypt a capture.

use crate::wire::RANDOM_LEN;

/// Where the secrets of each handshake are written to. For development: whoever holds the log can read everything.
///
/// A line of the NSS format is the label, the client random in hexadecimal and the secret in hexadecimal, with one
/// space between them. For DTLS 1.2 the label is `CLIENT_RANDOM` and the secret the master secret.
///
/// ```
/// use std::sync::Mutex;
/// use dtls_psk::KeyLog;
///
/// #[derive(Default)]
/// struct Lines(Mutex<Vec<String>>);
///
/// impl KeyLog for Lines {
///     fn log(&self, label: &str, client_random: &[u8; 32], secret: &[u8]) {
///         let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
///         self.0.lock().unwrap().push(format!("{label} {} {}", hex(client_random), hex(secret)));
///     }
/// }
/// ```
pub trait KeyLog: Sync {
    /// Takes one secret, as soon as it is known and before the peer has proven anything.
    fn log(&self, label: &str, client_random: &[u8; RANDOM_LEN], secret: &[u8]);
}
