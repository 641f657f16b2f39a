//! Who gets what, and in which order.

use std::slice::from_ref;

use bytes::Bytes;

use super::{Engine, KEEP, Received, TestNode, a_moment, room};
use crate::backplane::{Channel, Outgoing};

pub(super) async fn a_message_reaches_those_who_have_subscribed_and_nobody_else(engine: &Engine<'_>) {
    let (publisher, one) = engine.two().await;
    let (two, bystander) = engine.two().await;
    let (here, elsewhere) = (room("here"), room("elsewhere"));
    one.subscribe(from_ref(&here)).await;
    two.subscribe(from_ref(&here)).await;
    bystander.subscribe(from_ref(&elsewhere)).await;
    let places = publisher.publish(&[publisher.message(&here, "hello")]).await;
    assert_eq!(places, [None], "a message that is not kept has no place");
    for node in [&one, &two] {
        let expected = Received { channel: here.to_string(), payload: "hello".into(), place: None };
        assert_eq!(node.wait_for(&here, 1).await, [expected], "the channel's name is without the prefix");
    }
    a_moment().await;
    assert_eq!(payloads(&bystander, &here), [""; 0], "who has subscribed to another channel");
    assert_eq!(payloads(&publisher, &here), [""; 0], "who has published, but not subscribed");
    assert_eq!(payloads(&one, &here), ["hello"], "once");
}

pub(super) async fn nothing_arrives_before_subscribing_or_after_unsubscribing(engine: &Engine<'_>) {
    let (publisher, subscriber) = engine.two().await;
    let (first, second) = (room("first"), room("second"));
    let both = [first.clone(), second.clone()];
    publisher.publish(&both.each_ref().map(|channel| publisher.message(channel, "too early"))).await;
    a_moment().await;
    subscriber.subscribe(&both).await;
    publisher.publish(&both.each_ref().map(|channel| publisher.message(channel, "in time"))).await;
    for channel in &both {
        subscriber.wait_for(channel, 1).await;
    }
    subscriber.unsubscribe(from_ref(&first)).await;
    a_moment().await;
    publisher.publish(&both.each_ref().map(|channel| publisher.message(channel, "too late"))).await;
    subscriber.wait_for(&second, 2).await;
    a_moment().await;
    assert_eq!(payloads(&subscriber, &first), ["in time"], "the channel that was unsubscribed from");
    assert_eq!(payloads(&subscriber, &second), ["in time", "too late"], "the channel that was not");
    subscriber.subscribe(from_ref(&first)).await;
    publisher.publish(&[publisher.message(&first, "again")]).await;
    subscriber.wait_for(&first, 2).await;
    assert_eq!(payloads(&subscriber, &first), ["in time", "again"], "the channel that was subscribed to again");
}

pub(super) async fn messages_of_a_node_arrive_in_the_order_of_publishing(engine: &Engine<'_>) {
    let (publisher, subscriber) = engine.two().await;
    let (plain, kept) = (room("plain"), room("kept"));
    subscriber.subscribe(&[plain.clone(), kept.clone()]).await;
    let mut expected = Vec::new();
    for size in [1, 2, 100, 1, 200] {
        let mut batch = Vec::new();
        for _ in 0..size {
            let text = expected.len().to_string();
            batch.push(publisher.message(&plain, text.clone()));
            batch.push(publisher.message(&kept, text.clone()).kept(KEEP));
            expected.push(text);
        }
        publisher.publish(&batch).await;
    }
    for channel in [&plain, &kept] {
        subscriber.wait_for(channel, expected.len()).await;
        assert_eq!(payloads(&subscriber, channel), expected, "in {channel}");
    }
}

pub(super) async fn own_messages_arrive_at_most_once(engine: &Engine<'_>) {
    let (node, other) = engine.two().await;
    let (plain, kept) = (room("plain"), room("kept"));
    let both = [plain.clone(), kept.clone()];
    node.subscribe(&both).await;
    other.subscribe(&both).await;
    let mut places = Vec::new();
    for text in ["1", "2", "3"] {
        let batch = [node.message(&plain, text), node.message(&kept, text).kept(KEEP)];
        places.push(node.publish(&batch).await[1]);
    }
    for channel in &both {
        other.wait_for(channel, 3).await;
    }
    a_moment().await;
    for channel in &both {
        let own = payloads(&node, channel);
        assert!(
            own.is_empty() || own == ["1", "2", "3"],
            "of its own messages a node gets all in order, or none: {own:?}"
        );
    }
    let position = |place: Option<crate::backplane::Place>| place.map(|place| place.position);
    let told: Vec<_> = node.received(&kept).into_iter().map(|received| position(received.place)).collect();
    let answered: Vec<_> = places.into_iter().map(position).collect();
    assert!(told.is_empty() || told == answered, "the answer to publish and the message have one position");
}

pub(super) async fn payloads_are_any_bytes(engine: &Engine<'_>) {
    let (publisher, subscriber) = engine.two().await;
    let (plain, kept) = (room("plain"), room("kept"));
    subscriber.subscribe(&[plain.clone(), kept.clone()]).await;
    let all_bytes: Vec<u8> = (0..=255).collect();
    let large: Vec<u8> = (0..256 * 1024_u32).map(|n| n.wrapping_mul(2_654_435_761).to_be_bytes()[0]).collect();
    let payloads: Vec<Bytes> = [
        Bytes::new(),
        Bytes::from_static(b"\0"),
        Bytes::from_static(b"\r\n"),
        Bytes::from_static(b"$5\r\nhello\r\n"),
        Bytes::from_static(b"\r\nPUB g-plain 1\r\nx\r\n"),
        Bytes::from_static(b"\xff\xfe not UTF-8 \x80"),
        all_bytes.into(),
        large.into(),
    ]
    .into();
    for payload in &payloads {
        let batch = [publisher.message(&plain, payload.clone()), publisher.message(&kept, payload.clone()).kept(KEEP)];
        publisher.publish(&batch).await;
    }
    for channel in [&plain, &kept] {
        let received = subscriber.wait_for(channel, payloads.len()).await;
        for (received, payload) in received.iter().zip(&payloads) {
            assert!(received.payload == payload, "{} bytes in {channel}: {}", payload.len(), shown(payload));
        }
    }
    let page = publisher.read(&kept, KEEP, None).await;
    assert_eq!(page.messages.len(), payloads.len(), "all are read");
    for (kept, payload) in page.messages.iter().zip(&payloads) {
        assert!(kept.payload == payload, "{} bytes that were kept: {}", payload.len(), shown(payload));
    }
}

pub(super) async fn each_message_of_a_batch_has_its_answer(engine: &Engine<'_>) {
    let (publisher, subscriber) = engine.two().await;
    let rooms = ["a", "b", "c"].map(room);
    subscriber.subscribe(&rooms).await;
    let mut batch = Vec::new();
    for round in 0..10 {
        for (index, channel) in rooms.iter().enumerate() {
            let message = publisher.message(channel, format!("{round}"));
            // Some rooms keep their messages, and some messages come twice in a row.
            batch.push(if index == 1 { message } else { message.kept(KEEP) });
        }
    }
    let places = publisher.publish(&batch).await;
    for (index, channel) in rooms.iter().enumerate() {
        let received = subscriber.wait_for(channel, 10).await;
        let answered = places.iter().skip(index).step_by(3);
        for (received, answered) in received.iter().zip(answered) {
            let positions = [received.place, *answered].map(|place| place.map(|place| place.position));
            assert_eq!(positions[0], positions[1], "the message's place and its answer in {channel}");
            assert_eq!(received.place.is_some(), index != 1, "a place for what is kept, in {channel}");
        }
    }
}

pub(super) async fn a_batch_may_have_a_mebibyte(engine: &Engine<'_>) {
    let (publisher, subscriber) = engine.two().await;
    let (plain, kept) = (room("plain"), room("kept"));
    subscriber.subscribe(&[plain.clone(), kept.clone()]).await;
    let payload = |index: usize, size: usize| {
        let mut bytes = vec![b'x'; size];
        bytes[..8].copy_from_slice(&index.to_be_bytes());
        bytes
    };
    let mut expected = [0, 0];
    for (count, size) in [(64, 16 * 1024), (1024, 1024), (4, 256 * 1024)] {
        let message = |index: usize| -> Outgoing {
            let is_kept = index % 2 == 1;
            let channel = if is_kept { &kept } else { &plain };
            let message = publisher.message(channel, payload(index, size));
            if is_kept { message.kept(KEEP) } else { message }
        };
        let batch: Vec<Outgoing> = (0..count).map(message).collect();
        publisher.publish(&batch).await;
        for (which, channel) in [&plain, &kept].into_iter().enumerate() {
            let received = subscriber.wait_for(channel, expected[which] + count / 2).await;
            for (index, received) in received[expected[which]..].iter().enumerate() {
                let is_it = received.payload == payload(2 * index + which, size);
                assert!(is_it, "message {index} of {count} with {size} bytes, in {channel}");
            }
            expected[which] += count / 2;
        }
    }
}

pub(super) async fn nothing_is_no_error(engine: &Engine<'_>) {
    let node = engine.node().await;
    assert!(!node.backplane().name().is_empty(), "the engine has a name");
    node.subscribe(&[]).await;
    node.unsubscribe(&[]).await;
    assert_eq!(node.publish(&[]).await, []);
}

pub(super) async fn nodes_have_channels_of_their_own(engine: &Engine<'_>) {
    let (one, two) = engine.two().await;
    for node in [&one, &two] {
        node.subscribe(&[Channel::all_nodes(), Channel::node(node.id())]).await;
    }
    let publisher = engine.node().await;
    let batch = [
        publisher.message(&Channel::all_nodes(), "all"),
        publisher.message(&Channel::node(one.id()), "one"),
        publisher.message(&Channel::node(two.id()), "two"),
    ];
    publisher.publish(&batch).await;
    for (node, name) in [(&one, "one"), (&two, "two")] {
        let (all, own) = (Channel::all_nodes(), Channel::node(node.id()));
        node.wait_for(&all, 1).await;
        node.wait_for(&own, 1).await;
        assert_eq!((payloads(node, &all), payloads(node, &own)), (vec!["all".into()], vec![name.into()]));
    }
    a_moment().await;
    let other = payloads(&one, &Channel::node(two.id()));
    assert_eq!(other, [""; 0], "what is for another node");
}

/// The texts that have come to a channel.
pub(super) fn payloads(node: &TestNode, channel: &Channel) -> Vec<String> {
    let received = node.received(channel).into_iter();
    received.map(|received| String::from_utf8_lossy(&received.payload).into_owned()).collect()
}

fn shown(payload: &[u8]) -> String {
    payload.iter().take(20).flat_map(|byte| byte.escape_ascii()).map(char::from).collect()
}
