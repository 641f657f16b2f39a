//! Is each stream gapless in order, or flagged?

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Instant;

use nexios::Position;

use crate::ledger::{Entries, Publication, PublisherId};

/// The messages and gap notices of a group that a client has received over all its connections.
#[derive(Clone, Debug)]
pub(crate) struct Stream {
    pub(crate) client: usize,
    pub(crate) group: Arc<str>,
    /// Between flags. The last one goes on.
    pub(crate) segments: Vec<Segment>,
}

#[derive(Clone, Debug)]
pub(crate) struct Segment {
    pub(crate) begin: Instant,
    pub(crate) because: Because,
    pub(crate) seen: Vec<Seen>,
}

/// Why a segment begins: what came before is not claimed to be complete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Because {
    /// The client came without a position.
    Joined,
    /// It came with one: `"recovered":false`, and why.
    NotRecovered(String),
    /// It was told of a gap.
    Gap,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) publisher: PublisherId,
    pub(crate) number: u32,
    pub(crate) position: Option<Position>,
}

/// The faults that the streams show.
pub(crate) fn check(entries: &Entries, streams: &[Stream]) -> Vec<String> {
    let mut groups: BTreeMap<&str, Vec<&Publication>> = BTreeMap::new();
    for publication in &entries.publications {
        groups.entry(&publication.group).or_default().push(publication);
    }
    let mut wrong = Vec::new();
    for (group, publications) in groups {
        let certain: Vec<&Publication> = publications.into_iter().filter(|p| entries.is_certain(p)).collect();
        let streams: Vec<&Stream> = streams.iter().filter(|stream| &*stream.group == group).collect();
        for stream in &streams {
            wrong.extend(check_stream(stream, &certain, entries));
            wrong.extend(flags_without_reason(stream, entries));
        }
        if group.starts_with('h') {
            wrong.extend(check_positions(group, &streams));
            wrong.extend(check_order(group, &streams));
        }
    }
    wrong
}

fn check_stream(stream: &Stream, certain: &[&Publication], entries: &Entries) -> Vec<String> {
    let mut wrong = Vec::new();
    for (index, segment) in stream.segments.iter().enumerate() {
        let is_last = index + 1 == stream.segments.len();
        let (begin, because) = (entries.at(segment.begin), &segment.because);
        let at = format!("client {} in {}, segment {index} from {begin} s ({because:?})", stream.client, stream.group);
        let mut seen: HashMap<PublisherId, Vec<u32>> = HashMap::new();
        for one in &segment.seen {
            let numbers = seen.entry(one.publisher).or_default();
            if let Some(last) = numbers.last().filter(|last| **last >= one.number) {
                let what = if numbers.contains(&one.number) { "double" } else { "out of order" };
                wrong.push(format!("{at}: {}/{} is {what}, behind {last}", one.publisher, one.number));
            }
            numbers.push(one.number);
        }
        let missing = |publication: &&&Publication| {
            let numbers = seen.get(&publication.publisher).map_or(&[][..], Vec::as_slice);
            let is_inside = numbers.first().is_some_and(|first| *first < publication.number);
            let is_behind = publication.sent > segment.begin;
            let is_before = numbers.last().is_some_and(|last| publication.number < *last);
            (is_inside || is_behind) && (is_last || is_before) && !numbers.contains(&publication.number)
        };
        let missing: Vec<_> = certain.iter().filter(missing).collect();
        if let Some(first) = missing.first() {
            let shown =
                |p: &&Publication| format!("{}/{} (node {}, {} s)", p.publisher, p.number, p.node, entries.at(p.sent));
            let last = missing.last().unwrap_or(first);
            let (count, seen) = (missing.len(), segment.seen.len());
            wrong.push(format!(
                "{at}: {count} are missing, from {} to {}; {seen} were seen",
                shown(first),
                shown(last)
            ));
        }
    }
    wrong
}

fn flags_without_reason(stream: &Stream, entries: &Entries) -> Vec<String> {
    let mut wrong = Vec::new();
    for (index, segment) in stream.segments.iter().enumerate() {
        if segment.because != Because::Joined && entries.reason_for(segment.begin).is_none() {
            let because = &segment.because;
            wrong.push(format!(
                "client {} in {}, segment {index}: {because:?} for no reason",
                stream.client, stream.group
            ));
        }
    }
    wrong
}

/// One position has one message, and positions of an epoch count up.
fn check_positions(group: &str, streams: &[&Stream]) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut messages: HashMap<Position, (PublisherId, u32)> = HashMap::new();
    for stream in streams {
        for segment in &stream.segments {
            let mut last: HashMap<u64, u64> = HashMap::new();
            for one in &segment.seen {
                let Some(position) = one.position else {
                    wrong.push(format!("client {} in {group}: {one:?} has no position", stream.client));
                    continue;
                };
                let message = (one.publisher, one.number);
                let known = *messages.entry(position).or_insert(message);
                if known != message {
                    wrong.push(format!("client {} in {group}: {position} is {message:?} and {known:?}", stream.client));
                }
                let before = last.insert(position.epoch(), position.offset());
                if before.is_some_and(|before| before >= position.offset()) {
                    wrong.push(format!("client {} in {group}: {position} comes behind {before:?}", stream.client));
                }
            }
        }
    }
    wrong
}

/// All segments fit into one order: what follows what is a graph without a circle.
fn check_order(group: &str, streams: &[&Stream]) -> Option<String> {
    type Message = (PublisherId, u32);
    let mut behind: HashMap<Message, HashSet<Message>> = HashMap::new();
    let mut before: HashMap<Message, usize> = HashMap::new();
    for segment in streams.iter().flat_map(|stream| &stream.segments) {
        for pair in segment.seen.windows(2) {
            let [one, two] = [pair[0], pair[1]].map(|seen| (seen.publisher, seen.number));
            before.entry(one).or_default();
            if behind.entry(one).or_default().insert(two) {
                *before.entry(two).or_default() += 1;
            }
        }
    }
    let mut ready: Vec<Message> =
        before.iter().filter(|(_, count)| **count == 0).map(|(message, _)| *message).collect();
    while let Some(message) = ready.pop() {
        before.remove(&message);
        for next in behind.remove(&message).unwrap_or_default() {
            if let Some(count) = before.get_mut(&next) {
                *count -= 1;
                if *count == 0 {
                    ready.push(next);
                }
            }
        }
    }
    let circle: BTreeSet<_> = before.keys().take(20).collect();
    (!circle.is_empty())
        .then(|| format!("{group}: clients see {} messages in different orders: {circle:?}", before.len()))
}
