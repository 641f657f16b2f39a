//! Tools that cargo builds, in the version that is pinned.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::process;
use crate::step::Problem;
use crate::workspace::Workspace;

/// The tool from the path, or from the folder `root`, where it is installed when neither is of this version.
pub(crate) fn pinned(workspace: &Workspace, name: &str, version: &str, root: &Path) -> Result<PathBuf, Problem> {
    let own = root.join("bin").join(name);
    for candidate in [PathBuf::from(name), own.clone()] {
        if is_version(&candidate, version) {
            return Ok(candidate);
        }
    }
    // Unoptimised: a release profile with full LTO takes longer to link than all that the tool will do.
    let mut command = workspace.cargo(&["install", "--locked", "--debug", "--quiet"]);
    command.args(["--version", version, name, "--root"]).arg(root);
    process::run(&mut command, Duration::from_mins(15))
        .map_err(|why| Problem::missing(format!("{name} {version}: {why}")))?;
    Ok(own)
}

fn is_version(program: &Path, version: &str) -> bool {
    let mut command = Command::new(program);
    command.arg("--version");
    process::capture(&mut command, Duration::from_secs(30))
        .is_ok_and(|captured| captured.stdout.trim().ends_with(&format!(" {version}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_is_not_there_has_no_version() {
        assert!(!is_version(Path::new("no-such-program-anywhere"), "1.0.0"));
    }
}
