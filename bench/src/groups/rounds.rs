//! Rounds over cells and forms, each in a process of its own, and a table of medians.

use std::fmt::Write;
use std::process::{Command, Stdio};

use super::Figures;
use crate::Result;
use crate::table::{grouped, median};

/// One question, and the forms in which it is put.
#[derive(Debug)]
pub struct GroupCell {
    /// The name on the command line.
    pub name: &'static str,
    /// The heading in the report.
    pub title: &'static str,
    /// The lines of its table.
    pub forms: &'static [Form],
}

/// One line of a cell's table.
#[derive(Debug)]
pub struct Form {
    /// The line's name.
    pub name: &'static str,
    /// Measures it, in this process.
    pub(super) run: fn() -> Result<Figures>,
}

type Row = (String, Vec<Vec<(String, f64)>>);

/// Runs the cells so many times, and makes the report; a form that fails is named in it, and the rest goes on.
pub fn run(cells: &[&GroupCell], rounds: usize, mut progress: impl FnMut(&str)) -> String {
    let mut failures = Vec::new();
    let mut tables: Vec<Vec<Row>> = cells.iter().map(|cell| rows(cell)).collect();
    for round in 1..=rounds {
        for (cell, rows) in cells.iter().zip(&mut tables) {
            for (form, row) in cell.forms.iter().zip(rows) {
                let outcome = in_process_of_its_own(cell.name, form.name).and_then(|text| parsed(&text));
                progress(&format!("round {round} · {} · {}: {outcome:?}", cell.name, form.name));
                match outcome {
                    Ok(figures) => row.1.push(figures),
                    Err(failure) => failures.push(format!("\nFailed: {}, {}: {failure}\n", cell.name, form.name)),
                }
            }
        }
    }
    let mut report = format!("Medians of {rounds} rounds.\n");
    for (cell, rows) in cells.iter().zip(&tables) {
        // Writing to a string does not fail.
        let _ = write!(report, "\n### {}\n\n{}", cell.title, table(rows));
    }
    report + &failures.concat()
}

fn rows(cell: &GroupCell) -> Vec<Row> {
    cell.forms.iter().map(|form| (form.name.to_owned(), Vec::new())).collect()
}

fn in_process_of_its_own(cell: &str, form: &str) -> Result<String> {
    let program = std::env::current_exe()?;
    let output = Command::new(program).args(["--once", cell, form]).stdin(Stdio::null()).output()?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).trim().into());
    }
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

/// Encodes results for the other process.
pub(super) fn lines(figures: &Figures) -> String {
    let lines: Vec<String> = figures.iter().map(|(name, value)| format!("{name} = {value}\n")).collect();
    lines.concat()
}

fn parsed(text: &str) -> Result<Vec<(String, f64)>> {
    let line = |line: &str| {
        let (name, value) = line.split_once(" = ").ok_or_else(|| format!("{line:?} is no figure"))?;
        Ok((name.to_owned(), value.parse()?))
    };
    text.lines().map(line).collect()
}

/// A line for each figure and a column for each form: there are more figures than forms.
fn table(rows: &[Row]) -> String {
    let mut names: Vec<&str> = Vec::new();
    for (name, _) in rows.iter().flat_map(|(_, tries)| tries).flatten() {
        if !names.contains(&name.as_str()) {
            names.push(name);
        }
    }
    let titles: Vec<&str> = rows.iter().map(|(form, _)| form.as_str()).collect();
    let mut text = format!("| | {} |\n|---|{}\n", titles.join(" | "), "---:|".repeat(titles.len()));
    for name in names {
        let figures: Vec<String> = rows.iter().map(|(_, tries)| figure(tries, name)).collect();
        // Writing to a string does not fail.
        let _ = writeln!(text, "| {name} | {} |", figures.join(" | "));
    }
    text
}

/// The median, and behind it the range, which is the noise.
fn figure(tries: &[Vec<(String, f64)>], name: &str) -> String {
    let mut values: Vec<f64> = tries.iter().flatten().filter(|(of, _)| of == name).map(|(_, value)| *value).collect();
    if values.is_empty() {
        return String::new();
    }
    let middle = median(&mut values);
    let [first, .., last] = values[..] else { return shown(middle) };
    if shown(first) == shown(last) {
        shown(middle)
    } else {
        format!("{} ({}–{})", shown(middle), shown(first), shown(last))
    }
}

/// Three digits, or all before the point.
fn shown(value: f64) -> String {
    let digits = if value.abs() >= 100.0 || value == 0.0 {
        0
    } else if value.abs() >= 10.0 {
        1
    } else {
        2
    };
    grouped(value, digits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_process_prints_is_what_the_other_reads() {
        let figures = vec![("µs", 1.5), ("bytes per member", 1024.0)];
        let expected: Vec<(String, f64)> = figures.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect();
        assert_eq!(parsed(&lines(&figures)).unwrap(), expected);
        assert!(parsed("nothing").is_err());
    }

    #[test]
    fn a_table_has_a_line_for_each_figure_with_its_range() {
        let try_of = |value| vec![("µs".to_owned(), value)];
        let rows = [("one".to_owned(), vec![try_of(1.0), try_of(3.0), try_of(2.0)]), ("two".to_owned(), vec![])];
        assert_eq!(table(&rows), "| | one | two |\n|---|---:|---:|\n| µs | 2.00 (1.00–3.00) |  |\n");
    }
}
