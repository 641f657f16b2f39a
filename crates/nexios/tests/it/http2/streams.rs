//! Many sockets on one connection: each has an end of its own.

use std::sync::Arc;
use std::time::Duration;

use nexios::prelude::*;
use tokio::sync::mpsc;

use super::client::Http2;
use crate::certificates::Certificates;
use crate::programs::echo;
use crate::serving::{Running, serve, within};
use crate::wire::{close, text};

/// A server whose handler echoes and tells how each connection ended.
async fn start() -> (Running, Http2, Certificates, mpsc::UnboundedReceiver<WebSocketDisconnect>) {
    let (ends, ended) = mpsc::unbounded_channel();
    let tell = async move |websocket: WebSocket, call_next: Next| {
        let result = call_next.run(websocket).await;
        if let Err(Error::Disconnect(end)) = &result {
            let _ = ends.send(end.clone());
        }
        result
    };
    let certificates = Certificates::new();
    let app = App::new().websocket_route("/ws", echo).add_ws_middleware(tell).tls(certificates.tls());
    let server = serve(app).await;
    let client = Http2::tls(server.address, &certificates).await;
    (server, client, certificates, ended)
}

#[tokio::test]
async fn two_hundred_sockets_share_one_connection() {
    let (server, mut client, _certificates, _) = start().await;
    let mut wires = Vec::new();
    for _ in 0..200 {
        wires.push(client.upgrade("/ws").await);
    }
    assert_eq!(server.handle.connection_count(), 200);
    for (number, wire) in wires.iter_mut().enumerate() {
        wire.send(text(&number.to_string())).await;
    }
    for (number, wire) in wires.iter_mut().enumerate() {
        assert_eq!(wire.text().await, number.to_string());
    }
    for wire in &mut wires {
        wire.send(close(1000, "")).await;
        assert_eq!(wire.close_frame().await.0, 1000);
        assert_eq!(wire.rest().await, b"");
    }
    server.wait_for_connections(0).await;
}

#[tokio::test]
async fn a_reset_stream_ends_one_socket_only() {
    let (server, mut client, _certificates, mut ended) = start().await;
    let mut stays = client.upgrade("/ws").await;
    let mut resets = client.upgrade("/ws").await;
    resets.stream.reset();
    let end = within(ended.recv()).await.unwrap();
    assert_eq!((end.cause(), end.code().into()), (Cause::ConnectionLost, 1006_u16));
    server.wait_for_connections(1).await;
    stays.send(text("still here")).await;
    assert_eq!(stays.text().await, "still here");
}

#[tokio::test]
async fn a_connection_that_is_lost_ends_all_of_its_sockets() {
    let (server, mut client, _certificates, mut ended) = start().await;
    let _wires = [client.upgrade("/ws").await, client.upgrade("/ws").await];
    client.connection.abort();
    for _ in 0..2 {
        assert_eq!(within(ended.recv()).await.unwrap().cause(), Cause::ConnectionLost);
    }
    server.wait_for_connections(0).await;
}

#[tokio::test]
async fn a_shutdown_closes_all_with_1001_and_then_the_connection() {
    let (server, mut client, _certificates, _) = start().await;
    let mut wires = [client.upgrade("/ws").await, client.upgrade("/ws").await];
    server.handle.shutdown();
    for wire in &mut wires {
        assert_eq!(wire.close_frame().await.0, 1001);
        wire.send(close(1001, "")).await;
        assert_eq!(wire.rest().await, b"");
    }
    drop(wires);
    // A GOAWAY without an error, then the end of the file.
    within(client.connection).await.unwrap().unwrap();
    within(server.serving).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_shutdown_while_requests_are_answered_answers_them() {
    let certificates = Certificates::new();
    let begun = Arc::new(tokio::sync::Notify::new());
    let begins = Arc::clone(&begun);
    let slow = async move || {
        begins.notify_one();
        tokio::time::sleep(Duration::from_millis(200)).await;
        "done"
    };
    let app = App::new().http(axum::Router::new().route("/slow", axum::routing::get(slow)));
    let server = serve(app.tls(certificates.tls())).await;
    let mut client = Http2::tls(server.address, &certificates).await;
    let request = http::Request::get("https://localhost/slow").body(()).unwrap();
    let (response, _) = client.send(request, true).await;
    within(begun.notified()).await;
    server.handle.shutdown();
    assert_eq!(super::client::with_body(within(response).await.unwrap()).await.body(), "done");
    within(server.serving).await.unwrap().unwrap();
}
