//! So many in a second: limits on what comes in.

use std::time::{Duration, Instant};

/// How much may come in: on average so much in a second, and at once at most a burst (a token bucket).
///
/// ```
/// use nexios::{App, Config, OverRate, Rate};
///
/// let config = Config::new()
///     .message_rate(Rate::per_second(50).burst(200))
///     .over_rate(OverRate::Close);
/// # drop(App::new().config(config));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    per_second: u32,
    burst: u32,
}

/// What becomes of a peer that sends faster than its [`Rate`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OverRate {
    /// It is not read for a while: it feels TCP's backpressure, and nothing is lost.
    #[default]
    Wait,
    /// It is closed with 4429 and the cause [`RateExceeded`](crate::Cause::RateExceeded).
    Close,
}

impl Rate {
    pub(crate) fn at_once(self) -> u32 {
        self.burst
    }

    /// So many in a second, and as many at once. Zero lets nothing through.
    pub const fn per_second(n: u32) -> Self {
        Self { per_second: n, burst: n }
    }

    /// How many may come at once after a time of silence.
    pub const fn burst(mut self, n: u32) -> Self {
        self.burst = n;
        self
    }
}

/// How much of a rate is left.
#[derive(Debug)]
pub(crate) struct Bucket {
    rate: Rate,
    /// In billionths, so that each nanosecond adds a whole number; below zero after something larger than what was left.
    tokens: i64,
    at: Instant,
}

const WHOLE: i64 = 1_000_000_000;

impl Bucket {
    pub(crate) fn new(rate: Rate, now: Instant) -> Self {
        Self { rate, tokens: i64::from(rate.burst) * WHOLE, at: now }
    }

    /// Whether one more is within the rate now; else how long until it is.
    pub(crate) fn check(&mut self, now: Instant) -> Result<(), Duration> {
        let elapsed = i64::try_from(now.saturating_duration_since(self.at).as_nanos()).unwrap_or(i64::MAX);
        let full = i64::from(self.rate.burst) * WHOLE;
        self.tokens = self.tokens.saturating_add(elapsed.saturating_mul(self.rate.per_second.into())).min(full);
        self.at = now;
        let missing = WHOLE.saturating_sub(self.tokens);
        if missing <= 0 {
            return Ok(());
        }
        let wait = missing.checked_div(self.rate.per_second.into()).unwrap_or(i64::MAX);
        Err(Duration::from_nanos(u64::try_from(wait).unwrap_or(u64::MAX)))
    }

    /// Whether nothing was taken lately.
    pub(crate) fn is_full(&mut self, now: Instant) -> bool {
        let _ = self.check(now);
        self.tokens >= i64::from(self.rate.burst) * WHOLE
    }

    /// Up to so many of those that are left. Zero, if the rate is exceeded.
    pub(crate) fn take_up_to(&mut self, most: u32) -> u32 {
        let n = (self.tokens / WHOLE).clamp(0, most.into());
        self.tokens -= n * WHOLE;
        u32::try_from(n).unwrap_or(0)
    }

    /// Takes what has come, also when it is more than was left.
    pub(crate) fn take(&mut self, n: usize) {
        let n = i64::try_from(n).unwrap_or(i64::MAX);
        self.tokens = self.tokens.saturating_sub(n.saturating_mul(WHOLE));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_at_once_and_then_so_many_in_a_second() {
        let start = Instant::now();
        let mut bucket = Bucket::new(Rate::per_second(10).burst(3), start);
        for _ in 0..3 {
            assert_eq!(bucket.check(start), Ok(()));
            bucket.take(1);
        }
        assert_eq!(bucket.check(start), Err(Duration::from_millis(100)));
        assert_eq!(bucket.check(start + Duration::from_millis(100)), Ok(()));
        bucket.take(1);
        assert!(bucket.check(start + Duration::from_millis(150)).is_err());
        // Silence is not saved up beyond a burst.
        let later = start + Duration::from_hours(1);
        let passed = (0..10).filter(|_| bucket.check(later).map(|()| bucket.take(1)).is_ok()).count();
        assert_eq!(passed, 3);
    }

    #[test]
    fn what_is_larger_than_a_burst_is_paid_for_afterwards() {
        let start = Instant::now();
        let mut bucket = Bucket::new(Rate::per_second(1_000), start);
        assert_eq!(bucket.check(start), Ok(()));
        bucket.take(5_000);
        assert_eq!(bucket.check(start), Err(Duration::from_millis(4_001)));
    }

    #[test]
    fn a_rate_of_zero_lets_nothing_through() {
        let start = Instant::now();
        let mut bucket = Bucket::new(Rate::per_second(0), start);
        assert!(bucket.check(start).is_err());
        assert!(bucket.check(start + Duration::from_hours(1)).is_err());
    }
}
