//! The peer that comes as Java archives: one class of ours over Debian's. See `tests/peers/bouncycastle`.

use std::{path::Path, process::Command};

use crate::step::{Result, Steps, run};

const SOURCE: &str = "tests/peers/bouncycastle/Peer.java";
const ARCHIVES: &str = "/usr/share/java/bctls.jar:/usr/share/java/bcprov.jar:/usr/share/java/bcutil.jar";

/// Compiles it into this folder, with a script beside it that starts it, unless that is newer than the source.
pub fn build(steps: &mut Steps, folder: &Path) -> Result {
    let (classes, program) = (folder.join("bouncycastle"), folder.join("peer-bouncycastle"));
    let modified = |path: &Path| std::fs::metadata(path).and_then(|metadata| metadata.modified());
    if modified(&program).is_ok_and(|built| modified(Path::new(SOURCE)).is_ok_and(|source| source < built)) {
        return Ok(());
    }
    steps.step("build the peer bouncycastle", || {
        // Its collections are of a time before generics.
        let mut javac = Command::new("javac");
        run(javac.args(["-Xlint:none", "-nowarn", "-cp", ARCHIVES, "-d"]).arg(&classes).arg(SOURCE))?;
        let classes = classes.display();
        let script = format!("#!/bin/sh\nexec java -cp '{classes}:{ARCHIVES}' Peer \"$@\"\n");
        std::fs::write(&program, script)?;
        run(Command::new("chmod").arg("+x").arg(&program))
    })
}
