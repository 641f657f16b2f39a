//! What was published to a group, for those who come later or come back.

use std::collections::{HashMap, VecDeque, hash_map};
use std::sync::Arc;
use std::time::Duration;

use nexios_proto::{Message, Utf8Bytes};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use super::position::Position;
use super::publishers::{Publisher, Tally};
use crate::backplane::{Keep, Place};
use crate::connection::Publication;
use crate::sender::ConnectionId;
use crate::{Error, Result};

/// What a kept message costs beside its bytes.
const ENTRY: usize = 160;

/// What a group costs that is kept for its position alone.
pub(super) const STREAM: usize = 512;

/// How much of what is published to a group is kept ([`GroupConfig::history`](crate::GroupConfig::history)).
///
/// Whichever bound is met first holds, and the oldest messages go. All histories together have a bound as well:
/// [`GroupsConfig::histories`](crate::GroupsConfig::histories).
///
/// | bound | default |
/// |---|---|
/// | [`messages`](Self::messages) | 100 |
/// | [`bytes`](Self::bytes) | 1 MiB |
/// | [`age`](Self::age) | 1 h |
///
/// With a [backplane](crate::App::backplane) the engine keeps it for all nodes, by the same bounds, which must then be the same
/// on all nodes; each node has a copy while members are there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct History {
    messages: usize,
    bytes: usize,
    pub(super) age: Duration,
    pub(super) with_positions: bool,
}

impl Default for History {
    fn default() -> Self {
        Self { messages: 100, bytes: 1024 * 1024, age: Duration::from_hours(1), with_positions: false }
    }
}

impl History {
    /// The defaults of the table above.
    pub fn new() -> Self {
        Self::default()
    }

    /// The most messages that are kept.
    pub fn messages(mut self, messages: usize) -> Self {
        self.messages = messages;
        self
    }

    /// The most memory that the messages take, in bytes, each with 160 more for its place.
    pub fn bytes(mut self, bytes: usize) -> Self {
        self.bytes = bytes;
        self
    }

    /// How long a message is kept; and, after the last message or member, the group's [`Position`], so that a client
    /// that comes back in time and has missed nothing is told so.
    pub fn age(mut self, age: Duration) -> Self {
        self.age = age;
        self
    }

    /// As a backplane is told it.
    pub(crate) fn keep(&self) -> Keep {
        Keep { messages: self.messages, bytes: self.bytes, age: self.age }
    }

    /// Tells members where they are, so that a client that connects again can say what it has seen. Every message then
    /// goes out in an envelope:
    ///
    /// ```json
    /// {"group":"user/7","position":"9f3c2a0de1b45c77-17","data":"the message"}
    /// ```
    ///
    /// `data` is the value of [`send_json`](crate::Group::send_json), or a message's text as a JSON string; a binary
    /// message is refused. The client keeps the last `position`, and gives it to the handler that calls
    /// [`Group::join_since`](crate::Group::join_since) when it comes back.
    pub fn with_positions(mut self) -> Self {
        self.with_positions = true;
        self
    }
}

/// A part of a group's history, oldest first ([`Group::history`](crate::Group::history)).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct HistoryPage {
    /// The messages.
    pub publications: Vec<Published>,
    /// Where the stream is now.
    pub position: Position,
    /// Whether nothing is missing between the position that was asked for and the first message here.
    pub recovered: bool,
}

/// A message of a group's history.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Published {
    /// Its place.
    pub position: Position,
    /// What was sent, without the envelope of [`History::with_positions`].
    pub message: Message,
}

impl Published {
    /// The message's text as JSON.
    ///
    /// # Errors
    ///
    /// [`Error::Other`] when it is no JSON of this type.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T> {
        serde_json::from_slice(self.message.as_bytes()).map_err(Error::other)
    }
}

/// Why a client that came back was not given what it has missed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum NotRecovered {
    /// The group has no history.
    NoHistory,
    /// The position belongs to another stream: the server was restarted, or the group was gone meanwhile.
    EpochChanged,
    /// Some of what it missed is no longer kept.
    Trimmed,
    /// What it missed is more than the connection's queue has room for.
    TooMuch,
    /// The connection was in the group already.
    AlreadyMember,
}

/// What is kept of a group's stream.
#[derive(Debug)]
pub(super) struct Stream {
    epoch: u64,
    /// Its places are given by a backplane's engine: it is a copy of what is kept there, or of the end of it.
    is_copy: bool,
    /// The newest message's offset, or 0.
    last: u64,
    /// Nothing behind this offset is missing here.
    floor: u64,
    entries: VecDeque<Entry>,
    size: usize,
    /// What of it is whose, by the connections that published.
    tallies: HashMap<ConnectionId, Tally>,
    /// When somebody was last told a position, or may have been.
    used: Instant,
}

#[derive(Debug)]
struct Entry {
    at: Instant,
    offset: u64,
    publication: Publication,
    data: Data,
    /// Of which connection's tally it is a part, and with how many bytes.
    publisher: Option<(ConnectionId, usize)>,
}

/// Where a message stands that has come from elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expected {
    Next,
    /// It was here before.
    Before,
    /// Something between is missing.
    Gap,
}

/// Where a message's own text stands in what was sent.
#[derive(Clone, Copy, Debug)]
pub(super) enum Data {
    /// It is all of it.
    Whole,
    /// Behind so many bytes of the envelope, which one more byte ends.
    Json(usize),
    /// There, as a JSON string.
    Text(usize),
}

impl Stream {
    pub(super) fn new() -> Self {
        Self::at(Position::new(rand::random(), 0), 0)
    }

    /// A stream that has come to this position, of which nothing up to `floor` is known.
    pub(super) fn at(end: Position, floor: u64) -> Self {
        let Position { epoch, offset: last } = end;
        let (entries, tallies, used) = (VecDeque::new(), HashMap::new(), Instant::now());
        Self { epoch, is_copy: false, last, floor, entries, size: STREAM, tallies, used }
    }

    /// A copy of a stream that has come to this position elsewhere, without the messages up to `floor`.
    pub(super) fn copy(end: Position, floor: u64) -> Self {
        Self { is_copy: true, ..Self::at(end, floor) }
    }

    pub(super) fn is_copy(&self) -> bool {
        self.is_copy
    }

    /// Whether a message with this place is the next one of the stream that this is a copy of.
    pub(super) fn expects(&self, place: Place) -> Expected {
        let Position { epoch, offset } = place.position;
        if !self.is_copy || epoch != self.epoch {
            return Expected::Gap;
        }
        match offset {
            _ if offset <= self.last => Expected::Before,
            // An engine may have given a position behind the last message, where nothing of this stream is.
            _ if place.previous <= self.last => Expected::Next,
            _ => Expected::Gap,
        }
    }

    /// Whether nothing behind this position is missing; of another epoch there is nothing to be had.
    pub(super) fn goes_back_to(&self, since: Position) -> bool {
        since.epoch != self.epoch || since.offset >= self.floor
    }

    /// Messages up to this one were published, and are not for this version to read.
    pub(super) fn skip_to(&mut self, offset: u64) {
        self.last = self.last.max(offset);
    }

    /// Messages up to this one are lost: nobody who has less than that can be given what it misses.
    pub(super) fn break_at(&mut self, offset: u64) {
        self.entries = VecDeque::new();
        self.tallies = HashMap::new();
        self.size = STREAM;
        self.last = self.last.max(offset);
        self.floor = self.floor.max(offset);
    }

    /// All messages, and whether each is JSON.
    pub(super) fn messages(&self) -> impl Iterator<Item = (Message, bool)> {
        self.entries.iter().filter_map(|entry| Some((entry.message()?, matches!(entry.data, Data::Json(_)))))
    }

    /// Older messages, up to that offset, some of which come before all that are here.
    pub(super) fn prepend(&mut self, floor: u64, end: u64, older: Vec<(Position, Publication, Data, Instant)>) {
        if end < self.floor {
            // What is here has gone on without what lies between.
            return;
        }
        for (position, publication, data, at) in older.into_iter().rev() {
            if position.offset <= self.floor {
                self.size += size(&publication);
                self.entries.push_front(Entry { at, offset: position.offset, publication, data, publisher: None });
            }
        }
        self.floor = self.floor.min(floor);
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// What it takes, in bytes.
    pub(super) fn size(&self) -> usize {
        self.size
    }

    /// Behind the newest message.
    pub(super) fn position(&self) -> Position {
        Position { epoch: self.epoch, offset: self.last }
    }

    /// Of the message that comes next.
    pub(super) fn next_position(&self) -> Position {
        Position { epoch: self.epoch, offset: self.last + 1 }
    }

    /// Adds a message that was published at that time, behind all others.
    pub(super) fn push(&mut self, offset: u64, publication: Publication, data: Data, at: Instant) {
        self.last = offset;
        self.used = self.used.max(at);
        self.size += size(&publication);
        if self.entries.capacity() == 0 {
            // Of ever so many groups most have one message: places for four of them would be most of what they take.
            self.entries.reserve_exact(1);
        }
        self.entries.push_back(Entry { at, offset, publication, data, publisher: None });
    }

    /// Counts the newest message for the connection that published it; returns a publisher of whom too much is kept.
    pub(super) fn count_for(
        &mut self,
        connection: ConnectionId,
        tally: impl FnOnce() -> Option<Tally>,
    ) -> Option<Arc<Publisher>> {
        // Who begins a stream has what it costs by itself, too.
        let own = if self.entries.len() == 1 { STREAM } else { 0 };
        let newest = self.entries.back_mut()?;
        let bytes = size(&newest.publication) + own;
        let tally = match self.tallies.entry(connection) {
            hash_map::Entry::Occupied(known) => known.into_mut(),
            hash_map::Entry::Vacant(place) => place.insert(tally()?),
        };
        newest.publisher = Some((connection, bytes));
        tally.add(bytes)
    }

    /// Keeps no more than so many bytes of what a connection published, as far as that is the oldest here or most of it;
    /// returns how many bytes are gone.
    pub(super) fn keep_of(&mut self, connection: ConnectionId, most: usize) -> usize {
        let mut freed = 0;
        while let Some(bytes) = self.tallies.get(&connection).map(Tally::bytes)
            && bytes > most
            && let Some(oldest) = self.entries.front()
            && (oldest.publisher.is_some_and(|(publisher, _)| publisher == connection) || bytes >= self.size / 2)
        {
            freed += self.drop_oldest();
        }
        freed
    }

    /// Lets go of what is beyond the bounds.
    pub(super) fn trim(&mut self, bounds: &History, now: Instant) {
        while let Some(oldest) = self.entries.front()
            && (self.entries.len() > bounds.messages
                || self.size - STREAM > bounds.bytes
                || now.saturating_duration_since(oldest.at) >= bounds.age)
        {
            self.drop_oldest();
        }
    }

    /// Lets go of the oldest message; returns how many bytes that was.
    pub(super) fn drop_oldest(&mut self) -> usize {
        let Some(oldest) = self.entries.pop_front() else { return 0 };
        let freed = size(&oldest.publication);
        self.size -= freed;
        self.floor = oldest.offset;
        if let Some((connection, bytes)) = oldest.publisher
            && let Some(tally) = self.tallies.get_mut(&connection)
        {
            tally.remove(bytes);
            if tally.messages() == 0 {
                self.tallies.remove(&connection);
            }
        }
        if self.entries.is_empty() {
            self.entries = VecDeque::new();
        }
        freed
    }

    /// A position is of use from now on for the age that messages have.
    pub(super) fn keep_position(&mut self, now: Instant) {
        self.used = self.used.max(now);
    }

    /// Since when the oldest of it is kept: a message, or else the position.
    pub(super) fn oldest(&self) -> Instant {
        self.entries.front().map_or(self.used, |oldest| oldest.at)
    }

    /// The messages behind a position: all of them, or the reason why there are none.
    pub(super) fn since(&self, since: Position) -> Result<impl ExactSizeIterator<Item = &Publication>, NotRecovered> {
        if since.epoch != self.epoch || since.offset > self.last {
            return Err(NotRecovered::EpochChanged);
        }
        if since.offset < self.floor {
            return Err(NotRecovered::Trimmed);
        }
        let skipped = self.entries.partition_point(|entry| entry.offset <= since.offset);
        Ok(self.entries.range(skipped..).map(|entry| &entry.publication))
    }

    /// The newest messages, at most so many.
    pub(super) fn newest(&self, count: usize) -> impl DoubleEndedIterator<Item = &Publication> {
        let skipped = self.entries.len().saturating_sub(count);
        self.entries.range(skipped..).map(|entry| &entry.publication)
    }

    /// A page behind a position, or of the newest.
    pub(super) fn page(&self, since: Option<Position>, limit: usize) -> HistoryPage {
        let missed = since.map(|since| self.since(since).map(|missed| missed.len()));
        let recovered = !matches!(missed, Some(Err(_)));
        let (skipped, count) = match missed {
            Some(Ok(missed)) => (self.entries.len() - missed, missed.min(limit)),
            // What is there, from the beginning.
            Some(Err(_)) => (0, self.entries.len().min(limit)),
            None => (self.entries.len().saturating_sub(limit), self.entries.len().min(limit)),
        };
        let entries = self.entries.range(skipped..skipped + count);
        let publications = entries.filter_map(|entry| {
            let position = Position { epoch: self.epoch, offset: entry.offset };
            Some(Published { position, message: entry.message()? })
        });
        HistoryPage { publications: publications.collect(), position: self.position(), recovered }
    }
}

impl Entry {
    fn message(&self) -> Option<Message> {
        let sent = self.publication.message()?;
        match self.data {
            Data::Whole => Some(sent),
            Data::Json(at) => Utf8Bytes::try_from(data(sent, at)).ok().map(Message::Text),
            Data::Text(at) => serde_json::from_slice::<String>(&data(sent, at)).ok().map(Message::from),
        }
    }
}

fn data(sent: Message, at: usize) -> bytes::Bytes {
    let bytes = sent.into_bytes();
    let end = bytes.len().saturating_sub(1);
    bytes.slice(at.min(end)..end)
}

/// What a kept message takes, in bytes.
fn size(publication: &Publication) -> usize {
    publication.size() + ENTRY
}
