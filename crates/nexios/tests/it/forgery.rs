//! Texts of members that look like the framework's own.

use nexios::prelude::*;
use nexios::testing::TestClient;
use serde_json::{Value, json};

use crate::serving::within;

const FORGED: [&str; 6] = [
    r#"{"group":"room","event":"leave","user":"bob"}"#,
    r#"{"group":"room","event":"present","count":1,"present":[{"user":"ceo","connections":[1]}]}"#,
    r#"{"group":"room","event":"gap","recovered":false}"#,
    r#"{"request":1,"data":"your password?"}"#,
    "\",\"event\":\"leave\",\"user\":\"bob",
    r#"{"group":"room","data":"an envelope in an envelope"}"#,
];

/// Relays texts to the rooms of the path, and joins as the query says.
async fn relay(mut websocket: WebSocket, Path(rooms): Path<String>, groups: Groups) -> nexios::Result {
    websocket.accept().await?;
    let how = websocket.query_params().get("how").unwrap_or_default().to_owned();
    let rooms: Vec<_> = rooms.split('+').map(|room| groups.group(room)).collect();
    for (nth, room) in rooms.iter().enumerate() {
        let join = match &*how {
            "notices" if nth == 0 => Join::new().notices(),
            "enveloped" => Join::new().enveloped(),
            "newest" => Join::new().newest(100).notices(),
            _ => Join::new(),
        };
        room.join_with(&websocket, join).await?;
    }
    websocket.send_text("joined").await?;
    loop {
        match websocket.receive().await? {
            Message::Text(text) if text.starts_with("json:") => {
                let value: Value = serde_json::from_str(&text[5..]).unwrap();
                rooms[0].send_json_except(&websocket, &value).await?;
            }
            Message::Text(text) if text.starts_with("all:") => groups.broadcast(text[4..].to_owned()).await?,
            message => rooms[0].send_except(&websocket, message).await?,
        }
    }
}

async fn join(client: &TestClient, path: &str) -> WebSocket {
    let mut member = client.connect(path).await.unwrap();
    while within(member.receive_text()).await.unwrap() != "joined" {}
    member
}

/// What is published next, not what is noticed.
async fn data(member: &mut WebSocket) -> Value {
    loop {
        let told: Value = serde_json::from_str(&within(member.receive_text()).await.unwrap()).unwrap();
        if told["data"] != Value::Null {
            assert!(told.get("event").is_none() && told.get("request").is_none(), "{told}");
            return told;
        }
        assert!(told["event"] == "join" || told["event"] == "present", "{told}");
    }
}

#[tokio::test]
async fn who_takes_notices_gets_texts_in_envelopes_and_others_as_they_are() {
    let client = TestClient::new(App::new().websocket_route("/{rooms}", relay));
    let mut watcher = join(&client, "/room?how=notices").await;
    let mut enveloped = join(&client, "/room?how=enveloped").await;
    let mut plain = join(&client, "/room").await;
    let mut mallory = join(&client, "/room").await;
    for forged in FORGED {
        mallory.send_text(forged).await.unwrap();
        let expected = json!({ "group": "room", "data": forged });
        assert_eq!(data(&mut watcher).await, expected);
        assert_eq!(data(&mut enveloped).await, expected);
        assert_eq!(within(plain.receive_text()).await.unwrap(), forged);
        mallory.send_text(format!("all:{forged}")).await.unwrap();
        assert_eq!(data(&mut watcher).await, json!({ "data": forged }), "of no group");
        assert_eq!(data(&mut enveloped).await, json!({ "data": forged }));
        assert_eq!(within(plain.receive_text()).await.unwrap(), forged);
        assert_eq!(within(mallory.receive_text()).await.unwrap(), forged);
    }
    mallory.send_text(r#"json:{"event":"leave","data":[1]}"#).await.unwrap();
    let expected = json!({ "group": "room", "data": { "event": "leave", "data": [1] } });
    assert_eq!((data(&mut watcher).await, data(&mut enveloped).await), (expected.clone(), expected));
    mallory.send_bytes(&b"{\"event\":1}"[..]).await.unwrap();
    assert_eq!(within(enveloped.receive_bytes()).await.unwrap(), &b"{\"event\":1}"[..], "no text");
}

#[tokio::test]
async fn so_it_is_in_all_groups_of_a_connection_and_in_large_ones() {
    let client = TestClient::new(App::new().websocket_route("/{rooms}", relay));
    let mut watcher = join(&client, "/watched+room?how=notices").await;
    let mut others = Vec::new();
    for _ in 0..20 {
        others.push(join(&client, "/room").await);
    }
    let mut mallory = join(&client, "/room").await;
    for _ in 0..3 {
        for forged in FORGED {
            mallory.send_text(forged).await.unwrap();
        }
    }
    for _ in 0..3 {
        for forged in FORGED {
            assert_eq!(data(&mut watcher).await, json!({ "group": "room", "data": forged }));
            for other in &mut others {
                assert_eq!(within(other.receive_text()).await.unwrap(), forged);
            }
        }
    }
}

#[tokio::test]
async fn a_replayed_text_is_in_its_envelope_too() {
    let config = GroupsConfig::new().each(GroupConfig::new().history(History::new()));
    let client = TestClient::new(App::new().groups_config(config).websocket_route("/{rooms}", relay));
    let mut mallory = join(&client, "/room").await;
    for forged in FORGED {
        mallory.send_text(forged).await.unwrap();
    }
    let mut plain = join(&client, "/room").await;
    mallory.send_text("mark").await.unwrap();
    assert_eq!(within(plain.receive_text()).await.unwrap(), "mark");
    let mut newcomer = client.connect("/room?how=newest").await.unwrap();
    for forged in FORGED {
        assert_eq!(data(&mut newcomer).await, json!({ "group": "room", "data": forged }));
    }
}

#[tokio::test]
async fn an_envelope_is_compressed_as_messages_are() {
    let config = Config::new().compression(Compression::shared());
    let app = App::new().config(config).websocket_route("/{rooms}", relay);
    let client = TestClient::new(app);
    let mut watcher = join(&client, "/room?how=notices").await;
    let mut mallory = join(&client, "/room").await;
    for text in ["short".to_owned(), "long ".repeat(1_000), "\"".repeat(3_000)] {
        mallory.send_text(text.clone()).await.unwrap();
        assert_eq!(data(&mut watcher).await, json!({ "group": "room", "data": text }));
    }
}
