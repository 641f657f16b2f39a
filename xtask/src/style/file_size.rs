//! Files of about 200 lines, 600 at the very most; tests are not counted.

use super::Finding;
use super::source::{SourceFile, Tree};

const MEDIAN: usize = 200;
const SOFT: usize = 400;
const HARD: usize = 600;

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let too_long = counted(tree).filter(|(_, lines)| *lines > HARD);
    let mut findings: Vec<Finding> =
        too_long.map(|(file, lines)| file.finding(HARD, format!("{lines} lines, at most {HARD}"))).collect();
    if median(tree) > MEDIAN {
        findings.push(Finding {
            path: tree.root.clone(),
            line: 0,
            text: format!("the median file has {} lines, at most {MEDIAN}", median(tree)),
        });
    }
    findings
}

pub(super) fn warnings(tree: &Tree) -> Vec<Finding> {
    let long = counted(tree).filter(|(_, lines)| (SOFT + 1..=HARD).contains(lines));
    long.map(|(file, lines)| file.finding(SOFT, format!("{lines} lines, better {SOFT}"))).collect()
}

pub(super) fn figures(tree: &Tree) -> String {
    format!("{} files, median {} lines", counted(tree).count(), median(tree))
}

fn counted(tree: &Tree) -> impl Iterator<Item = (&SourceFile, usize)> {
    let files = tree.files.iter().filter(|file| {
        let extension = file.path.extension();
        extension.is_some_and(|e| e == "rs" || e == "py" || e == "mjs") && !file.is_test_file()
    });
    files.map(|file| (file, file.code_lines().count()))
}

fn median(tree: &Tree) -> usize {
    let mut lines: Vec<usize> = counted(tree).map(|(_, lines)| lines).collect();
    lines.sort_unstable();
    lines.get(lines.len() / 2).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(lines: usize) -> Tree {
        let long = SourceFile::new("src/long.rs", &"x\n".repeat(lines));
        let short = SourceFile::new("src/short.rs", "x\n");
        let small = SourceFile::new("src/small.rs", "x\n");
        Tree { files: vec![long, short, small], ..Tree::default() }
    }

    #[test]
    fn a_file_over_the_hard_limit_is_found() {
        assert_eq!(check(&tree(600)), []);
        assert_eq!(check(&tree(601)).len(), 1);
    }

    #[test]
    fn a_file_between_the_limits_is_a_warning() {
        assert_eq!(warnings(&tree(400)), []);
        assert_eq!(warnings(&tree(401)).len(), 1);
        assert_eq!(warnings(&tree(601)), []);
    }

    #[test]
    fn the_median_counts_as_well() {
        let mut tree = tree(1);
        for file in &mut tree.files {
            *file = SourceFile::new("src/a.rs", &"x\n".repeat(201));
        }
        assert_eq!(check(&tree).len(), 1);
    }
}
