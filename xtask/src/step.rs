//! A step of the checks, and the summary of a run.

use std::fmt;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use crate::workspace::Workspace;

/// What a step ends with: one line for the summary, or why it did not pass.
pub(crate) type Outcome = Result<String, Problem>;

#[derive(Debug)]
pub(crate) enum Problem {
    /// The check ran and said no.
    Failed(String),
    /// Something that the step needs is not on this machine and could not be installed.
    Missing(String),
}

impl Problem {
    pub(crate) fn failed(message: impl Into<String>) -> Self {
        Self::Failed(message.into())
    }

    pub(crate) fn missing(message: impl Into<String>) -> Self {
        Self::Missing(message.into())
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(message) => f.write_str(message),
            Self::Missing(message) => write!(f, "missing: {message}"),
        }
    }
}

/// Letters of a row's last column; the whole text stands above the summary.
const DETAIL: usize = 90;

type Action = Box<dyn FnOnce(&Workspace) -> Outcome>;

pub(crate) struct Step {
    pub(crate) name: &'static str,
    action: Action,
}

impl Step {
    pub(crate) fn new(name: &'static str, action: impl FnOnce(&Workspace) -> Outcome + 'static) -> Self {
        Self { name, action: Box::new(action) }
    }
}

/// Runs every step, also after one that failed, and prints the summary.
pub(crate) fn run_all(workspace: &Workspace, steps: Vec<Step>) -> ExitCode {
    let mut rows = Vec::new();
    for step in steps {
        println!("\n=== {}", step.name);
        let began = Instant::now();
        let outcome = (step.action)(workspace);
        if let Err(problem) = &outcome {
            println!("{problem}");
        }
        rows.push((step.name, outcome, began.elapsed()));
    }
    println!("\n{}", summary(&rows));
    if rows.iter().all(|(_, outcome, _)| outcome.is_ok()) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn summary(rows: &[(&str, Outcome, Duration)]) -> String {
    let mut text = format!("{:<16} {:<8} {:>7}\n", "step", "result", "seconds");
    for (name, outcome, elapsed) in rows {
        let (result, detail) = match outcome {
            Ok(detail) => ("passed", detail),
            Err(Problem::Failed(why)) => ("FAILED", why),
            Err(Problem::Missing(what)) => ("MISSING", what),
        };
        let detail: String = detail.lines().next().unwrap_or_default().chars().take(DETAIL).collect();
        let seconds = elapsed.as_secs_f64();
        text += format!("{name:<16} {result:<8} {seconds:>7.1}  {detail}").trim_end();
        text += "\n";
    }
    let total: Duration = rows.iter().map(|row| row.2).sum();
    let passed = rows.iter().filter(|row| row.1.is_ok()).count();
    let failed = rows.len() - passed;
    text + &format!("{:<16} {:<8} {:>7.1}\n{passed} passed, {failed} failed", "total", "", total.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_ends_with_the_counts_and_a_missing_program_is_no_pass() {
        let rows = [
            ("fmt", Ok(String::new()), Duration::from_secs(1)),
            ("clippy", Err(Problem::failed("exit code 101")), Duration::ZERO),
            ("browser", Err(Problem::missing("chromium")), Duration::ZERO),
        ];
        let text = summary(&rows);
        assert!(text.contains("browser          MISSING      0.0  chromium"), "{text}");
        assert_eq!(text.lines().last(), Some("1 passed, 2 failed"));
    }
}
