//! The races between joins, publishes, leaves and ends, in thousands of schedules that shuttle chooses
//! (`crates/nexios/src/groups/model`).

use std::time::Duration;

use crate::process;
use crate::step::Outcome;
use crate::workspace::Workspace;

const LIMIT: Duration = Duration::from_mins(10);

/// Builds the unit tests a second time, with other locks: in a folder of their own, so that neither build undoes the
/// other.
pub(crate) fn run(workspace: &Workspace) -> Outcome {
    let mut command =
        workspace.cargo(&["test", "--profile", "model", "-p", "nexios", "--lib", "--no-default-features"]);
    command.env("RUSTFLAGS", "--cfg nexios_model").env("CARGO_TARGET_DIR", workspace.target("model"));
    process::run(command.args(["--quiet", "--", "groups::model::"]), LIMIT)?;
    Ok(String::new())
}
