//! A while of every fuzz target. The kept corpus is read, never written.

use std::process::Command;

use crate::{
    packages::find,
    step::{Result, Steps, run},
};

/// The targets' own workspace.
pub const FOLDER: &str = "fuzz";

/// How long each target runs where nothing else was asked for.
pub const SECONDS: u32 = 60;

pub fn all(steps: &mut Steps, only: Option<&str>, seconds: u32) -> Result {
    if find("cargo-fuzz").is_none() {
        steps.step("install cargo-fuzz", || {
            run(Command::new("cargo").args(["install", "cargo-fuzz", "--locked"]))
        })?;
    }
    let targets = targets()?;
    if let Some(only) = only
        && !targets.iter().any(|target| target == only)
    {
        return Err(format!("no fuzz target `{only}`: there are {}", targets.join(", ")).into());
    }
    for target in targets.iter().filter(|target| only.is_none_or(|only| only == **target)) {
        steps.step(&format!("fuzz {target} for {seconds} s"), || {
            // libFuzzer adds what it finds to the first folder and only reads the second.
            let found = format!("target/fuzz-corpus/{target}");
            let kept = format!("{FOLDER}/corpus/{target}");
            std::fs::create_dir_all(&found)?;
            std::fs::create_dir_all(&kept)?;
            run(nightly_fuzz()
                .args(["run", target, &found, &kept, "--"])
                .args([format!("-max_total_time={seconds}"), "-timeout=10".into()]))
        })?;
    }
    Ok(())
}

/// The targets that `fuzz/Cargo.toml` has.
fn targets() -> Result<Vec<String>> {
    let output = nightly_fuzz().arg("list").output()?;
    if !output.status.success() {
        return Err(format!(
            "`cargo +nightly fuzz list` failed (is a nightly toolchain installed?):\n{}",
            String::from_utf8_lossy(&output.stderr)
        )
        .into());
    }
    let targets: Vec<String> = String::from_utf8(output.stdout)?.lines().map(str::to_owned).collect();
    if targets.is_empty() {
        return Err("there is no fuzz target".into());
    }
    Ok(targets)
}

/// Through rustup's own `cargo`, which knows what `+nightly` means.
fn nightly_fuzz() -> Command {
    let mut command = Command::new("cargo");
    command.args(["+nightly", "fuzz"]);
    command
}
