//! The servers: ours in its forms, the peers from crates.io, and a reference binary that the user built.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Result;
use crate::cell::{ENDPOINT, Load};
use crate::process::Program;

/// The core of a server; the load generator has the other.
pub const SERVER_CORE: usize = 0;
/// The core of the load generator.
pub const LOAD_CORE: usize = 1;

/// The crates that are measured beside Nexios: each is a package of that name in `bench/peers/`.
pub const PEERS: &[&str] =
    &["fastwebsockets", "axum", "tokio-tungstenite", "actix-ws", "tokio-websockets", "wtx", "yawc", "sockudo-ws"];

/// The name of the binary that `--uws` brings.
const REFERENCE: &str = "uWebSockets";

/// Peers without a way of their own to send to others; they are left out of fan-out.
const ECHO_ONLY: &[&str] = &["fastwebsockets", "wtx"];

/// Peers that have permessage-deflate; their programs take a second argument for it.
const DEFLATING: &[&str] = &["wtx", "yawc", "sockudo-ws"];

/// A server that can be measured.
#[derive(Debug, Clone)]
pub struct Peer {
    /// The name for `--peers` and the table.
    pub name: String,
    /// The version, as the table shows it.
    pub version: String,
    /// The command that starts it.
    pub program: Program,
    /// It has `/fanout`.
    pub fans_out: bool,
    /// It has [`ENDPOINT`].
    pub has_endpoint: bool,
    /// Further arguments that enable compression, if it supports that.
    pub deflate: Option<Vec<String>>,
}

impl Peer {
    /// Why it has no part in a load.
    pub fn cannot(&self, load: &Load) -> Option<&'static str> {
        match load {
            Load::Fanout(_) if !self.fans_out => Some("no fan-out"),
            Load::Idle { path, .. } if *path == ENDPOINT && !self.has_endpoint => Some("no endpoints"),
            _ if load.deflate().is_some() && self.deflate.is_none() => Some("no permessage-deflate"),
            _ => None,
        }
    }
}

/// The compressor that our server and the reference are started with where messages are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compressor {
    /// One for all connections of a thread, without context takeover.
    Shared,
    /// One for each connection, which keeps its window.
    Dedicated,
}

impl Compressor {
    /// As it stands on a command line.
    pub fn name(self) -> &'static str {
        match self {
            Compressor::Shared => "shared",
            Compressor::Dedicated => "dedicated",
        }
    }
}

/// Builds what is asked for, and names it. No names: everything, and the reference if there is one.
pub fn collect(wanted: &[String], uws: Option<&Path>, compressor: Compressor, build: bool) -> Result<Vec<Peer>> {
    let is_wanted = |name: &str| wanted.is_empty() || wanted.iter().any(|wanted| wanted == name);
    let mut all = Vec::new();
    let ours = nexios(compressor)?;
    let is_known = |name: &String| {
        name == REFERENCE || PEERS.contains(&name.as_str()) || ours.iter().any(|peer| peer.name == *name)
    };
    if let Some(unknown) = wanted.iter().find(|name| !is_known(name)) {
        return Err(format!("no server is called {unknown}").into());
    }
    let ours: Vec<Peer> = ours.into_iter().filter(|peer| is_wanted(&peer.name)).collect();
    if !ours.is_empty() && build {
        cargo(&["build", "--release", "--package", "nexios-bench", "--bin", "server"], &root())?;
    }
    all.extend(ours);
    if let Some(path) = uws.filter(|_| is_wanted(REFERENCE)) {
        let program = Program { path: path.into(), before: vec![], after: vec![], cores: vec![SERVER_CORE] };
        all.push(Peer {
            name: REFERENCE.into(),
            version: String::new(),
            program,
            fans_out: true,
            has_endpoint: false,
            deflate: Some(vec![compressor.name().into()]),
        });
    }
    let wanted_peers: Vec<&str> = PEERS.iter().copied().filter(|name| is_wanted(name)).collect();
    if !wanted_peers.is_empty() && build {
        build_peers(&wanted_peers)?;
    }
    for name in wanted_peers {
        all.push(peer(name)?);
    }
    if all.is_empty() { Err(format!("{REFERENCE} needs --uws PATH").into()) } else { Ok(all) }
}

/// Our own server: one worker, its default form (one for each core), and mounted in an axum application.
pub fn nexios(compressor: Compressor) -> Result<Vec<Peer>> {
    let path = env::current_exe()?.with_file_name("server");
    let version = format!("nexios {}", env!("CARGO_PKG_VERSION"));
    let form = |name: &str, after: &[&str], cores: &[usize]| Peer {
        name: name.into(),
        version: version.clone(),
        program: Program {
            path: path.clone(),
            before: vec!["--port".into()],
            after: after.iter().map(|argument| (*argument).to_owned()).collect(),
            cores: cores.to_vec(),
        },
        fans_out: true,
        has_endpoint: true,
        deflate: Some(vec!["--compression".into(), compressor.name().into()]),
    };
    Ok(vec![
        form("nexios", &["--workers", "1"], &[SERVER_CORE]),
        form("nexios-cores", &[], &[SERVER_CORE, LOAD_CORE]),
        form("nexios-in-axum", &["--mounted"], &[SERVER_CORE]),
    ])
}

fn peer(name: &str) -> Result<Peer> {
    let version = locked_version(name)?;
    Ok(Peer {
        name: name.into(),
        version: format!("{name} {version}"),
        program: Program {
            path: peers_target().join("release").join(format!("peer-{name}")),
            before: vec![],
            after: vec![],
            cores: vec![SERVER_CORE],
        },
        fans_out: !ECHO_ONLY.contains(&name),
        has_endpoint: false,
        deflate: DEFLATING.contains(&name).then(|| vec!["deflate".into()]),
    })
}

fn build_peers(names: &[&str]) -> Result {
    let target = peers_target();
    let target = target.to_str().ok_or("a path that is not UTF-8")?;
    let packages: Vec<String> = names.iter().map(|name| format!("peer-{name}")).collect();
    let mut arguments = vec!["build", "--release", "--locked", "--target-dir", target];
    for package in &packages {
        arguments.extend(["--package", package.as_str()]);
    }
    cargo(&arguments, &root().join("bench/peers"))
}

fn cargo(arguments: &[&str], directory: &Path) -> Result {
    let program = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(program).args(arguments).current_dir(directory).status()?;
    if status.success() { Ok(()) } else { Err(format!("cargo {}: {status}", arguments.join(" ")).into()) }
}

/// The version of a package in the peers' lock file: of several, the newest, which is ours to choose.
fn locked_version(name: &str) -> Result<String> {
    let lock = fs::read_to_string(root().join("bench/peers/Cargo.lock"))?;
    let heading = format!("name = \"{name}\"");
    let pairs = lock.lines().zip(lock.lines().skip(1));
    let version = pairs.filter(|(line, _)| *line == heading).map(|(_, version)| version).last();
    let version = version.ok_or("a peer that is not locked")?;
    Ok(version.trim_start_matches("version = ").trim_matches('"').to_owned())
}

/// The peers' own build folder, so that their builds and ours do not wait for each other.
fn peers_target() -> PathBuf {
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from).join("peers")
}

fn root() -> PathBuf {
    let bench = Path::new(env!("CARGO_MANIFEST_DIR"));
    bench.parent().unwrap_or(bench).to_owned()
}
