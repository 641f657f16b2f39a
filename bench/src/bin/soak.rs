//! A server for half an hour among those who come, go and mean harm:
//! `cargo run --release -p nexios-bench --bin soak -- [--minutes N] [--csv FILE] [--svg FILE]`.
#![allow(clippy::print_stdout, reason = "a command line program")]

use std::process::ExitCode;
use std::time::Duration;

use nexios_bench::Result;
use nexios_bench::soak::{self, Plan};

const USAGE: &str = "soak [--minutes N] [--csv FILE] [--svg FILE]";

fn main() -> Result<ExitCode> {
    let mut plan = Plan { time: Duration::from_mins(30), csv: "soak.csv".into(), svg: "docs/soak.svg".into() };
    let mut words = std::env::args().skip(1);
    while let Some(option) = words.next() {
        let mut value = || words.next().ok_or_else(|| format!("{option} needs a value"));
        match option.as_str() {
            "--minutes" => plan.time = Duration::from_secs_f64(value()?.parse::<f64>()? * 60.0),
            "--csv" => plan.csv = value()?.into(),
            "--svg" => plan.svg = value()?.into(),
            // The server's own process.
            soak::SERVE => {
                soak::serve(value()?.parse()?)?;
                return Ok(ExitCode::SUCCESS);
            }
            _ => return Err(format!("unknown option {option}: {USAGE}").into()),
        }
    }
    let report = soak::run(&plan)?;
    println!("{report}");
    Ok(if report.is_well() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
