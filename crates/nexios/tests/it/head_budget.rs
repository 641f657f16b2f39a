//! Heads of requests are part of the memory budget.

use nexios::ServerConfig;
use nexios::prelude::*;

use crate::data_rate::pages;
use crate::programs::echo;
use crate::serving::{Running, pause, serve};
use crate::wire::{Wire, request, upgrade_request};

/// Room for a few heads of 8 KiB.
const BUDGET: usize = 40 * 1024;

async fn server() -> Running {
    let config = ServerConfig::new().buffered_bytes(BUDGET);
    serve(App::new().websocket_route("/ws", echo).http(pages()).server_config(config)).await
}

fn large() -> String {
    format!("x-large: {}", "y".repeat(8 * 1024))
}

fn upgrade_with(line: &str) -> String {
    upgrade_request("/ws").replacen("\r\n", &format!("\r\n{line}\r\n"), 1)
}

#[tokio::test]
async fn heads_that_connections_keep_are_counted_and_what_has_no_room_is_answered_with_503() {
    let server = server().await;
    let mut kept = Vec::new();
    for _ in 0..4 {
        let mut wire = Wire::connect(server.address).await;
        wire.send(upgrade_with(&large())).await;
        assert_eq!(wire.head().await.status, 101);
        kept.push(wire);
    }
    for refused in [upgrade_with(&large()), request("/page", &[&large()])] {
        let mut wire = Wire::connect(server.address).await;
        wire.send(refused).await;
        let head = wire.head().await;
        assert_eq!(head.status, 503, "{}", head.text);
        assert!(head.text.contains("retry-after: 5\r\n"), "{}", head.text);
    }
    // A common head is not counted, and who is there goes on.
    server.upgrade("/ws").await;
    kept[0].send(crate::wire::text("still here")).await;
    assert_eq!(kept[0].text().await, "still here");
    kept.truncate(1);
    server.wait_for_connections(1).await;
    let mut wire = Wire::connect(server.address).await;
    wire.send(upgrade_with(&large())).await;
    assert_eq!(wire.head().await.status, 101);
}

#[tokio::test]
async fn heads_that_are_not_complete_are_counted_as_they_come() {
    let server = server().await;
    let mut waiting = Vec::new();
    for _ in 0..6 {
        let mut wire = Wire::connect(server.address).await;
        wire.send(format!("GET /page HTTP/1.1\r\n{}", large())).await;
        waiting.push(wire);
        pause(30).await;
    }
    let last = waiting.last_mut().unwrap();
    assert_eq!(last.head().await.status, 503);
    // Those before still have their time, and give their room back.
    waiting[0].send("\r\nHost: localhost\r\n\r\n").await;
    assert_eq!(waiting[0].head().await.status, 200);
    waiting.clear();
    pause(100).await;
    let mut wire = Wire::connect(server.address).await;
    wire.send(request("/page", &[&large(), "Connection: close"])).await;
    assert_eq!(wire.head().await.status, 200);
}

#[tokio::test]
async fn a_head_may_have_16_kib_by_default() {
    let server = serve(App::new().http(pages())).await;
    for (kilobytes, status) in [(14, 200), (17, 431)] {
        let mut wire = Wire::connect(server.address).await;
        let line = format!("x: {}", "y".repeat(kilobytes * 1024));
        wire.send(request("/page", &[&line, "Connection: close"])).await;
        assert_eq!(wire.head().await.status, status);
    }
}
