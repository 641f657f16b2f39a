//! Flow control: who does not read waits, and holds little.

use std::time::Duration;

use nexios::prelude::*;
use tokio::sync::mpsc;

use super::client::{Http2, handshake};
use crate::certificates::Certificates;
use crate::programs::echo;
use crate::serving::{pause, serve, within};
use crate::wire::{BINARY, frame, text};

#[tokio::test]
async fn large_messages_go_through_small_windows() {
    let certificates = Certificates::new();
    let config = Config::new().message_size(8 * 1024 * 1024);
    let server = serve(App::new().websocket_route("/ws", echo).config(config).tls(certificates.tls())).await;
    let mut client = Http2::tls(server.address, &certificates).await;
    let mut wire = client.upgrade("/ws").await;
    for len in [0, 1, 70_000, 4 * 1024 * 1024] {
        wire.send(frame(BINARY, vec![7; len])).await;
        assert_eq!(wire.frame().await.unwrap().payload.len(), len);
    }
}

#[tokio::test]
async fn a_stream_that_is_not_read_is_a_slow_consumer_and_its_neighbour_notices_nothing() {
    let (told, mut sent) = mpsc::unbounded_channel();
    let flood = async move |mut websocket: WebSocket| {
        websocket.accept().await?;
        let sender = websocket.sender();
        let mut taken = 0;
        // More than fits: the queue, and what hyper and h2 take.
        while sender.send_bytes(vec![7; 16 * 1024]).await.is_ok() && taken < 64 * 1024 * 1024 {
            taken += 16 * 1024;
            tokio::task::yield_now().await;
        }
        let error = websocket.receive().await.unwrap_err();
        let _ = told.send((taken, error.disconnect().unwrap().cause()));
        Err(error)
    };
    let certificates = Certificates::new();
    let app = App::new().websocket_route("/flood", flood).websocket_route("/ws", echo);
    let app = app.config(Config::new().close_timeout(Duration::from_millis(300)));
    let server = serve(app.tls(certificates.tls())).await;
    let mut client = Http2::tls(server.address, &certificates).await;
    let mut neighbour = client.upgrade("/ws").await;
    let (response, _unread) = client.open(handshake("/flood", &[])).await;
    assert_eq!(response.status(), 200);
    let (taken, cause) = within(sent.recv()).await.unwrap();
    assert_eq!(cause, Cause::SlowConsumer);
    // The client's window (64 KiB), the pieces that hyper holds, and the queue (1 MiB).
    assert!((1024 * 1024..1536 * 1024).contains(&taken), "{taken}");
    neighbour.send(text("still here")).await;
    assert_eq!(neighbour.text().await, "still here");
    server.wait_for_connections(1).await;
}

#[tokio::test]
async fn a_handler_that_does_not_read_stops_its_own_stream_only() {
    async fn idle(mut websocket: WebSocket) -> nexios::Result {
        websocket.accept().await?;
        std::future::pending().await
    }
    let certificates = Certificates::new();
    let app = App::new().websocket_route("/idle", idle).websocket_route("/ws", echo);
    let server = serve(app.tls(certificates.tls())).await;
    let mut client = Http2::tls(server.address, &certificates).await;
    let mut neighbour = client.upgrade("/ws").await;
    let mut stalled = client.upgrade("/idle").await;
    let message = frame(BINARY, vec![7; 16 * 1024]);
    let mut sent = 0;
    while tokio::time::timeout(Duration::from_millis(300), stalled.send(&message)).await.is_ok() {
        sent += message.len();
        assert!(sent < 1024 * 1024, "{sent} bytes for a handler that does not read");
    }
    neighbour.send(text("still here")).await;
    assert_eq!(neighbour.text().await, "still here");
    pause(10).await;
    assert_eq!(server.handle.connection_count(), 2);
}
