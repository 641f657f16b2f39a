//! The examples with a page, in headless Chromium.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::install::{chromium, node};
use crate::process;
use crate::server::{Server, free_port};
use crate::step::{Outcome, Problem};
use crate::workspace::Workspace;

const LIMIT: Duration = Duration::from_mins(3);

pub(crate) fn run(workspace: &Workspace) -> Outcome {
    workspace.build_examples(&["chat", "notifications"])?;
    let node = node::packages(workspace)?;
    chromium::present()?;
    chat(workspace, &node)?;
    notifications(workspace, &node)?;
    Ok("screenshots in .work/screenshots".to_owned())
}

fn chat(workspace: &Workspace, node: &Path) -> Result<(), Problem> {
    let port = free_port()?;
    let mut command = Command::new(workspace.example_binary("chat"));
    command.env("NEXIOS_PORT", port.to_string());
    let server = Server::start(&mut command, port, &workspace.work("logs/chat.log"))?;
    let mut test = Command::new(node);
    test.arg(workspace.conformance("browser/chat.mjs"))
        .arg(format!("http://127.0.0.1:{port}/"))
        .arg(workspace.work("screenshots"));
    process::run(&mut test, LIMIT)?;
    server.stop()
}

/// The script starts the server itself, because it kills it and starts it again.
fn notifications(workspace: &Workspace, node: &Path) -> Result<(), Problem> {
    let mut test = Command::new(node);
    test.arg(workspace.conformance("browser/notifications.mjs"))
        .arg(workspace.example_binary("notifications"))
        .arg(free_port()?.to_string())
        .arg(workspace.work("screenshots"));
    process::run(&mut test, LIMIT)
}
