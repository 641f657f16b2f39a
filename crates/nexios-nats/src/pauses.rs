//! How long to wait before the next attempt to connect.

use std::time::Duration;

use rand::RngExt;

/// The first pause between two rounds of attempts, and the longest. Each is drawn from half of it to all of it; the one
/// before the first attempt after a loss, which all nodes notice at once, from nothing to all of the first.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// How long a connection must have been of use before the pauses begin anew, when it was given up and did not break: with
/// the next one, the server or this node may well do the same.
const USEFUL: Duration = Duration::from_secs(10);

/// The pauses of one node.
pub(crate) struct Pauses {
    /// The longest that the next one may be.
    next: Duration,
}

impl Default for Pauses {
    fn default() -> Self {
        Self { next: PAUSES.0 }
    }
}

impl Pauses {
    /// The one after attempts that have failed.
    pub(crate) fn next(&mut self) -> Duration {
        let drawn = rand::rng().random_range(self.next / 2..=self.next);
        self.next = PAUSES.1.min(self.next * 2);
        drawn
    }

    /// The one after the end of a connection.
    pub(crate) fn after(&mut self, is_given_up: bool, lasted: Duration) -> Duration {
        if is_given_up && lasted < USEFUL {
            return self.next();
        }
        self.next = PAUSES.0;
        rand::rng().random_range(Duration::ZERO..=self.next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_while_connections_fail_or_are_given_up_soon() {
        let mut pauses = Pauses::default();
        let mut longest = PAUSES.0;
        for round in 0..20 {
            let drawn = if round % 2 == 0 { pauses.next() } else { pauses.after(true, Duration::from_millis(3)) };
            assert!((longest / 2..=longest).contains(&drawn), "{drawn:?} in round {round}");
            longest = PAUSES.1.min(longest * 2);
        }
        assert!(pauses.after(true, USEFUL) <= PAUSES.0, "it was of use");
        pauses.next();
        assert!(pauses.after(false, Duration::ZERO) <= PAUSES.0, "it broke");
    }
}
