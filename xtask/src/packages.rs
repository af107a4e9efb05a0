//! Debian packages that a command needs: installed where this user may, named where not.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use crate::step::{Result, Steps, run};

/// A file that must be there, and the Debian package that brings it.
pub struct Need {
    /// The name of a program to find in `PATH`, or the absolute path of a file.
    pub file: &'static str,
    pub package: &'static str,
}

const fn need(file: &'static str, package: &'static str) -> Need {
    Need { file, package }
}

/// The peers of the interop tests and the judge of their captures.
pub const INTEROP: &[Need] = &[
    need("coap-client-openssl", "libcoap3-bin"),
    need("coap-client-gnutls", "libcoap3-bin"),
    need("coap-client-notls", "libcoap3-bin"),
    need("coap-server-openssl", "libcoap3-bin"),
    need("coap-server-gnutls", "libcoap3-bin"),
    need("gcc", "gcc"),
    need("openssl", "openssl"),
    need("gnutls-cli", "gnutls-bin"),
    need("gnutls-serv", "gnutls-bin"),
    need("tshark", "tshark"),
    need("text2pcap", "wireshark-common"),
    // For aiocoap: DTLSSocket is built from source.
    need("virtualenv", "virtualenv"),
    need("/usr/bin/python3-config", "python3-dev"),
    need("autoreconf", "autoconf"),
    need("aclocal", "automake"),
    need("pkg-config", "pkg-config"),
    need("make", "make"),
    need("javac", "default-jdk-headless"),
    need("/usr/share/java/bctls.jar", "libbctls-java"),
];

/// A Rust compiler that comes with the sources of `core`.
pub const RUST_WITH_SOURCES: &[Need] = &[
    need("/usr/bin/cargo", "cargo-web"),
    need("/usr/bin/rustc", "rustc-web"),
    need("/usr/lib/rustlib/src/rust/library/core/Cargo.toml", "rust-web-src"),
];

/// Makes sure that all of these are there.
pub fn ensure(steps: &mut Steps, needs: &[Need]) -> Result {
    let mut missing: Vec<_> =
        needs.iter().filter(|need| find(need.file).is_none()).map(|need| need.package).collect();
    missing.sort_unstable();
    missing.dedup();
    if missing.is_empty() {
        return Ok(());
    }
    let list = missing.join(" ");
    if find("apt-get").is_none() || !is_root() {
        return Err(format!(
            "the Debian packages {list} are missing, and this user may not install them.\n\
             Install them once (`sudo apt-get install {list}`), then try again."
        )
        .into());
    }
    steps.step(&format!("install {list}"), || {
        run(apt().arg("update"))?;
        run(apt().args(["install", "-y", "--no-install-recommends"]).args(&missing))?;
        match needs.iter().find(|need| find(need.file).is_none()) {
            Some(Need { file, package }) => {
                Err(format!("{package} is installed now, but {file} is still not there").into())
            }
            None => Ok(()),
        }
    })
}

fn apt() -> Command {
    let mut command = Command::new("apt-get");
    command.arg("--quiet").env("DEBIAN_FRONTEND", "noninteractive");
    command
}

/// Where a program of `PATH`, or the file of an absolute path, is.
pub fn find(file: &str) -> Option<PathBuf> {
    if Path::new(file).is_absolute() {
        return Path::new(file).exists().then(|| file.into());
    }
    std::env::split_paths(&std::env::var_os("PATH")?)
        .map(|folder| folder.join(file))
        .find(|candidate| candidate.is_file())
}

fn is_root() -> bool {
    Command::new("id").arg("-u").output().is_ok_and(|output| output.stdout.trim_ascii() == b"0")
}
