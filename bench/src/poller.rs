//! Readiness of many sockets: epoll, level-triggered, so that one `recv` for each readiness is enough.

use std::fmt;
use std::io;
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};

/// An epoll instance and room for its events.
pub struct Poller {
    epoll: OwnedFd,
    events: Vec<epoll::Event>,
}

/// A ready descriptor, with the token of its owner.
#[derive(Debug, Clone, Copy)]
pub struct Ready {
    /// The number that `add` was given.
    pub index: usize,
    /// Bytes, an end or an error are there to read.
    pub readable: bool,
    /// There is room to write.
    pub writable: bool,
}

impl Poller {
    /// A poller without sockets.
    pub fn new() -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        Ok(Poller { epoll, events: Vec::with_capacity(1024) })
    }

    /// Watches a socket for bytes to read, under a number of the caller's.
    pub fn add(&self, socket: &TcpStream, index: usize) -> io::Result<()> {
        Ok(epoll::add(&self.epoll, socket, data(index), epoll::EventFlags::IN)?)
    }

    /// Watches a socket for bytes to read and, if asked, also for room to write.
    pub fn change(&self, socket: &TcpStream, index: usize, write: bool) -> io::Result<()> {
        let flags = if write { epoll::EventFlags::IN | epoll::EventFlags::OUT } else { epoll::EventFlags::IN };
        Ok(epoll::modify(&self.epoll, socket, data(index), flags)?)
    }

    /// Waits until something is ready, at most `timeout`.
    pub fn wait(&mut self, timeout: Duration) -> io::Result<impl Iterator<Item = Ready>> {
        let timeout = Timespec::try_from(timeout).map_err(io::Error::other)?;
        self.events.clear();
        match epoll::wait(&self.epoll, spare_capacity(&mut self.events), Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(self.events.iter().map(|event| {
            let flags = event.flags;
            Ready {
                index: usize::try_from(event.data.u64()).unwrap_or(usize::MAX),
                readable: !flags.difference(epoll::EventFlags::OUT).is_empty(),
                writable: flags.contains(epoll::EventFlags::OUT),
            }
        }))
    }
}

impl fmt::Debug for Poller {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Poller").field("epoll", &self.epoll).finish_non_exhaustive()
    }
}

fn data(index: usize) -> epoll::EventData {
    epoll::EventData::new_u64(index as u64)
}
