//! A client that sends what it likes, and waits for an answer for 10 s at most.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use super::wire::{CLOSE, PING, PONG, TEXT, request};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) stream: TcpStream,
    unread: Vec<u8>,
    /// Where in `unread` the next frame begins.
    at: usize,
}

/// The head of a response.
#[derive(Debug)]
pub(crate) struct Head {
    pub(crate) status: u16,
    /// As it came.
    pub(crate) text: String,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) first: u8,
    pub(crate) payload: Vec<u8>,
}

impl Client {
    pub(crate) fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Self { stream, unread: Vec::new(), at: 0 }
    }

    /// A connection on which the opening handshake is over.
    pub(crate) fn upgrade(address: SocketAddr, path: &str) -> Self {
        Self::upgrade_with(address, path, &[]).0
    }

    pub(crate) fn upgrade_with(address: SocketAddr, path: &str, headers: &[&str]) -> (Self, Head) {
        let mut client = Self::connect(address);
        client.send(request(path, headers));
        let head = client.head();
        assert_eq!(head.status, 101, "{}", head.text);
        (client, head)
    }

    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).unwrap();
    }

    /// As [`send`](Self::send), to a server that may have had enough.
    pub(crate) fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.stream.write_all(bytes.as_ref()).is_ok()
    }

    /// Sends without reading until everything is sent, the server has taken nothing for 300 ms, or it has ended the
    /// connection; returns how many bytes it took.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> usize {
        self.stream.set_write_timeout(Some(Duration::from_millis(300))).unwrap();
        let mut sent = 0;
        while sent < bytes.len() {
            match self.stream.write(&bytes[sent..]) {
                Ok(written) => sent += written,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
        self.stream.set_write_timeout(Some(PATIENCE)).unwrap();
        sent
    }

    /// Reads the head of a response.
    pub(crate) fn head(&mut self) -> Head {
        self.try_head().expect("the connection ended before a response")
    }

    /// As [`head`](Self::head); `None` when the connection ends without one.
    pub(crate) fn try_head(&mut self) -> Option<Head> {
        loop {
            let rest = &self.unread[self.at..];
            if let Some(end) = rest.windows(4).position(|window| window == b"\r\n\r\n") {
                let text = String::from_utf8_lossy(&rest[..end + 4]).into_owned();
                self.at += end + 4;
                let status = text.split(' ').nth(1).unwrap().parse().unwrap();
                return Some(Head { status, text });
            }
            if !self.fill() {
                return None;
            }
        }
    }

    /// Reads one frame; `None` at the end of the connection.
    pub(crate) fn frame(&mut self) -> Option<Frame> {
        loop {
            if let Some((frame, len)) = parse(&self.unread[self.at..]) {
                self.at += len;
                return Some(frame);
            }
            if !self.fill() {
                return None;
            }
        }
    }

    /// Reads the next frame that is no ping of the server's: those are answered.
    pub(crate) fn message(&mut self) -> Frame {
        loop {
            let frame = self.frame().expect("the connection ended");
            if frame.opcode() != PING {
                return frame;
            }
            self.send(super::wire::frame(PONG, &frame.payload));
        }
    }

    /// Reads a text message.
    pub(crate) fn text(&mut self) -> String {
        let frame = self.message();
        assert_eq!(frame.opcode(), TEXT, "{frame:?}");
        String::from_utf8(frame.payload).unwrap()
    }

    /// Reads a Close frame, which has to be the next one, and the end of the connection behind it: the code, 1005 without
    /// one.
    pub(crate) fn close_code(&mut self) -> u16 {
        let frame = self.frame().expect("the connection ended without a close frame");
        let code = frame.close_code();
        // The server's end of a closing handshake needs this end's word.
        let _ = self.try_send(super::wire::frame(CLOSE, &frame.payload));
        assert_eq!(self.frame(), None, "something came behind a close frame");
        code
    }

    /// Reads until the end of the connection, and returns what came.
    pub(crate) fn rest(&mut self) -> Vec<u8> {
        while self.fill() {}
        self.unread.split_off(self.at)
    }

    /// Reads and forgets until the server ends the connection; false when it has not by then.
    pub(crate) fn ends_within(&mut self, patience: Duration) -> bool {
        let deadline = Instant::now() + patience;
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            self.stream.set_read_timeout(Some(left)).unwrap();
            match self.stream.read(&mut buffer) {
                Ok(0) => return true,
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return false,
                Err(_) => return true,
            }
        }
    }

    /// Ends the connection with a reset.
    pub(crate) fn abort(self) {
        socket2::SockRef::from(&self.stream).set_linger(Some(Duration::ZERO)).unwrap();
    }

    /// One read; false at the end of the connection, also when that is a reset.
    #[track_caller]
    fn fill(&mut self) -> bool {
        if self.at > 1 << 20 {
            self.unread.drain(..self.at);
            self.at = 0;
        }
        let filled = self.unread.len();
        self.unread.resize(filled + 64 * 1024, 0);
        let read = loop {
            match self.stream.read(&mut self.unread[filled..]) {
                Ok(read) => break read,
                Err(error) if error.kind() == ErrorKind::WouldBlock => panic!("no answer within {PATIENCE:?}"),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => break 0,
            }
        };
        self.unread.truncate(filled + read);
        read > 0
    }
}

impl Frame {
    pub(crate) fn opcode(&self) -> u8 {
        self.first & 0x0F
    }

    pub(crate) fn close_code(&self) -> u16 {
        assert_eq!(self.opcode(), CLOSE, "{self:?}");
        match self.payload[..] {
            [] => 1005,
            [high, low, ..] => u16::from_be_bytes([high, low]),
            [_] => panic!("a close frame of one byte"),
        }
    }
}

fn parse(bytes: &[u8]) -> Option<(Frame, usize)> {
    let [first, second, ..] = *bytes else { return None };
    assert_eq!(second & 0x80, 0, "a server's frame must not be masked");
    let (start, len) = match second {
        126 => (4, u64::from(u16::from_be_bytes(bytes.get(2..4)?.try_into().unwrap()))),
        127 => (10, u64::from_be_bytes(bytes.get(2..10)?.try_into().unwrap())),
        len => (2, u64::from(len)),
    };
    let end = start + len as usize;
    let payload = bytes.get(start..end)?.to_vec();
    Some((Frame { first, payload }, end))
}
