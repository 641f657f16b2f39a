use nexios::prelude::*;

#[websocket_route]
async fn none(_websocket: WebSocket) {}

#[websocket_route("ws")]
async fn no_slash(_websocket: WebSocket) {}

#[websocket_route(7)]
async fn number(_websocket: WebSocket) {}

fn main() {}
