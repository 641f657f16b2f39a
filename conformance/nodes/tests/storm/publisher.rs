//! Somebody who publishes numbered messages to all groups.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use nexios::WebSocket;
use nexios_nodes::Command;
use serde_json::Value;

use crate::client::PATIENCE;
use crate::crowd::World;

static CONNECTIONS: AtomicU32 = AtomicU32::new(1);

/// Publishes for as long as the world wants it, and comes again on another node when its own does not answer.
pub(crate) async fn publish(world: &World, pause: Duration) {
    while world.is_publishing() {
        let node = fastrand::usize(..world.addresses.len());
        if let Ok(Ok(websocket)) = tokio::time::timeout(PATIENCE, world.connect_to(node)).await {
            let _ = publish_on(world, websocket, node, pause).await;
        }
        tokio::time::sleep(Duration::from_millis(fastrand::u64(20..300))).await;
    }
}

async fn publish_on(world: &World, mut websocket: WebSocket, node: usize, pause: Duration) -> nexios::Result {
    let publisher = CONNECTIONS.fetch_add(1, Ordering::Relaxed);
    let mut numbers: HashMap<Arc<str>, u32> = HashMap::new();
    while world.is_publishing() {
        let group = &world.groups[fastrand::usize(..world.groups.len())];
        let number = numbers.entry(Arc::clone(group)).or_default();
        *number += 1;
        let index = world.ledger.sent(group, publisher, *number, node);
        let say = Command::Say { to: group.to_string(), text: format!("{publisher}/{number}") };
        websocket.send_json(&say).await?;
        let answer = tokio::time::timeout(2 * PATIENCE, websocket.receive_json::<Value>());
        let answer = answer.await.map_err(nexios::Error::other)??;
        if answer["said"] == true {
            world.ledger.said(index, answer["waiting"] == 0);
        }
        tokio::time::sleep(pause.mul_f64(fastrand::f64() * 2.0)).await;
    }
    Ok(())
}
