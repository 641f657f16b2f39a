//! A program that has installed a metrics recorder of its own. A test program of its own, because a recorder is the
//! process's.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use metrics_exporter_prometheus::PrometheusBuilder;
use nexios::prelude::*;
use nexios::testing::TestClient;

#[tokio::test(start_paused = true)]
async fn a_recorder_of_the_programs_own_is_told_and_the_route_says_so() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let shown = recorder.handle();
    metrics::set_global_recorder(recorder).unwrap();
    let app =
        App::new().metrics("/metrics").websocket_route("/own", async |mut websocket: WebSocket| -> nexios::Result {
            websocket.accept().await?;
            loop {
                let message = websocket.receive().await?;
                websocket.send(message).await?;
            }
        });
    let client = TestClient::new(app);
    let mut socket = client.connect("/own").await.unwrap();
    for _ in 0..3 {
        socket.send_text("x").await.unwrap();
        socket.receive_text().await.unwrap();
    }
    assert_eq!(client.get("/metrics").await.unwrap().status(), 404);
    for _ in 0..2 {
        tokio::time::sleep(Duration::from_secs(6)).await;
        let text = shown.render();
        for line in [
            "nexios_messages_received_total{route=\"/own\"} 3",
            "nexios_connections{route=\"/own\"} 1",
            "nexios_handler_seconds_count{route=\"/own\"} 3",
        ] {
            assert!(text.lines().any(|shown| shown == line), "{line}\n{text}");
        }
    }
}
