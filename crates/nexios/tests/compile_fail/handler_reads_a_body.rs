use nexios::prelude::*;

async fn handler(_websocket: WebSocket, Json(_body): Json<u64>) -> nexios::Result {
    Ok(())
}

fn main() {
    let _ = App::new().websocket_route("/ws", handler);
}
