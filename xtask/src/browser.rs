//! The examples with a page, in headless Chromium.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::install::{chromium, engines, network, node, openssl};
use crate::process;
use crate::server::{Server, free_port};
use crate::step::{Outcome, Problem};
use crate::workspace::Workspace;

const LIMIT: Duration = Duration::from_mins(3);

pub(crate) fn run(workspace: &Workspace) -> Outcome {
    workspace.build_examples(&["chat", "https", "notifications"])?;
    let node = node::packages(workspace)?;
    chromium::present()?;
    engines::present()?;
    network::present()?;
    chat(workspace, &node)?;
    nodes(workspace, &node)?;
    notifications(workspace, &node)?;
    http2(workspace, &node)?;
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

/// The scripts start all programs themselves, because they kill them and start them again.
fn nodes(workspace: &Workspace, node: &Path) -> Result<(), Problem> {
    let chat = workspace.example_binary("chat");
    let mut tests = ["redis", "nats"].map(|engine| {
        let mut test = Command::new(node);
        test.arg(workspace.conformance("browser/nodes.mjs")).arg(&chat).arg(engine).arg(workspace.work("screenshots"));
        test
    });
    process::run_together(&mut tests, LIMIT)?;
    let mut test = Command::new(node);
    test.arg(workspace.conformance("browser/nginx.mjs")).arg(&chat).arg(workspace.root.join("deploy/nginx.conf"));
    process::run(test.arg(workspace.work("screenshots")), LIMIT)
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

/// With a certificate that is made for it; in the end a new one takes its place.
fn http2(workspace: &Workspace, node: &Path) -> Result<(), Problem> {
    let (certificate, key) = (workspace.work("tls/certificate.pem"), workspace.work("tls/key.pem"));
    self_signed(&certificate, &key)?;
    let port = free_port()?;
    let mut command = Command::new(workspace.example_binary("https"));
    command.arg(&certificate).arg(&key).env("NEXIOS_PORT", port.to_string());
    let mut server = Server::start(&mut command, port, &workspace.work("logs/https.log"))?;
    let mut test = Command::new(node);
    test.arg(workspace.conformance("browser/http2.mjs"))
        .arg(format!("https://127.0.0.1:{port}/"))
        .arg(workspace.work("screenshots"));
    process::run(&mut test, LIMIT)?;
    self_signed(&certificate, &key)?;
    server.reload("the certificate was read again after a SIGHUP")?;
    server.stop()
}

fn self_signed(certificate: &Path, key: &Path) -> Result<(), Problem> {
    openssl::present()?;
    let folder = certificate.parent().unwrap_or(certificate);
    std::fs::create_dir_all(folder).map_err(|error| Problem::failed(format!("{}: {error}", folder.display())))?;
    let mut command = Command::new("openssl");
    command.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]);
    command.args(["-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]);
    command.arg("-keyout").arg(key).arg("-out").arg(certificate);
    process::run(&mut command, Duration::from_secs(30))
}
