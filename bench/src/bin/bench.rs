//! `cargo xtask bench`: builds the servers, measures them in turn, prints the table.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command line program")]

use std::process::ExitCode;

use nexios_bench::{Result, cli, peer, process, runner};

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Returns true if no run has failed.
fn run() -> Result<bool> {
    let arguments = cli::parse(std::env::args().skip(1))?;
    if arguments.help || arguments.list {
        println!("{}", if arguments.help { cli::USAGE.to_owned() } else { cli::names() });
        return Ok(true);
    }
    let peers = peer::collect(&arguments.peers, arguments.uws.as_deref(), arguments.compressor, arguments.build)?;
    process::pin(&[peer::LOAD_CORE])?;
    let results = runner::run(arguments.plan, &arguments.cells, &peers, |line| {
        eprintln!("{line}");
    });
    let report = results.to_markdown(arguments.plan, &peers);
    println!("{report}");
    if let Some(path) = arguments.out {
        std::fs::write(path, report)?;
    }
    Ok(!results.any_failed())
}
