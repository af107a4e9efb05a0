//! One set of macros over `defmt` and `log`; where both are on, `defmt` wins. Never given a key.

#[cfg(feature = "defmt")]
macro_rules! debug {
    ($($arg:tt)*) => { defmt::debug!($($arg)*) };
}

#[cfg(feature = "defmt")]
macro_rules! info {
    ($($arg:tt)*) => { defmt::info!($($arg)*) };
}

#[cfg(feature = "defmt")]
macro_rules! warning {
    ($($arg:tt)*) => { defmt::warn!($($arg)*) };
}

#[cfg(all(feature = "log", not(feature = "defmt")))]
macro_rules! debug {
    ($($arg:tt)*) => { log::debug!($($arg)*) };
}

#[cfg(all(feature = "log", not(feature = "defmt")))]
macro_rules! info {
    ($($arg:tt)*) => { log::info!($($arg)*) };
}

#[cfg(all(feature = "log", not(feature = "defmt")))]
macro_rules! warning {
    ($($arg:tt)*) => { log::warn!($($arg)*) };
}

/// Without a logger the arguments are looked at, so that they count as used, and nothing else.
#[cfg(not(any(feature = "defmt", feature = "log")))]
macro_rules! nothing {
    ($format:literal $(, $arg:expr)* $(,)?) => {{ $( let _ = &$arg; )* }};
}

#[cfg(any(feature = "defmt", feature = "log"))]
pub(crate) use {debug, info, warning};
#[cfg(not(any(feature = "defmt", feature = "log")))]
pub(crate) use {nothing as debug, nothing as info, nothing as warning};
