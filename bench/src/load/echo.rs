//! Echo: every answer is followed by the next message, so a fixed number is always under way.

use std::io::{ErrorKind, Read, Write};
use std::iter;
use std::net::TcpStream;
use std::time::Instant;

use super::inbox::{Inbox, Known, window};
use super::{Outcome, READ_BUFFER, WAIT, Watchdog};
use crate::cell::Echo;
use crate::connection::{Connection, Target};
use crate::deflate::Inflater;
use crate::histogram::Histogram;
use crate::poller::Poller;
use crate::probe::{Probe, Step};
use crate::ring::Ring;
use crate::{Result, connection, wire};

pub(super) fn run(probe: &mut Probe<'_>, echo: &Echo) -> Result<Outcome> {
    let mut script = Script::new(echo, probe.limit());
    let target = Target { server: probe.server().address(), path: "/echo", deflate: echo.deflate };
    let _silent = connection::open_many(target, echo.silent)?;
    let connections = connection::open_many(target, echo.talking)?;
    let mut poller = Poller::new()?;
    for (index, connection) in connections.iter().enumerate() {
        poller.add(&connection.socket, index)?;
    }
    probe.connected()?;
    let talker = |connection| Talker::new(connection, echo.in_flight);
    let mut talkers: Vec<Talker> = connections.into_iter().map(talker).collect();
    for (index, talker) in talkers.iter_mut().enumerate() {
        talker.say(echo.in_flight, &script)?;
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
            Step::End(measured) => return Ok(Outcome::flow(measured, &latencies, script.answers.bytes_each())),
        }
        watchdog.check(now, messages)?;
        for event in &ready {
            let talker = &mut talkers[event.index];
            if event.writable {
                talker.flush(script)?;
            }
            if event.readable {
                let answers = talker.hear(&mut buffer, &mut script.answers, &mut latencies)?;
                messages += answers as u64;
                talker.say(answers, script)?;
            }
            talker.watch_writes(poller, event.index)?;
        }
    }
}

/// The messages that every connection sends and must receive.
struct Script {
    requests: Ring,
    answers: Answers,
    /// Messages of each connection.
    quota: usize,
}

/// Plain answers are known to the byte, wherever a read cuts them. Compressed ones are recognised frame by frame.
enum Answers {
    Plain(Ring),
    Compressed(Known, usize),
}

impl Script {
    fn new(echo: &Echo, limit: Option<usize>) -> Self {
        let message = echo.message;
        let count = echo.in_flight.max(if message.length < 1 << 18 { 16 } else { 2 });
        let payloads: Vec<Vec<u8>> = (0..count).map(|seed| message.content.generate(message.length, seed)).collect();
        let request = |payload: &Vec<u8>| wire::request(message.opcode, payload, echo.deflate.is_some());
        let requests: Vec<Vec<u8>> = payloads.iter().map(request).collect();
        let answers = if echo.deflate.is_some() {
            Answers::Compressed(Known::new(message, echo.deflate, payloads), count)
        } else {
            let frames = payloads.iter().map(|payload| wire::answer(message.opcode, payload));
            Answers::Plain(Ring::new(&frames.collect::<Vec<_>>()))
        };
        let quota = limit.map_or(usize::MAX, |limit| limit.div_ceil(echo.talking));
        Script { requests: Ring::new(&requests), answers, quota }
    }
}

impl Answers {
    fn bytes_each(&self) -> Option<f64> {
        match self {
            Answers::Plain(_) => None,
            Answers::Compressed(known, _) => known.bytes_each(),
        }
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
    window: Option<Inflater>,
    sent_at: Vec<Instant>,
}

impl Talker {
    fn new(connection: Connection, in_flight: usize) -> Self {
        Talker {
            window: window(connection.agreed),
            socket: connection.socket,
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

    /// Sends the next `count` messages in one write, if they fit, but none beyond the quota.
    fn say(&mut self, count: usize, script: &Script) -> Result {
        let now = Instant::now();
        for _ in 0..count.min(script.quota - self.said) {
            let slot = self.said % self.sent_at.len();
            self.sent_at[slot] = now;
            self.unwritten += script.requests.length(self.said);
            self.said += 1;
        }
        self.flush(script)
    }

    fn flush(&mut self, script: &Script) -> Result {
        let requests = &script.requests;
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
                    known.recognise(frame, self.window.as_mut(), iter::once(next % *turn))?;
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
