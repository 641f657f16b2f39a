//! What cannot work is said, without the password.

use nexios::backplane::{Backplane, BackplaneError, Channel};
use nexios::testing::backplane::{Happening, TestNode};
use nexios_engines::Setup;
use nexios_redis::Redis;

#[tokio::test]
async fn settings_that_cannot_work_are_an_error_of_the_start() {
    let cases = [
        (Redis::connect("localhost"), "redis://"),
        (Redis::connect("redis://:secret@:1"), "no host"),
        (Redis::connect("redis-sentinel://h"), "name of the master"),
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
async fn nothing_can_be_asked_before_the_start() {
    let redis = Redis::connect("redis://127.0.0.1:1");
    assert_eq!(redis.name(), "redis");
    let answer = redis.subscribe(&[Channel::all_nodes()]).await;
    assert!(matches!(answer, Err(BackplaneError::Unavailable(_))), "{answer:?}");
    redis.stop().await;
}
