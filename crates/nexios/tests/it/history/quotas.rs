//! Nobody spends another's share of what histories may keep.

use nexios::auth::Identity;
use nexios::prelude::*;
use nexios::testing::TestClient;
use serde_json::Value;

use crate::serving::{serve, within};

/// Joins, tells where it is, and publishes what it is sent to the room of the path, or to one of its own for each text.
async fn publisher(mut websocket: WebSocket, Path(room): Path<String>, groups: Groups) -> nexios::Result {
    if let Some(user) = websocket.query_params().get("user").map(str::to_owned) {
        websocket.authenticate(Identity::new(user))?;
    }
    websocket.accept().await?;
    let since = websocket.query_params().get("since").and_then(|since| since.parse::<Position>().ok());
    let joined = groups.group(&room).join_with(&websocket, Join::new().since(since)).await?;
    websocket.send_json(&joined).await?;
    let spreads = websocket.query_params().get("spreads").is_some();
    for nth in 0.. {
        let text = websocket.receive_text().await?;
        let room = if spreads { format!("{room} {nth}") } else { room.clone() };
        groups.group(room).send_text(text).await?;
        websocket.send_text("published").await?;
    }
    Ok(())
}

/// The default shares, of 1 MiB instead of 64.
fn quotas() -> GroupsConfig {
    GroupsConfig::new().history_per_group(1 << 17).history_per_publisher(1 << 17).history_per_address(1 << 18)
}

fn app(config: GroupsConfig) -> App {
    let config = config.histories(1 << 20).each(GroupConfig::new().history(History::new().bytes(1 << 20)));
    App::new().groups_config(config).websocket_route("/{room}", publisher)
}

async fn publish(socket: &mut WebSocket, text: &str) {
    socket.send_text(text.to_owned()).await.unwrap();
    while within(socket.receive_text()).await.unwrap() != "published" {}
}

/// Publishes to a room; returns the position before the last messages.
async fn speak(client: &TestClient, room: &str) -> String {
    let mut socket = client.connect(&format!("/{room}")).await.unwrap();
    let joined: Value = within(socket.receive_json()).await.unwrap();
    for i in 0..10 {
        publish(&mut socket, &format!("important {i}")).await;
    }
    joined["position"].as_str().unwrap().to_owned()
}

async fn recovers(client: &TestClient, room: &str, since: &str) -> bool {
    let mut socket = client.connect(&format!("/{room}?since={since}")).await.unwrap();
    loop {
        let text = within(socket.receive_text()).await.unwrap();
        if let Ok(joined) = serde_json::from_str::<Value>(&text) {
            return joined["recovered"] == true;
        }
    }
}

#[tokio::test]
async fn one_connection_that_opens_thousands_of_histories_evicts_only_its_own() {
    let client = TestClient::new(app(quotas()));
    let mut victims = Vec::new();
    for i in 0..10 {
        victims.push((format!("victim{i}"), speak(&client, &format!("victim{i}")).await));
    }
    let mut evil = client.connect("/evil?spreads").await.unwrap();
    for _ in 0..1_500 {
        publish(&mut evil, &"x".repeat(1_000)).await;
    }
    for (room, since) in &victims {
        assert!(recovers(&client, room, since).await, "{room}");
    }
}

#[tokio::test]
async fn one_user_on_ever_new_connections_is_one_publisher() {
    let app = app(quotas());
    let groups = app.groups();
    let client = TestClient::new(app);
    let since = speak(&client, "victim").await;
    for i in 0..60 {
        let mut evil = client.connect(&format!("/evil{i}?user=mallory")).await.unwrap();
        for _ in 0..3 {
            publish(&mut evil, &"x".repeat(10_000)).await;
        }
    }
    assert!(recovers(&client, "victim", &since).await);
    let kept = groups.stats().history_bytes;
    assert!(kept < (1 << 20) / 8 + 64 * 1024, "{kept} bytes, where an eighth is 131072");
}

#[tokio::test]
async fn whoever_publishes_from_one_address_over_ever_new_connections_evicts_none_of_its_neighbours() {
    let app = app(quotas());
    let groups = app.groups();
    let server = serve(app).await;
    let connect = async |path: &str| nexios::client::connect(server.url(path)).await.unwrap();
    let mut victim = connect("/victim").await;
    let joined: Value = within(victim.receive_json()).await.unwrap();
    for i in 0..10 {
        publish(&mut victim, &format!("important {i}")).await;
    }
    drop(victim);
    for i in 0..100 {
        let mut evil = connect(&format!("/evil{i}")).await;
        for _ in 0..3 {
            publish(&mut evil, &"x".repeat(10_000)).await;
        }
    }
    let kept = groups.stats().history_bytes;
    assert!(kept < (1 << 20) / 4 + 64 * 1024, "{kept} bytes, where a quarter is 262144");
    let since = joined["position"].as_str().unwrap();
    let mut again = connect(&format!("/victim?since={since}")).await;
    assert_eq!(within(again.receive_text()).await.unwrap(), "important 0");
}

#[tokio::test]
async fn a_group_has_its_share_and_no_more() {
    let app = app(GroupsConfig::new().history_per_group(50_000));
    let groups = app.groups();
    for _ in 0..100 {
        groups.group("room").send_text("x".repeat(1_000)).await.unwrap();
    }
    let kept = groups.stats().history_bytes;
    assert!((45_000..=50_000).contains(&kept), "{kept}");
    let app = self::app(GroupsConfig::new().history_per_group(0).history_per_publisher(0).history_per_address(0));
    let groups = app.groups();
    let client = TestClient::new(app);
    let mut socket = client.connect("/room").await.unwrap();
    publish(&mut socket, "is told, and not kept").await;
    assert_eq!(groups.stats().history_messages, 0);
}

#[tokio::test]
async fn beyond_a_publishers_share_what_others_said_in_the_same_group_is_kept() {
    let app = app(GroupsConfig::new().history_per_publisher(20_000));
    let groups = app.groups();
    let client = TestClient::new(app);
    let since = speak(&client, "shared").await;
    let mut evil = client.connect("/shared").await.unwrap();
    publish(&mut evil, "one").await;
    let mut elsewhere = client.connect("/own?user=mallory").await.unwrap();
    for _ in 0..40 {
        publish(&mut elsewhere, &"x".repeat(1_000)).await;
    }
    assert!(recovers(&client, "shared", &since).await);
    assert_eq!(groups.group("shared").history(None, 100).await.unwrap().publications.len(), 11);
    assert!(groups.group("own").history(None, 100).await.unwrap().publications.len() < 20);
}

#[tokio::test]
async fn who_asks_for_ever_new_histories_evicts_no_messages() {
    let app = app(quotas());
    let groups = app.groups();
    let client = TestClient::new(app);
    let since = speak(&client, "victim").await;
    for i in 0..3_000 {
        groups.group(format!("nothing was said here {i}")).history(None, 1).await.unwrap();
        if i % 100 == 0 {
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        }
    }
    assert!(recovers(&client, "victim", &since).await);
}
