//! `cargo deny`: licences, bans and sources of the dependencies, and advisories where their database can be reached.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use crate::process;
use crate::step::{Outcome, Problem};
use crate::workspace::Workspace;

const VERSION: &str = "0.20.2";

pub(crate) fn run(workspace: &Workspace) -> Outcome {
    let program = program(workspace)?;
    let mut checks = check(workspace, &program, &["licenses", "bans", "sources"]);
    process::run(&mut checks, Duration::from_mins(5))?;
    advisories(workspace, &program)
}

fn advisories(workspace: &Workspace, program: &PathBuf) -> Outcome {
    let mut command = check(workspace, program, &["advisories"]);
    // Without a network git may try for long before it says so.
    let captured = match process::capture(&mut command, Duration::from_mins(2)) {
        Ok(captured) => captured,
        Err(problem) => return Ok(format!("advisories NOT checked: {problem}")),
    };
    if captured.success {
        return Ok("licences, bans, sources, advisories".to_owned());
    }
    if database_out_of_reach(&captured.stderr) {
        println!("{}", captured.stderr);
        return Ok("advisories NOT checked: their database could not be reached".to_owned());
    }
    println!("{}{}", captured.stdout, captured.stderr);
    Err(Problem::failed("an advisory concerns a dependency"))
}

fn check(workspace: &Workspace, program: &PathBuf, what: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(["--all-features", "check", "--hide-inclusion-graph"]);
    command.args(what).current_dir(&workspace.root);
    command
}

fn database_out_of_reach(stderr: &str) -> bool {
    stderr.contains("failed to fetch advisory database") || stderr.contains("failed to load advisory database")
}

/// The pinned version from the path, or our own copy, which is installed when neither is there.
fn program(workspace: &Workspace) -> Result<PathBuf, Problem> {
    let own = workspace.work("tools").join("bin/cargo-deny");
    for candidate in [PathBuf::from("cargo-deny"), own.clone()] {
        if is_pinned_version(&candidate) {
            return Ok(candidate);
        }
    }
    // Unoptimised: its release profile links with full LTO, which takes longer than all its checks.
    let mut command = workspace.cargo(&["install", "--locked", "--debug", "--quiet"]);
    command.args(["--version", VERSION, "cargo-deny", "--root"]).arg(workspace.work("tools"));
    process::run(&mut command, Duration::from_mins(15))
        .map_err(|why| Problem::missing(format!("cargo-deny {VERSION}: {why}")))?;
    Ok(own)
}

fn is_pinned_version(program: &PathBuf) -> bool {
    let mut command = Command::new(program);
    command.arg("--version");
    process::capture(&mut command, Duration::from_secs(30))
        .is_ok_and(|captured| captured.stdout.trim().ends_with(VERSION))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_advisory_is_not_taken_for_a_missing_database() {
        assert!(database_out_of_reach("failed to fetch advisory database"));
        assert!(!database_out_of_reach("error[vulnerability]: double free"));
    }
}
