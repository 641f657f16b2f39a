//! Reads the history of a channel from its stream.
//!
//! Messages are requested one by one, several concurrently, and not through a consumer: that would be created,
//! replicated and deleted for each read. The oldest messages may be deleted during a read, so the floor is determined
//! last.

use std::collections::HashMap;

use nexios::backplane::{BackplaneError, Channel, Keep, Kept, Page};
use nexios::{NotRecovered, Position};
use time::OffsetDateTime;

use super::api::{StoredMessage, StreamInfo};
use super::channel_reader::{ChannelReader, Fetched};
use super::streams::{StreamHandle, Streams};
use crate::names::StreamName;

/// Maximum number of attempts to read a stream that is recreated, or an empty channel that gets its first message,
/// during the read.
const ATTEMPTS: usize = 4;

/// Reads the history of a channel.
pub(crate) async fn read(
    streams: &Streams,
    channel: &Channel,
    keep: Keep,
    since: Option<Position>,
) -> Result<Page, BackplaneError> {
    let name = StreamName::new(&streams.settings.prefix, keep);
    for _ in 0..ATTEMPTS {
        let stream = streams.get_or_create(&name, keep).await?;
        let subject = name.subject(stream.epoch, channel.as_str());
        let reading = Reading { streams, name: &name, text: &name.text(), stream: &stream, subject: &subject };
        if let Some(page) = reading.page(keep, since).await? {
            return Ok(page);
        }
    }
    Err(BackplaneError::unavailable("the stream was recreated during the read"))
}

/// The offsets of all messages of a subject behind an offset, by message id.
pub(crate) async fn ids(
    streams: &Streams,
    name: &StreamName,
    stream: &StreamHandle,
    subject: &str,
    behind: u64,
) -> Result<HashMap<String, u64>, BackplaneError> {
    let reader = ChannelReader { connection: &streams.connection, name: &name.text(), stream, subject };
    let fetched = Fetched::default();
    if let Some(newest) = reader.newest().await? {
        reader.between(behind.saturating_add(1), newest, &fetched).await?;
    }
    Ok(fetched.into_ids())
}

struct Reading<'a> {
    streams: &'a Streams,
    name: &'a StreamName,
    /// The stream's name on the server.
    text: &'a str,
    stream: &'a StreamHandle,
    subject: &'a str,
}

impl Reading<'_> {
    /// `None` when the stream was recreated, or the read must be repeated.
    async fn page(&self, keep: Keep, since: Option<Position>) -> Result<Option<Page>, BackplaneError> {
        let epoch = self.stream.epoch;
        // Read before the first request: the server must have come as far.
        let highest = self.streams.high_watermarks.highest(epoch);
        let newest = self.reader().newest().await?;
        // A position that the channel never had belongs to another channel, whatever its epoch.
        let known = since.filter(|since| since.epoch() == epoch).map(Position::offset);
        let known = known.filter(|known| newest.is_none_or(|newest| *known <= newest));
        let fetched = Fetched::within(keep.bytes);
        if let Some(newest) = newest {
            self.reader().between(known.unwrap_or(0).saturating_add(1), newest, &fetched).await?;
        }
        let stored = fetched.into_messages();
        let Some(after) = self.info("").await? else { return Ok(None) };
        let last = after.state.last_seq;
        if last < highest {
            self.streams.delete_if_truncated(self.name, epoch).await?;
            // The next attempt finds another stream, or one that has caught up.
            self.streams.invalidate(self.name, Some(epoch));
            return Ok(None);
        }
        // The end of an empty channel is that of the stream, unless this channel got a message just before `info`.
        if newest.is_none() && last != highest && self.reader().newest().await?.is_some() {
            return Ok(None);
        }
        let Some(floor) = self.floor(keep, known, newest, &stored, &after).await? else { return Ok(None) };
        self.streams.high_watermarks.record(Position::new(epoch, last));
        let known = known.filter(|known| *known <= last);
        let epoch_changed = since.is_some() && known.is_none();
        Ok(Some(page(epoch, newest.unwrap_or(last), stored, floor, keep, known, epoch_changed)))
    }

    fn reader(&self) -> ChannelReader<'_> {
        let connection = &self.streams.connection;
        ChannelReader { connection, name: self.text, stream: self.stream, subject: self.subject }
    }

    async fn info(&self, subject: &str) -> Result<Option<StreamInfo>, BackplaneError> {
        match self.streams.info(self.name, subject).await? {
            Some((epoch, info)) if epoch == self.stream.epoch => {
                self.stream.update(&info);
                Ok(Some(info))
            }
            _ => {
                self.streams.invalidate(self.name, Some(self.stream.epoch));
                Ok(None)
            }
        }
    }

    /// The floor of the channel: an offset behind which every message that was published is still stored. Derived from
    /// the state of the stream after `stored` was read, from behind `known` up to `newest`.
    async fn floor(
        &self,
        keep: Keep,
        known: Option<u64>,
        newest: Option<u64>,
        stored: &[StoredMessage],
        after: &StreamInfo,
    ) -> Result<Option<u64>, BackplaneError> {
        // Deletion by age removes the oldest messages of all channels.
        let by_age = after.state.first_seq.saturating_sub(1);
        let Some(newest) = newest else { return Ok(Some(by_age)) };
        if after.state.last_seq == newest {
            // Nothing was published meanwhile, to any channel, so nothing was deleted by number.
            let by_number = stored.first().map_or(0, |oldest| oldest.offset.saturating_sub(1));
            return Ok(Some(if stored.len() <= keep.messages { by_age } else { by_number }));
        }
        let Some(oldest) = self.reader().oldest().await? else { return Ok(Some(by_age)) };
        let by_number = oldest.saturating_sub(1);
        if known.is_some_and(|known| known >= oldest) {
            return Ok(Some(by_number));
        }
        // All messages of the channel were read, unless one was published meanwhile. The server could count them as
        // well, but scans all channels for that.
        let count = if self.reader().newest().await? == Some(newest) {
            stored.len()
        } else {
            let Some(info) = self.info(self.subject).await? else { return Ok(None) };
            usize::try_from(info.state.count()).unwrap_or(usize::MAX)
        };
        // With fewer messages than the stream may have, none was deleted by number since: a channel that was full would
        // still be.
        Ok(Some(if count <= keep.messages { by_age } else { by_number }))
    }
}

/// Applies the bounds of the history to the stored messages: the server applies them only roughly.
fn page(
    epoch: u64,
    end: u64,
    stored: Vec<StoredMessage>,
    stored_floor: u64,
    keep: Keep,
    known: Option<u64>,
    epoch_changed: bool,
) -> Page {
    let now = OffsetDateTime::now_utc();
    let mut floor = stored_floor;
    let mut bytes = 0_usize;
    let mut messages = Vec::new();
    let newest_first = stored.into_iter().rev().filter(|stored| stored.offset > stored_floor);
    for StoredMessage { offset, time, size, payload, .. } in newest_first {
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

    fn stored(offsets: &[u64]) -> Vec<StoredMessage> {
        let time = OffsetDateTime::now_utc();
        let one =
            |offset: &u64| StoredMessage { offset: *offset, time, id: None, size: 30, payload: vec![0; 30].into() };
        offsets.iter().map(one).collect()
    }

    /// Pages stored messages, given the floor of the stream and a known offset.
    fn check(
        (offsets, floor, known): (&[u64], u64, Option<u64>),
        keep: Keep,
        expected: (&[u64], u64, Option<NotRecovered>),
    ) {
        let page = page(7, 20, stored(offsets), floor, keep, known, false);
        let got: Vec<u64> = page.messages.iter().map(|kept| kept.position.offset()).collect();
        assert_eq!((got.as_slice(), page.floor, page.missing), expected, "{offsets:?} {floor} {known:?}");
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
    fn a_position_of_another_epoch_gets_the_whole_history() {
        let page = page(7, 20, stored(&[5, 6]), 0, KEEP, None, true);
        assert_eq!((page.messages.len(), page.missing), (2, Some(NotRecovered::EpochChanged)));
        assert_eq!(page.end, Position::new(7, 20));
    }
}
