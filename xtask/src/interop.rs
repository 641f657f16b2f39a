//! Peers that others wrote: Python `websockets`, Node `ws` and Chromium as clients of the server, and the first two
//! as servers of the client. Each program prints a line for each thing it tried and ends with 0 when all went well.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::install::{chromium, node, python};
use crate::process;
use crate::server::{Server, free_port};
use crate::step::{Outcome, Problem};
use crate::workspace::Workspace;

const LIMIT: Duration = Duration::from_mins(3);
/// The settings of our end's compression; theirs compresses with whoever does.
const COMPRESSION: [&str; 3] = ["off", "shared", "dedicated"];

pub(crate) fn run(workspace: &Workspace) -> Outcome {
    workspace.build_examples(&["interop_server", "interop_client"])?;
    let python = python::environment(workspace)?;
    let node = node::packages(workspace)?;
    chromium::present()?;
    for compression in COMPRESSION {
        println!("\n--- compression {compression}");
        clients(workspace, &python, &node, compression)?;
        servers(workspace, &python, &node, compression)?;
    }
    Ok("websockets, ws, Chromium; client with websockets, ws; compression off, shared, dedicated".to_owned())
}

fn clients(workspace: &Workspace, python: &Path, node: &Path, compression: &str) -> Result<(), Problem> {
    let port = free_port()?;
    let mut command = Command::new(workspace.example_binary("interop_server"));
    command.env("NEXIOS_PORT", port.to_string()).env("NEXIOS_COMPRESSION", compression);
    let log = workspace.work(&format!("logs/interop_server-{compression}.log"));
    let server = Server::start(&mut command, port, &log)?;
    let mut failed = Vec::new();
    for (program, script) in [(python, "client_websockets.py"), (node, "client_ws.mjs"), (node, "client_chromium.mjs")]
    {
        let mut client = Command::new(program);
        client.arg(workspace.conformance("interop").join(script)).arg(port.to_string()).arg(compression);
        if let Err(problem) = process::run(&mut client, LIMIT) {
            failed.push(problem.to_string());
        }
    }
    server.stop()?;
    if failed.is_empty() { Ok(()) } else { Err(Problem::failed(failed.join("; "))) }
}

fn servers(workspace: &Workspace, python: &Path, node: &Path, compression: &str) -> Result<(), Problem> {
    for (program, script) in [(python, "server_websockets.py"), (node, "server_ws.mjs")] {
        let port = free_port()?;
        let mut command = Command::new(program);
        command.arg(workspace.conformance("interop").join(script)).arg(port.to_string());
        let log = workspace.work("logs").join(format!("{script}-{compression}.log"));
        let server = Server::start(&mut command, port, &log)?;
        let mut client = Command::new(workspace.example_binary("interop_client"));
        client.arg(format!("ws://127.0.0.1:{port}")).env("NEXIOS_COMPRESSION", compression);
        process::run(&mut client, LIMIT)?;
        server.stop()?;
    }
    Ok(())
}
