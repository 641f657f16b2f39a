//! A member of one group, which connects again whenever it is cut.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use nexios::{Position, WebSocket};
use nexios_nodes::Command;
use serde_json::Value;
use tokio::sync::Notify;

use crate::check::{Because, Seen, Segment, Stream};
use crate::crowd::World;

/// Timeout of a handshake or a join before another node is tried: the node may be frozen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(2);

pub(crate) struct Client {
    pub(crate) cut: Notify,
    stream: Mutex<Stream>,
    /// Where it is, for when it comes again.
    position: Mutex<Option<Position>>,
}

impl Client {
    pub(crate) fn new(number: usize, group: Arc<str>) -> Self {
        let stream = Stream { client: number, group, segments: Vec::new() };
        Self { cut: Notify::new(), stream: Mutex::new(stream), position: Mutex::default() }
    }

    pub(crate) fn stream(&self) -> Stream {
        self.stream.lock().unwrap().clone()
    }

    /// For as long as the world stands.
    pub(crate) async fn live(&self, world: &World) {
        loop {
            if let Ok(Ok(websocket)) = tokio::time::timeout(PATIENCE, world.connect()).await {
                // Whatever ends it: the client comes again.
                let _ = self.member(websocket).await;
            }
            tokio::time::sleep(Duration::from_millis(fastrand::u64(20..300))).await;
        }
    }

    async fn member(&self, mut websocket: WebSocket) -> nexios::Result {
        let Stream { client, group, .. } = self.stream();
        let since = *self.position.lock().unwrap();
        let join = Command::Join { group: group.to_string(), user: format!("user {client}"), since };
        websocket.send_json(&join).await?;
        // What was missed comes before the answer, and some of what is new.
        let mut replayed = Vec::new();
        let joined = tokio::time::timeout(2 * PATIENCE, joined(&mut websocket, &mut replayed));
        let joined = joined.await.map_err(nexios::Error::other)??;
        self.joined(&joined, since, replayed);
        loop {
            tokio::select! {
                text = websocket.receive_text() => self.receive(&parse(&text?)),
                () = self.cut.notified() => return Ok(()),
            }
        }
    }

    fn joined(&self, joined: &Value, since: Option<Position>, replayed: Vec<Event>) {
        let is_recovered = since.is_some() && joined["recovered"] == true;
        if !is_recovered {
            let reason = joined["reason"].as_str().unwrap_or_default().to_owned();
            self.begin(if since.is_some() { Because::NotRecovered(reason) } else { Because::Joined });
        }
        *self.position.lock().unwrap() = position_in(joined);
        for event in replayed {
            self.receive(&event);
        }
    }

    fn receive(&self, event: &Event) {
        match event {
            Event::Gap(position) => {
                *self.position.lock().unwrap() = *position;
                self.begin(Because::Gap);
            }
            Event::Message(seen) => {
                *self.position.lock().unwrap() = seen.position;
                if let Some(segment) = self.stream.lock().unwrap().segments.last_mut() {
                    segment.seen.push(*seen);
                }
            }
            Event::Joined(_) | Event::Other => {}
        }
    }

    fn begin(&self, because: Because) {
        let segment = Segment { begin: Instant::now(), because, seen: Vec::new() };
        self.stream.lock().unwrap().segments.push(segment);
    }
}

enum Event {
    Message(Seen),
    Gap(Option<Position>),
    Joined(Value),
    Other,
}

async fn joined(websocket: &mut WebSocket, before: &mut Vec<Event>) -> nexios::Result<Value> {
    loop {
        match parse(&websocket.receive_text().await?) {
            Event::Joined(joined) => return Ok(joined),
            event => before.push(event),
        }
    }
}

fn parse(text: &str) -> Event {
    let Ok(value) = serde_json::from_str::<Value>(text) else {
        return Event::Message(seen(text, None));
    };
    let is_gap = value["event"] == "gap" && value["recovered"] == false;
    match (&value["data"], &value["joined"]) {
        _ if is_gap => Event::Gap(position_in(&value)),
        (Value::String(text), _) => Event::Message(seen(text, position_in(&value))),
        (_, joined @ Value::Object(_)) => Event::Joined(joined.clone()),
        _ => Event::Other,
    }
}

fn position_in(value: &Value) -> Option<Position> {
    value["position"].as_str().and_then(|position| position.parse().ok())
}

fn seen(text: &str, position: Option<Position>) -> Seen {
    let (publisher, number) = text.split_once('/').unwrap_or_else(|| panic!("nobody has published {text:?}"));
    Seen { publisher: publisher.parse().unwrap(), number: number.parse().unwrap(), position }
}
