//! The table of what our side was seen to do with each peer: the tests write a line for each cell that they have proven.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
};

use crate::step::Result;

const SUITES: [&str; 4] = ["CCM_8", "CCM", "GCM", "ECDHE_GCM"];

fn file() -> Result<PathBuf> {
    let metadata = cargo_metadata::MetadataCommand::new().no_deps().exec()?;
    Ok(metadata.target_directory.into_std_path_buf().join("peers/matrix.txt"))
}

/// Forgets what earlier runs have seen.
pub fn clear() -> Result {
    let file = file()?;
    if file.exists() {
        std::fs::remove_file(file)?;
    }
    Ok(())
}

/// Prints what this run has seen. A `-` is a cell that was not tried, mostly because the peer does not have it.
pub fn print() -> Result {
    let file = file()?;
    let text = if file.exists() { std::fs::read_to_string(file)? } else { String::new() };
    let mut rows: BTreeMap<[&str; 3], BTreeSet<&str>> = BTreeMap::new();
    for line in text.lines() {
        if let [peer, ours, feature, suite] = line.split('|').collect::<Vec<_>>()[..] {
            rows.entry([peer, feature, ours]).or_default().insert(suite);
        }
    }
    println!(
        "\n{:<20}{:<34}{:<8}{}",
        "peer",
        "feature",
        "we are",
        SUITES.map(|suite| format!("{suite:>11}")).concat()
    );
    for ([peer, feature, ours], suites) in rows {
        let cells = SUITES.map(|suite| format!("{:>11}", if suites.contains(suite) { "ok" } else { "-" }));
        println!("{peer:<20}{feature:<34}{ours:<8}{}", cells.concat());
    }
    Ok(())
}
