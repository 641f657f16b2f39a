//! No test is switched off, and nothing is left for later in the code.

use super::Finding;
use super::source::{SourceFile, Tree};

const IN_CODE: [&str; 3] = ["#[ignore", "todo!(", "unimplemented!("];
const IN_COMMENTS: [&str; 2] = ["FIXME", "XXX"];

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in tree.rust() {
        findings.extend(occurrences(file, &file.code, &IN_CODE));
        findings.extend(occurrences(file, &file.comments, &IN_COMMENTS));
    }
    findings
}

fn occurrences(file: &SourceFile, text: &str, marks: &[&str]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let mark = marks.iter().find(|mark| line.contains(*mark));
        findings.extend(mark.map(|mark| file.finding(index + 1, format!("`{mark}`"))));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_found_where_they_mean_something() {
        let fix = ["FIX", "ME"].concat();
        for (text, expected) in [
            ("#[ignore]\nfn a() {}".to_owned(), 1),
            ("fn a() { todo!() }".to_owned(), 1),
            (format!("// {fix}: later"), 1),
            (format!("let a = \"{fix} todo!()\";"), 0),
        ] {
            let tree = Tree { files: vec![SourceFile::new("src/a.rs", &text)], ..Tree::default() };
            assert_eq!(check(&tree).len(), expected, "{text}");
        }
    }
}
