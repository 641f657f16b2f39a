//! A model of the races: joins against publishes against leaves against ends, in thousands of schedules each.
//!
//! The code is the real one, from [`Group`] to the connection's task, which writes into a pipe instead of a socket; only
//! who runs when is decided by shuttle (see `sync.rs`), in each schedule another way. The runtime is real as well, with
//! its clock paused, and is driven by one simulated thread: so the end of a tick, or of a grace period, comes at any
//! point of what the others do. Atomics are modelled as sequentially consistent: what a weaker order allows is not seen.
//!
//! A failure prints its schedule. `SHUTTLE_RANDOM_SEED` replaces the seed, and `NEXIOS_SCHEDULES` says how many
//! schedules each scenario has.
#![allow(clippy::unwrap_used, reason = "these are tests")]

mod history;
mod membership;
mod presence;
mod remote;
mod several;
mod slow;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use http::Request;
use nexios_proto::{Connection, Event, Limits, Role};
use shuttle::future::block_on;
use shuttle::scheduler::{PctScheduler, RandomScheduler, Scheduler};
use shuttle::{MaxSteps, Runner};
use tokio::io::{AsyncReadExt, DuplexStream};
use tokio::runtime::{Builder, Runtime};

use super::{Group, Groups, GroupsConfig};
use crate::connection::{ConnectionTask, Link, Settings, Transport};
use crate::sender::ConnectionId;
use crate::server::TrustedProxies;
use crate::{Config, WebSocket};

/// By each of two schedulers, with and without a runtime.
const SCHEDULES: usize = 1_000;

/// How many changes of the thread at the worst moment a bug needs at most, for the scheduler that looks for such.
const DEPTH: usize = 3;

/// Runs a scenario in many schedules: what is published is put off in half of them.
fn explore(scenario: fn(&Time)) {
    for has_runtime in [false, true] {
        explore_with(has_runtime, scenario);
    }
}

/// The same with a runtime only: something has to be waited for.
fn explore_with_time(scenario: fn(&Time)) {
    explore_with(true, scenario);
}

fn explore_with(has_runtime: bool, scenario: fn(&Time)) {
    let schedules = std::env::var("NEXIOS_SCHEDULES").ok().and_then(|text| text.parse().ok()).unwrap_or(SCHEDULES);
    let seed = u64::from(has_runtime);
    run(RandomScheduler::new_from_seed(seed, schedules), has_runtime, scenario);
    run(PctScheduler::new_from_seed(seed, DEPTH, schedules), has_runtime, scenario);
}

fn run(scheduler: impl Scheduler + 'static, has_runtime: bool, scenario: fn(&Time)) {
    let mut config = shuttle::Config::new();
    // What a runtime and a test print on failure do not fit into the default of 60 KiB.
    config.stack_size = 512 * 1024;
    config.max_steps = MaxSteps::FailAfter(100_000);
    config.silence_warnings = true;
    Runner::new(scheduler, config).run(move || {
        let time = Time(has_runtime.then(paused_runtime));
        let entered = time.0.as_ref().map(Runtime::enter);
        scenario(&time);
        drop(entered);
    });
}

fn paused_runtime() -> Runtime {
    Builder::new_current_thread().enable_time().start_paused(true).build().unwrap()
}

/// The runtime, if there is one. One simulated thread at a time may drive it.
struct Time(Option<Runtime>);

impl Time {
    /// What was put off is done, unless it already is.
    fn end_tick(&self) {
        if let Some(runtime) = &self.0 {
            runtime.block_on(async {
                for _ in 0..3 {
                    tokio::task::yield_now().await;
                }
            });
        }
    }

    fn pass(&self, time: Duration) {
        if let Some(runtime) = &self.0 {
            runtime.block_on(tokio::time::sleep(time));
        }
    }
}

fn groups(config: GroupsConfig) -> Groups {
    Groups::new(Arc::default(), config)
}

/// An accepted connection: what its handler has, its task that nobody polls yet, and its peer.
fn connection() -> (WebSocket, Task, Peer) {
    connection_with(Config::new(), 64 * 1024)
}

/// The same, with a socket that holds so many bytes.
fn connection_with(config: Config, socket: usize) -> (WebSocket, Task, Peer) {
    let config = config.ping_interval(None);
    let settings = Settings {
        role: Role::Server,
        route: "/".into(),
        config,
        on_error: None,
        budget: Arc::default(),
        meter: crate::observe::Meter::default(),
        proxies: TrustedProxies::default(),
        users: None,
        log_sums: crate::observe::LogSums::default(),
    };
    let link = Link::new(Arc::new(settings), None);
    let (server, client) = tokio::io::duplex(socket);
    link.open(Transport::Other(Box::new(server)), Bytes::new());
    let (parts, ()) = Request::new(()).into_parts();
    let websocket = WebSocket::connected(Arc::clone(&link), parts, None);
    let protocol = Connection::new(Role::Client, Limits::default());
    (websocket, Task(ConnectionTask::client(link)), Peer { socket: client, protocol, unread: Vec::new() })
}

/// Dropping it is the end of the connection.
struct Task(ConnectionTask);

impl Task {
    /// Until the peer has gone.
    fn run(self) {
        block_on(self.0);
    }

    fn poll(&mut self) {
        let _ = Pin::new(&mut self.0).poll(&mut Context::from_waker(Waker::noop()));
    }
}

/// The other end of a connection.
struct Peer {
    socket: DuplexStream,
    protocol: Connection,
    unread: Vec<u8>,
}

impl Peer {
    /// All that was sent and not received yet, by way of the task.
    fn rest(&mut self, task: &mut Task) -> Vec<String> {
        let mut texts = Vec::new();
        task.poll();
        while let Some(read) = self.socket.read_buf(&mut self.unread).now_or_never() {
            if read.unwrap() == 0 {
                break;
            }
            texts.extend(self.parse());
            task.poll();
        }
        texts
    }

    /// Reads until this message has come; all of them.
    fn read_to(&mut self, last: &str) -> Vec<String> {
        let mut texts = Vec::new();
        while texts.last().is_none_or(|text| text != last) {
            let read = block_on(self.socket.read_buf(&mut self.unread)).unwrap();
            assert!(read > 0, "the connection has ended behind {texts:?}");
            texts.extend(self.parse());
        }
        texts
    }

    fn parse(&mut self) -> Vec<String> {
        let mut texts = Vec::new();
        let mut input = &mut self.unread[..];
        while !input.is_empty() {
            let received = self.protocol.receive(input).unwrap();
            input = &mut input[received.consumed..];
            if let Some(Event::Message(message)) = received.event {
                texts.push(message.as_text().unwrap().to_owned());
            }
        }
        self.unread.clear();
        texts
    }
}

fn join(group: &Group, websocket: &WebSocket) {
    block_on(group.join(websocket)).unwrap();
}

fn leave(group: &Group, websocket: &WebSocket) {
    block_on(group.leave(websocket)).unwrap();
}

fn send(group: &Group, text: impl Into<String>) {
    block_on(group.send_text(text.into())).unwrap();
}

fn member_ids(group: &Group) -> Vec<ConnectionId> {
    block_on(group.members()).unwrap().iter().map(crate::Sender::id).collect()
}

/// The messages that begin like this.
fn of<'a>(sender: &str, texts: &'a [String]) -> Vec<&'a str> {
    texts.iter().map(String::as_str).filter(|text| text.starts_with(sender)).collect()
}
