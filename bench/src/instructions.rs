//! Instructions per message in the server's own code, counted by valgrind: the same on a busy machine as on a quiet
//! one.
//!
//! Kernel work is not in it. The count of a short run is taken from that of a longer one, so starting up, handshakes
//! and first allocations cancel out.

use std::fs;
use std::path::Path;
use std::time::Duration;

use crate::Result;
use crate::cell::Cell;
use crate::load;
use crate::peer::LOAD_CORE;
use crate::probe::Window;
use crate::process::{Program, Server};

/// Messages of the shorter run; enough for every connection to have sent some.
const SHORT: u64 = 4_000;
/// Messages of the longer run.
const LONG: u64 = 24_000;

/// Counts one cell on one server.
pub fn per_message(cell: &Cell, program: &Program) -> Result<f64> {
    let (short, short_messages) = count(cell, program, SHORT)?;
    let (long, long_messages) = count(cell, program, LONG)?;
    Ok(long.saturating_sub(short) as f64 / long_messages.saturating_sub(short_messages).max(1) as f64)
}

/// Instructions of one run, and its messages.
fn count(cell: &Cell, program: &Program, messages: u64) -> Result<(u64, u64)> {
    let out = std::env::temp_dir().join(format!("nexios-bench-{}.callgrind", std::process::id()));
    let counted = under_valgrind(program, &out);
    let server = Server::start(&counted, LOAD_CORE)?;
    let window =
        Window { warm_up: Duration::ZERO, measured: Duration::from_mins(2), messages: Some(messages), trace: false };
    let outcome = load::run(&cell.load, &server, window);
    let stopped = server.stop();
    let report = fs::read_to_string(&out);
    // A file that was never written is missed below.
    let _ = fs::remove_file(&out);
    stopped?;
    let messages = outcome?.messages().ok_or("this cell has no messages to count")?;
    Ok((summary(&report.map_err(|error| format!("valgrind wrote no report: {error}"))?)?, messages))
}

fn under_valgrind(program: &Program, out: &Path) -> Program {
    let mut before = vec![
        "--tool=callgrind".to_owned(),
        format!("--callgrind-out-file={}", out.display()),
        program.path.display().to_string(),
    ];
    before.extend(program.before.iter().cloned());
    Program { path: "valgrind".into(), before, after: program.after.clone(), cores: program.cores.clone() }
}

/// The total of a callgrind report: the first number of its line `summary:` or `totals:`.
fn summary(report: &str) -> Result<u64> {
    let total = |name| report.lines().filter_map(move |line: &str| line.strip_prefix(name)).next_back();
    let line = total("totals:").or_else(|| total("summary:")).ok_or("no total in valgrind's report")?;
    Ok(line.split_whitespace().next().unwrap_or_default().parse()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_total_of_a_report_is_read() {
        let report = "version: 1\nevents: Ir\nsummary: 17\n\nfn=(1) main\n1 17\n\ntotals: 42\n";
        assert_eq!(summary(report).unwrap(), 42);
        assert!(summary("version: 1\n").is_err());
    }
}
