//! Streams that are large, odd, or gone.

use std::slice::from_ref;
use std::time::{Duration, Instant};

use nexios::backplane::{BackplaneError, Channel, Keep};
use nexios::{NotRecovered, Position};
use nexios_engines::Engine;

use crate::{KEEP, node};

#[tokio::test]
async fn a_stream_that_was_deleted_is_made_again_though_somebody_listens_to_everything() {
    let engine = Engine::nats();
    let node = node(&engine.url()).await;
    let other = async_nats::connect(engine.url()).await.expect("another client");
    // Because of it, the server never says that nobody has the stream.
    let _everything = other.subscribe(">").await.expect("a subscription");
    let channel = Channel::group("room");
    let first = node.publish(&[node.message(&channel, "first").kept(KEEP)]).await[0].expect("a place").position;
    let deleted = other.request("$JS.API.STREAM.DELETE.nexios-h100-60000", "".into()).await.expect("an answer");
    assert!(String::from_utf8_lossy(&deleted.payload).contains("true"), "{deleted:?}");

    let batch = [node.message(&channel, "kept").kept(KEEP), node.message(&channel, "plain")];
    let publishing = node.backplane().publish(&batch);
    let answers = tokio::time::timeout(Duration::from_secs(2), publishing).await.expect("answers in time");
    assert!(matches!(answers[..], [Err(BackplaneError::Unavailable(_)), Ok(None)]), "{answers:?}");

    let deadline = Instant::now() + Duration::from_secs(20);
    let place = loop {
        match node.backplane().publish(&batch[..1]).await.remove(0) {
            Ok(place) => break place.expect("a place"),
            Err(error) => assert!(Instant::now() < deadline, "it is not taken: {error}"),
        }
    };
    assert_ne!(place.position.epoch(), first.epoch());
}

#[tokio::test]
async fn a_page_has_no_more_bytes_than_were_asked_for() {
    let engine = Engine::nats();
    let node = node(&engine.url()).await;
    let channel = Channel::group("room");
    for n in 0..30 {
        node.publish(&[node.message(&channel, vec![n; 900 * 1024]).kept(KEEP)]).await;
    }
    let page = node.read(&channel, KEEP, None).await;
    assert_eq!(page.messages.len(), 1);
    assert_eq!((page.messages[0].payload[0], page.messages[0].payload.len()), (29, 900 * 1024));
    assert_eq!((page.floor, page.end.offset()), (29, 30));
    let more = node.read(&channel, Keep { bytes: 3 << 20, ..KEEP }, None).await;
    assert_eq!(more.messages.iter().map(|kept| kept.payload[0]).collect::<Vec<_>>(), [27, 28, 29]);
}

#[tokio::test]
async fn a_position_that_a_channel_never_had_is_another_epoch() {
    let engine = Engine::nats();
    let node = node(&engine.url()).await;
    let [one, two, empty] = ["one", "two", "empty"].map(Channel::group);
    let batch = [&one, &two].map(|channel| node.message(channel, "text").kept(KEEP));
    let last = node.publish(&batch).await[1].expect("a place").position;
    let page = node.read(&one, KEEP, Some(last)).await;
    assert_eq!((page.messages.len(), page.missing), (1, Some(NotRecovered::EpochChanged)), "it is the other channel's");
    let page = node.read(&two, KEEP, Some(last)).await;
    assert_eq!((page.messages.len(), page.missing), (0, None));
    // That of an empty channel is the stream's.
    let page = node.read(&empty, KEEP, None).await;
    assert_eq!(page.end, last);
    node.publish(&[node.message(&two, "text").kept(KEEP), node.message(&empty, "text").kept(KEEP)]).await;
    let page = node.read(&empty, KEEP, Some(last)).await;
    assert_eq!((page.messages.len(), page.missing), (1, None));
    let never = Position::new(last.epoch(), 1000);
    let page = node.read(&Channel::group("another"), KEEP, Some(never)).await;
    assert_eq!(page.missing, Some(NotRecovered::EpochChanged));
}

#[tokio::test]
async fn the_end_of_an_empty_channel_is_before_whatever_is_published_to_it_meanwhile() {
    let engine = Engine::nats();
    let node = node(&engine.url()).await;
    for round in 0..200 {
        let channel = Channel::group(&round.to_string());
        let message = node.message(&channel, "text").kept(KEEP);
        let publishing = async {
            for _ in 0..round % 7 {
                tokio::task::yield_now().await;
            }
            node.publish(from_ref(&message)).await[0].expect("a place").position
        };
        let (page, position) = tokio::join!(node.read(&channel, KEEP, None), publishing);
        match &page.messages[..] {
            [] => assert!(page.end.offset() < position.offset(), "{} has been missed at {position}", page.end),
            messages => assert_eq!((messages[0].position, page.end), (position, position)),
        }
    }
}
