//! The tests: `cargo test`, with the peers that the interop tests speak with.

use crate::{
    packages::{self, INTEROP},
    step::{Result, Steps, cargo, run},
};

/// Features that the library's default and its own tests leave out, but that link and run on a host. What is in no list
/// here (`defmt`, `embassy-time`) needs a board to link, and is checked only.
const MORE_FEATURES: &str = "async-io,embedded-nal,keylog,log,rand-core-06,rand-core-09,tokio";

/// Every test there is.
pub fn all(steps: &mut Steps) -> Result {
    packages::ensure(steps, INTEROP)?;
    steps.step("tests", || run(cargo().args(["test", "--workspace", "--features", MORE_FEATURES])))
}

/// Only those against real peers.
pub fn interop(steps: &mut Steps, filter: Option<&str>) -> Result {
    packages::ensure(steps, INTEROP)?;
    steps.step("interop tests", || run(cargo().args(["test", "--test", "interop"]).args(filter)))
}
