//! Coming and going while others publish, on several threads: no gap, no double.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use nexios::prelude::*;

use super::room::{Rooms, Visitor, at};
use crate::serving::within;

const PUBLISHERS: usize = 3;

fn rooms(history: History) -> Rooms {
    let plenty = history.messages(1_000_000).bytes(64 << 20).with_positions();
    let each = GroupConfig::new().history(plenty);
    Rooms::with(GroupsConfig::new().each(each), Config::new().outbound_queue(64 << 20))
}

/// What stands at each place of the stream, as the first who heard it says.
#[derive(Default)]
struct Stream(Mutex<HashMap<u64, String>>);

impl Stream {
    /// Everybody hears the same in one place.
    fn check(&self, offset: u64, data: &str) {
        let mut heard = self.0.lock().unwrap();
        let known = heard.entry(offset).or_insert_with(|| data.to_owned());
        assert_eq!(known, data, "two messages at {offset}");
    }
}

/// Where a client is.
struct Reader {
    position: Position,
    stream: Arc<Stream>,
}

impl Reader {
    fn hear(&mut self, text: &str) {
        let envelope: serde_json::Value = serde_json::from_str(text).unwrap();
        let position: Position = envelope["position"].as_str().unwrap().parse().unwrap();
        assert_eq!(position, at(self.position, self.position.offset() + 1), "a gap, or a double");
        self.stream.check(position.offset(), envelope["data"].as_str().unwrap());
        self.position = position;
    }

    fn hear_all(&mut self, missed: &[Message]) {
        for message in missed {
            self.hear(message.as_text().unwrap());
        }
    }

    /// Comes, hears what it has missed and some of what is said meanwhile, and goes.
    async fn visit(&mut self, rooms: &Rooms, stay: usize) {
        let Ok(websocket) = rooms.client.connect(&format!("/a?since={}", self.position)).await else { return };
        let mut visitor = Visitor::arrive(websocket).await;
        assert!(visitor.joined.recovered, "{:?}", visitor.joined);
        let replayed = visitor.joined.position.unwrap().offset() - self.position.offset();
        assert_eq!(visitor.joined.replayed as u64, replayed);
        self.hear_all(&visitor.missed);
        for _ in 0..stay {
            // Until nothing comes for a while.
            let text = tokio::time::timeout(Duration::from_millis(2), visitor.websocket.receive_text()).await;
            let Ok(text) = text else { break };
            self.hear(&text.unwrap());
        }
        match fastrand::u32(0..3) {
            0 => drop(visitor.websocket.close(1000, "").await),
            1 => drop(visitor.websocket.send_text("leave").await),
            _ => drop(visitor.websocket),
        }
    }
}

async fn publish(groups: Groups, publisher: usize, messages: usize) {
    for number in 0..messages {
        let text = format!("{publisher} {number}");
        match (publisher + number) % 4 {
            0 => groups.send_to(["a", "b"], text).await.unwrap(),
            1 => groups.group("a").send_keyed("key", text).await.unwrap(),
            _ => groups.group("a").send_text(text).await.unwrap(),
        }
        if number % 8 == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

async fn come_and_go(readers: usize, stayers: usize, messages: usize) {
    let rooms = Arc::new(rooms(History::new()));
    rooms.say("a", 0..1).await;
    let begin = at(rooms.position("a").await, 0);
    let stream = Arc::new(Stream::default());
    // They make the group one for which messages are put together.
    let mut crowd = Vec::new();
    for _ in 0..stayers {
        let mut stayer = rooms.visit(&format!("/a?since={begin}")).await;
        let mut reader = Reader { position: begin, stream: Arc::clone(&stream) };
        crowd.push(tokio::spawn(async move {
            reader.hear_all(&stayer.missed);
            while reader.position.offset() < (PUBLISHERS * messages + 1) as u64 {
                reader.hear(&within(stayer.websocket.receive_text()).await.unwrap());
            }
        }));
    }
    let over = Arc::new(AtomicBool::new(false));
    let mut visits = Vec::new();
    for _ in 0..readers {
        let (rooms, over) = (Arc::clone(&rooms), Arc::clone(&over));
        let mut reader = Reader { position: begin, stream: Arc::clone(&stream) };
        visits.push(tokio::spawn(async move {
            while !over.load(Ordering::Relaxed) {
                reader.visit(&rooms, fastrand::usize(0..40)).await;
            }
            reader.visit(&rooms, usize::MAX).await;
            reader.position
        }));
    }
    let publishers: Vec<_> =
        (0..PUBLISHERS).map(|publisher| tokio::spawn(publish(rooms.groups.clone(), publisher, messages))).collect();
    for publisher in publishers {
        publisher.await.unwrap();
    }
    over.store(true, Ordering::Relaxed);
    let end = rooms.position("a").await;
    assert_eq!(end.offset(), (PUBLISHERS * messages + 1) as u64);
    for visit in visits {
        assert_eq!(within(visit).await.unwrap(), end);
    }
    for stayer in crowd {
        within(stayer).await.unwrap();
    }
    assert_order_of_each_publisher(&stream, messages);
}

fn assert_order_of_each_publisher(stream: &Stream, messages: usize) {
    let heard = stream.0.lock().unwrap();
    let mut next = [0; PUBLISHERS];
    for offset in 2..=(PUBLISHERS * messages + 1) as u64 {
        let (publisher, number) = heard[&offset].split_once(' ').unwrap();
        let publisher: usize = publisher.parse().unwrap();
        assert_eq!(number.parse::<usize>().unwrap(), next[publisher], "of publisher {publisher}");
        next[publisher] += 1;
    }
    assert_eq!(next, [messages; PUBLISHERS]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn in_a_small_group_who_comes_and_goes_hears_everything_once() {
    come_and_go(6, 0, 200).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn in_a_large_group_who_comes_and_goes_hears_everything_once() {
    come_and_go(12, 20, 200).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_position_is_given_twice_whoever_publishes() {
    const MESSAGES: usize = 400;
    let rooms = rooms(History::new());
    let mut member = rooms.visit("/a").await;
    let mut reader = Reader { position: member.joined.position.unwrap(), stream: Arc::default() };
    let publishers: Vec<_> = (0..PUBLISHERS)
        .map(|publisher| {
            let group = rooms.groups.group("a");
            // Encoding it takes a while.
            let rest = "\"".repeat(2000);
            let publish = async move {
                for number in 0..MESSAGES {
                    group.send_text(format!("{publisher} {number} {rest}")).await.unwrap();
                }
            };
            tokio::spawn(tokio::task::unconstrained(publish))
        })
        .collect();
    while reader.position.offset() < (PUBLISHERS * MESSAGES) as u64 {
        reader.hear(&within(member.websocket.receive_text()).await.unwrap());
    }
    for publisher in publishers {
        publisher.await.unwrap();
    }
    assert_eq!(reader.position, rooms.position("a").await);
}

/// A handler that joins, leaves and joins again while others publish, without a client in between.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_connection_that_leaves_and_joins_again_and_again_hears_everything_once() {
    let rooms = rooms(History::new());
    rooms.say("a", 0..1).await;
    let begin = at(rooms.position("a").await, 0);
    let mut visitor = rooms.visit(&format!("/a?since={begin}")).await;
    let mut reader = Reader { position: begin, stream: Arc::default() };
    reader.hear_all(&visitor.missed);
    let publishers: Vec<_> =
        (0..PUBLISHERS).map(|publisher| tokio::spawn(publish(rooms.groups.clone(), publisher, 200))).collect();
    while reader.position.offset() < (PUBLISHERS * 200 + 1) as u64 {
        visitor.websocket.send_text("leave").await.unwrap();
        loop {
            let text = within(visitor.websocket.receive_text()).await.unwrap();
            if text == "left" {
                break;
            }
            reader.hear(&text);
        }
        let (missed, joined) = visitor.again(reader.position).await;
        assert!(joined.recovered, "{joined:?}");
        reader.hear_all(&missed);
    }
    for publisher in publishers {
        publisher.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_storm_of_500_that_come_back_at_once_is_replayed_to_each() {
    const CLIENTS: u64 = 500;
    let rooms = Arc::new(rooms(History::new()));
    rooms.say("a", 0..50).await;
    let end = rooms.position("a").await;
    let stream = Arc::new(Stream::default());
    let mut storm = tokio::task::JoinSet::new();
    for client in 0..CLIENTS {
        let (rooms, stream) = (Arc::clone(&rooms), Arc::clone(&stream));
        storm.spawn(async move {
            let mut reader = Reader { position: at(end, client % 51), stream };
            let mut visitor = rooms.visit(&format!("/a?since={}", reader.position)).await;
            assert!(visitor.joined.recovered);
            reader.hear_all(&visitor.missed);
            while reader.position.offset() < 150 {
                reader.hear(&within(visitor.websocket.receive_text()).await.unwrap());
            }
        });
    }
    let groups = rooms.groups.clone();
    storm.spawn(async move {
        for number in 50..150 {
            groups.group("a").send_text(number.to_string()).await.unwrap();
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    });
    while let Some(client) = tokio::time::timeout(Duration::from_secs(30), storm.join_next()).await.unwrap() {
        client.unwrap();
    }
    assert_eq!(rooms.groups.stats().dropped, 0);
}
