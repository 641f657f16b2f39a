//! Several masters.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use nexios::backplane::{Channel, Place};
use nexios::testing::backplane::{Happening, TestNode};
use nexios_engines::Setup;
use nexios_redis::Redis;

use crate::proxy::Proxy;
use crate::servers::{Cluster, KEEP, cli, comes, connected, count, wait_until};

#[tokio::test]
async fn channels_are_spread_over_the_masters_and_follow_their_slots() {
    let cluster = Cluster::start();
    // One member is enough to find the others.
    let node = TestNode::start(Redis::connect(cluster.0[1].url())).await.expect("a start");
    connected(&node, 1).await;
    let channels: Vec<_> = (0..30).map(|n| Channel::group(&n.to_string())).collect();
    node.subscribe(&channels).await;
    for engine in &cluster.0 {
        let here = cli(engine.port(), &["pubsub", "shardchannels"]).lines().count();
        assert!((1..30).contains(&here), "{here} of 30 channels");
    }
    let room = &channels[0];
    let places = node.publish(&[node.message(room, "1").kept(KEEP)]).await;
    node.wait_for(room, 1).await;

    let name = format!("nexios:{{{room}}}");
    let slot = cli(cluster.0[0].port(), &["cluster", "keyslot", &name]).parse().expect("a slot");
    let has = |index: usize| cli(cluster.0[index].port(), &["pubsub", "shardchannels", &name]) == name;
    let from = (0..3).find(|index| has(*index)).expect("a master");
    let to = (from + 1) % 3;
    cluster.move_slot(slot, from, to);
    node.wait_until("interrupted", |happened| {
        happened.iter().any(|h| matches!(h, Happening::Interrupted(channels) if channels.contains(room)))
    })
    .await;
    wait_until("the subscription", || has(to));
    let told = node.happened();
    let interrupted = told.iter().filter_map(|h| match h {
        Happening::Interrupted(channels) => Some(channels.len()),
        _ => None,
    });
    assert!(interrupted.sum::<usize>() < 30, "only what has moved has a gap");

    let message = node.message(room, "2").kept(KEEP);
    let mut answer = node.backplane().publish(std::slice::from_ref(&message)).await.remove(0);
    for _ in 0..100 {
        if answer.is_ok() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
        answer = node.backplane().publish(std::slice::from_ref(&message)).await.remove(0);
    }
    let _ = (answer.expect("a place"), places);
    node.wait_for(room, 2).await;
    assert_eq!(node.read(room, KEEP, None).await.messages.len(), 2, "the stream has moved with its slot");
}

#[tokio::test]
async fn while_a_slot_moves_nothing_of_it_is_lost() {
    let cluster = Cluster::start();
    let node = TestNode::start(Redis::connect(cluster.url())).await.expect("a start");
    connected(&node, 1).await;
    // Both have this slot.
    let [known, new] = ["93", "360"].map(Channel::group);
    let slot = 13653;
    let keyslot = |room: &Channel| cli(cluster.0[0].port(), &["cluster", "keyslot", &format!("nexios:{{{room}}}")]);
    assert_eq!([&known, &new].map(keyslot), ["13653", "13653"]);
    node.subscribe(&[known.clone(), new.clone()]).await;
    node.publish(&[node.message(&known, "1").kept(KEEP)]).await;
    let name = format!("nexios:{{{known}}}");
    let has = |index: usize| cli(cluster.0[index].port(), &["pubsub", "shardchannels", &name]) == name;
    let from = (0..3).find(|index| has(*index)).expect("a master");
    let to = (from + 1) % 3;

    cluster.begin_to_move(slot, from, to);
    let batch = [
        node.message(&known, "2").kept(KEEP),
        node.message(&new, "1").kept(KEEP),
        node.message(&known, "not kept"),
        node.message(&known, "3").kept(KEEP),
    ];
    let places = node.publish(&batch).await;
    let offsets: Vec<_> = places.iter().map(|place| place.map(|place| place.position.offset())).collect();
    assert_eq!(offsets, [Some(2), Some(1), None, Some(3)]);
    node.wait_for(&known, 4).await;
    let received = node.wait_for(&new, 1).await;
    assert_eq!(received[0].place, places[1]);
    assert_eq!(node.read(&known, KEEP, None).await.messages.len(), 3);
    assert_eq!(node.read(&new, KEEP, None).await.end, places[1].expect("a place").position);
    assert!(has(from), "the slot is still where it was");
}

#[tokio::test]
async fn members_that_disagree_about_a_slot_are_not_asked_in_a_loop() {
    let cluster = Cluster::start();
    let node = TestNode::start(Redis::connect(cluster.url())).await.expect("a start");
    connected(&node, 1).await;
    let room = Channel::group("93");
    node.subscribe(std::slice::from_ref(&room)).await;
    let name = format!("nexios:{{{room}}}");
    let has = |index: usize| cli(cluster.0[index].port(), &["pubsub", "shardchannels", &name]) == name;
    let from = (0..3).find(|index| has(*index)).expect("a master");
    let to = (from + 1) % 3;
    cluster.begin_to_move(13653, from, to);
    // Only the one that had the slot knows that it has it no more; the new one has not heard of it.
    let target = cli(cluster.0[to].port(), &["cluster", "myid"]);
    cli(cluster.0[from].port(), &["cluster", "setslot", "13653", "node", &target]);
    let is_told = |h: &Happening| matches!(h, Happening::Disconnected(reason) if reason.contains("slots have moved"));
    node.wait_until("the move", |happened| count(happened, is_told) > 0).await;
    tokio::time::sleep(Duration::from_secs(4)).await;
    let times = count(&node.happened(), is_told);
    assert!(times < 15, "{times} times in four seconds");
    cluster.end_move(13653, from, to);
    comes("the subscription", || has(to)).await;
}

#[tokio::test]
async fn a_master_that_is_frozen_does_not_keep_the_answers_of_the_others() {
    let cluster = Cluster::start();
    for engine in &cluster.0 {
        cli(engine.port(), &["config", "set", "cluster-require-full-coverage", "no"]);
    }
    let node = TestNode::start(Redis::connect(cluster.url())).await.expect("a start");
    connected(&node, 1).await;
    let rooms: Vec<_> = (0..30).map(|n| Channel::group(&n.to_string())).collect();
    let batch: Vec<_> = rooms.iter().map(|room| node.message(room, "hello").kept(KEEP)).collect();
    cluster.0[2].freeze();
    let began = Instant::now();
    let answers = node.backplane().publish(&batch).await;
    // A node waits for 2 s, on a machine that is busy with nothing else.
    assert!(began.elapsed() < Duration::from_secs(4), "after {:?}", began.elapsed());
    let taken = answers.iter().filter(|answer| answer.is_ok()).count();
    assert!((10..30).contains(&taken), "{taken} of 30");
    cluster.0[2].thaw();
}

#[tokio::test]
async fn a_cluster_that_gets_sharded_channels_has_all_subscriptions_again() {
    let engine = Setup::redis().arguments(["--cluster-enabled", "yes"]).start();
    let proxy = Proxy::to(engine.address()).await;
    proxy.make_old(true);
    let port = proxy.address.port().to_string();
    assert_eq!(cli(engine.port(), &["config", "set", "cluster-announce-port", &port]), "OK");
    assert_eq!(cli(engine.port(), &["cluster", "addslotsrange", "0", "16383"]), "OK");
    wait_until("the cluster", || cli(engine.port(), &["cluster", "info"]).contains("cluster_state:ok"));
    // With one connection, all channels have it before and after.
    let redis = Redis::connect(format!("redis://{}", proxy.address)).subscriber_connections(1);
    let node = TestNode::start(redis.keepalive(Duration::from_millis(500))).await.expect("a start");
    connected(&node, 1).await;
    let rooms: Vec<_> = ["a", "b", "c"].map(Channel::group).into();
    node.subscribe(&rooms).await;
    assert_eq!(cli(engine.port(), &["pubsub", "shardchannels"]), "", "it is taken for a Redis 6");

    proxy.make_old(false);
    proxy.switch(engine.address());
    let subscriptions = || cli(engine.port(), &["pubsub", "shardchannels"]).lines().count();
    comes("the rooms", || subscriptions() == 3).await;
    node.publish(&[node.message(&rooms[1], "hello")]).await;
    node.wait_until("a message", |_| node.received(&rooms[1]).len() == 1).await;
    let is_told = |h: &Happening| matches!(h, Happening::Interrupted(told) if told.contains(&rooms[1]));
    assert!(node.happened().iter().any(is_told), "messages may have been lost meanwhile");
}

#[tokio::test]
async fn one_master_that_is_away_does_not_stop_the_others() {
    let mut cluster = Cluster::start();
    for engine in &cluster.0 {
        cli(engine.port(), &["config", "set", "cluster-require-full-coverage", "no"]);
    }
    let redis = Redis::connect(cluster.url()).keepalive(Duration::from_millis(500));
    let node = TestNode::start(redis).await.expect("a start");
    connected(&node, 1).await;
    let channels: Vec<_> = (0..30).map(|n| Channel::group(&n.to_string())).collect();
    node.subscribe(&channels).await;
    cluster.0[2].kill();
    node.wait_until("disconnected", |happened| happened.iter().any(|h| matches!(h, Happening::Disconnected(_)))).await;
    let batch: Vec<_> = channels.iter().map(|channel| node.message(channel, "hello").kept(KEEP)).collect();
    let answers = node.backplane().publish(&batch).await;
    let taken = answers.iter().filter(|answer| answer.is_ok()).count();
    assert!((10..30).contains(&taken), "{taken} of 30");
    for (channel, answer) in channels.iter().zip(&answers) {
        if answer.is_ok() {
            node.wait_for(channel, 1).await;
        }
    }
    cluster.0[2].restart();
    connected(&node, 2).await;
}

#[tokio::test]
async fn a_replica_takes_over_in_a_cluster() {
    let mut cluster = Cluster::start();
    cluster.add_replica(0);
    let redis = Redis::connect(cluster.url()).keepalive(Duration::from_millis(500));
    let node = TestNode::start(redis).await.expect("a start");
    connected(&node, 1).await;
    let channels: Vec<_> = (0..30).map(|n| Channel::group(&n.to_string())).collect();
    node.subscribe(&channels).await;
    let batch = || channels.iter().map(|channel| node.message(channel, "hello").kept(KEEP)).collect::<Vec<_>>();
    let before = node.publish(&batch()).await;
    let here = cli(cluster.0[0].port(), &["dbsize"]);
    wait_until("the data", || cli(cluster.0[3].port(), &["dbsize"]) == here);
    cluster.0[0].kill();
    wait_until("the failover", || cli(cluster.0[3].port(), &["info", "replication"]).contains("role:master"));
    connected(&node, 2).await;
    let mut left = batch();
    let mut after = Vec::new();
    for _ in 0..100 {
        let answers = node.backplane().publish(&left).await;
        let mut answers = answers.into_iter();
        left.retain(|_| answers.next().and_then(|answer| answer.ok().map(|place| after.push(place))).is_none());
        if left.is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(left.is_empty(), "{} of 30 are not published", left.len());
    for channel in &channels {
        node.wait_for(channel, 2).await;
    }
    let epochs = |places: &[Option<Place>]| -> HashSet<u64> {
        places.iter().flatten().map(|place| place.position.epoch()).collect()
    };
    let others = epochs(&after).difference(&epochs(&before)).count();
    assert_eq!(others.to_string(), here, "the streams of the new master are others");
}
