//! Running commands, one headed and timed step after the other, until the first that fails.

use std::{
    process::Command,
    time::{Duration, Instant},
};

pub type Result<T = ()> = std::result::Result<T, Box<dyn std::error::Error>>;

/// The steps taken so far.
#[derive(Default)]
pub struct Steps {
    taken: Vec<(String, Duration, bool)>,
}

impl Steps {
    /// Takes one step: prints its heading, does the work and prints how long that took.
    pub fn step(&mut self, heading: &str, work: impl FnOnce() -> Result) -> Result {
        println!("\n==> {heading}");
        let start = Instant::now();
        let outcome = work();
        let took = start.elapsed();
        let verdict = if outcome.is_ok() { "done" } else { "FAILED" };
        println!("==> {heading}: {verdict} after {:.1} s", took.as_secs_f32());
        self.taken.push((heading.to_owned(), took, outcome.is_ok()));
        outcome.map_err(|error| format!("{heading}: {error}").into())
    }

    /// Prints what was done and how long each step took.
    pub fn summary(&self) {
        if self.taken.is_empty() {
            return;
        }
        println!();
        for (heading, took, passed) in &self.taken {
            let verdict = if *passed { "  ok  " } else { "FAILED" };
            println!("{verdict} {:7.1} s  {heading}", took.as_secs_f32());
        }
        let passed = self.taken.iter().filter(|(_, _, passed)| *passed).count();
        println!("steps: {passed} passed, {} failed", self.taken.len() - passed);
    }
}

/// The cargo that runs this program.
pub fn cargo() -> Command {
    Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// Runs a command, showing it first; fails with its exit code.
pub fn run(command: &mut Command) -> Result {
    println!("$ {}", shown(command));
    let status = command.status().map_err(|error| format!("`{}` cannot start: {error}", shown(command)))?;
    if status.success() { Ok(()) } else { Err(format!("`{}` failed: {status}", shown(command)).into()) }
}

/// The command as one would type it.
fn shown(command: &Command) -> String {
    let environment = command.get_envs().filter_map(|(name, value)| {
        let value = value?.to_string_lossy();
        Some(format!("{}={value:?}", name.to_string_lossy()))
    });
    let program = std::path::Path::new(command.get_program()).file_name().unwrap_or(command.get_program());
    let words = std::iter::once(program).chain(command.get_args());
    environment.chain(words.map(|word| word.to_string_lossy().into_owned())).collect::<Vec<_>>().join(" ")
}
