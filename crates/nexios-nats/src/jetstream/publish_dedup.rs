//! Deduplication of messages that are published again because they were not acknowledged.
//!
//! JetStream remembers the ids of the last two minutes, and after a restart those that are not older than that. When an
//! outage takes longer, a message is searched in its stream before it is sent again.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use nexios::Position;
use nexios::backplane::{MessageId, Outgoing};

/// Age from which JetStream's own dedup window is not relied on, with a margin for clock skew and messages in flight.
const WINDOW: Duration = Duration::from_mins(1);

/// Time for which a message that is not retried is remembered, longer than any outage: the node does not report that it
/// has given a message up.
const EXPIRY: Duration = Duration::from_hours(24);

/// The messages that were sent without an acknowledgement, and may have been stored.
#[derive(Debug, Default)]
pub(crate) struct PublishDedup(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    attempts: HashMap<u64, Attempt>,
    swept: Option<Instant>,
}

/// The state of a message that was sent.
#[derive(Clone, Copy, Debug)]
struct Attempt {
    /// The end of the dedup window.
    window_end: Instant,
    /// A lower bound of the message's position, in a stream of this epoch.
    behind: Position,
    /// The position at which a search has found it.
    place: Option<Position>,
    /// The time of its last attempt.
    last: Instant,
}

impl PublishDedup {
    /// Records that messages are about to be published, for the first time or again, and removes expired ones.
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
        // Not with each batch: there may be many attempts.
        if inner.swept.is_none_or(|swept| now - swept > EXPIRY / 10) {
            inner.swept = Some(now);
            inner.attempts.retain(|_, attempt| now - attempt.last < EXPIRY);
        }
    }

    /// Records that a message is about to be sent to a stream whose end is `behind`.
    pub(crate) fn begin(&self, id: MessageId, behind: Position) {
        self.inner().attempts.entry(id.number).or_insert_with(|| Attempt::new(behind));
    }

    /// Returns true if the message was sent before.
    pub(crate) fn was_sent(&self, id: MessageId) -> bool {
        self.inner().attempts.contains_key(&id.number)
    }

    /// The position behind which the message must be searched; `None` within the dedup window.
    pub(crate) fn search_behind(&self, id: MessageId) -> Option<Position> {
        let inner = self.inner();
        let attempt = inner.attempts.get(&id.number)?;
        (attempt.place.is_none() && attempt.window_end <= Instant::now()).then_some(attempt.behind)
    }

    /// The position at which the message was found.
    pub(crate) fn place(&self, id: MessageId) -> Option<Position> {
        self.inner().attempts.get(&id.number)?.place
    }

    /// Records that a search up to a position has not found the message: it is sent to JetStream as a new one.
    pub(crate) fn not_found(&self, id: MessageId, up_to: Position) {
        self.inner().attempts.insert(id.number, Attempt::new(up_to));
    }

    /// Records the position at which a search has found the message.
    pub(crate) fn found(&self, id: MessageId, place: Position) {
        if let Some(attempt) = self.inner().attempts.get_mut(&id.number) {
            attempt.place = Some(place);
        }
    }

    /// Forgets a message that was stored, or was refused for good.
    pub(crate) fn resolved(&self, id: MessageId) {
        self.inner().attempts.remove(&id.number);
    }

    /// Ends the dedup window of all messages, as a long outage does.
    #[cfg(test)]
    pub(crate) fn end_window(&self) {
        for attempt in self.inner().attempts.values_mut() {
            attempt.window_end = Instant::now();
        }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Attempt {
    fn new(behind: Position) -> Self {
        let now = Instant::now();
        Self { window_end: now + WINDOW, behind, place: None, last: now }
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
    fn an_unacknowledged_message_is_remembered_until_it_is_resolved() {
        let dedup = PublishDedup::default();
        let [first, second] = [1, 2].map(id);
        for (id, offset) in [(first, 5), (second, 6), (second, 9)] {
            dedup.begin(id, Position::new(7, offset));
        }
        dedup.resolved(first);
        // Other messages change nothing.
        dedup.touch(&[Outgoing::new(Channel::group("room"), id(3), "text".into())]);
        assert!(!dedup.was_sent(first) && dedup.was_sent(second));
        assert_eq!(dedup.search_behind(second), None, "within the dedup window");
        dedup.end_window();
        assert_eq!(dedup.search_behind(second), Some(Position::new(7, 6)), "the first attempt counts");
    }

    #[test]
    fn a_search_is_not_repeated_within_the_next_window() {
        let dedup = PublishDedup::default();
        let [first, second] = [1, 2].map(id);
        for id in [first, second] {
            dedup.begin(id, Position::new(7, 0));
        }
        dedup.end_window();
        dedup.found(first, Position::new(7, 3));
        dedup.not_found(second, Position::new(7, 4));
        assert_eq!((dedup.search_behind(first), dedup.place(first)), (None, Some(Position::new(7, 3))));
        assert_eq!((dedup.search_behind(second), dedup.place(second)), (None, None));
        dedup.end_window();
        assert_eq!(
            dedup.search_behind(second),
            Some(Position::new(7, 4)),
            "after another outage, behind the last search"
        );
    }
}
