use nexios::prelude::*;

struct Unique;

fn main() {
    let unique = Unique;
    let _ = App::new().websocket_route("/ws", move |_websocket: WebSocket| {
        let _unique = &unique;
        async {}
    });
}
