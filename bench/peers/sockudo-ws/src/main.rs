//! sockudo-ws on one current-thread runtime; fan-out through its own publish and subscribe. Arguments: the
//! port, and `deflate` to compress.

use std::error::Error;
use std::net::Ipv4Addr;
use std::sync::Arc;

use bytes::BytesMut;
use futures_util::{Sink, SinkExt, Stream, StreamExt};
use sockudo_ws::deflate::{DeflateNegotiation, negotiate_server_deflate};
use sockudo_ws::handshake::{build_response, generate_accept_key, parse_request};
use sockudo_ws::pubsub::PubSub;
use sockudo_ws::{CompressedWebSocketStream, Compression, Config, DeflateConfig, Message, WebSocketStream};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

/// The one topic that everybody hears.
const TOPIC: &str = "all";

/// A member's life. The halves of plain and compressed sockets share names but no trait.
macro_rules! fan_out {
    ($reader:ident, $writer:ident, $topics:ident) => {{
        let (sender, mut queue) = mpsc::unbounded_channel();
        let member = $topics.create_subscriber(sender);
        $topics.subscribe(member, TOPIC);
        loop {
            tokio::select! {
                received = $reader.next() => match received {
                    Some(Ok(message @ (Message::Text(_) | Message::Binary(_)))) => {
                        $topics.publish(TOPIC, message);
                    }
                    Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                    Some(Ok(Message::Close(_)) | Err(_)) | None => break,
                },
                Some(message) = queue.recv() => {
                    if $writer.send(message).await.is_err() {
                        break;
                    }
                }
            }
        }
        $topics.remove_subscriber(member);
        Ok(())
    }};
}

/// The state that all connections share.
struct Server {
    topics: PubSub,
    deflate: Option<DeflateConfig>,
}

/// The request of a client.
struct Asked {
    fans_out: bool,
    deflate: Option<DeflateConfig>,
}

async fn serve(mut socket: TcpStream, server: Arc<Server>) -> sockudo_ws::Result<()> {
    let asked = handshake(&mut socket, server.deflate.as_ref()).await?;
    let topics = &server.topics;
    let config = Config::default();
    match (asked.deflate, asked.fans_out) {
        (None, false) => echo(WebSocketStream::server(socket, config)).await,
        (None, true) => {
            let (mut reader, mut writer) = WebSocketStream::server(socket, config).split();
            fan_out!(reader, writer, topics)
        }
        (Some(deflate), false) => echo(CompressedWebSocketStream::server(socket, config, deflate)).await,
        (Some(deflate), true) => {
            let socket = CompressedWebSocketStream::server(socket, config, deflate);
            let (mut reader, mut writer) = socket.split();
            fan_out!(reader, writer, topics)
        }
    }
}

/// Answers the request.
async fn handshake(socket: &mut TcpStream, policy: Option<&DeflateConfig>) -> sockudo_ws::Result<Asked> {
    let mut head = BytesMut::with_capacity(4096);
    loop {
        if socket.read_buf(&mut head).await? == 0 {
            return Err(sockudo_ws::Error::ConnectionClosed);
        }
        if let Some((request, _)) = parse_request(&head)? {
            let deflate =
                request.extensions.zip(policy).and_then(|(offers, policy)| negotiate_server_deflate(offers, policy));
            let extensions = deflate.as_ref().map(DeflateNegotiation::to_response_header);
            let accept = generate_accept_key(request.key);
            socket.write_all(&build_response(&accept, None, extensions.as_deref())).await?;
            let fans_out = request.path == "/fanout";
            return Ok(Asked { fans_out, deflate: deflate.map(|deflate| deflate.config) });
        }
    }
}

async fn echo<S>(mut socket: S) -> sockudo_ws::Result<()>
where
    S: Stream<Item = sockudo_ws::Result<Message>> + Sink<Message, Error = sockudo_ws::Error> + Unpin,
{
    while let Some(message) = socket.next().await {
        match message? {
            message @ (Message::Text(_) | Message::Binary(_)) => socket.send(message).await?,
            Message::Close(_) => break,
            Message::Ping(_) | Message::Pong(_) => {}
        }
    }
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let port: u16 = std::env::args().nth(1).ok_or("no port")?.parse()?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
    let deflate = std::env::args().nth(2).is_some_and(|argument| argument == "deflate");
    let deflate = deflate.then(|| Compression::Shared.to_deflate_config()).flatten();
    let server = Arc::new(Server { topics: PubSub::new(), deflate });
    loop {
        let (socket, _) = listener.accept().await?;
        socket.set_nodelay(true)?;
        tokio::spawn(serve(socket, Arc::clone(&server)));
    }
}
