//! rustfmt, clippy, the tests and the documentation.

use std::time::Duration;

use crate::install;
use crate::process;
use crate::step::Outcome;
use crate::workspace::Workspace;

/// A clean clone builds every dependency in the first of these; on two cores that is minutes, not tens of them.
const LIMIT: Duration = Duration::from_mins(15);

pub(crate) fn fmt(workspace: &Workspace) -> Outcome {
    run(workspace, &["fmt", "--all", "--", "--check"])
}

pub(crate) fn clippy(workspace: &Workspace) -> Outcome {
    let arguments = ["clippy", "--workspace", "--all-targets", "--all-features", "--", "-D", "warnings"];
    run(workspace, &arguments)
}

/// Unit, integration and doc tests; some of these are about networks and other people's programs.
pub(crate) fn test(workspace: &Workspace) -> Outcome {
    if cfg!(target_os = "linux") {
        install::network::present()?;
        install::engines::present()?;
    }
    // Those run for a minute each in the step `nodes`.
    let skipped = ["--", "--skip", "streams_are_gapless_or_flagged_through"];
    run(workspace, &[&["test", "--workspace", "--all-features", "--quiet", "--no-fail-fast"], &skipped[..]].concat())
}

pub(crate) fn doc(workspace: &Workspace) -> Outcome {
    let mut command = workspace.cargo(&["doc", "--workspace", "--no-deps", "--all-features"]);
    process::run(command.env("RUSTDOCFLAGS", "-D warnings"), LIMIT)?;
    Ok(String::new())
}

/// Builds the servers and the load generator, and measures.
pub(crate) fn bench(workspace: &Workspace, options: &[String]) -> Outcome {
    let mut build = workspace.cargo(&["build", "--release", "-p", "nexios-bench"]);
    process::run(&mut build, LIMIT)?;
    let mut command = workspace.cargo(&["run", "--release", "-p", "nexios-bench", "--bin", "bench", "--"]);
    process::run(command.args(options), Duration::from_hours(3))?;
    Ok(String::new())
}

fn run(workspace: &Workspace, arguments: &[&str]) -> Outcome {
    process::run(&mut workspace.cargo(arguments), LIMIT)?;
    Ok(String::new())
}
