//! Our node in the bench of several nodes: `node --port N [--redis URL | --nats URL] [--history]`.
//!
//! On `/publish` every message goes to the room, on `/subscribe` one hears the room, on `/many/{first}` one is in a
//! thousand rooms that nobody publishes to.

use nexios::prelude::*;
use nexios_nats::Nats;
use nexios_redis::Redis;

/// As many groups as a connection may be in by default.
const MANY: usize = 1_000;

async fn publish(mut websocket: WebSocket, groups: Groups) -> nexios::Result {
    websocket.accept().await?;
    let room = groups.group("room");
    loop {
        let message = websocket.receive().await?;
        room.send(message).await?;
    }
}

async fn subscribe(mut websocket: WebSocket, groups: Groups) -> nexios::Result {
    websocket.accept().await?;
    groups.group("room").join(&websocket).await?;
    listen(websocket).await
}

async fn many(mut websocket: WebSocket, Path(first): Path<usize>, groups: Groups) -> nexios::Result {
    websocket.accept().await?;
    for number in first..first + MANY {
        groups.group(format!("room/{number}")).join(&websocket).await?;
    }
    websocket.send_text("joined").await?;
    listen(websocket).await
}

async fn listen(mut websocket: WebSocket) -> nexios::Result {
    loop {
        websocket.receive().await?;
    }
}

fn main() -> nexios::Result {
    let (mut app, mut port) = (App::new(), 8000_u16);
    let mut words = std::env::args().skip(1);
    while let Some(option) = words.next() {
        let mut value = || words.next().ok_or_else(|| Error::other(format!("{option} needs a value")));
        match option.as_str() {
            "--port" => port = value()?.parse().map_err(Error::other)?,
            "--redis" => app = app.backplane(Redis::connect(value()?)),
            "--nats" => app = app.backplane(Nats::connect(value()?)),
            "--history" => {
                app = app.groups_config(GroupsConfig::new().each(GroupConfig::new().history(History::new())));
            }
            _ => return Err(Error::other(format!("unknown option {option}"))),
        }
    }
    // The load answers no pings.
    app.config(Config::new().ping_interval(None))
        .websocket_route("/publish", publish)
        .websocket_route("/subscribe", subscribe)
        .websocket_route("/many/{first}", many)
        .bind(format!("127.0.0.1:{port}"))
        .workers(1)
        .run()
}
