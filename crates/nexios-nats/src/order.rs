//! The order in which messages of a stream come.
//!
//! The server numbers them one after the other, but publishes each again on the thread of whoever published it: under load,
//! one may overtake the one before it (seen with 2.9). The node would take that for a loss and read the stream. So what
//! comes too early waits, for as long as a thread may have to wait for a core.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use nexios::Position;
use nexios::backplane::Place;
use tokio::time::Instant;

/// How long a message waits for the one before it, which may be lost.
pub(crate) const PATIENCE: Duration = Duration::from_millis(50);

/// How many messages may wait, and how many bytes of them.
const ROOM: (usize, usize) = (256, 1 << 20);

/// What has come of a channel, and what has come too early.
pub(crate) struct Order {
    patience: Duration,
    last: Option<Position>,
    early: BTreeMap<u64, (Bytes, Place)>,
    bytes: usize,
    until: Option<Instant>,
}

impl Order {
    /// In which a message waits for so long at most.
    pub(crate) fn new(patience: Duration) -> Self {
        Self { patience, last: None, early: BTreeMap::new(), bytes: 0, until: None }
    }

    /// Takes a message, and gives it back when it is the next one; what waited for it is to be had with
    /// [`next`](Self::next) then.
    pub(crate) fn add(&mut self, payload: Bytes, place: Place) -> Option<(Bytes, Place)> {
        let is_another = self.last.is_some_and(|last| last.epoch() != place.position.epoch());
        if is_another {
            // The stream has begun again, and members are told: what waits is of one that is not there any more.
            *self = Self::new(self.patience);
        }
        if self.is_next(place) {
            self.passed(place);
            return Some((payload, place));
        }
        self.bytes += payload.len();
        self.early.insert(place.position.offset(), (payload, place));
        let patience = self.patience;
        self.until.get_or_insert_with(|| Instant::now() + patience);
        None
    }

    /// One that has waited for long enough, or does not need to any more.
    pub(crate) fn next(&mut self) -> Option<(Bytes, Place)> {
        let (_, (_, place)) = self.early.first_key_value()?;
        if !self.is_next(*place) && !self.is_over() {
            return None;
        }
        let (_, (payload, place)) = self.early.pop_first()?;
        self.bytes -= payload.len();
        self.passed(place);
        Some((payload, place))
    }

    /// Until when what is there waits.
    pub(crate) fn until(&self) -> Option<Instant> {
        self.until
    }

    fn is_next(&self, place: Place) -> bool {
        self.last.is_none_or(|last| place.previous <= last.offset())
    }

    fn is_over(&self) -> bool {
        let is_late = self.until.is_some_and(|until| until <= Instant::now());
        is_late || self.early.len() > ROOM.0 || self.bytes > ROOM.1
    }

    fn passed(&mut self, place: Place) {
        let is_newer = self.last.is_none_or(|last| last.offset() < place.position.offset());
        if is_newer {
            self.last = Some(place.position);
            // What waits now waits for another one.
            self.until = (!self.early.is_empty()).then(|| Instant::now() + self.patience);
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

    /// Adds messages of one epoch, by offset and the one before, and gives the offsets that come out.
    fn check(order: &mut Order, messages: &[(u64, u64)], expected: &[u64]) {
        let mut passed = Vec::new();
        for (offset, previous) in messages {
            passed.extend(order.add("text".into(), place(1, *offset, *previous)));
            passed.extend(std::iter::from_fn(|| order.next()));
        }
        let offsets: Vec<_> = passed.iter().map(|(_, place)| place.position.offset()).collect();
        assert_eq!(offsets, expected, "{messages:?}");
    }

    #[test]
    fn what_comes_too_early_waits_for_what_is_before_it() {
        let mut order = Order::new(HOUR);
        check(&mut order, &[(3, 1), (4, 3), (9, 4)], &[3, 4, 9]);
        check(&mut order, &[(12, 11), (13, 12)], &[]);
        assert!(order.until().is_some());
        check(&mut order, &[(11, 9)], &[11, 12, 13]);
        assert_eq!((order.until(), order.bytes), (None, 0));
        check(&mut order, &[(17, 16), (15, 14), (14, 13)], &[14, 15]);
        check(&mut order, &[(16, 15)], &[16, 17]);
    }

    #[test]
    fn what_is_lost_is_not_waited_for_for_ever() {
        let mut order = Order::new(HOUR);
        check(&mut order, &[(1, 0), (3, 2), (4, 3), (6, 5)], &[1]);
        order.until = Some(Instant::now());
        let passed: Vec<_> = std::iter::from_fn(|| order.next()).map(|(_, place)| place.position.offset()).collect();
        assert_eq!(passed, [3, 4], "of each gap by itself");
        check(&mut order, &[(2, 1)], &[2]);
        let many: Vec<_> = (0..=ROOM.0 as u64).map(|n| (100 + 2 * n, 99 + 2 * n)).collect();
        check(&mut order, &many, &[6, 100]);
    }

    #[test]
    fn another_epoch_waits_for_nothing() {
        let mut order = Order::new(HOUR);
        check(&mut order, &[(5, 0), (9, 8)], &[5]);
        assert!(order.add("text".into(), place(2, 1, 0)).is_some());
        assert!(order.next().is_none() && order.until().is_none());
    }
}
