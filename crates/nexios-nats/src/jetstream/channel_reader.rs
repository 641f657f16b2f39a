//! Reads the messages of one channel from a stream.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use futures_util::future::try_join_all;
use nexios::backplane::BackplaneError;

use super::api::{self, StoredMessage};
use super::streams::StreamHandle;
use crate::connection::Connection;

/// Maximum number of segments of a stream that are read concurrently.
const SEGMENTS: u64 = 16;

/// A channel's messages in a stream.
pub(crate) struct ChannelReader<'a> {
    pub(crate) connection: &'a Connection,
    /// The stream's name.
    pub(crate) name: &'a str,
    pub(crate) stream: &'a StreamHandle,
    pub(crate) subject: &'a str,
}

impl ChannelReader<'_> {
    /// The offset of the newest message.
    pub(crate) async fn newest(&self) -> Result<Option<u64>, BackplaneError> {
        let message = if self.may_lag() {
            api::newest(self.connection, self.name, self.subject).await?
        } else {
            match api::newest_direct(self.connection, self.name, self.subject).await {
                Ok(message) => message,
                // The leader's reply says if the stream is gone.
                Err(_) => api::newest(self.connection, self.name, self.subject).await?,
            }
        };
        Ok(message.map(|message| message.offset))
    }

    /// The offset of the oldest message that is still stored.
    pub(crate) async fn oldest(&self) -> Result<Option<u64>, BackplaneError> {
        let message = if self.may_lag() {
            api::next(self.connection, self.name, self.subject, 1).await?
        } else {
            api::next_direct(self.connection, self.name, self.subject, 1).await?
        };
        Ok(message.map(|message| message.offset))
    }

    /// Reads the messages of an inclusive range of offsets whose last one exists.
    pub(crate) async fn between(&self, from: u64, to: u64, fetched: &Fetched) -> Result<(), BackplaneError> {
        let from = from.max(self.stream.first());
        if from > to {
            return Ok(());
        }
        // The server scans the messages of all channels: in a segment without one of this channel, it would scan the
        // segments behind it as well. The offset of the first message estimates how many there are.
        let Some(first) = self.next(from).await?.filter(|first| first.offset <= to) else { return Ok(()) };
        let (begin, gap) = (first.offset + 1, first.offset - from + 1);
        fetched.add(first);
        let width = segment_width(to.saturating_sub(begin - 1), gap);
        let starts =
            std::iter::successors(Some(begin), |start| start.checked_add(width)).take_while(|start| *start <= to);
        let segments = starts.map(|start| self.read_segment(start, to.min(start.saturating_add(width - 1)), fetched));
        try_join_all(segments).await?;
        Ok(())
    }

    async fn read_segment(&self, from: u64, to: u64, fetched: &Fetched) -> Result<(), BackplaneError> {
        let mut offset = from;
        while offset <= to {
            match self.next(offset).await? {
                Some(stored) if stored.offset <= to => {
                    offset = stored.offset + 1;
                    fetched.add(stored);
                }
                _ => break,
            }
            // The messages of other segments may leave no budget for any message here.
            offset = offset.max(fetched.evicted_up_to() + 1);
        }
        Ok(())
    }

    async fn next(&self, offset: u64) -> Result<Option<StoredMessage>, BackplaneError> {
        match api::next_direct(self.connection, self.name, self.subject, offset).await? {
            None if self.may_lag() => api::next(self.connection, self.name, self.subject, offset).await,
            message => Ok(message),
        }
    }

    /// Returns true if a replica that lags behind the leader may answer.
    fn may_lag(&self) -> bool {
        self.stream.replicas() > 1
    }
}

/// The width of the segments of a range of `range` offsets, of which about one in `gap` belongs to the channel.
fn segment_width(range: u64, gap: u64) -> u64 {
    range.div_ceil((range / gap / 4).clamp(1, SEGMENTS)).max(1)
}

/// Messages in any order of arrival. Only the payloads of the newest are held: the content of a stream, which clients
/// decide, must not exhaust the node's memory.
#[derive(Default)]
pub(crate) struct Fetched(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    /// Memory budget of the payloads, in bytes; `None` when no payload is needed.
    budget: Option<usize>,
    messages: BTreeMap<u64, StoredMessage>,
    bytes: usize,
    /// The newest message whose payload was evicted; 0 if there is none.
    evicted_up_to: u64,
}

impl Fetched {
    /// Messages with the newest payloads that fit into the budget.
    pub(crate) fn within(bytes: usize) -> Self {
        Self(Mutex::new(Inner { budget: Some(bytes), ..Inner::default() }))
    }

    /// All messages, the oldest first.
    pub(crate) fn into_messages(self) -> Vec<StoredMessage> {
        self.0.into_inner().unwrap_or_else(PoisonError::into_inner).messages.into_values().collect()
    }

    /// All offsets, by message id.
    pub(crate) fn into_ids(self) -> HashMap<String, u64> {
        let ids = self.into_messages().into_iter().filter_map(|stored| Some((stored.id?, stored.offset)));
        ids.collect()
    }

    fn add(&self, stored: StoredMessage) {
        self.inner().add(stored);
    }

    fn evicted_up_to(&self) -> u64 {
        self.inner().evicted_up_to
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn add(&mut self, mut stored: StoredMessage) {
        let Some(budget) = self.budget.filter(|_| stored.offset > self.evicted_up_to) else {
            stored.payload = Bytes::new();
            self.messages.insert(stored.offset, stored);
            return;
        };
        self.bytes = self.bytes.saturating_add(stored.size);
        self.messages.insert(stored.offset, stored);
        while self.bytes > budget
            && let Some((offset, oldest)) = self.messages.range_mut(self.evicted_up_to + 1..).next()
        {
            self.bytes -= oldest.size;
            self.evicted_up_to = *offset;
            // Replaced, not cleared: that would keep the client's read buffer alive.
            oldest.payload = Bytes::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use time::OffsetDateTime;

    use super::*;

    fn stored(offset: u64) -> StoredMessage {
        let payload = Bytes::from(vec![0; 40]);
        StoredMessage {
            offset,
            time: OffsetDateTime::now_utc(),
            id: Some(offset.to_string()),
            size: payload.len(),
            payload,
        }
    }

    /// Adds messages of 40 bytes in this order, and compares the offsets whose payloads are held.
    fn check(budget: usize, order: &[u64], expected: &[u64]) {
        let fetched = Fetched::within(budget);
        for offset in order {
            fetched.add(stored(*offset));
            let bytes: usize = fetched.inner().messages.values().map(|stored| stored.payload.len()).sum();
            assert!(bytes <= budget, "{bytes} bytes of {order:?} are held at once");
        }
        let messages = fetched.into_messages();
        assert_eq!(messages.len(), order.len(), "{order:?}");
        assert!(messages.iter().all(|stored| stored.size == 40));
        let whole = messages.iter().filter(|stored| !stored.payload.is_empty());
        assert_eq!(whole.map(|stored| stored.offset).collect::<Vec<_>>(), expected, "{order:?}");
    }

    #[test]
    fn the_newest_payloads_that_fit_are_held_for_any_order_of_arrival() {
        check(100, &[], &[]);
        check(100, &[1, 2], &[1, 2]);
        check(100, &[1, 2, 3, 4], &[3, 4]);
        check(100, &[4, 3, 2, 1], &[3, 4]);
        check(100, &[3, 1, 4, 2], &[3, 4]);
        check(39, &[3, 1, 4, 2], &[]);
        check(40, &[2, 1, 4, 3], &[4]);
    }

    #[test]
    fn ids_are_collected_without_payloads() {
        let fetched = Fetched::default();
        for offset in [2, 9] {
            fetched.add(stored(offset));
        }
        assert!(fetched.inner().messages.values().all(|stored| stored.payload.is_empty()));
        assert_eq!(fetched.into_ids(), HashMap::from([("2".to_owned(), 2), ("9".to_owned(), 9)]));
    }

    #[test]
    fn the_number_of_segments_follows_the_number_of_messages() {
        for (range, gap, expected) in
            [(0, 1, 1), (3, 1, 3), (64, 1, 4), (1600, 1, 100), (1600, 100, 400), (50, 100, 50)]
        {
            assert_eq!(segment_width(range, gap), expected, "{range} {gap}");
        }
    }
}
