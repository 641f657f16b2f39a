//! Latencies in buckets whose width is at most 1/32 of their value.

use std::time::Duration;

/// Buckets for each power of two.
const STEPS: u64 = 32;
const BUCKETS: usize = 40 * 32;

/// Counts of durations from nanoseconds to minutes, in 10 KiB.
#[derive(Debug)]
pub struct Histogram {
    counts: Vec<u64>,
    total: u64,
}

impl Histogram {
    /// An empty one.
    pub fn new() -> Self {
        Histogram { counts: vec![0; BUCKETS], total: 0 }
    }

    /// Counts one duration.
    pub fn record(&mut self, duration: Duration) {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        self.counts[bucket(nanos)] += 1;
        self.total += 1;
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.counts.fill(0);
        self.total = 0;
    }

    /// The duration below which `fraction` of all lie, or `None` if there are none.
    pub fn quantile(&self, fraction: f64) -> Option<Duration> {
        let mut seen = 0;
        let position = self.counts.iter().position(|count| {
            seen += count;
            seen > 0 && seen as f64 >= self.total as f64 * fraction
        })?;
        Some(Duration::from_nanos(lower_bound(position)))
    }
}

impl Default for Histogram {
    fn default() -> Self {
        Self::new()
    }
}

fn bucket(nanos: u64) -> usize {
    let power = nanos.max(STEPS).ilog2() - STEPS.ilog2();
    let index = u64::from(power) * STEPS + (nanos >> power);
    usize::try_from(index).unwrap_or(usize::MAX).min(BUCKETS - 1)
}

fn lower_bound(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    // From the second power on, the step part runs from STEPS to 2 × STEPS.
    let power = (bucket / STEPS).saturating_sub(1);
    (bucket - power * STEPS) << power
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_begins_at_most_a_32nd_below_its_values() {
        for nanos in [0, 1, 31, 32, 63, 64, 65, 1000, 123_456, 7_654_321, 60_000_000_000] {
            let bound = lower_bound(bucket(nanos));
            assert!(bound <= nanos && nanos - bound <= nanos / 32, "{nanos} in the bucket from {bound}");
        }
    }

    #[test]
    fn quantiles_of_a_hundred_even_values() {
        let mut histogram = Histogram::new();
        (1..=100).for_each(|micros| histogram.record(Duration::from_micros(micros)));
        let median = histogram.quantile(0.5).unwrap().as_micros();
        let late = histogram.quantile(0.99).unwrap().as_micros();
        assert!((48..=50).contains(&median) && (95..=99).contains(&late), "{median} {late}");
    }
}
