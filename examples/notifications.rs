//! Notifications that survive a reload: `cargo run --release --example notifications`, then open
//! http://127.0.0.1:8000/#ann and http://127.0.0.1:8000/#bob in two windows.
//!
//! Every user has a group with a history, `user/ann`. Each notification comes with its position; the page keeps the last
//! one and gives it back when it connects, `/notifications?user=ann&since=POSITION`: it is sent what it has missed, and
//! then what is new, without a gap or a double. Anything that can do a POST may notify somebody, there or not:
//! `curl --json '{"from":"cron","to":"ann","text":"The backup is done"}' http://127.0.0.1:8000/notify`

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::response::Html;
use axum::routing::{get, post};
use nexios::Asker;
use nexios::prelude::*;
use serde::{Deserialize, Serialize};

/// How many notifications of a user are kept.
const KEPT: usize = 100;

/// Who is at the other end of a connection.
#[derive(Clone)]
struct User(String);

#[derive(Deserialize)]
struct Notify {
    from: String,
    to: String,
    text: String,
}

#[derive(Serialize)]
struct Notification {
    from: String,
    text: String,
    /// Milliseconds since 1970.
    time: u64,
}

/// Believes whoever says who he is, which is good enough for a demonstration on one's own machine and for nothing else. An
/// application verifies a token here (`auth::Jwt`, and the example `production`), or a session's cookie.
async fn sign_in(mut websocket: WebSocket, call_next: Next) -> nexios::Result {
    let user = websocket.query_params().get("user").unwrap_or_default().to_owned();
    if !is_short(&user, 24) {
        return websocket.reject((StatusCode::UNAUTHORIZED, "say who you are: ?user=ann\n")).await;
    }
    websocket.extensions_mut().insert(User(user));
    call_next.run(websocket).await
}

async fn notifications(mut websocket: WebSocket, Extension(User(user)): Extension<User>) -> nexios::Result {
    let since = since(websocket.query_params().get("since").unwrap_or_default());
    websocket.accept().await?;
    let groups = websocket.groups();
    // What it has missed; all that is kept, if it was never here or that cannot be told.
    let own = Join::new().since(since).newest(KEPT);
    let joined = groups.group(format!("user/{user}")).join_with(&websocket, own).await?;
    // Tells the page which of the two it was: {"recovered":true,"position":"9f3c2a0de1b45c77-21","replayed":4}
    websocket.send_json(&joined).await?;
    // Three tabs are one user, and a tab that is reloaded was never gone: both because of the key.
    groups.group("online").join_with(&websocket, Join::new().user(&user).notices()).await?;
    loop {
        // Nothing is expected from it; this waits for its end.
        websocket.receive().await?;
    }
}

/// Where a client that comes back had been; without a text it was never here. What is no position is taken for one of a
/// stream that is gone: the client is told `"recovered":false`, and begins anew.
fn since(text: &str) -> Option<Position> {
    (!text.is_empty()).then(|| text.parse().unwrap_or(Position::new(0, 0)))
}

/// Only the user itself is told its notifications: whatever a handler does, the groups refuse it to others.
struct OwnOnly;

impl GroupPolicy for OwnOnly {
    fn may_join(&self, asker: &Asker, group: &str) -> bool {
        group.strip_prefix("user/").is_none_or(|owner| asker.get::<User>().is_some_and(|user| user.0 == owner))
    }

    fn may_see_history(&self, asker: &Asker, group: &str) -> bool {
        self.may_join(asker, group)
    }
}

/// Publishes whether the user is there or not: the history keeps it. An application asks who it is that notifies, and fills in
/// `from` itself.
async fn notify(
    groups: Groups,
    Json(Notify { from, to, text }): Json<Notify>,
) -> Result<StatusCode, (StatusCode, String)> {
    if !(is_short(&from, 24) && is_short(&to, 24) && is_short(&text, 500)) {
        let why = "names have 1 to 24 characters, a text has 1 to 500, without line breaks\n";
        return Err((StatusCode::UNPROCESSABLE_ENTITY, why.to_owned()));
    }
    let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let time = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let published = groups.group(format!("user/{to}")).send_json(&Notification { from, text, time }).await;
    published.map_err(|error| (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))?;
    Ok(StatusCode::NO_CONTENT)
}

fn is_short(text: &str, most: usize) -> bool {
    !text.trim().is_empty() && text.chars().count() <= most && !text.contains(char::is_control)
}

fn main() -> nexios::Result {
    let history = History::new().messages(KEPT).bytes(256 * 1024).age(Duration::from_hours(24)).with_positions();
    let of_user = GroupConfig::new().history(history);
    let config = GroupsConfig::new().by_name(move |name| name.starts_with("user/").then(|| of_user.clone()));
    let page = get(|| async { Html(include_str!("notifications.html")) });
    App::new()
        .groups_config(config.policy(OwnOnly))
        .websocket_route("/notifications", notifications)
        .add_ws_middleware(sign_in)
        .http(axum::Router::new().route("/", page).route("/notify", post(notify)))
        .run()
}
