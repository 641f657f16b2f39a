//! Handshakes: connections that are opened, upgraded and dropped as fast as the server answers.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Instant;

use super::{Outcome, WAIT, Watchdog};
use crate::histogram::Histogram;
use crate::poller::Poller;
use crate::probe::{Probe, Step};
use crate::{Result, connection, wire};

/// More than any server here answers.
const MAX_HEAD: usize = 8192;

pub(super) fn run(probe: &mut Probe<'_>, under_way: usize) -> Result<Outcome> {
    let address = probe.server().address();
    let request = wire::upgrade_request("/echo", &address.to_string(), None);
    probe.connected()?;
    let mut poller = Poller::new()?;
    let mut attempts = Vec::with_capacity(under_way);
    for index in 0..under_way {
        attempts.push(Attempt::new(probe, &poller, index, &request)?);
    }
    let mut latencies = Histogram::new();
    let mut watchdog = Watchdog::new();
    let mut handshakes = 0;
    let mut ready = Vec::new();
    loop {
        ready.clear();
        ready.extend(poller.wait(WAIT)?);
        let now = Instant::now();
        match probe.tick(now, handshakes)? {
            Step::Continue => {}
            Step::Begin => latencies.clear(),
            Step::End(measured) => return Ok(Outcome::flow(measured, &latencies, None)),
        }
        watchdog.check(now, handshakes)?;
        for event in &ready {
            if attempts[event.index].hear()? {
                handshakes += 1;
                latencies.record(attempts[event.index].begun.elapsed());
                // The old socket closes here, and with that leaves the poller.
                attempts[event.index] = Attempt::new(probe, &poller, event.index, &request)?;
            }
        }
    }
}

/// One handshake under way.
struct Attempt {
    socket: TcpStream,
    begun: Instant,
    head: Vec<u8>,
}

impl Attempt {
    fn new(probe: &Probe<'_>, poller: &Poller, index: usize, request: &str) -> Result<Self> {
        let begun = Instant::now();
        let mut socket = connection::connect(probe.server().address())?;
        socket.set_nonblocking(true)?;
        socket.write_all(request.as_bytes())?;
        poller.add(&socket, index)?;
        Ok(Attempt { socket, begun, head: Vec::new() })
    }

    /// Reads once; whether the handshake is complete.
    fn hear(&mut self) -> Result<bool> {
        let mut buffer = [0; 1024];
        match self.socket.read(&mut buffer) {
            Ok(0) => return Err("the server closed during the handshake".into()),
            Ok(count) => self.head.extend_from_slice(&buffer[..count]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
            Err(error) => return Err(error.into()),
        }
        if self.head.ends_with(b"\r\n\r\n") {
            return wire::agreed(&self.head, None).map(|_| true);
        }
        if self.head.len() > MAX_HEAD { Err("a response without end".into()) } else { Ok(false) }
    }
}
