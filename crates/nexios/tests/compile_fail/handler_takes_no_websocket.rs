use nexios::prelude::*;

async fn handler(Path(_room): Path<String>, _websocket: WebSocket) -> nexios::Result {
    Ok(())
}

fn main() {
    let _ = App::new().websocket_route("/ws", handler);
}
