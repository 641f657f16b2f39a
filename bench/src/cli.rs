//! The command line of `bench`.

use std::path::PathBuf;
use std::str::FromStr;

use crate::cell::{CELLS, Cell};
use crate::peer::Compressor;
use crate::runner::{Mode, Plan};
use crate::{Result, peer};

/// The help text.
pub const USAGE: &str = "\
bench: measures Nexios and its peers, and prints a Markdown table

  --rounds N        interleaved rounds (3)
  --seconds S       measured seconds for each cell, server and round (3)
  --only A,B        these cells only
  --peers A,B       these servers only
  --uws PATH        also this uWebSockets binary: its first argument is the port,
                    its second, when it shall compress, the word after --compression
  --compression shared|dedicated
                    how Nexios and uWebSockets compress in the compressed cells (shared);
                    dedicated also offers context takeover to every server
  --syscalls        count the servers' system calls with strace instead of measuring time
  --instructions    count the instructions of the servers' own code with valgrind instead
  --no-build        take the servers as they were built last
  --out FILE        write the report there as well
  --list            names of cells and servers";

/// The parsed arguments.
#[derive(Debug)]
pub struct Arguments {
    /// Rounds, seconds, system calls.
    pub plan: Plan,
    /// Which cells.
    pub cells: Vec<Cell>,
    /// Which servers; none stands for all.
    pub peers: Vec<String>,
    /// The reference binary.
    pub uws: Option<PathBuf>,
    /// Where to write the report.
    pub out: Option<PathBuf>,
    /// In compressed cells.
    pub compressor: Compressor,
    /// Build servers first.
    pub build: bool,
    /// Only print names.
    pub list: bool,
    /// Only print the usage.
    pub help: bool,
}

/// Reads the arguments.
pub fn parse(arguments: impl Iterator<Item = String>) -> Result<Arguments> {
    let mut parsed = Arguments {
        plan: Plan { rounds: 3, seconds: 3.0, mode: Mode::Time },
        cells: CELLS.to_vec(),
        peers: Vec::new(),
        uws: None,
        out: None,
        compressor: Compressor::Shared,
        build: true,
        list: false,
        help: false,
    };
    let mut arguments = arguments;
    while let Some(option) = arguments.next() {
        let mut value = || arguments.next().ok_or_else(|| format!("{option} needs a value"));
        match option.as_str() {
            "--rounds" => parsed.plan.rounds = number(&value()?)?,
            "--seconds" => parsed.plan.seconds = number(&value()?)?,
            "--only" => parsed.cells = cells(&value()?)?,
            "--peers" => parsed.peers = value()?.split(',').map(str::to_owned).collect(),
            "--uws" => parsed.uws = Some(value()?.into()),
            "--out" => parsed.out = Some(value()?.into()),
            "--compression" => parsed.compressor = compressor(&value()?)?,
            "--syscalls" => parsed.plan.mode = Mode::SystemCalls,
            "--instructions" => parsed.plan.mode = Mode::Instructions,
            "--no-build" => parsed.build = false,
            "--list" => parsed.list = true,
            "--help" | "-h" => parsed.help = true,
            _ => return Err(format!("unknown option {option}\n\n{USAGE}").into()),
        }
    }
    if parsed.compressor == Compressor::Dedicated {
        parsed.cells.iter_mut().for_each(|cell| cell.load = cell.load.with_takeover());
    }
    Ok(parsed)
}

/// The names that `--only` and `--peers` take.
pub fn names() -> String {
    let cells: Vec<&str> = CELLS.iter().map(|cell| cell.name).collect();
    format!(
        "cells: {}\nservers: nexios nexios-cores nexios-in-axum uWebSockets {}",
        cells.join(" "),
        peer::PEERS.join(" ")
    )
}

fn cells(names: &str) -> Result<Vec<Cell>> {
    let find = |name| CELLS.iter().find(|cell| cell.name == name).copied();
    names.split(',').map(|name| find(name).ok_or_else(|| format!("no cell is called {name}").into())).collect()
}

fn compressor(name: &str) -> Result<Compressor> {
    let find = |compressor: &Compressor| compressor.name() == name;
    let found = [Compressor::Shared, Compressor::Dedicated].into_iter().find(find);
    found.ok_or_else(|| format!("{name} is neither shared nor dedicated").into())
}

fn number<T: FromStr>(text: &str) -> Result<T> {
    text.parse().map_err(|_| format!("{text} is not a number that fits").into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Arguments> {
        parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn cells_come_in_the_order_asked_for() {
        let names: Vec<&str> = parsed("--only idle,echo-64").unwrap().cells.iter().map(|cell| cell.name).collect();
        assert_eq!(names, ["idle", "echo-64"]);
    }

    #[test]
    fn with_dedicated_compressors_context_takeover_is_offered() {
        for (line, expected) in [("", false), ("--compression dedicated", true)] {
            let cells = parsed(line).unwrap().cells;
            let takeovers: Vec<bool> = cells.iter().filter_map(|cell| Some(cell.load.deflate()?.takeover)).collect();
            assert!(!takeovers.is_empty() && takeovers.iter().all(|takeover| *takeover == expected), "{line}");
        }
    }

    #[test]
    fn an_unknown_option_a_missing_value_and_an_unknown_cell_are_errors() {
        for line in ["--fast", "--rounds", "--rounds many", "--only nothing", "--compression on"] {
            assert!(parsed(line).is_err(), "{line}");
        }
    }
}
