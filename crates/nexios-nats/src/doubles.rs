//! Which messages were sent without an answer, and since when.
//!
//! JetStream knows the ids of the last two minutes, and after a restart those that are not older than that. When an outage
//! takes longer, a message that is sent again is looked for in its stream first.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use nexios::Position;
use nexios::backplane::{MessageId, Outgoing};

/// When JetStream's own memory of ids is not relied on any more, with room for clocks and for what is under way.
const OLD: Duration = Duration::from_mins(1);

/// For how long a message is remembered that is not tried again: the node has given it up, which it does not tell. Longer
/// than outages are.
const FORGOTTEN: Duration = Duration::from_hours(24);

/// The messages that may have been kept.
#[derive(Debug, Default)]
pub(crate) struct Attempts(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    attempts: HashMap<u64, Attempt>,
    swept: Option<Instant>,
}

/// What is known of a message that was sent.
#[derive(Clone, Copy, Debug)]
struct Attempt {
    /// When JetStream may have forgotten it.
    old_at: Instant,
    /// In a stream of this epoch it can only stand behind this offset.
    behind: Position,
    /// Where it was found.
    place: Option<Position>,
    /// When it was last to be published.
    last: Instant,
}

impl Attempts {
    /// These are about to be published, for the first time or again. Those that nobody has tried for long are forgotten.
    pub(crate) fn touch(&self, batch: &[Outgoing]) {
        let mut inner = self.inner();
        if inner.attempts.is_empty() {
            return;
        }
        let now = Instant::now();
        for message in batch {
            if let Some(attempt) = inner.attempts.get_mut(&message.id.number) {
                attempt.last = now;
            }
        }
        // Not with each batch: there may be many.
        if inner.swept.is_none_or(|swept| now - swept > FORGOTTEN / 10) {
            inner.swept = Some(now);
            inner.attempts.retain(|_, attempt| now - attempt.last < FORGOTTEN);
        }
    }

    /// A message is about to be sent, to a stream that has come so far.
    pub(crate) fn begin(&self, id: MessageId, behind: Position) {
        self.inner().attempts.entry(id.number).or_insert_with(|| Attempt::new(behind));
    }

    /// Whether it was sent before.
    pub(crate) fn has(&self, id: MessageId) -> bool {
        self.inner().attempts.contains_key(&id.number)
    }

    /// Behind which position it must be looked for, if JetStream may have forgotten it.
    pub(crate) fn old(&self, id: MessageId) -> Option<Position> {
        let inner = self.inner();
        let attempt = inner.attempts.get(&id.number)?;
        (attempt.place.is_none() && attempt.old_at <= Instant::now()).then_some(attempt.behind)
    }

    /// Where it was found.
    pub(crate) fn place(&self, id: MessageId) -> Option<Position> {
        self.inner().attempts.get(&id.number)?.place
    }

    /// It was looked for, up to a position, and was not there: JetStream gets it as a new one.
    pub(crate) fn not_found(&self, id: MessageId, up_to: Position) {
        self.inner().attempts.insert(id.number, Attempt::new(up_to));
    }

    pub(crate) fn found(&self, id: MessageId, place: Position) {
        if let Some(attempt) = self.inner().attempts.get_mut(&id.number) {
            attempt.place = Some(place);
        }
    }

    /// A message was taken, or never will be.
    pub(crate) fn settled(&self, id: MessageId) {
        self.inner().attempts.remove(&id.number);
    }

    /// As if an outage had lasted for longer than JetStream remembers.
    #[cfg(test)]
    pub(crate) fn become_old(&self) {
        for attempt in self.inner().attempts.values_mut() {
            attempt.old_at = Instant::now();
        }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Attempt {
    fn new(behind: Position) -> Self {
        let now = Instant::now();
        Self { old_at: now + OLD, behind, place: None, last: now }
    }
}

#[cfg(test)]
mod tests {
    use nexios::backplane::{Channel, NodeId};

    use super::*;

    fn id(number: u64) -> MessageId {
        MessageId { node: NodeId::new(1), number }
    }

    #[test]
    fn what_was_not_answered_is_known_until_it_is_settled() {
        let attempts = Attempts::default();
        let [first, second] = [1, 2].map(id);
        for (id, offset) in [(first, 5), (second, 6), (second, 9)] {
            attempts.begin(id, Position::new(7, offset));
        }
        attempts.settled(first);
        // Others that come meanwhile change nothing.
        attempts.touch(&[Outgoing::new(Channel::group("room"), id(3), "text".into())]);
        assert!(!attempts.has(first) && attempts.has(second));
        assert_eq!(attempts.old(second), None, "JetStream knows it");
        attempts.become_old();
        assert_eq!(attempts.old(second), Some(Position::new(7, 6)), "the first attempt counts");
    }

    #[test]
    fn what_was_looked_for_is_not_looked_for_again() {
        let attempts = Attempts::default();
        let [first, second] = [1, 2].map(id);
        for id in [first, second] {
            attempts.begin(id, Position::new(7, 0));
        }
        attempts.become_old();
        attempts.found(first, Position::new(7, 3));
        attempts.not_found(second, Position::new(7, 4));
        assert_eq!((attempts.old(first), attempts.place(first)), (None, Some(Position::new(7, 3))));
        assert_eq!((attempts.old(second), attempts.place(second)), (None, None));
        attempts.become_old();
        assert_eq!(attempts.old(second), Some(Position::new(7, 4)), "after another outage, from there on");
    }
}
