//! What cannot work, and what the operator is told of it.

use std::slice::from_ref;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use nexios::backplane::{Backplane, BackplaneError, Channel, Outgoing};
use nexios::testing::backplane::{Happening, TestNode};
use nexios_engines::{Engine, Setup};
use nexios_nats::Nats;

use crate::{KEEP, count, is_connected, is_disconnected, node};

async fn publish(node: &TestNode, message: Outgoing) -> Result<(), BackplaneError> {
    node.backplane().publish(&[message]).await.remove(0).map(|_| ())
}

async fn why_not(backplane: Nats) -> String {
    let node = TestNode::start(backplane).await.expect("start");
    node.wait_until("disconnected", |happened| count(happened, is_disconnected) > 0).await;
    let why = node.happened().into_iter().find_map(|happening| match happening {
        Happening::Disconnected(why) => Some(why),
        _ => None,
    });
    assert_eq!(count(&node.happened(), is_connected), 0);
    node.stop().await;
    why.expect("a reason")
}

#[tokio::test]
async fn settings_that_cannot_work_are_an_error_of_the_start() {
    let wrong = [
        Nats::connect("http://localhost"),
        Nats::connect(""),
        Nats::connect("localhost").prefix("a.b"),
        Nats::connect("localhost").replicas(0),
        Nats::connect("localhost").credentials("/does/not/exist"),
    ];
    for backplane in wrong {
        let text = format!("{backplane:?}");
        let error = TestNode::start(backplane).await.map(|_| ()).expect_err(&text);
        assert!(matches!(error, BackplaneError::Settings(_)), "{text}: {error}");
    }
}

#[tokio::test]
async fn a_wrong_password_is_told_without_the_password() {
    let engine = Setup::nats().arguments(["--user", "me", "--pass", "right"]).start();
    let why = why_not(Nats::connect(format!("nats://me:hunter2@{}", engine.address()))).await;
    assert!(why.contains("does not accept the user and password"), "{why}");
    assert!(why.contains(&engine.address().to_string()) && !why.contains("hunter2"), "{why}");
    let login = format!("nats://me:right@{}", engine.address());
    let node = node(&login).await;
    node.publish(&[node.message(&Channel::all_nodes(), "hello").kept(KEEP)]).await;
}

#[tokio::test]
async fn a_token_is_what_stands_alone_before_the_host() {
    let engine = Setup::nats().arguments(["--auth", "s3cret"]).start();
    let why = why_not(Nats::connect(format!("nats://hunter2@{}", engine.address()))).await;
    assert!(!why.contains("hunter2"), "{why}");
    node(&format!("nats://s3cret@{}", engine.address())).await;
}

#[tokio::test]
async fn a_server_that_is_not_there_is_waited_for() {
    let mut engine = Engine::nats();
    engine.kill();
    let backplane = Nats::connect(engine.url());
    let node = TestNode::start(backplane).await.expect("start");
    node.wait_until("disconnected", |happened| count(happened, is_disconnected) > 1).await;
    engine.restart();
    node.wait_until("connected", |happened| count(happened, is_connected) == 1).await;
}

#[tokio::test]
async fn a_message_that_is_too_large_is_refused_and_the_others_are_not() {
    let engine = Engine::nats();
    let node = node(&engine.url()).await;
    let channel = Channel::group("room");
    node.subscribe(from_ref(&channel)).await;
    let large = vec![0_u8; 1024 * 1024 + 1];
    for message in [node.message(&channel, large.clone()), node.message(&channel, large).kept(KEEP)] {
        let error = publish(&node, message).await.expect_err("too large");
        assert!(matches!(error, BackplaneError::Refused(_)), "{error}");
        assert!(error.to_string().contains("max_payload"), "{error}");
    }
    publish(&node, node.message(&channel, "small")).await.expect("small");
    // All that a message may have, with and without headers.
    publish(&node, node.message(&channel, vec![0_u8; 1024 * 1024])).await.expect("just small enough");
    publish(&node, node.message(&channel, vec![0_u8; 1024 * 1024 - 128]).kept(KEEP)).await.expect("with headers");
    node.wait_for(&channel, 3).await;
    assert_eq!(node.read(&channel, KEEP, None).await.messages.len(), 1);
    assert_eq!(count(&node.happened(), is_disconnected), 0, "{:?}", node.happened());
}

#[tokio::test]
async fn without_jetstream_there_is_no_history_and_the_operator_is_told_how() {
    let engine = Setup::nats().argument("--jetstream=false").start();
    let node = node(&engine.url()).await;
    let channel = Channel::group("room");
    node.subscribe(from_ref(&channel)).await;
    node.publish(&[node.message(&channel, "plain")]).await;
    node.wait_for(&channel, 1).await;
    let error = publish(&node, node.message(&channel, "kept").kept(KEEP)).await.expect_err("no JetStream");
    assert!(matches!(error, BackplaneError::Refused(_)), "{error}");
    assert!(error.to_string().contains("JetStream") && error.to_string().contains("-js"), "{error}");
    let error = node.backplane().read(&channel, KEEP, None).await.expect_err("no JetStream");
    assert!(error.to_string().contains("JetStream"), "{error}");
}

#[tokio::test]
async fn replicas_without_a_cluster_are_refused() {
    let engine = Engine::nats();
    let backplane = Nats::connect(engine.url()).replicas(3);
    let node = TestNode::start(backplane).await.expect("start");
    node.wait_until("connected", |happened| count(happened, is_connected) == 1).await;
    let message = node.message(&Channel::group("room"), "kept").kept(KEEP);
    let error = publish(&node, message).await.expect_err("no cluster");
    assert!(matches!(error, BackplaneError::Refused(_)), "{error}");
}

#[tokio::test]
async fn a_backplane_that_has_stopped_answers_everything() {
    let engine = Engine::nats();
    let node = node(&engine.url()).await;
    let channel = Channel::group("room");
    node.stop().await;
    node.stop().await;
    let soon = Duration::from_secs(1);
    let backplane: &dyn Backplane = node.backplane();
    for answer in [
        tokio::time::timeout(soon, backplane.subscribe(from_ref(&channel))).await,
        tokio::time::timeout(soon, backplane.unsubscribe(from_ref(&channel))).await,
        tokio::time::timeout(soon, publish(&node, node.message(&channel, "late"))).await,
    ] {
        assert!(matches!(answer, Ok(Err(BackplaneError::Unavailable(_)))), "{answer:?}");
    }
}

#[tokio::test]
async fn a_subscription_that_the_server_refuses_is_told() {
    // One of them is for answers.
    let engine = Setup::nats().configuration("max_subscriptions: 3").start();
    let node = node(&engine.url()).await;
    let channels: Vec<_> = (0..5).map(|n| Channel::group(&n.to_string())).collect();
    // Whether it is seen before the answer or behind it is a matter of luck.
    let _ = node.backplane().subscribe(&channels).await;
    let is_told = |happening: &Happening| matches!(happening, Happening::Disconnected(why) if why.contains("maximum"));
    node.wait_until("told", |happened| happened.iter().any(is_told)).await;
    // Without those for which there is no room, the next connection stands.
    let _ = node.backplane().unsubscribe(&channels[2..]).await;
    let deadline = Instant::now() + Duration::from_secs(30);
    while node.received(&channels[0]).is_empty() {
        assert!(Instant::now() < deadline, "nothing comes: {:?}", node.happened());
        let _ = publish(&node, node.message(&channels[0], "hello")).await;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A server with a user that may publish to these subjects, and its URL.
fn with_permissions(publish: &[&str]) -> (Engine, String) {
    let user = format!("publish: {publish:?}, subscribe: [\"nexios.>\"]");
    let text = format!("authorization {{ users: [{{ user: app, password: secret, permissions: {{ {user} }} }}] }}");
    let engine = Setup::nats().configuration(text).start();
    let url = format!("nats://app:secret@{}", engine.address());
    (engine, url)
}

/// Those of docs/nodes.md.
const PERMISSIONS: &[&str] = &[
    "nexios.>",
    "$JS.API.STREAM.INFO.*",
    "$JS.API.STREAM.CREATE.*",
    "$JS.API.STREAM.DELETE.*",
    "$JS.API.STREAM.MSG.GET.*",
    "$JS.API.DIRECT.GET.*",
];

#[tokio::test]
async fn the_permissions_that_the_documentation_tells_of_are_enough() {
    let documentation = include_str!("../../../../docs/nodes.md");
    for subject in PERMISSIONS {
        assert!(documentation.contains(&format!("\"{subject}\"")), "{subject} is not in docs/nodes.md");
    }
    let (engine, url) = with_permissions(PERMISSIONS);
    let node = node(&url).await;
    let channel = Channel::group("room");
    node.subscribe(from_ref(&channel)).await;
    assert!(node.read(&channel, KEEP, None).await.messages.is_empty());
    node.publish(&[node.message(&channel, "plain")]).await;
    for n in 0..3 {
        node.publish(&[node.message(&channel, n.to_string()).kept(KEEP)]).await;
    }
    node.wait_for(&channel, 4).await;
    let page = node.read(&channel, KEEP, None).await;
    assert_eq!(page.messages.len(), 3);
    node.publish(&[node.message(&Channel::group("other"), "text").kept(KEEP)]).await;
    let page = node.read(&channel, KEEP, Some(page.messages[0].position)).await;
    assert_eq!((page.messages.len(), page.missing), (2, None));
    node.unsubscribe(from_ref(&channel)).await;
    assert_eq!(count(&node.happened(), is_disconnected), 0, "{:?}", node.happened());

    // What is asked of a cluster, and of a stream that has lost its end.
    let options = async_nats::ConnectOptions::with_user_and_password("app".into(), "secret".into());
    let client = options.connect(engine.url()).await.expect("a client");
    let mut answers = client.subscribe("nexios.answers").await.expect("a subscription");
    for what in ["MSG.GET", "DELETE"] {
        let request = if what == "DELETE" { "" } else { "{\"seq\":1}" };
        let subject = format!("$JS.API.STREAM.{what}.nexios-h100-60000");
        client.publish_with_reply(subject, "nexios.answers", request.into()).await.expect("a request");
        let answer = tokio::time::timeout(Duration::from_secs(10), answers.next()).await.expect("an answer");
        let payload = answer.expect("a message").payload;
        assert!(!String::from_utf8_lossy(&payload).contains("error"), "{what}: {payload:?}");
    }
}

#[tokio::test]
async fn what_the_server_does_not_let_through_is_answered_at_once() {
    let (_engine, url) = with_permissions(&["nexios.>"]);
    let node = node(&url).await;
    let channel = Channel::group("room");
    let soon = Duration::from_millis(1500);
    let answer = tokio::time::timeout(soon, publish(&node, node.message(&channel, "kept").kept(KEEP))).await;
    let error = answer.expect("an answer").expect_err("no permission");
    assert!(matches!(error, BackplaneError::Refused(_)) && error.to_string().contains("$JS.API"), "{error}");
    let answer = tokio::time::timeout(soon, node.backplane().read(&channel, KEEP, None)).await;
    let error = answer.expect("an answer").expect_err("no permission");
    assert!(error.to_string().contains("$JS.API"), "{error}");
    publish(&node, node.message(&channel, "plain")).await.expect("what is permitted works");
    assert_eq!(count(&node.happened(), is_disconnected), 0, "{:?}", node.happened());
}
