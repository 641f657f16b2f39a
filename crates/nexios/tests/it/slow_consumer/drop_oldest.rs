//! What is newest arrives; what is old gives way.

use nexios::SlowConsumer::DropOldest;
use nexios::prelude::*;

use super::stage::{Stage, assert_rising, numbered, of, publish};

#[tokio::test]
async fn what_arrives_is_in_order_and_ends_with_the_newest() {
    let mut stage = Stage::of_groups(DropOldest, 4096);
    let mut peer = stage.join("a").await;
    for round in 0..4 {
        publish(&stage.groups, "a", round * 200..(round + 1) * 200, 100).await;
        let dropped_before = stage.stats("a").await.dropped;
        let heard = peer.heard().await;
        let came = of(&heard, "a");
        assert_rising(&came);
        assert!((10..100).contains(&came.len()), "{} messages of 100 bytes", came.len());
        assert!(came.ends_with(&[(round + 1) * 200 - 2, (round + 1) * 200 - 1]), "{came:?}");
        assert_eq!(stage.stats("a").await.dropped, dropped_before, "reading drops nothing");
    }
    assert_eq!(stage.stats("a").await.slow_consumers, 0);
}

#[tokio::test]
async fn dropped_is_what_was_sent_and_did_not_arrive() {
    let mut stage = Stage::of_groups(DropOldest, 4096);
    let mut peer = stage.join("a").await;
    let mut came = 0;
    for round in 0..20 {
        publish(&stage.groups, "a", round * 37..(round + 1) * 37, 30 + 50 * round).await;
        came += peer.heard().await.len() as u64;
        let stats = stage.stats("a").await;
        assert_eq!((stats.publications, stats.dropped), (37 * (round as u64 + 1), 37 * (round as u64 + 1) - came));
    }
}

#[tokio::test]
async fn a_message_that_can_find_no_room_drops_no_others() {
    let mut stage = Stage::of_groups(DropOldest, 4096);
    let mut peer = stage.join_stalled("a").await;
    publish(&stage.groups, "a", 0..5, 100).await;
    publish(&stage.groups, "a", 5..6, 50_000).await;
    publish(&stage.groups, "a", 6..7, 100).await;
    assert_eq!(of(&peer.heard().await, "a"), [0, 1, 2, 3, 4, 6]);
    assert_eq!(stage.stats("a").await.dropped, 1);
    publish(&stage.groups, "a", 7..8, 50_000).await;
    assert_eq!(of(&peer.heard().await, "a"), [7], "nothing waits for it");
}

#[tokio::test]
async fn a_large_message_takes_the_place_of_several() {
    let mut stage = Stage::of_groups(DropOldest, 4096);
    let mut peer = stage.join_stalled("a").await;
    publish(&stage.groups, "a", 0..10, 100).await;
    publish(&stage.groups, "a", 10..11, 3000).await;
    let heard = peer.heard().await;
    let came = of(&heard, "a");
    assert!(came.len() >= 2 && came.iter().copied().eq(11 - came.len()..11), "{came:?}");
}

#[tokio::test]
async fn a_senders_messages_give_way_to_its_newer_ones() {
    let mut stage = Stage::new(Config::new().outbound_queue(4096).slow_consumer(DropOldest), GroupsConfig::new());
    let mut peer = stage.join_stalled("").await;
    for number in 0..100 {
        peer.sender.send_text(numbered("sender", number, 100)).await.unwrap();
    }
    let heard = peer.heard().await;
    let came = of(&heard, "sender");
    assert!((10..50).contains(&came.len()) && came.iter().copied().eq(100 - came.len()..100), "{came:?}");
}
