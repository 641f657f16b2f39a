//! What cannot work is said, without the password.

use nexios::backplane::{Backplane, BackplaneError, Channel};
use nexios::testing::backplane::{Happening, TestNode};
use nexios_engines::{Engine, Setup};
use nexios_redis::Redis;

use crate::servers::{KEEP, connected};

#[tokio::test]
async fn settings_that_cannot_work_are_an_error_of_the_start() {
    let cases = [
        (Redis::connect("localhost"), "redis://"),
        (Redis::connect("redis://:secret@:1"), "no host"),
        (Redis::connect("redis-sentinel://h"), "name of the master"),
        (Redis::connect("redis://secret@h"), "has no password"),
        (Redis::connect("redis://h:1,h:2"), "redis-cluster://"),
        (Redis::connect("redis://h").prefix("a.b"), "a prefix has 1 to 64 letters"),
        (Redis::connect("redis://h").prefix(""), "a prefix has 1 to 64 letters"),
    ];
    for (redis, expected) in cases {
        let shown = format!("{redis:?}");
        assert!(!shown.contains("secret"), "{shown}");
        match TestNode::start(redis).await {
            Err(BackplaneError::Settings(reason)) => {
                let reason = reason.to_string();
                assert!(reason.contains(expected) && !reason.contains("secret"), "{reason}");
            }
            other => panic!("{:?} instead of {expected:?}", other.err()),
        }
    }
}

#[tokio::test]
async fn a_wrong_password_is_said_and_not_shown() {
    let engine = Setup::redis().arguments(["--requirepass", "right"]).start();
    for login in [":topsecret@", "somebody:topsecret@", ""] {
        let node = TestNode::start(Redis::connect(format!("redis://{login}{}", engine.address()))).await;
        let node = node.expect("a start");
        let is_told = |h: &Happening| match h {
            Happening::Disconnected(reason) => {
                assert!(!reason.contains("topsecret"), "{reason}");
                assert!(reason.contains(&engine.address().to_string()), "{reason}");
                let expected = if login.is_empty() { "NOAUTH" } else { "WRONGPASS" };
                assert!(reason.contains(expected), "{reason}");
                true
            }
            _ => false,
        };
        node.wait_until("disconnected", |happened| happened.iter().any(is_told)).await;
        let message = node.message(&Channel::group("room"), "hello");
        let answer = node.backplane().publish(&[message]).await.remove(0);
        assert!(matches!(answer, Err(BackplaneError::Unavailable(_))), "{answer:?}");
        node.stop().await;
    }
}

#[tokio::test]
async fn apps_on_different_databases_never_meet() {
    let engine = Engine::redis();
    let mut nodes = Vec::new();
    let room = Channel::group("room");
    for database in ["", "/1", "/2"] {
        let node = TestNode::start(Redis::connect(format!("{}{database}", engine.url()))).await.expect("a start");
        connected(&node, 1).await;
        node.subscribe(std::slice::from_ref(&room)).await;
        nodes.push(node);
    }
    for node in &nodes {
        node.publish(&[node.message(&room, "hello"), node.message(&room, "kept").kept(KEEP)]).await;
    }
    // What went to the others has come before this node's own last one.
    for node in &nodes {
        node.publish(&[node.message(&room, "last")]).await;
        let received = node.wait_for(&room, 3).await;
        assert_eq!(received[2].payload, "last");
        assert_eq!(node.read(&room, KEEP, None).await.messages.len(), 1);
    }
}

#[tokio::test]
async fn nothing_can_be_asked_before_the_start() {
    let redis = Redis::connect("redis://127.0.0.1:1");
    assert_eq!(redis.name(), "redis");
    let answer = redis.subscribe(&[Channel::all_nodes()]).await;
    assert!(matches!(answer, Err(BackplaneError::Unavailable(_))), "{answer:?}");
    redis.stop().await;
}
