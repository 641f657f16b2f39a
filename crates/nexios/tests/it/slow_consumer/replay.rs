//! Joining with a history while something waits: the queue's room is what counts.

use nexios::SlowConsumer::DropOldest;
use nexios::prelude::*;

use super::stage::{Peer, Stage, of, publish};

/// Of the group `kept`, which has a history, 100 small messages were missed by a member of a group that drops.
async fn stage() -> (Stage, Peer, Position) {
    let config = GroupsConfig::new().by_name(|name| match name {
        "kept" => Some(GroupConfig::new().history(History::new())),
        _ => Some(GroupConfig::new().slow_consumer(DropOldest)),
    });
    let mut stage = Stage::new(Config::new().outbound_queue(8192), config);
    publish(&stage.groups, "kept", 0..1, 10).await;
    let position = stage.groups.group("kept").history(None, 0).await.unwrap().position;
    publish(&stage.groups, "kept", 1..101, 10).await;
    let peer = stage.join_stalled("drop").await;
    (stage, peer, position)
}

/// It is sent what it missed whole, or nothing of it; and it is never closed for that.
async fn assert_all_or_nothing(stage: &Stage, peer: &mut Peer, joined: nexios::Joined) {
    let heard = peer.heard().await;
    let came = of(&heard, "kept");
    assert_eq!((came.len(), joined.reason.is_none()), (joined.replayed, joined.recovered));
    assert!(came.is_empty() || came.iter().copied().eq(101 - came.len()..101), "{came:?}");
    assert_eq!((stage.stats("kept").await.slow_consumers, stage.groups.group("kept").len().await.unwrap()), (0, 1));
    publish(&stage.groups, "kept", 101..103, 10).await;
    assert_eq!(of(&peer.heard().await, "kept"), [101, 102]);
}

#[tokio::test]
async fn what_was_missed_comes_behind_what_waits() {
    let (stage, mut peer, position) = stage().await;
    let joined = peer.join("kept", Join::new().since(position)).await;
    assert_eq!((joined.recovered, joined.replayed), (true, 100));
    assert_all_or_nothing(&stage, &mut peer, joined).await;
}

#[tokio::test]
async fn what_was_missed_comes_whole_or_not_at_all_where_messages_wait_one_by_one() {
    let (stage, mut peer, position) = stage().await;
    publish(&stage.groups, "drop", 0..10, 100).await;
    let joined = peer.join("kept", Join::new().since(position)).await;
    assert_all_or_nothing(&stage, &mut peer, joined).await;
}

#[tokio::test]
async fn the_newest_fit_where_messages_wait_one_by_one() {
    let (stage, mut peer, _) = stage().await;
    publish(&stage.groups, "drop", 0..10, 100).await;
    let joined = peer.join("kept", Join::new().newest(100)).await;
    assert!(joined.recovered && joined.replayed > 10, "{joined:?}");
    assert_all_or_nothing(&stage, &mut peer, joined).await;
}

#[tokio::test]
async fn what_was_missed_is_not_dropped_for_what_is_live() {
    let config = GroupConfig::new().slow_consumer(DropOldest).history(History::new());
    let mut stage = Stage::new(Config::new().outbound_queue(64 * 1024), GroupsConfig::new().each(config));
    publish(&stage.groups, "kept", 0..1, 100).await;
    let position = stage.groups.group("kept").history(None, 0).await.unwrap().position;
    publish(&stage.groups, "kept", 1..51, 100).await;
    let mut peer = stage.join_stalled("other").await;
    publish(&stage.groups, "other", 0..1, 100).await;
    let joined = peer.join("kept", Join::new().since(position)).await;
    assert_eq!((joined.recovered, joined.replayed), (true, 50));
    publish(&stage.groups, "kept", 51..2000, 100).await;
    let heard = peer.heard().await;
    let came = of(&heard, "kept");
    assert!(came.starts_with(&(1..51).collect::<Vec<_>>()) && came.ends_with(&[1998, 1999]), "{came:?}");
    assert_eq!(stage.stats("kept").await.dropped, 1999 - came.len() as u64);
}
