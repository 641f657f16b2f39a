//! yawc behind hyper on one current-thread runtime, as its documentation shows. Arguments: the port, and `deflate` to
//! compress.

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
use yawc::{OpCode, Options, UpgradeFut, WebSocket};

async fn echo(client: UpgradeFut) -> yawc::Result<()> {
    let mut socket = client.await?;
    while let Some(frame) = socket.next().await {
        if matches!(frame.opcode(), OpCode::Text | OpCode::Binary) {
            socket.send(frame).await?;
        }
    }
    Ok(())
}

/// More than the largest message of the measurements; the default is 1 MiB, exclusive.
const MAX_PAYLOAD: usize = 2 << 20;

async fn handshake(request: Request<Incoming>, deflate: bool) -> yawc::Result<Response<Empty<Bytes>>> {
    let options = Options::default().with_max_payload_read(MAX_PAYLOAD);
    let options = if deflate { options.with_balanced_compression() } else { options };
    let (response, client) = WebSocket::upgrade_with_options(request, options)?;
    tokio::spawn(echo(client));
    Ok(response)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let port: u16 = std::env::args().nth(1).ok_or("no port")?.parse()?;
    let deflate = std::env::args().nth(2).is_some_and(|argument| argument == "deflate");
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
    loop {
        let (socket, _) = listener.accept().await?;
        socket.set_nodelay(true)?;
        let service = service_fn(move |request| handshake(request, deflate));
        let connection = http1::Builder::new().serve_connection(TokioIo::new(socket), service);
        tokio::spawn(connection.with_upgrades());
    }
}
