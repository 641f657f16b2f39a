//! Fan-out: all members receive what the publishers send; a publisher goes on when everybody has its message.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use super::inbox::{Inbox, Known, window};
use super::{Outcome, READ_BUFFER, WAIT, Watchdog};
use crate::cell::Fanout;
use crate::connection::{Connection, Target};
use crate::deflate::Inflater;
use crate::histogram::Histogram;
use crate::poller::Poller;
use crate::probe::{Probe, Step};
use crate::{Result, connection, wire};

/// Messages of one publisher that differ.
const TURN: usize = 16;

pub(super) fn run(probe: &mut Probe<'_>, fan_out: &Fanout) -> Result<Outcome> {
    let target = Target { server: probe.server().address(), path: "/fanout", deflate: fan_out.deflate };
    let connections = connection::open_many(target, fan_out.members)?;
    let mut poller = Poller::new()?;
    for (index, connection) in connections.iter().enumerate() {
        poller.add(&connection.socket, index)?;
    }
    // The last to be connected may not be a member yet when its handshake is through.
    thread::sleep(Duration::from_millis(100));
    probe.connected()?;
    let mut audience = Audience::new(fan_out, &connections);
    let mut sockets: Vec<TcpStream> = connections.into_iter().map(|connection| connection.socket).collect();
    for (publisher, socket) in sockets.iter_mut().enumerate().take(fan_out.publishers) {
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
            Step::End(measured) => return Ok(Outcome::flow(measured, &latencies, audience.known.bytes_each())),
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

/// The subscribers, and the messages that each has received.
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
    window: Option<Inflater>,
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
    fn new(fan_out: &Fanout, connections: &[Connection]) -> Self {
        let message = fan_out.message;
        let payload = |seed| message.content.generate(message.length, seed);
        let payloads: Vec<Vec<u8>> = (0..fan_out.publishers * TURN).map(payload).collect();
        let request = |payload: &Vec<u8>| wire::request(message.opcode, payload, fan_out.deflate.is_some());
        let publishers = payloads.chunks(TURN).map(|turn| Publisher {
            requests: turn.iter().map(request).collect(),
            sent: 0,
            sent_at: Instant::now(),
            heard_by: 0,
        });
        let publishers: Vec<Publisher> = publishers.collect();
        let member = |connection: &Connection| Member {
            inbox: Inbox::default(),
            window: window(connection.agreed),
            heard: vec![0; fan_out.publishers],
        };
        Audience {
            members: connections.iter().map(member).collect(),
            publishers,
            heard_by_all: Vec::new(),
            deliveries: 0,
            known: Known::new(message, fan_out.deflate, payloads),
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
        let Member { inbox, window, heard } = &mut self.members[member];
        inbox.receive(bytes, |frame| {
            // The next message of any publisher may come now, and no other.
            let next = heard.iter().enumerate().map(|(from, heard)| from * TURN + heard % TURN);
            let from = self.known.recognise(frame, window.as_mut(), next)? / TURN;
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
