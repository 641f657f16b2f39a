//! A replica becomes the master.

use std::time::{Duration, Instant};

use nexios::backplane::{BackplaneError, Channel};
use nexios::groups::NotRecovered;
use nexios::testing::backplane::{Happening, TestNode};
use nexios_engines::{Engine, Setup};
use nexios_redis::Redis;

use crate::proxy::Proxy;
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
    node.subscribe(std::slice::from_ref(&room)).await;
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

#[tokio::test]
async fn after_a_failover_that_was_asked_for_all_nodes_are_soon_on_the_new_master() {
    let master = Engine::redis();
    let replica = Setup::redis().arguments(["--replicaof", "127.0.0.1", &master.port().to_string()]).start();
    wait_until("the replica", || cli(replica.port(), &["info", "replication"]).contains("master_link_status:up"));
    let sentinel = Sentinel::watch(&master);
    let port = replica.port().to_string();
    wait_until("the sentinel", || cli(sentinel.port, &["sentinel", "replicas", "main"]).contains(&port));
    let room = Channel::group("room");
    let mut nodes = Vec::new();
    for _ in 0..2 {
        let node = TestNode::start(Redis::connect(sentinel.url())).await.expect("a start");
        connected(&node, 1).await;
        node.subscribe(std::slice::from_ref(&room)).await;
        nodes.push(node);
    }
    // It takes a moment until the sentinel has a replica that it likes.
    wait_until("the failover", || cli(sentinel.port, &["sentinel", "failover", "main"]) == "OK");
    wait_until("the failover", || sentinel.master().contains(&port));
    let began = Instant::now();
    for node in &nodes {
        connected(node, 2).await;
    }
    // The old master, which still serves, is told after eight seconds or more.
    assert!(began.elapsed() < Duration::from_secs(7), "after {:?}", began.elapsed());
    assert_eq!(cli(replica.port(), &["pubsub", "numsub", "nexios:{g-room}"]), "nexios:{g-room}\n2");
}

#[tokio::test]
async fn a_new_master_that_lacks_the_end_gives_no_place_twice() {
    let master = Engine::redis();
    let replica = Setup::redis().arguments(["--replicaof", "127.0.0.1", &master.port().to_string()]).start();
    wait_until("the replica", || cli(replica.port(), &["info", "replication"]).contains("master_link_status:up"));
    let proxy = Proxy::to(master.address()).await;
    let nodes = [start(&proxy).await, start(&proxy).await];
    let room = Channel::group("room");
    for node in &nodes {
        node.subscribe(std::slice::from_ref(&room)).await;
    }
    nodes[0].publish(&[nodes[0].message(&room, "1").kept(KEEP)]).await;
    wait_until("the replica", || cli(replica.port(), &["exists", "nexios:{g-room}"]) == "1");
    cli(replica.port(), &["replicaof", "no", "one"]);
    let lost = nodes[0].publish(&[nodes[0].message(&room, "lost").kept(KEEP)]).await[0].expect("a place");
    for node in &nodes {
        node.wait_for(&room, 2).await;
    }
    proxy.switch(replica.address());
    for node in &nodes {
        connected(node, 2).await;
    }
    let message = nodes[1].message(&room, "2").kept(KEEP);
    let place = nodes[1].publish(&[message]).await[0].expect("a place");
    assert_eq!(place.position.offset(), lost.position.offset(), "the new master does not know the other");
    assert_ne!(place.position.epoch(), lost.position.epoch(), "so it is another stream");
    let page = nodes[0].read(&room, KEEP, Some(lost.position)).await;
    assert_eq!(page.missing, Some(NotRecovered::EpochChanged));
    assert_eq!(page.end, place.position, "all nodes have the same one");
    for node in &nodes {
        let received = node.wait_for(&room, 3).await;
        assert_eq!(received[2].place, Some(place));
    }
}

#[tokio::test]
async fn a_replica_is_not_taken_for_the_master() {
    let master = Engine::redis();
    let replica = Setup::redis().arguments(["--replicaof", "127.0.0.1", &master.port().to_string()]).start();
    let node = TestNode::start(Redis::connect(replica.url())).await.expect("a start");
    let is_told = |h: &Happening| matches!(h, Happening::Disconnected(reason) if reason.contains("is a replica"));
    node.wait_until("disconnected", |happened| happened.iter().any(is_told)).await;
    cli(replica.port(), &["replicaof", "no", "one"]);
    connected(&node, 1).await;
    // And one that was the master notices that it is not any more.
    cli(replica.port(), &["replicaof", "127.0.0.1", &master.port().to_string()]);
    let room = Channel::group("room");
    wait_until("the replica", || cli(replica.port(), &["info", "replication"]).contains("role:slave"));
    let answer = node.backplane().publish(&[node.message(&room, "x").kept(KEEP)]).await.remove(0);
    assert!(matches!(answer, Err(BackplaneError::Unavailable(_))), "{answer:?}");
}

#[tokio::test]
async fn a_master_that_was_demoted_gets_no_messages_that_reach_nobody() {
    let master = Engine::redis();
    let replica = Setup::redis().arguments(["--replicaof", "127.0.0.1", &master.port().to_string()]).start();
    wait_until("the replica", || cli(replica.port(), &["info", "replication"]).contains("master_link_status:up"));
    let proxy = Proxy::to(master.address()).await;
    let (one, two) = (start(&proxy).await, start(&proxy).await);
    let room = Channel::group("room");
    two.subscribe(std::slice::from_ref(&room)).await;
    // Connections stay open, as they do when an operator does this by hand.
    proxy.redirect(replica.address());
    cli(replica.port(), &["replicaof", "no", "one"]);
    cli(master.port(), &["replicaof", "127.0.0.1", &replica.port().to_string()]);
    for node in [&one, &two] {
        connected(node, 2).await;
    }
    let deadline = Instant::now() + Duration::from_secs(15);
    while two.received(&room).is_empty() {
        assert!(Instant::now() < deadline, "what is published reaches nobody");
        // An error is no fault here: whoever has it tries again.
        let _ = one.backplane().publish(&[one.message(&room, "hello")]).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn start(proxy: &Proxy) -> TestNode {
    let redis = Redis::connect(format!("redis://{}", proxy.address)).keepalive(Duration::from_millis(500));
    let node = TestNode::start(redis).await.expect("a start");
    connected(&node, 1).await;
    node
}

#[tokio::test]
async fn sentinels_that_are_away_do_not_matter_while_the_master_is_there() {
    let master = Engine::redis();
    let sentinel = Sentinel::watch(&master);
    // One that has no subscriptions would count as a normal one below.
    let redis = Redis::connect(sentinel.url()).subscriber_connections(1);
    let node = TestNode::start(redis).await.expect("a start");
    connected(&node, 1).await;
    let room = Channel::group("room");
    node.subscribe(std::slice::from_ref(&room)).await;
    drop(sentinel);
    cli(master.port(), &["client", "kill", "type", "normal"]);
    // What breaks is seen when the runtime has a moment for it.
    tokio::time::sleep(Duration::from_millis(100)).await;
    node.publish(&[node.message(&room, "hello")]).await;
    node.wait_for(&room, 1).await;
    assert!(!node.happened().iter().any(|h| matches!(h, Happening::Disconnected(_))));
}
