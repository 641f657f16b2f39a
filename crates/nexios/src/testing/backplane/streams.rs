//! What is kept has one order, and each message one place in it.

use std::collections::HashMap;
use std::slice::from_ref;

use super::{Engine, KEEP, Received, a_moment, room};
use crate::backplane::{Channel, Outgoing, Place};

pub(super) async fn a_kept_message_has_the_same_place_on_every_node(engine: &Engine<'_>) {
    let (publisher, one) = engine.two().await;
    let two = engine.node().await;
    let channel = room("room");
    one.subscribe(from_ref(&channel)).await;
    two.subscribe(from_ref(&channel)).await;
    let mut answers = Vec::new();
    for text in ["1", "2", "3", "4"] {
        answers.extend(publisher.publish(&[publisher.message(&channel, text).kept(KEEP)]).await);
    }
    let received = one.wait_for(&channel, 4).await;
    assert_eq!(received, two.wait_for(&channel, 4).await, "two nodes see the same");
    let page = two.read(&channel, KEEP, None).await;
    for ((received, answer), kept) in received.iter().zip(answers).zip(&page.messages) {
        let (Some(place), Some(answer)) = (received.place, answer) else {
            panic!("what is kept has a place: {received:?}, answered {answer:?}")
        };
        assert_eq!(place.position, answer.position, "the place that a subscriber and the publisher are told");
        assert_eq!(place.position, kept.position, "the place that a subscriber and a reader are told");
        assert_eq!(received.payload, kept.payload);
    }
}

pub(super) async fn places_follow_each_other_in_their_channel(engine: &Engine<'_>) {
    let (publisher, subscriber) = engine.two().await;
    let channels = ["a", "b", "c"].map(room);
    subscriber.subscribe(&channels).await;
    for round in 0..20 {
        // Channels take turns that are not always the same.
        let which = [0, 1, 2, round % 3].map(|index| &channels[index]);
        let batch = which.map(|channel| publisher.message(channel, round.to_string()).kept(KEEP));
        publisher.publish(&batch[..=round % 4]).await;
    }
    for (index, channel) in channels.iter().enumerate() {
        let count =
            (0..20).map(|round| [0, 1, 2, round % 3][..=round % 4].iter().filter(|i| **i == index).count()).sum();
        follow_each_other(&subscriber.wait_for(channel, count).await);
    }
}

pub(super) async fn concurrent_publishers_make_one_order(engine: &Engine<'_>) {
    const EACH: usize = 60;
    let channel = room("room");
    let mut nodes = Vec::new();
    for _ in 0..4 {
        let node = engine.node().await;
        node.subscribe(from_ref(&channel)).await;
        nodes.push(node);
    }
    let watcher = engine.node().await;
    watcher.subscribe(from_ref(&channel)).await;
    let publishing = nodes.iter().enumerate().map(|(index, node)| {
        let channel = &channel;
        async move {
            let batch: Vec<_> =
                (0..EACH).map(|n| node.message(channel, format!("{index} {n:03}")).kept(KEEP)).collect();
            let mut answers = Vec::new();
            for some in batch.chunks(1 + 3 * index) {
                answers.extend(node.publish(some).await);
            }
            answers
        }
    });
    let answers = futures_util::future::join_all(publishing).await;
    let order = watcher.wait_for(&channel, EACH * nodes.len()).await;
    follow_each_other(&order);
    for (index, answers) in answers.iter().enumerate() {
        let own: Vec<_> =
            order.iter().filter(|received| received.payload.starts_with(format!("{index} ").as_bytes())).collect();
        assert!(own.is_sorted_by_key(|received| &received.payload), "the order of publisher {index}");
        let positions = |place: Option<Place>| place.map(|place| place.position);
        assert!(
            own.iter().map(|received| positions(received.place)).eq(answers.iter().copied().map(positions)),
            "the answers of publisher {index} are the places that a subscriber sees"
        );
    }
    let second = engine.node().await.read(&channel, KEEP, None).await;
    let read: Vec<_> = second.messages.iter().map(|kept| &kept.payload).collect();
    assert_eq!(read, order.iter().map(|received| &received.payload).collect::<Vec<_>>(), "the order that is read");
}

pub(super) async fn a_message_that_is_published_again_has_one_place(engine: &Engine<'_>) {
    let (publisher, other) = engine.two().await;
    let channel = room("room");
    other.subscribe(from_ref(&channel)).await;
    let message = publisher.message(&channel, "once").kept(KEEP);
    let first = publisher.publish(from_ref(&message)).await[0];
    again(&publisher.publish(from_ref(&message)).await, &[first]);
    other.publish(&[other.message(&channel, "between").kept(KEEP)]).await;
    again(&publisher.publish(from_ref(&message)).await, &[first]);
    publisher.publish(&[publisher.message(&channel, "last").kept(KEEP)]).await;
    again(&publisher.publish(&[message.clone(), message]).await, &[first, first]);
    a_moment().await;
    let received = other.wait_for(&channel, 3).await;
    follow_each_other(&received);
    let texts: Vec<_> = received.iter().map(|received| &received.payload[..]).collect();
    assert_eq!(texts, [&b"once"[..], b"between", b"last"], "each once");
    assert_eq!(other.read(&channel, KEEP, None).await.messages.len(), 3, "each is kept once");
}

pub(super) async fn a_batch_that_is_published_again_in_part_goes_on_behind_it(engine: &Engine<'_>) {
    let (publisher, other) = engine.two().await;
    let channels = ["a", "b"].map(room);
    other.subscribe(&channels).await;
    let batch: Vec<Outgoing> = (0..30).map(|n| publisher.message(&channels[n % 2], n.to_string()).kept(KEEP)).collect();
    // The engine took a part of it, and the answer was lost.
    let first = publisher.publish(&batch[..17]).await;
    let places = publisher.publish(&batch).await;
    again(&places[..17], &first);
    assert!(places[17..].iter().all(Option::is_some), "those that are new have places: {places:?}");
    for (index, channel) in channels.iter().enumerate() {
        let received = other.wait_for(channel, 15).await;
        follow_each_other(&received);
        let texts: Vec<_> = received.iter().map(|received| String::from_utf8_lossy(&received.payload)).collect();
        let expected: Vec<_> = (0..30).skip(index).step_by(2).map(|n| n.to_string()).collect();
        assert_eq!(texts, expected, "in {channel}");
    }
}

pub(super) async fn numbers_count_for_each_channel_and_node(engine: &Engine<'_>) {
    let (one, two) = engine.two().await;
    let channels = ["a", "b"].map(room);
    // The lower number comes to its channel after a higher one came to the other; both nodes have the same numbers.
    for node in [&one, &two] {
        let [low, high] = [0, 1].map(|index| node.message(&channels[index], "text").kept(KEEP));
        let places = node.publish(&[high, low]).await;
        assert!(places.iter().all(Option::is_some), "{places:?}");
    }
    for channel in &channels {
        assert_eq!(one.read(channel, KEEP, None).await.messages.len(), 2, "messages in {channel}");
    }
}

/// Of doubles the answer is the place that they have, or none when that is not known any more.
fn again(answers: &[Option<Place>], first: &[Option<Place>]) {
    for (answer, first) in answers.iter().zip(first) {
        let Some(first) = first else { panic!("what is kept has a place") };
        let is_it = answer.is_none_or(|answer| answer.position == first.position);
        assert!(is_it, "the answer for a double is {answer:?}, its place is {first:?}");
    }
}

/// Of one epoch, each behind the one before, from the channel's first message on.
pub(super) fn follow_each_other(received: &[Received]) {
    let mut last: HashMap<&str, Place> = HashMap::new();
    for received in received {
        let Some(place) = received.place else { panic!("what is kept has a place: {received:?}") };
        let before = last.insert(&received.channel, place);
        let channel: &str = &received.channel;
        assert_eq!(place.previous, before.map_or(0, |before| before.position.offset()), "previous in {channel}");
        assert!(place.position.offset() > place.previous, "offsets grow in {channel}: {place:?}");
        let epoch = before.map_or(place.position.epoch(), |before| before.position.epoch());
        assert_eq!(place.position.epoch(), epoch, "the epoch in {channel}");
    }
}

/// Publishes texts to a channel, one call for all, and returns their places.
pub(super) async fn fill(
    node: &super::TestNode,
    channel: &Channel,
    keep: crate::backplane::Keep,
    texts: &[String],
) -> Vec<Place> {
    let batch: Vec<_> = texts.iter().map(|text| node.message(channel, text.clone()).kept(keep)).collect();
    let places: Vec<Place> = node.publish(&batch).await.into_iter().flatten().collect();
    assert_eq!(places.len(), texts.len(), "what is kept has a place");
    places
}
