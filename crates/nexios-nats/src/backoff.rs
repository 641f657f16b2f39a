//! Delays between attempts to connect.

use std::time::Duration;

use rand::RngExt;

/// Upper bounds of the first and of the longest delay between two rounds of attempts. Each delay is random, between
/// half of its bound and the bound; the one before the first attempt after a loss, which all nodes notice at once, is
/// between zero and the first bound.
const RANGE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// Minimum lifetime of a connection after which the backoff starts anew although this node gave the connection up: a
/// shorter one suggests that the next will end in the same way.
const STABLE: Duration = Duration::from_secs(10);

/// Exponential backoff with jitter.
pub(crate) struct Backoff {
    /// Upper bound of the next delay.
    bound: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { bound: RANGE.0 }
    }
}

impl Backoff {
    /// The delay after a round of failed attempts.
    pub(crate) fn next(&mut self) -> Duration {
        let delay = rand::rng().random_range(self.bound / 2..=self.bound);
        self.bound = RANGE.1.min(self.bound * 2);
        delay
    }

    /// The delay after the end of a connection that lasted for `lifetime`.
    pub(crate) fn after_connection(&mut self, needs_backoff: bool, lifetime: Duration) -> Duration {
        if needs_backoff && lifetime < STABLE {
            return self.next();
        }
        self.bound = RANGE.0;
        rand::rng().random_range(Duration::ZERO..=self.bound)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_grow_while_connections_fail_or_are_soon_given_up() {
        let mut backoff = Backoff::default();
        let mut longest = RANGE.0;
        for round in 0..20 {
            let delay =
                if round % 2 == 0 { backoff.next() } else { backoff.after_connection(true, Duration::from_millis(3)) };
            assert!((longest / 2..=longest).contains(&delay), "{delay:?} in round {round}");
            longest = RANGE.1.min(longest * 2);
        }
        assert!(backoff.after_connection(true, STABLE) <= RANGE.0, "it was stable");
        backoff.next();
        assert!(backoff.after_connection(false, Duration::ZERO) <= RANGE.0, "it broke");
    }
}
