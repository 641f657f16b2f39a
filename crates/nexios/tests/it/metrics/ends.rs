//! Handshakes by outcome, and connections by the way they ended.

use nexios::ServerConfig;
use nexios::prelude::*;

use super::scrape::{scrape, scrape_until};
use crate::serving::{pause, serve};
use crate::wire::{Wire, close, raw_frame, request, text, upgrade_request};

/// Does with the handshake what the query says.
async fn gate(mut websocket: WebSocket) -> nexios::Result {
    match websocket.query_params().get("do") {
        Some("403") => websocket.close(1008, "no").await,
        Some("401") => websocket.reject(StatusCode::UNAUTHORIZED).await,
        Some("nothing") => Ok(()),
        Some("wait") => {
            pause(60_000).await;
            Ok(())
        }
        _ => {
            websocket.accept().await?;
            act(websocket).await
        }
    }
}

async fn act(mut websocket: WebSocket) -> nexios::Result {
    match &*websocket.receive_text().await? {
        "error" => Err(Error::other("as asked")),
        "panic" => panic!("as asked"),
        "close" => websocket.close(4321, "").await,
        "return" => Ok(()),
        _ => websocket.receive().await.map(drop),
    }
}

#[tokio::test]
async fn a_handshake_shows_with_its_outcome() {
    let server = serve(App::new().metrics("/metrics").websocket_route("/m/gate", gate)).await;
    let refusals = [
        (upgrade_request("/m/gate?do=403"), 403),
        (upgrade_request("/m/gate?do=nothing"), 403),
        (upgrade_request("/m/gate?do=401"), 401),
        (request("/m/gate", &["Sec-WebSocket-Key: second"]), 400),
        (upgrade_request("/m/gate"), 101),
    ];
    for (request, status) in refusals {
        let mut wire = Wire::connect(server.address).await;
        wire.send(request).await;
        assert_eq!(wire.head().await.status, status);
    }
    let mut wire = Wire::connect(server.address).await;
    wire.send(upgrade_request("/m/gate?do=wait")).await;
    pause(50).await;
    drop(wire);
    let outcome = |outcome: &str| format!("nexios_handshakes_total{{route=\"/m/gate\",outcome=\"{outcome}\"}}");
    let scrape = scrape_until(&server, &outcome("left"), 1.0).await;
    for (name, count) in [("403", 2.0), ("401", 1.0), ("400", 1.0), ("accepted", 1.0)] {
        scrape.check(&outcome(name), count);
    }
    // What was refused was no connection.
    scrape_until(&server, "nexios_connection_seconds_count{route=\"/m/gate\"}", 1.0).await;
}

#[tokio::test]
async fn an_end_shows_with_its_cause_its_side_and_its_code() {
    let server = serve(App::new().metrics("/metrics").websocket_route("/m/ends", gate)).await;
    let ends = [
        (close(1000, ""), "closed", "peer", "1000"),
        (close(1001, ""), "closed", "peer", "1001"),
        // What a peer chooses is shown as its range.
        (close(4999, "secret"), "closed", "peer", "4xxx"),
        (close(3000, ""), "closed", "peer", "3xxx"),
        (raw_frame(0xFF, b""), "protocol error", "server", "1002"),
        (text("close"), "closed", "server", "4321"),
        (text("return"), "closed", "server", "1000"),
        (text("error"), "handler failed", "server", "1011"),
        (text("panic"), "handler failed", "server", "1011"),
        (raw_frame(0x82, b"binary"), "unexpected message", "server", "1003"),
        (Vec::new(), "connection lost", "peer", "1006"),
    ];
    let before = scrape(&server).await;
    for (frame, cause, by, code) in ends {
        let end =
            format!("nexios_disconnects_total{{route=\"/m/ends\",cause=\"{cause}\",by=\"{by}\",code=\"{code}\"}}");
        let so_far = scrape(&server).await.value(&end);
        let mut wire = server.upgrade("/m/ends").await;
        if !frame.is_empty() {
            wire.send(frame).await;
            wire.close_frame().await;
        }
        drop(wire);
        scrape_until(&server, &end, so_far + 1.0).await;
    }
    server.wait_for_connections(0).await;
    let after = scrape(&server).await;
    for (kind, count) in [("error", 1.0), ("panic", 1.0), ("refused", 1.0)] {
        let failures = format!("nexios_handler_failures_total{{route=\"/m/ends\",kind=\"{kind}\"}}");
        assert!((after.value(&failures) - before.value(&failures) - count).abs() < 0.1, "{kind}\n{}", after.text);
    }
}

#[tokio::test]
async fn a_socket_that_finds_no_room_shows_with_the_limit() {
    let app = App::new().metrics("/metrics").server_config(ServerConfig::new().connections(2));
    let server = serve(app.websocket_route("/m/full", gate)).await;
    let first = server.upgrade("/m/full").await;
    let _second = server.upgrade("/m/full").await;
    let mut refused = Wire::connect(server.address).await;
    refused.send(upgrade_request("/m/full")).await;
    assert_eq!(refused.head().await.status, 503);
    drop((first, refused));
    server.wait_for_connections(1).await;
    // Other tests may have refused some, too.
    assert!(scrape(&server).await.value("nexios_connections_refused_total{reason=\"full\"}") >= 1.0);
}
