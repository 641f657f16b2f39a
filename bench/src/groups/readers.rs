//! Members with real sockets: one thread that reads them all.

use std::io::{ErrorKind, Read};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::Result;
use crate::connection::{self, Target};
use crate::load::inbox::Inbox;
use crate::poller::Poller;

const WAIT: Duration = Duration::from_millis(20);
const READ_BUFFER: usize = 64 << 10;

/// Open connections that are read.
pub(super) struct Readers {
    poller: Poller,
    members: Vec<(TcpStream, Inbox)>,
    buffer: Vec<u8>,
}

/// Connects to where the groups' members are served.
pub(super) fn connect(server: SocketAddr) -> Result<TcpStream> {
    Ok(connection::open(Target { server, path: "/member", deflate: None })?.socket)
}

impl Readers {
    /// Opens so many.
    pub(super) fn connect(server: SocketAddr, count: usize) -> Result<Self> {
        let poller = Poller::new()?;
        let mut members = Vec::with_capacity(count);
        for index in 0..count {
            let socket = connect(server)?;
            poller.add(&socket, index)?;
            members.push((socket, Inbox::default()));
        }
        Ok(Readers { poller, members, buffer: vec![0; READ_BUFFER] })
    }

    /// Waits a little, and hands over the frames that have come.
    pub(super) fn read(&mut self, mut frame: impl FnMut(&[u8]) -> Result) -> Result {
        for ready in self.poller.wait(WAIT)? {
            let (socket, inbox) = &mut self.members[ready.index];
            match socket.read(&mut self.buffer) {
                Ok(0) => return Err("a member that reads was closed".into()),
                Ok(read) => inbox.receive(&self.buffer[..read], &mut frame)?,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}
