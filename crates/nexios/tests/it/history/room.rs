//! Rooms with a history, and visitors who come back to them.

use nexios::prelude::*;
use nexios::testing::TestClient;
use nexios::{HistoryPage, Joined};

use crate::serving::within;

pub(super) struct Rooms {
    pub(super) client: TestClient,
    pub(super) groups: Groups,
}

/// A visitor, and what it was told before its join was reported to it.
pub(super) struct Visitor {
    pub(super) websocket: WebSocket,
    pub(super) missed: Vec<Message>,
    pub(super) joined: Report,
}

/// [`Joined`], as a client reads it.
#[derive(Debug, PartialEq, serde::Deserialize)]
pub(super) struct Report {
    pub(super) recovered: bool,
    pub(super) position: Option<Position>,
    pub(super) replayed: usize,
    pub(super) reason: Option<String>,
}

/// `/room?since=…&newest=…&and=other`: joins the other room, then this one, and reports how that went. `again …` joins
/// another time, `leave` leaves, and what else is said goes to all others.
async fn visit(mut websocket: WebSocket, Path(room): Path<String>, groups: Groups) -> nexios::Result {
    websocket.accept().await?;
    let room = groups.group(&room);
    let params = websocket.query_params();
    let since = params.get("since").map(|since| since.parse::<Position>().unwrap());
    let newest = params.get("newest").map(|newest| newest.parse().unwrap());
    let other = params.get("and").map(str::to_owned);
    if let Some(other) = other {
        groups.group(other).join(&websocket).await?;
    }
    let mut join = Join::new().since(since);
    if let Some(newest) = newest {
        join = join.newest(newest);
    }
    let joined = room.join_with(&websocket, join).await?;
    report(&mut websocket, &joined).await?;
    loop {
        let text = websocket.receive_text().await?;
        match text.split_once(' ') {
            Some(("again", since)) => {
                let joined = room.join_since(&websocket, since.parse::<Position>().unwrap()).await?;
                report(&mut websocket, &joined).await?;
            }
            _ if text == "leave" => {
                room.leave(&websocket).await?;
                websocket.send_text("left").await?;
            }
            _ => room.send_text_except(&websocket, text).await?,
        }
    }
}

async fn report(websocket: &mut WebSocket, joined: &Joined) -> nexios::Result {
    websocket.send_text(format!("joined {}", serde_json::to_string(joined).unwrap())).await
}

impl Rooms {
    pub(super) fn new(config: GroupsConfig) -> Self {
        Self::with(config, Config::new())
    }

    pub(super) fn with(config: GroupsConfig, connections: Config) -> Self {
        let app = App::new().groups_config(config).config(connections).websocket_route("/{room}", visit);
        let groups = app.groups();
        Self { client: TestClient::new(app), groups }
    }

    /// Every room has this history.
    pub(super) fn keeping(history: History) -> Self {
        Self::new(GroupsConfig::new().each(GroupConfig::new().history(history)))
    }

    pub(super) async fn visit(&self, path: &str) -> Visitor {
        Visitor::arrive(self.client.connect(path).await.unwrap()).await
    }

    pub(super) async fn say(&self, room: &str, numbers: std::ops::Range<usize>) {
        for number in numbers {
            self.groups.group(room).send_text(number.to_string()).await.unwrap();
        }
    }

    pub(super) async fn page(&self, room: &str, since: impl Into<Option<Position>>, limit: usize) -> HistoryPage {
        self.groups.group(room).history(since, limit).await.unwrap()
    }

    /// The texts that are kept.
    pub(super) async fn kept(&self, room: &str) -> Vec<String> {
        texts(&self.page(room, None, usize::MAX).await)
    }

    pub(super) async fn position(&self, room: &str) -> Position {
        self.page(room, None, 0).await.position
    }
}

impl Visitor {
    pub(super) async fn arrive(mut websocket: WebSocket) -> Self {
        let mut missed = Vec::new();
        let joined = read_report(&mut websocket, &mut missed).await;
        Self { websocket, missed, joined }
    }

    /// Does what the handler understands.
    pub(super) async fn again(&mut self, since: Position) -> (Vec<Message>, Report) {
        self.websocket.send_text(format!("again {since}")).await.unwrap();
        let mut before = Vec::new();
        let report = read_report(&mut self.websocket, &mut before).await;
        (before, report)
    }

    pub(super) async fn hears(&mut self, expected: impl IntoIterator<Item = usize>) {
        for number in expected {
            assert_eq!(within(self.websocket.receive_text()).await.unwrap(), number.to_string());
        }
    }

    /// The numbers that it had missed.
    pub(super) fn numbers(&self) -> Vec<usize> {
        self.missed.iter().map(|message| message.as_text().unwrap().parse().unwrap()).collect()
    }
}

async fn read_report(websocket: &mut WebSocket, before: &mut Vec<Message>) -> Report {
    loop {
        let message = within(websocket.receive()).await.unwrap();
        match message.as_text().and_then(|text| text.strip_prefix("joined ")) {
            Some(report) => return serde_json::from_str(report).unwrap(),
            None => before.push(message),
        }
    }
}

pub(super) fn texts(page: &HistoryPage) -> Vec<String> {
    page.publications.iter().map(|one| one.message.as_text().unwrap().to_owned()).collect()
}

pub(super) fn offsets(page: &HistoryPage) -> Vec<u64> {
    page.publications.iter().map(|one| one.position.offset()).collect()
}

pub(super) fn numbers(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|number| number.to_string()).collect()
}

/// Another place in the same stream.
pub(super) fn at(position: Position, offset: u64) -> Position {
    format!("{:016x}-{offset}", position.epoch()).parse().unwrap()
}
