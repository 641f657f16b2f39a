//! The loads: each opens its connections, runs until the probe says that the window is over, and checks what comes
//! back.

mod echo;
mod fanout;
mod handshakes;
mod idle;
pub(crate) mod inbox;

use std::time::{Duration, Instant};

use crate::Result;
use crate::cell::Load;
use crate::histogram::Histogram;
use crate::probe::{Measured, Probe, Window};
use crate::process::Server;

/// The longest that a load waits for a sign of life.
const STALLED: Duration = Duration::from_secs(10);
/// Maximum duration of one wait for readiness.
const WAIT: Duration = Duration::from_millis(20);
/// Room for one read: more than a server's usual write, small enough for the cache.
const READ_BUFFER: usize = 256 << 10;

/// The result of one load on one server.
#[derive(Debug)]
pub enum Outcome {
    /// Messages, deliveries or handshakes.
    Flow {
        /// From the server's side.
        measured: Measured,
        /// Median latency.
        p50: Option<Duration>,
        /// 99th percentile.
        p99: Option<Duration>,
        /// Mean bytes of a frame that came back, where messages may be compressed.
        frame: Option<f64>,
    },
    /// Bytes of memory for one connection.
    Memory(f64),
    /// Instructions for one message, without the kernel's.
    Instructions(f64),
}

impl Outcome {
    /// Messages in the window.
    pub fn messages(&self) -> Option<u64> {
        match self {
            Outcome::Flow { measured, .. } => Some(measured.messages),
            Outcome::Memory(_) | Outcome::Instructions(_) => None,
        }
    }

    fn flow(measured: Measured, latencies: &Histogram, frame: Option<f64>) -> Self {
        Outcome::Flow { measured, p50: latencies.quantile(0.5), p99: latencies.quantile(0.99), frame }
    }
}

/// Runs one load against one server.
pub fn run(load: &Load, server: &Server, window: Window) -> Result<Outcome> {
    let mut probe = Probe::new(server, window);
    match load {
        Load::Echo(echo) => echo::run(&mut probe, echo),
        Load::Fanout(fan_out) => fanout::run(&mut probe, fan_out),
        Load::Idle { connections, path } => idle::run(&probe, *connections, path),
        Load::Handshakes { under_way } => handshakes::run(&mut probe, *under_way),
    }
}

/// Ends a load in which nothing moves any more.
#[derive(Debug)]
struct Watchdog {
    count: u64,
    since: Instant,
}

impl Watchdog {
    fn new() -> Self {
        Watchdog { count: 0, since: Instant::now() }
    }

    fn check(&mut self, now: Instant, count: u64) -> Result {
        if count != self.count {
            *self = Watchdog { count, since: now };
        } else if now.duration_since(self.since) > STALLED {
            return Err(format!("nothing came back for {STALLED:?} after {count} messages").into());
        }
        Ok(())
    }
}
