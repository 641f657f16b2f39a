//! One cell's table: a line for each server, each figure the median of its rounds.

use std::fmt::Write;
use std::time::Duration;

use crate::load::Outcome;
use crate::probe::Measured;

/// The outcomes of one server in one cell, a failure as its sentence.
pub type Tries = Vec<Result<Outcome, String>>;

/// A Markdown table of servers and their outcomes.
pub fn table(rows: &[(String, Tries)]) -> String {
    let outcomes = || rows.iter().flat_map(|(_, tries)| tries).filter_map(|outcome| outcome.as_ref().ok());
    let columns: Vec<&Column> =
        COLUMNS.iter().filter(|column| outcomes().any(|outcome| (column.value)(outcome).is_some())).collect();
    let calls = outcomes().any(|outcome| which_calls(outcome).is_some());
    let mut text = "| server |".to_owned();
    for column in &columns {
        // Writing to a string does not fail.
        let _ = write!(text, " {} |", column.title);
    }
    // Where all have failed, their sentences need a column.
    let last = if calls {
        " which |"
    } else if columns.is_empty() {
        " outcome |"
    } else {
        ""
    };
    let _ = write!(text, "{last}\n|---|{}", "---:|".repeat(columns.len()));
    text.push_str(if last.is_empty() { "\n" } else { "---|\n" });
    for (name, tries) in rows {
        let _ = writeln!(text, "| {name} | {} |", line(&columns, calls, tries));
    }
    text
}

fn line(columns: &[&Column], calls: bool, tries: &Tries) -> String {
    let good: Vec<&Outcome> = tries.iter().filter_map(|outcome| outcome.as_ref().ok()).collect();
    if let Some(Err(failure)) = tries.iter().find(|_| good.is_empty()) {
        return format!("failed: {}", failure.lines().next().unwrap_or_default().replace('|', "/"));
    }
    let mut figures: Vec<String> = columns.iter().map(|column| column.cell(&good)).collect();
    if calls {
        // These are counts, not times: one round is enough.
        figures.push(good.iter().find_map(|outcome| which_calls(outcome)).unwrap_or_default());
    }
    figures.join(" | ")
}

/// One figure of an outcome; a table has those columns that some outcome has a value for.
struct Column {
    title: &'static str,
    value: fn(&Outcome) -> Option<f64>,
    digits: usize,
    summary: fn(&mut [f64]) -> f64,
}

const COLUMNS: &[Column] = &[
    Column { title: "per second", value: per_second, digits: 0, summary: median },
    Column { title: "CPU µs each", value: |outcome| each(outcome, cpu), digits: 2, summary: median },
    Column { title: "lowest", value: |outcome| each(outcome, cpu), digits: 2, summary: lowest },
    Column { title: "user", value: |outcome| each(outcome, |flow| flow.user), digits: 2, summary: median },
    Column { title: "system", value: |outcome| each(outcome, |flow| flow.system), digits: 2, summary: median },
    Column { title: "p50 µs", value: |outcome| latency(outcome, 0), digits: 0, summary: median },
    Column { title: "p99 µs", value: |outcome| latency(outcome, 1), digits: 0, summary: median },
    Column { title: "bytes a frame", value: frame, digits: 0, summary: median },
    Column { title: "bytes per connection", value: bytes, digits: 0, summary: median },
    Column { title: "instructions each", value: instructions, digits: 0, summary: median },
    Column { title: "system calls each", value: calls_each, digits: 3, summary: median },
];

impl Column {
    fn cell(&self, outcomes: &[&Outcome]) -> String {
        let mut values: Vec<f64> = outcomes.iter().filter_map(|outcome| (self.value)(outcome)).collect();
        if values.is_empty() { String::new() } else { grouped((self.summary)(&mut values), self.digits) }
    }
}

/// Times mean nothing while system calls are traced.
fn timed(outcome: &Outcome) -> Option<&Measured> {
    match outcome {
        Outcome::Flow { measured, .. } if measured.calls.is_none() => Some(measured),
        Outcome::Flow { .. } | Outcome::Memory(_) | Outcome::Instructions(_) => None,
    }
}

fn per_second(outcome: &Outcome) -> Option<f64> {
    timed(outcome).map(|measured| measured.messages as f64 / measured.elapsed.as_secs_f64())
}

fn cpu(measured: &Measured) -> Duration {
    measured.user + measured.system
}

fn each(outcome: &Outcome, cpu: fn(&Measured) -> Duration) -> Option<f64> {
    timed(outcome).map(|measured| cpu(measured).as_secs_f64() * 1e6 / measured.messages.max(1) as f64)
}

fn latency(outcome: &Outcome, which: usize) -> Option<f64> {
    match outcome {
        Outcome::Flow { measured, p50, p99, .. } if measured.calls.is_none() => {
            [p50, p99].get(which).copied().copied().flatten().map(|latency| latency.as_secs_f64() * 1e6)
        }
        Outcome::Flow { .. } | Outcome::Memory(_) | Outcome::Instructions(_) => None,
    }
}

fn frame(outcome: &Outcome) -> Option<f64> {
    if let Outcome::Flow { frame, .. } = outcome { *frame } else { None }
}

fn bytes(outcome: &Outcome) -> Option<f64> {
    if let Outcome::Memory(bytes) = outcome { Some(*bytes) } else { None }
}

fn instructions(outcome: &Outcome) -> Option<f64> {
    if let Outcome::Instructions(count) = outcome { Some(*count) } else { None }
}

fn calls_each(outcome: &Outcome) -> Option<f64> {
    let Outcome::Flow { measured: Measured { calls: Some((calls, messages)), .. }, .. } = outcome else { return None };
    Some(calls.values().sum::<u64>() as f64 / (*messages).max(1) as f64)
}

/// The most frequent calls by name.
fn which_calls(outcome: &Outcome) -> Option<String> {
    let Outcome::Flow { measured: Measured { calls: Some((calls, messages)), .. }, .. } = outcome else { return None };
    let mut names: Vec<(&String, &u64)> = calls.iter().collect();
    names.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
    let each = |count: u64| count as f64 / (*messages).max(1) as f64;
    let texts: Vec<String> = names.iter().take(4).map(|(name, count)| format!("{name} {:.4}", each(**count))).collect();
    Some(texts.join(", "))
}

pub(crate) fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len().is_multiple_of(2) { f64::midpoint(values[middle - 1], values[middle]) } else { values[middle] }
}

fn lowest(values: &mut [f64]) -> f64 {
    values.iter().copied().fold(f64::INFINITY, f64::min)
}

/// Thousands apart: 1 234 567.
pub(crate) fn grouped(value: f64, digits: usize) -> String {
    let plain = format!("{value:.digits$}");
    let (whole, fraction) = plain.split_at(plain.find('.').unwrap_or(plain.len()));
    let mut text = String::new();
    for (index, digit) in whole.chars().enumerate() {
        if index > 0 && (whole.len() - index).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text + fraction
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_an_even_number_lies_between_the_middle_two() {
        assert!((median(&mut [4.0, 1.0, 3.0, 2.0]) - 2.5).abs() < 1e-9);
        assert!((median(&mut [3.0, 1.0, 2.0]) - 2.0).abs() < 1e-9);
    }

    #[test]
    fn thousands_stand_apart() {
        assert_eq!([grouped(7.0, 0), grouped(1234.5, 1), grouped(1_234_567.0, 0)], ["7", "1 234.5", "1 234 567"]);
    }

    #[test]
    fn a_server_that_failed_says_why_and_columns_without_values_are_left_out() {
        let rows = [
            ("good".to_owned(), vec![Ok(Outcome::Memory(256.0)), Ok(Outcome::Memory(258.0))]),
            ("bad".to_owned(), vec![Err("it ended".to_owned())]),
        ];
        let expected = "| server | bytes per connection |\n|---|---:|\n| good | 257 |\n| bad | failed: it ended |\n";
        assert_eq!(table(&rows), expected);
        assert_eq!(table(&rows[1..]), "| server | outcome |\n|---|---|\n| bad | failed: it ended |\n");
    }
}
