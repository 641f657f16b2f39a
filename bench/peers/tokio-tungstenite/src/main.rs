//! tokio-tungstenite on one current-thread runtime; fan-out by a channel for each member, forwarded into its
//! sink, as the crate's chat example does it. Argument: the port.

use std::collections::HashMap;
use std::error::Error;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use futures_util::{SinkExt, StreamExt, future, stream};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{self, UnboundedSender};
use tokio_tungstenite::tungstenite::handshake::server::{Callback, ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_tungstenite::{WebSocketStream, accept_hdr_async};

type Members = Arc<Mutex<HashMap<SocketAddr, UnboundedSender<Message>>>>;

async fn serve(socket: TcpStream, address: SocketAddr, members: Members) -> Result<(), tungstenite::Error> {
    let mut fans_out = false;
    let socket = accept_hdr_async(socket, Path(&mut fans_out)).await?;
    if fans_out { fan_out(socket, address, &members).await } else { echo(socket).await }
}

/// Remembers which path was asked for.
struct Path<'a>(&'a mut bool);

impl Callback for Path<'_> {
    #[allow(clippy::result_large_err, reason = "the trait's signature")]
    fn on_request(self, request: &Request, response: Response) -> Result<Response, ErrorResponse> {
        *self.0 = request.uri().path() == "/fanout";
        Ok(response)
    }
}

async fn echo(mut socket: WebSocketStream<TcpStream>) -> Result<(), tungstenite::Error> {
    while let Some(message) = socket.next().await {
        let message = message?;
        if message.is_text() || message.is_binary() {
            socket.send(message).await?;
        }
    }
    Ok(())
}

async fn fan_out(
    socket: WebSocketStream<TcpStream>,
    address: SocketAddr,
    members: &Members,
) -> Result<(), tungstenite::Error> {
    let (outgoing, incoming) = socket.split();
    let (sender, mut queue) = mpsc::unbounded_channel();
    lock(members).insert(address, sender);
    let publish = incoming.for_each(|message| {
        if let Ok(message) = message
            && (message.is_text() || message.is_binary())
        {
            // A send fails only to a member who is just leaving.
            lock(members).values().for_each(|member| drop(member.send(message.clone())));
        }
        future::ready(())
    });
    let deliver = stream::poll_fn(move |context| queue.poll_recv(context)).map(Ok).forward(outgoing);
    tokio::select! {
        () = publish => {}
        _ = deliver => {}
    }
    lock(members).remove(&address);
    Ok(())
}

fn lock(members: &Members) -> std::sync::MutexGuard<'_, HashMap<SocketAddr, UnboundedSender<Message>>> {
    members.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let port: u16 = std::env::args().nth(1).ok_or("no port")?.parse()?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
    let members = Members::default();
    loop {
        let (socket, address) = listener.accept().await?;
        socket.set_nodelay(true)?;
        tokio::spawn(serve(socket, address, Arc::clone(&members)));
    }
}
