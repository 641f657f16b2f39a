use nexios::prelude::*;

#[derive(Clone)]
struct Db;

async fn handler(_websocket: WebSocket, State(_db): State<Db>) -> nexios::Result {
    Ok(())
}

fn main() {
    let _ = App::new().websocket_route("/ws", handler);
}
