use nexios::prelude::*;

struct Endpoint;

impl WebSocketEndpoint for Endpoint {
    type Message = Utf8Bytes;

    async fn on_receive(&mut self, _websocket: &mut WebSocket, _text: Utf8Bytes) -> nexios::Result {
        Ok(())
    }
}

fn main() {
    let _ = App::new().add_ws_route(Endpoint::as_route("/ws"));
}
