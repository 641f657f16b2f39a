//! How many instructions one echo costs our server, against the figures that are committed.
//!
//! Times on a shared machine vary by a third from run to run; counts of instructions in user space do not vary by one
//! per cent. What the kernel does is not in them: system calls are counted with `cargo xtask bench --syscalls`.

use std::fs;
use std::time::Duration;

use crate::install::valgrind;
use crate::process;
use crate::step::{Outcome, Problem};
use crate::workspace::Workspace;

/// Relative to the root of the repository.
const COMMITTED: &str = "bench/instructions.txt";
const HEADING: &str = "\
# Instructions of the server's own code for one message, by cell of the bench: `cargo xtask instructions` counts them
# with valgrind and fails when one has grown by more than 5 %; with --bless it writes this file. The figures hold for
# x86-64 and the compiler that Cargo.toml names.
";
/// By how many per cent a figure may grow.
const MARGIN: u64 = 5;
const BUILD_LIMIT: Duration = Duration::from_mins(15);
const LIMIT: Duration = Duration::from_mins(3);

pub(crate) fn run(workspace: &Workspace, options: &[String]) -> Outcome {
    valgrind::present()?;
    process::run(&mut workspace.cargo(&["build", "--release", "-p", "nexios-bench"]), BUILD_LIMIT)?;
    let counted = counted(workspace)?;
    let path = workspace.root.join(COMMITTED);
    if options.iter().any(|option| option == "--bless") {
        let lines: Vec<String> = counted.iter().map(|figure| format!("{} {}\n", figure.cell, figure.count)).collect();
        fs::write(&path, HEADING.to_owned() + &lines.concat())
            .map_err(|error| Problem::failed(format!("{COMMITTED}: {error}")))?;
    }
    let committed = fs::read_to_string(&path)
        .map_err(|error| Problem::failed(format!("{COMMITTED}: {error}; --bless writes it")))?;
    compare(&counted, &figures(&committed))
}

/// One cell's instructions for one message.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Figure {
    cell: String,
    count: u64,
}

fn counted(workspace: &Workspace) -> Result<Vec<Figure>, Problem> {
    let mut command = workspace.cargo(&["run", "--quiet", "--release", "-p", "nexios-bench", "--bin", "instructions"]);
    let captured = process::capture(&mut command, LIMIT)?;
    let figures = figures(&captured.stdout);
    if captured.success && !figures.is_empty() { Ok(figures) } else { Err(Problem::failed(captured.stderr)) }
}

/// Lines of a cell's name and a number.
fn figures(text: &str) -> Vec<Figure> {
    let figure = |line: &str| {
        let (cell, count) = line.split_once(' ')?;
        Some(Figure { cell: cell.to_owned(), count: count.trim().parse().ok()? })
    };
    text.lines().filter(|line| !line.starts_with('#')).filter_map(figure).collect()
}

fn compare(counted: &[Figure], committed: &[Figure]) -> Outcome {
    let mut lines = Vec::new();
    let mut good = counted.len() == committed.len();
    for Figure { cell, count } in counted {
        let Some(before) = committed.iter().find(|figure| figure.cell == *cell).map(|figure| figure.count) else {
            lines.push(format!("{cell}: {count}, nothing committed"));
            good = false;
            continue;
        };
        good &= count * 100 <= before * (100 + MARGIN);
        let advice = if count * 100 < before * (100 - MARGIN) { ", worth a --bless" } else { "" };
        lines.push(format!("{cell}: {count}, committed {before} ({:+.1} %){advice}", growth(before, *count)));
    }
    let text = lines.join("; ");
    if !good {
        return Err(Problem::failed(text));
    }
    println!("{text}");
    Ok(text)
}

/// In per cent.
#[allow(clippy::cast_precision_loss, reason = "counts of a few thousand")]
fn growth(before: u64, now: u64) -> f64 {
    (now as f64 / before.max(1) as f64 - 1.0) * 100.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(counted: &str, passes: bool) {
        let outcome = compare(&figures(counted), &figures("# comment\na 1000\nb 200\n"));
        assert_eq!(outcome.is_ok(), passes, "{counted}: {outcome:?}");
    }

    #[test]
    fn growth_beyond_five_per_cent_in_any_cell_fails() {
        check("a 1000\nb 200\n", true);
        check("a 1050\nb 190\n", true);
        check("a 1051\nb 190\n", false);
        check("a 900\nb 211\n", false);
    }

    #[test]
    fn a_cell_that_is_missing_on_either_side_fails() {
        check("a 1000\n", false);
        check("a 1000\nb 200\nc 1\n", false);
        check("a 1000\nc 200\n", false);
    }
}
