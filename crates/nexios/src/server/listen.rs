//! Listening sockets.

use std::io;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::sync::Arc;

use nexios_proto::Limit;
use socket2::{Domain, Protocol, Socket, Type};

/// How many connections may wait to be accepted: room for everybody who comes back after a restart.
const BACKLOG: i32 = 4096;

/// Where an app listens: what it was told, or the environment, or 127.0.0.1:8000.
fn address(bind: Option<String>) -> io::Result<SocketAddr> {
    let text = bind.map_or_else(from_environment, Ok)?;
    let found = text.to_socket_addrs().map_err(|error| invalid(format!("{text:?} is no address: {error}")))?.next();
    found.ok_or_else(|| invalid(format!("{text:?} has no address")))
}

/// The name in what was told, or in the environment, that the address is found by.
pub(super) fn bound_name(bind: Option<&str>) -> Option<Arc<str>> {
    let text = bind.map_or_else(|| std::env::var("NEXIOS_HOST").ok(), |bind| Some(bind.to_owned()))?;
    Some(text.into())
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

/// For each worker, what it listens on: sockets that the process was given by a service manager (systemd's
/// `LISTEN_FDS`, of which all workers accept), else one of its own on the same port, among which the kernel spreads the
/// connections.
pub(super) fn listeners(bind: Option<String>, workers: usize, reuse_port: bool) -> io::Result<Vec<Vec<TcpListener>>> {
    let given = given()?;
    if !given.is_empty() {
        return (0..workers).map(|_| given.iter().map(TcpListener::try_clone).collect()).collect();
    }
    let mut address = address(bind)?;
    if !reuse_port {
        // Ports are shared between sockets that ask for it, also with a server that was forgotten: only a bind without
        // sharing tells that the port is taken.
        address = socket(address, false)?.local_addr()?;
    }
    let first = socket(address, true)?;
    let address = first.local_addr()?;
    let others = (1..workers).map(|_| socket(address, true));
    std::iter::once(Ok(first)).chain(others).map(|listener| listener.map(|one| vec![one])).collect()
}

/// Sockets that were opened before the process began (`sd_listen_fds(3)`).
#[cfg(unix)]
fn given() -> io::Result<Vec<TcpListener>> {
    let mut passed = listenfd::ListenFd::from_env();
    let mut given = Vec::new();
    for at in 0..passed.len() {
        if let Some(listener) = passed.take_tcp_listener(at)? {
            listener.set_nonblocking(true)?;
            given.push(listener);
        }
    }
    Ok(given)
}

#[cfg(not(unix))]
fn given() -> io::Result<Vec<TcpListener>> {
    Ok(Vec::new())
}

/// Lets the process have as many descriptors as the system allows it, and says so when these are fewer than connections.
#[cfg(unix)]
pub(super) fn raise_descriptor_limit(connections: Limit) {
    match rlimit::increase_nofile_limit(rlimit::INFINITY) {
        Ok(descriptors) => {
            let descriptors = usize::try_from(descriptors).unwrap_or(usize::MAX);
            if let Limit::At(connections) = connections
                && descriptors < connections
            {
                tracing::warn!(descriptors, connections, "there may be fewer descriptors than connections (ulimit -n)");
            }
        }
        Err(error) => tracing::warn!(%error, "cannot raise the limit of descriptors"),
    }
}

#[cfg(not(unix))]
pub(super) fn raise_descriptor_limit(_: Limit) {}

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
