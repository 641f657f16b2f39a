//! A replica becomes the master.

use std::time::{Duration, Instant};

use nexios::backplane::Channel;
use nexios::groups::NotRecovered;
use nexios::testing::backplane::{Happening, TestNode};
use nexios_engines::{Engine, Setup};
use nexios_redis::Redis;

use crate::servers::{KEEP, Sentinel, cli, connected, wait_until};

#[tokio::test]
async fn after_a_failover_streams_begin_again() {
    let mut master = Engine::redis();
    let replica = Setup::redis().arguments(["--replicaof", "127.0.0.1", &master.port().to_string()]).start();
    wait_until("the replica", || cli(replica.port(), &["info", "replication"]).contains("master_link_status:up"));
    let sentinel = Sentinel::watch(&master);
    let port = replica.port().to_string();
    wait_until("the sentinel", || cli(sentinel.port, &["sentinel", "replicas", "main"]).contains(&port));

    let redis = Redis::connect(sentinel.url()).keepalive(Duration::from_millis(500));
    let node = TestNode::start(redis).await.expect("a start");
    connected(&node, 1).await;
    let room = Channel::group("room");
    node.subscribe(&[room.clone()]).await;
    node.publish(&[node.message(&room, "1").kept(KEEP)]).await;
    let before = node.read(&room, KEEP, None).await;
    wait_until("the replica", || cli(replica.port(), &["exists", "nexios:{g-room}"]) == "1");

    master.kill();
    wait_until("the failover", || sentinel.master().contains(&port));
    connected(&node, 2).await;
    assert!(
        node.happened().iter().any(|h| matches!(h, Happening::Interrupted(channels) if *channels == [room.clone()]))
    );
    let message = node.message(&room, "2").kept(KEEP);
    let deadline = Instant::now() + Duration::from_secs(15);
    while let Err(error) = node.backplane().publish(std::slice::from_ref(&message)).await.remove(0) {
        assert!(Instant::now() < deadline, "{error}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    node.wait_for(&room, 2).await;
    let after = node.read(&room, KEEP, Some(before.end)).await;
    assert_eq!(after.missing, Some(NotRecovered::EpochChanged), "the new master may lack something");
    assert_eq!(after.messages.len(), 2, "what it has is kept");
    assert_eq!(node.read(&room, KEEP, Some(after.end)).await.missing, None, "once");
}
