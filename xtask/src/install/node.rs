//! Node and the npm packages that `conformance/package-lock.json` pins.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use crate::install::debian;
use crate::process;
use crate::step::Problem;
use crate::workspace::Workspace;

/// The oldest that the pinned packages run on.
const OLDEST_NODE: u32 = 18;

/// Installs the packages and returns the program `node`.
pub(crate) fn packages(workspace: &Workspace) -> Result<PathBuf, Problem> {
    debian::ensure("node and npm", &["nodejs", "npm"], || {
        debian::runs("node", &["--version"]) && debian::runs("npm", &["--version"])
    })?;
    check_version()?;
    let folder = workspace.conformance("");
    // npm's own record of what it installed is younger than the lock file exactly when it is done.
    let modified = |path: &str| fs::metadata(folder.join(path)).and_then(|m| m.modified()).ok();
    let installed = modified("node_modules/.package-lock.json");
    if installed.is_none() || installed < modified("package-lock.json") {
        let mut command = Command::new("npm");
        command.args(["ci", "--no-audit", "--no-fund", "--ignore-scripts"]);
        process::run(command.current_dir(&folder), Duration::from_mins(5))
            .map_err(|why| Problem::missing(format!("npm packages: {why}")))?;
    }
    Ok(PathBuf::from("node"))
}

fn check_version() -> Result<(), Problem> {
    let mut command = Command::new("node");
    let captured = process::capture(command.arg("--version"), Duration::from_secs(30))?;
    match major(&captured.stdout) {
        Some(major) if major >= OLDEST_NODE => Ok(()),
        _ => Err(Problem::missing(format!("node {OLDEST_NODE} or newer, here is {}", captured.stdout.trim()))),
    }
}

fn major(version: &str) -> Option<u32> {
    version.trim().strip_prefix('v')?.split('.').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_major_version_is_the_first_number() {
        assert_eq!(major("v20.20.2\n"), Some(20));
        assert_eq!(major("not a version"), None);
    }
}
