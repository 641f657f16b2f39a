//! Simulates what follows when one node of many is lost: `cargo run --release -p nexios-bench --bin storm --
//! [OPTIONS]`.
#![allow(clippy::print_stdout, reason = "a command line program")]

use std::time::Duration;

use nexios_bench::Result;
use nexios_bench::storm::{self, Plan};

const USAGE: &str =
    "--connections N --nodes N --cores N (to spare, of each node) --handshake MICROSECONDS --backlog N \
    -- patience SECONDS --round-trip MILLISECONDS --unnoticed SECONDS --recovery MICROSECONDS --engine-timeout SECONDS
    -- --seed N";

fn main() -> Result {
    let mut plan = Plan::default();
    let mut words = std::env::args().skip(1);
    while let Some(option) = words.next() {
        let mut value = || words.next().ok_or_else(|| format!("{option} needs a value"));
        match option.as_str() {
            "--connections" => plan.connections = value()?.parse()?,
            "--nodes" => plan.nodes = value()?.parse()?,
            "--cores" => plan.cores = value()?.parse()?,
            "--handshake" => plan.handshake = seconds(&value()?, 1e-6)?,
            "--backlog" => plan.backlog = value()?.parse()?,
            "--patience" => plan.patience = seconds(&value()?, 1.0)?,
            "--round-trip" => plan.round_trip = seconds(&value()?, 1e-3)?,
            "--unnoticed" => plan.unnoticed = seconds(&value()?, 1.0)?,
            "--recovery" => plan.recovery = seconds(&value()?, 1e-6)?,
            "--engine-timeout" => plan.engine_timeout = seconds(&value()?, 1.0)?,
            "--seed" => plan.seed = value()?.parse()?,
            _ => return Err(format!("unknown option {option}: {USAGE}").into()),
        }
    }
    println!("{plan:?}\n\n{}", storm::table(&plan));
    Ok(())
}

fn seconds(text: &str, unit: f64) -> Result<Duration> {
    Ok(Duration::try_from_secs_f64(text.parse::<f64>()? * unit)?)
}
