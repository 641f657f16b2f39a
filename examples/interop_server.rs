//! Routes to try other WebSocket clients against: `NEXIOS_PORT=9001 cargo run --release --example interop_server`
//! (`cargo xtask interop` does so with Python, Node and a browser).
//!
//! `NEXIOS_COMPRESSION` is `off` (the default), `shared` or `dedicated`.

use axum::http::StatusCode;
use axum::routing::get;
use nexios::prelude::*;
use serde::Deserialize;
use serde_json::{Value, json};

async fn echo(mut websocket: WebSocket) -> nexios::Result {
    websocket.accept().await?;
    loop {
        let message = websocket.receive().await?;
        websocket.send(message).await?;
    }
}

async fn answer_json(mut websocket: WebSocket) -> nexios::Result {
    websocket.accept().await?;
    loop {
        let value: Value = websocket.receive_json().await?;
        websocket.send_json(&json!({ "received": value })).await?;
    }
}

#[derive(Deserialize)]
struct Closing {
    code: u16,
    #[serde(default)]
    reason: String,
}

async fn close(mut websocket: WebSocket, Query(closing): Query<Closing>) -> nexios::Result {
    websocket.accept().await?;
    websocket.close(closing.code, closing.reason).await
}

/// Speaks `v2.nexios` with clients that offer it, and no subprotocol with others.
async fn subprotocol(mut websocket: WebSocket) -> nexios::Result {
    let is_offered = websocket.subprotocols().any(|name| name == "v2.nexios");
    let accept = if is_offered { Accept::new().subprotocol("v2.nexios") } else { Accept::new() };
    websocket.accept_with(accept).await?;
    loop {
        let message = websocket.receive().await?;
        websocket.send(message).await?;
    }
}

/// Closing before accepting answers 403.
async fn refuse(mut websocket: WebSocket) -> nexios::Result {
    websocket.close(1008, "not for you").await
}

async fn reject(mut websocket: WebSocket) -> nexios::Result {
    websocket.reject((StatusCode::UNAUTHORIZED, "no token")).await
}

fn compression() -> nexios::Result<Compression> {
    let word = std::env::var("NEXIOS_COMPRESSION").unwrap_or_else(|_| "off".to_owned());
    word.parse().map_err(|error| Error::other(format!("NEXIOS_COMPRESSION: {error}")))
}

fn main() -> nexios::Result {
    App::new()
        .config(Config::new().compression(compression()?))
        .websocket_route("/echo", echo)
        .websocket_route("/json", answer_json)
        .websocket_route("/close", close)
        .websocket_route("/subprotocol", subprotocol)
        .websocket_route("/refuse", refuse)
        .websocket_route("/reject", reject)
        .http(axum::Router::new().route("/", get(|| async { "interop" })))
        .run()
}
