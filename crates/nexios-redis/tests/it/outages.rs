//! A server that is away, slow, forgetful, or another one.

use std::time::{Duration, Instant};

use nexios::backplane::{BackplaneError, Channel, Outgoing};
use nexios::groups::NotRecovered;
use nexios::testing::backplane::{Happening, TestNode};
use nexios_engines::{Engine, Setup};
use nexios_redis::Redis;

use crate::proxy::Proxy;
use crate::servers::{KEEP, cli, connected, count};

async fn start(engine: &Engine) -> TestNode {
    let redis = Redis::connect(engine.url()).keepalive(Duration::from_millis(500));
    let node = TestNode::start(redis).await.expect("a start");
    connected(&node, 1).await;
    node
}

fn rooms(names: &str) -> Vec<Channel> {
    names.chars().map(|name| Channel::group(&name.to_string())).collect()
}

fn is_interrupted(happened: &[Happening], channels: &[Channel]) -> bool {
    let told = |channel: &Channel| {
        happened.iter().any(|h| matches!(h, Happening::Interrupted(channels) if channels.contains(channel)))
    };
    channels.iter().all(told)
}

/// As the node does it: again, until the server has taken all.
async fn publish(node: &TestNode, messages: &[Outgoing]) {
    let deadline = Instant::now() + Duration::from_secs(20);
    let mut left = messages.to_vec();
    while !left.is_empty() {
        assert!(Instant::now() < deadline, "nothing can be published");
        let publishing = tokio::time::timeout(Duration::from_secs(1), node.backplane().publish(&left)).await;
        if let Ok(answers) = publishing {
            let mut answers = answers.into_iter();
            left.retain(|_| answers.next().is_none_or(|answer| answer.is_err()));
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// After whatever has happened: the node was told, has all channels, and gets messages.
async fn is_well_again(node: &TestNode, channels: &[Channel], times: usize) {
    connected(node, times).await;
    node.wait_until("interrupted", |happened| is_interrupted(happened, channels)).await;
    for channel in channels {
        let before = node.received(channel).len();
        publish(node, &[node.message(channel, "again").kept(KEEP)]).await;
        node.wait_until("a message", |_| node.received(channel).len() > before).await;
    }
    let happened = node.happened();
    let interrupted = happened.iter().position(|h| matches!(h, Happening::Interrupted(_)));
    let message = happened.iter().position(|h| matches!(h, Happening::Message(m) if m.payload == "again"));
    assert!(interrupted < message, "a gap is told before the messages behind it");
}

#[tokio::test]
async fn a_frozen_server_is_noticed_and_works_after_it() {
    let engine = Engine::redis();
    let node = start(&engine).await;
    let channels = rooms("abcdef");
    node.subscribe(&channels).await;
    engine.freeze();
    let messages: Vec<_> = (0..10).map(|n| node.message(&channels[0], n.to_string()).kept(KEEP)).collect();
    for _ in 0..4 {
        let publishing = tokio::time::timeout(Duration::from_millis(300), node.backplane().publish(&messages)).await;
        assert!(publishing.is_err(), "a frozen server answers: {publishing:?}");
        let reading = tokio::time::timeout(Duration::from_millis(300), node.backplane().read(&channels[0], KEEP, None));
        assert!(reading.await.is_err());
    }
    node.wait_until("disconnected", |happened| count(happened, |h| matches!(h, Happening::Disconnected(_))) > 0).await;
    engine.thaw();
    publish(&node, &messages).await;
    let page = node.read(&channels[0], KEEP, None).await;
    let texts: Vec<_> = page.messages.iter().map(|kept| String::from_utf8_lossy(&kept.payload).into_owned()).collect();
    assert_eq!(texts, ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"], "each once, in order");
    is_well_again(&node, &channels, 2).await;
}

#[tokio::test]
async fn a_server_that_comes_back_empty_has_other_streams() {
    let mut engine = Engine::redis();
    let node = start(&engine).await;
    let channels = rooms("abcd");
    node.subscribe(&channels).await;
    node.publish(&[node.message(&channels[0], "before").kept(KEEP)]).await;
    let before = node.read(&channels[0], KEEP, None).await;
    engine.restart_empty();
    is_well_again(&node, &channels, 2).await;
    let after = node.read(&channels[0], KEEP, Some(before.end)).await;
    assert_eq!(after.missing, Some(NotRecovered::EpochChanged));
    assert_ne!(after.end.epoch(), before.end.epoch());
}

#[tokio::test]
async fn a_server_that_was_killed_may_have_lost_the_end_of_its_streams() {
    let mut engine = Engine::redis();
    let node = start(&engine).await;
    let channels = rooms("a");
    node.subscribe(&channels).await;
    let message = node.message(&channels[0], "before").kept(KEEP);
    node.publish(std::slice::from_ref(&message)).await;
    let before = node.read(&channels[0], KEEP, None).await;
    engine.restart();
    is_well_again(&node, &channels, 2).await;
    publish(&node, &[message]).await;
    let after = node.read(&channels[0], KEEP, Some(before.end)).await;
    assert_eq!(after.missing, Some(NotRecovered::EpochChanged), "nobody knows whether it has all");
    let texts: Vec<_> = after.messages.iter().map(|kept| &kept.payload[..]).collect();
    assert_eq!(texts, [&b"before"[..], b"again"], "what it has is there, and nothing twice");
}

#[tokio::test]
async fn subscribers_that_are_killed_come_back() {
    let engine = Engine::redis();
    let node = start(&engine).await;
    let channels = rooms("abcdefgh");
    node.subscribe(&channels).await;
    assert_eq!(cli(engine.port(), &["client", "kill", "type", "pubsub"]), "4");
    is_well_again(&node, &channels, 2).await;
    node.unsubscribe(&channels[..1]).await;
    cli(engine.port(), &["client", "kill", "type", "pubsub"]);
    connected(&node, 3).await;
    assert_eq!(cli(engine.port(), &["pubsub", "numsub", "nexios:{g-a}"]), "nexios:{g-a}\n0", "not wanted any more");
    assert_eq!(cli(engine.port(), &["pubsub", "numsub", "nexios:{g-b}"]), "nexios:{g-b}\n1");
}

#[tokio::test]
async fn what_is_subscribed_to_while_the_server_is_away_comes_with_it() {
    let mut engine = Engine::redis();
    let node = start(&engine).await;
    engine.kill();
    node.wait_until("disconnected", |happened| count(happened, |h| matches!(h, Happening::Disconnected(_))) > 0).await;
    let channels = rooms("ab");
    let began = Instant::now();
    let answer = node.backplane().subscribe(&channels).await;
    assert!(matches!(answer, Err(BackplaneError::Unavailable(_))), "{answer:?}");
    assert!(began.elapsed() < Duration::from_secs(4));
    engine.restart();
    is_well_again(&node, &channels, 2).await;
}

#[tokio::test]
async fn scripts_that_the_server_has_forgotten_are_sent_again() {
    let engine = Engine::redis();
    let node = start(&engine).await;
    let channels = rooms("ab");
    let message = |text: &'static str| node.message(&channels[0], text).kept(KEEP);
    node.publish(&[message("1")]).await;
    assert_eq!(cli(engine.port(), &["script", "flush"]), "OK");
    let places = node.publish(&[message("2"), node.message(&channels[1], "x"), message("3")]).await;
    assert_eq!(places[0].map(|place| place.position.offset()), Some(2));
    assert_eq!(places[2].map(|place| place.position.offset()), Some(3));
    assert_eq!(cli(engine.port(), &["script", "flush"]), "OK");
    assert_eq!(node.read(&channels[0], KEEP, None).await.messages.len(), 3);
}

#[tokio::test]
async fn a_server_without_memory_keeps_nothing_by_halves() {
    let engine = Setup::redis().arguments(["--maxmemory-policy", "noeviction"]).start();
    let node = start(&engine).await;
    let channel = Channel::group("a");
    node.publish(&[node.message(&channel, "1").kept(KEEP)]).await;
    cli(engine.port(), &["config", "set", "maxmemory", "1"]);
    let message = node.message(&channel, "2").kept(KEEP);
    let answer = node.backplane().publish(std::slice::from_ref(&message)).await.remove(0);
    assert!(
        matches!(&answer, Err(BackplaneError::Unavailable(reason)) if reason.to_string().contains("OOM")),
        "{answer:?}"
    );
    assert_eq!(node.read(&channel, KEEP, None).await.messages.len(), 1, "what it has can be read");
    cli(engine.port(), &["config", "set", "maxmemory", "0"]);
    let places = node.publish(&[message]).await;
    assert_eq!(places[0].map(|place| place.position.offset()), Some(2));
}

#[tokio::test]
async fn connections_that_die_in_silence_are_noticed() {
    let engine = Engine::redis();
    let proxy = Proxy::to(engine.address()).await;
    let redis = Redis::connect(format!("redis://{}", proxy.address)).keepalive(Duration::from_millis(500));
    let node = TestNode::start(redis).await.expect("a start");
    connected(&node, 1).await;
    let channels = rooms("abc");
    node.subscribe(&channels).await;
    proxy.silence();
    let began = Instant::now();
    node.wait_until("disconnected", |happened| count(happened, |h| matches!(h, Happening::Disconnected(_))) > 0).await;
    assert!(began.elapsed() < Duration::from_secs(2), "after {:?}", began.elapsed());
    is_well_again(&node, &channels, 2).await;
}

#[tokio::test]
async fn a_connection_that_is_only_behind_is_not_given_up() {
    let engine = Engine::redis();
    let proxy = Proxy::to(engine.address()).await;
    let redis = Redis::connect(format!("redis://{}", proxy.address)).keepalive(Duration::from_millis(500));
    let node = TestNode::start(redis).await.expect("a start");
    connected(&node, 1).await;
    let channels = rooms("a");
    node.subscribe(&channels).await;
    proxy.make_slow();
    let publisher = start(&engine).await;
    // Four seconds of it: for so long no answer comes through.
    let batch: Vec<_> = (0..256).map(|_| publisher.message(&channels[0], vec![b'x'; 16 * 1024])).collect();
    publisher.publish(&batch).await;
    node.wait_for(&channels[0], 256).await;
    assert_eq!(count(&node.happened(), |h| matches!(h, Happening::Disconnected(_))), 0);
}

#[tokio::test]
async fn a_call_that_nobody_waits_for_leaves_its_gap_told() {
    let engine = Engine::redis();
    let node = start(&engine).await;
    let channels = rooms("ab");
    engine.freeze();
    let subscribing = tokio::time::timeout(Duration::from_millis(100), node.backplane().subscribe(&channels)).await;
    assert!(subscribing.is_err(), "{subscribing:?}");
    engine.thaw();
    node.wait_until("interrupted", |happened| is_interrupted(happened, &channels)).await;
    assert_eq!(count(&node.happened(), |h| matches!(h, Happening::Disconnected(_))), 0, "it was not away for long");
}

#[tokio::test]
async fn a_call_that_nobody_waits_for_before_the_server_is_there_leaves_its_gap_told() {
    let engine = Engine::redis();
    engine.freeze();
    let node = TestNode::start(Redis::connect(engine.url())).await.expect("a start");
    let channels = rooms("ab");
    let subscribing = tokio::time::timeout(Duration::from_millis(100), node.backplane().subscribe(&channels)).await;
    assert!(subscribing.is_err(), "{subscribing:?}");
    engine.thaw();
    node.wait_until("interrupted", |happened| is_interrupted(happened, &channels)).await;
}

#[tokio::test]
async fn what_is_too_large_for_the_server_is_refused_and_not_tried_for_ever() {
    let engine = Setup::redis().arguments(["--proto-max-bulk-len", "1mb"]).start();
    let node = start(&engine).await;
    let room = Channel::group("a");
    let large = || node.message(&room, vec![b'x'; 2 * 1024 * 1024]);
    for message in [large(), large().kept(KEEP)] {
        let mut answer = node.backplane().publish(std::slice::from_ref(&message)).await.remove(0);
        for _ in 0..100 {
            // The server closes while it is written to: then its answer may be lost, and the message is tried again.
            if !matches!(answer, Err(BackplaneError::Unavailable(_))) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
            answer = node.backplane().publish(std::slice::from_ref(&message)).await.remove(0);
        }
        assert!(matches!(answer, Err(BackplaneError::Refused(_))), "{answer:?}");
    }
    publish(&node, &[node.message(&room, "small").kept(KEEP)]).await;
}
