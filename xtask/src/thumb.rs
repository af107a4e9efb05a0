//! Building the library for a Cortex-M4.

use std::process::Command;

use crate::{
    check::{self, HOST_ONLY, LIBRARY},
    packages,
    step::{Result, Steps, cargo, run},
};

const TARGET: &str = "thumbv7em-none-eabihf";

/// Builds the library with the least, the default and all features that need no operating system.
pub fn build(steps: &mut Steps) -> Result {
    let toolchain = Toolchain::find(steps)?;
    let everything = check::features()?
        .into_iter()
        .filter(|feature| !HOST_ONLY.contains(&feature.as_str()))
        .collect::<Vec<_>>()
        .join(",");
    for (heading, arguments) in [
        ("dtls12 alone", &["--no-default-features", "--features", "dtls12"][..]),
        ("dtls13 alone", &["--no-default-features", "--features", "dtls13"]),
        ("default features", &[]),
        ("all features without std", &["--features", &everything]),
    ] {
        steps.step(&format!("{TARGET}, {heading}"), || run(toolchain.build().args(arguments)))?;
    }
    Ok(())
}

/// Where a `core` for the target comes from.
enum Toolchain {
    /// `rustup target add` brought it.
    Rustup,
    /// Debian's compiler, which builds it from the sources beside it.
    Debian,
}

impl Toolchain {
    fn find(steps: &mut Steps) -> Result<Self> {
        if has_target() {
            return Ok(Self::Rustup);
        }
        println!("the target {TARGET} is not installed: trying Debian's compiler and sources");
        match packages::ensure(steps, packages::RUST_WITH_SOURCES) {
            Ok(()) => Ok(Self::Debian),
            Err(error) => Err(format!(
                "no `core` for {TARGET}: run `rustup target add {TARGET}`. Or, with Debian's:\n{error}"
            )
            .into()),
        }
    }

    /// `cargo build` of the library for the target.
    fn build(&self) -> Command {
        let mut command = match self {
            Self::Rustup => cargo(),
            Self::Debian => {
                let mut command = Command::new("/usr/bin/cargo");
                command.env("RUSTC", "/usr/bin/rustc").env("RUSTC_BOOTSTRAP", "1");
                command
            }
        };
        command.args(["build", "--package", LIBRARY, "--lib", "--release"]);
        command.args(["--target", TARGET]);
        if matches!(self, Self::Debian) {
            command.arg("-Zbuild-std=core");
        }
        command
    }
}

/// Whether the compiler that cargo uses has the target's `core`.
fn has_target() -> bool {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    Command::new(rustc).args(["--print", "target-libdir", "--target", TARGET]).output().is_ok_and(|output| {
        let folder = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        output.status.success() && std::path::Path::new(&folder).is_dir()
    })
}
