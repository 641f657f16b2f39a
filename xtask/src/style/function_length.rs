//! Functions fit on a screen.

use super::Finding;
use super::source::{SourceFile, Tree, item_end};

const MOST: usize = 80;

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    tree.rust().flat_map(long_functions).collect()
}

fn long_functions(file: &SourceFile) -> Vec<Finding> {
    let lines: Vec<&str> = file.code.lines().collect();
    let starts = file.code_lines().filter(|(_, line)| is_function(line));
    let lengths = starts.map(|(number, _)| (number, item_end(&lines, number - 1) + 2 - number));
    lengths
        .filter(|(_, length)| *length > MOST)
        .map(|(number, length)| file.finding(number, format!("a function of {length} lines, at most {MOST}")))
        .collect()
}

fn is_function(line: &str) -> bool {
    let words = line.trim_start().split([' ', '(']);
    let mut words = words.filter(|word| !word.is_empty());
    let modifiers = ["pub", "const", "async", "unsafe", "extern", "crate)", "super)"];
    words.find(|word| !modifiers.contains(word)) == Some("fn")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_length(head: &str, lines: usize) -> Tree {
        let text = format!("    {head} {{\n{}    }}\n", "        x();\n".repeat(lines - 2));
        Tree { files: vec![SourceFile::new("src/a.rs", &text)], ..Tree::default() }
    }

    #[test]
    fn a_function_of_81_lines_is_found_whatever_stands_before_it() {
        for head in ["fn a()", "pub async fn a()", "pub(crate) const fn a()"] {
            assert_eq!(check(&of_length(head, 80)), [], "{head}");
            assert_eq!(check(&of_length(head, 81)).len(), 1, "{head}");
        }
    }

    #[test]
    fn a_test_may_be_long() {
        let mut tree = of_length("fn a()", 100);
        tree.files[0] = SourceFile::new("tests/a.rs", &tree.files[0].text);
        assert_eq!(check(&tree), []);
    }
}
