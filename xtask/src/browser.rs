//! The chat example in headless Chromium.

use std::process::Command;
use std::time::Duration;

use crate::install::{chromium, node};
use crate::process;
use crate::server::{Server, free_port};
use crate::step::Outcome;
use crate::workspace::Workspace;

pub(crate) fn run(workspace: &Workspace) -> Outcome {
    workspace.build_examples(&["chat"])?;
    let node = node::packages(workspace)?;
    chromium::present()?;
    let port = free_port()?;
    let mut command = Command::new(workspace.example_binary("chat"));
    command.env("NEXIOS_PORT", port.to_string());
    let server = Server::start(&mut command, port, &workspace.work("logs/chat.log"))?;
    let mut test = Command::new(node);
    test.arg(workspace.conformance("browser/chat.mjs"))
        .arg(format!("http://127.0.0.1:{port}/"))
        .arg(workspace.work("screenshots"));
    process::run(&mut test, Duration::from_mins(3))?;
    server.stop()?;
    Ok("screenshots in .work/screenshots".to_owned())
}
