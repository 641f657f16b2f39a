//! Presence: who is in a group, what they tell of themselves, and who is told of it when.

use std::collections::{HashSet, VecDeque};
use std::time::Duration;

use nexios::prelude::*;
use nexios::testing::TestClient;
use nexios::{GroupError, NotRecovered};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::io::DuplexStream;
use tokio::time::sleep;

use crate::serving::{pipe, within};
use crate::wire::{Wire, text};

/// What a client tells its handler to do.
#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct Command {
    join: Option<Who>,
    leave: bool,
    say: Option<String>,
}

#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(default)]
struct Who {
    user: Option<String>,
    info: Option<Value>,
    notices: bool,
}

/// A member in the making; nobody is told anything of it yet.
fn user(key: &str) -> Who {
    Who { user: Some(key.into()), ..Who::default() }
}

fn anonymous() -> Who {
    Who::default()
}

impl Who {
    fn info(self, info: impl Serialize) -> Self {
        Self { info: Some(json!(info)), ..self }
    }

    fn notices(self) -> Self {
        Self { notices: true, ..self }
    }

    fn into_join(self) -> nexios::Result<Join> {
        let mut join = Join::new();
        if let Some(user) = self.user {
            join = join.user(user);
        }
        if let Some(info) = self.info {
            join = join.info(&info)?;
        }
        Ok(if self.notices { join.notices() } else { join })
    }
}

/// Does as it is told in the room of the path, and answers each join and leave.
async fn member(mut websocket: WebSocket, Path(room): Path<String>, groups: Groups) -> nexios::Result {
    websocket.accept().await?;
    let room = groups.group(&room);
    loop {
        let command: Command = websocket.receive_json().await?;
        if let Some(who) = command.join {
            let answer = match room.join_with(&websocket, who.into_join()?).await {
                Ok(joined) if joined.reason == Some(NotRecovered::AlreadyMember) => "is a member already".into(),
                Ok(_) => format!("is {}", websocket.id()),
                Err(error) => format!("refused: {error}"),
            };
            websocket.send_text(answer).await?;
        }
        if command.leave {
            room.leave(&websocket).await?;
            websocket.send_text("left").await?;
        }
        if let Some(text) = command.say {
            room.send_text(text).await?;
        }
    }
}

/// An app with its room, and clients of it.
struct Room {
    client: TestClient,
    groups: Groups,
    group: Group,
}

impl Room {
    fn new() -> Self {
        Self::with(GroupConfig::new())
    }

    fn with(config: GroupConfig) -> Self {
        Self::of_app(App::new().groups_config(GroupsConfig::new().each(config)), "room")
    }

    fn of_app(app: App, name: &str) -> Self {
        let app = app.websocket_route("/{room}", member);
        let groups = app.groups();
        let group = groups.group(name);
        Self { client: TestClient::new(app), groups, group }
    }

    /// A connection that is in no group yet.
    async fn visitor(&self) -> Member {
        self.visitor_at("/room").await
    }

    async fn visitor_at(&self, path: &str) -> Member {
        Member::new(self.client.connect(path).await.unwrap())
    }

    async fn join(&self, who: Who) -> (Member, u64) {
        let mut member = self.visitor().await;
        let id = member.join(who).await;
        (member, id)
    }

    /// A member that is told of the others.
    async fn watcher(&self) -> Member {
        self.join(anonymous().notices()).await.0
    }

    /// Who is there by its word, in the order of their JSON.
    async fn present(&self) -> Vec<Value> {
        let mut present: Vec<_> = self.group.presence().await.unwrap().iter().map(|one| json!(one)).collect();
        present.sort_by_key(Value::to_string);
        present
    }

    async fn wait_for_len(&self, wanted: usize) {
        for _ in 0..1_000 {
            if self.group.len().await.unwrap() == wanted {
                return;
            }
            tokio::task::yield_now().await;
        }
        panic!("{} members instead of {wanted}", self.group.len().await.unwrap());
    }

    /// Everything that a member was sent until now. What is published comes behind the notices of what was before.
    async fn heard(&self, member: &mut Member) -> Vec<String> {
        let mark = format!("{MARK} {}", fastrand::u64(..));
        self.group.send_text(mark.clone()).await.unwrap();
        let mut heard: Vec<_> = member.early.drain(..).collect();
        loop {
            let text = bare(&within(member.socket.receive_text()).await.unwrap());
            if text == mark {
                return heard;
            }
            if !text.starts_with(MARK) {
                heard.push(text);
            }
        }
    }
}

/// How those messages begin by which [`Room::heard`] knows where it is.
const MARK: &str = "until";

struct Member {
    socket: WebSocket,
    /// Whom it was shown when it joined, in the order of their JSON.
    shown: Vec<Value>,
    /// Notices that came before an answer.
    early: VecDeque<String>,
}

impl Member {
    fn new(socket: WebSocket) -> Self {
        Self { socket, shown: Vec::new(), early: VecDeque::new() }
    }

    async fn text(&mut self) -> String {
        match self.early.pop_front() {
            Some(text) => text,
            None => self.receive().await,
        }
    }

    async fn receive(&mut self) -> String {
        loop {
            let text = bare(&within(self.socket.receive_text()).await.unwrap());
            if !text.starts_with(MARK) {
                return text;
            }
        }
    }

    /// What its handler says next; others may be quicker with what there is to notice.
    async fn answer(&mut self) -> String {
        loop {
            match self.receive().await {
                notice if notice.starts_with('{') => self.early.push_back(notice),
                answer => return answer,
            }
        }
    }

    async fn tell(&mut self, command: Command) {
        self.socket.send_json(&command).await.unwrap();
    }

    async fn join(&mut self, who: Who) -> u64 {
        let wants_notices = who.notices;
        self.tell(Command { join: Some(who), ..Command::default() }).await;
        if wants_notices {
            self.shown = shown(&self.receive().await);
        }
        let answer = self.answer().await;
        answer.strip_prefix("is ").and_then(|id| id.parse().ok()).unwrap_or_else(|| panic!("{answer}"))
    }

    async fn leave(&mut self) {
        self.tell(Command { leave: true, ..Command::default() }).await;
        assert_eq!(self.answer().await, "left");
    }

    /// Leaves once more, and waits until everything before is done, too.
    async fn leave_after(&mut self, others: usize) {
        self.tell(Command { leave: true, ..Command::default() }).await;
        let mut lefts = 0;
        while lefts < others + 1 {
            lefts += usize::from(self.answer().await == "left");
        }
    }
}

/// What was published, out of the envelope that watchers get it in.
pub(crate) fn bare(text: &str) -> String {
    let read: Value = serde_json::from_str(text).unwrap_or_default();
    match (&read["event"], &read["data"]) {
        (Value::Null, Value::String(data)) if read["position"].is_null() => data.clone(),
        _ => text.to_owned(),
    }
}

/// Whom the first notice lists.
fn shown(first: &str) -> Vec<Value> {
    let told: Value = serde_json::from_str(first).unwrap();
    assert_eq!(told["event"], "present", "{told}");
    let mut present = told["present"].as_array().unwrap().clone();
    assert_eq!(told["count"], present.len(), "{told}");
    present.sort_by_key(Value::to_string);
    present
}

/// A connection whose end of the wire the test can drop.
async fn join_by_wire(app: App, who: Who) -> Wire<DuplexStream> {
    let (mut wire, _) = pipe(app);
    wire.handshake("/room").await;
    wire.send(text(&json!(Command { join: Some(who), ..Command::default() }).to_string())).await;
    assert!(wire.text().await.starts_with("is "));
    wire
}

fn notice(event: &str, who: &str) -> String {
    format!(r#"{{"group":"room","event":"{event}",{who}}}"#)
}

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test]
async fn a_user_with_several_connections_is_one_and_those_without_a_key_follow_one_by_one() {
    let room = Room::new();
    assert_eq!(room.present().await, [] as [Value; 0]);
    let (_plain, plain) = room.join(anonymous()).await;
    assert_eq!(room.present().await, [json!({"connections": [plain]})], "nobody told anything yet");
    let (_ann, ann) = room.join(user("ann").info(json!({"name": "Ann"}))).await;
    let (_bob, bob) = room.join(user("bob")).await;
    let (mut ann_2, ann_too) = room.join(user("ann")).await;
    let (_guest, guest) = room.join(anonymous().info("a guest")).await;
    let expected = [
        json!({"user": "ann", "info": {"name": "Ann"}, "connections": [ann, ann_too]}),
        json!({"user": "bob", "connections": [bob]}),
        json!({"info": "a guest", "connections": [guest]}),
        json!({"connections": [plain]}),
    ];
    let mut sorted = expected.to_vec();
    sorted.sort_by_key(Value::to_string);
    assert_eq!(room.present().await, sorted);
    assert_eq!(room.group.len().await.unwrap(), 5, "where presence counts people, this counts connections");
    ann_2.leave().await;
    assert!(room.present().await.contains(&json!({"user": "ann", "info": {"name": "Ann"}, "connections": [ann]})));
    // Users first, then who has no key.
    let order: Vec<_> = room.group.presence().await.unwrap().iter().map(|one| one.user.is_some()).collect();
    assert_eq!(order, [true, true, false, false]);
}

#[tokio::test]
async fn what_a_member_tells_of_itself_is_read_as_a_type_or_as_text() {
    #[derive(Debug, PartialEq, Deserialize)]
    struct Info {
        name: String,
    }
    let room = Room::new();
    let _ann = room.join(user("ann").info(json!({"name": "Änn \"A\"\n🦀"}))).await;
    let present = &room.group.presence().await.unwrap()[0];
    assert_eq!(present.user.as_deref(), Some("ann"));
    assert_eq!(present.info::<Info>().unwrap(), Some(Info { name: "Änn \"A\"\n🦀".into() }));
    assert!(matches!(present.info::<u32>(), Err(Error::Other(_))));
    assert_eq!(present.info_json(), Some(r#"{"name":"Änn \"A\"\n🦀"}"#));
    let _bob = room.join(user("bob")).await;
    let present = room.group.presence().await.unwrap();
    let bob = present.iter().find(|one| one.user.as_deref() == Some("bob")).unwrap();
    assert_eq!((bob.info::<u32>().unwrap(), bob.info_json()), (None, None));
}

#[tokio::test]
async fn the_notices_tell_who_came_went_and_changed_and_leave_out_what_there_is_none_of() {
    let room = Room::with(GroupConfig::new().grace(Duration::ZERO));
    let mut watcher = room.watcher().await;
    let (mut ann, _) = room.join(user("ann").info(json!({"name": "Ann"}))).await;
    assert_eq!(watcher.text().await, notice("join", r#""user":"ann","info":{"name":"Ann"}"#));
    let (mut ann_2, _) = room.join(user("ann").info(json!({"name": "Anna"}))).await;
    assert_eq!(watcher.text().await, notice("update", r#""user":"ann","info":{"name":"Anna"}"#));
    ann_2.leave().await;
    ann.leave().await;
    assert_eq!(watcher.text().await, notice("leave", r#""user":"ann","info":{"name":"Anna"}"#));
    let (mut bob, _) = room.join(user("bob")).await;
    assert_eq!(watcher.text().await, notice("join", r#""user":"bob""#));
    bob.leave().await;
    assert_eq!(watcher.text().await, notice("leave", r#""user":"bob""#));
    let (mut guest, id) = room.join(anonymous().info(1)).await;
    assert_eq!(watcher.text().await, notice("join", &format!(r#""connection":{id},"info":1"#)));
    guest.leave().await;
    assert_eq!(watcher.text().await, notice("leave", &format!(r#""connection":{id},"info":1"#)));
    let (plain, id) = room.join(anonymous()).await;
    assert_eq!(watcher.text().await, notice("join", &format!(r#""connection":{id}"#)));
    drop(plain);
    assert_eq!(watcher.text().await, notice("leave", &format!(r#""connection":{id}"#)));
}

#[tokio::test(start_paused = true)]
async fn who_wants_notices_is_shown_first_who_is_there() {
    let room = Room::new();
    let mut first = room.visitor().await;
    first.tell(Command { join: Some(user("ann").info(1).notices()), ..Command::default() }).await;
    let id = first.socket.receive_text().await.unwrap();
    assert!(id.starts_with(r#"{"group":"room","event":"present","count":1,"present":[{"user":"ann","info":1,"connec"#));
    let (_plain, _) = room.join(anonymous()).await;
    drop(room.join(user("bob")).await);
    room.wait_for_len(2).await;
    let (mut watcher, id) = room.join(anonymous().info("me").notices()).await;
    assert_eq!(watcher.shown, room.present().await, "with itself, and with bob, who is waited for");
    assert_eq!(watcher.shown.len(), 4);
    assert!(watcher.shown.contains(&json!({"info": "me", "connections": [id]})));
    assert!(watcher.shown.contains(&json!({"user": "bob", "connections": []})));
    assert_eq!(room.heard(&mut watcher).await, [] as [&str; 0], "once");
    watcher.leave().await;
    watcher.join(user("ann").notices()).await;
    assert_eq!(watcher.shown, room.present().await, "whenever it joins");
}

#[tokio::test]
async fn of_too_many_only_the_number_is_shown() {
    let room = Room::of_app(App::new().config(Config::new().outbound_queue(4_096)), "room");
    let mut users = Vec::new();
    for i in 0..100 {
        users.push(room.join(user(&format!("user {i}"))).await);
    }
    let mut watcher = room.visitor().await;
    watcher.tell(Command { join: Some(anonymous().notices()), ..Command::default() }).await;
    assert_eq!(watcher.text().await, r#"{"group":"room","event":"present","count":101}"#);
    assert!(watcher.text().await.starts_with("is "));
    users.pop().unwrap().0.leave().await;
    assert_eq!(watcher.text().await, notice("leave", r#""user":"user 99""#));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_joins_in_the_bustle_knows_from_the_list_and_the_notices_who_is_there() {
    let room = Room::with(GroupConfig::new().grace(Duration::from_millis(1)));
    let mut tasks = tokio::task::JoinSet::new();
    for visitor in 0..4 {
        let client = room.client.clone();
        tasks.spawn(async move {
            for i in 0..50 {
                let mut member = Member::new(client.connect("/room").await.unwrap());
                member.join(user(&format!("user {}", (visitor + i) % 5))).await;
                if i % 2 == 0 {
                    member.leave().await;
                }
            }
        });
    }
    let mut watchers = Vec::new();
    while let Some(left) = tokio::select! {
        done = tasks.join_next() => done,
        () = sleep(Duration::from_millis(1)), if watchers.len() < 30 => Some(Ok(())),
    } {
        left.unwrap();
        if watchers.len() < 30 {
            watchers.push(room.watcher().await);
        }
    }
    for _ in 0..500 {
        if room.present().await.len() == watchers.len() {
            break;
        }
        sleep(Duration::from_millis(10)).await;
    }
    for watcher in &mut watchers {
        let users = watcher.shown.iter().filter_map(|one| one["user"].as_str().map(str::to_owned));
        let mut there: HashSet<_> = users.collect();
        for told in room.heard(watcher).await {
            let told: Value = serde_json::from_str(&told).unwrap();
            let Some(user) = told["user"].as_str() else { continue };
            let is_news = if told["event"] == "join" { there.insert(user.into()) } else { there.remove(user) };
            assert!(is_news, "{told}");
        }
        assert!(there.is_empty(), "{there:?} left, and it was not told");
    }
}

#[tokio::test]
async fn of_a_users_connections_the_one_that_joined_last_with_a_value_decides() {
    let room = Room::new();
    let mut watcher = room.watcher().await;
    let mut tabs = Vec::new();
    for (info, expected) in [
        (Some(1), Some(notice("join", r#""user":"ann","info":1"#))),
        (Some(1), None),
        (Some(2), Some(notice("update", r#""user":"ann","info":2"#))),
        (None, None),
        (Some(1), Some(notice("update", r#""user":"ann","info":1"#))),
    ] {
        tabs.push(room.join(Who { info: info.map(Value::from), ..user("ann") }).await);
        assert_eq!(room.heard(&mut watcher).await, Vec::from_iter(expected), "joined with {info:?}");
    }
    // The last one goes, and what it told stays: nobody else told anything since.
    tabs.pop().unwrap().0.leave().await;
    assert_eq!(room.heard(&mut watcher).await, [] as [&str; 0]);
    let ann = room.group.presence().await.unwrap().into_iter().find(|one| one.user.is_some()).unwrap();
    assert_eq!((ann.info_json(), ann.connections.len()), (Some("1"), 4));
}

#[tokio::test]
async fn a_newcomer_is_told_nothing_of_itself() {
    let room = Room::new();
    let (mut ann, _) = room.join(user("ann").info(1).notices()).await;
    assert_eq!(room.heard(&mut ann).await, [] as [&str; 0]);
    let (mut ann_2, _) = room.join(user("ann").info(2).notices()).await;
    assert_eq!(room.heard(&mut ann_2).await, [] as [&str; 0]);
    let expected = [notice("update", r#""user":"ann","info":2"#)];
    assert_eq!(room.heard(&mut ann).await, expected, "the first tab learns what the second one changed");
    ann_2.leave().await;
    assert_eq!(room.heard(&mut ann).await, [] as [&str; 0], "one tab of two");
    // Nor of its leaving: it watches no longer.
    ann.leave().await;
    ann.join(user("ann")).await;
}

#[tokio::test]
async fn whoever_did_not_ask_is_told_nothing_and_whoever_left_is_told_no_more() {
    let room = Room::new();
    let (mut plain, _) = room.join(user("ann").info(1)).await;
    let mut watcher = room.watcher().await;
    let mut other = room.watcher().await;
    assert_eq!(room.heard(&mut plain).await, [] as [&str; 0]);
    assert_eq!(room.heard(&mut watcher).await.len(), 1, "the other watcher");
    watcher.leave().await;
    let (_bob, _) = room.join(user("bob")).await;
    assert_eq!(room.heard(&mut plain).await, [] as [&str; 0]);
    let heard = room.heard(&mut other).await;
    assert!(heard.contains(&notice("join", r#""user":"bob""#)), "{heard:?}");
    // It is asked again, and answers: nothing else was sent to it meanwhile.
    watcher.join(anonymous()).await;
    assert_eq!(room.heard(&mut watcher).await, [] as [&str; 0]);
    let (_cyd, _) = room.join(user("cyd")).await;
    assert_eq!(room.heard(&mut watcher).await, [] as [&str; 0], "this time it did not ask");
}

#[tokio::test(start_paused = true)]
async fn a_user_whose_connection_was_cut_and_who_is_back_in_time_was_never_gone() {
    let room = Room::new();
    let mut watcher = room.watcher().await;
    let (ann, first) = room.join(user("ann").info(1)).await;
    assert_eq!(room.heard(&mut watcher).await.len(), 1);
    drop(ann);
    room.wait_for_len(1).await;
    sleep(SECOND * 4).await;
    let ann_is_waited_for = json!({"user": "ann", "info": 1, "connections": []});
    assert!(room.present().await.contains(&ann_is_waited_for));
    let (_back, second) = room.join(user("ann").info(1)).await;
    assert_ne!(first, second);
    assert!(room.present().await.contains(&json!({"user": "ann", "info": 1, "connections": [second]})));
    sleep(SECOND * 60).await;
    assert_eq!(room.heard(&mut watcher).await, [] as [&str; 0]);
    assert!(room.present().await.contains(&json!({"user": "ann", "info": 1, "connections": [second]})));
}

#[tokio::test(start_paused = true)]
async fn a_user_who_is_not_back_in_time_leaves_once_and_nothing_is_left() {
    let app = App::new().websocket_route("/{room}", member);
    let groups = app.groups();
    let room = Room { client: TestClient::new(App::new()), group: groups.group("room"), groups };
    let wire = join_by_wire(app, user("ann").info(1)).await;
    assert_eq!(room.groups.len(), 1);
    // Without a Close frame: the end of the file.
    drop(wire);
    room.wait_for_len(0).await;
    sleep(Duration::from_millis(4_900)).await;
    assert_eq!(room.present().await, [json!({"user": "ann", "info": 1, "connections": []})]);
    assert_eq!(room.groups.len(), 1, "somebody is waited for");
    // Nobody calls anything: the app sees to it by itself.
    sleep(Duration::from_millis(200)).await;
    assert_eq!(room.groups.len(), 0);
    assert_eq!(room.present().await, [] as [Value; 0]);
}

#[tokio::test(start_paused = true)]
async fn those_who_watch_are_told_once_when_the_grace_is_over() {
    let room = Room::new();
    let mut watcher = room.watcher().await;
    let mut users = Vec::new();
    for key in ["ann", "bob", "cyd"] {
        users.push(room.join(user(key)).await.0);
    }
    room.heard(&mut watcher).await;
    // One after the other, a second apart: that is how they leave, too.
    for left in 1..=3 {
        drop(users.remove(0));
        room.wait_for_len(4 - left).await;
        sleep(SECOND).await;
    }
    sleep(Duration::from_millis(1_900)).await;
    assert_eq!(room.heard(&mut watcher).await, [] as [&str; 0], "4.9 s after the first was cut");
    for key in ["ann", "bob", "cyd"] {
        sleep(SECOND).await;
        assert_eq!(room.heard(&mut watcher).await, [notice("leave", &format!(r#""user":"{key}""#))]);
    }
    sleep(SECOND * 60).await;
    assert_eq!(room.heard(&mut watcher).await, [] as [&str; 0]);
    assert_eq!((room.present().await.len(), room.groups.len()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_user_who_was_back_and_is_lost_again_is_waited_for_anew() {
    let room = Room::new();
    let mut watcher = room.watcher().await;
    let (ann, _) = room.join(user("ann")).await;
    room.heard(&mut watcher).await;
    drop(ann);
    room.wait_for_len(1).await;
    sleep(SECOND * 4).await;
    drop(room.join(user("ann")).await);
    room.wait_for_len(1).await;
    sleep(SECOND * 4).await;
    assert_eq!(room.heard(&mut watcher).await, [] as [&str; 0], "8 s after the first cut, 4 s after the second");
    sleep(SECOND * 2).await;
    assert_eq!(room.heard(&mut watcher).await, [notice("leave", r#""user":"ann""#)]);
}

#[tokio::test(start_paused = true)]
async fn a_user_who_comes_back_with_other_info_is_an_update() {
    let room = Room::new();
    let mut watcher = room.watcher().await;
    drop(room.join(user("ann").info("red")).await);
    room.heard(&mut watcher).await;
    room.wait_for_len(1).await;
    let _back = room.join(user("ann").info("blue")).await;
    assert_eq!(room.heard(&mut watcher).await, [notice("update", r#""user":"ann","info":"blue""#)]);
}

#[tokio::test(start_paused = true)]
async fn who_leaves_by_its_own_will_is_gone_at_once() {
    let room = Room::new();
    let mut watcher = room.watcher().await;
    let (mut ann, _) = room.join(user("ann")).await;
    room.heard(&mut watcher).await;
    ann.leave().await;
    assert_eq!(room.heard(&mut watcher).await, [notice("leave", r#""user":"ann""#)]);
    assert_eq!(room.present().await.len(), 1);
    // Its connection's end, later, is nobody's leaving.
    drop(ann);
    sleep(SECOND * 10).await;
    assert_eq!(room.heard(&mut watcher).await, [] as [&str; 0]);
    watcher.leave().await;
    assert_eq!(room.groups.len(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_user_who_was_back_and_then_leaves_is_waited_for_by_nobody() {
    let room = Room::new();
    drop(room.join(user("ann")).await);
    room.wait_for_len(0).await;
    let (mut back, _) = room.join(user("ann")).await;
    back.leave().await;
    assert_eq!(room.present().await, [] as [Value; 0]);
    assert_eq!(room.groups.len(), 0, "a group without members, history, or anybody who is waited for");
}

#[tokio::test]
async fn a_member_changes_what_it_tells_of_itself() {
    async fn mood(mut websocket: WebSocket, groups: Groups) -> nexios::Result {
        websocket.accept().await?;
        let room = groups.group("room");
        let outside = room.set_info(&websocket, "nobody").await;
        assert!(matches!(outside, Err(Error::Group(GroupError::NotMember))), "{outside:?}");
        if let Some(user) = websocket.query_params().get("user") {
            room.join_with(&websocket, Join::new().user(user)).await?;
        } else {
            room.join(&websocket).await?;
        }
        loop {
            let mood: Value = websocket.receive_json().await?;
            let set = room.set_info(&websocket, &mood).await;
            websocket.send_text(format!("{:?}", set.is_ok())).await?;
        }
    }

    let app = App::new().groups_config(GroupsConfig::new().each(GroupConfig::new().member_info(20)));
    let app = app.websocket_route("/moods/of", mood);
    let room = Room::of_app(app, "room");
    let mut watcher = room.watcher().await;
    for (path, who) in [("/moods/of?user=ann", r#""user":"ann""#), ("/moods/of", "")] {
        let mut socket = room.client.connect(path).await.unwrap();
        let joined = watcher.text().await;
        let who =
            if who.is_empty() { joined.split_once(r#""event":"join","#).unwrap().1.trim_end_matches('}') } else { who };
        assert_eq!(joined, notice("join", who));
        for (mood, is_told) in [("happy", true), ("happy", false), ("sleepy", true)] {
            socket.send_json(&mood).await.unwrap();
            assert_eq!(socket.receive_text().await.unwrap(), "true");
            if is_told {
                assert_eq!(watcher.text().await, notice("update", &format!(r#"{who},"info":"{mood}""#)));
            }
        }
        socket.send_json(&"x".repeat(30)).await.unwrap();
        assert_eq!(socket.receive_text().await.unwrap(), "false", "too long");
        let present = room.present().await;
        assert!(present.iter().any(|one| one["info"] == "sleepy"), "{present:?}");
        drop(socket);
        if who.contains("connection") {
            assert_eq!(watcher.text().await, notice("leave", &format!(r#"{who},"info":"sleepy""#)));
        }
    }
}

#[tokio::test]
async fn a_grace_without_end_keeps_a_user_and_breaks_no_clock() {
    let history = History::new().age(Duration::MAX);
    let room = Room::with(GroupConfig::new().grace(Duration::MAX).history(history));
    let (ann, _) = room.join(user("ann")).await;
    drop(ann);
    room.wait_for_len(0).await;
    assert_eq!(room.present().await, [json!({"user": "ann", "connections": []})]);
    let (mut back, _) = room.join(user("ann")).await;
    back.leave().await;
    assert_eq!(room.present().await, [] as [Value; 0]);
}

#[tokio::test]
async fn without_a_grace_a_cut_is_a_leaving() {
    let room = Room::with(GroupConfig::new().grace(Duration::ZERO));
    let mut watcher = room.watcher().await;
    let (ann, _) = room.join(user("ann")).await;
    room.heard(&mut watcher).await;
    drop(ann);
    assert_eq!(watcher.text().await, notice("leave", r#""user":"ann""#));
    assert_eq!(room.present().await.len(), 1);
    drop(watcher);
    room.wait_for_len(0).await;
    assert_eq!(room.groups.len(), 0);
}

#[tokio::test(start_paused = true)]
async fn each_group_has_its_own_grace() {
    let config = GroupsConfig::new().by_name(|name| (name == "patient").then(|| GroupConfig::new().grace(SECOND * 60)));
    let app =
        App::new().groups_config(config).websocket_route("/", async |mut websocket: WebSocket| -> nexios::Result {
            websocket.accept().await?;
            for name in ["patient", "room"] {
                websocket.groups().group(name).join_with(&websocket, Join::new().user("ann")).await?;
            }
            Ok(())
        });
    let groups = app.groups();
    let mut socket = TestClient::new(app).connect("/").await.unwrap();
    socket.receive().await.unwrap_err();
    let present = async |name| groups.group(name).presence().await.unwrap().len();
    for (seconds, expected) in [(1, (1, 1)), (5, (1, 0)), (50, (1, 0)), (5, (0, 0))] {
        sleep(SECOND * seconds).await;
        assert_eq!((present("patient").await, present("room").await), expected);
    }
    assert_eq!(groups.len(), 0);
}

#[tokio::test(start_paused = true)]
async fn who_has_no_key_cannot_come_back_and_is_gone_at_once() {
    let room = Room::new();
    let mut watcher = room.watcher().await;
    let (guest, id) = room.join(anonymous().info("a guest")).await;
    room.heard(&mut watcher).await;
    drop(guest);
    room.wait_for_len(1).await;
    let left = notice("leave", &format!(r#""connection":{id},"info":"a guest""#));
    assert_eq!(room.heard(&mut watcher).await, [left]);
    // A user whose key looks like a connection's number is another one.
    let (_user, _) = room.join(user(&id.to_string())).await;
    assert_eq!(room.heard(&mut watcher).await, [notice("join", &format!(r#""user":"{id}""#))]);
}

#[tokio::test(start_paused = true)]
async fn of_two_tabs_the_one_that_is_cut_is_no_news() {
    let room = Room::new();
    let mut watcher = room.watcher().await;
    let (first, _) = room.join(user("ann")).await;
    let (mut second, id) = room.join(user("ann")).await;
    room.heard(&mut watcher).await;
    drop(first);
    room.wait_for_len(2).await;
    sleep(SECOND * 10).await;
    assert_eq!(room.heard(&mut watcher).await, [] as [&str; 0]);
    assert!(room.present().await.contains(&json!({"user": "ann", "connections": [id]})));
    second.leave().await;
    assert_eq!(room.heard(&mut watcher).await, [notice("leave", r#""user":"ann""#)]);
}

#[tokio::test]
async fn joining_again_changes_nothing_and_leaving_in_between_is_a_leave_and_a_join() {
    let room = Room::new();
    let mut watcher = room.watcher().await;
    let (mut ann, _) = room.join(user("ann").info(1)).await;
    room.heard(&mut watcher).await;
    ann.tell(Command { join: Some(user("bob").info(2)), ..Command::default() }).await;
    assert_eq!(ann.text().await, "is a member already");
    assert_eq!(room.heard(&mut watcher).await, [] as [&str; 0]);
    ann.leave().await;
    ann.join(user("ann").info(2)).await;
    let expected = [notice("leave", r#""user":"ann","info":1"#), notice("join", r#""user":"ann","info":2"#)];
    assert_eq!(room.heard(&mut watcher).await, expected);
}

#[tokio::test]
async fn a_key_and_info_that_are_too_long_are_an_error_and_nobody_has_joined() {
    let room = Room::with(GroupConfig::new().member_info(10));
    let mut member = room.visitor().await;
    for (who, len) in [
        (user("12345678901"), 11),
        (user("1234567").info(1_234), 11),
        (anonymous().info("123456789"), 11),
        (user("üüüüüü"), 12),
        (user("x").info("x".repeat(100_000)), 100_003),
    ] {
        member.tell(Command { join: Some(who), ..Command::default() }).await;
        let error = GroupError::InfoTooLong { len, limit: 10 };
        assert_eq!(member.text().await, format!("refused: {error}"));
        assert_eq!((room.groups.len(), room.groups.stats().members), (0, 0));
    }
    assert_eq!(
        GroupError::InfoTooLong { len: 11, limit: 10 }.to_string(),
        "a member's key and info have at most 10 bytes, not 11"
    );
    member.join(user("123456").info(1_234)).await;
    assert_eq!(room.present().await.len(), 1);
}

#[tokio::test]
async fn by_default_a_members_key_and_info_have_4_kib() {
    let room = Room::new();
    let mut member = room.visitor().await;
    // Two bytes are its quotes.
    member.tell(Command { join: Some(user("ann").info("x".repeat(4_092))), ..Command::default() }).await;
    assert!(member.text().await.starts_with("refused: "));
    member.join(user("ann").info("x".repeat(4_091))).await;
}

#[tokio::test]
async fn keys_infos_and_names_are_any_text_and_the_notices_stay_json() {
    let name = "\"q\" *>\\ \u{1}\n🦀";
    let room = Room::of_app(App::new(), name);
    let path = "/%22q%22%20*%3E%5C%20%01%0A%F0%9F%A6%80";
    let mut watcher = room.visitor_at(path).await;
    watcher.join(anonymous().notices()).await;
    for key in ["", " ", "\"", "a\nb", "\\", "\0", "*", "🦀", "\u{2028}", "</script>"] {
        let mut member = room.visitor_at(path).await;
        member.join(user(key).info(key)).await;
        for event in ["join", "leave"] {
            let told: Value = serde_json::from_str(&watcher.text().await).unwrap();
            assert_eq!(told, json!({"group": name, "event": event, "user": key, "info": key}));
            if event == "join" {
                member.leave().await;
            }
        }
    }
}

/// In a group of this size messages are put off to the end of the tick, and distributed together.
const MANY: usize = 20;

#[tokio::test]
async fn notices_and_messages_have_one_order() {
    let room = Room::of_app(
        App::new().websocket_route("/stir/it", async |mut websocket: WebSocket| -> nexios::Result {
            websocket.accept().await?;
            let group = websocket.groups().group("room");
            for i in 0..50 {
                group.send_text(format!("before {i}")).await?;
                group.join_with(&websocket, Join::new().user("ann")).await?;
                group.send_text(format!("between {i}")).await?;
                group.leave(&websocket).await?;
            }
            group.send_text("end").await?;
            websocket.receive().await.map(drop)
        }),
        "room",
    );
    let mut watchers = Vec::new();
    for _ in 0..MANY {
        watchers.push(room.watcher().await);
    }
    let _stir = room.client.connect("/stir/it").await.unwrap();
    let (joined, left) = (notice("join", r#""user":"ann""#), notice("leave", r#""user":"ann""#));
    let expected = (0..50).flat_map(|i| [format!("before {i}"), joined.clone(), format!("between {i}"), left.clone()]);
    let expected: Vec<_> = expected.chain(["end".into()]).collect();
    for (nth, watcher) in watchers.iter_mut().enumerate() {
        // Those that came after it.
        for _ in nth + 1..MANY {
            assert!(watcher.text().await.contains("\"connection\""));
        }
        for expected in &expected {
            assert_eq!(watcher.text().await, *expected);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_comes_goes_and_speaks_at_once_all_who_watch_see_one_order() {
    let room = Room::new();
    let mut watchers = Vec::new();
    for _ in 0..MANY {
        watchers.push(room.watcher().await);
    }
    let mut tasks = tokio::task::JoinSet::new();
    for speaker in 0..4 {
        let mut member = room.visitor().await;
        tasks.spawn(async move {
            for i in 0..25 {
                let who = user(&format!("user {speaker}")).info(i);
                let say = Some(format!("{speaker}.{i}"));
                member.tell(Command { join: Some(who), leave: true, say }).await;
            }
            member.leave_after(25).await;
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    room.group.send_text("end").await.unwrap();
    let mut orders = Vec::new();
    for watcher in &mut watchers {
        let mut order = Vec::new();
        while order.last().is_none_or(|text| text != "end") {
            let text = watcher.text().await;
            if !text.contains("\"connection\"") {
                order.push(text);
            }
        }
        orders.push(order);
    }
    assert_eq!(orders[0].len(), 4 * 25 * 3 + 1, "a join, a leave and a message each");
    assert!(orders.iter().all(|order| *order == orders[0]), "watchers saw different orders");
}

#[tokio::test]
async fn every_one_of_many_watchers_is_told_once() {
    let room = Room::new();
    let mut watchers = Vec::new();
    for _ in 0..100 {
        watchers.push(room.watcher().await);
    }
    let (mut ann, _) = room.join(user("ann")).await;
    ann.leave().await;
    room.group.send_text("end").await.unwrap();
    for (nth, watcher) in watchers.iter_mut().enumerate() {
        let mut told = Vec::new();
        while told.last().is_none_or(|text| text != "end") {
            told.push(watcher.text().await);
        }
        assert_eq!(told.len(), 100 - (nth + 1) + 3);
        let of_ann: Vec<_> = told.iter().filter(|text| text.contains("ann")).collect();
        assert_eq!(of_ann, [&notice("join", r#""user":"ann""#), &notice("leave", r#""user":"ann""#)]);
    }
}

#[tokio::test]
async fn a_watcher_that_does_not_read_is_closed_and_the_others_are_told_everything() {
    let config = Config::new().outbound_queue(8_192).close_timeout(Duration::from_millis(20));
    let room = Room::of_app(App::new().config(config), "room");
    let _silent = room.watcher().await;
    let mut watcher = room.watcher().await;
    let mut ann = room.visitor().await;
    let info = "x".repeat(2_000);
    // 400 KB: the pipe and the client's own buffer are full long before.
    let mut others = Vec::new();
    for _ in 0..100 {
        ann.join(user("ann").info(&info)).await;
        ann.leave().await;
        let (of_ann, rest): (Vec<_>, Vec<_>) =
            room.heard(&mut watcher).await.into_iter().partition(|text| text.contains("ann"));
        assert_eq!(of_ann, ["join", "leave"].map(|event| notice(event, &format!(r#""user":"ann","info":"{info}""#))));
        others.extend(rest);
    }
    assert_eq!(others.len(), 1, "the silent one has left");
    let (of_group, of_all) = (room.group.stats().await.unwrap(), room.groups.stats());
    assert_eq!((of_group.members, of_group.slow_consumers, of_all.slow_consumers), (1, 1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_user_that_comes_and_goes_a_thousand_times_leaves_nothing_behind() {
    let room = Room::new();
    let mut watcher = room.watcher().await;
    for i in 0..1_000 {
        drop(room.join(user("ann").info("ann")).await);
        room.wait_for_len(1).await;
        sleep(Duration::from_millis(i % 50)).await;
    }
    let heard = room.heard(&mut watcher).await;
    assert_eq!(heard, [notice("join", r#""user":"ann","info":"ann""#)], "she was never gone for 5 s");
    sleep(SECOND * 6).await;
    assert_eq!(room.heard(&mut watcher).await, [notice("leave", r#""user":"ann","info":"ann""#)]);
    drop(watcher);
    room.wait_for_len(0).await;
    assert_eq!(room.groups.len(), 0);
    let stats = room.groups.stats();
    assert_eq!((stats.groups, stats.members, stats.queued_bytes, stats.history_bytes), (0, 0, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn many_users_who_are_cut_at_once_are_given_up_together() {
    let room = Room::new();
    let mut watcher = room.watcher().await;
    let mut users = Vec::new();
    for i in 0..300 {
        users.push(room.join(user(&i.to_string())).await.0);
    }
    assert_eq!(room.heard(&mut watcher).await.len(), 300);
    drop(users);
    sleep(SECOND).await;
    assert_eq!((room.group.len().await.unwrap(), room.present().await.len()), (1, 301));
    sleep(SECOND * 5).await;
    let heard = room.heard(&mut watcher).await;
    assert_eq!(heard.len(), 300);
    assert!(heard.iter().all(|text| text.contains(r#""event":"leave""#)));
    assert_eq!(room.present().await.len(), 1);
}
