use nexios::prelude::*;

#[derive(Default)]
struct Endpoint;

impl WebSocketEndpoint for Endpoint {
    type Message = String;

    async fn on_receive(&mut self, _websocket: &mut WebSocket, _text: String) -> nexios::Result {
        Ok(())
    }
}

fn main() {
    let _ = App::new().add_ws_route(Endpoint::as_route("/ws"));
}
