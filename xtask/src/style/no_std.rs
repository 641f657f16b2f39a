//! Invariant: `nexios-proto` is `no_std` but for its `deflate` feature, which proves that it does no I/O and reads no
//! clock: without `extern crate std` no path into `std` compiles.

use super::Finding;
use super::source::{SourceFile, Tree, words};

const SOURCES: &str = "crates/nexios-proto/src";

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let files = tree.rust().filter(|file| file.path.starts_with(SOURCES));
    let mut findings = Vec::new();
    for file in files {
        let is_root = file.path.ends_with("src/lib.rs");
        if is_root && !file.code.lines().any(|line| line.trim() == "#![no_std]") {
            findings.push(file.finding(1, "no `#![no_std]`"));
        }
        if !file.path.iter().any(|part| part.to_string_lossy().contains("deflate")) {
            findings.extend(uses_of_std(file));
        }
    }
    findings
}

fn uses_of_std(file: &SourceFile) -> Vec<Finding> {
    let lines: Vec<&str> = file.text.lines().collect();
    let is_for_deflate = |number: usize| number > 1 && lines[number - 2].contains("feature = \"deflate\"");
    let code = file.code_lines();
    let uses = code.filter(|(number, line)| words(line).any(|word| word == "std") && !is_for_deflate(*number));
    uses.map(|(number, _)| file.finding(number, "`std` in a crate without it")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_file(path: &str, text: &str) -> usize {
        let file = SourceFile::new(format!("{SOURCES}/{path}"), text);
        let tree = Tree { files: vec![file], ..Tree::default() };
        check(&tree).len()
    }

    #[test]
    fn the_root_must_say_no_std() {
        assert_eq!(check_file("lib.rs", "#![no_std]\nextern crate alloc;\n"), 0);
        assert_eq!(check_file("lib.rs", "extern crate alloc;\n"), 1);
    }

    #[test]
    fn std_is_for_tests_and_deflate_only() {
        assert_eq!(check_file("frame.rs", "use std::io;\n"), 1);
        assert_eq!(check_file("frame.rs", "#[cfg(test)]\nextern crate std;\n"), 0);
        assert_eq!(check_file("frame.rs", "#[cfg(feature = \"deflate\")]\nextern crate std;\n"), 0);
        assert_eq!(check_file("deflate/window.rs", "use std::io;\n"), 0);
        assert_eq!(check_file("frame.rs", "// std::io\nuse core::fmt;\n"), 0);
    }
}
