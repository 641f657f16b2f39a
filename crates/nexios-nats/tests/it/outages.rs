//! The server stops, stalls, and comes back as another one.

use std::fs;
use std::path::Path;
use std::slice::from_ref;
use std::time::{Duration, Instant};

use nexios::backplane::{BackplaneError, Channel, Outgoing, Page, Place};
use nexios::testing::backplane::{Happening, TestNode};
use nexios::{NotRecovered, Position};
use nexios_engines::Engine;

use crate::proxy::Proxy;
use crate::{KEEP, count, is_connected, is_disconnected, node};

fn room() -> Channel {
    Channel::group("room")
}

/// After an outage: the channel is said to have been interrupted before anything else is said of it.
async fn has_come_back(node: &TestNode, times: usize) {
    node.wait_until("connected again", |happened| count(happened, is_connected) == 1 + times).await;
    let happened = node.happened();
    let since = happened.iter().position(is_disconnected).expect("disconnected");
    let told: Vec<_> = happened[since..].iter().filter(|happening| !is_disconnected(happening)).collect();
    assert!(
        matches!(told[..], [Happening::Interrupted(channels), Happening::Connected, ..] if *channels == [room()]),
        "first interrupted, then connected: {told:?}"
    );
}

/// As the node does: until the server has taken it.
async fn publish_until_taken(node: &TestNode, message: Outgoing) -> Option<Place> {
    let deadline = Instant::now() + Duration::from_secs(15);
    loop {
        let call = node.backplane().publish(from_ref(&message));
        match tokio::time::timeout(Duration::from_secs(2), call).await.map(|mut answers| answers.remove(0)) {
            Ok(Ok(place)) => return place,
            Ok(Err(BackplaneError::Refused(error))) => panic!("refused: {error}"),
            _ => assert!(Instant::now() < deadline, "it is not taken"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn kept(node: &TestNode, text: &str) -> Position {
    let message = node.message(&room(), text.to_owned()).kept(KEEP);
    publish_until_taken(node, message).await.expect("a place").position
}

fn texts(page: &Page) -> Vec<String> {
    page.messages.iter().map(|kept| String::from_utf8_lossy(&kept.payload).into_owned()).collect()
}

#[tokio::test]
async fn a_server_that_freezes_and_goes_on_is_used_again() {
    let engine = Engine::nats();
    let node = node(&engine.url()).await;
    node.subscribe(&[room()]).await;
    let first = kept(&node, "before").await;
    engine.freeze();
    node.wait_until("disconnected", |happened| count(happened, is_disconnected) > 0).await;
    let message = node.message(&room(), "meanwhile").kept(KEEP);
    let answer = node.backplane().publish(from_ref(&message)).await.remove(0);
    assert!(matches!(answer, Err(BackplaneError::Unavailable(_))), "{answer:?}");
    engine.thaw();
    has_come_back(&node, 1).await;
    let second = publish_until_taken(&node, message).await.expect("a place").position;
    assert!(second.epoch() == first.epoch() && second.offset() > first.offset(), "{first} {second}");
    let page = node.read(&room(), KEEP, Some(first)).await;
    assert_eq!((texts(&page), page.missing), (vec!["meanwhile".to_owned()], None));
}

#[tokio::test]
async fn what_was_published_into_a_frozen_server_has_one_place() {
    let engine = Engine::nats();
    let node = node(&engine.url()).await;
    node.subscribe(&[room()]).await;
    kept(&node, "before").await;
    engine.freeze();
    // A signal takes a moment to reach all threads of a process.
    tokio::time::sleep(Duration::from_millis(100)).await;
    let batch: Vec<_> = (0..20).map(|n| node.message(&room(), n.to_string()).kept(KEEP)).collect();
    let sent = tokio::time::timeout(Duration::from_millis(100), node.backplane().publish(&batch)).await;
    assert!(sent.is_err(), "the server answers");
    node.wait_until("disconnected", |happened| count(happened, is_disconnected) > 0).await;
    engine.thaw();
    has_come_back(&node, 1).await;
    for message in batch {
        publish_until_taken(&node, message).await;
    }
    let expected: Vec<_> = std::iter::once("before".to_owned()).chain((0..20).map(|n| n.to_string())).collect();
    assert_eq!(texts(&node.read(&room(), KEEP, None).await), expected, "each once, in order");
}

#[tokio::test]
async fn a_server_that_comes_back_with_its_store_has_the_same_positions() {
    let mut engine = Engine::nats();
    let (one, two) = (node(&engine.url()).await, node(&engine.url()).await);
    one.subscribe(&[room()]).await;
    two.subscribe(&[room()]).await;
    let first = kept(&one, "first").await;
    let message = one.message(&room(), "second").kept(KEEP);
    let second = publish_until_taken(&one, message.clone()).await.expect("a place").position;
    two.wait_for(&room(), 2).await;
    engine.kill();
    engine.restart();
    has_come_back(&one, 1).await;
    has_come_back(&two, 1).await;
    let again = publish_until_taken(&one, message).await.expect("a place").position;
    assert_eq!(again, second, "a double, though the server was restarted");
    kept(&one, "third").await;
    let page = two.read(&room(), KEEP, Some(first)).await;
    assert_eq!((texts(&page), page.missing), (vec!["second".to_owned(), "third".to_owned()], None));
    let received = two.wait_for(&room(), 3).await;
    let place = received[2].place.expect("a place");
    assert_eq!(place.previous, second.offset(), "the message before is the one from before the restart");
}

#[tokio::test]
async fn a_server_that_comes_back_empty_has_another_epoch() {
    let mut engine = Engine::nats();
    let node = node(&engine.url()).await;
    node.subscribe(&[room()]).await;
    let before = kept(&node, "before").await;
    engine.restart_empty();
    has_come_back(&node, 1).await;
    let page = node.read(&room(), KEEP, Some(before)).await;
    assert_eq!((page.messages.len(), page.missing), (0, Some(NotRecovered::EpochChanged)));
    let after = kept(&node, "after").await;
    assert_ne!(after.epoch(), before.epoch());
    assert_eq!(texts(&node.read(&room(), KEEP, Some(page.end)).await), ["after"]);
}

#[tokio::test]
async fn a_stream_that_has_lost_its_end_begins_again() {
    let mut engine = Engine::nats();
    let node = node(&engine.url()).await;
    node.subscribe(&[room()]).await;
    let first = kept(&node, "first").await;
    engine.kill();
    let backup = engine.data().with_file_name("backup");
    copy(&engine.data(), &backup);
    engine.restart();
    has_come_back(&node, 1).await;
    let lost = kept(&node, "lost").await;
    assert_eq!((lost.epoch(), lost.offset()), (first.epoch(), first.offset() + 1));
    engine.kill();
    fs::remove_dir_all(engine.data()).expect("remove");
    fs::rename(backup, engine.data()).expect("rename");
    engine.restart();
    has_come_back(&node, 2).await;
    let page = node.read(&room(), KEEP, Some(lost)).await;
    assert_eq!((page.messages.len(), page.missing), (0, Some(NotRecovered::EpochChanged)));
    let next = kept(&node, "next").await;
    assert_ne!(next.epoch(), lost.epoch(), "the number of the lost message is not given again");
}

#[tokio::test]
async fn a_connection_that_dies_silently_is_noticed() {
    let engine = Engine::nats();
    let proxy = Proxy::before(engine.address()).await;
    let (one, two) = (node(&proxy.url()).await, node(&engine.url()).await);
    one.subscribe(&[room()]).await;
    proxy.silence(true);
    two.publish(&[two.message(&room(), "lost")]).await;
    let since = Instant::now();
    one.wait_until("disconnected", |happened| count(happened, is_disconnected) > 0).await;
    assert!(since.elapsed() < Duration::from_secs(2), "{:?}", since.elapsed());
    proxy.silence(false);
    has_come_back(&one, 1).await;
    two.publish(&[two.message(&room(), "heard")]).await;
    let received = one.wait_for(&room(), 1).await;
    assert_eq!(received[0].payload, "heard");
}

#[tokio::test]
async fn a_connection_that_broke_has_one_successor() {
    let engine = Engine::nats();
    let proxy = Proxy::before(engine.address()).await;
    let node = node(&proxy.url()).await;
    node.subscribe(&[room()]).await;
    for times in 1..=3 {
        proxy.cut();
        has_come_back(&node, times).await;
    }
    assert_eq!(proxy.accepted(), 4, "no connection that nobody has use for");
}

#[tokio::test]
async fn channels_that_are_wanted_while_the_server_is_away_are_subscribed_to_later() {
    let mut engine = Engine::nats();
    let (one, two) = (node(&engine.url()).await, node(&engine.url()).await);
    let other = Channel::group("other");
    one.subscribe(from_ref(&other)).await;
    engine.kill();
    one.wait_until("disconnected", |happened| count(happened, is_disconnected) > 0).await;
    let wanted = one.backplane().subscribe(&[room()]).await;
    assert!(matches!(wanted, Err(BackplaneError::Unavailable(_))), "{wanted:?}");
    let unwanted = one.backplane().unsubscribe(&[other]).await;
    assert!(matches!(unwanted, Err(BackplaneError::Unavailable(_))), "{unwanted:?}");
    engine.restart();
    has_come_back(&one, 1).await;
    two.wait_until("connected again", |happened| count(happened, is_connected) == 2).await;
    two.publish(&[two.message(&room(), "hello")]).await;
    one.wait_for(&room(), 1).await;
}

#[tokio::test]
async fn no_message_comes_between_the_end_of_a_connection_and_the_word_of_it() {
    let mut engine = Engine::nats();
    let (one, two) = (node(&engine.url()).await, node(&engine.url()).await);
    one.subscribe(&[room()]).await;
    let restarts = async {
        for _ in 0..3 {
            tokio::time::sleep(Duration::from_millis(300)).await;
            engine.restart();
            tokio::time::sleep(Duration::from_millis(700)).await;
        }
    };
    let publishing = async {
        loop {
            let _ = two.backplane().publish(&[two.message(&room(), "x")]).await;
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::select! {
        () = restarts => {}
        () = publishing => {}
    }
    let mut is_interrupted = false;
    let mut outages = 0;
    for happening in one.happened() {
        match happening {
            Happening::Disconnected(_) => is_interrupted = true,
            Happening::Interrupted(_) => {
                is_interrupted = false;
                outages += 1;
            }
            Happening::Message(_) => assert!(!is_interrupted, "a message before the word of what may be missing"),
            Happening::Connected => {}
        }
    }
    assert!(outages >= 3, "{outages} of 3 restarts were noticed");
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("create");
    for entry in fs::read_dir(from).expect("read").flatten() {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).expect("copy");
        }
    }
}
