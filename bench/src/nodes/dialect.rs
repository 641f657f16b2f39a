//! How a client speaks to a node: text messages as they are, or socket.io's protocol, version 5, over Engine.IO's,
//! version 4.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::connection;
use crate::wire::{self, Opcode};
use crate::{Result, load::inbox::Inbox};

/// Timeout of each step of a node's handshake.
const DEADLINE: Duration = Duration::from_secs(5);

/// See above.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    Plain,
    SocketIo,
}

/// The role of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Publisher,
    Subscriber,
}

impl Dialect {
    /// Opens a connection, ready for its role.
    pub(super) fn open(self, server: SocketAddr, role: Role) -> Result<TcpStream> {
        let path = match (self, role) {
            (Dialect::Plain, Role::Publisher) => "/publish",
            (Dialect::Plain, Role::Subscriber) => "/subscribe",
            (Dialect::SocketIo, _) => "/socket.io/?EIO=4&transport=websocket",
        };
        let mut socket = connection::connect(server)?;
        socket.set_read_timeout(Some(DEADLINE))?;
        socket.write_all(wire::upgrade_request(path, &server.to_string(), None).as_bytes())?;
        let mut inbox = upgraded(&mut socket)?;
        if self == Dialect::SocketIo {
            socket.write_all(&wire::request(Opcode::Text, b"40", false))?;
            until(&mut socket, &mut inbox, b"40{")?;
            if role == Role::Subscriber {
                socket.write_all(&wire::request(Opcode::Text, br#"420["subscribe"]"#, false))?;
                until(&mut socket, &mut inbox, b"430[")?;
            }
        }
        socket.set_nonblocking(true)?;
        Ok(socket)
    }

    /// The frame that publishes a text without characters that JSON would escape.
    pub(super) fn publication(self, text: &str) -> Vec<u8> {
        match self {
            Dialect::Plain => wire::request(Opcode::Text, text.as_bytes(), false),
            Dialect::SocketIo => wire::request(Opcode::Text, format!(r#"42["publish","{text}"]"#).as_bytes(), false),
        }
    }

    /// The text of a publication that comes as this frame.
    pub(super) fn text(self, frame: &[u8]) -> Option<&str> {
        let payload = &frame[wire::extent(frame)?.0..];
        let text = std::str::from_utf8(payload).ok()?;
        match self {
            Dialect::Plain => Some(text),
            Dialect::SocketIo => text.strip_prefix(r#"42["m",""#)?.strip_suffix(r#""]"#),
        }
    }
}

/// Reads the response's head. A server may say something at once, behind it.
fn upgraded(socket: &mut TcpStream) -> Result<Inbox> {
    let (mut head, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        head.extend_from_slice(read(socket, &mut buffer)?);
        if let Some(end) = head.windows(4).position(|four| four == b"\r\n\r\n") {
            let (head, behind) = head.split_at(end + 4);
            wire::agreed(head, None)?;
            let mut inbox = Inbox::default();
            inbox.receive(behind, |_| Ok(()))?;
            return Ok(inbox);
        }
    }
}

/// Reads until a message begins like this.
fn until(socket: &mut TcpStream, inbox: &mut Inbox, beginning: &[u8]) -> Result {
    let (mut buffer, mut found) = ([0; 4096], false);
    while !found {
        inbox.receive(read(socket, &mut buffer)?, |frame| {
            found |= wire::extent(frame).is_some_and(|(payload, _)| frame[payload..].starts_with(beginning));
            Ok(())
        })?;
    }
    Ok(())
}

fn read<'a>(socket: &mut TcpStream, buffer: &'a mut [u8]) -> Result<&'a [u8]> {
    match socket.read(buffer) {
        Ok(0) => Err("the node closed during the handshake".into()),
        Ok(count) => Ok(&buffer[..count]),
        Err(error) => Err(format!("the node's handshake: {error}").into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_publication_is_found_in_its_frame() {
        let frame = wire::answer(Opcode::Text, br#"42["m","hello"]"#);
        assert_eq!(Dialect::SocketIo.text(&frame), Some("hello"));
        let frame = wire::answer(Opcode::Text, b"hello");
        assert_eq!(Dialect::Plain.text(&frame), Some("hello"));
        assert_eq!(Dialect::SocketIo.text(&frame), None);
    }
}
