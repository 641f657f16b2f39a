//! The highest offset of each stream that this node has received from the server.
//!
//! A server that was restarted, or a replica that took over, may have lost the end of a stream: the next messages would
//! get offsets that others had before. A node that knows a higher offset has the stream recreated. Offsets that clients
//! claim do not count: any client could have every history discarded.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use nexios::Position;

/// The highest offset of each epoch that the server has reported to this node.
#[derive(Clone, Debug, Default)]
pub(crate) struct HighWatermarks(Arc<Mutex<HashMap<u64, Epoch>>>);

#[derive(Debug, Default)]
struct Epoch {
    highest: Arc<AtomicU64>,
    /// The first and the last time that the server was found to be behind.
    behind: Option<(Instant, Instant)>,
}

/// Maximum time between two checks of a stream that count as one continuous lag.
const CHECK_GAP: Duration = Duration::from_secs(5);

impl HighWatermarks {
    /// Records a position that the server has reported.
    pub(crate) fn record(&self, position: Position) {
        self.of(position.epoch()).fetch_max(position.offset(), Ordering::Relaxed);
    }

    /// The highest offset of an epoch; 0 if none is known.
    pub(crate) fn highest(&self, epoch: u64) -> u64 {
        self.of(epoch).load(Ordering::Relaxed)
    }

    /// A recorder for one subscription, which nearly always stays in one epoch.
    pub(crate) fn recorder(&self) -> Recorder {
        Recorder { watermarks: self.clone(), current: None }
    }

    /// Records that the server is behind, and returns for how long it has been.
    pub(crate) fn behind(&self, epoch: u64) -> Duration {
        let now = Instant::now();
        let mut epochs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let behind = &mut epochs.entry(epoch).or_default().behind;
        let since = behind.filter(|(_, last)| now - *last <= CHECK_GAP).map_or(now, |(since, _)| since);
        *behind = Some((since, now));
        now - since
    }

    /// Records that the server is not behind.
    pub(crate) fn caught_up(&self, epoch: u64) {
        if let Some(epoch) = self.0.lock().unwrap_or_else(PoisonError::into_inner).get_mut(&epoch) {
            epoch.behind = None;
        }
    }

    fn of(&self, epoch: u64) -> Arc<AtomicU64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(epoch).or_default().highest.clone()
    }
}

/// Records positions without a lock while the epoch stays the same.
pub(crate) struct Recorder {
    watermarks: HighWatermarks,
    current: Option<(u64, Arc<AtomicU64>)>,
}

impl Recorder {
    pub(crate) fn record(&mut self, position: Position) {
        match &self.current {
            Some((epoch, highest)) if *epoch == position.epoch() => {
                highest.fetch_max(position.offset(), Ordering::Relaxed);
            }
            _ => {
                self.watermarks.record(position);
                self.current = Some((position.epoch(), self.watermarks.of(position.epoch())));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_offset_of_each_epoch_is_known() {
        let watermarks = HighWatermarks::default();
        let mut recorder = watermarks.recorder();
        for (epoch, offset) in [(1, 5), (1, 3), (2, 1), (1, 4)] {
            recorder.record(Position::new(epoch, offset));
        }
        watermarks.record(Position::new(2, 9));
        assert_eq!([1, 2, 3].map(|epoch| watermarks.highest(epoch)), [5, 9, 0]);
    }

    #[test]
    fn a_stream_is_behind_for_as_long_as_it_has_not_caught_up() {
        let watermarks = HighWatermarks::default();
        let moment = || std::thread::sleep(Duration::from_millis(5));
        assert_eq!(watermarks.behind(1), Duration::ZERO);
        moment();
        assert!(watermarks.behind(1) > Duration::ZERO);
        assert_eq!(watermarks.behind(2), Duration::ZERO, "another epoch");
        watermarks.caught_up(1);
        moment();
        assert_eq!(watermarks.behind(1), Duration::ZERO, "the lag ended");
    }
}
