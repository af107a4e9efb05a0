//! What must hold before any test runs: format, lints, documentation, features, the Cortex-M4 build.

use crate::{
    fuzz,
    step::{Result, Steps, cargo, run},
    thumb,
};

/// The library's package.
pub const LIBRARY: &str = "dtls-psk";

/// The protocol versions, of which every build must have one.
const VERSIONS: [&str; 2] = ["dtls12", "dtls13"];

/// The features that build without `std`'s help on a host only.
pub const HOST_ONLY: &[&str] = &["async-io", "std", "tokio"];

pub fn all(steps: &mut Steps) -> Result {
    steps.step("format", || {
        run(cargo().args(["fmt", "--all", "--", "--check"]))?;
        run(cargo().args(["fmt", "--all", "--", "--check"]).current_dir(fuzz::FOLDER))
    })?;
    steps.step("clippy", || clippy(&["--workspace", "--all-targets"]))?;
    // defmt cannot link on a host, so with every feature the code is checked but not run.
    steps.step("clippy, all features together", || {
        clippy(&["--workspace", "--all-targets", "--all-features"])
    })?;
    steps.step("clippy, fuzz targets", || {
        let mut clippy = cargo();
        clippy.args(["clippy", "--all-targets", "--", "-D", "warnings"]);
        run(clippy.current_dir(fuzz::FOLDER))
    })?;
    let features = features()?;
    steps.step("clippy, every feature alone", || {
        clippy(&["--package", LIBRARY, "--lib"])?;
        for version in VERSIONS {
            clippy(&alone(version))?;
            let mut others = features.iter().filter(|feature| !VERSIONS.contains(&feature.as_str()));
            others.try_for_each(|feature| clippy(&alone(&format!("{version},{feature}"))))?;
        }
        Ok(())
    })?;
    steps.step("documentation", || {
        run(cargo()
            .args(["doc", "--workspace", "--no-deps", "--all-features"])
            .env("RUSTDOCFLAGS", "-D warnings"))
    })?;
    thumb::build(steps)
}

fn clippy(arguments: &[&str]) -> Result {
    run(cargo().arg("clippy").args(arguments).args(["--", "-D", "warnings"]))
}

fn alone(features: &str) -> [&str; 6] {
    ["--package", LIBRARY, "--lib", "--no-default-features", "--features", features]
}

/// Every feature of the library, as its manifest has them.
pub fn features() -> Result<Vec<String>> {
    let metadata = cargo_metadata::MetadataCommand::new().no_deps().exec()?;
    let library = metadata
        .packages
        .iter()
        .find(|package| package.name == LIBRARY)
        .ok_or("the library is not in this workspace")?;
    let named = library.features.keys().filter(|name| *name != "default");
    Ok(named.cloned().collect())
}
