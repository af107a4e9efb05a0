//! What the fuzz targets do, in a library, so that the kept corpus can be replayed without a fuzzer.

mod attacks13;
mod checks;
mod cipher;
pub mod coap;
mod configs;
#[cfg(fuzzing)]
pub mod handshake;
mod insider;
mod random;
#[cfg(fuzzing)]
pub mod record;
mod saved;
pub mod script;
pub mod seeds;
mod seeds13;
pub mod world;

/// The independent peers of the protocol tests.
#[allow(dead_code, reason = "the tests need more of it")]
#[path = "../../tests/support"]
mod support {
    pub mod craft;
    pub mod parse;
    pub mod raw13;
}
