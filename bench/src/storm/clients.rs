//! What clients do: when they notice, and how long they wait before each attempt.

use std::time::Duration;

use fastrand::Rng;

/// The way in which the node's connections end.
#[derive(Clone, Copy, Debug)]
pub enum Loss {
    /// The process is killed: the kernel tells all clients at once.
    Killed,
    /// The machine is gone, and nobody tells: each client finds out by itself, within this time.
    Silent(Duration),
    /// The node shuts down: it closes in batches over this time, and tells each client a moment of its own within the
    /// second.
    Drained(Duration, Duration),
}

/// The delays of a client before each attempt.
#[derive(Clone, Copy, Debug)]
pub enum Pauses {
    /// Always as long, all alike; the first attempt is made at once.
    Fixed(Duration),
    /// Twice as long each time, from the first to the second; all alike.
    Doubling(Duration, Duration),
    /// Twice as long each time, from the first to the second; and of that between a half and one and a half by chance,
    /// as socket.io's client does.
    HalfJitter(Duration, Duration),
    /// Twice as long each time, from the first to the second; and of that between a half and all by chance, as the page
    /// in `docs/nodes.md` does.
    EqualJitter(Duration, Duration),
    /// By chance between nothing and a time that doubles, from the first to the second.
    FullJitter(Duration, Duration),
}

impl Loss {
    /// When a client begins to think of coming back.
    pub(super) fn noticed(self, chance: &mut Rng) -> Duration {
        match self {
            Loss::Killed => Duration::ZERO,
            Loss::Silent(within) => within.mul_f64(chance.f64()),
            Loss::Drained(over, within) => batch(over.mul_f64(chance.f64())) + within.mul_f64(chance.f64()),
        }
    }

    /// Returns true if the node has announced the time to reconnect, so that there is no first delay.
    pub(super) const fn tells_when(self) -> bool {
        matches!(self, Loss::Drained(..))
    }

    /// Returns true if the balancer learns of it in advance: a node that shuts down is unready first.
    pub(super) const fn is_announced(self) -> bool {
        matches!(self, Loss::Drained(..))
    }
}

/// A draining node closes ten batches in a second.
fn batch(at: Duration) -> Duration {
    Duration::from_millis(u64::try_from(at.as_millis() / 100 * 100).unwrap_or(u64::MAX))
}

impl Pauses {
    /// The pause before an attempt, of which the first is 0.
    pub(super) fn before(self, attempt: u32, chance: &mut Rng) -> Duration {
        match self {
            Pauses::Fixed(_) if attempt == 0 => Duration::ZERO,
            Pauses::Fixed(pause) => pause,
            Pauses::Doubling(first, most) => doubled(first, most, attempt),
            Pauses::HalfJitter(first, most) => doubled(first, most, attempt).mul_f64(0.5 + chance.f64()),
            Pauses::EqualJitter(first, most) => doubled(first, most, attempt).mul_f64(0.5 + chance.f64() / 2.0),
            Pauses::FullJitter(first, most) => doubled(first, most, attempt).mul_f64(chance.f64()),
        }
    }
}

fn doubled(first: Duration, most: Duration, times: u32) -> Duration {
    first.saturating_mul(1 << times.min(20)).min(most)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn pauses_double_up_to_their_most() {
        let mut chance = Rng::with_seed(1);
        let pauses = Pauses::Doubling(SECOND, 5 * SECOND);
        let seconds: Vec<u64> = (0..5).map(|attempt| pauses.before(attempt, &mut chance).as_secs()).collect();
        assert_eq!(seconds, [1, 2, 4, 5, 5]);
        for attempt in 0..40 {
            assert!(Pauses::FullJitter(SECOND, 5 * SECOND).before(attempt, &mut chance) < 5 * SECOND);
        }
    }

    #[test]
    fn a_drain_ends_connections_in_batches_and_spreads_each() {
        let mut chance = Rng::with_seed(1);
        for _ in 0..1_000 {
            let at = Loss::Drained(5 * SECOND, SECOND).noticed(&mut chance);
            assert!(at < 6 * SECOND, "{at:?}");
            assert_eq!(Loss::Drained(5 * SECOND, Duration::ZERO).noticed(&mut chance).as_millis() % 100, 0);
        }
    }
}
