//! The Autobahn cases over a socket: against the server, and as a server for the client.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use crate::install::python;
use crate::process;
use crate::server::{Server, free_port};
use crate::step::{Outcome, Problem};
use crate::workspace::Workspace;

/// 12 and 13 are about compression.
const CASES: &str = "1.*,2.*,3.*,4.*,5.*,6.*,7.*,9.*,10.*";
/// Cases 9.1.6 and 9.2.6 send 16 MiB; the largest that this server must take is 64 MiB.
const MAX_MESSAGE: &str = "67108864";
const LIMIT: Duration = Duration::from_mins(15);

pub(crate) fn server_role(workspace: &Workspace, options: &[String]) -> Outcome {
    workspace.build_examples(&["echo_server"])?;
    let mut runner = runner(workspace, options, "server")?;
    let port = free_port()?;
    let mut command = Command::new(workspace.example_binary("echo_server"));
    command.env("NEXIOS_PORT", port.to_string());
    command.env("NEXIOS_MAX_MESSAGE", MAX_MESSAGE);
    let log = workspace.work("logs/autobahn-echo_server.log");
    let server = Server::start(&mut command, port, &log)?;
    runner.args(["--url", &format!("ws://127.0.0.1:{port}/")]);
    process::run(&mut runner, LIMIT)?;
    server.stop()?;
    Ok("every case, as committed".to_owned())
}

pub(crate) fn client_role(workspace: &Workspace, options: &[String]) -> Outcome {
    workspace.build_examples(&["conformance_client"])?;
    let mut runner = runner(workspace, options, "client")?;
    let port = free_port()?;
    runner.args(["--port", &port.to_string()]);
    let log = workspace.work("logs/autobahn-client.log");
    let mut suite = Server::start(&mut runner, port, &log)?;
    let mut client = Command::new(workspace.example_binary("conformance_client"));
    client.arg(format!("ws://127.0.0.1:{port}"));
    process::run(&mut client, LIMIT)?;
    let ended = suite.wait(Duration::from_mins(1));
    println!("{}", suite.log());
    ended?;
    Ok("every case, as committed".to_owned())
}

fn runner(workspace: &Workspace, options: &[String], role: &str) -> Result<Command, Problem> {
    let python = python::environment(workspace)?;
    let sdist: PathBuf = python::autobahn_cases(workspace)?;
    let script = workspace.conformance(&format!("autobahn/against_{role}.py"));
    let mut command = Command::new(python);
    command.arg(script).arg("--sdist").arg(sdist);
    command.args(["--cases", CASES, "--out"]);
    command.arg(workspace.work(&format!("autobahn/{role}")));
    command.arg("--expected");
    command.arg(workspace.conformance(&format!("expected/{role}.txt")));
    // A later --cases takes the place of ours.
    command.args(options);
    Ok(command)
}
