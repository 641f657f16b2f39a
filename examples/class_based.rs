//! A connection's logic as a type. Run it: `cargo run --example class_based`, then connect to ws://127.0.0.1:8000/chat.

use nexios::prelude::*;

/// Each connection has a value of its own.
#[derive(Default)]
struct ChatEndpoint {
    received: usize,
}

impl WebSocketEndpoint for ChatEndpoint {
    type Message = Utf8Bytes;

    async fn on_connect(&mut self, websocket: &mut WebSocket) -> nexios::Result {
        websocket.accept().await?;
        println!("WebSocket connection accepted.");
        Ok(())
    }

    async fn on_receive(&mut self, websocket: &mut WebSocket, text: Utf8Bytes) -> nexios::Result {
        self.received += 1;
        // Quoted: what a stranger sends must not steer the terminal.
        println!("Received message: {text:?}");
        websocket.send_text(format!("Echo: {text}")).await
    }

    async fn on_disconnect(&mut self, _websocket: &mut WebSocket, end: WebSocketDisconnect) {
        println!("Client disconnected after {} messages: {end}", self.received);
    }
}

fn main() -> nexios::Result {
    App::new().add_ws_route(ChatEndpoint::as_route("/chat")).run()
}
