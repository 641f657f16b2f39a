//! The smallest HTTP/1.1 client that can tell whether an example answers.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

const DEADLINE: Duration = Duration::from_secs(5);

/// Sends a GET and returns the status of the answer.
pub(crate) fn http(port: u16, path: &str) -> Result<u16, String> {
    request(port, path, "Connection: close\r\n")
}

/// Sends an opening handshake (the key and its answer are those of RFC 6455 §1.3) and returns the status.
pub(crate) fn websocket(port: u16, path: &str) -> Result<u16, String> {
    let headers = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                   Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    request(port, path, headers)
}

pub(crate) fn is_listening(port: u16) -> bool {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    TcpStream::connect_timeout(&address, DEADLINE).is_ok()
}

fn request(port: u16, path: &str, headers: &str) -> Result<u16, String> {
    let exchange = || -> std::io::Result<String> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let mut stream = TcpStream::connect_timeout(&address, DEADLINE)?;
        stream.set_read_timeout(Some(DEADLINE))?;
        let request = format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n{headers}\r\n");
        stream.write_all(request.as_bytes())?;
        let mut answer = vec![0; 4096];
        let n = stream.read(&mut answer)?;
        Ok(String::from_utf8_lossy(&answer[..n]).into_owned())
    };
    let answer = exchange().map_err(|error| format!("GET {path}: {error}"))?;
    match status(&answer) {
        Some(101) if !answer.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=") => {
            Err(format!("GET {path}: wrong Sec-WebSocket-Accept: {answer}"))
        }
        Some(status) => Ok(status),
        None => Err(format!("GET {path}: not HTTP: {answer:?}")),
    }
}

fn status(answer: &str) -> Option<u16> {
    let rest = answer.strip_prefix("HTTP/1.1 ")?;
    rest.get(..3)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_is_read_from_the_first_line() {
        assert_eq!(status("HTTP/1.1 101 Switching Protocols\r\n"), Some(101));
        assert_eq!(status("HTTP/1.1"), None);
        assert_eq!(status("SSH-2.0"), None);
    }
}
