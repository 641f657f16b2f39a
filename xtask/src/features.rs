//! The framework with each of its features alone: they are additive, and none may need another by accident.

use std::time::Duration;

use crate::process;
use crate::step::{Outcome, Problem};
use crate::workspace::Workspace;

const PACKAGES: [&str; 2] = ["nexios", "nexios-proto"];
/// Each feature doubles what can be built; past this many nobody builds it all.
const MOST_FEATURES: usize = 6;

pub(crate) fn run(workspace: &Workspace) -> Outcome {
    let mut checked = 0;
    for package in PACKAGES {
        let features = workspace.features(package);
        if features.len() > MOST_FEATURES {
            return Err(Problem::failed(format!(
                "{package} has {} features, at most {MOST_FEATURES} are allowed",
                features.len()
            )));
        }
        check(workspace, package, None)?;
        for feature in &features {
            check(workspace, package, Some(feature))?;
        }
        checked += features.len();
    }
    Ok(format!("{checked} features, each alone, and none"))
}

fn check(workspace: &Workspace, package: &str, feature: Option<&str>) -> Result<(), Problem> {
    let mut command = workspace.cargo(&["check", "-p", package, "--no-default-features"]);
    if let Some(feature) = feature {
        command.args(["--features", feature]);
    }
    process::run(&mut command, Duration::from_mins(10))
}
