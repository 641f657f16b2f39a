//! Connections that come and go at any moment while others publish: nothing is lost for those who stay, and nothing is
//! left of those who went.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use nexios::prelude::*;
use nexios::testing::TestClient;

const STAYERS: usize = 24;
const PUBLISHERS: usize = 3;

/// How many connections come and go: `NEXIOS_CHURN=100000 cargo test --release -p nexios --test it churn` for many.
fn cycles() -> usize {
    std::env::var("NEXIOS_CHURN").map_or(3_000, |cycles| cycles.parse().unwrap())
}

/// Joins a group for everybody and one of its own, and echoes.
async fn member(mut websocket: WebSocket, groups: Groups) -> nexios::Result {
    websocket.accept().await?;
    groups.group(format!("{}", websocket.id())).join(&websocket).await?;
    groups.group("all").join(&websocket).await?;
    websocket.send_text("joined").await?;
    loop {
        let text = websocket.receive_text().await?;
        websocket.send_text(text).await?;
    }
}

async fn join(client: &TestClient) -> nexios::Result<WebSocket> {
    let mut websocket = client.connect("/").await?;
    // Others may have published between the join and this.
    while websocket.receive_text().await? != "joined" {}
    Ok(websocket)
}

/// Comes, and goes at a point that nobody foresees.
async fn come_and_go(client: TestClient) {
    let patience = Duration::from_micros(fastrand::u64(0..3_000));
    let visit = async {
        let mut websocket = join(&client).await?;
        for _ in 0..fastrand::usize(0..5) {
            websocket.send_text("hello").await?;
            websocket.receive_text().await?;
        }
        if fastrand::bool() { websocket.close(1000, "").await } else { Ok(()) }
    };
    // Being cut in the middle is one of the ways to go.
    let _: Result<nexios::Result, _> = tokio::time::timeout(patience, visit).await;
}

/// What a stayer hears until every publisher has said its last word: `publisher number`.
async fn listen(mut stayer: WebSocket) -> (WebSocket, Vec<String>) {
    let mut heard = Vec::new();
    let mut last_words = 0;
    while last_words < PUBLISHERS {
        let text = stayer.receive_text().await.unwrap().to_string();
        last_words += usize::from(text.ends_with("last"));
        heard.push(text);
    }
    (stayer, heard)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn those_who_stay_hear_everything_once_in_one_order_and_nothing_is_left_of_those_who_go() {
    let app = App::new().websocket_route("/", member);
    let groups = app.groups();
    let client = TestClient::new(app);
    let mut stayers = Vec::new();
    for _ in 0..STAYERS {
        stayers.push(tokio::spawn(listen(join(&client).await.unwrap())));
    }

    let over = Arc::new(AtomicBool::new(false));
    let published = Arc::new(AtomicUsize::new(0));
    let publishers: Vec<_> = (0..PUBLISHERS)
        .map(|publisher| {
            let (group, over, published) = (groups.group("all"), Arc::clone(&over), Arc::clone(&published));
            tokio::spawn(async move {
                let mut number = 0;
                while !over.load(Ordering::Relaxed) {
                    group.send_text(format!("{publisher} {number}")).await.unwrap();
                    number += 1;
                    if number % 4 == 0 {
                        tokio::time::sleep(Duration::from_millis(1)).await;
                    }
                }
                published.fetch_add(number, Ordering::Relaxed);
                group.send_text(format!("{publisher} last")).await.unwrap();
            })
        })
        .collect();

    let mut visits = tokio::task::JoinSet::new();
    for _ in 0..cycles() {
        if visits.len() >= 64 {
            visits.join_next().await.unwrap().unwrap();
        }
        visits.spawn(come_and_go(client.clone()));
    }
    while let Some(visit) = visits.join_next().await {
        visit.unwrap();
    }
    over.store(true, Ordering::Relaxed);
    for publisher in publishers {
        publisher.await.unwrap();
    }

    let mut order: Option<Vec<String>> = None;
    let mut left = Vec::new();
    for stayer in stayers {
        let (stayer, heard) = tokio::time::timeout(Duration::from_mins(1), stayer).await.unwrap().unwrap();
        assert_eq!(heard.len(), published.load(Ordering::Relaxed) + PUBLISHERS, "once each");
        for publisher in 0..PUBLISHERS {
            let of_one: Vec<_> = heard.iter().filter(|text| text.starts_with(&format!("{publisher} "))).collect();
            let (last, numbers) = of_one.split_last().unwrap();
            assert!(last.ends_with("last"));
            assert!(numbers.iter().enumerate().all(|(i, text)| **text == format!("{publisher} {i}")), "a gap");
        }
        assert_eq!(*order.get_or_insert_with(|| heard.clone()), heard, "all hear the same order");
        left.push(stayer);
    }

    let handle = client.handle();
    wait_until(|| handle.connection_count() == STAYERS).await;
    assert_eq!(groups.group("all").len().await.unwrap(), STAYERS);
    assert_eq!(groups.len(), STAYERS + 1, "one group each, and the one for all");
    drop(left);
    wait_until(|| handle.connection_count() == 0 && groups.is_empty()).await;
}

async fn wait_until(condition: impl Fn() -> bool) {
    for _ in 0..1_000 {
        if condition() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("it took longer than 10 s");
}
