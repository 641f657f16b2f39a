//! Everything at once, by chance.

use std::collections::HashMap;

use fastrand::Rng;
use nexios::SlowConsumer::{Close, Conflate, DropNewest, DropOldest};
use nexios::prelude::*;

use super::stage::{Order, Peer, Stage, assert_rising, label, numbered, of};
use crate::serving::{pause, within};

const QUEUE: usize = 32 * 1024;
const GROUPS: [&str; 4] = ["keep", "newest", "oldest", "conflate"];

fn stage() -> Stage {
    let config = GroupsConfig::new().by_name(|name| {
        let choice = match name {
            "newest" => DropNewest,
            "oldest" => DropOldest,
            "conflate" => Conflate,
            _ => Close,
        };
        // Less than the whole queue, so that those who drop do not fill it for those who must not.
        let queue = if choice == Close { QUEUE } else { QUEUE / 2 };
        Some(GroupConfig::new().slow_consumer(choice).member_queue(queue))
    });
    Stage::new(Config::new().outbound_queue(QUEUE), config)
}

/// What was sent so far, by source.
#[derive(Default)]
struct Sent(HashMap<String, usize>);

impl Sent {
    fn next(&mut self, source: &str) -> usize {
        let count = self.0.entry(source.to_owned()).or_default();
        *count += 1;
        *count - 1
    }

    fn count(&self, source: &str) -> usize {
        self.0.get(source).copied().unwrap_or_default()
    }
}

/// What must arrive is sent while there is room for it, as whoever must not lose anything does.
fn has_room(stage: &Stage, len: usize) -> bool {
    stage.groups.stats().queued_bytes + len + 400 <= QUEUE
}

async fn act(stage: &Stage, peer: &Peer, random: &mut Rng, sent: &mut Sent) {
    let len = match random.u32(0..20) {
        0 => random.usize(4000..20_000),
        1..=5 => random.usize(500..2000),
        _ => random.usize(0..200),
    };
    let source = ["keep", "newest", "oldest", "conflate", "oldest", "conflate", "own", "sender"][random.usize(0..8)];
    let drops = GROUPS[1..].contains(&source);
    if !drops && !has_room(stage, len) {
        return;
    }
    let text = numbered(source, sent.next(source), len);
    match source {
        "own" => peer.order(Order::Say(vec![text.into()])),
        "sender" => peer.sender.try_send(text).unwrap(),
        group if drops && random.bool() => {
            let key = random.u32(0..6).to_string();
            stage.groups.group(group).send_keyed(key, text).await.unwrap();
        }
        group => stage.groups.group(group).send_text(text).await.unwrap(),
    }
}

/// Reads a few frames.
async fn read_some(peer: &mut Peer, random: &mut Rng, heard: &mut Vec<(String, usize)>) {
    for _ in 0..random.usize(0..30) {
        match tokio::time::timeout(std::time::Duration::from_millis(1), peer.wire.fill()).await {
            Ok(open) => assert!(open, "the connection was closed"),
            Err(_) => break,
        }
        heard.extend(peer.wire.frames_at_hand().iter().map(label));
    }
}

/// Reads as fast as it can. Even so it may find its queue full, when much is published in one turn.
async fn listen(mut peer: Peer) -> Vec<(String, usize)> {
    let mut heard = Vec::new();
    while heard.last().is_none_or(|(source, _)| source != "end") {
        heard.push(label(&peer.wire.frame().await.expect("a member that reads was closed")));
    }
    heard
}

async fn run(seed: u64) {
    let mut random = Rng::with_seed(seed);
    let mut stage = stage();
    let mut peer = stage.join_on(&GROUPS.join(","), random.usize(16..5000), &[]).await;
    // Enough members for the batches of a tick, or few.
    let mut crowd = Vec::new();
    for _ in 0..[0, 3, 20][random.usize(0..3)] {
        let peer = stage.join_on("keep,oldest", 1 << 20, &[]).await;
        crowd.push(tokio::spawn(listen(peer)));
    }
    let (mut sent, mut heard) = (Sent::default(), Vec::new());
    for _ in 0..random.usize(50..600) {
        match random.u32(0..40) {
            0 => read_some(&mut peer, &mut random, &mut heard).await,
            1 | 2 => tokio::task::yield_now().await,
            3 => pause(1).await,
            _ => act(&stage, &peer, &mut random, &mut sent).await,
        }
        let held = stage.stats("conflate").await.queued_bytes;
        assert!(held <= QUEUE + 20_000, "seed {seed}: {held} bytes wait");
    }
    // An order may still be on its way to the handler, or wait there for room.
    while of(&heard, "own").len() < sent.count("own") || stage.groups.stats().queued_bytes > 0 {
        heard.extend(peer.heard().await);
    }
    stage.groups.broadcast(numbered("end", 0, 10)).await.unwrap();
    heard.extend(peer.heard().await);
    let mut missed_by_crowd = 0;
    for listener in crowd {
        let heard = listener.await.unwrap();
        assert!(of(&heard, "keep").iter().copied().eq(0..sent.count("keep")), "seed {seed}: a member that reads");
        missed_by_crowd += sent.count("oldest") - of(&heard, "oldest").len();
    }
    for source in ["keep", "own", "sender"] {
        assert!(
            of(&heard, source).iter().copied().eq(0..sent.count(source)),
            "seed {seed}: {source} has lost something"
        );
    }
    for group in &GROUPS[1..] {
        let came = of(&heard, group);
        assert_rising(&came);
        let stats = stage.stats(group).await;
        let of_crowd = if *group == "oldest" { missed_by_crowd } else { 0 };
        let lost = (sent.count(group) - came.len() + of_crowd) as u64;
        assert_eq!((stats.publications, stats.dropped), (sent.count(group) as u64, lost), "seed {seed}: {group}");
    }
    assert_eq!(stage.groups.stats().slow_consumers, 0, "seed {seed}");
}

#[tokio::test]
async fn what_must_arrive_arrives_and_what_is_dropped_is_counted() {
    let first = fastrand::u64(..1 << 40);
    for seed in first..first + 12 {
        within(run(seed)).await;
    }
}
