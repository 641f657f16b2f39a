//! A file is named after its concept; these names are for what nobody found a place for.

use super::Finding;
use super::source::Tree;

const NAMES: [&str; 8] = ["utils", "util", "helpers", "helper", "common", "misc", "shared", "stuff"];

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in tree.files.iter().filter(|file| !file.path.ends_with("Cargo.toml")) {
        let stem = file.path.with_extension("");
        let bad = stem.iter().find(|part| NAMES.iter().any(|name| part == name));
        if let Some(name) = bad {
            let text = format!("`{}` names no concept", name.to_string_lossy());
            findings.push(file.finding(1, text));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::super::source::SourceFile;
    use super::*;

    #[test]
    fn files_and_folders_without_a_concept_are_found() {
        for (path, expected) in
            [("src/utils.rs", 1), ("tests/common/mod.rs", 1), ("src/close.rs", 0), ("src/utility_belt.rs", 0)]
        {
            let tree = Tree { files: vec![SourceFile::new(path, "")], ..Tree::default() };
            assert_eq!(check(&tree).len(), expected, "{path}");
        }
    }
}
