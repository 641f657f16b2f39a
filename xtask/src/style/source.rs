//! The files of the repository, and what in them is code, comment or test.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::Finding;

const SKIPPED_FOLDERS: [&str; 3] = ["target", "node_modules", "__pycache__"];
const KINDS: [&str; 6] = ["rs", "md", "py", "mjs", "sh", "toml"];

#[derive(Default)]
pub(super) struct Tree {
    pub(super) root: PathBuf,
    pub(super) files: Vec<SourceFile>,
}

impl Tree {
    pub(super) fn load(root: &Path) -> io::Result<Self> {
        let mut tree = Self { root: root.to_owned(), files: Vec::new() };
        tree.read_folder(root)?;
        tree.files.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(tree)
    }

    pub(super) fn rust(&self) -> impl Iterator<Item = &SourceFile> {
        self.of_kind("rs")
    }

    pub(super) fn of_kind(&self, extension: &str) -> impl Iterator<Item = &SourceFile> {
        self.files.iter().filter(move |file| file.path.extension().is_some_and(|e| e == extension))
    }

    fn read_folder(&mut self, folder: &Path) -> io::Result<()> {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.starts_with('.') || SKIPPED_FOLDERS.contains(&name.as_str()) {
                continue;
            }
            let path = entry.path();
            if entry.file_type()?.is_dir() {
                self.read_folder(&path)?;
            } else if path.extension().is_some_and(|e| KINDS.iter().any(|k| e == *k)) {
                let relative = path.strip_prefix(&self.root).unwrap_or(&path);
                let text = fs::read_to_string(&path)?;
                self.files.push(SourceFile::new(relative, &text));
            }
        }
        Ok(())
    }
}

pub(super) struct SourceFile {
    /// Below the root of the repository.
    pub(super) path: PathBuf,
    pub(super) text: String,
    /// The text of a Rust file with comments and literals blanked, line for line.
    pub(super) code: String,
    /// The text of a Rust file with all but comments blanked, line for line.
    pub(super) comments: String,
}

impl SourceFile {
    pub(super) fn new(path: impl AsRef<Path>, text: &str) -> Self {
        let path = path.as_ref().to_owned();
        let (code, comments) = if path.extension().is_some_and(|e| e == "rs") {
            split_comments(text)
        } else {
            (text.to_owned(), text.to_owned())
        };
        Self { path, text: text.to_owned(), code, comments }
    }

    pub(super) fn is_test_file(&self) -> bool {
        let mut parts = self.path.iter().map(|part| part.to_string_lossy());
        parts.any(|part| part == "tests" || part == "benches" || part == "tests.rs")
    }

    /// The numbered lines of code outside tests.
    pub(super) fn code_lines(&self) -> impl Iterator<Item = (usize, &str)> {
        let tests = self.test_lines();
        let lines = self.code.lines().enumerate();
        lines.filter(move |(index, _)| !tests[*index]).map(|(index, line)| (index + 1, line))
    }

    pub(super) fn finding(&self, line: usize, text: impl Into<String>) -> Finding {
        Finding { path: self.path.clone(), line, text: text.into() }
    }

    /// Which lines belong to tests: all of a test file, or the items behind `#[cfg(test)]`.
    ///
    /// rustfmt puts the end of an item on a line of its own that is indented like its beginning.
    fn test_lines(&self) -> Vec<bool> {
        let lines: Vec<&str> = self.code.lines().collect();
        let mut tests = vec![self.is_test_file(); lines.len()];
        let mut index = 0;
        while index < lines.len() {
            if is_test_attribute(lines[index]) {
                let end = item_end(&lines, index);
                tests[index..=end].fill(true);
                index = end;
            }
            index += 1;
        }
        tests
    }
}

/// The identifiers and keywords of a line of code.
pub(super) fn words(line: &str) -> impl Iterator<Item = &str> {
    line.split(|c: char| !c.is_alphanumeric() && c != '_')
}

fn indent(line: &str) -> usize {
    line.len() - line.trim_start().len()
}

/// The index of the last line of the item that begins at or, after its attributes, below `start`.
pub(super) fn item_end(lines: &[&str], start: usize) -> usize {
    let margin = indent(lines[start]);
    let last = lines.len() - 1;
    let is_attribute = |line: &str| line.trim_start().starts_with("#[") || line.trim().is_empty();
    let Some(first) = (start..=last).find(|&i| !is_attribute(lines[i])) else {
        return last;
    };
    if lines[first].ends_with([';', '}', ',']) {
        return first;
    }
    let closes = |line: &str| {
        let line_end = line.trim_start().starts_with('}') || line.ends_with(';');
        indent(line) < margin && !line.is_empty() || indent(line) == margin && line_end
    };
    (first + 1..=last).find(|&i| closes(lines[i])).unwrap_or(last)
}

fn is_test_attribute(line: &str) -> bool {
    let line = line.trim_start();
    line.starts_with("#[cfg(test)]") || line.starts_with("#[cfg(all(test")
}

/// -> (code, comments), both with the line breaks of the text.
fn split_comments(text: &str) -> (String, String) {
    let (mut code, mut comments) = (String::new(), String::new());
    let mut rest = text;
    while !rest.is_empty() {
        let (kind, length) = token(rest, &code);
        let (piece, tail) = rest.split_at(length);
        let blank = || piece.chars().map(|c| if c == '\n' { c } else { ' ' });
        match kind {
            Token::Code => {
                code.push_str(piece);
                comments.extend(blank());
            }
            Token::Comment => {
                code.extend(blank());
                comments.push_str(piece);
            }
            Token::Literal => {
                code.extend(blank());
                comments.extend(blank());
            }
        }
        rest = tail;
    }
    (code, comments)
}

enum Token {
    Code,
    Comment,
    Literal,
}

/// The kind of the token at the beginning of the text, and its length in bytes. `before` is the code so far.
fn token(rest: &str, before: &str) -> (Token, usize) {
    let length_to = |end: &str, from: usize| rest[from..].find(end).map_or(rest.len(), |at| from + at + end.len());
    let in_word = before.ends_with(|c: char| c.is_alphanumeric() || c == '_');
    if rest.starts_with("//") {
        (Token::Comment, rest.find('\n').unwrap_or(rest.len()))
    } else if rest.starts_with("/*") {
        (Token::Comment, length_to("*/", 2))
    } else if let Some(hashes) = raw_string(rest).filter(|_| !in_word) {
        let open = rest.find('"').unwrap_or(0) + 1;
        (Token::Literal, length_to(&format!("\"{hashes}"), open))
    } else if rest.starts_with('"') {
        (Token::Literal, quoted(rest, '"'))
    } else if is_char_literal(rest) {
        (Token::Literal, quoted(rest, '\''))
    } else {
        (Token::Code, rest.chars().next().map_or(1, char::len_utf8))
    }
}

/// The hashes of a raw string at the beginning, `r"`, `r#"`, `br#"` and so on.
fn raw_string(rest: &str) -> Option<&str> {
    let body = rest.strip_prefix('b').unwrap_or(rest).strip_prefix('r')?;
    let hashes = body.len() - body.trim_start_matches('#').len();
    body[hashes..].starts_with('"').then(|| &body[..hashes])
}

/// A lifetime begins like a character, but has no quote behind its first letter.
fn is_char_literal(rest: &str) -> bool {
    let mut chars = rest.chars();
    chars.next() == Some('\'') && (chars.next() == Some('\\') || chars.next() == Some('\''))
}

fn quoted(rest: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        if c == quote && !escaped {
            return at + 1;
        }
        escaped = c == '\\' && !escaped;
    }
    rest.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, code: &str, comments: &str) {
        assert_eq!(split_comments(text), (code.to_owned(), comments.to_owned()), "{text}");
    }

    #[test]
    fn comments_and_literals_are_told_from_code() {
        check("a // b\nc", "a     \nc", "  // b\n ");
        check("a /* b */ c", "a         c", "  /* b */  ");
        check(r#"f("//")"#, "f(    )", "       ");
        check(r#"f("\"x")"#, "f(     )", "        ");
        check("r#\"a\"b\"# c", "         c", "          ");
        check("'\"' 'a", "    'a", "      ");
        check("'\\'' x", "     x", "      ");
    }

    #[test]
    fn items_behind_cfg_test_are_tests() {
        let text = "fn a() {}\n#[cfg(test)]\nmod tests {\n    fn b() {\n    }\n}\nfn c() {}\n";
        let file = SourceFile::new("src/a.rs", text);
        let lines: Vec<usize> = file.code_lines().map(|(line, _)| line).collect();
        assert_eq!(lines, [1, 7]);
    }

    #[test]
    fn a_test_module_in_a_file_of_its_own_is_one_line() {
        let file = SourceFile::new("src/a.rs", "#[cfg(test)]\nmod tests;\nfn a() {}\n");
        assert_eq!(file.code_lines().map(|(line, _)| line).collect::<Vec<_>>(), [3]);
    }

    #[test]
    fn a_field_for_tests_is_one_line() {
        let text = "struct A {\n    #[cfg(test)]\n    a: u8,\n    b: u8,\n}\n";
        let file = SourceFile::new("src/a.rs", text);
        assert_eq!(file.code_lines().map(|(line, _)| line).collect::<Vec<_>>(), [1, 4, 5]);
    }

    #[test]
    fn files_of_tests_are_tests() {
        assert!(SourceFile::new("crates/a/tests/b.rs", "").is_test_file());
        assert!(SourceFile::new("crates/a/src/b/tests.rs", "").is_test_file());
        assert!(!SourceFile::new("crates/a/src/testing.rs", "").is_test_file());
    }
}
