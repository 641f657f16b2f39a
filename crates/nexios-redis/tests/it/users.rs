//! Users who may do some things only.

use nexios::backplane::{BackplaneError, Channel};
use nexios::testing::backplane::{Happening, TestNode};
use nexios_engines::Engine;
use nexios_redis::Redis;

use crate::servers::{Cluster, KEEP, cli, connected, count};

/// As they stand in the guide.
fn rules_of_the_guide() -> Vec<&'static str> {
    let guide = include_str!("../../../../docs/nodes.md");
    let line = guide.lines().find_map(|line| line.strip_prefix("user app on >secret "));
    line.expect("a line for Redis").split(' ').collect()
}

/// As they stand in this crate's README.
fn rules_of_the_readme() -> Vec<&'static str> {
    let readme = include_str!("../../README.md");
    let start = readme.find("~nexios:* &nexios:*").expect("rules");
    readme[start..].split('`').next().expect("their end").split(' ').collect()
}

fn make_user(engine: &Engine, rules: &[&str]) {
    let words = [&["acl", "setuser", "app", "on", ">secret"], rules].concat();
    assert_eq!(cli(engine.port(), &words), "OK");
}

async fn does_all_that_is_needed(url: &str) {
    let node = TestNode::start(Redis::connect(url)).await.expect("a start");
    connected(&node, 1).await;
    let rooms: Vec<_> = (0..10).map(|n| Channel::group(&n.to_string())).collect();
    node.subscribe(&rooms).await;
    for room in &rooms {
        node.publish(&[node.message(room, "hello"), node.message(room, "kept").kept(KEEP)]).await;
        node.wait_for(room, 2).await;
        assert_eq!(node.read(room, KEEP, None).await.messages.len(), 1);
    }
    node.unsubscribe(&rooms).await;
    node.stop().await;
}

#[tokio::test]
async fn a_user_with_the_rules_of_the_documentation_does_all_that_is_needed() {
    for rules in [rules_of_the_guide(), rules_of_the_readme()] {
        let engine = Engine::redis();
        make_user(&engine, &rules);
        does_all_that_is_needed(&format!("redis://app:secret@{}", engine.address())).await;
        assert_eq!(cli(engine.port(), &["acl", "log"]), "", "nothing was refused");
        let other = ["--user", "app", "--pass", "secret", "publish", "other:{g-room}", "x"];
        assert!(cli(engine.port(), &other).contains("NOPERM"), "and nothing else is allowed");
    }
}

#[tokio::test]
async fn and_so_it_does_in_a_cluster() {
    let cluster = Cluster::start();
    for engine in &cluster.0 {
        make_user(engine, &rules_of_the_guide());
    }
    does_all_that_is_needed(&cluster.url().replace("://", "://app:secret@")).await;
    for engine in &cluster.0 {
        assert_eq!(cli(engine.port(), &["acl", "log"]), "", "nothing was refused");
    }
}

#[tokio::test]
async fn a_user_who_may_not_ask_for_info_finds_the_masters_of_a_cluster() {
    let cluster = Cluster::start();
    for engine in &cluster.0 {
        make_user(engine, &[&rules_of_the_guide()[..], &["-info"]].concat());
    }
    does_all_that_is_needed(&cluster.url().replace("://", "://app:secret@")).await;
}

#[tokio::test]
async fn a_user_who_may_not_subscribe_is_not_connected_until_it_may() {
    let engine = Engine::redis();
    let user = ["acl", "setuser", "app", "on", ">x", "+@all", "~nexios:*", "resetchannels"];
    assert_eq!(cli(engine.port(), &user), "OK");
    let redis = Redis::connect(format!("redis://app:x@{}", engine.address())).subscriber_connections(1);
    let node = TestNode::start(redis).await.expect("a start");
    connected(&node, 1).await;
    let room = Channel::group("room");
    let answer = node.backplane().subscribe(std::slice::from_ref(&room)).await;
    assert!(
        matches!(&answer, Err(BackplaneError::Unavailable(reason)) if reason.to_string().contains("NOPERM")),
        "{answer:?}"
    );
    let is_told = |h: &Happening| matches!(h, Happening::Disconnected(reason) if reason.contains("NOPERM"));
    node.wait_until("disconnected, and again", |happened| count(happened, is_told) >= 3).await;
    assert_eq!(count(&node.happened(), |h| matches!(h, Happening::Connected)), 1, "it is tried again, in vain");
    assert_eq!(cli(engine.port(), &["acl", "setuser", "app", "&nexios:*"]), "OK");
    connected(&node, 2).await;
    node.publish(&[node.message(&room, "hello")]).await;
    node.wait_for(&room, 1).await;
}

#[tokio::test]
async fn what_an_app_may_not_publish_is_refused() {
    let engine = Engine::redis();
    let user = ["acl", "setuser", "app", "on", ">x", "+@all", "~nexios:*", "&nexios:*", "-publish"];
    assert_eq!(cli(engine.port(), &user), "OK");
    let node = TestNode::start(Redis::connect(format!("redis://app:x@{}", engine.address()))).await.expect("a start");
    connected(&node, 1).await;
    let message = node.message(&Channel::group("a"), "x");
    let answer = node.backplane().publish(&[message]).await.remove(0);
    assert!(matches!(answer, Err(BackplaneError::Refused(_))), "{answer:?}");
}
