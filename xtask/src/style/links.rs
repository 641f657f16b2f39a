//! Links in Markdown lead to files that are there.

use std::path::Path;

use super::Finding;
use super::source::{SourceFile, Tree};

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let pages = tree.of_kind("md");
    pages.flat_map(|page| dead_links(page, &tree.root)).collect()
}

fn dead_links(page: &SourceFile, root: &Path) -> Vec<Finding> {
    let folder = root.join(page.path.parent().unwrap_or(Path::new("")));
    let mut findings = Vec::new();
    let mut in_code = false;
    for (index, line) in page.text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            in_code = !in_code;
        }
        for target in targets(line).filter(|_| !in_code) {
            let file = target.split('#').next().unwrap_or_default();
            if is_file(file) && !folder.join(file).exists() {
                findings.push(page.finding(index + 1, format!("no file `{file}`")));
            }
        }
    }
    findings
}

/// `[text](target)` and `[name]: target`.
fn targets(line: &str) -> impl Iterator<Item = &str> {
    let inline = line.split("](").skip(1);
    let inline = inline.filter_map(|rest| rest.split([')', ' ']).next());
    let reference = line.strip_prefix('[').and_then(|rest| rest.split_once("]: "));
    inline.chain(reference.map(|(_, target)| target.trim()))
}

/// Pages that become rustdoc also link to items (`crate::App`), which rustdoc itself checks.
fn is_file(target: &str) -> bool {
    let elsewhere = target.contains("://") || target.starts_with("mailto:");
    let item = target.contains("::") || !target.contains(['.', '/']);
    !target.is_empty() && !elsewhere && !item
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_to_files_that_are_not_there_are_found() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        for (text, expected) in [
            ("[a](Cargo.toml) [b](no-such.md)", 1),
            ("[a]: no-such.md", 1),
            ("[a](Cargo.toml#top) [b](#top)", 0),
            ("[a](https://example.com/no-such.md)", 0),
            ("[`App`](crate::App) [b](App)", 0),
            ("```\n[a](no-such.md)\n```", 0),
        ] {
            let page = SourceFile::new("README.md", text);
            assert_eq!(dead_links(&page, root).len(), expected, "{text}");
        }
    }
}
