//! Three servers, of which one is lost.

use std::net::Ipv4Addr;
use std::slice::from_ref;
use std::time::{Duration, Instant};

use nexios::backplane::{BackplaneError, Channel, Outgoing};
use nexios::testing::backplane::TestNode;
use nexios_engines::{Engine, Setup, free_port};
use nexios_nats::Nats;

use crate::{KEEP, count, is_connected, is_disconnected};

fn cluster() -> Vec<Engine> {
    let ports = [(); 3].map(|()| free_port(Ipv4Addr::LOCALHOST.into()));
    let routes = ports.map(|port| format!("nats://127.0.0.1:{port}"));
    let server = |number: usize| {
        let arguments = [
            format!("--name=server-{number}"),
            "--cluster_name=three".to_owned(),
            format!("--cluster={}", routes[number]),
            format!("--routes={}", routes.join(",")),
        ];
        Setup::nats().arguments(arguments).start()
    };
    (0..3).map(server).collect()
}

async fn node(url: &str) -> TestNode {
    let backplane = Nats::connect(url).replicas(3).keepalive(Duration::from_millis(500));
    let node = TestNode::start(backplane).await.expect("start");
    node.wait_until("connected", |happened| count(happened, is_connected) == 1).await;
    node
}

/// As the node does: the same message until it is taken.
async fn publish(node: &TestNode, message: Outgoing) {
    let deadline = Instant::now() + Duration::from_mins(1);
    loop {
        let call = node.backplane().publish(from_ref(&message));
        match tokio::time::timeout(Duration::from_secs(2), call).await.map(|mut answers| answers.remove(0)) {
            Ok(Ok(_)) => return,
            Ok(Err(BackplaneError::Refused(error))) => panic!("refused: {error}"),
            answer => assert!(Instant::now() < deadline, "it is not taken: {answer:?}"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn a_cluster_that_loses_any_server_loses_no_message() {
    let mut servers = cluster();
    // One URL is enough: the others are found.
    let (one, two) = (node(&servers[0].url()).await, node(&servers[1].url()).await);
    let channel = Channel::group("room");
    two.subscribe(from_ref(&channel)).await;
    let mut expected = Vec::new();
    let mut first = None;
    for lost in [None, Some(0), Some(1), Some(2)] {
        if let Some(lost) = lost {
            let server: &mut Engine = &mut servers[lost];
            server.kill();
        }
        for _ in 0..5 {
            let text = expected.len().to_string();
            publish(&one, one.message(&channel, text.clone()).kept(KEEP)).await;
            expected.push(text);
        }
        let page = read(&two, &channel).await;
        let end = page.end;
        assert_eq!(first.get_or_insert(end).epoch(), end.epoch(), "the same epoch, whoever leads");
        let texts: Vec<_> = page.messages.iter().map(|kept| String::from_utf8_lossy(&kept.payload)).collect();
        assert_eq!(texts, expected, "after the loss of {lost:?}");
        if let Some(lost) = lost {
            servers[lost].restart();
            wait_until_all_have_caught_up(&servers[lost].url()).await;
        }
    }
    assert!(count(&one.happened(), is_disconnected) > 0 && count(&two.happened(), is_disconnected) > 0);
}

#[tokio::test]
async fn a_stream_whose_server_does_not_answer_keeps_nothing_else_waiting() {
    let servers = cluster();
    let client = async_nats::connect(servers[0].url()).await.expect("a client");
    let channel = Channel::group("room");
    let first = one_replica(&servers[0].url()).await;
    publish(&first, first.message(&channel, "before").kept(KEEP)).await;
    let leader = leader_of(&client, "nexios-h100-60000").await;
    let mut others = (0..3).filter(|server| *server != leader).map(|server| servers[server].url());
    let url = others.next().expect("another server");
    let node = one_replica(&url).await;
    publish(&node, node.message(&channel, "before").kept(KEEP)).await;
    servers[leader].freeze();
    // One knows the stream, and the other one asks for it.
    for node in [node, one_replica(&url).await] {
        let batch = [node.message(&channel, "kept").kept(KEEP), node.message(&channel, "plain")];
        let since = Instant::now();
        let answers = node.backplane().publish(&batch).await;
        assert!(since.elapsed() < Duration::from_secs(2), "{:?}", since.elapsed());
        assert!(matches!(answers[..], [Err(BackplaneError::Unavailable(_)), Ok(None)]), "{answers:?}");
    }
}

async fn one_replica(url: &str) -> TestNode {
    let node = TestNode::start(Nats::connect(url)).await.expect("start");
    node.wait_until("connected", |happened| count(happened, is_connected) == 1).await;
    node
}

/// That one of three may be lost holds when all three have what there is.
async fn wait_until_all_have_caught_up(url: &str) {
    let options = async_nats::ConnectOptions::new().request_timeout(Some(Duration::from_secs(1)));
    let client = options.connect(url).await.expect("a client");
    let deadline = Instant::now() + Duration::from_mins(1);
    loop {
        let cluster = cluster_of(&client, "nexios-h100-60000").await.unwrap_or_default();
        let has_all = |replica: &serde_json::Value| replica["current"] == true && replica["offline"] != true;
        match cluster["replicas"].as_array() {
            Some(replicas) if replicas.len() == 2 && replicas.iter().all(has_all) => return,
            _ => assert!(Instant::now() < deadline, "they do not catch up: {cluster}"),
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn leader_of(client: &async_nats::Client, stream: &str) -> usize {
    let cluster = cluster_of(client, stream).await.expect("an answer");
    let leader = cluster["leader"].as_str().expect("a leader");
    leader.trim_start_matches("server-").parse().expect("a number")
}

async fn cluster_of(client: &async_nats::Client, stream: &str) -> Option<serde_json::Value> {
    let info = client.request(format!("$JS.API.STREAM.INFO.{stream}"), "".into()).await.ok()?;
    let mut info: serde_json::Value = serde_json::from_slice(&info.payload).ok()?;
    Some(info["cluster"].take())
}

async fn read(node: &TestNode, channel: &Channel) -> nexios::backplane::Page {
    let deadline = Instant::now() + Duration::from_mins(1);
    loop {
        match tokio::time::timeout(Duration::from_secs(3), node.backplane().read(channel, KEEP, None)).await {
            Ok(Ok(page)) => return page,
            answer => assert!(Instant::now() < deadline, "it cannot be read: {answer:?}"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
