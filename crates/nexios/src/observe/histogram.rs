//! Histograms of fixed buckets, because a recorder may keep every single sample until somebody asks: a busy server has
//! a million in a second.

use std::fmt::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Times, counted by how long they are.
#[derive(Debug)]
pub(super) struct Histogram<const N: usize> {
    /// One for each bound.
    counts: [AtomicU64; N],
    /// Beyond the last bound.
    above: AtomicU64,
    /// In nanoseconds.
    sum: AtomicU64,
}

/// Upper bounds, rising.
pub(super) type Bounds<const N: usize> = [Duration; N];

/// What one or several histograms with the same bounds have counted.
#[derive(Clone, Debug)]
pub(super) struct Totals<const N: usize> {
    counts: [u64; N],
    above: u64,
    sum: u64,
}

impl<const N: usize> Histogram<N> {
    pub(super) const fn new() -> Self {
        Self { counts: [const { AtomicU64::new(0) }; N], above: AtomicU64::new(0), sum: AtomicU64::new(0) }
    }

    #[inline]
    pub(super) fn record(&self, bounds: &Bounds<N>, time: Duration) {
        let bucket = bounds.iter().zip(&self.counts).find(|(bound, _)| time <= **bound);
        bucket.map_or(&self.above, |(_, count)| count).fetch_add(1, Ordering::Relaxed);
        self.sum.fetch_add(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}

impl<const N: usize> Totals<N> {
    pub(super) fn of<'a>(histograms: impl IntoIterator<Item = &'a Histogram<N>>) -> Self {
        let mut totals = Self { counts: [0; N], above: 0, sum: 0 };
        for histogram in histograms {
            for (total, count) in totals.counts.iter_mut().zip(&histogram.counts) {
                *total += count.load(Ordering::Relaxed);
            }
            totals.above += histogram.above.load(Ordering::Relaxed);
            totals.sum = totals.sum.wrapping_add(histogram.sum.load(Ordering::Relaxed));
        }
        totals
    }

    /// What came since `before`, as pairs of a time that stands for a bucket, in seconds, and how many.
    pub(super) fn since(&self, before: Option<&Self>, bounds: &Bounds<N>) -> Vec<(f64, usize)> {
        let mut samples = Vec::new();
        let last = bounds.last().map_or(0.0, Duration::as_secs_f64);
        let times = bounds.iter().map(Duration::as_secs_f64).chain([last * 2.0]);
        let now = self.counts.iter().chain([&self.above]);
        let mut old = before.into_iter().flat_map(|before| before.counts.iter().chain([&before.above]));
        for (time, count) in times.zip(now) {
            let new = count - old.next().unwrap_or(&0);
            if new > 0 {
                samples.push((time, usize::try_from(new).unwrap_or(usize::MAX)));
            }
        }
        samples
    }

    /// The lines of one histogram in Prometheus' text format.
    pub(super) fn write(&self, out: &mut String, name: &str, route: &str, bounds: &Bounds<N>) -> fmt::Result {
        let route = Escaped(route);
        let mut count = 0;
        for (bound, in_bucket) in bounds.iter().zip(&self.counts) {
            count += in_bucket;
            writeln!(out, "{name}_bucket{{route=\"{route}\",le=\"{}\"}} {count}", bound.as_secs_f64())?;
        }
        count += self.above;
        writeln!(out, "{name}_bucket{{route=\"{route}\",le=\"+Inf\"}} {count}")?;
        writeln!(out, "{name}_sum{{route=\"{route}\"}} {}", Duration::from_nanos(self.sum).as_secs_f64())?;
        writeln!(out, "{name}_count{{route=\"{route}\"}} {count}")
    }
}

/// A label's value between its quotes.
struct Escaped<'a>(&'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for char in self.0.chars() {
            match char {
                '\\' => f.write_str("\\\\")?,
                '"' => f.write_str("\\\"")?,
                '\n' => f.write_str("\\n")?,
                char => f.write_char(char)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds<2> = [Duration::from_millis(1), Duration::from_secs(1)];

    fn recorded() -> Histogram<2> {
        let histogram = Histogram::new();
        for milliseconds in [0, 1, 2, 1_000, 1_001] {
            histogram.record(&BOUNDS, Duration::from_millis(milliseconds));
        }
        histogram
    }

    #[test]
    fn a_time_counts_in_the_first_bucket_that_holds_it_and_in_all_above() {
        let mut text = String::new();
        Totals::of([&recorded()]).write(&mut text, "t", "/a\"\\\n", &BOUNDS).unwrap();
        let route = r#"route="/a\"\\\n""#;
        let expected = format!(
            "t_bucket{{{route},le=\"0.001\"}} 2\nt_bucket{{{route},le=\"1\"}} 4\nt_bucket{{{route},le=\"+Inf\"}} 5\n\
             t_sum{{{route}}} 2.004\nt_count{{{route}}} 5\n"
        );
        assert_eq!(text, expected);
    }

    #[test]
    fn what_came_since_is_told_once() {
        let histogram = recorded();
        let first = Totals::of([&histogram]);
        assert_eq!(first.since(None, &BOUNDS), [(0.001, 2), (1.0, 2), (2.0, 1)]);
        histogram.record(&BOUNDS, Duration::from_millis(3));
        assert_eq!(Totals::of([&histogram]).since(Some(&first), &BOUNDS), [(1.0, 1)]);
    }
}
