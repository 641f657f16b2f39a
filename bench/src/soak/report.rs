//! What came out, as Markdown.

use std::fmt;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::Town;
use super::samples::Sample;
use super::trend::Trend;

/// Maximum growth of memory in the second half that counts as flat, in KiB: the allocator does not return every page.
const FLAT_KIB: f64 = 2048.0;
/// The listeners' and the runtimes' own come with the first connections.
const MORE_DESCRIPTORS: usize = 4;

/// The result of a run.
#[derive(Debug)]
pub struct Report {
    time: Duration,
    done: Vec<(&'static str, u64)>,
    complaints: Vec<String>,
    latency: [Option<Duration>; 3],
    memory: Trend,
    memory_range: (u64, u64),
    half: Duration,
    before: Sample,
    after: Sample,
    most: (usize, u64),
    cpu: Duration,
}

impl Report {
    /// The first `busy` samples were taken before those who came were told to go.
    pub(super) fn new(town: &Town, samples: &[Sample], busy: usize, cpu: Duration) -> Self {
        let second_half = &samples[busy / 2..busy];
        let seconds = |sample: &Sample| sample.at.as_secs_f64();
        let memory = Trend::of(second_half.iter().map(|sample| (seconds(sample), sample.memory as f64)));
        let range = second_half.iter().map(|sample| sample.memory);
        let (first, last) = (samples[0], samples[samples.len() - 1]);
        let latencies = town.latencies.lock().unwrap_or_else(PoisonError::into_inner);
        Self {
            time: samples[busy - 1].at,
            done: town.done.iter().map(|(kind, count)| (*kind, count.load(Ordering::Relaxed))).collect(),
            complaints: town.complaints.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            latency: [0.5, 0.99, 1.0].map(|fraction| latencies.quantile(fraction)),
            memory,
            memory_range: (range.clone().min().unwrap_or(0), range.max().unwrap_or(0)),
            half: samples[busy - 1].at.saturating_sub(samples[busy / 2].at),
            before: first,
            after: last,
            most: (
                samples.iter().map(|sample| sample.descriptors).max().unwrap_or(0),
                samples.iter().map(|sample| sample.connections).max().unwrap_or(0),
            ),
            cpu,
        }
    }

    fn growth(&self) -> f64 {
        self.memory.slope * self.half.as_secs_f64()
    }

    /// Memory was flat, nothing was left behind, and nobody who behaved had anything to complain of.
    pub fn is_well(&self) -> bool {
        self.growth() < FLAT_KIB
            && self.after.connections == 0
            && self.after.descriptors <= self.before.descriptors + MORE_DESCRIPTORS
            && self.complaints.is_empty()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mib = |kib: f64| kib / 1024.0;
        let total: u64 = self.done.iter().map(|(_, count)| count).sum();
        writeln!(f, "{:.1} minutes, {total} visits:", self.time.as_secs_f64() / 60.0)?;
        for (kind, count) in &self.done {
            writeln!(f, "- {count} × {kind}")?;
        }
        let (least, most) = self.memory_range;
        writeln!(
            f,
            "\nMemory in the second half: {:.1} MiB on average, {:.1} to {:.1}; by the straight line through it {:+.2} \
             MiB in {:.1} minutes.",
            mib(self.memory.mean),
            mib(least as f64),
            mib(most as f64),
            mib(self.growth()),
            self.half.as_secs_f64() / 60.0
        )?;
        writeln!(
            f,
            "At most {} descriptors and {} connections; {} were closed because they did not read.",
            self.most.0, self.most.1, self.after.slow_consumers
        )?;
        for (when, s) in [("Before", self.before), ("After", self.after)] {
            writeln!(
                f,
                "{when}: {:.1} MiB, {} descriptors, {} connections, {} tasks, {} groups, {} bytes of history, {} queued.",
                mib(s.memory as f64),
                s.descriptors,
                s.connections,
                s.tasks,
                s.groups,
                s.history_bytes,
                s.queued_bytes
            )?;
        }
        writeln!(f, "An echo took (p50, p99, longest) {:?}; the server used {:.0?} of CPU.", self.latency, self.cpu)?;
        writeln!(f, "Complaints: {}", self.complaints.len())?;
        self.complaints.iter().take(20).try_for_each(|text| writeln!(f, "- {text}"))
    }
}
