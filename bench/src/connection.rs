//! Opening connections: TCP, the opening handshake, and an end that leaves nothing behind.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::cell::Deflate;
use crate::wire::Agreed;
use crate::{Result, wire};

/// Timeout of a handshake.
const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(5);
/// More than any server here answers.
const MAX_HEAD: usize = 8192;

/// Connects; without delay for small writes, and closing with a reset.
pub fn connect(server: SocketAddr) -> Result<TcpStream> {
    // On the loopback interface the kernel completes this at once: a blocking connect costs no waiting.
    let socket = TcpStream::connect(server)?;
    socket.set_nodelay(true)?;
    // A reset leaves no TIME_WAIT: tens of thousands of these would use up the ports of the machine.
    rustix::net::sockopt::set_socket_linger(&socket, Some(Duration::ZERO))?;
    Ok(socket)
}

/// Where to connect, and how.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// The server.
    pub server: SocketAddr,
    /// The path of the request.
    pub path: &'static str,
    /// Offer permessage-deflate, and insist on it.
    pub deflate: Option<Deflate>,
}

/// An open connection.
#[derive(Debug)]
pub struct Connection {
    /// Its socket, non-blocking.
    pub socket: TcpStream,
    /// The compression that the handshake has negotiated.
    pub agreed: Agreed,
}

/// Connects, and completes the opening handshake.
pub fn open(target: Target) -> Result<Connection> {
    let mut socket = connect(target.server)?;
    socket.set_read_timeout(Some(HANDSHAKE_DEADLINE))?;
    let host = target.server.to_string();
    socket.write_all(wire::upgrade_request(target.path, &host, target.deflate).as_bytes())?;
    let mut head = [0; MAX_HEAD];
    let mut filled = 0;
    while !head[..filled].ends_with(b"\r\n\r\n") {
        match socket.read(&mut head[filled..])? {
            0 => return Err("the server closed during the handshake".into()),
            read => filled += read,
        }
    }
    let agreed = wire::agreed(&head[..filled], target.deflate)?;
    socket.set_nonblocking(true)?;
    Ok(Connection { socket, agreed })
}

/// Opens many, one after the other.
pub fn open_many(target: Target, count: usize) -> Result<Vec<Connection>> {
    (0..count).map(|_| open(target)).collect()
}
