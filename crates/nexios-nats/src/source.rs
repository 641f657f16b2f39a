//! A channel's part of a stream, as it is read.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use futures_util::future::try_join_all;
use nexios::backplane::BackplaneError;

use crate::api::{self, Stored};
use crate::link::Link;
use crate::streams::Known;

/// How many parts of a stream are read at the same time.
const PARTS: u64 = 16;

/// Where a channel's messages are.
pub(crate) struct Source<'a> {
    pub(crate) link: &'a Link,
    /// The stream's name.
    pub(crate) name: &'a str,
    pub(crate) stream: &'a Known,
    pub(crate) subject: &'a str,
}

impl Source<'_> {
    /// The offset of the newest message.
    pub(crate) async fn newest(&self) -> Result<Option<u64>, BackplaneError> {
        let found = if self.may_lag() {
            api::newest(self.link, self.name, self.subject).await?
        } else {
            match api::newest_direct(self.link, self.name, self.subject).await {
                Ok(found) => found,
                // Whether the stream is gone is told by the other way.
                Err(_) => api::newest(self.link, self.name, self.subject).await?,
            }
        };
        Ok(found.map(|found| found.offset))
    }

    /// The offset of the oldest message that is there.
    pub(crate) async fn oldest(&self) -> Result<Option<u64>, BackplaneError> {
        let found = if self.may_lag() {
            api::next(self.link, self.name, self.subject, 1).await?
        } else {
            api::next_direct(self.link, self.name, self.subject, 1).await?
        };
        Ok(found.map(|found| found.offset))
    }

    /// Reads the messages from one offset to another, both included; there is one at the second.
    pub(crate) async fn between(&self, from: u64, to: u64, found: &Found) -> Result<(), BackplaneError> {
        let from = from.max(self.stream.first());
        if from > to {
            return Ok(());
        }
        // The server looks through the messages of all channels: in a part without one of this channel, it would look
        // through those behind as well. How many there are is told by where the first one is.
        let Some(first) = self.next(from).await?.filter(|first| first.offset <= to) else { return Ok(()) };
        let (begin, gap) = (first.offset + 1, first.offset - from + 1);
        found.add(first);
        let part = part(to.saturating_sub(begin - 1), gap);
        let starts =
            std::iter::successors(Some(begin), |start| start.checked_add(part)).take_while(|start| *start <= to);
        let parts = starts.map(|start| self.walk(start, to.min(start.saturating_add(part - 1)), found));
        try_join_all(parts).await?;
        Ok(())
    }

    async fn walk(&self, from: u64, to: u64, found: &Found) -> Result<(), BackplaneError> {
        let mut offset = from;
        while offset <= to {
            match self.next(offset).await? {
                Some(stored) if stored.offset <= to => {
                    offset = stored.offset + 1;
                    found.add(stored);
                }
                _ => break,
            }
            // What other parts have found may leave no room for any message here.
            offset = offset.max(found.let_go() + 1);
        }
        Ok(())
    }

    async fn next(&self, offset: u64) -> Result<Option<Stored>, BackplaneError> {
        match api::next_direct(self.link, self.name, self.subject, offset).await? {
            None if self.may_lag() => api::next(self.link, self.name, self.subject, offset).await,
            found => Ok(found),
        }
    }

    /// Whether a replica may answer that knows less than the leader.
    fn may_lag(&self) -> bool {
        self.stream.replicas() > 1
    }
}

/// How wide the parts are of so many offsets, of which one in `gap` may be the channel's.
fn part(width: u64, gap: u64) -> u64 {
    width.div_ceil((width / gap / 4).clamp(1, PARTS)).max(1)
}

/// Messages, in whichever order they come, with the payloads of the newest alone: what a client had the stream keep must not
/// fill the node's memory.
#[derive(Default)]
pub(crate) struct Found(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    /// The most bytes of payloads; without it none is wanted.
    room: Option<usize>,
    messages: BTreeMap<u64, Stored>,
    bytes: usize,
    /// The newest message for which there was no room, 0 if there is none.
    let_go: u64,
}

impl Found {
    /// Messages with the newest payloads that fit.
    pub(crate) fn within(bytes: usize) -> Self {
        Self(Mutex::new(Inner { room: Some(bytes), ..Inner::default() }))
    }

    /// The oldest first.
    pub(crate) fn into_messages(self) -> Vec<Stored> {
        self.0.into_inner().unwrap_or_else(PoisonError::into_inner).messages.into_values().collect()
    }

    /// All offsets, by the ids of the messages.
    pub(crate) fn into_ids(self) -> HashMap<String, u64> {
        let ids = self.into_messages().into_iter().filter_map(|stored| Some((stored.id?, stored.offset)));
        ids.collect()
    }

    fn add(&self, stored: Stored) {
        self.inner().add(stored);
    }

    fn let_go(&self) -> u64 {
        self.inner().let_go
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn add(&mut self, mut stored: Stored) {
        let Some(room) = self.room.filter(|_| stored.offset > self.let_go) else {
            stored.payload = Bytes::new();
            self.messages.insert(stored.offset, stored);
            return;
        };
        self.bytes = self.bytes.saturating_add(stored.size);
        self.messages.insert(stored.offset, stored);
        while self.bytes > room
            && let Some((offset, oldest)) = self.messages.range_mut(self.let_go + 1..).next()
        {
            self.bytes -= oldest.size;
            self.let_go = *offset;
            // Not cleared, which would keep what the client has read it into.
            oldest.payload = Bytes::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use time::OffsetDateTime;

    use super::*;

    fn stored(offset: u64) -> Stored {
        let payload = Bytes::from(vec![0; 40]);
        Stored { offset, time: OffsetDateTime::now_utc(), id: Some(offset.to_string()), size: payload.len(), payload }
    }

    /// Which payloads are there after messages have come in this order, each of 40 bytes.
    fn check(room: usize, order: &[u64], expected: &[u64]) {
        let found = Found::within(room);
        for offset in order {
            found.add(stored(*offset));
            let bytes: usize = found.inner().messages.values().map(|stored| stored.payload.len()).sum();
            assert!(bytes <= room, "{bytes} bytes of {order:?} are held at once");
        }
        let messages = found.into_messages();
        assert_eq!(messages.len(), order.len(), "{order:?}");
        assert!(messages.iter().all(|stored| stored.size == 40));
        let whole = messages.iter().filter(|stored| !stored.payload.is_empty());
        assert_eq!(whole.map(|stored| stored.offset).collect::<Vec<_>>(), expected, "{order:?}");
    }

    #[test]
    fn the_newest_payloads_that_fit_are_held_in_whichever_order_they_come() {
        check(100, &[], &[]);
        check(100, &[1, 2], &[1, 2]);
        check(100, &[1, 2, 3, 4], &[3, 4]);
        check(100, &[4, 3, 2, 1], &[3, 4]);
        check(100, &[3, 1, 4, 2], &[3, 4]);
        check(39, &[3, 1, 4, 2], &[]);
        check(40, &[2, 1, 4, 3], &[4]);
    }

    #[test]
    fn ids_are_told_without_payloads() {
        let found = Found::default();
        for offset in [2, 9] {
            found.add(stored(offset));
        }
        assert!(found.inner().messages.values().all(|stored| stored.payload.is_empty()));
        assert_eq!(found.into_ids(), HashMap::from([("2".to_owned(), 2), ("9".to_owned(), 9)]));
    }

    #[test]
    fn parts_are_as_many_as_there_are_messages_for() {
        for (width, gap, expected) in
            [(0, 1, 1), (3, 1, 3), (64, 1, 4), (1600, 1, 100), (1600, 100, 400), (50, 100, 50)]
        {
            assert_eq!(part(width, gap), expected, "{width} {gap}");
        }
    }
}
