//! The servers: ours in its forms, the peers from crates.io, and a reference binary that the user built.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Result;
use crate::process::Program;

/// The core of a server; the load generator has the other.
pub const SERVER_CORE: usize = 0;
/// The core of the load generator.
pub const LOAD_CORE: usize = 1;

/// The crates that are measured beside Nexios: each is a package of that name in `bench/peers/`.
pub const PEERS: &[&str] =
    &["fastwebsockets", "axum", "tokio-tungstenite", "actix-ws", "tokio-websockets", "yawc", "sockudo-ws"];

/// Peers without a way of their own to send to others; they are left out of fan-out.
const ECHO_ONLY: &[&str] = &["fastwebsockets", "yawc"];

/// Peers that have permessage-deflate; their programs take a second argument for it.
const DEFLATING: &[&str] = &["yawc", "sockudo-ws"];

/// A server that can be measured.
#[derive(Debug, Clone)]
pub struct Peer {
    /// The name for `--peers` and the table.
    pub name: String,
    /// The version, as the table shows it.
    pub version: String,
    /// How to start it.
    pub program: Program,
    /// It has `/fanout`.
    pub fans_out: bool,
    /// What makes it compress, after its other arguments, if it can.
    pub deflate: Option<Vec<String>>,
}

/// Builds what is asked for, and names it. No names: everything, and the reference if there is one.
pub fn collect(wanted: &[String], uws: Option<&Path>, build: bool) -> Result<Vec<Peer>> {
    let is_wanted = |name: &str| wanted.is_empty() || wanted.iter().any(|wanted| wanted == name);
    let mut all = Vec::new();
    let ours: Vec<Peer> = nexios()?.into_iter().filter(|peer| is_wanted(&peer.name)).collect();
    if !ours.is_empty() && build {
        cargo(&["build", "--release", "--package", "nexios-bench", "--bin", "server"], &root())?;
    }
    all.extend(ours);
    if let Some(path) = uws.filter(|_| is_wanted("uWebSockets")) {
        let program = Program { path: path.into(), before: vec![], after: vec![], cores: vec![SERVER_CORE] };
        all.push(Peer {
            name: "uWebSockets".into(),
            version: String::new(),
            program,
            fans_out: true,
            deflate: Some(vec!["shared".into()]),
        });
    }
    let wanted_peers: Vec<&str> = PEERS.iter().copied().filter(|name| is_wanted(name)).collect();
    if !wanted_peers.is_empty() && build {
        build_peers(&wanted_peers)?;
    }
    for name in wanted_peers {
        all.push(peer(name)?);
    }
    if all.is_empty() { Err(format!("no server is called {}", wanted.join(" or ")).into()) } else { Ok(all) }
}

/// Our own server: one worker, one for each core, and mounted in an axum application.
fn nexios() -> Result<Vec<Peer>> {
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
        // The framework has no permessage-deflate yet; then: `--compression shared`.
        deflate: None,
    };
    Ok(vec![
        form("nexios", &["--workers", "1"], &[SERVER_CORE]),
        form("nexios-cores", &["--workers", "2"], &[SERVER_CORE, LOAD_CORE]),
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
