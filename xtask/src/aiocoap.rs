//! The peer that comes as Python packages, in a virtual environment of its own. See `tests/peers/aiocoap`.

use std::{path::Path, process::Command};

use crate::step::{Result, Steps, run};

const FOLDER: &str = "tests/peers/aiocoap";

/// In the order in which they are installed: what comes as source finds there what it is built with.
const REQUIREMENTS: [&str; 2] = ["build.txt", "requirements.txt"];

/// Installs the pinned versions below this folder, unless they are there.
pub fn install(steps: &mut Steps, folder: &Path) -> Result {
    let mut wanted = String::new();
    for file in REQUIREMENTS {
        wanted += &std::fs::read_to_string(format!("{FOLDER}/{file}"))?;
    }
    let environment = folder.join("aiocoap");
    // Written last, so that an installation that was broken off begins anew.
    let installed = environment.join("installed.txt");
    if std::fs::read_to_string(&installed).is_ok_and(|installed| installed == wanted) {
        return Ok(());
    }
    steps.step("install the peer aiocoap", || {
        run(Command::new("virtualenv").args(["--quiet", "--clear"]).arg(&environment))?;
        for file in REQUIREMENTS {
            let mut pip = Command::new(environment.join("bin/pip"));
            pip.args(["install", "--quiet", "--disable-pip-version-check", "--no-build-isolation", "-r"]);
            run(pip.arg(format!("{FOLDER}/{file}")))?;
        }
        Ok(std::fs::write(&installed, wanted)?)
    })
}
