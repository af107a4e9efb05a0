//! What is tried and what was seen to work, for the table that `cargo xtask interop` prints: a line for each, so that a cell
//! that was tried and never worked shows.

use std::{io::Write, path::PathBuf};

use crate::suite::Suite;

/// A cell of the table that is being tried. One that is dropped before it `works` has failed.
#[must_use]
pub struct Cell(String);

/// `ours` is our side's role.
pub fn tries(peer: &str, ours: &str, suite: Suite, feature: &str) -> Cell {
    let cell = format!("{peer}|{feature}|{ours}|{}", suite.short);
    note("tried", &cell);
    Cell(cell)
}

impl Cell {
    pub fn works(self) {
        note("works", &self.0);
    }
}

fn note(what: &str, cell: &str) {
    let folder = folder();
    std::fs::create_dir_all(&folder).unwrap();
    let mut file =
        std::fs::OpenOptions::new().create(true).append(true).open(folder.join("matrix.txt")).unwrap();
    // One write, as other tests write too.
    file.write_all(format!("{what}|{cell}\n").as_bytes()).unwrap();
}

/// Where xtask keeps the peers that it builds.
pub fn folder() -> PathBuf {
    // target/PROFILE/deps/interop-HASH
    let test = std::env::current_exe().unwrap();
    test.ancestors().nth(3).unwrap().join("peers")
}
