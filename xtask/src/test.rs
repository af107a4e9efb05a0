//! The tests: `cargo test`, with the peers that the interop tests speak with.

use crate::{
    check, fuzz,
    matrix::{self, Rows},
    packages::{self, INTEROP},
    peers,
    step::{Result, Steps, cargo, run},
};

/// The features that need a board to link: they are checked, and left out of the tests.
const BOARD_ONLY: &[&str] = &["defmt", "embassy-time"];

/// How many tests run at a time: those against peers wait most of it, for timeouts and for refusals.
const THREADS: &str = "6";

/// Every test there is.
pub fn all(steps: &mut Steps) -> Result {
    packages::ensure(steps, INTEROP)?;
    peers::build(steps)?;
    let features = check::features()?
        .into_iter()
        .filter(|feature| !BOARD_ONLY.contains(&feature.as_str()))
        .collect::<Vec<_>>()
        .join(",");
    matrix::clear()?;
    let outcome = steps.step("tests", || {
        let mut test = cargo();
        test.args(["test", "--workspace", "--features", &features]);
        run(test.env("RUST_TEST_THREADS", THREADS))
    });
    let seen = matrix::print(Rows::All);
    outcome.and(seen)?;
    // What is left behind of secrets depends on how the values are moved, so on the optimiser.
    steps.step("tests of the endpoint, optimised", || {
        run(cargo().args(["test", "--release", "--features", &features, "--test", "endpoint"]))
    })?;
    // A workspace of its own, whose flags are in its own folder.
    steps.step("tests of the fuzz targets", || run(cargo().arg("test").current_dir(fuzz::FOLDER)))
}

/// Only those against real peers.
pub fn interop(steps: &mut Steps, filter: Option<&str>) -> Result {
    packages::ensure(steps, INTEROP)?;
    peers::build(steps)?;
    matrix::clear()?;
    let outcome = steps.step("interop tests", || {
        let mut test = cargo();
        test.args(["test", "--features", "x25519", "--test", "interop"]).args(filter);
        run(test.env("RUST_TEST_THREADS", THREADS))
    });
    let seen = matrix::print(if filter.is_some() { Rows::Tried } else { Rows::All });
    outcome.and(seen)
}
