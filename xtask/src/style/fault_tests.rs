//! The tests that `docs/faults.md` names are there.

use std::path::{Path, PathBuf};

use super::Finding;
use super::source::Tree;

const PAGE: &str = "docs/faults.md";

/// First segments of test names, and their folders.
const FOLDERS: [(&str, &str); 6] = [
    ("faults", "crates/nexios/tests/faults"),
    ("it", "crates/nexios/tests/it"),
    ("network", "crates/nexios/tests/network"),
    ("nexios", "crates/nexios/src"),
    ("handshake", "crates/nexios-proto/tests/handshake"),
    ("protocol", "crates/nexios-proto/tests/protocol"),
];

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for page in tree.files.iter().filter(|file| file.path == Path::new(PAGE)) {
        for (index, line) in page.text.lines().enumerate() {
            let missing = names(line).filter(|name| !exists(tree, name));
            findings.extend(missing.map(|name| page.finding(index + 1, format!("no test `{name}`"))));
        }
    }
    findings
}

/// The module paths in backticks; a path of a type begins with a capital letter.
fn names(line: &str) -> impl Iterator<Item = &str> {
    let quoted = line.split('`').skip(1).step_by(2);
    quoted.filter(|name| name.contains("::") && name.starts_with(|c: char| c.is_ascii_lowercase()))
}

fn exists(tree: &Tree, name: &str) -> bool {
    let parts: Vec<&str> = name.split("::").collect();
    let [first, modules @ .., test] = &*parts else { return false };
    let Some((_, folder)) = FOLDERS.iter().find(|(name, _)| name == first) else { return false };
    let path = modules.iter().fold(PathBuf::from(folder), |path, module| path.join(module)).with_extension("rs");
    let mut files = tree.files.iter().filter(|file| file.path == path);
    files.any(|file| file.code.contains(&format!("fn {test}(")))
}

#[cfg(test)]
mod tests {
    use super::super::source::SourceFile;
    use super::*;

    #[test]
    fn names_of_tests_that_are_not_there_are_found() {
        for (text, expected) in [
            ("`faults::a::b` and `it::c::d::e`", 0),
            ("`faults::a::other`", 1),
            ("`faults::other::b`", 1),
            ("`elsewhere::a::b`, `faults::b`", 2),
            ("`ServerConfig::head_size`, `Limit`, faults::a::other", 0),
        ] {
            let files = [
                (PAGE, text),
                ("crates/nexios/tests/faults/a.rs", "fn b() {}\n// fn other() {}"),
                ("crates/nexios/tests/it/c/d.rs", "async fn e() {}"),
            ];
            let files = files.map(|(path, text)| SourceFile::new(path, text)).into();
            let tree = Tree { files, ..Tree::default() };
            assert_eq!(check(&tree).len(), expected, "{text}");
        }
    }
}
