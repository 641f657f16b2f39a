//! Somebody who does one thing after the other: a core with handshakes, the engine with recoveries.

use std::time::Duration;

/// All it has to know is when it will have done what it was given.
#[derive(Clone, Debug, Default)]
pub(super) struct Queue {
    free_at: Duration,
}

impl Queue {
    /// Takes work if not more than `most` of its kind wait already; when it will be done.
    pub(super) fn take(&mut self, now: Duration, work: Duration, most: usize) -> Option<Duration> {
        let waiting = self.free_at.saturating_sub(now);
        if waiting.as_nanos() > work.as_nanos() * most as u128 {
            return None;
        }
        self.free_at = self.free_at.max(now) + work;
        Some(self.free_at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn work_is_done_one_after_the_other() {
        let mut queue = Queue::default();
        assert_eq!(queue.take(SECOND, SECOND, 10), Some(2 * SECOND));
        assert_eq!(queue.take(SECOND, SECOND, 10), Some(3 * SECOND));
        assert_eq!(queue.take(9 * SECOND, SECOND, 10), Some(10 * SECOND));
    }

    #[test]
    fn what_does_not_fit_is_not_taken() {
        let mut queue = Queue::default();
        let taken = (0..10).filter(|_| queue.take(SECOND, SECOND, 2).is_some()).count();
        assert_eq!(taken, 3, "one under way and two that wait");
        assert_eq!(queue.take(2 * SECOND, SECOND, 2), Some(5 * SECOND));
    }
}
