//! What is kept of a channel.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use crate::backplane::{Keep, Kept, MessageId, NodeId, Page, Place};
use crate::groups::{NotRecovered, Position};

/// How many nodes' last numbers are remembered. A node whose number is forgotten while it publishes a message again gets a
/// second place for it: this is more nodes than publish to one channel in the time of a retry.
const WRITERS: usize = 64;

/// The longest age that can be added to any time.
const FOREVER: Duration = Duration::from_hours(30 * 365 * 24);

pub(super) struct Stream {
    epoch: u64,
    /// The newest message's offset. Offsets have no gaps.
    last: u64,
    entries: VecDeque<Entry>,
    bytes: usize,
    /// The number of each node's newest message, and that message's offset.
    writers: HashMap<NodeId, (u64, u64)>,
    /// When it begins again if nobody asks for it before.
    over: Instant,
}

struct Entry {
    offset: u64,
    id: MessageId,
    at: Instant,
    payload: Bytes,
}

impl Stream {
    pub(super) fn begin(now: Instant) -> Self {
        Self { epoch: rand::random(), last: 0, entries: VecDeque::new(), bytes: 0, writers: HashMap::new(), over: now }
    }

    pub(super) fn is_over(&self, now: Instant) -> bool {
        self.over < now
    }

    /// Lets go of what is too much or too old, and prolongs the stream's own time.
    pub(super) fn trim(&mut self, keep: Keep, now: Instant) {
        self.over = self.over.max(now + keep.age.min(FOREVER));
        let is_old = |entry: &Entry| now.duration_since(entry.at) > keep.age;
        while self.entries.len() > keep.messages || self.bytes > keep.bytes || self.entries.front().is_some_and(is_old)
        {
            let Some(oldest) = self.entries.pop_front() else { break };
            self.bytes -= oldest.payload.len();
        }
    }

    /// Whether a node has published this message before, or a later one.
    pub(super) fn has_seen(&self, id: MessageId) -> bool {
        self.writers.get(&id.node).is_some_and(|(number, _)| *number >= id.number)
    }

    /// The place of a message that is kept.
    pub(super) fn place_of(&self, id: MessageId) -> Option<Place> {
        self.entries.iter().rfind(|entry| entry.id == id).map(|entry| self.place(entry.offset))
    }

    pub(super) fn append(&mut self, id: MessageId, payload: Bytes, keep: Keep) -> Place {
        let now = Instant::now();
        self.last += 1;
        self.bytes += payload.len();
        self.entries.push_back(Entry { offset: self.last, id, at: now, payload });
        self.trim(keep, now);
        self.writers.insert(id.node, (id.number, self.last));
        if self.writers.len() > WRITERS {
            let quietest = self.writers.iter().min_by_key(|(_, (_, offset))| *offset).map(|(node, _)| *node);
            quietest.and_then(|node| self.writers.remove(&node));
        }
        self.place(self.last)
    }

    pub(super) fn read(&self, since: Option<Position>) -> Page {
        let trimmed = self.entries.front().map_or(self.last, |oldest| oldest.offset - 1);
        let missing = since.and_then(|since| self.missing(since, trimmed));
        let floor = since.filter(|_| missing.is_none()).map_or(trimmed, Position::offset);
        let now = Instant::now();
        let kept = |entry: &Entry| Kept {
            position: Position::new(self.epoch, entry.offset),
            age: now.duration_since(entry.at),
            payload: entry.payload.clone(),
        };
        let messages = self.entries.iter().filter(|entry| entry.offset > floor).map(kept).collect();
        Page { end: Position::new(self.epoch, self.last), messages, floor, missing }
    }

    fn missing(&self, since: Position, trimmed: u64) -> Option<NotRecovered> {
        // A position behind the end was never given: this stream loses nothing.
        if since.epoch() != self.epoch || since.offset() > self.last {
            Some(NotRecovered::EpochChanged)
        } else if since.offset() < trimmed {
            Some(NotRecovered::Trimmed)
        } else {
            None
        }
    }

    fn place(&self, offset: u64) -> Place {
        Place { position: Position::new(self.epoch, offset), previous: offset - 1 }
    }
}
