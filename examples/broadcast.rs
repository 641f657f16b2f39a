//! One message to all, in two ways. Run it: `cargo run --example broadcast`, then connect twice to
//! ws://127.0.0.1:8000/ws/broadcast (a list of your own) or to ws://127.0.0.1:8000/ws/group (a group).

use std::sync::Arc;

use nexios::prelude::*;
use tokio::sync::Mutex;

type ActiveConnections = Arc<Mutex<Vec<Sender>>>;

async fn with_a_list(mut websocket: WebSocket, State(active): State<ActiveConnections>) -> nexios::Result {
    websocket.accept().await?;
    let sender = websocket.sender();
    active.lock().await.push(sender.clone());
    let result = relay(&mut websocket, &active).await;
    active.lock().await.retain(|other| *other != sender);
    println!("Client disconnected");
    result
}

async fn relay(websocket: &mut WebSocket, active: &ActiveConnections) -> nexios::Result {
    loop {
        let data = websocket.receive_text().await?;
        let text = Utf8Bytes::from(format!("Broadcast: {data}"));
        let connections = active.lock().await.clone();
        for connection in connections {
            // An error means that this one is gone: that is no reason to leave out the others.
            let _ = connection.send_text(text.clone()).await;
        }
    }
}

/// The same with a group: it encodes a message once for all, and whoever disconnects has left it.
async fn with_a_group(mut websocket: WebSocket, groups: Groups) -> nexios::Result {
    websocket.accept().await?;
    let everybody = groups.group("everybody");
    everybody.join(&websocket).await?;
    loop {
        let data = websocket.receive_text().await?;
        everybody.send_text(format!("Broadcast: {data}")).await?;
    }
}

fn main() -> nexios::Result {
    App::with_state(ActiveConnections::default())
        .websocket_route("/ws/broadcast", with_a_list)
        .websocket_route("/ws/group", with_a_group)
        .run()
}
