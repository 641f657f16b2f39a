//! What groups cost: `cargo run --release -p nexios-bench --bin groups -- [--only A,B] [--rounds N] [--out FILE]`.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command line program")]

use nexios_bench::Result;
use nexios_bench::groups::{self, CELLS, GroupCell};

fn main() -> Result {
    let (mut cells, mut rounds, mut out) = (CELLS.iter().collect::<Vec<_>>(), 3, None);
    let mut words = std::env::args().skip(1);
    while let Some(option) = words.next() {
        let mut value = || words.next().ok_or_else(|| format!("{option} needs a value"));
        match option.as_str() {
            "--only" => cells = named(&value()?)?,
            "--rounds" => rounds = value()?.parse()?,
            "--out" => out = Some(value()?),
            // What a process of its own is started with; also for a profiler.
            "--once" => {
                print!("{}", groups::run_once(&value()?, &value()?)?);
                return Ok(());
            }
            "--list" => {
                println!("{}", CELLS.iter().map(|cell| cell.name).collect::<Vec<_>>().join(" "));
                return Ok(());
            }
            _ => return Err(format!("unknown option {option}: --only A,B --rounds N --out FILE --list").into()),
        }
    }
    let report = groups::run(&cells, rounds, |line| eprintln!("{line}"));
    println!("{report}");
    if let Some(path) = out {
        std::fs::write(path, report)?;
    }
    Ok(())
}

fn named(names: &str) -> Result<Vec<&'static GroupCell>> {
    let find = |name| CELLS.iter().find(|cell| cell.name == name).ok_or_else(|| format!("no cell is called {name}"));
    Ok(names.split(',').map(find).collect::<std::result::Result<_, _>>()?)
}
