//! Listening sockets.

use std::io;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};

use socket2::{Domain, Protocol, Socket, Type};

/// How many connections may wait to be accepted: room for everybody who comes back after a restart.
const BACKLOG: i32 = 4096;

/// Where an app listens: what it was told, or the environment, or 127.0.0.1:8000.
pub(super) fn address(bind: Option<String>) -> io::Result<SocketAddr> {
    let text = bind.map_or_else(from_environment, Ok)?;
    let found = text.to_socket_addrs().map_err(|error| invalid(format!("{text:?} is no address: {error}")))?.next();
    found.ok_or_else(|| invalid(format!("{text:?} has no address")))
}

fn from_environment() -> io::Result<String> {
    let host = std::env::var("NEXIOS_HOST").unwrap_or_else(|_| "127.0.0.1".to_owned());
    let port = match std::env::var("NEXIOS_PORT") {
        Ok(port) => port.parse::<u16>().map_err(|_| invalid(format!("NEXIOS_PORT is {port:?}, no port number")))?,
        Err(_) => 8000,
    };
    // An IPv6 address stands in brackets before a port (RFC 3986 §3.2.2).
    let bare_v6 = host.contains(':') && !host.starts_with('[');
    Ok(if bare_v6 { format!("[{host}]:{port}") } else { format!("{host}:{port}") })
}

fn invalid(text: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, text)
}

/// One listener for each worker on the same port: the kernel spreads the connections.
pub(super) fn listeners(address: SocketAddr, workers: usize) -> io::Result<Vec<TcpListener>> {
    // Ports are shared between sockets that ask for it, also with a server that was forgotten: only a bind without
    // sharing tells that the port is taken.
    let probe = socket(address, false)?;
    let address = probe.local_addr()?;
    drop(probe);
    (0..workers).map(|_| socket(address, true)).collect()
}

fn socket(address: SocketAddr, shared: bool) -> io::Result<TcpListener> {
    let in_context = |error: io::Error| io::Error::new(error.kind(), format!("cannot listen on {address}: {error}"));
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    #[cfg(target_os = "linux")]
    socket.set_reuse_port(shared)?;
    #[cfg(not(target_os = "linux"))]
    let _ = shared;
    socket.bind(&address.into()).map_err(in_context)?;
    socket.listen(BACKLOG).map_err(in_context)?;
    Ok(socket.into())
}
