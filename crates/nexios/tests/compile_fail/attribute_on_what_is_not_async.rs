use nexios::prelude::*;

#[websocket_route("/ws")]
fn handler(_websocket: WebSocket) {}

fn main() {}
