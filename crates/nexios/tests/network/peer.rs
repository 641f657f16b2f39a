//! A client that writes its own bytes, light enough for tens of thousands of them.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use crate::waiting::within;

pub(crate) const TEXT: u8 = 0x1;
pub(crate) const BINARY: u8 = 0x2;
pub(crate) const CLOSE: u8 = 0x8;
pub(crate) const PING: u8 = 0x9;
pub(crate) const PONG: u8 = 0xA;

/// The key of RFC 6455 §1.3.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

pub(crate) struct Peer<S = TcpStream> {
    pub(crate) stream: S,
    unread: Vec<u8>,
    /// The head of the server's answer, in lower case.
    pub(crate) head: String,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    /// FIN, the reserved bits and the opcode.
    pub(crate) first: u8,
    pub(crate) payload: Vec<u8>,
}

impl Peer {
    /// Connects and upgrades; any other answer than 101 is an error with its status.
    pub(crate) async fn connect(server: SocketAddr, path: &str) -> io::Result<Self> {
        Self::upgrade(TcpStream::connect(server).await?, path, &[]).await
    }

    /// The same from an address of its own: one address has no more than 28,000 ports.
    pub(crate) async fn connect_from(from: SocketAddr, server: SocketAddr, path: &str) -> io::Result<Self> {
        let socket = TcpSocket::new_v4()?;
        socket.bind(from)?;
        Self::upgrade(socket.connect(server).await?, path, &[]).await
    }

    /// Ends the connection with a reset.
    pub(crate) fn abort(self) {
        let _ = SockRef::from(&self.stream).set_linger(Some(Duration::ZERO));
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Peer<S> {
    /// The opening handshake with further header lines.
    pub(crate) async fn upgrade(stream: S, path: &str, headers: &[&str]) -> io::Result<Self> {
        Self::upgrade_as("localhost", stream, path, headers).await
    }

    /// The same for a host.
    pub(crate) async fn upgrade_as(host: &str, stream: S, path: &str, headers: &[&str]) -> io::Result<Self> {
        let mut peer = Self { stream, unread: Vec::new(), head: String::new() };
        peer.stream.write_all(request(host, path, headers).as_bytes()).await?;
        while peer.head.is_empty() {
            peer.fill().await?;
            if let Some(end) = peer.unread.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                let head = peer.unread.drain(..end + 4).collect::<Vec<_>>();
                peer.head = String::from_utf8_lossy(&head).to_lowercase();
            }
        }
        peer.unread.shrink_to_fit();
        if peer.head.starts_with("http/1.1 101 ") { Ok(peer) } else { Err(io::Error::other(peer.head)) }
    }

    pub(crate) async fn send(&mut self, opcode: u8, payload: impl AsRef<[u8]>) -> io::Result<()> {
        self.stream.write_all(&frame(opcode, payload.as_ref())).await
    }

    /// The next message or Close frame, for as long as it takes; pings are answered on the way.
    pub(crate) async fn next(&mut self) -> io::Result<Frame> {
        loop {
            let frame = self.frame().await?;
            match frame.opcode() {
                PING => self.send(PONG, &frame.payload).await?,
                PONG => {}
                _ => return Ok(frame),
            }
        }
    }

    pub(crate) async fn text(&mut self) -> String {
        let frame = within(self.next()).await.unwrap();
        assert_eq!(frame.opcode(), TEXT, "{frame:?}");
        String::from_utf8(frame.payload).unwrap()
    }

    /// Sends a text and expects it back.
    pub(crate) async fn echo(&mut self, text: &str) -> io::Result<()> {
        self.send(TEXT, text).await?;
        let frame = within(self.next()).await?;
        assert_eq!((frame.opcode(), &*frame.payload), (TEXT, text.as_bytes()));
        Ok(())
    }

    /// Reads up to the Close frame, answers it, and returns its code and reason.
    pub(crate) async fn closed(&mut self) -> io::Result<(u16, String)> {
        loop {
            let frame = self.next().await?;
            if frame.opcode() == CLOSE {
                // The server may not wait for it.
                let _ = self.send(CLOSE, &frame.payload).await;
                return Ok(frame.into_close());
            }
        }
    }

    /// One frame as it comes; the end of the connection is an error.
    pub(crate) async fn frame(&mut self) -> io::Result<Frame> {
        loop {
            if let Some((frame, length)) = parse(&self.unread) {
                self.unread.drain(..length);
                return Ok(frame);
            }
            self.fill().await?;
        }
    }

    /// Reads bytes that nobody looks at; the end of the connection is an error.
    pub(crate) async fn fill(&mut self) -> io::Result<()> {
        self.unread.reserve(256);
        match self.stream.read_buf(&mut self.unread).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }
}

impl Frame {
    pub(crate) fn opcode(&self) -> u8 {
        self.first & 0x0F
    }

    pub(crate) fn into_close(self) -> (u16, String) {
        match &self.payload[..] {
            [high, low, reason @ ..] => {
                (u16::from_be_bytes([*high, *low]), String::from_utf8(reason.to_vec()).unwrap())
            }
            _ => (1005, String::new()),
        }
    }
}

fn request(host: &str, path: &str, headers: &[&str]) -> String {
    let further: String = headers.iter().flat_map(|line| [line, "\r\n"]).collect();
    format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Version: 13\r\n{further}\r\n"
    )
}

/// A masked frame (RFC 6455 §5.2) whose message is whole.
pub(crate) fn frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
    raw_frame(0x80 | opcode, payload)
}

/// A masked frame with its first byte as given.
pub(crate) fn raw_frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let key = [0x37, 0xFA, 0x21, 0x3D];
    let mut frame = vec![first];
    match (u8::try_from(payload.len()), u16::try_from(payload.len())) {
        (Ok(length @ ..=125), _) => frame.push(0x80 | length),
        (_, Ok(length)) => {
            frame.push(0x80 | 0x7E);
            frame.extend_from_slice(&length.to_be_bytes());
        }
        _ => {
            frame.push(0x80 | 0x7F);
            frame.extend_from_slice(&(payload.len() as u64).to_be_bytes());
        }
    }
    frame.extend_from_slice(&key);
    frame.extend(payload.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key));
    frame
}

fn parse(bytes: &[u8]) -> Option<(Frame, usize)> {
    let (first, second) = (*bytes.first()?, *bytes.get(1)?);
    assert_eq!(second & 0x80, 0, "a server's frame must not be masked");
    let (start, length) = match second {
        126 => (4, u16::from_be_bytes(bytes.get(2..4)?.try_into().unwrap()).into()),
        127 => (10, u64::from_be_bytes(bytes.get(2..10)?.try_into().unwrap()).try_into().unwrap()),
        length => (2, usize::from(length)),
    };
    let payload = bytes.get(start..start + length)?.to_vec();
    Some((Frame { first, payload }, start + length))
}
