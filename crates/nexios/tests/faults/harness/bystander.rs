//! Somebody who uses the server as it is meant, and feels what is done to it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::client::Client;
use super::wire::text;

/// How often it sends.
const EVERY: Duration = Duration::from_millis(5);

/// How many answers it waits for at least, also when the attack is over sooner.
const AT_LEAST: usize = 20;

pub(crate) struct Bystander {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<(Client, Felt)>,
}

/// What a bystander has felt.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Felt {
    /// How long its answers took.
    pub(crate) waits: Waits,
    /// How late it was woken itself, as by a machine that has too much to do.
    pub(crate) late: Waits,
}

/// Durations, sorted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Waits {
    pub(crate) p50: Duration,
    pub(crate) p99: Duration,
    pub(crate) max: Duration,
}

impl Bystander {
    pub(crate) fn begin(address: SocketAddr) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let mut client = Client::upgrade(address, "/ws");
        echo(&mut client);
        let thread = thread::spawn(move || {
            let (mut waits, mut late) = (Vec::new(), Vec::new());
            while !stopped.load(Ordering::Relaxed) || waits.len() < AT_LEAST {
                waits.push(echo(&mut client));
                let slept = Instant::now();
                thread::sleep(EVERY);
                late.push(slept.elapsed().saturating_sub(EVERY));
            }
            (client, Felt { waits: Waits::of(waits), late: Waits::of(late) })
        });
        Self { stop, thread }
    }

    /// Returns the connection, which is silent from here on, and what it has felt.
    pub(crate) fn end(self) -> (Client, Felt) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("the bystander was harmed")
    }
}

impl Waits {
    pub(crate) fn of(mut waits: Vec<Duration>) -> Self {
        waits.sort_unstable();
        let at = |percent: usize| waits[(waits.len() * percent / 100).min(waits.len() - 1)];
        Self { p50: at(50), p99: at(99), max: at(100) }
    }
}

/// Sends a message and waits for the answer; returns how long it took.
pub(crate) fn echo(client: &mut Client) -> Duration {
    let began = Instant::now();
    client.send(text("how do you do?"));
    assert_eq!(client.text(), "how do you do?");
    began.elapsed()
}
