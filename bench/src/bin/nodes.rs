//! What crosses from node to node: `cargo run --release -p nexios-bench --features nodes --bin nodes -- [OPTIONS]`.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command line program")]

use std::time::Duration;

use nexios_bench::Result;
use nexios_bench::nodes::{self, CELLS, Cell, KINDS, Kind, Plan};

const USAGE: &str = "--only CELLS --nodes KINDS --rounds N --seconds S --out FILE --list --sizes --engines";

fn main() -> Result {
    let (mut cells, mut kinds, mut out) = (CELLS.to_vec(), KINDS.to_vec(), None);
    let (mut has_sizes, mut has_engines) = (false, false);
    let mut plan = Plan { rounds: 3, measured: Duration::from_secs(2) };
    let mut words = std::env::args().skip(1);
    while let Some(option) = words.next() {
        let mut value = || words.next().ok_or_else(|| format!("{option} needs a value"));
        match option.as_str() {
            "--only" => cells = chosen(CELLS, &value()?, |cell: &Cell| cell.name)?,
            "--nodes" => kinds = chosen(KINDS, &value()?, |kind: &Kind| kind.name)?,
            "--rounds" => plan.rounds = value()?.parse()?,
            "--seconds" => plan.measured = Duration::try_from_secs_f64(value()?.parse()?)?,
            "--out" => out = Some(value()?),
            // What groups cost when nothing is published, instead of publications.
            "--sizes" => has_sizes = true,
            // What an engine takes for itself.
            "--engines" => has_engines = true,
            "--list" => {
                println!("cells: {}", CELLS.iter().map(|cell| cell.name).collect::<Vec<_>>().join(" "));
                println!("nodes: {}", KINDS.iter().map(|kind| kind.name).collect::<Vec<_>>().join(" "));
                return Ok(());
            }
            _ => return Err(format!("unknown option {option}: {USAGE}").into()),
        }
    }
    let report = if has_engines {
        nodes::engines(plan.measured)?
    } else if has_sizes {
        nodes::sizes(&kinds, plan.measured)
    } else {
        nodes::run(plan, &cells, &kinds, |line| eprintln!("{line}")).to_markdown(&cells)
    };
    println!("{report}");
    if let Some(path) = out {
        std::fs::write(path, report)?;
    }
    Ok(())
}

fn chosen<T: Copy>(all: &[T], names: &str, name: impl Fn(&T) -> &'static str) -> Result<Vec<T>> {
    let find = |wanted: &str| all.iter().find(|item| name(item) == wanted).copied();
    let find = |wanted| find(wanted).ok_or_else(|| format!("nothing is called {wanted}: see --list"));
    Ok(names.split(',').map(find).collect::<std::result::Result<_, _>>()?)
}
