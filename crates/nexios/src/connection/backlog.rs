//! What waits for a peer that does not keep up, message by message, so that one may be dropped for another.
//!
//! Most connections have none: frames are copied behind each other in [`Outbound`], where no message can be told from
//! the next. A backlog stands behind that queue once it is half full, or the socket is, and something is sent that may be
//! dropped later.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use bytes::Bytes;

use super::outbound::Outbound;

/// What a waiting message costs beside its bytes: its places in the maps below.
const ENTRY: usize = 160;

/// Who sent what may be dropped: a group's number, or 0 for the connection's senders.
pub(crate) type Source = u64;

/// What a message is the newest state of.
pub(crate) type Key = Arc<str>;

/// Messages in the order of sending.
#[derive(Debug, Default)]
pub(super) struct Backlog {
    entries: BTreeMap<u64, Entry>,
    next: u64,
    bytes: usize,
    /// Of these, in messages that must arrive.
    kept: usize,
    droppable: BTreeSet<(Source, u64)>,
    /// What those of each source take, in bytes.
    of_source: HashMap<Source, usize>,
    keyed: HashMap<(Source, Key), u64>,
}

#[derive(Debug)]
struct Entry {
    frame: Bytes,
    /// `None`: it must arrive.
    source: Option<Source>,
    key: Option<Key>,
}

impl Backlog {
    /// What the messages take, in bytes.
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.bytes
    }

    /// What those that must arrive take, in bytes.
    #[inline]
    pub(super) fn kept(&self) -> usize {
        self.kept
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// What a frame of `len` bytes would add.
    pub(super) fn cost(len: usize) -> usize {
        len + ENTRY
    }

    /// Appends a message that must arrive.
    pub(super) fn push(&mut self, frame: Bytes) {
        self.insert(Entry { frame, source: None, key: None });
    }

    /// Appends a message that may be dropped.
    pub(super) fn push_droppable(&mut self, frame: Bytes, source: Source, key: Option<&Key>) {
        let number = self.insert(Entry { frame, source: Some(source), key: key.cloned() });
        self.droppable.insert((source, number));
        if let Some(key) = key {
            self.keyed.insert((source, Key::clone(key)), number);
        }
    }

    fn insert(&mut self, entry: Entry) -> u64 {
        let number = self.next;
        self.next += 1;
        let cost = Self::cost(entry.frame.len());
        self.bytes += cost;
        match entry.source {
            Some(source) => *self.of_source.entry(source).or_default() += cost,
            None => self.kept += cost,
        }
        self.entries.insert(number, entry);
        number
    }

    /// What a source's messages that may be dropped take, in bytes.
    pub(super) fn len_of(&self, source: Source) -> usize {
        self.of_source.get(&source).copied().unwrap_or(0)
    }

    /// Drops the message under this key, if one waits; returns how many bytes that was.
    pub(super) fn drop_keyed(&mut self, source: Source, key: &Key) -> Option<usize> {
        let number = *self.keyed.get(&(source, Key::clone(key)))?;
        self.remove(number).map(|entry| Self::cost(entry.frame.len()))
    }

    /// Drops the oldest message of this source, if one waits; returns how many bytes that was.
    pub(super) fn drop_oldest(&mut self, source: Source) -> Option<usize> {
        let (_, number) = *self.droppable.range((source, 0)..=(source, u64::MAX)).next()?;
        self.remove(number).map(|entry| Self::cost(entry.frame.len()))
    }

    /// Moves messages behind `writing`, until that holds `bytes`.
    pub(super) fn move_to(&mut self, writing: &mut Outbound, bytes: usize) {
        while writing.len() < bytes
            && let Some((&first, _)) = self.entries.first_key_value()
            && let Some(entry) = self.remove(first)
        {
            writing.append_shared(&entry.frame);
        }
    }

    fn remove(&mut self, number: u64) -> Option<Entry> {
        let entry = self.entries.remove(&number)?;
        let cost = Self::cost(entry.frame.len());
        self.bytes -= cost;
        let Some(source) = entry.source else {
            self.kept -= cost;
            return Some(entry);
        };
        self.droppable.remove(&(source, number));
        if let Some(bytes) = self.of_source.get_mut(&source) {
            *bytes -= cost;
            if *bytes == 0 {
                self.of_source.remove(&source);
            }
        }
        if let Some(key) = &entry.key {
            self.forget_key(source, key, number);
        }
        Some(entry)
    }

    /// A newer message may stand under the same key.
    fn forget_key(&mut self, source: Source, key: &Key, number: u64) {
        let place = (source, Key::clone(key));
        if self.keyed.get(&place) == Some(&number) {
            self.keyed.remove(&place);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(text: &'static str) -> Bytes {
        Bytes::from_static(text.as_bytes())
    }

    fn rest(mut backlog: Backlog) -> String {
        let mut writing = Outbound::default();
        backlog.move_to(&mut writing, usize::MAX);
        assert_eq!(
            (backlog.bytes + backlog.kept, backlog.droppable.len(), backlog.keyed.len()),
            (0, 0, 0),
            "nothing is left behind"
        );
        String::from_utf8(writing.as_single().unwrap().to_vec()).unwrap()
    }

    #[test]
    fn messages_leave_in_the_order_of_sending() {
        let mut backlog = Backlog::default();
        backlog.push(frame("a"));
        backlog.push_droppable(frame("b"), 1, None);
        backlog.push_droppable(frame("c"), 2, None);
        backlog.push(frame("d"));
        assert_eq!(rest(backlog), "abcd");
    }

    #[test]
    fn the_oldest_of_one_source_is_dropped_and_no_other() {
        let mut backlog = Backlog::default();
        backlog.push(frame("a"));
        backlog.push_droppable(frame("b"), 2, None);
        backlog.push_droppable(frame("c"), 1, None);
        backlog.push_droppable(frame("d"), 1, None);
        assert_eq!(backlog.drop_oldest(1), Some(1 + ENTRY));
        assert_eq!(backlog.drop_oldest(3), None);
        assert_eq!(rest(backlog), "abd");
    }

    #[test]
    fn a_key_has_its_newest_message_in_the_place_of_that() {
        let mut backlog = Backlog::default();
        let (x, y) = (Key::from("x"), Key::from("y"));
        backlog.push_droppable(frame("1"), 1, Some(&x));
        backlog.push_droppable(frame("2"), 1, Some(&y));
        assert_eq!(backlog.drop_keyed(1, &x), Some(1 + ENTRY));
        backlog.push_droppable(frame("3"), 1, Some(&x));
        assert_eq!(backlog.drop_keyed(2, &x), None, "another source has keys of its own");
        assert_eq!(rest(backlog), "23");
    }

    #[test]
    fn what_waits_is_moved_piece_by_piece() {
        let mut backlog = Backlog::default();
        for _ in 0..10 {
            backlog.push(frame("0123456789"));
        }
        let mut writing = Outbound::default();
        backlog.move_to(&mut writing, 25);
        assert_eq!((writing.len(), backlog.len()), (30, 7 * (10 + ENTRY)));
    }
}
