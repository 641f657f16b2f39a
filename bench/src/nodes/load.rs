//! The load: publishes to A, hears on both, and looks at what the three processes used meanwhile.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use super::Cell;
use super::dialect::{Dialect, Role};
use super::publishers::{Publisher, read};
use super::setup::Cluster;
use crate::Result;
use crate::histogram::Histogram;
use crate::load::inbox::Inbox;
use crate::poller::Poller;
use crate::process::Server;

/// Not measured: until a just-in-time compiler has done what it can.
const WARM_UP: Duration = Duration::from_secs(3);
/// The longest that nothing may happen.
const STALLED: Duration = Duration::from_secs(10);
const WAIT: Duration = Duration::from_millis(20);
const READ_BUFFER: usize = 256 << 10;

/// The results of a run, with times in microseconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Figures {
    pub(super) per_second: f64,
    /// CPU time for one publication.
    pub(super) a: f64,
    pub(super) b: Option<f64>,
    pub(super) engine: Option<f64>,
    /// From the publisher's sending to a subscriber on the same node, and on the other.
    pub(super) near: [Option<f64>; 2],
    pub(super) far: [Option<f64>; 2],
}

/// Runs one cell.
pub(super) fn run(cell: &Cell, cluster: &Cluster, measured: Duration) -> Result<Figures> {
    let mut load = Load::connect(cell, cluster)?;
    load.run_for(WARM_UP)?;
    let (before, began) = (load.mark(cluster)?, Instant::now());
    load.near.clear();
    load.far.clear();
    load.run_for(measured)?;
    let (after, took) = (load.mark(cluster)?, began.elapsed());
    let publications = (after.publications - before.publications).max(1) as f64;
    let each = |of: fn(&Mark) -> Duration| of(&after).saturating_sub(of(&before)).as_secs_f64() * 1e6 / publications;
    let quantiles = |latencies: &Histogram| {
        [0.5, 0.99].map(|part| latencies.quantile(part).map(|latency| latency.as_secs_f64() * 1e6))
    };
    Ok(Figures {
        per_second: publications / took.as_secs_f64(),
        a: each(|mark| mark.a),
        b: cluster.b.as_ref().map(|_| each(|mark| mark.b)),
        engine: cluster.engine.as_ref().map(|_| each(|mark| mark.engine)),
        near: quantiles(&load.near),
        far: quantiles(&load.far),
    })
}

/// CPU times, and how many publications all had heard, at one moment.
struct Mark {
    publications: u64,
    a: Duration,
    b: Duration,
    engine: Duration,
}

struct Load {
    dialect: Dialect,
    poller: Poller,
    publishers: Vec<Publisher>,
    /// Those of the publishers, in their order.
    outgoing: Vec<TcpStream>,
    subscribers: Vec<Subscriber>,
    publications: u64,
    near: Histogram,
    far: Histogram,
}

struct Subscriber {
    socket: TcpStream,
    inbox: Inbox,
    is_far: bool,
    /// The number that must come next, of each publisher.
    next: Vec<u64>,
}

impl Load {
    fn connect(cell: &Cell, cluster: &Cluster) -> Result<Self> {
        let (dialect, poller) = (cluster.dialect, Poller::new()?);
        let open = |server: &Server, role| dialect.open(server.address(), role);
        let mut subscribers = Vec::new();
        let nodes = [(cell.subscribers.0, &cluster.a, false), (cell.subscribers.1, cluster.b(), true)];
        for (count, node, is_far) in nodes {
            for _ in 0..count {
                let socket = open(node, Role::Subscriber)?;
                poller.add(&socket, subscribers.len())?;
                subscribers.push(Subscriber {
                    socket,
                    inbox: Inbox::default(),
                    is_far,
                    next: vec![0; cell.publishers],
                });
            }
        }
        let outgoing: Result<Vec<TcpStream>> =
            (0..cell.publishers).map(|_| open(&cluster.a, Role::Publisher)).collect();
        // Until the nodes have subscribed at their engine.
        thread::sleep(Duration::from_millis(500));
        Ok(Load {
            dialect,
            poller,
            publishers: Publisher::all(cell.publishers, cell.pace, Instant::now()),
            outgoing: outgoing?,
            subscribers,
            publications: 0,
            near: Histogram::new(),
            far: Histogram::new(),
        })
    }

    fn mark(&self, cluster: &Cluster) -> Result<Mark> {
        let time = |server: Option<&Server>| server.map_or(Ok(Duration::ZERO), |server| Ok(server.cpu_time()?.total));
        let time = |server| -> Result<Duration> { time(server) };
        Ok(Mark {
            publications: self.publications,
            a: time(Some(&cluster.a))?,
            b: time(cluster.b.as_ref())?,
            engine: time(cluster.engine.as_ref())?,
        })
    }

    fn run_for(&mut self, time: Duration) -> Result {
        let (mut buffer, mut ready) = (vec![0; READ_BUFFER], Vec::new());
        let (end, mut progress) = (Instant::now() + time, (Instant::now(), self.publications));
        loop {
            let now = Instant::now();
            if now >= end {
                return Ok(());
            }
            if self.publications != progress.1 {
                progress = (now, self.publications);
            } else if now.duration_since(progress.0) > STALLED {
                return Err("a publication did not come to all within 10 s".into());
            }
            self.publish(now)?;
            let next = self.publishers.iter().filter_map(Publisher::next_at).min();
            let wait = next.map_or(WAIT, |next| next.saturating_duration_since(now).min(WAIT));
            ready.clear();
            ready.extend(self.poller.wait(wait)?.map(|event| event.index));
            for index in &ready {
                self.hear(*index, &mut buffer)?;
            }
        }
    }

    fn publish(&mut self, now: Instant) -> Result {
        let (mut bytes, subscribers) = (Vec::new(), self.subscribers.len());
        for (publisher, socket) in self.publishers.iter_mut().zip(&mut self.outgoing) {
            bytes.clear();
            publisher.due(now, self.dialect, subscribers, &mut bytes);
            if !bytes.is_empty() {
                // What is under way fits into the socket's buffer.
                socket.write_all(&bytes)?;
            }
        }
        Ok(())
    }

    fn hear(&mut self, index: usize, buffer: &mut [u8]) -> Result {
        let Subscriber { socket, inbox, is_far, next } = &mut self.subscribers[index];
        let count = match socket.read(buffer) {
            Ok(0) => return Err("a node closed a subscriber".into()),
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        let now = Instant::now();
        let latencies = if *is_far { &mut self.far } else { &mut self.near };
        inbox.receive(&buffer[..count], |frame| {
            let (publisher, number) = read(self.dialect.text(frame).ok_or("not a publication")?)?;
            let expected = next.get_mut(publisher).ok_or("nobody's publication")?;
            if number != *expected {
                return Err(format!("publication {number} came instead of {expected}").into());
            }
            *expected += 1;
            let (sent, is_complete) = self.publishers[publisher].heard(number)?;
            latencies.record(now.duration_since(sent));
            self.publications += u64::from(is_complete);
            Ok(())
        })
    }
}
