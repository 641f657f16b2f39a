//! Echo: every answer is followed by the next message, so a fixed number is always under way.

use std::io::{ErrorKind, Read, Write};
use std::iter;
use std::net::TcpStream;
use std::time::Instant;

use super::inbox::{Inbox, Known};
use super::{Outcome, READ_BUFFER, WAIT, Watchdog};
use crate::connection::Target;
use crate::histogram::Histogram;
use crate::poller::Poller;
use crate::probe::{Probe, Step};
use crate::ring::Ring;
use crate::wire::Opcode;
use crate::{Result, connection, payload, wire};

/// The numbers of an echo load.
#[derive(Debug)]
pub(super) struct Shape {
    pub(super) payload: usize,
    pub(super) talking: usize,
    pub(super) silent: usize,
    pub(super) in_flight: usize,
    pub(super) opcode: Opcode,
    pub(super) deflate: bool,
}

pub(super) fn run(probe: &mut Probe<'_>, shape: &Shape) -> Result<Outcome> {
    let mut script = Script::new(shape);
    let target = Target { server: probe.server().address(), path: "/echo", deflate: shape.deflate };
    let _silent = connection::open_many(target, shape.silent)?;
    let sockets = connection::open_many(target, shape.talking)?;
    let mut poller = Poller::new()?;
    for (index, socket) in sockets.iter().enumerate() {
        poller.add(socket, index)?;
    }
    probe.connected()?;
    let mut talkers: Vec<Talker> = sockets.into_iter().map(|socket| Talker::new(socket, shape.in_flight)).collect();
    for (index, talker) in talkers.iter_mut().enumerate() {
        talker.say(shape.in_flight, &script.requests)?;
        talker.watch_writes(&poller, index)?;
    }
    talk(probe, &mut script, &mut poller, &mut talkers)
}

fn talk(probe: &mut Probe<'_>, script: &mut Script, poller: &mut Poller, talkers: &mut [Talker]) -> Result<Outcome> {
    let mut buffer = vec![0; READ_BUFFER];
    let mut latencies = Histogram::new();
    let mut watchdog = Watchdog::new();
    let mut messages = 0;
    let mut ready = Vec::new();
    loop {
        ready.clear();
        ready.extend(poller.wait(WAIT)?);
        let now = Instant::now();
        match probe.tick(now, messages)? {
            Step::Continue => {}
            Step::Begin => latencies.clear(),
            Step::End(measured) => return Ok(Outcome::flow(measured, &latencies)),
        }
        watchdog.check(now, messages)?;
        for event in &ready {
            let talker = &mut talkers[event.index];
            if event.writable {
                talker.flush(&script.requests)?;
            }
            if event.readable {
                let answers = talker.hear(&mut buffer, &mut script.answers, &mut latencies)?;
                messages += answers as u64;
                talker.say(answers, &script.requests)?;
            }
            talker.watch_writes(poller, event.index)?;
        }
    }
}

/// What every connection says and must hear.
struct Script {
    requests: Ring,
    answers: Answers,
}

/// Plain answers are known to the byte, wherever a read cuts them. Compressed ones are recognised frame by frame.
enum Answers {
    Plain(Ring),
    Compressed(Known, usize),
}

impl Script {
    fn new(shape: &Shape) -> Self {
        let count = shape.in_flight.max(if shape.payload < 1 << 18 { 16 } else { 2 });
        let content = if shape.deflate { payload::json } else { payload::letters };
        let payloads: Vec<Vec<u8>> = (0..count).map(|seed| content(shape.payload, seed)).collect();
        let requests: Vec<Vec<u8>> =
            payloads.iter().map(|payload| wire::request(shape.opcode, payload, shape.deflate)).collect();
        let answers = if shape.deflate {
            Answers::Compressed(Known::new(shape.opcode, true, payloads), count)
        } else {
            let frames = payloads.iter().map(|payload| wire::answer(shape.opcode, payload));
            Answers::Plain(Ring::new(&frames.collect::<Vec<_>>()))
        };
        Script { requests: Ring::new(&requests), answers }
    }
}

/// One connection. Byte positions run round the rings of the script.
struct Talker {
    socket: TcpStream,
    said: usize,
    written: usize,
    unwritten: usize,
    watched: bool,
    heard: usize,
    heard_bytes: usize,
    inbox: Inbox,
    sent_at: Vec<Instant>,
}

impl Talker {
    fn new(socket: TcpStream, in_flight: usize) -> Self {
        Talker {
            socket,
            said: 0,
            written: 0,
            unwritten: 0,
            watched: false,
            heard: 0,
            heard_bytes: 0,
            inbox: Inbox::default(),
            sent_at: vec![Instant::now(); in_flight],
        }
    }

    /// Sends the next `count` messages in one write, if they fit.
    fn say(&mut self, count: usize, requests: &Ring) -> Result {
        let now = Instant::now();
        for _ in 0..count {
            let slot = self.said % self.sent_at.len();
            self.sent_at[slot] = now;
            self.unwritten += requests.length(self.said);
            self.said += 1;
        }
        self.flush(requests)
    }

    fn flush(&mut self, requests: &Ring) -> Result {
        while self.unwritten > 0 {
            match self.socket.write(requests.slice(self.written, self.unwritten)) {
                Ok(0) => return Err("the server does not take any more bytes".into()),
                Ok(count) => {
                    self.written = (self.written + count) % requests.turn();
                    self.unwritten -= count;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Reads once and compares; the number of answers that this completed.
    fn hear(&mut self, buffer: &mut [u8], answers: &mut Answers, latencies: &mut Histogram) -> Result<usize> {
        let count = match self.socket.read(buffer) {
            Ok(0) => return Err("the server closed a connection".into()),
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(0),
            Err(error) => return Err(error.into()),
        };
        let completed = self.compare(&buffer[..count], answers)?;
        let now = Instant::now();
        for _ in 0..completed {
            latencies.record(now.duration_since(self.sent_at[self.heard % self.sent_at.len()]));
            self.heard += 1;
        }
        Ok(completed)
    }

    fn compare(&mut self, bytes: &[u8], answers: &mut Answers) -> Result<usize> {
        match answers {
            Answers::Plain(ring) => {
                if !ring.matches(self.heard_bytes, bytes) {
                    return Err("an answer differs from the message".into());
                }
                let length = ring.length(0);
                let completed = (self.heard_bytes % length + bytes.len()) / length;
                self.heard_bytes = (self.heard_bytes + bytes.len()) % ring.turn();
                Ok(completed)
            }
            Answers::Compressed(known, turn) => {
                let mut next = self.heard;
                self.inbox.receive(bytes, |frame| {
                    known.recognise(frame, iter::once(next % *turn))?;
                    next += 1;
                    Ok(())
                })?;
                Ok(next - self.heard)
            }
        }
    }

    /// Asks for room to write only while bytes wait.
    fn watch_writes(&mut self, poller: &Poller, index: usize) -> Result {
        let wanted = self.unwritten > 0;
        if wanted != self.watched {
            poller.change(&self.socket, index, wanted)?;
            self.watched = wanted;
        }
        Ok(())
    }
}
