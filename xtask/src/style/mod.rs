//! The mechanical checks of the house style and of the invariants in ARCHITECTURE.md.

mod dependencies;
mod fault_tests;
mod file_names;
mod file_size;
mod function_length;
mod layers;
mod leftovers;
mod links;
mod no_std;
mod source;
mod unsafe_code;
mod wire_details;

use std::fmt;
use std::path::PathBuf;

use crate::step::{Outcome, Problem};
use crate::workspace::Workspace;
use source::Tree;

type Check = fn(&Tree) -> Vec<Finding>;

const CHECKS: &[(&str, Check)] = &[
    ("file size", file_size::check),
    ("function length", function_length::check),
    ("file names", file_names::check),
    ("unsafe code", unsafe_code::check),
    ("no_std", no_std::check),
    ("wire details", wire_details::check),
    ("layers", layers::check),
    ("links", links::check),
    ("tests of faults", fault_tests::check),
    ("leftovers", leftovers::check),
];

/// Something that a check found, at a line counted from 1.
#[derive(Debug, PartialEq, Eq)]
struct Finding {
    path: PathBuf,
    line: usize,
    text: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path.display(), self.line, self.text)
    }
}

pub(crate) fn run(workspace: &Workspace) -> Outcome {
    let tree = Tree::load(&workspace.root).map_err(|error| Problem::failed(format!("reading the sources: {error}")))?;
    for warning in file_size::warnings(&tree) {
        println!("warning: {warning}");
    }
    let mut count = 0;
    for (name, check) in CHECKS {
        for finding in check(&tree) {
            println!("{name}: {finding}");
            count += 1;
        }
    }
    for finding in dependencies::check(workspace)? {
        println!("dependencies: {finding}");
        count += 1;
    }
    match count {
        0 => Ok(file_size::figures(&tree)),
        _ => Err(Problem::failed(format!("{count} findings"))),
    }
}
