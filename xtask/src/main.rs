//! The project's chores, the same for everyone and for CI: `cargo xtask help`.

mod aiocoap;
mod bouncycastle;
mod cells;
mod check;
mod fuzz;
mod matrix;
mod packages;
mod peers;
mod step;
mod test;
mod thumb;
mod wireshark;

use std::{path::Path, process::ExitCode};

use fuzz::Purpose;
use step::{Result, Steps};

const HELP: &str = "\
Usage: cargo xtask COMMAND [OPTIONS]

  test            every test, after installing what they need
  interop [NAME]  only the tests against real peers (NAME: as in `cargo test`), and what works with which
  check           format, clippy, documentation, every feature alone and all together, thumb
  thumb           builds the library for a Cortex-M4
  fuzz [TARGET]   a minute of every fuzz target, or of one
      --seconds N     another length of time for each target
  ci              check, test and fuzz, the same way each time: what CI runs
";

/// What the command line asks for.
enum Command {
    Help,
    Test,
    Interop(Option<String>),
    Check,
    Thumb,
    Fuzz { target: Option<String>, seconds: u32 },
    Ci,
}

fn parse() -> std::result::Result<Command, lexopt::Error> {
    use lexopt::prelude::*;

    let (mut name, mut operand, mut seconds) = (None, None, None);
    let mut parser = lexopt::Parser::from_env();
    while let Some(argument) = parser.next()? {
        match argument {
            Short('h') | Long("help") => return Ok(Command::Help),
            Long("seconds") => seconds = Some(parser.value()?.parse::<u32>()?),
            Value(value) if name.is_none() => name = Some(value.string()?),
            Value(value) if operand.is_none() => operand = Some(value.string()?),
            other => return Err(other.unexpected()),
        }
    }
    let command = match name.as_deref() {
        None | Some("help") => Command::Help,
        Some("test") => Command::Test,
        Some("interop") => Command::Interop(operand.take()),
        Some("check") => Command::Check,
        Some("thumb") => Command::Thumb,
        Some("fuzz") => {
            Command::Fuzz { target: operand.take(), seconds: seconds.take().unwrap_or(fuzz::SECONDS) }
        }
        Some("ci") => Command::Ci,
        Some(unknown) => {
            return Err(format!("no command `{unknown}`: see `cargo xtask help`").into());
        }
    };
    match operand {
        Some(operand) => Err(format!("this command takes no `{operand}`").into()),
        None if seconds.is_some() => Err("--seconds belongs to `fuzz`".into()),
        None => Ok(command),
    }
}

fn run(command: Command, steps: &mut Steps) -> Result {
    match command {
        Command::Help => print!("{HELP}"),
        Command::Test => test::all(steps)?,
        Command::Interop(filter) => test::interop(steps, filter.as_deref())?,
        Command::Check => check::all(steps)?,
        Command::Thumb => thumb::build(steps)?,
        Command::Fuzz { target, seconds } => {
            fuzz::all(steps, target.as_deref(), seconds, Purpose::Discovery)?
        }
        Command::Ci => {
            check::all(steps)?;
            test::all(steps)?;
            fuzz::all(steps, None, fuzz::SECONDS, Purpose::Gate)?;
        }
    }
    Ok(())
}

fn main() -> ExitCode {
    let command = match parse() {
        Ok(command) => command,
        Err(error) => {
            eprintln!("xtask: {error}");
            return ExitCode::from(2);
        }
    };
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut steps = Steps::default();
    let outcome = std::env::set_current_dir(root).map_err(Into::into).and_then(|()| run(command, &mut steps));
    steps.summary();
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\nxtask: {error}");
            ExitCode::FAILURE
        }
    }
}
