//! Invariant: the framework never sees opcodes, masks being taken off, or RSV bits.

use super::Finding;
use super::source::{SourceFile, Tree, words};

const FRAMEWORK: &str = "crates/nexios/src";

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let files = tree.rust().filter(|file| file.path.starts_with(FRAMEWORK));
    files.flat_map(wire_words).collect()
}

fn wire_words(file: &SourceFile) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (number, line) in file.code_lines() {
        for word in words(line).filter(|word| is_of_the_wire(word)) {
            findings.push(file.finding(number, format!("`{word}` belongs to nexios-proto")));
        }
    }
    findings
}

fn is_of_the_wire(word: &str) -> bool {
    let word = word.to_lowercase();
    let is_reserved_bit = |part: &str| matches!(part, "rsv" | "rsv1" | "rsv2" | "rsv3");
    word.contains("opcode") || word.contains("unmask") || word.split('_').any(is_reserved_bit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_the_wire_are_found_in_the_framework_only() {
        for (path, text, expected) in [
            ("crates/nexios/src/a.rs", "let o = OpCode::Text;", 1),
            ("crates/nexios/src/a.rs", "header.rsv1 && unmask_in_place()", 2),
            ("crates/nexios/src/a.rs", "// the opcode\nlet reserved = 1;", 0),
            ("crates/nexios-proto/src/a.rs", "let o = OpCode::Text;", 0),
        ] {
            let tree = Tree { files: vec![SourceFile::new(path, text)], ..Tree::default() };
            assert_eq!(check(&tree).len(), expected, "{path} {text}");
        }
    }
}
