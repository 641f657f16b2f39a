//! The imports of a crate's modules: `use` items, and paths within code.

use std::collections::BTreeMap;

use super::super::source::SourceFile;

/// The modules of a crate.
pub(super) struct Imports {
    modules: BTreeMap<Vec<String>, Module>,
}

#[derive(Default)]
struct Module {
    paths: Vec<UsedPath>,
    /// Items that the module re-exports, with their absolute paths.
    re_exports: BTreeMap<String, Vec<String>>,
}

/// A path in a module's code, from the root of the crate.
struct UsedPath {
    path: Vec<String>,
    line: usize,
    is_re_export: bool,
}

/// An import of another module.
pub(super) struct Import {
    pub(super) target: Vec<String>,
    pub(super) line: usize,
}

impl Imports {
    pub(super) fn of(files: &[(Vec<String>, &SourceFile)]) -> Self {
        let names: Vec<&Vec<String>> = files.iter().map(|(module, _)| module).collect();
        let modules = files.iter().map(|(module, file)| (module.clone(), Module::read(module, file, &names)));
        Self { modules: modules.collect() }
    }

    /// The imports of a module. A re-export of its own submodules is none.
    pub(super) fn from(&self, module: &[String]) -> Vec<Import> {
        let paths = self.modules.get(module).into_iter().flat_map(|module| &module.paths);
        let mut imports = Vec::new();
        for UsedPath { path, line, is_re_export } in paths {
            let target = self.resolve(path, 0);
            if !(*is_re_export && target.starts_with(module)) {
                imports.push(Import { target, line: *line });
            }
        }
        imports
    }

    /// The module in which an item is defined, through re-exports.
    fn resolve(&self, path: &[String], depth: usize) -> Vec<String> {
        let known = (0..=path.len()).rev().find(|end| self.modules.contains_key(&path[..*end]));
        let (module, rest) = path.split_at(known.unwrap_or(0));
        let re_exported = rest.first().and_then(|item| self.modules.get(module)?.re_exports.get(item));
        match re_exported {
            Some(target) if depth < 8 => self.resolve(target, depth + 1),
            _ => module.to_vec(),
        }
    }
}

impl Module {
    fn read(module: &[String], file: &SourceFile, modules: &[&Vec<String>]) -> Self {
        let mut reader = Reader { tokens: tokens(file), at: 0, module, modules };
        reader.read()
    }
}

/// A word, `::`, or another character, with its line.
type Token = (String, usize);

fn tokens(file: &SourceFile) -> Vec<Token> {
    let mut tokens: Vec<Token> = Vec::new();
    for (number, line) in file.code_lines() {
        let mut rest = line.trim_start();
        while let Some(first) = rest.chars().next() {
            let is_word = |c: char| c.is_alphanumeric() || c == '_';
            let length = if is_word(first) {
                rest.find(|c| !is_word(c)).unwrap_or(rest.len())
            } else if rest.starts_with("::") {
                2
            } else {
                first.len_utf8()
            };
            tokens.push((rest[..length].to_owned(), number));
            rest = rest[length..].trim_start();
        }
    }
    tokens
}

struct Reader<'a> {
    tokens: Vec<Token>,
    at: usize,
    module: &'a [String],
    modules: &'a [&'a Vec<String>],
}

impl Reader<'_> {
    fn read(&mut self) -> Module {
        let mut module = Module::default();
        // Inline modules around this place: the number of open braces at each of them.
        let mut inline: Vec<usize> = Vec::new();
        let mut braces = 0_usize;
        let mut is_public_use = false;
        while self.at < self.tokens.len() {
            match self.word(0) {
                "{" => braces += 1,
                "}" => {
                    braces = braces.saturating_sub(1);
                    inline.pop_if(|around| *around == braces);
                }
                "mod" if self.word(2) == "{" => inline.push(braces),
                "use" => is_public_use = self.is_public(),
                ";" => is_public_use = false,
                _ if self.begins_path() => {
                    self.read_path(inline.len(), is_public_use, &mut module);
                    continue;
                }
                _ => {}
            }
            self.at += 1;
        }
        module
    }

    fn word(&self, ahead: usize) -> &str {
        self.tokens.get(self.at + ahead).map_or("", |(word, _)| word)
    }

    /// `pub use` or `pub(…) use`, before the place of `use`.
    fn is_public(&self) -> bool {
        let before = self.tokens[..self.at].iter().rev().map(|(word, _)| word.as_str());
        before.take_while(|word| !matches!(*word, ";" | "{" | "}" | "]")).any(|word| word == "pub")
    }

    /// `crate::`, `self::`, `super::` or a submodule's name begins a path here.
    fn begins_path(&self) -> bool {
        let before = self.at.checked_sub(1).map_or("", |before| self.tokens[before].0.as_str());
        if self.word(1) != "::" || matches!(before, "::" | "." | "$" | "in") {
            return false;
        }
        matches!(self.word(0), "crate" | "self" | "super") || self.is_submodule(self.word(0))
    }

    fn is_submodule(&self, name: &str) -> bool {
        let is_it = |module: &&&Vec<String>| {
            module.split_last().is_some_and(|(last, parent)| *last == name && parent == self.module)
        };
        self.modules.iter().any(|module| is_it(&module))
    }

    /// Reads a path with its groups; `inline` is the number of inline modules around it.
    fn read_path(&mut self, inline: usize, is_re_export: bool, module: &mut Module) {
        let mut around: Vec<String> = self.module.to_vec();
        // Names of inline modules do not matter: none of them has a file.
        around.extend((0..inline).map(|_| String::new()));
        let base = match self.word(0) {
            "crate" => Vec::new(),
            "self" => around,
            "super" => {
                around.pop();
                around
            }
            _ => {
                around.push(self.word(0).to_owned());
                around
            }
        };
        self.at += 1;
        self.read_rest(base, is_re_export, module);
    }

    /// Reads what follows a path's first part.
    fn read_rest(&mut self, mut path: Vec<String>, is_re_export: bool, module: &mut Module) {
        while self.word(0) == "::" {
            self.at += 1;
            match self.word(0) {
                "{" => return self.read_group(&path, is_re_export, module),
                "super" => drop(path.pop()),
                "self" | "*" => {}
                word if word.starts_with(|c: char| c.is_alphabetic() || c == '_') => path.push(word.to_owned()),
                _ => break,
            }
            self.at += 1;
        }
        let line = self.tokens[self.at - 1].1;
        let mut name = path.last().cloned().unwrap_or_default();
        if self.word(0) == "as" {
            self.word(1).clone_into(&mut name);
            self.at += 2;
        }
        if is_re_export {
            module.re_exports.insert(name, path.clone());
        }
        module.paths.push(UsedPath { path, line, is_re_export });
    }

    fn read_group(&mut self, path: &[String], is_re_export: bool, module: &mut Module) {
        self.at += 1;
        while !matches!(self.word(0), "}" | "") {
            if self.word(0) == "," {
                self.at += 1;
                continue;
            }
            let mut path = path.to_vec();
            if !matches!(self.word(0), "self" | "*") {
                path.push(self.word(0).to_owned());
            }
            self.at += 1;
            self.read_rest(path, is_re_export, module);
        }
        self.at += 1;
    }
}
