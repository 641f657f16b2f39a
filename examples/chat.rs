//! A chat with rooms: `cargo run --release --example chat`, then open http://127.0.0.1:8000.
//!
//! With `--redis URL` or `--nats URL` its rooms reach over all nodes that were given the same URL: see `docs/nodes.md`. A URL
//! with a password is better given as `CHAT_REDIS` or `CHAT_NATS`: arguments are shown to everybody on the machine.
//!
//! The page is `chat.html`, the socket is at `/chat/{room}`. A room is a group: its history is what was said last, its
//! presence is who is here. Whatever a client does wrong is answered with an event of the type `error`, and the
//! connection goes on.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::response::Html;
use axum::routing::get;
use nexios::prelude::*;
use nexios::{Joined, ServerConfig};
use nexios_nats::Nats;
use nexios_redis::Redis;
use serde::{Deserialize, Serialize};

/// What somebody who joins is shown of what was said before.
const SHOWN: usize = 50;
const MAX_CONNECTIONS: usize = 100;
/// The longest name of a person, of a room, and the longest message, in characters.
const MAX_NAME: usize = 24;
const MAX_ROOM: usize = 32;
const MAX_TEXT: usize = 2000;

/// What a client sends: `{"type": "join", "name": "Ada"}`, and the position of the last message that it has, if it was
/// here before.
#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Request {
    Join {
        name: String,
        #[serde(default)]
        since: Option<String>,
    },
    Message {
        text: String,
    },
    Leave,
}

/// What a client is answered. The group tells it the rest: messages with their positions, who is here, joins and leaves.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Answer<'a> {
    Welcome { name: &'a str, joined: Joined },
    Error { message: String },
}

/// What was said, and when, in milliseconds since 1970.
#[derive(Serialize)]
struct Said<'a> {
    name: &'a str,
    text: &'a str,
    time: u64,
}

async fn chat(mut websocket: WebSocket, Path(room): Path<String>) -> nexios::Result {
    websocket.accept().await?;
    let mut guest = Guest { room: websocket.groups().group(room.trim()), name: None };
    loop {
        match guest.serve(&mut websocket).await {
            Ok(()) => {}
            // It has left the room by that: at once for a group, a few seconds later for the people in it.
            Err(error) if error.disconnect().is_some() => return Err(error),
            Err(error) => websocket.send_json(&Answer::Error { message: error.to_string() }).await?,
        }
    }
}

/// The person at the other end, who has a name once it has joined.
struct Guest {
    room: Group,
    name: Option<String>,
}

impl Guest {
    async fn serve(&mut self, websocket: &mut WebSocket) -> nexios::Result {
        match websocket.receive_json().await? {
            Request::Join { name, since } => self.join(websocket, &name, position(&since.unwrap_or_default())).await,
            Request::Message { text } => self.say(&text).await,
            Request::Leave => self.leave(websocket).await,
        }
    }

    /// One name is one person, in as many tabs as it likes: there are no passwords here, so nobody could say which of
    /// two is the right one.
    async fn join(&mut self, websocket: &mut WebSocket, name: &str, since: Option<Position>) -> nexios::Result {
        if let Some(name) = &self.name {
            return Err(Error::other(format!("you are here already, as {name}")));
        }
        let name = trimmed("name", name, MAX_NAME)?;
        if name.contains(char::is_control) {
            return Err(Error::other("a name is one line without control characters"));
        }
        trimmed("room's name", self.room.name(), MAX_ROOM)?;
        // Of those who come in the same moment one more may get in.
        if self.room.len().await? >= MAX_CONNECTIONS {
            return Err(Error::other("this room is full"));
        }
        let join = Join::new().user(name).since(since).newest(SHOWN).notices();
        let joined = self.room.join_with(websocket, join).await?;
        self.name = Some(name.to_owned());
        websocket.send_json(&Answer::Welcome { name, joined }).await
    }

    async fn say(&self, text: &str) -> nexios::Result {
        let name = self.name.as_ref().ok_or_else(|| Error::other("join the room first"))?;
        let text = trimmed("message", text, MAX_TEXT)?;
        self.room.send_json(&Said { name, text, time: now() }).await
    }

    async fn leave(&mut self, websocket: &WebSocket) -> nexios::Result {
        self.name = None;
        self.room.leave(websocket).await
    }
}

/// Where a client that comes back had been; without a text it was never here. What is no position is taken for one of a
/// stream that is gone: the client is told `"recovered":false`, and begins anew.
fn position(text: &str) -> Option<Position> {
    (!text.is_empty()).then(|| text.parse().unwrap_or(Position::new(0, 0)))
}

fn trimmed<'a>(what: &str, text: &'a str, most: usize) -> nexios::Result<&'a str> {
    let text = text.trim();
    let problem = match text.chars().count() {
        0 => format!("a {what} cannot be empty"),
        length if length > most => format!("a {what} has at most {most} characters"),
        _ => return Ok(text),
    };
    Err(Error::other(problem))
}

fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// What the program was started with decides what joins it to other nodes; nothing else differs.
fn on_several_nodes(app: App) -> nexios::Result<App> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    let variable = |name| std::env::var(name).ok().filter(|url| !url.is_empty());
    match arguments[..] {
        [] => Ok(match (variable("CHAT_REDIS"), variable("CHAT_NATS")) {
            (Some(url), None) => app.backplane(Redis::connect(url)),
            (None, Some(urls)) => app.backplane(Nats::connect(urls)),
            (None, None) => app,
            (Some(_), Some(_)) => return Err(Error::other("CHAT_REDIS and CHAT_NATS are both set")),
        }),
        ["--redis", url] => Ok(app.backplane(Redis::connect(url))),
        ["--nats", urls] => Ok(app.backplane(Nats::connect(urls))),
        _ => Err(Error::other("usage: chat [--redis URL | --nats URL]")),
    }
}

fn main() -> nexios::Result {
    let page = axum::Router::new().route("/", get(|| async { Html(include_str!("chat.html")) }));
    let history = History::new().messages(SHOWN).age(Duration::from_hours(24)).with_positions();
    let rooms = GroupsConfig::new().each(GroupConfig::new().history(history));
    let app = App::new().groups_config(rooms).websocket_route("/chat/{room}", chat).http(page).health_checks();
    // What is believed of a client's address: else all who come through a proxy are one, who may have 1,024 connections.
    let proxies = std::env::var("PROXIES").unwrap_or_default();
    let proxies = proxies.split(',').map(str::trim).filter(|proxy| !proxy.is_empty());
    let app = app.server_config(ServerConfig::new().trusted_proxies(proxies));
    on_several_nodes(app)?.run()
}
