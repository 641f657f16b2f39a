//! A chat with rooms: `cargo run --release --example chat`, then open http://127.0.0.1:8000.
//!
//! The page is `chat.html`, the socket is at `/chat/{room}`. Whatever a client does wrong is answered with an event of the
//! type `error`, and the connection goes on.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use axum::response::Html;
use axum::routing::get;
use nexios::prelude::*;
use serde::{Deserialize, Serialize};

const MAX_ROOMS: usize = 1000;
const MAX_PEOPLE: usize = 100;
/// The longest name of a person, of a room, and the longest message, in characters.
const MAX_NAME: usize = 24;
const MAX_ROOM: usize = 32;
const MAX_TEXT: usize = 2000;

/// What a client sends: `{"type": "join", "name": "Ada"}`.
#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Request {
    Join { name: String },
    Message { text: String },
    Leave,
}

/// What a client receives. Times are milliseconds since 1970.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Event<'a> {
    Welcome { name: &'a str, people: People },
    Joined { name: &'a str, time: u64, people: People },
    Left { name: &'a str, time: u64, people: People },
    Message { name: &'a str, text: &'a str, time: u64 },
    Error { message: String },
}

/// Who is in a room. Of two lists that overtook each other on their way, the one with the higher revision holds.
#[derive(Clone, Serialize)]
struct People {
    revision: u64,
    names: Vec<String>,
}

async fn chat(mut websocket: WebSocket, Path(room): Path<String>, State(rooms): State<Rooms>) -> nexios::Result {
    websocket.accept().await?;
    let room = room.trim().to_owned();
    let mut guest = Guest { group: websocket.groups().group(&room), room, rooms, seat: None };
    let result = guest.serve_all(&mut websocket).await;
    guest.leave(&websocket).await?;
    result
}

/// The person at the other end, who has joined or not.
struct Guest {
    room: String,
    rooms: Rooms,
    group: Group,
    seat: Option<Seat>,
}

impl Guest {
    async fn serve_all(&mut self, websocket: &mut WebSocket) -> nexios::Result {
        loop {
            match self.serve(websocket).await {
                Ok(()) => {}
                Err(error) if error.disconnect().is_some() => return Err(error),
                Err(error) => websocket.send_json(&Event::Error { message: error.to_string() }).await?,
            }
        }
    }

    async fn serve(&mut self, websocket: &mut WebSocket) -> nexios::Result {
        match websocket.receive_json().await? {
            Request::Join { name } => self.join(websocket, &name).await,
            Request::Message { text } => self.say(&text).await,
            Request::Leave => self.leave(websocket).await,
        }
    }

    async fn join(&mut self, websocket: &mut WebSocket, name: &str) -> nexios::Result {
        if let Some(seat) = &self.seat {
            return Err(Error::other(format!("you are here already, as {}", seat.name)));
        }
        let name = trimmed("name", name, MAX_NAME)?;
        if name.contains(char::is_control) {
            return Err(Error::other("a name is one line without control characters"));
        }
        let seat = self.rooms.enter(trimmed("room's name", &self.room, MAX_ROOM)?, name)?;
        self.group.join(websocket).await?;
        self.seat = Some(seat);
        // Read after joining the group: whoever comes from now on is either in this list or announced.
        let people = self.rooms.people(&self.room);
        websocket.send_json(&Event::Welcome { name, people: people.clone() }).await?;
        self.group.send_json_except(websocket, &Event::Joined { name, time: now(), people }).await
    }

    async fn say(&self, text: &str) -> nexios::Result {
        let seat = self.seat.as_ref().ok_or_else(|| Error::other("join the room first"))?;
        let text = trimmed("message", text, MAX_TEXT)?;
        self.group.send_json(&Event::Message { name: &seat.name, text, time: now() }).await
    }

    async fn leave(&mut self, websocket: &WebSocket) -> nexios::Result {
        let Some(seat) = self.seat.take() else { return Ok(()) };
        let name = seat.name.clone();
        drop(seat);
        self.group.leave(websocket).await?;
        let people = self.rooms.people(&self.room);
        self.group.send_json(&Event::Left { name: &name, time: now(), people }).await
    }
}

/// The app's state.
#[derive(Clone, Default)]
struct Rooms(Arc<Mutex<Names>>);

#[derive(Default)]
struct Names {
    /// The people of each room that is not empty, in the order of their coming.
    of_room: HashMap<String, Vec<String>>,
    revision: u64,
}

/// A name that is taken in a room, until this value is dropped.
struct Seat {
    rooms: Rooms,
    room: String,
    name: String,
}

impl Rooms {
    fn enter(&self, room: &str, name: &str) -> nexios::Result<Seat> {
        let mut names = self.lock();
        let is_new = !names.of_room.contains_key(room);
        if is_new && names.of_room.len() >= MAX_ROOMS {
            return Err(Error::other("there are too many rooms, try one that exists"));
        }
        let people = names.of_room.entry(room.to_owned()).or_default();
        if people.len() >= MAX_PEOPLE {
            return Err(Error::other("this room is full"));
        }
        if people.iter().any(|other| other.to_lowercase() == name.to_lowercase()) {
            return Err(Error::other(format!("the name {name} is taken in this room")));
        }
        people.push(name.to_owned());
        Ok(Seat { rooms: self.clone(), room: room.to_owned(), name: name.to_owned() })
    }

    fn people(&self, room: &str) -> People {
        let mut names = self.lock();
        names.revision += 1;
        People { revision: names.revision, names: names.of_room.get(room).cloned().unwrap_or_default() }
    }

    fn lock(&self) -> MutexGuard<'_, Names> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Seat {
    /// However the handler ends, the name is free again.
    fn drop(&mut self) {
        let rooms = &mut self.rooms.lock().of_room;
        if let Some(people) = rooms.get_mut(&self.room) {
            people.retain(|name| *name != self.name);
            if people.is_empty() {
                rooms.remove(&self.room);
            }
        }
    }
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

fn main() -> nexios::Result {
    let page = axum::Router::new().route("/", get(|| async { Html(include_str!("chat.html")) }));
    App::with_state(Rooms::default()).websocket_route("/chat/{room}", chat).http(page).run()
}
