//! Rounds over cells over servers: interleaved, so that a slow minute of the machine hits all alike.

use std::time::Duration;

use crate::Result;
use crate::cell::Cell;
use crate::instructions;
use crate::load::{self, Outcome};
use crate::peer::{LOAD_CORE, Peer};
use crate::probe::Window;
use crate::process::Server;
use crate::report::Results;

/// The number of runs and their duration.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// Each cell runs so often on each server.
    pub rounds: usize,
    /// Seconds measured each time.
    pub seconds: f64,
    /// The quantity that is counted.
    pub mode: Mode,
}

/// The quantity that a run counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Messages, CPU time, latencies, memory.
    Time,
    /// The server's system calls.
    SystemCalls,
    /// The server's instructions.
    Instructions,
}

/// Runs everything; a server that fails a cell is reported, and the rest goes on.
pub fn run(plan: Plan, cells: &[Cell], peers: &[Peer], mut progress: impl FnMut(String)) -> Results {
    let window = Window {
        warm_up: Duration::from_millis(500),
        measured: Duration::from_secs_f64(plan.seconds),
        messages: None,
        trace: plan.mode == Mode::SystemCalls,
    };
    let mut results = Results::default();
    for round in 1..=plan.rounds {
        for cell in cells {
            // Each round begins with another server: a slow moment does not always hit the same ones.
            let in_turn = peers.iter().cycle().skip(round - 1).take(peers.len());
            for peer in in_turn.filter(|peer| peer.cannot(&cell.load).is_none()) {
                let outcome = once(cell, peer, plan.mode, window).map_err(|error| error.to_string());
                progress(format!("round {round} · {} · {}: {}", cell.name, peer.name, summary(&outcome)));
                results.add(cell, peer, outcome);
            }
        }
    }
    results
}

fn once(cell: &Cell, peer: &Peer, mode: Mode, window: Window) -> Result<Outcome> {
    let mut program = peer.program.clone();
    if cell.load.deflate().is_some() {
        program.after.extend(peer.deflate.iter().flatten().cloned());
    }
    if mode == Mode::Instructions {
        return Ok(Outcome::Instructions(instructions::per_message(cell, &program)?));
    }
    let server = Server::start(&program, LOAD_CORE)?;
    load::run(&cell.load, &server, window)
}

fn summary(outcome: &std::result::Result<Outcome, String>) -> String {
    match outcome {
        Ok(Outcome::Flow { measured, .. }) => {
            let rate = measured.messages as f64 / measured.elapsed.as_secs_f64();
            let cpu = (measured.user + measured.system).as_secs_f64() * 1e6 / measured.messages.max(1) as f64;
            format!("{rate:.0}/s, {cpu:.2} µs CPU each")
        }
        Ok(Outcome::Instructions(count)) => format!("{count:.0} instructions each"),
        Ok(Outcome::Memory(bytes)) => format!("{bytes:.0} bytes each"),
        Err(error) => format!("failed: {error}"),
    }
}
