//! Reads the test vectors under `tests/vectors`: lines of words, with comments behind `#`.

use std::vec::Vec;

/// The words of each line.
pub(crate) fn lines(file: &str) -> impl Iterator<Item = Vec<&str>> {
    let lines = file.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(|line| line.split_ascii_whitespace().collect())
}

/// The bytes of a hexadecimal word; a dash stands for none.
pub(crate) fn hex(word: &str) -> Vec<u8> {
    let word = word.trim_start_matches('-');
    assert!(word.len().is_multiple_of(2));
    (0..word.len()).step_by(2).map(|at| u8::from_str_radix(&word[at..at + 2], 16).unwrap()).collect()
}
