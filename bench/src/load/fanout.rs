//! Fan-out: all members receive what the publishers send; a publisher goes on when everybody has its message.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use super::inbox::{Inbox, Known};
use super::{Outcome, READ_BUFFER, WAIT, Watchdog};
use crate::connection::Target;
use crate::histogram::Histogram;
use crate::poller::Poller;
use crate::probe::{Probe, Step};
use crate::wire::Opcode;
use crate::{Result, connection, payload, wire};

/// Messages of one publisher that differ.
const TURN: usize = 16;

/// The numbers of a fan-out load.
#[derive(Debug)]
pub(super) struct Shape {
    pub(super) payload: usize,
    pub(super) members: usize,
    pub(super) publishers: usize,
    pub(super) deflate: bool,
}

pub(super) fn run(probe: &mut Probe<'_>, shape: &Shape) -> Result<Outcome> {
    let target = Target { server: probe.server().address(), path: "/fanout", deflate: shape.deflate };
    let mut sockets = connection::open_many(target, shape.members)?;
    let mut poller = Poller::new()?;
    for (index, socket) in sockets.iter().enumerate() {
        poller.add(socket, index)?;
    }
    // The last to be connected may not be a member yet when its handshake is through.
    thread::sleep(Duration::from_millis(100));
    probe.connected()?;
    let mut audience = Audience::new(shape);
    for (publisher, socket) in sockets.iter_mut().enumerate().take(shape.publishers) {
        audience.publish(publisher, socket)?;
    }
    listen(probe, &mut audience, &mut poller, &mut sockets)
}

fn listen(
    probe: &mut Probe<'_>,
    audience: &mut Audience,
    poller: &mut Poller,
    sockets: &mut [TcpStream],
) -> Result<Outcome> {
    let mut latencies = Histogram::new();
    let mut watchdog = Watchdog::new();
    let mut buffer = vec![0; READ_BUFFER];
    let mut ready = Vec::new();
    loop {
        ready.clear();
        ready.extend(poller.wait(WAIT)?);
        let now = Instant::now();
        match probe.tick(now, audience.deliveries)? {
            Step::Continue => {}
            Step::Begin => latencies.clear(),
            Step::End(measured) => return Ok(Outcome::flow(measured, &latencies)),
        }
        watchdog.check(now, audience.deliveries)?;
        for event in &ready {
            let count = match sockets[event.index].read(&mut buffer) {
                Ok(0) => return Err("the server closed a member".into()),
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => continue,
                Err(error) => return Err(error.into()),
            };
            audience.hear(event.index, &buffer[..count], &mut latencies)?;
            while let Some(publisher) = audience.heard_by_all.pop() {
                audience.publish(publisher, &mut sockets[publisher])?;
            }
        }
    }
}

/// Who has heard what.
struct Audience {
    known: Known,
    members: Vec<Member>,
    publishers: Vec<Publisher>,
    heard_by_all: Vec<usize>,
    deliveries: u64,
}

/// One member: bytes of an unfinished frame, and how many messages it has of each publisher.
struct Member {
    inbox: Inbox,
    heard: Vec<usize>,
}

/// One publisher: its messages, how many it has sent, and of the last when, and how many have heard it.
struct Publisher {
    requests: Vec<Vec<u8>>,
    sent: usize,
    sent_at: Instant,
    heard_by: usize,
}

impl Audience {
    fn new(shape: &Shape) -> Self {
        let content = if shape.deflate { payload::json } else { payload::letters };
        let payloads: Vec<Vec<u8>> = (0..shape.publishers * TURN).map(|seed| content(shape.payload, seed)).collect();
        let publishers = payloads.chunks(TURN).map(|turn| Publisher {
            requests: turn.iter().map(|payload| wire::request(Opcode::Text, payload, shape.deflate)).collect(),
            sent: 0,
            sent_at: Instant::now(),
            heard_by: 0,
        });
        let publishers: Vec<Publisher> = publishers.collect();
        let member = || Member { inbox: Inbox::default(), heard: vec![0; shape.publishers] };
        Audience {
            members: std::iter::repeat_with(member).take(shape.members).collect(),
            publishers,
            heard_by_all: Vec::new(),
            deliveries: 0,
            known: Known::new(Opcode::Text, shape.deflate, payloads),
        }
    }

    fn publish(&mut self, publisher: usize, socket: &mut TcpStream) -> Result {
        let publisher = &mut self.publishers[publisher];
        // One message is under way: it always fits.
        socket.write_all(&publisher.requests[publisher.sent % TURN])?;
        publisher.sent += 1;
        publisher.sent_at = Instant::now();
        publisher.heard_by = 0;
        Ok(())
    }

    fn hear(&mut self, member: usize, bytes: &[u8], latencies: &mut Histogram) -> Result {
        let now = Instant::now();
        let everybody = self.members.len();
        let Member { inbox, heard } = &mut self.members[member];
        inbox.receive(bytes, |frame| {
            // The next message of any publisher may come now, and no other.
            let next = heard.iter().enumerate().map(|(from, heard)| from * TURN + heard % TURN);
            let from = self.known.recognise(frame, next)? / TURN;
            heard[from] += 1;
            let publisher = &mut self.publishers[from];
            publisher.heard_by += 1;
            if publisher.heard_by == everybody {
                self.heard_by_all.push(from);
            }
            self.deliveries += 1;
            latencies.record(now.duration_since(publisher.sent_at));
            Ok(())
        })
    }
}
