//! The default: who does not read is closed, and told why.

use nexios::prelude::*;

use super::stage::{Stage, numbered, of, publish};
use crate::serving::pause;

#[tokio::test]
async fn a_member_that_does_not_read_is_closed_with_4430_behind_what_it_had_room_for() {
    let mut stage = Stage::new(Config::new().outbound_queue(4096), GroupsConfig::new());
    let mut peer = stage.join_stalled("a").await;
    let _reader = stage.join_on("a", 1 << 20, &[]).await;
    let mut sent = 0;
    while stage.stats("a").await.members == 2 {
        publish(&stage.groups, "a", sent..sent + 1, 100).await;
        pause(1).await;
        sent += 1;
        assert!(sent < 100, "10 KB are in a queue of 4");
    }
    assert!(sent > 20, "closed after {sent} messages of 100 bytes");
    let stats = stage.stats("a").await;
    assert_eq!((stats.slow_consumers, stats.dropped, stats.publications), (1, 0, sent as u64));
    assert_eq!((stage.groups.stats().slow_consumers, stage.groups.stats().members), (1, 1));
    let (heard, code) = peer.heard_until_close().await;
    assert_eq!((of(&heard, "a"), code), ((0..sent - 1).collect(), 4430));
    let end = peer.end().await;
    assert_eq!((end.cause(), end.ended_by()), (Cause::SlowConsumer, EndedBy::Local));
}

#[tokio::test]
async fn the_counts_of_a_group_outlive_it() {
    let mut stage = Stage::new(Config::new().outbound_queue(4096), GroupsConfig::new());
    let mut peer = stage.join_stalled("a").await;
    publish(&stage.groups, "a", 0..60, 100).await;
    peer.heard_until_close().await;
    peer.end().await;
    assert!(stage.groups.is_empty());
    let stats = stage.groups.stats();
    assert_eq!((stats.slow_consumers, stats.groups, stats.members), (1, 0, 0));
    assert!(stats.publications > 20, "{stats:?}");
}

#[tokio::test]
async fn a_message_larger_than_the_queue_reaches_a_member_that_reads() {
    let mut stage = Stage::new(Config::new().outbound_queue(1024), GroupsConfig::new());
    let mut peer = stage.join("a").await;
    publish(&stage.groups, "a", 0..1, 50_000).await;
    assert_eq!(peer.heard().await, [("a".to_owned(), 0)]);
    publish(&stage.groups, "a", 1..3, 50_000).await;
    assert_eq!(peer.heard_until_close().await, (vec![("a".to_owned(), 1)], 4430), "it had 50 KB to read yet");
}

#[tokio::test]
async fn a_groups_bound_closes_before_the_connections_own() {
    let config = GroupsConfig::new().by_name(|name| (name == "a").then(|| GroupConfig::new().member_queue(1024)));
    let mut stage = Stage::new(Config::new().outbound_queue(1 << 20), config);
    let mut small = stage.join_stalled("a").await;
    let large = stage.join_stalled("b").await;
    publish(&stage.groups, "a", 0..20, 100).await;
    publish(&stage.groups, "b", 0..20, 100).await;
    pause(1).await;
    assert_eq!((stage.stats("a").await.members, stage.stats("b").await.members), (0, 1));
    let (heard, code) = small.heard_until_close().await;
    let came = of(&heard, "a").len();
    assert!(code == 4430 && (7..=9).contains(&came), "{code}, {came} messages of 100 bytes in 1,024");
    drop(large);
}

/// A member counts once, however many find it slow.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn every_slow_member_is_counted_once_whoever_publishes() {
    const MEMBERS: usize = 40;
    let mut stage = Stage::new(Config::new().outbound_queue(64 * 1024), GroupsConfig::new());
    let mut silent = Vec::new();
    for _ in 0..MEMBERS {
        silent.push(stage.join_stalled("a").await);
    }
    let publishers: Vec<_> = (0..4)
        .map(|_| {
            let group = stage.groups.group("a");
            tokio::spawn(async move {
                for number in 0..100 {
                    group.send_text(numbered("a", number, 2000)).await.unwrap();
                }
            })
        })
        .collect();
    for publisher in publishers {
        publisher.await.unwrap();
    }
    pause(20).await;
    assert_eq!(stage.groups.stats().slow_consumers, MEMBERS as u64);
}
