//! What a stream knows.

use nexios::backplane::{Channel, MessageId, NodeId, Outgoing};
use nexios::testing::backplane::TestNode;
use nexios_engines::Engine;
use nexios_redis::Redis;

use crate::servers::{KEEP, cli, connected};

#[tokio::test]
async fn the_last_messages_of_64_nodes_are_known() {
    let engine = Engine::redis();
    let node = TestNode::start(Redis::connect(engine.url())).await.expect("a start");
    connected(&node, 1).await;
    let room = Channel::group("room");
    let message = |writer: u64, number| {
        let id = MessageId { node: NodeId::new(writer), number };
        Outgoing::new(room.clone(), id, "x".into()).kept(KEEP)
    };
    for writer in 0..100 {
        node.publish(&[message(writer, 1)]).await;
        // This one is heard of all the time.
        node.publish(&[message(1000, writer + 1)]).await;
    }
    let known = cli(engine.port(), &["hget", "nexios:{g-room}", "W"]);
    assert_eq!(known.split(' ').count(), 64);
    let fields: usize = cli(engine.port(), &["hlen", "nexios:{g-room}"]).parse().expect("a number");
    assert_eq!(fields, 200 + 64 + 2, "messages, writers, and what is known of both");
    let doubles = [message(1000, 100), message(99, 1), message(37, 1)];
    let places = node.publish(&doubles).await;
    let offsets: Vec<_> = places.iter().map(|place| place.map(|place| place.position.offset())).collect();
    assert_eq!(offsets, [Some(200), Some(199), Some(75)], "no second places");
    let page = node.read(&room, KEEP, None).await;
    assert_eq!(page.messages.len(), 200);
}

#[tokio::test]
async fn a_double_that_is_not_kept_any_more_has_no_place_and_takes_none() {
    let engine = Engine::redis();
    let node = TestNode::start(Redis::connect(engine.url())).await.expect("a start");
    connected(&node, 1).await;
    let room = Channel::group("room");
    let keep = nexios::backplane::Keep { messages: 2, ..KEEP };
    let batch: Vec<_> = (0..200).map(|n| node.message(&room, n.to_string()).kept(keep)).collect();
    node.publish(&batch).await;
    let places = node.publish(&batch).await;
    let offsets: Vec<_> = places.iter().map(|place| place.map_or(0, |place| place.position.offset())).collect();
    assert_eq!(offsets[..198], [0; 198]);
    assert_eq!(offsets[198..], [199, 200]);
    assert_eq!(node.read(&room, keep, None).await.end.offset(), 200);
}

#[tokio::test]
async fn all_of_a_stream_ends_with_its_age() {
    let engine = Engine::redis();
    let node = TestNode::start(Redis::connect(engine.url())).await.expect("a start");
    connected(&node, 1).await;
    let room = Channel::group("room");
    node.publish(&[node.message(&room, "x").kept(KEEP)]).await;
    node.read(&Channel::group("other"), KEEP, None).await;
    for name in ["nexios:{g-room}", "nexios:{g-other}"] {
        let left: i64 = cli(engine.port(), &["pttl", name]).parse().expect("a number");
        assert!((50_000..=60_000).contains(&left), "{name} lives for {left} ms more");
    }
    assert_eq!(cli(engine.port(), &["dbsize"]), "2");
}
