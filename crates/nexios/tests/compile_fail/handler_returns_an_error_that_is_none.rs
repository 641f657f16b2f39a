use nexios::prelude::*;

struct NoError;

async fn handler(_websocket: WebSocket) -> Result<(), NoError> {
    Err(NoError)
}

fn main() {
    let _ = App::new().websocket_route("/ws", handler);
}
