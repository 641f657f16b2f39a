//! What a publication costs that crosses from node to node.
//!
//! Two nodes and an engine share core 0, the load has core 1. Publishers are connected to node A, subscribers to B,
//! some to A as well. Every publication is numbered, and each subscriber must hear all of them in order, once.

mod dialect;
mod engine;
mod load;
mod publishers;
mod report;
mod setup;
mod sizes;

use std::time::Duration;

pub use engine::engines;
pub use report::Report;
pub use setup::{KINDS, Kind};
pub use sizes::sizes;

use crate::Result;

/// The pace of the publishers.
#[derive(Clone, Copy, Debug)]
pub enum Pace {
    /// One after another, so often in a second from each.
    PerSecond(u32),
    /// Each publisher has this many messages under way: a message that all subscribers have received is followed by the
    /// next.
    UnderWay(usize),
}

/// One load.
#[derive(Clone, Copy, Debug)]
pub struct Cell {
    /// For the command line.
    pub name: &'static str,
    /// For the report.
    pub title: &'static str,
    /// Connections to A that publish.
    pub publishers: usize,
    /// The pace of each publisher.
    pub pace: Pace,
    /// Connections that hear everything, to A and to B.
    pub subscribers: (usize, usize),
}

/// Every cell, in the order of the report.
pub const CELLS: &[Cell] = &[
    Cell {
        name: "quiet",
        title: "200 publications of 64 B a second, one subscriber on each node",
        publishers: 1,
        pace: Pace::PerSecond(200),
        subscribers: (1, 1),
    },
    Cell {
        name: "steady",
        title: "2,000 publications of 64 B a second from 4 publishers, one subscriber on each node",
        publishers: 4,
        pace: Pace::PerSecond(500),
        subscribers: (1, 1),
    },
    Cell {
        name: "most",
        title: "As many publications of 64 B as there can be: 8 publishers on A with 32 under way each, one subscriber on B",
        publishers: 8,
        pace: Pace::UnderWay(32),
        subscribers: (0, 1),
    },
    Cell {
        name: "most-100",
        title: "The same with 100 subscribers on B",
        publishers: 8,
        pace: Pace::UnderWay(32),
        subscribers: (0, 100),
    },
];

/// The number of runs and their duration.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Each cell runs so often on each kind of node.
    pub rounds: usize,
    /// The measured time of each run; 3 s before it are not measured.
    pub measured: Duration,
}

/// Runs everything, in interleaved rounds; one that fails is reported, and the rest goes on.
pub fn run(plan: Plan, cells: &[Cell], kinds: &[Kind], mut progress: impl FnMut(String)) -> Report {
    let mut report = Report::default();
    for round in 1..=plan.rounds {
        for cell in cells {
            // Each round begins with another: a slow moment does not always hit the same ones.
            for kind in kinds.iter().cycle().skip(round - 1).take(kinds.len()) {
                let outcome = once(cell, kind, plan.measured).map_err(|error| error.to_string());
                progress(format!("round {round} · {} · {}: {outcome:?}", cell.name, kind.name));
                report.add(cell, kind, outcome);
            }
        }
    }
    report
}

fn once(cell: &Cell, kind: &Kind, measured: Duration) -> Result<load::Figures> {
    let cluster = setup::Cluster::start(kind)?;
    load::run(cell, &cluster, measured)
}
