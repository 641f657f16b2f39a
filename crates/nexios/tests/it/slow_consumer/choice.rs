//! Whose choice it is: the group's, or the connection's.

use nexios::SlowConsumer::{Close, Conflate, DropNewest, DropOldest};
use nexios::prelude::*;

use super::stage::{Stage, numbered, of};
use crate::serving::pause;

/// What a silent member of a group with these choices hears of 100 messages under one key.
async fn observed(group: Option<SlowConsumer>, connection: SlowConsumer) -> SlowConsumer {
    let each = group.map_or_else(GroupConfig::new, |choice| GroupConfig::new().slow_consumer(choice));
    let config = Config::new().outbound_queue(4096).slow_consumer(connection);
    let mut stage = Stage::new(config, GroupsConfig::new().each(each));
    let mut peer = stage.join_stalled("a").await;
    for number in 0..100 {
        stage.groups.group("a").send_keyed("key", numbered("a", number, 100)).await.unwrap();
    }
    pause(1).await;
    if stage.stats("a").await.members == 0 {
        assert_eq!(peer.heard_until_close().await.1, 4430);
        return Close;
    }
    let heard = peer.heard().await;
    match of(&heard, "a")[..] {
        [99] => Conflate,
        [0, .., last] if last < 99 => DropNewest,
        [first, .., 99] if first > 0 => DropOldest,
        ref other => panic!("{group:?}, {connection:?}: {other:?}"),
    }
}

#[tokio::test]
async fn the_groups_choice_stands_before_the_connections() {
    for connection in [Close, DropNewest, DropOldest, Conflate] {
        assert_eq!(observed(None, connection).await, connection);
        for group in [Close, DropNewest, DropOldest, Conflate] {
            assert_eq!(observed(Some(group), connection).await, group, "of a connection with {connection:?}");
        }
    }
}

#[tokio::test]
async fn a_broadcast_and_one_to_several_groups_go_by_the_same_choices() {
    let config =
        GroupsConfig::new().by_name(|name| (name == "a").then(|| GroupConfig::new().slow_consumer(DropOldest)));
    let config_of_connections = Config::new().outbound_queue(4096).slow_consumer(DropNewest);
    let mut stage = Stage::new(config_of_connections, config);
    let mut peer = stage.join_stalled("a,b").await;
    for number in 0..50 {
        stage.groups.broadcast(numbered("all", number, 100)).await.unwrap();
    }
    let heard = peer.heard().await;
    let all = of(&heard, "all");
    assert!((10..50).contains(&all.len()) && all.iter().copied().eq(0..all.len()), "the newest are dropped: {all:?}");
    peer.stall().await;
    for number in 0..50 {
        stage.groups.send_to(["a"], numbered("a", number, 100)).await.unwrap();
    }
    let heard = peer.heard().await;
    let a = of(&heard, "a");
    assert!((10..50).contains(&a.len()) && a.iter().copied().eq(50 - a.len()..50), "the oldest are dropped: {a:?}");
    assert_eq!(stage.stats("a").await.dropped, 50 - a.len() as u64);
}
