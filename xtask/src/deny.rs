//! `cargo deny`: licences, bans and sources of the dependencies, and advisories where their database can be reached.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use crate::install::cargo_tool;
use crate::process;
use crate::step::{Outcome, Problem};
use crate::workspace::Workspace;

const VERSION: &str = "0.20.2";

pub(crate) fn run(workspace: &Workspace) -> Outcome {
    let program = cargo_tool::pinned(workspace, "cargo-deny", VERSION, &workspace.work("tools"))?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_advisory_is_not_taken_for_a_missing_database() {
        assert!(database_out_of_reach("failed to fetch advisory database"));
        assert!(!database_out_of_reach("error[vulnerability]: double free"));
    }
}
