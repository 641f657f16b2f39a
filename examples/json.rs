//! Structured messages. Run it: `cargo run --example json`, then connect to ws://127.0.0.1:8000/ws/json and send
//! `{"item": "tea", "amount": 3}`. What is not JSON, or not this JSON, closes the connection with 1007.

use nexios::prelude::*;
use serde::{Deserialize, Serialize};

#[derive(Deserialize)]
struct Order {
    item: String,
    amount: u32,
}

#[derive(Serialize)]
struct Receipt {
    response: &'static str,
    item: String,
    total: u32,
}

async fn orders(mut websocket: WebSocket) -> nexios::Result {
    websocket.accept().await?;
    let mut total = 0u32;
    loop {
        let order: Order = websocket.receive_json().await?;
        total = total.saturating_add(order.amount);
        websocket.send_json(&Receipt { response: "JSON received", item: order.item, total }).await?;
    }
}

fn main() -> nexios::Result {
    App::new().websocket_route("/ws/json", orders).run()
}
