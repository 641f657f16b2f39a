//! cargo-fuzz, and the compiler that libFuzzer is built with.

use std::env;
use std::path::PathBuf;

use crate::install::{cargo_tool, debian};
use crate::step::Problem;
use crate::workspace::Workspace;

const VERSION: &str = "0.13.2";

/// Returns the program `cargo-fuzz`. It is installed into cargo's home, so that `cargo fuzz` is there by hand as well.
pub(crate) fn program(workspace: &Workspace) -> Result<PathBuf, Problem> {
    debian::ensure("a C++ compiler", &["g++"], || debian::runs("c++", &["--version"]))?;
    let home = env::var_os("CARGO_HOME").map(PathBuf::from).or_else(|| Some(env::home_dir()?.join(".cargo")));
    let home = home.ok_or_else(|| Problem::missing("a home for cargo to install cargo-fuzz to"))?;
    cargo_tool::pinned(workspace, "cargo-fuzz", VERSION, &home)
}
