//! What was seen to work, for the table that `cargo xtask interop` prints: one line for each cell, written once it is proven.

use std::io::Write;

use crate::suite::Suite;

/// `ours` is our side's role.
pub fn works(peer: &str, ours: &str, suite: Suite, feature: &str) {
    // target/PROFILE/deps/interop-HASH
    let test = std::env::current_exe().unwrap();
    let folder = test.ancestors().nth(3).unwrap().join("peers");
    std::fs::create_dir_all(&folder).unwrap();
    let mut file =
        std::fs::OpenOptions::new().create(true).append(true).open(folder.join("matrix.txt")).unwrap();
    // One write, as other tests write too.
    file.write_all(format!("{peer}|{ours}|{feature}|{}\n", suite.short).as_bytes()).unwrap();
}
