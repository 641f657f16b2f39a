//! What is dropped of one sender is none of another's business, also in the same connection's queue.

use nexios::SlowConsumer::{Close, Conflate, DropNewest, DropOldest};
use nexios::prelude::*;

use super::stage::{Order, Peer, Stage, assert_rising, numbered, of, publish};
use crate::serving::pause;

/// The groups `drop` and `keep`; a queue of 64 KiB that `drop` may fill to a quarter.
fn stage(choice: SlowConsumer) -> Stage {
    let config = GroupsConfig::new().by_name(move |name| {
        let of_drop = GroupConfig::new().slow_consumer(choice).member_queue(16 * 1024);
        Some(if name == "drop" { of_drop } else { GroupConfig::new().slow_consumer(Close) })
    });
    Stage::new(Config::new().outbound_queue(64 * 1024), config)
}

async fn flood(stage: &Stage, round: usize) {
    let group = stage.groups.group("drop");
    for number in round * 100..(round + 1) * 100 {
        group.send_keyed((number % 3).to_string(), numbered("drop", number, 200)).await.unwrap();
    }
}

#[tokio::test]
async fn what_another_group_or_a_sender_sends_arrives_whole_and_in_order() {
    for choice in [DropNewest, DropOldest, Conflate] {
        let mut stage = stage(choice);
        let mut peer = stage.join_stalled("drop,keep").await;
        let mut order = Vec::new();
        for round in 0..20 {
            flood(&stage, round).await;
            publish(&stage.groups, "keep", round..round + 1, 300).await;
            peer.sender.send_text(numbered("sender", round, 300)).await.unwrap();
            order.extend([("keep".to_owned(), round), ("sender".to_owned(), round)]);
        }
        flood(&stage, 20).await;
        let heard = peer.heard().await;
        let kept: Vec<_> = heard.iter().filter(|(from, _)| from != "drop" && from != "stall").cloned().collect();
        assert_eq!(kept, order, "{choice:?}");
        let of_drop = of(&heard, "drop");
        assert_rising(&of_drop);
        let stats = stage.stats("drop").await;
        assert_eq!(stats.dropped, 2100 - of_drop.len() as u64, "{choice:?}");
        assert_eq!(stage.stats("keep").await.dropped, 0);
    }
}

#[tokio::test]
async fn two_groups_that_drop_do_not_drop_each_others() {
    for choice in [DropOldest, Conflate] {
        let mut stage = Stage::of_groups(choice, 16 * 1024);
        let mut peer = stage.join_stalled("a,b").await;
        publish(&stage.groups, "b", 0..5, 100).await;
        publish(&stage.groups, "a", 0..500, 100).await;
        let heard = peer.heard().await;
        assert_eq!(of(&heard, "b"), [0, 1, 2, 3, 4], "{choice:?}");
        assert_eq!(of(&heard, "a").last(), Some(&499), "{choice:?}");
        assert_eq!((stage.stats("b").await.dropped, stage.stats("a").await.dropped > 400), (0, true));
    }
}

#[tokio::test]
async fn what_the_handler_sends_is_not_lost_and_in_order() {
    for choice in [DropNewest, DropOldest, Conflate] {
        let mut stage = stage(choice);
        let mut peer = stage.join_stalled("drop").await;
        let mut heard = Vec::new();
        for round in 0..10 {
            flood(&stage, round).await;
            let own = (round * 20..(round + 1) * 20).map(|number| numbered("own", number, 2000).into()).collect();
            // It waits for room, again and again, while others publish.
            peer.order(Order::Say(own));
            pause(1).await;
            flood(&stage, round + 10).await;
            if round % 3 == 2 {
                heard.extend(read_a_bit(&mut peer).await);
            }
        }
        while of(&heard, "own").len() < 200 {
            heard.extend(peer.heard().await);
        }
        assert_eq!(of(&heard, "own"), (0..200).collect::<Vec<_>>(), "{choice:?}");
    }
}

/// What may be dropped is no reason to wait for somebody who sends what must arrive.
#[tokio::test]
async fn a_handler_does_not_wait_for_what_may_be_dropped() {
    for choice in [DropOldest, Conflate] {
        let mut stage = Stage::of_groups(choice, 8192);
        let mut peer = stage.join_stalled("a,b").await;
        publish(&stage.groups, "a", 0..100, 100).await;
        assert!(stage.groups.stats().queued_bytes > 7000);
        peer.order(Order::Say(vec![numbered("own", 0, 100).into()]));
        peer.order(Order::Leave("b".to_owned()));
        pause(5).await;
        assert!(stage.groups.group("b").is_empty().await.unwrap(), "{choice:?}: the handler waits");
        peer.sender.try_send(numbered("sender", 0, 100)).unwrap();
        let heard = peer.heard().await;
        assert_eq!((of(&heard, "own"), of(&heard, "sender")), (vec![0], vec![0]));
    }
}

async fn read_a_bit(peer: &mut Peer) -> Vec<(String, usize)> {
    let mut heard = Vec::new();
    for _ in 0..30 {
        heard.push(super::stage::label(&peer.wire.frame().await.unwrap()));
    }
    heard
}

#[tokio::test]
async fn a_group_that_drops_leaves_the_room_of_those_that_do_not_alone() {
    let mut stage = stage(DropOldest);
    let mut peer = stage.join_stalled("drop,keep").await;
    flood(&stage, 0).await;
    let held = stage.groups.stats().queued_bytes;
    assert!(held <= 16 * 1024, "{held} bytes of a group that may take 16 KiB");
    publish(&stage.groups, "keep", 0..30, 1000).await;
    // Now the queue is fuller than the group's own bound: there is no room for it, and none is made.
    flood(&stage, 1).await;
    assert_eq!(stage.stats("keep").await.members, 1);
    let heard = peer.heard().await;
    assert_eq!(of(&heard, "keep"), (0..30).collect::<Vec<_>>());
    publish(&stage.groups, "drop", 200..201, 100).await;
    assert_eq!(of(&peer.heard().await, "drop"), [200]);
}
