//! What groups and the engine cost when nothing is published: memory, joining, and the nodes' signs of life.

use std::fmt::Write as _;
use std::io::{Read, Write as _};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use super::Kind;
use super::setup::Cluster;
use crate::connection;
use crate::process::Server;
use crate::table::grouped;
use crate::{Result, wire};

/// As many as `/many` joins.
const EACH: usize = 1_000;
const CONNECTIONS: usize = 100;
const GROUPS: f64 = (CONNECTIONS * EACH) as f64;
/// Until nothing changes any more: memory is given back, subscriptions are made.
const SETTLED: Duration = Duration::from_secs(3);
const STALLED: Duration = Duration::from_mins(1);

/// A Markdown table with a line for each kind: 100,000 groups with one member each on one of two nodes.
pub fn sizes(kinds: &[Kind], idle: Duration) -> String {
    let mut text = String::from(
        "| nodes | node: bytes a group | engine: bytes a group | node: CPU µs a join | engine | s for all | \
         idle: node, ms of CPU a second | engine | with them: node | engine |\n\
         |---|---:|---:|---:|---:|---:|---:|---:|---:|---:|\n",
    );
    for kind in kinds {
        let line = measured(kind, idle).unwrap_or_else(|error| format!("failed: {error}"));
        // Writing to a string does not fail.
        let _ = writeln!(text, "| {} | {line} |", kind.name);
    }
    text
}

fn measured(kind: &Kind, idle: Duration) -> Result<String> {
    let cluster = Cluster::start(kind)?;
    thread::sleep(SETTLED);
    let calm = pause(&cluster, idle)?;
    let (before, began) = (State::of(&cluster)?, Instant::now());
    // All at once: a join waits until the engine has confirmed it.
    let mut sockets = (0..CONNECTIONS).map(|index| open(&cluster.a, index)).collect::<Result<Vec<_>>>()?;
    sockets.iter_mut().try_for_each(joined)?;
    let took = began.elapsed();
    thread::sleep(SETTLED);
    let after = State::of(&cluster)?;
    let full = pause(&cluster, idle)?;
    drop(sockets);
    let memory = |of: fn(&State) -> f64| grouped((of(&after) - of(&before)) / GROUPS, 0);
    let cpu = |of: fn(&State) -> Duration| micros(of(&after).saturating_sub(of(&before))) / GROUPS;
    let figures = [
        memory(|state| state.node_memory),
        memory(|state| state.engine_memory),
        grouped(cpu(|state| state.node), 2),
        grouped(cpu(|state| state.engine), 2),
        grouped(took.as_secs_f64(), 2),
        grouped(calm.0, 2),
        grouped(calm.1, 2),
        grouped(full.0, 2),
        grouped(full.1, 2),
    ];
    Ok(figures.join(" | "))
}

/// A connection that joins a thousand groups of its own.
fn open(server: &Server, index: usize) -> Result<TcpStream> {
    let mut socket = connection::connect(server.address())?;
    socket.set_read_timeout(Some(STALLED))?;
    let request = wire::upgrade_request(&format!("/many/{}", index * EACH), &server.address().to_string(), None);
    socket.write_all(request.as_bytes())?;
    Ok(socket)
}

/// Waits until it has.
fn joined(socket: &mut TcpStream) -> Result {
    let (mut answer, mut buffer) = (Vec::new(), [0; 1024]);
    while !answer.ends_with(b"joined") {
        match socket.read(&mut buffer) {
            Ok(0) => return Err("the node closed before all were joined".into()),
            Ok(count) => answer.extend_from_slice(&buffer[..count]),
            Err(error) => return Err(format!("they did not join: {error}").into()),
        }
    }
    Ok(())
}

/// Milliseconds of CPU for each second, of node A and of the engine, when nothing happens.
fn pause(cluster: &Cluster, time: Duration) -> Result<(f64, f64)> {
    let (before, began) = (State::of(cluster)?, Instant::now());
    thread::sleep(time);
    let (after, seconds) = (State::of(cluster)?, began.elapsed().as_secs_f64());
    let each = |of: fn(&State) -> Duration| micros(of(&after).saturating_sub(of(&before))) / 1e3 / seconds;
    Ok((each(|state| state.node), each(|state| state.engine)))
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

struct State {
    node: Duration,
    engine: Duration,
    node_memory: f64,
    engine_memory: f64,
}

impl State {
    fn of(cluster: &Cluster) -> Result<Self> {
        let (mut engine, mut engine_memory) = (Duration::ZERO, 0.0);
        if let Some(server) = &cluster.engine {
            (engine, engine_memory) = (server.cpu_time()?.total, server.resident()? as f64);
        }
        let node = cluster.a.cpu_time()?.total;
        Ok(State { node, engine, node_memory: cluster.a.resident()? as f64, engine_memory })
    }
}
