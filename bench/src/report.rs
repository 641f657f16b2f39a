//! The Markdown report: a heading with machine and versions, then one table for each cell.

use std::fmt::Write;
use std::fs;
use std::process::Command;

use crate::cell::Cell;
use crate::load::Outcome;
use crate::peer::Peer;
use crate::runner::{Mode, Plan};
use crate::table::{Tries, table};

/// Everything measured, by cell and server, in the order of the first round.
#[derive(Debug, Default)]
pub struct Results {
    cells: Vec<(Cell, Vec<(String, Tries)>)>,
}

impl Results {
    /// Adds one outcome or failure.
    pub fn add(&mut self, cell: &Cell, peer: &Peer, outcome: Result<Outcome, String>) {
        let cells = &mut self.cells;
        let at = position_or_insert(cells, |(known, _)| known.name == cell.name, || (*cell, Vec::new()));
        let rows = &mut cells[at].1;
        let row = position_or_insert(rows, |(name, _)| *name == peer.name, || (peer.name.clone(), Vec::new()));
        rows[row].1.push(outcome);
    }

    /// Returns true if any run has failed.
    pub fn any_failed(&self) -> bool {
        self.cells.iter().flat_map(|(_, rows)| rows).flat_map(|(_, tries)| tries).any(Result::is_err)
    }

    /// The whole report.
    pub fn to_markdown(&self, plan: Plan, peers: &[Peer]) -> String {
        let mut text = heading(plan, peers);
        for (cell, rows) in &self.cells {
            // Writing to a string does not fail.
            let _ = write!(text, "\n### {}\n\n{}", cell.title, table(rows));
            text.push_str(&absent(cell, peers));
        }
        text
    }
}

/// Which servers have no part in a cell, by reason.
fn absent(cell: &Cell, peers: &[Peer]) -> String {
    let mut reasons: Vec<(&str, Vec<&str>)> = Vec::new();
    for peer in peers {
        if let Some(why) = peer.cannot(&cell.load) {
            let at = position_or_insert(&mut reasons, |(known, _)| *known == why, || (why, Vec::new()));
            reasons[at].1.push(&peer.name);
        }
    }
    let texts: Vec<String> = reasons.iter().map(|(why, names)| format!("{why}: {}", names.join(", "))).collect();
    if texts.is_empty() { String::new() } else { format!("\nNot here, as they have {}.\n", texts.join("; ")) }
}

fn position_or_insert<T>(items: &mut Vec<T>, is_it: impl Fn(&T) -> bool, new: impl FnOnce() -> T) -> usize {
    items.iter().position(is_it).unwrap_or_else(|| {
        items.push(new());
        items.len() - 1
    })
}

fn heading(plan: Plan, peers: &[Peer]) -> String {
    let mut versions: Vec<&str> = peers.iter().map(|peer| peer.version.as_str()).collect();
    versions.retain(|version| !version.is_empty());
    versions.dedup();
    let what = match plan.mode {
        Mode::Time => {
            format!("Medians of {} interleaved rounds of {} s each, after half a second.", plan.rounds, plan.seconds)
        }
        Mode::SystemCalls => "System calls counted by strace while messages flow.".to_owned(),
        Mode::Instructions => "Instructions of the server's own code, counted by valgrind.".to_owned(),
    };
    format!(
        "Machine: {}, Linux {}; server on core 0, load generator on core 1. {}.\nVersions: {}.\n{what}\n",
        cpu_model(),
        fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim(),
        rustc_version(),
        versions.join(", "),
    )
}

fn cpu_model() -> String {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or_default();
    let cores = info.lines().filter(|line| line.starts_with("processor")).count();
    format!("{} ({cores} cores)", model.trim_start_matches([' ', '\t', ':']))
}

fn rustc_version() -> String {
    let output = Command::new("rustc").arg("--version").output().map(|output| output.stdout).unwrap_or_default();
    String::from_utf8_lossy(&output).trim().to_owned()
}
