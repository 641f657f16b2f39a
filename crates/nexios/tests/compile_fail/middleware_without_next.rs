use nexios::prelude::*;

async fn middleware(_websocket: WebSocket) -> nexios::Result {
    Ok(())
}

fn main() {
    let _ = App::new().add_ws_middleware(middleware);
}
