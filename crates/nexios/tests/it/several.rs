//! One message to several groups, to everybody, or to one member.

use nexios::GroupError;
use nexios::prelude::*;
use nexios::testing::TestClient;

use crate::serving::{pause, within};

/// Joins the groups that the query names: `/?groups=a,b`.
async fn member(mut websocket: WebSocket, groups: Groups) -> nexios::Result {
    websocket.accept().await?;
    let names = websocket.query_params().get("groups").unwrap_or_default().to_owned();
    for name in names.split(',').filter(|name| !name.is_empty()) {
        groups.group(name).join(&websocket).await?;
    }
    websocket.send_text(format!("{}", websocket.id())).await?;
    loop {
        websocket.receive().await?;
    }
}

/// Deliberates until the test is over.
async fn undecided(mut websocket: WebSocket) -> nexios::Result {
    pause(10_000).await;
    websocket.accept().await
}

struct Members {
    client: TestClient,
    groups: Groups,
}

impl Members {
    fn new() -> Self {
        let app = App::new().websocket_route("/", member).websocket_route("/undecided", undecided);
        let groups = app.groups();
        Self { client: TestClient::new(app), groups }
    }

    /// A member of these groups, and its id.
    async fn join(&self, groups: &str) -> (WebSocket, String) {
        let mut websocket = self.client.connect(&format!("/?groups={groups}")).await.unwrap();
        let id = websocket.receive_text().await.unwrap().to_string();
        (websocket, id)
    }
}

async fn heard(websocket: &mut WebSocket, last: &str) -> Vec<String> {
    let mut texts = Vec::new();
    while texts.last().is_none_or(|text| text != last) {
        texts.push(within(websocket.receive_text()).await.unwrap().to_string());
    }
    texts
}

#[tokio::test]
async fn a_message_to_several_groups_reaches_each_member_once() {
    let members = Members::new();
    let mut sockets = Vec::new();
    for groups in ["a", "b", "a,b", "c,a,b", "c", ""] {
        sockets.push((groups, members.join(groups).await.0));
    }
    members.groups.send_to(["a", "b", "nobody's", "a"], "news").await.unwrap();
    members.groups.broadcast("end").await.unwrap();
    for (groups, socket) in &mut sockets {
        let is_member = groups.contains('a') || groups.contains('b');
        let expected: &[&str] = if is_member { &["news", "end"] } else { &["end"] };
        assert_eq!(heard(socket, "end").await, expected, "member of {groups:?}");
    }
}

#[tokio::test]
async fn a_broadcast_reaches_every_open_connection_and_no_other() {
    let members = Members::new();
    let (mut alone, _) = members.join("").await;
    let (mut grouped, _) = members.join("a").await;
    let (closed, _) = members.join("").await;
    let client = members.client.clone();
    let waiting = tokio::spawn(async move { client.connect("/undecided").await.map(drop) });
    drop(closed);
    pause(20).await;
    members.groups.broadcast("hello").await.unwrap();
    for socket in [&mut alone, &mut grouped] {
        assert_eq!(heard(socket, "hello").await, ["hello"]);
    }
    waiting.abort();
}

#[tokio::test]
async fn one_member_is_sent_to_alone() {
    let members = Members::new();
    let (mut first, id) = members.join("a").await;
    let (mut second, _) = members.join("a").await;
    let group = members.groups.group("a");
    let ids: Vec<_> = group.members().await.unwrap().iter().map(Sender::id).collect();
    let chosen = ids.into_iter().find(|other| format!("{other}") == id).unwrap();
    let sender = group.member(chosen).await.unwrap().unwrap();
    sender.send_text("for you").await.unwrap();
    group.send_text("end").await.unwrap();
    assert_eq!(heard(&mut first, "end").await, ["for you", "end"]);
    assert_eq!(heard(&mut second, "end").await, ["end"]);
    assert!(members.groups.group("b").member(chosen).await.unwrap().is_none());
}

#[tokio::test]
async fn a_bad_name_among_several_sends_nothing_to_anybody() {
    let members = Members::new();
    let (mut socket, _) = members.join("a").await;
    let error = members.groups.send_to(["a", ""], "lost").await.unwrap_err();
    assert!(matches!(error, Error::Group(GroupError::InvalidName { len: 0, .. })), "{error:?}");
    members.groups.group("a").send_text("end").await.unwrap();
    assert_eq!(heard(&mut socket, "end").await, ["end"]);
}

#[tokio::test]
async fn what_was_published_before_comes_before() {
    let members = Members::new();
    let mut sockets = Vec::new();
    // Enough for the group to put off what is published to it.
    for _ in 0..30 {
        sockets.push(members.join("a,b").await.0);
    }
    members.groups.group("a").send_text("1").await.unwrap();
    members.groups.send_to(["b"], "2").await.unwrap();
    members.groups.group("b").send_text("3").await.unwrap();
    members.groups.broadcast("4").await.unwrap();
    for socket in &mut sockets {
        assert_eq!(heard(socket, "4").await, ["1", "2", "3", "4"]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn all_members_of_a_group_see_one_order_whoever_sends_to_several() {
    const EACH: usize = 200;
    let members = Members::new();
    let mut sockets = Vec::new();
    for groups in ["a,b", "b", "b,a"].into_iter().cycle().take(30) {
        sockets.push((groups, members.join(groups).await.0));
    }
    let senders: Vec<_> = (0..4)
        .map(|sender| {
            let groups = members.groups.clone();
            tokio::spawn(async move {
                for number in 0..EACH {
                    let text = format!("{sender} {number}");
                    match sender {
                        0 => groups.send_to(["a", "b"], text).await.unwrap(),
                        1 => groups.send_to(["b", "a"], text).await.unwrap(),
                        _ => groups.group("b").send_text(text).await.unwrap(),
                    }
                }
            })
        })
        .collect();
    let mut order: Option<Vec<String>> = None;
    for (groups, socket) in &mut sockets {
        let mut texts = Vec::new();
        while texts.len() < 4 * EACH {
            texts.push(within(socket.receive_text()).await.unwrap().to_string());
        }
        assert_eq!(*order.get_or_insert_with(|| texts.clone()), texts, "member of {groups}");
    }
    for sender in senders {
        sender.await.unwrap();
    }
}

#[tokio::test]
async fn a_value_is_json_wherever_it_goes() {
    let numbered = GroupConfig::new().history(History::new().with_positions());
    let config = GroupsConfig::new().by_name(move |name| (name == "numbered").then(|| numbered.clone()));
    let app = App::new().groups_config(config).websocket_route("/", member);
    let groups = app.groups();
    let members = Members { client: TestClient::new(app), groups };
    let ((mut plain, _), (mut told, _)) = (members.join("plain").await, members.join("numbered").await);
    let value = serde_json::json!({"price": 1.5});
    members.groups.send_json_to(["plain", "numbered"], &value).await.unwrap();
    assert_eq!(within(plain.receive_text()).await.unwrap(), r#"{"price":1.5}"#);
    let envelope: serde_json::Value = within(told.receive_json()).await.unwrap();
    assert_eq!((&envelope["group"], &envelope["data"]), (&"numbered".into(), &value));
    members.groups.broadcast_json(&value).await.unwrap();
    for websocket in [&mut plain, &mut told] {
        assert_eq!(within(websocket.receive_text()).await.unwrap(), r#"{"price":1.5}"#);
    }
}
