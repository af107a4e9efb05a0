//! The judge of captures of DTLS 1.3: Wireshark reads those since 4.4, and Debian 12 has an older one. There, the next
//! release's is unpacked beside the peers, with all that it needs, and nothing of it is installed.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use crate::step::{Result, Steps, run};

/// The first version that opens records of DTLS 1.3.
const FIRST: (u32, u32) = (4, 4);

/// The release of Debian that has it.
const RELEASE: &str = "trixie";

/// Leaves the script `tshark` in this folder, which starts a version that is new enough.
pub fn install(steps: &mut Steps, folder: &Path) -> Result {
    let program = folder.join("tshark");
    if program.exists() {
        return Ok(());
    }
    if version("tshark").is_some_and(|version| version >= FIRST) {
        return write_script(&program, "tshark");
    }
    steps.step("unpack a newer tshark", || {
        let place = folder.join("wireshark");
        unpack(&place)?;
        let root = place.join("root");
        let (loader, libraries) = match std::env::consts::ARCH {
            "x86_64" => ("usr/lib64/ld-linux-x86-64.so.2", "usr/lib/x86_64-linux-gnu"),
            "aarch64" => ("usr/lib/ld-linux-aarch64.so.1", "usr/lib/aarch64-linux-gnu"),
            other => return Err(format!("no tshark {FIRST:?} for {other}: install one").into()),
        };
        let [loader, libraries, tshark] =
            [loader, libraries, "usr/bin/tshark"].map(|path| root.join(path).display().to_string());
        write_script(&program, &format!("'{loader}' --library-path '{libraries}' '{tshark}'"))?;
        match version(&program.display().to_string()) {
            Some(version) if version >= FIRST => Ok(()),
            other => Err(format!("the unpacked tshark is of version {other:?}").into()),
        }
    })
}

/// What `--version` says: `TShark (Wireshark) 4.0.17 ...`.
fn version(program: &str) -> Option<(u32, u32)> {
    let output = Command::new(program).arg("--version").output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let mut numbers = text.split_whitespace().nth(2)?.split('.');
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

fn write_script(program: &Path, command: &str) -> Result {
    std::fs::write(program, format!("#!/bin/sh\nexec {command} \"$@\"\n"))?;
    run(Command::new("chmod").arg("+x").arg(program))
}

/// Fetches and unpacks the release's tshark and everything below it, by apt with a state of its own.
fn unpack(place: &Path) -> Result {
    let _ = std::fs::remove_dir_all(place);
    let [lists, cache, root] = ["lists", "cache", "root"].map(|name| place.join(name));
    for folder in [lists.join("partial"), cache.join("archives/partial"), root.clone()] {
        std::fs::create_dir_all(folder)?;
    }
    let (sources, status) = (place.join("sources.list"), place.join("status"));
    let site = site()?;
    let keys = "/usr/share/keyrings/debian-archive-keyring.gpg";
    std::fs::write(&sources, format!("deb [signed-by={keys}] {site} {RELEASE} main\n"))?;
    // Nothing is there, so that all of it is fetched.
    std::fs::write(&status, "")?;
    let apt = || {
        let mut apt = Command::new("apt-get");
        apt.args(["--quiet", "--quiet", "--yes", "--no-install-recommends"]);
        for (option, value) in [
            ("Dir::Etc::sourcelist", &sources),
            ("Dir::Etc::sourceparts", &PathBuf::from("-")),
            ("Dir::State::lists", &lists),
            ("Dir::State::status", &status),
            ("Dir::Cache", &cache),
        ] {
            apt.arg("-o").arg(format!("{option}={}", value.display()));
        }
        apt
    };
    run(apt().arg("update"))?;
    run(apt().args(["--download-only", "install", "tshark"]))?;
    for package in std::fs::read_dir(cache.join("archives"))? {
        let package = package?.path();
        if package.extension().is_some_and(|extension| extension == "deb") {
            run(Command::new("dpkg-deb").arg("--extract").arg(&package).arg(&root))?;
        }
    }
    // It is of no more use.
    Ok(std::fs::remove_dir_all(&cache)?)
}

/// Where this system has its own packages from.
fn site() -> Result<String> {
    let output = Command::new("apt-get")
        .args(["indextargets", "--format", "$(SITE) $(ORIGIN)", "Component: main"])
        .output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let mut sites = text.lines().filter_map(|line| line.strip_suffix(" Debian"));
    let site = sites.find(|site| !site.ends_with("-security"));
    site.map(str::to_owned).ok_or_else(|| {
        format!("tshark is older than {FIRST:?}, and this is no Debian to take another from: install one")
            .into()
    })
}
