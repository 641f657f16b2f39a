//! Delays between attempts.

use std::time::Duration;

const SHORTEST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(5);

/// Exponential backoff with jitter: each delay is shortened at random by up to a half, so that nodes do not come back
/// all at once.
#[derive(Debug)]
pub(crate) struct Backoff(Duration);

impl Backoff {
    pub(crate) fn new() -> Self {
        Self(SHORTEST)
    }

    /// The next delay.
    pub(crate) fn next(&mut self) -> Duration {
        let delay = self.0.mul_f64(0.5 + fastrand::f64() / 2.0);
        self.0 = (self.0 * 2).min(LONGEST);
        delay
    }

    /// Starts anew with the shortest delay.
    pub(crate) fn reset(&mut self) {
        self.0 = SHORTEST;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_grow_up_to_five_seconds() {
        let mut backoff = Backoff::new();
        for expected in [100, 200, 400, 800, 1600, 3200, 5000, 5000] {
            let expected = Duration::from_millis(expected);
            let actual = backoff.next();
            assert!(actual >= expected / 2 && actual <= expected, "{actual:?} for {expected:?}");
        }
        backoff.reset();
        assert!(backoff.next() <= SHORTEST);
    }
}
