//! The Autobahn cases over a socket: against the server, and as a server for the client.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use crate::install::python;
use crate::process;
use crate::server::{Server, free_port};
use crate::step::{Outcome, Problem};
use crate::workspace::Workspace;

/// Cases that run with the same settings.
struct Suite {
    /// The value of `NEXIOS_COMPRESSION`.
    compression: &'static str,
    cases: &'static str,
    /// The name of its file in `conformance/expected`, and of its folder in `.work/autobahn`.
    name: &'static str,
}

const PROTOCOL: &str = "1.*,2.*,3.*,4.*,5.*,6.*,7.*,9.*,10.*";

const SERVER: [Suite; 3] = [
    Suite { compression: "off", cases: PROTOCOL, name: "server" },
    Suite { compression: "dedicated", cases: "12.*,13.*", name: "server-dedicated" },
    Suite { compression: "shared", cases: "12.*,13.*", name: "server-shared" },
];

/// In 13.2, 13.5 and 13.6 the suite's server takes only an offer of `client_no_context_takeover`, which is that of a
/// shared compressor.
const CLIENT: [Suite; 3] = [
    Suite { compression: "off", cases: PROTOCOL, name: "client" },
    Suite { compression: "dedicated", cases: "12.*,13.1.*,13.3.*,13.4.*,13.7.*", name: "client-dedicated" },
    Suite { compression: "shared", cases: "13.2.*,13.5.*,13.6.*", name: "client-shared" },
];

/// Half of the cases of 12 and 13: those with a thousand messages of 32 KiB to 128 KiB each. They take twelve times as
/// long as the other half, nearly all of it in Python.
const LARGE: &str = "*.8,*.9,*.10,*.13,*.14,*.15,*.16,*.17,*.18";
/// Runs those too.
const ALL: &str = "--all";
/// Cases 9.1.6 and 9.2.6 send 16 MiB; the largest that this server must take is 64 MiB.
const MAX_MESSAGE: &str = "67108864";
const LIMIT: Duration = Duration::from_mins(30);

pub(crate) fn server_role(workspace: &Workspace, options: &[String]) -> Outcome {
    workspace.build_examples(&["echo_server"])?;
    each(&SERVER, |suite| suite.against_server(workspace, options))
}

pub(crate) fn client_role(workspace: &Workspace, options: &[String]) -> Outcome {
    workspace.build_examples(&["conformance_client"])?;
    each(&CLIENT, |suite| suite.against_client(workspace, options))
}

/// Runs every suite, also after one that failed.
fn each(suites: &[Suite], run: impl Fn(&Suite) -> Result<(), Problem>) -> Outcome {
    let mut failed = Vec::new();
    for suite in suites {
        println!("\n--- {}, compression {}", suite.name, suite.compression);
        match run(suite) {
            Ok(()) => {}
            Err(Problem::Failed(why)) => failed.push(format!("{}: {why}", suite.name)),
            Err(missing) => return Err(missing),
        }
    }
    if failed.is_empty() { Ok("every case, as committed".to_owned()) } else { Err(Problem::failed(failed.join("; "))) }
}

impl Suite {
    fn against_server(&self, workspace: &Workspace, options: &[String]) -> Result<(), Problem> {
        let mut runner = self.runner(workspace, options, "server")?;
        let port = free_port()?;
        let mut command = Command::new(workspace.example_binary("echo_server"));
        command.env("NEXIOS_PORT", port.to_string());
        command.env("NEXIOS_MAX_MESSAGE", MAX_MESSAGE);
        command.env("NEXIOS_COMPRESSION", self.compression);
        let log = workspace.work(&format!("logs/autobahn-{}.log", self.name));
        let server = Server::start(&mut command, port, &log)?;
        runner.args(["--url", &format!("ws://127.0.0.1:{port}/"), "--jobs", self.together()]);
        process::run(&mut runner, LIMIT)?;
        server.stop()
    }

    fn against_client(&self, workspace: &Workspace, options: &[String]) -> Result<(), Problem> {
        let mut runner = self.runner(workspace, options, "client")?;
        let port = free_port()?;
        runner.args(["--port", &port.to_string()]);
        let log = workspace.work(&format!("logs/autobahn-{}.log", self.name));
        let mut suite = Server::start(&mut runner, port, &log)?;
        let mut client = Command::new(workspace.example_binary("conformance_client"));
        client.env("NEXIOS_COMPRESSION", self.compression);
        client.arg(format!("ws://127.0.0.1:{port}")).arg(self.together());
        process::run(&mut client, LIMIT)?;
        let ended = suite.wait(Duration::from_mins(1));
        println!("{}", suite.log());
        ended
    }

    fn runner(&self, workspace: &Workspace, options: &[String], role: &str) -> Result<Command, Problem> {
        let python = python::environment(workspace)?;
        let sdist: PathBuf = python::autobahn_cases(workspace)?;
        let script = workspace.conformance(&format!("autobahn/against_{role}.py"));
        let mut command = Command::new(python);
        command.arg(script).arg("--sdist").arg(sdist);
        command.args(["--suite", self.cases, "--out"]);
        command.arg(workspace.work(&format!("autobahn/{}", self.name)));
        command.arg("--expected");
        command.arg(workspace.conformance(&format!("expected/{}.txt", self.name)));
        if self.is_about_compression() {
            // Longer than the cases' own deadlines.
            command.args(["--case-timeout", "500"]);
            if !options.iter().any(|option| option == ALL) {
                command.args(["--exclude", LARGE]);
            }
        }
        command.args(options.iter().filter(|option| *option != ALL));
        Ok(command)
    }

    /// Cases at the same time. Many of the protocol's wait to see that nothing comes; those of compression keep Python
    /// busy, and have deadlines.
    fn together(&self) -> &'static str {
        if self.is_about_compression() { "2" } else { "4" }
    }

    fn is_about_compression(&self) -> bool {
        self.compression != "off"
    }
}
