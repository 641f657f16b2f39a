//! What is kept, and what can be recovered from it.

use std::slice::from_ref;
use std::time::{Duration, Instant};

use super::streams::fill;
use super::{Engine, KEEP, room};
use crate::backplane::{Keep, Page, Place};
use crate::groups::{NotRecovered, Position};

/// How much later than its age a message may go.
const LATE: Duration = Duration::from_secs(5);

fn texts(page: &Page) -> Vec<String> {
    page.messages.iter().map(|kept| String::from_utf8_lossy(&kept.payload).into_owned()).collect()
}

fn numbers(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|n| n.to_string()).collect()
}

pub(super) async fn all_that_is_kept_is_read(engine: &Engine<'_>) {
    let (publisher, reader) = engine.two().await;
    let channel = room("room");
    let places = fill(&publisher, &channel, KEEP, &numbers(0..500)).await;
    let page = reader.read(&channel, KEEP, None).await;
    assert_eq!(texts(&page), numbers(0..500), "the oldest first");
    let positions: Vec<Position> = page.messages.iter().map(|kept| kept.position).collect();
    assert_eq!(positions, places.iter().map(|place| place.position).collect::<Vec<_>>(), "the places of publishing");
    assert_eq!(page.end, places[499].position, "the end is the newest message's place");
    assert_eq!((page.floor, page.missing), (0, None), "nothing has gone");
    for kept in &page.messages {
        assert!(kept.age < Duration::from_secs(30), "it was published just now: {:?}", kept.age);
    }
    assert!(page.messages.is_sorted_by(|a, b| a.age >= b.age), "the oldest is the first");
}

pub(super) async fn what_is_behind_a_position_is_read(engine: &Engine<'_>) {
    let (publisher, reader) = engine.two().await;
    let (channel, other) = (room("room"), room("other"));
    let mut places = Vec::new();
    for n in 0..40 {
        fill(&publisher, &other, KEEP, &numbers(n..n + 1)).await;
        places.extend(fill(&publisher, &channel, KEEP, &numbers(n..n + 1)).await);
    }
    for since in [0, 1, 17, 38, 39] {
        let page = reader.read(&channel, KEEP, Some(places[since].position)).await;
        assert_eq!(texts(&page), numbers(since + 1..40), "behind message {since}");
        assert_eq!(page.missing, None, "behind message {since}");
        assert_eq!(page.floor, places[since].position.offset(), "the floor is the position that was asked for");
        assert_eq!(page.end, places[39].position);
    }
}

pub(super) async fn an_empty_stream_has_a_position_that_stays_good(engine: &Engine<'_>) {
    let (publisher, reader) = engine.two().await;
    let channel = room("room");
    let page = reader.read(&channel, KEEP, None).await;
    assert!(page.messages.is_empty() && page.missing.is_none(), "{page:?}");
    let end = page.end;
    for node in [&reader, &publisher] {
        let again = node.read(&channel, KEEP, Some(end)).await;
        assert!(again.messages.is_empty(), "{again:?}");
        assert_eq!((again.end, again.missing), (end, None), "the same end on every node, and nothing missing");
    }
    fill(&publisher, &room("other"), KEEP, &numbers(0..3)).await;
    let places = fill(&publisher, &channel, KEEP, &numbers(0..3)).await;
    assert_eq!(places[0].position.epoch(), end.epoch(), "publishing begins no other stream");
    assert!(places[0].position.offset() > end.offset(), "{:?} is behind {end:?}", places[0]);
    let previous = places[0].previous;
    assert!(previous <= end.offset() || previous == Place::UNKNOWN, "nothing is between {end:?} and {:?}", places[0]);
    let page = reader.read(&channel, KEEP, Some(end)).await;
    assert_eq!((texts(&page), page.missing), (numbers(0..3), None), "all is behind the empty stream's position");
}

pub(super) async fn too_many_messages_are_trimmed(engine: &Engine<'_>) {
    let (publisher, reader) = engine.two().await;
    let channel = room("room");
    let keep = Keep { messages: 5, ..KEEP };
    let mut places = Vec::new();
    for range in [0..1, 1..3, 3..12] {
        places.extend(fill(&publisher, &channel, keep, &numbers(range)).await);
    }
    is_trimmed(&reader.read(&channel, keep, None).await, &places, 7);
    for since in 0..12 {
        let page = reader.read(&channel, keep, Some(places[since].position)).await;
        let is_recovered = since >= 6;
        assert_eq!(page.missing, (!is_recovered).then_some(NotRecovered::Trimmed), "behind message {since}");
        let first = if is_recovered { since + 1 } else { 7 };
        assert_eq!(texts(&page), numbers(first..12), "behind message {since}");
        assert_eq!(page.floor, places[first - 1].position.offset(), "the floor behind message {since}");
    }
}

pub(super) async fn too_many_bytes_are_trimmed(engine: &Engine<'_>) {
    let (publisher, reader) = engine.two().await;
    let channel = room("room");
    let keep = Keep { bytes: 10_000, ..KEEP };
    let large: Vec<String> = (0..30).map(|n| format!("{n:02}{}", "x".repeat(998))).collect();
    let places = fill(&publisher, &channel, keep, &large).await;
    let page = reader.read(&channel, keep, None).await;
    assert_eq!(texts(&page), large[20..], "ten of 1,000 bytes");
    assert_eq!((page.floor, page.missing), (places[19].position.offset(), None));
    for (since, missing) in
        [(0, Some(NotRecovered::Trimmed)), (18, Some(NotRecovered::Trimmed)), (19, None), (29, None)]
    {
        let page = reader.read(&channel, keep, Some(places[since].position)).await;
        assert_eq!(page.missing, missing, "behind message {since}");
        assert_eq!(texts(&page), large[20.max(since + 1)..], "behind message {since}");
    }
}

pub(super) async fn old_messages_are_trimmed(engine: &Engine<'_>) {
    let (publisher, reader) = engine.two().await;
    let channel = room("room");
    let keep = Keep { age: Duration::from_secs(2), ..KEEP };
    let began = Instant::now();
    let mut places = fill(&publisher, &channel, keep, &numbers(0..3)).await;
    tokio::time::sleep(Duration::from_millis(1_200)).await;
    let page = reader.read(&channel, keep, None).await;
    let slow = began.elapsed() > keep.age;
    assert!(slow || texts(&page) == numbers(0..3), "nothing is too old yet: {page:?}");
    let is_older = page.messages.iter().all(|kept| kept.age >= Duration::from_secs(1));
    assert!(is_older, "a message's age counts from when it was published: {page:?}");
    places.extend(fill(&publisher, &channel, keep, &numbers(3..5)).await);
    let deadline = began + keep.age + LATE;
    let mut page = reader.read(&channel, keep, None).await;
    while page.messages.len() > 2 && Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(50)).await;
        page = reader.read(&channel, keep, None).await;
    }
    assert!(page.messages.len() <= 2, "messages older than {:?} are kept: {page:?}", keep.age);
    is_trimmed(&page, &places, 5 - page.messages.len());
    let since = reader.read(&channel, keep, Some(places[0].position)).await;
    assert_eq!(since.missing, Some(NotRecovered::Trimmed), "behind a message that is gone");
    // All of them go; somebody asks for the stream all the time, so that it stays the same.
    while !page.messages.is_empty() && Instant::now() < deadline + LATE {
        tokio::time::sleep(Duration::from_millis(100)).await;
        page = reader.read(&channel, keep, None).await;
    }
    is_trimmed(&page, &places, 5);
    let end = reader.read(&channel, keep, Some(page.end)).await;
    assert_eq!((end.missing, end.messages.len()), (None, 0), "at the end of a stream whose messages are all gone");
    let next = fill(&publisher, &channel, keep, &numbers(5..6)).await;
    let page = reader.read(&channel, keep, Some(page.end)).await;
    assert_eq!((texts(&page), page.missing), (numbers(5..6), None), "what was published since: {next:?}");
}

pub(super) async fn a_stream_may_keep_one_message_or_none(engine: &Engine<'_>) {
    let (publisher, reader) = engine.two().await;
    for (messages, name) in [(1, "one"), (0, "none")] {
        let channel = room(name);
        reader.subscribe(from_ref(&channel)).await;
        let keep = Keep { messages, ..KEEP };
        let places = fill(&publisher, &channel, keep, &numbers(0..4)).await;
        super::streams::follow_each_other(&reader.wait_for(&channel, 4).await);
        let page = reader.read(&channel, keep, None).await;
        is_trimmed(&page, &places, 4 - messages);
        let at_end = reader.read(&channel, keep, Some(places[3].position)).await;
        assert_eq!((at_end.missing, at_end.messages.len()), (None, 0), "at the end, with {messages} kept");
    }
}

pub(super) async fn a_message_that_is_too_large_to_keep_has_a_place(engine: &Engine<'_>) {
    let (publisher, reader) = engine.two().await;
    let channel = room("room");
    reader.subscribe(from_ref(&channel)).await;
    let keep = Keep { bytes: 100, ..KEEP };
    let mut places = fill(&publisher, &channel, keep, &numbers(0..2)).await;
    places.extend(fill(&publisher, &channel, keep, &["x".repeat(101)]).await);
    super::streams::follow_each_other(&reader.wait_for(&channel, 3).await);
    let page = reader.read(&channel, keep, None).await;
    is_trimmed(&page, &places, 3);
    places.extend(fill(&publisher, &channel, keep, &numbers(3..4)).await);
    is_trimmed(&reader.read(&channel, keep, None).await, &places, 3);
}

pub(super) async fn a_position_of_another_epoch_is_not_recovered(engine: &Engine<'_>) {
    let (publisher, reader) = engine.two().await;
    for name in ["room", "empty"] {
        let channel = room(name);
        let texts_there = if name == "empty" { numbers(0..0) } else { numbers(0..3) };
        fill(&publisher, &channel, KEEP, &texts_there).await;
        let end = reader.read(&channel, KEEP, None).await.end;
        for offset in [0, 1, 3, u64::MAX] {
            let foreign = Position::new(end.epoch() ^ 1, offset);
            let page = reader.read(&channel, KEEP, Some(foreign)).await;
            assert_eq!(page.missing, Some(NotRecovered::EpochChanged), "offset {offset} in {name}");
            assert_eq!((texts(&page), page.end), (texts_there.clone(), end), "all of it, which has not changed");
        }
    }
}

pub(super) async fn a_position_behind_the_end_is_not_recovered(engine: &Engine<'_>) {
    let (publisher, reader) = engine.two().await;
    let channel = room("room");
    let places = fill(&publisher, &channel, KEEP, &numbers(0..3)).await;
    let end = places[2].position;
    let beyond = Position::new(end.epoch(), end.offset() + 1_000_000);
    let page = reader.read(&channel, KEEP, Some(beyond)).await;
    assert_eq!(page.missing, Some(NotRecovered::EpochChanged), "{page:?}");
}

/// Of all messages with these places, those from `first` on are left.
fn is_trimmed(page: &Page, places: &[Place], first: usize) {
    let positions: Vec<Position> = page.messages.iter().map(|kept| kept.position).collect();
    let expected: Vec<Position> = places[first..].iter().map(|place| place.position).collect();
    assert_eq!(positions, expected, "what is kept");
    assert_eq!(page.floor, places[first - 1].position.offset(), "the floor is the newest message that is gone");
    assert_eq!((page.end, page.missing), (places[places.len() - 1].position, None), "{page:?}");
}
