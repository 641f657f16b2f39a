//! 50 members that read, and one that does not: what do the 50 notice?
//!
//! Each message carries the time at which it was published; the readers are in the same process and have its clock.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nexios::prelude::*;
use nexios::{GroupsConfig, SlowConsumer};
use tokio::time::{MissedTickBehavior, interval, sleep};

use super::Figures;
use super::clock::{self, micros};
use super::readers::{self, Readers};
use super::worker::{join, on_core};
use crate::Result;
use crate::histogram::Histogram;
use crate::process::pin;
use crate::wire::{self, Opcode};

const READERS: usize = 50;
const INTERVAL: Duration = Duration::from_millis(1);
/// Unless the one is closed before: with these lengths the kernel and the queue are full after some 5,000.
const PUBLICATIONS: u32 = 8_000;
const KEYS: u32 = 100;
const LENGTH: usize = 1024;
/// Digits in front of each message: nanoseconds since the process began to measure.
const DIGITS: usize = 20;
const SETTLE: Duration = Duration::from_millis(500);
/// Publications before the histogram counts.
const WARM_UP: usize = 200;

/// The slow-consumer policy of a member that does not read, if there is one.
pub(super) type Silent = Option<SlowConsumer>;

/// Publishes at a steady pace, until the one is closed if it is.
pub(super) fn run(silent: Silent) -> Result<Figures> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    let epoch = Instant::now();
    let is_over = Arc::new(AtomicBool::new(false));
    let server = on_core(0, {
        let is_over = Arc::clone(&is_over);
        move || serve(listener, silent, epoch, is_over)
    });
    pin(&[1])?;
    let latencies = read(address, silent.is_some(), epoch, || is_over.load(Ordering::SeqCst) || server.is_finished())?;
    let mut figures = join(server)?;
    let quantile = |fraction| latencies.quantile(fraction).map(micros).unwrap_or_default();
    figures.push(("delivery to a reader, µs, median", quantile(0.5)));
    figures.push(("delivery to a reader, µs, p99", quantile(0.99)));
    figures.push(("delivery to a reader, µs, p99.9", quantile(0.999)));
    Ok(figures)
}

fn read(address: SocketAddr, with_silent: bool, epoch: Instant, is_over: impl Fn() -> bool) -> Result<Histogram> {
    let silent = with_silent.then(|| readers::connect(address)).transpose()?;
    let mut readers = Readers::connect(address, READERS)?;
    let (mut latencies, mut seen) = (Histogram::new(), 0);
    while !is_over() {
        readers.read(|frame| {
            let latency = epoch.elapsed().saturating_sub(published(frame)?);
            seen += 1;
            if seen > WARM_UP * READERS {
                latencies.record(latency);
            }
            Ok(())
        })?;
    }
    drop(silent);
    Ok(latencies)
}

fn message(epoch: Instant) -> String {
    format!("{:0DIGITS$}{:x<2$}", epoch.elapsed().as_nanos(), "", LENGTH - DIGITS)
}

/// When, since the epoch.
fn published(frame: &[u8]) -> Result<Duration> {
    let payload_at = wire::extent(frame).map_or(0, |(payload_at, _)| payload_at);
    let payload = std::str::from_utf8(&frame[payload_at..])?;
    if !wire::is_plain(Opcode::Text, frame) || payload.len() != LENGTH {
        return Err("a delivery differs from the message".into());
    }
    Ok(Duration::from_nanos(payload[..DIGITS].parse()?))
}

async fn member(mut websocket: WebSocket, groups: Groups) -> nexios::Result {
    websocket.accept().await?;
    room(&groups).join(&websocket).await?;
    loop {
        websocket.receive().await?;
    }
}

fn room(groups: &Groups) -> Group {
    groups.group("room")
}

async fn serve(listener: TcpListener, silent: Silent, epoch: Instant, is_over: Arc<AtomicBool>) -> Result<Figures> {
    let group = GroupConfig::new().slow_consumer(silent.unwrap_or_default());
    let app = App::new()
        .config(Config::new().ping_interval(None))
        .groups_config(GroupsConfig::new().each(group))
        .websocket_route("/member", member);
    let room = room(&app.groups());
    let members = READERS + usize::from(silent.is_some());
    tokio::spawn(app.serve(tokio::net::TcpListener::from_std(listener)?));
    while room.len().await? < members {
        sleep(Duration::from_millis(10)).await;
    }
    // The last one may not have read the handshake's answer yet, which must come alone.
    sleep(SETTLE).await;
    let before = clock::memory()?;
    let (mut ticks, cpu) = (interval(INTERVAL), clock::of_thread());
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut publications = 0_u32;
    while publications < PUBLICATIONS && room.len().await? == members {
        ticks.tick().await;
        // The key has a meaning only where messages are conflated.
        room.send_keyed(format!("price/{}", publications % KEYS), message(epoch)).await?;
        publications += 1;
    }
    let cpu = clock::of_thread().saturating_sub(cpu);
    let stats = room.stats().await?;
    let mut figures = vec![
        ("publications, until the one was closed if it was", f64::from(publications)),
        ("CPU of the serving thread for one publication, µs", micros(cpu) / f64::from(publications)),
        ("MiB of resident memory more, at most", (clock::most_memory()? - before) / f64::from(1 << 20)),
    ];
    if silent.is_some() {
        figures.push(("members at the end", stats.members as f64));
        figures.push(("messages dropped", stats.dropped as f64));
    }
    // The readers hear the last ones, and stop, before this runtime ends and their connections with it.
    sleep(SETTLE).await;
    is_over.store(true, Ordering::SeqCst);
    sleep(SETTLE).await;
    Ok(figures)
}
