//! The table.

use std::fmt::Write;
use std::time::Duration;

use super::{Outcome, Plan, cases, run};
use crate::table::grouped;

/// A Markdown table with a line for each case.
pub fn table(plan: &Plan) -> String {
    let mut text = String::from(
        "| clients | 50 % back, s | 99 % | all | SYNs/s, peak | handshakes/s, peak | SYNs dropped | timed out | \
         most attempts of one | engine, longest s | not recovered |\n\
         |---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|\n",
    );
    for case in cases() {
        let outcome = run(plan, &case);
        // Writing to a string does not fail.
        let _ = writeln!(text, "| {} | {} |", case.name, line(&outcome, plan.lost()));
    }
    text
}

fn line(outcome: &Outcome, clients: usize) -> String {
    let count = |count: usize| grouped(count as f64, 0);
    let figures = [
        moment(outcome, clients, 50),
        moment(outcome, clients, 99),
        moment(outcome, clients, 100),
        count(outcome.most_attempts),
        count(outcome.most_handshakes),
        count(outcome.dropped),
        count(outcome.timed_out),
        outcome.most_of_one.to_string(),
        format!("{:.1}", outcome.longest_recovery.as_secs_f64()),
        count(outcome.unrecovered),
    ];
    figures.join(" | ")
}

/// When so many of a hundred were back, in seconds.
fn moment(outcome: &Outcome, clients: usize, percent: usize) -> String {
    let which = (clients * percent).div_ceil(100).saturating_sub(1);
    outcome.back.get(which).map_or_else(|| "never".to_owned(), |at: &Duration| format!("{:.1}", at.as_secs_f64()))
}
