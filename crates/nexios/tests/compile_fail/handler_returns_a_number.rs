use nexios::prelude::*;

async fn handler(mut websocket: WebSocket) -> u64 {
    let _ = websocket.accept().await;
    7
}

fn main() {
    let _ = App::new().websocket_route("/ws", handler);
}
