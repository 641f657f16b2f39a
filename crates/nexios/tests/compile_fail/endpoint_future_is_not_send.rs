use std::rc::Rc;

use nexios::prelude::*;

#[derive(Default)]
struct Endpoint;

impl WebSocketEndpoint for Endpoint {
    type Message = Utf8Bytes;

    async fn on_receive(&mut self, websocket: &mut WebSocket, text: Utf8Bytes) -> nexios::Result {
        let shared = Rc::new(text);
        websocket.send_text("x").await?;
        drop(shared);
        Ok(())
    }
}

fn main() {
    let _ = App::new().add_ws_route(Endpoint::as_route("/ws"));
}
