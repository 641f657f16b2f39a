//! What came first arrives; what finds no room does not.

use nexios::SlowConsumer::DropNewest;
use nexios::TrySendError;
use nexios::prelude::*;

use super::stage::{Stage, numbered, of, publish};

#[tokio::test]
async fn the_first_messages_arrive_then_those_that_are_sent_once_it_reads_again() {
    let mut stage = Stage::of_groups(DropNewest, 4096);
    let mut peer = stage.join_stalled("a").await;
    publish(&stage.groups, "a", 0..200, 100).await;
    let heard = peer.heard().await;
    let first = of(&heard, "a");
    assert!((10..100).contains(&first.len()), "{} messages of 100 bytes", first.len());
    assert!(first.iter().copied().eq(0..first.len()), "{first:?}");
    let stats = stage.stats("a").await;
    assert_eq!((stats.publications, stats.dropped, stats.slow_consumers), (200, 200 - first.len() as u64, 0));
    for number in 200..210 {
        publish(&stage.groups, "a", number..number + 1, 100).await;
        let heard = peer.heard().await;
        assert_eq!(heard, [("a".to_owned(), number)]);
    }
    assert_eq!(stage.stats("a").await.dropped, stats.dropped);
}

#[tokio::test]
async fn a_small_message_takes_the_room_that_a_large_one_had_not() {
    let mut stage = Stage::of_groups(DropNewest, 4096);
    let mut peer = stage.join_stalled("a").await;
    publish(&stage.groups, "a", 0..1, 3000).await;
    publish(&stage.groups, "a", 1..2, 3000).await;
    publish(&stage.groups, "a", 2..3, 100).await;
    assert_eq!(of(&peer.heard().await, "a"), [0, 2]);
    assert_eq!(stage.stats("a").await.dropped, 1);
}

#[tokio::test]
async fn a_message_larger_than_the_bound_reaches_whom_nothing_waits_for() {
    let mut stage = Stage::of_groups(DropNewest, 4096);
    let mut peer = stage.join("a").await;
    publish(&stage.groups, "a", 0..3, 50_000).await;
    assert_eq!(of(&peer.heard().await, "a"), [0]);
    publish(&stage.groups, "a", 3..4, 50_000).await;
    assert_eq!(of(&peer.heard().await, "a"), [3]);
    assert_eq!(stage.stats("a").await.dropped, 2);
}

#[tokio::test]
async fn a_senders_message_that_finds_no_room_comes_back() {
    let config = Config::new().outbound_queue(4096).slow_consumer(DropNewest);
    let mut stage = Stage::new(config, GroupsConfig::new());
    let mut peer = stage.join_stalled("").await;
    let mut taken = Vec::new();
    for number in 0..100 {
        let text = numbered("sender", number, 100);
        match peer.sender.send_text(text.clone()).await {
            Ok(()) => taken.push(number),
            Err(Error::TrySend(TrySendError::Full(message))) => assert_eq!(message, Message::from(text)),
            other => panic!("{other:?}"),
        }
    }
    assert!((10..100).contains(&taken.len()), "{taken:?}");
    assert_eq!(of(&peer.heard().await, "sender"), taken);
    peer.sender.send_json(&1).await.unwrap();
    assert_eq!(peer.wire.text().await, "1");
}

#[tokio::test]
async fn try_send_drops_nothing_whatever_the_choice() {
    for choice in [SlowConsumer::Close, DropNewest, SlowConsumer::DropOldest, SlowConsumer::Conflate] {
        let mut stage = Stage::new(Config::new().outbound_queue(4096).slow_consumer(choice), GroupsConfig::new());
        let mut peer = stage.join_stalled("").await;
        let taken: Vec<_> =
            (0..100).filter(|number| peer.sender.try_send(numbered("sender", *number, 100)).is_ok()).collect();
        let refused = peer.sender.try_send(numbered("sender", 100, 100)).unwrap_err();
        assert!(matches!(refused, TrySendError::Full(_)), "{choice:?}: {refused}");
        assert!((10..100).contains(&taken.len()), "{choice:?}: {taken:?}");
        assert_eq!(of(&peer.heard().await, "sender"), taken, "{choice:?}");
    }
}
