//! Two nodes and their engine, as processes.

use std::env;
use std::path::PathBuf;
use std::process::id;
use std::time::Duration;
use std::{fs, thread};

use super::dialect::Dialect;
use crate::Result;
use crate::peer::{LOAD_CORE, SERVER_CORE};
use crate::process::{Program, Server};

/// The engine that connects the nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Through {
    Nobody,
    Redis,
    Nats,
}

/// The kind of the nodes, and the engine that connects them.
#[derive(Clone, Copy, Debug)]
pub struct Kind {
    /// For the command line and the table.
    pub name: &'static str,
    through: Through,
    dialect: Dialect,
    /// The last argument of a node.
    option: &'static str,
}

/// All of them.
pub const KINDS: &[Kind] = &[
    Kind { name: "nexios-redis", through: Through::Redis, dialect: Dialect::Plain, option: "" },
    Kind { name: "nexios-redis-history", through: Through::Redis, dialect: Dialect::Plain, option: "--history" },
    Kind { name: "nexios-nats", through: Through::Nats, dialect: Dialect::Plain, option: "" },
    Kind { name: "nexios-nats-history", through: Through::Nats, dialect: Dialect::Plain, option: "--history" },
    Kind { name: "nexios-alone", through: Through::Nobody, dialect: Dialect::Plain, option: "" },
    Kind { name: "socket.io", through: Through::Redis, dialect: Dialect::SocketIo, option: "" },
    Kind { name: "socket.io-sharded", through: Through::Redis, dialect: Dialect::SocketIo, option: "sharded" },
];

/// They run as long as this lives. Without an engine B is A.
#[derive(Debug)]
pub(super) struct Cluster {
    pub(super) a: Server,
    pub(super) b: Option<Server>,
    pub(super) engine: Option<Server>,
    pub(super) dialect: Dialect,
    /// The engine's data.
    _folder: Option<Folder>,
}

impl Cluster {
    pub(super) fn start(kind: &Kind) -> Result<Self> {
        let folder = (kind.through == Through::Nats).then(Folder::new).transpose()?;
        let engine =
            engine(kind.through, folder.as_ref()).map(|program| Server::start(&program, LOAD_CORE)).transpose()?;
        let scheme = if kind.through == Through::Nats { "nats" } else { "redis" };
        let url = engine.as_ref().map(|engine| format!("{scheme}://{}", engine.address()));
        let node = || Server::start(&node(kind, url.as_deref())?, LOAD_CORE);
        let a = node()?;
        let b = url.is_some().then(node).transpose()?;
        // Until they have found the engine.
        thread::sleep(Duration::from_millis(500));
        Ok(Cluster { a, b, engine, dialect: kind.dialect, _folder: folder })
    }

    pub(super) fn b(&self) -> &Server {
        self.b.as_ref().unwrap_or(&self.a)
    }
}

pub(super) fn engine(through: Through, folder: Option<&Folder>) -> Option<Program> {
    let program = |path: &str, before: &[&str]| Program {
        path: path.into(),
        before: before.iter().map(|&word| word.to_owned()).collect(),
        after: vec![],
        cores: vec![SERVER_CORE],
    };
    match through {
        Through::Nobody => None,
        Through::Redis => Some(program("redis-server", &["--save", "", "--bind", "127.0.0.1", "--port"])),
        Through::Nats => {
            let store = folder.map(|folder| folder.0.display().to_string()).unwrap_or_default();
            // Debian has it where only root looks for programs.
            let path = if fs::exists("/usr/sbin/nats-server").unwrap_or(false) {
                "/usr/sbin/nats-server"
            } else {
                "nats-server"
            };
            Some(program(path, &["-js", "-sd", &store, "-a", "127.0.0.1", "-p"]))
        }
    }
}

fn node(kind: &Kind, url: Option<&str>) -> Result<Program> {
    let words = |words: &[&str]| words.iter().filter(|word| !word.is_empty()).map(|&word| word.to_owned()).collect();
    Ok(match kind.dialect {
        Dialect::Plain => {
            let through = if kind.through == Through::Nats { "--nats" } else { "--redis" };
            let through = if url.is_some() { through } else { "" };
            Program {
                path: env::current_exe()?.with_file_name("node"),
                before: words(&["--port"]),
                after: words(&[through, url.unwrap_or_default(), kind.option]),
                cores: vec![SERVER_CORE],
            }
        }
        Dialect::SocketIo => Program {
            path: "node".into(),
            before: words(&[concat!(env!("CARGO_MANIFEST_DIR"), "/nodes/server.mjs")]),
            after: words(&[url.unwrap_or_default(), kind.option]),
            cores: vec![SERVER_CORE],
        },
    })
}

/// A folder that goes with its value.
#[derive(Debug)]
pub(super) struct Folder(PathBuf);

impl Folder {
    pub(super) fn new() -> Result<Self> {
        let path = env::temp_dir().join(format!("nexios-bench-{}", id()));
        fs::create_dir_all(&path)?;
        Ok(Folder(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What stays is in the folder for temporary files.
        let _ = fs::remove_dir_all(&self.0);
    }
}
