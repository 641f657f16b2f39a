//! axum's own WebSocket on one current-thread runtime; fan-out by a broadcast channel and a sending task for
//! each member, as its chat example does it. Argument: the port.

use std::error::Error;
use std::net::Ipv4Addr;

use axum::Router;
use axum::extract::State;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::response::Response;
use axum::routing::any;
use axum::serve::ListenerExt;
use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpListener;
use tokio::sync::broadcast;

type Everybody = broadcast::Sender<Message>;

async fn echo(upgrade: WebSocketUpgrade) -> Response {
    upgrade.on_upgrade(async |mut socket: WebSocket| {
        while let Some(Ok(message)) = socket.recv().await {
            if matches!(message, Message::Text(_) | Message::Binary(_)) && socket.send(message).await.is_err() {
                return;
            }
        }
    })
}

async fn fan_out(upgrade: WebSocketUpgrade, State(everybody): State<Everybody>) -> Response {
    upgrade.on_upgrade(move |socket| member(socket, everybody))
}

async fn member(socket: WebSocket, everybody: Everybody) {
    let (mut outgoing, mut incoming) = socket.split();
    let mut published = everybody.subscribe();
    let sending = tokio::spawn(async move {
        while let Ok(message) = published.recv().await {
            if outgoing.send(message).await.is_err() {
                return;
            }
        }
    });
    while let Some(Ok(message)) = incoming.next().await {
        if matches!(message, Message::Text(_) | Message::Binary(_)) && everybody.send(message).is_err() {
            break;
        }
    }
    sending.abort();
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let port: u16 = std::env::args().nth(1).ok_or("no port")?.parse()?;
    let everybody = broadcast::Sender::new(1024);
    let app = Router::new().route("/echo", any(echo)).route("/fanout", any(fan_out)).with_state(everybody);
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?.tap_io(|socket| {
        // A socket that is already broken ends in its first read.
        let _ = socket.set_nodelay(true);
    });
    Ok(axum::serve(listener, app).await?)
}
