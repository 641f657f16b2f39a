//! Several nodes: apps that a backplane joins, each of which could be a process of its own.

mod direct;
mod faulty;
mod groups;
mod outages;
mod own_engine;
mod presence;

use std::collections::VecDeque;
use std::time::Duration;

use nexios::backplane::{Memory, MemoryNode};
use nexios::prelude::*;
use nexios::testing::TestClient;
use nexios::{AppHandle, BackplaneConfig};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// How long what is to happen may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// What a client tells its handler to do.
#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Command {
    join: Option<String>,
    user: Option<String>,
    info: Option<Value>,
    since: Option<Position>,
    notices: bool,
    leave: Option<String>,
    /// To these groups.
    to: Vec<String>,
    say: Option<String>,
    /// To all but the one who says it.
    others: bool,
}

async fn obey(mut websocket: WebSocket, groups: Groups) -> nexios::Result {
    if let Some(user) = websocket.query_params().get("user").map(str::to_owned) {
        websocket.authenticate(nexios::auth::Identity::new(user))?;
    }
    websocket.accept().await?;
    loop {
        let command: Command = websocket.receive_json().await?;
        if let Some(name) = command.join {
            let mut join = Join::new().since(command.since);
            if let Some(user) = command.user {
                join = join.user(user);
            }
            if let Some(info) = command.info {
                join = join.info(&info)?;
            }
            let join = if command.notices { join.notices() } else { join };
            let joined = groups.group(name).join_with(&websocket, join).await?;
            websocket.send_json(&json!({"joined": joined})).await?;
        }
        if let Some(name) = command.leave {
            groups.group(name).leave(&websocket).await?;
        }
        if let Some(text) = command.say {
            match &command.to[..] {
                [] => groups.broadcast(text).await?,
                [name] if command.others => groups.group(name).send_text_except(&websocket, text).await?,
                [name] => groups.group(name).send_text(text).await?,
                names => groups.send_to(names, text).await?,
            }
            websocket.send_json(&json!({"said": true})).await?;
        }
    }
}

/// An app on a backplane, and what a test does to it.
pub(crate) struct TestNode {
    client: TestClient,
    pub(crate) backplane: MemoryNode,
    pub(crate) groups: Groups,
    pub(crate) handle: AppHandle,
}

/// How a test's nodes are set up.
#[derive(Clone)]
pub(crate) struct Setup {
    pub(crate) groups: GroupsConfig,
    pub(crate) backplane: BackplaneConfig,
}

impl Setup {
    /// Groups whose names begin with `h` have a history with positions; a node that is silent is soon gone.
    pub(crate) fn new() -> Self {
        let history = || GroupConfig::new().history(History::new().messages(50).with_positions());
        let groups = GroupsConfig::new().by_name(move |name| name.starts_with('h').then(history));
        let backplane = BackplaneConfig::new().timeout(Duration::from_secs(1)).node_ttl(Duration::from_millis(600));
        Self { groups, backplane }
    }

    /// An engine that does not answer is soon away. On a busy machine one that is well may be, too.
    pub(crate) fn hasty() -> Self {
        let setup = Self::new();
        Self { backplane: setup.backplane.timeout(Duration::from_millis(200)), ..setup }
    }

    pub(crate) fn app(&self, backplane: &MemoryNode) -> App {
        App::new()
            .websocket_route("/", obey)
            .health_checks()
            .groups_config(self.groups.clone())
            .backplane(backplane.clone())
            .backplane_config(self.backplane.clone())
    }

    pub(crate) fn node(&self, memory: &Memory) -> TestNode {
        let backplane = memory.node();
        let app = self.app(&backplane);
        let (groups, handle) = (app.groups(), app.handle());
        TestNode { client: TestClient::new(app), backplane, groups, handle }
    }

    pub(crate) fn nodes<const N: usize>(&self) -> (Memory, [TestNode; N]) {
        let memory = Memory::new();
        let nodes = std::array::from_fn(|_| self.node(&memory));
        (memory, nodes)
    }
}

impl TestNode {
    pub(crate) async fn connect(&self) -> Client {
        self.connect_to("/").await
    }

    pub(crate) async fn connect_to(&self, path: &str) -> Client {
        Client::new(self.client.connect(path).await.unwrap())
    }

    /// A client that is in a group.
    pub(crate) async fn member(&self, group: &str) -> Client {
        let mut client = self.connect().await;
        client.join(group).await;
        client
    }

    /// `/readyz`: the status, and the text.
    pub(crate) async fn ready(&self) -> (u16, String) {
        let response = self.client.get("/readyz").await.unwrap();
        let status = response.status().as_u16();
        let body = axum::body::to_bytes(response.into_body(), 10_000).await.unwrap();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }
}

/// A client, and what came while it waited for something else.
pub(crate) struct Client(WebSocket, VecDeque<Value>);

impl Client {
    pub(crate) fn new(websocket: WebSocket) -> Self {
        Self(websocket, VecDeque::new())
    }

    pub(crate) async fn command(&mut self, command: Command) {
        self.0.send_json(&command).await.unwrap();
    }

    pub(crate) async fn join(&mut self, group: &str) -> Value {
        self.join_with(Command { join: Some(group.into()), ..Command::default() }).await
    }

    pub(crate) async fn join_with(&mut self, command: Command) -> Value {
        self.command(command).await;
        loop {
            let mut message = self.receive().await;
            if let Some(joined) = message.get_mut("joined") {
                return joined.take();
            }
            self.1.push_back(message);
        }
    }

    /// Says something to a group, and waits until that is done; what comes meanwhile is returned.
    pub(crate) async fn say(&mut self, group: &str, text: &str) -> Vec<Value> {
        self.command(Command { to: vec![group.into()], say: Some(text.into()), ..Command::default() }).await;
        let mut before = Vec::new();
        loop {
            let message = self.next().await;
            if message.get("said").is_some() {
                return before;
            }
            before.push(message);
        }
    }

    /// The next message: JSON, or a text as a string.
    pub(crate) async fn next(&mut self) -> Value {
        match self.1.pop_front() {
            Some(message) => message,
            None => self.receive().await,
        }
    }

    async fn receive(&mut self) -> Value {
        let text = tokio::time::timeout(PATIENCE, self.0.receive_text()).await;
        let text = text.expect("a message in time").unwrap();
        let json = serde_json::from_str(&text).ok().filter(Value::is_object);
        json.unwrap_or_else(|| Value::from(text.to_string()))
    }

    pub(crate) async fn until(&mut self, is_it: impl Fn(&Value) -> bool) -> Value {
        for _ in 0..1000 {
            let message = self.next().await;
            if is_it(&message) {
                return message;
            }
        }
        panic!("not among 1,000 messages");
    }

    /// The next texts, without their positions.
    pub(crate) async fn texts(&mut self, count: usize) -> Vec<String> {
        let mut texts = Vec::new();
        while texts.len() < count {
            let message = self.next().await;
            texts.push(text_of(&message).unwrap_or_else(|| panic!("{message} after {texts:?}")));
        }
        texts
    }

    /// Nothing comes for a while.
    pub(crate) async fn silence(&mut self) {
        assert!(self.1.is_empty(), "{:?}", self.1);
        let message = tokio::time::timeout(Duration::from_millis(150), self.0.receive_text()).await;
        assert!(message.is_err(), "{message:?}");
    }
}

/// What was said, with or without its position.
pub(crate) fn text_of(message: &Value) -> Option<String> {
    message.get("data").unwrap_or(message).as_str().map(str::to_owned)
}

pub(crate) fn is_gap(message: &Value) -> bool {
    message["event"] == "gap" && message["recovered"] == false
}

/// What goes to all nodes reaches those that listen: waits until both do.
pub(crate) async fn have_met(a: &AppHandle, b: &AppHandle) {
    let knows = |handle: &AppHandle| handle.backplane().is_some_and(|status| status.nodes == 1);
    eventually("the nodes have met", async || knows(a) && knows(b)).await;
}

/// Waits until something is so.
pub(crate) async fn eventually(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while tokio::time::Instant::now() < deadline {
        if is_so().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("not in time: {what}");
}
