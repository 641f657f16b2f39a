//! The app under test, on two workers, with short deadlines, so that half an hour holds many of each.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::routing::get;
use nexios::prelude::*;
use nexios::{AppHandle, Rate, ServerConfig};
use tokio::runtime::{Handle, Id};

use crate::Result;

/// Serves on a port of the loopback interface until SIGTERM.
pub fn serve(port: u16) -> Result {
    let config = Config::new()
        .compression(Compression::shared())
        .handshake_timeout(Duration::from_secs(5))
        .ping_interval(Duration::from_secs(4))
        .ping_timeout(Duration::from_secs(4))
        .message_timeout(Duration::from_secs(5))
        .close_timeout(Duration::from_secs(2))
        .message_rate(Rate::per_second(20_000));
    let history = History::new().messages(100).bytes(256 * 1024).age(Duration::from_secs(20)).with_positions();
    let room = GroupConfig::new().history(history).grace(Duration::from_secs(1));
    let groups = GroupsConfig::new()
        .histories(16 * 1024 * 1024)
        .by_name(move |name| name.starts_with("room").then(|| room.clone()));
    let app = App::new()
        .config(config)
        .server_config(ServerConfig::new().buffered_bytes(128 * 1024 * 1024))
        .groups_config(groups)
        .websocket_route("/echo", echo)
        .websocket_route("/room/{room}", room_member)
        .websocket_route("/firehose", firehose)
        .workers(2)
        .bind(format!("127.0.0.1:{port}"));
    let watch = Arc::new(Watch { handle: app.handle(), groups: app.groups(), runtimes: Mutex::default() });
    let stats = move || {
        let watch = Arc::clone(&watch);
        async move { watch.line() }
    };
    app.http(axum::Router::new().route("/stats", get(stats))).run()?;
    Ok(())
}

async fn echo(mut websocket: WebSocket) -> nexios::Result {
    websocket.accept().await?;
    loop {
        let message = websocket.receive().await?;
        websocket.send(message).await?;
    }
}

/// Says where it begins, and then what is said in the room.
async fn room_member(mut websocket: WebSocket, Path(room): Path<String>, groups: Groups) -> nexios::Result {
    websocket.accept().await?;
    let query = websocket.query_params();
    let since = query.get("since").and_then(|text| text.parse().ok());
    let user = query.get("user").unwrap_or_default().to_owned();
    let room = groups.group(format!("room {room}"));
    let joined = room.join_with(&websocket, Join::new().user(&user).since(since)).await?;
    websocket.send_json(&joined).await?;
    loop {
        let text = websocket.receive_text().await?;
        room.send_text(text).await?;
    }
}

/// Broadcasts each message to all, faster than a slow reader reads.
async fn firehose(mut websocket: WebSocket, groups: Groups) -> nexios::Result {
    websocket.accept().await?;
    let firehose = groups.group("firehose");
    firehose.join(&websocket).await?;
    loop {
        let message = websocket.receive().await?;
        firehose.send_except(&websocket, message).await?;
    }
}

struct Watch {
    handle: AppHandle,
    groups: Groups,
    /// Each worker has one: it is met when it answers.
    runtimes: Mutex<HashMap<Id, Handle>>,
}

impl Watch {
    /// Connections, tasks, groups, members, bytes in histories, bytes in queues, slow consumers so far.
    fn line(&self) -> String {
        let here = Handle::current();
        let mut runtimes = self.runtimes.lock().unwrap_or_else(PoisonError::into_inner);
        runtimes.entry(here.id()).or_insert(here);
        let tasks: usize = runtimes.values().map(|runtime| runtime.metrics().num_alive_tasks()).sum();
        let stats = self.groups.stats();
        format!(
            "{} {tasks} {} {} {} {} {}",
            self.handle.connection_count(),
            stats.groups,
            stats.members,
            stats.history_bytes,
            stats.queued_bytes,
            stats.slow_consumers
        )
    }
}
