//! yawc behind hyper on one current-thread runtime, as its documentation shows; fan-out by a broadcast channel and the
//! halves of a split socket. Arguments: the port, and `deflate` to compress.

use std::error::Error;
use std::net::Ipv4Addr;

use futures_util::{SinkExt, StreamExt};
use http_body_util::Empty;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::sync::broadcast;
use yawc::{Frame, OpCode, Options, UpgradeFut, WebSocket};

type Everybody = broadcast::Sender<Frame>;

async fn echo(client: UpgradeFut) -> yawc::Result<()> {
    let mut socket = client.await?;
    while let Some(frame) = socket.next().await {
        if matches!(frame.opcode(), OpCode::Text | OpCode::Binary) {
            socket.send(frame).await?;
        }
    }
    Ok(())
}

async fn fan_out(client: UpgradeFut, everybody: Everybody) -> yawc::Result<()> {
    let (mut outgoing, mut incoming) = client.await?.split();
    let mut published = everybody.subscribe();
    let sending = tokio::spawn(async move {
        while let Ok(frame) = published.recv().await {
            if outgoing.send(frame).await.is_err() {
                return;
            }
        }
    });
    while let Some(frame) = incoming.next().await {
        if matches!(frame.opcode(), OpCode::Text | OpCode::Binary) && everybody.send(frame).is_err() {
            break;
        }
    }
    sending.abort();
    Ok(())
}

/// More than the largest message of the measurements; the default is 1 MiB, exclusive.
const MAX_PAYLOAD: usize = 2 << 20;

async fn handshake(
    request: Request<Incoming>,
    everybody: Everybody,
    deflate: bool,
) -> yawc::Result<Response<Empty<Bytes>>> {
    let fans_out = request.uri().path() == "/fanout";
    let options = Options::default().with_max_payload_read(MAX_PAYLOAD);
    let options = if deflate { options.with_balanced_compression() } else { options };
    let (response, client) = WebSocket::upgrade_with_options(request, options)?;
    if fans_out {
        tokio::spawn(fan_out(client, everybody));
    } else {
        tokio::spawn(echo(client));
    }
    Ok(response)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let port: u16 = std::env::args().nth(1).ok_or("no port")?.parse()?;
    let deflate = std::env::args().nth(2).is_some_and(|argument| argument == "deflate");
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
    let everybody = Everybody::new(1024);
    loop {
        let (socket, _) = listener.accept().await?;
        socket.set_nodelay(true)?;
        let everybody = everybody.clone();
        let service = service_fn(move |request| handshake(request, everybody.clone(), deflate));
        let connection = http1::Builder::new().serve_connection(TokioIo::new(socket), service);
        tokio::spawn(connection.with_upgrades());
    }
}
