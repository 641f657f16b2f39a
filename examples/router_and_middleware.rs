//! Routers, and middleware on the app and on a router. Run it: `cargo run --example router_and_middleware`, then connect
//! to /chat, /notifications and, with and without `?token=valid-token`, /secured/chat on ws://127.0.0.1:8000.

use std::time::Instant;

use nexios::auth::secret_eq;
use nexios::prelude::*;

#[derive(Clone)]
struct User(&'static str);

async fn chat(mut websocket: WebSocket) -> nexios::Result {
    websocket.accept().await?;
    loop {
        let data = websocket.receive_text().await?;
        websocket.send_text(format!("Chat Message: {data}")).await?;
    }
}

#[websocket_route("/notifications")]
async fn notifications(mut websocket: WebSocket) -> nexios::Result {
    websocket.accept().await?;
    loop {
        let data = websocket.receive_text().await?;
        websocket.send_text(format!("Notification received: {data}")).await?;
    }
}

async fn secured_chat(mut websocket: WebSocket, Extension(user): Extension<User>) -> nexios::Result {
    websocket.accept().await?;
    loop {
        let data = websocket.receive_text().await?;
        websocket.send_text(format!("Secure Chat, {}: {data}", user.0)).await?;
    }
}

/// A function as middleware: lets nobody in without a token, and tells the handler who it is.
async fn auth_check(mut websocket: WebSocket, call_next: Next) -> nexios::Result {
    if !websocket.query_params().get("token").is_some_and(|token| secret_eq(token, "valid-token")) {
        return websocket.close(1008, "Unauthorized").await;
    }
    websocket.extensions_mut().insert(User("Ada"));
    call_next.run(websocket).await
}

/// A type as middleware: wraps a connection's whole life and sees how it ended.
struct Log;

impl WebSocketMiddleware for Log {
    async fn handle(&self, websocket: WebSocket, next: Next) -> nexios::Result {
        let (path, began) = (websocket.uri().path().to_owned(), Instant::now());
        let result = next.run(websocket).await;
        match &result {
            Ok(()) => println!("{path:?}: done after {:?}", began.elapsed()),
            Err(why) => println!("{path:?}: {why} after {:?}", began.elapsed()),
        }
        result
    }
}

fn main() -> nexios::Result {
    let open = WsRouter::new().ws_route("/chat", chat).add_ws_route(notifications);
    let secured = WsRouter::new().ws_route("/chat", secured_chat).add_ws_middleware(auth_check);
    App::new().mount_ws_router(open).mount_ws_router_at("/secured", secured).add_ws_middleware(Log).run()
}
