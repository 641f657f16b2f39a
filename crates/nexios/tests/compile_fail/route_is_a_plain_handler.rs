use nexios::prelude::*;

async fn handler(_websocket: WebSocket) -> nexios::Result {
    Ok(())
}

fn main() {
    let _ = App::new().add_ws_route(handler);
}
