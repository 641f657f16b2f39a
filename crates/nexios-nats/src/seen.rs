//! How far each stream is known to have come.
//!
//! A server that was restarted, or a replica that took over, may have lost the end of a stream: what comes next would get
//! numbers that others had before. The node that knows of a higher one has the stream begin again. What clients say does
//! not count: one of them could have everybody's history thrown away.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use nexios::Position;

/// The highest offset of each epoch that this node has had from the server.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen(Arc<Mutex<HashMap<u64, Arc<AtomicU64>>>>);

impl Seen {
    /// The server has told of this position.
    pub(crate) fn note(&self, position: Position) {
        self.of(position.epoch()).fetch_max(position.offset(), Ordering::Relaxed);
    }

    /// The highest offset of an epoch, 0 if there is none.
    pub(crate) fn highest(&self, epoch: u64) -> u64 {
        self.of(epoch).load(Ordering::Relaxed)
    }

    /// For one subscription, which has the same epoch nearly always.
    pub(crate) fn subscription(&self) -> Watermark {
        Watermark { seen: self.clone(), current: None }
    }

    /// An epoch that is over.
    pub(crate) fn forget(&self, epoch: u64) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&epoch);
    }

    fn of(&self, epoch: u64) -> Arc<AtomicU64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(epoch).or_default().clone()
    }
}

/// Notes positions without a lock while the epoch stays the same.
pub(crate) struct Watermark {
    seen: Seen,
    current: Option<(u64, Arc<AtomicU64>)>,
}

impl Watermark {
    pub(crate) fn note(&mut self, position: Position) {
        match &self.current {
            Some((epoch, highest)) if *epoch == position.epoch() => {
                highest.fetch_max(position.offset(), Ordering::Relaxed);
            }
            _ => {
                self.seen.note(position);
                self.current = Some((position.epoch(), self.seen.of(position.epoch())));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_offset_of_each_epoch_is_known() {
        let seen = Seen::default();
        let mut subscription = seen.subscription();
        for (epoch, offset) in [(1, 5), (1, 3), (2, 1), (1, 4)] {
            subscription.note(Position::new(epoch, offset));
        }
        seen.note(Position::new(2, 9));
        assert_eq!([1, 2, 3].map(|epoch| seen.highest(epoch)), [5, 9, 0]);
    }
}
