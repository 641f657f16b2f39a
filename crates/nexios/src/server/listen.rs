//! Listening sockets.

use std::io;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::sync::Arc;

use nexios_proto::Limit;
use socket2::{Domain, Protocol, Socket, Type};

/// How many connections may wait to be accepted: room for everybody who comes back after a restart.
const BACKLOG: i32 = 4096;

/// Where an app listens: what it was told, or the environment, or 127.0.0.1:8000. A name stands for all its addresses.
fn addresses(bind: Option<String>) -> io::Result<Vec<SocketAddr>> {
    let text = bind.map_or_else(from_environment, Ok)?;
    let found = text.to_socket_addrs().map_err(|error| invalid(format!("{text:?} is no address: {error}")))?;
    let mut addresses = Vec::new();
    for address in found {
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    if addresses.is_empty() { Err(invalid(format!("{text:?} has no address"))) } else { Ok(addresses) }
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
    let first = first_listeners(&addresses(bind)?, reuse_port)?;
    let bound = first.iter().map(TcpListener::local_addr).collect::<io::Result<Vec<_>>>()?;
    let is_one = bound.len() == 1;
    let others = (1..workers).map(|_| bound.iter().map(|&address| socket(address, true, is_one)).collect());
    std::iter::once(Ok(first)).chain(others).collect()
}

/// The first worker's, all on one port: when the port is the system's choice, on that of the first address. Of several
/// addresses one that this machine does not have is left out, as `localhost` may have one of IPv6 where that is switched off.
fn first_listeners(addresses: &[SocketAddr], reuse_port: bool) -> io::Result<Vec<TcpListener>> {
    let mut listeners = Vec::new();
    let (mut port, mut missing) = (None, None);
    for &(mut address) in addresses {
        if address.port() == 0 {
            address.set_port(port.unwrap_or(0));
        }
        match first_listener(address, reuse_port, addresses.len() == 1) {
            Ok(listener) => {
                port = port.or(Some(listener.local_addr()?.port()));
                listeners.push(listener);
            }
            Err(error) if addresses.len() > 1 && is_missing(&error) => {
                tracing::warn!(%error, "one of several addresses is left out");
                missing = Some(error);
            }
            Err(error) => return Err(error),
        }
    }
    match missing {
        Some(error) if listeners.is_empty() => Err(error),
        _ => Ok(listeners),
    }
}

fn first_listener(mut address: SocketAddr, reuse_port: bool, is_one: bool) -> io::Result<TcpListener> {
    if !reuse_port {
        // Ports are shared between sockets that ask for it, also with a server that was forgotten: only a bind without
        // sharing tells that the port is taken.
        address = socket(address, false, is_one)?.local_addr()?;
    }
    socket(address, true, is_one)
}

/// The machine has no such address, or no such family of addresses.
fn is_missing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::AddrNotAvailable | io::ErrorKind::Unsupported)
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

/// `is_one`: nothing else listens on the port for the same app, so that a socket of IPv6 may serve IPv4 as well.
fn socket(address: SocketAddr, shared: bool, is_one: bool) -> io::Result<TcpListener> {
    let in_context = |error: io::Error| io::Error::new(error.kind(), format!("cannot listen on {address}: {error}"));
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP)).map_err(|error| {
        // No kind of its own stands for a family that the system does not have (EAFNOSUPPORT).
        let has_family = !address.is_ipv6() || error.kind() == io::ErrorKind::PermissionDenied;
        let kind = if has_family { error.kind() } else { io::ErrorKind::Unsupported };
        in_context(io::Error::new(kind, error))
    })?;
    // On Windows it would let a second server take the port.
    #[cfg(not(windows))]
    socket.set_reuse_address(true)?;
    if address.is_ipv6() && !is_one {
        socket.set_only_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    #[cfg(target_os = "linux")]
    socket.set_reuse_port(shared)?;
    #[cfg(not(target_os = "linux"))]
    let _ = shared;
    socket.bind(&address.into()).map_err(in_context)?;
    socket.listen(BACKLOG).map_err(in_context)?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;

    use super::*;

    #[test]
    fn several_addresses_are_listened_to_on_one_port_by_every_worker() {
        let addresses = ["127.0.0.1:0", "127.0.0.2:0"].map(|text| text.parse().unwrap());
        let first = first_listeners(&addresses, false).unwrap();
        let bound: Vec<_> = first.iter().map(|listener| listener.local_addr().unwrap()).collect();
        assert_eq!(bound[0].port(), bound[1].port());
        assert!(bound.iter().all(|address| TcpStream::connect(address).is_ok()), "{bound:?}");
    }

    #[test]
    fn an_address_that_the_machine_does_not_have_is_left_out_unless_it_is_the_only_one() {
        // For documentation (RFC 5737): no machine has it.
        let (here, nowhere) = ("127.0.0.1:0".parse().unwrap(), "192.0.2.1:0".parse().unwrap());
        assert_eq!(first_listeners(&[nowhere, here], false).unwrap().len(), 1);
        let alone = first_listeners(&[nowhere], false).unwrap_err();
        assert_eq!(alone.kind(), io::ErrorKind::AddrNotAvailable);
        assert!(first_listeners(&[nowhere, nowhere], false).is_err());
    }

    #[test]
    fn of_a_name_all_addresses_are_taken_once() {
        let addresses = addresses(Some("localhost:8000".to_owned())).unwrap();
        let mut all: Vec<_> = "localhost:8000".to_socket_addrs().unwrap().collect();
        all.sort();
        all.dedup();
        let mut taken = addresses.clone();
        taken.sort();
        assert_eq!(taken, all);
    }

    #[test]
    fn a_port_that_is_taken_is_an_error_also_for_one_of_several_addresses() {
        let taken = TcpListener::bind("127.0.0.2:0").unwrap();
        let port = taken.local_addr().unwrap().port();
        let addresses = ["127.0.0.1", "127.0.0.2"].map(|ip| SocketAddr::new(ip.parse().unwrap(), port));
        assert_eq!(first_listeners(&addresses, false).unwrap_err().kind(), io::ErrorKind::AddrInUse);
    }
}
