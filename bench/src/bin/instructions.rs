//! `cargo xtask instructions`: how many instructions one echo costs our server, as lines of a name and a number.
#![allow(clippy::print_stdout, reason = "a command line program")]

use nexios_bench::cell::CELLS;
use nexios_bench::peer::{self, Compressor};
use nexios_bench::{Result, instructions, process};

/// The echo's path: alone in a read, and with others in one.
const CELLS_COUNTED: [&str; 2] = ["echo-64", "echo-64-pipelined"];

fn main() -> Result {
    process::pin(&[peer::LOAD_CORE])?;
    // The first form has one worker.
    let server = peer::nexios(Compressor::Shared)?.swap_remove(0);
    for cell in CELLS.iter().filter(|cell| CELLS_COUNTED.contains(&cell.name)) {
        println!("{} {:.0}", cell.name, instructions::per_message(cell, &server.program)?);
    }
    Ok(())
}
