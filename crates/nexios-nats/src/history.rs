//! What a stream has of a channel.
//!
//! Messages are asked for one by one, several at a time, and not through a consumer: that would be made, replicated and
//! deleted for each read. While they are read the oldest ones may go, so what is certain to be complete is asked for last.

use std::collections::HashMap;

use nexios::backplane::{BackplaneError, Channel, Keep, Kept, Page};
use nexios::{NotRecovered, Position};
use time::OffsetDateTime;

use crate::api::{Stored, StreamInfo};
use crate::link::Link;
use crate::names::StreamName;
use crate::settings::Settings;
use crate::source::{Found, Source};
use crate::streams::{self, Known};

/// How often a stream may begin again, or an empty channel get its first message, while it is read.
const TRIES: usize = 4;

/// Reads what is kept of a channel.
pub(crate) async fn read(
    link: &Link,
    settings: &Settings,
    channel: &Channel,
    keep: Keep,
    since: Option<Position>,
) -> Result<Page, BackplaneError> {
    let name = StreamName::new(&settings.prefix, keep);
    for _ in 0..TRIES {
        let stream = link.streams.known(link, settings, &name, keep).await?;
        let subject = name.subject(stream.epoch, channel.as_str());
        let reading = Reading { link, name: &name, text: &name.text(), stream: &stream, subject: &subject };
        if let Some(page) = reading.page(keep, since).await? {
            return Ok(page);
        }
    }
    Err(BackplaneError::unavailable("the stream began again while it was read"))
}

/// The offsets of all messages of a subject behind one, by their ids.
pub(crate) async fn ids(
    link: &Link,
    name: &StreamName,
    stream: &Known,
    subject: &str,
    behind: u64,
) -> Result<HashMap<String, u64>, BackplaneError> {
    let source = Source { link, name: &name.text(), stream, subject };
    let found = Found::default();
    if let Some(newest) = source.newest().await? {
        source.between(behind.saturating_add(1), newest, &found).await?;
    }
    Ok(found.into_ids())
}

struct Reading<'a> {
    link: &'a Link,
    name: &'a StreamName,
    /// As JetStream knows it.
    text: &'a str,
    stream: &'a Known,
    subject: &'a str,
}

impl Reading<'_> {
    /// `None` when the stream is another one by now, or must be asked again.
    async fn page(&self, keep: Keep, since: Option<Position>) -> Result<Option<Page>, BackplaneError> {
        let epoch = self.stream.epoch;
        // Before the server is asked for anything: it must have come as far.
        let highest = self.link.seen.highest(epoch);
        let newest = self.source().newest().await?;
        // A position that the channel never had is another one's, whatever its epoch says.
        let known = since.filter(|since| since.epoch() == epoch).map(Position::offset);
        let known = known.filter(|known| newest.is_none_or(|newest| *known <= newest));
        let found = Found::within(keep.bytes);
        if let Some(newest) = newest {
            self.source().between(known.unwrap_or(0).saturating_add(1), newest, &found).await?;
        }
        let stored = found.into_messages();
        let Some(after) = self.look("").await? else { return Ok(None) };
        let last = after.state.last_seq;
        if last < highest {
            streams::begin_again(self.link, self.name, epoch).await?;
            // Asked again: it is another one, or has come as far.
            self.link.streams.forget(self.name, Some(epoch));
            return Ok(None);
        }
        // The end of an empty channel is the stream's, unless this channel got a message just before the stream was asked.
        if newest.is_none() && last != highest && self.source().newest().await?.is_some() {
            return Ok(None);
        }
        let Some(complete) = self.complete(keep, known, newest, &stored, &after).await? else { return Ok(None) };
        self.link.seen.note(Position::new(epoch, last));
        let known = known.filter(|known| *known <= last);
        let epoch_changed = since.is_some() && known.is_none();
        Ok(Some(page(epoch, newest.unwrap_or(last), stored, complete, keep, known, epoch_changed)))
    }

    fn source(&self) -> Source<'_> {
        Source { link: self.link, name: self.text, stream: self.stream, subject: self.subject }
    }

    async fn look(&self, subject: &str) -> Result<Option<StreamInfo>, BackplaneError> {
        match streams::look(self.link, self.name, subject).await? {
            Some((epoch, info)) if epoch == self.stream.epoch => {
                self.stream.note(&info);
                Ok(Some(info))
            }
            _ => {
                self.link.streams.forget(self.name, Some(self.stream.epoch));
                Ok(None)
            }
        }
    }

    /// Behind this offset, everything that was published to the channel is still there. Known from what the stream was
    /// like after `stored` was read, up to `newest`, from behind `known` on.
    async fn complete(
        &self,
        keep: Keep,
        known: Option<u64>,
        newest: Option<u64>,
        stored: &[Stored],
        after: &StreamInfo,
    ) -> Result<Option<u64>, BackplaneError> {
        // Of all channels, the oldest messages go by age.
        let by_age = after.state.first_seq.saturating_sub(1);
        let Some(newest) = newest else { return Ok(Some(by_age)) };
        if after.state.last_seq == newest {
            // Nothing was published meanwhile, to any channel, so nothing has gone by number.
            let by_number = stored.first().map_or(0, |oldest| oldest.offset.saturating_sub(1));
            return Ok(Some(if stored.len() <= keep.messages { by_age } else { by_number }));
        }
        let Some(oldest) = self.source().oldest().await? else { return Ok(Some(by_age)) };
        let by_number = oldest.saturating_sub(1);
        if known.is_some_and(|known| known >= oldest) {
            return Ok(Some(by_number));
        }
        // All that the channel has was read, unless something was published meanwhile. The server could count it as well, but
        // looks at all channels for that.
        let count = if self.source().newest().await? == Some(newest) {
            stored.len()
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
    for Stored { offset, time, size, payload, .. } in stored.into_iter().rev().filter(|stored| stored.offset > complete)
    {
        let age = (now - time).try_into().unwrap_or_default();
        bytes = bytes.saturating_add(size);
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const KEEP: Keep = Keep { messages: 3, bytes: 100, age: Duration::from_mins(1) };

    fn stored(offsets: &[u64]) -> Vec<Stored> {
        let time = OffsetDateTime::now_utc();
        let one = |offset: &u64| Stored { offset: *offset, time, id: None, size: 30, payload: vec![0; 30].into() };
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
