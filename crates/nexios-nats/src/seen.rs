//! How far each stream is known to have come.
//!
//! A server that was restarted, or a replica that took over, may have lost the end of a stream: what comes next would get
//! numbers that others had before. The node that knows of a higher one has the stream begin again. What clients say does
//! not count: one of them could have everybody's history thrown away.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use nexios::Position;

/// The highest offset of each epoch that this node has had from the server.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen(Arc<Mutex<HashMap<u64, Epoch>>>);

#[derive(Debug, Default)]
struct Epoch {
    highest: Arc<AtomicU64>,
    /// When the server was first found to be behind it, and when it was last.
    behind: Option<(Instant, Instant)>,
}

/// The longest time between two looks at a stream that is behind all the time.
const LOOKS: Duration = Duration::from_secs(5);

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

    /// The server was asked, and is behind: for how long it has been.
    pub(crate) fn behind(&self, epoch: u64) -> Duration {
        let now = Instant::now();
        let mut epochs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let behind = &mut epochs.entry(epoch).or_default().behind;
        let since = behind.filter(|(_, last)| now - *last <= LOOKS).map_or(now, |(since, _)| since);
        *behind = Some((since, now));
        now - since
    }

    /// The server was asked, and knows all that this node does.
    pub(crate) fn caught_up(&self, epoch: u64) {
        if let Some(epoch) = self.0.lock().unwrap_or_else(PoisonError::into_inner).get_mut(&epoch) {
            epoch.behind = None;
        }
    }

    fn of(&self, epoch: u64) -> Arc<AtomicU64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(epoch).or_default().highest.clone()
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

    #[test]
    fn a_stream_is_behind_for_as_long_as_it_has_not_caught_up() {
        let seen = Seen::default();
        let moment = || std::thread::sleep(Duration::from_millis(5));
        assert_eq!(seen.behind(1), Duration::ZERO);
        moment();
        assert!(seen.behind(1) > Duration::ZERO);
        assert_eq!(seen.behind(2), Duration::ZERO, "another one");
        seen.caught_up(1);
        moment();
        assert_eq!(seen.behind(1), Duration::ZERO, "that was before");
    }
}
