use nexios::prelude::*;

async fn handler(_websocket: WebSocket, _number: u64) -> nexios::Result {
    Ok(())
}

fn main() {
    let _ = App::new().websocket_route("/ws", handler);
}
