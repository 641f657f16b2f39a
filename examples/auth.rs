//! Authentication in the handshake. Run it: `cargo run --example auth`, then connect with and without
//! `?token=secret-token` to ws://127.0.0.1:8000/ws/secure (refused after accepting: the client sees 1008 and the reason)
//! or ws://127.0.0.1:8000/ws/guarded (refused before: a plain HTTP 401, and no connection at all).

use axum::http::StatusCode;
use nexios::auth::secret_eq;
use nexios::prelude::*;

const TOKEN: &str = "secret-token";

/// Browsers show their scripts a close code, but nothing of a refused handshake: for them, accept first.
async fn secure(mut websocket: WebSocket) -> nexios::Result {
    websocket.accept().await?;
    if !is_valid(websocket.query_params().get("token")) {
        return websocket.close(1008, "Unauthorized").await;
    }
    echo(websocket).await
}

/// Other clients are better served by an answer in HTTP. `close` in the place of `reject` would answer 403.
async fn guarded(mut websocket: WebSocket) -> nexios::Result {
    if !is_valid(websocket.query_params().get("token")) {
        return websocket.reject((StatusCode::UNAUTHORIZED, "no valid token\n")).await;
    }
    websocket.accept().await?;
    echo(websocket).await
}

async fn echo(mut websocket: WebSocket) -> nexios::Result {
    loop {
        let data = websocket.receive_text().await?;
        websocket.send_text(format!("Secure message: {data}")).await?;
    }
}

/// Takes as long for a token that is nearly right as for one that is all wrong: time must not tell which it is.
fn is_valid(token: Option<&str>) -> bool {
    token.is_some_and(|token| secret_eq(token, TOKEN))
}

fn main() -> nexios::Result {
    App::new().websocket_route("/ws/secure", secure).websocket_route("/ws/guarded", guarded).run()
}
