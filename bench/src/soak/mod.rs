//! A server for half an hour among those who come, go and mean harm: does its memory stay flat, and are all others
//! served meanwhile?
//!
//! ```text
//!   server.rs   the app, in a process of its own
//!   guests.rs   who behaves: stays, comes and goes, publishes, asks how long an answer takes
//!   harm.rs     who does not: resets, halves of handshakes, garbage, floods, slow readers, silence
//!   samples.rs  what the server holds, each second
//!   trend.rs    whether that grows
//!   graph.rs    a picture of it
//!   report.rs   what came out
//! ```

mod graph;
mod guests;
mod harm;
mod report;
mod samples;
mod server;
mod trend;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tokio::runtime::Builder;
use tokio::task::JoinSet;

pub use report::Report;
pub use server::serve;

use crate::histogram::Histogram;
use crate::process::{self, Program, Server};
use crate::{Error, Result};

/// The argument that starts the server's process, before its port.
pub const SERVE: &str = "--serve";

/// Timeout of the remaining clients at the end, and then of the server.
const END: Duration = Duration::from_secs(40);

/// The duration, and the output file.
#[derive(Debug)]
pub struct Plan {
    /// The duration of the run.
    pub time: Duration,
    /// A line for each second.
    pub csv: PathBuf,
    /// The graph.
    pub svg: PathBuf,
}

/// The state that all clients of the server share.
struct Town {
    server: std::net::SocketAddr,
    over: AtomicBool,
    done: Vec<(&'static str, AtomicU64)>,
    /// Failures of well-behaved clients.
    complaints: std::sync::Mutex<Vec<String>>,
    latencies: std::sync::Mutex<Histogram>,
}

/// Runs it.
pub fn run(plan: &Plan) -> Result<Report> {
    let cores: Vec<usize> = (0..thread::available_parallelism()?.get()).collect();
    let program = Program {
        path: std::env::current_exe()?,
        before: vec![SERVE.to_owned()],
        after: Vec::new(),
        cores: cores.clone(),
    };
    let server = Server::start(&program, 0)?;
    process::pin(&cores)?;
    let report = Builder::new_current_thread().enable_all().build()?.block_on(soak(plan, &server))?;
    server.stop()?;
    Ok(report)
}

async fn soak(plan: &Plan, server: &Server) -> Result<Report> {
    let began = Instant::now();
    let mut samples = vec![samples::take(server, began).await?];
    let town = Arc::new(Town::new(server.address()));
    let mut all = JoinSet::new();
    guests::spawn(&town, &mut all);
    harm::spawn(&town, &mut all);
    while began.elapsed() < plan.time {
        tokio::time::sleep(Duration::from_secs(1)).await;
        samples.push(samples::take(server, began).await?);
        if samples.len().is_multiple_of(60) {
            // What was measured is there even if this process is ended.
            samples::write(&plan.csv, &samples)?;
        }
    }
    let busy = samples.len();
    town.over.store(true, Ordering::Relaxed);
    let ended = tokio::time::timeout(END, async { while all.join_next().await.is_some() {} }).await;
    if ended.is_err() {
        town.complain("some did not come to their end".to_owned());
    }
    drop(all);
    let deadline = Instant::now() + END;
    while Instant::now() < deadline && samples.last().is_some_and(|sample| sample.connections > 0) {
        tokio::time::sleep(Duration::from_secs(1)).await;
        samples.push(samples::take(server, began).await?);
    }
    samples::write(&plan.csv, &samples)?;
    std::fs::write(&plan.svg, graph::svg(&samples))?;
    let cpu = server.cpu_time()?.total;
    Ok(Report::new(&town, &samples, busy, cpu))
}

impl Town {
    fn new(server: std::net::SocketAddr) -> Self {
        let kinds = guests::KINDS.iter().chain(harm::KINDS);
        Self {
            server,
            over: AtomicBool::new(false),
            done: kinds.map(|kind| (*kind, AtomicU64::new(0))).collect(),
            complaints: std::sync::Mutex::default(),
            latencies: std::sync::Mutex::default(),
        }
    }

    fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    /// One of a kind is through with what it does.
    fn count(&self, kind: &str) {
        if let Some((_, count)) = self.done.iter().find(|(name, _)| *name == kind) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn complain(&self, text: String) {
        self.complaints.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(text);
    }

    fn url(&self, path: &str) -> String {
        format!("ws://{}{path}", self.server)
    }
}

/// Does something again and again until all is over; its errors are complaints.
fn again<A, F>(all: &mut JoinSet<()>, town: &Arc<Town>, kind: &'static str, times: usize, act: A)
where
    A: Fn(Arc<Town>) -> F + Send + Sync + 'static,
    F: Future<Output = Result> + Send + 'static,
{
    let act = Arc::new(act);
    for _ in 0..times {
        let (town, act) = (Arc::clone(town), Arc::clone(&act));
        all.spawn(async move {
            while !town.is_over() {
                match act(Arc::clone(&town)).await {
                    Ok(()) => town.count(kind),
                    Err(error) => {
                        town.complain(format!("{kind}: {error}"));
                        pause(100).await;
                    }
                }
            }
        });
    }
}

/// At most so many milliseconds, by chance.
async fn pause(millis: u64) {
    tokio::time::sleep(Duration::from_millis(fastrand::u64(0..=millis))).await;
}

/// The errors of a deadline and of what it was for, as one.
async fn within<T, E: Into<Error>>(
    seconds: u64,
    what: &str,
    future: impl Future<Output = std::result::Result<T, E>>,
) -> Result<T> {
    match tokio::time::timeout(Duration::from_secs(seconds), future).await {
        Ok(result) => result.map_err(|error| format!("{what}: {}", error.into()).into()),
        Err(_) => Err(format!("{what}: nothing for {seconds} s").into()),
    }
}
