//! What the fuzz targets do, in a library, so that the kept corpus can be replayed without a fuzzer.

#[cfg(fuzzing)]
pub mod handshake;
#[cfg(fuzzing)]
pub mod record;
pub mod script;
pub mod seeds;
mod seeds13;
pub mod world;
