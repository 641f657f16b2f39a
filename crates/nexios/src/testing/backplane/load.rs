//! Many channels, many calls, and calls that nobody waits for.

use std::slice::from_ref;
use std::time::{Duration, Instant};

use futures_util::future::join_all;

use super::delivery::payloads;
use super::streams::follow_each_other;
use super::{Engine, KEEP, a_moment, room};
use crate::backplane::{BackplaneError, Channel, Outgoing};

pub(super) async fn thousands_of_channels_at_once(engine: &Engine<'_>) {
    let (publisher, subscriber) = engine.two().await;
    let channels: Vec<Channel> = (0..2000).map(|n| room(&n.to_string())).collect();
    subscriber.subscribe(&channels).await;
    for some in channels.chunks(500) {
        let batch: Vec<Outgoing> = some.iter().map(|channel| publisher.message(channel, channel.to_string())).collect();
        publisher.publish(&batch).await;
    }
    for channel in &channels {
        subscriber.wait_for(channel, 1).await;
        assert_eq!(payloads(&subscriber, channel), [channel.as_str()]);
    }
    subscriber.unsubscribe(&channels[1..]).await;
    a_moment().await;
    let batch: Vec<_> = channels[..100].iter().map(|channel| publisher.message(channel, "late")).collect();
    publisher.publish(&batch).await;
    subscriber.wait_for(&channels[0], 2).await;
    a_moment().await;
    let late = channels[1..].iter().filter(|channel| subscriber.received(channel).len() != 1).count();
    assert_eq!(late, 0, "channels that were unsubscribed from and got something");
}

pub(super) async fn wanted_twice_is_wanted_once(engine: &Engine<'_>) {
    let (publisher, subscriber) = engine.two().await;
    let (channel, unknown) = (room("room"), room("unknown"));
    subscriber.unsubscribe(from_ref(&unknown)).await;
    subscriber.subscribe(&[channel.clone(), channel.clone()]).await;
    subscriber.subscribe(from_ref(&channel)).await;
    publisher.publish(&[publisher.message(&channel, "once")]).await;
    subscriber.wait_for(&channel, 1).await;
    a_moment().await;
    assert_eq!(payloads(&subscriber, &channel), ["once"]);
    subscriber.unsubscribe(&[channel.clone(), unknown]).await;
    a_moment().await;
    publisher.publish(&[publisher.message(&channel, "late")]).await;
    a_moment().await;
    assert_eq!(payloads(&subscriber, &channel), ["once"], "one call ends what two have begun");
}

pub(super) async fn calls_may_come_at_the_same_time(engine: &Engine<'_>) {
    let (node, other) = engine.two().await;
    let channels: Vec<Channel> = (0..50).map(|n| room(&n.to_string())).collect();
    other.subscribe(&channels).await;
    let batch: Vec<_> = channels.iter().map(|channel| node.message(channel, "text").kept(KEEP)).collect();
    let reads = join_all(channels.iter().map(|channel| node.read(channel, KEEP, None)));
    let subscribes = join_all(channels.iter().map(|channel| node.subscribe(from_ref(channel))));
    let (_, places, _) = tokio::join!(subscribes, node.publish(&batch), reads);
    assert!(places.iter().all(Option::is_some), "{places:?}");
    let pages = join_all(channels.iter().map(|channel| node.read(channel, KEEP, None))).await;
    assert!(pages.iter().all(|page| page.messages.len() == 1), "what was published is read");
    other.publish(&channels.iter().map(|channel| other.message(channel, "again").kept(KEEP)).collect::<Vec<_>>()).await;
    for channel in &channels {
        let again = || node.received(channel).iter().any(|received| received.payload == "again");
        node.wait_until("the other node's message", |_| again()).await;
        other.wait_until("the first node's message", |_| !other.received(channel).is_empty()).await;
        follow_each_other(&other.received(channel));
    }
}

pub(super) async fn calls_may_be_dropped_at_any_time(engine: &Engine<'_>) {
    // A call that is dropped may be taken as a sign that the connection is dead.
    engine.may_be_interrupted.set(true);
    let (node, other) = engine.two().await;
    let (channel, kept) = (room("room"), room("kept"));
    other.subscribe(from_ref(&kept)).await;
    let mut expected = Vec::new();
    for round in 0..40_u64 {
        let patience = Duration::from_micros(round * round * 5);
        let text = format!("{round:02} {}", "x".repeat(20_000));
        let message = [node.message(&kept, text.clone()).kept(KEEP)];
        expected.push(text);
        let backplane = node.backplane();
        let channels = [channel.clone()];
        drop(tokio::time::timeout(patience, backplane.subscribe(&channels)).await);
        drop(tokio::time::timeout(patience, backplane.read(&kept, KEEP, None)).await);
        drop(tokio::time::timeout(patience, backplane.publish(&message)).await);
        drop(tokio::time::timeout(patience, backplane.unsubscribe(&channels)).await);
        // As the node does: until the engine has taken it, with the same number.
        until_available("publish", async || node.backplane().publish(&message).await.remove(0)).await;
    }
    until_available("subscribe", async || node.backplane().subscribe(from_ref(&channel)).await).await;
    other.publish(&[other.message(&channel, "still there")]).await;
    node.wait_until("a message", |_| !node.received(&channel).is_empty()).await;
    let page = until_available("read", async || node.backplane().read(&kept, KEEP, None).await).await;
    let texts: Vec<_> = page.messages.iter().map(|kept| String::from_utf8_lossy(&kept.payload)).collect();
    assert!(texts == expected, "each once and in order, of {} published: {}", expected.len(), texts.len());
    follow_each_other(&other.wait_for(&kept, expected.len()).await);
}

pub(super) async fn what_was_published_before_stop_arrives(engine: &Engine<'_>) {
    let (leaver, stayer) = engine.two().await;
    let channel = room("room");
    stayer.subscribe(from_ref(&channel)).await;
    leaver.subscribe(from_ref(&channel)).await;
    leaver.publish(&[leaver.message(&channel, "goodbye")]).await;
    leaver.stop().await;
    stayer.wait_for(&channel, 1).await;
    let before = leaver.received(&channel).len();
    let third = engine.node().await;
    third.publish(&[third.message(&channel, "hello")]).await;
    stayer.wait_for(&channel, 2).await;
    a_moment().await;
    assert_eq!(leaver.received(&channel).len(), before, "messages for a node that has stopped");
    assert_eq!(payloads(&stayer, &channel), ["goodbye", "hello"]);
}

/// Asks again while the engine is not available, for at most 15 s.
async fn until_available<T>(what: &str, call: impl AsyncFn() -> Result<T, BackplaneError>) -> T {
    let deadline = Instant::now() + Duration::from_secs(15);
    loop {
        let late = Instant::now() > deadline;
        match tokio::time::timeout(Duration::from_secs(5), call()).await {
            Ok(Ok(answer)) => return answer,
            Ok(Err(BackplaneError::Unavailable(_))) if !late => {}
            Ok(Err(error)) => panic!("{what}: {error}"),
            Err(_) => assert!(!late, "{what} does not end any more"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
