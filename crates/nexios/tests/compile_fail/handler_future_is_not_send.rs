use std::rc::Rc;

use nexios::prelude::*;

async fn handler(mut websocket: WebSocket) -> nexios::Result {
    let shared = Rc::new(1);
    websocket.accept().await?;
    websocket.send_text(shared.to_string()).await
}

fn main() {
    let _ = App::new().websocket_route("/ws", handler);
}
