//! How long to wait before the next attempt.

use std::time::Duration;

const SHORTEST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(5);

/// Pauses that double, each shortened by chance by up to a half, so that nodes do not come back all at once.
#[derive(Debug)]
pub(crate) struct Pause(Duration);

impl Pause {
    pub(crate) fn new() -> Self {
        Self(SHORTEST)
    }

    /// The next pause.
    pub(crate) fn next(&mut self) -> Duration {
        let pause = self.0.mul_f64(0.5 + fastrand::f64() / 2.0);
        self.0 = (self.0 * 2).min(LONGEST);
        pause
    }

    /// The next one is the shortest again.
    pub(crate) fn reset(&mut self) {
        self.0 = SHORTEST;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_up_to_five_seconds() {
        let mut pause = Pause::new();
        for expected in [100, 200, 400, 800, 1600, 3200, 5000, 5000] {
            let expected = Duration::from_millis(expected);
            let actual = pause.next();
            assert!(actual >= expected / 2 && actual <= expected, "{actual:?} for {expected:?}");
        }
        pause.reset();
        assert!(pause.next() <= SHORTEST);
    }
}
