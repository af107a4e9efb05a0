//! A while of every fuzz target. The kept corpus is read, never written.

use std::{error::Error, path::PathBuf, process::Command, time::SystemTime};

use crate::{
    packages::find,
    step::{Result, Steps, run},
};

/// The targets' own workspace.
pub const FOLDER: &str = "fuzz";

/// How long each target runs where nothing else was asked for.
pub const SECONDS: u32 = 60;

/// What a fuzzer is run for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// To let a commit pass, or not. It takes the same way each time, as a gate has to say the same of the same commit: nobody's change is
    /// held up by what another run of the one before it would have found as well.
    Gate,
    /// To find what nobody has seen yet: it goes on from what was found before, where chance leads.
    Discovery,
}

pub fn all(steps: &mut Steps, only: Option<&str>, seconds: u32, purpose: Purpose) -> Result {
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
            let kept = format!("{FOLDER}/corpus/{target}");
            std::fs::create_dir_all(&kept)?;
            let from = match purpose {
                Purpose::Gate => gate(target, &kept)?,
                Purpose::Discovery => discovery(target, kept)?,
            };
            let mut fuzz = nightly_fuzz();
            fuzz.args(["run", target]).args(from);
            fuzz.args([format!("-max_total_time={seconds}"), "-timeout=10".into()]);
            let start = SystemTime::now();
            run(&mut fuzz).map_err(|error| with_input(target, start, error))
        })?;
    }
    Ok(())
}

/// How a fuzzer starts that goes on from what it has found before.
fn discovery(target: &str, kept: String) -> Result<Vec<String>> {
    // libFuzzer adds what it finds to the first folder and only reads the second.
    let found = format!("target/fuzz-corpus/{target}");
    std::fs::create_dir_all(&found)?;
    Ok(vec![found, kept, "--".into()])
}

/// How a fuzzer starts that is to take the same way on every machine; how far it gets in its time is all that is left to chance. One
/// seed is not enough for that.
fn gate(target: &str, kept: &str) -> Result<Vec<String>> {
    // What was found before would lead elsewhere.
    let found = format!("target/fuzz-corpus/gate/{target}");
    if std::fs::exists(&found)? {
        std::fs::remove_dir_all(&found)?;
    }
    std::fs::create_dir_all(&found)?;
    // A folder has its files in an order that depends on the file system.
    let inputs = std::fs::read_dir(kept)?.map(|file| Ok(file?.path().display().to_string()));
    let mut inputs = inputs.collect::<Result<Vec<_>>>()?;
    inputs.sort();
    let list = format!("{found}.list");
    std::fs::write(&list, inputs.join(","))?;
    let mut args = vec![found, "--".into(), "-seed=1".into()];
    // Addresses are among the numbers that it sees compared; and once a second, it looks for what others have found.
    args.extend(["-use_cmp=0".into(), "-reload=0".into()]);
    if !inputs.is_empty() {
        args.push(format!("-seed_inputs=@{list}"));
    }
    Ok(args)
}

/// What a fuzzer said, and behind it the input that it kept since it started, if any: the end of a log is what survives of a machine of
/// CI's.
fn with_input(target: &str, start: SystemTime, error: Box<dyn Error>) -> Box<dyn Error> {
    let Some((path, input)) = newest_input(target, start) else { return error };
    format!("{error}\n{}, in base64:\n{}", path.display(), base64(&input)).into()
}

/// The newest of the inputs that a target failed with, and that it kept since then.
fn newest_input(target: &str, since: SystemTime) -> Option<(PathBuf, Vec<u8>)> {
    let files = std::fs::read_dir(format!("{FOLDER}/artifacts/{target}")).ok()?.flatten();
    let dated = files.filter_map(|file| Some((file.metadata().ok()?.modified().ok()?, file.path())));
    let (_, path) = dated.filter(|(modified, _)| *modified >= since).max()?;
    let input = std::fs::read(&path).ok()?;
    Some((path, input))
}

/// RFC 4648 §4.
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let quartets = bytes.chunks(3).flat_map(|chunk| {
        let byte = |at| u32::from(chunk.get(at).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        let letter = move |at| char::from(ALPHABET[(bits >> (18 - 6 * at) & 63) as usize]);
        (0..4).map(move |at| if at <= chunk.len() { letter(at) } else { '=' })
    });
    quartets.collect()
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

#[cfg(test)]
mod tests {
    /// RFC 4648 §10.
    #[test]
    fn base64() {
        let encoded = ["", "Zg==", "Zm8=", "Zm9v", "Zm9vYg==", "Zm9vYmE=", "Zm9vYmFy"];
        for (len, encoded) in encoded.into_iter().enumerate() {
            assert_eq!(super::base64(&b"foobar"[..len]), encoded);
        }
        assert_eq!(super::base64(&[0xFB, 0xEF, 0xBE, 0xFF]), "++++/w==");
    }
}
