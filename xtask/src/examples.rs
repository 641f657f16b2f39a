//! Builds every example, starts each, asks it one thing, and stops it.

use std::process::Command;
use std::time::Duration;

use crate::server::{Server, free_port};
use crate::step::{Outcome, Problem};
use crate::workspace::Workspace;
use crate::{probe, process};

/// The check that an example works.
#[derive(Clone, Copy)]
enum Smoke {
    /// A server that answers these.
    Serves(&'static [Ask]),
    /// A program that ends by itself with exit code 0.
    Ends,
    /// A client of a server, which another step runs.
    Elsewhere,
}

/// One question, and the status that must answer it.
#[derive(Clone, Copy)]
enum Ask {
    /// An opening handshake.
    WebSocket(&'static str, u16),
    /// A GET.
    Http(&'static str, u16),
}

use Ask::{Http, WebSocket};
use Smoke::{Elsewhere, Ends, Serves};

/// The secrets that the example `production` is started with.
const SECRETS: [(&str, &str); 2] = [("JWT_SECRET", "0123456789abcdef0123456789abcdef"), ("ADMIN_SECRET", "let-me-in")];

/// A token of a user `ann` (HS256, valid until the year 2100) that is signed with it.
const SIGNED: &str = concat!(
    "/chat/lounge?token=",
    "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.",
    "eyJzdWIiOiJhbm4iLCJleHAiOjQxMDI0NDQ4MDB9.",
    "QUBG8ORn79WF-qLlBM0DYBJAepMsIRX3NJGSMMdYxBo"
);

const EXAMPLES: &[(&str, Smoke)] = &[
    ("auth", Serves(&[WebSocket("/ws/guarded", 401), WebSocket("/ws/guarded?token=secret-token", 101)])),
    ("broadcast", Serves(&[WebSocket("/ws/broadcast", 101), WebSocket("/ws/group", 101)])),
    ("chat", Serves(&[Http("/", 200), Http("/readyz", 200), WebSocket("/chat/lounge", 101)])),
    ("class_based", Serves(&[WebSocket("/chat", 101)])),
    ("conformance_client", Elsewhere),
    ("echo", Serves(&[WebSocket("/ws", 101), Http("/ws", 426), Http("/", 404)])),
    ("echo_server", Serves(&[WebSocket("/", 101), WebSocket("/ws", 101)])),
    ("errors", Serves(&[WebSocket("/ws/error", 101), WebSocket("/ws/unhandled", 101)])),
    ("https", Elsewhere),
    ("interop_client", Elsewhere),
    ("interop_server", Serves(&[WebSocket("/refuse", 403)])),
    ("json", Serves(&[WebSocket("/ws/json", 101)])),
    (
        "notifications",
        Serves(&[
            Http("/", 200),
            Http("/notify", 405),
            WebSocket("/notifications?user=ann", 101),
            WebSocket("/notifications", 401),
        ]),
    ),
    (
        "production",
        Serves(&[
            Http("/readyz", 200),
            Http("/metrics", 200),
            Http("/admin/sign-out/ann", 405),
            WebSocket("/chat/lounge", 401),
            WebSocket(SIGNED, 101),
        ]),
    ),
    ("router_and_middleware", Serves(&[WebSocket("/chat", 101), WebSocket("/secured/chat", 403)])),
    ("testing", Ends),
    ("with_axum", Serves(&[Http("/", 200), WebSocket("/live/echo/Ada", 101)])),
];

pub(crate) fn run(workspace: &Workspace) -> Outcome {
    workspace.build_examples(&[])?;
    let names = workspace.example_names();
    let mut problems = Vec::new();
    for (name, _) in EXAMPLES {
        if !names.iter().any(|n| n == name) {
            problems.push(format!("{name}: there is no such example"));
        }
    }
    for name in &names {
        match smoke(workspace, name) {
            Ok(()) => println!("ok {name}"),
            Err(problem) => problems.push(format!("{name}: {problem}")),
        }
    }
    for problem in &problems {
        println!("FAIL {problem}");
    }
    match problems.len() {
        0 => Ok(format!("{} examples", names.len())),
        _ => Err(Problem::failed(problems.join("; "))),
    }
}

fn smoke(workspace: &Workspace, name: &str) -> Result<(), Problem> {
    let Some((_, smoke)) = EXAMPLES.iter().find(|(known, _)| *known == name) else {
        return Err(Problem::failed("say in xtask/src/examples.rs what it answers"));
    };
    let mut command = Command::new(workspace.example_binary(name));
    match smoke {
        Serves(questions) => {
            let port = free_port()?;
            command.env("NEXIOS_PORT", port.to_string()).envs(SECRETS);
            let log = workspace.work("logs").join(format!("{name}.log"));
            let server = Server::start(&mut command, port, &log)?;
            for question in *questions {
                ask(port, *question).map_err(Problem::failed)?;
            }
            server.stop()
        }
        Ends => process::run(&mut command, Duration::from_mins(1)),
        Elsewhere => Ok(()),
    }
}

fn ask(port: u16, question: Ask) -> Result<(), String> {
    let (path, wanted, status) = match question {
        WebSocket(path, wanted) => (path, wanted, probe::websocket(port, path)?),
        Http(path, wanted) => (path, wanted, probe::http(port, path)?),
    };
    if status == wanted { Ok(()) } else { Err(format!("{path} answered {status}, not {wanted}")) }
}
