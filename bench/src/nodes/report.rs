//! The tables.

use std::fmt::Write;

use super::load::Figures;
use super::{Cell, Kind};
use crate::table::{grouped, median};

type Tries = Vec<Result<Figures, String>>;

/// Everything measured, by cell and kind.
#[derive(Debug, Default)]
pub struct Report {
    rows: Vec<(Cell, Kind, Tries)>,
}

impl Report {
    pub(super) fn add(&mut self, cell: &Cell, kind: &Kind, outcome: Result<Figures, String>) {
        let known = self.rows.iter().position(|(c, k, _)| c.name == cell.name && k.name == kind.name);
        let index = known.unwrap_or_else(|| {
            self.rows.push((*cell, *kind, Vec::new()));
            self.rows.len() - 1
        });
        self.rows[index].2.push(outcome);
    }

    /// A Markdown table for each cell, of medians.
    pub fn to_markdown(&self, cells: &[Cell]) -> String {
        let mut text = String::new();
        for cell in cells {
            // Writing to a string does not fail.
            let _ = write!(text, "\n### {}\n\n{HEAD}", cell.title);
            for (_, kind, tries) in self.rows.iter().filter(|(known, _, _)| known.name == cell.name) {
                let _ = writeln!(text, "| {} | {} |", kind.name, line(tries));
            }
        }
        text
    }
}

const HEAD: &str = "| nodes | per second | CPU µs: A | B | engine | near: p50 µs | p99 | far: p50 µs | p99 |\n\
    |---|---:|---:|---:|---:|---:|---:|---:|---:|\n";

fn line(tries: &Tries) -> String {
    let good: Vec<&Figures> = tries.iter().filter_map(|outcome| outcome.as_ref().ok()).collect();
    if let Some(Err(failure)) = tries.iter().find(|_| good.is_empty()) {
        return format!("failed: {}", failure.replace('|', "/"));
    }
    let cell = |of: &dyn Fn(&Figures) -> Option<f64>, digits| {
        let mut values: Vec<f64> = good.iter().filter_map(|figures| of(figures)).collect();
        if values.is_empty() { String::new() } else { grouped(median(&mut values), digits) }
    };
    let mut line = [
        cell(&|figures| Some(figures.per_second), 0),
        cell(&|figures| Some(figures.a), 1),
        cell(&|figures| figures.b, 1),
        cell(&|figures| figures.engine, 1),
        cell(&|figures| figures.near[0], 0),
        cell(&|figures| figures.near[1], 0),
        cell(&|figures| figures.far[0], 0),
        cell(&|figures| figures.far[1], 0),
    ]
    .join(" | ");
    let failed = tries.len() - good.len();
    if failed > 0 {
        let _ = write!(line, " ({failed} of {} rounds failed)", tries.len());
    }
    line
}
