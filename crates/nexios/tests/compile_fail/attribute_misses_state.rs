use nexios::prelude::*;

#[derive(Clone)]
struct Db;

#[websocket_route("/ws")]
async fn handler(_websocket: WebSocket, State(_db): State<Db>) -> nexios::Result {
    Ok(())
}

fn main() {
    let _ = App::new().add_ws_route(handler);
}
