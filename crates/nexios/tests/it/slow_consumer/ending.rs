//! The end of a connection for which messages wait.

use nexios::SlowConsumer::{Conflate, DropNewest, DropOldest};
use nexios::prelude::*;

use super::stage::{Order, Stage, assert_rising, of, publish};
use crate::serving::pause;

/// A member for which messages wait, some of them one by one.
async fn with_backlog(choice: SlowConsumer) -> (Stage, super::stage::Peer, u64) {
    let mut stage = Stage::of_groups(choice, 64 * 1024);
    let peer = stage.join("a").await;
    publish(&stage.groups, "a", 0..1000, 100).await;
    peer.sender.try_send(super::stage::numbered("sender", 0, 100)).unwrap_or_default();
    let dropped = stage.stats("a").await.dropped;
    assert!(dropped > 0 && stage.groups.stats().queued_bytes > 32 * 1024);
    (stage, peer, dropped)
}

#[tokio::test]
async fn a_close_frame_comes_behind_what_waits_whoever_closes() {
    for choice in [DropNewest, DropOldest, Conflate] {
        for (way, expected) in
            [("close", 4001), ("return", 1000), ("error", 1011), ("sender", 4002), ("shutdown", 1001)]
        {
            let (stage, mut peer, dropped) = with_backlog(choice).await;
            match way {
                "close" => peer.order(Order::Close(4001)),
                "return" => peer.order(Order::Return),
                "error" => peer.order(Order::Fail),
                "sender" => peer.sender.close(4002, "").await.unwrap(),
                _ => stage.handle.shutdown(),
            }
            pause(2).await;
            // For nobody any more; and a server that goes down does not even take it.
            if way == "shutdown" {
                assert!(stage.groups.group("a").send_text("too late").await.is_err());
            } else {
                publish(&stage.groups, "a", 1000..1010, 100).await;
            }
            let (heard, code) = peer.heard_until_close().await;
            let came = of(&heard, "a");
            assert_rising(&came);
            assert_eq!((came.len() as u64, code), (1000 - dropped, expected), "{choice:?}, {way}");
            assert!(came.last() < Some(&1000));
            crate::serving::wait_for_connections(&stage.handle, 0).await;
            assert_eq!(stage.groups.stats().queued_bytes, 0);
            assert!(stage.groups.is_empty());
            assert_eq!(stage.groups.stats().dropped, dropped, "what came after the end is not dropped");
        }
    }
}

#[tokio::test]
async fn a_lost_connection_frees_what_waited() {
    for choice in [DropNewest, DropOldest, Conflate] {
        let (stage, peer, _) = with_backlog(choice).await;
        let sender = peer.sender.clone();
        drop(peer);
        crate::serving::wait_for_connections(&stage.handle, 0).await;
        assert_eq!(stage.groups.stats().queued_bytes, 0);
        assert!(stage.groups.is_empty());
        assert!(sender.send_text("too late").await.is_err());
        assert!(sender.send_keyed("key", "too late").await.is_err());
    }
}

#[tokio::test]
async fn a_peer_that_closes_gets_what_waits_before_the_answer() {
    for choice in [DropNewest, DropOldest, Conflate] {
        let (stage, mut peer, dropped) = with_backlog(choice).await;
        // While it does not read it is not read either, beyond half of the queue.
        let mut heard = Vec::new();
        for _ in 0..100 {
            heard.push(super::stage::label(&peer.wire.frame().await.unwrap()));
        }
        peer.wire.send(crate::wire::close(4003, "")).await;
        let (rest, code) = peer.heard_until_close().await;
        heard.extend(rest);
        assert_eq!((of(&heard, "a").len() as u64, code), (1000 - dropped, 4003), "{choice:?}");
        crate::serving::wait_for_connections(&stage.handle, 0).await;
    }
}

/// The closing handshake has a deadline, whatever waits before the Close frame.
#[tokio::test(start_paused = true)]
async fn a_peer_that_never_reads_is_cut_at_the_deadline() {
    let (stage, peer, _) = with_backlog(DropOldest).await;
    peer.order(Order::Close(4001));
    let end = tokio::time::timeout(std::time::Duration::from_secs(10), peer.sender.closed()).await.unwrap();
    assert_eq!(end.cause(), Cause::Closed);
    pause(1).await;
    assert_eq!((stage.groups.stats().queued_bytes, stage.handle.connection_count()), (0, 0));
}

#[tokio::test]
async fn leaving_a_group_keeps_what_waits_from_it() {
    let (stage, mut peer, dropped) = with_backlog(DropOldest).await;
    peer.order(Order::Leave("a".to_owned()));
    while stage.groups.group("a").len().await.unwrap() > 0 {
        pause(1).await;
    }
    let heard = peer.heard().await;
    assert_eq!(of(&heard, "a").len() as u64, 1000 - dropped);
}
