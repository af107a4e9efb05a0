//! Caps that the environment of a build lowers.

/// Reads a cap from the build's environment.
#[allow(clippy::panic, reason = "it happens while compiling, or never")]
pub(crate) const fn cap(value: Option<&str>, default: usize) -> usize {
    let Some(value) = value else { return default };
    match usize::from_str_radix(value, 10) {
        Ok(cap) if cap > 0 && cap <= default => cap,
        _ => panic!("a DTLS_PSK_MAX_… cap is no number between 1 and its default"),
    }
}
