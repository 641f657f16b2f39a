//! wtx on one current-thread runtime, as its documentation shows; what was read is written back from where it lies.
//! Arguments: the port, and `deflate` to compress.

use std::error::Error;
use std::net::Ipv4Addr;

use tokio::net::{TcpListener, TcpStream};
use wtx::collection::Vector;
use wtx::rng::Rng;
use wtx::stream::Stream;
use wtx::web_socket::compression::{Flate2, NegotiatedCompression};
use wtx::web_socket::{DeflateConfig, OpCode, WebSocket, WebSocketAcceptor, WebSocketBuffer, WebSocketPayloadOrigin};

async fn serve(socket: TcpStream, deflate: bool) -> wtx::Result<()> {
    let acceptor = WebSocketAcceptor::default().no_masking(false);
    if deflate {
        echo(acceptor.compression(Flate2::from(DeflateConfig::default())).accept(socket).await?).await
    } else {
        echo(acceptor.accept(socket).await?).await
    }
}

async fn echo<C, R, S>(mut socket: WebSocket<C, R, S, WebSocketBuffer, false>) -> wtx::Result<()>
where
    C: NegotiatedCompression,
    R: Rng,
    S: Stream,
{
    let (mut common, mut reader, mut writer) = socket.split_mut();
    let mut buffer = Vector::new();
    loop {
        let mut frame = reader.read_frame(&mut buffer, &mut common, WebSocketPayloadOrigin::Adaptive).await?;
        match frame.op_code() {
            OpCode::Text | OpCode::Binary => writer.write_frame(&mut common, &mut frame).await?,
            OpCode::Close => return Ok(()),
            OpCode::Continuation | OpCode::Ping | OpCode::Pong => {}
        }
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let port: u16 = std::env::args().nth(1).ok_or("no port")?.parse()?;
    let deflate = std::env::args().nth(2).is_some_and(|argument| argument == "deflate");
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
    loop {
        let (socket, _) = listener.accept().await?;
        socket.set_nodelay(true)?;
        tokio::spawn(serve(socket, deflate));
    }
}
