use nexios::prelude::*;

fn handler(_websocket: WebSocket) {}

fn main() {
    let _ = App::new().websocket_route("/ws", handler);
}
