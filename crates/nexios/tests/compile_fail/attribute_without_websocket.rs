use nexios::prelude::*;

#[websocket_route("/ws")]
async fn handler(Path(_room): Path<String>) -> nexios::Result {
    Ok(())
}

#[websocket_route("/none")]
async fn nothing() {}

fn main() {
    let _ = App::new().add_ws_route(handler);
}
