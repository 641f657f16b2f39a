//! A client that writes its own bytes: requests, frames, halves of frames.

use std::net::SocketAddr;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::serving::within;

pub(crate) const TEXT: u8 = 0x1;
pub(crate) const BINARY: u8 = 0x2;
pub(crate) const CLOSE: u8 = 0x8;
pub(crate) const PING: u8 = 0x9;
pub(crate) const PONG: u8 = 0xA;

/// The key of RFC 6455 §1.3, and its answer.
pub(crate) const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
pub(crate) const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

pub(crate) struct Wire<S = TcpStream> {
    pub(crate) stream: S,
    unread: Vec<u8>,
}

/// The head of a response.
#[derive(Debug)]
pub(crate) struct Head {
    pub(crate) status: u16,
    pub(crate) text: String,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) fin: bool,
    /// RSV1, the mark of a compressed message (RFC 7692 §6).
    pub(crate) compressed: bool,
    pub(crate) opcode: u8,
    pub(crate) payload: Vec<u8>,
}

impl Wire {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        Self::new(TcpStream::connect(address).await.unwrap())
    }

    pub(crate) async fn upgrade(address: SocketAddr, path: &str) -> Self {
        let mut wire = Self::connect(address).await;
        wire.handshake(path).await;
        wire
    }

    /// Ends the connection with a reset.
    pub(crate) fn abort(self) {
        let stream = self.stream.into_std().unwrap();
        socket2_linger(&stream);
    }
}

fn socket2_linger(stream: &std::net::TcpStream) {
    socket2::SockRef::from(stream).set_linger(Some(std::time::Duration::ZERO)).unwrap();
}

impl<S: AsyncRead + AsyncWrite + Unpin> Wire<S> {
    pub(crate) fn new(stream: S) -> Self {
        Self { stream, unread: Vec::new() }
    }

    pub(crate) async fn handshake(&mut self, path: &str) {
        self.send(upgrade_request(path)).await;
        let head = self.head().await;
        assert_eq!(head.status, 101, "{}", head.text);
    }

    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).await.unwrap();
    }

    /// Reads a response's head.
    pub(crate) async fn head(&mut self) -> Head {
        within(self.read_head()).await
    }

    /// Reads a request's head, as a server does.
    pub(crate) async fn fill_request(&mut self) -> String {
        while !self.unread.windows(4).any(|window| window == b"\r\n\r\n") {
            assert!(within(self.fill()).await, "the connection ended before a request");
        }
        String::from_utf8_lossy(&std::mem::take(&mut self.unread)).replace("Sec-WebSocket-Key", "sec-websocket-key")
    }

    async fn read_head(&mut self) -> Head {
        loop {
            if let Some(end) = self.unread.windows(4).position(|window| window == b"\r\n\r\n") {
                let text = String::from_utf8(self.unread.drain(..end + 4).collect()).unwrap();
                let status = text.split(' ').nth(1).unwrap().parse().unwrap();
                return Head { status, text: text.to_lowercase() };
            }
            assert!(self.fill().await, "the connection ended before a response");
        }
    }

    /// Reads a response's body, which is known.
    pub(crate) async fn body(&mut self, expected: &str) {
        while self.unread.len() < expected.len() {
            assert!(within(self.fill()).await, "the connection ended in a body");
        }
        let body: Vec<u8> = self.unread.drain(..expected.len()).collect();
        assert_eq!(body, expected.as_bytes());
    }

    /// Reads one frame; `None` at the end of the connection.
    pub(crate) async fn frame(&mut self) -> Option<Frame> {
        within(self.read_frame()).await
    }

    /// As [`frame`](Self::frame), without a deadline: for tests that stop the clock.
    pub(crate) async fn read_frame(&mut self) -> Option<Frame> {
        loop {
            if let Some((frame, len)) = parse(&self.unread) {
                self.unread.drain(..len);
                return Some(frame);
            }
            if !self.fill().await {
                return None;
            }
        }
    }

    /// The frames that are here already, without waiting for more.
    pub(crate) fn frames_at_hand(&mut self) -> Vec<Frame> {
        let mut frames = Vec::new();
        while let Some((frame, len)) = parse(&self.unread) {
            self.unread.drain(..len);
            frames.push(frame);
        }
        frames
    }

    /// Reads until the end and returns what came.
    pub(crate) async fn rest(&mut self) -> Vec<u8> {
        within(async { while self.fill().await {} }).await;
        std::mem::take(&mut self.unread)
    }

    /// One read; false at the end of the connection, also when that is a reset.
    pub(crate) async fn fill(&mut self) -> bool {
        self.unread.reserve(64 * 1024);
        self.stream.read_buf(&mut self.unread).await.unwrap_or(0) > 0
    }

    pub(crate) async fn text(&mut self) -> String {
        let frame = self.frame().await.expect("the connection ended");
        assert_eq!(frame.opcode, TEXT, "{frame:?}");
        String::from_utf8(frame.payload).unwrap()
    }

    /// Reads a Close frame: its code (1005 without one) and reason.
    pub(crate) async fn close_frame(&mut self) -> (u16, String) {
        self.frame().await.expect("the connection ended without a close frame").into_close()
    }
}

impl Frame {
    pub(crate) fn into_close(self) -> (u16, String) {
        assert_eq!(self.opcode, CLOSE, "{self:?}");
        match &self.payload[..] {
            [] => (1005, String::new()),
            [high, low, reason @ ..] => {
                (u16::from_be_bytes([*high, *low]), String::from_utf8(reason.to_vec()).unwrap())
            }
            [_] => panic!("a close frame of one byte"),
        }
    }
}

pub(crate) fn upgrade_request(path: &str) -> String {
    request(path, &[])
}

/// An opening handshake with further header lines.
pub(crate) fn request(path: &str, headers: &[&str]) -> String {
    let mut text = format!(
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Version: 13\r\n"
    );
    for header in headers {
        text.push_str(header);
        text.push_str("\r\n");
    }
    text + "\r\n"
}

/// A masked frame with its first byte as given: FIN, RSV and opcode.
pub(crate) fn raw_frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let key = [0x37, 0xFA, 0x21, 0x3D];
    let mut frame = vec![first];
    match payload.len() {
        len @ 0..=125 => frame.push(0x80 | len as u8),
        len @ 126..=0xFFFF => {
            frame.push(0x80 | 0x7E);
            frame.extend_from_slice(&(len as u16).to_be_bytes());
        }
        len => {
            frame.push(0x80 | 0x7F);
            frame.extend_from_slice(&(len as u64).to_be_bytes());
        }
    }
    frame.extend_from_slice(&key);
    frame.extend(payload.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key));
    frame
}

pub(crate) fn frame(opcode: u8, payload: impl AsRef<[u8]>) -> Vec<u8> {
    raw_frame(0x80 | opcode, payload.as_ref())
}

/// A frame of a message in several; the opcode of those behind the first is 0.
pub(crate) fn piece(opcode: u8, fin: bool, payload: impl AsRef<[u8]>) -> Vec<u8> {
    raw_frame(opcode | if fin { 0x80 } else { 0 }, payload.as_ref())
}

pub(crate) fn text(text: &str) -> Vec<u8> {
    frame(TEXT, text)
}

pub(crate) fn close(code: u16, reason: &str) -> Vec<u8> {
    let mut payload = code.to_be_bytes().to_vec();
    payload.extend_from_slice(reason.as_bytes());
    frame(CLOSE, payload)
}

fn parse(bytes: &[u8]) -> Option<(Frame, usize)> {
    let [first, second, ..] = bytes else {
        return None;
    };
    assert_eq!(second & 0x80, 0, "a server's frame must not be masked");
    let (start, len) = match second {
        126 => (4, u16::from_be_bytes(bytes.get(2..4)?.try_into().unwrap()) as usize),
        127 => (10, u64::from_be_bytes(bytes.get(2..10)?.try_into().unwrap()) as usize),
        len => (2, *len as usize),
    };
    let payload = bytes.get(start..start + len)?.to_vec();
    let (fin, compressed, opcode) = (first & 0x80 != 0, first & 0x40 != 0, first & 0x0F);
    Some((Frame { fin, compressed, opcode, payload }, start + len))
}
