//! A moment that lies a duration ahead, for durations that a setting may have made as long as it likes.

use std::time::Duration;

use tokio::time::Instant;

/// The longest that is told apart from "never": 30 years.
const FOREVER: Duration = Duration::from_hours(24 * 365 * 30);

/// The moment `after` has gone by, for any duration: one that is longer than 30 years is taken for 30 years, because the
/// clock of some systems does not count much further.
pub(crate) fn deadline_after(now: Instant, after: Duration) -> Instant {
    now + after.min(FOREVER)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_duration_has_a_deadline() {
        let now = Instant::now();
        assert_eq!(deadline_after(now, Duration::ZERO), now);
        assert_eq!(deadline_after(now, Duration::from_nanos(1)), now + Duration::from_nanos(1));
        assert_eq!(deadline_after(now, Duration::MAX), now + FOREVER);
    }
}
