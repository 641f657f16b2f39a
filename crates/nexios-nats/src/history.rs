//! What a stream has of a channel.
//!
//! Messages are asked for one by one, several at a time, and not through a consumer: that would be made, replicated and
//! deleted for each read. While they are read the oldest ones may go, so what is certain to be complete is asked for last.

use futures_util::future::try_join_all;
use nexios::backplane::{BackplaneError, Channel, Keep, Kept, Page};
use nexios::{NotRecovered, Position};
use time::OffsetDateTime;

use crate::api::{self, Stored};
use crate::link::Link;
use crate::names::StreamName;
use crate::settings::Settings;
use crate::streams;

/// How many parts of a stream are read at the same time.
const PARTS: u64 = 16;
/// How often a stream may begin again while it is read.
const TRIES: usize = 4;

/// Reads what is kept of a channel.
pub(crate) async fn read(
    link: &Link,
    settings: &Settings,
    channel: &Channel,
    keep: Keep,
    since: Option<Position>,
) -> Result<Page, BackplaneError> {
    let stream = StreamName::new(&settings.prefix, keep);
    for _ in 0..TRIES {
        let epoch = link.streams.epoch(link, settings, &stream, keep).await?;
        let subject = stream.subject(epoch, channel.as_str());
        let reading = Reading { link, stream: &stream, subject: &subject, epoch };
        if let Some(page) = reading.page(keep, since).await? {
            return Ok(page);
        }
    }
    Err(BackplaneError::unavailable("the stream began again while it was read"))
}

/// The offset of a message with this id, if the stream has it.
pub(crate) async fn find(
    link: &Link,
    stream: &StreamName,
    subject: &str,
    id: &str,
) -> Result<Option<u64>, BackplaneError> {
    let Some(newest) = api::newest(link, &stream.text(), subject).await? else { return Ok(None) };
    let source = Source { link, stream: &stream.text(), subject, may_lag: true };
    let stored = source.between(1, newest.offset).await?;
    Ok(stored.iter().find(|stored| stored.id.as_deref() == Some(id)).map(|stored| stored.offset))
}

struct Reading<'a> {
    link: &'a Link,
    stream: &'a StreamName,
    subject: &'a str,
    epoch: u64,
}

impl Reading<'_> {
    /// `None` when the stream is another one by now.
    async fn page(&self, keep: Keep, since: Option<Position>) -> Result<Option<Page>, BackplaneError> {
        let highest = self.link.seen.highest(self.epoch);
        let Some(before) = self.look("").await? else { return Ok(None) };
        let known = since.filter(|since| since.epoch() == self.epoch).map(Position::offset);
        if before.state.last_seq < highest {
            streams::begin_again(self.link, self.stream, self.epoch).await?;
            // Asked again: it is another one, or has come as far.
            self.link.streams.forget(self.stream).await;
            return Ok(None);
        }
        // A position that the stream never had is another one's, whatever its epoch says.
        let known = known.filter(|offset| *offset <= before.state.last_seq);
        let text = self.stream.text();
        let newest = api::newest(self.link, &text, self.subject).await?.map(|newest| newest.offset);
        let may_lag = before.config.num_replicas > 1;
        let source = Source { link: self.link, stream: &text, subject: self.subject, may_lag };
        let stored = match newest {
            Some(newest) => source.between(known.unwrap_or(0) + 1, newest).await?,
            None => Vec::new(),
        };
        let Some(complete) = self.complete(keep, known, newest, stored.len()).await? else { return Ok(None) };
        let end = newest.unwrap_or(before.state.last_seq);
        self.link.seen.note(Position::new(self.epoch, end));
        let epoch_changed = since.is_some() && known.is_none();
        Ok(Some(page(self.epoch, end, stored, complete, keep, known, epoch_changed)))
    }

    async fn look(&self, subject: &str) -> Result<Option<api::StreamInfo>, BackplaneError> {
        match streams::look(self.link, self.stream, subject).await? {
            Some((epoch, info)) if epoch == self.epoch => Ok(Some(info)),
            _ => {
                self.link.streams.forget(self.stream).await;
                Ok(None)
            }
        }
    }

    /// Behind this offset, everything that was published to the channel is still there. Known after `stored` was read, up
    /// to `newest`, from behind `known` on.
    async fn complete(
        &self,
        keep: Keep,
        known: Option<u64>,
        newest: Option<u64>,
        stored: usize,
    ) -> Result<Option<u64>, BackplaneError> {
        let Some(after) = self.look("").await? else { return Ok(None) };
        // Of all channels, the oldest messages go by age.
        let by_age = after.state.first_seq.saturating_sub(1);
        let stream = self.stream.text();
        let (Some(newest), Some(oldest)) = (newest, api::next(self.link, &stream, self.subject, 1).await?) else {
            return Ok(Some(by_age));
        };
        let by_number = oldest.offset - 1;
        if known.is_some_and(|known| known >= oldest.offset) {
            return Ok(Some(by_number));
        }
        // All that the channel has was read, unless something was published meanwhile. The server could count it as well, but
        // looks at all channels for that.
        let now = api::newest(self.link, &stream, self.subject).await?;
        let count = if now.is_some_and(|now| now.offset == newest) {
            stored
        } else {
            let Some(info) = self.look(self.subject).await? else { return Ok(None) };
            usize::try_from(info.state.count()).unwrap_or(usize::MAX)
        };
        // When they are fewer than the stream may have, no more than that went by number: had the channel been full
        // since, it still were.
        Ok(Some(if count <= keep.messages { by_age } else { by_number }))
    }
}

/// What is kept of what is stored: the server applies the bounds roughly, this does exactly.
fn page(
    epoch: u64,
    end: u64,
    stored: Vec<Stored>,
    complete: u64,
    keep: Keep,
    known: Option<u64>,
    epoch_changed: bool,
) -> Page {
    let now = OffsetDateTime::now_utc();
    let mut floor = complete;
    let mut bytes = 0_usize;
    let mut messages = Vec::new();
    for Stored { offset, time, payload, .. } in stored.into_iter().rev().filter(|stored| stored.offset > complete) {
        let age = (now - time).try_into().unwrap_or_default();
        bytes = bytes.saturating_add(payload.len());
        if messages.len() == keep.messages || bytes > keep.bytes || age > keep.age {
            floor = offset;
            break;
        }
        messages.push(Kept { position: Position::new(epoch, offset), age, payload });
    }
    messages.reverse();
    let missing = match known {
        Some(offset) if floor <= offset => {
            floor = offset;
            None
        }
        Some(_) => Some(NotRecovered::Trimmed),
        None => epoch_changed.then_some(NotRecovered::EpochChanged),
    };
    Page { end: Position::new(epoch, end), messages, floor, missing }
}

/// A channel's part of a stream.
struct Source<'a> {
    link: &'a Link,
    stream: &'a str,
    subject: &'a str,
    /// Whether a replica may answer that knows less than the leader.
    may_lag: bool,
}

impl Source<'_> {
    /// The messages from one offset to another, both included; there is one at the second.
    async fn between(&self, from: u64, to: u64) -> Result<Vec<Stored>, BackplaneError> {
        if from > to {
            return Ok(Vec::new());
        }
        // The server looks through the messages of all channels: in a part without one of this channel, it would look
        // through those behind as well. How many there are is told by where the first one is.
        let Some(first) = self.next(from).await?.filter(|first| first.offset <= to) else { return Ok(Vec::new()) };
        let (begin, gap) = (first.offset + 1, first.offset - from + 1);
        let mut found = vec![first];
        let width = to.saturating_sub(begin - 1);
        let part = width.div_ceil((width / gap / 4).clamp(1, PARTS)).max(1);
        let starts =
            std::iter::successors(Some(begin), |start| start.checked_add(part)).take_while(|start| *start <= to);
        let parts = starts.map(|start| self.walk(start, to.min(start.saturating_add(part - 1))));
        found.extend(try_join_all(parts).await?.into_iter().flatten());
        Ok(found)
    }

    async fn walk(&self, from: u64, to: u64) -> Result<Vec<Stored>, BackplaneError> {
        let mut found = Vec::new();
        let mut offset = from;
        while offset <= to {
            match self.next(offset).await? {
                Some(stored) if stored.offset <= to => {
                    offset = stored.offset + 1;
                    found.push(stored);
                }
                _ => break,
            }
        }
        Ok(found)
    }

    async fn next(&self, offset: u64) -> Result<Option<Stored>, BackplaneError> {
        match api::next_direct(self.link, self.stream, self.subject, offset).await? {
            None if self.may_lag => api::next(self.link, self.stream, self.subject, offset).await,
            found => Ok(found),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const KEEP: Keep = Keep { messages: 3, bytes: 100, age: Duration::from_mins(1) };

    fn stored(offsets: &[u64]) -> Vec<Stored> {
        let time = OffsetDateTime::now_utc();
        let one = |offset: &u64| Stored { offset: *offset, time, id: None, payload: vec![0; 30].into() };
        offsets.iter().map(one).collect()
    }

    /// What is read of messages, with the offset behind which all are there, since an offset.
    fn check(
        (offsets, complete, known): (&[u64], u64, Option<u64>),
        keep: Keep,
        expected: (&[u64], u64, Option<NotRecovered>),
    ) {
        let page = page(7, 20, stored(offsets), complete, keep, known, false);
        let got: Vec<u64> = page.messages.iter().map(|kept| kept.position.offset()).collect();
        assert_eq!((got.as_slice(), page.floor, page.missing), expected, "{offsets:?} {complete} {known:?}");
    }

    #[test]
    fn a_page_has_what_the_bounds_leave() {
        let trimmed = Some(NotRecovered::Trimmed);
        check((&[], 0, None), KEEP, (&[], 0, None));
        check((&[2, 5], 0, None), KEEP, (&[2, 5], 0, None));
        check((&[2, 5, 6, 9], 0, None), KEEP, (&[5, 6, 9], 2, None));
        check((&[5, 6, 9], 0, Some(2)), KEEP, (&[5, 6, 9], 2, None));
        check((&[5, 6, 9], 2, Some(2)), KEEP, (&[5, 6, 9], 2, None));
        check((&[5, 6, 9], 3, Some(2)), KEEP, (&[5, 6, 9], 3, trimmed));
        check((&[4, 5, 6, 9], 0, Some(2)), KEEP, (&[5, 6, 9], 4, trimmed));
        check((&[], 9, Some(9)), KEEP, (&[], 9, None));
        check((&[], 9, Some(8)), KEEP, (&[], 9, trimmed));
        let few = Keep { bytes: 59, ..KEEP };
        check((&[5, 6], 0, None), few, (&[6], 5, None));
        check((&[5, 6], 0, Some(5)), few, (&[6], 5, None));
        check((&[5, 6], 0, Some(4)), few, (&[6], 5, trimmed));
    }

    #[test]
    fn another_epoch_gets_all_that_is_kept() {
        let page = page(7, 20, stored(&[5, 6]), 0, KEEP, None, true);
        assert_eq!((page.messages.len(), page.missing), (2, Some(NotRecovered::EpochChanged)));
        assert_eq!(page.end, Position::new(7, 20));
    }
}
