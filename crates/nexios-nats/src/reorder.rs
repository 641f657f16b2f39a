//! Restores the order of a stream's messages on a subscription.
//!
//! The server numbers them one after the other, but republishes each on the thread of its publisher: under load, one
//! may overtake its predecessor (observed with server 2.9). The node would take that for a loss and read the stream. So
//! a message that comes too early waits, for as long as a thread may have to wait for a core.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use nexios::Position;
use nexios::backplane::Place;
use tokio::time::Instant;

/// Maximum wait for a predecessor, which may be lost.
pub(crate) const MAX_WAIT: Duration = Duration::from_millis(50);

/// Maximum number of waiting messages, and of their bytes.
const CAPACITY: (usize, usize) = (256, 1 << 20);

/// The last position passed on of a channel, and the messages that came too early.
pub(crate) struct ReorderBuffer {
    max_wait: Duration,
    last: Option<Position>,
    early: BTreeMap<u64, (Bytes, Place)>,
    bytes: usize,
    deadline: Option<Instant>,
}

impl ReorderBuffer {
    /// A buffer in which a message waits for `max_wait` at most.
    pub(crate) fn new(max_wait: Duration) -> Self {
        Self { max_wait, last: None, early: BTreeMap::new(), bytes: 0, deadline: None }
    }

    /// Adds a message, and returns it when it is the next one; messages that waited for it are then returned by
    /// [`next`](Self::next).
    pub(crate) fn add(&mut self, payload: Bytes, place: Place) -> Option<(Bytes, Place)> {
        let is_new_epoch = self.last.is_some_and(|last| last.epoch() != place.position.epoch());
        if is_new_epoch {
            // The stream was recreated, and members get a gap notice: waiting messages belong to the stream that is
            // gone.
            *self = Self::new(self.max_wait);
        }
        if self.is_next(place) {
            self.passed(place);
            return Some((payload, place));
        }
        self.bytes += payload.len();
        self.early.insert(place.position.offset(), (payload, place));
        let max_wait = self.max_wait;
        self.deadline.get_or_insert_with(|| Instant::now() + max_wait);
        None
    }

    /// Removes a message that has waited for long enough or no longer needs to.
    pub(crate) fn next(&mut self) -> Option<(Bytes, Place)> {
        let (_, (_, place)) = self.early.first_key_value()?;
        if !self.is_next(*place) && !self.is_overdue() {
            return None;
        }
        let (_, (payload, place)) = self.early.pop_first()?;
        self.bytes -= payload.len();
        self.passed(place);
        Some((payload, place))
    }

    /// The time at which waiting ends; `None` when no message waits.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    fn is_next(&self, place: Place) -> bool {
        self.last.is_none_or(|last| place.previous <= last.offset())
    }

    fn is_overdue(&self) -> bool {
        let is_late = self.deadline.is_some_and(|deadline| deadline <= Instant::now());
        is_late || self.early.len() > CAPACITY.0 || self.bytes > CAPACITY.1
    }

    fn passed(&mut self, place: Place) {
        let is_newer = self.last.is_none_or(|last| last.offset() < place.position.offset());
        if is_newer {
            self.last = Some(place.position);
            // The remaining messages wait for another predecessor.
            self.deadline = (!self.early.is_empty()).then(|| Instant::now() + self.max_wait);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_hours(1);

    fn place(epoch: u64, offset: u64, previous: u64) -> Place {
        Place { position: Position::new(epoch, offset), previous }
    }

    /// Adds messages of one epoch as (offset, previous), and compares the offsets that are passed on.
    fn check(buffer: &mut ReorderBuffer, messages: &[(u64, u64)], expected: &[u64]) {
        let mut passed = Vec::new();
        for (offset, previous) in messages {
            passed.extend(buffer.add("text".into(), place(1, *offset, *previous)));
            passed.extend(std::iter::from_fn(|| buffer.next()));
        }
        let offsets: Vec<_> = passed.iter().map(|(_, place)| place.position.offset()).collect();
        assert_eq!(offsets, expected, "{messages:?}");
    }

    #[test]
    fn an_early_message_waits_for_its_predecessor() {
        let mut buffer = ReorderBuffer::new(HOUR);
        check(&mut buffer, &[(3, 1), (4, 3), (9, 4)], &[3, 4, 9]);
        check(&mut buffer, &[(12, 11), (13, 12)], &[]);
        assert!(buffer.deadline().is_some());
        check(&mut buffer, &[(11, 9)], &[11, 12, 13]);
        assert_eq!((buffer.deadline(), buffer.bytes), (None, 0));
        check(&mut buffer, &[(17, 16), (15, 14), (14, 13)], &[14, 15]);
        check(&mut buffer, &[(16, 15)], &[16, 17]);
    }

    #[test]
    fn a_lost_predecessor_is_not_waited_for_for_ever() {
        let mut buffer = ReorderBuffer::new(HOUR);
        check(&mut buffer, &[(1, 0), (3, 2), (4, 3), (6, 5)], &[1]);
        buffer.deadline = Some(Instant::now());
        let passed: Vec<_> = std::iter::from_fn(|| buffer.next()).map(|(_, place)| place.position.offset()).collect();
        assert_eq!(passed, [3, 4], "each gap has its own deadline");
        check(&mut buffer, &[(2, 1)], &[2]);
        let many: Vec<_> = (0..=CAPACITY.0 as u64).map(|n| (100 + 2 * n, 99 + 2 * n)).collect();
        check(&mut buffer, &many, &[6, 100]);
    }

    #[test]
    fn a_message_of_another_epoch_does_not_wait() {
        let mut buffer = ReorderBuffer::new(HOUR);
        check(&mut buffer, &[(5, 0), (9, 8)], &[5]);
        assert!(buffer.add("text".into(), place(2, 1, 0)).is_some());
        assert!(buffer.next().is_none() && buffer.deadline().is_none());
    }
}
