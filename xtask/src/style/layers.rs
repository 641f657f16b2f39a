//! Invariant: imports point one way. No crate of the table below has an import cycle between its modules, and no import
//! points upwards through its layers.

mod graph;
mod imports;

use std::collections::BTreeMap;
use std::path::Path;

use self::graph::Graph;
use self::imports::{Import, Imports};
use super::Finding;
use super::source::{SourceFile, Tree};

/// A crate whose imports are checked.
struct Crate {
    /// The folder of its sources.
    sources: &'static str,
    unit: Unit,
    /// Top-level modules, from the top layer to the bottom. A module may import from its own layer and those below.
    /// Without layers, only cycles are checked.
    layers: &'static [&'static [&'static str]],
}

/// The nodes of the import graph.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Unit {
    /// Each file.
    File,
    /// Each top-level module with all its submodules.
    #[cfg_attr(not(test), expect(dead_code, reason = "for a crate whose rooms may have cycles inside"))]
    TopLevel,
}

const CRATES: &[Crate] = &[
    Crate { sources: "crates/nexios-nats/src", unit: Unit::File, layers: &[] },
    Crate { sources: "crates/nexios-proto/src", unit: Unit::File, layers: &[] },
    Crate { sources: "crates/nexios-redis/src", unit: Unit::File, layers: &[] },
];

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    CRATES.iter().flat_map(|checked| check_crate(tree, checked)).collect()
}

fn check_crate(tree: &Tree, checked: &Crate) -> Vec<Finding> {
    let files: Vec<(Vec<String>, &SourceFile)> = tree.rust().filter_map(|file| module(file, checked)).collect();
    let imports = Imports::of(&files);
    let edges: Vec<Edge> = files.iter().flat_map(|(module, file)| edges(&imports, module, file, checked)).collect();
    let mut findings = upward_imports(&edges, checked);
    let mut graph = Graph::default();
    for edge in &edges {
        graph.add(&edge.from, &edge.to);
    }
    for cycle in graph.cycles() {
        let of_cycle = |edge: &&Edge| edge.from == cycle[0] && edge.to == cycle[1];
        if let Some(edge) = edges.iter().find(of_cycle) {
            findings.push(edge.file.finding(edge.line, format!("an import cycle: {}", cycle.join(" -> "))));
        }
    }
    findings
}

/// An import between two nodes of the graph.
struct Edge<'a> {
    from: String,
    to: String,
    file: &'a SourceFile,
    line: usize,
}

/// The module path of a file below the crate's sources; `None` for other files and for tests.
fn module<'a>(file: &'a SourceFile, checked: &Crate) -> Option<(Vec<String>, &'a SourceFile)> {
    let path = file.path.strip_prefix(checked.sources).ok().filter(|_| !file.is_test_file())?;
    Some((module_path(path), file))
}

/// `a/b.rs` and `a/b/mod.rs` are `a::b`; `lib.rs` is the root.
fn module_path(path: &Path) -> Vec<String> {
    let stem = path.with_extension("");
    let mut parts: Vec<String> = stem.iter().map(|part| part.to_string_lossy().into_owned()).collect();
    parts.pop_if(|last| *last == "mod" || *last == "lib");
    parts
}

fn edges<'a>(imports: &Imports, module: &[String], file: &'a SourceFile, checked: &Crate) -> Vec<Edge<'a>> {
    let node = |module: &[String]| match (checked.unit, module.first()) {
        (_, None) => "the root".to_owned(),
        (Unit::File, _) => module.join("::"),
        (Unit::TopLevel, Some(first)) => first.clone(),
    };
    let mut edges = Vec::new();
    for Import { target, line } in imports.from(module) {
        let (from, to) = (node(module), node(&target));
        if from != to {
            edges.push(Edge { from, to, file, line });
        }
    }
    edges
}

fn upward_imports(edges: &[Edge<'_>], checked: &Crate) -> Vec<Finding> {
    let mut layer_of: BTreeMap<&str, usize> = BTreeMap::new();
    for (number, modules) in checked.layers.iter().enumerate() {
        layer_of.extend(modules.iter().map(|module| (*module, number)));
    }
    if layer_of.is_empty() {
        return Vec::new();
    }
    let layer = |node: &str| layer_of.get(node.split("::").next().unwrap_or_default()).copied();
    let mut findings = Vec::new();
    for edge in edges.iter().filter(|edge| edge.from != "the root" && edge.to != "the root") {
        let text = match (layer(&edge.from), layer(&edge.to)) {
            (Some(from), Some(to)) if from <= to => continue,
            (Some(_), Some(_)) => format!("{} imports {}, which is in a higher layer", edge.from, edge.to),
            (None, _) => format!("{} is in no layer", edge.from),
            (_, None) => format!("{} is in no layer", edge.to),
        };
        findings.push(edge.file.finding(edge.line, text));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_files(files: &[(&str, &str)], unit: Unit, layers: &'static [&'static [&'static str]]) -> Vec<String> {
        let files = files.iter().map(|(path, text)| SourceFile::new(Path::new("src").join(path), text)).collect();
        let tree = Tree { files, ..Tree::default() };
        let checked = Crate { sources: "src", unit, layers };
        check_crate(&tree, &checked).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_cycle_between_files_is_found() {
        let files =
            [("a.rs", "use crate::b::B;\n"), ("b.rs", "struct B;\n\nuse super::a;\n"), ("c.rs", "use crate::a;")];
        assert_eq!(check_files(&files, Unit::File, &[]), ["src/a.rs:1: an import cycle: a -> b -> a"]);
        assert_eq!(check_files(&files[1..], Unit::File, &[]), [""; 0], "without one of its modules");
    }

    #[test]
    fn a_path_within_code_is_an_import() {
        let files = [("a.rs", "fn a() { crate::b::b() }"), ("b.rs", "fn b(a: super::a::A) {}")];
        assert_eq!(check_files(&files, Unit::File, &[]).len(), 1);
        let comment =
            [("a.rs", "fn a() { crate::b::b() }"), ("b.rs", "// super::a::A\nconst A: &str = \"super::a::A\";")];
        assert_eq!(check_files(&comment, Unit::File, &[]), [""; 0]);
    }

    #[test]
    fn a_cycle_of_parent_and_child_is_found() {
        let files = [("a.rs", "mod b;\nuse b::B;\nstruct A;"), ("a/b.rs", "use super::A;\nstruct B;")];
        assert_eq!(check_files(&files, Unit::File, &[]), ["src/a.rs:2: an import cycle: a -> a::b -> a"]);
        assert_eq!(check_files(&files, Unit::TopLevel, &[]), [""; 0], "within one top-level module");
    }

    #[test]
    fn a_re_export_leads_to_its_module() {
        let files = [
            ("lib.rs", "mod a;\nmod b;\npub use a::{A, inner::C as D};"),
            ("a/mod.rs", "pub struct A;"),
            ("a/inner.rs", "use crate::b;"),
            ("b.rs", "use crate::A;"),
        ];
        assert_eq!(check_files(&files, Unit::File, &[]), [""; 0], "a is not a::inner, nor the root");
        let mut files = files;
        files[3].1 = "use crate::D;";
        assert_eq!(check_files(&files, Unit::File, &[]).len(), 1);
        files[3].1 = "use crate::Other;";
        assert_eq!(check_files(&files, Unit::File, &[]), [""; 0], "the re-exports of the root are no imports");
    }

    #[test]
    fn tests_and_inline_modules_import_what_they_like() {
        let tests = "#[cfg(test)]\nmod tests {\n    use crate::a;\n}\n";
        assert_eq!(check_files(&[("a.rs", "use crate::b;"), ("b.rs", tests)], Unit::File, &[]), [""; 0]);
        let inline = "mod sealed {\n    use super::B;\n}\nstruct B;\n";
        assert_eq!(check_files(&[("a.rs", "use crate::b::B;"), ("b.rs", inline)], Unit::File, &[]), [""; 0]);
    }

    #[test]
    fn an_import_that_points_upwards_is_found() {
        const LAYERS: &[&[&str]] = &[&["app"], &["groups", "routing"], &["wire"]];
        let files = [
            ("lib.rs", "mod app;"),
            ("app.rs", "use crate::{groups::Group, wire::*};"),
            ("groups/mod.rs", "use crate::routing::Route;"),
            ("groups/group.rs", "use super::super::wire;"),
            ("wire.rs", "use std::fmt;\nuse crate::{\n    groups::group::Group,\n};"),
        ];
        let expected = [
            "src/wire.rs:3: wire imports groups, which is in a higher layer",
            "src/groups/group.rs:1: an import cycle: groups -> wire -> groups",
        ];
        assert_eq!(check_files(&files, Unit::TopLevel, LAYERS), expected);
        let files = [("app.rs", "use crate::other;"), ("other.rs", "")];
        assert_eq!(check_files(&files, Unit::TopLevel, LAYERS), ["src/app.rs:1: other is in no layer"]);
    }
}
