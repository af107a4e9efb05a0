//! The table of what our side can do with each peer. The tests write a line when they try a cell, and another when it works.

use std::{collections::BTreeMap, path::PathBuf};

use crate::{
    cells::{Cell, FEATURES, PEERS, ROLES, SUITES},
    step::Result,
};

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

/// How often a cell was tried, and how often it worked.
#[derive(Clone, Copy, Default)]
struct Tries {
    tried: u32,
    worked: u32,
}

/// What the tests have written.
fn read(text: &str) -> Result<BTreeMap<Cell<'_>, Tries>> {
    let mut cells: BTreeMap<_, Tries> = BTreeMap::new();
    for line in text.lines() {
        let [what, peer, feature, role, suite] = line.split('|').collect::<Vec<_>>()[..] else {
            return Err(format!("not a line of the matrix: {line}").into());
        };
        let cell = Cell { peer, feature, role, suite };
        if !cell.exists() {
            return Err(format!("the matrix has no such cell: {line}").into());
        }
        let tries = cells.entry(cell).or_default();
        match what {
            "tried" => tries.tried += 1,
            _ => tries.worked += 1,
        }
    }
    Ok(cells)
}

/// The table as it grows.
#[derive(Default)]
struct Table {
    reasons: Vec<&'static str>,
    worked: usize,
    failed: usize,
    untried: usize,
    impossible: usize,
}

impl Table {
    /// What stands in a cell.
    fn entry(&mut self, cell: &Cell<'_>, tries: Option<&Tries>) -> String {
        match (tries, cell.is_impossible_since()) {
            (Some(tries), _) if tries.worked < tries.tried => {
                self.failed += 1;
                "FAILED".into()
            }
            (Some(_), None) => {
                self.worked += 1;
                "ok".into()
            }
            // It does work: the reason is no longer true.
            (Some(_), Some(_)) => {
                self.failed += 1;
                "ok after all".into()
            }
            (None, Some(reason)) => {
                self.impossible += 1;
                let known = self.reasons.iter().position(|known| *known == reason);
                let number = known.unwrap_or_else(|| {
                    self.reasons.push(reason);
                    self.reasons.len() - 1
                });
                format!("[{}]", number + 1)
            }
            (None, None) => {
                self.untried += 1;
                "-".into()
            }
        }
    }
}

/// Which rows are printed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Rows {
    All,
    /// Only those of which something was tried.
    Tried,
}

/// Prints what this run has seen, and fails where a cell failed, or worked although xtask takes that for impossible.
pub fn print(which: Rows) -> Result {
    let file = file()?;
    let text = if file.exists() { std::fs::read_to_string(file)? } else { String::new() };
    let cells = read(&text)?;
    let mut table = Table::default();
    let heads = SUITES.map(|suite| format!("{suite:>13}")).concat();
    println!("\n{:<19}{:<29}{:<7}{heads}", "peer", "feature", "we are");
    for peer in PEERS {
        for feature in FEATURES {
            let tried = cells.keys().any(|cell| (cell.peer, cell.feature) == (peer, feature));
            if which == Rows::Tried && !tried {
                continue;
            }
            let rows = ROLES.map(|role| {
                SUITES
                    .map(|suite| {
                        let cell = Cell { peer, feature, role, suite };
                        format!("{:>13}", table.entry(&cell, cells.get(&cell)))
                    })
                    .concat()
            });
            // Both roles in one line where they are alike.
            if rows[0] == rows[1] {
                println!("{peer:<19}{feature:<29}{:<7}{}", "either", rows[0]);
            } else {
                for (role, row) in ROLES.iter().zip(rows) {
                    println!("{peer:<19}{feature:<29}{role:<7}{row}");
                }
            }
        }
    }
    println!("\n-: not tried in this run");
    for (number, reason) in (1..).zip(&table.reasons) {
        println!("[{number}]: {reason}");
    }
    let Table { worked, failed, untried, impossible, .. } = table;
    println!("cells: {worked} worked, {failed} failed, {untried} not tried, {impossible} impossible");
    if failed > 0 { Err(format!("{failed} cells of the interop matrix failed").into()) } else { Ok(()) }
}
