//! Invariant: only `nexios-proto` may have `unsafe`.

use super::Finding;
use super::source::{SourceFile, Tree, words};

const ALLOWED: &str = "crates/nexios-proto";

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let files = tree.rust().filter(|file| !file.path.starts_with(ALLOWED));
    files.flat_map(unsafe_lines).collect()
}

fn unsafe_lines(file: &SourceFile) -> Vec<Finding> {
    let lines = file.code.lines().enumerate();
    lines
        .filter(|(_, line)| words(line).any(|word| word == "unsafe"))
        .map(|(index, _)| file.finding(index + 1, format!("`unsafe` outside {ALLOWED}")))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unsafe_is_found_in_code_only_and_not_in_proto() {
        for (path, text, expected) in [
            ("crates/nexios/src/a.rs", "unsafe { x() }", 1),
            ("crates/nexios/src/a.rs", "// unsafe\n\"unsafe\"", 0),
            ("crates/nexios/src/a.rs", "#![forbid(unsafe_code)]", 0),
            ("crates/nexios-proto/src/a.rs", "unsafe { x() }", 0),
        ] {
            let tree = Tree { files: vec![SourceFile::new(path, text)], ..Tree::default() };
            assert_eq!(check(&tree).len(), expected, "{path} {text}");
        }
    }
}
