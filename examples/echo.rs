//! Answers every message. Run it: `cargo run --example echo`, then connect to ws://127.0.0.1:8000/ws.

use nexios::prelude::*;

async fn echo(mut websocket: WebSocket) -> nexios::Result {
    websocket.accept().await?;
    loop {
        let text = websocket.receive_text().await?;
        websocket.send_text(format!("Message text was: {text}")).await?;
    }
}

fn main() -> nexios::Result {
    App::new().websocket_route("/ws", echo).run()
}
