//! Of what waits under one key, only the newest arrives.

use nexios::SlowConsumer::{Conflate, DropOldest};
use nexios::prelude::*;

use super::stage::{Stage, assert_rising, numbered, of, publish};

#[tokio::test]
async fn of_each_key_the_newest_arrives_in_the_order_of_these() {
    let mut stage = Stage::of_groups(Conflate, 64 * 1024);
    let mut peer = stage.join_stalled("a").await;
    let group = stage.groups.group("a");
    for number in 0..100 {
        let key = ["x", "y", "z", "", "a key with spaces and ü"][number % 5];
        if key == "y" && number > 50 {
            continue;
        }
        group.send_keyed(key, numbered("a", number, 100)).await.unwrap();
    }
    let waiting = stage.groups.stats().queued_bytes;
    assert!(waiting < 2500, "{waiting} bytes for 5 keys");
    assert_eq!(of(&peer.heard().await, "a"), [46, 95, 97, 98, 99]);
    let stats = stage.stats("a").await;
    assert_eq!((stats.publications, stats.dropped), (90, 85));
}

#[tokio::test]
async fn a_member_that_reads_gets_every_message_of_a_key() {
    let mut stage = Stage::of_groups(Conflate, 4096);
    let mut peer = stage.join("a").await;
    for number in 0..50 {
        stage.groups.group("a").send_keyed("key", numbered("a", number, 100)).await.unwrap();
        assert_eq!(peer.heard().await, [("a".to_owned(), number)]);
    }
    assert_eq!(stage.stats("a").await.dropped, 0);
}

#[tokio::test]
async fn a_key_of_one_group_is_not_that_of_another_nor_of_a_sender() {
    let config = Config::new().outbound_queue(64 * 1024).slow_consumer(Conflate);
    let mut stage = Stage::new(config, GroupsConfig::new());
    let mut peer = stage.join_stalled("a,b").await;
    for number in 0..10 {
        for group in ["a", "b"] {
            stage.groups.group(group).send_keyed("key", numbered(group, number, 100)).await.unwrap();
        }
        peer.sender.send_keyed("key", numbered("sender", number, 100)).await.unwrap();
    }
    let heard = peer.heard().await;
    let expected = [("stall", 0), ("a", 9), ("b", 9), ("sender", 9)].map(|(from, number)| (from.to_owned(), number));
    assert_eq!(heard, expected);
    assert_eq!((stage.stats("a").await.dropped, stage.stats("b").await.dropped), (9, 9));
}

#[tokio::test]
async fn without_a_key_and_beyond_the_bound_the_oldest_give_way() {
    let mut stage = Stage::of_groups(Conflate, 4096);
    let mut peer = stage.join_stalled("a").await;
    let group = stage.groups.group("a");
    publish(&stage.groups, "a", 0..3, 100).await;
    for number in 3..40 {
        // Each under a key of its own.
        group.send_keyed(number.to_string(), numbered("a", number, 100)).await.unwrap();
    }
    publish(&stage.groups, "a", 40..43, 100).await;
    let heard = peer.heard().await;
    let came = of(&heard, "a");
    assert!((10..40).contains(&came.len()) && came.iter().copied().eq(43 - came.len()..43), "{came:?}");
    assert_eq!(stage.stats("a").await.dropped, 43 - came.len() as u64);
}

#[tokio::test]
async fn messages_without_a_key_are_not_conflated() {
    let mut stage = Stage::of_groups(Conflate, 64 * 1024);
    let mut peer = stage.join_stalled("a").await;
    publish(&stage.groups, "a", 0..20, 100).await;
    assert_eq!(of(&peer.heard().await, "a"), (0..20).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_key_without_conflation_has_no_meaning() {
    let mut stage = Stage::of_groups(DropOldest, 64 * 1024);
    let mut peer = stage.join_stalled("a").await;
    for number in 0..20 {
        stage.groups.group("a").send_keyed("key", numbered("a", number, 100)).await.unwrap();
        peer.sender.send_keyed("key", numbered("sender", number, 100)).await.unwrap();
    }
    let heard = peer.heard().await;
    assert_eq!(of(&heard, "a"), (0..20).collect::<Vec<_>>());
    assert_eq!(of(&heard, "sender"), (0..20).collect::<Vec<_>>());
}

#[tokio::test]
async fn json_is_conflated_as_well() {
    let mut stage = Stage::of_groups(Conflate, 64 * 1024);
    let mut peer = stage.join_stalled("a").await;
    for price in 0..10 {
        stage.groups.group("a").send_json_keyed("price:EURUSD", &price).await.unwrap();
    }
    let frames = peer.read_all().await;
    assert_eq!(frames.len(), 2, "the one half written, and the newest");
    assert_eq!(frames[1].payload, b"9");
}

#[tokio::test]
async fn a_key_goes_on_after_its_message_was_taken_by_the_socket() {
    let mut stage = Stage::of_groups(Conflate, 64 * 1024);
    let mut peer = stage.join("a").await;
    let group = stage.groups.group("a");
    let mut came = Vec::new();
    for round in 0..10 {
        for number in round * 10..(round + 1) * 10 {
            group.send_keyed("key", numbered("a", number, 20_000)).await.unwrap();
        }
        let heard = peer.heard().await;
        came.extend(of(&heard, "a"));
        assert_eq!(came.last(), Some(&(round * 10 + 9)));
    }
    assert_rising(&came);
    assert_eq!(stage.stats("a").await.dropped, 100 - came.len() as u64);
}
