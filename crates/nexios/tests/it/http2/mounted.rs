//! An app in an axum application that speaks HTTP/2 itself, here without TLS.

use nexios::prelude::*;
use tokio::net::{TcpListener, TcpStream};

use super::client::Http2;
use crate::programs::echo;
use crate::wire::text;

#[tokio::test]
async fn a_mounted_app_has_websockets_over_http_2_as_well() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router: axum::Router = App::new().websocket_route("/ws", echo).into_router();
    tokio::spawn(async move { axum::serve(listener, axum::Router::new().nest("/app", router)).await });
    let mut client = Http2::over(TcpStream::connect(address).await.unwrap()).await;
    let mut wires = [client.upgrade("/app/ws").await, client.upgrade("/app/ws").await];
    for wire in &mut wires {
        wire.send(text("hello")).await;
        assert_eq!(wire.text().await, "hello");
    }
}
