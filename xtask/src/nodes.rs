//! Three nodes and 300 clients for a minute, through Redis and through NATS, while everything is cut in turn
//! (`conformance/nodes`).

use std::time::Duration;

use crate::install::engines;
use crate::process;
use crate::step::Outcome;
use crate::workspace::Workspace;

/// Of each storm.
const SECONDS: &str = "60";

/// The build, and two storms with what comes before and after them.
const LIMIT: Duration = Duration::from_mins(12);

/// With the features of the other tests, so that nothing is built twice.
pub(crate) fn run(workspace: &Workspace) -> Outcome {
    engines::present()?;
    let mut command = workspace.cargo(&["test", "--workspace", "--all-features", "--test", "storm", "--quiet"]);
    command.env("NEXIOS_STORM_SECONDS", SECONDS);
    process::run(command.args(["--", "through_", "--nocapture", "--test-threads=1"]), LIMIT)?;
    Ok(String::new())
}
