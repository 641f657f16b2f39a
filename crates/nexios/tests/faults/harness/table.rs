//! What was measured, as rows of a Markdown table.

use std::fs::OpenOptions;
use std::io::Write;
use std::time::Duration;

use super::attack::Record;

/// The file that the rows are appended to.
const TABLE: &str = "NEXIOS_FAULTS_TABLE";

/// Appends a row: rows of the list, attack, memory held, memory left behind, CPU, the bystander's p50, p99 and longest
/// wait, outcome.
pub(crate) fn append(record: &Record) {
    let Ok(path) = std::env::var(TABLE) else { return };
    if record.rows.is_empty() {
        return;
    }
    let Record { rows, what, held, left_behind, cpu, bystander, outcome } = record;
    let micros = |wait: Duration| wait.as_micros();
    let row = format!(
        "| {rows} | {what} | {held} KiB | {left_behind} KiB | {} ms | {} µs | {} µs | {} µs | {outcome} |\n",
        cpu.as_millis(),
        micros(bystander.waits.p50),
        micros(bystander.waits.p99),
        micros(bystander.waits.max),
    );
    let mut file = OpenOptions::new().create(true).append(true).open(path).unwrap();
    file.write_all(row.as_bytes()).unwrap();
}
