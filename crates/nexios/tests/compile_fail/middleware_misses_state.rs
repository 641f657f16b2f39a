use nexios::prelude::*;

#[derive(Clone)]
struct Db;

async fn middleware(websocket: WebSocket, State(_db): State<Db>, next: Next) -> nexios::Result {
    next.run(websocket).await
}

fn main() {
    let _ = App::new().add_ws_middleware(middleware);
}
