//! Ports that nobody listens to.

use std::net::{IpAddr, TcpListener};

/// Below those that the kernel gives to clients (32768 and up): a client that tries to reach a server which is down
/// could otherwise be given the server's own port, connect to itself, and keep the port from the server.
const PORTS: std::ops::Range<u16> = 12_000..32_000;

/// A port of this address that nobody listens to now. It is no client's port, and the port 10,000 above it, which a
/// node of a Redis cluster listens to as well, is valid.
///
/// # Panics
///
/// When a hundred ports that were tried are all taken, or the address is not this machine's.
pub fn free_port(address: IpAddr) -> u16 {
    let mut ports = std::iter::repeat_with(|| fastrand::u16(PORTS)).take(100);
    let free = ports.find(|port| TcpListener::bind((address, *port)).is_ok());
    free.unwrap_or_else(|| panic!("no free port at {address}"))
}
