//! Which messages were sent without an answer, and since when.
//!
//! JetStream knows the ids of the last two minutes, and after a restart those that are not older than that. When an outage
//! takes longer, a message that is sent again is looked for in its stream first.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use nexios::backplane::{MessageId, Outgoing};

/// When JetStream's own memory of ids is not relied on any more, with room for clocks and for what is under way.
const OLD: Duration = Duration::from_mins(1);

/// The messages that may have been kept.
#[derive(Debug, Default)]
pub(crate) struct Attempts(Mutex<HashMap<u64, Instant>>);

/// Since when a message is tried.
pub(crate) struct Attempt(Instant);

impl Attempt {
    /// Whether JetStream may have forgotten it.
    pub(crate) fn is_old(&self) -> bool {
        self.0.elapsed() > OLD
    }
}

impl Attempts {
    /// What comes before a batch will not be tried again: a node's messages are published in their order.
    pub(crate) fn retain(&self, batch: &[Outgoing]) {
        let first = batch.iter().map(|message| message.id.number).min().unwrap_or(0);
        self.attempts().retain(|number, _| *number >= first);
    }

    /// A message is about to be sent.
    pub(crate) fn begin(&self, id: MessageId) -> Attempt {
        Attempt(*self.attempts().entry(id.number).or_insert_with(Instant::now))
    }

    /// A message was taken, or never will be.
    pub(crate) fn settled(&self, id: MessageId) {
        self.attempts().remove(&id.number);
    }

    fn attempts(&self) -> MutexGuard<'_, HashMap<u64, Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use nexios::backplane::{Channel, NodeId};

    use super::*;

    #[test]
    fn what_was_not_answered_is_known_until_the_batch_behind_it_comes() {
        let message = |number| {
            let id = MessageId { node: NodeId::new(1), number };
            Outgoing::new(Channel::group("room"), id, "text".into())
        };
        let attempts = Attempts::default();
        let [first, second, third] = [1, 2, 3].map(message);
        let began = [&first, &second].map(|message| attempts.begin(message.id).0);
        attempts.settled(first.id);
        attempts.retain(&[second.clone(), third.clone()]);
        assert!(attempts.begin(first.id).0 > began[0], "it was taken: this is another attempt");
        assert_eq!(attempts.begin(second.id).0, began[1], "the first attempt counts");
        attempts.retain(&[third]);
        assert!(attempts.attempts().is_empty(), "what comes before is over");
    }
}
