//! tokio-websockets on one current-thread runtime; fan-out by a broadcast channel. Argument: the port.

use std::error::Error;
use std::net::Ipv4Addr;

use futures_util::{SinkExt, StreamExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::broadcast;
use tokio_websockets::{Message, ServerBuilder, WebSocketStream};

type Everybody = broadcast::Sender<Message>;

async fn serve(socket: TcpStream, everybody: Everybody) -> Result<(), tokio_websockets::Error> {
    let (request, socket) = ServerBuilder::new().accept(socket).await?;
    if request.uri().path() == "/fanout" { fan_out(socket, everybody).await } else { echo(socket).await }
}

async fn echo(mut socket: WebSocketStream<TcpStream>) -> Result<(), tokio_websockets::Error> {
    while let Some(message) = socket.next().await {
        let message = message?;
        if message.is_text() || message.is_binary() {
            socket.send(message).await?;
        }
    }
    Ok(())
}

async fn fan_out(socket: WebSocketStream<TcpStream>, everybody: Everybody) -> Result<(), tokio_websockets::Error> {
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
        if (message.is_text() || message.is_binary()) && everybody.send(message).is_err() {
            break;
        }
    }
    sending.abort();
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let port: u16 = std::env::args().nth(1).ok_or("no port")?.parse()?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
    let everybody = broadcast::Sender::new(1024);
    loop {
        let (socket, _) = listener.accept().await?;
        socket.set_nodelay(true)?;
        tokio::spawn(serve(socket, everybody.clone()));
    }
}
